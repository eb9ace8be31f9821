/*-------------------------------------------------------------------------
 *
 * worker_wait.c
 *	  CALL eb.wait: sleep until a queue has a message, or a subscription an
 *	  event.
 *
 * While it waits the session holds no snapshot, no xid and no lock on the
 * queue: each look is a transaction of its own, ended before the sleep.  (The
 * next one has begun, as procedures cannot be without, but it is empty: it
 * holds back neither vacuum nor DROP QUEUE.)
 *
 * With shared memory it sleeps on the condition variable in the slot of the
 * queue or the subscription's bus, which every commit that makes a message
 * visible or puts events broadcasts to, and until
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
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "errors.h"
#include "queue/queue_internal.h"
#include "shmem.h"
#include "stream/stream.h"
#include "worker/worker_internal.h"

#define POLL_MS			100

/*
 * Events are there, but another session is reading their part.  Its end wakes
 * nobody, since what it had is done as a rule.
 */
#define BUSY_MS			100

/* A commit wakes before it sends its invalidations, so that it resumed may be seen late. */
#define PAUSED_MS		500

/* Without preload no hook of ours runs in sessions that only COMMIT PREPARED. */
#define UNHOOKED_MS		1000

PG_FUNCTION_INFO_V1(eb_wait);

/* What is waited for, and what the last look at it has found. */
typedef struct Wait
{
	const char *queue;			/* one of the two */
	const char *subscription;
	EbStreamLook *stream;		/* subscription: how far it was looked at */
	bool		visible;
	bool		more;			/* look again at once */
	TimestampTz next;			/* DT_NOEND: no instant known */

	/* slot to sleep at */
	EbSlotKind	kind;
	Oid			relation;
	char		name[NAMEDATALEN];
} Wait;

static void
look_at_queue(Wait *wait)
{
	const EbQueue *queue = eb_queue_lookup(wait->queue, false);
	EbQueue		copy;

	eb_check_view_privilege(queue->view, EB_QUEUE_RECEIVE, "queue", wait->queue);
	copy = *queue;
	wait->kind = EB_SLOT_QUEUE;
	wait->relation = copy.table;
	strlcpy(wait->name, copy.name, NAMEDATALEN);
	wait->visible = !copy.paused && eb_queue_has_visible(&copy);
	wait->next = wait->visible || copy.paused ? DT_NOEND :
		eb_queue_next_visible(&copy);
}

static void
look_at_subscription(Wait *wait)
{
	EbSubscription subscription = *eb_subscription_get(wait->subscription);
	bool		busy = false;

	eb_check_view_privilege(subscription.view, EB_SUBSCRIPTION_READ, "subscription",
							wait->subscription);
	if (subscription.has_queue)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("subscription \"%s\" delivers to a queue", wait->subscription),
				 errhint("Wait for queue \"%s\".", subscription.queue)));
	wait->kind = EB_SLOT_BUS;
	wait->relation = subscription.bus_view;
	strlcpy(wait->name, subscription.bus, NAMEDATALEN);
	wait->visible = !subscription.paused &&
		eb_stream_look(wait->stream, &subscription, &busy, &wait->more);
	wait->next = DT_NOEND;
	if (busy || subscription.paused)
		wait->next = TimestampTzPlusMilliseconds(eb_clock_now(), busy ? BUSY_MS : PAUSED_MS);
}

/*
 * One look, in the current transaction.
 */
static void
look(Wait *wait)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "pg_eventbus look of eb.wait",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	PushActiveSnapshot(GetTransactionSnapshot());
	AcceptInvalidationMessages();
	wait->more = false;
	if (wait->queue)
		look_at_queue(wait);
	else
		look_at_subscription(wait);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
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
 * Returns whether there is something; false when the time is over.
 */
static bool
wait_until(Wait *wait, TimestampTz until)
{
	EbWorkerShared *shared = eb_worker_shared();
	int			slot = -1;

	for (;;)
	{
		if (slot >= 0)
		{
			ConditionVariablePrepareToSleep(&shared->slots[slot].waiters);
			pg_memory_barrier();	/* before the look (claim 9) */
		}
		look(wait);
		SPI_commit();			/* nothing is held from here on */
		InvalidateCatalogSnapshot();
		if (wait->visible)
			return true;
		if (eb_clock_now() >= until)
			return false;
		if (wait->more)
			continue;

		/* not registered with the slot yet: do so, and look again */
		if (shared)
		{
			int			now = eb_notify_slot_create(MyDatabaseId, wait->relation, wait->kind,
													InvalidOid, wait->name);

			if (now != slot)
			{
				slot = now;
				if (slot >= 0)
					continue;
			}
		}
		wait_once(slot, Min(until, wait->next));
	}
}

static TimestampTz
end_of_wait(const Interval *timeout)
{
	TimestampTz now = eb_clock_now();
	int64		length;
	bool		fits = eb_interval_microseconds(timeout, &length);
	char	   *text;

	if (fits && length >= 0 && length <= EB_MAX_DELAY)
		return now + length;

	text = DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(timeout)));
	if (fits && length < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative"),
				 errdetail("It is %s.", text)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("timeout is too long"),
			 errdetail("It is %s; the limit is 1 year.", text)));
}

/*
 * eb.wait(queue text, timeout interval, INOUT ready boolean, subscription text)
 */
Datum
eb_wait(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		value;
	bool		isnull = false;
	Wait		wait = {0};
	TimestampTz until;

	if (PG_ARGISNULL(0) == PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(PG_ARGISNULL(0) ? ERRCODE_NULL_VALUE_NOT_ALLOWED :
						 ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(PG_ARGISNULL(0) ? "neither a queue nor a subscription to wait for" :
						"cannot wait for a queue and a subscription at once"),
				 errhint("Pass one of queue and subscription.")));
	if (PG_ARGISNULL(1))
		eb_error_null("timeout");
	if (!fcinfo->context || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("procedure eb.wait cannot run inside a transaction block"),
				 errdetail("It must not hold a snapshot while it waits."),
				 errhint("Call it by itself, before BEGIN; or LISTEN on channel \"%s\".",
						 PG_ARGISNULL(0) ? "eb_sub_<subscription>" : "eb_<queue>")));
	PreventCommandDuringRecovery("CALL eb.wait");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	if (!PG_ARGISNULL(0))
		wait.queue = text_to_cstring(PG_GETARG_TEXT_PP(0));
	else
		wait.subscription = text_to_cstring(PG_GETARG_TEXT_PP(3));
	until = end_of_wait(PG_GETARG_INTERVAL_P(1));

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	wait.stream = eb_stream_look_begin();
	value = BoolGetDatum(wait_until(&wait, until));
	ConditionVariableCancelSleep();
	SPI_finish();

	desc = BlessTupleDesc(desc);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull)));
}
