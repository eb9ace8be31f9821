/*-------------------------------------------------------------------------
 *
 * worker_status.c
 *	  eb.workers: which workers run, and why the others do not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "eb.h"
#include "shmem.h"
#include "worker/worker_internal.h"

PG_FUNCTION_INFO_V1(eb_worker_status);

/* Columns of eb.worker_status. */
enum
{
	COL_DATABASE,
	COL_WORKER,
	COL_PID,
	COL_STATE,
	COL_STARTED_AT,
	COL_RESTARTS,
	COL_REASON,
	COL_LAST_ERROR,
	COL_LAST_ERROR_AT,
	COLUMNS
};

static const char *
phase_name(EbWorkerPhase phase)
{
	switch (phase)
	{
		case EB_PHASE_STOPPED:
			return "stopped";
		case EB_PHASE_STARTING:
			return "starting";
		case EB_PHASE_RUNNING:
			return "running";
		case EB_PHASE_WAITING:
			return "waiting";
	}
	return "stopped";
}

/* state NULL: nothing is known of the worker. */
static void
put_worker(ReturnSetInfo *rsinfo, const char *database, const char *worker,
		   const EbWorkerState *state, const char *reason)
{
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS];

	memset(nulls, true, sizeof(nulls));
#define PUT(column, datum) \
	(values[column] = (datum), nulls[column] = false)
	if (database)
		PUT(COL_DATABASE, CStringGetTextDatum(database));
	PUT(COL_WORKER, CStringGetTextDatum(worker));
	PUT(COL_STATE, CStringGetTextDatum(state ? phase_name(state->phase) : "stopped"));
	PUT(COL_RESTARTS, Int32GetDatum(state && state->starts > 1 ? state->starts - 1 : 0));
	if (state && state->pid != 0)
	{
		PUT(COL_PID, Int32GetDatum(state->pid));
		PUT(COL_STARTED_AT, TimestampTzGetDatum(state->started_at));
	}
	else if (reason || (state && state->reason[0]))
		PUT(COL_REASON, CStringGetTextDatum(reason ? reason : state->reason));
	if (state && state->reason[0])
	{
		PUT(COL_LAST_ERROR, CStringGetTextDatum(state->reason));
		PUT(COL_LAST_ERROR_AT, TimestampTzGetDatum(state->reason_at));
	}
#undef PUT
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Why no worker of the cluster runs; NULL: they may. */
static const char *
general_reason(void)
{
	if (!eb_preloaded())
		return "pg_eventbus is not preloaded: add it to shared_preload_libraries and restart the server";
	if (RecoveryInProgress())
		return "the server is a standby: workers start when it is promoted";
	if (!eb_workers_enabled)
		return "eb.workers_enabled is off";
	return NULL;
}

static void
put_database(ReturnSetInfo *rsinfo, const EbDatabase *db, const char *general)
{
	char	   *name = get_database_name(db->database);

	if (!name)
		return;					/* dropped; the launcher will notice */
	for (int i = 0; i < EB_WORKER_KINDS; i++)
	{
		const char *reason = general;

		if (!reason && db->blocked_by != 0)
			reason = psprintf("stopped for DDL on the database by process %d", db->blocked_by);
		else if (!reason && i != EB_WORKER_SUPERVISOR && !db->workers[i].reason[0] &&
				 db->workers[EB_WORKER_SUPERVISOR].pid == 0)
			reason = "its supervisor does not run";
		put_worker(rsinfo, name, eb_worker_names[i], &db->workers[i], reason);
	}
}

Datum
eb_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbWorkerShared *shared = eb_worker_shared();
	const char *general = general_reason();
	EbWorkerState launcher;
	EbDatabase *databases;
	bool		full;
	bool		mine = false;
	char		version[NAMEDATALEN];

	InitMaterializedSRF(fcinfo, 0);
	if (!shared || !eb_preloaded())
	{
		put_worker(rsinfo, NULL, "launcher", NULL, general);
		PG_RETURN_VOID();
	}

	/* a copy, as nothing may be allocated under the lock */
	databases = palloc(sizeof(shared->databases));
	LWLockAcquire(&shared->lock, LW_SHARED);
	launcher = shared->launcher;
	memcpy(databases, shared->databases, sizeof(shared->databases));
	full = shared->full;
	LWLockRelease(&shared->lock);

	put_worker(rsinfo, NULL, "launcher", &launcher, general);
	for (int i = 0; i < EB_MAX_DATABASES; i++)
	{
		if (!OidIsValid(databases[i].database))
			continue;
		if (databases[i].database == MyDatabaseId)
			mine = true;
		put_database(rsinfo, &databases[i], general);
	}

	/* why nobody looks after the database that is asked in */
	if (!mine && eb_worker_installed(version))
	{
		const char *reason = general;

		if (!reason && strcmp(version, EB_VERSION) != 0)
			reason = psprintf("the library is version %s, the extension %s: restart the server, then ALTER EXTENSION pg_eventbus UPDATE",
							  EB_VERSION, version);
		else if (!reason && full)
			reason = psprintf("more than %d databases have the extension", EB_MAX_DATABASES);
		put_worker(rsinfo, get_database_name(MyDatabaseId), "supervisor", NULL, reason);
	}
	PG_RETURN_VOID();
}
