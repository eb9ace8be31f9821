-- Privileges on a queue are privileges on its view.  Each role here has just
-- what it needs.
CREATE ROLE regress_eb_maker;
CREATE ROLE regress_eb_publisher;
CREATE ROLE regress_eb_consumer;
CREATE ROLE regress_eb_reader;
CREATE ROLE regress_eb_admin;
CREATE ROLE regress_eb_nobody;

-- Whoever may run create_queue makes queues; nobody may by default.
SET ROLE regress_eb_maker;
SELECT eb.create_queue('tasks');
RESET ROLE;
GRANT EXECUTE ON FUNCTION eb.create_queue TO regress_eb_maker;
SET ROLE regress_eb_maker;
SELECT eb.create_queue('tasks', max_receive_count => 1);

-- The creator has all privileges on the view and passes them on; the table is
-- not his.
GRANT INSERT ON eb.queue_tasks TO regress_eb_publisher;
GRANT UPDATE, DELETE ON eb.queue_tasks TO regress_eb_consumer;
GRANT SELECT ON eb.queue_tasks TO regress_eb_reader;
GRANT ALL ON eb.queue_tasks TO regress_eb_admin;
SELECT * FROM eb.q_tasks;
INSERT INTO eb.q_tasks (message_id, body) VALUES (1, '"forged"');
CREATE TRIGGER mine BEFORE INSERT ON eb.q_tasks FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
DROP VIEW eb.queue_tasks;
ALTER VIEW eb.queue_tasks RENAME TO queue_other;
RESET ROLE;

-- A publisher sends, and nothing else.
SET ROLE regress_eb_publisher;
SELECT eb.send('tasks', '1') > 0 AS sent;
SELECT count(*) FROM eb.send_batch('tasks', ARRAY['2', '3']::jsonb[]);
INSERT INTO eb.queue_tasks (body) VALUES ('4');
COPY eb.queue_tasks (body) FROM stdin;
5
\.
SELECT * FROM eb.queue_tasks;
SELECT * FROM eb.peek('tasks');
SELECT * FROM eb.receive('tasks');
SELECT * FROM eb.consume('tasks');
SELECT eb.ack('tasks', '1-1');
SELECT eb.purge('tasks');
SELECT eb.pause_queue('tasks');
SELECT eb.send('tasks_dlq', '1');
RESET ROLE;

-- A consumer receives and settles; he needs nothing on the dead-letter queue
-- for his failures to go there.
SET ROLE regress_eb_consumer;
SELECT body, receipt FROM eb.receive('tasks') \gset
SELECT :'body' AS body, eb.nack('tasks', :'receipt', 'failed');
SELECT receipt FROM eb.receive('tasks') \gset
SELECT * FROM eb.ack('tasks', ARRAY[:'receipt']) \gset
SELECT :'result' AS result;
SELECT body FROM eb.consume('tasks');
SELECT * FROM eb.queue_tasks;
SELECT * FROM eb.peek('tasks');
SELECT eb.send('tasks', '6');
INSERT INTO eb.queue_tasks (body) VALUES ('6');
UPDATE eb.queue_tasks SET receive_count = 0;
DELETE FROM eb.queue_tasks;
SELECT * FROM eb.receive('tasks_dlq');
SELECT eb.redrive('tasks_dlq');
SELECT eb.update_queue('tasks', max_receive_count => 100);
SELECT queue, ready FROM eb.queue_status;
RESET ROLE;

-- UPDATE without DELETE is half a consumer.
SET ROLE regress_eb_maker;
REVOKE DELETE ON eb.queue_tasks FROM regress_eb_consumer;
SET ROLE regress_eb_consumer;
SELECT * FROM eb.receive('tasks');
SELECT * FROM eb.consume('tasks');
RESET ROLE;

-- A reader looks.
SET ROLE regress_eb_reader;
SELECT body, state FROM eb.queue_tasks ORDER BY message_id;
SELECT body, receipt FROM eb.peek('tasks');
SELECT eb.queue_event_body('tasks', '(0,1)');
SELECT eb.queue_event_body('tasks_dlq', '(0,1)');
SELECT eb.send('tasks', '6');
SELECT * FROM eb.receive('tasks');
SELECT eb.purge('tasks');
SELECT eb.drop_queue('tasks');
RESET ROLE;

-- The admin of one queue does everything with it, and nothing with others.
SELECT eb.create_queue('other');
SET ROLE regress_eb_admin;
SELECT eb.update_queue('tasks', visibility_timeout => '1 min');
SELECT eb.pause_queue('tasks');
SELECT eb.resume_queue('tasks');
SELECT eb.purge('tasks');
SELECT eb.update_queue('tasks', dead_letter_queue => 'other_dlq');
SELECT eb.update_queue('other', visibility_timeout => '1 min');
SELECT eb.purge('other');
SELECT eb.drop_queue('other');
SELECT eb.create_queue('mine');
SELECT eb.redrive('tasks_dlq', 'tasks');
RESET ROLE;

-- Redrive takes from one queue and sends to another; both must be allowed.
GRANT UPDATE, DELETE ON eb.queue_tasks_dlq TO regress_eb_nobody;
SET ROLE regress_eb_nobody;
SELECT eb.redrive('tasks_dlq');
RESET ROLE;
GRANT INSERT ON eb.queue_tasks TO regress_eb_nobody;
SET ROLE regress_eb_nobody;
SELECT eb.redrive('tasks_dlq', 'other');
SELECT eb.redrive('tasks_dlq');
RESET ROLE;
REVOKE ALL ON eb.queue_tasks_dlq, eb.queue_tasks FROM regress_eb_nobody;

-- Nobody can do nothing, and sees no queue.
SET ROLE regress_eb_nobody;
SELECT * FROM eb.queue_tasks;
SELECT eb.send('tasks', '1');
SELECT * FROM eb.receive('tasks');
SELECT * FROM eb.peek('tasks');
SELECT eb.redrive('tasks_dlq');
SELECT eb.purge('tasks');
SELECT eb.drop_queue('tasks');
SELECT count(*) FROM eb.queue_status;
SELECT count(*) FROM eb.q_tasks;
INSERT INTO eb.queues SELECT * FROM eb.queues;
DELETE FROM eb.queues;

-- Trigger functions cannot be hung on a view of his own.
CREATE TEMP VIEW fake AS SELECT NULL::jsonb AS body;
CREATE TRIGGER send_row INSTEAD OF INSERT ON fake FOR EACH ROW EXECUTE FUNCTION eb.queue_view_insert();
DROP VIEW fake;
RESET ROLE;

-- A dead-letter queue that somebody else owns cannot be named without the
-- right to send there.
SET ROLE regress_eb_maker;
SELECT eb.create_queue('spy', dead_letter_queue => 'other_dlq');
-- The creator drops what he made.
SELECT eb.drop_queue('tasks', true);
RESET ROLE;

-- Settings are for those who have any privilege on the queue.
SELECT queue, fifo, dead_letter_queue, max_receive_count FROM eb.my_queues ORDER BY queue;
SET ROLE regress_eb_nobody;
SELECT queue FROM eb.my_queues;
SELECT name FROM eb.queues;
RESET ROLE;
GRANT INSERT ON eb.queue_other TO regress_eb_nobody;
SET ROLE regress_eb_nobody;
SELECT queue, visibility_timeout, retention FROM eb.my_queues;
RESET ROLE;
REVOKE INSERT ON eb.queue_other FROM regress_eb_nobody;

-- The view belongs to somebody else, and goes with all that he owns: nobody
-- can use the queue any more, others are none the worse, and the owner of the
-- extension drops what is left.
SELECT eb.create_queue('orphan');
ALTER VIEW eb.queue_orphan OWNER TO regress_eb_admin;
DROP OWNED BY regress_eb_admin;
SELECT eb.send('orphan', '1');
SELECT eb.receive('orphan');
SELECT queue FROM eb.queue_status ORDER BY queue;
SELECT count(*) FROM eb.in_flight;
SET ROLE regress_eb_nobody;
SELECT eb.drop_queue('orphan');
RESET ROLE;
SELECT eb.drop_queue('orphan');
SELECT count(*) FROM eb.queues WHERE name LIKE 'orphan%';

SELECT eb.drop_queue('other');
REVOKE EXECUTE ON FUNCTION eb.create_queue FROM regress_eb_maker;
DROP ROLE regress_eb_maker, regress_eb_publisher, regress_eb_consumer, regress_eb_reader, regress_eb_admin, regress_eb_nobody;
