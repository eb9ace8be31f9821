-- Sending messages to a queue and taking them out again.
\pset null '(null)'

SELECT eb.create_queue('orders');

-- A message is any JSON.  send() returns its id, which holds the time at
-- which it was sent.
SELECT eb.send('orders', '{"order": 1}') AS id \gset
SELECT abs(extract(epoch FROM eb.message_time(:id) - clock_timestamp())) < 60 AS "sent just now";

-- consume() takes messages out in the caller's transaction, oldest first.
SELECT message_id = :id AS same, queue, body, receive_count, receipt, event_id FROM eb.consume('orders');

-- An empty queue gives no rows.
SELECT body FROM eb.consume('orders');

-- Ids are in the order of sending; a batch is sent at once.
SELECT count(*), count(DISTINCT id), bool_and(id > lag) AS ascending
	FROM (SELECT id, lag(id) OVER (ORDER BY ordinality) FROM eb.send_batch('orders', ARRAY['1', '2', '3']::jsonb[]) WITH ORDINALITY AS s(id, ordinality)) x;
SELECT body FROM eb.consume('orders', 2);
SELECT body FROM eb.consume('orders', 2);

-- What is sent in a transaction can be received in it, even in one statement,
-- and is gone if the transaction is rolled back.
BEGIN;
SELECT eb.send('orders', '"mine"') > 0 AS sent, (SELECT body FROM eb.consume('orders'));
SELECT eb.send('orders', '"back"') > 0 AS sent;
SAVEPOINT before;
SELECT body FROM eb.consume('orders');
ROLLBACK TO before;
SELECT body FROM eb.consume('orders');
ROLLBACK;
SELECT body FROM eb.consume('orders');

-- Headers travel beside the body; correlation id, cause and trace context of
-- the session are added to them, unless the sender names them.
SET eb.correlation_id = 'session-7';
SET eb.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT eb.send('orders', '{}', headers => '{"shop": "nord"}') > 0 AS sent;
SELECT eb.send('orders', '{}', headers => '{"correlation-id": "own"}') > 0 AS sent;
RESET eb.correlation_id;
RESET eb.traceparent;
SELECT headers, correlation_id, causation_id, traceparent FROM eb.consume('orders', 10);

-- A delay hides a message at first; so does the delay of the queue.
SELECT eb.send('orders', '"late"', delay => '1 minute') > 0 AS sent;
SELECT eb.send('orders', '"now"') > 0 AS sent;
SELECT body FROM eb.consume('orders', 10);
SET eb.clock_offset = '61 s';
SELECT body FROM eb.consume('orders', 10);
RESET eb.clock_offset;
SELECT eb.update_queue('orders', delay => '1 hour');
SELECT eb.send('orders', '"by the queue"') > 0 AS sent;
SELECT eb.send('orders', '"at once"', delay => '0') > 0 AS sent;
SELECT body FROM eb.consume('orders', 10);
SET eb.clock_offset = '3601 s';
SELECT body FROM eb.consume('orders', 10);
RESET eb.clock_offset;
SELECT eb.update_queue('orders', delay => '0');

-- A batch can say all of that for each message, as arrays ...
SELECT count(*) FROM eb.send_batch('orders', ARRAY['1', '2']::jsonb[], delays => ARRAY[NULL, '1 day']::interval[],
	headers => ARRAY['{"n": 1}', NULL]::jsonb[], groups => ARRAY['a', NULL]);
-- ... or as one JSON document.
SELECT count(*) FROM eb.send_batch('orders', messages => '[
	{"body": {"n": 3}, "headers": {"k": "v"}, "group_id": "b"},
	{"body": null, "delay": 0},
	{"body": [4], "delay": "1 day"}]');
SELECT body, headers, group_id FROM eb.consume('orders', 10);
SELECT eb.purge('orders');

-- Large bodies are stored out of line; they come back whole.
SELECT eb.send('orders', jsonb_build_object('big', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 5000) i))) > 0 AS sent;
SELECT length(body ->> 'big') FROM eb.consume('orders');

-- A paused queue takes messages and delivers none.
SELECT eb.pause_queue('orders');
SELECT eb.send('orders', '"later"') > 0 AS sent;
SELECT body FROM eb.consume('orders');
SELECT body FROM eb.receive('orders');
SELECT eb.resume_queue('orders');
SELECT body FROM eb.consume('orders');

-- A row that the table's owner wrote by hand comes out as it is.
INSERT INTO eb.q_orders (message_id) VALUES (1);
SELECT message_id, body, receive_count FROM eb.consume('orders');

-- Mistakes change nothing and say what is wrong.
SELECT eb.send('nowhere', '{}');
SELECT eb.send(NULL, '{}');
SELECT eb.send('orders', NULL);
SELECT eb.send('orders', '{}', delay => '-1 second');
SELECT eb.send('orders', '{}', delay => '2 years');
SELECT eb.send('orders', '{}', headers => '[1]');
SELECT eb.send('orders', '{}', dedup_id => 'd');
SELECT eb.send('orders', '{}', group_id => repeat('g', 513));
SET eb.max_entry_size = '1 kB';
SELECT eb.send('orders', to_jsonb(repeat('x', 2000)));
SELECT eb.send_batch('orders', ARRAY['1', to_jsonb(repeat('x', 2000))]);
RESET eb.max_entry_size;
SELECT eb.send_batch('orders', NULL::jsonb[]);
SELECT eb.send_batch('orders', ARRAY['1', NULL]::jsonb[]);
SELECT eb.send_batch('orders', ARRAY['1', '2']::jsonb[], delays => ARRAY['1 s']::interval[]);
SELECT eb.send_batch('orders', messages => '{"body": 1}');
SELECT eb.send_batch('orders', messages => '[1]');
SELECT eb.send_batch('orders', messages => '[{"body": 1}, {"bodi": 2}]');
SELECT eb.send_batch('orders', messages => '[{"delay": 1}]');
SELECT eb.send_batch('orders', messages => '[{"body": 1, "delay": true}]');
SELECT eb.send_batch('orders', messages => '[{"body": 1, "group_id": 5}]');
SELECT eb.consume('orders', 0);
SELECT eb.consume('orders', NULL);
SELECT eb.receive(NULL);
SELECT eb.receive('orders', 1, '-1 s');
BEGIN READ ONLY;
SELECT eb.send('orders', '{}');
ROLLBACK;
BEGIN READ ONLY;
SELECT eb.consume('orders');
ROLLBACK;
SELECT body FROM eb.consume('orders', 10);

SELECT eb.drop_queue('orders');
