/*-------------------------------------------------------------------------
 *
 * pattern_build.h
 *	  State of the compiler: pattern_compile.c interns patterns and writes the
 *	  block, pattern_index.c builds the states in between.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_BUILD_H
#define EB_PATTERN_BUILD_H

#include "pattern/pattern_compiled.h"

/* A growing array of elements of one size. */
typedef struct EbVector
{
	MemoryContext context;
	char	   *data;
	uint32		n;
	uint32		max;
	uint32		width;
} EbVector;

#define EB_AT(vec, type, i)	(&((type *) (vec).data)[i])

extern void eb_vector_init(EbVector *vec, uint32 width);
extern uint32 eb_vector_extend(EbVector *vec, uint32 n);	/* zeroed */
extern uint32 eb_vector_push(EbVector *vec, const void *element);
extern uint32 eb_vector_word(EbVector *vec, uint32 word);

typedef struct EbBuildShape
{
	uint32		nfields;
	uint32		order;			/* in words: place in the text order of the
								 * field at each place */
	EbCShape	compiled;
} EbBuildShape;

struct EbPatternBuilder
{
	MemoryContext context;		/* holds all of this */
	uint32		nrules;

	EbIntern   *nodes;			/* parent (uint32) and key */
	EbIntern   *tests;			/* EbCTest and its data */
	EbIntern   *terms;			/* node, ok_missing, test numbers */
	EbIntern   *shapes;			/* nodes in text order */
	EbIntern   *preds;			/* node and test: what an entry is asked for */

	EbVector	cterms;			/* EbCTerm, of nodes by number in ->nodes */
	EbVector	term_preds;		/* for each term the place in words of the
								 * numbers in ->preds of its tests, or EB_NONE
								 * if it cannot be searched for */
	EbVector	conjunctions;	/* EbCConjunction */
	EbVector	bshapes;		/* EbBuildShape */
	EbVector	shape_fields;	/* EbCShapeField */
	EbVector	words;			/* uint32 */

	/* filled by eb_index_build() */
	EbVector	states;
	EbVector	entries;
	EbVector	details;
	EbVector	bounds;
	EbVector	intervals;
	EbVector	slots;			/* EbCSlot, not yet hashed */
	EbVector	exclusions;
	EbVector	exclusion_groups;
	EbVector	excluded;
	uint32		nmarks;
	uint32	   *sketch;			/* work space of eb_entry_fill(): counters;
								 * what hashes alike counts together */
};

#define EB_SKETCH_SIZE		4096

/* A conjunction that is to be found by exclusion, through one of its terms */
typedef struct EbExclusion
{
	uint32		conjunction;
	uint32		term;
	uint32		placement;		/* in words */
	bool		complete;		/* no other term is open */
} EbExclusion;

static inline const EbCTest *
eb_build_test(const EbPatternBuilder *b, uint32 test)
{
	return (const EbCTest *) eb_intern_key(b->tests, test, NULL);
}

extern void eb_index_build(EbPatternBuilder *b);
extern void eb_entry_fill(EbPatternBuilder *b, uint32 entry,
						  const uint32 *tests, const uint32 *postings,
						  uint32 ntests);
extern bool eb_term_excludes(const EbPatternBuilder *b, uint32 term);
extern uint32 eb_exclusions_build(EbPatternBuilder *b, EbExclusion *list,
								  uint32 n);

#endif							/* EB_PATTERN_BUILD_H */
