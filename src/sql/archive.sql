-- Archives and replays: what is kept longer, and delivering it again.

CREATE TABLE eb.archives (
	name				text COLLATE "C" NOT NULL PRIMARY KEY,
	bus					text NOT NULL,
	pattern				jsonb,					-- null: every event of the bus
	retention			interval,				-- null: for ever
	class				smallint NOT NULL,		-- retention class that matching events are filed under at least
	enabled				boolean NOT NULL DEFAULT true,
	archive_view		regclass NOT NULL,		-- eb.archive_<name>: carries the privileges
	description			text,
	created_at			timestamptz NOT NULL DEFAULT now(),
	updated_at			timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE eb.archives IS 'Archives: which events of a bus are kept for how long; made by eb.create_archive.';

-- What the maintainer has counted, a row for each archive and month.
CREATE TABLE eb.archive_counts (
	archive				text COLLATE "C" NOT NULL,
	leaf				text COLLATE "C" NOT NULL,	-- partition of the log; goes with it
	events				bigint NOT NULL,
	bytes				bigint NOT NULL,
	oldest				uuid NOT NULL,
	newest				uuid NOT NULL,
	PRIMARY KEY (archive, leaf)
) WITH (fillfactor = 50);
COMMENT ON TABLE eb.archive_counts IS 'Events and bytes of archives by partition of the log, as far as counted.';

CREATE TABLE eb.archive_counted (
	archive				text COLLATE "C" NOT NULL PRIMARY KEY,
	"position"			uuid NOT NULL			-- events up to this id are in archive_counts
) WITH (fillfactor = 20);
COMMENT ON TABLE eb.archive_counted IS 'How far the events of an archive have been counted.';

CREATE TABLE eb.replays (
	name				text COLLATE "C" NOT NULL PRIMARY KEY,
	kind				text NOT NULL,			-- replay, backfill, handover (history, then its rule is enabled)
	bus					text NOT NULL,
	archive				text,
	rules				text[],					-- null: all of the bus
	to_queue			text,					-- instead of the rules
	pattern				jsonb,
	after				uuid NOT NULL,			-- events after this id
	before				uuid,					-- and before this one; null: not known yet
	max_rate			integer,				-- events delivered a second
	through_buses		boolean NOT NULL,
	dry_run				boolean NOT NULL,
	state				text NOT NULL,
	from_version		bigint,					-- backfill: only events routed by this rules_version or a later one
	owner				regrole NOT NULL,		-- who started it: may pause and cancel it
	made_version		bigint,					-- backfill: rules_version of the bus when it was started
	routed				bigint[],				-- and ranges of versions (first, end, ...) under which its rule routed before
	estimated			bigint,
	error				text,
	created_at			timestamptz NOT NULL DEFAULT now(),
	ended_at			timestamptz
);
COMMENT ON TABLE eb.replays IS 'Replays and backfills; made by eb.start_replay, eb.backfill_rule and eb.create_subscription.';

-- Written with every chunk, in its transaction; apart from eb.replays, whose
-- changes invalidate caches.
CREATE TABLE eb.replay_progress (
	replay				text COLLATE "C" NOT NULL PRIMARY KEY,
	"position"			uuid NOT NULL,			-- events up to this id are done
	scanned				bigint NOT NULL DEFAULT 0,
	replayed			bigint NOT NULL DEFAULT 0,
	deliveries			bigint NOT NULL DEFAULT 0,
	busy				interval NOT NULL DEFAULT '0',	-- with max_rate, the time that its events may take
	next_at				timestamptz,			-- with max_rate: not before that
	updated_at			timestamptz NOT NULL
) WITH (fillfactor = 20);
COMMENT ON TABLE eb.replay_progress IS 'How far each replay is.';

SELECT pg_catalog.pg_extension_config_dump('eb.archives', '');
SELECT pg_catalog.pg_extension_config_dump('eb.archive_counts', '');
SELECT pg_catalog.pg_extension_config_dump('eb.archive_counted', '');
SELECT pg_catalog.pg_extension_config_dump('eb.replays', '');
SELECT pg_catalog.pg_extension_config_dump('eb.replay_progress', '');

CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.archives
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
ALTER TABLE eb.archives ENABLE ALWAYS TRIGGER config_changed;
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.replays
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
ALTER TABLE eb.replays ENABLE ALWAYS TRIGGER config_changed;

-- archive_config.c

CREATE FUNCTION eb.create_archive(name text,
		bus text DEFAULT 'default',
		pattern jsonb DEFAULT NULL,
		retention interval DEFAULT NULL,
		description text DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_create_archive' LANGUAGE C;
COMMENT ON FUNCTION eb.create_archive(text, text, jsonb, interval, text) IS
$$Keep the events of a bus that match pattern (null: all of them) for retention (null, the default: for ever), from the moment this commits.  A bus may have many archives, and they may overlap: an event is stored once, under the longest retention that its bus, its archives and its queues ask for, and nothing is copied.  What an archive holds is what the log has of matching events within its retention, also from before it was made.

Makes the view eb.archive_<name>: SELECT there reads and replays the archive, TRUNCATE changes and deletes it; the creator gets both WITH GRANT OPTION.  Needs SELECT and TRUNCATE on the bus's view.  As CreateArchive of Amazon EventBridge.$$;

CREATE FUNCTION eb.update_archive(name text,
		pattern jsonb DEFAULT NULL,
		retention interval DEFAULT NULL,
		description text DEFAULT NULL,
		every_event boolean DEFAULT false,
		for_ever boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_update_archive' LANGUAGE C;
COMMENT ON FUNCTION eb.update_archive(text, jsonb, interval, text, boolean, boolean) IS
'Change an archive; null leaves a setting as it is.  every_event removes the pattern, for_ever the limit of retention.  Events that are in the log keep the retention under which they were filed.  Needs TRUNCATE on the archive''s view.';

CREATE FUNCTION eb.delete_archive(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_delete_archive' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.delete_archive(text) IS
'Delete an archive.  Events that were filed for it stay in the log until their retention is over.  Refused while a replay of it is not finished.  Needs TRUNCATE on the archive''s view.';

CREATE FUNCTION eb.enable_archive(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_enable_archive' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.enable_archive(text) IS
'Let a disabled archive ask for its retention again, for events that are put from now on.';

CREATE FUNCTION eb.disable_archive(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_disable_archive' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.disable_archive(text) IS
'Events that are put from now on are not filed for this archive; what it holds stays, and can be read and replayed.';

-- archive_read.c

CREATE FUNCTION eb.archived_events(archive text,
		"from" timestamptz DEFAULT NULL,
		"to" timestamptz DEFAULT NULL)
	RETURNS SETOF eb.event
	AS 'MODULE_PATHNAME', 'eb_archived_events' LANGUAGE C;
COMMENT ON FUNCTION eb.archived_events(text, timestamptz, timestamptz) IS
'The events of an archive that were ingested at or after "from" and before "to" (null: no bound), in id order.  Events of transactions that began to publish before one that is still open may be missing until it ends, as for eb.read.  Needs SELECT on the archive''s view.';

CREATE FUNCTION eb.archive_totals(archive text,
		OUT events bigint, OUT bytes bigint, OUT oldest timestamptz, OUT newest timestamptz, OUT exact boolean)
	AS 'MODULE_PATHNAME', 'eb_archive_totals' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.archive_totals(text) IS
'What an archive holds: the maintainer''s counts by partition and, on top, what came since (up to 10000 events of the log, else exact is false).  A partition that the retention has passed in part counts as a whole, and exact is false as well.  Bytes are those of the details as stored.';

CREATE VIEW eb.archive_status WITH (security_barrier) AS
	SELECT a.name AS archive,
		a.bus,
		CASE WHEN a.enabled THEN 'ENABLED' ELSE 'DISABLED' END AS state,
		a.retention,
		t.events,
		t.bytes,
		t.oldest,
		t.newest,
		t.exact,
		a.pattern,
		a.description,
		a.created_at
	FROM eb.archives a
		CROSS JOIN LATERAL eb.archive_totals(a.name) t
	WHERE pg_catalog.has_table_privilege(a.archive_view, 'SELECT, TRUNCATE');
COMMENT ON VIEW eb.archive_status IS
'Archives: state, and how much they hold.  A null retention is for ever.';

-- archive_import.c

CREATE FUNCTION eb.import_events(archive text, "table" regclass) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eb_import_events' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.import_events(text, regclass) IS
'Take the rows of a table into an archive: events that were exported from another database with SELECT * FROM eb.archived_events(...) into a table of type eb.event.  They keep their ids and so their times of ingestion, are filed under the archive''s retention, and are not routed; eb.start_replay delivers them.  Ids that the log has already are left out, so it can be run again; an id whose time lies in the future is refused.  Returns the number of events that were new.  Needs TRUNCATE on the archive''s view and SELECT on the table.';

-- archive_replay.c

CREATE FUNCTION eb.start_replay(name text,
		archive text,
		"from" timestamptz DEFAULT NULL,
		"to" timestamptz DEFAULT NULL,
		rules text[] DEFAULT NULL,
		to_queue text DEFAULT NULL,
		pattern jsonb DEFAULT NULL,
		max_rate integer DEFAULT NULL,
		dry_run boolean DEFAULT false,
		through_buses boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_start_replay' LANGUAGE C;
COMMENT ON FUNCTION eb.start_replay(text, text, timestamptz, timestamptz, text[], text, jsonb, integer, boolean, boolean) IS
$$Deliver the events of an archive again that were ingested at or after "from" and before "to" (null: the oldest; now), in id order: to the targets of the bus's rules as they are now (rules: only these), or to one queue instead (to_queue).  pattern: only events that match it, too.  A rule that is named must be enabled; if it is disabled or deleted before the end the replay fails, and can be resumed when it is there again.  max_rate: events a second, at most.  dry_run: count, deliver nothing.  Targets that are buses are left out unless through_buses; events that go through one are new events there.

Runs in the maintenance worker, in chunks whose position is saved with their deliveries: killed anywhere it goes on, and each event is delivered exactly once per target.  Without workers: CALL eb.run_replay(name).  The messages carry the replay's name, and "replay-name" in their envelope; they are not archived again.

Needs SELECT on the archive's view and the privilege to manage the bus's rules, or for to_queue INSERT on the queue's view.  As StartReplay of Amazon EventBridge.$$;

CREATE FUNCTION eb.backfill_rule(bus text, rule text,
		since timestamptz DEFAULT NULL,
		name text DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'eb_backfill_rule' LANGUAGE C;
COMMENT ON FUNCTION eb.backfill_rule(text, text, timestamptz, text) IS
$$Deliver to a rule's targets what was put before the rule: events ingested at or after since (null: all that the log has) that its pattern matches and that were not routed by it, in id order, each exactly once per target.  Waits for transactions that were publishing when the rule was put, prepared ones included, so nothing falls between history and live.  A target that came later than the rule gets what was put before the target.  A rule that was disabled and is enabled again counts as new from then on: pass the time at which it was disabled as since.  The rule must be enabled; if it is disabled or changed before the end, the backfill fails.  Returns the name of the replay that does it (name, or "backfill-<rule>-<n>"); see eb.replay_status.  Needs the privilege to manage the bus's rules.$$;

CREATE FUNCTION eb.pause_replay(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_pause_replay' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.pause_replay(text) IS 'Stop a replay after its chunk, until eb.resume_replay.';

CREATE FUNCTION eb.resume_replay(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_resume_replay' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.resume_replay(text) IS 'Let a paused or failed replay go on where it stopped.';

CREATE FUNCTION eb.cancel_replay(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_cancel_replay' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.cancel_replay(text) IS
'End a replay after its chunk (CANCELLING, then CANCELLED).  What was delivered stays.';

CREATE FUNCTION eb.delete_replay(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'eb_delete_replay' LANGUAGE C STRICT;
COMMENT ON FUNCTION eb.delete_replay(text) IS
'Forget a replay that has ended.  The maintainer does it 30 days after its end.';

CREATE PROCEDURE eb.run_replay(name text)
	AS 'MODULE_PATHNAME', 'eb_run_replay' LANGUAGE C;
COMMENT ON PROCEDURE eb.run_replay(text) IS
'Run a replay or backfill in this session until it has ended or is paused, committing chunk by chunk.  Cannot run inside a transaction block.';

CREATE FUNCTION eb.replay_figures(state text, estimated bigint, scanned bigint, replayed bigint, busy interval,
		OUT percent numeric, OUT rate numeric, OUT scan_rate numeric, OUT bar text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT f.percent, f.rate, f.scan_rate,
		'[' || pg_catalog.repeat('#', (f.percent / 5)::integer) ||
		pg_catalog.repeat('.', 20 - (f.percent / 5)::integer) || ']'
	FROM (SELECT
			CASE WHEN replay_figures.state = 'COMPLETED' THEN 100.0
				WHEN replay_figures.estimated > 0
				THEN pg_catalog.round(least(100.0 * replay_figures.scanned / replay_figures.estimated, 99.9), 1)
				ELSE 0.0 END AS percent,
			CASE WHEN s.seconds > 0 THEN pg_catalog.round(replay_figures.replayed / s.seconds) END AS rate,
			CASE WHEN s.seconds > 0 THEN pg_catalog.round(replay_figures.scanned / s.seconds) END AS scan_rate
		FROM (SELECT EXTRACT(epoch FROM replay_figures.busy) AS seconds) s) f;
END;
COMMENT ON FUNCTION eb.replay_figures(text, bigint, bigint, bigint, interval) IS
'Figures of a replay for eb.replay_status: percent of the estimated events, events replayed and looked at a second while it ran, and a progress bar.';

CREATE VIEW eb.replay_status WITH (security_barrier) AS
	SELECT r.name AS replay,
		r.kind,
		r.state,
		s.bar AS progress,
		p.replayed,
		p.scanned,
		p.deliveries,
		r.estimated,
		s.percent,
		s.rate,
		CASE WHEN s.scan_rate > 0 AND r.state IN ('STARTING', 'RUNNING')
			THEN pg_catalog.make_interval(secs => pg_catalog.round(greatest(r.estimated - p.scanned, 0) / s.scan_rate, 1)::double precision) END AS time_left,
		r.error,
		r.bus,
		r.archive,
		r.rules,
		r.to_queue,
		eb.event_time(r.after) AS "from",
		eb.event_time(r.before) AS "to",
		eb.event_time(p."position") AS "position",
		r.dry_run,
		r.created_at,
		r.ended_at
	FROM eb.replays r
		JOIN eb.replay_progress p ON p.replay = r.name
		CROSS JOIN LATERAL eb.replay_figures(r.state, r.estimated, p.scanned, p.replayed, p.busy) s
	WHERE pg_catalog.pg_has_role(r.owner, 'MEMBER');
COMMENT ON VIEW eb.replay_status IS
'Replays and backfills of roles that you are a member of.  progress is a bar for \watch; percent, rate (events a second) and time_left are estimates from scanned and estimated, the events in its range of the log.  state: STARTING, RUNNING, PAUSED, COMPLETED, CANCELLING, CANCELLED, FAILED (with error).';
