/*-------------------------------------------------------------------------
 *
 * pattern_entry.c
 *	  How the tests on one node of one state are found by a value.
 *
 *	 equality		hash of the entry and the number of the value
 *	 exists: true	a posting of its own
 *	 numeric ranges	the bounds, sorted; ranges as intervals of positions among
 *					them, as an implicit balanced tree with the highest end of
 *					each subtree
 *	 the others		hash of a literal that every match contains at a known
 *					place: the first n bytes, the last n, or any n in a row.
 *					A value is asked once for each n that occurs.  What is
 *					found is a bucket of tests, which are then evaluated.
 *
 * Of the literals of a wildcard the one that fewest tests of the entry share
 * is taken, so that patterns like arn:aws:s3:::*name* are told apart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_build.h"

/* Where one test is found */
typedef struct Literal
{
	uint32		way;
	uint32		len;
	uint32		hash;
	uint32		test;
	uint32		posting;
} Literal;

typedef struct Range
{
	EbCInterval interval;
	uint32		test;
} Range;

/* ---- literals ---- */

/* Calls for every literal that a wildcard offers; counts or finds the rarest */
typedef struct LiteralSearch
{
	uint32	   *sketch;
	bool		counting;
	uint32		best_count;
	uint32		best_len;
	uint32		way;			/* of the best one */
	uint32		len;
	uint32		hash;
} LiteralSearch;

static void
offer(LiteralSearch *s, EbWay way, uint32 len, uint32 hash, uint32 literal_len)
{
	uint32	   *counter = &s->sketch[hash % EB_SKETCH_SIZE];

	if (s->counting)
		(*counter)++;
	else if (s->way == EB_WAY_STRING || *counter < s->best_count ||
			 (*counter == s->best_count && literal_len > s->best_len))
	{
		s->best_count = *counter;
		s->best_len = literal_len;
		s->way = way;
		s->len = len;
		s->hash = hash;
	}
}

static void
offer_all(LiteralSearch *s, const EbCTest *test)
{
	const char *p = EB_CTEST_DATA(test);
	const char *end = p + test->len;
	const char *bytes;
	uint32		n;
	bool		first = true;

	for (;; first = false)
	{
		uint32		gram;

		p = eb_segment_next(p, &bytes, &n);
		if (n > 0 && first)
			offer(s, EB_WAY_PREFIX, n,
				  eb_way_hash(EB_WAY_PREFIX, eb_roll_bytes(bytes, n), n), n);
		else if (n > 0 && p == end)
		{
			uint64		h = EB_HASH_ROLL_START;

			for (uint32 i = n; i > 0; i--)
				h = eb_hash_roll(h, (unsigned char) bytes[i - 1]);
			offer(s, EB_WAY_SUFFIX, n, eb_way_hash(EB_WAY_SUFFIX, h, n), n);
		}
		else if (n > 0)
		{
			gram = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
			for (uint32 i = 0; i + gram <= n; i++)
				offer(s, EB_WAY_GRAM, gram,
					  eb_way_hash(EB_WAY_GRAM, eb_gram(bytes + i, gram), gram),
					  gram);
		}
		if (p == end)
			break;
	}
}

static void
locate_fold(const EbCTest *test, Literal *l)
{
	bool		backwards = test->kind == EB_TEST_FOLD_SUFFIX;
	char	   *run = palloc(test->len + 1);
	bool		whole;
	uint32		n = eb_fold_ascii_run(EB_CTEST_DATA(test), test->len, backwards,
									  run, &whole);

	if (test->kind == EB_TEST_FOLD && whole)
		l->way = EB_WAY_FOLD;
	else if (n == 0)
		l->way = EB_WAY_STRING;
	else
		l->way = backwards ? EB_WAY_FOLD_SUFFIX : EB_WAY_FOLD_PREFIX;
	l->len = n;
	l->hash = eb_way_hash(l->way, eb_roll_bytes(run, n), n);
	pfree(run);
}

/* The way on which a test is found.  Wildcards come when all are counted. */
static void
locate(const EbCTest *test, LiteralSearch *search, Literal *l)
{
	const char *text = EB_CTEST_DATA(test);
	EbAddress	address;

	switch (test->kind)
	{
		case EB_TEST_CIDR:
			memcpy(&address, text, sizeof(address));
			l->way = EB_WAY_CIDR;
			l->len = (uint32) address.family << 8 | address.bits;
			l->hash = eb_way_hash(EB_WAY_CIDR, eb_address_hash(&address), l->len);
			break;
		case EB_TEST_PREFIX:
			l->way = test->len == 0 ? EB_WAY_STRING : EB_WAY_PREFIX;
			l->len = test->len;
			l->hash = eb_way_hash(EB_WAY_PREFIX, eb_roll_bytes(text, l->len),
								  l->len);
			break;
		case EB_TEST_SUFFIX:
			{
				uint64		h = EB_HASH_ROLL_START;

				for (uint32 i = test->len; i > 0; i--)
					h = eb_hash_roll(h, (unsigned char) text[i - 1]);
				l->way = test->len == 0 ? EB_WAY_STRING : EB_WAY_SUFFIX;
				l->len = test->len;
				l->hash = eb_way_hash(EB_WAY_SUFFIX, h, l->len);
				break;
			}
		case EB_TEST_WILDCARD:
			search->way = EB_WAY_STRING;
			offer_all(search, test);
			l->way = search->way;
			l->len = search->len;
			l->hash = search->hash;
			break;
		default:
			locate_fold(test, l);
			break;
	}
}

static int
cmp_literal(const void *a, const void *b)
{
	const Literal *la = a;
	const Literal *lb = b;

	if (la->way != lb->way)
		return la->way < lb->way ? -1 : 1;
	if (la->len != lb->len)
		return la->len < lb->len ? -1 : 1;
	if (la->hash != lb->hash)
		return la->hash < lb->hash ? -1 : 1;
	return la->test < lb->test ? -1 : la->test > lb->test;
}

static int
cmp_bucket(const void *a, const void *b)
{
	const Literal *la = a;
	const Literal *lb = b;
	bool		sa = la->way == EB_WAY_STRING;
	bool		sb = lb->way == EB_WAY_STRING;

	if (sa != sb)
		return sa ? -1 : 1;
	if (!sa && la->hash != lb->hash)
		return la->hash < lb->hash ? -1 : 1;
	return la->test < lb->test ? -1 : la->test > lb->test;
}

/* The lengths that occur on one way, and a slot and bucket for each literal */
static void
write_literals(EbPatternBuilder *b, uint32 entry, EbCDetail *detail,
			   Literal *list, uint32 n)
{
	qsort(list, n, sizeof(Literal), cmp_literal);
	for (uint32 i = 0; i < n;)
	{
		uint32		end = i;
		uint32		nlengths = 0;

		while (end < n && list[end].way == list[i].way)
			end++;
		EB_AT(b->entries, EbCEntry, entry)->ways |= EB_WAY_BIT(list[i].way);
		detail->lengths[list[i].way] = eb_vector_word(&b->words, 0);
		for (uint32 k = i; k < end; k++)
		{
			if (k == i || list[k].len != list[k - 1].len)
			{
				eb_vector_word(&b->words, list[k].len);
				nlengths++;
			}
		}
		*EB_AT(b->words, uint32, detail->lengths[list[i].way]) = nlengths;
		i = end;
	}

	/* one bucket for each hash, also where ways or lengths collide in it */
	qsort(list, n, sizeof(Literal), cmp_bucket);
	for (uint32 i = 0; i < n;)
	{
		uint32		end = i;
		bool		any = list[i].way == EB_WAY_STRING;
		EbCSlot		slot = {EB_SLOT_ENTRY(entry, list[i].hash), 0, 0};

		while (end < n && (list[end].way == EB_WAY_STRING) == any &&
			   (any || list[end].hash == list[i].hash))
			end++;
		slot.value = eb_vector_word(&b->words, end - i);
		for (; i < end; i++)
		{
			eb_vector_word(&b->words, list[i].test);
			eb_vector_word(&b->words, list[i].posting);
		}
		if (any)
			detail->any_string = slot.value;
		else
			eb_vector_push(&b->slots, &slot);
	}
}

static void
fill_literals(EbPatternBuilder *b, uint32 entry, EbCDetail *detail,
			  Literal *list, uint32 n)
{
	LiteralSearch search = {b->sketch};
	bool		wildcards = false;

	for (uint32 i = 0; i < n; i++)
		wildcards |= eb_build_test(b, list[i].test)->kind == EB_TEST_WILDCARD;
	if (wildcards)
	{
		memset(b->sketch, 0, EB_SKETCH_SIZE * sizeof(uint32));
		search.counting = true;
		for (uint32 i = 0; i < n; i++)
		{
			const EbCTest *test = eb_build_test(b, list[i].test);

			if (test->kind == EB_TEST_WILDCARD)
				offer_all(&search, test);
		}
		search.counting = false;
	}
	for (uint32 i = 0; i < n; i++)
		locate(eb_build_test(b, list[i].test), &search, &list[i]);
	write_literals(b, entry, detail, list, n);
}

/* ---- ranges ---- */


static void
read_bound(const EbPatternBuilder *b, uint32 test, bool upper, EbNumber *n)
{
	const EbCNumber *stored = (const EbCNumber *)
	EB_CTEST_DATA(eb_build_test(b, test));

	if (upper)
		stored = (const EbCNumber *)
			((const char *) stored + EB_CNUMBER_SIZE(stored->ndigits));
	eb_cnumber_view(stored, n);
}

static int
cmp_bound(const void *a, const void *b, void *arg)
{
	const EbPatternBuilder *builder = arg;
	const EbCBound *ba = a;
	const EbCBound *bb = b;
	EbNumber	na;
	EbNumber	nb;

	if (ba->key != bb->key)
		return ba->key < bb->key ? -1 : 1;
	read_bound(builder, ba->number, ba->pad, &na);
	read_bound(builder, bb->number, bb->pad, &nb);
	return eb_number_cmp(&na, &nb);
}

static uint32
position(EbPatternBuilder *b, const EbCBound *bounds, uint32 n, uint32 test,
		 bool upper)
{
	EbCBound	wanted = {0};
	EbNumber	number;
	uint32		low = 0;
	uint32		high = n;

	read_bound(b, test, upper, &number);
	wanted.key = number.key;
	wanted.number = test;
	wanted.pad = upper;
	while (low < high)
	{
		uint32		mid = low + (high - low) / 2;

		if (cmp_bound(&bounds[mid], &wanted, b) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int
cmp_interval(const void *a, const void *b)
{
	const EbCInterval *ia = &((const Range *) a)->interval;
	const EbCInterval *ib = &((const Range *) b)->interval;

	if (ia->low != ib->low)
		return ia->low < ib->low ? -1 : 1;
	return ia->high < ib->high ? -1 : ia->high > ib->high;
}

static uint32
set_max(EbCInterval *list, uint32 from, uint32 to)
{
	uint32		mid = from + (to - from) / 2;
	uint32		max;

	if (from >= to)
		return 0;
	max = Max(set_max(list, from, mid), set_max(list, mid + 1, to));
	list[mid].max = Max(max, list[mid].high);
	return list[mid].max;
}

static void
fill_ranges(EbPatternBuilder *b, uint32 entry, EbCDetail *detail, Range *list,
			uint32 n)
{
	EbCBound   *bounds = palloc_extended((Size) n * 2 * sizeof(EbCBound),
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint32		nbounds = 0;
	uint32		kept = 0;

	EB_AT(b->entries, EbCEntry, entry)->ways |= EB_WAY_BIT(EB_WAY_RANGE);
	for (uint32 i = 0; i < n; i++)
	{
		uint8		flags = eb_build_test(b, list[i].test)->flags;

		for (int upper = 0; upper < 2; upper++)
		{
			EbNumber	number;

			if (!(flags & (upper ? EB_RANGE_UPPER : EB_RANGE_LOWER)))
				continue;
			read_bound(b, list[i].test, upper, &number);
			bounds[nbounds].key = number.key;
			bounds[nbounds].number = list[i].test;
			bounds[nbounds++].pad = upper;
		}
	}
	Assert(nbounds > 0);		/* a range has at least one bound */
	qsort_arg(bounds, nbounds, sizeof(EbCBound), cmp_bound, b);
	for (uint32 i = 0; i < nbounds; i++)
	{
		if (kept == 0 || cmp_bound(&bounds[kept - 1], &bounds[i], b) != 0)
			bounds[kept++] = bounds[i];
	}

	detail->nbounds = kept;
	detail->bounds = eb_vector_extend(&b->bounds, kept);
	memcpy(EB_AT(b->bounds, EbCBound, detail->bounds), bounds,
		   kept * sizeof(EbCBound));
	for (uint32 i = 0; i < n; i++)
	{
		uint8		flags = eb_build_test(b, list[i].test)->flags;
		EbCInterval *iv = &list[i].interval;

		iv->low = 0;
		iv->high = 2 * kept;
		if (flags & EB_RANGE_LOWER)
			iv->low = 2 * position(b, bounds, kept, list[i].test, false) +
				(flags & EB_RANGE_LOWER_OPEN ? 2 : 1);
		if (flags & EB_RANGE_UPPER)
			iv->high = 2 * position(b, bounds, kept, list[i].test, true) +
				(flags & EB_RANGE_UPPER_OPEN ? 0 : 1);
	}
	qsort(list, n, sizeof(Range), cmp_interval);
	detail->nintervals = n;
	detail->intervals = eb_vector_extend(&b->intervals, n);
	for (uint32 i = 0; i < n; i++)
		*EB_AT(b->intervals, EbCInterval, detail->intervals + i) =
			list[i].interval;
	(void) set_max(EB_AT(b->intervals, EbCInterval, detail->intervals), 0, n);
	pfree(bounds);
}

/* ---- the entry ---- */

/*
 * Fills in an entry whose node is set: tests and where each of them leads to.
 */
void
eb_entry_fill(EbPatternBuilder *b, uint32 entry, const uint32 *tests,
			  const uint32 *postings, uint32 ntests)
{
	Literal    *literals = palloc_extended(ntests * sizeof(Literal),
										   MCXT_ALLOC_HUGE);
	Range	   *ranges = palloc_extended(ntests * sizeof(Range),
										 MCXT_ALLOC_HUGE);
	uint32		nliterals = 0;
	uint32		nranges = 0;
	uint32		ways = 0;
	EbCDetail	detail;

	memset(&detail, 0, sizeof(detail));
	detail.present = EB_NONE;
	detail.any_string = EB_NONE;
	for (uint32 i = 0; i < ntests; i++)
	{
		uint32		test = tests[i];
		EbTestKind	kind = (EbTestKind) eb_build_test(b, test)->kind;

		if (EB_TEST_IS_EXACT(kind))
		{
			EbCSlot		slot = {EB_SLOT_ENTRY(entry, test), postings[i], 0};

			eb_vector_push(&b->slots, &slot);
			ways |= EB_WAY_BIT(EB_WAY_EXACT);
		}
		else if (kind == EB_TEST_EXISTS)
		{
			detail.present = postings[i];
			ways |= EB_WAY_BIT(EB_WAY_PRESENT);
		}
		else if (kind == EB_TEST_RANGE)
		{
			ranges[nranges].test = test;
			ranges[nranges++].interval.posting = postings[i];
		}
		else
		{
			literals[nliterals].test = test;
			literals[nliterals++].posting = postings[i];
		}
	}
	EB_AT(b->entries, EbCEntry, entry)->ways = ways;
	if (nranges > 0)
		fill_ranges(b, entry, &detail, ranges, nranges);
	if (nliterals > 0)
		fill_literals(b, entry, &detail, literals, nliterals);
	if (EB_AT(b->entries, EbCEntry, entry)->ways & ~EB_WAY_BIT(EB_WAY_EXACT))
		EB_AT(b->entries, EbCEntry, entry)->detail =
			eb_vector_push(&b->details, &detail);
	pfree(literals);
	pfree(ranges);
}
