-- Configuration tables: written by functions, readable with plain SQL, carried
-- by pg_dump.  They have natural keys, no foreign keys (pg_restore -j loads
-- them in any order) and no rows from this script.

CREATE TABLE eb.retention_classes (
	class				smallint NOT NULL PRIMARY KEY,
	keep				interval,				-- null: for ever
	partition_interval	interval NOT NULL,		-- 1 hour, 1 day or 1 month
	created_at			timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE eb.retention_classes IS
'How long events are kept: each class is a LIST partition of eb.events, partitioned by ingestion time in turn.';

CREATE TABLE eb.buses (
	name				text COLLATE "C" NOT NULL PRIMARY KEY,
	bus_id				integer NOT NULL UNIQUE,
	log_view			regclass NOT NULL,		-- eb.bus_<name>: carries the privileges
	retention			interval,				-- null: for ever
	class				smallint NOT NULL,		-- retention class that events are filed under at least
	rules_version		bigint NOT NULL,		-- grows with every change of the bus's rules, in commit order
	content_dedup		boolean NOT NULL DEFAULT false,	-- the content of an event serves as dedup id
	description			text,
	created_at			timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE eb.buses IS 'Event buses; made by eb.create_bus.';

CREATE TABLE eb.rules (
	bus					text COLLATE "C" NOT NULL,
	name				text COLLATE "C" NOT NULL,
	pattern				jsonb NOT NULL,
	enabled				boolean NOT NULL DEFAULT true,
	description			text,
	since_version		bigint NOT NULL,		-- rules_version of the bus from which the pattern applies
	created_at			timestamptz NOT NULL DEFAULT now(),
	updated_at			timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (bus, name)
);
COMMENT ON TABLE eb.rules IS 'Rules: which events of a bus go to the rule''s targets; made by eb.put_rule.';

CREATE TABLE eb.targets (
	bus					text COLLATE "C" NOT NULL,
	rule				text COLLATE "C" NOT NULL,
	name				text COLLATE "C" NOT NULL,
	target_id			integer NOT NULL UNIQUE,
	kind				text NOT NULL,			-- queue, bus, notify
	destination			text NOT NULL,			-- name of the queue, bus or notify channel
	input				jsonb,					-- constant body
	input_path			text,					-- jsonpath into the envelope
	input_transformer	jsonb,					-- {"InputPathsMap": {...}, "InputTemplate": "..."}
	on_missing			text NOT NULL DEFAULT 'null',	-- null, omit, error: what a path without a value gives
	bus_source			text,					-- bus targets: source of the forwarded event; null: as it was
	bus_detail_type		text,
	since_version		bigint NOT NULL,		-- rules_version of the bus from which events go there
	created_at			timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (bus, rule, name),
	CHECK (num_nonnulls(input, input_path, input_transformer) <= 1)
);
COMMENT ON TABLE eb.targets IS 'Where the events that match a rule go, and in which shape; made by eb.put_target.';

CREATE TABLE eb.queues (
	name				text COLLATE "C" NOT NULL PRIMARY KEY,
	queue_id			integer NOT NULL UNIQUE,
	queue_table			regclass NOT NULL,		-- eb.q_<name>: the rows; privileges hang on the view
	queue_view			regclass NOT NULL,		-- eb.queue_<name>: carries the privileges
	fifo				boolean NOT NULL,
	is_dlq				boolean NOT NULL,		-- made or named as another queue's dead-letter queue
	dead_letter_queue	text,					-- null: messages are retried without end
	max_receive_count	integer NOT NULL,
	visibility_timeout	interval NOT NULL,
	delay				interval NOT NULL,
	retention			interval NOT NULL,		-- of messages
	backoff_base		interval NOT NULL,
	backoff_factor		double precision NOT NULL,
	backoff_cap			interval NOT NULL,
	min_redelivery_delay interval NOT NULL,
	max_per_group		integer NOT NULL,		-- FIFO: messages of one group out at a time
	dedup_window		interval NOT NULL,		-- FIFO: how long a dedup id is remembered
	content_dedup		boolean NOT NULL,		-- FIFO: hash of the body serves as dedup id
	paused				boolean NOT NULL DEFAULT false,
	description			text,
	created_at			timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE eb.queues IS 'Queues and their settings; made by eb.create_queue.';

SELECT pg_catalog.pg_extension_config_dump('eb.retention_classes', '');
SELECT pg_catalog.pg_extension_config_dump('eb.buses', '');
SELECT pg_catalog.pg_extension_config_dump('eb.rules', '');
SELECT pg_catalog.pg_extension_config_dump('eb.targets', '');
SELECT pg_catalog.pg_extension_config_dump('eb.queues', '');

-- Any write to them, by our functions or by hand, reaches every backend's
-- caches when it commits.  Restores fire it too: it invalidates, nothing else.
CREATE FUNCTION eb.config_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_config_changed' LANGUAGE C;
COMMENT ON FUNCTION eb.config_changed() IS 'Trigger of the configuration tables: invalidates caches in all sessions at commit.';

CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.retention_classes
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.buses
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.rules
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.targets
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eb.queues
	FOR EACH STATEMENT EXECUTE FUNCTION eb.config_changed();
ALTER TABLE eb.retention_classes ENABLE ALWAYS TRIGGER config_changed;
ALTER TABLE eb.buses ENABLE ALWAYS TRIGGER config_changed;
ALTER TABLE eb.rules ENABLE ALWAYS TRIGGER config_changed;
ALTER TABLE eb.targets ENABLE ALWAYS TRIGGER config_changed;
ALTER TABLE eb.queues ENABLE ALWAYS TRIGGER config_changed;

-- Ids of events never pass it: it is in WAL before the event is, so a clock
-- that stands back after a crash or on another host cannot make older ids.
CREATE SEQUENCE eb.clock_mark;
SELECT pg_catalog.pg_extension_config_dump('eb.clock_mark', '');

-- Versions of the buses' rules.  Taken under the bus row's lock and held to
-- commit, so version order is commit order; a sequence, so that an aborted
-- change's version is never used again.
CREATE SEQUENCE eb.rules_version_seq;
SELECT pg_catalog.pg_extension_config_dump('eb.rules_version_seq', '');
