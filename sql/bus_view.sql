-- A bus is also a view: SELECT reads its log, INSERT and COPY publish.
\set VERBOSITY default
SET TimeZone = 'UTC';
SELECT eb.create_queue('bv_q');
SELECT eb.create_bus('bv');
SELECT eb.create_bus('bv-2');
SELECT eb.put_rule('all', '{"source": [{"prefix": ""}]}', bus => 'bv');
SELECT eb.put_target('all', queue => 'bv_q', bus => 'bv');

-- Publish with INSERT; RETURNING gives the ids.
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('shop', 'A', '{"n": 1}')
RETURNING id IS NOT NULL AS id, time = ingested_at AS now, source;
SELECT body->'detail' AS detail FROM eb.consume('bv_q', 10);

-- Many rows are one call; the ids ascend in their order.
INSERT INTO eb.bus_bv (source, detail_type, detail, time, resources, headers, group_key, correlation_id,
	causation_id, traceparent)
SELECT 'shop', 'B', jsonb_build_object('n', n), '2026-01-31 12:00Z', ARRAY['r' || n], '{"h": 1}', 'g', 'c', 'm',
	'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
FROM generate_series(1, 3) n;
SELECT source, detail_type, detail, time, resources, headers, group_key, correlation_id, causation_id, traceparent
FROM eb.bus_bv WHERE detail_type = 'B' ORDER BY id;
SELECT count(*) FROM eb.consume('bv_q', 10);

-- COPY.
COPY eb.bus_bv (source, detail_type, detail) FROM stdin;
copy	C	{"n": 1}
copy	C	{"n": 2}
\.
SELECT detail FROM eb.bus_bv WHERE source = 'copy' ORDER BY id;
SELECT body->'detail' AS detail FROM eb.consume('bv_q', 10) ORDER BY message_id;

-- More rows than are buffered at a time.
INSERT INTO eb.bus_bv (source, detail_type, detail)
SELECT 'bulk', 'D', jsonb_build_object('n', n) FROM generate_series(1, 20000) n;
SELECT count(*), bool_and(n = row_number) AS in_order
FROM (SELECT (detail->>'n')::int AS n, row_number() OVER (ORDER BY id) FROM eb.bus_bv WHERE source = 'bulk') e;
SELECT count(*) FROM eb.consume('bv_q', 100000);

-- From one bus to another.
INSERT INTO eb."bus_bv-2" (source, detail_type, detail, time)
SELECT source, detail_type, detail, time FROM eb.bus_bv WHERE detail_type = 'B';
SELECT detail, time FROM eb."bus_bv-2" ORDER BY id;

-- The context of the session, as with put_event.
BEGIN;
SET LOCAL eb.correlation_id = 'session-c';
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('ctx', 'E', '{}');
COMMIT;
SELECT correlation_id FROM eb.bus_bv WHERE source = 'ctx';

-- What is empty is not there, as with put_event.
BEGIN;
SET LOCAL eb.correlation_id = 'session-c';
INSERT INTO eb.bus_bv (source, detail_type, detail, group_key, correlation_id, causation_id, traceparent)
VALUES ('empty', 'E', '{}', '', '', '', '');
SELECT eb.put_event('empty', 'E', '{}', bus => 'bv', group_key => '', correlation_id => '', causation_id => '',
	traceparent => '') IS NOT NULL AS put;
COMMIT;
SELECT group_key, correlation_id, causation_id, traceparent FROM eb.bus_bv WHERE source = 'empty' ORDER BY id;

-- A function that a statement calls may insert as well, and fail.
CREATE FUNCTION pg_temp.nested(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('nested', 'inner', jsonb_build_object('n', n));
		IF n = 2 THEN RAISE EXCEPTION 'no'; END IF;
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	RETURN jsonb_build_object('n', n);
END $$;
INSERT INTO eb.bus_bv (source, detail_type, detail)
SELECT 'nested', 'outer', pg_temp.nested(n) FROM generate_series(1, 3) n;
SELECT detail_type, detail FROM eb.bus_bv WHERE source = 'nested' ORDER BY detail_type, detail;

-- Several buses in one statement.
WITH a AS (INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('cte', 'F', '{}') RETURNING 1)
INSERT INTO eb."bus_bv-2" (source, detail_type, detail) SELECT 'cte', 'F', '{}' FROM a;
SELECT (SELECT count(*) FROM eb.bus_bv WHERE source = 'cte') AS bv,
	(SELECT count(*) FROM eb."bus_bv-2" WHERE source = 'cte') AS bv_2;
SELECT count(*) > 0 AS drained FROM eb.consume('bv_q', 1000);

-- A statement that fails publishes nothing of it.
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('half', 'G', '{}'), ('', 'G', '{}');
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('half', 'G', '{}'), ('half', '', '{}');
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('half', 'G', '[]');
INSERT INTO eb.bus_bv (source, detail_type) VALUES ('half', 'G');
INSERT INTO eb.bus_bv (source, detail) VALUES ('half', '{}');
INSERT INTO eb.bus_bv (detail_type, detail) VALUES ('G', '{}');
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('eb.half', 'G', '{}');
INSERT INTO eb.bus_bv (source, detail_type, detail, time) VALUES ('half', 'G', '{}', '-infinity');
INSERT INTO eb.bus_bv (source, detail_type, detail, time) VALUES ('half', 'G', '{}', '10000-01-01 00:00Z');
INSERT INTO eb.bus_bv (source, detail_type, detail, headers) VALUES ('half', 'G', '{}', '1');
INSERT INTO eb.bus_bv (source, detail_type, detail, resources) VALUES ('half', 'G', '{}', '{{a},{b}}');
INSERT INTO eb.bus_bv (source, detail_type, detail, traceparent) VALUES ('half', 'G', '{}', 'x');
INSERT INTO eb.bus_bv (id, source, detail_type, detail) VALUES (gen_random_uuid(), 'half', 'G', '{}');
INSERT INTO eb.bus_bv (ingested_at, source, detail_type, detail) VALUES (now(), 'half', 'G', '{}');
INSERT INTO eb.bus_bv (hops, source, detail_type, detail) VALUES (0, 'half', 'G', '{}');
BEGIN;
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('half', 'G', '{}');
ROLLBACK;
SELECT count(*) FROM eb.bus_bv WHERE source LIKE '%half';
SELECT count(*) FROM eb.consume('bv_q', 10);

-- The log only grows.
UPDATE eb.bus_bv SET source = 'forged';
DELETE FROM eb.bus_bv;
DELETE FROM eb.bus_bv WHERE false;

-- The triggers are for views of buses only.
CREATE VIEW my_view AS SELECT 'x'::text AS source, 't'::text AS detail_type, '{}'::jsonb AS detail;
CREATE TRIGGER publish INSTEAD OF INSERT ON my_view FOR EACH ROW EXECUTE FUNCTION eb.bus_view_insert();
INSERT INTO my_view VALUES ('a', 'b', '{}');
DROP VIEW my_view;
CREATE TABLE bus_bv (source text);
CREATE TRIGGER publish AFTER INSERT ON bus_bv FOR EACH STATEMENT EXECUTE FUNCTION eb.bus_view_publish();
INSERT INTO bus_bv VALUES ('a');
DROP TABLE bus_bv;

-- A view that lost its statement trigger does not lose rows silently.
BEGIN;
DROP TRIGGER publish ON eb.bus_bv;
INSERT INTO eb.bus_bv (source, detail_type, detail) VALUES ('a', 'b', '{}');
COMMIT;
-- A view that was renamed is no bus's.
BEGIN;
ALTER VIEW eb.bus_bv RENAME TO bus_elsewhere;
INSERT INTO eb.bus_elsewhere (source, detail_type, detail) VALUES ('a', 'b', '{}');
ROLLBACK;

SELECT eb.delete_bus('bv', with_rules => true);
SELECT eb.delete_bus('bv-2');
SELECT eb.drop_queue('bv_q');
