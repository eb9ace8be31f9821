/*-------------------------------------------------------------------------
 *
 * pattern_index.c
 *	  Files every conjunction under what is worth asking an event first.
 *
 * A state is a list of conjunctions, each with the terms that are still open.
 * For each conjunction one open term is chosen, the one that seems to let the
 * fewest conjunctions of the state through; the conjunction is filed under
 * every test of that term.  What is filed under one test becomes a state of
 * its own, unless it is short: then it is a list of placements, which are
 * verified one by one.  Conjunctions without a term that can be searched for
 * (only anything-but and exists: false are left) stay with the state itself,
 * where they are found by exclusion if they are many (pattern_exclude.c).
 *
 * So the order of tests is chosen anew for each group of rules, a rule is in
 * as many places as its chosen terms have tests, and depth is bounded: the
 * work and the space are linear in the rules.  README.md has the argument.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pattern/pattern_build.h"

#define MAX_DEPTH			8	/* states above each other */
#define SHORT_LIST			6	/* conjunctions that need no state */
#define MANY_LEFT			16	/* conjunctions that are worth exclusion */
#define MAX_COPIES			64	/* of one conjunction, below the first state */

/* A conjunction on its way into a state. */
typedef struct Item
{
	uint32		conjunction;
	uint32		copies;
	uint16		nused;
	uint16		used[MAX_DEPTH];	/* terms that are known to hold, by place */
} Item;

/* What is known of a pred (a node and a test) */
typedef struct Pred
{
	uint32		node;
	uint32		test;
	uint32		kind;
	uint32		literal;		/* bytes of text of the test */
	uint32		low;			/* a range: its bounds among those of the node */
	uint32		high;
	/* in the state being built: */
	uint32		state;			/* + 1; else the rest is stale */
	uint32		count;			/* conjunctions that could be filed here */
	uint32		chosen;			/* ... that are */
	uint32		fill;
} Pred;

typedef struct NodeRanges
{
	uint32		state;			/* + 1; else the rest is stale */
	uint64		covered;		/* positions times conjunctions */
	uint32		low;
	uint32		high;
} NodeRanges;

typedef struct RuleIndex
{
	EbPatternBuilder *b;
	uint32		npreds;
	Pred	   *preds;
	NodeRanges *ranges;			/* by node */
	uint32		current;		/* state being built, + 1 */
} RuleIndex;

static uint32 build_state(RuleIndex *ix, const Item *items, uint32 n, int depth);

#define WORD(b, i)	(*EB_AT((b)->words, uint32, i))

/* ---- preparing the preds ---- */

typedef struct RangeBound
{
	uint32		node;
	uint64		key;
} RangeBound;

static int
cmp_range_bound(const void *a, const void *b)
{
	const RangeBound *ra = a;
	const RangeBound *rb = b;

	if (ra->node != rb->node)
		return ra->node < rb->node ? -1 : 1;
	return ra->key < rb->key ? -1 : ra->key > rb->key;
}

/* The place of a bound in the sorted list; the first of equal ones. */
static uint32
find_bound(const RangeBound *bounds, uint32 n, uint32 node, uint64 key)
{
	RangeBound	wanted = {node, key};
	uint32		low = 0;
	uint32		high = n;

	while (low < high)
	{
		uint32		mid = low + (high - low) / 2;

		if (cmp_range_bound(&bounds[mid], &wanted) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void
range_keys(const EbCTest *test, uint64 *low, uint64 *high)
{
	const EbCNumber *lower = (const EbCNumber *) EB_CTEST_DATA(test);
	const EbCNumber *upper = (const EbCNumber *)
	((const char *) lower + EB_CNUMBER_SIZE(lower->ndigits));

	*low = test->flags & EB_RANGE_LOWER ? lower->key : 0;
	*high = test->flags & EB_RANGE_UPPER ? upper->key : PG_UINT64_MAX;
}

/* Positions of all ranges among the bounds of their node, for estimates only */
static void
place_ranges(RuleIndex *ix)
{
	RangeBound *bounds;
	uint32		n = 0;
	uint64		low;
	uint64		high;

	for (uint32 p = 0; p < ix->npreds; p++)
		n += ix->preds[p].kind == EB_TEST_RANGE;
	if (n == 0)
		return;
	bounds = palloc_extended((Size) n * 2 * sizeof(RangeBound), MCXT_ALLOC_HUGE);
	n = 0;
	for (uint32 p = 0; p < ix->npreds; p++)
	{
		const Pred *pred = &ix->preds[p];

		if (pred->kind != EB_TEST_RANGE)
			continue;
		range_keys(eb_build_test(ix->b, pred->test), &low, &high);
		bounds[n].node = pred->node;
		bounds[n++].key = low;
		bounds[n].node = pred->node;
		bounds[n++].key = high;
	}
	qsort(bounds, n, sizeof(RangeBound), cmp_range_bound);
	for (uint32 p = 0; p < ix->npreds; p++)
	{
		Pred	   *pred = &ix->preds[p];

		if (pred->kind != EB_TEST_RANGE)
			continue;
		range_keys(eb_build_test(ix->b, pred->test), &low, &high);
		pred->low = find_bound(bounds, n, pred->node, low);
		pred->high = find_bound(bounds, n, pred->node, high);
	}
	pfree(bounds);
}

/* The longest literal that a value must contain */
static uint32
literal_length(const EbCTest *test)
{
	const char *p = EB_CTEST_DATA(test);
	const char *end = p + test->len;
	uint32		longest = 0;

	if (test->kind != EB_TEST_WILDCARD)
		return test->len;
	while (p < end)
	{
		const char *bytes;
		uint32		n;

		p = eb_segment_next(p, &bytes, &n);
		longest = Max(longest, n);
	}
	return longest;
}

static void
prepare_preds(RuleIndex *ix)
{
	EbPatternBuilder *b = ix->b;

	ix->npreds = eb_intern_count(b->preds);
	ix->preds = palloc_extended(Max(ix->npreds, 1) * sizeof(Pred),
								MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	ix->ranges = palloc_extended(eb_intern_count(b->nodes) * sizeof(NodeRanges),
								 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 p = 0; p < ix->npreds; p++)
	{
		const uint32 *key = (const uint32 *) eb_intern_key(b->preds, p, NULL);
		const EbCTest *test = eb_build_test(b, key[1]);

		ix->preds[p].node = key[0];
		ix->preds[p].test = key[1];
		ix->preds[p].kind = test->kind;
		ix->preds[p].literal = literal_length(test);
	}
	place_ranges(ix);
}

/* ---- choosing ---- */

static bool
is_used(const Item *item, uint32 place)
{
	for (int i = 0; i < item->nused; i++)
	{
		if (item->used[i] == place)
			return true;
	}
	return false;
}

/* The preds of an item's term, or NULL if it cannot be filed there. */
static const uint32 *
open_preds(const RuleIndex *ix, const Item *item, uint32 place, int depth,
		   uint32 *npreds)
{
	const EbPatternBuilder *b = ix->b;
	const EbCConjunction *c = EB_AT(b->conjunctions, EbCConjunction,
									item->conjunction);
	uint32		term = WORD(b, c->terms + place);
	uint32		preds = *EB_AT(b->term_preds, uint32, term);
	const EbCTerm *t = EB_AT(b->cterms, EbCTerm, term);

	*npreds = t->nexact + t->nother;
	if (preds == EB_NONE || is_used(item, place))
		return NULL;
	if (depth > 0 && (uint64) item->copies * *npreds > MAX_COPIES)
		return NULL;
	return EB_AT(b->words, uint32, preds);
}

static uint32
item_terms(const RuleIndex *ix, const Item *item)
{
	const EbPatternBuilder *b = ix->b;
	uint32		shape = EB_AT(b->conjunctions, EbCConjunction,
							  item->conjunction)->shape;

	return EB_AT(b->bshapes, EbBuildShape, shape)->nfields;
}

static void
count_preds(RuleIndex *ix, const Item *items, uint32 n, int depth)
{
	for (uint32 i = 0; i < n; i++)
	{
		uint32		nterms = item_terms(ix, &items[i]);

		CHECK_FOR_INTERRUPTS();
		for (uint32 place = 0; place < nterms; place++)
		{
			uint32		npreds;
			const uint32 *preds = open_preds(ix, &items[i], place, depth,
											 &npreds);

			for (uint32 k = 0; preds && k < npreds; k++)
			{
				Pred	   *p = &ix->preds[preds[k]];

				if (p->state != ix->current)
				{
					p->state = ix->current;
					p->count = 0;
					p->chosen = 0;
				}
				p->count++;
				if (p->kind == EB_TEST_RANGE)
				{
					NodeRanges *r = &ix->ranges[p->node];

					if (r->state != ix->current)
					{
						r->state = ix->current;
						r->covered = 0;
						r->low = p->low;
						r->high = p->high;
					}
					r->covered += p->high - p->low + 1;
					r->low = Min(r->low, p->low);
					r->high = Max(r->high, p->high);
				}
			}
		}
	}
}

/*
 * How many of the n conjunctions of a state are looked at when a value comes
 * that satisfies this pred.  Exact tests exclude each other; of ranges as many
 * hold at once as cover a place on average; a short literal is in many values.
 */
static double
cost(const RuleIndex *ix, const Pred *p, uint32 n)
{
	double		count = p->count;

	switch (p->kind)
	{
		case EB_TEST_NULL:
		case EB_TEST_TRUE:
		case EB_TEST_FALSE:
		case EB_TEST_NUMBER:
		case EB_TEST_STRING:
			return count;
		case EB_TEST_EXISTS:
			return n;
		case EB_TEST_CIDR:
			return count * 1.25;
		case EB_TEST_RANGE:
			{
				const NodeRanges *r = &ix->ranges[p->node];
				double		depth = (double) r->covered / (r->high - r->low + 1);

				return Max(count, depth) * 1.5;
			}
		default:
			return count * 1.5 + (double) n / (1 << Min(2 * p->literal, 20));
	}
}

/* The place of the term under which to file an item, or -1 */
static int
choose_term(RuleIndex *ix, const Item *item, uint32 n, int depth)
{
	uint32		nterms = item_terms(ix, item);
	int			best = -1;
	double		best_cost = 0;

	for (uint32 place = 0; place < nterms; place++)
	{
		uint32		npreds;
		const uint32 *preds = open_preds(ix, item, place, depth, &npreds);
		double		sum = 0;

		if (preds == NULL)
			continue;
		for (uint32 k = 0; k < npreds; k++)
			sum += cost(ix, &ix->preds[preds[k]], n);
		if (best < 0 || sum < best_cost)
		{
			best = (int) place;
			best_cost = sum;
		}
	}
	return best;
}

/* ---- placements ---- */

static int
cmp_verify_order(const void *a, const void *b, void *arg)
{
	const EbPatternBuilder *builder = arg;
	const EbCTerm *ta = EB_AT(builder->cterms, EbCTerm, *(const uint32 *) a);
	const EbCTerm *tb = EB_AT(builder->cterms, EbCTerm, *(const uint32 *) b);

	return (int) ta->form - (int) tb->form;
}

/* The conjunctions with their open terms, the cheap ones to verify first */
static uint32
write_placements(RuleIndex *ix, const Item *items, uint32 n)
{
	EbPatternBuilder *b = ix->b;
	uint32		start = eb_vector_word(&b->words, n);

	for (uint32 i = 0; i < n; i++)
	{
		const EbCConjunction *c = EB_AT(b->conjunctions, EbCConjunction,
										items[i].conjunction);
		uint32		nterms = item_terms(ix, &items[i]);
		uint32		first;

		/* EB_PLACEMENT_* */

		eb_vector_word(&b->words, items[i].conjunction);
		eb_vector_word(&b->words, c->rule);
		eb_vector_word(&b->words, nterms - items[i].nused);
		first = b->words.n;
		for (uint32 place = 0; place < nterms; place++)
		{
			if (!is_used(&items[i], place))
				eb_vector_word(&b->words, WORD(b, c->terms + place));
		}
		if (b->words.n - first > 1)
			qsort_arg(EB_AT(b->words, uint32, first), b->words.n - first,
					  sizeof(uint32), cmp_verify_order, b);
	}
	return start;
}

static bool
is_complete(const RuleIndex *ix, const Item *items, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		if (items[i].nused < item_terms(ix, &items[i]))
			return false;
	}
	return true;
}

static uint32
make_posting(RuleIndex *ix, const Item *items, uint32 n, int depth)
{
	if (n <= SHORT_LIST)
		return write_placements(ix, items, n);
	if (depth >= MAX_DEPTH || is_complete(ix, items, n))
	{
		/* a state all the same, so that it is visited once per event */
		EbCState	state = {0, 0, EB_NONE, EB_NONE};

		state.placements = write_placements(ix, items, n);
		return EB_POSTING_STATE | eb_vector_push(&ix->b->states, &state);
	}
	return EB_POSTING_STATE | build_state(ix, items, n, depth);
}

/* ---- states ---- */

static int
cmp_pred_node(const void *a, const void *b, void *arg)
{
	const RuleIndex *ix = arg;
	uint32		pa = *(const uint32 *) a;
	uint32		pb = *(const uint32 *) b;

	if (ix->preds[pa].node != ix->preds[pb].node)
		return ix->preds[pa].node < ix->preds[pb].node ? -1 : 1;
	return pa < pb ? -1 : pa > pb;
}

/* What is filed where in one state */
typedef struct Filing
{
	int		   *choice;			/* of each item, the place of a term or -1 */
	uint32		nlist;
	uint32	   *list;			/* preds with something filed, by node */
	uint32		nfiled;
	uint32	   *filed;			/* items by pred, in the order of list */
	uint32	   *start;			/* for each of list, its first in filed */
	uint32	   *postings;
} Filing;

static void
file_items(RuleIndex *ix, const Item *items, uint32 n, int depth, Filing *f)
{
	uint32		npreds;
	uint32		maxlist = 64;

	memset(f, 0, sizeof(*f));
	f->choice = palloc_extended(n * sizeof(int), MCXT_ALLOC_HUGE);
	f->list = palloc(maxlist * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
	{
		const uint32 *preds;

		f->choice[i] = choose_term(ix, &items[i], n, depth);
		if (f->choice[i] < 0)
			continue;
		preds = open_preds(ix, &items[i], f->choice[i], depth, &npreds);
		for (uint32 k = 0; k < npreds; k++)
		{
			if (ix->preds[preds[k]].chosen++ == 0)
			{
				if (f->nlist == maxlist)
				{
					maxlist *= 2;
					f->list = repalloc_huge(f->list, maxlist * sizeof(uint32));
				}
				f->list[f->nlist++] = preds[k];
			}
			f->nfiled++;
		}
	}
	if (f->nlist > 1)
		qsort_arg(f->list, f->nlist, sizeof(uint32), cmp_pred_node, ix);

	f->start = palloc_extended((f->nlist + 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	f->postings = palloc_extended((f->nlist + 1) * sizeof(uint32),
								  MCXT_ALLOC_HUGE);
	f->start[0] = 0;
	for (uint32 l = 0; l < f->nlist; l++)
	{
		ix->preds[f->list[l]].fill = f->start[l];
		f->start[l + 1] = f->start[l] + ix->preds[f->list[l]].chosen;
	}
	f->filed = palloc_extended(Max(f->nfiled, 1) * sizeof(uint32),
							   MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < n; i++)
	{
		const uint32 *preds;

		if (f->choice[i] < 0)
			continue;
		preds = open_preds(ix, &items[i], f->choice[i], depth, &npreds);
		for (uint32 k = 0; k < npreds; k++)
			f->filed[ix->preds[preds[k]].fill++] = i;
	}
}

/* Postings of all preds; each takes its own copy of the items */
static void
build_postings(RuleIndex *ix, const Item *items, int depth, Filing *f)
{
	for (uint32 l = 0; l < f->nlist; l++)
	{
		uint32		first = f->start[l];
		uint32		count = f->start[l + 1] - first;
		Item	   *sub = palloc_extended(count * sizeof(Item),
										  MCXT_ALLOC_HUGE);

		CHECK_FOR_INTERRUPTS();
		for (uint32 k = 0; k < count; k++)
		{
			uint32		i = f->filed[first + k];
			uint32		npreds;

			sub[k] = items[i];
			(void) open_preds(ix, &items[i], f->choice[i], depth, &npreds);
			sub[k].copies *= npreds;
			sub[k].used[sub[k].nused++] = (uint16) f->choice[i];
		}
		f->postings[l] = make_posting(ix, sub, count, depth + 1);
		pfree(sub);
	}
}

/* The term by whose opposite an item can be struck out, or EB_NONE */
static uint32
excluding_term(const RuleIndex *ix, const Item *item)
{
	const EbPatternBuilder *b = ix->b;
	const EbCConjunction *c = EB_AT(b->conjunctions, EbCConjunction,
									item->conjunction);
	uint32		nterms = item_terms(ix, item);

	for (uint32 place = 0; place < nterms; place++)
	{
		uint32		term = WORD(b, c->terms + place);

		if (!is_used(item, place) && eb_term_excludes(b, term))
			return term;
	}
	return EB_NONE;
}

/* Items that no entry leads to: to be verified each time, or by exclusion */
static void
place_rest(RuleIndex *ix, Item *rest, uint32 n, EbCState *state)
{
	EbExclusion *list;
	uint32		nexcluded = 0;
	uint32		nothers = 0;

	if (n > MANY_LEFT)
	{
		list = palloc_extended(n * sizeof(EbExclusion), MCXT_ALLOC_HUGE);
		for (uint32 i = 0; i < n; i++)
		{
			uint32		term = excluding_term(ix, &rest[i]);
			EbExclusion *x = &list[nexcluded];

			if (term == EB_NONE)
			{
				rest[nothers++] = rest[i];
				continue;
			}
			x->conjunction = rest[i].conjunction;
			x->term = term;
			/* past the count, which is one */
			x->placement = write_placements(ix, &rest[i], 1) + 1;
			x->complete = item_terms(ix, &rest[i]) - rest[i].nused == 1;
			nexcluded++;
		}
		if (nexcluded > 0)
			state->exclusions = eb_exclusions_build(ix->b, list, nexcluded);
		pfree(list);
		n = nothers;
	}
	if (n > 0)
		state->placements = write_placements(ix, rest, n);
}

static uint32
build_state(RuleIndex *ix, const Item *items, uint32 n, int depth)
{
	EbPatternBuilder *b = ix->b;
	uint32		id = eb_vector_extend(&b->states, 1);
	EbCState	state = {0, 0, EB_NONE, EB_NONE};
	Filing		f;
	uint32		nodes = 0;
	Item	   *rest;
	uint32		nrest = 0;

	ix->current = id + 1;
	count_preds(ix, items, n, depth);
	file_items(ix, items, n, depth, &f);

	for (uint32 l = 0; l < f.nlist; l++)
	{
		if (l == 0 || ix->preds[f.list[l]].node != ix->preds[f.list[l - 1]].node)
			nodes++;
	}
	state.nentries = nodes;
	state.first_entry = eb_vector_extend(&b->entries, nodes);

	rest = palloc_extended(n * sizeof(Item), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < n; i++)
	{
		if (f.choice[i] < 0)
			rest[nrest++] = items[i];
	}
	build_postings(ix, items, depth, &f);
	place_rest(ix, rest, nrest, &state);
	pfree(rest);

	for (uint32 l = 0, entry = state.first_entry; l < f.nlist; entry++)
	{
		uint32		node = ix->preds[f.list[l]].node;
		uint32		end = l;

		while (end < f.nlist && ix->preds[f.list[end]].node == node)
			end++;
		EB_AT(b->entries, EbCEntry, entry)->node = node;
		for (uint32 k = l; k < end; k++)
			f.list[k] = ix->preds[f.list[k]].test;
		eb_entry_fill(b, entry, f.list + l, f.postings + l, end - l);
		l = end;
	}
	*EB_AT(b->states, EbCState, id) = state;
	pfree(f.choice);
	pfree(f.list);
	pfree(f.filed);
	pfree(f.start);
	pfree(f.postings);
	return id;
}

/* Builds the states of all conjunctions; state 0 is where an event begins. */
void
eb_index_build(EbPatternBuilder *b)
{
	RuleIndex	ix;
	uint32		n = b->conjunctions.n;
	Item	   *items;

	memset(&ix, 0, sizeof(ix));
	ix.b = b;
	b->sketch = palloc(EB_SKETCH_SIZE * sizeof(uint32));
	eb_vector_init(&b->states, sizeof(EbCState));
	eb_vector_init(&b->entries, sizeof(EbCEntry));
	eb_vector_init(&b->details, sizeof(EbCDetail));
	eb_vector_init(&b->bounds, sizeof(EbCBound));
	eb_vector_init(&b->intervals, sizeof(EbCInterval));
	eb_vector_init(&b->slots, sizeof(EbCSlot));
	eb_vector_init(&b->exclusions, sizeof(EbCExclusions));
	eb_vector_init(&b->exclusion_groups, sizeof(EbCExclusionGroup));
	eb_vector_init(&b->excluded, sizeof(EbCExcluded));

	items = palloc_extended(Max(n, 1) * sizeof(Item),
							MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < n; i++)
	{
		items[i].conjunction = i;
		items[i].copies = 1;
	}
	if (n <= 2)
	{
		EbCState	state = {0, 0, EB_NONE, EB_NONE};

		state.placements = write_placements(&ix, items, n);
		eb_vector_push(&b->states, &state);
	}
	else
	{
		prepare_preds(&ix);
		(void) build_state(&ix, items, n, 0);
	}
	pfree(items);
}
