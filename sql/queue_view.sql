-- The view of a queue: SELECT looks, INSERT and COPY send.
SELECT eb.create_queue('inbox');
SELECT eb.create_queue('lanes', fifo => true);
SELECT eb.create_queue('slow', delay => '1 hour');

-- A row that is inserted is a message.
INSERT INTO eb.queue_inbox (body) VALUES ('{"n": 1}');
SELECT state, receive_count, body, headers, visible_at, event_id FROM eb.queue_inbox;

-- Several at once; what RETURNING says is what the queue has.
WITH sent AS (
	INSERT INTO eb.queue_inbox (body, headers) VALUES ('{"n": 2}', '{"tenant": "acme"}'), ('[3]', NULL), ('"four"', '{}')
	RETURNING message_id, state, enqueued_at)
INSERT INTO eb.queue_inbox (body) SELECT to_jsonb(count(*)) FROM sent WHERE state = 'ready';
INSERT INTO eb.queue_inbox (body) VALUES ('{"n": 6}') RETURNING message_id AS sent \gset
SELECT message_id = :sent AS same, enqueued_at = eb.message_time(message_id) AS at_its_time
FROM eb.queue_inbox WHERE body = '{"n": 6}';
SELECT body, headers FROM eb.queue_inbox ORDER BY message_id;

-- COPY sends as well.
COPY eb.queue_inbox (body, headers) FROM stdin;
{"n": 7}	\N
{"n": 8}	{"tenant": "acme"}
\.
SELECT body, headers FROM eb.queue_inbox WHERE (body ->> 'n')::int > 6 ORDER BY message_id;

-- Many rows are written in pieces; none is lost, none comes twice.
INSERT INTO eb.queue_inbox (body) SELECT jsonb_build_object('many', i) FROM generate_series(1, 2500) i;
SELECT count(*), count(DISTINCT message_id), count(DISTINCT body) FROM eb.queue_inbox WHERE body ? 'many';
SELECT eb.purge('inbox');

-- A delay is the message's own, or the queue's.
INSERT INTO eb.queue_inbox (body, delay) VALUES ('"later"', '1 hour'), ('"now"', '0') RETURNING state;
SELECT body, state, visible_at BETWEEN now() + '59 min' AND now() + '61 min' AS in_an_hour FROM eb.queue_inbox ORDER BY 1;
INSERT INTO eb.queue_slow (body) VALUES ('"queue''s delay"') RETURNING state;
INSERT INTO eb.queue_slow (body, delay) VALUES ('"none"', '0') RETURNING state;
SELECT body, state FROM eb.queue_slow ORDER BY message_id;
SELECT eb.purge('inbox') + eb.purge('slow') AS purged;

-- FIFO queues: only the head of a group can be received.
INSERT INTO eb.queue_lanes (body, group_id) VALUES ('1', 'red'), ('2', 'red'), ('3', 'blue');
SELECT body, group_id, state FROM eb.queue_lanes ORDER BY message_id;

-- A duplicate is not sent again.  Ids of FIFO messages are known only when the
-- statement ends, so RETURNING cannot tell them (eb.send can).
INSERT INTO eb.queue_lanes (body, group_id, dedup_id) VALUES ('4', 'red', 'x'), ('5', 'red', 'x') RETURNING body, message_id;
INSERT INTO eb.queue_lanes (body, group_id, dedup_id) VALUES ('6', 'red', 'x');
SELECT body FROM eb.queue_lanes WHERE group_id = 'red' ORDER BY message_id;

-- peek shows what a receive would get, without a receipt.
SELECT body, group_id, receipt, receive_count, queue FROM eb.peek('lanes');
SELECT body FROM eb.peek('lanes', 1);
SELECT * FROM eb.peek('nowhere');
SELECT * FROM eb.peek('lanes', 0);
SELECT * FROM eb.peek(NULL);
SELECT * FROM eb.peek('lanes', NULL);

-- Called for each row of a query, it keeps no memory of the calls before.
SELECT count(*) > 100 AS messages,
	(SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'pg_eventbus%') < 1024 * 1024 AS small
FROM generate_series(1, 1000) n, LATERAL eb.peek('lanes', 1 + n % 2);

-- What cannot be sent.
INSERT INTO eb.queue_inbox (headers) VALUES ('{}');
INSERT INTO eb.queue_inbox (body, headers) VALUES ('1', '[]');
INSERT INTO eb.queue_inbox (body, delay) VALUES ('1', '-1 s');
INSERT INTO eb.queue_inbox (body, delay) VALUES ('1', '10 years');
INSERT INTO eb.queue_inbox (body, dedup_id) VALUES ('1', 'x');
INSERT INTO eb.queue_lanes (body) VALUES ('1');
INSERT INTO eb.queue_lanes (body, group_id, delay) VALUES ('1', 'red', '1 s');

-- What only the server knows.
INSERT INTO eb.queue_inbox (body, message_id) VALUES ('1', 1);
INSERT INTO eb.queue_inbox (body, receive_count) VALUES ('1', 0);
INSERT INTO eb.queue_inbox (body, event_id) VALUES ('1', '019ac000-0000-7000-8000-000000000000');
INSERT INTO eb.queue_inbox (body, visible_at) VALUES ('1', now());
INSERT INTO eb.queue_inbox (body, source_queue) VALUES ('1', 'orders');

-- One bad row, and nothing of the statement is sent; COPY says which.
INSERT INTO eb.queue_inbox (body) VALUES ('1'), ('2'), (NULL);
COPY eb.queue_inbox (body, delay) FROM stdin;
1	0
2	-1 second
\.
SELECT count(*) FROM eb.queue_inbox;

-- Plain UPDATE and DELETE are refused, even if they would find nothing.
UPDATE eb.queue_inbox SET receive_count = 0;
DELETE FROM eb.queue_lanes WHERE group_id = 'red';
DELETE FROM eb.queue_lanes WHERE false;
TRUNCATE eb.queue_lanes;

-- What a rolled back subtransaction sent is gone; what came before stays.
BEGIN;
INSERT INTO eb.queue_inbox (body) VALUES ('"before"');
SAVEPOINT s;
INSERT INTO eb.queue_inbox (body) VALUES ('"inside"');
ROLLBACK TO s;
INSERT INTO eb.queue_inbox (body) VALUES ('"after"');
COMMIT;
SELECT body FROM eb.queue_inbox ORDER BY message_id;
SELECT eb.purge('inbox');

-- A statement inside of another one on the same view, which fails: the outer
-- statement's rows are all there.
CREATE FUNCTION pg_temp.try_to_send(i int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF i = 2 THEN
		INSERT INTO eb.queue_inbox (body) VALUES ('"inner"');
		RAISE EXCEPTION 'no';
	END IF;
	RETURN to_jsonb(i);
EXCEPTION WHEN raise_exception THEN
	RETURN '"failed"';
END$$;
INSERT INTO eb.queue_inbox (body) SELECT pg_temp.try_to_send(i) FROM generate_series(1, 3) i;
SELECT body FROM eb.queue_inbox ORDER BY message_id;

-- The trigger functions work on views of queues only.
CREATE VIEW public.fake AS SELECT NULL::jsonb AS body, NULL::text AS group_id;
CREATE TRIGGER send_row INSTEAD OF INSERT ON public.fake FOR EACH ROW EXECUTE FUNCTION eb.queue_view_insert();
INSERT INTO public.fake (body) VALUES ('1');
DROP VIEW public.fake;
CREATE VIEW public.queue_inbox AS SELECT NULL::jsonb AS body;
CREATE TRIGGER send_row INSTEAD OF INSERT ON public.queue_inbox FOR EACH ROW EXECUTE FUNCTION eb.queue_view_insert();
INSERT INTO public.queue_inbox (body) VALUES ('1');
DROP VIEW public.queue_inbox;
SELECT eb.queue_view_insert();

-- The message in process is the cause of what is sent now.
BEGIN;
SELECT eb.processing((SELECT m FROM (SELECT (1, NULL, 'q', '019ac000-0000-7000-8000-000000000001', '{}', NULL, NULL, now(), 1, now(),
	'corr-1', NULL, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', NULL, NULL, NULL)::eb.message AS m) s));
INSERT INTO eb.queue_inbox (body, headers) VALUES ('"effect"', '{"mine": 1}');
SAVEPOINT s;
SELECT eb.processing(NULL);
ROLLBACK TO s;
INSERT INTO eb.queue_inbox (body) VALUES ('"effect 2"');
SELECT eb.processing(NULL);
INSERT INTO eb.queue_inbox (body) VALUES ('"no effect"');
COMMIT;
INSERT INTO eb.queue_inbox (body) VALUES ('"no effect, either"');
SELECT body, headers FROM eb.queue_inbox WHERE body::text LIKE '%effect%' ORDER BY message_id;
SELECT body, correlation_id, causation_id, traceparent FROM eb.peek('inbox', 100) WHERE body = '"effect"';

SELECT eb.drop_queue('inbox'), eb.drop_queue('lanes'), eb.drop_queue('slow');
