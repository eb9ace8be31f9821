/*-------------------------------------------------------------------------
 *
 * pattern_json.c
 *	  Looking up keys; values, tests and patterns as JSON text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "pattern/pattern_int.h"

#define LINEAR_SEARCH_MAX	12	/* keys; beyond that bisect */

/*
 * Finds a key.  Keys are sorted by length, then bytes, so the lengths alone
 * skip most of them.
 */
bool
eb_object_get(const JsonbContainer *object, const char *key, uint32 keylen,
			  EbValue *v)
{
	uint32		n = JsonContainerSize(object);
	const char *base = (const char *) (object->children + 2 * n);
	uint32		start;
	uint32		i;

	if (n <= LINEAR_SEARCH_MAX)
	{
		uint32		offset = 0;

		for (i = 0;; i++)
		{
			uint32		end;

			if (i >= n)
				return false;
			end = eb_entry_end(object->children[i], offset);
			if (end - offset >= keylen)
			{
				if (end - offset > keylen)
					return false;
				if (memcmp(base + offset, key, keylen) == 0)
					break;
			}
			offset = end;
		}
	}
	else
	{
		uint32		low = 0;
		uint32		high = n;

		for (;;)
		{
			uint32		end;
			int			cmp;

			if (low >= high)
				return false;
			i = low + (high - low) / 2;
			start = eb_child_offset(object, i);
			end = eb_entry_end(object->children[i], start);
			cmp = eb_key_cmp(base + start, end - start, key, keylen);
			if (cmp == 0)
				break;
			if (cmp < 0)
				low = i + 1;
			else
				high = i;
		}
	}
	start = eb_child_offset(object, n + i);
	eb_value_read(object->children[n + i], base, start,
				  eb_entry_end(object->children[n + i], start), v);
	return true;
}

void
eb_string_to_json(StringInfo out, const char *s, int len)
{
	appendStringInfoCharMacro(out, '"');
	for (int i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) s[i];

		switch (c)
		{
			case '"':
				appendStringInfoString(out, "\\\"");
				break;
			case '\\':
				appendStringInfoString(out, "\\\\");
				break;
			case '\n':
				appendStringInfoString(out, "\\n");
				break;
			case '\r':
				appendStringInfoString(out, "\\r");
				break;
			case '\t':
				appendStringInfoString(out, "\\t");
				break;
			case '\b':
				appendStringInfoString(out, "\\b");
				break;
			case '\f':
				appendStringInfoString(out, "\\f");
				break;
			default:
				if (c < ' ')
					appendStringInfo(out, "\\u%04x", c);
				else
					appendStringInfoCharMacro(out, (char) c);
				break;
		}
	}
	appendStringInfoCharMacro(out, '"');
}

/* Appends all of a value up to about stop bytes; then gives up. */
static void
append_value(StringInfo out, const EbValue *v, int stop)
{
	EbIter		it;
	EbValue		key;
	EbValue		e;
	EbNumber	number;
	bool		first = true;

	check_stack_depth();
	if (out->len > stop)
		return;
	switch (v->type)
	{
		case EB_NULL:
			appendStringInfoString(out, "null");
			break;
		case EB_TRUE:
			appendStringInfoString(out, "true");
			break;
		case EB_FALSE:
			appendStringInfoString(out, "false");
			break;
		case EB_NUMBER:
			eb_number_decode(v->ptr, &number);
			eb_number_to_text(out, &number);
			break;
		case EB_STRING:
			eb_string_to_json(out, v->ptr, (int) v->len);
			break;
		case EB_OBJECT:
			appendStringInfoChar(out, '{');
			eb_iter_init(&it, EB_CONTAINER(*v));
			while (out->len <= stop && eb_iter_pair(&it, &key, &e))
			{
				appendStringInfoString(out, first ? "" : ", ");
				eb_string_to_json(out, key.ptr, (int) key.len);
				appendStringInfoString(out, ": ");
				append_value(out, &e, stop);
				first = false;
			}
			appendStringInfoChar(out, '}');
			break;
		case EB_ARRAY:
			appendStringInfoChar(out, '[');
			eb_iter_init(&it, EB_CONTAINER(*v));
			while (out->len <= stop && eb_iter_element(&it, &e))
			{
				appendStringInfoString(out, first ? "" : ", ");
				append_value(out, &e, stop);
				first = false;
			}
			appendStringInfoChar(out, ']');
			break;
	}
}

/* The JSON text of a value; longer than max_bytes it is cut and gets "...". */
void
eb_value_to_json(StringInfo out, const EbValue *v, int max_bytes)
{
	int			start = out->len;

	append_value(out, v, start + max_bytes);
	if (out->len - start > max_bytes)
	{
		out->len = start + pg_mbcliplen(out->data + start, out->len - start,
										max_bytes);
		out->data[out->len] = '\0';
		appendStringInfoString(out, "...");
	}
}

/* ---- tests ---- */

static void
fold_to_json(StringInfo out, const EbTest *test)
{
	StringInfoData text;

	initStringInfo(&text);
	eb_fold_source(&text, test->str, test->len,
				   test->kind == EB_TEST_FOLD_SUFFIX);
	eb_string_to_json(out, text.data, text.len);
	pfree(text.data);
}

static void
wildcard_to_json(StringInfo out, const EbTest *test)
{
	StringInfoData text;
	const char *p = test->str;
	const char *end = test->str + test->len;

	initStringInfo(&text);
	for (;;)
	{
		const char *bytes;
		uint32		n;

		p = eb_segment_next(p, &bytes, &n);
		for (uint32 i = 0; i < n; i++)
		{
			if (bytes[i] == '*' || bytes[i] == '\\')
				appendStringInfoChar(&text, '\\');
			appendStringInfoChar(&text, bytes[i]);
		}
		if (p == end)
			break;
		appendStringInfoChar(&text, '*');
	}
	eb_string_to_json(out, text.data, text.len);
	pfree(text.data);
}

static void
range_to_json(StringInfo out, const EbTest *test)
{
	appendStringInfoString(out, "{\"numeric\": [");
	if (test->flags & EB_RANGE_LOWER)
	{
		appendStringInfoString(out, test->flags & EB_RANGE_LOWER_OPEN ?
							   "\">\", " : "\">=\", ");
		eb_number_to_text(out, &test->lower);
	}
	if (test->flags & EB_RANGE_UPPER)
	{
		if (test->flags & EB_RANGE_LOWER)
			appendStringInfoString(out, ", ");
		appendStringInfoString(out, test->flags & EB_RANGE_UPPER_OPEN ?
							   "\"<\", " : "\"<=\", ");
		eb_number_to_text(out, &test->upper);
	}
	appendStringInfoString(out, "]}");
}

/* The operand alone: what stands in the lists of anything-but. */
static void
operand_to_json(StringInfo out, const EbTest *test)
{
	switch (test->kind)
	{
		case EB_TEST_NUMBER:
			eb_number_to_text(out, &test->lower);
			break;
		case EB_TEST_FOLD:
			fold_to_json(out, test);
			break;
		case EB_TEST_WILDCARD:
			wildcard_to_json(out, test);
			break;
		default:
			eb_string_to_json(out, test->str, (int) test->len);
			break;
	}
}

static void
but_to_json(StringInfo out, const EbTest *test)
{
	const char *operator = NULL;

	switch (test->subs[0].kind)
	{
		case EB_TEST_PREFIX:
			operator = "prefix";
			break;
		case EB_TEST_SUFFIX:
			operator = "suffix";
			break;
		case EB_TEST_FOLD:
			operator = "equals-ignore-case";
			break;
		case EB_TEST_WILDCARD:
			operator = "wildcard";
			break;
		default:
			break;
	}
	appendStringInfoString(out, "{\"anything-but\": ");
	if (operator)
		appendStringInfo(out, "{\"%s\": ", operator);
	appendStringInfoChar(out, '[');
	for (int i = 0; i < test->nsubs; i++)
	{
		if (i > 0)
			appendStringInfoString(out, ", ");
		operand_to_json(out, &test->subs[i]);
	}
	appendStringInfoString(out, operator ? "]}}" : "]}");
}

void
eb_test_to_json(StringInfo out, const EbTest *test)
{
	EbAddress	address;

	switch (test->kind)
	{
		case EB_TEST_NULL:
			appendStringInfoString(out, "null");
			break;
		case EB_TEST_TRUE:
			appendStringInfoString(out, "true");
			break;
		case EB_TEST_FALSE:
			appendStringInfoString(out, "false");
			break;
		case EB_TEST_NUMBER:
			eb_number_to_text(out, &test->lower);
			break;
		case EB_TEST_STRING:
			if (eb_address_parse(test->str, test->len, &address))
			{
				appendStringInfoString(out, "{\"exactly\": ");
				eb_string_to_json(out, test->str, (int) test->len);
				appendStringInfoChar(out, '}');
			}
			else
				eb_string_to_json(out, test->str, (int) test->len);
			break;
		case EB_TEST_ADDRESS:
			appendStringInfoChar(out, '"');
			eb_address_to_text(out, &test->address);
			appendStringInfoChar(out, '"');
			break;
		case EB_TEST_CIDR:
			appendStringInfoString(out, "{\"cidr\": \"");
			eb_address_to_text(out, &test->address);
			appendStringInfo(out, "/%d\"}", test->address.bits);
			break;
		case EB_TEST_PREFIX:
		case EB_TEST_SUFFIX:
			appendStringInfoString(out, test->kind == EB_TEST_PREFIX ?
								   "{\"prefix\": " : "{\"suffix\": ");
			eb_string_to_json(out, test->str, (int) test->len);
			appendStringInfoChar(out, '}');
			break;
		case EB_TEST_FOLD:
			appendStringInfoString(out, "{\"equals-ignore-case\": ");
			fold_to_json(out, test);
			appendStringInfoChar(out, '}');
			break;
		case EB_TEST_FOLD_PREFIX:
		case EB_TEST_FOLD_SUFFIX:
			appendStringInfoString(out, test->kind == EB_TEST_FOLD_PREFIX ?
								   "{\"prefix\": {\"equals-ignore-case\": " :
								   "{\"suffix\": {\"equals-ignore-case\": ");
			fold_to_json(out, test);
			appendStringInfoString(out, "}}");
			break;
		case EB_TEST_WILDCARD:
			appendStringInfoString(out, "{\"wildcard\": ");
			wildcard_to_json(out, test);
			appendStringInfoChar(out, '}');
			break;
		case EB_TEST_RANGE:
			range_to_json(out, test);
			break;
		case EB_TEST_BUT:
			but_to_json(out, test);
			break;
		case EB_TEST_EXISTS:
			appendStringInfoString(out, "{\"exists\": true}");
			break;
		case EB_TEST_ABSENT:
			appendStringInfoString(out, "{\"exists\": false}");
			break;
	}
}

void
eb_tests_to_json(StringInfo out, const EbTest *tests, int ntests)
{
	appendStringInfoChar(out, '[');
	for (int i = 0; i < ntests; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			appendStringInfoString(out, ", ");
		eb_test_to_json(out, &tests[i]);
	}
	appendStringInfoChar(out, ']');
}

/* ---- the pattern in its normal form ---- */

/*
 * The tree lost which object a field came from, but not its path.  What lies
 * below one node is written as one object; items are the fields and $ors that
 * are still to be placed there, those of one key next to each other.
 */
typedef struct Item
{
	uint32		node;			/* its path, or for a $or the object's */
	const EbField *field;
	const EbOr *or;
} Item;

static void and_to_json(StringInfo out, const EbPattern *p, const EbAnd *and,
						uint32 node);

/* The node on the way from the root to node that is one below ancestor. */
static uint32
step_below(const EbPattern *p, uint32 node, uint32 ancestor)
{
	while (p->nodes[node].depth > p->nodes[ancestor].depth + 1)
		node = p->nodes[node].parent;
	return node;
}

static void
items_to_json(StringInfo out, const EbPattern *p, const Item *items,
			  int nitems, uint32 node)
{
	bool		first = true;
	int			i = 0;

	check_stack_depth();
	appendStringInfoChar(out, '{');
	while (i < nitems)
	{
		uint32		child;
		int			j = i;

		if (!first)
			appendStringInfoString(out, ", ");
		first = false;
		if (items[i].node == node)
		{
			const EbOr *or = items[i].or;

			appendStringInfoString(out, "\"$or\": [");
			for (int a = 0; a < or->nalternatives; a++)
			{
				if (a > 0)
					appendStringInfoString(out, ", ");
				and_to_json(out, p, or->alternatives[a], node);
			}
			appendStringInfoChar(out, ']');
			i++;
			continue;
		}
		child = step_below(p, items[i].node, node);
		eb_string_to_json(out, p->nodes[child].key, (int) p->nodes[child].keylen);
		appendStringInfoString(out, ": ");
		while (j < nitems && items[j].node != node &&
			   step_below(p, items[j].node, node) == child)
			j++;
		if (items[i].field && items[i].node == child)
			eb_tests_to_json(out, items[i].field->tests, items[i].field->ntests);
		else
			items_to_json(out, p, items + i, j - i, child);
		i = j;
	}
	appendStringInfoChar(out, '}');
}

/*
 * Fields and $ors were read depth first, each kind in order; merged by that
 * order the items of one key are neighbours.
 */
static void
and_to_json(StringInfo out, const EbPattern *p, const EbAnd *and, uint32 node)
{
	Item	   *items = palloc0((and->nfields + and->nors) * sizeof(Item));
	int			n = 0;
	int			f = 0;
	int			o = 0;

	while (f < and->nfields || o < and->nors)
	{
		Item	   *item = &items[n++];

		if (o == and->nors ||
			(f < and->nfields && and->ors[o]->fields_before > f))
		{
			item->field = and->fields[f++];
			item->node = item->field->node;
		}
		else
		{
			item->or = and->ors[o++];
			item->node = item->or->node;
		}
	}
	items_to_json(out, p, items, n, node);
	pfree(items);
}

/* Appends the pattern with every test in its normal form. */
void
eb_pattern_to_json(StringInfo out, const EbPattern *pattern)
{
	and_to_json(out, pattern, pattern->root, 0);
}
