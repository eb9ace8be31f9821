-- Archives keep events longer; replays deliver them again.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SET eb.clock_offset = 0;
SELECT eb.create_bus('arc', retention => '1 day');
SELECT eb.create_queue('arc_in');
SELECT eb.create_queue('arc_again');
SELECT eb.put_rule('orders', '{"detail-type": ["OrderPlaced"]}', 'arc');
SELECT eb.put_target('orders', queue => 'arc_in', bus => 'arc');

-- An archive decides under which retention an event is filed: the longest of
-- its bus and of the archives that it matches.
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'arc')) FROM generate_series(1, 2) n;
SELECT eb.create_archive('orders', 'arc', '{"detail-type": ["OrderPlaced"]}', '30 days');
SELECT eb.create_archive('big', 'arc', '{"detail": {"n": [{"numeric": [">", 4]}]}}', '400 days');
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'arc')) FROM generate_series(3, 5) n;
SELECT count(eb.put_event('shop', 'Refunded', '{"n": 1}', 'arc'));
SELECT c.keep, e.detail_type, e.detail
FROM eb.events e JOIN eb.retention_classes c ON c.class = e.retention ORDER BY e.id;

-- What an archive holds: matching events of the log, also older ones.
SELECT detail FROM eb.archived_events('orders');
SELECT detail FROM eb.archived_events('big');
SELECT detail FROM eb.archived_events('orders', "to" => (SELECT ingested_at FROM eb.archive_big));
SELECT detail FROM eb.archived_events('orders', (SELECT ingested_at FROM eb.archive_big));
SELECT archive, bus, state, retention, events, bytes > 0 AS bytes, oldest < newest AS spans, exact
FROM eb.archive_status ORDER BY archive;

-- Disabled: new events are not filed for it; what it has stays.
SELECT eb.disable_archive('big');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 6}', 'arc'));
SELECT c.keep FROM eb.events e JOIN eb.retention_classes c ON c.class = e.retention WHERE detail = '{"n": 6}';
SELECT state, events FROM eb.archive_status WHERE archive = 'big';
SELECT eb.enable_archive('big');

-- An archive without a pattern takes every event of the bus; null retention is for ever.
SELECT eb.create_archive('everything', 'arc');
SELECT count(eb.put_event('shop', 'Refunded', '{"n": 2}', 'arc'));
SELECT c.keep IS NULL AS for_ever FROM eb.events e JOIN eb.retention_classes c ON c.class = e.retention
WHERE detail_type = 'Refunded' ORDER BY e.id;
SELECT eb.update_archive('everything', retention => '2 days', description => 'all of it');
SELECT retention, description FROM eb.archive_status WHERE archive = 'everything';

-- The maintainer's counts and the rest together are the whole.
CALL eb.maintain();
SELECT archive, events FROM eb.archive_status ORDER BY archive;
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 7}', 'arc'));
SELECT archive, events FROM eb.archive_status ORDER BY archive;

-- What is older than the retention is not in the archive any more.  The log drops
-- whole partitions, and one that has expired in part still counts as a whole.
SELECT eb.create_archive('short', 'arc', '{"source": ["short"]}', '1 hour');
SET eb.clock_offset = -3605000;
SELECT count(eb.put_event('short', 'old', '{}', 'arc'));
SET eb.clock_offset = 0;
SELECT count(eb.put_event('short', 'new', '{}', 'arc'));
SELECT detail_type FROM eb.archived_events('short');
CALL eb.maintain();
SELECT events BETWEEN 1 AND 2 AS events, exact = (events = 1) AS exact, oldest > eb.clock() - interval '1 hour' AS in_time
FROM eb.archive_status WHERE archive = 'short';
SELECT eb.delete_archive('short');

-- Replay by the rules of the bus: the messages carry the replay's name.
SELECT count(*) FROM eb.consume('arc_in', 100);
SELECT eb.start_replay('again', 'orders');
CALL eb.run_replay('again');
SELECT body -> 'detail' AS detail, body ->> 'replay-name' AS replay_name, replay FROM eb.consume('arc_in', 100);
SELECT replay, state, progress, replayed, scanned, deliveries, percent, error FROM eb.replay_status;

-- Only some of it: a time, a pattern, to one queue, nothing at all.
SELECT eb.start_replay('part', 'orders', "from" => (SELECT min(ingested_at) FROM eb.archive_big),
	to_queue => 'arc_again', pattern => '{"detail": {"n": [{"anything-but": 6}]}}');
CALL eb.run_replay('part');
SELECT body -> 'detail' AS detail, replay FROM eb.consume('arc_again', 100);
SELECT eb.start_replay('dry', 'everything', dry_run => true);
CALL eb.run_replay('dry');
SELECT count(*) FROM eb.consume('arc_in', 100);
SELECT replay, state, replayed, deliveries FROM eb.replay_status WHERE replay IN ('part', 'dry') ORDER BY 1;

-- Only some rules.
SELECT eb.put_rule('refunds', '{"detail-type": ["Refunded"]}', 'arc');
SELECT eb.put_target('refunds', queue => 'arc_again', bus => 'arc');
SELECT eb.start_replay('refunds', 'everything', rules => ARRAY['refunds']);
CALL eb.run_replay('refunds');
SELECT count(*) FROM eb.consume('arc_in', 100);
SELECT body -> 'detail' AS detail FROM eb.consume('arc_again', 100);

-- Replayed events are not in the log a second time.
SELECT count(*), count(DISTINCT id) FROM eb.events;

-- Targets that are buses are left out, unless asked for: there each is a new
-- event, also where the same content within the window is a duplicate.
SELECT eb.create_bus('arc_next', content_dedup => true);
SELECT eb.put_rule('next', '{"detail-type": ["OrderPlaced"]}', 'arc');
SELECT eb.put_target('next', target_bus => 'arc_next', bus => 'arc');
SELECT eb.start_replay('here', 'orders', rules => ARRAY['next']);
CALL eb.run_replay('here');
SELECT eb.start_replay('through', 'orders', rules => ARRAY['next'], through_buses => true);
CALL eb.run_replay('through');
SELECT eb.start_replay('again-through', 'orders', rules => ARRAY['next'], through_buses => true);
CALL eb.run_replay('again-through');
SELECT replay, replayed, deliveries FROM eb.replay_status WHERE replay ~ 'here|through' ORDER BY 1;
SELECT e.replay, count(*), count(DISTINCT e.detail) FROM eb.events e JOIN eb.buses b USING (bus_id)
WHERE b.name = 'arc_next' GROUP BY 1 ORDER BY 1;
SELECT eb.delete_rule('next', 'arc', true);
SELECT eb.delete_bus('arc_next');

-- Backfill: what was put before the rule, and only that.
SELECT eb.create_queue('arc_new');
SELECT eb.put_rule('late', '{"detail": {"n": [1, 2]}}', 'arc');
SELECT eb.put_target('late', queue => 'arc_new', bus => 'arc');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 2, "live": true}', 'arc'));
SELECT eb.backfill_rule('arc', 'late');
CALL eb.run_replay('backfill-late-1');
SELECT body -> 'detail' AS detail, body ->> 'detail-type' AS type, replay FROM eb.consume('arc_new', 100);

-- Pause, resume, cancel.
BEGIN;
SELECT eb.start_replay('slow', 'orders', to_queue => 'arc_again', max_rate => 10);
SELECT eb.pause_replay('slow');
COMMIT;
CALL eb.run_replay('slow');
SELECT state, replayed FROM eb.replay_status WHERE replay = 'slow';
SELECT eb.resume_replay('slow');
CALL eb.run_replay('slow');
SELECT state, replayed > 5 AS all FROM eb.replay_status WHERE replay = 'slow';
BEGIN;
SELECT eb.start_replay('off', 'orders', to_queue => 'arc_again', max_rate => 10);
SELECT eb.cancel_replay('off');
COMMIT;
CALL eb.run_replay('off');
SELECT state, replayed, ended_at IS NOT NULL AS ended FROM eb.replay_status WHERE replay = 'off';
SELECT eb.delete_replay('off');

-- max_rate counts events; a very large one is no limit.
SELECT eb.start_replay('rated', 'orders', to_queue => 'arc_again', max_rate => 1000);
CALL eb.run_replay('rated');
SELECT state, replayed, rate <= 1000 AS at_the_rate FROM eb.replay_status WHERE replay = 'rated';
SELECT eb.start_replay('unlimited', 'orders', to_queue => 'arc_again', max_rate => 2147483647);
CALL eb.run_replay('unlimited');
SELECT state, replayed, deliveries FROM eb.replay_status WHERE replay = 'unlimited';

-- Errors.
SELECT eb.create_archive('', 'arc');
SELECT eb.create_archive('x', 'arc', retention => '1001 years');
SELECT eb.delete_bus('arc', true);
SELECT eb.start_replay('subscription-x', 'orders', to_queue => 'arc_again');
SELECT eb.create_archive('orders', 'arc');
SELECT eb.create_archive('x', 'nobus');
SELECT eb.create_archive('x', 'arc', '{"a": 1}');
SELECT eb.create_archive('x', 'arc', retention => '-1 day');
SELECT eb.create_archive(NULL);
SELECT eb.update_archive('orders', retention => '1 day', for_ever => true);
SELECT * FROM eb.archived_events('x');
SELECT eb.start_replay('again', 'orders');
SELECT eb.start_replay('x', 'nothing');
SELECT eb.start_replay('x', 'orders', '2026-01-02', '2026-01-01');
SELECT eb.start_replay('x', 'orders', rules => ARRAY['nothing']);
SELECT eb.start_replay('x', 'orders', rules => '{}');
SELECT eb.start_replay('x', 'orders', rules => ARRAY['orders'], to_queue => 'arc_in');
SELECT eb.start_replay('x', 'orders', to_queue => 'nothing');
SELECT eb.start_replay('x', 'orders', max_rate => 0);
SELECT eb.backfill_rule('arc', 'nothing');
SELECT eb.pause_replay('again');
SELECT eb.cancel_replay('again');
SELECT eb.resume_replay('again');
SELECT eb.delete_replay('nothing');
BEGIN;
CALL eb.run_replay('again');
ROLLBACK;
BEGIN;
SELECT eb.start_replay('open', 'orders', to_queue => 'arc_again');
SELECT eb.pause_replay('open');
COMMIT;
SELECT eb.delete_archive('orders');
SELECT eb.cancel_replay('open');

-- A read-only transaction changes no archive and runs no replay.
BEGIN READ ONLY;
SELECT eb.disable_archive('orders');
ROLLBACK;
SET default_transaction_read_only = on;
CALL eb.run_replay('open');
RESET default_transaction_read_only;
SELECT eb.delete_archive('orders');

-- Privileges: managing the bus to make one, SELECT on its view to read and
-- replay it, TRUNCATE to change it.
CREATE ROLE arc_reader;
SET ROLE arc_reader;
SELECT eb.create_archive('mine', 'arc');
SELECT count(*) FROM eb.archived_events('big');
SELECT eb.start_replay('mine', 'big', to_queue => 'arc_in');
SELECT eb.disable_archive('big');
SELECT eb.pause_replay('again');
SELECT count(*) FROM eb.archive_status;
SELECT count(*) FROM eb.replay_status;
-- A leaky function in the condition sees none either.
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
	$$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
SELECT archive FROM eb.archive_status WHERE pg_temp.leak(archive);
SELECT replay FROM eb.replay_status WHERE pg_temp.leak(replay);
DROP FUNCTION pg_temp.leak;
RESET ROLE;
GRANT SELECT ON eb.archive_big TO arc_reader;
SET ROLE arc_reader;
SELECT count(*) FROM eb.archived_events('big');
SELECT detail FROM eb.archive_big;
SELECT archive FROM eb.archive_status;
SELECT eb.start_replay('mine', 'big', to_queue => 'arc_in');
RESET ROLE;
GRANT INSERT ON eb.queue_arc_in TO arc_reader;
SET ROLE arc_reader;
SELECT eb.start_replay('mine', 'big', to_queue => 'arc_in');
CALL eb.run_replay('mine');
SELECT replay, state FROM eb.replay_status;
RESET ROLE;
REVOKE ALL ON eb.archive_big, eb.queue_arc_in FROM arc_reader;
SELECT eb.delete_replay('mine');
DROP ROLE arc_reader;

SELECT eb.delete_replay(name) FROM eb.replays ORDER BY name;
SELECT eb.delete_archive(name) FROM eb.archives ORDER BY name;
SELECT eb.delete_bus('arc', true);
SELECT eb.drop_queue(name, true) FROM eb.queues WHERE name IN ('arc_in', 'arc_again', 'arc_new') ORDER BY name;
