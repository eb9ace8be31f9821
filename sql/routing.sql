-- Routing: from a bus through rules to queues, other buses and channels.
\set VERBOSITY default
SET TimeZone = 'UTC';
SELECT eb.create_queue('rt_a');
SELECT eb.create_queue('rt_b');
SELECT eb.create_queue('rt_fifo', fifo => true);
SELECT eb.create_bus('rt');
SELECT eb.create_bus('rt_other');

-- Two rules, three targets.
SELECT eb.put_rule('orders', '{"source": ["shop"], "detail-type": ["OrderPlaced"]}', bus => 'rt');
SELECT eb.put_rule('big', '{"source": ["shop"], "detail": {"total": [{"numeric": [">=", 100]}]}}', bus => 'rt');
SELECT eb.put_target('orders', queue => 'rt_a', bus => 'rt');
SELECT eb.put_target('big', queue => 'rt_a', bus => 'rt');
SELECT eb.put_target('big', queue => 'rt_b', bus => 'rt');
SELECT index, matched FROM eb.put_events('[
	{"source": "shop", "detail-type": "OrderPlaced", "detail": {"total": 50}},
	{"source": "shop", "detail-type": "OrderPlaced", "detail": {"total": 150}},
	{"source": "shop", "detail-type": "OrderShipped", "detail": {"total": 150}},
	{"source": "else", "detail-type": "OrderPlaced", "detail": {"total": 150}}
]', 'rt');
-- Each target that matches gets the event, so a queue that two rules name gets it twice.
SELECT body->>'detail-type' AS type, body->'detail' AS detail FROM eb.consume('rt_a', 10) ORDER BY message_id;
SELECT body->>'detail-type' AS type, body->'detail' AS detail FROM eb.consume('rt_b', 10) ORDER BY message_id;

-- A queue gets the whole envelope, as a consumer of EventBridge knows it.
BEGIN;
SET LOCAL eb.account = '123456789012';
SET LOCAL eb.region = 'eu-west-1';
SELECT eb.put_event('shop', 'OrderPlaced', '{"total": 1}', bus => 'rt', "time" => '2026-01-31 12:00:00.5+00',
	resources => ARRAY['order/1'], correlation_id => 'c-1') IS NOT NULL AS put;
SELECT jsonb_set(body, '{id}', to_jsonb((body->>'id')::uuid = event_id)) AS body, correlation_id, headers
FROM eb.consume('rt_a', 10);
COMMIT;

-- What was put and rolled back is not delivered.
BEGIN;
SELECT eb.put_event('shop', 'OrderPlaced', '{"total": 2}', bus => 'rt') IS NOT NULL AS put;
ROLLBACK;
SELECT count(*) FROM eb.consume('rt_a', 10);

-- A rule that is disabled, changed or deleted acts at once.
SELECT eb.disable_rule('orders', 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SELECT eb.enable_rule('orders', 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SELECT eb.put_rule('orders', '{"source": ["nobody"]}', bus => 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SELECT eb.put_rule('orders', '{"source": ["shop"]}', bus => 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SELECT eb.remove_target('orders', 'rt_a', 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SELECT count(*) FROM eb.consume('rt_a', 10);
-- also in the transaction that changes it, and not after its rollback
BEGIN;
SELECT eb.delete_rule('orders', 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SAVEPOINT s;
SELECT eb.put_rule('new', '{"source": ["shop"]}', bus => 'rt');
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
ROLLBACK TO s;
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
ROLLBACK;
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');

-- Plain SQL on the configuration tables, by their owner, is obeyed as well.
UPDATE eb.rules SET enabled = false WHERE bus = 'rt' AND name = 'orders';
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
BEGIN;
UPDATE eb.rules SET enabled = true WHERE bus = 'rt' AND name = 'orders';
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
ROLLBACK;
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
UPDATE eb.rules SET pattern = '{"source": "broken"}', enabled = true WHERE bus = 'rt' AND name = 'orders';
SELECT matched FROM eb.put_events('[{"source": "shop", "detail-type": "OrderPlaced", "detail": {}}]', 'rt');
SELECT eb.delete_rule('orders', 'rt');

-- Input transformation: what a target gets in place of the envelope.
SELECT eb.put_target('big', 'constant', queue => 'rt_b', input => '{"ring": true}', bus => 'rt');
SELECT eb.put_target('big', 'part', queue => 'rt_b', input_path => '$.detail', bus => 'rt');
SELECT eb.put_target('big', 'shaped', queue => 'rt_b', bus => 'rt', input_transformer =>
	'{"InputPathsMap": {"total": "$.detail.total", "who": "$.detail.customer"},
	  "InputTemplate": "{\"total\": <total>, \"text\": \"<who> spent <total>\", \"rule\": \"<aws.events.rule-name>\"}"}');
SELECT eb.put_event('shop', 'OrderPlaced', '{"total": 100, "customer": "Ann \"A\""}', bus => 'rt') IS NOT NULL AS put;
SELECT CASE WHEN body ? 'version' THEN '"envelope"' ELSE body END AS body, event_id IS NOT NULL AS event
FROM eb.consume('rt_b', 10) ORDER BY message_id;
-- a path without a value fails the put where the target says so
SELECT eb.put_target('big', 'strict', queue => 'rt_b', input_path => '$.detail.vat', on_missing => 'error', bus => 'rt');
SELECT eb.put_event('shop', 'OrderPlaced', '{"total": 100}', bus => 'rt');
SELECT count(*) FROM eb.consume('rt_b', 10);
SELECT eb.delete_rule('big', 'rt', with_targets => true);
SELECT count(*) FROM eb.consume('rt_a', 10);

-- A FIFO queue keeps the order within the event's group, or else its source.
SELECT eb.put_rule('all', '{"source": [{"prefix": ""}]}', bus => 'rt');
SELECT eb.put_target('all', queue => 'rt_fifo', bus => 'rt');
SELECT count(*) FROM eb.put_events('[
	{"source": "shop", "detail-type": "T", "detail": {"n": 1}, "group": "g"},
	{"source": "shop", "detail-type": "T", "detail": {"n": 2}, "group": "g"},
	{"source": "shop", "detail-type": "T", "detail": {"n": 3}},
	{"source": "shop", "detail-type": "T", "detail": {"n": 4}}
]', 'rt');
SELECT group_id, state, body->'detail' AS detail FROM eb.queue_rt_fifo ORDER BY message_id;
SELECT eb.purge('rt_fifo');
SELECT eb.remove_target('all', 'rt_fifo', 'rt');

-- Another bus gets the event as a new one, whose cause is the first.
SELECT eb.put_rule('all', '{"source": [{"prefix": ""}]}', bus => 'rt_other');
SELECT eb.put_target('all', queue => 'rt_a', bus => 'rt_other');
SELECT eb.put_target('all', target_bus => 'rt_other', bus => 'rt');
SELECT eb.put_target('all', 'renamed', target_bus => 'rt_other', source => 'rt', detail_type => 'Forwarded',
	input_transformer => '{"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": "{\"number\": <n>}"}', bus => 'rt');
SELECT eb.put_event('shop', 'T', '{"n": 5}', bus => 'rt', correlation_id => 'c-5', group_key => 'g',
	headers => '{"h": 1}', resources => ARRAY['r']) AS first \gset
SELECT source, detail_type, detail, hops, correlation_id, causation_id = :'first' AS caused, group_key, headers, resources
FROM eb.bus_rt_other ORDER BY id;
SELECT body->>'source' AS source, body->'detail' AS detail, correlation_id, causation_id = :'first' AS caused
FROM eb.consume('rt_a', 10) ORDER BY message_id;

-- A loop of rules ends after eb.max_hops, with a warning.
SELECT eb.remove_target('all', 'renamed', 'rt');
SELECT eb.put_target('all', target_bus => 'rt', bus => 'rt_other');
SET eb.max_hops = 3;
SELECT eb.put_event('loop', 'T', '{}', bus => 'rt') IS NOT NULL AS put;
SELECT 'rt' AS bus, hops FROM eb.bus_rt WHERE source = 'loop'
UNION ALL SELECT 'rt_other', hops FROM eb.bus_rt_other WHERE source = 'loop' ORDER BY hops;
-- one warning for a call, however many events loop
SELECT count(*) FROM eb.put_events('[{"source": "loop", "detail-type": "T", "detail": {}},
	{"source": "loop", "detail-type": "T", "detail": {}}]', 'rt');
-- with two ways around, the number of copies is bounded as well
SELECT eb.put_target('all', 'again', target_bus => 'rt', bus => 'rt_other');
SET eb.max_hops = 100;
SELECT eb.put_event('explosion', 'T', '{}', bus => 'rt') IS NOT NULL AS put;
SELECT (SELECT count(*) FROM eb.bus_rt WHERE source = 'explosion') +
	(SELECT count(*) FROM eb.bus_rt_other WHERE source = 'explosion') AS copies;
SET eb.max_hops = 0;
SELECT eb.put_event('none', 'T', '{}', bus => 'rt') IS NOT NULL AS put;
RESET eb.max_hops;
SELECT eb.remove_target('all', 'again', 'rt_other');
SELECT eb.remove_target('all', 'rt', 'rt_other');
SELECT count(*) > 0 AS drained FROM eb.consume('rt_a', 10000);

-- A channel gets the envelope as text; one too long for NOTIFY goes as its id, and does not fail the put.
SELECT eb.remove_target('all', 'rt_other', 'rt');
SELECT eb.put_target('all', channel => 'rt.channel', bus => 'rt');
SELECT eb.put_event('shop', 'T', jsonb_build_object('x', repeat('y', 10000)), bus => 'rt') IS NOT NULL AS put;

SELECT eb.delete_bus('rt', with_rules => true);
SELECT eb.delete_bus('rt_other', with_rules => true);
SELECT eb.drop_queue('rt_a');
SELECT eb.drop_queue('rt_b');
SELECT eb.drop_queue('rt_fifo');
