-- Publishing: put_event, put_events in every shape, and what they refuse.
\set VERBOSITY default
SET TimeZone = 'UTC';
SELECT eb.create_bus('pub');
SELECT eb.create_bus('pub2');
SELECT eb.put_rule('all', '{"source": [{"prefix": ""}]}', bus => 'pub');

-- One event: source, type, detail.  The id is a version 7 uuid that holds the time.
SELECT eb.put_event('shop', 'OrderPlaced', '{"id": 1}', bus => 'pub') AS id \gset
SELECT eb.event_time(:'id') BETWEEN now() - interval '1 hour' AND clock_timestamp() + interval '1 minute' AS now, substr(:'id', 15, 1) AS version;
-- time is now where it is not given
SELECT source, detail_type, detail, time = ingested_at AS now, resources, headers, group_key, hops FROM eb.bus_pub;

-- All that an event can carry.
SELECT eb.put_event('shop', 'OrderPlaced', '{"id": 2}', bus => 'pub',
	"time" => '2026-01-31 12:00+01', resources => ARRAY['order/2', 'customer/7'],
	headers => '{"tenant": "acme"}', group_key => 'customer-7',
	correlation_id => 'c-1', causation_id => 'm-1',
	traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01') IS NOT NULL AS put;
SELECT time, resources, headers, group_key, correlation_id, causation_id, traceparent
FROM eb.bus_pub ORDER BY id DESC LIMIT 1;

-- What put_event refuses.  Nothing of it is in the log.
SELECT eb.put_event('', 'T', '{}', bus => 'pub');
SELECT eb.put_event('shop', '', '{}', bus => 'pub');
SELECT eb.put_event('shop', 'T', '[]', bus => 'pub');
SELECT eb.put_event('shop', 'T', '"text"', bus => 'pub');
SELECT eb.put_event(NULL, 'T', '{}', bus => 'pub');
SELECT eb.put_event('shop', NULL, '{}', bus => 'pub');
SELECT eb.put_event('shop', 'T', NULL, bus => 'pub');
SELECT eb.put_event('shop', 'T', '{}', bus => NULL);
SELECT eb.put_event('shop', 'T', '{}', bus => 'nowhere');
SELECT eb.put_event('eb.archive', 'T', '{}', bus => 'pub');
SELECT eb.put_event('EB.archive', 'T', '{}', bus => 'pub');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', "time" => 'infinity');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', "time" => '10000-01-01 00:00Z');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', "time" => '0001-12-31 23:59:59.999999Z BC');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', headers => '[1]');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', resources => ARRAY['a', NULL]);
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', traceparent => '00-xyz');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', traceparent => '00-00000000000000000000000000000000-00f067aa0ba902b7-01');
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01');
SET eb.traceparent = '00-xyz';
SELECT count(*) FROM eb.bus_pub;

-- The size limit is a setting.
BEGIN;
SET LOCAL eb.max_entry_size = '1kB';
SELECT eb.put_event('shop', 'T', jsonb_build_object('x', repeat('y', 900)), bus => 'pub') IS NOT NULL AS fits;
SELECT eb.put_event('shop', 'T', jsonb_build_object('x', repeat('y', 1100)), bus => 'pub');
ROLLBACK;
BEGIN;
SET LOCAL eb.max_entry_size = '1kB';
SELECT eb.put_event('shop', 'T', '{}', bus => 'pub', correlation_id => repeat('c', 500), causation_id => repeat('m', 600));
ROLLBACK;

-- Many events: a row for each, in order, with how many rules matched.
SELECT index, event_id > lag(event_id) OVER (ORDER BY index) AS ascending, matched
FROM eb.put_events('[
	{"source": "shop", "detail-type": "A", "detail": {"n": 1}},
	{"source": "shop", "detail-type": "B", "detail": {"n": 2}, "time": "2026-01-31T12:00:00Z",
	 "resources": ["order/2"], "headers": {"tenant": "acme"}, "group": "g",
	 "correlation-id": "c-2", "causation-id": "m-2",
	 "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"},
	{"source": "shop", "detail-type": "C", "detail": {"n": 3}, "headers": null, "time": null}
]', 'pub');
SELECT detail_type, detail, CASE WHEN time <> ingested_at THEN time END AS time, resources, headers,
	group_key, correlation_id, causation_id, traceparent
FROM eb.bus_pub ORDER BY id DESC LIMIT 3;
SELECT * FROM eb.put_events('[]', 'pub');

-- Entries of the AWS API: the detail is a string of JSON, each may name its bus.
SELECT index, matched FROM eb.put_events('[
	{"Source": "aws-shape", "DetailType": "D", "Detail": "{\"n\": 1}"},
	{"Source": "aws-shape", "DetailType": "E", "Detail": "{\"n\": 2}", "EventBusName": "pub2",
	 "Time": "2026-01-31T12:00:00Z", "Resources": ["r1", "r2"],
	 "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"},
	{"Source": "aws-shape", "DetailType": "F", "Detail": "{}", "Time": 1769860800.5,
	 "EventBusName": "arn:aws:events:eu-west-1:123456789012:event-bus/pub2",
	 "TraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793"},
	{"source": "mixed", "detail-type": "G", "detail": {}}
]', 'pub');
SELECT source, detail_type, detail FROM eb.bus_pub ORDER BY id DESC LIMIT 2;
SELECT detail_type, detail, time, resources, headers, traceparent FROM eb.bus_pub2 ORDER BY id;

-- A whole envelope, as read from a queue: a new event that remembers the id of the old one.
SELECT index, matched FROM eb.put_events('[
	{"version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "H", "source": "again",
	 "account": "111122223333", "time": "2017-12-22T18:43:48Z", "region": "us-west-1",
	 "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
	 "detail": {"instance-id": "i-1234567890abcdef0"}, "headers": {"a": {"b": [1]}}}
]', 'pub');
SELECT id <> '6a7e8feb-b491-4cf7-a9f1-bf3703467718' AS new_id, time, resources, headers, detail
FROM eb.bus_pub ORDER BY id DESC LIMIT 1;

-- Times in ISO 8601; UTC where no zone is named, whatever TimeZone says.
SET TimeZone = 'Asia/Tokyo';
CREATE FUNCTION pg_temp.put_time(t text) RETURNS timestamp LANGUAGE plpgsql AS $$
DECLARE
	event uuid;
BEGIN
	SELECT event_id INTO event FROM eb.put_events(jsonb_build_array(jsonb_build_object(
		'source', 's', 'detail-type', 't', 'detail', '{}'::jsonb, 'time', t)), 'pub');
	RETURN time AT TIME ZONE 'UTC' FROM eb.bus_pub WHERE id = event;
END $$;
CREATE TEMP TABLE times (t text);
INSERT INTO times VALUES ('2026-01-31T12:00:00Z'), ('2026-01-31T12:00:00'), ('2026-01-31 12:00'),
	('2026-01-31T12:00:00.123456789Z'), ('2026-01-31T12:00:00+05:30'), ('2026-01-31T12:00:00-08'),
	('2026-01-31T12:00:00+0100'), ('2024-02-29T23:59:60Z'), ('0001-01-01T00:00:00Z'), ('2000-01-01T00:00:00Z'),
	('9999-12-31T23:59:59.999999Z');
SELECT t, pg_temp.put_time(t) AS utc FROM times;
SET TimeZone = 'UTC';
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "time": "yesterday"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "time": "2026-02-29T12:00:00Z"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "time": "2026-01-31T24:00:00Z"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "time": "2026-01-31T12:00:00+19"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "time": "0001-01-01T00:00:00+01:00"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "time": 1769860800}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": "{}", "Time": -1}]', 'pub');

-- All or nothing: an entry that is wrong is named, and none is put.
CREATE TEMP TABLE before AS SELECT count(*) AS n FROM eb.bus_pub;
SELECT eb.put_events('{"source": "s", "detail-type": "t", "detail": {}}', 'pub');
SELECT eb.put_events('"x"', 'pub');
SELECT eb.put_events(NULL, 'pub');
SELECT eb.put_events('[]', NULL);
SELECT eb.put_events('[]', 'nowhere');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}}, 5]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}}, {}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}}, {"source": "s", "detail": {}}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": null}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": [1]}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": "{}"}]', 'pub');
SELECT eb.put_events('[{"source": 5, "detail-type": "t", "detail": {}}]', 'pub');
SELECT eb.put_events('[{"source": "", "detail-type": "t", "detail": {}}]', 'pub');
SELECT eb.put_events('[{"source": "eb.x", "detail-type": "t", "detail": {}}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "dedupid": "d"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "DetailType": "t", "detail": {}}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": "{}", "Priority": 1}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": {}}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": "{\"a\": }"}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": "[1]"}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": "{}", "EventBusName": "nowhere"}]', 'pub');
SELECT eb.put_events('[{"Source": "s", "DetailType": "t", "Detail": "{}", "EventBusName": ""}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "resources": "r"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "resources": ["r", 1]}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "headers": "h"}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "group": 7}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "group": ""}]', 'pub');
SELECT eb.put_events('[{"source": "s", "detail-type": "t", "detail": {}, "traceparent": "x"}]', 'pub');
BEGIN;
SET LOCAL eb.max_entry_size = '1kB';
SELECT eb.put_events(jsonb_build_array(jsonb_build_object('source', 's', 'detail-type', 't',
	'detail', jsonb_build_object('x', repeat('y', 1100)))), 'pub');
ROLLBACK;
SELECT count(*) = (SELECT n FROM before) AS none FROM eb.bus_pub;

-- Where correlation and cause come from: the entry, the detail, the session.
BEGIN;
SET LOCAL eb.correlation_id = 'session-c';
SET LOCAL eb.causation_id = 'session-m';
SET LOCAL eb.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
SELECT count(*) FROM eb.put_events('[
	{"source": "ctx", "detail-type": "1", "detail": {}},
	{"source": "ctx", "detail-type": "2", "detail": {"correlationId": "detail-c", "causationId": 17}},
	{"source": "ctx", "detail-type": "3", "detail": {"correlationId": "detail-c"}, "correlation-id": "entry-c",
	 "causation-id": "entry-m"},
	{"source": "ctx", "detail-type": "4", "detail": {"correlationId": {"not": "text"}, "causationId": ""}}
]', 'pub');
COMMIT;
SELECT detail_type, correlation_id, causation_id, traceparent FROM eb.bus_pub WHERE source = 'ctx' ORDER BY id;

-- A message in process goes before the session, but not before the detail.
SELECT eb.create_queue('pub_ctx', dead_letter_queue => '');
SELECT eb.send('pub_ctx', '{}', headers => '{"correlation-id": "message-c", "causation-id": "message-m"}') IS NOT NULL AS sent;
BEGIN;
SET LOCAL eb.correlation_id = 'session-c';
SELECT count(*) FROM eb.consume('pub_ctx');
SELECT eb.put_event('ctx2', '1', '{}', 'pub') IS NOT NULL AS put;
SELECT eb.put_event('ctx2', '2', '{"correlationId": "detail-c"}', 'pub') IS NOT NULL AS put;
COMMIT;
SELECT detail_type, correlation_id FROM eb.bus_pub WHERE source = 'ctx2' ORDER BY id;
SELECT eb.drop_queue('pub_ctx');

-- A batch that is larger than any buffer comes out complete and in order.
SELECT count(*), min(index), max(index), count(DISTINCT event_id), sum(matched)
FROM eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', 'bulk', 'detail-type', 't',
	'detail', jsonb_build_object('n', n, 'pad', repeat('x', 1000)))) FROM generate_series(1, 5000) n), 'pub');
SELECT count(*), bool_and(n = row_number) AS in_order
FROM (SELECT (detail->>'n')::int AS n, row_number() OVER (ORDER BY id) FROM eb.bus_pub WHERE source = 'bulk') e;

-- What is put is there for the rest of the transaction, and gone with it.
BEGIN;
SELECT eb.put_event('tx', 'T', '{}', bus => 'pub') IS NOT NULL AS put;
SELECT count(*) FROM eb.bus_pub WHERE source = 'tx';
SAVEPOINT s;
SELECT eb.put_event('tx', 'T', '{}', bus => 'pub') IS NOT NULL AS put;
ROLLBACK TO s;
SELECT count(*) FROM eb.bus_pub WHERE source = 'tx';
ROLLBACK;
SELECT count(*) FROM eb.bus_pub WHERE source = 'tx';
BEGIN TRANSACTION READ ONLY;
SELECT eb.put_event('tx', 'T', '{}', bus => 'pub');
ROLLBACK;

-- the envelope's time: UTC, with a fraction where there is one
SELECT eb.create_queue('pub_times') IS NOT NULL AS created;
SELECT eb.put_rule('times', '{"source": ["times"]}', bus => 'pub');
SELECT eb.put_target('times', 'queue', bus => 'pub', queue => 'pub_times') IS NOT NULL AS put;
SELECT count(eb.put_event('times', 'T', jsonb_build_object('t', t), bus => 'pub', "time" => t::timestamptz))
FROM unnest('{2026-01-31 12:00:00Z, 2026-01-31 12:00:00.5Z, 2026-01-31 12:00:01.000001Z, 2000-01-01 00:00Z, 1999-12-31 23:59:59Z,
	1999-12-31 23:59:59.25Z, 1969-12-31 23:59:59.999999Z, 0001-01-01 00:00:00.1Z, 9999-12-31 23:59:59.999999Z}'::text[]) t;
SELECT body #>> '{detail,t}' AS put, body ->> 'time' AS envelope FROM eb.consume('pub_times', 20) ORDER BY message_id;

SELECT eb.delete_bus('pub', with_rules => true);
SELECT eb.drop_queue('pub_times');
SELECT eb.delete_bus('pub2');
