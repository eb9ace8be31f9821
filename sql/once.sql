-- process_once: effects in the database that happen once, however often an
-- event is delivered.

-- A consumer is a name under which keys are remembered, for its ttl.
SELECT eb.create_consumer('billing', ttl => '1 hour', description => 'writes invoices');

-- True the first time, false after.
CREATE TABLE invoices (event_id uuid);
CREATE FUNCTION bill(id uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF eb.process_once('billing', id) THEN
		INSERT INTO invoices VALUES (id);
		RETURN 'billed';
	END IF;
	RETURN 'known';
END $$;
SELECT bill('01900000-0000-7000-8000-000000000001');
SELECT bill('01900000-0000-7000-8000-000000000001');
SELECT count(*) FROM invoices;

-- The key goes with the transaction: after a rollback it never was.
BEGIN;
SELECT bill('01900000-0000-7000-8000-000000000002');
ROLLBACK;
SELECT bill('01900000-0000-7000-8000-000000000002');

-- The same with a savepoint.
BEGIN;
SAVEPOINT work;
SELECT bill('01900000-0000-7000-8000-000000000003');
ROLLBACK TO work;
SELECT bill('01900000-0000-7000-8000-000000000003');
SELECT bill('01900000-0000-7000-8000-000000000003');
COMMIT;

-- Any text will do as key; one that spells a uuid is that uuid.
SELECT eb.process_once('billing', 'order 4711'), eb.process_once('billing', 'order 4711');
SELECT eb.process_once('billing', '01900000-0000-7000-8000-000000000001');
SELECT eb.process_once('billing', upper('01900000-0000-7000-8000-00000000000a')),
	eb.process_once('billing', '01900000-0000-7000-8000-00000000000a'::uuid);
SELECT eb.process_once('billing', '01900000-0000-7000-8000-00000000000x');

-- Long keys, and those that differ in their ends only.
SELECT eb.process_once('billing', repeat('x', 100000) || 'a'), eb.process_once('billing', repeat('x', 100000) || 'b'),
	eb.process_once('billing', repeat('x', 100000) || 'a');
SELECT eb.process_once('billing', ''), eb.process_once('billing', '');

-- A whole batch, duplicates in it included.
SELECT count(*) FILTER (WHERE first) AS first, count(*) FILTER (WHERE NOT first) AS known
FROM (SELECT eb.process_once('billing', 'item ' || i % 100) AS first FROM generate_series(1, 300) i) batch;

-- Consumers do not know of each other.
SELECT eb.create_consumer('mail');
SELECT eb.process_once('mail', 'order 4711');

-- What is remembered can be looked at; the view is not written by hand.
SELECT key, state FROM eb.consumer_billing WHERE key NOT LIKE 'item%' AND length(key) < 100 ORDER BY key;
INSERT INTO eb.consumer_billing (key) VALUES ('x');
DELETE FROM eb.consumer_billing;
SELECT consumer, ttl, entries, in_progress, failed, now() - oldest < '1 hour' AS recent, description
FROM eb.consumer_status ORDER BY consumer;

-- A key can be forgotten, to have its event processed again.
SELECT eb.forget_key('billing', 'order 4711'), eb.forget_key('billing', 'order 4711');
SELECT eb.process_once('billing', 'order 4711');

-- After the ttl a key is gone at once, whether or not anybody has cleaned up.
SET eb.clock_offset = 3590000;
SELECT eb.process_once('billing', 'order 4711');
SET eb.clock_offset = 3610000;
SELECT count(*) FROM eb.consumer_billing;
SELECT eb.process_once('billing', 'order 4711'), eb.process_once('billing', 'order 4711');
SELECT eb.forget_key('billing', 'order 4711'), eb.process_once('billing', 'order 4711');

-- Rotation: two tables take turns, and when all of one has expired it is
-- truncated.  Three days pass in steps of 10 minutes, 100 keys each; nothing is
-- left behind, and no row was ever deleted.
SELECT eb.create_consumer('rotating', '10 minutes');
CREATE TABLE sizes (step integer, bytes bigint, emptied integer);
DO $$
BEGIN
	FOR step IN 1 .. 432 LOOP
		PERFORM set_config('eb.clock_offset', (step * 600000)::text, true);
		PERFORM eb.process_once('rotating', 'step ' || step || ' key ' || i) FROM generate_series(1, 100) i;
		INSERT INTO sizes SELECT step, pg_table_size('eb."once_rotating$0"') + pg_table_size('eb."once_rotating$1"'),
			eb.maintain_keys();
	END LOOP;
END $$;
SELECT max(bytes) < 400000 AS bounded, sum(emptied) > 40 AS emptied FROM sizes;
SELECT pg_stat_force_next_flush();
SELECT sum(n_tup_ins) > 0 AS inserted, sum(n_tup_del) AS deleted FROM pg_stat_all_tables WHERE relname LIKE 'once\_rotating$_';

-- A longer ttl holds for what comes after the change; what is remembered
-- expires when it would have.
RESET eb.clock_offset;
SELECT eb.create_consumer('changing', '1 minute');
SELECT eb.process_once('changing', 'before');
SELECT eb.update_consumer('changing', '2 hours');
SELECT eb.process_once('changing', 'after');
SET eb.clock_offset = 61000;
SELECT eb.process_once('changing', 'before'), eb.process_once('changing', 'after');

-- A shorter one takes nothing from what was promised before, however often
-- somebody cleans up.
RESET eb.clock_offset;
SELECT eb.update_consumer('changing', '1 second', description => 'now short');
SELECT ttl, previous_ttl, hold_until IS NULL AS not_seen_yet FROM eb.key_windows WHERE name = 'changing';
DO $$
BEGIN
	FOR minute IN 1 .. 119 LOOP
		PERFORM set_config('eb.clock_offset', (minute * 60000)::text, true);
		PERFORM eb.maintain_keys();
		ASSERT NOT eb.process_once('changing', 'after');
	END LOOP;
END $$;
-- The change is over once the old time has passed.
SET eb.clock_offset = 14500000;
SELECT eb.maintain_keys() >= 0 AS maintained;
SELECT ttl, previous_ttl, hold_until FROM eb.key_windows WHERE name = 'changing';
RESET eb.clock_offset;

-- Privileges hang on the view of the consumer.
CREATE ROLE eb_once_worker;
CREATE ROLE eb_once_admin;
GRANT EXECUTE ON FUNCTION eb.create_consumer TO eb_once_admin;
SET ROLE eb_once_worker;
SELECT eb.process_once('mail', 'k');
SELECT state FROM eb.begin_processing('mail', 'k');
SELECT eb.forget_key('mail', 'k');
SELECT eb.update_consumer('mail', '1 day');
SELECT eb.drop_consumer('mail');
SELECT eb.create_consumer('own');
SELECT count(*) FROM eb.consumer_mail;
SELECT count(*) FROM eb."once_mail$0";
SELECT * FROM eb.key_stats('consumer', 'mail');
RESET ROLE;
GRANT INSERT ON eb.consumer_mail TO eb_once_worker;
SET ROLE eb_once_worker;
SELECT eb.process_once('mail', 'k');
SELECT eb.forget_key('mail', 'k');
RESET ROLE;
GRANT SELECT, DELETE, TRUNCATE ON eb.consumer_mail TO eb_once_worker;
SET ROLE eb_once_worker;
SELECT key FROM eb.consumer_mail ORDER BY key;
SELECT eb.forget_key('mail', 'k');
SELECT eb.update_consumer('mail', '1 day');

-- Who creates a consumer may use it and pass that on.
SET ROLE eb_once_admin;
SELECT eb.create_consumer('theirs');
GRANT INSERT ON eb.consumer_theirs TO eb_once_worker;
SET ROLE eb_once_worker;
SELECT eb.process_once('theirs', 'k');
RESET ROLE;

-- Errors.
SELECT eb.process_once('billling', 'k');
SELECT eb.process_once(NULL, 'k');
SELECT eb.process_once('billing', NULL::uuid);
SELECT eb.create_consumer('billing');
SELECT eb.create_consumer('with space');
SELECT eb.create_consumer('status');
SELECT eb.create_consumer('quick', '10 milliseconds');
SELECT eb.create_consumer('quick', NULL);
SELECT eb.update_consumer('nobody', '1 day');
SELECT eb.update_consumer('billing', '2 years');
SELECT eb.drop_consumer('nobody');
BEGIN READ ONLY;
SAVEPOINT s;
SELECT eb.process_once('billing', 'k');
ROLLBACK TO s;
SELECT eb.create_consumer('quick');
ROLLBACK TO s;
SELECT eb.update_consumer('billing', '1 day');
ROLLBACK TO s;
SELECT eb.drop_consumer('billing');
ROLLBACK;

-- A table that somebody changed is not written past what he added.
CREATE INDEX ON eb."once_billing$0" (expires_at);
SELECT eb.process_once('billing', 'k');

-- Dropping takes everything; a name can be used again.
SELECT eb.drop_consumer('billing');
SELECT eb.create_consumer('billing');
SELECT eb.process_once('billing', 'order 4711');
SELECT eb.drop_consumer(name) FROM eb.key_windows WHERE kind = 'consumer' ORDER BY name;
SELECT count(*) FROM pg_class WHERE relnamespace = 'eb'::regnamespace AND relname ~ '^(once|consumer)_' AND relname <> 'consumer_status';
REVOKE ALL ON FUNCTION eb.create_consumer FROM eb_once_admin;
DROP ROLE eb_once_worker, eb_once_admin;
DROP TABLE invoices, sizes;
DROP FUNCTION bill;
