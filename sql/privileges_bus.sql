-- Who may do what with a bus hangs on GRANTs on its view: INSERT publishes,
-- SELECT reads the log, TRUNCATE administers.  All of it as plain roles.
\set VERBOSITY default
SET client_min_messages = warning;
DROP ROLE IF EXISTS eb_maker, eb_publisher, eb_reader, eb_manager, eb_nobody;
RESET client_min_messages;
CREATE ROLE eb_maker;
CREATE ROLE eb_publisher;
CREATE ROLE eb_reader;
CREATE ROLE eb_manager;
CREATE ROLE eb_nobody;

-- Making buses and queues is not for everybody; the extension's owner grants it.
SET ROLE eb_maker;
SELECT eb.create_bus('pv');
RESET ROLE;
GRANT EXECUTE ON FUNCTION eb.create_bus TO eb_maker;
GRANT EXECUTE ON FUNCTION eb.create_queue TO eb_maker;
SET ROLE eb_maker;
SELECT eb.create_bus('pv');
SELECT eb.create_bus('pv_other');
SELECT eb.create_queue('pv_q');

-- Who made a bus may do everything with it, and let others do it.
GRANT INSERT ON eb.bus_pv TO eb_publisher;
GRANT SELECT ON eb.bus_pv TO eb_reader;
GRANT SELECT, TRUNCATE ON eb.bus_pv TO eb_manager;
SELECT eb.put_rule('r', '{"source": ["shop"]}', bus => 'pv');
SELECT eb.put_target('r', queue => 'pv_q', bus => 'pv');
-- but it belongs to the extension's owner, as does the log
SELECT pg_get_userbyid(relowner) <> 'eb_maker' AS not_mine FROM pg_class WHERE oid = 'eb.bus_pv'::regclass;
SELECT count(*) FROM eb.events;
DELETE FROM eb.events;
INSERT INTO eb.rules (bus, name, pattern, since_version) VALUES ('pv', 'x', '{}', 0);
DROP VIEW eb.bus_pv;
CREATE TRIGGER mine AFTER INSERT ON eb.bus_pv FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('pv');

-- The publisher publishes, and reads nothing.
SET ROLE eb_publisher;
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "T", "detail": {"n": 1}}]', 'pv');
SELECT eb.put_event('shop', 'T', '{"n": 2}', bus => 'pv') IS NOT NULL AS put;
INSERT INTO eb.bus_pv (source, detail_type, detail) VALUES ('shop', 'T', '{"n": 3}');
COPY eb.bus_pv (source, detail_type, detail) FROM stdin;
shop	T	{"n": 4}
\.
INSERT INTO eb.bus_pv (source, detail_type, detail) VALUES ('shop', 'T', '{"n": 5}') RETURNING id;
SELECT * FROM eb.bus_pv;
SELECT eb.put_event('shop', 'T', '{}', bus => 'pv_other');
SELECT eb.put_events('[{"Source": "shop", "DetailType": "T", "Detail": "{}", "EventBusName": "pv_other"}]', 'pv');
-- The bus of the call plays a part only where an entry names none.
SELECT matched FROM eb.put_events('[{"Source": "shop", "DetailType": "T", "Detail": "{\"n\": 6}", "EventBusName": "pv"}]', 'pv_other');
SELECT eb.put_events('[{"Source": "shop", "DetailType": "T", "Detail": "{\"n\": 7}", "EventBusName": "pv"},
	{"source": "shop", "detail-type": "T", "detail": {"n": 8}}]', 'pv_other');
SELECT eb.put_events('[]', 'pv_other');
SELECT eb.put_rule('mine', '{"source": ["shop"]}', bus => 'pv');
SELECT eb.disable_rule('r', 'pv');
SELECT eb.delete_rule('r', 'pv');
SELECT eb.remove_target('r', 'pv_q', 'pv');
SELECT eb.update_bus('pv', '1 day');
SELECT eb.delete_bus('pv');
SELECT count(*) FROM eb.rule_status WHERE bus = 'pv';

-- The reader reads, and publishes nothing.
SET ROLE eb_reader;
SELECT detail FROM eb.bus_pv ORDER BY id;
SELECT eb.put_event('shop', 'T', '{}', bus => 'pv');
INSERT INTO eb.bus_pv (source, detail_type, detail) VALUES ('shop', 'T', '{}');
\copy eb.bus_pv (source, detail_type, detail) FROM '/dev/null'
SELECT eb.put_rule('mine', '{"source": ["shop"]}', bus => 'pv');
SELECT bus, rule, enabled, targets FROM eb.rule_status WHERE bus LIKE 'pv%';
-- a leaky function in the condition sees only what the reader may see
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
	$$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
RESET ROLE;
SELECT eb.put_event('secret', 'T', '{}', bus => 'pv_other') IS NOT NULL AS put;
SET ROLE eb_reader;
SELECT count(*) FROM eb.bus_pv WHERE pg_temp.leak(source) AND detail->>'n' = '1';

-- The manager manages rules, and sends events only to where he may send.
SET ROLE eb_manager;
SELECT eb.put_rule('m', '{"source": ["shop"]}', bus => 'pv');
SELECT eb.put_target('m', queue => 'pv_q', bus => 'pv');
SELECT eb.put_target('m', target_bus => 'pv_other', bus => 'pv');
SELECT eb.put_target('m', channel => 'pv_channel', bus => 'pv');
RESET ROLE;
GRANT INSERT ON eb.queue_pv_q, eb.bus_pv_other TO eb_manager;
SET ROLE eb_manager;
SELECT eb.put_target('m', queue => 'pv_q', bus => 'pv');
SELECT eb.put_target('m', target_bus => 'pv_other', bus => 'pv');
SELECT rule, target, kind, destination FROM eb.rule_targets WHERE bus = 'pv' ORDER BY rule, target;
SELECT eb.delete_rule('m', 'pv', with_targets => true);
SELECT eb.update_bus('pv', '1 day');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pv');
-- TRUNCATE alone does not do for rules, as rules can read
SET ROLE eb_maker;
REVOKE SELECT ON eb.bus_pv FROM eb_manager;
SET ROLE eb_manager;
SELECT eb.put_rule('m', '{"source": ["shop"]}', bus => 'pv');

-- A privilege that is taken away is away at once.
SET ROLE eb_maker;
REVOKE INSERT ON eb.bus_pv FROM eb_publisher;
SET ROLE eb_publisher;
SELECT eb.put_event('shop', 'T', '{}', bus => 'pv');
INSERT INTO eb.bus_pv (source, detail_type, detail) VALUES ('shop', 'T', '{}');

-- Row capture publishes with the rights of the table's owner: whoever changes the table needs none.
RESET ROLE;
CREATE SCHEMA pv_schema;
GRANT ALL ON SCHEMA pv_schema TO eb_maker, eb_nobody, eb_publisher;
SET ROLE eb_maker;
CREATE TABLE pv_schema.t (id int);
CREATE TRIGGER capture AFTER INSERT ON pv_schema.t FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('pv');
GRANT INSERT ON pv_schema.t TO eb_nobody;
SET ROLE eb_nobody;
INSERT INTO pv_schema.t VALUES (1);
-- and an owner who may not publish cannot capture
CREATE TABLE pv_schema.mine (id int);
CREATE TRIGGER capture AFTER INSERT ON pv_schema.mine FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('pv');
INSERT INTO pv_schema.mine VALUES (1);
RESET ROLE;
INSERT INTO pv_schema.mine VALUES (1);
SELECT source, detail FROM eb.bus_pv WHERE source LIKE 'pv_schema%';

-- Nobody is told more than that.
SET ROLE eb_nobody;
SELECT eb.put_event('shop', 'T', '{}', bus => 'pv');
SELECT * FROM eb.bus_pv;
SELECT eb.put_rule('mine', '{"source": ["shop"]}', bus => 'pv');
SELECT eb.put_target('r', queue => 'pv_q', bus => 'pv');
SELECT count(*) FROM eb.rule_status;
SELECT count(*) FROM eb.rule_targets;
SELECT count(*) FROM eb.rule_counters();
SELECT count(*) FROM eb.rules;
-- the triggers of the views are not for views of one's own
CREATE VIEW pv_schema.v AS SELECT 1 AS x;
CREATE TRIGGER t INSTEAD OF INSERT ON pv_schema.v FOR EACH ROW EXECUTE FUNCTION eb.bus_view_insert();
RESET ROLE;

-- Settings are for those who have any privilege on the bus.
SET ROLE eb_nobody;
SELECT bus FROM eb.my_buses;
RESET ROLE;
GRANT INSERT ON eb.bus_pv TO eb_nobody;
SET ROLE eb_nobody;
SELECT bus, retention, dedup_window, content_dedup FROM eb.my_buses;
RESET ROLE;
REVOKE INSERT ON eb.bus_pv FROM eb_nobody;

-- A view that went with all that its owner had: nobody can use the bus, and
-- the owner of the extension deletes what is left.
SELECT eb.create_bus('pv_orphan');
SELECT eb.put_rule('r', '{"source": ["shop"]}', bus => 'pv_orphan');
ALTER VIEW eb.bus_pv_orphan OWNER TO eb_manager;
DROP OWNED BY eb_manager;
SELECT eb.put_event('shop', 'T', '{}', bus => 'pv_orphan');
SELECT eb.explain_routing('{}', 'pv_orphan');
SELECT count(*) FROM eb.rule_status WHERE bus = 'pv_orphan';
SELECT count(*) FROM eb.rule_counters() WHERE rule = 'orphan';
SELECT count(*) FROM eb.find_event('00000000-0000-7000-8000-000000000000');
SET ROLE eb_nobody;
SELECT eb.delete_bus('pv_orphan');
RESET ROLE;
SELECT eb.delete_bus('pv_orphan', with_rules => true);

SET client_min_messages = warning;
DROP SCHEMA pv_schema CASCADE;
DROP FUNCTION pg_temp.leak;
SELECT eb.delete_bus('pv', with_rules => true);
SELECT eb.delete_bus('pv_other');
SELECT eb.drop_queue('pv_q');
REVOKE EXECUTE ON FUNCTION eb.create_bus FROM eb_maker;
REVOKE EXECUTE ON FUNCTION eb.create_queue FROM eb_maker;
DROP ROLE eb_maker, eb_publisher, eb_reader, eb_manager, eb_nobody;
