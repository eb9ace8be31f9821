/*-------------------------------------------------------------------------
 *
 * worker_replay.c
 *	  What the maintainer does for archives: replays, chunk by chunk, and
 *	  counting.
 *
 * Replays take turns: each gets one chunk, a transaction, before the next,
 * and between them the maintainer looks after what else is due.  Chunks
 * commit without waiting for the disk: a crash takes a chunk's deliveries and
 * its position together.
 *
 * A chunk that raises makes its replay FAILED, with the message, unless it
 * was the kind of error that may be gone at the next try.  So is a lock that
 * is not to be had: a FIFO group that an open or prepared publisher holds may
 * not keep the maintainer from everything else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "archive/archive.h"
#include "clock.h"
#include "worker/worker_internal.h"

/* A chunk that may work later is tried again after this. */
#define RETRY_US	USECS_PER_SEC

/* What a chunk waits for a lock: the others stand behind it meanwhile. */
#define LOCK_TIMEOUT	"100ms"

/* Replays left out until their next try; without room here they are tried in each round. */
#define MAX_DEFERRED	16

typedef struct Deferred
{
	char		name[NAMEDATALEN];
	TimestampTz until;			/* 0: free */
} Deferred;

static Deferred deferred[MAX_DEFERRED];

typedef struct Names
{
	MemoryContext context;
	char	  **names;
	int			n;
} Names;

typedef struct ReplayStep
{
	const char *name;
	EbReplayOutcome outcome;
	TimestampTz due;
	int			sqlstate;
	char		message[EB_REASON_SIZE];
} ReplayStep;

static void
list_replays(void *arg)
{
	Names	   *names = arg;
	MemoryContext old;

	if (!eb_worker_installed(NULL))
		return;
	old = MemoryContextSwitchTo(names->context);
	names->n = eb_replay_list(&names->names);
	MemoryContextSwitchTo(old);
}

static void
run_chunk(void *arg)
{
	ReplayStep *step = arg;
	MemoryContext context = CurrentMemoryContext;

	(void) set_config_option("synchronous_commit", "off", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	PG_TRY();
	{
		step->outcome = eb_replay_chunk(step->name, false, &step->due);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		step->sqlstate = error->sqlerrcode;
		strlcpy(step->message, error->message, sizeof(step->message));
		FreeErrorData(error);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
fail_replay(void *arg)
{
	ReplayStep *step = arg;

	eb_replay_fail(step->name, step->message);
}

static bool
may_work_later(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TRANSACTION_ROLLBACK ||
		category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_OPERATOR_INTERVENTION ||
		sqlstate == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Until when a replay is left out; 0 if it is not. */
static TimestampTz
deferred_until(const char *name)
{
	for (int i = 0; i < MAX_DEFERRED; i++)
	{
		if (deferred[i].until == 0 || strcmp(deferred[i].name, name) != 0)
			continue;
		if (deferred[i].until > GetCurrentTimestamp())
			return deferred[i].until;
		deferred[i].until = 0;
	}
	return 0;
}

static TimestampTz
defer(const char *name)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < MAX_DEFERRED; i++)
	{
		if (deferred[i].until > now)
			continue;
		strlcpy(deferred[i].name, name, NAMEDATALEN);
		deferred[i].until = now + RETRY_US;
		break;
	}
	return now + RETRY_US;
}

/*
 * One chunk of each replay that has work.  Returns when to call again: now or
 * earlier for at once, DT_NOEND when there is nothing to do before attention
 * is asked for.
 */
TimestampTz
eb_worker_replays(void)
{
	Names		names = {0};
	TimestampTz due = DT_NOEND;

	names.context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus replays",
										  ALLOCSET_SMALL_SIZES);
	(void) eb_worker_run("list replays", list_replays, &names);
	for (int i = 0; i < names.n; i++)
	{
		ReplayStep	step = {.name = names.names[i]};
		TimestampTz until = deferred_until(step.name);

		if (until != 0)
		{
			due = Min(due, until);
			continue;
		}
		if (eb_worker_run("replay events", run_chunk, &step))
		{
			if (step.outcome == EB_REPLAY_MORE)
				due = 0;
			else if (step.outcome == EB_REPLAY_LATER)
				due = Min(due, step.due - (eb_clock_now() - GetCurrentTimestamp()));
		}
		else if (may_work_later(step.sqlstate))
			due = Min(due, defer(step.name));
		else
			(void) eb_worker_run("mark a replay as failed", fail_replay, &step);
	}
	MemoryContextDelete(names.context);
	return due;
}

/* ---- counting ---- */

typedef struct CountStep
{
	const char *name;
	bool		more;
} CountStep;

static void
list_archives(void *arg)
{
	Names	   *names = arg;
	MemoryContext old;

	if (!eb_worker_installed(NULL))
		return;
	old = MemoryContextSwitchTo(names->context);
	names->n = eb_archive_list(&names->names);
	MemoryContextSwitchTo(old);
}

static void
count_archive(void *arg)
{
	CountStep  *step = arg;

	step->more = eb_archive_count(step->name);
}

void
eb_archives_round(EbMaintenance *m)
{
	Names		names = {0};

	names.context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus archives",
										  ALLOCSET_SMALL_SIZES);
	(void) eb_maintenance_step(m, "list archives", list_archives, &names);
	for (int i = 0; i < names.n; i++)
	{
		CountStep	step = {names.names[i], false};

		do
		{
			step.more = false;
			if (!eb_maintenance_step(m, "count an archive", count_archive, &step))
				break;
		} while (step.more);
	}
	MemoryContextDelete(names.context);
}
