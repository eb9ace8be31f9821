-- The Markdown of docs/reference.md, one row a block; see gen-reference.
-- place: section, name and order of the objects in the install script.

CREATE FUNCTION pg_temp.section_title(section text) RETURNS text LANGUAGE sql AS $$
SELECT coalesce((SELECT title FROM (VALUES
	('types', 'Types'), ('tables', 'Configuration tables'), ('pattern', 'Patterns'), ('log', 'Event log'), ('bus', 'Buses, rules, targets, publishing'),
	('queue', 'Queues'), ('once', 'Effects that happen once'), ('worker', 'Workers'), ('observe', 'Status views'), ('grants', 'Privileges')) t (s, title) WHERE s = section),
	upper(left(section, 1)) || substr(section, 2))
$$;

-- Comments are plain text: what Markdown would take for markup is escaped.
CREATE FUNCTION pg_temp.prose(comment text) RETURNS text LANGUAGE sql AS $$
SELECT regexp_replace(coalesce(comment, ''), '[<*|]', '\\\&', 'g')
$$;

SELECT $md$# API reference

Generated from the comments in the database by `scripts/gen-reference`; do not edit. The same text is at hand in psql:
`\df+ eb.*`, `\dv+ eb.*`, `\dT+ eb.*`.
$md$;

WITH object AS (
	SELECT n.name, 'function' AS class, p.oid, p.prokind,
		CASE WHEN length(head) > 110 AND args <> '' THEN
			'eb.' || p.proname || E'(\n    ' || regexp_replace(args, ', (?=("?[a-z_0-9]+"?|OUT|VARIADIC|INOUT) )', E',\n    ', 'g') || ')' || coalesce(' → ' || result, '')
		ELSE head END AS signature,
		obj_description(p.oid, 'pg_proc') AS comment
	FROM pg_proc p,
		LATERAL (SELECT p.proname::text) n (name),
		LATERAL (SELECT pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)) a (args, result),
		LATERAL (SELECT 'eb.' || p.proname || '(' || args || ')' || coalesce(' → ' || result, '')) h (head)
	WHERE p.pronamespace = 'eb'::regnamespace
	  AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
	UNION ALL
	SELECT o.oprname, 'operator', o.oid, NULL,
		format('%s %s %s → %s', format_type(o.oprleft, NULL), o.oprname, format_type(o.oprright, NULL), format_type(o.oprresult, NULL)),
		coalesce(obj_description(o.oid, 'pg_operator'), obj_description(o.oprcode, 'pg_proc'))
	FROM pg_operator o WHERE o.oprnamespace = 'eb'::regnamespace
	UNION ALL
	SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'c' THEN 'type' ELSE 'table' END, c.oid, NULL, NULL,
		coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type'))
	FROM pg_class c
	WHERE c.relnamespace = 'eb'::regnamespace AND c.relkind IN ('v', 'c', 'r', 'p')
	  AND EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid) IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, c.reltype)) AND d.deptype = 'e')
	UNION ALL
	SELECT t.typname, 'domain', t.oid, NULL, 'DOMAIN eb.' || t.typname || ' AS ' || format_type(t.typbasetype, t.typtypmod), obj_description(t.oid, 'pg_type')
	FROM pg_type t WHERE t.typnamespace = 'eb'::regnamespace AND t.typtype IN ('d', 'e')
),
placed AS (
	SELECT o.*, p.section, p.ord, row_number() OVER (PARTITION BY p.section ORDER BY p.ord, o.class, o.signature) AS nth,
		(SELECT min(q.ord) FROM place q WHERE q.section = p.section) AS first
	FROM object o JOIN LATERAL (
		SELECT pl.section, pl.ord FROM place pl WHERE pl.name = o.name ORDER BY pl.ord LIMIT 1) p ON true
	WHERE coalesce(o.comment, '') !~* '^(internal|part of|trigger of|rows of the view)'
)
SELECT CASE WHEN nth = 1 THEN '## ' || pg_temp.section_title(section) || E'\n\n' ELSE '' END
	|| CASE class
		WHEN 'function' THEN '### ' || CASE WHEN prokind = 'p' THEN 'CALL ' ELSE '' END || 'eb.' || name || E'\n\n```\n' || signature || E'\n```\n\n'
		WHEN 'operator' THEN '### operator ' || name || E'\n\n```\n' || signature || E'\n```\n\n'
		WHEN 'domain' THEN '### domain eb.' || name || E'\n\n```\n' || signature || E'\n```\n\n'
		ELSE '### ' || class || ' eb.' || name || E'\n\n'
	END
	|| CASE WHEN coalesce(comment, '') <> '' THEN pg_temp.prose(comment) || E'\n' ELSE '' END
	|| CASE WHEN class IN ('view', 'type', 'table') THEN E'\n| column | type | |\n|---|---|---|\n' || (
		SELECT string_agg(format('| `%s` | %s | %s |', a.attname, format_type(a.atttypid, a.atttypmod), replace(pg_temp.prose(col_description(oid, a.attnum)), E'\n', ' ')), E'\n' ORDER BY a.attnum) || E'\n'
		FROM pg_attribute a WHERE a.attrelid = placed.oid AND a.attnum > 0 AND NOT a.attisdropped) ELSE '' END
FROM placed
ORDER BY first, nth;

SELECT E'## Settings\n\n| setting | default | range | context | |\n|---|---|---|---|---|';
SELECT format('| `%s` | `%s`%s | %s | %s | %s%s |', name, CASE WHEN boot_val = '' OR boot_val IS NULL THEN '''''' ELSE boot_val END, coalesce(' ' || unit, ''),
	coalesce(array_to_string(enumvals, ', '), CASE WHEN vartype IN ('integer', 'real') THEN min_val || ' … ' || max_val ELSE vartype END),
	context, short_desc, coalesce('  ' || extra_desc, ''))
FROM pg_settings WHERE name LIKE 'eb.%' ORDER BY name;
