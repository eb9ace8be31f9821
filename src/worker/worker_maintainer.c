/*-------------------------------------------------------------------------
 *
 * worker_maintainer.c
 *	  Maintenance of one database: a table of tasks, run by the maintainer, or
 *	  by hand with CALL eb.maintain().
 *
 * The worker runs a round eb.maintenance_interval after something was written
 * (EbDatabase.active, set by committing backends, who set its latch when they
 * are the first), and when the next instant has come that a round knew of: a
 * message or a partition that expires, a partition that closes.  So while
 * nothing happens nothing runs.
 *
 * Every step is a transaction of its own and can be repeated; an error in one
 * leaves the others alone and brings the next round forward.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "eb.h"
#include "once/once.h"
#include "queue/queue_internal.h"
#include "worker/worker_internal.h"

PGDLLEXPORT void eb_maintainer_main(Datum arg);

/* Messages that one transaction deletes. */
#define EXPIRE_BATCH	1000

/* A step failed: the next round comes this early; later if it fails again. */
#define RETRY_MS		5000

/* Asked for a round, but there has just been one. */
#define ASKED_MS		1000

typedef struct MaintenanceTask
{
	const char *name;
	int		   *interval_s;		/* not more often than that; NULL: each round */
	void		(*round) (EbMaintenance *m);
} MaintenanceTask;

bool
eb_maintenance_step(EbMaintenance *m, const char *what, EbWorkerTask task, void *arg)
{
	if (!m->by_hand)
	{
		bool		ok = eb_worker_run(what, task, arg);

		m->failed |= !ok;
		return ok;
	}

	/* steps look again after they have waited for a lock */
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	task(arg);
	PopActiveSnapshot();
	SPI_commit();
	return true;
}

void
eb_maintenance_due(EbMaintenance *m, TimestampTz at)
{
	if (at < m->next_due)
		m->next_due = at;
}

/* ---- partitions ahead ---- */

typedef struct ClassList
{
	MemoryContext context;
	int16	   *classes;
	int			n;
} ClassList;

static void
list_classes(void *arg)
{
	ClassList  *list = arg;
	EbConfigScan *scan;
	HeapTuple	tuple;
	int			room = 8;

	list->classes = MemoryContextAlloc(list->context, room * sizeof(int16));
	if (!eb_worker_installed(NULL) || !OidIsValid(eb_table_oid(EB_EVENTS, true)))
		return;
	scan = eb_config_open(EB_RETENTION_CLASSES, 0, NULL);
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		bool		isnull;

		if (list->n == room)
		{
			room *= 2;
			list->classes = repalloc(list->classes, room * sizeof(int16));
		}
		list->classes[list->n++] =
			DatumGetInt16(heap_getattr(tuple, 1, eb_config_desc(scan), &isnull));
	}
	eb_config_close(scan);
}

typedef struct LeafStep
{
	int16		class;
	TimestampTz at;				/* in: instant of the leaf; out: where it ends */
} LeafStep;

static void
make_leaf(void *arg)
{
	LeafStep   *step = arg;
	Oid			leaf = eb_log_leaf_create(step->class, step->at);
	EbLogLeaf  *leaves;
	int			n;

	CommandCounterIncrement();
	n = eb_log_leaves(&leaves);
	for (int i = 0; i < n; i++)
	{
		if (leaves[i].relid == leaf)
		{
			step->at = leaves[i].to;
			return;
		}
	}
	elog(ERROR, "new partition %u of the event log is not attached", leaf);
}

static void
partitions_round(EbMaintenance *m)
{
	ClassList	list = {.context = CurrentMemoryContext};

	if (!eb_maintenance_step(m, "list retention classes", list_classes, &list))
		return;
	for (int i = 0; i < list.n; i++)
	{
		LeafStep	step = {list.classes[i], eb_clock_now()};

		/* the current one, and those to come */
		for (int ahead = 0; ahead <= eb_partitions_ahead && step.at != DT_NOEND; ahead++)
		{
			if (!eb_maintenance_step(m, "make partitions ahead", make_leaf, &step))
				break;
		}
	}
}

/* A publisher found no worker slot for its missing partition; we have one. */
static void
make_wanted_leaf(EbDatabase *db)
{
	EbWorkerShared *shared = eb_worker_shared();
	LeafStep	step;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	step.class = db->leaf_class;
	step.at = db->leaf_at;
	db->leaf_class = 0;
	LWLockRelease(&shared->lock);
	if (step.class != 0)
		(void) eb_worker_run("make a partition that a publisher wants", make_leaf, &step);
}

/* ---- summaries of partitions ---- */

/*
 * A later request takes the place of one that was not met: summarizing goes
 * back to where it was done, and another leaf asks again with its next range.
 */
bool
eb_maintainer_summarize(Oid leaf, BlockNumber block)
{
	EbDatabase *db = eb_worker_my_database();

	if (!db || db->workers[EB_WORKER_MAINTAINER].pid == 0)
		return false;
	pg_atomic_write_u64(&db->summarize, ((uint64) leaf << 32) | block);
	eb_worker_signal(&db->workers[EB_WORKER_MAINTAINER]);
	return true;
}

static void
summarize(void *arg)
{
	uint64		request = *(uint64 *) arg;

	eb_log_summarize((Oid) (request >> 32), (BlockNumber) request, INT_MAX);
}

static void
summarize_wanted(EbDatabase *db)
{
	uint64		request = pg_atomic_exchange_u64(&db->summarize, 0);

	if (request != 0)
		(void) eb_worker_run("summarize a partition", summarize, &request);
}

/* ---- queues ---- */

typedef struct QueueStep
{
	MemoryContext context;
	EbQueue    *queues;
	int			n;
	const EbQueue *queue;
	int64		done;
	TimestampTz next;
} QueueStep;

static void
list_queues(void *arg)
{
	QueueStep  *step = arg;
	MemoryContext old;

	if (!eb_worker_installed(NULL))
		return;
	old = MemoryContextSwitchTo(step->context);
	step->n = eb_queue_list(&step->queues);
	MemoryContextSwitchTo(old);
}

static void
expire_queue(void *arg)
{
	QueueStep  *step = arg;
	const EbQueue *queue = eb_queue_lookup(step->queue->name, true);
	EbQueue		copy;

	step->done = 0;
	if (!queue)
		return;					/* dropped meanwhile */
	copy = *queue;
	step->done = eb_queue_expire(&copy, EXPIRE_BATCH);
}

/*
 * When the oldest message of a queue expires.  Only asked when the database
 * has come to rest, so that it may stay so until then.
 */
static void
next_expiry(void *arg)
{
	QueueStep  *step = arg;
	const EbQueue *queue = eb_queue_lookup(step->queue->name, true);
	char	   *table;
	bool		isnull;
	Datum		oldest;

	step->next = DT_NOEND;
	if (!queue)
		return;
	table = quote_qualified_identifier("eb", get_rel_name(queue->table));
	SPI_connect();
	if (SPI_execute(psprintf("SELECT least((SELECT min(message_id) FROM %s WHERE visible_at IS NULL),"
							 " (SELECT min(message_id) FROM %s WHERE visible_at IS NOT NULL))",
							 table, table), true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not look for the oldest message of queue \"%s\"", queue->name);
	oldest = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		step->next = eb_tick_time((EbTick) DatumGetInt64(oldest)) + queue->retention;
	SPI_finish();
}

static void
expiry_round(EbMaintenance *m)
{
	QueueStep	step = {.context = CurrentMemoryContext};
	EbDatabase *db = eb_worker_my_database();

	if (!eb_maintenance_step(m, "list queues", list_queues, &step))
		return;
	for (int i = 0; i < step.n; i++)
	{
		step.queue = &step.queues[i];
		do
		{
			CHECK_FOR_INTERRUPTS();
		} while (eb_maintenance_step(m, "expire messages", expire_queue, &step) &&
				 step.done >= EXPIRE_BATCH);

		if (!m->by_hand && db && pg_atomic_read_u32(&db->active) == 0 &&
			eb_maintenance_step(m, "find the next message to expire", next_expiry, &step))
			eb_maintenance_due(m, step.next);
	}
}

static void
check_floor(void *arg)
{
	QueueStep  *step = arg;
	const EbQueue *queue = eb_queue_lookup(step->queue->name, true);
	EbQueue		copy;

	if (!queue)
		return;
	copy = *queue;
	step->done = eb_queue_check_floor(&copy);
	if (step->done > 0)
		ereport(WARNING,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("queue \"%s\" had " INT64_FORMAT " messages that no receive would have found",
						copy.name, step->done),
				 errdetail("The scan floor in shared memory was too high; it was lowered, and they will be received now."),
				 errhint("Please report this as a bug.")));
}

static void
floors_round(EbMaintenance *m)
{
	QueueStep	step = {.context = CurrentMemoryContext};

	if (!eb_maintenance_step(m, "list queues", list_queues, &step))
		return;
	for (int i = 0; i < step.n; i++)
	{
		step.queue = &step.queues[i];
		(void) eb_maintenance_step(m, "check scan floors", check_floor, &step);
	}
}

/* ---- remembered keys ---- */

typedef struct KeysStep
{
	MemoryContext context;
	EbOnceSet  *sets;
	int			n;
	const EbOnceSet *set;
	TimestampTz next;
} KeysStep;

static void
list_sets(void *arg)
{
	KeysStep   *step = arg;
	MemoryContext old;

	if (!eb_worker_installed(NULL))
		return;
	old = MemoryContextSwitchTo(step->context);
	step->n = eb_once_list(&step->sets);
	MemoryContextSwitchTo(old);
}

static void
empty_set(void *arg)
{
	KeysStep   *step = arg;

	(void) eb_once_maintain_set(step->set->kind, step->set->name, &step->next);
}

static void
keys_round(EbMaintenance *m)
{
	KeysStep	step = {.context = CurrentMemoryContext};

	if (!eb_maintenance_step(m, "list sets of keys", list_sets, &step))
		return;
	for (int i = 0; i < step.n; i++)
	{
		step.set = &step.sets[i];
		if (eb_maintenance_step(m, "forget expired keys", empty_set, &step))
			eb_maintenance_due(m, step.next);
	}
}

/* ---- rounds ---- */

static const MaintenanceTask tasks[] = {
	{"partitions", NULL, partitions_round},
	{"expiry", NULL, expiry_round},
	{"keys", NULL, keys_round},
	{"floors", &eb_floor_check_interval, floors_round},
	{"retention", NULL, eb_retention_round},
	{"leaves", NULL, eb_leaves_round},
	{"archives", NULL, eb_archives_round},
};

static TimestampTz last_run[lengthof(tasks)];

static void
run_round(EbMaintenance *m)
{
	for (int i = 0; i < (int) lengthof(tasks); i++)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (!m->by_hand && tasks[i].interval_s && last_run[i] != 0 &&
			!TimestampDifferenceExceeds(last_run[i], now, *tasks[i].interval_s * 1000))
			continue;
		tasks[i].round(m);
		last_run[i] = now;
	}
}

/*
 * When the next round is due: soon after a failure, an interval after the
 * last one if anything was written, else at the instant that the last one
 * knew of (by the extension's clock), but not before an interval has passed.
 */
static TimestampTz
next_round(const EbDatabase *db, TimestampTz last, const EbMaintenance *m)
{
	TimestampTz interval = TimestampTzPlusMilliseconds(last, eb_maintenance_interval * 1000L);

	if (m->failed)
		return Min(interval,
				   TimestampTzPlusMilliseconds(last, (int64) RETRY_MS << Min(m->failures, 10)));
	if (pg_atomic_read_u32(&unconstify(EbDatabase *, db)->active) != 0)
		return interval;
	if (m->next_due == DT_NOEND)
		return DT_NOEND;
	return Max(interval, m->next_due - (eb_clock_now() - GetCurrentTimestamp()));
}

void
eb_maintainer_main(Datum arg)
{
	EbDatabase *db = &eb_worker_shared()->databases[DatumGetInt32(arg)];
	uint32		mine = EB_ATTENTION(EB_WORKER_MAINTAINER);
	TimestampTz last = 0;
	TimestampTz replays_due = 0;
	bool		asked = false;
	EbMaintenance m = {.next_due = DT_NOEND};

	eb_worker_begin(db, EB_WORKER_MAINTAINER);
	BackgroundWorkerInitializeConnectionByOid(db->database, InvalidOid, 0);
	eb_worker_connected();

	/* what was left undone before */
	pg_atomic_write_u32(&db->active, 1);

	for (;;)
	{
		TimestampTz at = last == 0 ? 0 : next_round(db, last, &m);

		make_wanted_leaf(db);
		summarize_wanted(db);
		if ((pg_atomic_fetch_and_u32(&db->attention, ~mine) & mine) != 0)
			asked = true;
		if (asked)
			replays_due = 0;
		if (asked)
			at = Min(at, TimestampTzPlusMilliseconds(last, ASKED_MS));
		if (at <= GetCurrentTimestamp())
		{
			/* first: what is written from now on makes another round */
			pg_atomic_write_u32(&db->active, 0);
			pg_memory_barrier();
			asked = false;
			m.failed = false;
			m.next_due = DT_NOEND;
			run_round(&m);
			m.failures = m.failed ? m.failures + 1 : 0;
			last = GetCurrentTimestamp();
			at = next_round(db, last, &m);
		}
		if (replays_due <= GetCurrentTimestamp())
			replays_due = eb_worker_replays();
		eb_worker_sleep(Min(at, replays_due));
	}
}

/* ---- by hand ---- */

PG_FUNCTION_INFO_V1(eb_maintain);

/*
 * CALL eb.maintain(): one round in this session.
 */
Datum
eb_maintain(PG_FUNCTION_ARGS)
{
	EbMaintenance m = {.by_hand = true,.next_due = DT_NOEND};

	if (!fcinfo->context || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("procedure eb.maintain cannot run inside a transaction block"),
				 errdetail("It commits after each step."),
				 errhint("Call it by itself, before BEGIN.")));
	PreventCommandDuringRecovery("CALL eb.maintain");
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	SPI_commit();
	run_round(&m);
	SPI_finish();
	PG_RETURN_VOID();
}
