/*-------------------------------------------------------------------------
 *
 * pattern_sql.c
 *	  SQL functions on single patterns: matches, test_event_pattern,
 *	  validate_pattern.  The only file of this module that knows fmgr.
 *
 * A call site keeps its compiled pattern in fn_extra for as long as the same
 * pattern comes, compared byte by byte; so a constant pattern is compiled
 * once per query.  When another one comes the context that holds it is reset,
 * so varying patterns do not add up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "pattern/pattern_int.h"

PG_FUNCTION_INFO_V1(eb_pattern_matches);
PG_FUNCTION_INFO_V1(eb_pattern_test);
PG_FUNCTION_INFO_V1(eb_pattern_validate);

/* In a call site's fn_extra; all of it in that site's fn_mcxt */
typedef struct CallSite
{
	MemoryContext context;		/* holds pattern and set; reset between them */
	Jsonb	   *pattern;		/* that set was made of, or NULL */
	EbPatternSet *set;
	EbPatternScratch *scratch;
} CallSite;

static CallSite *
call_site(FunctionCallInfo fcinfo)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;
	MemoryContext old;

	if (site != NULL)
		return site;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	site = palloc0(sizeof(CallSite));
	site->context = AllocSetContextCreate(CurrentMemoryContext,
										  "eb pattern of a call site",
										  ALLOCSET_START_SMALL_SIZES);
	site->scratch = eb_pattern_scratch_create();
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = site;
	return site;
}

static void
compile(CallSite *site, Jsonb *pattern)
{
	MemoryContext old;
	MemoryContext work;
	EbPatternBuilder *builder;
	EbPatternSet *set;

	/* if this raises, the site has no pattern */
	site->pattern = NULL;
	MemoryContextReset(site->context);
	old = MemoryContextSwitchTo(site->context);
	work = AllocSetContextCreate(CurrentMemoryContext, "eb pattern parser",
								 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	builder = eb_pattern_builder_create(1);
	eb_pattern_builder_add(builder, eb_pattern_parse(&pattern->root), 0);
	MemoryContextSwitchTo(site->context);
	set = eb_pattern_builder_finish(builder);
	MemoryContextDelete(work);
	site->set = set;
	site->pattern = palloc(VARSIZE(pattern));
	memcpy(site->pattern, pattern, VARSIZE(pattern));
	MemoryContextSwitchTo(old);
}

static bool
event_matches(FunctionCallInfo fcinfo, Jsonb *event, Jsonb *pattern)
{
	CallSite   *site = call_site(fcinfo);
	const uint32 *rules;

	if (site->pattern == NULL ||
		VARSIZE(site->pattern) != VARSIZE(pattern) ||
		memcmp(site->pattern, pattern, VARSIZE(pattern)) != 0)
		compile(site, pattern);
	return eb_pattern_match(site->set, site->scratch, &event->root, &rules) > 0;
}

/* eb.matches(event, pattern), event @~ pattern */
Datum
eb_pattern_matches(PG_FUNCTION_ARGS)
{
	Jsonb	   *event = PG_GETARG_JSONB_P(0);
	Jsonb	   *pattern = PG_GETARG_JSONB_P(1);
	bool		result = event_matches(fcinfo, event, pattern);

	PG_FREE_IF_COPY(event, 0);
	PG_FREE_IF_COPY(pattern, 1);
	PG_RETURN_BOOL(result);
}

/* eb.test_event_pattern(pattern, event) */
Datum
eb_pattern_test(PG_FUNCTION_ARGS)
{
	Jsonb	   *pattern = PG_GETARG_JSONB_P(0);
	Jsonb	   *event = PG_GETARG_JSONB_P(1);
	bool		result = event_matches(fcinfo, event, pattern);

	PG_FREE_IF_COPY(pattern, 0);
	PG_FREE_IF_COPY(event, 1);
	PG_RETURN_BOOL(result);
}

/* eb.validate_pattern(pattern) */
Datum
eb_pattern_validate(PG_FUNCTION_ARGS)
{
	Jsonb	   *pattern = PG_GETARG_JSONB_P(0);
	StringInfoData text;

	initStringInfo(&text);
	eb_pattern_to_json(&text, eb_pattern_parse(&pattern->root));
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data)));
}
