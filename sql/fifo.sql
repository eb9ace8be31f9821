-- FIFO queues: order within groups, dedup ids.
\pset null '(null)'

SELECT eb.create_queue('steps', fifo => true, max_receive_count => 2, visibility_timeout => '30 seconds');

-- Messages of a group are delivered one after the other, groups beside each
-- other.
CREATE TEMP TABLE leases (message_id bigint, body jsonb, receipt text);
SELECT count(*) FROM eb.send_batch('steps', ARRAY['"a1"', '"a2"', '"b1"', '"a3"', '"b2"']::jsonb[],
	groups => ARRAY['a', 'a', 'b', 'a', 'b']);
INSERT INTO leases SELECT message_id, body, receipt FROM eb.receive('steps', 10);
SELECT body FROM leases ORDER BY message_id;
-- While a head is out its group waits.
SELECT body FROM eb.receive('steps', 10);
-- The ack of a head lets the next one out.
SELECT result FROM eb.ack('steps', ARRAY(SELECT receipt FROM leases WHERE body = '"a1"'));
SELECT body FROM eb.consume('steps', 10);
SELECT body FROM eb.consume('steps', 10);
-- A nack does not: the message is tried again before those behind it.
SELECT result FROM eb.nack('steps', ARRAY(SELECT receipt FROM leases WHERE body = '"b1"'), 'first try', '1 minute');
SELECT body FROM eb.consume('steps', 10);
SET eb.clock_offset = '61 s';
SELECT body, receive_count FROM eb.receive('steps', 10, '1 minute');
-- A head whose receives are used up goes to the dead-letter queue, and its
-- group goes on, within the same receive.
SET eb.clock_offset = '122 s';
SELECT body FROM eb.receive('steps', 10);
SELECT body, group_id, last_error FROM eb.consume('steps_dlq', 10);
RESET eb.clock_offset;
SELECT eb.purge('steps');

-- Only heads lie in the way of a receive; what is behind them is parked.
SELECT count(*) FROM eb.send_batch('steps', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 1000) i), groups => array_fill('loud'::text, ARRAY[1000]));
SELECT eb.send('steps', '"quiet"', group_id => 'quiet') > 0 AS sent;
SELECT count(*) FILTER (WHERE visible_at = 'infinity') AS parked, count(*) FILTER (WHERE visible_at IS NULL) AS ready FROM eb.q_steps;
SELECT body FROM eb.consume('steps', 10);
-- In one transaction several of a group can be consumed, call by call.
BEGIN;
SELECT body FROM eb.consume('steps', 10);
SELECT body FROM eb.consume('steps', 10);
SELECT body FROM eb.consume('steps', 10);
COMMIT;
SELECT eb.purge('steps');

-- max_per_group: so many of a group may be out at a time, still in order.
SELECT eb.update_queue('steps', max_per_group => 2);
SELECT count(*) FROM eb.send_batch('steps', ARRAY['1', '2', '3', '4', '5']::jsonb[], groups => array_fill('g'::text, ARRAY[5]));
TRUNCATE leases;
INSERT INTO leases SELECT message_id, body, receipt FROM eb.receive('steps', 10) RETURNING body;
SELECT body FROM eb.receive('steps', 10);
SELECT result FROM eb.ack('steps', ARRAY(SELECT receipt FROM leases WHERE body = '2'));
SELECT body FROM eb.receive('steps', 10);
SELECT body FROM eb.receive('steps', 10);
-- More of them, also of what lies in the queue already; and less again.
BEGIN;
SELECT eb.update_queue('steps', max_per_group => 4);
ROLLBACK;
SELECT body FROM eb.receive('steps', 10);
SELECT eb.send('steps', '"other"', group_id => 'other') > 0 AS sent, eb.send('steps', '"other too"', group_id => 'other') > 0 AS sent;
SELECT eb.update_queue('steps', max_per_group => 4);
SELECT body FROM eb.receive('steps', 1);
SELECT body FROM eb.receive('steps', 10);
SELECT count(*) FROM eb.q_steps WHERE body IS NULL;
SELECT eb.purge('steps');
SELECT eb.update_queue('steps', max_per_group => 1);
SELECT count(*) FROM eb.send_batch('steps', ARRAY['1', '2', '3', '4', '5']::jsonb[], groups => array_fill('g'::text, ARRAY[5]));
SELECT eb.update_queue('steps', max_per_group => 3);
SELECT body FROM eb.receive('steps', 10);
SELECT eb.update_queue('steps', max_per_group => 1);
SELECT eb.purge('steps');

-- The delay is the queue's; it counts from the time of sending also for
-- messages that are parked meanwhile.
SELECT eb.update_queue('steps', delay => '1 hour');
SELECT count(*) FROM eb.send_batch('steps', ARRAY['1', '2']::jsonb[], groups => ARRAY['g', 'g']);
SELECT body FROM eb.consume('steps', 10);
SET eb.clock_offset = '7300 s';
SELECT body FROM eb.consume('steps', 10);
SELECT body FROM eb.consume('steps', 10);
RESET eb.clock_offset;
SELECT eb.update_queue('steps', delay => '0');

-- A message with a dedup id that is known already is not sent again; the
-- first one's id is returned, even if that has been consumed.
SELECT eb.send('steps', '"first"', group_id => 'g', dedup_id => 'order-1') AS id \gset
SELECT eb.send('steps', '"second"', group_id => 'h', dedup_id => 'order-1') = :id AS "same id";
SELECT body FROM eb.consume('steps', 10);
SELECT eb.send('steps', '"third"', group_id => 'g', dedup_id => 'order-1') = :id AS "same id";
SELECT body FROM eb.consume('steps', 10);
-- Within a batch as well.
SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id = :id) AS known
	FROM eb.send_batch('steps', ARRAY['1', '2', '3', '4']::jsonb[], groups => ARRAY['g', 'g', 'g', 'g'],
		dedup_ids => ARRAY['x', 'order-1', 'x', NULL]) id;
SELECT body FROM eb.consume('steps', 10);
SELECT body FROM eb.consume('steps', 10);
-- After the window it is a new one.
SET eb.clock_offset = '301 s';
SELECT eb.send('steps', '"fourth"', group_id => 'g', dedup_id => 'order-1') > :id AS "new id";
SELECT body FROM eb.consume('steps', 10);
RESET eb.clock_offset;
-- A send that is rolled back has not used its id.
BEGIN;
SELECT eb.send('steps', '"no"', group_id => 'g', dedup_id => 'order-2') > 0 AS sent;
ROLLBACK;
SELECT eb.send('steps', '"yes"', group_id => 'g', dedup_id => 'order-2') > 0 AS sent;
SELECT body FROM eb.consume('steps', 10);

-- With content_dedup the body itself is the id, where none is given.
SELECT eb.update_queue('steps', content_dedup => true);
SELECT count(DISTINCT id) FROM eb.send_batch('steps', ARRAY['{"a": 1, "b": 2}', '{"b": 2, "a": 1}', '{"a": 2}']::jsonb[],
	groups => ARRAY['g', 'g', 'g']) id;
SELECT eb.purge('steps');

-- What a FIFO queue refuses.
SELECT eb.send('steps', '{}');
SELECT eb.send('steps', '{}', group_id => 'g', delay => '1 s');

SELECT eb.drop_queue('steps', true);
