/*-------------------------------------------------------------------------
 *
 * pattern_exclude.c
 *	  Rules that nothing but an exclusion tells apart.
 *
 * anything-but and exists: false cannot be searched for: nearly every event
 * satisfies them.  But what does not satisfy them can: a value is looked up
 * among the excluded ones, and all others pass.  So the conjunctions of a
 * state that have only such terms left get positions in a list, and a state
 * of their own whose postings are lists of positions to strike out:
 *
 *	 exists: false		struck out if the node has a leaf
 *	 anything-but		struck out by each of the values, prefixes, ...; and
 *						by a missing field, unless exists: false stands beside
 *						it: those that need a leaf are grouped by node
 *
 * That holds for events with one leaf at most at every node.  With arrays any
 * one leaf may satisfy anything-but, and what is missing may be so in one
 * element: then all placements are verified one by one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_build.h"

#define MAX_STRIKES		16		/* tests by which one conjunction goes out */

/* A test that strikes out a position */
typedef struct Strike
{
	uint32		node;
	uint32		test;
	uint32		position;
} Strike;

#define WORD(b, i)	(*EB_AT((b)->words, uint32, i))

/* The test of a term that is one anything-but, else NULL */
static const EbCTest *
only_but(const EbPatternBuilder *b, const EbCTerm *term)
{
	const EbCTest *test;

	if (term->nexact != 0 || term->nother != 1)
		return NULL;
	test = eb_build_test(b, WORD(b, term->tests));
	return test->kind == EB_TEST_BUT ? test : NULL;
}

/* Can conjunctions be struck out by this term? */
bool
eb_term_excludes(const EbPatternBuilder *b, uint32 number)
{
	const EbCTerm *term = EB_AT(b->cterms, EbCTerm, number);
	const EbCTest *but;

	if (term->form == EB_TERM_NEVER)
		return true;
	but = only_but(b, term);
	return but != NULL && but->len <= MAX_STRIKES;
}

static bool
needs_leaf(const EbPatternBuilder *b, const EbExclusion *x)
{
	return !EB_AT(b->cterms, EbCTerm, x->term)->ok_missing;
}

/* Those that need no leaf first, then by node; otherwise as they come */
static int
cmp_exclusion(const void *a, const void *b, void *arg)
{
	const EbPatternBuilder *builder = arg;
	const EbExclusion *xa = a;
	const EbExclusion *xb = b;
	bool		la = needs_leaf(builder, xa);
	bool		lb = needs_leaf(builder, xb);

	if (la != lb)
		return la ? 1 : -1;
	if (la)
	{
		uint32		na = EB_AT(builder->cterms, EbCTerm, xa->term)->node;
		uint32		nb = EB_AT(builder->cterms, EbCTerm, xb->term)->node;

		if (na != nb)
			return na < nb ? -1 : 1;
	}
	return xa->conjunction < xb->conjunction ? -1 :
		xa->conjunction > xb->conjunction;
}

static int
cmp_strike(const void *a, const void *b)
{
	const Strike *sa = a;
	const Strike *sb = b;

	if (sa->node != sb->node)
		return sa->node < sb->node ? -1 : 1;
	if (sa->test != sb->test)
		return sa->test < sb->test ? -1 : 1;
	return sa->position < sb->position ? -1 : sa->position > sb->position;
}

static Strike *
collect_strikes(EbPatternBuilder *b, const EbExclusion *list, uint32 n,
				uint32 *nstrikes)
{
	Strike	   *strikes = palloc_extended((Size) n * MAX_STRIKES * sizeof(Strike),
										  MCXT_ALLOC_HUGE);
	EbCTest		exists = {EB_TEST_EXISTS, 0, 0, 0};
	uint32		present = eb_intern(b->tests, &exists, sizeof(exists), NULL);
	uint32		count = 0;

	for (uint32 i = 0; i < n; i++)
	{
		const EbCTerm *term = EB_AT(b->cterms, EbCTerm, list[i].term);
		const EbCTest *but = only_but(b, term);

		for (uint32 k = 0; k < (but ? but->len : 1); k++)
		{
			strikes[count].node = term->node;
			strikes[count].test = but ?
				((const uint32 *) EB_CTEST_DATA(but))[k] : present;
			strikes[count++].position = i;
		}
	}
	qsort(strikes, count, sizeof(Strike), cmp_strike);
	*nstrikes = count;
	return strikes;
}

/* A state whose postings strike out positions */
static uint32
build_strike_state(EbPatternBuilder *b, const Strike *strikes, uint32 n)
{
	EbCState	state = {0, 0, EB_NONE, EB_NONE};
	uint32	   *tests = palloc_extended(n * sizeof(uint32), MCXT_ALLOC_HUGE);
	uint32	   *postings = palloc_extended(n * sizeof(uint32), MCXT_ALLOC_HUGE);
	uint32		entry;

	for (uint32 i = 0; i < n; i++)
		state.nentries += i == 0 || strikes[i].node != strikes[i - 1].node;
	state.first_entry = eb_vector_extend(&b->entries, state.nentries);
	entry = state.first_entry;
	for (uint32 i = 0; i < n; entry++)
	{
		uint32		node = strikes[i].node;
		uint32		ntests = 0;

		while (i < n && strikes[i].node == node)
		{
			uint32		test = strikes[i].test;
			uint32		start = eb_vector_word(&b->words, 0);

			for (; i < n && strikes[i].node == node && strikes[i].test == test; i++)
				eb_vector_word(&b->words, strikes[i].position);
			WORD(b, start) = b->words.n - start - 1;
			tests[ntests] = test;
			postings[ntests++] = start | EB_POSTING_STRIKE;
		}
		EB_AT(b->entries, EbCEntry, entry)->node = node;
		eb_entry_fill(b, entry, tests, postings, ntests);
	}
	pfree(tests);
	pfree(postings);
	return eb_vector_push(&b->states, &state);
}

/*
 * Writes an EbCExclusions for the conjunctions of the list (which is sorted in
 * doing so) and returns its number.
 */
uint32
eb_exclusions_build(EbPatternBuilder *b, EbExclusion *list, uint32 n)
{
	EbCExclusions x;
	Strike	   *strikes;
	uint32		nstrikes;

	qsort_arg(list, n, sizeof(EbExclusion), cmp_exclusion, b);
	strikes = collect_strikes(b, list, n, &nstrikes);
	x.state = build_strike_state(b, strikes, nstrikes);
	pfree(strikes);

	x.n = n;
	x.first_mark = b->nmarks;
	b->nmarks += n;
	x.ngroups = 0;
	x.groups = b->exclusion_groups.n;
	for (uint32 i = 0; i < n;)
	{
		EbCExclusionGroup group = {EB_NONE, i, 0};
		bool		leaf = needs_leaf(b, &list[i]);

		if (leaf)
			group.node = EB_AT(b->cterms, EbCTerm, list[i].term)->node;
		while (i < n && needs_leaf(b, &list[i]) == leaf &&
			   (!leaf || EB_AT(b->cterms, EbCTerm, list[i].term)->node == group.node))
			i++;
		group.n = i - group.first;
		eb_vector_push(&b->exclusion_groups, &group);
		x.ngroups++;
	}
	x.items = b->excluded.n;
	for (uint32 i = 0; i < n; i++)
	{
		EbCExcluded item;

		item.rule = EB_AT(b->conjunctions, EbCConjunction,
						  list[i].conjunction)->rule;
		item.placement = list[i].placement;
		if (list[i].complete)
			item.placement |= EB_EXCLUDED_COMPLETE;
		eb_vector_push(&b->excluded, &item);
	}
	return eb_vector_push(&b->exclusions, &x);
}
