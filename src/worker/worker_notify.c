/*-------------------------------------------------------------------------
 *
 * worker_notify.c
 *	  Wake-ups, the backends' side: arming queues, and what a transaction
 *	  hands over when it ends.
 *
 * A commit with NOTIFY takes a global lock and an xid, so publishers do not:
 * they set a flag in the queue's slot, and the notifier's latch if somebody
 * waits for the queue (README.md, claims 1 to 7).  During the transaction
 * only a list in local memory grows; callbacks at its end do the rest and
 * cannot fail: slots are given out before the commit, in
 * XACT_EVENT_PRE_COMMIT.
 *
 * When no notifier serves the database, PRE_COMMIT queues an ordinary NOTIFY.
 * It does not do so under PREPARE TRANSACTION, which the server refuses after
 * NOTIFY.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/proclist.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "clock.h"
#include "compat.h"
#include "eb.h"
#include "shmem.h"
#include "worker/worker_internal.h"

/* What this backend knows of a queue; kept over transactions. */
typedef struct LocalQueue
{
	Oid			table;			/* hash key */
	int			slot;			/* -1: not known */
	uint32		arm_seen;		/* the slot's arm when we last armed */
	bool		listed;			/* in this transaction's list, so the rest
								 * counts */
	bool		visible;		/* made messages visible */
	bool		taken;			/* took messages */
	TimestampTz visible_at;		/* they are visible then; DT_NOEND */
	NameData	name;
} LocalQueue;

/* Backends that meet more queues than this forget them between transactions. */
#define LOCAL_QUEUES_MAX	4096

static HTAB *local_queues = NULL;

/* Queues of this transaction, in TopTransactionContext. */
static LocalQueue **listed = NULL;
static int	nlisted = 0;
static int	listed_room = 0;
static LocalQueue *last_listed = NULL;

static bool wake_at_commit = false;
static bool rescan_at_commit = false;

static EbDatabase *
my_database(void)
{
	static EbDatabase *db = NULL;

	if (!db || db->database != MyDatabaseId)
		db = eb_worker_database(MyDatabaseId, false);
	return db;
}

static LocalQueue *
local_queue(Oid table, const char *name)
{
	LocalQueue *local;
	bool		found;

	if (!local_queues)
	{
		HASHCTL		ctl = {
			.keysize = sizeof(Oid),
			.entrysize = sizeof(LocalQueue),
			.hcxt = TopMemoryContext
		};

		local_queues = hash_create("pg_eventbus queues to wake", 64, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	local = hash_search(local_queues, &table, HASH_ENTER, &found);
	if (!found)
	{
		local->slot = -1;
		local->arm_seen = 0;
		local->listed = false;
	}
	if (!found || strcmp(NameStr(local->name), name) != 0)
		namestrcpy(&local->name, name);
	return local;
}

/* The queue's slot, still its own; -1 if all are taken.  Takes the lock if it is not known. */
static int
slot_of(LocalQueue *local)
{
	EbWorkerShared *shared = eb_worker_shared();

	if (local->slot < 0 ||
		pg_atomic_read_u64(&shared->slots[local->slot].key) !=
		EB_SLOT_KEY(MyDatabaseId, local->table))
	{
		local->slot = eb_notify_slot(MyDatabaseId, local->table,
									 NameStr(local->name), true);
		local->arm_seen = 0;
	}
	return local->slot;
}

bool
eb_notify_arm(const EbQueue *queue)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbDatabase *db;
	LocalQueue *local;
	EbNotifySlot *slot;
	uint32		arm;

	/* without a notifier every commit sends a NOTIFY, armed or not */
	if (!shared || (db = my_database()) == NULL ||
		pg_atomic_read_u32(&db->notifier_ready) == 0)
		return false;
	local = local_queue(queue->table, queue->name);
	if (slot_of(local) < 0)
		return false;
	slot = &shared->slots[local->slot];

	arm = pg_atomic_read_u32(&slot->arm);
	while ((arm & 1) == 0)
	{
		if (pg_atomic_compare_exchange_u32(&slot->arm, &arm, arm + 1))
			arm++;
	}

	/*
	 * Armed without a break since our last call: that was before the caller's
	 * look, so nothing can have slipped in between.  (claim 3)
	 */
	if (arm == local->arm_seen)
		return false;
	local->arm_seen = arm;
	pg_memory_barrier();		/* before the caller's second look (claim 2) */
	return true;
}

static LocalQueue *
list_queue(const EbQueue *queue)
{
	LocalQueue *local;

	if (last_listed && last_listed->table == queue->table)
		return last_listed;

	/* find it now: at the transaction's end it may be too late to attach */
	if (nlisted == 0)
		(void) eb_worker_shared();
	local = local_queue(queue->table, queue->name);
	if (!local->listed)
	{
		if (nlisted == listed_room)
		{
			int			room = Max(16, listed_room * 2);

			listed = listed ? repalloc(listed, room * sizeof(LocalQueue *)) :
				MemoryContextAlloc(TopTransactionContext, room * sizeof(LocalQueue *));
			listed_room = room;
		}
		listed[nlisted++] = local;
		local->listed = true;
		local->visible = false;
		local->taken = false;
		local->visible_at = DT_NOEND;
	}
	last_listed = local;
	return local;
}

void
eb_notify_pending(const EbQueue *queue, TimestampTz visible_at)
{
	LocalQueue *local = list_queue(queue);

	if (visible_at == 0)
		local->visible = true;
	else if (visible_at < local->visible_at)
		local->visible_at = visible_at;
}

void
eb_notify_taken(const EbQueue *queue)
{
	list_queue(queue)->taken = true;
}

void
eb_worker_wake_at_commit(void)
{
	wake_at_commit = true;
}

void
eb_worker_rescan_at_commit(void)
{
	rescan_at_commit = true;
}

void
eb_notifier_wake(EbDatabase *db)
{
	/* only the first of many sets the latch (claim 4) */
	if (pg_atomic_exchange_u32(&db->notifier_wake, 1) == 0)
		eb_worker_signal(&db->workers[EB_WORKER_NOTIFIER]);
}

/* ---- the transaction's end ---- */

/*
 * Tell a queue's slot what happened.  The caller's messages are visible.
 */
static void
mark_slot(LocalQueue *local, bool visible, TimestampTz visible_at)
{
	EbWorkerShared *shared = eb_worker_shared();

	/* once more if the slot was given to another queue meanwhile (claim 5) */
	for (int try = 0; try < 3; try++)
	{
		EbNotifySlot *slot;

		if (slot_of(local) < 0)
			return;
		slot = &shared->slots[local->slot];
		if (visible && pg_atomic_read_u32(&slot->pending) == 0)
			pg_atomic_write_u32(&slot->pending, 1);
		if (visible_at != DT_NOEND)
			(void) eb_atomic_lower(&slot->next_visible, (uint64) visible_at);
		pg_memory_barrier();
		if (pg_atomic_read_u64(&slot->key) == EB_SLOT_KEY(MyDatabaseId, local->table))
			return;
	}
}

static void
wake_slot(EbDatabase *db, LocalQueue *local, bool visible, TimestampTz visible_at)
{
	EbNotifySlot *slot;

	if (local->slot < 0)
		return;
	slot = &eb_worker_shared()->slots[local->slot];
	if (!proclist_is_empty(&slot->waiters.wakeup))
		ConditionVariableBroadcast(&slot->waiters);
	if (!db)
		return;
	if ((visible && (pg_atomic_read_u32(&slot->arm) & 1) != 0) ||
		(uint64) visible_at < pg_atomic_read_u64(&db->notifier_until))
		eb_notifier_wake(db);
}

/* aborted: only what was taken counts, and is visible again. */
static void
tell(bool aborted)
{
	EbDatabase *db = my_database();
	TimestampTz now = eb_clock_now();

	pg_memory_barrier();		/* outcome before flags (claim 1) */
	for (int i = 0; i < nlisted; i++)
	{
		LocalQueue *local = listed[i];

		if (aborted)
		{
			local->visible = local->taken;
			local->visible_at = DT_NOEND;
		}
		else if (local->visible_at <= now)
		{
			local->visible = true;
			local->visible_at = DT_NOEND;
		}
		if (local->visible || local->visible_at != DT_NOEND)
			mark_slot(local, local->visible, local->visible_at);
	}
	pg_memory_barrier();
	for (int i = 0; i < nlisted; i++)
	{
		LocalQueue *local = listed[i];

		if (local->visible || local->visible_at != DT_NOEND)
			wake_slot(db, local, local->visible, local->visible_at);
	}

	if (!aborted && nlisted > 0)
		eb_worker_active();
}

void
eb_worker_active(void)
{
	EbDatabase *db = eb_worker_shared() ? my_database() : NULL;

	if (db && pg_atomic_read_u32(&db->active) == 0 &&
		pg_atomic_exchange_u32(&db->active, 1) == 0)
		eb_worker_signal(&db->workers[EB_WORKER_MAINTAINER]);
}

/*
 * Before the commit, where an error is still possible: have a slot for each
 * queue, or send the NOTIFY from here.
 */
static void
prepare_to_tell(bool can_notify)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbDatabase *db = shared ? my_database() : NULL;
	bool		ready = db && pg_atomic_read_u32(&db->notifier_ready) != 0;

	/* first use, if nobody told the launcher: a restored or copied database */
	if (shared && !db && nlisted > 0)
		wake_at_commit = true;

	for (int i = 0; i < nlisted; i++)
	{
		LocalQueue *local = listed[i];

		if ((!shared || slot_of(local) < 0 || !ready) && local->visible && can_notify)
			Async_Notify(psprintf("eb_%s", NameStr(local->name)),
						 NameStr(local->name));
	}
}

/* Queues of a prepared transaction are woken when that ends (claim 7). */
static void
mark_prepared(void)
{
	EbWorkerShared *shared = eb_worker_shared();

	for (int i = 0; i < nlisted; i++)
	{
		if (slot_of(listed[i]) >= 0)
			pg_atomic_fetch_add_u32(&shared->slots[listed[i]->slot].prepared, 1);
	}
	if (wake_at_commit)
		pg_atomic_write_u32(&shared->prepared_wake, 1);
}

/*
 * A prepared transaction of this database has ended, with COMMIT or ROLLBACK
 * PREPARED in this backend.  We do not know which queues it wrote to, so all
 * that any prepared transaction wrote to are told.
 */
void
eb_notify_prepared_ended(void)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbDatabase *db;

	if (!shared)
		return;
	db = my_database();
	pg_memory_barrier();
	for (int i = 0; i < shared->nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[i];

		if (EB_SLOT_DATABASE(pg_atomic_read_u64(&slot->key)) != MyDatabaseId ||
			pg_atomic_read_u32(&slot->prepared) == slot->prepared_done)
			continue;
		pg_atomic_write_u32(&slot->pending, 1);
		pg_atomic_write_u64(&slot->next_visible, 0);	/* look for delayed ones */
		ConditionVariableBroadcast(&slot->waiters);
	}
	if (pg_atomic_read_u32(&shared->prepared_wake) != 0)
	{
		/* queues that it made may have lost their slots meanwhile */
		if (db)
			pg_atomic_write_u32(&db->notifier_look_all, 1);
		eb_worker_wake_at_commit();
	}
	if (db)
	{
		pg_atomic_write_u32(&db->prepared_ended, 1);
		eb_notifier_wake(db);
	}
}

static void
wake_workers(void)
{
	EbWorkerShared *shared = eb_worker_shared();

	if (wake_at_commit)
	{
		EbDatabase *db = eb_worker_database(MyDatabaseId, true);

		if (db)
		{
			LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
			if (db->database == MyDatabaseId)
			{
				db->wanted = true;
				if (!db->installed)
					rescan_at_commit = true;
			}
			LWLockRelease(&shared->lock);
			pg_atomic_fetch_or_u32(&db->attention, EB_ATTENTION_ALL);
			eb_worker_signal_all(db);
		}
	}
	if (rescan_at_commit)
	{
		pg_atomic_write_u32(&shared->rescan, 1);
		eb_worker_signal(&shared->launcher);
	}
}

static void
forget_transaction(void)
{
	for (int i = 0; i < nlisted; i++)
		listed[i]->listed = false;
	listed = NULL;
	nlisted = listed_room = 0;
	last_listed = NULL;
	wake_at_commit = rescan_at_commit = false;
	if (local_queues && hash_get_num_entries(local_queues) > LOCAL_QUEUES_MAX)
	{
		hash_destroy(local_queues);
		local_queues = NULL;
	}
}

void
eb_notify_at_xact(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (nlisted > 0)
				prepare_to_tell(true);
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (nlisted > 0)
				prepare_to_tell(false);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			if (eb_worker_shared())
			{
				if (nlisted > 0)
					tell(event == XACT_EVENT_ABORT);
				if (event == XACT_EVENT_COMMIT && eb_preloaded())
					wake_workers();
			}
			forget_transaction();
			break;
		case XACT_EVENT_PREPARE:
			if (eb_worker_shared())
				mark_prepared();
			forget_transaction();
			break;
		default:
			break;
	}
}

/*
 * What a rolled back subtransaction took is visible again at once, and will
 * not be taken by this transaction's end.
 */
void
eb_worker_at_subxact(SubXactEvent event, SubTransactionId mine,
					 SubTransactionId parent)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && nlisted > 0 && eb_worker_shared())
	{
		EbDatabase *db = my_database();

		pg_memory_barrier();
		for (int i = 0; i < nlisted; i++)
		{
			if (!listed[i]->taken)
				continue;
			mark_slot(listed[i], true, DT_NOEND);
			pg_memory_barrier();
			wake_slot(db, listed[i], true, DT_NOEND);
		}
	}
}

void
eb_worker_at_xact(XactEvent event)
{
	eb_worker_hooks_at_xact(event);
	eb_notify_at_xact(event);
}
