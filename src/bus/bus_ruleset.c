/*-------------------------------------------------------------------------
 *
 * bus_ruleset.c
 *	  The compiled rule set of a bus: shared by all backends, found in
 *	  microseconds, replaced when the rules change.
 *
 * A directory of slots in shared memory names the compiled blocks, which lie
 * in a DSA area.  A slot's key is (database, eb.buses, bus, version, epoch):
 * our functions give every change a new version, other writes raise the epoch
 * (catalog.h), and a re-created extension has another eb.buses.  A backend
 * remembers the slot and its serial number and takes it again by pinning:
 * one atomic addition, good as long as no invalidation of the configuration
 * arrived.  Pins are held to the end of the transaction.
 *
 * Why every put obeys the newest committed rules, and nobody uses a block that
 * was freed, is argued in README.md, rule set claims 1 to 7.
 *
 * Without shared memory all blocks are private; the version and epoch cannot
 * vouch for them there, so any invalidation of rules or targets rebuilds.
 *
 * A block's memory is rounded up to an eighth of the next power of two, so
 * that the block of the next version fits where an older one was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/dsa.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"
#include "eb.h"
#include "errors.h"
#include "shmem.h"

#define RULE_SLOTS		1024
#define AREA_IN_PLACE	(256 * 1024)	/* the rest comes in DSM segments */
#define SLOT_DEAD		0x80000000u

typedef struct RuleSlot
{
	pg_atomic_uint32 pins;		/* users; SLOT_DEAD: empty or being filled */
	uint32		serial;			/* the rest: written under the lock while DEAD */
	Oid			database;
	Oid			buses;			/* oid of eb.buses */
	int32		bus_id;
	int64		version;
	uint64		epoch;
	dsa_pointer block;
	pg_atomic_uint64 used;		/* when last pinned, for eviction */
} RuleSlot;

typedef struct RuleDirectory
{
	LWLock		lock;			/* exclusive to fill or empty a slot */
	RuleSlot	slots[RULE_SLOTS];
	/* the DSA area follows */
} RuleDirectory;

#define AREA_PLACE(directory) \
	((char *) (directory) + CACHELINEALIGN(sizeof(RuleDirectory)))

/* What this backend knows of a bus's rule set. */
typedef struct LocalSet
{
	int32		bus_id;			/* hash key */
	uint64		generation;		/* of the configuration that it was read from */
	const EbRuleSet *set;		/* NULL: look again */
	int			slot;			/* -1: private */
	uint32		serial;
	bool		pinned;
	bool		own;			/* has the own transaction's changes */
	bool		listed;			/* in the list of this transaction */
	slist_node	node;
	MemoryContext context;		/* of a private set, or NULL */

	/* queues behind the destinations, found once */
	MemoryContext queue_context;
	uint64		queue_generation;
	EbRouteQueue **queues;
} LocalSet;

static HTAB *local_sets = NULL;
static slist_head used_sets = SLIST_STATIC_INIT(used_sets);
static RuleDirectory *directory = NULL;
static dsa_area *area = NULL;
static int	counting_slot = -1; /* pinned by eb.rule_counters() */

/* ---- shared memory ---- */

Size
eb_ruleset_shmem_size(void)
{
	return CACHELINEALIGN(sizeof(RuleDirectory)) + AREA_IN_PLACE;
}

void
eb_ruleset_shmem_init(void *section)
{
	RuleDirectory *dir = section;
	dsa_area   *fresh;

	LWLockInitialize(&dir->lock, eb_shmem_tranche());
	for (int i = 0; i < RULE_SLOTS; i++)
	{
		pg_atomic_init_u32(&dir->slots[i].pins, SLOT_DEAD);
		pg_atomic_init_u64(&dir->slots[i].used, 0);
	}

	/* it must outlive this process; pinned, it does */
	fresh = dsa_create_in_place(AREA_PLACE(dir), AREA_IN_PLACE,
								eb_shmem_tranche(), NULL);
	dsa_pin(fresh);
	dsa_detach(fresh);
}

static bool
attach(void)
{
	MemoryContext old;

	if (likely(area))
		return true;
	directory = eb_shmem_section(EB_SHMEM_RULESET);
	if (!directory)
		return false;
	old = MemoryContextSwitchTo(TopMemoryContext);
	area = dsa_attach_in_place(AREA_PLACE(directory), NULL);
	dsa_pin_mapping(area);

	/* before: the section may lie in a DSM segment, which is unmapped then */
	before_shmem_exit(dsa_on_shmem_exit_release_in_place,
					  PointerGetDatum(AREA_PLACE(directory)));
	MemoryContextSwitchTo(old);
	return true;
}

/* Rule set claim 6. */
static bool
pin_slot(RuleSlot *slot, uint32 serial)
{
	uint32		before = pg_atomic_fetch_add_u32(&slot->pins, 1);

	if (unlikely((before & SLOT_DEAD) || slot->serial != serial))
	{
		pg_atomic_fetch_sub_u32(&slot->pins, 1);
		return false;
	}
	pg_atomic_write_u64(&slot->used, GetCurrentStatementStartTimestamp());
	return true;
}

static void
unpin_slot(RuleSlot *slot)
{
	pg_atomic_fetch_sub_u32(&slot->pins, 1);
}

/* Empty a slot that nobody uses; the caller holds the lock and frees *block. */
static bool
empty_slot(RuleSlot *slot, dsa_pointer *block)
{
	uint32		expected = 0;

	if (!pg_atomic_compare_exchange_u32(&slot->pins, &expected, SLOT_DEAD))
		return false;
	*block = slot->block;
	slot->block = InvalidDsaPointer;
	return true;
}

static bool
slot_of_bus(const RuleSlot *slot, int32 bus_id, Oid buses)
{
	return slot->block != InvalidDsaPointer && slot->bus_id == bus_id &&
		slot->database == MyDatabaseId && slot->buses == buses;
}

/* The slot of a bus's version, pinned; -1 if there is none. */
static int
find_slot(int32 bus_id, int64 version, uint64 epoch)
{
	Oid			buses = eb_table_oid(EB_BUSES, false);
	int			found = -1;

	LWLockAcquire(&directory->lock, LW_SHARED);
	for (int i = 0; i < RULE_SLOTS && found < 0; i++)
	{
		RuleSlot   *slot = &directory->slots[i];

		if (slot_of_bus(slot, bus_id, buses) && slot->version == version &&
			slot->epoch == epoch && pin_slot(slot, slot->serial))
			found = i;
	}
	LWLockRelease(&directory->lock);
	return found;
}

/* Free the block that was least recently used; false if all are in use. */
static bool
evict_one(void)
{
	dsa_pointer block = InvalidDsaPointer;
	bool		done = false;

	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	while (!done)
	{
		RuleSlot   *oldest = NULL;

		for (int i = 0; i < RULE_SLOTS; i++)
		{
			RuleSlot   *slot = &directory->slots[i];

			if (pg_atomic_read_u32(&slot->pins) == 0 &&
				(!oldest || pg_atomic_read_u64(&slot->used) <
				 pg_atomic_read_u64(&oldest->used)))
				oldest = slot;
		}
		if (!oldest)
			break;
		done = empty_slot(oldest, &block);
	}
	LWLockRelease(&directory->lock);
	if (done)
		dsa_free(area, block);
	return done;
}

/*
 * Memory for a block, or InvalidDsaPointer.  The operating system may refuse
 * a segment (a small /dev/shm), which raises with DSA's locks held: the
 * subtransaction takes those back, and the block stays private.
 */
static dsa_pointer
allocate_block(Size size)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context = CurrentMemoryContext;
	dsa_pointer block = InvalidDsaPointer;
	Size		step = pg_nextpower2_64(Max(size, 4096)) / 8;
	const Size	rounded = (size + step - 1) / step * step;

	if (rounded > (Size) eb_rule_cache_size * 1024)
		return InvalidDsaPointer;
	dsa_set_size_limit(area, (Size) eb_rule_cache_size * 1024);

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		do
			block = dsa_allocate_extended(area, rounded,
										  DSA_ALLOC_HUGE | DSA_ALLOC_NO_OOM);
		while (block == InvalidDsaPointer && evict_one());
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(edata);
		ereport(LOG,
				(errmsg("could not share a compiled rule set of %zu bytes: %s",
						rounded, edata->message),
				 errhint("Every session keeps a copy of its own.  Consider more shared memory for the server, or a smaller eb.rule_cache_size.")));
		FreeErrorData(edata);
		block = InvalidDsaPointer;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return block;
}

/* What the bus's older blocks counted goes on in the new one; both are sorted by name. */
static void
carry_counters(EbRuleSet *set, EbRuleSet *older)
{
	EbRuleCounters *to = EB_RULESET_COUNTERS(set);
	EbRuleCounters *from = EB_RULESET_COUNTERS(older);
	int			i = 0;
	int			j = 0;

	while (i < set->nrules && j < older->nrules)
	{
		int			order =
		strcmp(EB_RULESET_STRING(set, EB_RULESET_RULES(set)[i].name),
			   EB_RULESET_STRING(older, EB_RULESET_RULES(older)[j].name));

		if (order == 0)
		{
			uint64		last = pg_atomic_read_u64(&from[j].last_matched);

			pg_atomic_fetch_add_u64(&to[i].matched,
									pg_atomic_read_u64(&from[j].matched));
			pg_atomic_fetch_add_u64(&to[i].hop_limited,
									pg_atomic_read_u64(&from[j].hop_limited));
			if (last > pg_atomic_read_u64(&to[i].last_matched))
				pg_atomic_write_u64(&to[i].last_matched, last);
		}
		if (order <= 0)
			i++;
		if (order >= 0)
			j++;
	}
}

/* The newest slot of a bus, pinned; -1 if there is none.  It carries all counts. */
static int
newest_slot(int32 bus_id, Oid buses)
{
	int			newest = -1;

	LWLockAcquire(&directory->lock, LW_SHARED);
	for (int i = 0; i < RULE_SLOTS; i++)
	{
		RuleSlot   *slot = &directory->slots[i];

		if (slot_of_bus(slot, bus_id, buses) &&
			(newest < 0 || slot->version > directory->slots[newest].version ||
			 (slot->version == directory->slots[newest].version &&
			  slot->epoch > directory->slots[newest].epoch)))
			newest = i;
	}
	if (newest >= 0 &&
		!pin_slot(&directory->slots[newest], directory->slots[newest].serial))
		newest = -1;
	LWLockRelease(&directory->lock);
	return newest;
}

/* Copy a block into a slot of its own; the slot, pinned, or -1 if there is no room. */
static int
share_block(const EbRuleSet *private, uint64 epoch)
{
	Oid			buses = eb_table_oid(EB_BUSES, false);
	dsa_pointer block = allocate_block(private->size);
	dsa_pointer unused[RULE_SLOTS];
	int			nunused = 0;
	int			result = -1;
	int			older;
	EbRuleSet  *set;

	if (block == InvalidDsaPointer)
		return -1;
	set = dsa_get_address(area, block);
	memcpy(set, private, private->size);
	set->shared = true;
	for (int i = 0; i < set->nrules; i++)
	{
		EbRuleCounters *counters = &EB_RULESET_COUNTERS(set)[i];

		pg_atomic_init_u64(&counters->matched, 0);
		pg_atomic_init_u64(&counters->last_matched, 0);
		pg_atomic_init_u64(&counters->hop_limited, 0);
	}
	older = newest_slot(set->bus_id, buses);
	if (older >= 0)
	{
		carry_counters(set, dsa_get_address(area, directory->slots[older].block));
		unpin_slot(&directory->slots[older]);
	}

	/* blocks that this one replaces: nobody looks for them any more */
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RULE_SLOTS; i++)
	{
		if (slot_of_bus(&directory->slots[i], set->bus_id, buses) &&
			empty_slot(&directory->slots[i], &unused[nunused]))
			nunused++;
	}
	LWLockRelease(&directory->lock);

	do
	{
		LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
		for (int i = 0; i < RULE_SLOTS && result < 0; i++)
		{
			RuleSlot   *slot = &directory->slots[i];

			if (slot->block != InvalidDsaPointer ||
				!(pg_atomic_read_u32(&slot->pins) & SLOT_DEAD))
				continue;
			slot->serial++;
			slot->database = MyDatabaseId;
			slot->buses = buses;
			slot->bus_id = set->bus_id;
			slot->version = set->version;
			slot->epoch = epoch;
			slot->block = block;
			pg_atomic_write_u64(&slot->used, GetCurrentStatementStartTimestamp());
			pg_atomic_fetch_add_u32(&slot->pins, 1);
			pg_atomic_fetch_and_u32(&slot->pins, ~SLOT_DEAD);
			result = i;
		}
		LWLockRelease(&directory->lock);
	} while (result < 0 && evict_one());

	while (nunused > 0)
		dsa_free(area, unused[--nunused]);
	if (result < 0)
		dsa_free(area, block);
	return result;
}

/* ---- this backend's view ---- */

/*
 * A sum, as each only grows.  Queues are not in it: destinations are looked
 * up by name.
 */
static uint64
generation(void)
{
	return eb_catalog_generation(EB_BUSES) + eb_catalog_generation(EB_RULES) +
		eb_catalog_generation(EB_TARGETS);
}

static void
forget(LocalSet *local)
{
	local->set = NULL;
	if (local->pinned)
		unpin_slot(&directory->slots[local->slot]);
	local->pinned = false;
	local->own = false;
	local->slot = -1;
	if (local->context)
		MemoryContextDelete(local->context);
	local->context = NULL;
	if (local->queue_context)
		MemoryContextReset(local->queue_context);
	local->queues = NULL;
}

/* At the end of the transaction the set is let go. */
static void
list_used(LocalSet *local)
{
	if (local->listed)
		return;
	slist_push_head(&used_sets, &local->node);
	local->listed = true;
}

static void
use_slot(LocalSet *local, int slot)
{
	local->slot = slot;
	local->serial = directory->slots[slot].serial;
	local->pinned = true;
	list_used(local);
	local->set = dsa_get_address(area, directory->slots[slot].block);
}

void
eb_ruleset_at_xact(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			while (!slist_is_empty(&used_sets))
			{
				LocalSet   *local = slist_container(LocalSet, node,
													slist_pop_head_node(&used_sets));

				local->listed = false;
				if (local->own)
					forget(local);
				else if (local->pinned)
				{
					unpin_slot(&directory->slots[local->slot]);
					local->pinned = false;
				}
			}
			if (counting_slot >= 0)
				unpin_slot(&directory->slots[counting_slot]);
			counting_slot = -1;
			break;
		default:
			break;
	}
}

/* Version of a bus's rules as of a snapshot; is that the own transaction's? */
static int64
read_version(const char *bus, int32 bus_id, Snapshot snapshot, bool *own)
{
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;
	int64		version;

	eb_config_key(&key, 1, bus);
	scan = eb_config_open_at(EB_BUSES, 1, &key, snapshot);
	tuple = eb_config_next(scan);
	desc = eb_config_desc(scan);
	if (!HeapTupleIsValid(tuple) ||
		DatumGetInt32(heap_getattr(tuple, SPI_fnumber(desc, "bus_id"), desc,
								   &isnull)) != bus_id)
		eb_error_missing("bus", bus, "It was deleted a moment ago.");
	version = DatumGetInt64(heap_getattr(tuple, SPI_fnumber(desc, "rules_version"),
										 desc, &isnull));
	*own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	eb_config_close(scan);
	return version;
}

/* Keep a block to ourselves. */
static void
use_private(LocalSet *local, EbRuleSet *set, MemoryContext context, bool own)
{
	MemoryContextSetParent(context, CacheMemoryContext);
	local->context = context;
	local->slot = -1;
	local->own = own;
	local->set = set;
	if (own)
		list_used(local);
}

static void
refresh(LocalSet *local, const char *bus)
{
	bool		have_shared = attach();
	Oid			buses = eb_table_oid(EB_BUSES, false);
	bool		locked = false;

	forget(local);
	while (!local->set)
	{
		uint64		gen = generation();
		uint64		epoch = eb_config_epoch();
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		bool		own;
		int64		version = read_version(bus, local->bus_id, snapshot, &own);
		bool		share;

		/* rule set claim 4 */
		own = own || eb_config_dirty();
		share = have_shared && !own;
		local->generation = gen;
		if (share)
		{
			int			slot = find_slot(local->bus_id, version, epoch);

			if (slot >= 0)
				use_slot(local, slot);
			else if (!locked)
			{
				/* rule set claim 7: one builder; then look again */
				UnregisterSnapshot(snapshot);
				LockDatabaseObject(buses, local->bus_id, 0, ExclusiveLock);
				locked = true;
				continue;
			}
		}
		if (!local->set)
		{
			MemoryContext context =
			AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus rule set",
								  ALLOCSET_SMALL_SIZES);
			MemoryContext old = MemoryContextSwitchTo(context);
			EbRuleSet  *set = eb_ruleset_compile(bus, local->bus_id, version, snapshot);
			int			slot = share ? share_block(set, epoch) : -1;

			MemoryContextSwitchTo(old);
			if (slot >= 0)
			{
				use_slot(local, slot);
				MemoryContextDelete(context);
			}
			else
				use_private(local, set, context, own);
		}
		UnregisterSnapshot(snapshot);
	}
	if (locked)
		UnlockDatabaseObject(buses, local->bus_id, 0, ExclusiveLock);
}

static LocalSet *
find_local(int32 bus_id)
{
	static LocalSet *last = NULL;	/* entries are not removed */
	LocalSet   *local;
	bool		found;

	if (likely(last && last->bus_id == bus_id))
		return last;
	if (unlikely(!local_sets))
	{
		HASHCTL		ctl = {.keysize = sizeof(int32),.entrysize = sizeof(LocalSet)};

		local_sets = hash_create("pg_eventbus rule sets", 16, &ctl,
								 HASH_ELEM | HASH_BLOBS);
	}
	local = hash_search(local_sets, &bus_id, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) local + sizeof(int32), 0, sizeof(LocalSet) - sizeof(int32));
		local->slot = -1;
	}
	return last = local;
}

const EbRuleSet *
eb_ruleset_get(const EbBus *bus)
{
	LocalSet   *local = find_local(bus->bus_id);

	if (likely(local->set && local->generation == generation()))
	{
		if (local->own)
			eb_bus_version_used();
		if (local->slot < 0 || local->pinned)
			return local->set;
		if (likely(pin_slot(&directory->slots[local->slot], local->serial)))
		{
			local->pinned = true;
			list_used(local);
			return local->set;
		}
	}
	/* the bus may be read anew, and move, meanwhile */
	refresh(local, pstrdup(bus->name));
	if (local->own)
		eb_bus_version_used();
	return local->set;
}

const EbRouteQueue *
eb_ruleset_queue(const EbRuleSet *set, int destination)
{
	LocalSet   *local = find_local(set->bus_id);
	EbRouteQueue *route;
	const EbQueue *queue;
	const char *name;
	Interval	keep = {0};

	Assert(local->set == set);
	if (unlikely(!local->queues ||
				 local->queue_generation != eb_catalog_generation(EB_QUEUES)))
	{
		if (!local->queue_context)
			local->queue_context = AllocSetContextCreate(CacheMemoryContext,
														 "pg_eventbus routes",
														 ALLOCSET_SMALL_SIZES);
		MemoryContextReset(local->queue_context);
		local->queues = NULL;
		local->queue_generation = eb_catalog_generation(EB_QUEUES);
		local->queues = MemoryContextAllocZero(local->queue_context,
											   Max(set->ndestinations, 1) *
											   sizeof(EbRouteQueue *));
	}
	route = local->queues[destination];
	if (likely(route))
		return route;

	name = EB_RULESET_STRING(set, EB_RULESET_DESTINATIONS(set)[destination].name);
	queue = eb_queue_lookup(name, true);
	if (!queue)
		return NULL;
	route = MemoryContextAlloc(local->queue_context, sizeof(EbRouteQueue));
	route->queue = *queue;
	keep.time = queue->retention;
	route->class = eb_log_class_at_least(&keep);
	local->queues[destination] = route;
	return route;
}

/* ---- what was counted ---- */

/* Ids of the buses whose log the current user may read. */
static Bitmapset *
readable_buses(void)
{
	EbConfigScan *scan = eb_config_open(EB_BUSES, 0, NULL);
	TupleDesc	desc = eb_config_desc(scan);
	int			id = SPI_fnumber(desc, "bus_id");
	int			view = SPI_fnumber(desc, "log_view");
	Bitmapset  *result = NULL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = eb_config_next(scan)))
	{
		bool		isnull;

		if (eb_view_allows(DatumGetObjectId(heap_getattr(tuple, view, desc, &isnull)),
						   EB_BUS_READ))
			result = bms_add_member(result, DatumGetInt32(heap_getattr(tuple, id, desc,
																	   &isnull)));
	}
	eb_config_close(scan);
	return result;
}

PG_FUNCTION_INFO_V1(eb_rule_counters);

/*
 * eb.rule_counters() -> (bus_id, rule, matched, last_matched, hop_limited):
 * the counters of the rule sets in shared memory whose bus's log the current
 * user may read.
 */
Datum
eb_rule_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			buses = eb_table_oid(EB_BUSES, false);
	Bitmapset  *readable;

	InitMaterializedSRF(fcinfo, 0);
	if (!attach())
		return (Datum) 0;
	readable = readable_buses();
	for (int i = 0; i < RULE_SLOTS; i++)
	{
		RuleSlot   *slot = &directory->slots[i];
		EbRuleSet  *set;
		dsa_pointer block = InvalidDsaPointer;

		LWLockAcquire(&directory->lock, LW_SHARED);
		if (slot->block != InvalidDsaPointer && slot->database == MyDatabaseId &&
			slot->buses == buses && bms_is_member(slot->bus_id, readable) &&
			pin_slot(slot, slot->serial))
		{
			block = slot->block;
			counting_slot = i;	/* let go at abort, should we fail */
		}
		LWLockRelease(&directory->lock);
		if (block == InvalidDsaPointer)
			continue;

		set = dsa_get_address(area, block);
		for (int r = 0; r < set->nrules; r++)
		{
			EbRuleCounters *counters = &EB_RULESET_COUNTERS(set)[r];
			uint64		last = pg_atomic_read_u64(&counters->last_matched);
			Datum		values[5];
			bool		nulls[5] = {0};

			values[0] = Int32GetDatum(set->bus_id);
			values[1] = CStringGetTextDatum(EB_RULESET_STRING(set,
															  EB_RULESET_RULES(set)[r].name));
			values[2] = Int64GetDatum(pg_atomic_read_u64(&counters->matched));
			values[3] = TimestampTzGetDatum((TimestampTz) last);
			nulls[3] = last == 0;
			values[4] = Int64GetDatum(pg_atomic_read_u64(&counters->hop_limited));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			pfree(DatumGetPointer(values[1]));
		}
		unpin_slot(slot);
		counting_slot = -1;
	}
	return (Datum) 0;
}
