/*-------------------------------------------------------------------------
 *
 * worker_partition.c
 *	  A missing partition of the event log, made by a background worker.
 *
 * A publisher that finds no leaf for its events cannot make one: in its open
 * transaction the leaf would be invisible to others, who would wait for it
 * until the commit.  So a worker makes it in a transaction of its own, and
 * ATTACH passes by open publishers.  Dynamic workers need no preload.
 *
 * Publishers that miss the same leaf at once queue up on a lock; the first
 * sends a worker, the others find the leaf when their turn comes.  The lock is
 * given back at once, not at the end of the transaction.  The worker takes a
 * lock on the class's partition, which no publisher holds; should it be held
 * up all the same (by a LOCK TABLE in the very transaction that waits, say),
 * it gives up after a while and the publisher gets an error, not a deadlock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "shmem.h"
#include "worker/worker_internal.h"

PGDLLEXPORT void eb_partition_main(Datum arg);

/* How long to try for a worker, as slots are taken and freed all the time. */
#define SLOT_WAIT_MS	10000
#define SLOT_POLL_MS	50

/* The request, and what became of it: in a segment of its own. */
typedef struct Request
{
	Oid			database;
	int16		class;
	TimestampTz at;
	char		error[512];		/* empty: none */
} Request;

/*
 * A class that this transaction has made itself is not visible to a worker,
 * and nobody else can wait for its leaves.
 */
static bool
class_is_ours(int16 class)
{
	EbLogLeaf  *leaves;
	int			n = eb_log_leaves(&leaves);

	for (int i = 0; i < n; i++)
	{
		if (leaves[i].class == class)
		{
			Relation	parent = RelationIdGetRelation(get_partition_parent(leaves[i].relid, true));
			bool		ours = parent && parent->rd_createSubid != InvalidSubTransactionId;

			if (parent)
				RelationClose(parent);
			return ours;
		}
	}
	return false;
}

static Oid
find_leaf(int16 class, TimestampTz at)
{
	AcceptInvalidationMessages();
	return eb_log_leaf(class, at);
}

/*
 * Its place holds one request: publishers of other classes ask again, too.
 */
static void
ask_maintainer(EbDatabase *db, int16 class, TimestampTz at)
{
	EbWorkerShared *shared = eb_worker_shared();

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (db->leaf_class == 0)
	{
		db->leaf_class = class;
		db->leaf_at = at;
	}
	LWLockRelease(&shared->lock);
	eb_worker_signal(&db->workers[EB_WORKER_MAINTAINER]);
}

/*
 * Register the worker; NULL if the leaf turned up while we tried.  The
 * maintainer, where there is one, is asked, too: it has its slot already.
 */
static BackgroundWorkerHandle *
send_worker(dsm_segment *segment, int16 class, TimestampTz at)
{
	BackgroundWorker bgw;
	BackgroundWorkerHandle *handle;
	EbDatabase *db = eb_worker_my_database();
	TimestampTz start = GetCurrentTimestamp();

	memset(&bgw, 0, sizeof(bgw));
	snprintf(bgw.bgw_name, BGW_MAXLEN, "pg_eventbus partition for database %u", MyDatabaseId);
	strlcpy(bgw.bgw_type, "pg_eventbus partition", BGW_MAXLEN);
	bgw.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	bgw.bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgw.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(bgw.bgw_library_name, "pg_eventbus", BGW_MAXLEN);
	strlcpy(bgw.bgw_function_name, "eb_partition_main", BGW_MAXLEN);
	bgw.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	bgw.bgw_notify_pid = MyProcPid;

	while (!RegisterDynamicBackgroundWorker(&bgw, &handle))
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), SLOT_WAIT_MS))
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not make a partition of the event log for class %d at %s",
							class, timestamptz_to_str(at)),
					 errdetail("No background worker slot is free."),
					 errhint("Raise max_worker_processes, or run CALL eb.maintain() regularly, which makes partitions ahead of time.")));
		if (db)
			ask_maintainer(db, class, at);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 SLOT_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (OidIsValid(find_leaf(class, at)))
			return NULL;
	}
	return handle;
}

static void
make_leaf(int16 class, TimestampTz at)
{
	dsm_segment *segment = dsm_create(sizeof(Request), 0);
	Request    *request = dsm_segment_address(segment);
	BackgroundWorkerHandle *handle;

	memset(request, 0, sizeof(Request));
	request->database = MyDatabaseId;
	request->class = class;
	request->at = at;
	handle = send_worker(segment, class, at);
	if (handle)
	{
		if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
			proc_exit(1);
		if (!OidIsValid(find_leaf(class, at)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not make a partition of the event log for class %d at %s",
							class, timestamptz_to_str(at)),
					 request->error[0] ? errdetail("%s", request->error) :
					 errdetail("The background worker ended early; the server log says why."),
					 errhint("Run CALL eb.maintain() by hand.")));
		pfree(handle);
	}
	dsm_detach(segment);
}

Oid
eb_partition_request(int16 class, TimestampTz at)
{
	Oid			events = eb_table_oid(EB_EVENTS, false);
	Oid			leaf;

	if (class_is_ours(class))
		return eb_log_leaf_create(class, at);

	LockDatabaseObject(RelationRelationId, events, (uint16) class, ExclusiveLock);
	leaf = find_leaf(class, at);
	if (!OidIsValid(leaf))
	{
		make_leaf(class, at);
		leaf = find_leaf(class, at);
	}
	UnlockDatabaseObject(RelationRelationId, events, (uint16) class, ExclusiveLock);
	return leaf;
}

/* ---- the worker ---- */

void
eb_partition_main(Datum arg)
{
	dsm_segment *segment;
	Request    *request;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	/* kept until the process ends, over its transaction */
	segment = dsm_attach(DatumGetUInt32(arg));
	if (!segment)
		proc_exit(0);			/* the publisher has gone away */
	dsm_pin_mapping(segment);
	request = dsm_segment_address(segment);

	BackgroundWorkerInitializeConnectionByOid(request->database, InvalidOid, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "10s", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "make a partition of the event log");
	PG_TRY();
	{
		(void) eb_log_leaf_create(request->class, request->at);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		strlcpy(request->error, CopyErrorData()->message, sizeof(request->error));
		PG_RE_THROW();
	}
	PG_END_TRY();
	PopActiveSnapshot();
	CommitTransactionCommand();
	(void) pgstat_report_stat(true);
}
