/*-------------------------------------------------------------------------
 *
 * pattern_test.c
 *	  Does a test hold for a leaf of the event?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_match.h"

/* The number of the exact test that equals a leaf, or EB_NONE */
uint32
eb_leaf_find_atom(const EbMatch *m, uint32 node, EbLeaf *leaf)
{
	uint32		flags = m->nodes[node].flags;
	uint32		hash;
	EbTestKind	kind;

	if (leaf->value.type == EB_STRING)
	{
		if (!(flags & EB_NODE_STRINGS))
			return EB_NONE;
		kind = EB_TEST_STRING;
		hash = (uint32) eb_hash_bytes(leaf->value.ptr, leaf->value.len);
	}
	else if (leaf->value.type == EB_NUMBER)
	{
		if (!(flags & EB_NODE_NUMBERS))
			return EB_NONE;
		kind = EB_TEST_NUMBER;
		hash = (uint32) eb_number_hash(eb_leaf_number(leaf));
	}
	else
		return (uint32) leaf->value.type;	/* EB_NULL is EB_TEST_NULL, ... */

	for (uint32 i = hash & m->atom_mask; m->atoms[i].test != EB_NONE;
		 i = (i + 1) & m->atom_mask)
	{
		const EbCTest *test;
		EbNumber	n;

		if (m->atoms[i].hash != hash)
			continue;
		test = (const EbCTest *) (m->bytes + m->atoms[i].place);
		if (test->kind != kind)
			continue;
		if (kind == EB_TEST_STRING)
		{
			if (test->len == leaf->value.len &&
				eb_same_bytes(EB_CTEST_DATA(test), leaf->value.ptr, test->len))
				return m->atoms[i].test;
			continue;
		}
		eb_cnumber_view((const EbCNumber *) EB_CTEST_DATA(test), &n);
		if (eb_number_cmp(&n, &leaf->number) == 0)
			return m->atoms[i].test;
	}
	return EB_NONE;
}

/* The address that a string is; family 0 if it is none */
const EbAddress *
eb_leaf_address(EbLeaf *leaf)
{
	if (!leaf->address_read)
	{
		(void) eb_address_parse(leaf->value.ptr, leaf->value.len,
								&leaf->address);
		leaf->address_read = true;
	}
	return &leaf->address;
}

/* Is a number beyond a bound in this direction (1 or -1), or at it if closed? */
static bool
at_bound(const EbNumber *value, const EbCNumber *stored, int direction,
		 bool open)
{
	EbNumber	bound;
	int			cmp;

	eb_cnumber_view(stored, &bound);
	cmp = eb_number_cmp(value, &bound) * direction;
	return cmp > 0 || (cmp == 0 && !open);
}

static bool
range_holds(const EbCTest *test, EbLeaf *leaf)
{
	const EbCNumber *lower = (const EbCNumber *) EB_CTEST_DATA(test);
	const EbNumber *value = eb_leaf_number(leaf);
	const EbCNumber *upper;

	/* the keys decide unless they are equal */
	if (test->flags & EB_RANGE_LOWER)
	{
		if (value->key < lower->key ||
			(value->key == lower->key &&
			 !at_bound(value, lower, 1, (test->flags & EB_RANGE_LOWER_OPEN) != 0)))
			return false;
	}
	if (test->flags & EB_RANGE_UPPER)
	{
		upper = (const EbCNumber *) ((const char *) lower +
									 EB_CNUMBER_SIZE(lower->ndigits));
		if (value->key > upper->key ||
			(value->key == upper->key &&
			 !at_bound(value, upper, -1, (test->flags & EB_RANGE_UPPER_OPEN) != 0)))
			return false;
	}
	return true;
}

static bool
contains(const uint32 *sorted, uint32 n, uint32 wanted)
{
	uint32		low = 0;

	while (n > 0)
	{
		uint32		half = n / 2;

		if (sorted[low + half] < wanted)
		{
			low += half + 1;
			n -= half + 1;
		}
		else if (sorted[low + half] == wanted)
			return true;
		else
			n = half;
	}
	return false;
}

static bool
but_holds(const EbMatch *m, const EbCTest *test, uint32 node, EbLeaf *leaf)
{
	const uint32 *subs = (const uint32 *) EB_CTEST_DATA(test);

	if (test->flags & EB_BUT_EXACT)
		return !contains(subs, test->len, eb_leaf_atom(m, node, leaf));
	for (uint32 i = 0; i < test->len; i++)
	{
		if (eb_test_holds(m, eb_ctest(m, subs[i]), node, leaf))
			return false;
	}
	return true;
}

bool
eb_test_holds(const EbMatch *m, const EbCTest *test, uint32 node, EbLeaf *leaf)
{
	const char *text = EB_CTEST_DATA(test);
	const char *s = leaf->value.ptr;
	uint32		len = leaf->value.len;

	switch ((EbTestKind) test->kind)
	{
		case EB_TEST_RANGE:
			return leaf->value.type == EB_NUMBER && range_holds(test, leaf);
		case EB_TEST_BUT:
			return but_holds(m, test, node, leaf);
		case EB_TEST_EXISTS:
			return true;
		case EB_TEST_ABSENT:
			return false;
		case EB_TEST_NULL:
		case EB_TEST_TRUE:
		case EB_TEST_FALSE:
		case EB_TEST_NUMBER:
		case EB_TEST_STRING:
			Assert(false);		/* these are decided by number */
			return false;
		default:
			break;
	}

	if (leaf->value.type != EB_STRING)
		return false;
	switch ((EbTestKind) test->kind)
	{
		case EB_TEST_PREFIX:
			return len >= test->len && memcmp(s, text, test->len) == 0;
		case EB_TEST_SUFFIX:
			return eb_suffix_match(text, test->len, s, len);
		case EB_TEST_WILDCARD:
			return eb_wildcard_match(text, test->len, s, len);
		case EB_TEST_CIDR:
			{
				const EbAddress *address = eb_leaf_address(leaf);

				return address->family != 0 &&
					eb_address_in(address, (const EbAddress *) text);
			}
		default:
			return eb_fold_match((EbTestKind) test->kind, text, test->len, s,
								 len);
	}
}

/* Terms of any form; eb_term_holds_leaf() has the frequent ones inline. */
bool
eb_term_any_holds(const EbMatch *m, const EbCTerm *term, EbLeaf *leaf)
{
	const uint32 *tests = m->words + term->tests;

	if (term->nexact > 0 &&
		contains(tests, term->nexact, eb_leaf_atom(m, term->node, leaf)))
		return true;
	tests += term->nexact;
	for (uint32 i = 0; i < term->nother; i++)
	{
		if (eb_test_holds(m, eb_ctest(m, tests[i]), term->node, leaf))
			return true;
	}
	return false;
}
