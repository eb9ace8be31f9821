-- requires: no preload
-- (workers would run the replays as well, and report the errors otherwise)
-- Replays and backfills for rules that are named.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SELECT eb.create_bus('nam');
SELECT eb.create_queue('nam_q');
SELECT eb.create_archive('named', 'nam');
SELECT count(eb.put_event('shop', t, '{}', 'nam')) FROM unnest('{Refunded,OrderPlaced}'::text[]) t, generate_series(1, 2);
SELECT eb.put_rule('refunds', '{"detail-type": ["Refunded"]}', 'nam');
SELECT eb.put_target('refunds', queue => 'nam_q', bus => 'nam');
SELECT eb.put_rule('late', '{"detail-type": ["OrderPlaced"]}', 'nam');
SELECT eb.put_target('late', queue => 'nam_q', bus => 'nam');

-- A rule that is named must be there and enabled, from the start to the end:
-- events are not passed as if they had been delivered.
BEGIN;
SELECT eb.start_replay('named', 'named', rules => ARRAY['refunds']);
SELECT eb.pause_replay('named');
SELECT eb.backfill_rule('nam', 'late', name => 'late-again');
SELECT eb.pause_replay('late-again');
COMMIT;
SELECT eb.disable_rule('refunds', 'nam'), eb.disable_rule('late', 'nam');
SELECT eb.resume_replay('named'), eb.resume_replay('late-again');
CALL eb.run_replay('named');
SELECT state, replayed FROM eb.replay_status WHERE replay = 'named';
SELECT eb.start_replay('x', 'named', rules => ARRAY['refunds']);
SELECT eb.backfill_rule('nam', 'late');
SELECT eb.enable_rule('refunds', 'nam'), eb.enable_rule('late', 'nam');
CALL eb.run_replay('named');
SELECT state, replayed, deliveries FROM eb.replay_status WHERE replay = 'named';
-- ... and a backfill's not be changed: it could not tell any more what the rule
-- has routed before.
CALL eb.run_replay('late-again');
SELECT eb.cancel_replay('late-again');
SELECT body ->> 'detail-type' AS type, replay FROM eb.consume('nam_q', 10);

-- The one since the rule was disabled.
SELECT eb.backfill_rule('nam', 'late', since => '2020-01-01 00:00 UTC');
CALL eb.run_replay('backfill-late-1');
SELECT body ->> 'detail-type' AS type, replay FROM eb.consume('nam_q', 10);

SELECT eb.delete_replay(name) FROM eb.replays ORDER BY name;
SELECT eb.delete_archive('named');
SELECT eb.delete_bus('nam', true);
SELECT eb.drop_queue('nam_q', true);
