-- Queues as objects: create, look at, change, pause, drop.

-- A queue is a row of eb.queues, a table and a view.  Beside it a dead-letter
-- queue is made.
SELECT eb.create_queue('orders');
SELECT name, queue_table, queue_view, fifo, is_dlq, dead_letter_queue, description
FROM eb.queues ORDER BY name;

-- What it does unless told otherwise.
SELECT visibility_timeout, delay, retention, max_receive_count, paused FROM eb.queues WHERE name = 'orders';
SELECT backoff_base, backoff_factor, backoff_cap, min_redelivery_delay FROM eb.queues WHERE name = 'orders';

-- Dead letters wait for a person, so they are kept longer.
SELECT retention, delay, dead_letter_queue FROM eb.queues WHERE name = 'orders_dlq';

-- The table has what receivers need, and belongs to the extension's owner.
SELECT c.relname, pg_get_userbyid(c.relowner) = current_user AS owned, c.reloftype::regtype, c.reloptions
FROM pg_class c WHERE c.oid = 'eb.q_orders'::regclass;
SELECT relname, pg_get_expr(indpred, indrelid) AS predicate
FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 'eb.q_orders'::regclass ORDER BY relname;
SELECT tgname, tgenabled, tgfoid::regproc FROM pg_trigger WHERE tgrelid = 'eb.q_orders'::regclass ORDER BY 1;

-- A rebuilt index or table serves a session that knew the old one.
SELECT eb.send('orders', '1') > 0 AS sent;
REINDEX TABLE CONCURRENTLY eb.q_orders;
SELECT eb.send('orders', '2') > 0 AS sent;
SELECT body FROM eb.receive('orders', 1, '1 hour');
VACUUM FULL eb.q_orders;
SELECT body FROM eb.consume('orders', 10);
SELECT body, state FROM eb.queue_orders;
SELECT eb.purge('orders');

-- FIFO queues have an index of groups, too.
SELECT eb.create_queue('steps', fifo => true, max_per_group => 2, content_dedup => true, dedup_window => '1 hour',
	dead_letter_queue => '', description => 'steps of a workflow');
SELECT fifo, max_per_group, content_dedup, dedup_window, dead_letter_queue, description
FROM eb.queues WHERE name = 'steps';
SELECT relname, pg_get_indexdef(indexrelid, 1, false) AS first, pg_get_indexdef(indexrelid, 2, false) AS second
FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 'eb.q_steps'::regclass ORDER BY relname;

-- Names: letters, digits, "_" and "-", up to 48 of them, and case matters.
SELECT eb.create_queue('Orders-2024_eu');
SELECT eb.create_queue('ORDERS');
SELECT eb.create_queue(repeat('x', 48));
SELECT eb.create_queue(repeat('x', 45));
SELECT name, queue_view, dead_letter_queue FROM eb.queues WHERE NOT is_dlq ORDER BY name;

-- Names of tables, views and indexes never collide.
SELECT eb.create_queue('orders_r');
SELECT eb.create_queue('orders_w', dead_letter_queue => '');

-- What is no name.
SELECT eb.create_queue('');
SELECT eb.create_queue('no spaces');
SELECT eb.create_queue('no.dots');
SELECT eb.create_queue('a+b');
SELECT eb.create_queue('"; DROP TABLE eb.queues; --');
SELECT eb.create_queue(repeat('x', 49));
SELECT eb.create_queue(NULL);

-- A name that is taken, by a queue or by something else of the extension.
SELECT eb.create_queue('orders');
SELECT eb.create_queue('status');

-- Settings out of their range.
SELECT eb.create_queue('bad', visibility_timeout => '0');
SELECT eb.create_queue('bad', visibility_timeout => '2 years');
SELECT eb.create_queue('bad', delay => '-1 second');
SELECT eb.create_queue('bad', retention => '0');
SELECT eb.create_queue('bad', retention => '178000000 years');
SELECT eb.create_queue('bad', max_receive_count => 0);
SELECT eb.create_queue('bad', backoff_base => '-1 s');
SELECT eb.create_queue('bad', backoff_factor => 0.5);
SELECT eb.create_queue('bad', backoff_factor => 'NaN');
SELECT eb.create_queue('bad', backoff_cap => '100 years');
SELECT eb.create_queue('bad', min_redelivery_delay => '-1 s');
SELECT eb.create_queue('bad', fifo => true, max_per_group => 0);
SELECT eb.create_queue('bad', dedup_window => '0');
SELECT eb.create_queue('bad', visibility_timeout => NULL);
SELECT eb.create_queue('bad', fifo => NULL);

-- Settings that do not fit each other.
SELECT eb.create_queue('bad', backoff_base => '10 s', backoff_cap => '5 s');
SELECT eb.create_queue('bad', delay => '4 days');
SELECT eb.create_queue('bad', max_per_group => 2);
SELECT eb.create_queue('bad', content_dedup => true);

-- Nothing of them is left.
SELECT name FROM eb.queues WHERE name LIKE 'bad%';
SELECT relname FROM pg_class WHERE relname LIKE 'q\_bad%' OR relname LIKE 'queue\_bad%';

-- Several queues may share a dead-letter queue; a name that does not exist is made.
SELECT eb.create_queue('billing', dead_letter_queue => 'failed');
SELECT eb.create_queue('shipping', dead_letter_queue => 'failed');
SELECT name, is_dlq, dead_letter_queue FROM eb.queues WHERE name IN ('billing', 'shipping', 'failed') ORDER BY name;

-- What cannot be one: a FIFO queue, the queue itself, and what leads back.
SELECT eb.create_queue('bad', dead_letter_queue => 'steps');
SELECT eb.create_queue('bad', dead_letter_queue => 'bad');
SELECT eb.create_queue('bad', dead_letter_queue => 'no such/name');
SELECT eb.update_queue('failed', dead_letter_queue => 'billing');

-- Changing settings: what is not named stays.
SELECT eb.update_queue('billing', visibility_timeout => '5 min', max_receive_count => 3, description => 'invoices');
SELECT visibility_timeout, max_receive_count, dead_letter_queue, retention, description FROM eb.queues WHERE name = 'billing';
SELECT eb.update_queue('billing', dead_letter_queue => '');
SELECT dead_letter_queue FROM eb.queues WHERE name = 'billing';
SELECT eb.update_queue('billing', dead_letter_queue => 'orders_dlq');

-- The same checks, against what is there.
SELECT eb.update_queue('billing', backoff_cap => '1 ms');
SELECT eb.update_queue('billing', retention => '1 min', delay => '2 min');
SELECT eb.update_queue('billing', max_per_group => 5);
SELECT eb.update_queue('billing', max_receive_count => -1);
SELECT eb.update_queue('billing', dead_letter_queue => 'nowhere');
SELECT eb.update_queue('nowhere', delay => '1 s');
SELECT eb.update_queue(NULL, delay => '1 s');

-- Pause and resume; doing it twice is the same as once.
SELECT eb.pause_queue('billing');
SELECT eb.pause_queue('billing');
SELECT paused FROM eb.queues WHERE name = 'billing';
SELECT eb.resume_queue('billing');
SELECT paused FROM eb.queues WHERE name = 'billing';
SELECT eb.pause_queue('nowhere');
SELECT eb.resume_queue(NULL);

-- A dead-letter queue in use cannot be dropped.
SELECT eb.drop_queue('failed');
SELECT eb.drop_queue('orders_dlq');

-- A queue takes its own dead-letter queue along, not one that others use.
SELECT eb.drop_queue('billing');
SELECT eb.drop_queue('shipping');
SELECT eb.drop_queue('failed');
SELECT eb.drop_queue('orders_r');
SELECT eb.drop_queue(repeat('x', 48));
SELECT name FROM eb.queues ORDER BY name;

-- What depends on a queue's view stops the drop, as with any view.
CREATE VIEW public.look AS SELECT message_id FROM eb.queue_orders_w;
SELECT eb.drop_queue('orders_w');
DROP VIEW public.look;
SELECT eb.drop_queue('orders_w');
SELECT eb.drop_queue('orders_w');
SELECT eb.drop_queue(NULL);
SELECT eb.drop_queue('steps', NULL);

-- All of it is transactional, and what was made can be used at once.
BEGIN;
SELECT eb.create_queue('later');
SELECT eb.send('later', '1') > 0 AS sent;
SELECT body FROM eb.consume('later');
SELECT eb.drop_queue('orders');
SELECT name FROM eb.queues WHERE name IN ('later', 'orders');
ROLLBACK;
SELECT name FROM eb.queues WHERE name IN ('later', 'orders');

-- A read-only transaction makes no queues.
BEGIN READ ONLY;
SELECT eb.create_queue('later');
ROLLBACK;

SELECT eb.drop_queue(name) FROM eb.queues WHERE name IN ('ORDERS', 'Orders-2024_eu', 'orders', 'steps', repeat('x', 45))
ORDER BY name;
SELECT count(*) FROM eb.queues;
