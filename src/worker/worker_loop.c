/*-------------------------------------------------------------------------
 *
 * worker_loop.c
 *	  The frame that every worker runs in: signals, latch, memory, one
 *	  transaction per task, errors, and the end.
 *
 * A worker's life:
 *
 *	 eb_worker_begin(db, kind);			takes its place in shared memory
 *	 BackgroundWorkerInitializeConnection...
 *	 eb_worker_connected();
 *	 for (;;) { eb_worker_run(...); eb_worker_sleep(until); }
 *
 * An error in a task ends the task's transaction, not the worker: it is
 * logged, shown in eb.workers, and the task's caller decides when to try
 * again.  SIGTERM ends the worker, in the middle of a statement if need be;
 * the exit callback gives its place back and wakes its parent, which starts
 * it again.  Being asked to stop (DROP EXTENSION, DROP DATABASE,
 * eb.workers_enabled) is looked at in eb_worker_sleep() and ends it with exit
 * code 0.
 *
 * Memory: "pg_eventbus worker" is reset by every eb_worker_sleep().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/plannodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "eb.h"
#include "worker/worker_internal.h"

static EbDatabase *my_db = NULL;	/* NULL: launcher */
static EbWorkerState *my_state = NULL;
static EbWorkerState *my_parent = NULL;
static MemoryContext worker_context = NULL;
static const char *current_task = NULL;
static bool terminated = false; /* by SIGTERM, while it slept */

/* The extension that the current task has found. */
static Oid	known_extension = InvalidOid;

/* ---- the end ---- */

/*
 * Gives the worker's place back.  Only if it is still ours: a place that was
 * taken over belongs to somebody else.
 */
static void
worker_exit(int code, Datum arg)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbWorkerState *worker = my_state;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (worker->pid == MyProcPid)
	{
		worker->pid = 0;
		worker->procno = -1;
		worker->phase = EB_PHASE_STOPPED;
		if (code == 0)
		{
			worker->backoff = 0;
			worker->next_try = 0;
		}
		else
		{
			eb_worker_back_off(worker, worker->started_at);
			if (worker->reason_at < worker->started_at)
			{
				worker->reason_at = now;
				strlcpy(worker->reason, terminated ? "it was terminated" :
						"it ended; the server log says why", EB_REASON_SIZE);
			}
		}
	}
	LWLockRelease(&shared->lock);
	if (my_parent)
		eb_worker_signal(my_parent);
	ConditionVariableBroadcast(&shared->stopped);
}

void
eb_worker_retire(void)
{
	proc_exit(0);
}

static bool
asked_to_stop(void)
{
	EbWorkerShared *shared = eb_worker_shared();
	bool		stop;

	if (!my_db)
		return false;			/* the launcher stays, to notice a change of
								 * mind */
	LWLockAcquire(&shared->lock, LW_SHARED);
	stop = my_db->blocked_by != 0 || my_db->dropped ||
		(my_state != &my_db->workers[EB_WORKER_SUPERVISOR] && !my_db->installed);
	LWLockRelease(&shared->lock);
	return stop || !eb_workers_enabled;
}

/* ---- the beginning ---- */

void
eb_worker_begin(EbDatabase *db, EbWorkerKind kind)
{
	EbWorkerShared *shared = eb_worker_shared();
	bool		mine = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);

	my_db = db;
	my_state = db ? &db->workers[kind] : &shared->launcher;
	my_parent = !db ? NULL : kind == EB_WORKER_SUPERVISOR ? &shared->launcher :
		&db->workers[EB_WORKER_SUPERVISOR];

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);

	/*
	 * A second one, started after ours was thought lost?  Or is the entry
	 * another database's by now?
	 */
	if (my_state->pid != 0 ||
		(db && memcmp(&db->database, MyBgworkerEntry->bgw_extra, sizeof(Oid)) != 0))
		mine = false;
	else
	{
		my_state->pid = MyProcPid;
		my_state->procno = EB_PROC_NUMBER(MyProc);
		my_state->phase = EB_PHASE_STARTING;
		my_state->started_at = GetCurrentTimestamp();
		my_state->starts++;
	}
	LWLockRelease(&shared->lock);
	if (!mine)
		proc_exit(0);
	before_shmem_exit(worker_exit, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	if (asked_to_stop())
		proc_exit(0);
}

void
eb_worker_connected(void)
{
	EbWorkerShared *shared = eb_worker_shared();

	/* what we call must not depend on what somebody set for the database */
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("row_security", "off", PGC_SUSET, PGC_S_OVERRIDE);

	worker_context = AllocSetContextCreate(TopMemoryContext, "pg_eventbus worker",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(worker_context);

	/* statements that bring their own transactions keep things there */
	PortalContext = worker_context;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_state->phase = EB_PHASE_RUNNING;
	LWLockRelease(&shared->lock);
	if (my_parent)
		eb_worker_signal(my_parent);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ---- sleeping ---- */

void
eb_worker_sleep(TimestampTz until)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1L;

	Assert(!IsTransactionState());
	if (until != DT_NOEND)
	{
		/* rounded up, or we would wake just before the time */
		timeout = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until),
					  3600 * 1000L);
		events |= WL_TIMEOUT;
	}
	if (timeout < 0 || timeout >= 1000)
		(void) pgstat_report_stat(true);	/* nobody else reports what we did */
	if (timeout != 0)
		(void) WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);

	/* nothing is open: leave without the noise of a FATAL error */
	if (ProcDiePending)
	{
		terminated = true;
		proc_exit(1);
	}
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (asked_to_stop())
		eb_worker_retire();
	MemoryContextSwitchTo(worker_context);
	MemoryContextReset(worker_context);
}

/* ---- tasks ---- */

static void
task_context(void *arg)
{
	errcontext("pg_eventbus %s, database %u, task \"%s\"",
			   my_db ? eb_worker_names[my_state - my_db->workers] : "launcher",
			   MyDatabaseId, current_task);
}

static void
keep_reason(const char *text)
{
	EbWorkerShared *shared = eb_worker_shared();

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_state->reason_at = GetCurrentTimestamp();
	strlcpy(my_state->reason, text, EB_REASON_SIZE);
	LWLockRelease(&shared->lock);
}

/*
 * The extension's oid and version, from the catalog and not from the system
 * cache that 18 has of it: a commit wakes us by its callbacks, which come
 * before the invalidations that it sends.
 */
static Oid
find_extension(char *version)
{
	Oid			extension = InvalidOid;
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("pg_eventbus"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		if (version)
		{
			bool		isnull;
			Datum		d = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(rel), &isnull);

			strlcpy(version, TextDatumGetCString(d), NAMEDATALEN);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return extension;
}

/*
 * Was the extension dropped (or made anew) under the task that failed?  Then
 * there is nothing to complain about.
 */
static bool
extension_went(void)
{
	Oid			extension;

	if (!OidIsValid(known_extension))
		return false;
	StartTransactionCommand();
	extension = find_extension(NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(worker_context);
	return extension != known_extension;
}

/*
 * The one place where a worker catches: the error is the task's, its
 * transaction is rolled back, and the loop goes on.
 */
static bool
run_caught(const char *what, EbWorkerTask task, void *arg)
{
	ErrorContextCallback context = {
		.callback = task_context,
		.previous = error_context_stack
	};
	volatile bool ok = false;

	Assert(CurrentMemoryContext == worker_context);
	current_task = what;
	error_context_stack = &context;
	PG_TRY();
	{
		AcceptInvalidationMessages();
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		pgstat_report_activity(STATE_RUNNING, what);
		task(arg);
		if (IsTransactionState())
			CommitTransactionCommand();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(worker_context);
		error = CopyErrorData();
		AbortCurrentTransaction();
		if (!extension_went())
		{
			EmitErrorReport();
			keep_reason(psprintf("%s: %s", what, error->message));
		}
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	MemoryContextSwitchTo(worker_context);
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return ok;
}

typedef struct Wrapped
{
	EbWorkerTask task;
	void	   *arg;
} Wrapped;

static void
with_snapshot(void *arg)
{
	Wrapped    *wrapped = arg;

	PushActiveSnapshot(GetTransactionSnapshot());
	wrapped->task(wrapped->arg);
	PopActiveSnapshot();
}

bool
eb_worker_run(const char *what, EbWorkerTask task, void *arg)
{
	Wrapped		wrapped = {task, arg};

	return run_caught(what, with_snapshot, &wrapped);
}

/*
 * In a portal, as the server's main loop does it: VACUUM and DETACH ...
 * CONCURRENTLY end transactions in between, and what they use across that
 * lies in the portal's context.  The parse tree must outlive them as well.
 */
static void
run_utility(void *arg)
{
	const char *sql = arg;
	MemoryContext old = MemoryContextSwitchTo(worker_context);
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));
	PlannedStmt *stmt = makeNode(PlannedStmt);
	List	   *stmts;
	Portal		portal;

	stmt->commandType = CMD_UTILITY;
	stmt->canSetTag = true;
	stmt->utilityStmt = raw->stmt;
	stmt->stmt_location = raw->stmt_location;
	stmt->stmt_len = raw->stmt_len;
	stmts = list_make1(stmt);
	MemoryContextSwitchTo(old);

	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, sql, CreateCommandTag(raw->stmt), stmts, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	(void) EB_PORTAL_RUN(portal, FETCH_ALL, true, None_Receiver, None_Receiver, NULL);
	PortalDrop(portal, false);
}

bool
eb_worker_run_toplevel(const char *sql)
{
	return run_caught(sql, run_utility, (void *) sql);
}

bool
eb_worker_installed(char *version)
{
	known_extension = find_extension(version);
	return OidIsValid(known_extension);
}
