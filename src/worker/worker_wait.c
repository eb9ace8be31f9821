/*-------------------------------------------------------------------------
 *
 * worker_wait.c
 *	  CALL eb.wait: sleep until a queue has a message.
 *
 * While it waits the session holds no snapshot, no xid and no lock on the
 * queue: each look is a transaction of its own, ended before the sleep.  (The
 * next one has begun, as procedures cannot be without, but it is empty: it
 * holds back neither vacuum nor DROP QUEUE.)
 *
 * With shared memory it sleeps on the condition variable in the queue's slot,
 * which every commit that makes a message visible broadcasts to, and until
 * the next instant at which a delayed or leased message becomes visible; so
 * nothing is polled.  Registered before the look, under a barrier: README.md,
 * claim 9.  On servers 15 and 16 without preload there is no shared memory and
 * it looks ten times a second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "errors.h"
#include "queue/queue_internal.h"
#include "shmem.h"
#include "worker/worker_internal.h"

#define POLL_MS			100

/* Without preload no hook of ours runs in sessions that only COMMIT PREPARED. */
#define UNHOOKED_MS		1000

PG_FUNCTION_INFO_V1(eb_wait);

typedef struct Look
{
	bool		visible;
	TimestampTz next;			/* DT_NOEND: no instant known */
	Oid			table;
} Look;

/*
 * One look, in the current transaction.
 */
static void
look(const char *name, Look *result)
{
	const EbQueue *queue;
	EbQueue		copy;

	PushActiveSnapshot(GetTransactionSnapshot());
	AcceptInvalidationMessages();
	queue = eb_queue_lookup(name, false);
	eb_check_view_privilege(queue->view, EB_QUEUE_RECEIVE, "queue", name);
	copy = *queue;
	result->table = copy.table;
	result->visible = !copy.paused && eb_queue_has_visible(&copy);
	result->next = result->visible || copy.paused ? DT_NOEND :
		eb_queue_next_visible(&copy);
	PopActiveSnapshot();
}

/* Sleep, at most until then, or until the queue's slot is broadcast to. */
static void
wait_once(int slot, TimestampTz until)
{
	EbWorkerShared *shared = eb_worker_shared();
	TimestampTz clock = eb_clock_now();
	long		ms = TimestampDifferenceMilliseconds(clock, until);

	if (!eb_preloaded())
		ms = Min(ms, UNHOOKED_MS);
	if (slot >= 0)
	{
		(void) ConditionVariableTimedSleep(&shared->slots[slot].waiters,
										   Min(ms, 3600 * 1000L), PG_WAIT_EXTENSION);
		return;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(ms, POLL_MS), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Returns whether there is a message; false when the time is over.
 */
static bool
wait_for_message(const char *name, TimestampTz until)
{
	EbWorkerShared *shared = eb_worker_shared();
	int			slot = -1;
	Look		result;

	for (;;)
	{
		if (slot >= 0)
		{
			ConditionVariablePrepareToSleep(&shared->slots[slot].waiters);
			pg_memory_barrier();	/* before the look (claim 9) */
		}
		look(name, &result);
		SPI_commit();			/* nothing is held from here on */
		InvalidateCatalogSnapshot();
		if (result.visible)
			return true;
		if (eb_clock_now() >= until)
			return false;

		/* not registered with the queue's slot yet: do so, and look again */
		if (shared)
		{
			int			now = eb_notify_slot(MyDatabaseId, result.table, name, true);

			if (now != slot)
			{
				slot = now;
				if (slot >= 0)
					continue;
			}
		}
		wait_once(slot, Min(until, result.next));
	}
}

static TimestampTz
end_of_wait(const Interval *timeout)
{
	TimestampTz now = eb_clock_now();
	Interval	zero = {0};

	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(timeout),
										  IntervalPGetDatum(&zero))) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative"),
				 errdetail("It is %s.",
						   DatumGetCString(DirectFunctionCall1(interval_out,
															   IntervalPGetDatum(timeout))))));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(now),
												   IntervalPGetDatum(timeout)));
}

/*
 * eb.wait(queue text, timeout interval, INOUT ready boolean)
 */
Datum
eb_wait(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		value;
	bool		isnull = false;
	char	   *name;
	TimestampTz until;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("timeout");
	if (!fcinfo->context || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("procedure eb.wait cannot run inside a transaction block"),
				 errdetail("It must not hold a snapshot while it waits."),
				 errhint("Call it by itself, before BEGIN; or LISTEN on channel \"eb_<queue>\".")));
	PreventCommandDuringRecovery("CALL eb.wait");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	until = end_of_wait(PG_GETARG_INTERVAL_P(1));

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	value = BoolGetDatum(wait_for_message(name, until));
	ConditionVariableCancelSleep();
	SPI_finish();

	desc = BlessTupleDesc(desc);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull)));
}
