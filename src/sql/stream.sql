-- Subscriptions: a pattern and a position in the log.

CREATE TABLE eb.subscriptions (
	name				text COLLATE "C" NOT NULL PRIMARY KEY,
	subscription_id		integer NOT NULL UNIQUE,
	bus					text NOT NULL,
	pattern				jsonb,					-- null: every event of the bus
	partitions				integer NOT NULL,		-- readers by group key
	queue				text,					-- null: a cursor that is read
	rule				text,					-- with a queue: the rule that feeds it
	subscription_view	regclass NOT NULL,		-- eb.subscription_<name>: carries the privileges
	paused				boolean NOT NULL DEFAULT false,
	paused_version		bigint,					-- with a queue: rules_version from which it was paused
	paused_at			uuid,					-- and an id before all that it missed
	description			text,
	created_at			timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE eb.subscriptions IS 'Subscriptions; made by eb.create_subscription.';

-- One row a partition.  Updated in place (HOT): the row fits often into its page.
CREATE TABLE eb.subscription_positions (
	subscription		text COLLATE "C" NOT NULL,
	partition				integer NOT NULL,
	"position"			uuid NOT NULL,			-- events up to this id are done
	evaluated			bigint NOT NULL DEFAULT 0,
	matched				bigint NOT NULL DEFAULT 0,
	committed_at		timestamptz NOT NULL,
	PRIMARY KEY (subscription, partition)
) WITH (fillfactor = 20);
COMMENT ON TABLE eb.subscription_positions IS
'Where each partition of a cursor subscription stands.  Dumped and restored with the configuration.';

SELECT pg_catalog.pg_extension_config_dump('eb.subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('eb.subscription_positions', '');

CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.subscriptions
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
ALTER TABLE eb.subscriptions ENABLE ALWAYS TRIGGER config_changed;

CREATE FUNCTION eb.create_subscription(
	name text,
	bus text DEFAULT 'default',
	pattern jsonb DEFAULT NULL,
	start text DEFAULT 'latest',
	queue text DEFAULT NULL,
	partitions integer DEFAULT 1,
	description text DEFAULT NULL
) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_create_subscription' LANGUAGE C;
COMMENT ON FUNCTION eb.create_subscription(text, text, jsonb, text, text, integer, text) IS
'Create a subscription: the events of a bus that match pattern (null: all of them) from start on.  start is ''latest'' (events put after this call has committed), ''earliest'' (all that the log has) or a time of ingestion.  Without a queue it is a cursor on the log that eb.read and eb.commit move; nothing is written per event.  With partitions > 1 that many readers work side by side, each in order: events of one group_key always come to the same partition.  The creator needs SELECT on the bus''s view and gets ALL on eb.subscription_<name>: UPDATE there is the privilege to read and commit, TRUNCATE to pause, seek and drop.

Readers of a cursor need not poll: LISTEN on channel "eb_sub_<name>" (payload: the name) and read after each notification until less comes than was asked for; or CALL eb.wait(subscription => name).  Notifications are coalesced as those of queues are, and come when an event of the bus becomes readable, whether the pattern matches it or not.  A queue named sub_<name> would share the channel; the payload tells.

With a queue its messages are delivered there: a rule of the subscription''s name routes what is put from now on, and a backfill ("subscription-<name>" in eb.replay_status) brings what was put before, from start on, each event exactly once, history in id order.  Live messages do not wait for history; where order matters, use a FIFO queue: history goes there first, and publishers are held up for the moment of the hand-over.  Needs the privilege to manage the bus''s rules and INSERT on the queue''s view; partitions is for cursors.';

CREATE FUNCTION eb.drop_subscription(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_drop_subscription' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.drop_subscription(text) IS
'Drop a subscription and its position.  The log is not touched.';

CREATE FUNCTION eb.pause_subscription(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_pause_subscription' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.pause_subscription(text) IS
'Pause a subscription: eb.read returns nothing until eb.resume_subscription.  The position stays.  With a queue: nothing is delivered there, neither what is put nor history, until then.';

CREATE FUNCTION eb.resume_subscription(name text, "from" text DEFAULT 'last') RETURNS void
	AS 'MODULE_PATHNAME', 'eb_resume_subscription' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.resume_subscription(text, text) IS
'Resume a paused subscription: from ''last'', where it stood, or from ''latest'', skipping what was put meanwhile; of one with a FIFO queue, whose history comes first, also what of that was not delivered yet.';

CREATE FUNCTION eb.seek(subscription text, "to" text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_seek_text' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.seek(text, text) IS
'Move a subscription (all of its partitions) to ''earliest'', ''latest'' or a time of ingestion.  Waits for a reader in the middle of a transaction.';

CREATE FUNCTION eb.seek(subscription text, "to" timestamptz) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_seek_time' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.seek(text, timestamptz) IS
'Move a subscription (all of its partitions) to a time: the next event read is the first one ingested at or after it.';

CREATE FUNCTION eb.seek(subscription text, "to" uuid) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_seek_position' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.seek(text, uuid) IS
'Move a subscription (all of its partitions) to an event: the next one read is the first after it.';

CREATE FUNCTION eb.read(
	subscription text,
	max_events integer DEFAULT 100,
	partition integer DEFAULT NULL
) RETURNS SETOF eb.event
	AS 'MODULE_PATHNAME', 'eb_read' LANGUAGE C ROWS 100;
COMMENT ON FUNCTION eb.read(text, integer, integer) IS
'The next events of a subscription in id order, at most max_events (default 100, at most 100000).  Does not move the position: call eb.commit with the id of the last one, in the same transaction as what you did with them for exactly once.  A partition is read by one transaction at a time: a second reader waits for the first one''s end; with partition null and several partitions it takes one that is free, the one longest not read first.  No event is skipped because its transaction committed late: events above the oldest open publisher''s first id wait for its end (eb.subscription_status shows it).  When nothing matches, the position moves over what was looked at.  A read that returns nothing lets the partition go at once; one that returns less than max_events lets the next event send a NOTIFY on channel "eb_sub_<subscription>".';

CREATE FUNCTION eb.commit(
	subscription text,
	"position" uuid,
	partition integer DEFAULT NULL
) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_commit' LANGUAGE C;
COMMENT ON FUNCTION eb.commit(text, uuid, integer) IS
'Move a subscription''s position to an event that was read: it and all before it are done.  True if it moved; false if it stood there or further on already (another reader was faster).  Of a subscription with several partitions the partition must be given: the partition column of the event.  A null position commits nothing.';

CREATE FUNCTION eb.subscription_lag(
	subscription text,
	partition integer,
	OUT lag_events bigint,
	OUT lag_exact boolean,
	OUT lag interval,
	OUT held_by integer,
	OUT held_since timestamptz
) RETURNS record
	AS 'MODULE_PATHNAME', 'eb_subscription_lag' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.subscription_lag(text, integer) IS
'How far a partition of a subscription is behind: events after the position that its pattern matches and that are committed, also those that wait for an older open publisher; the age of the first of them; and the backend that holds the horizon back by an open transaction that has published, if there is one.  Events that the pattern leaves out are no lag, whether they were read or not.  Up to 10000 events of the bus are matched; beyond them the number is an estimate, lag_exact is false, and where none has matched the age is that of the first event not looked at.  The lag is null during recovery.  Needs any privilege on the subscription''s view.';

CREATE VIEW eb.subscription_status WITH (security_barrier) AS
	SELECT s.name AS subscription,
		s.bus,
		s.queue,
		p.partition,
		CASE WHEN s.paused THEN 'paused' ELSE 'active' END AS state,
		p."position",
		eb.event_time(p."position") AS position_time,
		l.lag_events,
		l.lag_exact,
		l.lag,
		p.evaluated,
		p.matched,
		p.committed_at,
		l.held_by,
		l.held_since,
		NULL::text AS error,
		s.pattern,
		s.description
	FROM eb.subscriptions s
		JOIN eb.subscription_positions p ON p.subscription = s.name
		CROSS JOIN LATERAL eb.subscription_lag(s.name, p.partition) l
	WHERE pg_catalog.has_table_privilege(s.subscription_view, 'SELECT, UPDATE, TRUNCATE')
UNION ALL
	SELECT s.name,
		s.bus,
		s.queue,
		NULL,
		CASE WHEN s.paused THEN 'paused'
			WHEN r.state IN ('STARTING', 'RUNNING') THEN 'backfilling'
			WHEN r.state IN ('PAUSED', 'FAILED') THEN 'backfill ' || pg_catalog.lower(r.state)
			WHEN u.enabled THEN 'active'
			WHEN u.enabled IS NULL THEN 'rule deleted'
			ELSE 'rule disabled' END,
		g."position",
		eb.event_time(g."position"),
		CASE WHEN r.state IN ('STARTING', 'RUNNING', 'PAUSED', 'FAILED')
			THEN greatest(r.estimated - g.scanned, 0) ELSE 0 END,
		coalesce(r.state NOT IN ('STARTING', 'RUNNING', 'PAUSED', 'FAILED'), true),
		CASE WHEN r.state IN ('STARTING', 'RUNNING', 'PAUSED', 'FAILED')
			THEN eb.clock() - eb.event_time(g."position") ELSE '0'::interval END,
		g.scanned,
		g.replayed,
		g.updated_at,
		NULL,
		NULL,
		r.error,
		s.pattern,
		s.description
	FROM eb.subscriptions s
		LEFT JOIN eb.replays r ON r.name = 'subscription-' || s.name
		LEFT JOIN eb.replay_progress g ON g.replay = r.name
		LEFT JOIN eb.rules u ON u.bus = s.bus AND u.name = s.rule
	WHERE s.queue IS NOT NULL
		AND pg_catalog.has_table_privilege(s.subscription_view, 'SELECT, UPDATE, TRUNCATE');
COMMENT ON VIEW eb.subscription_status IS
'Subscriptions.  Of a cursor, a row for each partition: where it stands, how far behind it is in events that its pattern matches (exact while at most 10000 events wait to be looked at), how many events it looked at and matched, and which backend''s open publishing transaction holds it up.  Of one with a queue: whether its history is still being delivered (backfilling), how far that is, and its error; "rule disabled" and "rule deleted" if somebody did that to its rule, or cancelled the replay that was to enable it (eb.enable_rule); eb.rule_status counts what its rule matched live.';
