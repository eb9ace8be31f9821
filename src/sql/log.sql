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
