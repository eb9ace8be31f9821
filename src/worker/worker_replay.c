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
 * was the kind of error that may be gone at the next try.
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

		if (eb_worker_run("replay events", run_chunk, &step))
		{
			if (step.outcome == EB_REPLAY_MORE)
				due = 0;
			else if (step.outcome == EB_REPLAY_LATER)
				due = Min(due, step.due - (eb_clock_now() - GetCurrentTimestamp()));
		}
		else if (may_work_later(step.sqlstate))
			due = Min(due, GetCurrentTimestamp() + RETRY_US);
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
