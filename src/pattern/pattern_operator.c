/*-------------------------------------------------------------------------
 *
 * pattern_operator.c
 *	  The list of tests of a field: literals and operators.
 *
 * Tests are brought into one form while they are read: {"numeric": ["=", n]}
 * is the number n, {"exactly": s} and a plain s that is no address are the
 * same test, host bits of a block are cleared, texts whose case is ignored
 * are in lower case where they are ASCII.  So equal tests look equal to the
 * compiler, and eb.validate_pattern() shows that form.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_parse.h"

#define OPERATORS \
	"exactly, prefix, suffix, equals-ignore-case, wildcard, anything-but, " \
	"numeric, cidr, exists"

static bool
key_is(const EbValue *key, const char *name)
{
	return key->len == strlen(name) && memcmp(key->ptr, name, key->len) == 0;
}

static void
copy_string(EbTest *test, EbTestKind kind, const EbValue *v)
{
	char	   *s = palloc(v->len + 1);

	memcpy(s, v->ptr, v->len);
	s[v->len] = '\0';
	test->kind = kind;
	test->str = s;
	test->len = v->len;
}

static void
copy_number(EbNumber *n, const EbValue *v)
{
	int16	   *digits;

	eb_number_decode(v->ptr, n);
	digits = palloc(Max(n->ndigits, 1) * sizeof(int16));
	memcpy(digits, n->digits, n->ndigits * sizeof(int16));
	n->digits = digits;
}

static void
set_fold(EbTest *test, EbTestKind kind, const EbValue *v)
{
	test->kind = kind;
	test->str = eb_fold_compile(v->ptr, v->len, kind == EB_TEST_FOLD_SUFFIX,
								&test->len);
}

static void
require_string(EbParser *ps, const EbValue *v, const char *expected,
			   const char *hint)
{
	if (v->type != EB_STRING)
		eb_parse_refuse(ps, expected, v, hint);
}

/* ---- prefix, suffix ---- */

static void
parse_affix(EbParser *ps, const EbValue *v, bool prefix, EbTest *test)
{
	const char *expected = "a string or {\"equals-ignore-case\": string}";
	const char *hint = prefix ?
	"Write {\"prefix\": \"x\"} or {\"prefix\": {\"equals-ignore-case\": \"x\"}}; several prefixes are several tests of the list." :
	"Write {\"suffix\": \"x\"} or {\"suffix\": {\"equals-ignore-case\": \"x\"}}; several suffixes are several tests of the list.";
	EbIter		it;
	EbValue		key;
	EbValue		inner;
	int			mark;

	if (v->type == EB_STRING)
	{
		copy_string(test, prefix ? EB_TEST_PREFIX : EB_TEST_SUFFIX, v);
		return;
	}
	if (v->type != EB_OBJECT || JsonContainerSize(EB_CONTAINER(*v)) != 1)
		eb_parse_refuse(ps, expected, v, hint);
	eb_iter_init(&it, EB_CONTAINER(*v));
	(void) eb_iter_pair(&it, &key, &inner);
	if (!key_is(&key, "equals-ignore-case"))
		eb_parse_refuse(ps, expected, v, hint);
	mark = eb_parse_push_key(ps, key.ptr, key.len);
	require_string(ps, &inner, "a string", hint);
	set_fold(test, prefix ? EB_TEST_FOLD_PREFIX : EB_TEST_FOLD_SUFFIX, &inner);
	eb_parse_pop(ps, mark);
}

/* ---- wildcard ---- */

static void
parse_wildcard(EbParser *ps, const EbValue *v, const char *what, EbTest *test)
{
	char	   *segments = NULL;
	int			offset = 0;
	int			nstars = 0;

	switch (eb_wildcard_compile(v->ptr, v->len, &segments, &test->len,
								&offset, &nstars))
	{
		case EB_WILDCARD_TWO_STARS:
			eb_parse_refuse(ps, psprintf("%s with no two unescaped * in a row (see offset %d)",
										 what, offset), v,
							"One * stands for any run of characters; an asterisk itself is written \\*, in JSON text \\\\*.");
			break;
		case EB_WILDCARD_BACKSLASH:
			eb_parse_refuse(ps, psprintf("%s with \\ only before * or \\ (see offset %d)",
										 what, offset), v,
							"A backslash itself is written \\\\, in JSON text \\\\\\\\.");
			break;
		default:
			break;
	}
	if (nstars > EB_PATTERN_MAX_STARS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("wildcard at %s of an event pattern has too many *",
						ps->path.data),
				 errdetail("The limit is %d; the wildcard has %d.",
						   EB_PATTERN_MAX_STARS, nstars)));
	test->kind = EB_TEST_WILDCARD;
	test->str = segments;
}

/* ---- anything-but ---- */

static void
check_but_literal(EbParser *ps, const EbValue *v)
{
	if (v->type != EB_STRING && v->type != EB_NUMBER)
		eb_parse_refuse(ps, "a string or a number", v,
						"true, false and null cannot be excluded; list the values that are wanted instead.");
}

static void
set_but_literal(EbTest *test, const EbValue *v)
{
	if (v->type == EB_STRING)
		copy_string(test, EB_TEST_STRING, v);
	else
	{
		test->kind = EB_TEST_NUMBER;
		copy_number(&test->lower, v);
	}
}

static void
parse_but_list(EbParser *ps, const EbValue *list, EbTest *test)
{
	EbIter		it;
	EbValue		v;
	EbType		type = EB_NULL;

	eb_iter_init(&it, EB_CONTAINER(*list));
	if (it.n == 0)
		eb_parse_refuse(ps, "at least one value; only strings or only numbers",
						list, "Write {\"anything-but\": [\"x\", \"y\"]}.");
	test->subs = palloc0(it.n * sizeof(EbTest));
	while (eb_iter_element(&it, &v))
	{
		int			mark = eb_parse_push_index(ps, test->nsubs);

		check_but_literal(ps, &v);
		eb_parse_pop(ps, mark);
		if (test->nsubs > 0 && v.type != type)
			eb_parse_refuse(ps, "at least one value; only strings or only numbers",
							list, "A list under \"anything-but\" holds only strings or only numbers.");
		type = v.type;
		set_but_literal(&test->subs[test->nsubs++], &v);
	}
}

/* One string under anything-but's prefix, suffix, ... */
static void
parse_but_string(EbParser *ps, const EbValue *v, const EbValue *operator,
				 EbTest *test)
{
	const char *expected = "a string, or a list of at least one string";
	const char *hint = "Write {\"anything-but\": {\"prefix\": \"x\"}} or {\"anything-but\": {\"prefix\": [\"x\", \"y\"]}}; likewise suffix, equals-ignore-case and wildcard.";
	bool		prefix = key_is(operator, "prefix");

	require_string(ps, v, expected, hint);
	if (key_is(operator, "wildcard"))
		parse_wildcard(ps, v, "a string, or a list of at least one string,", test);
	else if (key_is(operator, "equals-ignore-case"))
		set_fold(test, EB_TEST_FOLD, v);
	else
	{
		if (v->len == 0)
			eb_parse_refuse(ps, "a string that is not empty", v,
							prefix ? "Every string starts with the empty string, so this would match no string at all." :
							"Every string ends with the empty string, so this would match no string at all.");
		copy_string(test, prefix ? EB_TEST_PREFIX : EB_TEST_SUFFIX, v);
	}
}

static void
parse_but_object(EbParser *ps, const EbValue *object, EbTest *test)
{
	const char *expected = "exactly one of prefix, suffix, equals-ignore-case, wildcard";
	const char *hint = "Write {\"anything-but\": {\"prefix\": \"x\"}}, or a string, a number or a list of them.";
	EbIter		it;
	EbValue		key;
	EbValue		v;
	int			mark;

	eb_iter_init(&it, EB_CONTAINER(*object));
	if (it.n != 1)
		eb_parse_refuse(ps, expected, object, hint);
	(void) eb_iter_pair(&it, &key, &v);
	if (!key_is(&key, "prefix") && !key_is(&key, "suffix") &&
		!key_is(&key, "equals-ignore-case") && !key_is(&key, "wildcard"))
		eb_parse_refuse(ps, expected, object, hint);

	mark = eb_parse_push_key(ps, key.ptr, key.len);
	if (v.type == EB_ARRAY && JsonContainerSize(EB_CONTAINER(v)) > 0)
	{
		EbIter		elements;
		EbValue		e;

		eb_iter_init(&elements, EB_CONTAINER(v));
		test->subs = palloc0(elements.n * sizeof(EbTest));
		while (eb_iter_element(&elements, &e))
		{
			int			inner = eb_parse_push_index(ps, test->nsubs);

			parse_but_string(ps, &e, &key, &test->subs[test->nsubs++]);
			eb_parse_pop(ps, inner);
		}
	}
	else
	{
		test->subs = palloc0(sizeof(EbTest));
		test->nsubs = 1;
		parse_but_string(ps, &v, &key, &test->subs[0]);
	}
	eb_parse_pop(ps, mark);
}

static void
parse_but(EbParser *ps, const EbValue *v, EbTest *test)
{
	test->kind = EB_TEST_BUT;
	if (v->type == EB_ARRAY)
		parse_but_list(ps, v, test);
	else if (v->type == EB_OBJECT)
		parse_but_object(ps, v, test);
	else
	{
		check_but_literal(ps, v);
		test->subs = palloc0(sizeof(EbTest));
		test->nsubs = 1;
		set_but_literal(&test->subs[0], v);
	}
}

/* ---- numeric ---- */

#define NUMERIC_HINT \
	"Write {\"numeric\": [\">\", 5]} or {\"numeric\": [\">=\", 0, \"<\", 10]}."

/* Reads the comparisons and numbers; at most two pairs are kept. */
static int
read_pairs(EbParser *ps, const EbValue *list, EbValue *ops, EbValue *numbers)
{
	const char *shape = "[comparison, number] or [comparison, number, comparison, number]";
	EbIter		it;
	EbValue		v;
	int			n = 0;

	if (list->type != EB_ARRAY)
		eb_parse_refuse(ps, shape, list, NUMERIC_HINT);
	eb_iter_init(&it, EB_CONTAINER(*list));
	if (it.n == 0 || it.n % 2 != 0)
		eb_parse_refuse(ps, shape, list, NUMERIC_HINT);
	for (; eb_iter_element(&it, &v); n++)
	{
		if (v.type != (n % 2 == 0 ? EB_STRING : EB_NUMBER))
			eb_parse_refuse(ps, shape, list, NUMERIC_HINT);
		if (n < 4)
			*(n % 2 == 0 ? &ops[n / 2] : &numbers[n / 2]) = v;
	}

	eb_iter_init(&it, EB_CONTAINER(*list));
	for (int i = 0; eb_iter_element(&it, &v); i++)
	{
		int			mark = eb_parse_push_index(ps, i);

		if (v.type == EB_STRING &&
			!key_is(&v, "=") && !key_is(&v, "<") && !key_is(&v, "<=") &&
			!key_is(&v, ">") && !key_is(&v, ">="))
			eb_parse_refuse(ps, "one of = < <= > >=", &v,
							"To exclude a number write {\"anything-but\": 5}.");
		eb_parse_pop(ps, mark);
	}
	return n / 2;
}

static void
parse_numeric(EbParser *ps, const EbValue *list, EbTest *test)
{
	EbValue		ops[2];
	EbValue		numbers[2];
	int			n = read_pairs(ps, list, ops, numbers);

	if (n == 1 && key_is(&ops[0], "="))
	{
		test->kind = EB_TEST_NUMBER;
		copy_number(&test->lower, &numbers[0]);
		return;
	}
	if (n > 2 ||
		(n == 2 && (ops[0].ptr[0] != '>' || ops[1].ptr[0] != '<')))
	{
		StringInfoData hint;

		initStringInfo(&hint);
		if (n == 2 && ops[0].ptr[0] == '<' && ops[1].ptr[0] == '>')
		{
			appendStringInfo(&hint, "Write {\"numeric\": [\"%.*s\", ",
							 (int) ops[1].len, ops[1].ptr);
			eb_value_to_json(&hint, &numbers[1], EB_PARSE_FOUND_BYTES);
			appendStringInfo(&hint, ", \"%.*s\", ", (int) ops[0].len, ops[0].ptr);
			eb_value_to_json(&hint, &numbers[0], EB_PARSE_FOUND_BYTES);
			appendStringInfoString(&hint, "]}.");
		}
		else
			appendStringInfoString(&hint, NUMERIC_HINT);
		eb_parse_refuse(ps, "the lower bound (> or >=) first, then the upper (< or <=)",
						list, hint.data);
	}

	test->kind = EB_TEST_RANGE;
	for (int i = 0; i < n; i++)
	{
		bool		open = ops[i].len == 1;

		if (ops[i].ptr[0] == '>')
		{
			test->flags |= EB_RANGE_LOWER | (open ? EB_RANGE_LOWER_OPEN : 0);
			copy_number(&test->lower, &numbers[i]);
		}
		else
		{
			test->flags |= EB_RANGE_UPPER | (open ? EB_RANGE_UPPER_OPEN : 0);
			copy_number(&test->upper, &numbers[i]);
		}
	}
	if (n == 2 && eb_number_cmp(&test->lower, &test->upper) >= 0)
		eb_parse_refuse(ps, "a lower bound that is less than the upper one",
						list, "A range of one number is {\"numeric\": [\"=\", 5]}, or simply the number.");
}

/* ---- cidr, exists ---- */

static void
parse_cidr(EbParser *ps, const EbValue *v, EbTest *test)
{
	require_string(ps, v, "a string",
				   "Write {\"cidr\": \"10.0.0.0/8\"}; several blocks are several tests of the list.");
	test->kind = EB_TEST_CIDR;
	switch (eb_cidr_parse(v->ptr, v->len, &test->address))
	{
		case EB_CIDR_MALFORMED:
			eb_parse_refuse(ps, "an IPv4 or IPv6 address, a slash and a number of bits",
							v, "Write {\"cidr\": \"10.0.0.0/8\"} or {\"cidr\": \"2001:db8::/32\"}.");
			break;
		case EB_CIDR_TOO_MANY_BITS:
			eb_parse_refuse(ps, "at most 31 (IPv4) or 127 (IPv6) bits", v,
							psprintf("Write a single address as a plain string: [\"%.*s\"] matches every spelling of it.",
									 (int) ((const char *) memchr(v->ptr, '/', v->len) - v->ptr),
									 v->ptr));
			break;
		default:
			break;
	}
}

static void
parse_exists(EbParser *ps, const EbValue *v, EbTest *test)
{
	if (v->type != EB_TRUE && v->type != EB_FALSE)
		eb_parse_refuse(ps, "true or false", v,
						"Write {\"exists\": true} or {\"exists\": false}.");
	test->kind = v->type == EB_TRUE ? EB_TEST_EXISTS : EB_TEST_ABSENT;
}

/* ---- the list ---- */

static void
parse_operator(EbParser *ps, const EbValue *object, EbTest *test)
{
	EbIter		it;
	EbValue		op;
	EbValue		v;
	int			mark;

	eb_iter_init(&it, EB_CONTAINER(*object));
	if (it.n != 1)
		eb_parse_refuse(ps, "exactly one operator", object,
						"Every test is an object of its own, as in [{\"prefix\": \"x\"}, {\"suffix\": \"y\"}].");
	(void) eb_iter_pair(&it, &op, &v);
	mark = eb_parse_push_key(ps, op.ptr, op.len);

	if (key_is(&op, "exactly"))
	{
		require_string(ps, &v, "a string", "Write {\"exactly\": \"x\"}.");
		copy_string(test, EB_TEST_STRING, &v);
	}
	else if (key_is(&op, "prefix") || key_is(&op, "suffix"))
		parse_affix(ps, &v, key_is(&op, "prefix"), test);
	else if (key_is(&op, "equals-ignore-case"))
	{
		require_string(ps, &v, "a string",
					   "Write {\"equals-ignore-case\": \"x\"}; several texts are several tests of the list.");
		set_fold(test, EB_TEST_FOLD, &v);
	}
	else if (key_is(&op, "wildcard"))
	{
		require_string(ps, &v, "a string",
					   "Write {\"wildcard\": \"a*b\"}; several wildcards are several tests of the list.");
		parse_wildcard(ps, &v, "a string", test);
	}
	else if (key_is(&op, "anything-but"))
		parse_but(ps, &v, test);
	else if (key_is(&op, "numeric"))
		parse_numeric(ps, &v, test);
	else if (key_is(&op, "cidr"))
		parse_cidr(ps, &v, test);
	else if (key_is(&op, "exists"))
		parse_exists(ps, &v, test);
	else
	{
		const char *meant = eb_operator_meant(op.ptr, op.len);

		eb_parse_pop(ps, mark);
		eb_parse_refuse(ps, "one of the operators " OPERATORS, object, meant ?
						psprintf("The operator is written \"%s\".", meant) :
						"To test a field of a nested object leave the list away, as in {\"detail\": {\"state\": [\"on\"]}}.");
	}
	eb_parse_pop(ps, mark);
}

static void
parse_test(EbParser *ps, const EbValue *v, EbTest *test)
{
	switch (v->type)
	{
		case EB_NULL:
			test->kind = EB_TEST_NULL;
			break;
		case EB_TRUE:
			test->kind = EB_TEST_TRUE;
			break;
		case EB_FALSE:
			test->kind = EB_TEST_FALSE;
			break;
		case EB_NUMBER:
			test->kind = EB_TEST_NUMBER;
			copy_number(&test->lower, v);
			break;
		case EB_STRING:
			copy_string(test, EB_TEST_STRING, v);
			if (eb_address_parse(v->ptr, v->len, &test->address))
				test->kind = EB_TEST_ADDRESS;
			break;
		case EB_OBJECT:
			parse_operator(ps, v, test);
			break;
		case EB_ARRAY:
			eb_parse_refuse(ps, "a string, number, true, false, null or an operator",
							v, "Lists are not nested; elements of an array in the event are tested one by one.");
			break;
	}
}

void
eb_parse_tests(EbParser *ps, const JsonbContainer *list, EbField *field)
{
	EbIter		it;
	EbValue		v;

	eb_parse_check_depth(ps->depth + 1);
	eb_iter_init(&it, list);
	if (it.n == 0)
	{
		EbValue		found = {EB_ARRAY, 0, (const char *) list};

		eb_parse_refuse(ps, "at least one value", &found,
						"To ask for a field that is missing or empty write [{\"exists\": false}].");
	}
	ps->ntests += it.n;
	if (ps->ntests > EB_PATTERN_MAX_TESTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event pattern has too many tests"),
				 errdetail("The limit is %d; the pattern has at least %d.",
						   EB_PATTERN_MAX_TESTS, ps->ntests)));

	field->tests = palloc0(it.n * sizeof(EbTest));
	while (eb_iter_element(&it, &v))
	{
		EbTest	   *test = &field->tests[field->ntests];
		int			mark = eb_parse_push_index(ps, field->ntests++);

		parse_test(ps, &v, test);
		eb_parse_pop(ps, mark);
		if (test->kind == EB_TEST_ABSENT)
			field->absent = true;
		else
			field->mixed = true;	/* for now: something else is there */
	}
	field->mixed = field->mixed && field->absent;
}
