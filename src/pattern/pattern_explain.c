/*-------------------------------------------------------------------------
 *
 * pattern_explain.c
 *	  Why an event misses a pattern: the first field that failed.
 *
 * "First" is by the order of paths as text, the order in which the fields of
 * a conjunction depend on each other.  Of a conjunction the fields up to a
 * rank are tried together, as the matcher itself would, with more and more
 * fields until they no longer hold; so fields that hold one by one but not in
 * the same element of an array are found too.  Of several conjunctions the
 * one that came furthest is reported.  Cost: fields times one match.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pattern/pattern_match.h"

/* Values that a path leads to, arrays being passed through */
typedef struct Found
{
	int			n;
	int			max;
	EbValue    *values;
} Found;

static void
collect(Found *found, const EbPathNode *const *path, uint32 depth,
		const EbValue *v)
{
	EbIter		it;
	EbValue		child;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (depth == 0)
	{
		if (found->n == found->max)
		{
			found->max = Max(8, found->max * 2);
			found->values = found->values == NULL ?
				palloc(found->max * sizeof(EbValue)) :
				repalloc_huge(found->values, found->max * sizeof(EbValue));
		}
		found->values[found->n++] = *v;
	}
	else if (v->type == EB_OBJECT)
	{
		if (eb_object_get(EB_CONTAINER(*v), path[0]->key, path[0]->keylen,
						  &child))
			collect(found, path + 1, depth - 1, &child);
	}
	else if (v->type == EB_ARRAY)
	{
		eb_iter_init(&it, EB_CONTAINER(*v));
		while (eb_iter_element(&it, &child))
			collect(found, path, depth, &child);
	}
}

static void
copy_value(JsonbValue *to, const EbValue *v)
{
	Size		size;
	char	   *copy;

	switch (v->type)
	{
		case EB_NULL:
			to->type = jbvNull;
			break;
		case EB_TRUE:
		case EB_FALSE:
			to->type = jbvBool;
			to->val.boolean = v->type == EB_TRUE;
			break;
		case EB_NUMBER:
			size = VARSIZE_ANY(v->ptr);
			copy = palloc(size);
			memcpy(copy, v->ptr, size);
			to->type = jbvNumeric;
			to->val.numeric = (Numeric) copy;
			break;
		case EB_STRING:
			copy = palloc(v->len + 1);
			memcpy(copy, v->ptr, v->len);
			copy[v->len] = '\0';
			to->type = jbvString;
			to->val.string.len = (int) v->len;
			to->val.string.val = copy;
			break;
		case EB_OBJECT:
		case EB_ARRAY:
			size = eb_container_size(EB_CONTAINER(*v));
			copy = palloc(size);
			memcpy(copy, v->ptr, size);
			to->type = jbvBinary;
			to->val.binary.len = (int) size;
			to->val.binary.data = (JsonbContainer *) copy;
			break;
	}
}

/* Appends the data of a value to that of a container; returns its type bits. */
static JEntry
append_data(StringInfo out, const EbValue *v)
{
	switch (v->type)
	{
		case EB_NULL:
			return JENTRY_ISNULL;
		case EB_TRUE:
			return JENTRY_ISBOOL_TRUE;
		case EB_FALSE:
			return JENTRY_ISBOOL_FALSE;
		case EB_STRING:
			appendBinaryStringInfo(out, v->ptr, (int) v->len);
			return JENTRY_ISSTRING;
		default:
			break;
	}
	while (out->len % sizeof(uint32) != 0)
		appendStringInfoChar(out, '\0');
	if (v->type == EB_NUMBER)
	{
		appendBinaryStringInfo(out, v->ptr, (int) VARSIZE_ANY(v->ptr));
		return JENTRY_ISNUMERIC;
	}
	appendBinaryStringInfo(out, v->ptr,
						   (int) eb_container_size(EB_CONTAINER(*v)));
	return JENTRY_ISCONTAINER;
}

/*
 * An array of values, as jsonb stores it.  (In memory an array must not hold
 * binary containers.)  Containers can be moved, so their bytes are copied.
 */
static void
array_of_values(JsonbValue *to, const Found *found)
{
	StringInfoData out;
	uint32		header = JB_FARRAY | (uint32) found->n;
	JEntry		none = 0;
	int			base;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, (const char *) &header, sizeof(header));
	for (int i = 0; i < found->n; i++)
		appendBinaryStringInfo(&out, (const char *) &none, sizeof(none));
	base = out.len;
	for (int i = 0; i < found->n; i++)
	{
		int			start = out.len;
		JEntry		entry = append_data(&out, &found->values[i]);

		if (i % JB_OFFSET_STRIDE == 0)
			entry |= JENTRY_HAS_OFF | (uint32) (out.len - base);
		else
			entry |= (uint32) (out.len - start);
		memcpy(out.data + sizeof(header) + i * sizeof(JEntry), &entry,
			   sizeof(entry));
	}
	to->type = jbvBinary;
	to->val.binary.len = out.len;
	to->val.binary.data = (JsonbContainer *) out.data;
}

static void
describe(const EbPattern *pattern, const EbField *field,
		 JsonbContainer *event, EbPatternMiss *miss)
{
	uint32		depth = pattern->nodes[field->node].depth;
	const EbPathNode **path = palloc(depth * sizeof(EbPathNode *));
	EbValue		root = {EB_OBJECT, 0, (const char *) event};
	Found		found = {0, 0, NULL};
	StringInfoData text;

	for (uint32 n = field->node; n != 0; n = pattern->nodes[n].parent)
		path[pattern->nodes[n].depth - 1] = &pattern->nodes[n];

	initStringInfo(&text);
	appendStringInfoChar(&text, '$');
	for (uint32 d = 0; d < depth; d++)
		eb_key_to_path(&text, path[d]->key, path[d]->keylen);
	miss->path = text.data;

	initStringInfo(&text);
	eb_tests_to_json(&text, field->tests, field->ntests);
	miss->predicate = text.data;

	collect(&found, path, depth, &root);
	miss->value = NULL;
	if (found.n > 0)
	{
		miss->value = palloc0(sizeof(JsonbValue));
		if (found.n == 1)
			copy_value(miss->value, &found.values[0]);
		else
			array_of_values(miss->value, &found);
	}
	pfree(path);
}

/* The fields of a conjunction, in the order of paths, that hold together */
static uint32
fields_that_hold(EbMatch *m, const EbCConjunction *c, JsonbContainer *event)
{
	const EbCShape *shape = &m->shapes[c->shape];
	uint32		max_rank = 0;
	uint32		nholding = 0;
	uint32		failing = PG_UINT32_MAX;

	for (uint32 f = 0; f < shape->nfields; f++)
		max_rank = Max(max_rank, m->shape_fields[shape->fields + f].rank);
	for (uint32 rank = 0; rank <= max_rank && failing == PG_UINT32_MAX; rank++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!eb_conjunction_holds(m, c, rank, event))
			failing = rank;
	}
	for (uint32 f = 0; f < shape->nfields; f++)
		nholding += m->shape_fields[shape->fields + f].rank < failing;
	return nholding;
}

bool
eb_pattern_explain(const EbPattern *pattern, JsonbContainer *event,
				   EbPatternMiss *miss)
{
	EbPatternBuilder *b = eb_pattern_builder_create(1);
	EbPatternSet *set;
	EbPatternScratch *s;
	EbMatch		m;
	const uint32 *rules;
	int			best = 0;
	uint32		best_holding = 0;
	bool		result;

	eb_pattern_builder_add(b, pattern, 0);
	set = eb_pattern_builder_finish(b);
	s = eb_pattern_scratch_create();
	result = eb_pattern_match(set, s, event, &rules) > 0;
	if (!result)
	{
		/* conjunctions were added in the pattern's order */
		eb_match_begin(&m, set, s);
		for (int i = 0; i < pattern->nconjunctions; i++)
		{
			uint32		holding = fields_that_hold(&m, &m.conjunctions[i], event);

			if (i == 0 || holding > best_holding)
			{
				best = i;
				best_holding = holding;
			}
		}
		if (best_holding >= (uint32) pattern->conjunctions[best].nfields)
			elog(ERROR, "event misses a pattern of which all fields hold");
		describe(pattern, pattern->conjunctions[best].fields[best_holding],
				 event, miss);
	}
	MemoryContextDelete(s->context);
	pfree(set);
	return result;
}
