/*-------------------------------------------------------------------------
 *
 * pattern_array.c
 *	  Conjunctions whose fields meet in an array: the recursion.
 *
 * A set of fields, each with the rest of its path, is matched against a
 * value: an object hands them on by their next key; in an array one element
 * must satisfy them all; a scalar must be where they all end.
 *
 * Fields of exists: false ("missing") complicate the array.  One that is
 * anchored, that is, whose path sorts after the path of another field that
 * is satisfied within an element of this array, must be missing in that same
 * element; any other must be missing in all elements.  A scalar that lies
 * directly in the array satisfies the field that ends there without choosing
 * an element, so it anchors nothing; where that loses, the same field may
 * still be satisfied inside of an element (of a nested array).  A field with
 * exists: false beside other tests is tried as either.
 *
 * Cost: every value of the event below the fields' paths is looked at once
 * for each subset of fields that reaches it, and those subsets only shrink by
 * one field per nested array; mixed fields double the work each, as many as
 * have a value in the array (at most EB_PATTERN_MAX_MIXED_EXISTS).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pattern/pattern_match.h"

/* What a field is taken for */
typedef enum FieldMode
{
	MODE_OFF,					/* plays no part at the moment */
	MODE_TEST,					/* one of its tests must hold */
	MODE_MISSING,				/* there must be no leaf */
	MODE_EITHER					/* not decided yet */
} FieldMode;

typedef struct Recursion
{
	EbMatch    *m;
	const EbCShapeField *fields;
	const uint32 *terms;		/* of the fields */
	uint8	   *modes;			/* of the fields */
} Recursion;

static bool holds(Recursion *r, uint32 from, uint32 to, uint32 depth,
				  const EbValue *v);

/* The key that a field goes on with after depth keys */
static bool
next_value(Recursion *r, uint32 field, uint32 depth,
		   const JsonbContainer *object, EbValue *v)
{
	uint32		node = r->m->words[r->fields[field].path + depth];
	const EbCNode *n = &r->m->nodes[node];

	return eb_object_get(object, r->m->bytes + n->key, n->keylen, v);
}

static void
set_mode(Recursion *r, uint32 field, FieldMode mode)
{
	EbPatternScratch *s = r->m->s;

	if (s->nundo + 2 > s->maxundo)
	{
		uint32		max = Max(64, s->maxundo * 2);

		if (s->undo == NULL)
			s->undo = MemoryContextAlloc(s->context, max * sizeof(uint32));
		else
			s->undo = repalloc_huge(s->undo, max * sizeof(uint32));
		s->maxundo = max;
	}
	s->undo[s->nundo++] = field;
	s->undo[s->nundo++] = r->modes[field];
	r->modes[field] = mode;
}

static void
undo(Recursion *r, uint32 mark)
{
	EbPatternScratch *s = r->m->s;

	while (s->nundo > mark)
	{
		s->nundo -= 2;
		r->modes[s->undo[s->nundo]] = (uint8) s->undo[s->nundo + 1];
	}
}

/* Is there no leaf at all at the rest of a field's path? */
static bool
missing(Recursion *r, uint32 field, uint32 depth, const EbValue *v)
{
	bool		ends = r->fields[field].depth == depth;
	EbValue		child;
	EbIter		it;

	check_stack_depth();
	switch (v->type)
	{
		case EB_OBJECT:
			return ends ||
				!next_value(r, field, depth, EB_CONTAINER(*v), &child) ||
				missing(r, field, depth + 1, &child);
		case EB_ARRAY:
			eb_iter_init(&it, EB_CONTAINER(*v));
			while (eb_iter_element(&it, &child))
			{
				CHECK_FOR_INTERRUPTS();
				if (!missing(r, field, depth, &child))
					return false;
			}
			return true;
		default:
			return !ends;
	}
}

static bool
leaf_holds(Recursion *r, uint32 field, const EbValue *v)
{
	EbLeaf		leaf;

	eb_leaf_init(&leaf, v);
	return eb_term_holds_leaf(r->m, &r->m->terms[r->terms[field]], &leaf);
}

static bool
holds_scalar(Recursion *r, uint32 from, uint32 to, uint32 depth,
			 const EbValue *v)
{
	for (uint32 f = from; f < to; f++)
	{
		bool		ends = r->fields[f].depth == depth;

		switch ((FieldMode) r->modes[f])
		{
			case MODE_OFF:
				break;
			case MODE_TEST:
				if (!ends || !leaf_holds(r, f, v))
					return false;
				break;
			case MODE_MISSING:
				if (ends)
					return false;
				break;
			case MODE_EITHER:
				if (ends && !leaf_holds(r, f, v))
					return false;
				break;
		}
	}
	return true;
}

static bool
holds_object(Recursion *r, uint32 from, uint32 to, uint32 depth,
			 const JsonbContainer *object)
{
	for (uint32 f = from; f < to;)
	{
		uint32		node;
		uint32		end = f;
		bool		needed = false;
		bool		active = false;
		EbValue		v;

		if (r->fields[f].depth == depth)
		{
			/* an object is no leaf */
			if (r->modes[f] == MODE_TEST)
				return false;
			f++;
			continue;
		}
		node = r->m->words[r->fields[f].path + depth];
		while (end < to && r->fields[end].depth > depth &&
			   r->m->words[r->fields[end].path + depth] == node)
		{
			needed |= r->modes[end] == MODE_TEST;
			active |= r->modes[end] != MODE_OFF;
			end++;
		}
		if (active)
		{
			if (!next_value(r, f, depth, object, &v))
			{
				if (needed)
					return false;
			}
			else if (!holds(r, f, end, depth + 1, &v))
				return false;
		}
		f = end;
	}
	return true;
}

/* All but what ends here and was satisfied by a scalar in this array */
static bool
holds_element(Recursion *r, uint32 from, uint32 to, uint32 depth,
			  const EbValue *v)
{
	uint32		mark = r->m->s->nundo;
	uint32		first_rank = PG_UINT32_MAX;
	EbIter		it;
	EbValue		e;
	bool		result = false;

	for (uint32 f = from; f < to; f++)
	{
		if (r->modes[f] == MODE_TEST)
			first_rank = Min(first_rank, r->fields[f].rank);
	}
	for (uint32 f = from; f < to; f++)
	{
		if (r->modes[f] != MODE_MISSING || r->fields[f].rank > first_rank)
			continue;
		if (!missing(r, f, depth, v))
		{
			undo(r, mark);
			return false;
		}
		set_mode(r, f, MODE_OFF);
	}
	if (first_rank == PG_UINT32_MAX)
		result = true;
	else
	{
		eb_iter_init(&it, EB_CONTAINER(*v));
		while (!result && eb_iter_element(&it, &e))
		{
			CHECK_FOR_INTERRUPTS();
			/* no field is satisfied within a scalar, see holds_array() */
			if (!EB_TYPE_IS_SCALAR(e.type))
				result = holds(r, from, to, depth, &e);
		}
	}
	undo(r, mark);
	return result;
}

/* Does a scalar that lies directly in the array satisfy the field? */
static bool
holds_directly(Recursion *r, uint32 field, const EbValue *v)
{
	EbIter		it;
	EbValue		e;

	eb_iter_init(&it, EB_CONTAINER(*v));
	while (eb_iter_element(&it, &e))
	{
		if (EB_TYPE_IS_SCALAR(e.type) && leaf_holds(r, field, &e))
			return true;
	}
	return false;
}

static bool
holds_array(Recursion *r, uint32 from, uint32 to, uint32 depth,
			const EbValue *v)
{
	uint32		mark = r->m->s->nundo;
	bool		any_missing = false;
	bool		result = false;

	for (uint32 f = from; f < to; f++)
	{
		if (r->modes[f] != MODE_EITHER)
		{
			any_missing |= r->modes[f] == MODE_MISSING;
			continue;
		}
		if (missing(r, f, depth, v))
		{
			/* no test can hold, and there is nothing to choose */
			set_mode(r, f, MODE_OFF);
			continue;
		}
		set_mode(r, f, MODE_TEST);
		result = holds_array(r, from, to, depth, v);
		if (!result)
		{
			set_mode(r, f, MODE_MISSING);
			result = holds_array(r, from, to, depth, v);
		}
		undo(r, mark);
		return result;
	}

	for (uint32 f = from; f < to; f++)
	{
		uint32		inner = r->m->s->nundo;

		/* a path occurs once in a conjunction, so this is the only one */
		if (r->modes[f] != MODE_TEST || r->fields[f].depth != depth)
			continue;
		if (holds_directly(r, f, v))
		{
			set_mode(r, f, MODE_OFF);
			result = holds_element(r, from, to, depth, v);
			undo(r, inner);
			if (result || !any_missing)
			{
				undo(r, mark);
				return result;
			}
		}
		break;
	}
	result = holds_element(r, from, to, depth, v);
	undo(r, mark);
	return result;
}

static bool
holds(Recursion *r, uint32 from, uint32 to, uint32 depth, const EbValue *v)
{
	check_stack_depth();
	switch (v->type)
	{
		case EB_OBJECT:
			return holds_object(r, from, to, depth, EB_CONTAINER(*v));
		case EB_ARRAY:
			return holds_array(r, from, to, depth, v);
		default:
			return holds_scalar(r, from, to, depth, v);
	}
}

/*
 * Does the event satisfy a conjunction, or the part of it whose paths rank at
 * most max_rank?
 */
bool
eb_conjunction_holds(EbMatch *m, const EbCConjunction *c, uint32 max_rank,
					 const JsonbContainer *event)
{
	EbPatternScratch *s = m->s;
	const EbCShape *shape = &m->shapes[c->shape];
	Recursion	r;

	if (shape->nfields > s->maxfields)
	{
		if (s->modes)
			pfree(s->modes);
		s->modes = NULL;
		s->modes = MemoryContextAlloc(s->context, shape->nfields);
		s->maxfields = shape->nfields;
	}
	s->nundo = 0;
	r.m = m;
	r.fields = m->shape_fields + shape->fields;
	r.terms = m->words + c->terms;
	r.modes = s->modes;
	for (uint32 f = 0; f < shape->nfields; f++)
	{
		const EbCTerm *term = &m->terms[r.terms[f]];

		if (r.fields[f].rank > max_rank)
			r.modes[f] = MODE_OFF;
		else if (!term->ok_missing)
			r.modes[f] = MODE_TEST;
		else
			r.modes[f] = term->nexact + term->nother > 0 ?
				MODE_EITHER : MODE_MISSING;
	}
	return holds_object(&r, 0, shape->nfields, 0, event);
}
