-- Background workers: waiting for messages, maintenance by hand, and what eb.workers tells.

-- A queue with a message is ready at once.
SELECT eb.create_queue('jobs');
SELECT eb.send('jobs', '{"n": 1}') > 0 AS sent;
CALL eb.wait('jobs', '10 seconds');

-- Nothing comes: false when the time is over.
SELECT body FROM eb.consume('jobs', 10);
CALL eb.wait('jobs', '50 milliseconds');
CALL eb.wait('jobs', '0');

-- A delayed message is waited for, and not longer than that.
SELECT eb.send('jobs', '{"n": 2}', delay => '300 milliseconds') > 0 AS sent;
CALL eb.wait('jobs', '0');
CALL eb.wait('jobs', '1 hour');
SELECT body FROM eb.receive('jobs', 10, '300 milliseconds');

-- So is the end of a lease.
CALL eb.wait('jobs', '0');
CALL eb.wait('jobs', '1 hour');
SELECT body FROM eb.consume('jobs', 10);

-- A paused queue has nothing to give.
SELECT eb.send('jobs', '{"n": 3}') > 0 AS sent;
SELECT eb.pause_queue('jobs');
CALL eb.wait('jobs', '0');
SELECT eb.resume_queue('jobs');
CALL eb.wait('jobs', '0');

-- While a session waits it holds no snapshot, so it cannot be in a transaction block.
BEGIN;
CALL eb.wait('jobs', '1 second');
ROLLBACK;
BEGIN;
CALL eb.maintain();
ROLLBACK;

-- In a DO block or procedure that is not in a transaction block itself it works.
DO $$
DECLARE
	ready boolean;
BEGIN
	CALL eb.wait('jobs', '1 second', ready);
	RAISE NOTICE 'ready: %', ready;
END $$;

-- Bad arguments.
CALL eb.wait('none', '1 second');
CALL eb.wait(NULL, '1 second');
CALL eb.wait('jobs', subscription => 'jobs');
CALL eb.wait('jobs', NULL);
CALL eb.wait('jobs', '-1 second');
CALL eb.wait('jobs', '2 years');

-- Who may receive may wait.
CREATE ROLE worker_test_nobody;
CREATE ROLE worker_test_consumer;
GRANT UPDATE, DELETE ON eb.queue_jobs TO worker_test_consumer;
SET ROLE worker_test_nobody;
CALL eb.wait('jobs', '0');
CALL eb.maintain();
SELECT count(*) FROM eb.workers;
SET ROLE worker_test_consumer;
CALL eb.wait('jobs', '0');
RESET ROLE;

-- For a subscription: an event that its next read returns.
SELECT eb.create_bus('waited');
SELECT eb.create_subscription('news', 'waited', '{"source": ["shop"]}');
SELECT count(eb.put_event('other', 'Placed', '{}', 'waited'));
CALL eb.wait(subscription => 'news', timeout => '50 milliseconds');
SELECT count(eb.put_event('shop', 'Placed', '{}', 'waited'));
CALL eb.wait(subscription => 'news', timeout => '10 seconds');
SELECT count(eb.commit('news', id)) FROM eb.read('news');
CALL eb.wait(subscription => 'news', timeout => '0');
SELECT eb.create_subscription('to_jobs', 'waited', queue => 'jobs');
CALL eb.wait(subscription => 'to_jobs', timeout => '0');
CALL eb.wait(subscription => 'none', timeout => '0');
BEGIN;
CALL eb.wait(subscription => 'news');
ROLLBACK;
SET ROLE worker_test_nobody;
CALL eb.wait(subscription => 'news', timeout => '0');
RESET ROLE;
SELECT eb.drop_subscription(name) FROM eb.subscriptions WHERE bus = 'waited' ORDER BY name;
SELECT eb.delete_bus('waited');

-- Maintenance by hand.
CALL eb.maintain();

-- Messages that are older than the queue's retention go.
SELECT eb.update_queue('jobs', retention => '1 second');
SELECT pg_sleep(1.1);
CALL eb.maintain();
SELECT count(*) FROM eb.queue_jobs;

SELECT eb.drop_queue('jobs');
DROP ROLE worker_test_nobody, worker_test_consumer;
