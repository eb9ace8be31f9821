-- eb.queue_status and eb.in_flight: what is in the queues, and who holds it.
SELECT eb.create_queue('desk', max_receive_count => 1, visibility_timeout => '1 hour', description => 'status test');
SELECT eb.create_queue('belt', fifo => true, dead_letter_queue => '');

-- Empty queues.
SELECT queue, ready, in_flight, delayed, parked, dead_lettered, oldest_age, paused, fifo, is_dlq, dead_letter_queue, exact
FROM eb.queue_status;

-- Some of everything.
INSERT INTO eb.queue_desk (body, delay) SELECT to_jsonb(i), CASE WHEN i > 6 THEN interval '1 hour' END
FROM generate_series(1, 8) i;
INSERT INTO eb.queue_belt (body, group_id) SELECT to_jsonb(i), i % 2 FROM generate_series(1, 5) i;
SELECT count(*) FROM eb.receive('desk', 3);
SELECT n.result FROM eb.receive('desk') r, eb.nack('desk', ARRAY[r.receipt], 'no') n;
SELECT eb.pause_queue('belt');
SELECT queue, ready, in_flight, delayed, parked, dead_lettered, paused, exact FROM eb.queue_status;

-- These are the figures that counting the view gives.
SELECT state, count(*) FROM eb.queue_desk GROUP BY 1 ORDER BY 1;
SELECT state, count(*) FROM eb.queue_belt GROUP BY 1 ORDER BY 1;

-- Who holds what until when.
SELECT queue, message_id IS NOT NULL AS id, role = current_user AS me, pid = pg_backend_pid() AS my_connection,
	application_name = current_setting('application_name') AS my_application,
	until BETWEEN now() + '59 min' AND now() + '61 min' AS in_an_hour, receive_count, first_received_at <= until AS received
FROM eb.in_flight;

-- A lease that has run out makes its message ready again; nobody holds it any more.
SET eb.clock_offset = '10 d';
SELECT queue, ready, in_flight, delayed, oldest_age BETWEEN '8 days' AND '11 days' AS old FROM eb.queue_status WHERE queue = 'desk';
SELECT count(*) FROM eb.in_flight;
RESET eb.clock_offset;

-- A dead-letter queue that several queues share is counted by source.
SELECT eb.create_queue('lamp', max_receive_count => 1, dead_letter_queue => 'desk_dlq');
SELECT eb.send('lamp', '1'), eb.send('lamp', '2') \g /dev/null
SELECT count(*) FROM (SELECT eb.nack('lamp', receipt, 'dark') FROM eb.receive('lamp', 2)) s;
SELECT queue, dead_lettered, ready FROM eb.queue_status WHERE queue IN ('desk', 'lamp', 'desk_dlq');

-- More than an index is read through: an estimate, from a sample of its pages.
SELECT eb.create_queue('crowd', dead_letter_queue => '');
INSERT INTO eb.queue_crowd (body, delay)
SELECT '{}', CASE WHEN i % 4 = 0 THEN interval '1 day' END FROM generate_series(1, 60000) i;
SELECT exact, ready BETWEEN 0.9 * 45000 AND 1.1 * 45000 AS ready, delayed BETWEEN 0.9 * 15000 AND 1.1 * 15000 AS delayed,
	in_flight, parked
FROM eb.queue_status WHERE queue = 'crowd';

-- Consumed messages do not count, though nothing was vacuumed.
SELECT count(*) FROM eb.consume('crowd', 40000);
SELECT ready BETWEEN 0.9 * 5000 AND 1.1 * 5000 AS ready, delayed BETWEEN 0.9 * 15000 AND 1.1 * 15000 AS delayed
FROM eb.queue_status WHERE queue = 'crowd';
SELECT eb.purge('crowd');
SELECT ready, delayed, oldest_age FROM eb.queue_status WHERE queue = 'crowd';

-- A role sees the queues on whose view it has a privilege, whichever it is.
CREATE ROLE regress_eb_looker;
SET ROLE regress_eb_looker;
SELECT queue FROM eb.queue_status;
SELECT count(*) FROM eb.in_flight;
RESET ROLE;
GRANT INSERT ON eb.queue_desk TO regress_eb_looker;
SET ROLE regress_eb_looker;
SELECT queue, ready, in_flight, delayed FROM eb.queue_status;
SELECT queue, count(*) FROM eb.in_flight GROUP BY 1;
RESET ROLE;

SELECT eb.drop_queue(q, true) FROM unnest(ARRAY['lamp', 'desk', 'belt', 'crowd']) q;
DROP ROLE regress_eb_looker;
