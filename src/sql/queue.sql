-- Queues: configuration, sending, receiving, settling.

-- queue_floor.c

CREATE FUNCTION eb.queue_written() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_queue_written' LANGUAGE C;
COMMENT ON FUNCTION eb.queue_written() IS
'Trigger of queue tables: tells the queue that somebody else than its own functions writes to it.';

CREATE FUNCTION eb.queue_floor(queue text, OUT ready bigint, OUT waiting timestamptz, OUT shared boolean,
		OUT sent bigint, OUT received bigint, OUT consumed bigint, OUT acked bigint, OUT nacked bigint, OUT dead bigint)
	AS 'MODULE_PATHNAME', 'eb_queue_floor' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.queue_floor(text) IS
'For debugging: where scans of a queue begin, as message id in the ready index and as time in the waiting index (null: at the start), whether the queue has a slot in shared memory, and what committed transactions did to it since it has.';

CREATE FUNCTION eb.check_queue_floor(queue text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eb_check_queue_floor' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.check_queue_floor(text) IS
'Look for messages below the queue''s floors, where no receive would find them, and lower the floors to them.  Returns how many were found; any but 0 is a bug.  The maintainer does this every ten minutes.';

-- queue_send.c

CREATE FUNCTION eb.send(queue text, body jsonb, delay interval DEFAULT NULL, group_id text DEFAULT NULL,
		headers jsonb DEFAULT NULL, dedup_id text DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eb_send' LANGUAGE C;
COMMENT ON FUNCTION eb.send(text, jsonb, interval, text, jsonb, text) IS
$$Send a message to a queue; returns its id.  It can be received once this transaction has committed.

delay: how long the message is hidden at first; null: the queue's delay; at most 1 year.  A FIFO queue has one delay for all messages.  group_id: messages of a group are delivered in order (FIFO queues need one, in others it is carried along); at most 512 bytes.  headers: a JSON object that comes out beside the body.  dedup_id (FIFO): a second message with the same id within the queue's dedup_window is not sent, and the first one's id is returned; without one, a queue with content_dedup goes by the body.

The message carries the correlation id, cause and trace context of the message in process (eb.processing) or of the session (settings eb.correlation_id, eb.causation_id, eb.traceparent) in the headers correlation-id, causation-id and traceparent, unless headers names them.

Two transactions that send to one FIFO group go one after the other: the second waits for the first one's end.

Needs INSERT on eb.queue_<name>.  Raises undefined_object, insufficient_privilege, null_value_not_allowed, invalid_parameter_value, program_limit_exceeded (eb.max_entry_size).$$;

CREATE FUNCTION eb.send_batch(queue text, bodies jsonb[], delays interval[] DEFAULT NULL, groups text[] DEFAULT NULL,
		headers jsonb[] DEFAULT NULL, dedup_ids text[] DEFAULT NULL)
	RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'eb_send_batch' LANGUAGE C ROWS 100;
COMMENT ON FUNCTION eb.send_batch(text, jsonb[], interval[], text[], jsonb[], text[]) IS
'Send many messages to a queue at once; returns their ids in order.  Each of the other arrays is null or has one element for each body; a null element stands for the default (see eb.send).  All or nothing.  Needs INSERT on eb.queue_<name>.';

CREATE FUNCTION eb.send_batch(queue text, messages jsonb)
	RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'eb_send_messages' LANGUAGE C ROWS 100;
COMMENT ON FUNCTION eb.send_batch(text, jsonb) IS
'Send many messages to a queue at once, given as a JSON array of objects {"body": ..., "delay": seconds or interval, "group_id": ..., "headers": {...}, "dedup_id": ...} of which only the body must be there (see eb.send); returns their ids in order.  Other keys are refused.  A literal needs its type, as in eb.send_batch(''q'', ''[{"body": 1}]''::jsonb).  All or nothing.  Needs INSERT on eb.queue_<name>.';

-- queue_receive.c

CREATE FUNCTION eb.receive(queue text, max_messages integer DEFAULT 1, visibility_timeout interval DEFAULT NULL)
	RETURNS SETOF eb.message
	AS 'MODULE_PATHNAME', 'eb_receive' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.receive(text, integer, interval) IS
$$Take up to max_messages messages under a lease; commit, process them, and settle each by its receipt with eb.ack, eb.nack or eb.extend.

A message that is not settled within visibility_timeout (null: the queue's; up to 1 year) is delivered again.  Delivery is at least once.  One that was received max_receive_count times without an ack moves to the dead-letter queue in place of being delivered.

Retries and delayed messages that are due come first, then the others by age; what another transaction has in hand is passed by, never waited for.  Of a FIFO group only the oldest message is delivered, or as many as max_per_group says, and nothing as long as those are out.  A paused queue delivers nothing.

A result of one message becomes the message in process of this transaction (see eb.processing).  Needs UPDATE and DELETE on eb.queue_<name>.$$;

CREATE FUNCTION eb.consume(queue text, max_messages integer DEFAULT 1)
	RETURNS SETOF eb.message
	AS 'MODULE_PATHNAME', 'eb_consume' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.consume(text, integer) IS
$$Take up to max_messages messages out of a queue in this transaction.  If it commits they are gone, if it aborts they are back at their place: exactly once with everything else that the transaction writes.  There is no receipt and nothing to settle.

Order, FIFO groups, pause and dead letters are as with eb.receive; receives are not counted, since an aborted transaction leaves no trace, so max_receive_count does not stop a message on which every consumer fails.  Needs UPDATE and DELETE on eb.queue_<name>.$$;

-- queue_settle.c

CREATE FUNCTION eb.ack(queue text, receipts text[], OUT receipt text, OUT result text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_ack' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.ack(text, text[]) IS
$$Messages are done: delete them.  A row for each receipt, in order; result is

done: deleted.
stale: the message exists, but not under this lease: it ran out and somebody else has the message or had it, or it was extended or ended.
unknown: there is no such message; it may have been acked before.

A lease that has run out while nobody else took the message is still good.  Needs UPDATE and DELETE on eb.queue_<name>.  Raises invalid_parameter_value for what is no receipt.$$;

CREATE FUNCTION eb.ack(queue text, receipt text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_ack_one' LANGUAGE C;
COMMENT ON FUNCTION eb.ack(text, text) IS
'A message is done: delete it.  False if its lease is not good any more (see eb.ack of an array for why).  Needs UPDATE and DELETE on eb.queue_<name>.';

CREATE FUNCTION eb.nack(queue text, receipts text[], error text DEFAULT NULL, delay interval DEFAULT NULL,
		OUT receipt text, OUT result text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_nack' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.nack(text, text[], text, interval) IS
$$Processing failed: end the leases, so that the messages are delivered again.  Results are those of eb.ack.

delay: when; null: after the queue's backoff, a random time up to backoff_base * backoff_factor ^ (receive_count - 1), at most backoff_cap.  Never before the queue's min_redelivery_delay.  error is kept in last_error.  A message that has been received max_receive_count times moves to the dead-letter queue at once.  Needs UPDATE and DELETE on eb.queue_<name>.$$;

CREATE FUNCTION eb.nack(queue text, receipt text, error text DEFAULT NULL, delay interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_nack_one' LANGUAGE C;
COMMENT ON FUNCTION eb.nack(text, text, text, interval) IS
'Processing failed: end the lease (see eb.nack of an array).  False if the lease is not good any more.  Needs UPDATE and DELETE on eb.queue_<name>.';

CREATE FUNCTION eb.extend(queue text, receipts text[], extension interval,
		OUT receipt text, OUT result text, OUT new_receipt text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_extend' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.extend(text, text[], interval) IS
'Processing takes longer: let the leases run out extension from now (0 to 1 year) in place of when they would have.  Results are those of eb.ack; new_receipt replaces the receipt of a lease that was extended, which is good no more, as a receipt holds its deadline.  Needs UPDATE and DELETE on eb.queue_<name>.';

CREATE FUNCTION eb.extend(queue text, receipt text, extension interval) RETURNS text
	AS 'MODULE_PATHNAME', 'eb_extend_one' LANGUAGE C;
COMMENT ON FUNCTION eb.extend(text, text, interval) IS
'Processing takes longer: let the lease run out extension from now (see eb.extend of an array).  Returns the new receipt; null if the lease is not good any more.  An extension of 0 gives the message back at once.  Needs UPDATE and DELETE on eb.queue_<name>.';

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

visibility_timeout: how long a received message is hidden from other consumers (1 millisecond to 1 year).  delay: how long a new message is hidden at first.  retention: how long a message is kept, from the end of its delay (1 second to 100 years); the maintainer deletes it within a minute or so after that, unless somebody has received it and its lease still runs.

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

CREATE FUNCTION eb.queue_view_insert() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_queue_view_insert' LANGUAGE C;
COMMENT ON FUNCTION eb.queue_view_insert() IS
'Trigger of queue views: INSERT and COPY send messages.  Columns that can be given: body, delay, group_id, headers, dedup_id; they mean what they mean in eb.send.  RETURNING message_id tells the id, but not of FIFO queues.';

CREATE FUNCTION eb.queue_view_flush() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_queue_view_flush' LANGUAGE C;
COMMENT ON FUNCTION eb.queue_view_flush() IS
'Trigger of queue views: writes the messages of a statement at its end.';

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

CREATE FUNCTION eb.peek(queue text, max integer DEFAULT 10) RETURNS SETOF eb.message
	AS 'MODULE_PATHNAME', 'eb_peek' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.peek(text, integer) IS
'Look at the messages that a receive would get next (of a paused queue, too), at most max of them; nothing changes and receipt is null.  The view eb.queue_<name> shows all messages of the queue, with their state.  Needs SELECT on the queue''s view.';

-- queue_context.c

CREATE FUNCTION eb.processing(message eb.message) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_processing' LANGUAGE C;
COMMENT ON FUNCTION eb.processing(eb.message) IS
'Say that this transaction processes the message: events put from now on inherit its correlation id (if it has none: the id of its event) and its trace context, and have its event as their cause.  Holds until the end of the transaction, until called for the next message, or until called with null; a subtransaction that is rolled back takes it back.  What an entry or its detail says goes before it, and it goes before the settings eb.correlation_id, eb.causation_id and eb.traceparent.';

-- queue_deadletter.c

CREATE FUNCTION eb.redrive(dlq text, destination text DEFAULT NULL, pattern jsonb DEFAULT NULL,
		max_messages integer DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'eb_redrive' LANGUAGE C;
COMMENT ON FUNCTION eb.redrive(text, text, jsonb, integer) IS
'Move messages out of a dead-letter queue: back to the queues that they came from, or to destination; returns how many.  Those that somebody received there and gave back go first, then the others by age.  pattern: only messages whose body matches this event pattern.  max_messages: at most so many.  Messages that somebody has received stay, and so do those whose source queue does not exist (with a NOTICE).  A moved message has a new id and is received for the first time; it keeps body, headers, group and enqueued_at, and original_id says what its id was.  Deduplication does not apply.  Needs UPDATE and DELETE on the view of dlq and INSERT on that of each queue that gets messages.';

-- queue_expire.c

CREATE FUNCTION eb.purge(queue text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eb_purge' LANGUAGE C;
COMMENT ON FUNCTION eb.purge(text) IS
'Delete all messages of a queue, received ones too; returns how many.  Messages that an open transaction has just sent or taken stay.  Does not wait and stops nobody; but of a FIFO queue consumers and senders wait until the transaction that purges it ends.  Needs TRUNCATE on the queue''s view.';
