\echo Use "CREATE EXTENSION pg_eventbus" to load this file. \quit

-- The schema is a member, so nobody can plant objects in it beforehand, and
-- DROP EXTENSION refuses while run-time tables (queues, the log) live in it.
CREATE SCHEMA eb;
COMMENT ON SCHEMA eb IS 'pg_eventbus: buses, rules, queues and the event log';
