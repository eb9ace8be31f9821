/*-------------------------------------------------------------------------
 *
 * worker_notifier.c
 *	  The notifier: one per database, turns flags in shared memory into NOTIFY.
 *
 * Woken by a commit that made a message visible in an armed queue, it sends
 * one NOTIFY for each such queue in one transaction, and disarms them first.
 * A queue that stays disarmed, because whoever was notified is busy or gone,
 * is notified again if messages came since: soon at first, then after twice
 * the time, up to eb.notify_repeat; after that long without any it is armed.
 * So a busy queue costs one NOTIFY in that time, and a consumer that breaks
 * the pattern is late, but not lost.  A common one does: the NOTIFY arrives
 * with the result of the very receive that armed the queue, the client library
 * puts it aside, and the client waits for its socket without looking there.
 *
 * Each slot also holds the next instant at which a message becomes visible
 * (a delay, a retry, the end of a lease).  When it has come, the queue is
 * looked at: one probe of an index, and not again before the next instant.
 *
 * Nothing is done while nothing happens.  The transaction of a NOTIFY reads
 * no table; what it announces is durable already, so it does not wait for
 * its own commit record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "eb.h"
#include "stream/stream.h"
#include "worker/worker_internal.h"

PGDLLEXPORT void eb_notifier_main(Datum arg);

/* The first repeat comes after this part of eb.notify_repeat. */
#define REPEAT_STEPS	128

/* Shortest time between two looks at a queue whose messages were due. */
#define LOOK_MS		10

/* Shortest time between two looks for dropped queues. */
#define FREE_MS		1000

/* After an error. */
#define RETRY_MS	1000

static EbDatabase *db;

/* Slots of this database. */
static int *slots = NULL;
static int	nslots = 0;
static uint32 slots_seen = 0;

/* When due queues were looked at. */
static TimestampTz looked_at = 0;

/* What one round has found to do: slot numbers, in the worker's context. */
typedef struct Round
{
	int		   *notify;
	int			nnotify;
	int		   *look;
	int			nlook;
	TimestampTz until;
} Round;

static void
collect_slots(void)
{
	EbWorkerShared *shared = eb_worker_shared();
	uint32		changes = pg_atomic_read_u32(&shared->slot_changes);

	if (slots && changes == slots_seen)
		return;
	if (!slots)
		slots = MemoryContextAlloc(TopMemoryContext, shared->nslots * sizeof(int));
	slots_seen = changes;		/* what comes meanwhile makes another look */
	pg_read_barrier();
	nslots = 0;
	for (int i = 0; i < shared->nslots; i++)
	{
		if (EB_SLOT_DATABASE(pg_atomic_read_u64(&shared->slots[i].key)) == MyDatabaseId)
			slots[nslots++] = i;
	}
}

/* ---- looking at queues ---- */

/* One queue: is something visible, and when will the next thing be? */
static void
look_at_queue(const EbQueue *queue, EbNotifySlot *slot)
{
	TimestampTz next;

	/* reset before looking: what is not seen lowers it again (claim 8) */
	pg_atomic_write_u64(&slot->next_visible, EB_NEVER);
	pg_memory_barrier();
	if (eb_queue_has_visible(queue))
		pg_atomic_write_u32(&slot->pending, 1);
	next = eb_queue_next_visible(queue);
	if (next != DT_NOEND)
		(void) eb_atomic_lower(&slot->next_visible, (uint64) next);
}

/*
 * Look at the queues whose instant has come.  One that was dropped has no
 * instants any more.
 */
static void
look_at_due(void *arg)
{
	Round	   *round = arg;
	EbWorkerShared *shared = eb_worker_shared();

	if (!eb_worker_installed(NULL))
		return;
	for (int i = 0; i < round->nlook; i++)
	{
		EbNotifySlot *slot = &shared->slots[round->look[i]];
		const EbQueue *queue = eb_queue_lookup(NameStr(slot->name), true);
		EbQueue		copy;

		if (!queue || queue->table != EB_SLOT_RELATION(pg_atomic_read_u64(&slot->key)))
		{
			pg_atomic_write_u64(&slot->next_visible, EB_NEVER);
			continue;
		}
		copy = *queue;
		look_at_queue(&copy, slot);
	}
}

/*
 * Are there prepared transactions in this database?  If there is none in the
 * whole cluster, none of those that changed configuration is left.
 */
static bool
look_for_prepared(void)
{
	uint32		config_count = eb_config_prepared_count();
	uint64		all;
	bool		isnull;
	bool		here;

	pg_memory_barrier();		/* counts before the look (claim 7) */
	SPI_connect();
	if (SPI_execute("SELECT pg_catalog.bool_or(database OPERATOR(pg_catalog.=) pg_catalog.current_database()),"
					" pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read pg_prepared_xacts");
	here = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
									  &isnull)) && !isnull;
	all = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
									  &isnull));
	SPI_finish();
	if (all == 0)
		eb_config_prepared_done(config_count);
	return here;
}

/*
 * Subscriptions have slots before anybody reads them, for those who only
 * listen.  A new one gets a NOTIFY, as nobody can tell what happened before it
 * had a slot; repeat: all of them.
 */
static void
give_subscriptions_slots(bool repeat, bool prepared)
{
	EbWorkerShared *shared = eb_worker_shared();
	EbSubscriptionName *names;
	int			n = eb_subscription_list(&names);

	for (int i = 0; i < n; i++)
	{
		bool		found = eb_notify_slot_find(MyDatabaseId, names[i].view) >= 0;
		int			bus = eb_notify_slot_create(MyDatabaseId, names[i].bus_view,
												EB_SLOT_BUS, InvalidOid, names[i].bus);
		int			number = eb_notify_slot_create(MyDatabaseId, names[i].view,
												   EB_SLOT_SUBSCRIPTION, names[i].bus_view,
												   names[i].name);

		if (bus < 0 || number < 0)
			break;
		if (repeat || !found)
		{
			pg_atomic_fetch_or_u32(&shared->slots[number].arm, 1);
			pg_atomic_write_u32(&shared->slots[number].pending, 1);
		}
		if (prepared)
			pg_atomic_fetch_add_u32(&shared->slots[bus].prepared, 1);
	}
}

/*
 * Every queue, as nobody can tell what happened before: at start, and when a
 * slot was taken back that had something pending.  Queues get a NOTIFY if they
 * are not empty, armed or not.
 */
static void
look_at_all(void *arg)
{
	EbWorkerShared *shared = eb_worker_shared();
	bool		prepared;
	EbQueue    *queues;
	int			n;

	if (!eb_worker_installed(NULL))
		return;
	prepared = look_for_prepared();
	n = eb_queue_list(&queues);
	for (int i = 0; i < n; i++)
	{
		int			number = eb_notify_slot_create(MyDatabaseId, queues[i].table,
												   EB_SLOT_QUEUE, InvalidOid,
												   queues[i].name);
		EbNotifySlot *slot;

		if (number < 0)
			break;				/* none left: commits send their NOTIFY
								 * themselves */
		slot = &shared->slots[number];
		/* nobody could arm it while no notifier was there (claim 10) */
		pg_atomic_fetch_or_u32(&slot->arm, 1);
		look_at_queue(&queues[i], slot);

		/* what was prepared before a restart left no mark (claim 7) */
		if (prepared)
			pg_atomic_fetch_add_u32(&slot->prepared, 1);
	}
	give_subscriptions_slots(true, prepared);
}

/*
 * Marks of prepared transactions end when there is none left that may have
 * set them.  Counters are read before the look (claim 7).
 */
static void
clear_prepared(void *arg)
{
	EbWorkerShared *shared = eb_worker_shared();
	uint32	   *counts = palloc(Max(nslots, 1) * sizeof(uint32));
	bool		none;

	for (int i = 0; i < nslots; i++)
		counts[i] = pg_atomic_read_u32(&shared->slots[slots[i]].prepared);
	pg_memory_barrier();
	none = !look_for_prepared();
	for (int i = 0; none && i < nslots; i++)
		shared->slots[slots[i]].prepared_done = counts[i];
}

/*
 * Slots of what is gone, and of subscriptions that are new.  Sets *arg if
 * one that is gone had something pending.
 */
static void
change_slots(void *arg)
{
	bool	   *look_again = arg;
	EbWorkerShared *shared = eb_worker_shared();
	EbQueue    *queues;
	int			n;

	if (!eb_worker_installed(NULL))
		return;
	n = eb_queue_list(&queues);
	for (int i = 0; i < nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[slots[i]];
		Oid			table = EB_SLOT_RELATION(pg_atomic_read_u64(&slot->key));
		bool		found = slot->kind != EB_SLOT_QUEUE &&
		SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table));

		for (int q = 0; q < n && !found; q++)
			found = queues[q].table == table;
		if (!found && eb_notify_slot_free(slots[i]))
			*look_again = true;
	}
	give_subscriptions_slots(false, false);
}

/* ---- a round ---- */

static void
send_notify(void *arg)
{
	Round	   *round = arg;

	for (int i = 0; i < round->nnotify; i++)
	{
		EbNotifySlot *slot = &eb_worker_shared()->slots[round->notify[i]];

		Async_Notify(eb_notify_channel(slot->kind, NameStr(slot->name)),
					 NameStr(slot->name));
	}
}

/* When may the slot be notified again?  Armed: soon. */
static TimestampTz
next_notify(EbNotifySlot *slot, bool armed)
{
	TimestampTz notified_at = (TimestampTz) pg_atomic_read_u64(&slot->notified_at);

	if (notified_at == 0)
		return 0;
	return TimestampTzPlusMilliseconds(notified_at,
									   armed ? eb_notify_interval : slot->repeat_ms);
}

/* Messages of the slot's queue are due, or will be. */
static void
inspect_due(int number, TimestampTz clock, Round *round, TimestampTz *due)
{
	uint64		visible = pg_atomic_read_u64(&eb_worker_shared()->slots[number].next_visible);

	if (visible == EB_NEVER)
		return;
	if ((TimestampTz) visible <= clock)
		round->look[round->nlook++] = number;
	else
		*due = Min(*due, (TimestampTz) visible);
}

/* Arm a bus; true if it has something pending already. */
static bool
arm_bus(Oid view)
{
	EbWorkerShared *shared = eb_worker_shared();
	int			number = eb_notify_slot_find(MyDatabaseId, view);
	EbNotifySlot *slot;
	uint32		arm;

	if (number < 0)
		return false;			/* its next publisher makes one, armed */
	slot = &shared->slots[number];
	arm = pg_atomic_read_u32(&slot->arm);
	if ((arm & 1) == 0)
		(void) pg_atomic_compare_exchange_u32(&slot->arm, &arm, arm + 1);
	pg_memory_barrier();
	return pg_atomic_read_u32(&slot->pending) != 0;
}

static int
first_repeat(void)
{
	return Max(eb_notify_repeat / REPEAT_STEPS, 1);
}

/*
 * Does somebody else see to the slot?  A commit disarmed it, and no message
 * has come since; the one after that asks us to watch.
 */
static bool
is_told(EbNotifySlot *slot)
{
	uint32		told = pg_atomic_read_u32(&slot->told);

	if (told == EB_TOLD_WATCH)
	{
		pg_atomic_write_u32(&slot->told, 0);
		slot->repeat_ms = first_repeat();
	}
	return told == EB_TOLD;
}

static void
inspect_pending(int number, TimestampTz now, Round *round)
{
	EbNotifySlot *slot = &eb_worker_shared()->slots[number];
	uint32		arm = pg_atomic_read_u32(&slot->arm);
	bool		armed = (arm & 1) != 0;
	TimestampTz at;

	/* without a listener all stays as it is, for the first one (claim 14) */
	if ((armed && pg_atomic_read_u32(&slot->pending) == 0) || !eb_notify_is_heard())
		return;
	if (!armed && is_told(slot))
		return;
	at = next_notify(slot, armed);
	if (at > now)
		round->until = Min(round->until, at);
	else if (pg_atomic_read_u32(&slot->pending) != 0)
	{
		/*
		 * First the flags, then the NOTIFY.  (claim 1)  Only we disarm, and
		 * the counter never takes an old value again.
		 */
		pg_atomic_write_u32(&slot->pending, 0);
		if (armed)
			pg_atomic_fetch_add_u32(&slot->arm, 1);
		slot->repeat_ms = armed ? first_repeat() : Min(slot->repeat_ms * 2, eb_notify_repeat);
		pg_atomic_write_u32(&slot->told, 0);
		pg_atomic_write_u64(&slot->notified_at, (uint64) now);
		round->notify[round->nnotify++] = number;
		round->until = Min(round->until, next_notify(slot, false));
	}
	else if (slot->repeat_ms < eb_notify_repeat)
	{
		slot->repeat_ms = Min(Max(slot->repeat_ms, 1) * 2, eb_notify_repeat);
		round->until = Min(round->until, next_notify(slot, false));
	}
	else
	{
		/* nobody came, and nothing either: the next message counts */
		(void) pg_atomic_compare_exchange_u32(&slot->arm, &arm, arm + 1);
		pg_memory_barrier();
		if (pg_atomic_read_u32(&slot->pending) != 0 ||
			(slot->kind == EB_SLOT_SUBSCRIPTION && arm_bus(slot->bus)))
			round->until = now;
	}
}

/*
 * Pass on what publishers have set to the subscriptions of their buses.  As
 * with any slot: first the flag, then disarm.  Slots are looked up after
 * that: a reader who armed the bus has made his before.  (claim 12)
 */
static void
pass_on(void)
{
	EbWorkerShared *shared = eb_worker_shared();
	Oid		   *buses = palloc(Max(nslots, 1) * sizeof(Oid));
	int			nbuses = 0;

	for (int i = 0; i < nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[slots[i]];

		if (slot->kind != EB_SLOT_BUS || pg_atomic_exchange_u32(&slot->pending, 0) == 0)
			continue;
		if ((pg_atomic_read_u32(&slot->arm) & 1) != 0)
			pg_atomic_fetch_add_u32(&slot->arm, 1);
		buses[nbuses++] = EB_SLOT_RELATION(pg_atomic_read_u64(&slot->key));
	}
	if (nbuses == 0)
		return;
	pg_memory_barrier();
	collect_slots();
	for (int i = 0; i < nslots; i++)
	{
		EbNotifySlot *slot = &shared->slots[slots[i]];

		for (int b = 0; slot->kind == EB_SLOT_SUBSCRIPTION && b < nbuses; b++)
		{
			if (slot->bus == buses[b])
				pg_atomic_write_u32(&slot->pending, 1);
		}
	}
}

static void
begin_round(Round *round)
{
	int			room = eb_worker_shared()->nslots;

	round->notify = palloc(room * sizeof(int));
	round->look = palloc(room * sizeof(int));
	round->nnotify = round->nlook = 0;
	round->until = DT_NOEND;
}

/*
 * Look at queues whose messages are due, but not more often than makes sense
 * when they become visible one after the other.
 */
static bool
due_part(Round *round)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz clock = eb_clock_now();
	TimestampTz again = TimestampTzPlusMilliseconds(looked_at, LOOK_MS);
	TimestampTz due = DT_NOEND;

	for (int i = 0; i < nslots; i++)
		inspect_due(slots[i], clock, round, &due);

	/* the tests' clock may be moved */
	if (due != DT_NOEND)
		round->until = Min(round->until, due + (now - clock));
	if (round->nlook == 0)
		return true;
	if (again > now)
	{
		round->until = Min(round->until, again);
		return true;
	}
	looked_at = now;
	return eb_worker_run("look at due messages", look_at_due, round);
}

static void restore_flags(Round *round);

static bool
notify_part(Round *round)
{
	TimestampTz now = GetCurrentTimestamp();

	pass_on();
	for (int i = 0; i < nslots; i++)
	{
		if (eb_worker_shared()->slots[slots[i]].kind != EB_SLOT_BUS)
			inspect_pending(slots[i], now, round);
	}
	if (round->nnotify == 0)
		return true;
	if (eb_worker_run("notify", send_notify, round))
		return true;
	restore_flags(round);
	return false;
}

/* The NOTIFY failed (its queue may be full): what was to be sent still is. */
static void
restore_flags(Round *round)
{
	for (int i = 0; i < round->nnotify; i++)
	{
		EbNotifySlot *slot = &eb_worker_shared()->slots[round->notify[i]];

		pg_atomic_write_u64(&slot->notified_at, 0);
		pg_atomic_write_u32(&slot->pending, 1);
	}
}

/*
 * Configuration changed, or prepared transactions ended.  *look_everywhere
 * stays set if that could not be done.
 */
static bool
attention_part(bool *look_everywhere, TimestampTz *until)
{
	static TimestampTz freed_at = 0;
	static bool asked = false;
	uint32		mine = EB_ATTENTION(EB_WORKER_NOTIFIER);
	TimestampTz again = TimestampTzPlusMilliseconds(freed_at, FREE_MS);
	bool		ok = true;

	if ((pg_atomic_fetch_and_u32(&db->attention, ~mine) & mine) != 0)
		asked = true;
	if (asked && again > GetCurrentTimestamp())
		*until = Min(*until, again);
	else if (asked)
	{
		asked = false;
		freed_at = GetCurrentTimestamp();
		ok &= eb_worker_run("forget what was dropped", change_slots, look_everywhere);
	}
	if (pg_atomic_exchange_u32(&db->notifier_look_all, 0) != 0)
		*look_everywhere = true;
	if (*look_everywhere)
	{
		*look_everywhere = !eb_worker_run("look at all queues", look_at_all, NULL);
		ok &= !*look_everywhere;
	}
	collect_slots();
	if (pg_atomic_exchange_u32(&db->prepared_ended, 0) != 0)
		ok &= eb_worker_run("look at prepared transactions", clear_prepared, NULL);
	return ok;
}

/*
 * Say until when we sleep, then look whether somebody lowered an instant
 * before he could read that.  (claim 8)
 */
static uint64
first_visible(uint64 before)
{
	for (int i = 0; i < nslots; i++)
		before = Min(before, pg_atomic_read_u64(&eb_worker_shared()->slots[slots[i]].next_visible));
	return before;
}

static TimestampTz
announce_sleep(TimestampTz until)
{
	TimestampTz moved = eb_clock_now() - GetCurrentTimestamp();
	uint64		first = first_visible(until == DT_NOEND ? EB_NEVER : (uint64) (until + moved));

	pg_atomic_write_u64(&db->notifier_until, first);
	pg_memory_barrier();
	first = first_visible(first);
	if (first == EB_NEVER)
		return DT_NOEND;
	return Min(until, Max((TimestampTz) first - moved,
						  TimestampTzPlusMilliseconds(looked_at, LOOK_MS)));
}

static void
notifier_exit(int code, Datum arg)
{
	pg_atomic_write_u32(&db->notifier_ready, 0);
}

void
eb_notifier_main(Datum arg)
{
	bool		look_everywhere = true;

	db = &eb_worker_shared()->databases[DatumGetInt32(arg)];
	eb_worker_begin(db, EB_WORKER_NOTIFIER);
	before_shmem_exit(notifier_exit, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(db->database, InvalidOid, 0);
	eb_worker_connected();
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);

	/*
	 * From here on commits rely on us; what was committed before is found by
	 * the first look.
	 */
	pg_atomic_write_u32(&db->notifier_ready, 1);
	pg_memory_barrier();

	for (;;)
	{
		Round		round;
		bool		ok = true;

		pg_atomic_write_u32(&db->notifier_wake, 0);
		pg_memory_barrier();	/* before any flag is read (claim 4) */

		collect_slots();
		begin_round(&round);
		ok &= attention_part(&look_everywhere, &round.until);
		ok &= due_part(&round);
		ok &= notify_part(&round);
		if (ok)
			eb_worker_sleep(announce_sleep(round.until));
		else
			eb_worker_sleep(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS));
	}
}
