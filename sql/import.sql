-- Events that were exported from another database are taken into an archive:
-- once, as they were.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SELECT eb.create_bus('imp', retention => '7 days');
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'imp')) FROM generate_series(1, 3) n;
SELECT eb.create_archive('imported', 'imp');

-- What the log has is left out, also if it was filed under another retention;
-- so is what comes twice.
CREATE TABLE staged OF eb.event;
INSERT INTO staged SELECT * FROM eb.archived_events('imported');
INSERT INTO staged (id, source, detail_type, detail, time)
SELECT '019b0000-0000-7000-8000-000000000001', 'shop', 'OrderPlaced', '{"n": 0}', '2026-01-01 00:00 UTC' FROM generate_series(1, 2);
SELECT count(*) FROM staged;
SELECT eb.import_events('imported', 'staged');
SELECT eb.import_events('imported', 'staged');
SELECT detail FROM eb.archived_events('imported');

-- Columns may be of other types that say the same; others may be missing or more.
CREATE TABLE exported AS
SELECT '019b0000-0000-7000-8000-000000000002' AS id, 'shop' AS source, 'OrderPlaced' AS detail_type, '{"n": 0.5}' AS detail,
	NULL AS time, NULL AS resources, NULL AS headers, 17 AS group_key, NULL AS correlation_id, NULL AS causation_id,
	NULL AS traceparent, 'more' AS comment;
SELECT eb.import_events('imported', 'exported');
SELECT detail, group_key FROM eb.archived_events('imported') LIMIT 2;

-- An id from the future would draw the clock with it.
UPDATE exported SET id = 'ffffffff-ffff-7fff-bfff-ffffffffffff';
SELECT eb.import_events('imported', 'exported');
UPDATE exported SET id = '00000000-0000-7000-8000-000000000000';
SELECT eb.import_events('imported', 'exported');
UPDATE exported SET id = '019b0000-0000-4000-8000-000000000002';
SELECT eb.import_events('imported', 'exported');
UPDATE exported SET id = NULL;
SELECT eb.import_events('imported', 'exported');
UPDATE exported SET id = '019b0000-0000-7000-8000-000000000003', time = 'infinity';
SELECT eb.import_events('imported', 'exported');
UPDATE exported SET time = NULL, detail = '[]';
SELECT eb.import_events('imported', 'exported');
UPDATE exported SET detail = 'no json';
SELECT eb.import_events('imported', 'exported');
SELECT count(*) FROM eb.archived_events('imported');

DROP TABLE staged, exported;
SELECT eb.delete_archive('imported');
SELECT eb.delete_bus('imp');
