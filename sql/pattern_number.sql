-- The matcher reads the stored form of numeric itself.  Here its order of
-- numbers is compared with numeric's own, on numbers of all sizes: around
-- zero, around the borders of base-10000 digits, with one to five of them,
-- far beyond double, and at the largest scales and weights there are.
CREATE TEMP TABLE numbers (n numeric);
INSERT INTO numbers
SELECT DISTINCT (sign || digits || 'e' || exponent)::numeric
FROM unnest(ARRAY['', '-']) sign,
	unnest(ARRAY['0', '1', '9999', '10000', '10001', '99999999',
		'1.0000000000000001', '1.00000000000000010001', '123456789012.3456',
		'123456789012.34560001', '123456789012.34559999']) digits,
	unnest(ARRAY[-300, -17, -4, -1, 0, 3, 4, 300]) exponent;
INSERT INTO numbers VALUES
	(1e300 + 1), (1e300), (-1e300 - 1), (1e130000::numeric), (1e131071::numeric * 9),
	(('0.' || repeat('0', 16382) || '1')::numeric), (('-0.' || repeat('0', 16382) || '1')::numeric),
	(9007199254740993), (9007199254740992), (1e64), (1e252), (1e256), (1e-253), (1e-256), (1e-257);

CREATE TEMP TABLE events AS
SELECT n, jsonb_build_object('a', n) AS event FROM numbers;
CREATE TEMP TABLE patterns AS
SELECT op, n, jsonb_build_object('a', jsonb_build_array(test)) AS pattern
FROM numbers, LATERAL (VALUES
	('=', to_jsonb(n)),
	('<', jsonb_build_object('numeric', jsonb_build_array('<', n))),
	('<=', jsonb_build_object('numeric', jsonb_build_array('<=', n))),
	('>', jsonb_build_object('numeric', jsonb_build_array('>', n))),
	('>=', jsonb_build_object('numeric', jsonb_build_array('>=', n))),
	('anything-but', jsonb_build_object('anything-but', n))) AS t (op, test);

-- Every pair of numbers, for each comparison, as range and as literal.
SELECT op, count(*) AS pairs, count(*) FILTER (WHERE wanted) AS true_ones,
	count(*) FILTER (WHERE found IS DISTINCT FROM wanted) AS wrong
FROM (SELECT op, eb.matches(event, pattern) AS found,
			 CASE op WHEN '=' THEN e.n = p.n WHEN '<' THEN e.n < p.n WHEN '<=' THEN e.n <= p.n
					 WHEN '>' THEN e.n > p.n WHEN '>=' THEN e.n >= p.n ELSE e.n <> p.n END AS wanted
	  FROM patterns p CROSS JOIN events e) AS compared
GROUP BY op ORDER BY op COLLATE "C";

-- All of them in one pattern: many bounds in one list.
SELECT count(*) AS numbers,
	count(*) FILTER (WHERE eb.matches(event, pattern)) AS at_least_one_bound_below
FROM events,
	(SELECT jsonb_build_object('a', jsonb_agg(jsonb_build_object('numeric', jsonb_build_array('>', n)))) AS pattern
	 FROM numbers) p;

-- The text of a number in the normal form is that number.
SELECT count(*) FILTER (WHERE eb.validate_pattern(jsonb_build_object('a', jsonb_build_array(n)))
							  #>> '{a,0}' IS DISTINCT FROM trim_scale(n)::text) AS wrong
FROM numbers;
