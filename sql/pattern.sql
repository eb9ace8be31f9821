-- The language of event patterns, row by row.  Each call shows a pattern and
-- sorts the events given for it into those that match and those that do not.
-- A pattern that starts with [ is the list of a field "a", and the values are
-- values of "a"; (missing) stands for the event {}.
--
-- "as documented" says that the events were sorted as docs/event-patterns.md
-- has it: by eb.matches(), by the operator @~ and by eb.test_event_pattern(),
-- on the envelope and, one level down, on the detail of an event.
SET client_encoding = 'UTF8';
\pset format unaligned
\pset fieldsep '   '
\pset tuples_only on
CREATE FUNCTION pg_temp.whole(part text, of_list boolean) RETURNS jsonb
LANGUAGE sql AS $$
	SELECT CASE WHEN part = '(missing)' THEN '{}'::jsonb
				WHEN of_list THEN jsonb_build_object('a', part::jsonb)
				ELSE part::jsonb END
$$;
CREATE FUNCTION pg_temp.wanted(pattern text, event text, result boolean)
RETURNS boolean LANGUAGE sql AS $$
	SELECT eb.matches(e, p) = result AND
		   eb.test_event_pattern(p, e) = result AND
		   (jsonb_build_object('source', 'shop', 'detail', e)
			OPERATOR(eb.@~)
			jsonb_build_object('source', '["shop"]'::jsonb, 'detail', p)) = result
	FROM (SELECT pg_temp.whole(pattern, pattern LIKE '[%') AS p,
				 pg_temp.whole(event, pattern LIKE '[%') AS e) x
$$;
CREATE FUNCTION pg_temp.try(pattern text, match text[], miss text[])
RETURNS TABLE (pattern_ text, matching text, missing text, verdict text)
LANGUAGE sql AS $$
	SELECT pattern,
		   'yes: ' || coalesce(string_agg(e, ' ' ORDER BY n) FILTER (WHERE m), '-'),
		   'no: ' || coalesce(string_agg(e, ' ' ORDER BY n) FILTER (WHERE NOT m), '-'),
		   CASE WHEN bool_and(ok) THEN 'as documented' ELSE 'NOT AS DOCUMENTED' END
	FROM (SELECT e, n,
				 eb.matches(pg_temp.whole(e, pattern LIKE '[%'),
							pg_temp.whole(pattern, pattern LIKE '[%')) AS m,
				 pg_temp.wanted(pattern, e, n <= cardinality(match)) AS ok
		  FROM unnest(match || miss) WITH ORDINALITY AS u (e, n)) AS tried
$$;


-- A pattern names fields and, for each, a list of tests of which one must hold.
SELECT * FROM pg_temp.try('["x","y"]',
	ARRAY['"x"', '"y"', '["q","y"]']::text[],
	ARRAY['"z"', '"X"', '(missing)', '{"b":"x"}']::text[]);
SELECT * FROM pg_temp.try('{"a":["x"],"b":[1]}',
	ARRAY['{"a":"x","b":1,"c":0}']::text[],
	ARRAY['{"a":"x"}', '{"a":"x","b":2}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":["x"]}}',
	ARRAY['{"a":{"b":"x","c":1}}']::text[],
	ARRAY['{"b":"x"}', '{"a":"x"}', '{"a":{"c":{"b":"x"}}}', '{"A":{"b":"x"}}']::text[]);
SELECT * FROM pg_temp.try('{"prefix":["x"]}',
	ARRAY['{"prefix":"x"}']::text[],
	ARRAY['{"prefix":"xy"}']::text[]);

-- Literals: strings, numbers, true, false and null.  Numbers are equal by value.
SELECT * FROM pg_temp.try('[300]',
	ARRAY['300', '300.0', '3.0e2', '[1,300]']::text[],
	ARRAY['"300"', '301', 'true']::text[]);
SELECT * FROM pg_temp.try('["300"]',
	ARRAY['"300"']::text[],
	ARRAY['300']::text[]);
SELECT * FROM pg_temp.try('[0]',
	ARRAY['0', '-0', '-0.0', '0e5']::text[],
	ARRAY['""', 'false', 'null']::text[]);
SELECT * FROM pg_temp.try('[0.1]',
	ARRAY['0.1', '0.10', '1e-1']::text[],
	ARRAY['0.1000000000000000055511151231257827', '"0.1"']::text[]);
SELECT * FROM pg_temp.try('[1E2]',
	ARRAY['100', '1e+2', '100.00']::text[],
	ARRAY['"1E2"']::text[]);
SELECT * FROM pg_temp.try('[9007199254740993]',
	ARRAY['9007199254740993']::text[],
	ARRAY['9007199254740992']::text[]);
SELECT * FROM pg_temp.try('[true]',
	ARRAY['true', '[false,true]']::text[],
	ARRAY['"true"', '1', 'false']::text[]);
SELECT * FROM pg_temp.try('[null]',
	ARRAY['null', '[null]']::text[],
	ARRAY['(missing)', '"null"', '[]', '""', '0', '{}']::text[]);
SELECT * FROM pg_temp.try('[""]',
	ARRAY['""']::text[],
	ARRAY['null', '(missing)', '" "']::text[]);
SELECT * FROM pg_temp.try('["é"]',
	ARRAY['"é"', '"\u00e9"']::text[],
	ARRAY['"e\u0301"', '"É"']::text[]);
SELECT * FROM pg_temp.try('[1.5,"x",true,null]',
	ARRAY['1.50', '"x"', 'true', 'null']::text[],
	ARRAY['"1.5"', 'false', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[-5]',
	ARRAY['-5.0']::text[],
	ARRAY['5']::text[]);

-- Operators on strings, and folding of case.
SELECT * FROM pg_temp.try('[{"exactly":"10.0.0.1"}]',
	ARRAY['"10.0.0.1"']::text[],
	ARRAY['"010.0.0.1"', '"10.0.0.10"']::text[]);
SELECT * FROM pg_temp.try('[{"prefix":"ab"}]',
	ARRAY['"ab"', '"abc"']::text[],
	ARRAY['"a"', '"Abc"', '"xab"', 'null', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[{"prefix":""}]',
	ARRAY['""', '"x"']::text[],
	ARRAY['5', 'null', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[{"prefix":"1"}]',
	ARRAY['"12"']::text[],
	ARRAY['12', '1']::text[]);
SELECT * FROM pg_temp.try('[{"prefix":"é"}]',
	ARRAY['"éa"']::text[],
	ARRAY['"e\u0301a"']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":"bc"}]',
	ARRAY['"abc"', '"bc"']::text[],
	ARRAY['"aBC"', '"bcd"']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":""}]',
	ARRAY['""', '"x"']::text[],
	ARRAY['5']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":"雨"}]',
	ARRAY['"大雨"']::text[],
	ARRAY['"雨大"']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":"😀"}]',
	ARRAY['"a😀"']::text[],
	ARRAY['"a"']::text[]);
SELECT * FROM pg_temp.try('[{"prefix":{"equals-ignore-case":"AB"}}]',
	ARRAY['"aBc"', '"AB"']::text[],
	ARRAY['"a"', '"xAB"']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":{"equals-ignore-case":"É"}}]',
	ARRAY['"café"', '"CAFÉ"']::text[],
	ARRAY['"cafe"']::text[]);
SELECT * FROM pg_temp.try('[{"prefix":{"equals-ignore-case":""}}]',
	ARRAY['""', '"x"']::text[],
	ARRAY['5']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*"}]',
	ARRAY['""', '"x"']::text[],
	ARRAY['5', 'null', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":""}]',
	ARRAY['""']::text[],
	ARRAY['"x"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"a*b"}]',
	ARRAY['"ab"', '"axxb"', '"abab"', '"a\nb"', '"a\"b"']::text[],
	ARRAY['"abc"', '"AB"', '"xab"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*a*"}]',
	ARRAY['"a"', '"bab"']::text[],
	ARRAY['"b"', '""']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*.*.*"}]',
	ARRAY['"a.b.c"', '".."']::text[],
	ARRAY['"a.b"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"a\\*b"}]',
	ARRAY['"a*b"']::text[],
	ARRAY['"axb"', '"ab"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"a\\\\*b"}]',
	ARRAY['"a\\b"', '"a\\xxb"']::text[],
	ARRAY['"a*b"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"a\\**b"}]',
	ARRAY['"a*b"', '"a*xxb"']::text[],
	ARRAY['"axxb"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"a?b"}]',
	ARRAY['"a?b"']::text[],
	ARRAY['"axb"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*é*"}]',
	ARRAY['"café au"']::text[],
	ARRAY['"cafe"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ec2"}]',
	ARRAY['"EC2"', '"ec2"', '"Ec2"']::text[],
	ARRAY['"ec23"', '"ec"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":""}]',
	ARRAY['""']::text[],
	ARRAY['"x"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"5"}]',
	ARRAY['"5"']::text[],
	ARRAY['5']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"я"}]',
	ARRAY['"Я"']::text[],
	ARRAY['"R"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"straße"}]',
	ARRAY['"STRASSE"', '"straSSe"', '"STRAßE"']::text[],
	ARRAY['"strasse"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"STRASSE"}]',
	ARRAY['"strasse"']::text[],
	ARRAY['"straße"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ẞ"}]',
	ARRAY['"ß"', '"ẞ"']::text[],
	ARRAY['"SS"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ß"}]',
	ARRAY['"ß"', '"SS"']::text[],
	ARRAY['"ẞ"', '"ss"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"Σ"}]',
	ARRAY['"σ"', '"Σ"']::text[],
	ARRAY['"ς"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ς"}]',
	ARRAY['"ς"', '"Σ"']::text[],
	ARRAY['"σ"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"\u212a"}]',
	ARRAY['"k"', '"\u212a"']::text[],
	ARRAY['"K"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"k"}]',
	ARRAY['"K"']::text[],
	ARRAY['"\u212a"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ſ"}]',
	ARRAY['"S"', '"ſ"']::text[],
	ARRAY['"s"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"İ"}]',
	ARRAY['"İ"', '"i\u0307"']::text[],
	ARRAY['"i"', '"I"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ı"}]',
	ARRAY['"I"', '"ı"']::text[],
	ARRAY['"i"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ﬁ"}]',
	ARRAY['"FI"', '"ﬁ"']::text[],
	ARRAY['"fi"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"Ⱥ"}]',
	ARRAY['"ⱥ"']::text[],
	ARRAY['"A"']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":{"equals-ignore-case":"ß"}}]',
	ARRAY['"StraSS"', '"Straß"']::text[],
	ARRAY['"Strass"']::text[]);

-- anything-but: some leaf that is none of these.
SELECT * FROM pg_temp.try('[{"anything-but":"x"}]',
	ARRAY['"y"', '"X"', 'null', '5', 'true', '""', '["x","y"]', '["x",null]', '[["x"],["z"]]']::text[],
	ARRAY['"x"', '(missing)', '[]', '{}', '{"b":"y"}', '["x","x"]']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":["x","y"]}]',
	ARRAY['"z"', '5', '["x","z"]']::text[],
	ARRAY['"x"', '"y"', '["x","y"]']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":5}]',
	ARRAY['6', '"5"', 'null', 'true']::text[],
	ARRAY['5', '5.0', '5e0']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":[5,6]}]',
	ARRAY['7', '[5,7]']::text[],
	ARRAY['6e0', '[5,6]']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":["5"]}]',
	ARRAY['5', '"6"']::text[],
	ARRAY['"5"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":""}]',
	ARRAY['"x"', 'null']::text[],
	ARRAY['""']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":"10.0.0.1"}]',
	ARRAY['"10.00.0.1"', '"10.0.0.2"']::text[],
	ARRAY['"10.0.0.1"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"prefix":"in"}}]',
	ARRAY['"out"', '"In"', '5', 'null']::text[],
	ARRAY['"init"', '"in"', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"prefix":["in","ou"]}}]',
	ARRAY['"x"']::text[],
	ARRAY['"in"', '"out"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"prefix":"1"}}]',
	ARRAY['12']::text[],
	ARRAY['"12"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"suffix":"ed"}}]',
	ARRAY['"ok"']::text[],
	ARRAY['"failed"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"suffix":["ed","ok"]}}]',
	ARRAY['"no"']::text[],
	ARRAY['"ok"', '"failed"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"equals-ignore-case":"Ab"}}]',
	ARRAY['"aBc"', '5']::text[],
	ARRAY['"aB"', '"AB"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"equals-ignore-case":["Ab","Cd"]}}]',
	ARRAY['"ef"']::text[],
	ARRAY['"cd"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"equals-ignore-case":""}}]',
	ARRAY['"x"']::text[],
	ARRAY['""']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"wildcard":"a*b"}}]',
	ARRAY['"axbc"', '""']::text[],
	ARRAY['"axb"', '"ab"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"wildcard":["a*","*z"]}}]',
	ARRAY['"xy"']::text[],
	ARRAY['"ax"', '"xz"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":{"wildcard":"*"}}]',
	ARRAY['5', 'null']::text[],
	ARRAY['"x"', '""']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":"x"},{"exists":false}]',
	ARRAY['(missing)', '"y"', '[]']::text[],
	ARRAY['"x"']::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":"x"},"x"]',
	ARRAY['"x"', '5']::text[],
	ARRAY['(missing)']::text[]);

-- Ranges of numbers, blocks of addresses, and strings that are addresses.
SELECT * FROM pg_temp.try('[{"numeric":["=",300]}]',
	ARRAY['300', '3e2', '300.00']::text[],
	ARRAY['"300"', '301']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",0,"<=",10]}]',
	ARRAY['10', '0.001', '[0,5]']::text[],
	ARRAY['0', '10.5', '"5"', 'true', 'null', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">=",0,"<",10]}]',
	ARRAY['0', '-0.0', '9.99']::text[],
	ARRAY['10', '-1']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",5,"<",10]}]',
	ARRAY['[3,7]']::text[],
	ARRAY['[3,12]']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":["<",-5]}]',
	ARRAY['-5.000000001', '-1e300']::text[],
	ARRAY['-5', '0']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",1e300]}]',
	ARRAY['1e301']::text[],
	ARRAY['1e300', '0']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":["=",1e300]}]',
	ARRAY['1E+300']::text[],
	ARRAY['1e299']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":["=",0.3]}]',
	ARRAY['0.30', '3e-1']::text[],
	ARRAY['0.30000000000000004']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",0.3]}]',
	ARRAY['0.30000000000000004']::text[],
	ARRAY['0.3']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":["<",0.1]}]',
	ARRAY['0.09999999999999999']::text[],
	ARRAY['0.1']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">=",-5000000000,"<",5000000000]}]',
	ARRAY['-5e9', '4999999999.9']::text[],
	ARRAY['5e9']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",5]},"x"]',
	ARRAY['"x"', '6']::text[],
	ARRAY['"6"', '5']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"10.0.0.0/8"}]',
	ARRAY['"10.1.2.3"', '"010.0.0.1"', '"::ffff:a00:1"', '["x","10.0.0.1"]']::text[],
	ARRAY['"11.1.2.3"', '"10.1"', '"10.0.0.256"', '"10.0.0.1/32"', '" 10.0.0.1"', '"10.0.0.1\n"', '"::ffff:10.0.0.1"', '"x"', '10', 'null', '(missing)']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"10.1.2.3/8"}]',
	ARRAY['"10.9.9.9"']::text[],
	ARRAY['"9.9.9.9"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"10.0.0.0/24"}]',
	ARRAY['"10.0.0.0"', '"10.0.0.255"']::text[],
	ARRAY['"10.0.1.0"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"10.0.0.0/31"}]',
	ARRAY['"10.0.0.1"']::text[],
	ARRAY['"10.0.0.2"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"0.0.0.0/0"}]',
	ARRAY['"0.0.0.0"', '"255.255.255.255"']::text[],
	ARRAY['"not an ip"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"0.0.0.0/1"}]',
	ARRAY['"127.255.255.255"']::text[],
	ARRAY['"128.0.0.0"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"8.0.0.0/8"}]',
	ARRAY['"8.1.1.1"']::text[],
	ARRAY['"010.0.0.1"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"2001:db8::/32"}]',
	ARRAY['"2001:db8:0:1::5"', '"2001:DB8::"']::text[],
	ARRAY['"2001:db9::"', '"2001:db8"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"fe80::/10"}]',
	ARRAY['"febf::1"']::text[],
	ARRAY['"fec0::1"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"::/1"}]',
	ARRAY['"::"', '"1:2:3:4:5:6:7::"', '"00001::"']::text[],
	ARRAY['":::"', '":"', '"1::2::3"', '"1:2:3:4:5:6:7"', '"1:2:3:4::5:6:7:8"', '"12345::"', '"1:"', '"8000::"']::text[]);
SELECT * FROM pg_temp.try('["10.0.0.1"]',
	ARRAY['"10.0.0.1"', '"010.000.000.001"', '"::ffff:a00:1"']::text[],
	ARRAY['"10.0.0.2"', '"0010.000.000.001"', '"10.0.0.1."']::text[]);
SELECT * FROM pg_temp.try('["::1"]',
	ARRAY['"0:0:0:0:0:0:0:1"', '"0::0001"']::text[],
	ARRAY['"::2"']::text[]);
SELECT * FROM pg_temp.try('["12:30"]',
	ARRAY['"12:30"']::text[],
	ARRAY['"12:030"']::text[]);
SELECT * FROM pg_temp.try('["300.1.1.1"]',
	ARRAY['"300.1.1.1"']::text[],
	ARRAY['"300.01.1.1"']::text[]);

-- Fields that meet in an array must hold in the same element of it.
SELECT * FROM pg_temp.try('[1,2]',
	ARRAY['[2,3]', '[[3],[2,[1]]]', '[{"b":1},2]']::text[],
	ARRAY['[3,4]', '[]', '[{"b":1}]', '{"b":1}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[1]}}',
	ARRAY['{"a":[{"b":2},{"b":1}]}', '{"a":[[{"b":2}],[{"b":1}]]}', '{"a":[5,{"b":1},"x"]}', '{"a":{"b":[3,1]}}']::text[],
	ARRAY['{"a":[]}', '{"a":"b"}', '{"a":[{"c":1}]}', '{"a":[1]}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[1],"c":[2]}}',
	ARRAY['{"a":[{"b":1,"c":2}]}', '{"a":{"b":[1,5],"c":[2,6]}}', '{"a":[[{"b":1,"c":2}],[{"b":3}]]}', '{"a":[{"b":3,"c":2},{"b":[1],"c":2}]}']::text[],
	ARRAY['{"a":[{"b":1},{"c":2}]}', '{"a":[{"b":1,"c":3},{"b":3,"c":2}]}', '{"a":[[{"b":1},{"c":2}]]}', '{"a":[[{"b":1}],[{"c":2}]]}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":{"x":[1]},"c":{"x":[2]}}}',
	ARRAY['{"a":[{"b":[{"x":1},{"x":5}],"c":[{"x":6},{"x":2}]}]}']::text[],
	ARRAY['{"a":[{"b":[{"x":1}]},{"c":[{"x":2}]}]}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":{"x":[1],"y":[2]}}}',
	ARRAY['{"a":[{"b":[{"z":0},{"x":1,"y":2}]}]}']::text[],
	ARRAY['{"a":[{"b":[{"x":1},{"y":2}]}]}', '{"a":[{"b":[{"x":1}]},{"b":[{"y":2}]}]}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[1]},"d":{"e":[2]}}',
	ARRAY['{"a":[{"b":1},{"b":3}],"d":[{"e":5},{"e":2}]}']::text[],
	ARRAY['{"a":[{"b":1}],"d":[{"e":5}]}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":["x"],"c":[{"anything-but":"y"}]}}',
	ARRAY['{"a":[{"b":"x","c":"q"}]}']::text[],
	ARRAY['{"a":[{"b":"x","c":"y"},{"b":"z","c":"q"}]}', '{"a":[{"b":"x"}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":[1],"$or":[{"x":{"a":[1]}},{"b":[1]}]}',
	ARRAY['{"x":[1,{"a":1}]}', '{"x":[[1,{"a":1}]]}']::text[],
	ARRAY['{"x":[[1],{"a":1}]}']::text[]);

-- $or: one of several alternatives, along with the fields beside it.
SELECT * FROM pg_temp.try('{"$or":[{"a":[1]},{"b":[2]}]}',
	ARRAY['{"a":1}', '{"b":2}', '{"a":1,"b":2}']::text[],
	ARRAY['{"a":2,"b":1}', '{}', '{"$or":1}']::text[]);
SELECT * FROM pg_temp.try('{"s":["x"],"$or":[{"a":[1]},{"b":[2]}]}',
	ARRAY['{"s":"x","b":2}']::text[],
	ARRAY['{"s":"y","b":2}', '{"s":"x"}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1]},{"b":[2]},{"c":[3]}]}',
	ARRAY['{"c":3}']::text[],
	ARRAY['{"c":1}']::text[]);
SELECT * FROM pg_temp.try('{"d":{"$or":[{"a":[1]},{"b":[2]}]}}',
	ARRAY['{"d":{"b":2}}']::text[],
	ARRAY['{"b":2}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1],"c":[3]},{"b":[2]}]}',
	ARRAY['{"a":1,"c":3}', '{"b":2}']::text[],
	ARRAY['{"a":1}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1],"$or":[{"c":[3]},{"d":[4]}]},{"b":[2]}]}',
	ARRAY['{"a":1,"d":4}', '{"b":2}']::text[],
	ARRAY['{"a":1}', '{"c":3}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1]},{"b":[2]}],"d":{"$or":[{"e":[1]},{"f":[2]}]}}',
	ARRAY['{"a":1,"d":{"f":2}}']::text[],
	ARRAY['{"a":1,"d":{"f":3}}', '{"d":{"e":1}}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"d":{"a":[1]}},{"d":{"b":[2]}}],"d":{"c":[3]}}',
	ARRAY['{"d":{"b":2,"c":3}}']::text[],
	ARRAY['{"d":{"b":2}}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1]},{"a":[2]}]}',
	ARRAY['{"a":2}']::text[],
	ARRAY['{"a":3}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1],"c":[1]},{"a":[1,2],"c":[2]}]}',
	ARRAY['{"a":2,"c":2}', '{"a":1,"c":1}']::text[],
	ARRAY['{"a":2,"c":1}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"$or":[{"a":[1]},{"b":[2]}],"c":[3]}}',
	ARRAY['{"x":[{"a":1},{"b":2,"c":3}]}']::text[],
	ARRAY['{"x":[{"a":1},{"c":3}]}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1]},{"b":[{"exists":false}]}]}',
	ARRAY['{"a":2}', '{"a":1,"b":1}']::text[],
	ARRAY['{"a":2,"b":1}']::text[]);
SELECT * FROM pg_temp.try('{"$or":["x","y"]}',
	ARRAY['{"$or":"y"}']::text[],
	ARRAY['{"x":"y"}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"prefix":"x"},{"suffix":"y"}]}',
	ARRAY['{"$or":"xz"}', '{"$or":"zy"}']::text[],
	ARRAY['{"prefix":"x"}']::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"exists":true}]}',
	ARRAY['{"$or":1}']::text[],
	ARRAY['{}']::text[]);
SELECT * FROM pg_temp.try('{"$or":{"a":[1],"b":[2]}}',
	ARRAY['{"$or":{"a":1,"b":2}}']::text[],
	ARRAY['{"a":1,"b":2}', '{"$or":{"a":1}}']::text[]);
SELECT * FROM pg_temp.try('["$or"]',
	ARRAY['"$or"']::text[],
	ARRAY['"or"']::text[]);

-- exists: whether there is a leaf.
SELECT * FROM pg_temp.try('[{"exists":true}]',
	ARRAY['1', 'null', '""', 'false', '[null]', '[{"b":1},2]', '[[[0]]]']::text[],
	ARRAY['(missing)', '{}', '{"b":1}', '[]', '[[]]', '[{}]', '[{"b":1}]']::text[]);
SELECT * FROM pg_temp.try('[{"exists":false}]',
	ARRAY['(missing)', '{}', '{"b":1}', '[]', '[[]]', '[{"b":1}]']::text[],
	ARRAY['1', 'null', '""', '[1]']::text[]);
SELECT * FROM pg_temp.try('[{"exists":false},"x"]',
	ARRAY['(missing)', '"x"']::text[],
	ARRAY['"y"', 'null']::text[]);
SELECT * FROM pg_temp.try('[{"exists":true},{"exists":false}]',
	ARRAY['(missing)', '1']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[{"exists":true}]}}',
	ARRAY['{"a":[{"c":1},{"b":null}]}']::text[],
	ARRAY['{"a":{"b":{"c":1}}}', '{"a":5}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[{"exists":false}]}}',
	ARRAY['{}', '{"a":5}', '{"a":null}', '{"a":[{"c":1}]}', '{"a":{"b":{"c":1}}}']::text[],
	ARRAY['{"a":[{"c":1},{"b":1}]}', '{"a":{"b":0}}']::text[]);
SELECT * FROM pg_temp.try('{"a":[1],"b":[{"exists":false}]}',
	ARRAY['{"a":1}']::text[],
	ARRAY['{"a":1,"b":2}', '{}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"a":[1],"b":[{"exists":false}]}}',
	ARRAY['{"x":[{"a":1,"b":1},{"a":1}]}', '{"x":[{"a":1},{"b":5}]}']::text[],
	ARRAY['{"x":[{"a":1,"b":1},{"a":2}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"b":[1],"a":[{"exists":false}]}}',
	ARRAY['{"x":[{"b":1}]}']::text[],
	ARRAY['{"x":[{"a":1,"b":1},{"b":1}]}', '{"x":[{"b":1},{"a":5}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"a":[{"exists":false}]}}',
	ARRAY['{"x":[{"b":1},{"c":1}]}', '{"x":[]}']::text[],
	ARRAY['{"x":[{"b":1},{"a":1}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"a":[1]},"y":{"b":[{"exists":false}]}}',
	ARRAY['{"x":[{"a":1}],"y":[{"c":1}]}']::text[],
	ARRAY['{"x":[{"a":1}],"y":[{"c":1},{"b":1}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"a":[1],"y":{"b":[{"exists":false}]}}}',
	ARRAY['{"x":[{"a":1,"y":[{"c":1},{"b":1}]},{"a":1}]}']::text[],
	ARRAY['{"x":[{"a":1,"y":[{"c":1},{"b":1}]},{"a":2}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"a":{"c":[1]},"a-b":[{"exists":false}]}}',
	ARRAY['{"x":[{"a":{"c":1}}]}']::text[],
	ARRAY['{"x":[{"a":{"c":1}},{"a-b":5}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"a":{"c":[1]},"a/b":[{"exists":false}]}}',
	ARRAY['{"x":[{"a":{"c":1}},{"a/b":5}]}']::text[],
	ARRAY['{"x":[{"a":{"c":1},"a/b":5}]}']::text[]);
SELECT * FROM pg_temp.try('{"x":{"b":[{"exists":false},5],"c":[1]}}',
	ARRAY['{"x":[{"c":1},{"b":5,"c":1}]}']::text[],
	ARRAY['{"x":[{"c":1},{"b":5}]}']::text[]);

-- Envelopes: no field of an event is special.
SELECT * FROM pg_temp.try('{"source":["aws.ec2"],"detail-type":["S"],"detail":{"state":["on"]}}',
	ARRAY['{"source":"aws.ec2","detail-type":"S","detail":{"state":"on"},"account":"1"}']::text[],
	ARRAY['{"source":"aws.ec2","detail-type":"S","detail":{"state":"off"}}']::text[]);
SELECT * FROM pg_temp.try('{"time":[{"prefix":"2017-12-22"}]}',
	ARRAY['{"time":"2017-12-22T18:43:48Z"}']::text[],
	ARRAY['{"time":"2017-12-23T18:43:48Z"}']::text[]);
SELECT * FROM pg_temp.try('{"account":["111122223333"]}',
	ARRAY['{"account":"111122223333"}']::text[],
	ARRAY['{"account":111122223333}']::text[]);
SELECT * FROM pg_temp.try('{"resources":[{"suffix":":instance/i-1"}]}',
	ARRAY['{"resources":["arn:x","arn:aws:ec2:us-west-1:1:instance/i-1"]}']::text[],
	ARRAY['{"resources":[]}']::text[]);
SELECT * FROM pg_temp.try('{"detail":[{"exists":false}]}',
	ARRAY['{"detail":{"a":1}}', '{}']::text[],
	ARRAY['{"detail":"x"}']::text[]);

-- Where the language differs on purpose from the library behind EventBridge.
SELECT * FROM pg_temp.try('{"a.b":[1]}',
	ARRAY[]::text[],
	ARRAY['{"a":{"b":1}}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[1]}}',
	ARRAY[]::text[],
	ARRAY['{"a.b":1}']::text[]);
SELECT * FROM pg_temp.try('{"":{"a":[1]}}',
	ARRAY['{"":{"a":1}}']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('{"":{"a":[1]}}',
	ARRAY[]::text[],
	ARRAY['{"a":1}']::text[]);
SELECT * FROM pg_temp.try('{"a":{"b":[1]},"a.b":[2]}',
	ARRAY['{"a":{"b":1},"a.b":2}']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[9007199254740993]',
	ARRAY['9007199254740993.0']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",5]}]',
	ARRAY['1234567890123456789']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"numeric":["=",1234567890123456789]}]',
	ARRAY['1234567890123456789']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"anything-but":12345678901234567890}]',
	ARRAY[]::text[],
	ARRAY['12345678901234567890']::text[]);
SELECT * FROM pg_temp.try('[{"numeric":["<",0.1]}]',
	ARRAY['0.099999999999999999999']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">",1e308]}]',
	ARRAY['1e309']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[1e309]',
	ARRAY['10e308']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"numeric":[">=",1.7976931348623157e308]}]',
	ARRAY['1.7976931348623157e308']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"10.0.0.0/8"}]',
	ARRAY[]::text[],
	ARRAY['"a00::1"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"0.0.0.0/0"}]',
	ARRAY[]::text[],
	ARRAY['"::1"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"::/0"}]',
	ARRAY[]::text[],
	ARRAY['"16.2.3.4"']::text[]);
SELECT * FROM pg_temp.try('["10.0.0.1"]',
	ARRAY[]::text[],
	ARRAY['"a00:1::5"']::text[]);
SELECT * FROM pg_temp.try('[{"cidr":"16.0.0.0/8"}]',
	ARRAY[]::text[],
	ARRAY['101234567']::text[]);
SELECT * FROM pg_temp.try('["16.0.0.1"]',
	ARRAY[]::text[],
	ARRAY['10000001']::text[]);
SELECT * FROM pg_temp.try('[10000000,{"cidr":"1.2.3.0/24"}]',
	ARRAY[]::text[],
	ARRAY['"16.0.0.0"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*x"},{"equals-ignore-case":"k"}]',
	ARRAY[]::text[],
	ARRAY['"6"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*x*"},{"equals-ignore-case":"k"}]',
	ARRAY[]::text[],
	ARRAY['"b"']::text[]);
SELECT * FROM pg_temp.try('[{"wildcard":"*\\*"},{"anything-but":{"equals-ignore-case":"a"}}]',
	ARRAY['"ß"']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('{"$or":[{"a":[1]},{"a":[1,2]}]}',
	ARRAY['{"a":2}']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"prefix":"a\""}]',
	ARRAY[]::text[],
	ARRAY['"a"']::text[]);
SELECT * FROM pg_temp.try('[{"suffix":"\"a"}]',
	ARRAY[]::text[],
	ARRAY['"a"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"😀"}]',
	ARRAY['"😀"']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"😀"}]',
	ARRAY[]::text[],
	ARRAY['"??"']::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"𐐀"}]',
	ARRAY['"𐐨"']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('[{"equals-ignore-case":"ǅ"}]',
	ARRAY['"ǅ"']::text[],
	ARRAY[]::text[]);
SELECT * FROM pg_temp.try('{"$or":{"a":[{"anything-but":{"wildcard":"a*"}}]}}',
	ARRAY['{"$or":{"a":"cb"}}']::text[],
	ARRAY[]::text[]);
SELECT eb.validate_pattern(pg_temp.whole('["b",{"anything-but":{"prefix":[]}}]', true));
SELECT eb.validate_pattern(pg_temp.whole('[{"cidr":"10.0.0.0/8/"}]', true));
SELECT eb.validate_pattern(pg_temp.whole('[{"cidr":"10.0.0.0/+8"}]', true));
