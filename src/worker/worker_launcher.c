/*-------------------------------------------------------------------------
 *
 * worker_launcher.c
 *	  The launcher: one per cluster, finds the databases that have the
 *	  extension and keeps a supervisor running in each.
 *
 * Whether a database has the extension is only seen from inside, so a
 * supervisor is sent in and says.  At start every database is looked at, one
 * after the other, which takes a single worker slot at a time.  Later nothing
 * is polled: CREATE EXTENSION and first use enter the database in shared
 * memory and set the latch, CREATE and ALTER DATABASE ask for another look
 * through pg_database (a template may have brought the extension along), and
 * databases that were looked at in vain are remembered.
 *
 * Templates and databases that accept no connections are left alone: a
 * worker in a template would stand in the way of CREATE DATABASE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "eb.h"
#include "shmem.h"
#include "worker/worker_internal.h"

PGDLLEXPORT void eb_launcher_main(Datum arg);

/* Databases still to be looked at, and those that had no extension. */
typedef struct OidList
{
	Oid		   *oids;
	int			n;
	int			room;
} OidList;

static OidList unseen;
static OidList without;

void
eb_worker_init(void)
{
	BackgroundWorker bgw;

	eb_worker_hooks_install();
	if (!eb_preloaded())
		return;

	memset(&bgw, 0, sizeof(bgw));
	strlcpy(bgw.bgw_name, "pg_eventbus launcher", BGW_MAXLEN);
	strlcpy(bgw.bgw_type, "pg_eventbus launcher", BGW_MAXLEN);
	bgw.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	bgw.bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgw.bgw_restart_time = 1;
	strlcpy(bgw.bgw_library_name, "pg_eventbus", BGW_MAXLEN);
	strlcpy(bgw.bgw_function_name, "eb_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&bgw);
}

static bool
list_has(const OidList *list, Oid oid)
{
	for (int i = 0; i < list->n; i++)
	{
		if (list->oids[i] == oid)
			return true;
	}
	return false;
}

static void
list_add(OidList *list, Oid oid)
{
	if (list->n == list->room)
	{
		list->room = Max(16, list->room * 2);
		list->oids = list->oids ?
			repalloc(list->oids, list->room * sizeof(Oid)) :
			MemoryContextAlloc(TopMemoryContext, list->room * sizeof(Oid));
	}
	list->oids[list->n++] = oid;
}

static void
list_remove(OidList *list, Oid oid)
{
	for (int i = 0; i < list->n; i++)
	{
		if (list->oids[i] == oid)
			list->oids[i--] = list->oids[--list->n];
	}
}

/*
 * Take the databases that nobody has looked at yet, and forget those that are
 * gone.
 */
static void
scan_databases(void *arg)
{
	EbWorkerShared *shared = eb_worker_shared();
	OidList		existing = {0};
	Relation	rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database db = (Form_pg_database) GETSTRUCT(tuple);

		/* a limit of -2: DROP DATABASE was interrupted */
		if (!db->datallowconn || db->datistemplate || db->datconnlimit == -2)
			continue;
		list_add(&existing, db->oid);
		if (!eb_worker_database(db->oid) &&
			!list_has(&without, db->oid) && !list_has(&unseen, db->oid))
			list_add(&unseen, db->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);

	for (int i = without.n - 1; i >= 0; i--)
	{
		if (!list_has(&existing, without.oids[i]))
			list_remove(&without, without.oids[i]);
	}
	for (int i = unseen.n - 1; i >= 0; i--)
	{
		if (!list_has(&existing, unseen.oids[i]))
			list_remove(&unseen, unseen.oids[i]);
	}

	/* dropped while no hook of ours saw it, or closed to connections */
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EB_MAX_DATABASES; i++)
	{
		EbDatabase *db = &shared->databases[i];

		if (OidIsValid(db->database) && !list_has(&existing, db->database))
			db->dropped = true;
	}
	LWLockRelease(&shared->lock);
	if (existing.oids)
		pfree(existing.oids);
}

/*
 * What a database entry needs now.  Returns when to look again.
 */
static TimestampTz
tend_database(EbDatabase *db)
{
	EbWorkerShared *shared = eb_worker_shared();
	Oid			database = db->database;
	bool		run;
	bool		empty = true;
	bool		gone;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	/* the session whose DDL wanted the database to itself may have died */
	if (db->blocked_by != 0 && BackendPidGetProc(db->blocked_by) == NULL)
		db->blocked_by = 0;
	run = eb_workers_enabled && db->blocked_by == 0 && !db->dropped &&
		(db->wanted || db->installed);
	for (int i = 0; i < EB_WORKER_KINDS; i++)
	{
		if (db->workers[i].pid != 0 || db->workers[i].phase == EB_PHASE_STARTING)
			empty = false;
	}
	gone = empty && db->blocked_by == 0 &&
		(db->dropped || (!db->wanted && !db->installed));
	if (gone)
	{
		if (!db->dropped && !list_has(&without, database))
			list_add(&without, database);
		db->database = InvalidOid;
		shared->full = false;
	}
	LWLockRelease(&shared->lock);

	if (gone)
		eb_notify_slots_free(database);
	if (db->dropped && !gone)
		eb_worker_signal_all(db);
	if (gone)
		return DT_NOEND;
	if (!run)
	{
		TimestampTz until = DT_NOEND;

		for (int i = 0; i < EB_WORKER_KINDS; i++)
			until = Min(until, eb_worker_tend(db, i, false));

		/* in case the blocker dies without a word */
		if (db->blocked_by != 0)
			until = Min(until, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000));
		return until;
	}
	return eb_worker_tend(db, EB_WORKER_SUPERVISOR, true);
}

/* Is a supervisor on its way into a database that was not looked at yet? */
static bool
looking(void)
{
	EbWorkerShared *shared = eb_worker_shared();

	for (int i = 0; i < EB_MAX_DATABASES; i++)
	{
		EbDatabase *db = &shared->databases[i];

		if (OidIsValid(db->database) && !db->installed && db->wanted &&
			db->workers[EB_WORKER_SUPERVISOR].phase != EB_PHASE_WAITING)
			return true;
	}
	return false;
}

/* The next one of those still to be looked at, if none is under way. */
static void
look_at_next(void)
{
	if (unseen.n == 0 || looking())
		return;
	if (!eb_worker_want(unseen.oids[unseen.n - 1]))
		return;					/* full; eb.workers says so */
	unseen.n--;
}

void
eb_launcher_main(Datum arg)
{
	EbWorkerShared *shared = eb_worker_shared();

	eb_worker_begin(NULL, EB_WORKER_SUPERVISOR);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	eb_worker_connected();

	/* one that was here before may have died between two looks */
	pg_atomic_write_u32(&shared->rescan, 1);

	for (;;)
	{
		TimestampTz until = DT_NOEND;

		if (pg_atomic_exchange_u32(&shared->rescan, 0) != 0 &&
			!eb_worker_run("look for databases", scan_databases, NULL))
		{
			pg_atomic_write_u32(&shared->rescan, 1);
			until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 5000);
		}
		if (eb_workers_enabled)
			look_at_next();
		for (int i = 0; i < EB_MAX_DATABASES; i++)
		{
			if (OidIsValid(shared->databases[i].database))
				until = Min(until, tend_database(&shared->databases[i]));
		}

		/* a database just found to be without makes room for the next look */
		if (unseen.n > 0 && eb_workers_enabled && !looking() && !shared->full)
			continue;
		eb_worker_sleep(until);
	}
}
