-- Why does an event go where it goes?  explain_routing() says for each rule
-- whether it matches, and if not, what the first field was that failed.
-- test_rule() says which logged events a pattern would have matched.

SELECT eb.create_bus('shop');
SELECT eb.create_queue('billing');
SELECT eb.create_queue('audit');
SELECT eb.put_rule('big-orders', '{"source": ["shop.orders"], "detail": {"total": [{"numeric": [">", 100]}]}}', bus => 'shop');
SELECT eb.put_rule('everything', '{"source": [{"prefix": "shop."}]}', bus => 'shop');
SELECT eb.put_rule('from-abroad', '{"detail": {"address": {"country": [{"anything-but": ["CH", "LI"]}]}}}', bus => 'shop');
SELECT eb.put_rule('gift', '{"$or": [{"detail": {"gift": [true]}}, {"detail": {"wrap": [{"exists": true}]}}]}', bus => 'shop');
SELECT eb.put_rule('here', '{"account": ["000000000000"], "region": ["local"], "version": ["0"], "resources": [{"exists": false}]}', bus => 'shop');
SELECT eb.put_target('big-orders', 'q', queue => 'billing', bus => 'shop');
SELECT eb.put_target('big-orders', 'a', queue => 'audit', bus => 'shop');
SELECT eb.put_target('everything', 'a', queue => 'audit', bus => 'shop');
SELECT eb.put_target('gift', 'n', channel => 'gifts', bus => 'shop');
SELECT eb.disable_rule('everything', bus => 'shop');

-- An entry as for put_events.  The order is too small, and has no address.
SELECT * FROM eb.explain_routing('{"source": "shop.orders", "detail-type": "OrderPlaced",
	"detail": {"total": 20, "gift": false}}', 'shop');

-- A sketch of an event will do.
SELECT rule, matched, failed_path, event_value, predicate
FROM eb.explain_routing('{"source": "web", "detail": {"total": [10, 500], "address": {"country": "CH"}, "wrap": "red"}}', 'shop');
SELECT rule, matched, failed_path, event_value, predicate FROM eb.explain_routing('{}', bus => 'shop');

-- What the AWS API takes.
SELECT rule, matched, failed_path, event_value
FROM eb.explain_routing('{"Source": "shop.orders", "DetailType": "OrderPlaced", "Detail": "{\"total\": 200}"}', 'shop');

-- An envelope is taken as it is, other fields of an entry play no part.
SELECT rule, matched, failed_path, event_value
FROM eb.explain_routing('{"source": "shop.x", "account": "111111111111", "region": "local", "headers": {"a": 1}, "detail": {}}', 'shop')
WHERE rule IN ('here', 'everything');

-- It agrees with routing.
SELECT eb.put_event('shop.orders', 'OrderPlaced', d, bus => 'shop') IS NOT NULL AS put
FROM unnest('{"{\"n\": 1, \"total\": 20}", "{\"n\": 2, \"total\": 200}", "{\"n\": 3, \"total\": 300, \"address\": {\"country\": \"FR\"}}"}'::jsonb[]) d;
SELECT b.detail, array_agg(e.rule ORDER BY e.rule) AS rules
FROM eb.bus_shop b, eb.explain_routing(jsonb_build_object('source', b.source, 'detail-type', b.detail_type, 'detail', b.detail), 'shop') e
WHERE e.matched GROUP BY b.id, b.detail ORDER BY b.id;
SELECT body -> 'detail' FROM eb.peek('billing', 10);

-- Also where the bus fills in what is null, and brings times into their one form.
SELECT eb.create_bus('forms');
SELECT eb.put_rule('noon', '{"time": ["2026-01-31T12:00:00Z"]}', bus => 'forms');
SELECT eb.put_rule('century', '{"time": ["2000-01-01T00:00:00Z"]}', bus => 'forms');
SELECT eb.put_rule('no-resources', '{"resources": [{"exists": false}]}', bus => 'forms');
SELECT eb.put_rule('null', '{"$or": [{"resources": [null]}, {"time": [null]}]}', bus => 'forms');
SELECT n, (SELECT array_agg(rule ORDER BY rule) FROM eb.explain_routing(entry, 'forms') WHERE explain_routing.matched) AS rules,
	(SELECT matched FROM eb.put_events(jsonb_build_array(entry), 'forms'))
FROM (VALUES
	(1, '{"source": "s", "detail-type": "t", "detail": {}, "time": "2026-01-31 13:00+01", "resources": ["r"]}'::jsonb),
	(2, '{"source": "s", "detail-type": "t", "detail": {}, "time": null, "resources": null}'),
	(3, '{"Source": "s", "DetailType": "t", "Detail": "{}", "Time": "2000-01-01T00:00:00Z", "Resources": ["r"]}')) v(n, entry);
SELECT rule, event_value FROM eb.explain_routing('{"time": "noon"}', 'forms') WHERE rule = 'noon';

-- A pattern, tried on the log.
SELECT scanned, matched, jsonb_path_query_array(samples_found, '$[*].detail.n') AS newest_first
FROM eb.test_rule('{"detail": {"total": [{"numeric": [">", 10]}]}}', 'shop', samples => 2);
SELECT scanned, matched, samples_found FROM eb.test_rule('{"source": ["nobody"]}', 'shop');
SELECT scanned, matched, samples_found FROM eb.test_rule('{"detail": {"n": [1]}}', 'shop', samples => 0);
SELECT scanned, matched FROM eb.test_rule('{"detail": {"n": [1, 2]}}', 'shop', since => now() + interval '1 hour');
SELECT jsonb_object_keys(samples_found -> 0) FROM eb.test_rule('{"detail": {"n": [3]}}', 'shop') ORDER BY 1;

-- Other buses' events are not looked at, nor are theirs told.
SELECT eb.create_bus('other');
SELECT scanned, matched, samples_found FROM eb.test_rule('{"source": ["shop.orders"]}', 'other');
SELECT count(*) FROM eb.explain_routing('{"source": "shop.orders"}', 'other');

-- Errors.
SELECT * FROM eb.explain_routing('[]', 'shop');
SELECT * FROM eb.explain_routing('5', 'shop');
SELECT * FROM eb.explain_routing(NULL, 'shop');
SELECT * FROM eb.explain_routing('{}', NULL);
SELECT * FROM eb.explain_routing('{}', 'nowhere');
SELECT * FROM eb.explain_routing('{"Source": "x"}', 'shop');
SELECT * FROM eb.test_rule('{"a": 5}', 'shop');
SELECT * FROM eb.test_rule('{"a": [5]}', 'nowhere');
SELECT * FROM eb.test_rule('{"a": [5]}', 'shop', samples => -1);
SELECT * FROM eb.test_rule('{"a": [5]}', 'shop', samples => 1001);
SELECT * FROM eb.test_rule('{"a": [5]}', 'shop', since => NULL);
SELECT * FROM eb.test_rule(NULL, 'shop');

-- Whoever may read the bus may ask.
CREATE ROLE regress_eb_reader;
SET ROLE regress_eb_reader;
SELECT * FROM eb.explain_routing('{}', 'shop');
SELECT * FROM eb.test_rule('{"a": [5]}', 'shop');
RESET ROLE;
GRANT INSERT, UPDATE, DELETE ON eb.bus_shop TO regress_eb_reader;
SET ROLE regress_eb_reader;
SELECT * FROM eb.test_rule('{"a": [5]}', 'shop');
RESET ROLE;
GRANT SELECT ON eb.bus_shop TO regress_eb_reader;
SET ROLE regress_eb_reader;
SELECT count(*) FROM eb.explain_routing('{}', 'shop');
SELECT scanned, matched FROM eb.test_rule('{"source": ["shop.orders"]}', 'shop');
RESET ROLE;
DROP OWNED BY regress_eb_reader;
DROP ROLE regress_eb_reader;

-- Targets that were removed, and that vacuum has not, are met on the way.
SELECT eb.create_bus('many');
SELECT count(eb.put_rule('r' || i, '{"source": ["s"]}', bus => 'many')) FROM generate_series(10, 59) i;
SELECT count(eb.put_target('r' || i, 't4', channel => 'c', bus => 'many')) FROM generate_series(10, 59) i;
SELECT count(eb.put_target('r' || i, 't' || j, channel => 'c', bus => 'many')) FROM generate_series(20, 40) i, generate_series(1, 3) j;
SELECT count(eb.remove_target('r' || i, 't' || j, bus => 'many')) FROM generate_series(20, 40) i, generate_series(1, 3) j;
SELECT count(*) AS rules, sum(cardinality(targets)) AS targets FROM eb.explain_routing('{"source": "s"}', 'many');
SELECT count(*) AS rules, sum(cardinality(targets)) AS targets FROM eb.explain_routing('{"source": "s"}', 'many');
SELECT eb.delete_bus('many', with_rules => true);

SELECT eb.delete_bus('shop', with_rules => true);
SELECT eb.delete_bus('other');
SELECT eb.drop_queue('billing', with_dead_letters => true);
SELECT eb.drop_queue('audit', with_dead_letters => true);
