-- Effects that happen once: keys that are remembered for a time.

-- Both begin with the same two columns; key is an event id, or a hash of the
-- text that is kept in name.
CREATE TYPE eb.processed AS (
	key				uuid,
	expires_at		timestamptz,	-- from then on it is as if the row were not there
	lease_until		timestamptz,	-- null: completed; -infinity: failed; else the holder's until then
	token			bigint,			-- of the newest lease; null: made by process_once
	attempts		integer,
	name			text,			-- the key as given; null: it was a uuid
	payload_hash	text,
	last_error		text,
	result			jsonb
);
COMMENT ON TYPE eb.processed IS 'Row of the tables in which a consumer''s keys are remembered; eb.consumer_<name> shows them.';

CREATE TYPE eb.published AS (
	key				uuid,
	expires_at		timestamptz,
	event_id		uuid,			-- buses: of the first event with the key
	message_id		bigint,			-- queues: of the first message with the key
	name			text			-- the dedup_id; null: the content serves as key
);
COMMENT ON TYPE eb.published IS 'Row of the tables in which the dedup ids of a bus or FIFO queue are remembered.';

CREATE TABLE eb.key_windows (
	kind			text COLLATE "C" NOT NULL CHECK (kind IN ('consumer', 'bus', 'queue')),
	name			text COLLATE "C" NOT NULL,
	ttl				interval NOT NULL,			-- how long a key is remembered
	previous_ttl	interval,					-- it was changed, and older keys may live as long as this says
	hold_until		timestamptz,				-- no table is emptied before that
	duplicates		bigint NOT NULL DEFAULT 0,	-- seen, up to the last maintenance
	description		text,
	created_at		timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (kind, name)
);
COMMENT ON TABLE eb.key_windows IS
'Sets of keys that are remembered for a time: of consumers (eb.create_consumer), and the dedup ids of buses and FIFO queues.  Each lies in two tables that are written and emptied in turn.';
SELECT pg_catalog.pg_extension_config_dump('eb.key_windows', '');

CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.key_windows
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
ALTER TABLE eb.key_windows ENABLE ALWAYS TRIGGER config_changed;

-- once_config.c

CREATE FUNCTION eb.create_consumer(name text, ttl interval DEFAULT '7 days', description text DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_create_consumer' LANGUAGE C;
COMMENT ON FUNCTION eb.create_consumer IS
$$Make a consumer: a name under which keys are remembered that have been processed (eb.process_once, eb.begin_processing), and a view eb.consumer_<name> that shows them and on which its privileges hang.  The creator gets ALL on the view WITH GRANT OPTION.

ttl (1 second to 1 year): how long a key is remembered after it was processed.  It should be longer than the longest time after which the same event can come again: the retention of the queue and of its dead-letter queue.  A key costs about 120 bytes, and is kept for at most two to three times its ttl.

Privileges on the view: INSERT processes, SELECT looks at what is remembered, DELETE forgets a key (eb.forget_key), TRUNCATE changes settings and drops.

Names are up to 48 letters, digits, "_" and "-".  Raises invalid_name, name_too_long, duplicate_object, reserved_name, and invalid_parameter_value for a ttl out of its range.$$;

CREATE FUNCTION eb.update_consumer(name text, ttl interval DEFAULT NULL, description text DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_update_consumer' LANGUAGE C;
COMMENT ON FUNCTION eb.update_consumer IS
'Change a consumer (see eb.create_consumer); null leaves a setting as it is.  A new ttl holds for keys that are processed from then on; what is remembered already expires when it would have.  Needs TRUNCATE on the consumer''s view.';

CREATE FUNCTION eb.drop_consumer(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_drop_consumer' LANGUAGE C;
COMMENT ON FUNCTION eb.drop_consumer(text) IS
'Drop a consumer and forget all of its keys.  Waits for transactions that use it.  Needs TRUNCATE on the consumer''s view.';

CREATE FUNCTION eb.consumer_view_refuse() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_consumer_view_refuse' LANGUAGE C;
COMMENT ON FUNCTION eb.consumer_view_refuse() IS
'Trigger of consumer views: refuses plain INSERT, UPDATE and DELETE.';

-- once_process.c

CREATE FUNCTION eb.process_once(consumer text, event_id uuid) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_process_once' LANGUAGE C;
COMMENT ON FUNCTION eb.process_once(text, uuid) IS
$$True the first time that a consumer passes an event id, false after.  The id is remembered in the caller's transaction: if that rolls back, because the work failed or the server crashed, it never was, and the next call is true again.  So the effects of

  IF eb.process_once('billing', event_id) THEN ... END IF;

in the same database happen once, however often the event is delivered.

If another transaction has passed the same id and is still open, the call waits for it: false if it commits, true if it rolls back.  After the consumer's ttl an id is forgotten.

Raises undefined_object (no such consumer; make it with eb.create_consumer), serialization_failure if a REPEATABLE READ or SERIALIZABLE transaction meets an id that was committed after its snapshot was taken (run the transaction again: it will be false), object_not_in_prerequisite_state if the key is under a lease of eb.begin_processing.  Needs INSERT on eb.consumer_<name>.$$;

CREATE FUNCTION eb.process_once(consumer text, key text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_process_once_key' LANGUAGE C;
COMMENT ON FUNCTION eb.process_once(text, text) IS
'The same for any text as key, such as the idempotency key of a request.  A text that spells a uuid is the same key as that uuid.';

CREATE FUNCTION eb.forget_key(consumer text, key text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_forget_key' LANGUAGE C;
COMMENT ON FUNCTION eb.forget_key(text, text) IS
'Forget a key (a text, or an event id as text), so that it can be processed again; false if it was not known.  Takes effect with the transaction.  Needs DELETE on the consumer''s view.';

-- once_lease.c

CREATE FUNCTION eb.begin_processing(consumer text, key text,
		lease interval DEFAULT '30 seconds',
		payload_hash text DEFAULT NULL,
		payload jsonb DEFAULT NULL,
		OUT state text, OUT token bigint, OUT attempt integer,
		OUT lease_until timestamptz, OUT result jsonb, OUT last_error text)
	AS 'MODULE_PATHNAME', 'eb_begin_processing' LANGUAGE C;
COMMENT ON FUNCTION eb.begin_processing IS
$$Start work that has effects outside of the database (a payment, an e-mail), and remember its result.  Call it and commit before the work, settle it with eb.complete_processing or eb.fail_processing after.  state is

started: the key is the caller's until lease_until.  token names this lease; attempt is 1, or counts on from earlier ones that failed or whose lease ended (last_error says why).
in_progress: somebody else holds it until lease_until.
completed: it was done; result is what the one who did it stored.

A lease that has ended may be taken over by the next caller; the earlier holder can then settle nothing any more.  Tokens of one key grow, so an outside system can refuse the older of two holders.

lease: 1 millisecond to the consumer's ttl (or 1 hour, if that is longer).  payload_hash or payload (whose hash is then taken): what the key stands for; the same key with another one raises invalid_parameter_value.  Null is not compared.

Waits while another transaction is about to start, settle or forget the same key.  Errors as for eb.process_once.  Needs INSERT on eb.consumer_<name>.$$;

CREATE FUNCTION eb.complete_processing(consumer text, key text, result jsonb DEFAULT NULL, token bigint DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_complete_processing' LANGUAGE C;
COMMENT ON FUNCTION eb.complete_processing(text, text, jsonb, bigint) IS
$$The work on a key is done: store the result, for all later calls of eb.begin_processing, and for the consumer's ttl from now on.

token is the one that eb.begin_processing returned; it may be left out only while the key was started no more than once.  A lease that has ended, but was not taken over, can still be completed.  Completing twice with the same token does nothing.

Raises undefined_object if the key is not known (any more), object_not_in_prerequisite_state if somebody else has taken the lease over.  Needs INSERT on eb.consumer_<name>.$$;

CREATE FUNCTION eb.fail_processing(consumer text, key text, error text DEFAULT NULL, token bigint DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_fail_processing' LANGUAGE C;
COMMENT ON FUNCTION eb.fail_processing(text, text, text, bigint) IS
'The work on a key failed: end the lease, so that the next eb.begin_processing starts at once.  error is shown to it as last_error.  token and errors as for eb.complete_processing; a completed key cannot fail any more.';

CREATE FUNCTION eb.extend_processing(consumer text, key text, lease interval DEFAULT '30 seconds', token bigint DEFAULT NULL)
	RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'eb_extend_processing' LANGUAGE C;
COMMENT ON FUNCTION eb.extend_processing(text, text, interval, bigint) IS
'Hold the lease on a key until now plus lease; returns that time.  token and errors as for eb.complete_processing.';

-- once_rotate.c

CREATE FUNCTION eb.maintain_keys() RETURNS integer
	AS 'MODULE_PATHNAME', 'eb_maintain_keys' LANGUAGE C;
COMMENT ON FUNCTION eb.maintain_keys() IS
'Part of eb.maintain: empty the tables of keys in which everything has expired, and add up duplicates; returns how many tables were emptied.  A table that is in use is left for the next time.';

CREATE FUNCTION eb.key_stats(kind text, name text,
		OUT entries bigint, OUT in_progress bigint, OUT failed bigint,
		OUT oldest timestamptz, OUT bytes bigint, OUT duplicates bigint)
	AS 'MODULE_PATHNAME', 'eb_key_stats' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION eb.key_stats(text, text) IS
'Part of eb.consumer_status and eb.dedup_status, and for those who may read them.  kind is consumer, bus or queue.  Counts exactly up to 8 MB a table, and from a sample of blocks above.';

CREATE VIEW eb.consumer_status AS
	SELECT w.name AS consumer, w.ttl, s.entries, s.in_progress, s.failed, s.oldest, s.bytes, s.duplicates, w.description
	FROM eb.key_windows w CROSS JOIN LATERAL eb.key_stats(w.kind, w.name) s
	WHERE w.kind = 'consumer';
COMMENT ON VIEW eb.consumer_status IS
'Consumers: how many keys are remembered (estimated above 8 MB a table), when the oldest was processed, how often a known key was passed again (null without shared memory: PostgreSQL 15 and 16 without preload).';

CREATE VIEW eb.dedup_status AS
	SELECT w.kind, w.name, w.ttl AS dedup_window, s.entries, s.oldest, s.bytes, s.duplicates
	FROM eb.key_windows w CROSS JOIN LATERAL eb.key_stats(w.kind, w.name) s
	WHERE w.kind <> 'consumer';
COMMENT ON VIEW eb.dedup_status IS
'Dedup ids of buses and FIFO queues: how many are remembered (estimated above 8 MB a table), when the oldest came, how many duplicates there were (null without shared memory: PostgreSQL 15 and 16 without preload).';
