/*-------------------------------------------------------------------------
 *
 * pattern_match.c
 *	  One event against a compiled set: the hot path.
 *
 * 1. One pass over the event, guided by the nodes of the set, collects the
 *    leaves at every node that some field names.  Nothing else of the event
 *    is read.
 * 2. Starting from state 0, the entries of a state are asked with the leaves
 *    at their nodes; what they lead to is another state or placements.
 * 3. The open terms of a placement are verified, each at most once per event
 *    where that costs more than remembering it.
 * 4. If an array lies where several fields of a conjunction meet, what has
 *    been verified so far is only necessary: pattern_array.c decides.
 *
 * All that is remembered is stamped with the event's epoch, so nothing has to
 * be cleared between events, and an error may leave the scratch at any point.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "pattern/pattern_match.h"

#define EPOCH_MAX		(PG_INT32_MAX - 1)	/* memo doubles it */

#ifdef __GNUC__
#define EB_PREFETCH(p)	__builtin_prefetch(p)
#else
#define EB_PREFETCH(p)	((void) 0)
#endif

/* A child is looked up by bisection if the object is so much larger. */
#define BISECT_RATIO	8

static void walk_object(EbMatch *m, uint32 node, const JsonbContainer *object,
						int depth);
static void visit(EbMatch *m, uint32 state, const JsonbContainer *event);

/* ---- scratch ---- */

EbPatternScratch *
eb_pattern_scratch_create(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "eb pattern scratch",
												  ALLOCSET_DEFAULT_SIZES);
	EbPatternScratch *s = MemoryContextAllocZero(context,
												 sizeof(EbPatternScratch));

	s->context = context;
	s->maxleaves = 16;
	s->leaves = MemoryContextAlloc(context, s->maxleaves * sizeof(EbLeaf));
	s->maxrules = 64;
	s->rules = MemoryContextAlloc(context, s->maxrules * sizeof(uint32));
	return s;
}

/* Replaces a stamp array by a larger, zeroed one. */
static void *
grow_stamps(EbPatternScratch *s, void *old, uint32 *max, uint32 n, Size width)
{
	uint32		wanted = Max(n, *max + *max / 2);
	void	   *new = MemoryContextAllocExtended(s->context, wanted * width,
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	if (old)
		pfree(old);
	*max = wanted;
	return new;
}

static void
fit_scratch(EbPatternScratch *s, const EbCompiled *c)
{
	if (c->nnodes > s->maxnodes)
	{
		uint32		max = s->maxnodes;

		s->present = grow_stamps(s, s->present, &max, c->nnodes,
								 sizeof(uint32));
		s->seen = grow_stamps(s, s->seen, &s->maxnodes, c->nnodes,
							  sizeof(EbSeen));
	}
	if (c->nterms > s->maxterms)
		s->memo = grow_stamps(s, s->memo, &s->maxterms, c->nterms,
							  sizeof(uint32));
	if (c->nconjunctions > s->maxconjunctions)
		s->tried = grow_stamps(s, s->tried, &s->maxconjunctions,
							   c->nconjunctions, sizeof(uint32));
	if (c->nstates > s->maxstates)
		s->visited = grow_stamps(s, s->visited, &s->maxstates, c->nstates,
								 sizeof(uint32));
	if (c->nmarks > s->maxmarks)
		s->marks = grow_stamps(s, s->marks, &s->maxmarks, c->nmarks,
							   sizeof(uint32));
}

/* Binds a set to a scratch and starts a new epoch. */
void
eb_match_begin(EbMatch *m, const EbPatternSet *set, EbPatternScratch *s)
{
	const EbCompiled *c = (const EbCompiled *) set;

	Assert(set->magic == EB_PATTERN_MAGIC);
	if (c->nnodes > s->maxnodes || c->nterms > s->maxterms ||
		c->nconjunctions > s->maxconjunctions || c->nstates > s->maxstates ||
		c->nmarks > s->maxmarks)
		fit_scratch(s, c);
	if (s->epoch >= EPOCH_MAX)
	{
		memset(s->seen, 0, s->maxnodes * sizeof(EbSeen));
		memset(s->memo, 0, s->maxterms * sizeof(uint32));
		memset(s->tried, 0, s->maxconjunctions * sizeof(uint32));
		memset(s->visited, 0, s->maxstates * sizeof(uint32));
		memset(s->marks, 0, s->maxmarks * sizeof(uint32));
		s->epoch = 0;
	}
	s->nleaves = 0;
	s->npresent = 0;
	s->nrules = 0;
	s->ascending = true;

	m->s = s;
	m->epoch = ++s->epoch;
	m->inner_array = false;
	m->many = false;
	m->nodes = (const EbCNode *) EB_BLOCK(c, nodes);
	m->tests = (const uint32 *) EB_BLOCK(c, tests);
	m->bytes = EB_BLOCK(c, bytes);
	m->terms = (const EbCTerm *) EB_BLOCK(c, terms);
	m->conjunctions = (const EbCConjunction *) EB_BLOCK(c, conjunctions);
	m->shapes = (const EbCShape *) EB_BLOCK(c, shapes);
	m->shape_fields = (const EbCShapeField *) EB_BLOCK(c, shape_fields);
	m->words = (const uint32 *) EB_BLOCK(c, words);
	m->states = (const EbCState *) EB_BLOCK(c, states);
	m->entries = (const EbCEntry *) EB_BLOCK(c, entries);
	m->details = (const EbCDetail *) EB_BLOCK(c, details);
	m->exclusions = (const EbCExclusions *) EB_BLOCK(c, exclusions);
	m->exclusion_groups = (const EbCExclusionGroup *)
		EB_BLOCK(c, exclusion_groups);
	m->excluded = (const EbCExcluded *) EB_BLOCK(c, excluded);
	m->nrules = set->nrules;
	m->bounds = (const EbCBound *) EB_BLOCK(c, bounds);
	m->intervals = (const EbCInterval *) EB_BLOCK(c, intervals);
	m->slots = (const EbCSlot *) EB_BLOCK(c, slots);
	m->slot_mask = c->slot_mask;
	m->atoms = (const EbCAtom *) EB_BLOCK(c, atoms);
	m->atom_mask = c->atom_mask;
}

static inline const EbCSlot *
find_slot(const EbMatch *m, uint64 key)
{
	for (uint64 i = eb_hash_mix(key) & m->slot_mask;;
		 i = (i + 1) & m->slot_mask)
	{
		if (m->slots[i].key == key)
			return &m->slots[i];
		if (m->slots[i].key == EB_SLOT_FREE)
			return NULL;
	}
}

/* ---- the pass over the event ---- */

static void
add_leaf(EbMatch *m, uint32 node, const EbValue *value)
{
	EbPatternScratch *s = m->s;
	EbSeen	   *seen = &s->seen[node];
	uint32		i = s->nleaves;

	if (i == s->maxleaves)
	{
		s->maxleaves *= 2;
		s->leaves = repalloc_huge(s->leaves, s->maxleaves * sizeof(EbLeaf));
	}
	eb_leaf_init(&s->leaves[i], value);
	EB_PREFETCH(value->ptr);	/* it is read once the walk is over */
	s->nleaves++;
	if (seen->epoch != m->epoch)
	{
		seen->epoch = m->epoch;
		seen->first = i;
		s->present[s->npresent++] = node;
	}
	else
	{
		s->leaves[seen->last].next = i;
		m->many = true;
	}
	seen->last = i;
}

static void
walk_array(EbMatch *m, uint32 node, const JsonbContainer *array, int depth)
{
	const EbCNode *n = &m->nodes[node];
	bool		is_field = (n->flags & EB_NODE_IS_FIELD) != 0;
	EbIter		it;
	EbValue		v;

	if (depth > EB_PATTERN_MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is nested too deeply where an event pattern enters it"),
				 errdetail("The limit is %d levels; the event has at least %d.",
						   EB_PATTERN_MAX_DEPTH, depth)));
	check_stack_depth();
	m->s->seen[node].array_epoch = m->epoch;
	if (n->nchildren > 0)
		m->inner_array = true;
	eb_iter_init(&it, array);
	while (eb_iter_element(&it, &v))
	{
		CHECK_FOR_INTERRUPTS();
		if (v.type == EB_ARRAY)
			walk_array(m, node, EB_CONTAINER(v), depth + 1);
		else if (v.type == EB_OBJECT)
		{
			if (n->nchildren > 0)
				walk_object(m, node, EB_CONTAINER(v), depth + 1);
		}
		else if (is_field)
			add_leaf(m, node, &v);
	}
}

static inline void
walk_value(EbMatch *m, uint32 node, const EbValue *v, int depth)
{
	const EbCNode *n = &m->nodes[node];

	if (EB_TYPE_IS_SCALAR(v->type))
	{
		if (n->flags & EB_NODE_IS_FIELD)
			add_leaf(m, node, v);
	}
	else if (v->type == EB_OBJECT)
	{
		if (n->nchildren > 0)
			walk_object(m, node, EB_CONTAINER(*v), depth + 1);
	}
	else
		walk_array(m, node, EB_CONTAINER(*v), depth + 1);
}

/*
 * Keys of the event and children of the node are in the same order: merge
 * them.  The offset is carried along, as the lengths have to be added up
 * anyway; having passed the keys it goes on over the values.
 */
static void
walk_merge(EbMatch *m, const EbCNode *n, const JsonbContainer *object,
		   int depth)
{
	uint32		npairs = JsonContainerSize(object);
	const char *base = (const char *) (object->children + 2 * npairs);
	const JEntry *values = object->children + npairs;
	uint32		child = n->first_child;
	uint32		last_child = child + n->nchildren;
	uint32		offset = 0;
	uint32		nfound = 0;
	uint32		next_value = 0;
	struct
	{
		uint32		pair;
		uint32		child;
	}			found[16];

	Assert(n->nchildren <= lengthof(found));
	for (uint32 i = 0; i < npairs; i++)
	{
		uint32		end = eb_entry_end(object->children[i], offset);
		uint32		len = end - offset;

		while (child < last_child && m->nodes[child].keylen < len)
			child++;
		while (child < last_child && m->nodes[child].keylen == len)
		{
			const char *key = m->bytes + m->nodes[child].key;

			if (eb_same_bytes(key, base + offset, len))
			{
				found[nfound].pair = i;
				found[nfound++].child = child++;
				break;
			}
			if (memcmp(key, base + offset, len) > 0)
				break;
			child++;
		}
		offset = end;
		if (child == last_child)
		{
			/* the rest of the keys only counts by its length */
			while (++i < npairs)
				offset = eb_entry_end(object->children[i], offset);
		}
	}
	for (uint32 f = 0; f < nfound; f++)
	{
		EbValue		v;
		uint32		end;

		while (next_value < found[f].pair)
			offset = eb_entry_end(values[next_value++], offset);
		end = eb_entry_end(values[next_value], offset);
		eb_value_read(values[next_value++], base, offset, end, &v);
		offset = end;
		walk_value(m, found[f].child, &v, depth);
	}
}

/* Many children: ask for each key of the event. */
static void
walk_hashed(EbMatch *m, uint32 node, const JsonbContainer *object, int depth)
{
	EbIter		it;
	EbValue		key;
	EbValue		v;

	eb_iter_init(&it, object);
	while (eb_iter_pair(&it, &key, &v))
	{
		uint64		wanted = EB_SLOT_CHILD(node, eb_hash_bytes(key.ptr, key.len));

		CHECK_FOR_INTERRUPTS();
		for (uint64 i = eb_hash_mix(wanted) & m->slot_mask;
			 m->slots[i].key != EB_SLOT_FREE; i = (i + 1) & m->slot_mask)
		{
			const EbCNode *child = &m->nodes[m->slots[i].value];

			if (m->slots[i].key == wanted && child->keylen == key.len &&
				memcmp(m->bytes + child->key, key.ptr, key.len) == 0)
			{
				walk_value(m, m->slots[i].value, &v, depth);
				break;
			}
		}
	}
}

static void
walk_object(EbMatch *m, uint32 node, const JsonbContainer *object, int depth)
{
	const EbCNode *n = &m->nodes[node];
	uint32		npairs = JsonContainerSize(object);

	check_stack_depth();
	if (npairs == 0)
		return;
	if (npairs / BISECT_RATIO > n->nchildren)
	{
		for (uint32 c = 0; c < n->nchildren; c++)
		{
			const EbCNode *child = &m->nodes[n->first_child + c];
			EbValue		v;

			CHECK_FOR_INTERRUPTS();
			if (eb_object_get(object, m->bytes + child->key, child->keylen, &v))
				walk_value(m, n->first_child + c, &v, depth);
		}
	}
	else if (n->flags & EB_NODE_HASHED)
		walk_hashed(m, node, object, depth);
	else
		walk_merge(m, n, object, depth);
}

/* ---- verification ---- */

static bool
term_holds(EbMatch *m, uint32 number)
{
	const EbCTerm *term = &m->terms[number];
	EbPatternScratch *s = m->s;
	const EbSeen *seen = &s->seen[term->node];
	uint32	   *memo;
	bool		holds = false;

	if (seen->epoch != m->epoch)
		return term->ok_missing;
	if (seen->first == seen->last && !term->memorize)
		return eb_term_holds_leaf(m, term, &s->leaves[seen->first]);

	memo = &s->memo[number];
	if (*memo >> 1 == m->epoch)
		return *memo & 1;
	for (uint32 i = seen->first; i != EB_NONE && !holds; i = s->leaves[i].next)
		holds = eb_term_holds_leaf(m, term, &s->leaves[i]);
	*memo = m->epoch << 1 | holds;
	return holds;
}

static void
add_rule(EbMatch *m, uint32 rule)
{
	EbPatternScratch *s = m->s;

	if (s->nrules > 0)
	{
		if (s->rules[s->nrules - 1] == rule)
			return;
		if (s->rules[s->nrules - 1] > rule)
			s->ascending = false;
	}
	if (s->nrules == s->maxrules)
	{
		s->maxrules *= 2;
		s->rules = repalloc_huge(s->rules, s->maxrules * sizeof(uint32));
	}
	s->rules[s->nrules++] = rule;
}

/* Is there an array where fields of this conjunction meet? */
static bool
meets_in_array(const EbMatch *m, const EbCConjunction *c)
{
	const EbCShape *shape = &m->shapes[c->shape];
	const uint32 *shared = m->words + shape->shared;

	for (uint32 i = 0; i < shape->nshared; i++)
	{
		if (m->s->seen[shared[i]].array_epoch == m->epoch)
			return true;
	}
	return false;
}

static void
try_placements(EbMatch *m, const uint32 *list, uint32 n,
			   const JsonbContainer *event)
{
	while (n-- > 0)
	{
		uint32		number = list[EB_PLACEMENT_CONJUNCTION];
		uint32		rule = list[EB_PLACEMENT_RULE];
		uint32		nterms = list[EB_PLACEMENT_NTERMS];
		bool		holds = true;
		bool		relaxed = false;

		list += EB_PLACEMENT_TERMS;
		for (uint32 t = 0; t < nterms && holds; t++)
		{
			if (term_holds(m, list[t]))
				continue;
			/* in an array what is missing may be so in one element only */
			if (m->inner_array && m->terms[list[t]].ok_missing)
				relaxed = true;
			else
				holds = false;
		}
		list += nterms;
		if (!holds)
			continue;
		if (m->inner_array && meets_in_array(m, &m->conjunctions[number]))
		{
			if (m->s->tried[number] == m->epoch)
				continue;
			m->s->tried[number] = m->epoch;
			CHECK_FOR_INTERRUPTS();
			if (!eb_conjunction_holds(m, &m->conjunctions[number],
									  PG_UINT32_MAX, event))
				continue;
		}
		else if (relaxed)
			continue;
		add_rule(m, rule);
	}
}

/* ---- states ---- */

static inline void
follow(EbMatch *m, uint32 posting, const JsonbContainer *event)
{
	const uint32 *list;

	if (posting & EB_POSTING_STATE)
	{
		visit(m, posting & ~EB_POSTING_STATE, event);
		return;
	}
	list = m->words + (posting & ~EB_POSTING_STRIKE);
	if (posting & EB_POSTING_STRIKE)
	{
		for (uint32 n = *list++; n > 0; n--)
			m->s->marks[m->first_mark + *list++] = m->epoch;
	}
	else
		try_placements(m, list + 1, list[0], event);
}

static void
try_bucket(EbMatch *m, uint32 bucket, uint32 node, EbLeaf *leaf,
		   const JsonbContainer *event)
{
	const uint32 *list = m->words + bucket;
	uint32		n = *list++;

	for (; n > 0; n--, list += 2)
	{
		if (eb_test_holds(m, eb_ctest(m, list[0]), node, leaf))
			follow(m, list[1], event);
	}
}

static inline void
probe(EbMatch *m, uint32 entry, uint32 node, EbWay way, uint64 rolled,
	  uint32 len, EbLeaf *leaf, const JsonbContainer *event)
{
	const EbCSlot *slot = find_slot(m, EB_SLOT_ENTRY(entry,
													 eb_way_hash(way, rolled, len)));

	if (slot)
		try_bucket(m, slot->value, node, leaf, event);
}

/* The first bytes, or the last ones, for all lengths in one pass */
static void
ask_affixes(EbMatch *m, uint32 entry, uint32 node, EbWay way,
			const uint32 *lengths, EbLeaf *leaf, const JsonbContainer *event)
{
	bool		backwards = way == EB_WAY_SUFFIX || way == EB_WAY_FOLD_SUFFIX;
	bool		fold = way == EB_WAY_FOLD_PREFIX || way == EB_WAY_FOLD_SUFFIX;
	const unsigned char *s = (const unsigned char *) leaf->value.ptr;
	uint32		len = leaf->value.len;
	uint32		n = *lengths++;
	uint32		done = 0;
	uint64		h = EB_HASH_ROLL_START;

	for (; n > 0 && *lengths <= len; n--, lengths++)
	{
		for (; done < *lengths; done++)
		{
			unsigned char c = backwards ? s[len - 1 - done] : s[done];

			h = eb_hash_roll(h, fold ? eb_ascii_lower(c) : c);
		}
		probe(m, entry, node, way, h, done, leaf, event);
	}
}

static void
ask_fold(EbMatch *m, uint32 entry, uint32 node, EbLeaf *leaf,
		 const JsonbContainer *event)
{
	uint64		h = EB_HASH_ROLL_START;

	for (uint32 i = 0; i < leaf->value.len; i++)
		h = eb_hash_roll(h, eb_ascii_lower((unsigned char) leaf->value.ptr[i]));
	probe(m, entry, node, EB_WAY_FOLD, h, leaf->value.len, leaf, event);
}

static void
ask_grams(EbMatch *m, uint32 entry, uint32 node, const uint32 *lengths,
		  EbLeaf *leaf, const JsonbContainer *event)
{
	for (uint32 n = *lengths++; n > 0; n--, lengths++)
	{
		for (uint32 i = 0; i + *lengths <= leaf->value.len; i++)
			probe(m, entry, node, EB_WAY_GRAM,
				  eb_gram(leaf->value.ptr + i, *lengths), *lengths, leaf, event);
	}
}

static void
ask_blocks(EbMatch *m, uint32 entry, uint32 node, const uint32 *lengths,
		   EbLeaf *leaf, const JsonbContainer *event)
{
	EbAddress	address = *eb_leaf_address(leaf);

	if (address.family == 0)
		return;
	for (uint32 n = *lengths++; n > 0; n--, lengths++)
	{
		EbAddress	block = address;

		if (*lengths >> 8 != address.family)
			continue;
		eb_address_mask(&block, *lengths & 0xff);
		probe(m, entry, node, EB_WAY_CIDR, eb_address_hash(&block), *lengths,
			  leaf, event);
	}
}

/* The place of a number among the bounds of an entry */
static uint32
find_position(const EbMatch *m, const EbCDetail *d, const EbNumber *number)
{
	const EbCBound *bounds = m->bounds + d->bounds;
	uint32		low = 0;
	uint32		high = d->nbounds;

	while (low < high)
	{
		uint32		mid = low + (high - low) / 2;
		int			cmp;

		if (bounds[mid].key != number->key)
			cmp = bounds[mid].key < number->key ? -1 : 1;
		else
		{
			EbNumber	bound;

			eb_cnumber_view((const EbCNumber *) (m->bytes + bounds[mid].number),
							&bound);
			cmp = eb_number_cmp(&bound, number);
		}
		if (cmp == 0)
			return 2 * mid + 1;
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return 2 * low;
}

static void
stab(EbMatch *m, const EbCInterval *list, uint32 from, uint32 to,
	 uint32 position, const JsonbContainer *event)
{
	while (from < to)
	{
		uint32		mid = from + (to - from) / 2;

		if (list[mid].max < position)
			return;
		stab(m, list, from, mid, position, event);
		if (list[mid].low > position)
			return;
		if (list[mid].high >= position)
			follow(m, list[mid].posting, event);
		from = mid + 1;
	}
}

static void
ask_detail(EbMatch *m, uint32 number, const EbCEntry *entry, EbLeaf *leaf,
		   const JsonbContainer *event)
{
	const EbCDetail *d = &m->details[entry->detail];
	uint32		node = entry->node;

	if (leaf->value.type == EB_NUMBER)
	{
		if (entry->ways & EB_WAY_BIT(EB_WAY_RANGE))
			stab(m, m->intervals + d->intervals, 0, d->nintervals,
				 find_position(m, d, eb_leaf_number(leaf)), event);
	}
	else if (leaf->value.type == EB_STRING)
	{
		if (entry->ways & EB_WAY_BIT(EB_WAY_STRING))
			try_bucket(m, d->any_string, node, leaf, event);
		for (EbWay way = EB_WAY_PREFIX; way <= EB_WAY_FOLD_SUFFIX; way++)
		{
			if (!(entry->ways & EB_WAY_BIT(way)))
				continue;
			if (way == EB_WAY_FOLD)
				ask_fold(m, number, node, leaf, event);
			else
				ask_affixes(m, number, node, way, m->words + d->lengths[way],
							leaf, event);
		}
		if (entry->ways & EB_WAY_BIT(EB_WAY_GRAM))
			ask_grams(m, number, node, m->words + d->lengths[EB_WAY_GRAM],
					  leaf, event);
		if (entry->ways & EB_WAY_BIT(EB_WAY_CIDR))
			ask_blocks(m, number, node, m->words + d->lengths[EB_WAY_CIDR],
					   leaf, event);
	}
}

/* Asks an entry with every leaf that the event has at its node. */
static void
ask_entry(EbMatch *m, uint32 number, const JsonbContainer *event)
{
	const EbCEntry *entry = &m->entries[number];
	EbPatternScratch *s = m->s;
	uint32		node = entry->node;

	if (entry->ways & EB_WAY_BIT(EB_WAY_PRESENT))
		follow(m, m->details[entry->detail].present, event);
	for (uint32 i = s->seen[node].first; i != EB_NONE; i = s->leaves[i].next)
	{
		EbLeaf	   *leaf = &s->leaves[i];

		if (entry->ways & EB_WAY_BIT(EB_WAY_EXACT))
		{
			uint32		atom = eb_leaf_atom(m, node, leaf);

			if (atom != EB_NONE)
			{
				const EbCSlot *slot = find_slot(m, EB_SLOT_ENTRY(number, atom));

				if (slot)
					follow(m, slot->value, event);
			}
		}
		if (entry->ways & ~(EB_WAY_BIT(EB_WAY_EXACT) | EB_WAY_BIT(EB_WAY_PRESENT)))
			ask_detail(m, number, entry, leaf, event);
	}
}

/* Asks all entries of a state at whose nodes the event has leaves. */
static void
ask_entries(EbMatch *m, uint32 number, const JsonbContainer *event)
{
	const EbCState *state = &m->states[number];
	EbPatternScratch *s = m->s;

	if (number == 0 || state->nentries > EB_STATE_SCAN_MAX)
	{
		for (uint32 i = 0; i < s->npresent; i++)
		{
			uint32		node = s->present[i];

			if (number == 0)
			{
				if (m->nodes[node].root_entry != EB_NONE)
					ask_entry(m, m->nodes[node].root_entry, event);
			}
			else
			{
				const EbCSlot *slot = find_slot(m, EB_SLOT_STATE(number, node));

				if (slot)
					ask_entry(m, slot->value, event);
			}
		}
	}
	else
	{
		for (uint32 e = 0; e < state->nentries; e++)
		{
			uint32		entry = state->first_entry + e;

			if (s->seen[m->entries[entry].node].epoch == m->epoch)
				ask_entry(m, entry, event);
		}
	}
}

/* All conjunctions but those that the event strikes out: pattern_exclude.c */
static void
visit_exclusions(EbMatch *m, const EbCExclusions *x,
				 const JsonbContainer *event)
{
	const EbCExcluded *items = m->excluded + x->items;
	const uint32 *marks = m->s->marks + x->first_mark;

	if (m->many || m->inner_array)
	{
		for (uint32 i = 0; i < x->n; i++)
			try_placements(m, m->words + (items[i].placement & ~EB_EXCLUDED_COMPLETE),
						   1, event);
		return;
	}
	m->first_mark = x->first_mark;
	ask_entries(m, x->state, event);
	for (uint32 g = 0; g < x->ngroups; g++)
	{
		const EbCExclusionGroup *group = &m->exclusion_groups[x->groups + g];

		if (group->node != EB_NONE && m->s->seen[group->node].epoch != m->epoch)
			continue;
		for (uint32 i = group->first; i < group->first + group->n; i++)
		{
			if (marks[i] == m->epoch)
				continue;
			if (items[i].placement & EB_EXCLUDED_COMPLETE)
				add_rule(m, items[i].rule);
			else
				try_placements(m, m->words + items[i].placement, 1, event);
		}
	}
}

static void
visit(EbMatch *m, uint32 number, const JsonbContainer *event)
{
	const EbCState *state = &m->states[number];
	EbPatternScratch *s = m->s;

	if (s->visited[number] == m->epoch)
		return;
	s->visited[number] = m->epoch;
	if (m->many)
		CHECK_FOR_INTERRUPTS();
	ask_entries(m, number, event);
	if (state->placements != EB_NONE)
	{
		const uint32 *list = m->words + state->placements;

		try_placements(m, list + 1, list[0], event);
	}
	if (state->exclusions != EB_NONE)
		visit_exclusions(m, &m->exclusions[state->exclusions], event);
}

/* ---- the result ---- */

static int
cmp_rule(const void *a, const void *b)
{
	uint32		ra = *(const uint32 *) a;
	uint32		rb = *(const uint32 *) b;

	return ra < rb ? -1 : ra > rb;
}

/* Many of all rules: one bit for each, which also drops repeated ones */
static void
sort_by_bits(EbPatternScratch *s, uint32 nrules)
{
	uint32		nwords = nrules / 64 + 1;
	uint32		n = 0;

	if (nwords > s->maxbits)
		s->bits = grow_stamps(s, s->bits, &s->maxbits, nwords, sizeof(uint64));
	for (uint32 i = 0; i < s->nrules; i++)
		s->bits[s->rules[i] / 64] |= UINT64CONST(1) << (s->rules[i] % 64);
	for (uint32 w = 0; w < nwords; w++)
	{
		while (s->bits[w] != 0)
		{
			s->rules[n++] = w * 64 + pg_rightmost_one_pos64(s->bits[w]);
			s->bits[w] &= s->bits[w] - 1;
		}
	}
	s->nrules = n;
}

static void
sort_rules(EbPatternScratch *s, uint32 nrules)
{
	uint32		kept = 0;

	if (s->nrules > 64 && nrules / 64 < s->nrules * 4)
	{
		sort_by_bits(s, nrules);
		return;
	}
	if (s->nrules <= 16)
	{
		for (uint32 i = 1; i < s->nrules; i++)
		{
			uint32		rule = s->rules[i];
			uint32		k = i;

			for (; k > 0 && s->rules[k - 1] > rule; k--)
				s->rules[k] = s->rules[k - 1];
			s->rules[k] = rule;
		}
	}
	else
		qsort(s->rules, s->nrules, sizeof(uint32), cmp_rule);
	for (uint32 i = 0; i < s->nrules; i++)
	{
		if (kept == 0 || s->rules[kept - 1] != s->rules[i])
			s->rules[kept++] = s->rules[i];
	}
	s->nrules = kept;
}

int
eb_pattern_match(const EbPatternSet *set, EbPatternScratch *scratch,
				 JsonbContainer *event, const uint32 **rules)
{
	EbMatch		m;

	if (!JsonContainerIsObject(event))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event is not a JSON object"),
				 errhint("Pass the whole event, as in {\"source\": \"shop.orders\", \"detail-type\": \"OrderPlaced\", \"detail\": {}}.")));
	eb_match_begin(&m, set, scratch);
	walk_object(&m, 0, event, 1);
	visit(&m, 0, event);
	if (!scratch->ascending)
		sort_rules(scratch, m.nrules);
	*rules = scratch->rules;
	return (int) scratch->nrules;
}
