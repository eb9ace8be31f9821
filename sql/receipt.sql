-- Leases: receive a message, process it, settle it by its receipt.
\pset null '(null)'

SELECT eb.create_queue('jobs', visibility_timeout => '30 seconds', max_receive_count => 3,
	backoff_base => '10 seconds', backoff_factor => 2, backoff_cap => '15 seconds', min_redelivery_delay => '2 seconds');

-- receive() hides a message for the queue's visibility timeout.
SELECT eb.send('jobs', '"one"') > 0 AS sent;
SELECT receipt AS r1, body, receive_count, first_received_at IS NOT NULL AS dated FROM eb.receive('jobs') \gset
\echo :body :receive_count :dated
SELECT count(*) FROM eb.receive('jobs');

-- Its receipt acknowledges it, once.
SELECT result FROM eb.ack('jobs', ARRAY[:'r1']);
SELECT result FROM eb.ack('jobs', ARRAY[:'r1']);

-- The form for one receipt tells whether it was done.
SELECT eb.send('jobs', '"two"') > 0 AS sent;
SELECT receipt AS r2 FROM eb.receive('jobs') \gset
SELECT eb.ack('jobs', :'r2') AS first, eb.ack('jobs', :'r2') AS again;

-- Unless it is settled, a message comes again, and the old receipt is stale.
SELECT eb.send('jobs', '"three"') > 0 AS sent;
SELECT receipt AS old FROM eb.receive('jobs') \gset
SET eb.clock_offset = '31 s';
SELECT receipt AS new, receive_count FROM eb.receive('jobs') \gset
\echo :receive_count
-- Receipts are answered one by one, in order.
SELECT result FROM eb.ack('jobs', ARRAY[:'old', :'r2', :'new']);
RESET eb.clock_offset;

-- A lease that has run out is good as long as nobody else took the message.
SELECT eb.send('jobs', '"four"') > 0 AS sent;
SELECT receipt AS r4 FROM eb.receive('jobs') \gset
SET eb.clock_offset = '31 s';
SELECT eb.ack('jobs', :'r4');
RESET eb.clock_offset;

-- extend() moves the deadline, counted from now, and gives a new receipt.
SELECT eb.send('jobs', '"five"') > 0 AS sent;
SELECT receipt AS r5 FROM eb.receive('jobs', 1, '5 seconds') \gset
SELECT result, new_receipt AS r5b FROM eb.extend('jobs', ARRAY[:'r5'], '1 hour') \gset
\echo :result
SELECT result, new_receipt FROM eb.extend('jobs', ARRAY[:'r5'], '1 hour');
SET eb.clock_offset = '31 s';
SELECT count(*) FROM eb.receive('jobs');
RESET eb.clock_offset;
SELECT eb.ack('jobs', :'r5') AS old, eb.ack('jobs', :'r5b') AS new;
-- Of one receipt it returns the new one, or null; 0 gives the message back.
SELECT eb.send('jobs', '"five and a half"') > 0 AS sent;
SELECT receipt AS r5 FROM eb.receive('jobs') \gset
SELECT eb.extend('jobs', :'r5', '1 hour') AS r5b \gset
SELECT :'r5' <> :'r5b' AS "new", eb.extend('jobs', :'r5', '1 hour') AS of_the_old_one;
SELECT eb.extend('jobs', :'r5b', '0') IS NOT NULL AS "given back";
SELECT body, receive_count, receipt AS r5 FROM eb.receive('jobs') \gset
SELECT :'body' AS body, :receive_count AS receive_count, eb.ack('jobs', :'r5') AS acked;

-- nack() gives it back for later, after a backoff with full jitter: up to 10
-- seconds after the first failure, never less than 2.
SELECT eb.send('jobs', '"six"') > 0 AS sent;
SELECT receipt AS r6 FROM eb.receive('jobs') \gset
SELECT result FROM eb.nack('jobs', ARRAY[:'r6'], 'connection refused');
SELECT visible_at BETWEEN eb.clock() + '1 second' AND eb.clock() + '10 seconds' AS "backs off", last_error, lease_pid FROM eb.q_jobs;
SELECT eb.ack('jobs', :'r6');
SET eb.clock_offset = '11 s';
SELECT body, receive_count, last_error, receipt AS r6 FROM eb.receive('jobs') \gset
\echo :body :receive_count :last_error
-- The second failure: up to 15 seconds, the cap.  A delay can be named, but
-- the minimum of the queue holds.
SELECT eb.nack('jobs', :'r6', delay => '0') AS done;
SELECT visible_at BETWEEN eb.clock() + '1 second' AND eb.clock() + '2 seconds' AS "not at once", last_error FROM eb.q_jobs;

-- After max_receive_count receives a nack moves the message to the
-- dead-letter queue, with its last error and where it came from.
SET eb.clock_offset = '20 s';
SELECT receipt AS r6 FROM eb.receive('jobs') \gset
SELECT eb.nack('jobs', :'r6', 'still refused') AS done;
SELECT count(*) FROM eb.q_jobs;
SELECT body, source_queue, last_error, receive_count FROM eb.receive('jobs_dlq');

-- So does the receive that would be one too many.
SELECT eb.send('jobs', '"seven"') > 0 AS sent;
SELECT receive_count FROM eb.receive('jobs', 1, '0');
SELECT receive_count FROM eb.receive('jobs', 1, '0');
SELECT receive_count FROM eb.receive('jobs', 1, '0');
SELECT receive_count FROM eb.receive('jobs', 1, '0');
SELECT body, source_queue, last_error FROM eb.consume('jobs_dlq', 10);
RESET eb.clock_offset;

-- A timeout of nothing does not deliver a message twice in one call.
SELECT eb.send('jobs', '"eight"') > 0 AS sent;
SELECT body FROM eb.receive('jobs', 10, '0');
SELECT eb.purge('jobs');

-- Settling in a transaction that is rolled back has not happened.
SELECT eb.send('jobs', '"nine"') > 0 AS sent;
SELECT receipt AS r9 FROM eb.receive('jobs') \gset
BEGIN;
SELECT eb.ack('jobs', :'r9');
ROLLBACK;
SELECT eb.ack('jobs', :'r9');

-- Receipts that are none are refused before anything is done.
SELECT eb.send('jobs', '"ten"') > 0 AS sent;
SELECT receipt AS r10 FROM eb.receive('jobs') \gset
SELECT eb.ack('jobs', ARRAY[:'r10', 'nonsense']);
SELECT eb.ack('jobs', ARRAY[:'r10', NULL]);
SELECT eb.ack('jobs', '');
SELECT eb.ack('jobs', '1-2-3');
SELECT eb.ack('jobs', '01-2');
SELECT eb.ack('jobs', 'ffffffffffffffff-1');
SELECT eb.ack('jobs', NULL::text);
SELECT eb.ack('jobs', NULL::text[]);
SELECT eb.nack('nowhere', :'r10');
SELECT eb.nack('jobs', :'r10', delay => '-1 s');
SELECT eb.extend('jobs', ARRAY[:'r10'], NULL);
SELECT eb.extend('jobs', ARRAY[:'r10'], '3 years');
SELECT eb.extend('jobs', NULL::text, '1 s');
SELECT eb.extend('jobs', :'r10', NULL);
SELECT eb.extend('jobs', :'r10', '-1 s');
SELECT result FROM eb.ack('jobs', ARRAY[:'r10', '1-1']);
SELECT * FROM eb.ack('jobs', '{}'::text[]);

SELECT eb.drop_queue('jobs', true);
