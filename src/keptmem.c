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
#include "utils/tuplestore.h"

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

MemoryContext
eb_kept_context(MemoryContext until)
{
	MemoryContextCallback *callback;
	KeptContext *kept = NULL;

	for (int i = 0; i < KEPT_CONTEXTS; i++)
	{
		if (!contexts[i].lent)
			kept = &contexts[i];
	}
	if (!kept)
		return AllocSetContextCreate(until, "pg_eventbus batch", ALLOCSET_DEFAULT_SIZES);

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

void
eb_kept_results(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;

	InitMaterializedSRF(fcinfo, 0);
	tuplestore_end(rsinfo->setResult);
	old = MemoryContextSwitchTo(eb_kept_context(rsinfo->econtext->ecxt_per_query_memory));
	rsinfo->setResult =
		tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
							  false, work_mem);
	MemoryContextSwitchTo(old);
}
