/*-------------------------------------------------------------------------
 *
 * pattern_match.h
 *	  State of one match, shared by pattern_match.c (one pass over the event,
 *	  states, verification), pattern_test.c (does a test hold for a leaf) and
 *	  pattern_array.c (conjunctions whose fields meet in an array).
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_MATCH_H
#define EB_PATTERN_MATCH_H

#include "pattern/pattern_compiled.h"

#define EB_ATOM_UNKNOWN		(PG_UINT32_MAX - 1)

/* A leaf of the event at a node. */
typedef struct EbLeaf
{
	EbValue		value;
	uint32		atom;			/* number of the test that it equals: EB_NONE
								 * none, EB_ATOM_UNKNOWN not looked up yet */
	uint32		next;			/* next leaf of the node, or EB_NONE */
	bool		decoded;
	bool		address_read;
	EbNumber	number;			/* once decoded */
	EbAddress	address;		/* once address_read */
} EbLeaf;

/* What the event has at a node; stale unless epoch is the current one. */
typedef struct EbSeen
{
	uint32		epoch;
	uint32		first;			/* leaves */
	uint32		last;
	uint32		array_epoch;	/* of the last event with an array here */
} EbSeen;

struct EbPatternScratch
{
	MemoryContext context;
	uint32		epoch;			/* of the current event; stamps compare to it */

	uint32		maxnodes;
	EbSeen	   *seen;			/* by node */
	uint32		maxterms;
	uint32	   *memo;			/* by term: 2 * epoch, + 1 if it holds */
	uint32		maxconjunctions;
	uint32	   *tried;			/* by conjunction: epoch */
	uint32		maxstates;
	uint32	   *visited;		/* by state: epoch */

	uint32		maxmarks;
	uint32	   *marks;			/* by position of exclusions: epoch */

	uint32		nleaves;
	uint32		maxleaves;
	EbLeaf	   *leaves;
	uint32		npresent;		/* nodes with leaves */
	uint32	   *present;

	uint32		nrules;			/* found so far */
	uint32		maxrules;
	uint32	   *rules;
	bool		ascending;
	uint32		maxbits;		/* work space of sorting them */
	uint64	   *bits;

	uint32		maxfields;		/* work space of pattern_array.c */
	uint8	   *modes;
	uint32	   *undo;
	uint32		nundo;
	uint32		maxundo;
};

/* The arrays of a set, and the scratch */
typedef struct EbMatch
{
	EbPatternScratch *s;
	uint32		epoch;
	bool		inner_array;	/* the event has an array that fields go into */
	bool		many;			/* some node has several leaves */
	uint32		first_mark;		/* of the exclusions being struck out */
	uint32		nrules;			/* of the set */
	const EbCNode *nodes;
	const uint32 *tests;
	const char *bytes;
	const EbCTerm *terms;
	const EbCConjunction *conjunctions;
	const EbCShape *shapes;
	const EbCShapeField *shape_fields;
	const uint32 *words;
	const EbCState *states;
	const EbCEntry *entries;
	const EbCDetail *details;
	const EbCExclusions *exclusions;
	const EbCExclusionGroup *exclusion_groups;
	const EbCExcluded *excluded;
	const EbCBound *bounds;
	const EbCInterval *intervals;
	const EbCSlot *slots;
	uint64		slot_mask;
	const EbCAtom *atoms;
	uint32		atom_mask;
} EbMatch;

static inline const EbCTest *
eb_ctest(const EbMatch *m, uint32 test)
{
	return (const EbCTest *) (m->bytes + m->tests[test]);
}

static inline const EbNumber *
eb_leaf_number(EbLeaf *leaf)
{
	if (!leaf->decoded)
	{
		eb_number_decode(leaf->value.ptr, &leaf->number);
		leaf->decoded = true;
	}
	return &leaf->number;
}

static inline void
eb_leaf_init(EbLeaf *leaf, const EbValue *value)
{
	leaf->value = *value;
	leaf->atom = EB_ATOM_UNKNOWN;
	leaf->next = EB_NONE;
	leaf->decoded = false;
	leaf->address_read = false;
}

/* pattern_test.c */
extern uint32 eb_leaf_find_atom(const EbMatch *m, uint32 node, EbLeaf *leaf);
extern bool eb_test_holds(const EbMatch *m, const EbCTest *test, uint32 node,
						  EbLeaf *leaf);
extern bool eb_term_any_holds(const EbMatch *m, const EbCTerm *term,
							  EbLeaf *leaf);
extern const EbAddress *eb_leaf_address(EbLeaf *leaf);

static inline uint32
eb_leaf_atom(const EbMatch *m, uint32 node, EbLeaf *leaf)
{
	if (leaf->atom == EB_ATOM_UNKNOWN)
		leaf->atom = eb_leaf_find_atom(m, node, leaf);
	return leaf->atom;
}

/* Does one of the tests of a term hold for a leaf? */
static inline bool
eb_term_holds_leaf(const EbMatch *m, const EbCTerm *term, EbLeaf *leaf)
{
	switch ((EbTermForm) term->form)
	{
		case EB_TERM_ONE:
			return eb_leaf_atom(m, term->node, leaf) == term->first;
		case EB_TERM_BUT_ONE:
			return eb_leaf_atom(m, term->node, leaf) != term->first;
		case EB_TERM_TEST:
			return eb_test_holds(m, (const EbCTest *) (m->bytes + term->first),
								 term->node, leaf);
		case EB_TERM_NEVER:
			return false;
		case EB_TERM_EXACT:
		case EB_TERM_ANY:
			break;
	}
	return eb_term_any_holds(m, term, leaf);
}

/* pattern_match.c */
extern void eb_match_begin(EbMatch *m, const EbPatternSet *set,
						   EbPatternScratch *scratch);

/* pattern_array.c */
extern bool eb_conjunction_holds(EbMatch *m, const EbCConjunction *c,
								 uint32 max_rank,
								 const JsonbContainer *event);

#endif							/* EB_PATTERN_MATCH_H */
