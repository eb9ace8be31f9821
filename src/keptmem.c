/*-------------------------------------------------------------------------
 *
 * keptmem.c
 *	  Memory that a backend keeps from one statement to the next.
 *
 * A context is lent until another one ends, by a reset callback on that one.
 * So errors and portals that stay open need no care of their own: the context
 * comes back with the memory of whoever had it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"

#include "compat.h"
#include "keptmem.h"

/* A batch needs two: what it is made of, and the result. */
#define KEPT_CONTEXTS	2

typedef struct KeptContext
{
	MemoryContext context;		/* NULL until it is needed */
	bool		lent;
} KeptContext;

static KeptContext contexts[KEPT_CONTEXTS];

static void
give_back(void *arg)
{
	KeptContext *kept = arg;

	MemoryContextReset(kept->context);
	kept->lent = false;
}

/* NULL if all are lent. */
static MemoryContext
lend(MemoryContext until)
{
	MemoryContextCallback *callback;
	KeptContext *kept = NULL;

	for (int i = 0; i < KEPT_CONTEXTS; i++)
	{
		if (!contexts[i].lent)
			kept = &contexts[i];
	}
	if (!kept)
		return NULL;

	/* the keeper block of a context outlives its resets */
	if (!kept->context)
		kept->context = AllocSetContextCreate(TopMemoryContext, "pg_eventbus kept batch",
											  EB_KEPT_SIZE, EB_KEPT_SIZE,
											  ALLOCSET_DEFAULT_MAXSIZE);
	callback = MemoryContextAlloc(until, sizeof(MemoryContextCallback));
	callback->func = give_back;
	callback->arg = kept;
	MemoryContextRegisterResetCallback(until, callback);
	kept->lent = true;
	return kept->context;
}

MemoryContext
eb_kept_context(MemoryContext until)
{
	MemoryContext context = lend(until);

	return context ? context :
		AllocSetContextCreate(until, "pg_eventbus batch", ALLOCSET_DEFAULT_SIZES);
}

void
eb_kept_results(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ExprContext *econtext;
	MemoryContext per_query;
	MemoryContext kept;

	if (!rsinfo || !IsA(rsinfo, ReturnSetInfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));

	/* it makes all in the per-query context; after an error nobody reads that again */
	econtext = rsinfo->econtext;
	per_query = econtext->ecxt_per_query_memory;
	kept = lend(per_query);

	/* if there is none, no context of our own: a query may call us often */
	if (kept)
		econtext->ecxt_per_query_memory = kept;
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	econtext->ecxt_per_query_memory = per_query;
}
