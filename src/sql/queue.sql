-- Queues: configuration, sending, receiving, settling.

-- queue_config.c

CREATE FUNCTION eb.create_queue(name text, fifo boolean DEFAULT false,
		visibility_timeout interval DEFAULT '30 seconds',
		delay interval DEFAULT '0',
		retention interval DEFAULT '4 days',
		max_receive_count integer DEFAULT 5,
		dead_letter_queue text DEFAULT NULL,
		max_per_group integer DEFAULT 1,
		backoff_base interval DEFAULT '1 second',
		backoff_factor double precision DEFAULT 2,
		backoff_cap interval DEFAULT '5 minutes',
		min_redelivery_delay interval DEFAULT '100 milliseconds',
		dedup_window interval DEFAULT '5 minutes',
		content_dedup boolean DEFAULT false,
		description text DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_create_queue' LANGUAGE C;
COMMENT ON FUNCTION eb.create_queue IS
$$Make a queue: a table, and a view eb.queue_<name> on which its privileges hang.  The creator gets ALL on the view WITH GRANT OPTION.

Names are up to 48 letters, digits, "_" and "-".  fifo: messages of a group are delivered in the order in which they were sent.

visibility_timeout: how long a received message is hidden from other consumers (1 millisecond to 1 year).  delay: how long a new message is hidden at first.  retention: how long a message is kept, from the end of its delay (1 second to 100 years).

max_receive_count: after so many receives without an ack the message moves to dead_letter_queue.  That is <name>_dlq if null, and made if it does not exist (a standard queue with a retention of 14 days; it keeps letters together with their group).  For a name that would become too long a hash keeps it unique.  '' stands for none: messages are retried until they expire.

After failure number n a message waits a random time up to backoff_base * backoff_factor ^ (n - 1), at most backoff_cap (full jitter), at least min_redelivery_delay.

FIFO queues: max_per_group messages of one group are out at a time (more than 1 gives up the order within a group); a dedup_id is remembered for dedup_window; content_dedup: the hash of the body serves where no dedup_id is given.

Defaults, names and FIFO semantics follow Amazon SQS where it has them.  Raises invalid_name, name_too_long, duplicate_object, reserved_name, and invalid_parameter_value for a setting out of its range.$$;

CREATE FUNCTION eb.update_queue(name text,
		visibility_timeout interval DEFAULT NULL,
		delay interval DEFAULT NULL,
		retention interval DEFAULT NULL,
		max_receive_count integer DEFAULT NULL,
		dead_letter_queue text DEFAULT NULL,
		max_per_group integer DEFAULT NULL,
		backoff_base interval DEFAULT NULL,
		backoff_factor double precision DEFAULT NULL,
		backoff_cap interval DEFAULT NULL,
		min_redelivery_delay interval DEFAULT NULL,
		dedup_window interval DEFAULT NULL,
		content_dedup boolean DEFAULT NULL,
		description text DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_update_queue' LANGUAGE C;
COMMENT ON FUNCTION eb.update_queue IS
'Change settings of a queue (see eb.create_queue); null leaves one as it is.  dead_letter_queue names an existing standard queue, or '''' for none.  New settings hold for what is sent, received or settled from then on.  Needs TRUNCATE on the queue''s view.  Whether a queue is FIFO cannot be changed.';

CREATE FUNCTION eb.drop_queue(name text, with_dead_letters boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_drop_queue' LANGUAGE C;
COMMENT ON FUNCTION eb.drop_queue(text, boolean) IS
'Drop a queue with its messages.  The dead-letter queue that was made with it goes as well, unless another queue uses it; if it holds letters it stays (with a NOTICE), and dropping it by its own name is refused, unless with_dead_letters is true.  Refused (dependent_objects_still_exist) while a rule delivers to the queue or another queue sends its dead letters there.  Waits for transactions that use the queue.  Needs TRUNCATE on the queue''s view.';

CREATE FUNCTION eb.pause_queue(queue text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_pause_queue' LANGUAGE C;
COMMENT ON FUNCTION eb.pause_queue(text) IS
'Stop delivery: receive and consume find nothing until eb.resume_queue; messages can still be sent, and leases that were given out still be settled.  Takes effect at commit.  Needs TRUNCATE on the queue''s view.';

CREATE FUNCTION eb.resume_queue(queue text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_resume_queue' LANGUAGE C;
COMMENT ON FUNCTION eb.resume_queue(text) IS
'Let a paused queue deliver again.  Needs TRUNCATE on the queue''s view.';

-- queue_view.c

CREATE FUNCTION eb.clock() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'eb_clock' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eb.clock() IS
'The time that leases, delays and ids go by: clock_timestamp(), moved by the setting eb.clock_offset.';

CREATE FUNCTION eb.queue_view_refuse() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_queue_view_refuse' LANGUAGE C;
COMMENT ON FUNCTION eb.queue_view_refuse() IS
'Trigger of queue views: refuses plain UPDATE and DELETE.';

CREATE FUNCTION eb.queue_event_body(queue text, tid tid) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eb_queue_event_body' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION eb.queue_event_body(text, tid) IS
'Part of queue views: the envelope of a routed message''s event; null where there is no such row.  Needs SELECT on the queue''s view.';

CREATE FUNCTION eb.queue_event_headers(queue text, tid tid) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eb_queue_event_headers' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION eb.queue_event_headers(text, tid) IS
'Part of queue views: the headers of a routed message''s event; null where there are none.  Needs SELECT on the queue''s view.';

-- queue_context.c

CREATE FUNCTION eb.processing(message eb.message) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_processing' LANGUAGE C;
COMMENT ON FUNCTION eb.processing(eb.message) IS
'Say that this transaction processes the message: events put from now on inherit its correlation id (if it has none: the id of its event) and its trace context, and have its event as their cause.  Holds until the end of the transaction, until called for the next message, or until called with null; a subtransaction that is rolled back takes it back.  What an entry or its detail says goes before it, and it goes before the settings eb.correlation_id, eb.causation_id and eb.traceparent.';
