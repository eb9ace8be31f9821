-- eb.validate_pattern() returns the normal form of a pattern: tests that mean
-- the same look the same.

-- Numbers: {"numeric": ["=", n]} is n, without superfluous zeros.
SELECT eb.validate_pattern('{"a":[1.50, 3.0e2, {"numeric":["=", 7.0]}, {"numeric":[">=", 1.0, "<", 2.50]}]}');
SELECT eb.validate_pattern('{"a":[1e-30, 1e30, -0.0, {"numeric":["<", 1e300]}]}');

-- {"exactly": s} is s, unless s is an address: then only "exactly" is text.
SELECT eb.validate_pattern('{"a":[{"exactly":"x"}, {"exactly":"10.0.0.1"}, "010.0.0.1", "::FFFF:a00:1"]}');

-- Addresses in their usual spelling; host bits of a block are zero.
SELECT eb.validate_pattern('{"a":["2001:DB8:0:0:0:0:0:1", "::", "1:0:0:2:0:0:0:3", {"cidr":"10.1.2.3/8"}, {"cidr":"2001:db8::ff/32"}]}');

-- What anything-but excludes is a list.
SELECT eb.validate_pattern('{"a":[{"anything-but":"x"}, {"anything-but":5.0}, {"anything-but":{"prefix":"x"}}, {"anything-but":{"wildcard":["a*","*\\*"]}}]}');

-- ASCII text whose case is ignored is in lower case; other text stays, as its
-- characters do not all stand for each other.
SELECT eb.validate_pattern('{"a":[{"equals-ignore-case":"EC2"}, {"prefix":{"equals-ignore-case":"Straße"}}, {"suffix":{"equals-ignore-case":"ÄÖx"}}]}');

-- Keys, nesting and $or stay as they are.
SELECT eb.validate_pattern('{"source":["s"], "$or":[{"a":{"b":[1]}}, {"a":{"c":[2], "$or":[{"d":[3]},{"e":[4]}]}}], "detail":{"x":{"y":[null,true,false]}}}');
SELECT eb.validate_pattern('{"$or":[{"prefix":"x"},"y"]}');

-- Wildcards keep their escapes.
SELECT eb.validate_pattern('{"a":[{"wildcard":"a\\*b*\\\\c"}, {"wildcard":""}, {"wildcard":"*"}]}');

-- A constant pattern in a query is compiled once; varying ones are compiled as
-- they come, and none of them stays behind.
SELECT count(*) FILTER (WHERE eb.matches(jsonb_build_object('n', i), '{"n":[{"numeric":[">", 500]}]}')) AS constant,
	count(*) FILTER (WHERE jsonb_build_object('n', i) OPERATOR(eb.@~) jsonb_build_object('n', jsonb_build_array(i % 10))) AS varying
FROM generate_series(1, 1000) i;

-- Patterns may come from a table, events too; large ones may be toasted.
CREATE TEMP TABLE rules (name text, pattern jsonb);
INSERT INTO rules VALUES
	('orders', '{"source":["shop.orders"]}'),
	('large', '{"detail":{"total":[{"numeric":[">", 1000]}]}}'),
	('a list', jsonb_build_object('detail', jsonb_build_object('id',
		(SELECT jsonb_agg('id-' || i) FROM generate_series(1, 5000) i))));
SELECT name FROM rules
WHERE eb.matches('{"source":"shop.orders","detail":{"total":1200,"id":"id-4711"}}', pattern)
ORDER BY name;

-- The order of arguments of the AWS call.
SELECT eb.test_event_pattern(pattern => '{"a":[1]}', event => '{"a":1}') AS yes,
	eb.test_event_pattern('{"a":[1]}', '{"a":2}') AS no;

-- The operator stands in WHERE and in the search path of whoever wants it.
SET search_path = public, eb;
SELECT '{"a":"xyz"}'::jsonb @~ '{"a":[{"wildcard":"x*"}]}'::jsonb AS yes;
RESET search_path;
