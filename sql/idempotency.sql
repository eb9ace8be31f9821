-- Work with effects outside of the database: a lease while it runs, its result
-- afterwards.

SELECT eb.create_consumer('payments', '1 day');

-- Start.  The caller commits, so that others see it, and then does the work.
SELECT state, attempt, lease_until > eb.clock() + interval '20 seconds' AS leased, result
FROM eb.begin_processing('payments', 'pay-1', payload => '{"amount": 100, "to": "A"}');

-- Somebody else with the same request learns that it is being worked on, and
-- until when at most; the token is its holder's alone.
SELECT state, attempt, lease_until > eb.clock() AS leased, token, result
FROM eb.begin_processing('payments', 'pay-1', payload => '{"to": "A", "amount": 100}');

-- The same key for another request is a mistake.
SELECT state FROM eb.begin_processing('payments', 'pay-1', payload => '{"amount": 200, "to": "A"}');

-- Done: the result is kept for all who ask later.
SELECT eb.complete_processing('payments', 'pay-1', '{"receipt": 17}');
SELECT state, attempt, result FROM eb.begin_processing('payments', 'pay-1', payload => '{"amount": 100, "to": "A"}');
SELECT state, attempt, result FROM eb.begin_processing('payments', 'pay-1');
SELECT state FROM eb.begin_processing('payments', 'pay-1', payload => '{"amount": 1}');

-- Completing once more, after an answer that was lost, changes nothing.
SELECT eb.complete_processing('payments', 'pay-1', '{"receipt": 18}');
SELECT result FROM eb.begin_processing('payments', 'pay-1');
SELECT eb.fail_processing('payments', 'pay-1', 'too late');

-- Failed: the next starts at once and sees why.
SELECT state, attempt FROM eb.begin_processing('payments', 'pay-2', payload_hash => 'abc');
SELECT eb.fail_processing('payments', 'pay-2', 'bank is closed');
SELECT key, state, attempts, payload_hash, last_error FROM eb.consumer_payments ORDER BY key;
SELECT state, attempt, last_error FROM eb.begin_processing('payments', 'pay-2', payload_hash => 'abd');
SELECT state, attempt, last_error FROM eb.begin_processing('payments', 'pay-2', payload_hash => 'abc');
SELECT state, attempt, last_error FROM eb.begin_processing('payments', 'pay-2');

-- From the second attempt on it takes the token to settle.
SELECT eb.complete_processing('payments', 'pay-2', '{"receipt": 18}');

-- A lease that has ended may be taken over; the token of the one who lost it
-- is worth nothing any more.
SELECT token AS first FROM eb.begin_processing('payments', 'pay-3', '10 seconds') \gset
SET eb.clock_offset = 9000;
SELECT state FROM eb.begin_processing('payments', 'pay-3', '10 seconds');
SET eb.clock_offset = 11000;
SELECT key, state FROM eb.consumer_payments WHERE key = 'pay-3';
SELECT state, attempt, token > :first AS token_grows, token AS second FROM eb.begin_processing('payments', 'pay-3', '10 seconds') \gset
\echo :state :attempt :token_grows


SELECT set_config('my.first', :'first', false) IS NOT NULL AS kept;
DO $$
BEGIN
	PERFORM eb.extend_processing('payments', 'pay-3', '1 minute', current_setting('my.first')::bigint);
EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE NOTICE '%', SQLERRM;
END $$;
DO $$
BEGIN
	PERFORM eb.fail_processing('payments', 'pay-3', 'late', current_setting('my.first')::bigint);
EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE NOTICE '%', SQLERRM;
END $$;
SELECT eb.extend_processing('payments', 'pay-3', '1 minute', :second) - eb.clock() > '50 seconds' AS extended;
SELECT eb.complete_processing('payments', 'pay-3', NULL, :second);
SELECT state, attempt, result FROM eb.begin_processing('payments', 'pay-3');
SELECT entries, in_progress, failed FROM eb.consumer_status WHERE consumer = 'payments';

-- A late holder whom nobody replaced may still complete.
RESET eb.clock_offset;
SELECT state FROM eb.begin_processing('payments', 'pay-4', '10 seconds');
SET eb.clock_offset = 60000;
SELECT eb.complete_processing('payments', 'pay-4', '"late"');
SELECT state, result FROM eb.begin_processing('payments', 'pay-4');

-- All of it is forgotten a ttl after its last change.
SET eb.clock_offset = 86430000;
SELECT state, result FROM eb.begin_processing('payments', 'pay-4');
SELECT state, attempt, result FROM eb.begin_processing('payments', 'pay-1', payload => '{"amount": 200, "to": "A"}');
SELECT eb.complete_processing('payments', 'pay-3');
RESET eb.clock_offset;

-- A lease moves its row to the table that is written now, so that it lives as
-- long as it should across any number of windows.
SELECT eb.create_consumer('long', '1 second');
SELECT token FROM eb.begin_processing('long', 'job', '1 hour') \gset
SELECT set_config('my.token', :'token', false) IS NOT NULL AS kept;
DO $$
BEGIN
	FOR half_hour IN 1 .. 48 LOOP
		PERFORM set_config('eb.clock_offset', (half_hour * 1800000)::text, false);
		PERFORM eb.extend_processing('long', 'job', '1 hour', current_setting('my.token')::bigint);
		PERFORM eb.maintain_keys();
	END LOOP;
END $$;
SELECT state, attempt FROM eb.begin_processing('long', 'job');
SELECT eb.complete_processing('long', 'job', jsonb_build_object('text', repeat('long result ', 10000)), :token);
SELECT state, length(result->>'text') FROM eb.begin_processing('long', 'job');
SET eb.clock_offset = 86402000;
SELECT state, result FROM eb.begin_processing('long', 'job', '1 second');
RESET eb.clock_offset;

-- A large result survives the move to the other table.
SELECT eb.create_consumer('large', '1 hour');
SELECT token FROM eb.begin_processing('large', 'job') \gset
SELECT eb.fail_processing('large', 'job', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i), :token);
SET eb.clock_offset = 3000000;
SELECT state, attempt, md5(last_error), length(last_error) FROM eb.begin_processing('large', 'job');
SET eb.clock_offset = 6000000;
SELECT state, attempt, md5(last_error), length(last_error) FROM eb.begin_processing('large', 'job');
SET eb.clock_offset = 9000000;
SELECT state, attempt, md5(last_error), length(last_error) FROM eb.begin_processing('large', 'job');
RESET eb.clock_offset;

-- Rolled back with the caller, as everything is.
BEGIN;
SELECT state FROM eb.begin_processing('payments', 'pay-9');
SELECT eb.complete_processing('payments', 'pay-9', '1');
SELECT state, result FROM eb.begin_processing('payments', 'pay-9');
ROLLBACK;
SELECT eb.complete_processing('payments', 'pay-9', '1');

-- Both ways with one key: what is under a lease is neither new nor done.
SELECT eb.process_once('payments', 'mixed');
SELECT state, attempt, result FROM eb.begin_processing('payments', 'mixed');
SELECT eb.complete_processing('payments', 'mixed');
SELECT state FROM eb.begin_processing('payments', 'mixed-2');
SELECT eb.process_once('payments', 'mixed-2');
SELECT eb.complete_processing('payments', 'mixed-2');
SELECT eb.process_once('payments', 'mixed-2');

-- Errors.
SELECT * FROM eb.begin_processing('payments', NULL);
SELECT * FROM eb.begin_processing('payments', 'k', '0');
SELECT * FROM eb.begin_processing('payments', 'k', '25 hours');
SELECT * FROM eb.begin_processing('payments', 'k', NULL);
SELECT * FROM eb.begin_processing('payments', 'k', '1 second', 'abc', '{}');
SELECT * FROM eb.begin_processing('nobody', 'k');
SELECT eb.fail_processing('payments', 'unknown');
SELECT eb.extend_processing('payments', 'unknown');

SELECT eb.drop_consumer('payments'), eb.drop_consumer('long'), eb.drop_consumer('large');
