-- Buses, rules, targets, publishing.

-- Numbers of buses and targets.  Never used again: the log keeps the events of
-- a bus that was deleted, and nobody else's bus may show them.
CREATE SEQUENCE eb.object_id_seq AS integer;
SELECT pg_catalog.pg_extension_config_dump('eb.object_id_seq', '');

-- bus_view.c: publishing by INSERT, reading by SELECT.

CREATE FUNCTION eb.bus_view_insert() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_bus_view_insert' LANGUAGE C;
COMMENT ON FUNCTION eb.bus_view_insert() IS 'Trigger of the views of buses: takes a row that is inserted and gives it an id.';

CREATE FUNCTION eb.bus_view_publish() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_bus_view_publish' LANGUAGE C;
COMMENT ON FUNCTION eb.bus_view_publish() IS 'Trigger of the views of buses: publishes the rows of a statement.';

CREATE FUNCTION eb.bus_view_refuse() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_bus_view_refuse' LANGUAGE C;
COMMENT ON FUNCTION eb.bus_view_refuse() IS 'Trigger of the views of buses: refuses UPDATE and DELETE, as a log only grows.';

-- bus_config.c

CREATE FUNCTION eb.create_bus(name text,
		retention interval DEFAULT '7 days',
		description text DEFAULT NULL,
		dedup_window interval DEFAULT '5 minutes',
		content_dedup boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_create_bus' LANGUAGE C;
COMMENT ON FUNCTION eb.create_bus(text, interval, text, interval, boolean) IS
$$Make an event bus, and a view eb.bus_<name> on which its privileges hang: INSERT publishes, SELECT reads its log, TRUNCATE together with SELECT manages its rules and targets, TRUNCATE changes and deletes it.  The creator gets all three WITH GRANT OPTION.

Names are up to 48 letters, digits, "_" and "-".  retention: how long its events are kept at least (null: for ever); an event that waits in a queue is kept as long as the queue keeps messages.

dedup_window (1 second to 1 year): how long the dedup_id of an event is remembered.  content_dedup: source, detail type and detail of an event serve as its dedup id where it has none, but for events of row capture and replays.

The bus "default" need not be made: it is, with the defaults of this function, when somebody who may execute this function first names it.

Who may create buses is for the owner of the extension to say, with GRANT EXECUTE.  Raises invalid_name, name_too_long, duplicate_object, and invalid_parameter_value for a retention that is not positive.$$;

CREATE FUNCTION eb.update_bus(name text, retention interval, description text DEFAULT NULL,
		dedup_window interval DEFAULT NULL, content_dedup boolean DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_update_bus' LANGUAGE C;
COMMENT ON FUNCTION eb.update_bus(text, interval, text, interval, boolean) IS
'Change how long a bus keeps the events that are put from now on (null: for ever), and its other settings (null: as they were).  A new dedup_window holds for dedup ids that come from now on.  Events that are in the log stay as long as was said when they were put.  Needs TRUNCATE on the bus''s view.';

CREATE FUNCTION eb.delete_bus(name text, with_rules boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_delete_bus' LANGUAGE C;
COMMENT ON FUNCTION eb.delete_bus(text, boolean) IS
'Delete a bus and its view.  Refused (dependent_objects_still_exist) while rules of other buses forward to it, while it has archives or subscriptions, and while it has rules, unless with_rules is true.  Its events stay in the log until their retention is over, and messages that were delivered from it stay in their queues.  A bus of the same name that is made later does not show them.  Needs TRUNCATE on the bus''s view.';

CREATE FUNCTION eb.put_rule(name text, pattern jsonb,
		bus text DEFAULT 'default',
		description text DEFAULT NULL,
		enabled boolean DEFAULT true)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_put_rule' LANGUAGE C;
COMMENT ON FUNCTION eb.put_rule(text, jsonb, text, text, boolean) IS
'Create a rule, or replace its pattern, description and state; its targets stay.  Events of the bus that match the pattern (docs/event-patterns.md) go to the rule''s targets, from the moment this commits.  What is put as it already was changes nothing.  Names are up to 48 letters, digits, "_" and "-".  Needs SELECT and TRUNCATE on the bus''s view.  Raises invalid_parameter_value for a pattern that is not valid, with the place.  As PutRule of Amazon EventBridge.';

CREATE FUNCTION eb.delete_rule(name text, bus text DEFAULT 'default', with_targets boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_delete_rule' LANGUAGE C;
COMMENT ON FUNCTION eb.delete_rule(text, text, boolean) IS
'Delete a rule.  Refused (dependent_objects_still_exist) while it has targets, unless with_targets is true.  Messages that it delivered stay.  Needs SELECT and TRUNCATE on the bus''s view.';

CREATE FUNCTION eb.enable_rule(name text, bus text DEFAULT 'default')
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_enable_rule' LANGUAGE C;
COMMENT ON FUNCTION eb.enable_rule(text, text) IS
'Let a rule match again.  Events that were put while it was disabled are not delivered.  Needs SELECT and TRUNCATE on the bus''s view.';

CREATE FUNCTION eb.disable_rule(name text, bus text DEFAULT 'default')
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_disable_rule' LANGUAGE C;
COMMENT ON FUNCTION eb.disable_rule(text, text) IS
'Stop a rule from matching, and keep it and its targets.  Needs SELECT and TRUNCATE on the bus''s view.';

CREATE FUNCTION eb.put_target(rule text,
		name text DEFAULT NULL,
		queue text DEFAULT NULL,
		target_bus text DEFAULT NULL,
		channel text DEFAULT NULL,
		input jsonb DEFAULT NULL,
		input_path text DEFAULT NULL,
		input_transformer jsonb DEFAULT NULL,
		on_missing text DEFAULT 'null',
		source text DEFAULT NULL,
		detail_type text DEFAULT NULL,
		bus text DEFAULT 'default')
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_put_target' LANGUAGE C;
COMMENT ON FUNCTION eb.put_target(text, text, text, text, text, jsonb, text, jsonb, text, text, text, text) IS
$$Add a target to a rule, or replace the one of that name: eb.put_target('my-rule', queue => 'my-queue').

Exactly one destination: queue, the name of a queue; target_bus, of another bus; channel, for NOTIFY.  name is the destination's unless given.

A queue gets the whole envelope of the event as the message's body.  In a FIFO queue the group is the event's group, or its source where it has none.  A channel gets it as text; if that is 8000 bytes or longer, {"id": ..., "bus": ..., "too-long": true}.  NOTIFY costs a lock that all sessions share, and a transaction with it cannot be prepared; for more than a few events a second a queue is better.

A bus gets the event as a new one: with its time, resources, headers and correlation, the first event's id as its cause, and one hop more; more than eb.max_hops, or 10000 forwards of one event on all ways together, are not made (a WARNING, counted in eb.rule_status).  source and detail_type replace the event's own there.

Instead of the envelope (for a bus: the detail) a target can get input, a constant; input_path, a part of the envelope; or input_transformer, {"InputPathsMap": {...}, "InputTemplate": "..."}; at most one of them.  on_missing says what a path without a value gives: null, omit or error, which fails the put.  See eb.test_transform.

Needs SELECT and TRUNCATE on the bus's view, and INSERT on the view of the queue or bus that is the destination.  That is checked when the target is put, not with every event.  As PutTargets of Amazon EventBridge.$$;

CREATE FUNCTION eb.remove_target(rule text, name text, bus text DEFAULT 'default')
	RETURNS void
	AS 'MODULE_PATHNAME', 'eb_remove_target' LANGUAGE C;
COMMENT ON FUNCTION eb.remove_target(text, text, text) IS
'Remove a target from a rule.  Messages that were delivered stay.  Needs SELECT and TRUNCATE on the bus''s view.';

-- bus_put.c

CREATE FUNCTION eb.put_event(source text, detail_type text, detail jsonb,
		bus text DEFAULT 'default',
		"time" timestamptz DEFAULT NULL,
		resources text[] DEFAULT NULL,
		headers jsonb DEFAULT NULL,
		group_key text DEFAULT NULL,
		correlation_id text DEFAULT NULL,
		causation_id text DEFAULT NULL,
		traceparent text DEFAULT NULL,
		dedup_id text DEFAULT NULL)
	RETURNS uuid
	AS 'MODULE_PATHNAME', 'eb_put_event' LANGUAGE C;
COMMENT ON FUNCTION eb.put_event(text, text, jsonb, text, timestamptz, text[], jsonb, text, text, text, text, text) IS
$$Publish one event in the current transaction; returns its id.

detail is a JSON object.  time is the producer's, of the years 1 to 9999 (null: now).  headers is an object for what is not part of the event.  group_key: events of one group are delivered in order by FIFO queues.

Where correlation_id, causation_id and traceparent are null they come from detail.correlationId and detail.causationId, else from the message in process (eb.processing), else from the settings eb.correlation_id, eb.causation_id and eb.traceparent.

dedup_id (1 to 128 characters): if the bus has had an event with it within its dedup_window, nothing is published, and that event's id is returned.  If another transaction has put one and is still open, the call waits: it is a duplicate if that commits, and is published if that rolls back.  A REPEATABLE READ or SERIALIZABLE transaction that meets a dedup_id committed after its snapshot gets serialization_failure.

Needs INSERT on the bus's view.  Raises invalid_parameter_value, reserved_name for a source that begins with "eb.", program_limit_exceeded for more than eb.max_entry_size bytes.$$;

CREATE FUNCTION eb.put_events(entries jsonb, bus text DEFAULT 'default',
		OUT index integer, OUT event_id uuid, OUT matched integer, OUT duplicate boolean)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_put_events' LANGUAGE C ROWS 10;
COMMENT ON FUNCTION eb.put_events(jsonb, text) IS
$$Publish a JSON array of events in the current transaction, all or none; a row for each, in order: index from 1, event_id, matched, the number of rules of the bus that matched it, and duplicate: nothing was published, since the bus has had an event with the same dedup id, whose event_id this is.

An entry is {"source": text, "detail-type": text, "detail": object} and may have "time" (ISO 8601; UTC where it names no zone), "resources" (array of strings), "headers" (object), "group", "correlation-id", "causation-id", "traceparent" and "dedup-id"; see eb.put_event.

It may be a whole envelope as read from a queue: its id is kept in the header "original-id", and the event gets a new one.

Or it has the shape of the PutEvents API of Amazon EventBridge: {"Source", "DetailType", "Detail": a string of JSON, "EventBusName", "Time", "Resources", "TraceHeader"} (and "DedupId").  Both shapes may be mixed in one call.  EventBusName takes precedence over the argument bus.

Needs INSERT on the bus's view.  Every error names the entry and its key; unknown keys are errors.$$;

-- bus_capture.c

CREATE FUNCTION eb.publish_row_changes() RETURNS trigger
	AS 'MODULE_PATHNAME', 'eb_publish_row_changes' LANGUAGE C;
COMMENT ON FUNCTION eb.publish_row_changes() IS
$$Trigger function that publishes the changes of a table: CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('default').

Arguments, all optional: bus ('default'), source (schema.table), and the beginning of the detail type (the table's name), which is followed by .inserted, .updated, .deleted or .truncated.

The detail is {"schema", "table", "operation", "old": row, "new": row, "changed": [names of columns]}, with old for UPDATE and DELETE, new for INSERT and UPDATE, changed for UPDATE.

FOR EACH ROW publishes row by row; FOR EACH STATEMENT with transition tables (REFERENCING OLD TABLE AS o NEW TABLE AS n) publishes all rows of a statement at once, which is faster for bulk changes; TRUNCATE is FOR EACH STATEMENT.  A trigger that a partition inherited names the partitioned table.

The owner of the table, not whoever changes it, needs INSERT on the bus's view.$$;

-- bus_ruleset.c

CREATE FUNCTION eb.rule_counters(OUT bus_id integer, OUT rule text, OUT matched bigint,
		OUT last_matched timestamptz, OUT hop_limited bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_rule_counters' LANGUAGE C STABLE;
COMMENT ON FUNCTION eb.rule_counters() IS
'How often enabled rules have matched and forwards were stopped by eb.max_hops, as counted in shared memory, on buses whose log the caller may read; for eb.rule_status.  No rows without shared memory.';

-- One row for each rule of the buses whose log the reader may read.
CREATE VIEW eb.rule_status WITH (security_barrier) AS
	SELECT r.bus, r.name AS rule, r.enabled, r.pattern, r.description,
		(SELECT count(*) FROM eb.targets t WHERE t.bus = r.bus AND t.rule = r.name)::integer AS targets,
		c.matched, c.last_matched, c.hop_limited, r.since_version, r.updated_at
	FROM eb.rules r
	JOIN eb.buses b ON b.name = r.bus
	LEFT JOIN (SELECT bus_id, rule, max(matched) AS matched, max(last_matched) AS last_matched,
			max(hop_limited) AS hop_limited
		FROM eb.rule_counters() GROUP BY bus_id, rule) c
		ON c.bus_id = b.bus_id AND c.rule = r.name
	WHERE pg_catalog.has_table_privilege(b.log_view::oid, 'SELECT');
COMMENT ON VIEW eb.rule_status IS
'Rules and what they do: matched counts events that matched, last_matched is when the last one did, hop_limited counts forwards that eb.max_hops stopped.  Counted in shared memory since the server started (or the rule set was last evicted from it), puts that were rolled back included; null without shared memory and before the first put.';

CREATE VIEW eb.rule_targets WITH (security_barrier) AS
	SELECT t.bus, t.rule, t.name AS target, t.kind, t.destination, t.input, t.input_path, t.input_transformer,
		t.on_missing, t.bus_source AS source, t.bus_detail_type AS detail_type, t.target_id
	FROM eb.targets t
	JOIN eb.buses b ON b.name = t.bus
	WHERE pg_catalog.has_table_privilege(b.log_view::oid, 'SELECT');
COMMENT ON VIEW eb.rule_targets IS
'Targets of the rules of the buses whose log the reader may read: where matching events go, and in which shape.';

-- bus_transform.c: what a target gets in place of the envelope.

CREATE FUNCTION eb.test_transform(
	event jsonb,
	input jsonb DEFAULT NULL,
	input_path text DEFAULT NULL,
	input_transformer jsonb DEFAULT NULL,
	on_missing text DEFAULT 'null'
) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eb_test_transform' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eb.test_transform(jsonb, jsonb, text, jsonb, text) IS
'What a target with this transformation would get for this event.  Give one of: input, a constant; input_path, a path to a part of the event, such as $.detail.items[0].sku or $.detail[''a key'']; input_transformer, {"InputPathsMap": {"variable": "path"}, "InputTemplate": "JSON text with <variable>"}; none gives the whole event.  A placeholder stands for a JSON value outside of quotes, and for text inside of them.  Every template has the variables <eb.rule-name>, <eb.rule-arn>, <eb.bus-name>, <eb.event> (the envelope without detail), <eb.event.json> (with detail) and <eb.event.ingestion-time>, also as <aws.events....>; here the rule is "test-rule", the bus "default", and the time is now.  on_missing says what a path without a value gives: null, omit (the key or element is left out; inside of a string, nothing) or error (2203A).  Raises 22023 with the place of a mistake, 54000 over a limit: 256 kB for each part, 100 variables, a result of 16 times eb.max_entry_size.  Paths and templates are those of Amazon EventBridge''s input transformation.';
-- bus_explain.c: why an event goes where it goes.

CREATE FUNCTION eb.explain_routing(
	event jsonb,
	bus text DEFAULT 'default',
	OUT rule text,
	OUT enabled boolean,
	OUT matched boolean,
	OUT targets text[],
	OUT failed_path text,
	OUT event_value jsonb,
	OUT predicate text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_explain_routing' LANGUAGE C;
COMMENT ON FUNCTION eb.explain_routing(jsonb, text) IS
'Where an event would go, and why not elsewhere: a row for each rule of the bus, in order of their names.  event is an envelope as read from a queue, or an entry as for put_events; a sketch such as {"source": "shop"} will do.  matched says whether the pattern matches, also for a disabled rule; targets are kind:destination.  For a miss, failed_path is the first field that failed (of several alternatives, of the one that came furthest), event_value what the event has there (null: nothing) and predicate the list of tests that it missed.  Publishes nothing.  Needs SELECT on the view of the bus; 42704 if there is no such bus, 22023 if event is not an object.';

CREATE FUNCTION eb.test_rule(
	pattern jsonb,
	bus text DEFAULT 'default',
	since timestamptz DEFAULT now() - interval '1 day',
	samples integer DEFAULT 3,
	OUT scanned bigint,
	OUT matched bigint,
	OUT samples_found jsonb
)
	AS 'MODULE_PATHNAME', 'eb_test_rule' LANGUAGE C;
COMMENT ON FUNCTION eb.test_rule(jsonb, text, timestamptz, integer) IS
'What a rule with this pattern would have got: of the events that the bus logged since then (default: in the last day) how many there are (scanned), how many match (matched), and the newest of those as an array of envelopes (samples_found), as many as samples says (0 to 1000, default 3).  Reads the log, so its time grows with the number of events.  Needs SELECT on the view of the bus; 22023 for a pattern that is not valid.';
