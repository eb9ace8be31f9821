-- requires: no preload
-- Without shared memory readers wait for open publishers; figures do not.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SELECT eb.create_bus('wai');
SELECT eb.create_archive('waiting', 'wai');
SELECT eb.create_subscription('waiting', 'wai');
SELECT count(eb.put_event('shop', 'Shipped', '{}', 'wai'));
CALL eb.maintain();
BEGIN;
SELECT count(eb.put_event('shop', 'Shipped', '{}', 'wai'));
PREPARE TRANSACTION 'publisher';
SET statement_timeout = '5 s';
SELECT lag_events FROM eb.subscription_waiting;
SELECT events FROM eb.archive_status WHERE archive = 'waiting';
RESET statement_timeout;
COMMIT PREPARED 'publisher';
SELECT lag_events FROM eb.subscription_waiting;
SELECT events FROM eb.archive_status WHERE archive = 'waiting';
SELECT count(*) FROM eb.read('waiting');
SELECT eb.drop_subscription('waiting');
SELECT eb.delete_archive('waiting');
SELECT eb.delete_bus('wai');
