/*-------------------------------------------------------------------------
 *
 * pattern.h
 *	  Event patterns: parse one, compile many, match an event against them.
 *
 * This module is plain C over JsonbContainer: no SPI, no catalog, no fmgr
 * (pattern_sql.c alone sees fmgr), so it runs under a fuzzer outside the
 * server.  The language is defined in docs/event-patterns.md.
 *
 * Order of calls:
 *
 *	 EbPattern *p = eb_pattern_parse(container);		raises 22023 on a bad one
 *	 b = eb_pattern_builder_create(nrules_hint);
 *	 eb_pattern_builder_add(b, p, rule_no);				for each rule
 *	 EbPatternSet *set = eb_pattern_builder_finish(b);	one relocatable block
 *	 EbPatternScratch *s = eb_pattern_scratch_create();	one per backend
 *	 n = eb_pattern_match(set, s, event, &rules);		rule_nos, ascending
 *
 * Memory: everything is palloc'd in the caller's current context, except the
 * scratch, which makes a context of its own under the current one and keeps
 * its buffers from call to call (it grows to what the largest set needs and
 * works for any set).  An EbPatternSet holds offsets only, so it may be
 * copied with memcpy to any MAXALIGNed address, shared memory included, and
 * is read-only after that.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_H
#define EB_PATTERN_H

#include "utils/jsonb.h"

/* limits of docs/event-patterns.md, "Limits" */
#define EB_PATTERN_MAX_BYTES		(1024 * 1024)
#define EB_PATTERN_MAX_DEPTH		1000
#define EB_PATTERN_MAX_FIELDS		1000
#define EB_PATTERN_MAX_TESTS		100000
#define EB_PATTERN_MAX_CONJUNCTIONS	10000
#define EB_PATTERN_MAX_MIXED_EXISTS	16
#define EB_PATTERN_MAX_STARS		256

typedef struct EbPattern EbPattern;
typedef struct EbPatternBuilder EbPatternBuilder;
typedef struct EbPatternScratch EbPatternScratch;

/* The public head of a compiled set; what follows it is private. */
typedef struct EbPatternSet
{
	uint32		magic;
	uint32		nrules;			/* highest rule number + 1 */
	Size		size;			/* bytes of the whole block */
} EbPatternSet;

/* Why an event missed a pattern: the first field, in path order, that failed. */
typedef struct EbPatternMiss
{
	char	   *path;			/* jsonpath of the field in the event */
	JsonbValue *value;			/* what the event had there, in an array if
								 * that is more than one value; NULL if
								 * missing */
	char	   *predicate;		/* JSON text of the list of tests it missed */
} EbPatternMiss;

/*
 * Parse one pattern.  Raises ERRCODE_INVALID_PARAMETER_VALUE with the path of
 * the offending place and what was expected there, or
 * ERRCODE_PROGRAM_LIMIT_EXCEEDED.  The result refers to no memory of root.
 */
extern EbPattern *eb_pattern_parse(JsonbContainer *root);

extern EbPatternBuilder *eb_pattern_builder_create(int nrules_hint);
extern void eb_pattern_builder_add(EbPatternBuilder *builder,
								   const EbPattern *pattern, uint32 rule_no);
extern EbPatternSet *eb_pattern_builder_finish(EbPatternBuilder *builder);

extern EbPatternScratch *eb_pattern_scratch_create(void);

/*
 * Match.  *rules points into the scratch until its next use: the numbers of
 * the matching rules, ascending, each once.  Returns their count.  Raises
 * 22023 if the event is not an object.
 */
extern int	eb_pattern_match(const EbPatternSet *set, EbPatternScratch *scratch,
							 JsonbContainer *event, const uint32 **rules);

/*
 * Explain a miss.  Returns true if the event matches the pattern; else fills
 * *miss (palloc'd) for the alternative that came furthest.
 */
extern bool eb_pattern_explain(const EbPattern *pattern, JsonbContainer *event,
							   EbPatternMiss *miss);

#endif							/* EB_PATTERN_H */
