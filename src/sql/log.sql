-- The event log: ids and time.  The tables are made with the first bus.

CREATE FUNCTION eb.message_time(message_id bigint) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'eb_message_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eb.message_time(bigint) IS
'The time at which a message id was taken, to the microsecond.';

CREATE FUNCTION eb.event_time(event_id uuid) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'eb_event_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eb.event_time(uuid) IS
'The time at which an event was ingested, to the microsecond, from its id (a version 7 uuid, RFC 9562).';

CREATE FUNCTION eb.event_id_from(at timestamptz) RETURNS uuid
	AS 'MODULE_PATHNAME', 'eb_event_id_from' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eb.event_id_from(timestamptz) IS
'The smallest event id of an instant: a lower bound for ranges of ids.  Not an id of an event.';

CREATE FUNCTION eb.find_event(id uuid) RETURNS SETOF eb.event
	AS 'MODULE_PATHNAME', 'eb_find_event' LANGUAGE C STRICT ROWS 1;
COMMENT ON FUNCTION eb.find_event(uuid) IS
'The event of an id, from any bus whose view you may SELECT from; no row if there is none.  The time in the id names the partition, so it costs the same however large the log is.';

CREATE FUNCTION eb.trace(correlation_id text, since timestamptz DEFAULT now() - interval '1 day')
	RETURNS SETOF eb.event
	AS 'MODULE_PATHNAME', 'eb_trace' LANGUAGE C STRICT ROWS 10;
COMMENT ON FUNCTION eb.trace(text, timestamptz) IS
'All events of a correlation id since a time of ingestion (default: one day back), in id order, from the buses whose views you may SELECT from: what happened for one request, and by causation_id what caused what.  Partitions that are closed have an index on it; the open ones are scanned from since on.';
