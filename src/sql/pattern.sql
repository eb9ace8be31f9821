-- Event patterns: matching without a bus.

CREATE FUNCTION eb.matches(event jsonb, pattern jsonb) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_pattern_matches'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eb.matches(jsonb, jsonb) IS
'True if the event (the whole envelope: source, detail-type, detail, ...) satisfies the pattern. The language is that of Amazon EventBridge event patterns: docs/event-patterns.md. A pattern that is constant in a query is compiled once. NULL if either is NULL. Raises invalid_parameter_value (22023) if the pattern is not valid or the event is not an object, program_limit_exceeded (54000) beyond the limits listed there.';

CREATE OPERATOR eb.@~ (
	LEFTARG = jsonb,
	RIGHTARG = jsonb,
	FUNCTION = eb.matches,
	RESTRICT = contsel,
	JOIN = contjoinsel
);
COMMENT ON OPERATOR eb.@~ (jsonb, jsonb) IS 'event @~ pattern: eb.matches(event, pattern)';

CREATE FUNCTION eb.test_event_pattern(pattern jsonb, event jsonb) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eb_pattern_test'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eb.test_event_pattern(jsonb, jsonb) IS
'eb.matches with the name and the order of arguments of the TestEventPattern call of Amazon EventBridge: true if the event satisfies the pattern. NULL if either is NULL; errors as eb.matches.';

CREATE FUNCTION eb.validate_pattern(pattern jsonb) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eb_pattern_validate'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eb.validate_pattern(jsonb) IS
'Returns the pattern in its normal form, in which tests that mean the same look the same: {"numeric": ["=", 5]} is 5, {"exactly": "x"} is "x" (unless it is an IP address), operands of anything-but are lists, host bits of a cidr are zero, addresses have their usual spelling, numbers no superfluous zeros, ASCII text whose case is ignored is in lower case. The normal form matches the same events and is its own normal form. NULL if the pattern is NULL. Raises invalid_parameter_value (22023) with the jsonpath of the first bad place, what was expected there and what was found; program_limit_exceeded (54000) beyond the limits in docs/event-patterns.md.';
