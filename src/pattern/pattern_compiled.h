/*-------------------------------------------------------------------------
 *
 * pattern_compiled.h
 *	  The block that a set of patterns is compiled into.
 *
 * The block is a head and a number of arrays; the head holds the offset of
 * each from itself.  Everything else refers to array elements by number.  The
 * argument for the shape is in README.md.
 *
 *	 node		a place in events: a key below another node.  Children of a
 *				node are neighbours, in the order of keys in jsonb objects.
 *	 test		one distinct test, a CTest and what belongs to it in bytes[]
 *	 term		one distinct list of tests on one node
 *	 conjunction	a term for each of the fields of its shape
 *	 shape		the nodes of a conjunction, with what array consistency needs
 *	 state		conjunctions that share what was seen to hold so far, each
 *				filed under one of their remaining terms
 *	 entry		the terms of one state on one node
 *	 posting	where a test that holds leads to: a state, or placements
 *	 placement	a conjunction and the terms that are still to be verified
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_COMPILED_H
#define EB_PATTERN_COMPILED_H

#include "pattern/pattern_hash.h"
#include "pattern/pattern_int.h"

#define EB_PATTERN_MAGIC	0x45425032	/* "EBP2" */

#define EB_NONE				PG_UINT32_MAX

typedef struct EbCNode
{
	uint32		key;			/* place in bytes[] */
	uint32		keylen;
	uint32		parent;
	uint32		first_child;
	uint32		nchildren;
	uint32		root_entry;		/* entry of state 0, or EB_NONE */
	uint32		flags;
} EbCNode;

#define EB_NODE_IS_FIELD	0x01	/* some term is about this node */
#define EB_NODE_STRINGS		0x02	/* ... and compares strings for equality */
#define EB_NODE_NUMBERS		0x04
#define EB_NODE_HASHED		0x08	/* children are found through slots[] */

/* A number as it is stored; pad to MAXALIGN before the next one. */
typedef struct EbCNumber
{
	uint64		key;
	int32		ndigits;
	int16		weight;
	int16		negative;
	int16		digits[FLEXIBLE_ARRAY_MEMBER];
} EbCNumber;

#define EB_CNUMBER_SIZE(ndigits) \
	MAXALIGN(offsetof(EbCNumber, digits) + (ndigits) * sizeof(int16))

typedef struct EbCTest
{
	uint8		kind;
	uint8		flags;			/* EB_RANGE_*; for anything-but EB_BUT_EXACT */
	uint16		pad;
	uint32		len;			/* bytes of text, or number of subs */
} EbCTest;

#define EB_BUT_EXACT		0x01	/* subs are strings or numbers, by number */

#define EB_CTEST_DATA(t)	((const char *) ((t) + 1))

/* How a term is verified. */
typedef enum EbTermForm
{
	EB_TERM_ONE,				/* the leaf is this value */
	EB_TERM_EXACT,				/* the leaf is one of these values */
	EB_TERM_NEVER,				/* no leaf will do: exists: false alone */
	EB_TERM_BUT_ONE,			/* the leaf is not this value */
	EB_TERM_TEST,				/* one test that is no comparison for equality */
	EB_TERM_ANY					/* any of tests of several kinds */
} EbTermForm;

typedef struct EbCTerm
{
	uint32		node;
	uint32		tests;			/* in words[]: nexact ascending, then nother */
	uint32		nexact;
	uint32		nother;
	uint32		first;			/* the value of EB_TERM_ONE, EB_TERM_BUT_ONE;
								 * of EB_TERM_TEST the test's place in bytes[] */
	uint8		form;			/* EbTermForm */
	bool		ok_missing;
	bool		memorize;		/* remembering costs less than doing it again */
	uint8		pad;
} EbCTerm;

typedef struct EbCConjunction
{
	uint32		rule;
	uint32		shape;
	uint32		terms;			/* in words[], one for each field of the shape */
} EbCConjunction;

/*
 * Fields of a shape are sorted so that those below one node are neighbours.
 */
typedef struct EbCShape
{
	uint32		nfields;
	uint32		fields;			/* in shape_fields[] */
	uint32		nshared;
	uint32		shared;			/* in words[]: nodes on the way of several
								 * fields, the root aside */
} EbCShape;

typedef struct EbCShapeField
{
	uint32		node;
	uint32		depth;			/* keys in its path */
	uint32		path;			/* in words[]: the nodes from depth 1 on */
	uint32		rank;			/* by the text of the path */
} EbCShapeField;

typedef struct EbCState
{
	uint32		first_entry;
	uint32		nentries;
	uint32		placements;		/* that no entry leads to, or EB_NONE */
	uint32		exclusions;		/* in exclusions[], or EB_NONE */
} EbCState;

/*
 * Conjunctions that all hold but those struck out: see pattern_exclude.c.
 * Each has a position, counted from 0.
 */
typedef struct EbCExclusions
{
	uint32		state;			/* its postings strike out positions */
	uint32		n;
	uint32		items;			/* in excluded[] */
	uint32		first_mark;		/* where the scratch marks position 0 */
	uint32		ngroups;
	uint32		groups;			/* in exclusion_groups[] */
} EbCExclusions;

/* Positions in a row that need a leaf at one node (or none: EB_NONE) */
typedef struct EbCExclusionGroup
{
	uint32		node;
	uint32		first;
	uint32		n;
} EbCExclusionGroup;

typedef struct EbCExcluded
{
	uint32		rule;
	uint32		placement;		/* one alone, in words[]; with this bit there
								 * is nothing to verify in it if it was not
								 * struck out: */
} EbCExcluded;

#define EB_EXCLUDED_COMPLETE	0x80000000

/* A state with more entries is searched for the nodes that the event has. */
#define EB_STATE_SCAN_MAX	8

typedef struct EbCEntry
{
	uint32		node;
	uint32		ways;			/* EB_WAY_* */
	uint32		detail;			/* in details[] unless exact tests are all */
} EbCEntry;

/*
 * Ways in which a value finds the tests that it may satisfy.  All but EXACT,
 * PRESENT, RANGE lead to a bucket of tests that are then evaluated.
 */
typedef enum EbWay
{
	EB_WAY_EXACT,				/* the value itself */
	EB_WAY_PRESENT,				/* any leaf */
	EB_WAY_RANGE,				/* position among the bounds */
	EB_WAY_STRING,				/* any string */
	EB_WAY_PREFIX,				/* hash of the first n bytes */
	EB_WAY_SUFFIX,				/* ... of the last n, last one first */
	EB_WAY_FOLD,				/* ... of all, ASCII in lower case */
	EB_WAY_FOLD_PREFIX,
	EB_WAY_FOLD_SUFFIX,
	EB_WAY_GRAM,				/* ... of any n bytes in a row */
	EB_WAY_CIDR,				/* ... of the first n bits of an address */
	EB_NWAYS
} EbWay;

#define EB_WAY_BIT(way)		(1 << (way))

typedef struct EbCDetail
{
	uint32		present;		/* posting */
	uint32		any_string;		/* bucket */
	uint32		lengths[EB_NWAYS];	/* in words[]: count, lengths ascending */
	uint32		nbounds;
	uint32		bounds;			/* in bounds[] */
	uint32		nintervals;
	uint32		intervals;		/* in intervals[] */
} EbCDetail;

/* A bound of ranges; equal ones are one. */
typedef struct EbCBound
{
	uint64		key;
	uint32		number;			/* place of the EbCNumber in bytes[] */
	uint32		pad;
} EbCBound;

/*
 * A range in positions: 2i + 1 is bound i, 2i what lies before it.  Sorted by
 * low; max is the highest high of the subtree whose middle this is.
 */
typedef struct EbCInterval
{
	uint32		low;
	uint32		high;
	uint32		max;
	uint32		posting;
} EbCInterval;

/* One hash table serves all look-ups; a key says who asks. */
typedef struct EbCSlot
{
	uint64		key;
	uint32		value;
	uint32		pad;
} EbCSlot;

#define EB_SLOT_FREE		PG_UINT64_MAX
#define EB_SLOT_ENTRY(entry, low)	((uint64) (entry) << 32 | (uint32) (low))
#define EB_SLOT_CHILD(node, hash) \
	(UINT64CONST(1) << 63 | (uint64) (node) << 32 | (uint32) (hash))
#define EB_SLOT_STATE(state, node) \
	(UINT64CONST(3) << 62 | (uint64) (state) << 32 | (node))

typedef struct EbCAtom
{
	uint32		hash;
	uint32		test;			/* EB_NONE = free */
	uint32		place;			/* of the test in bytes[] */
	uint32		pad;
} EbCAtom;

/*
 * A placement, in words[]: these, then the numbers of the open terms.
 */
#define EB_PLACEMENT_CONJUNCTION	0
#define EB_PLACEMENT_RULE			1
#define EB_PLACEMENT_NTERMS			2
#define EB_PLACEMENT_TERMS			3

/*
 * A posting is the place of placements in words[], or a state, or the place of
 * positions to strike out in words[].
 */
#define EB_POSTING_STATE	0x80000000
#define EB_POSTING_STRIKE	0x40000000
#define EB_MAX_WORDS		0x40000000

typedef struct EbCompiled
{
	EbPatternSet head;
	uint32		nnodes;
	uint32		nterms;
	uint32		nconjunctions;
	uint32		nstates;
	uint32		nmarks;
	uint32		slot_mask;
	uint32		atom_mask;
	Size		nodes;
	Size		tests;			/* uint32 places in bytes[] */
	Size		bytes;
	Size		terms;
	Size		conjunctions;
	Size		shapes;
	Size		shape_fields;
	Size		words;
	Size		states;
	Size		entries;
	Size		details;
	Size		exclusions;
	Size		exclusion_groups;
	Size		excluded;
	Size		bounds;
	Size		intervals;
	Size		slots;
	Size		atoms;
} EbCompiled;

#define EB_BLOCK(c, array)	((const char *) (c) + (c)->array)

static inline void
eb_cnumber_view(const EbCNumber *stored, EbNumber *n)
{
	n->key = stored->key;
	n->digits = stored->digits;
	n->ndigits = stored->ndigits;
	n->weight = stored->weight;
	n->negative = stored->negative != 0;
}

static inline uint64
eb_number_hash(const EbNumber *n)
{
	uint64		h = eb_hash_mix(n->key);

	if (n->ndigits > EB_NUMBER_KEY_DIGITS)
		h ^= eb_hash_bytes(n->digits + EB_NUMBER_KEY_DIGITS,
						   (n->ndigits - EB_NUMBER_KEY_DIGITS) * sizeof(int16));
	return h;
}

/*
 * Hash of a literal by which a way finds its bucket.  The upper bit keeps it
 * apart from the numbers of tests, by which equality is found.
 */
static inline uint32
eb_way_hash(EbWay way, uint64 rolled, uint32 len)
{
	return (uint32) (eb_hash_mix(rolled ^ ((uint64) way << 56) ^
								 ((uint64) len << 32)) >> 16) | 0x80000000;
}

static inline uint64
eb_roll_bytes(const char *s, uint32 len)
{
	uint64		h = EB_HASH_ROLL_START;

	for (uint32 i = 0; i < len; i++)
		h = eb_hash_roll(h, (unsigned char) s[i]);
	return h;
}

/* n bytes in a row, n in 1, 2, 4, 8 */
static inline uint64
eb_gram(const char *s, uint32 n)
{
	uint64		w = 0;

	switch (n)
	{
		case 8:
			memcpy(&w, s, 8);
			break;
		case 4:
			memcpy(&w, s, 4);
			break;
		case 2:
			memcpy(&w, s, 2);
			break;
		default:
			w = (unsigned char) *s;
			break;
	}
	return eb_hash_mix(w ^ n);
}

static inline uint64
eb_address_hash(const EbAddress *a)
{
	return eb_hash_bytes(a->bytes, 16) ^ a->family;
}

#endif							/* EB_PATTERN_COMPILED_H */
