-- Buses, rules and targets: making them, changing them, deleting them, and
-- every way to get that wrong.
\set VERBOSITY default
SET client_min_messages = warning;
SELECT eb.create_queue('bus_test_q');
RESET client_min_messages;

-- A bus is a log of events and a set of rules.  It says how long it keeps them.
SELECT eb.create_bus('orders', retention => '30 days', description => 'Everything about orders');
SELECT eb.create_bus('audit', retention => NULL);
SELECT name, log_view, retention, description FROM eb.buses
WHERE name IN ('orders', 'audit') ORDER BY name;

-- Each bus has a view: its log, and what privileges hang on.
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'eb.bus_orders'::regclass AND attnum > 0 ORDER BY attnum;
SELECT count(*) FROM eb.bus_orders;

-- What create_bus refuses.
SELECT eb.create_bus('orders');
SELECT eb.create_bus('order events');
SELECT eb.create_bus('');
SELECT eb.create_bus(repeat('x', 49));
SELECT eb.create_bus(NULL);
SELECT eb.create_bus('odd', retention => '-1 day');
SELECT eb.create_bus('odd', retention => '0');
SELECT count(*) FROM eb.buses WHERE name = 'odd';

-- A longer name just fits; "-" and "_" are letters like others.
SELECT eb.create_bus(repeat('x', 48));
SELECT eb.create_bus('a-b_C');
SELECT log_view FROM eb.buses WHERE name IN (repeat('x', 48), 'a-b_C') ORDER BY name;
SELECT eb.delete_bus(repeat('x', 48));
SELECT eb.delete_bus('a-b_C');

-- update_bus changes the retention of what comes, and the description if one is given.
SELECT eb.update_bus('orders', '90 days');
SELECT retention, description FROM eb.buses WHERE name = 'orders';
SELECT eb.update_bus('orders', NULL, 'Orders, kept for ever');
SELECT retention, description FROM eb.buses WHERE name = 'orders';
SELECT eb.update_bus('nowhere', '1 day');
SELECT eb.update_bus('orders', '-1 day');

-- A rule is a pattern with a name.  put_rule makes it or replaces it.
SELECT eb.put_rule('big', '{"detail": {"total": [{"numeric": [">", 100]}]}}', bus => 'orders',
	description => 'Orders over 100');
SELECT bus, name, pattern, enabled, description FROM eb.rules WHERE bus = 'orders';
SELECT eb.put_rule('big', '{"detail": {"total": [{"numeric": [">", 500]}]}}', bus => 'orders');
SELECT bus, name, pattern, enabled, description FROM eb.rules WHERE bus = 'orders';

-- Each change of a bus's rules has a version, in commit order.  What changes
-- nothing takes none, so a deployment can put its rules every time.
CREATE TEMP TABLE version AS SELECT rules_version AS was FROM eb.buses WHERE name = 'orders';
SELECT eb.put_rule('big', '{"detail": {"total": [{"numeric": [">", 500]}]}}', bus => 'orders');
SELECT rules_version = was AS same FROM eb.buses, version WHERE name = 'orders';
-- a description routes nothing
SELECT eb.put_rule('big', '{"detail": {"total": [{"numeric": [">", 500]}]}}', bus => 'orders', description => 'Over 500');
SELECT rules_version = was AS same, (SELECT description FROM eb.rules WHERE bus = 'orders')
FROM eb.buses, version WHERE name = 'orders';
SELECT eb.disable_rule('big', 'orders');
SELECT rules_version > was AS newer, enabled, since_version = rules_version AS since
FROM eb.buses b, version, eb.rules r WHERE b.name = 'orders' AND r.bus = 'orders';
-- again: nothing to do
UPDATE version SET was = (SELECT rules_version FROM eb.buses WHERE name = 'orders');
SELECT eb.disable_rule('big', 'orders');
SELECT rules_version = was AS same FROM eb.buses, version WHERE name = 'orders';
SELECT eb.enable_rule('big', 'orders');
SELECT rules_version > was AS newer, enabled
FROM eb.buses b, version, eb.rules r WHERE b.name = 'orders' AND r.bus = 'orders';
-- several changes in one transaction show together, under one version
BEGIN;
SELECT eb.put_rule('one', '{"source": ["one"]}', bus => 'orders');
SELECT eb.put_rule('two', '{"source": ["two"]}', bus => 'orders');
SELECT count(DISTINCT since_version) FROM eb.rules WHERE bus = 'orders' AND name IN ('one', 'two');
-- unless events were put in between
SELECT eb.put_event('one', 'T', '{}', bus => 'orders') IS NOT NULL AS put;
SELECT eb.put_rule('three', '{"source": ["three"]}', bus => 'orders');
SELECT count(DISTINCT since_version) FROM eb.rules WHERE bus = 'orders' AND name IN ('one', 'three');
ROLLBACK;

-- What put_rule refuses.
SELECT eb.put_rule('bad', '{"source": "shop"}', bus => 'orders');
SELECT eb.put_rule('bad', '{"detail": {"total": [{"numeric": [">", "x"]}]}}', bus => 'orders');
SELECT eb.put_rule('bad', '[]', bus => 'orders');
SELECT eb.put_rule('bad rule', '{"source": ["shop"]}', bus => 'orders');
SELECT eb.put_rule('bad', '{"source": ["shop"]}', bus => 'nowhere');
SELECT eb.put_rule(NULL, '{"source": ["shop"]}', bus => 'orders');
SELECT eb.put_rule('bad', NULL, bus => 'orders');
SELECT eb.put_rule('bad', '{"source": ["shop"]}', bus => NULL);
SELECT eb.put_rule('bad', '{"source": ["shop"]}', bus => 'orders', enabled => NULL);
SELECT eb.enable_rule('nothing', 'orders');
SELECT eb.disable_rule('nothing', 'orders');
SELECT eb.delete_rule('nothing', 'orders');

-- A target says where matching events go: a queue, another bus, a channel.
SELECT eb.put_target('big', queue => 'bus_test_q', bus => 'orders');
SELECT eb.put_target('big', target_bus => 'audit', bus => 'orders');
SELECT eb.put_target('big', channel => 'big_orders', bus => 'orders');
SELECT eb.put_target('big', 'ids', queue => 'bus_test_q', input_path => '$.detail.id', bus => 'orders');
SELECT rule, name, kind, destination, input_path FROM eb.targets WHERE bus = 'orders' ORDER BY name;

-- It replaces the target of that name, and keeps its number.
CREATE TEMP TABLE target AS SELECT name, target_id FROM eb.targets WHERE bus = 'orders';
SELECT eb.put_target('big', 'ids', queue => 'bus_test_q', input => '"constant"', bus => 'orders');
SELECT t.name, kind, destination, input, input_path, t.target_id = was.target_id AS same_id
FROM eb.targets t JOIN target was USING (name) WHERE bus = 'orders' AND t.name = 'ids';

-- What put_target refuses.
SELECT eb.put_target('big', bus => 'orders');
SELECT eb.put_target('big', 'bus_test_q', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', channel => 'c', bus => 'orders');
SELECT eb.put_target('big', queue => 'nowhere', bus => 'orders');
SELECT eb.put_target('big', target_bus => 'nowhere', bus => 'orders');
SELECT eb.put_target('big', channel => '', bus => 'orders');
SELECT eb.put_target('big', channel => repeat('c', 64), bus => 'orders');
SELECT eb.put_target('nothing', queue => 'bus_test_q', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', bus => 'nowhere');
SELECT eb.put_target('big', channel => 'bus_test_q', bus => 'orders');
SELECT eb.put_target('big', '', queue => 'bus_test_q', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', source => 'x', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', detail_type => 'x', bus => 'orders');
SELECT eb.put_target('big', target_bus => 'audit', source => '', bus => 'orders');
SELECT eb.put_target('big', target_bus => 'audit', detail_type => '', bus => 'orders');
SELECT eb.put_target('big', target_bus => 'audit', source => 'eb.forged', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', input => '1', input_path => '$.detail', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', input_path => 'detail', bus => 'orders');
SELECT eb.put_target('big', queue => 'bus_test_q', on_missing => 'ignore', bus => 'orders');
SELECT eb.put_target('big', target_bus => 'audit', input => '1', bus => 'orders');
SELECT eb.put_target(NULL, queue => 'bus_test_q', bus => 'orders');

-- remove_target.
SELECT eb.remove_target('big', 'nothing', 'orders');
SELECT eb.remove_target('nothing', 'ids', 'orders');
SELECT eb.remove_target('big', 'ids', 'orders');
SELECT name FROM eb.targets WHERE bus = 'orders' ORDER BY name;

-- What refers to a thing keeps it: a target its queue and its bus, a rule its bus.
SELECT eb.drop_queue('bus_test_q');
SELECT eb.delete_bus('audit');
SELECT eb.delete_bus('orders');
SELECT eb.delete_rule('big', 'orders');
SELECT eb.delete_rule('big', 'orders', with_targets => true);
SELECT count(*) FROM eb.targets WHERE bus = 'orders';

-- A deleted bus's events are not shown by a new bus of the same name.
SELECT eb.put_event('shop', 'Kept', '{}', bus => 'audit') IS NOT NULL AS put;
SELECT source, detail_type FROM eb.bus_audit;
SELECT eb.delete_bus('audit');
SELECT eb.put_event('shop', 'Lost', '{}', bus => 'audit');
SELECT eb.create_bus('audit');
SELECT count(*) FROM eb.bus_audit;
SELECT eb.delete_bus('nowhere');

-- With its rules and their targets, in one go.
SELECT eb.put_rule('r', '{"source": ["shop"]}', bus => 'audit');
SELECT eb.put_target('r', queue => 'bus_test_q', bus => 'audit');
SELECT eb.delete_bus('audit', with_rules => true);
SELECT eb.delete_bus('orders');
SELECT (SELECT count(*) FROM eb.rules WHERE bus IN ('audit', 'orders')) AS rules,
	(SELECT count(*) FROM eb.targets WHERE bus IN ('audit', 'orders')) AS targets,
	to_regclass('eb.bus_audit') AS view;
SELECT eb.drop_queue('bus_test_q');
