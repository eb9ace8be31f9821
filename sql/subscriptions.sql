-- Subscriptions are cursors on the log: a pattern and a position.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SELECT eb.create_bus('stream');

-- Three events before anybody subscribes.
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'stream', group_key => 'g' || n % 2))
FROM generate_series(1, 3) n;

-- From now on, from the beginning, and only what matches.
SELECT eb.create_subscription('live', 'stream');
SELECT eb.create_subscription('all', 'stream', start => 'earliest');
SELECT eb.create_subscription('odd', 'stream', '{"detail": {"n": [1, 3, 5]}}', start => 'earliest');

SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'stream', group_key => 'g' || n % 2))
FROM generate_series(4, 6) n;

SELECT detail FROM eb.read('live');
SELECT source, detail_type, detail, group_key FROM eb.read('all');
SELECT detail FROM eb.read('odd');

-- Reading does not move the position; committing does, in the same
-- transaction as what was done with the events.
SELECT detail FROM eb.read('all', 2);
SELECT eb.commit('all', max(id::text)::uuid) FROM eb.read('all', 2);
SELECT detail FROM eb.read('all', 2);
BEGIN;
SELECT eb.commit('all', max(id::text)::uuid) FROM eb.read('all', 2);
SELECT detail FROM eb.read('all', 2);
ROLLBACK;
SELECT detail FROM eb.read('all', 2);

-- A position that is not ahead does not move anything.
SELECT eb.commit('all', min(id::text)::uuid) FROM eb.read('live');
SELECT eb.commit('all', min(id::text)::uuid) FROM eb.read('live');

-- Events of the own transaction are there, and go with it.
BEGIN;
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 7}', 'stream'));
SELECT detail FROM eb.read('live');
ROLLBACK;
SELECT detail FROM eb.read('live');

-- Events of another bus are not seen.
SELECT eb.create_bus('other');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 100}', 'other'));
SELECT detail FROM eb.read('live');

-- Status: where each part is and how far behind.
SELECT subscription, bus, partition, state, lag_events, lag_exact, lag > '0' AS lags,
	evaluated, matched, held_by
FROM eb.subscription_status ORDER BY subscription;
SELECT eb.commit('live', max(id::text)::uuid) FROM eb.read('live');
SELECT lag_events, lag, evaluated, matched FROM eb.subscription_live;

-- Seek: to an event, a time, a word.
SELECT eb.seek('live', min(id::text)::uuid) FROM eb.read('all');
SELECT detail FROM eb.read('live');
SELECT eb.seek('live', (SELECT min(ingested_at) FROM eb.read('all')));
SELECT detail FROM eb.read('live');
SELECT eb.seek('live', 'earliest');
SELECT count(*) FROM eb.read('live');
SELECT eb.seek('live', 'latest');
SELECT count(*) FROM eb.read('live');
SELECT eb.seek('live', '2001-01-01 00:00 UTC'::text);
SELECT count(*) FROM eb.read('live');

-- Positions keep the order of ids, whatever uuid they are made of.
SELECT eb.seek('live', '00000000-0000-7000-8000-000000000000'::uuid);
SELECT count(*) FROM eb.read('live');
SELECT eb.seek('live', 'f0000000-0000-7000-8000-000000000000'::uuid);
SELECT count(*) FROM eb.read('live');
SELECT eb.seek('live', '2200-01-01 00:00 UTC'::text);
SELECT eb.seek('live', '2200-01-01 00:00 UTC'::timestamptz);
SELECT eb.seek('live', 'earliest');

-- Reading is all that a read-only transaction may do.
BEGIN READ ONLY;
SELECT count(*) FROM eb.read('live');
SELECT eb.seek('live', 'latest');
ROLLBACK;

-- Pause and resume, where it stood or skipping what came meanwhile.
SELECT eb.pause_subscription('live');
SELECT count(*) FROM eb.read('live');
SELECT state FROM eb.subscription_live;
SELECT eb.resume_subscription('live');
SELECT count(*) FROM eb.read('live');
SELECT eb.pause_subscription('live');
SELECT eb.resume_subscription('live', 'latest');
SELECT count(*) FROM eb.read('live');

-- Several readers: a group key always comes to the same partition, in order.
SELECT eb.create_subscription('wide', 'stream', start => 'earliest', partitions => 3);
SELECT count(*), count(DISTINCT id) FROM
	(SELECT id FROM eb.read('wide', partition => 0) UNION ALL
	 SELECT id FROM eb.read('wide', partition => 1) UNION ALL
	 SELECT id FROM eb.read('wide', partition => 2)) p;
SELECT group_key, count(DISTINCT partition) FROM
	(SELECT group_key, partition FROM eb.read('wide', partition => 0) UNION ALL
	 SELECT group_key, partition FROM eb.read('wide', partition => 1) UNION ALL
	 SELECT group_key, partition FROM eb.read('wide', partition => 2)) p
GROUP BY group_key ORDER BY group_key;

-- Without a partition a reader gets one that is free and has something; one
-- after the other, all of it.
CREATE TABLE got (n int);
DO $$
DECLARE
	batch eb.event[];
BEGIN
	LOOP
		SELECT array_agg(r ORDER BY r.id) INTO batch FROM eb.read('wide', 2) r;
		EXIT WHEN batch IS NULL;
		INSERT INTO got SELECT (e.detail ->> 'n')::int FROM unnest(batch) e;
		PERFORM eb.commit('wide', batch[cardinality(batch)].id, batch[1].partition);
	END LOOP;
END
$$;
SELECT array_agg(n ORDER BY n) FROM got;
DROP TABLE got;

-- A pattern that matches nothing moves over what it has looked at.
SELECT eb.create_subscription('never', 'stream', '{"source": ["nobody"]}', start => 'earliest');
SELECT count(*) FROM eb.put_events(
	(SELECT jsonb_agg('{"source": "bulk", "detail-type": "x", "detail": {}}'::jsonb) FROM generate_series(1, 2000)),
	'stream');
SELECT count(*) FROM eb.read('never');
SELECT lag_events, evaluated, matched FROM eb.subscription_never;

-- With a queue: a rule for what is put from now on, a backfill for history.
SELECT eb.create_queue('stream_q');
SELECT eb.create_subscription('feed', 'stream', '{"source": ["shop"]}', 'earliest', queue => 'stream_q');
CALL eb.run_replay('subscription-feed');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 8}', 'stream'));
SELECT body -> 'detail' AS detail, replay FROM eb.consume('stream_q', 100);
SELECT queue, state, lag_events, matched, error FROM eb.subscription_feed;

-- Paused and resumed: what came meanwhile is delivered, once.
SELECT eb.pause_subscription('feed');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 9}', 'stream'));
SELECT count(*) FROM eb.consume('stream_q', 100);
SELECT state FROM eb.subscription_feed;
SELECT eb.resume_subscription('feed');
CALL eb.run_replay('subscription-feed');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 10}', 'stream'));
SELECT body -> 'detail' AS detail FROM eb.consume('stream_q', 100) ORDER BY message_id;
SELECT eb.pause_subscription('feed');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 11}', 'stream'));
SELECT eb.resume_subscription('feed', 'latest');
SELECT count(*) FROM eb.consume('stream_q', 100);

-- Paused before its history is delivered, and not for the first time: history
-- goes on when it is resumed, with what came meanwhile, and without what it
-- got live before.  Skipped is only what 'latest' says.
BEGIN;
SELECT eb.create_subscription('again', 'stream', '{"source": ["shop", "again"]}', 'earliest', queue => 'stream_q');
SELECT eb.pause_replay('subscription-again');
COMMIT;
SELECT count(eb.put_event('again', 'Live', '{}', 'stream'));
SELECT eb.pause_subscription('again');
SELECT state FROM eb.subscription_again;
SELECT count(eb.put_event('again', 'Missed', '{}', 'stream')) FROM generate_series(1, 2);
BEGIN;
SELECT eb.resume_subscription('again');
SELECT eb.pause_replay('subscription-again');
COMMIT;
SELECT state FROM eb.subscription_again;
SELECT count(eb.put_event('again', 'Live', '{}', 'stream')) FROM generate_series(1, 3);
SELECT eb.pause_subscription('again');
SELECT count(eb.put_event('again', 'Skipped', '{}', 'stream')) FROM generate_series(1, 4);
SELECT eb.resume_subscription('again', 'latest');
SELECT count(eb.put_event('again', 'Live', '{}', 'stream')) FROM generate_series(1, 5);
CALL eb.run_replay('subscription-again');
SELECT state, error FROM eb.subscription_again;
SELECT body ->> 'detail-type' AS type, replay, count(*), count(DISTINCT body ->> 'id') AS different
FROM eb.consume('stream_q', 100) GROUP BY 1, 2 ORDER BY 1, 2;

-- Somebody who disables its rule is seen.
SELECT eb.disable_rule('again', 'stream');
SELECT state FROM eb.subscription_again;
SELECT eb.drop_subscription('again');

-- Into a FIFO queue history goes first, in order, then what is put.
SELECT eb.create_queue('stream_fifo', fifo => true);
SELECT eb.create_subscription('ordered', 'stream', '{"source": ["shop"]}', 'earliest', queue => 'stream_fifo');
CALL eb.run_replay('subscription-ordered');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 12}', 'stream', group_key => 'g1'));
SELECT group_id, body -> 'detail' -> 'n' AS n FROM eb.queue_stream_fifo ORDER BY group_id COLLATE "C", message_id;
SELECT eb.pause_subscription('ordered');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 13}', 'stream', group_key => 'g1'));
SELECT eb.resume_subscription('ordered');
CALL eb.run_replay('subscription-ordered');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 14}', 'stream', group_key => 'g1'));
SELECT body -> 'detail' -> 'n' AS n FROM eb.queue_stream_fifo WHERE group_id = 'g1' ORDER BY message_id;
SELECT state FROM eb.subscription_ordered;
SELECT eb.seek('ordered', 'latest');
SELECT * FROM eb.read('ordered');
SELECT eb.drop_subscription('ordered');
SELECT eb.drop_subscription('feed');

-- Paused while history is still to come, and resumed without it.
SELECT eb.purge('stream_fifo') > 0 AS purged;
BEGIN;
SELECT eb.create_subscription('ordered', 'stream', '{"source": ["shop"]}', 'earliest', queue => 'stream_fifo');
SELECT eb.pause_subscription('ordered');
COMMIT;
SELECT state FROM eb.subscription_ordered;
SELECT eb.resume_subscription('ordered', 'latest');
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 15}', 'stream', group_key => 'g1'));
SELECT s.state, m.body -> 'detail' -> 'n' AS n FROM eb.queue_stream_fifo m, eb.subscription_ordered s;
SELECT eb.drop_subscription('ordered');
SELECT name FROM eb.rules WHERE bus = 'stream';
SELECT eb.drop_queue('stream_fifo', true);
SELECT eb.drop_queue('stream_q', true);
SELECT eb.create_subscription('x', 'stream', queue => 'nothing');
SELECT eb.create_subscription('x', 'stream', queue => 'nothing', partitions => 2);

-- Errors.
SELECT eb.create_subscription('live', 'stream');
SELECT eb.create_subscription('no such/name', 'stream');
SELECT eb.create_subscription('x', 'nobus');
SELECT eb.create_subscription('x', 'stream', '{"a": 1}');
SELECT eb.create_subscription('x', 'stream', partitions => 0);
SELECT eb.create_subscription('x', 'stream', start => 'yesterday or so');
SELECT eb.create_subscription(NULL);
SELECT * FROM eb.read('x');
SELECT * FROM eb.read('live', 0);
SELECT * FROM eb.read('wide', partition => 3);
SELECT eb.commit('live', '00000000-0000-0000-0000-000000000000');
SELECT eb.commit('live', 'ffffffff-ffff-7fff-bfff-ffffffffffff');
SELECT eb.commit('wide', '019b0000-0000-7000-8000-000000000000');
SELECT eb.commit('live', NULL);
SELECT eb.resume_subscription('live', 'there');
SELECT eb.drop_subscription('x');
SELECT * FROM eb.subscription_lag('wide', 3);
SELECT eb.delete_bus('stream');

-- Privileges: SELECT on the bus to subscribe, UPDATE on the view to read.
CREATE ROLE stream_reader;
SET ROLE stream_reader;
SELECT * FROM eb.read('live');
SELECT eb.commit('live', NULL);
SELECT eb.seek('live', 'latest');
SELECT count(*) FROM eb.subscription_status;
-- A leaky function in the condition sees none either.
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
	$$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
SELECT subscription FROM eb.subscription_status WHERE pg_temp.leak(subscription);
DROP FUNCTION pg_temp.leak;
RESET ROLE;
GRANT UPDATE ON eb.subscription_live TO stream_reader;
SET ROLE stream_reader;
SELECT count(*) FROM eb.read('live');
SELECT eb.seek('live', 'latest');
SELECT subscription FROM eb.subscription_status;
RESET ROLE;
REVOKE UPDATE ON eb.subscription_live FROM stream_reader;

-- Who may manage the bus and send to the queue does all with his own.
SELECT eb.create_queue('stream_own');
GRANT SELECT, INSERT, TRUNCATE ON eb.bus_stream TO stream_reader;
GRANT INSERT ON eb.queue_stream_own TO stream_reader;
SET ROLE stream_reader;
SELECT eb.create_subscription('own', 'stream', '{"source": ["own"]}', 'earliest', queue => 'stream_own');
CALL eb.run_replay('subscription-own');
SELECT eb.pause_subscription('own');
SELECT count(eb.put_event('own', 'x', '{}', 'stream'));
SELECT eb.resume_subscription('own');
CALL eb.run_replay('subscription-own');
SELECT state, matched FROM eb.subscription_own;
SELECT eb.drop_subscription('own');
RESET ROLE;
SELECT count(*) FROM eb.consume('stream_own', 10);
SELECT eb.drop_queue('stream_own', true);
REVOKE ALL ON eb.bus_stream FROM stream_reader;
DROP ROLE stream_reader;

SELECT eb.drop_subscription(name) FROM eb.subscriptions;
SELECT count(*) FROM eb.subscription_positions;
SELECT eb.delete_bus('other');
SELECT eb.delete_bus('stream');
