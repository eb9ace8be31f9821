/*-------------------------------------------------------------------------
 *
 * worker_notify.c
 *	  Wake-ups, the backends' side: arming queues and subscriptions, and what
 *	  a transaction hands over when it ends.
 *
 * A commit with NOTIFY takes a global lock and an xid, so publishers do not:
 * they set a flag in the queue's slot, and the notifier's latch if somebody
 * waits for the queue (README.md, claims 1 to 7).  During the transaction
 * only a list in local memory grows; callbacks at its end do the rest and
 * cannot fail: slots are given out before the commit, in
 * XACT_EVENT_PRE_COMMIT.
 *
 * Subscriptions work alike, by way of a slot for the bus: a publisher sets
 * one flag however many subscriptions its bus has, the notifier passes it on
 * to them (claims 11 to 13).
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
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/proclist.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "clock.h"
#include "compat.h"
#include "eb.h"
#include "log/log.h"
#include "shmem.h"
#include "stream/stream.h"
#include "worker/worker_internal.h"

/* What this backend knows of a queue, bus or subscription; kept over transactions. */
typedef struct LocalQueue
{
	Oid			table;			/* hash key; a view if it is no queue */
	EbSlotKind	kind;
	Oid			bus;			/* subscription: its bus's view */
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

/* The last ones looked up, by oid: a put asks for its bus and its queues in turn. */
#define RECENT_QUEUES	16
static LocalQueue *recent[RECENT_QUEUES];

/* Queues of this transaction, in TopTransactionContext. */
static LocalQueue **listed = NULL;
static int	nlisted = 0;
static int	listed_room = 0;
static LocalQueue *last_listed = NULL;

static bool wake_at_commit = false;
static bool rescan_at_commit = false;

static bool counted_listener = false;	/* this backend, in shared memory */
static bool listening_at_commit = false;

static LocalQueue *
local_queue(Oid table, EbSlotKind kind, Oid bus, const char *name)
{
	LocalQueue *local = recent[table % RECENT_QUEUES];
	bool		found;

	if (likely(local && local->table == table && strcmp(NameStr(local->name), name) == 0))
		return local;
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
		local->kind = kind;
		local->bus = bus;
	}
	if (!found || strcmp(NameStr(local->name), name) != 0)
		namestrcpy(&local->name, name);
	return recent[table % RECENT_QUEUES] = local;
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
		local->slot = eb_notify_slot_create(MyDatabaseId, local->table, local->kind,
											local->bus, NameStr(local->name));
		local->arm_seen = 0;
	}
	return local->slot;
}

/* Without a notifier every commit sends a NOTIFY, armed or not. */
static bool
notifier_ready(void)
{
	EbDatabase *db = eb_worker_my_database();

	return db && pg_atomic_read_u32(&db->notifier_ready) != 0;
}

/* True: look once more. */
static bool
arm_slot(LocalQueue *local)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbNotifySlot *slot;
	uint32		arm;

	if (slot_of(local) < 0)
		return false;
	slot = &shared->slots[local->slot];
	if (counted_listener && local->kind == EB_SLOT_QUEUE)
		eb_consumer_enter(local->slot, NameStr(local->name));

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

bool
eb_notify_arm(const EbQueue *queue)
{
	return notifier_ready() &&
		arm_slot(local_queue(queue->table, EB_SLOT_QUEUE, InvalidOid, queue->name));
}

bool
eb_notify_arm_subscription(const char *name, Oid view, const char *bus, Oid bus_view)
{
	bool		result;

	if (!notifier_ready())
		return false;

	/* the subscription first: whoever finds the bus armed finds it, too */
	result = arm_slot(local_queue(view, EB_SLOT_SUBSCRIPTION, bus_view, name));
	return arm_slot(local_queue(bus_view, EB_SLOT_BUS, InvalidOid, bus)) || result;
}

void
eb_notify_held(const char *bus, Oid bus_view, EbTick horizon)
{
	EbWorkerShared *shared = eb_worker_shared();
	LocalQueue *local;

	if (!shared)
		return;
	local = local_queue(bus_view, EB_SLOT_BUS, InvalidOid, bus);
	if (slot_of(local) < 0)
		return;
	eb_atomic_raise(&shared->slots[local->slot].held, horizon);
	eb_atomic_raise(&shared->held, horizon);
	pg_memory_barrier();		/* before the caller's next look (claim 13) */
}

static LocalQueue *
list_queue(Oid table, EbSlotKind kind, const char *name)
{
	LocalQueue *local;

	if (last_listed && last_listed->table == table)
		return last_listed;

	/* find it now: at the transaction's end it may be too late to attach */
	if (nlisted == 0)
		(void) eb_worker_shared();
	local = local_queue(table, kind, InvalidOid, name);
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
	LocalQueue *local = list_queue(queue->table, EB_SLOT_QUEUE, queue->name);

	if (visible_at == 0)
		local->visible = true;
	else if (visible_at < local->visible_at)
		local->visible_at = visible_at;
}

void
eb_notify_taken(const EbQueue *queue)
{
	list_queue(queue->table, EB_SLOT_QUEUE, queue->name)->taken = true;
}

void
eb_notify_published(Oid bus_view, const char *bus)
{
	list_queue(bus_view, EB_SLOT_BUS, bus)->visible = true;
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

/* ---- who listens (claim 14) ---- */

static pg_atomic_uint32 *
listeners(void)
{
	return &eb_worker_shared()->listeners[MyDatabaseId % EB_LISTENER_COUNTS];
}

static void
forget_listener(int code, Datum arg)
{
	eb_consumer_exit();			/* none of those may be counted longer */
	pg_atomic_fetch_sub_u32(listeners(), 1);
}

/*
 * Counted before the LISTEN takes effect, and to the backend's end: UNLISTEN
 * may be rolled back.
 */
void
eb_notify_listen(const char *channel)
{
	if (!EB_IS_OUR_CHANNEL(channel) || !eb_worker_shared())
		return;
	if (!counted_listener)
	{
		before_shmem_exit(forget_listener, (Datum) 0);
		pg_atomic_fetch_add_u32(listeners(), 1);
		counted_listener = true;
	}
	listening_at_commit = true;
	eb_consumer_channels_change();
}

void
eb_notify_unlisten(const char *channel)
{
	if (counted_listener && (!channel || EB_IS_OUR_CHANNEL(channel)))
		eb_consumer_channels_change();
}

uint32
eb_notify_listeners(void)
{
	return pg_atomic_read_u32(listeners());
}

bool
eb_notify_is_heard(void)
{
	return eb_notify_listeners() != 0;
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

/*
 * Have those who listen told of what is visible and pending.  False: the
 * notifier has to be woken for it.
 */
static bool
announce(EbDatabase *db, int number)
{
	EbNotifySlot *slot = &eb_worker_shared()->slots[number];
	uint32		arm = pg_atomic_read_u32(&slot->arm);
	uint32		told = EB_TOLD;

	/* consumers were told and have not come yet: have that watched, once */
	if ((arm & 1) == 0)
		return pg_atomic_read_u32(&slot->told) != EB_TOLD ||
			!pg_atomic_compare_exchange_u32(&slot->told, &told, EB_TOLD_WATCH);
	if (!eb_notify_is_heard())
		return true;
	return pg_atomic_read_u32(&db->notifier_ready) != 0 && eb_consumers_tell(number, arm);
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
	if ((visible && !announce(db, local->slot)) ||
		(uint64) visible_at < pg_atomic_read_u64(&db->notifier_until))
		eb_notifier_wake(db);
}

/* aborted: only what was taken counts, and is visible again. */
static void
tell(bool aborted)
{
	EbDatabase *db = eb_worker_my_database();

	pg_memory_barrier();		/* outcome before flags (claim 1) */
	for (int i = 0; i < nlisted; i++)
	{
		LocalQueue *local = listed[i];

		if (aborted)
		{
			local->visible = local->taken;
			local->visible_at = DT_NOEND;
		}
		else if (local->visible_at != DT_NOEND && local->visible_at <= eb_clock_now())
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

/*
 * Wake the readers of buses whose events a publisher held back that has ended;
 * ANY_BOUND: whatever it was (claim 13).
 */
#define ANY_BOUND	UINT64CONST(0)

static void
wake_held(EbTick bound)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbDatabase *db = eb_worker_my_database();

	for (int i = 0; i < shared->nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[i];
		EbTick		held = pg_atomic_read_u64(&slot->held);

		if (held == 0 || held < bound ||
			EB_SLOT_DATABASE(pg_atomic_read_u64(&slot->key)) != MyDatabaseId)
			continue;
		pg_atomic_write_u64(&slot->held, 0);
		pg_atomic_write_u32(&slot->pending, 1);
		pg_memory_barrier();
		ConditionVariableBroadcast(&slot->waiters);
		if (db)
			eb_notifier_wake(db);
	}
}

void
eb_worker_active(void)
{
	EbDatabase *db = eb_worker_my_database();

	if (db && pg_atomic_read_u32(&db->active) == 0 &&
		pg_atomic_exchange_u32(&db->active, 1) == 0)
		eb_worker_signal(&db->workers[EB_WORKER_MAINTAINER]);
}

char	   *
eb_notify_channel(EbSlotKind kind, const char *name)
{
	return psprintf(kind == EB_SLOT_QUEUE ? "eb_%s" : "eb_sub_%s", name);
}

/* NOTIFY for the subscriptions of a bus; InvalidOid: of all of them. */
static void
notify_subscriptions(Oid bus)
{
	EbSubscriptionName *names;
	int			n = eb_subscription_list(&names);

	for (int i = 0; i < n; i++)
	{
		if (OidIsValid(bus) && names[i].bus_view != bus)
			continue;
		Async_Notify(eb_notify_channel(EB_SLOT_SUBSCRIPTION, names[i].name),
					 names[i].name);
	}
}

/*
 * Before the commit, where an error is still possible: have a slot for each
 * queue, or send the NOTIFY from here.
 */
static void
prepare_to_tell(bool can_notify)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbDatabase *db = eb_worker_my_database();
	bool		ready = notifier_ready();

	/* first use, if nobody told the launcher: a restored or copied database */
	if (shared && !db && nlisted > 0)
		wake_at_commit = true;

	for (int i = 0; i < nlisted; i++)
	{
		LocalQueue *local = listed[i];

		if ((shared && slot_of(local) >= 0 && ready) || !local->visible || !can_notify)
			continue;
		if (local->kind == EB_SLOT_QUEUE)
			Async_Notify(eb_notify_channel(EB_SLOT_QUEUE, NameStr(local->name)),
						 NameStr(local->name));
		else
		{
			/* one that held others back wakes their readers, too */
			bool		held = shared && eb_log_bound() != 0 &&
			pg_atomic_read_u64(&shared->held) >= eb_log_bound();

			notify_subscriptions(held ? InvalidOid : local->table);
		}
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
	db = eb_worker_my_database();
	pg_memory_barrier();
	for (int i = 0; i < shared->nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[i];

		if (EB_SLOT_DATABASE(pg_atomic_read_u64(&slot->key)) != MyDatabaseId ||
			pg_atomic_read_u32(&slot->prepared) == slot->prepared_done)
			continue;
		pg_atomic_write_u32(&slot->pending, 1);
		if (slot->kind == EB_SLOT_QUEUE)
			pg_atomic_write_u64(&slot->next_visible, 0);	/* look for delayed ones */
		ConditionVariableBroadcast(&slot->waiters);
	}
	wake_held(ANY_BOUND);
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
		EbDatabase *db = eb_worker_want(MyDatabaseId);

		if (db)
		{
			if (!db->installed)
				rescan_at_commit = true;
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
	wake_at_commit = rescan_at_commit = listening_at_commit = false;
	if (local_queues && hash_get_num_entries(local_queues) > LOCAL_QUEUES_MAX)
	{
		hash_destroy(local_queues);
		local_queues = NULL;
		memset(recent, 0, sizeof(recent));
	}
}

void
eb_notify_at_xact(XactEvent event)
{
	eb_consumer_at_xact(event);
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
				EbTick		bound = eb_log_ended_bound();

				if (nlisted > 0)
					tell(event == XACT_EVENT_ABORT);

				/* what came while nobody listened is still pending */
				if (listening_at_commit && event == XACT_EVENT_COMMIT && eb_worker_my_database())
					eb_notifier_wake(eb_worker_my_database());
				if (bound != 0)
				{
					pg_memory_barrier();	/* the bound is withdrawn (claim
											 * 13) */
					if (pg_atomic_read_u64(&eb_worker_shared()->held) >= bound)
						wake_held(bound);
				}
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
		EbDatabase *db = eb_worker_my_database();

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
