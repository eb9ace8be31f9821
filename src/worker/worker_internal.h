/*-------------------------------------------------------------------------
 *
 * worker_internal.h
 *	  What the files of src/worker share: the section of shared memory and who
 *	  may write which field, and the frame that every worker runs in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_WORKER_INTERNAL_H
#define EB_WORKER_INTERNAL_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "compat.h"
#include "worker/worker.h"

/* ---- shared memory (worker_shmem.c) ---- */

#define EB_MAX_DATABASES	128
#define EB_REASON_SIZE		256

typedef enum EbWorkerKind
{
	EB_WORKER_SUPERVISOR,		/* started by the launcher */
	EB_WORKER_NOTIFIER,			/* these by the supervisor */
	EB_WORKER_MAINTAINER,
	EB_WORKER_KINDS
} EbWorkerKind;

typedef enum EbWorkerPhase
{
	EB_PHASE_STOPPED,
	EB_PHASE_STARTING,			/* registered with the postmaster */
	EB_PHASE_RUNNING,
	EB_PHASE_WAITING			/* no slot, or failed: tried again at next_try */
} EbWorkerPhase;

/*
 * One worker.  All under EbWorkerShared.lock; pid and procno are also read
 * without it to set a latch, where a stale value wakes somebody for nothing.
 * The worker itself writes pid, procno and phase when it starts and ends,
 * its parent everything while pid is 0, both write reason.
 */
typedef struct EbWorkerState
{
	volatile int pid;			/* 0: none */
	volatile int procno;
	EbWorkerPhase phase;
	TimestampTz started_at;		/* phase STARTING: registered at */
	TimestampTz next_try;
	int			backoff;		/* ms */
	int			starts;
	TimestampTz reason_at;
	char		reason[EB_REASON_SIZE]; /* why it does not run; or its last
										 * error */
} EbWorkerState;

/* What an EbDatabase.attention bit asks of the worker of that number. */
#define EB_ATTENTION(kind)	(1u << (kind))
#define EB_ATTENTION_ALL	((1u << EB_WORKER_KINDS) - 1)

/*
 * One database that has the extension, or may have it.  Entries are made by
 * whoever commits a change there, or by the launcher, and freed by the
 * launcher alone, under the lock, when no worker is left in it.
 */
typedef struct EbDatabase
{
	Oid			database;		/* InvalidOid: free; under the lock */
	bool		installed;		/* by the supervisor; under the lock */
	bool		wanted;			/* look whether it is installed; under the
								 * lock */
	bool		dropped;		/* DROP DATABASE committed; under the lock */
	int			blocked_by;		/* pid of a backend whose DDL wants nobody
								 * connected */
	EbWorkerState workers[EB_WORKER_KINDS];

	/* partition that a publisher wants and got no worker for; under the lock */
	int16		leaf_class;		/* 0: none */
	TimestampTz leaf_at;

	/* leaf and block that the maintainer is asked to summarize up to; 0: none */
	pg_atomic_uint64 summarize;

	pg_atomic_uint32 attention; /* bits: configuration changed, look again */
	pg_atomic_uint32 active;	/* written to since the last round of
								 * maintenance */

	/* the notifier's; see README.md */
	pg_atomic_uint32 notifier_ready;	/* commits may rely on it */
	pg_atomic_uint32 notifier_wake; /* its latch was set and it has not looked
									 * yet */
	pg_atomic_uint64 notifier_until;	/* it sleeps until then, by the
										 * extension's clock */
	pg_atomic_uint32 notifier_look_all; /* slots do not tell everything: look
										 * at all queues */
	pg_atomic_uint32 prepared_ended;	/* COMMIT or ROLLBACK PREPARED
										 * happened */
} EbDatabase;

/*
 * What a slot is of: a queue, by its table; a bus, by its view: what
 * publishers set and readers of its log arm; a subscription without a queue,
 * by its view: what is announced, fed from the slot of its bus.
 */
typedef enum EbSlotKind
{
	EB_SLOT_QUEUE,
	EB_SLOT_BUS,
	EB_SLOT_SUBSCRIPTION
} EbSlotKind;

/*
 * Wake-ups of one queue, bus or subscription, see README.md for the protocol.
 * key, kind, bus, name and the use of the slot change under the lock; a reader
 * without it checks the key before and after.
 */
typedef struct EbNotifySlot
{
	pg_atomic_uint64 key;		/* database and relation; see EB_SLOT_ macros */
	EbSlotKind	kind;
	Oid			bus;			/* subscription: its bus's view */
	pg_atomic_uint32 arm;		/* odd: armed; grows with each change */
	pg_atomic_uint32 pending;	/* messages became visible since the last
								 * NOTIFY */
	pg_atomic_uint64 next_visible;	/* messages become visible then; EB_NEVER */
	pg_atomic_uint64 held;		/* bus: the end of publishers with a bound up
								 * to here makes events readable; 0: none
								 * waited for */
	pg_atomic_uint32 prepared;	/* counts PREPAREs that wrote to the queue */
	uint32		prepared_done;	/* notifier: all up to this one have ended */
	pg_atomic_uint32 told;		/* by a commit, see EB_TOLD */
	pg_atomic_uint64 notified_at;	/* TimestampTz of the last NOTIFY or
									 * telling; 0: never */
	int			repeat_ms;		/* notifier: disarmed, look again so much
								 * after that */
	ConditionVariable waiters;	/* CALL eb.wait */
	NameData	name;
} EbNotifySlot;

#define EB_SLOT_FREE		UINT64CONST(0)
#define EB_SLOT_DELETED		UINT64CONST(1)	/* free, but probing goes on */
#define EB_SLOT_KEY(database, relation)	(((uint64) (database) << 32) | (relation))
#define EB_SLOT_DATABASE(key)	((Oid) ((key) >> 32))
#define EB_SLOT_RELATION(key)	((Oid) (key))
#define EB_NEVER			((uint64) DT_NOEND)

/*
 * Who has disarmed a slot: the notifier (0), which sees to it that consumers
 * come; or a commit that has told them itself: nobody watches yet, or the
 * notifier is asked to.
 */
#define EB_TOLD				1
#define EB_TOLD_WATCH		2

/* One backend as a consumer that is told directly (worker_consumer.c). */
typedef struct EbConsumer
{
	pg_atomic_uint32 word;
	int			pid;			/* valid while word is not 0 */
} EbConsumer;

#define EB_IS_OUR_CHANNEL(name)	(strncmp(name, "eb_", 3) == 0)

/* Databases share a count by their oid: one too many costs a NOTIFY, no more. */
#define EB_LISTENER_COUNTS	64

typedef struct EbWorkerShared
{
	LWLock		lock;
	EbWorkerState launcher;
	ConditionVariable stopped;	/* broadcast when a worker ends */
	pg_atomic_uint32 rescan;	/* launcher: look through pg_database */
	pg_atomic_uint32 prepared_wake; /* a prepared transaction changed
									 * configuration */
	bool		full;			/* more databases than entries; under the lock */
	pg_atomic_uint32 slot_changes;	/* grows when a slot is given or taken */
	pg_atomic_uint64 held;		/* no slot's held is above it; never falls */

	/* backends that have listened to a channel of ours (claim 14) */
	pg_atomic_uint32 listeners[EB_LISTENER_COUNTS];
	pg_atomic_uint32 entered[EB_LISTENER_COUNTS];	/* of those, as consumers
													 * (claim 15) */
	int			nconsumers;		/* one for each backend */
	Size		consumers_offset;
	EbDatabase	databases[EB_MAX_DATABASES];
	int			nslots;
	EbNotifySlot slots[FLEXIBLE_ARRAY_MEMBER];
} EbWorkerShared;

extern EbWorkerShared *eb_worker_shared(void);	/* NULL without shared memory */
extern EbConsumer *eb_worker_consumer(int backend);

/* Entry of a database, or NULL.  Needs no lock. */
extern EbDatabase *eb_worker_database(Oid database);

/* This database's; NULL without shared memory as well. */
extern EbDatabase *eb_worker_my_database(void);

/* The same, made if need be and wanted; NULL: all are taken.  Takes the lock. */
extern EbDatabase *eb_worker_want(Oid database);

/* Set a worker's latch, if it runs. */
extern void eb_worker_signal(EbWorkerState *worker);
extern void eb_worker_signal_all(EbDatabase *db);

/*
 * Slot of a queue, bus or subscription: number, or -1 if there is none.
 * create: if it is missing; -1: none left.
 */
extern int	eb_notify_slot_find(Oid database, Oid relation);
extern int	eb_notify_slot_create(Oid database, Oid relation, EbSlotKind kind,
								  Oid bus, const char *name);

/* Channel of a queue or subscription. */
extern char *eb_notify_channel(EbSlotKind kind, const char *name);

/* Give slots back.  Returns whether one had something pending. */
extern bool eb_notify_slot_free(int slot);
extern void eb_notify_slots_free(Oid database);

/* Lower an atomic to value; true if it was higher. */
extern bool eb_atomic_lower(pg_atomic_uint64 *atomic, uint64 value);

/* Raise one. */
extern void eb_atomic_raise(pg_atomic_uint64 *atomic, uint64 value);

/* ---- starting and watching a child (worker_shmem.c) ---- */

/*
 * Look after one worker.  start: it should run, so start it if it does not and
 * its time has come; else only find out whether one that was being started
 * came to nothing.  Returns when to look again (DT_NOEND: when woken).
 */
extern TimestampTz eb_worker_tend(EbDatabase *db, EbWorkerKind kind, bool start);

/* Set when to try again, after it could not start (0) or ended; under the lock. */
extern void eb_worker_back_off(EbWorkerState *worker, TimestampTz ran_since);

/* ---- the frame of a worker (worker_loop.c) ---- */

extern const char *const eb_worker_names[EB_WORKER_KINDS];

/* Called first.  db NULL: the launcher.  Ends the process if it is one too many. */
extern void eb_worker_begin(EbDatabase *db, EbWorkerKind kind);

/* Connected: signals are unblocked, contexts are made, state is RUNNING. */
extern void eb_worker_connected(void);

/* End of the process because it is not wanted any more: exit code 0. */
pg_noreturn extern void eb_worker_retire(void);

/*
 * Sleep until then or until the latch is set; handles interrupts, reload and
 * being asked to stop, and resets the worker's memory.
 */
extern void eb_worker_sleep(TimestampTz until);

/*
 * Run a function in a transaction of its own, with a snapshot.  An error is
 * logged, kept as the worker's reason, and makes it return false.  The worker
 * does not end by it.
 */
typedef void (*EbWorkerTask) (void *arg);
extern bool eb_worker_run(const char *what, EbWorkerTask task, void *arg);

/* Same for a statement that brings its own transactions (VACUUM, DETACH CONCURRENTLY). */
extern bool eb_worker_run_toplevel(const char *sql);

/*
 * Is the extension installed?  In a transaction.  version: NULL, or room for
 * NAMEDATALEN bytes.
 */
extern bool eb_worker_installed(char *version);

/* ---- maintenance (worker_maintainer.c, worker_retention.c) ---- */

/*
 * How maintenance runs its steps: in a worker each in a transaction of its
 * own, errors logged; in eb.maintain() in the caller's session.
 */
typedef struct EbMaintenance
{
	bool		by_hand;
	bool		failed;			/* a step failed and is to be tried again soon */
	int			failures;		/* rounds one after the other that failed */
	TimestampTz next_due;		/* retention or expiry: earliest instant known */
} EbMaintenance;

extern bool eb_maintenance_step(EbMaintenance *m, const char *what,
								EbWorkerTask task, void *arg);

/* Something will have to be done then, by the extension's clock. */
extern void eb_maintenance_due(EbMaintenance *m, TimestampTz at);

extern void eb_retention_round(EbMaintenance *m);
extern void eb_leaves_round(EbMaintenance *m);

/* ---- hooks (worker_hook.c), wake-ups (worker_notify.c) ---- */

extern void eb_worker_hooks_install(void);
extern void eb_worker_hooks_at_xact(XactEvent event);
extern void eb_notify_at_xact(XactEvent event);
extern void eb_notify_prepared_ended(void);

/* LISTEN is about to be executed. */
extern void eb_notify_listen(const char *channel);
extern void eb_notify_unlisten(const char *channel);	/* NULL: all */

/* Does anybody listen in this database? */
extern bool eb_notify_is_heard(void);
extern uint32 eb_notify_listeners(void);	/* backends, of this database */
extern void eb_worker_rescan_at_commit(void);

/* Set the notifier's latch unless that is already under way. */
extern void eb_notifier_wake(EbDatabase *db);

/* ---- worker_consumer.c: README.md, claim 15 ---- */

/* A statement that may change which channels of ours this backend listens to. */
extern void eb_consumer_channels_change(void);

/* A receive of this listening backend is about to arm the queue of that slot. */
extern void eb_consumer_enter(int slot, const char *queue);

/*
 * Messages of the slot's queue are visible, and it was armed, with that count.
 * False: the notifier has to be woken.
 */
extern bool eb_consumers_tell(int slot, uint32 arm);

/* The slot is taken back; under the lock. */
extern void eb_consumers_strike(int slot, Oid database);
extern void eb_consumer_at_xact(XactEvent event);
extern void eb_consumer_exit(void);

/* ---- worker_replay.c ---- */

extern TimestampTz eb_worker_replays(void);
extern void eb_archives_round(EbMaintenance *m);

#endif							/* EB_WORKER_INTERNAL_H */
