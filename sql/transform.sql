-- Input transformation: what a target gets in place of the whole envelope.
-- eb.test_transform shows it for one event; eb.put_target takes the same
-- arguments.

CREATE TABLE event (e jsonb);
INSERT INTO event VALUES ('{
	"version": "0", "id": "01890a5d-ac96-774b-bcce-b302099a8057",
	"detail-type": "OrderPlaced", "source": "shop", "account": "000000000000",
	"time": "2026-01-02T03:04:05Z", "region": "local", "resources": ["order/7"],
	"detail": {
		"order": {"id": 7, "total": 19.90, "paid": true, "coupon": null},
		"items": [{"sku": "A-1", "qty": 2}, {"sku": "B \"x\"", "qty": 1}],
		"note": "say \"hi\" \\ <sku>\n{tab:\t}\u0001 ünï 😀",
		"a key": {"x.y": 1}, "it''s": "quoted", "": "empty"}}');

-- Without any, a target gets the event as it is.
SELECT eb.test_transform(e) = e AS whole FROM event;

-- A constant: any JSON.
SELECT eb.test_transform(e, input => i) FROM event,
	unnest('{"{\"ping\": [1, {}]}","[]","5","\"text\"","null","true"}'::jsonb[]) i;

-- A path to a part.  Names may hold "-"; other characters need quotes.
SELECT p, eb.test_transform(e, input_path => p) FROM event, unnest(ARRAY[
	'$.detail-type', '$.resources', '$.detail.order.total', '$.detail.items[1]', '$.detail.items[0].sku',
	'$[''detail''].order', '$.detail["a key"]."x.y"', '$.detail[''a key''][''x.y'']', '$.detail[''it\''s'']', '$.detail[""]']) p;

-- Where a path leads nowhere, the target gets null (on_missing => 'null'; at
-- the root there is nothing to omit, so omit says null, too).
SELECT p, eb.test_transform(e, input_path => p), eb.test_transform(e, input_path => p, on_missing => 'omit')
FROM event, unnest(ARRAY['$.nope', '$.detail.items[2]', '$.detail.items.sku', '$.detail.order[0]', '$.detail.order.id.x']) p;
SELECT eb.test_transform(e, input_path => '$.detail.items[2].sku', on_missing => 'error') FROM event;

-- A template: a placeholder outside of quotes is a JSON value, inside of them
-- it is text.  Shown through this function, which takes the template alone.
CREATE FUNCTION apply(template text, on_missing text DEFAULT 'null') RETURNS jsonb
	BEGIN ATOMIC
	SELECT eb.test_transform(e, input_transformer => jsonb_build_object(
		'InputPathsMap', '{"id": "$.detail.order.id", "total": "$.detail.order.total", "paid": "$.detail.order.paid",
			"coupon": "$.detail.order.coupon", "sku": "$.detail.items[1].sku", "items": "$.detail.items", "note": "$.detail.note",
			"gone": "$.detail.gone", "a-b c": "$.detail-type"}'::jsonb,
		'InputTemplate', template), on_missing => on_missing) FROM event;
	END;
SELECT apply('{"order": <id>, "text": "Order <id> (<sku>) costs <total>", "all": <items>, "n": {"paid": [<paid>, <coupon>]}}');
SELECT apply(' { "b" : <id> , "a" : [ ] , "ccc" : { } , "b" : "last one wins" , "x": -1.50e2, "t": true, "f": false, "0": null } ');
SELECT apply('[<a-b c>, "<a-b c>", "\u003c<id>\u003e", "\"\\\/\b\f\n\r\t\u00fc\ud83d\ude00", 1]');
SELECT apply('<items>'), apply('<id>'), apply('<note>'), apply('7'), apply('"x"'), apply('""');

-- A template that is one text; several strings, one a line, are lines.
SELECT apply('"Order <id> is \"<a-b c>\""');
SELECT apply(E'"Order <id>"\n"  was <a-b c>"\n"end"') ->> 0 AS lines FROM event;

-- In a string, objects and numbers are their JSON text.
SELECT apply('"items: <items>, paid: <paid>, coupon: <coupon>"') ->> 0 AS text;

-- Whatever a value holds, the result is JSON, and the value comes out as it went in.
SELECT apply('{"v": <note>, "s": "<note>", "in": "[<note>]"}');
SELECT r ->> 'v' = e #>> '{detail,note}' AS value, r ->> 's' = e #>> '{detail,note}' AS string,
	r ->> 'in' = '[' || (e #>> '{detail,note}') || ']' AS inside
FROM event, apply('{"v": <note>, "s": "<note>", "in": "[<note>]"}') r;

-- Placeholders in values are data.
SELECT eb.test_transform('{"detail": {"a": "<b>", "b": "<eb.event.json>"}}', input_transformer => '{
	"InputPathsMap": {"a": "$.detail.a", "b": "$.detail.b"}, "InputTemplate": "{\"a\": <a>, \"t\": \"<a><b>\"}"}');

-- A missing path: null, left out, or an error.
SELECT m, apply('{"id": <id>, "gone": <gone>, "list": [1, <gone>, <coupon>, 2], "text": "[<gone>]", "n": {"x": <gone>}}', m)
FROM unnest(ARRAY['null', 'omit']) m;
SELECT apply('[<gone>]', 'omit'), apply('{"gone": <gone>}', 'omit'), apply('<gone>', 'omit');
SELECT apply('{"id": <id>}', 'error') AS not_used_not_missing;
SELECT apply('{"id": <id>, "gone": <gone>}', 'error');

-- Variables that every template has, under three prefixes.
SELECT apply('{"rule": <aws.events.rule-name>, "also": [<eb.rule-name>, <eb.events.rule-name>], "arn": <aws.events.rule-arn>,
	"bus": <eb.bus-name>, "text": "by <eb.rule-name>"}');
SELECT r -> 'event' = e - 'detail' AS event, r -> 'json' = e AS json, r -> 'eb' = e - 'detail' AS eb_event, r -> 'ebjson' = e AS eb_json,
	(r ->> 'text')::jsonb = e AS as_text
FROM event, apply('{"event": <aws.events.event>, "json": <aws.events.event.json>, "eb": <eb.event>, "ebjson": <eb.event.json>, "text": "<eb.event.json>"}') r;
SELECT (r ->> 0)::timestamptz BETWEEN now() - interval '1 day' AND now() + interval '1 day' AS ingestion_time, r -> 0 = r -> 1 AS same
FROM apply('[<eb.event.ingestion-time>, <aws.events.event.ingestion-time>]') r;

-- Many keys and elements: every 32nd entry of a jsonb container is stored
-- another way, and numbers and containers are aligned.
SELECT count(*) AS wrong FROM generate_series(0, 100) n, LATERAL (
	SELECT '{' || coalesce(string_agg(format('"k%s": %s', i, (ARRAY['<id>', '"<sku>"', '<items>', '"é"', '<gone>', 'null', '[<gone>, <total>, "x"]'])[i % 7 + 1]), ', ') FILTER (WHERE i IS NOT NULL), '') || '}' AS template,
		coalesce(jsonb_object_agg('k' || i, (jsonb_build_array(d #> '{order,id}', d #> '{items,1,sku}', d -> 'items', 'é', null, null,
			jsonb_build_array(null, d #> '{order,total}', 'x'))) -> (i % 7)) FILTER (WHERE i IS NOT NULL), '{}') AS expected
	FROM event, LATERAL (SELECT e -> 'detail' AS d) x LEFT JOIN LATERAL generate_series(1, n) i ON true) t
WHERE apply(template) IS DISTINCT FROM expected OR apply(template)::text <> expected::text
   OR (SELECT count(*) FROM jsonb_object_keys(expected) k WHERE apply(template) -> k IS DISTINCT FROM expected -> k) > 0;
SELECT count(*) AS wrong FROM generate_series(0, 100) n, LATERAL (
	SELECT '[' || coalesce(string_agg((ARRAY['<id>', '"<sku>"', '<gone>', '<items>'])[i % 4 + 1], ','), '') || ']' AS template,
		coalesce(jsonb_agg(jsonb_build_array(d #> '{order,id}', d #> '{items,1,sku}', null, d -> 'items') -> (i % 4) ORDER BY i)
			FILTER (WHERE i % 4 <> 2), '[]') AS expected
	FROM event, LATERAL (SELECT e -> 'detail' AS d) x LEFT JOIN LATERAL generate_series(0, n - 1) i ON true) t
WHERE apply(template, 'omit') IS DISTINCT FROM expected OR apply(template, 'omit') -> (n / 2) IS DISTINCT FROM expected -> (n / 2);

-- Mistakes are found before any event comes, each with its place.

-- Paths.
SELECT eb.test_transform('{}', input_path => 'detail.x');
SELECT eb.test_transform('{}', input_path => '$.detail.');
SELECT eb.test_transform('{}', input_path => '$.detail..x');
SELECT eb.test_transform('{}', input_path => '$.detail.*');
SELECT eb.test_transform('{}', input_path => '$.detail[*]');
SELECT eb.test_transform('{}', input_path => '$.detail[-1]');
SELECT eb.test_transform('{}', input_path => '$.detail[0:2]');
SELECT eb.test_transform('{}', input_path => '$.detail[99999999999]');
SELECT eb.test_transform('{}', input_path => '$.detail[?(@.x)]');
SELECT eb.test_transform('{}', input_path => '$.detail["x]');
SELECT eb.test_transform('{}', input_path => '$detail');
SELECT eb.test_transform('{}', input_path => '');
SELECT eb.test_transform('{}', input_transformer => '{"InputPathsMap": {"x": "$.é ö"}, "InputTemplate": "<x>"}');

-- The transformer's own shape.
SELECT eb.test_transform('{}', input_transformer => '[]');
SELECT eb.test_transform('{}', input_transformer => '{}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": {"a": 1}}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "InputPathsMap": []}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "Template": "1"}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "InputPathsMap": {"x": 5}}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "InputPathsMap": {"": "$.x"}}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "InputPathsMap": {"a>b": "$.x"}}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "InputPathsMap": {"AWS.x": "$.x"}}');
SELECT eb.test_transform('{}', input_transformer => '{"InputTemplate": "1", "InputPathsMap": {"eb.x": "$.x"}}');

-- Placeholders.
SELECT apply('{"a": <nobody>}');
SELECT apply('{"a": "Hello <b>you</b>"}');
SELECT apply('{"a": <eb.nothing>}');
SELECT apply('{"a": "1 < 2", "b": "2 > 1"}');
SELECT apply('{"a": <id');
SELECT apply('{"a": <>}');
SELECT apply('{"<id>": 1}');
SELECT apply('{<id>: 1}');

-- JSON.
SELECT apply('Order <id>');
SELECT apply('');
SELECT apply('{"a": 1,}');
SELECT apply('{"a" 1}');
SELECT apply('{"a": 1');
SELECT apply('{a: 1}');
SELECT apply('[1 2]');
SELECT apply('[01]');
SELECT apply('[1.]');
SELECT apply('[-]');
SELECT apply('[1e]');
SELECT apply('[1e1000000]');
SELECT apply('[True]');
SELECT apply('[<id>] x');
SELECT apply('"a" "b"');
SELECT apply('"öö');
SELECT apply(E'"a\tb"');
SELECT apply('"\x"');
SELECT apply('"\u12g4"');
SELECT apply('"\u0000"');
SELECT apply('"\ud83d x"');
SELECT apply('"\ude00"');

-- Arguments and limits.
SELECT eb.test_transform(NULL);
SELECT eb.test_transform('[]');
SELECT eb.test_transform('{}', on_missing => 'ignore');
SELECT eb.test_transform('{}', on_missing => NULL);
SELECT eb.test_transform('{}', input => '1', input_path => '$');
SELECT eb.test_transform('{}', input => to_jsonb(repeat('x', 300000)));
SELECT eb.test_transform('{}', input_path => '$.' || repeat('x', 300000));
SELECT apply(to_jsonb(repeat('x', 300000))::text);
SELECT apply(repeat('[', 102) || repeat(']', 102));
SELECT apply(repeat('[', 100) || '<id>' || repeat(']', 100)) IS NOT NULL AS depth_100;
SELECT eb.test_transform('{}', input_transformer => jsonb_build_object('InputTemplate', '1', 'InputPathsMap', jsonb_object_agg('v' || i, '$')))
FROM generate_series(1, 101) i;
SELECT jsonb_array_length(eb.test_transform('{}', input_transformer => jsonb_build_object('InputTemplate', '[' || string_agg(format('<v%s>', i), ',') || ']',
	'InputPathsMap', jsonb_object_agg('v' || i, '$')))) AS variables FROM generate_series(1, 100) i;
SELECT length(eb.test_transform(jsonb_build_object('detail', repeat('x', 1000000)), input_transformer => '{"InputTemplate":
	"[<eb.event.json>, <eb.event.json>, <eb.event.json>, <eb.event.json>, <eb.event.json>, <eb.event.json>]"}')::text) AS six_times;
SELECT length(eb.test_transform(jsonb_build_object('detail', repeat('x', 1000000)), input_transformer => jsonb_build_object('InputTemplate',
	'[1' || repeat(', <eb.event.json>', 20) || ']'))::text);

DROP FUNCTION apply;
DROP TABLE event;

-- On a bus the result becomes the detail of the forwarded event: a constant or
-- a template must be an object, and what a path leads to is wrapped if it is
-- none, so that it never keeps anybody from publishing.
SELECT eb.create_bus('tf_from'), eb.create_bus('tf_to');
SELECT eb.put_rule('tf', '{"source": ["s"]}', bus => 'tf_from');
SELECT eb.put_target('tf', target_bus => 'tf_to', bus => 'tf_from', input => '[1]');
SELECT eb.put_target('tf', target_bus => 'tf_to', bus => 'tf_from', input_transformer => '{"InputTemplate": "\"x\""}');
SELECT count(eb.put_target('tf', p.t, target_bus => 'tf_to', bus => 'tf_from', detail_type => p.t, input_path => p.path, on_missing => p.m))
FROM (VALUES ('object', '$.detail', 'null'), ('number', '$.detail.n', 'null'), ('gone, null', '$.detail.gone', 'null'),
	('gone, omit', '$.detail.gone', 'omit')) p(t, path, m);
SELECT eb.put_target('tf', 'template', target_bus => 'tf_to', bus => 'tf_from', detail_type => 'template', source => 'other', input_transformer =>
	'{"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": "{\"n\": <n>, \"by\": \"<eb.rule-name> on <eb.bus-name>\", \"arn\": <aws.events.rule-arn>}"}');
SELECT eb.put_event('s', 't', '{"n": 5}', 'tf_from') IS NOT NULL AS put;
SELECT source, detail_type, detail FROM eb.bus_tf_to ORDER BY detail_type COLLATE "C";

-- A target that insists on a path refuses the put, all of it.
SELECT eb.put_target('tf', 'strict', target_bus => 'tf_to', bus => 'tf_from', input_path => '$.detail.must', on_missing => 'error');
SELECT eb.put_event('s', 't', '{"n": 6}', 'tf_from');
SELECT count(*) AS logged FROM eb.bus_tf_from;
SELECT eb.delete_bus('tf_from', with_rules => true), eb.delete_bus('tf_to');
