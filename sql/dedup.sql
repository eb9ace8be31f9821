-- Deduplication of what is published: a bus remembers the dedup ids of its
-- events for its dedup_window.

SELECT eb.create_bus('orders', dedup_window => '10 minutes');
SELECT eb.create_queue('work');
SELECT eb.put_rule('all', '{"source": [{"prefix": ""}]}', bus => 'orders');
SELECT eb.put_target('all', queue => 'work', bus => 'orders');

-- A retry with the same dedup_id publishes nothing and returns the first id.
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 1}', bus => 'orders', dedup_id => 'order 1') AS first \gset
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 1}', bus => 'orders', dedup_id => 'order 1') = :'first' AS same;
SELECT count(*) FROM eb.bus_orders;
SELECT count(*) FROM eb.peek('work', 10);

-- The dedup_id counts, not the content; without one nothing is compared.
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 2}', bus => 'orders', dedup_id => 'order 1') = :'first' AS same;
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 1}', bus => 'orders') = :'first' AS same;

-- In a batch the row of the result says so; duplicates within the batch, too.
SELECT index, event_id = :'first' AS is_first, matched, duplicate, count(*) OVER (PARTITION BY event_id) AS with_this_id
FROM eb.put_events('[
	{"source": "shop", "detail-type": "OrderPlaced", "detail": {"n": 1}, "dedup-id": "order 1"},
	{"source": "shop", "detail-type": "OrderPlaced", "detail": {"n": 3}, "dedup-id": "order 3"},
	{"source": "shop", "detail-type": "OrderPlaced", "detail": {"n": 4}},
	{"Source": "shop", "DetailType": "OrderPlaced", "Detail": "{\"n\": 3}", "DedupId": "order 3"}
]', 'orders') ORDER BY index;
SELECT detail->'n' AS n FROM eb.bus_orders ORDER BY id;

-- A single entry, and one for another bus: each bus remembers its own.
SELECT matched, duplicate FROM eb.put_events('[{"source": "shop", "detail-type": "T", "detail": {}, "dedup-id": "order 1"}]', 'orders');
SELECT eb.create_bus('other');
SELECT index, duplicate FROM eb.put_events('[
	{"Source": "shop", "DetailType": "T", "Detail": "{}", "EventBusName": "other", "DedupId": "order 1"},
	{"Source": "shop", "DetailType": "T", "Detail": "{}", "EventBusName": "other", "DedupId": "order 1"},
	{"Source": "shop", "DetailType": "T", "Detail": "{}", "DedupId": "order 1"}
]', 'orders') ORDER BY index;

-- Ids of a batch are in the order of its entries, deduplicated or not.
SELECT array_agg(event_id ORDER BY index) = array_agg(event_id ORDER BY event_id) AS in_order
FROM eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', 's', 'detail-type', 't', 'detail', '{}'::jsonb)
	|| CASE WHEN i % 3 = 0 THEN jsonb_build_object('dedup-id', 'mixed ' || i) ELSE '{}' END ORDER BY i)
	FROM generate_series(1, 3000) i), 'other');

-- Rolled back with the transaction, or the savepoint.
BEGIN;
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 5}', bus => 'orders', dedup_id => 'order 5') IS NOT NULL AS put;
ROLLBACK;
SELECT duplicate FROM eb.put_events('[{"source": "shop", "detail-type": "T", "detail": {"n": 5}, "dedup-id": "order 5"}]', 'orders');

-- INSERT into the view of the bus; RETURNING shows the id of the first.
INSERT INTO eb.bus_orders (source, detail_type, detail, dedup_id) VALUES ('shop', 'T', '{"n": 6}', 'order 6');
INSERT INTO eb.bus_orders (source, detail_type, detail, dedup_id)
VALUES ('shop', 'T', '{"n": 6}', 'order 6'), ('shop', 'T', '{"n": 1}', 'order 1'), ('shop', 'T', '{"n": 7}', 'order 7')
RETURNING id = :'first' AS is_first, detail;
SELECT detail->'n' AS n, count(*) FROM eb.bus_orders WHERE detail->>'n' IN ('6', '7') GROUP BY 1 ORDER BY 1;

-- By content: source, detail type and detail, in whatever order of its keys.
SELECT eb.update_bus('other', '7 days', content_dedup => true);
SELECT index, duplicate FROM eb.put_events('[
	{"source": "a", "detail-type": "T", "detail": {"x": 1, "y": [1, 2]}},
	{"source": "a", "detail-type": "T", "detail": {"y": [1, 2], "x": 1}},
	{"source": "a", "detail-type": "T", "detail": {"y": [2, 1], "x": 1}},
	{"source": "a", "detail-type": "U", "detail": {"x": 1, "y": [1, 2]}},
	{"source": "b", "detail-type": "T", "detail": {"x": 1, "y": [1, 2]}},
	{"source": "a", "detail-type": "T", "detail": {"x": 1, "y": [1, 2]}, "dedup-id": "its own"}
]', 'other') ORDER BY index;
SELECT duplicate FROM eb.put_events('[{"source": "a", "detail-type": "T", "detail": {"x": 1, "y": [1, 2]}, "time": "2020-01-01T00:00:00Z"}]', 'other');

-- What a rule forwards to such a bus is compared there, by its content.
SELECT eb.put_rule('forward', '{"source": ["f"]}', bus => 'orders');
SELECT eb.put_target('forward', target_bus => 'other', bus => 'orders');
SELECT count(eb.put_event('f', 'T', '{"once": true}', bus => 'orders', dedup_id => 'f' || i)) FROM generate_series(1, 3) i;
SELECT b, count(*) FROM (SELECT 'orders' AS b, source FROM eb.bus_orders UNION ALL SELECT 'other', source FROM eb.bus_other) e
WHERE source = 'f' GROUP BY b ORDER BY b;

-- Row capture is not: a row may change to and fro.
CREATE TABLE lamp (is_on boolean);
INSERT INTO lamp VALUES (false);
CREATE TRIGGER capture AFTER UPDATE ON lamp FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('other');
UPDATE lamp SET is_on = NOT is_on;
UPDATE lamp SET is_on = NOT is_on;
UPDATE lamp SET is_on = NOT is_on;
SELECT count(*) FROM eb.bus_other WHERE source = 'public.lamp';
DROP TABLE lamp;

-- After the window an id is new again, at once.
SELECT kind, name, dedup_window FROM eb.dedup_status WHERE kind = 'bus' AND name IN ('orders', 'other') ORDER BY name;
SELECT eb.create_bus('brief', dedup_window => '5 seconds');
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 1}', bus => 'brief', dedup_id => 'order 1') AS first \gset
SET eb.clock_offset = 2000;
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 1}', bus => 'brief', dedup_id => 'order 1') = :'first' AS same;
SET eb.clock_offset = 6000;
SELECT eb.put_event('shop', 'OrderPlaced', '{"n": 1}', bus => 'brief', dedup_id => 'order 1') = :'first' AS same;
RESET eb.clock_offset;

-- Errors.
SELECT eb.put_event('shop', 'T', '{}', bus => 'orders', dedup_id => '');
SELECT eb.put_event('shop', 'T', '{}', bus => 'orders', dedup_id => repeat('x', 129));
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "dedup-id": 7}]', 'orders');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "dedup-id": ""}]', 'orders');
SELECT eb.create_bus('quick', dedup_window => '1 millisecond');
SELECT eb.update_bus('orders', '7 days', dedup_window => '-1 day');
SELECT eb.create_bus('quick', content_dedup => NULL);

SELECT eb.delete_bus('orders', true), eb.delete_bus('other'), eb.delete_bus('brief');
SELECT eb.drop_queue('work');
SELECT count(*) FROM eb.key_windows WHERE kind = 'bus' AND name IN ('orders', 'other', 'quick');
