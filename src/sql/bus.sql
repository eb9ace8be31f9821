-- Buses, rules, targets, publishing.

-- bus_transform.c: what a target gets in place of the envelope.

CREATE FUNCTION eb.test_transform(
	event jsonb,
	input jsonb DEFAULT NULL,
	input_path text DEFAULT NULL,
	input_transformer jsonb DEFAULT NULL,
	on_missing text DEFAULT 'null'
) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'eb_test_transform' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION eb.test_transform(jsonb, jsonb, text, jsonb, text) IS
'What a target with this transformation would get for this event.  Give one of: input, a constant; input_path, a path to a part of the event, such as $.detail.items[0].sku or $.detail[''a key'']; input_transformer, {"InputPathsMap": {"variable": "path"}, "InputTemplate": "JSON text with <variable>"}; none gives the whole event.  A placeholder stands for a JSON value outside of quotes, and for text inside of them.  Every template has the variables <eb.rule-name>, <eb.rule-arn>, <eb.bus-name>, <eb.event> (the envelope without detail), <eb.event.json> (with detail) and <eb.event.ingestion-time>, also as <aws.events....>; here the rule is "test-rule", the bus "default", and the time is now.  on_missing says what a path without a value gives: null, omit (the key or element is left out; inside of a string, nothing) or error (2203A).  Raises 22023 with the place of a mistake, 54000 over a limit: 256 kB for each part, 100 variables, a result of 16 times eb.max_entry_size.  Paths and templates are those of Amazon EventBridge''s input transformation.';
