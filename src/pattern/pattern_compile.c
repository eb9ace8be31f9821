/*-------------------------------------------------------------------------
 *
 * pattern_compile.c
 *	  Many patterns become one block.
 *
 * Adding a pattern interns its paths, tests, lists of tests and shapes; what
 * is left of a conjunction is a rule number, a shape and one term number for
 * each field.  Finishing lets pattern_index.c build the states, puts the
 * nodes into their final order and copies all arrays into the block.
 *
 * The builder lives in a context of its own, deleted by
 * eb_pattern_builder_finish(); an error on the way leaves it to the caller's
 * context, whose child it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pattern/pattern_build.h"

/* From this many children on keys are looked up by hash. */
#define HASHED_CHILDREN		16

/* ---- vectors ---- */

void
eb_vector_init(EbVector *vec, uint32 width)
{
	memset(vec, 0, sizeof(*vec));
	vec->context = CurrentMemoryContext;
	vec->width = width;
}

static void
refuse_size(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("set of event patterns is too large to compile")));
}

uint32
eb_vector_extend(EbVector *vec, uint32 n)
{
	uint32		first = vec->n;

	if (n > PG_INT32_MAX - vec->n)
		refuse_size();
	if (vec->data == NULL || vec->n + n > vec->max)
	{
		uint32		max = Max(vec->n + n, vec->max < 32 ? 64 : vec->max * 2);

		if (vec->data == NULL)
			vec->data = MemoryContextAllocExtended(vec->context,
												   (Size) max * vec->width,
												   MCXT_ALLOC_HUGE);
		else
			vec->data = repalloc_huge(vec->data, (Size) max * vec->width);
		vec->max = max;
	}
	memset(vec->data + (Size) first * vec->width, 0, (Size) n * vec->width);
	vec->n += n;
	return first;
}

uint32
eb_vector_push(EbVector *vec, const void *element)
{
	uint32		i = eb_vector_extend(vec, 1);

	memcpy(vec->data + (Size) i * vec->width, element, vec->width);
	return i;
}

uint32
eb_vector_word(EbVector *vec, uint32 word)
{
	return eb_vector_push(vec, &word);
}

#define WORD(b, i)	(*EB_AT((b)->words, uint32, i))

/* ---- tests ---- */

static void
store_number(StringInfo buf, const EbNumber *n)
{
	EbCNumber	c;
	int			size = (int) EB_CNUMBER_SIZE(n->ndigits);

	memset(&c, 0, sizeof(c));
	c.key = n->key;
	c.ndigits = n->ndigits;
	c.weight = n->weight;
	c.negative = n->negative;
	enlargeStringInfo(buf, size);
	memset(buf->data + buf->len, 0, size);
	memcpy(buf->data + buf->len, &c, offsetof(EbCNumber, digits));
	if (n->ndigits > 0)
		memcpy(buf->data + buf->len + offsetof(EbCNumber, digits), n->digits,
			   n->ndigits * sizeof(int16));
	buf->len += size;
}

static int
cmp_uint32(const void *a, const void *b)
{
	uint32		ua = *(const uint32 *) a;
	uint32		ub = *(const uint32 *) b;

	return ua < ub ? -1 : ua > ub;
}

/* Sorts numbers and drops repeated ones; returns how many are left. */
static uint32
sort_unique(uint32 *list, uint32 n)
{
	uint32		kept = 0;

	if (n > 1)
		qsort(list, n, sizeof(uint32), cmp_uint32);
	for (uint32 i = 0; i < n; i++)
	{
		if (kept == 0 || list[kept - 1] != list[i])
			list[kept++] = list[i];
	}
	return kept;
}

static uint32
add_test(EbPatternBuilder *b, const EbTest *test)
{
	StringInfoData buf;
	EbCTest		head = {(uint8) test->kind, test->flags, 0, test->len};
	EbNumber	none = {0};
	uint32	   *subs;
	uint32		id;

	initStringInfo(&buf);
	switch (test->kind)
	{
		case EB_TEST_NUMBER:
			appendBinaryStringInfo(&buf, (char *) &head, sizeof(head));
			store_number(&buf, &test->lower);
			break;
		case EB_TEST_RANGE:
			appendBinaryStringInfo(&buf, (char *) &head, sizeof(head));
			store_number(&buf, test->flags & EB_RANGE_LOWER ?
						 &test->lower : &none);
			store_number(&buf, test->flags & EB_RANGE_UPPER ?
						 &test->upper : &none);
			break;
		case EB_TEST_ADDRESS:
		case EB_TEST_CIDR:
			/* a plain address is a block of one address */
			head.kind = EB_TEST_CIDR;
			head.len = 0;
			appendBinaryStringInfo(&buf, (char *) &head, sizeof(head));
			appendBinaryStringInfo(&buf, (const char *) &test->address,
								   sizeof(EbAddress));
			break;
		case EB_TEST_BUT:
			subs = palloc(test->nsubs * sizeof(uint32));
			for (int i = 0; i < test->nsubs; i++)
				subs[i] = add_test(b, &test->subs[i]);
			head.len = sort_unique(subs, test->nsubs);
			if (EB_TEST_IS_EXACT(test->subs[0].kind))
				head.flags = EB_BUT_EXACT;
			appendBinaryStringInfo(&buf, (char *) &head, sizeof(head));
			appendBinaryStringInfo(&buf, (char *) subs,
								   head.len * sizeof(uint32));
			pfree(subs);
			break;
		default:
			appendBinaryStringInfo(&buf, (char *) &head, sizeof(head));
			if (test->len > 0)
				appendBinaryStringInfo(&buf, test->str, test->len);
			break;
	}
	id = eb_intern(b->tests, buf.data, buf.len, NULL);
	pfree(buf.data);
	return id;
}

/* ---- terms ---- */

/* Can an entry be asked which tests of this kind a value satisfies? */
static bool
is_searchable(EbTestKind kind)
{
	return kind != EB_TEST_BUT && kind != EB_TEST_ABSENT;
}

static void
set_form(EbPatternBuilder *b, EbCTerm *term)
{
	if (term->nother == 0)
	{
		if (term->nexact == 0)
			term->form = EB_TERM_NEVER;
		else
		{
			term->first = WORD(b, term->tests);
			term->form = term->nexact == 1 ? EB_TERM_ONE : EB_TERM_EXACT;
		}
		return;
	}
	term->form = EB_TERM_ANY;
	if (term->nexact == 0 && term->nother == 1)
	{
		/* write_block() makes a place of it */
		term->form = EB_TERM_TEST;
		term->first = WORD(b, term->tests);
	}
	if (term->form == EB_TERM_TEST)
	{
		const EbCTest *test = eb_build_test(b, WORD(b, term->tests));

		if (test->kind == EB_TEST_BUT && (test->flags & EB_BUT_EXACT) &&
			test->len == 1)
		{
			memcpy(&term->first, EB_CTEST_DATA(test), sizeof(uint32));
			term->form = EB_TERM_BUT_ONE;
		}
	}
}

static uint32
add_term(EbPatternBuilder *b, uint32 node, const EbField *field)
{
	uint32	   *key = palloc((2 + field->ntests) * sizeof(uint32));
	uint32	   *tests = key + 2;
	uint32		ntests = 0;
	uint32		nexact = 0;
	uint32		preds;
	uint32		id;
	bool		found;
	EbCTerm		term;

	for (int i = 0; i < field->ntests; i++)
	{
		if (field->tests[i].kind != EB_TEST_ABSENT)
			tests[ntests++] = add_test(b, &field->tests[i]);
	}
	ntests = sort_unique(tests, ntests);
	key[0] = node;
	key[1] = field->absent;
	id = eb_intern(b->terms, key, (2 + ntests) * sizeof(uint32), &found);
	if (found)
	{
		pfree(key);
		return id;
	}

	memset(&term, 0, sizeof(term));
	term.node = node;
	term.ok_missing = field->absent;
	term.tests = b->words.n;
	for (int pass = 0; pass < 2; pass++)
	{
		for (uint32 i = 0; i < ntests; i++)
		{
			bool		exact = EB_TEST_IS_EXACT(eb_build_test(b, tests[i])->kind);

			if (exact == (pass == 0))
				eb_vector_word(&b->words, tests[i]);
			nexact += exact && pass == 0;
		}
	}
	term.nexact = nexact;
	term.nother = ntests - nexact;
	set_form(b, &term);
	term.memorize = term.form == EB_TERM_ANY ||
		(term.form == EB_TERM_TEST &&
		 eb_build_test(b, WORD(b, term.tests))->kind != EB_TEST_RANGE);
	eb_vector_push(&b->cterms, &term);

	preds = ntests > 0 && !field->absent ? b->words.n : EB_NONE;
	for (uint32 i = 0; i < ntests && preds != EB_NONE; i++)
	{
		if (!is_searchable(eb_build_test(b, tests[i])->kind))
			preds = EB_NONE;
	}
	for (uint32 i = 0; i < ntests && preds != EB_NONE; i++)
	{
		uint32		pred[2] = {node, WORD(b, term.tests + i)};

		eb_vector_word(&b->words, eb_intern(b->preds, pred, sizeof(pred), NULL));
	}
	eb_vector_word(&b->term_preds, preds);
	pfree(key);
	return id;
}

/* ---- shapes ---- */

typedef struct ShapeSort
{
	const EbPatternBuilder *b;
	const EbCShapeField *fields;
} ShapeSort;

/* By the nodes of the paths, so that fields below one node are neighbours. */
static int
cmp_path_nodes(const void *a, const void *b, void *arg)
{
	const ShapeSort *sort = arg;
	const EbCShapeField *fa = &sort->fields[*(const uint32 *) a];
	const EbCShapeField *fb = &sort->fields[*(const uint32 *) b];
	uint32		common = Min(fa->depth, fb->depth);

	for (uint32 i = 0; i < common; i++)
	{
		uint32		na = WORD(sort->b, fa->path + i);
		uint32		nb = WORD(sort->b, fb->path + i);

		if (na != nb)
			return na < nb ? -1 : 1;
	}
	return fa->depth < fb->depth ? -1 : fa->depth > fb->depth;
}

/* Nodes that at least two fields pass or end at: neighbours' common paths. */
static void
find_shared(EbPatternBuilder *b, EbCShape *shape)
{
	uint32		last = EB_NONE;

	shape->shared = b->words.n;
	for (uint32 i = 0; i + 1 < shape->nfields; i++)
	{
		const EbCShapeField *f = EB_AT(b->shape_fields, EbCShapeField,
									   shape->fields + i);
		const EbCShapeField *g = f + 1;
		uint32		common = Min(f->depth, g->depth);

		for (uint32 d = 0; d < common; d++)
		{
			uint32		node = WORD(b, f->path + d);

			if (node != WORD(b, g->path + d))
				break;
			/* neighbours of neighbours repeat nodes: drop the cheap cases */
			if (node == last)
				continue;
			last = node;
			eb_vector_word(&b->words, node);
		}
	}
	shape->nshared = sort_unique(EB_AT(b->words, uint32, shape->shared),
								 b->words.n - shape->shared);
	b->words.n = shape->shared + shape->nshared;
}

/* nodes[] are the fields' nodes in the order of their paths' texts */
static uint32
add_shape(EbPatternBuilder *b, const EbPattern *p, const EbConjunction *c,
		  const uint32 *nodes, const uint32 *ids)
{
	bool		found;
	uint32		id = eb_intern(b->shapes, nodes, c->nfields * sizeof(uint32),
							   &found);
	EbBuildShape shape;
	EbCShapeField *fields;
	uint32	   *order;
	ShapeSort	sort;
	uint32		rank = 0;

	if (found)
		return id;

	fields = palloc0(c->nfields * sizeof(EbCShapeField));
	order = palloc(c->nfields * sizeof(uint32));
	for (int i = 0; i < c->nfields; i++)
	{
		uint32		local = c->fields[i]->node;
		uint32		depth = p->nodes[local].depth;

		if (i > 0 && eb_path_cmp_text(p->nodes, c->fields[i - 1]->node, local) != 0)
			rank++;
		fields[i].node = nodes[i];
		fields[i].depth = depth;
		fields[i].rank = rank;
		fields[i].path = eb_vector_extend(&b->words, depth);
		for (uint32 n = local; n != 0; n = p->nodes[n].parent)
			WORD(b, fields[i].path + p->nodes[n].depth - 1) = ids[n];
		order[i] = i;
	}
	sort.b = b;
	sort.fields = fields;
	if (c->nfields > 1)
		qsort_arg(order, c->nfields, sizeof(uint32), cmp_path_nodes, &sort);

	memset(&shape, 0, sizeof(shape));
	shape.nfields = c->nfields;
	shape.order = eb_vector_extend(&b->words, c->nfields);
	memcpy(EB_AT(b->words, uint32, shape.order), order,
		   c->nfields * sizeof(uint32));
	shape.compiled.nfields = c->nfields;
	shape.compiled.fields = b->shape_fields.n;
	for (int i = 0; i < c->nfields; i++)
		eb_vector_push(&b->shape_fields, &fields[order[i]]);
	find_shared(b, &shape.compiled);
	eb_vector_push(&b->bshapes, &shape);
	pfree(fields);
	pfree(order);
	return id;
}

/* ---- the builder ---- */

EbPatternBuilder *
eb_pattern_builder_create(int nrules_hint)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "eb pattern builder",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EbPatternBuilder *b = palloc0(sizeof(EbPatternBuilder));
	uint32		no_parent = EB_NONE;
	uint32		hint = (uint32) Max(nrules_hint, 4);

	b->context = context;
	b->nodes = eb_intern_create(16);
	b->tests = eb_intern_create(hint);
	b->terms = eb_intern_create(hint);
	b->shapes = eb_intern_create(16);
	b->preds = eb_intern_create(hint);
	eb_vector_init(&b->cterms, sizeof(EbCTerm));
	eb_vector_init(&b->term_preds, sizeof(uint32));
	eb_vector_init(&b->conjunctions, sizeof(EbCConjunction));
	eb_vector_init(&b->bshapes, sizeof(EbBuildShape));
	eb_vector_init(&b->shape_fields, sizeof(EbCShapeField));
	eb_vector_init(&b->words, sizeof(uint32));
	(void) eb_intern(b->nodes, &no_parent, sizeof(no_parent), NULL);

	/* so that the numbers of these tests are known to the matcher */
	for (int kind = EB_TEST_NULL; kind <= EB_TEST_FALSE; kind++)
	{
		EbCTest		test = {(uint8) kind, 0, 0, 0};

		(void) eb_intern(b->tests, &test, sizeof(test), NULL);
	}
	MemoryContextSwitchTo(old);
	return b;
}

/* Numbers in b->nodes for the nodes of a pattern */
static uint32 *
intern_nodes(EbPatternBuilder *b, const EbPattern *p)
{
	uint32	   *ids = palloc(p->nnodes * sizeof(uint32));
	StringInfoData key;

	initStringInfo(&key);
	ids[0] = 0;
	for (uint32 i = 1; i < p->nnodes; i++)
	{
		resetStringInfo(&key);
		appendBinaryStringInfo(&key, (char *) &ids[p->nodes[i].parent],
							   sizeof(uint32));
		appendBinaryStringInfo(&key, p->nodes[i].key, (int) p->nodes[i].keylen);
		ids[i] = eb_intern(b->nodes, key.data, key.len, NULL);
	}
	pfree(key.data);
	return ids;
}

void
eb_pattern_builder_add(EbPatternBuilder *b, const EbPattern *pattern,
					   uint32 rule_no)
{
	MemoryContext old = MemoryContextSwitchTo(b->context);
	uint32	   *ids = intern_nodes(b, pattern);

	b->nrules = Max(b->nrules, rule_no + 1);
	for (int i = 0; i < pattern->nconjunctions; i++)
	{
		const EbConjunction *c = &pattern->conjunctions[i];
		uint32	   *nodes = palloc(c->nfields * sizeof(uint32));
		uint32	   *terms = palloc(c->nfields * sizeof(uint32));
		EbCConjunction conj;
		EbBuildShape *shape;

		CHECK_FOR_INTERRUPTS();
		for (int f = 0; f < c->nfields; f++)
		{
			nodes[f] = ids[c->fields[f]->node];
			terms[f] = add_term(b, nodes[f], c->fields[f]);
		}
		conj.rule = rule_no;
		conj.shape = add_shape(b, pattern, c, nodes, ids);
		conj.terms = eb_vector_extend(&b->words, c->nfields);
		shape = EB_AT(b->bshapes, EbBuildShape, conj.shape);
		for (int f = 0; f < c->nfields; f++)
			WORD(b, conj.terms + f) = terms[WORD(b, shape->order + f)];
		eb_vector_push(&b->conjunctions, &conj);
		pfree(nodes);
		pfree(terms);
	}
	pfree(ids);
	MemoryContextSwitchTo(old);
}

/* ---- nodes in their final order ---- */

typedef struct ChildSort
{
	uint32		id;
	uint32		keylen;
	const char *key;
} ChildSort;

static int
cmp_child(const void *a, const void *b)
{
	const ChildSort *ca = a;
	const ChildSort *cb = b;

	return eb_key_cmp(ca->key, ca->keylen, cb->key, cb->keylen);
}

/*
 * Breadth first, children sorted, so that they are neighbours.  Returns the
 * new number of each node; *list gets the nodes and *keys their keys.
 */
static uint32 *
order_nodes(EbPatternBuilder *b, EbVector *list, StringInfo keys)
{
	uint32		n = eb_intern_count(b->nodes);
	uint32	   *renumber = palloc(n * sizeof(uint32));
	uint32	   *start = palloc0((n + 1) * sizeof(uint32));
	uint32	   *fill = palloc(n * sizeof(uint32));
	uint32	   *queue = palloc(n * sizeof(uint32));
	ChildSort  *children = palloc(n * sizeof(ChildSort));
	uint32		next = 1;

	for (uint32 i = 1; i < n; i++)
		start[*(const uint32 *) eb_intern_key(b->nodes, i, NULL) + 1]++;
	for (uint32 i = 0; i < n; i++)
	{
		start[i + 1] += start[i];
		fill[i] = start[i];
	}
	for (uint32 i = 1; i < n; i++)
	{
		uint32		len;
		const char *key = eb_intern_key(b->nodes, i, &len);
		ChildSort  *c = &children[fill[*(const uint32 *) key]++];

		c->id = i;
		c->key = key + sizeof(uint32);
		c->keylen = len - sizeof(uint32);
	}

	queue[0] = 0;
	renumber[0] = 0;
	eb_vector_extend(list, n);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		old = queue[i];
		EbCNode    *node = EB_AT(*list, EbCNode, i);
		ChildSort  *c = &children[start[old]];
		uint32		len;
		const char *key = eb_intern_key(b->nodes, old, &len);

		node->key = keys->len;
		node->keylen = len - sizeof(uint32);
		appendBinaryStringInfo(keys, key + sizeof(uint32), (int) node->keylen);
		node->parent = i == 0 ? EB_NONE : renumber[*(const uint32 *) key];
		node->nchildren = start[old + 1] - start[old];
		node->first_child = next;
		node->root_entry = EB_NONE;
		if (node->nchildren > 1)
			qsort(c, node->nchildren, sizeof(ChildSort), cmp_child);
		for (uint32 k = 0; k < node->nchildren; k++)
		{
			renumber[c[k].id] = next;
			queue[next++] = c[k].id;
		}
	}
	pfree(start);
	pfree(fill);
	pfree(queue);
	pfree(children);
	return renumber;
}

/* Which kinds of values are compared for equality at the node of a term */
static void
flag_node(const EbPatternBuilder *b, const EbCTerm *term, EbCNode *node)
{
	node->flags |= EB_NODE_IS_FIELD;
	for (uint32 i = 0; i < term->nexact + term->nother; i++)
	{
		const EbCTest *test = eb_build_test(b, WORD(b, term->tests + i));
		uint32		first;

		if (test->kind == EB_TEST_BUT && (test->flags & EB_BUT_EXACT))
		{
			memcpy(&first, EB_CTEST_DATA(test), sizeof(first));
			test = eb_build_test(b, first);
		}
		if (test->kind == EB_TEST_STRING)
			node->flags |= EB_NODE_STRINGS;
		else if (test->kind == EB_TEST_NUMBER)
			node->flags |= EB_NODE_NUMBERS;
	}
}

static void
renumber_all(EbPatternBuilder *b, const uint32 *renumber, EbVector *nodes,
			 const char *keys)
{
	for (uint32 i = 0; i < b->cterms.n; i++)
	{
		EbCTerm    *term = EB_AT(b->cterms, EbCTerm, i);

		term->node = renumber[term->node];
		flag_node(b, term, EB_AT(*nodes, EbCNode, term->node));
	}
	for (uint32 i = 0; i < b->shape_fields.n; i++)
	{
		EbCShapeField *f = EB_AT(b->shape_fields, EbCShapeField, i);

		f->node = renumber[f->node];
		for (uint32 d = 0; d < f->depth; d++)
			WORD(b, f->path + d) = renumber[WORD(b, f->path + d)];
	}
	for (uint32 i = 0; i < b->bshapes.n; i++)
	{
		EbCShape   *shape = &EB_AT(b->bshapes, EbBuildShape, i)->compiled;

		for (uint32 s = 0; s < shape->nshared; s++)
			WORD(b, shape->shared + s) = renumber[WORD(b, shape->shared + s)];
	}
	for (uint32 i = 0; i < b->exclusion_groups.n; i++)
	{
		EbCExclusionGroup *group = EB_AT(b->exclusion_groups,
										 EbCExclusionGroup, i);

		if (group->node != EB_NONE)
			group->node = renumber[group->node];
	}
	for (uint32 i = 0; i < b->entries.n; i++)
	{
		EbCEntry   *entry = EB_AT(b->entries, EbCEntry, i);

		entry->node = renumber[entry->node];
	}
	for (uint32 s = 0; s < b->states.n; s++)
	{
		EbCState   *state = EB_AT(b->states, EbCState, s);

		for (uint32 e = 0; e < state->nentries; e++)
		{
			uint32		entry = state->first_entry + e;
			uint32		node = EB_AT(b->entries, EbCEntry, entry)->node;
			EbCSlot		slot = {EB_SLOT_STATE(s, node), entry, 0};

			if (s == 0)
				EB_AT(*nodes, EbCNode, node)->root_entry = entry;
			else if (state->nentries > EB_STATE_SCAN_MAX)
				eb_vector_push(&b->slots, &slot);
		}
	}
	for (uint32 i = 0; i < nodes->n; i++)
	{
		EbCNode    *node = EB_AT(*nodes, EbCNode, i);

		if (node->nchildren < HASHED_CHILDREN)
			continue;
		node->flags |= EB_NODE_HASHED;
		for (uint32 c = 0; c < node->nchildren; c++)
		{
			EbCNode    *child = EB_AT(*nodes, EbCNode, node->first_child + c);
			EbCSlot		slot;

			slot.key = EB_SLOT_CHILD(i, eb_hash_bytes(keys + child->key,
													  child->keylen));
			slot.value = node->first_child + c;
			slot.pad = 0;
			eb_vector_push(&b->slots, &slot);
		}
	}
}

/* ---- the block ---- */

static uint32
table_size(uint32 n)
{
	uint32		size = 8;

	while (size < n + n / 2)
		size *= 2;
	return size;
}

static uint64
atom_hash(const EbCTest *test)
{
	EbNumber	n;

	if (test->kind == EB_TEST_STRING)
		return eb_hash_bytes(EB_CTEST_DATA(test), test->len);
	eb_cnumber_view((const EbCNumber *) EB_CTEST_DATA(test), &n);
	return eb_number_hash(&n);
}

static void
fill_atoms(const EbPatternBuilder *b, const uint32 *places, EbCAtom *atoms,
		   uint32 mask)
{
	for (uint32 i = 0; i <= mask; i++)
		atoms[i].test = EB_NONE;
	for (uint32 t = 0; t < eb_intern_count(b->tests); t++)
	{
		const EbCTest *test = eb_build_test(b, t);
		uint32		hash;
		uint32		i;

		if (test->kind != EB_TEST_STRING && test->kind != EB_TEST_NUMBER)
			continue;
		hash = (uint32) atom_hash(test);
		for (i = hash & mask; atoms[i].test != EB_NONE;)
			i = (i + 1) & mask;
		atoms[i].hash = hash;
		atoms[i].test = t;
		atoms[i].place = places[t];
	}
}

static void
fill_slots(const EbPatternBuilder *b, EbCSlot *slots, uint32 mask)
{
	for (uint32 i = 0; i <= mask; i++)
		slots[i].key = EB_SLOT_FREE;
	for (uint32 s = 0; s < b->slots.n; s++)
	{
		const EbCSlot *slot = EB_AT(b->slots, EbCSlot, s);
		uint32		i = (uint32) eb_hash_mix(slot->key) & mask;

		while (slots[i].key != EB_SLOT_FREE)
			i = (i + 1) & mask;
		slots[i] = *slot;
	}
}

static Size
reserve(Size *size, Size n, Size width)
{
	Size		start = *size;

	*size += MAXALIGN(n * width);
	return start;
}

/* Copies one array to its place. */
static void
put(EbCompiled *c, Size offset, const EbVector *vec)
{
	if (vec->n > 0)
		memcpy((char *) c + offset, vec->data, (Size) vec->n * vec->width);
}

/* Where each array goes, and how large the block is */
static void
lay_out(const EbPatternBuilder *b, uint32 nnodes, Size nbytes, EbCompiled *c)
{
	Size		size = MAXALIGN(sizeof(EbCompiled));
	uint32		ntests = eb_intern_count(b->tests);
	uint32		natoms = 0;

	for (uint32 t = 0; t < ntests; t++)
	{
		uint8		kind = eb_build_test(b, t)->kind;

		natoms += kind == EB_TEST_STRING || kind == EB_TEST_NUMBER;
	}
	memset(c, 0, sizeof(*c));
	c->head.magic = EB_PATTERN_MAGIC;
	c->head.nrules = b->nrules;
	c->nnodes = nnodes;
	c->nterms = b->cterms.n;
	c->nconjunctions = b->conjunctions.n;
	c->nstates = b->states.n;
	c->nmarks = b->nmarks;
	c->slot_mask = table_size(b->slots.n) - 1;
	c->atom_mask = table_size(natoms) - 1;

	c->nodes = reserve(&size, nnodes, sizeof(EbCNode));
	c->tests = reserve(&size, ntests, sizeof(uint32));
	c->bytes = reserve(&size, nbytes, 1);
	c->terms = reserve(&size, b->cterms.n, sizeof(EbCTerm));
	c->conjunctions = reserve(&size, b->conjunctions.n, sizeof(EbCConjunction));
	c->shapes = reserve(&size, b->bshapes.n, sizeof(EbCShape));
	c->shape_fields = reserve(&size, b->shape_fields.n, sizeof(EbCShapeField));
	c->words = reserve(&size, b->words.n, sizeof(uint32));
	c->states = reserve(&size, b->states.n, sizeof(EbCState));
	c->entries = reserve(&size, b->entries.n, sizeof(EbCEntry));
	c->details = reserve(&size, b->details.n, sizeof(EbCDetail));
	c->exclusions = reserve(&size, b->exclusions.n, sizeof(EbCExclusions));
	c->exclusion_groups = reserve(&size, b->exclusion_groups.n,
								  sizeof(EbCExclusionGroup));
	c->excluded = reserve(&size, b->excluded.n, sizeof(EbCExcluded));
	c->bounds = reserve(&size, b->bounds.n, sizeof(EbCBound));
	c->intervals = reserve(&size, b->intervals.n, sizeof(EbCInterval));
	c->slots = reserve(&size, (Size) c->slot_mask + 1, sizeof(EbCSlot));
	c->atoms = reserve(&size, (Size) c->atom_mask + 1, sizeof(EbCAtom));
	c->head.size = size;
}

/* The place of each test in bytes[], behind the keys */
static uint32 *
place_tests(const EbPatternBuilder *b, Size *nbytes)
{
	uint32		ntests = eb_intern_count(b->tests);
	uint32	   *places = palloc_extended(ntests * sizeof(uint32),
										 MCXT_ALLOC_HUGE);

	for (uint32 t = 0; t < ntests; t++)
	{
		uint32		len;

		(void) eb_intern_key(b->tests, t, &len);
		if (*nbytes > PG_UINT32_MAX / 2)
			refuse_size();
		places[t] = (uint32) *nbytes;
		*nbytes += MAXALIGN(len);
	}
	return places;
}

/* Puts the place of a test where its number was until now. */
static void
resolve_places(EbCompiled *c, const EbPatternBuilder *b, const uint32 *places)
{
	EbCTerm    *terms = (EbCTerm *) ((char *) c + c->terms);
	EbCBound   *bounds = (EbCBound *) ((char *) c + c->bounds);

	for (uint32 t = 0; t < c->nterms; t++)
	{
		if (terms[t].form == EB_TERM_TEST)
			terms[t].first = places[terms[t].first];
	}
	for (uint32 i = 0; i < b->bounds.n; i++)
	{
		uint32		place = places[bounds[i].number] + sizeof(EbCTest);

		/* pad told which of the two numbers of the range */
		if (bounds[i].pad)
			place += EB_CNUMBER_SIZE(((const EbCNumber *) (EB_BLOCK(c, bytes) + place))->ndigits);
		bounds[i].number = place;
		bounds[i].pad = 0;
	}
}

static EbCompiled *
write_block(EbPatternBuilder *b, EbVector *nodes, StringInfo keys,
			MemoryContext context)
{
	EbCompiled	head;
	EbCompiled *c;
	Size		nbytes = MAXALIGN(keys->len);
	uint32	   *places = place_tests(b, &nbytes);
	uint32		ntests = eb_intern_count(b->tests);
	char	   *bytes;

	if (b->words.n > EB_MAX_WORDS)
		refuse_size();
	lay_out(b, nodes->n, nbytes, &head);
	c = MemoryContextAllocExtended(context, head.head.size,
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	*c = head;
	bytes = (char *) c + c->bytes;
	memcpy(bytes, keys->data, keys->len);
	for (uint32 t = 0; t < ntests; t++)
	{
		uint32		len;
		const char *test = eb_intern_key(b->tests, t, &len);

		memcpy(bytes + places[t], test, len);
	}
	memcpy((char *) c + c->tests, places, ntests * sizeof(uint32));
	put(c, c->nodes, nodes);
	put(c, c->terms, &b->cterms);
	put(c, c->conjunctions, &b->conjunctions);
	for (uint32 i = 0; i < b->bshapes.n; i++)
		((EbCShape *) ((char *) c + c->shapes))[i] =
			EB_AT(b->bshapes, EbBuildShape, i)->compiled;
	put(c, c->shape_fields, &b->shape_fields);
	put(c, c->words, &b->words);
	put(c, c->states, &b->states);
	put(c, c->entries, &b->entries);
	put(c, c->details, &b->details);
	put(c, c->exclusions, &b->exclusions);
	put(c, c->exclusion_groups, &b->exclusion_groups);
	put(c, c->excluded, &b->excluded);
	put(c, c->intervals, &b->intervals);
	put(c, c->bounds, &b->bounds);
	resolve_places(c, b, places);
	fill_slots(b, (EbCSlot *) ((char *) c + c->slots), c->slot_mask);
	fill_atoms(b, places, (EbCAtom *) ((char *) c + c->atoms), c->atom_mask);
	return c;
}

EbPatternSet *
eb_pattern_builder_finish(EbPatternBuilder *b)
{
	MemoryContext caller = CurrentMemoryContext;
	EbVector	nodes;
	StringInfoData keys;
	uint32	   *renumber;
	EbCompiled *c;

	MemoryContextSwitchTo(b->context);
	eb_vector_init(&nodes, sizeof(EbCNode));
	initStringInfo(&keys);
	eb_index_build(b);
	renumber = order_nodes(b, &nodes, &keys);
	renumber_all(b, renumber, &nodes, keys.data);
	c = write_block(b, &nodes, &keys, caller);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(b->context);
	return &c->head;
}
