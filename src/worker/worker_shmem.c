/*-------------------------------------------------------------------------
 *
 * worker_shmem.c
 *	  Workers in shared memory: databases, states, slots for wake-ups; starting
 *	  a worker and keeping it running.
 *
 * One LWLock guards all but the atomics.  Nothing waits, allocates or raises
 * under it: a worker is registered with the postmaster after the lock was
 * given back.
 *
 * A database entry stays where it is while anybody works in it, so pointers
 * to it are kept; whoever does so over a transaction's end compares its
 * database again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "eb.h"
#include "shmem.h"
#include "worker/worker_internal.h"

/* A worker that ran as long as SETTLED_MS is started again at once. */
#define SETTLED_MS		10000
#define BACKOFF_MIN_MS	1000
#define BACKOFF_MAX_MS	60000

/* Registered, but neither running nor known to us: given up after this. */
#define START_TIMEOUT_MS	30000

const char *const eb_worker_names[EB_WORKER_KINDS] = {
	[EB_WORKER_SUPERVISOR] = "supervisor",
	[EB_WORKER_NOTIFIER] = "notifier",
	[EB_WORKER_MAINTAINER] = "maintainer",
};

static const char *const main_functions[EB_WORKER_KINDS] = {
	[EB_WORKER_SUPERVISOR] = "eb_supervisor_main",
	[EB_WORKER_NOTIFIER] = "eb_notifier_main",
	[EB_WORKER_MAINTAINER] = "eb_maintainer_main",
};

/* The postmaster's handles of what this process registered. */
static BackgroundWorkerHandle *handles[EB_MAX_DATABASES][EB_WORKER_KINDS];

/*
 * Half as many again as queues, so that probing stays short.
 */
static int
slot_count(void)
{
	return eb_max_queues * 2 + 64;
}

static Size
slots_size(void)
{
	return CACHELINEALIGN(add_size(offsetof(EbWorkerShared, slots),
								   mul_size(slot_count(), sizeof(EbNotifySlot))));
}

Size
eb_worker_shmem_size(void)
{
	return add_size(slots_size(), mul_size(MaxBackends, sizeof(EbConsumer)));
}

static EbConsumer *
consumers(EbWorkerShared *shared)
{
	return (EbConsumer *) ((char *) shared + shared->consumers_offset);
}

static void
init_state(EbWorkerState *state)
{
	memset(state, 0, sizeof(EbWorkerState));
	state->procno = -1;
}

static void
init_database(EbDatabase *db)
{
	db->database = InvalidOid;
	db->installed = false;
	db->wanted = false;
	db->dropped = false;
	db->blocked_by = 0;
	db->leaf_class = 0;
	for (int i = 0; i < EB_WORKER_KINDS; i++)
		init_state(&db->workers[i]);
	pg_atomic_write_u32(&db->attention, 0);
	pg_atomic_write_u64(&db->summarize, 0);
	pg_atomic_write_u32(&db->active, 0);
	pg_atomic_write_u32(&db->notifier_ready, 0);
	pg_atomic_write_u32(&db->notifier_wake, 0);
	pg_atomic_write_u64(&db->notifier_until, EB_NEVER);
	pg_atomic_write_u32(&db->notifier_look_all, 0);
	pg_atomic_write_u32(&db->prepared_ended, 0);
}

void
eb_worker_shmem_init(void *section)
{
	EbWorkerShared *shared = section;

	LWLockInitialize(&shared->lock, eb_shmem_tranche());
	init_state(&shared->launcher);
	ConditionVariableInit(&shared->stopped);
	pg_atomic_init_u32(&shared->rescan, 1);
	pg_atomic_init_u32(&shared->slot_changes, 0);
	pg_atomic_init_u64(&shared->held, 0);
	for (int i = 0; i < EB_LISTENER_COUNTS; i++)
	{
		pg_atomic_init_u32(&shared->listeners[i], 0);
		pg_atomic_init_u32(&shared->entered[i], 0);
	}

	/* one that was prepared before a restart may have done so */
	pg_atomic_init_u32(&shared->prepared_wake, max_prepared_xacts > 0);
	for (int i = 0; i < EB_MAX_DATABASES; i++)
	{
		EbDatabase *db = &shared->databases[i];

		pg_atomic_init_u32(&db->attention, 0);
		pg_atomic_init_u64(&db->summarize, 0);
		pg_atomic_init_u32(&db->active, 0);
		pg_atomic_init_u32(&db->notifier_ready, 0);
		pg_atomic_init_u32(&db->notifier_wake, 0);
		pg_atomic_init_u64(&db->notifier_until, EB_NEVER);
		pg_atomic_init_u32(&db->notifier_look_all, 0);
		pg_atomic_init_u32(&db->prepared_ended, 0);
		init_database(db);
	}
	shared->nslots = slot_count();
	for (int i = 0; i < shared->nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[i];

		pg_atomic_init_u64(&slot->key, EB_SLOT_FREE);
		pg_atomic_init_u32(&slot->arm, 0);
		pg_atomic_init_u32(&slot->pending, 0);
		pg_atomic_init_u64(&slot->next_visible, EB_NEVER);
		pg_atomic_init_u64(&slot->held, 0);
		pg_atomic_init_u32(&slot->prepared, 0);
		pg_atomic_init_u32(&slot->told, 0);
		pg_atomic_init_u64(&slot->notified_at, 0);
		ConditionVariableInit(&slot->waiters);
	}
	shared->nconsumers = MaxBackends;
	shared->consumers_offset = slots_size();
	for (int i = 0; i < shared->nconsumers; i++)
		pg_atomic_init_u32(&consumers(shared)[i].word, 0);
}

EbWorkerShared *
eb_worker_shared(void)
{
	return eb_shmem_section(EB_SHMEM_WORKER);
}

EbConsumer *
eb_worker_consumer(int backend)
{
	return consumers(eb_worker_shared()) + backend;
}

/* ---- databases ---- */

EbDatabase *
eb_worker_database(Oid database)
{
	EbWorkerShared *shared = eb_worker_shared();

	/* an oid is read whole; entries are not moved */
	for (int i = 0; i < EB_MAX_DATABASES; i++)
	{
		if (shared->databases[i].database == database)
			return &shared->databases[i];
	}
	return NULL;
}

EbDatabase *
eb_worker_my_database(void)
{
	static EbDatabase *db = NULL;

	if (eb_worker_shared() && (!db || db->database != MyDatabaseId))
		db = eb_worker_database(MyDatabaseId);
	return db;
}

/*
 * In one go: an entry that nobody wants yet is as good as free to the launcher,
 * which would take it away and remember the database as one without.
 */
EbDatabase *
eb_worker_want(Oid database)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbDatabase *db;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	db = eb_worker_database(database);
	if (!db)
	{
		db = eb_worker_database(InvalidOid);
		if (db)
		{
			init_database(db);
			pg_write_barrier();
			db->database = database;
		}
		else
			shared->full = true;
	}
	if (db)
		db->wanted = true;
	LWLockRelease(&shared->lock);
	return db;
}

/*
 * The latch of a process in shared memory is found by its number, and may be
 * somebody else's by now: such a spurious wake-up is harmless by rule.
 */
void
eb_worker_signal(EbWorkerState *worker)
{
	int			procno = worker->procno;
	int			pid = worker->pid;
	PGPROC	   *proc;

	if (pid == 0 || procno < 0)
		return;
	proc = GetPGProcByNumber(procno);
	if (proc->pid == pid)
		SetLatch(&proc->procLatch);
}

void
eb_worker_signal_all(EbDatabase *db)
{
	eb_worker_signal(&eb_worker_shared()->launcher);
	for (int i = 0; i < EB_WORKER_KINDS; i++)
		eb_worker_signal(&db->workers[i]);
}

bool
eb_atomic_lower(pg_atomic_uint64 *atomic, uint64 value)
{
	uint64		old = pg_atomic_read_u64(atomic);

	while (value < old)
	{
		if (pg_atomic_compare_exchange_u64(atomic, &old, value))
			return true;
	}
	return false;
}

void
eb_atomic_raise(pg_atomic_uint64 *atomic, uint64 value)
{
	uint64		old = pg_atomic_read_u64(atomic);

	while (value > old)
	{
		if (pg_atomic_compare_exchange_u64(atomic, &old, value))
			return;
	}
}

/* ---- slots ---- */

static int
find_slot(EbWorkerShared *shared, uint64 key, int *free_slot)
{
	int			i = hash_bytes((unsigned char *) &key, sizeof(key)) % shared->nslots;

	*free_slot = -1;
	for (int n = 0; n < shared->nslots; n++)
	{
		uint64		found = pg_atomic_read_u64(&shared->slots[i].key);

		if (found == key)
			return i;
		if (*free_slot < 0 && (found == EB_SLOT_FREE || found == EB_SLOT_DELETED))
			*free_slot = i;
		if (found == EB_SLOT_FREE)
			break;
		if (++i == shared->nslots)
			i = 0;
	}
	return -1;
}

int
eb_notify_slot_find(Oid database, Oid relation)
{
	EbWorkerShared *shared = eb_worker_shared();
	int			free_slot;
	int			i;

	LWLockAcquire(&shared->lock, LW_SHARED);
	i = find_slot(shared, EB_SLOT_KEY(database, relation), &free_slot);
	LWLockRelease(&shared->lock);
	return i;
}

int
eb_notify_slot_create(Oid database, Oid relation, EbSlotKind kind, Oid bus,
					  const char *name)
{
	EbWorkerShared *shared = eb_worker_shared();
	uint64		key = EB_SLOT_KEY(database, relation);
	int			free_slot;
	int			i = eb_notify_slot_find(database, relation);

	if (i >= 0)
		return i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	i = find_slot(shared, key, &free_slot);
	if (i < 0 && free_slot >= 0)
	{
		EbNotifySlot *slot = &shared->slots[free_slot];

		/*
		 * A new slot is armed: nobody knows whether somebody listens who has
		 * not asked for messages yet.  (claim 6)
		 */
		i = free_slot;
		pg_atomic_write_u32(&slot->arm, pg_atomic_read_u32(&slot->arm) | 1);
		pg_atomic_write_u32(&slot->pending, 0);
		pg_atomic_write_u64(&slot->next_visible, EB_NEVER);
		slot->prepared_done = pg_atomic_read_u32(&slot->prepared);
		pg_atomic_write_u64(&slot->held, 0);
		pg_atomic_write_u32(&slot->told, 0);
		pg_atomic_write_u64(&slot->notified_at, 0);
		slot->repeat_ms = 0;
		slot->kind = kind;
		slot->bus = bus;
		namestrcpy(&slot->name, name);
		pg_write_barrier();
		pg_atomic_write_u64(&slot->key, key);
		pg_atomic_fetch_add_u32(&shared->slot_changes, 1);
	}
	LWLockRelease(&shared->lock);
	return i;
}

bool
eb_notify_slot_free(int i)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbNotifySlot *slot = &shared->slots[i];
	bool		pending;

	/* who sets pending after this sees another key and looks again (claim 5) */
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	eb_consumers_strike(i, EB_SLOT_DATABASE(pg_atomic_read_u64(&slot->key)));
	pg_atomic_write_u64(&slot->key, EB_SLOT_DELETED);
	pg_memory_barrier();
	pending = pg_atomic_exchange_u32(&slot->pending, 0) != 0;
	pg_atomic_fetch_add_u32(&shared->slot_changes, 1);
	LWLockRelease(&shared->lock);
	ConditionVariableBroadcast(&slot->waiters);
	return pending;
}

void
eb_notify_slots_free(Oid database)
{
	EbWorkerShared *shared = eb_worker_shared();

	for (int i = 0; i < shared->nslots; i++)
	{
		if (EB_SLOT_DATABASE(pg_atomic_read_u64(&shared->slots[i].key)) == database)
			(void) eb_notify_slot_free(i);
	}
}

/* ---- starting a worker ---- */

void
eb_worker_back_off(EbWorkerState *worker, TimestampTz ran_since)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ran_since != 0 && TimestampDifferenceExceeds(ran_since, now, SETTLED_MS))
		worker->backoff = 0;
	else
		worker->backoff = worker->backoff == 0 ? BACKOFF_MIN_MS :
			Min(worker->backoff * 2, BACKOFF_MAX_MS);
	worker->next_try = TimestampTzPlusMilliseconds(now, worker->backoff);
}

static TimestampTz
try_later(EbWorkerState *worker, const char *reason)
{
	EbWorkerShared *shared = eb_worker_shared();
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	worker->phase = EB_PHASE_WAITING;
	eb_worker_back_off(worker, 0);
	worker->reason_at = now;
	strlcpy(worker->reason, reason, EB_REASON_SIZE);
	next = worker->next_try;
	LWLockRelease(&shared->lock);
	return next;
}

static void
describe(BackgroundWorker *bgw, EbDatabase *db, EbWorkerKind kind)
{
	memset(bgw, 0, sizeof(*bgw));
	snprintf(bgw->bgw_name, BGW_MAXLEN, "pg_eventbus %s for database %u",
			 eb_worker_names[kind], db->database);
	snprintf(bgw->bgw_type, BGW_MAXLEN, "pg_eventbus %s", eb_worker_names[kind]);
	bgw->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	bgw->bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgw->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(bgw->bgw_library_name, "pg_eventbus", BGW_MAXLEN);
	strlcpy(bgw->bgw_function_name, main_functions[kind], BGW_MAXLEN);
	bgw->bgw_main_arg = Int32GetDatum(db - eb_worker_shared()->databases);
	memcpy(bgw->bgw_extra, &db->database, sizeof(Oid));
	bgw->bgw_notify_pid = MyProcPid;
}

/*
 * Registered, and not running yet: if the postmaster says that it ended, it
 * died before it came as far as telling us.
 */
static TimestampTz
tend_starting(EbWorkerState *worker, BackgroundWorkerHandle **handle,
			  TimestampTz registered_at)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(registered_at, START_TIMEOUT_MS);
	pid_t		pid;

	if (*handle)
	{
		if (GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
			return DT_NOEND;
		pfree(*handle);
		*handle = NULL;

		/* it may have started and ended since the caller looked */
		if (worker->phase != EB_PHASE_STARTING)
			return GetCurrentTimestamp();
	}
	else if (GetCurrentTimestamp() < give_up)
		return give_up;
	return try_later(worker, "it ended while it started; the server log says why");
}

TimestampTz
eb_worker_tend(EbDatabase *db, EbWorkerKind kind, bool start)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbWorkerState *worker = &db->workers[kind];
	BackgroundWorkerHandle **handle = &handles[db - shared->databases][kind];
	BackgroundWorker bgw;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz started_at;
	EbWorkerPhase phase;
	MemoryContext old;
	bool		registered;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	phase = worker->phase;
	started_at = worker->started_at;
	if (worker->pid != 0)
	{
		LWLockRelease(&shared->lock);
		return DT_NOEND;
	}
	if (phase == EB_PHASE_STARTING)
	{
		LWLockRelease(&shared->lock);
		return tend_starting(worker, handle, started_at);
	}
	if (!start)
	{
		worker->phase = EB_PHASE_STOPPED;
		LWLockRelease(&shared->lock);
		return DT_NOEND;
	}
	if (worker->next_try > now)
	{
		TimestampTz next = worker->next_try;

		worker->phase = EB_PHASE_WAITING;
		LWLockRelease(&shared->lock);
		return next;
	}
	worker->phase = EB_PHASE_STARTING;
	worker->started_at = now;
	LWLockRelease(&shared->lock);

	if (*handle)
	{
		pfree(*handle);
		*handle = NULL;
	}
	describe(&bgw, db, kind);
	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&bgw, handle);
	MemoryContextSwitchTo(old);
	if (!registered)
	{
		*handle = NULL;
		return try_later(worker, "no background worker slot is free: raise max_worker_processes");
	}
	return DT_NOEND;
}
