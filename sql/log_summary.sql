-- requires: no preload
-- The log's partitions are summarized while they grow, without vacuum or maintenance.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
-- In a partition of its own, and vacuum, which does the same, kept away.
SELECT eb.create_bus('grow', retention => '11 days');
SELECT eb.create_subscription('grow', 'grow');

SELECT max(inhrelid::regclass::text) AS leaf FROM pg_inherits WHERE inhparent = 'eb.events_11d'::regclass
	AND inhrelid::regclass::text = 'eb.events_11d_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') \gset
ALTER TABLE :leaf SET (autovacuum_enabled = off);
SELECT indexrelid::regclass AS index FROM pg_index WHERE indrelid = :'leaf'::regclass \gset

-- Events of a kilobyte, seven to a block: six ranges of 64 blocks.
SELECT count(eb.put_event('shop', 'Grown', jsonb_build_object('n', n, 'text', repeat(md5(n::text), 33)), 'grow'))
FROM generate_series(1, 2800) n;
SELECT pg_relation_size(:'leaf') / 8192 / 64 AS ranges \gset
SELECT :ranges >= 6 AS grown;

-- Of the ranges before the last two, none is left to summarize.
SELECT r FROM generate_series(0, :ranges - 3) r WHERE brin_summarize_range(:'index', r * 64) <> 0;

-- The last one was left alone: puts would have to keep its summary up.
SELECT brin_summarize_range(:'index', (:ranges - 1) * 64);

-- What was missed is made up for by the next.
SELECT brin_desummarize_range(:'index', r * 64) FROM generate_series(:ranges - 4, :ranges - 1) r;
SELECT count(eb.put_event('shop', 'Grown', jsonb_build_object('n', n, 'text', repeat(md5(n::text), 33)), 'grow'))
FROM generate_series(2801, 3800) n;
SELECT r FROM generate_series(0, :ranges - 1) r WHERE brin_summarize_range(:'index', r * 64) <> 0;

-- All of it is read, in order.
SELECT count(*), bool_and(n = before + 1) AS ordered FROM (
	SELECT (detail ->> 'n')::int AS n, lag((detail ->> 'n')::int, 1, 0) OVER () AS before FROM eb.read('grow', 10000)) e;
SELECT eb.drop_subscription('grow');
SELECT eb.delete_bus('grow');
