-- Patterns that are refused.  The message says where (a jsonpath, to be pasted
-- into jsonb_path_query), what was expected there and what was found; the HINT
-- shows the right form.
-- At $: an object.
SELECT eb.validate_pattern('5');
SELECT eb.validate_pattern('"x"');
SELECT eb.validate_pattern('null');

-- At the empty object: at least one field.
SELECT eb.validate_pattern('{}');
SELECT eb.validate_pattern('{"a":{}}');
SELECT eb.validate_pattern('{"a":{"b":{}}}');

-- At $.a: at least one value.
SELECT eb.validate_pattern('{"a":[]}');

-- At $.a: an object or a list of values.
SELECT eb.validate_pattern('{"a":5}');
SELECT eb.validate_pattern('{"a":"x"}');
SELECT eb.validate_pattern('{"a":null}');
SELECT eb.validate_pattern('{"a":true}');

-- At $.a[0]: a string, number, true, false, null or an operator.
SELECT eb.validate_pattern('{"a":[[1]]}');

-- At $.a[0]: exactly one operator.
SELECT eb.validate_pattern('{"a":[{}]}');
SELECT eb.validate_pattern('{"a":[{"prefix":"x","suffix":"y"}]}');

-- At $.a[0]: one of the operators (all of them are named).
SELECT eb.validate_pattern('{"a":[{"regex":"x"}]}');
SELECT eb.validate_pattern('{"a":[{"Prefix":"x"}]}');
SELECT eb.validate_pattern('{"a":[{"b":[1]}]}');
SELECT eb.validate_pattern('{"a":[{"$or":[1]}]}');

-- At the operand: a string.
SELECT eb.validate_pattern('{"a":[{"exactly":5}]}');
SELECT eb.validate_pattern('{"a":[{"prefix":5}]}');
SELECT eb.validate_pattern('{"a":[{"prefix":["x"]}]}');
SELECT eb.validate_pattern('{"a":[{"suffix":null}]}');
SELECT eb.validate_pattern('{"a":[{"equals-ignore-case":["x"]}]}');
SELECT eb.validate_pattern('{"a":[{"wildcard":5}]}');
SELECT eb.validate_pattern('{"a":[{"wildcard":["x"]}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":5}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":["10.0.0.0/8"]}]}');

-- At $.a[0].prefix: a string or {"equals-ignore-case": string}.
SELECT eb.validate_pattern('{"a":[{"prefix":{}}]}');
SELECT eb.validate_pattern('{"a":[{"prefix":{"wildcard":"x"}}]}');
SELECT eb.validate_pattern('{"a":[{"suffix":{"prefix":"x"}}]}');
SELECT eb.validate_pattern('{"a":[{"prefix":{"equals-ignore-case":"x","x":1}}]}');

-- At $.a[0].prefix."equals-ignore-case": a string.
SELECT eb.validate_pattern('{"a":[{"prefix":{"equals-ignore-case":["x"]}}]}');

-- At the operand, with the offset: no two unescaped * in a row.
SELECT eb.validate_pattern('{"a":[{"wildcard":"a**b"}]}');
SELECT eb.validate_pattern('{"a":[{"wildcard":"\\***"}]}');

-- At the operand, with the offset: \ only before * or \.
SELECT eb.validate_pattern('{"a":[{"wildcard":"a\\b"}]}');
SELECT eb.validate_pattern('{"a":[{"wildcard":"ab\\"}]}');

-- At the operand or its element: a string or a number.
SELECT eb.validate_pattern('{"a":[{"anything-but":null}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":true}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":[null]}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":[true]}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":["x",null]}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":[["x"]]}]}');

-- At $.a[0]."anything-but": at least one value; only strings or only numbers.
SELECT eb.validate_pattern('{"a":[{"anything-but":[]}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":[5,"x"]}]}');

-- At $.a[0]."anything-but": exactly one of prefix, suffix, equals-ignore-case, wildcard.
SELECT eb.validate_pattern('{"a":[{"anything-but":{}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"numeric":["=",5]}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"cidr":"10.0.0.0/8"}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"exists":true}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"anything-but":"x"}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"prefix":"x","suffix":"y"}}]}');

-- At the string: a string that is not empty.
SELECT eb.validate_pattern('{"a":[{"anything-but":{"prefix":""}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"suffix":["x",""]}}]}');

-- At the operand or its element: a string, or a list of at least one.
SELECT eb.validate_pattern('{"a":[{"anything-but":{"prefix":5}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"prefix":[5]}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"prefix":{"equals-ignore-case":"x"}}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"wildcard":"**"}}]}');
SELECT eb.validate_pattern('{"a":[{"anything-but":{"prefix":[]}}]}');

-- At $.a[0].numeric: [comparison, number] or [comparison, number, comparison, number].
SELECT eb.validate_pattern('{"a":[{"numeric":5}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[">"]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[">","5"]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[5,">"]}]}');

-- At $.a[0].numeric[0]: one of = < <= > >=.
SELECT eb.validate_pattern('{"a":[{"numeric":["!=",5]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":["==",5]}]}');

-- At $.a[0].numeric: the lower bound (> or >=) first, then the upper (< or <=).
SELECT eb.validate_pattern('{"a":[{"numeric":["<",10,">",3]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":["=",5,"<",6]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[">",1,"=",2]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[">",1,">",2]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[">",0,"<",9,"<",5]}]}');

-- At $.a[0].numeric: a lower bound that is less than the upper one.
SELECT eb.validate_pattern('{"a":[{"numeric":[">=",5,"<=",5]}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":[">",5,"<",3]}]}');

-- At the operand: an IPv4 or IPv6 address, a slash and a number of bits.
SELECT eb.validate_pattern('{"a":[{"cidr":"10.0.0.0"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"10.0.0.0/"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"/8"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"10.0.0/8"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"300.0.0.0/8"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"10.0.0.0/-1"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"10.0.0.0/ 8"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"::ffff:10.0.0.0/104"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"fe80::1%eth0/64"}]}');

-- At the operand: at most 31 (IPv4) or 127 (IPv6) bits; HINT: write a single address as a plain string.
SELECT eb.validate_pattern('{"a":[{"cidr":"10.0.0.0/32"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"2001:db8::/128"}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"::ffff:a00:0/104"}]}');

-- At $.a[0].exists: true or false.
SELECT eb.validate_pattern('{"a":[{"exists":"true"}]}');
SELECT eb.validate_pattern('{"a":[{"exists":1}]}');
SELECT eb.validate_pattern('{"a":[{"exists":null}]}');

-- At the second place of the field: each field only once among those that must hold together.
SELECT eb.validate_pattern('{"a":[1],"$or":[{"a":[2]},{"b":[2]}]}');
SELECT eb.validate_pattern('{"$or":[{"d":{"a":[1]}},{"b":[2]}],"d":{"a":[3]}}');

-- Where "$or" is neither a good operator nor a good key.
SELECT eb.validate_pattern('{"$or":[{"a":[1]}]}');
SELECT eb.validate_pattern('{"$or":[]}');
SELECT eb.validate_pattern('{"$or":[{},{"a":[1]}]}');
SELECT eb.validate_pattern('{"$or":[{"a":[1]},5]}');
SELECT eb.validate_pattern('{"$or":[{"a":[1]},{"b":5}]}');
SELECT eb.validate_pattern('{"$or":"x"}');
SELECT eb.validate_pattern('{"$or":[{"prefix":["x"]},{"a":[1]}]}');
SELECT eb.validate_pattern('{"$or":[{"a":{"prefix":["x"]}},{"b":[1]}]}');
SELECT eb.validate_pattern('{"$or":[{"regex":["x"]},{"b":[1]}]}');

-- "$or" is one thing in all of a pattern.
SELECT eb.validate_pattern('{"$or":[{"a":[1]},{"b":{"$or":["x"]}}]}');
SELECT eb.validate_pattern('{"$or":["x"],"detail":{"$or":[{"a":[1]},{"b":[1]}]}}');

-- The first error in the stored order of the pattern is reported: shorter keys
-- come first.
SELECT eb.validate_pattern('{"longer":5,"b":[{"prefix":1}]}');

-- Keys that are no identifiers are quoted, as jsonpath wants them.
SELECT eb.validate_pattern('{"detail":{"we\"ird key":{"ключ":[{"exists":0}]}}}');
SELECT jsonb_path_query('{"detail":{"we\"ird key":{"ключ":[{"exists":0}]}}}',
	'$.detail."we\"ird key"."ключ"[0].exists');

-- What was found is cut where it is long.
SELECT eb.validate_pattern(jsonb_build_object('a', repeat('é', 1000)));

-- An event that is no object is an error, not a miss.
SELECT eb.matches('[1]', '{"a":[1]}');
SELECT eb.matches('5', '{"a":[1]}');

-- A pattern that cannot be used is refused wherever it is used.
SELECT '{"a":1}'::jsonb OPERATOR(eb.@~) '{"a":1}'::jsonb;
SELECT eb.test_event_pattern('{"a":1}', '{"a":1}');

-- After an error the same call site works on.
CREATE FUNCTION pg_temp.try_both(patterns jsonb[]) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	p jsonb;
BEGIN
	FOREACH p IN ARRAY patterns LOOP
		BEGIN
			RETURN NEXT eb.matches('{"a":1}', p)::text;
		EXCEPTION WHEN invalid_parameter_value THEN
			RETURN NEXT sqlstate;
		END;
	END LOOP;
END $$;
SELECT * FROM pg_temp.try_both(ARRAY['{"a":[1]}', '{"a":1}', '{"a":[1]}', '{"a":[2]}', '{"a":[1]}']::jsonb[]);

-- The usual slips, with the corrected pattern: the list around an operator was
-- forgotten, its name is spelt otherwise, bounds are the wrong way round, an
-- address was written as a network of one.
\set VERBOSITY default
SELECT eb.validate_pattern('{"detail":{"a b":{"prefix":"x"}}}');
SELECT eb.validate_pattern('{"detail":{"state":{"exists":false}}}');
SELECT eb.validate_pattern('{"a":{"anything-but":{"prefix":"x"}}}');
SELECT eb.validate_pattern('{"prefix":{"suffix":"x"}}');
SELECT eb.validate_pattern('{"prefix":"x"}');
SELECT eb.validate_pattern('{"a":[{"Equals_Ignore_Case":"x"}]}');
SELECT eb.validate_pattern('{"a":[{"anythingBut":"x"}]}');
SELECT eb.validate_pattern('{"a":[{"prefixes":"x"}]}');
SELECT eb.validate_pattern('{"a":[{"-":"x"}]}');
SELECT eb.validate_pattern('{"a":[{"numeric":["<=",10.50,">",3]}]}');
SELECT eb.validate_pattern('{"a":[{"cidr":"192.168.1.7/32"}]}');

-- NULL in, NULL out.
SELECT eb.matches(NULL, '{"a":[1]}') IS NULL AS a,
	eb.matches('{}', NULL) IS NULL AS b,
	eb.validate_pattern(NULL) IS NULL AS c;

-- Limits: each with the limit and the value.  What is just within is fine.
\set VERBOSITY default
-- 1 MiB of pattern
SELECT eb.validate_pattern(jsonb_build_object('a', jsonb_build_array(repeat('x', 1024 * 1024))));
-- 1,000 levels
SELECT eb.validate_pattern((repeat('{"a":', 999) || '[1]' || repeat('}', 999))::jsonb) IS NOT NULL AS fits;
SELECT eb.validate_pattern((repeat('{"a":', 1000) || '[1]' || repeat('}', 1000))::jsonb);
SELECT eb.matches(('{"a":' || repeat('[', 1200) || '1' || repeat(']', 1200) || '}')::jsonb, '{"a":[1]}');
SELECT eb.matches(('{"b":' || repeat('[', 1200) || '1' || repeat(']', 1200) || ',"a":1}')::jsonb, '{"a":[1]}');
-- 1,000 fields that must hold together
SELECT eb.validate_pattern(jsonb_object_agg('k' || i, '[1]'::jsonb)) IS NOT NULL AS fits
FROM generate_series(1, 1000) i;
SELECT eb.validate_pattern(jsonb_object_agg('k' || i, '[1]'::jsonb))
FROM generate_series(1, 1001) i;
-- 100,000 tests
SELECT eb.matches('{"a":true}', jsonb_build_object('a', jsonb_agg(i > 5))) AS fits
FROM generate_series(1, 100000) i;
SELECT eb.validate_pattern(jsonb_build_object('a', jsonb_agg(i > 5)))
FROM generate_series(1, 100001) i;
-- 10,000 combinations of $or: the product of parallel ones
SELECT eb.matches('{"a":{"k7":1},"b":{"k99":1}}', jsonb_build_object('a', o, 'b', o)) AS fits
FROM (SELECT jsonb_build_object('$or', jsonb_agg(jsonb_build_object('k' || i, '[1]'::jsonb))) AS o
	  FROM generate_series(1, 100) i) x;
SELECT eb.validate_pattern(jsonb_build_object('a', o, 'b', o))
FROM (SELECT jsonb_build_object('$or', jsonb_agg(jsonb_build_object('k' || i, '[1]'::jsonb))) AS o
	  FROM generate_series(1, 101) i) x;
-- 16 fields that are either missing or something else
SELECT eb.matches('{"k3":2}', jsonb_object_agg('k' || i, '[{"exists":false},2]'::jsonb)) AS fits
FROM generate_series(1, 16) i;
SELECT eb.validate_pattern(jsonb_object_agg('k' || i, '[{"exists":false},2]'::jsonb))
FROM generate_series(1, 17) i;
-- 256 asterisks
SELECT eb.matches(jsonb_build_object('a', repeat('xy', 300)), jsonb_build_object('a',
	jsonb_build_array(jsonb_build_object('wildcard', '*' || repeat('y*', 255))))) AS fits;
SELECT eb.validate_pattern(jsonb_build_object('a',
	jsonb_build_array(jsonb_build_object('wildcard', '*' || repeat('y*', 256)))));
