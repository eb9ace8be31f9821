/*-------------------------------------------------------------------------
 *
 * worker_supervisor.c
 *	  The supervisor: one per database that has the extension, keeps the
 *	  notifier and the maintainer running.
 *
 * It comes to see whether the extension is there, and leaves if not.  While
 * it is there it sleeps until a worker ends or an EB_ATTENTION bit says that
 * something changed (CREATE, ALTER or DROP EXTENSION above all), and then
 * looks again.  Its own death touches nobody: the next one finds the others
 * in shared memory and carries on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/timestamp.h"

#include "eb.h"
#include "worker/worker_internal.h"

PGDLLEXPORT void eb_supervisor_main(Datum arg);

typedef struct Look
{
	bool		installed;
	char		version[NAMEDATALEN];
} Look;

static void
look(void *arg)
{
	Look	   *result = arg;

	result->installed = eb_worker_installed(result->version);
}

/*
 * Is the extension installed, and of our version?  With another one's tables
 * no worker can be trusted; eb.workers tells what to do about it.  Sets
 * db->installed, which the other workers obey.  Returns false if it could not
 * be found out.
 */
static bool
look_for_extension(EbDatabase *db)
{
	EbWorkerShared *shared = eb_worker_shared();
	Look		result = {0};

	/*
	 * Before looking: a CREATE EXTENSION that commits after our look sets it
	 * again, and the launcher sends somebody.
	 */
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	db->wanted = false;
	LWLockRelease(&shared->lock);

	if (!eb_worker_run("look for the extension", look, &result))
		return false;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	db->installed = result.installed && strcmp(result.version, EB_VERSION) == 0;
	LWLockRelease(&shared->lock);

	/* it looks at one database after the other */
	eb_worker_signal(&shared->launcher);
	return true;
}

/* Are the others gone?  If not, ask them to go. */
static bool
others_gone(EbDatabase *db)
{
	bool		gone = true;

	for (int i = EB_WORKER_SUPERVISOR + 1; i < EB_WORKER_KINDS; i++)
	{
		if (db->workers[i].pid != 0)
		{
			gone = false;
			eb_worker_signal(&db->workers[i]);
		}
	}
	return gone;
}

void
eb_supervisor_main(Datum arg)
{
	EbDatabase *db = &eb_worker_shared()->databases[DatumGetInt32(arg)];
	uint32		mine = EB_ATTENTION(EB_WORKER_SUPERVISOR);
	bool		known = false;

	eb_worker_begin(db, EB_WORKER_SUPERVISOR);
	BackgroundWorkerInitializeConnectionByOid(db->database, InvalidOid, 0);
	eb_worker_connected();

	for (;;)
	{
		TimestampTz until = DT_NOEND;

		if ((pg_atomic_fetch_and_u32(&db->attention, ~mine) & mine) != 0)
			known = false;
		if (!known)
		{
			known = look_for_extension(db);
			if (!known)
				until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000);
		}
		if (known && !db->installed && others_gone(db))
			eb_worker_retire();
		if (known && db->installed)
		{
			for (int i = EB_WORKER_SUPERVISOR + 1; i < EB_WORKER_KINDS; i++)
				until = Min(until, eb_worker_tend(db, i, true));
		}
		eb_worker_sleep(until);
	}
}
