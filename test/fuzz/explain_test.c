/*-------------------------------------------------------------------------
 *
 * explain_test.c
 *	  What eb_pattern_explain() says of misses: path, value, predicate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_int.h"

#include "json.h"
#include "shim.h"

#undef printf
#undef fprintf

typedef struct Case
{
	const char *pattern;
	const char *event;
	const char *path;			/* NULL: the event matches */
	const char *value;			/* "-": missing */
	const char *predicate;
} Case;

static const Case cases[] = {
	{"{\"a\":[1]}", "{\"a\":1}", NULL, NULL, NULL},
	/* the first in the order of paths, not of the pattern */
	{"{\"b\":[1],\"a\":{\"c\":[2]}}", "{\"a\":{\"c\":3},\"b\":5}", "$.a.c", "3", "[2]"},
	{"{\"a\":[1],\"b\":[{\"prefix\":\"x\"}]}", "{\"a\":1,\"b\":\"y\"}", "$.b", "\"y\"", "[{\"prefix\": \"x\"}]"},
	/* a missing field; null is a value */
	{"{\"a\":[1]}", "{}", "$.a", "-", "[1]"},
	{"{\"a\":[1]}", "{\"a\":null}", "$.a", "null", "[1]"},
	/* an object where a value was wanted */
	{"{\"detail\":[{\"exists\":true}]}", "{\"detail\":{\"x\":1}}", "$.detail", "{\"x\": 1}", "[{\"exists\": true}]"},
	/* keys that have to be quoted */
	{"{\"detail-type\":[\"A\"],\"$or\":[\"x\"]}", "{\"detail-type\":\"B\",\"$or\":\"x\"}", "$.\"detail-type\"", "\"B\"", "[\"A\"]"},
	/* of several values all */
	{"{\"a\":{\"b\":[7]}}", "{\"a\":[{\"b\":1},{\"b\":[2]},{\"c\":3}]}", "$.a.b", "[1, [2]]", "[7]"},
	{"{\"a\":{\"b\":[7]}}", "{\"a\":[{\"b\":\"x\"},{\"b\":{\"c\":1.5}},{\"b\":null},{\"b\":-3}]}", "$.a.b", "[\"x\", {\"c\": 1.5}, null, -3]", "[7]"},
	/* each field holds, but not in the same element */
	{"{\"a\":{\"b\":[1],\"c\":[2]}}", "{\"a\":[{\"b\":1,\"c\":3},{\"b\":3,\"c\":2}]}", "$.a.c", "[3, 2]", "[2]"},
	/* the alternative that came furthest */
	{"{\"$or\":[{\"a\":[1],\"b\":[1]},{\"c\":[1]}]}", "{\"a\":1,\"b\":2,\"c\":3}", "$.b", "2", "[1]"},
	{"{\"s\":[\"x\"],\"$or\":[{\"a\":[1]},{\"b\":[{\"exists\":false}]}]}", "{\"s\":\"x\",\"b\":2}", "$.a", "-", "[1]"},
	/* normal form, and more than two kinds of tests */
	{"{\"n\":[{\"numeric\":[\">\",5.0]},{\"anything-but\":\"x\"},{\"cidr\":\"10.1.0.0/8\"}]}", "{}", "$.n", "-",
	"[{\"numeric\": [\">\", 5]}, {\"anything-but\": [\"x\"]}, {\"cidr\": \"10.0.0.0/8\"}]"},
};

static Jsonb *
read_json(const char *text)
{
	const char *p = text;

	return json_to_jsonb(json_parse(&p, text + strlen(text)));
}

static void
value_text(StringInfo out, const JsonbValue *v)
{
	EbValue		e = {EB_NULL, 0, NULL};

	switch (v->type)
	{
		case jbvString:
			e.type = EB_STRING;
			e.len = v->val.string.len;
			e.ptr = v->val.string.val;
			break;
		case jbvNumeric:
			e.type = EB_NUMBER;
			e.ptr = (const char *) v->val.numeric;
			break;
		case jbvBool:
			e.type = v->val.boolean ? EB_TRUE : EB_FALSE;
			break;
		case jbvBinary:
			e.ptr = (const char *) v->val.binary.data;
			e.type = JsonContainerIsObject(v->val.binary.data) ? EB_OBJECT : EB_ARRAY;
			break;
		default:
			break;
	}
	eb_value_to_json(out, &e, 1000);
}

static bool
check(const Case *c)
{
	EbPattern  *p = eb_pattern_parse(&read_json(c->pattern)->root);
	EbPatternMiss miss;
	StringInfoData value;
	bool		matched = eb_pattern_explain(p, &read_json(c->event)->root, &miss);

	if (matched || c->path == NULL)
		return matched == (c->path == NULL);
	initStringInfo(&value);
	if (miss.value)
		value_text(&value, miss.value);
	else
		appendStringInfoChar(&value, '-');
	if (strcmp(miss.path, c->path) == 0 && strcmp(value.data, c->value) == 0 &&
		strcmp(miss.predicate, c->predicate) == 0)
		return true;
	fprintf(stderr, "pattern %s, event %s: %s has %s, wants %s\n", c->pattern,
			c->event, miss.path, value.data, miss.predicate);
	return false;
}

int
main(void)
{
	int			failed = 0;

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		sigjmp_buf	refused;

		shim_target = &refused;
		if (sigsetjmp(refused, 0) != 0)
		{
			fprintf(stderr, "%s: %s\n", cases[i].pattern, shim_message);
			failed++;
		}
		else if (!check(&cases[i]))
			failed++;
		shim_reset();
	}
	printf("explanations: %d passed, %d failed\n", (int) lengthof(cases) - failed,
		   failed);
	return failed > 0;
}
