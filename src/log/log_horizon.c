/*-------------------------------------------------------------------------
 *
 * log_horizon.c
 *	  The stream horizon: below it no transaction can commit an event any more.
 *
 * Event ids are made before their transaction commits, so whoever reads the
 * log by position must not pass an id whose transaction is still open, nor
 * wait for transactions that never published.
 *
 * 1. A publisher announces itself before it takes its first id: under the
 *    shared lock it takes a tick and stores it in its backend's slot as its
 *    bound.  Every id that it makes afterwards is above the bound.
 * 2. A reader, under the exclusive lock, takes a tick H and the least bound
 *    of his database's slots.  A publisher has stored its bound (the reader
 *    sees it) or has not taken it yet (it will be above H): the lock leaves
 *    nothing between the two.
 * 3. Slots are cleared in the commit and abort callbacks, when the outcome is
 *    visible to snapshots taken from then on.  So a reader that found a slot
 *    cleared sees what was committed, provided that he takes his snapshot
 *    after the horizon: under the statement's own he would skip it for good.
 * 4. A prepared transaction has no backend.  PRE_PREPARE writes the bound as
 *    a row of eb.prepared_publishers in the transaction itself: the row is in
 *    progress exactly as long as the outcome is open, across restarts and
 *    promotion.  PREPARE clears the slot after that, and readers look at
 *    slots first, then at the table, so one of the two is always seen.
 * 5. Ids never pass a mark that is in WAL (sequence eb.clock_mark, moved a
 *    second ahead when reached).  An event that survived a crash has its mark
 *    before it in WAL, so the mark survived as well; the first publisher or
 *    reader after a start raises the clock to it.  So a clock that stands
 *    back after crash, promotion or restore does not make ids below those
 *    that readers have passed.  Message ids keep to the mark as well: the
 *    order of FIFO queues is theirs.
 *
 * Without shared memory the open publishers are the holders of
 * RowExclusiveLock on eb.events: the horizon is the clock from before the
 * wait for all who held it then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "eb.h"
#include "log/log.h"
#include "relwriter.h"
#include "shmem.h"

/* How far the mark is moved ahead of the clock. */
#define MARK_STEP		eb_time_tick(USECS_PER_SEC)

/* Databases whose mark was adopted since the start. */
#define MAX_ADOPTED		1024

typedef struct PublisherSlot
{
	pg_atomic_uint64 bound;		/* 0: no open publisher; written by its
								 * backend */
	Oid			database;		/* written under the shared lock, before bound */
} PublisherSlot;

typedef struct HorizonSection
{
	LWLock		lock;			/* publishers shared, readers exclusive */
	int			nadopted;		/* under the exclusive lock */
	Oid			adopted[MAX_ADOPTED];

	/* every put reads them: between what is seldom written */
	pg_atomic_uint32 late_rows; /* see log_scan.c */
	pg_atomic_uint32 learned;
	int			nslots;
	char		pad[PG_CACHE_LINE_SIZE];
	PublisherSlot slots[FLEXIBLE_ARRAY_MEMBER];
} HorizonSection;

/* This transaction has announced itself. */
static bool announced = false;
static EbTick my_bound = 0;

/* Bound of the publisher that this backend's last transaction was; 0: it was none. */
static EbTick ended_bound = 0;

/* This backend has seen its database's mark adopted, and where it stood. */
static bool mark_known = false;
static EbTick mark = 0;

Size
eb_horizon_shmem_size(void)
{
	return add_size(offsetof(HorizonSection, slots),
					mul_size(MaxBackends, sizeof(PublisherSlot)));
}

void
eb_horizon_shmem_init(void *section)
{
	HorizonSection *horizon = section;

	LWLockInitialize(&horizon->lock, eb_shmem_tranche());
	pg_atomic_init_u32(&horizon->late_rows, 0);
	pg_atomic_init_u32(&horizon->learned, 0);
	horizon->nslots = MaxBackends;
	for (int i = 0; i < horizon->nslots; i++)
		pg_atomic_init_u64(&horizon->slots[i].bound, 0);
}

static Oid
mark_sequence(void)
{
	Oid			oid = eb_relation_oid("clock_mark");

	if (!OidIsValid(oid))
		elog(ERROR, "sequence eb.clock_mark does not exist");
	return oid;
}

static EbTick
read_mark(void)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(mark_sequence());
	fcinfo->args[0].isnull = false;
	result = pg_sequence_last_value(fcinfo);
	return fcinfo->isnull ? 0 : (EbTick) DatumGetInt64(result);
}

/*
 * Raise the clock to the mark, once per database and start (claim 5).  Not
 * oftener: the mark runs ahead of the clock, so doing it again would push ids
 * into the future step by step.  Without shared memory nobody knows whether it
 * was done, so it is not: a clock that is set back there makes older ids.
 */
static void
adopt_mark(HorizonSection *horizon)
{
	EbOwnerContext owner;
	bool		adopt = true;

	eb_owner_begin(&owner);
	mark = read_mark();
	eb_owner_end(&owner);

	if (horizon)
	{
		LWLockAcquire(&horizon->lock, LW_EXCLUSIVE);
		for (int i = 0; i < horizon->nadopted && adopt; i++)
			adopt = horizon->adopted[i] != MyDatabaseId;
		if (adopt)
		{
			eb_clock_raise(mark);
			if (horizon->nadopted < MAX_ADOPTED)
				horizon->adopted[horizon->nadopted++] = MyDatabaseId;
		}
		LWLockRelease(&horizon->lock);
	}
	mark_known = true;
}

/* Move the mark so that ids up to a second after tick are below it. */
static void
advance_mark(EbTick tick)
{
	EbOwnerContext owner;

	eb_owner_begin(&owner);
	mark = read_mark();
	if (tick >= mark)
	{
		mark = tick + MARK_STEP;
		DirectFunctionCall2(setval_oid, ObjectIdGetDatum(mark_sequence()),
							Int64GetDatum((int64) mark));
	}
	eb_owner_end(&owner);
}

void
eb_log_announce(void)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);

	eb_log_adopt_mark();
	if (!announced && horizon)
	{
		PublisherSlot *slot = &horizon->slots[EB_MY_PROC_NUMBER];

		Assert(EB_MY_PROC_NUMBER < horizon->nslots);
		LWLockAcquire(&horizon->lock, LW_SHARED);
		my_bound = eb_clock_take(1);
		slot->database = MyDatabaseId;
		pg_atomic_write_u64(&slot->bound, my_bound);
		LWLockRelease(&horizon->lock);
		announced = true;
	}
}

void
eb_log_adopt_mark(void)
{
	if (!mark_known)
		adopt_mark(eb_shmem_section(EB_SHMEM_HORIZON));
}

void
eb_log_mark_ids(EbTick last)
{
	if (unlikely(last >= mark) && eb_clock_offset == 0)
		advance_mark(last);
}

static void
withdraw(void)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);

	if (announced && horizon)
	{
		/* what the transaction did must be visible before the slot is clear */
		pg_memory_barrier();
		pg_atomic_write_u64(&horizon->slots[EB_MY_PROC_NUMBER].bound, 0);
	}
	ended_bound = announced ? my_bound : 0;
	announced = false;
}

EbTick
eb_log_bound(void)
{
	return announced ? my_bound : 0;
}

EbTick
eb_log_ended_bound(void)
{
	return ended_bound;
}

/* Claim 4: the bound outlives the backend as a row of the transaction. */
static void
leave_bound(void)
{
	EbRelWriter *writer;
	TupleTableSlot *slot;
	Oid			table = eb_relation_oid("prepared_publishers");

	if (!OidIsValid(table))
		elog(ERROR, "table eb.prepared_publishers does not exist");
	writer = eb_relwriter_open(table, NULL, NULL);
	slot = eb_relwriter_next(writer);
	slot->tts_values[0] = Int64GetDatum((int64) my_bound);
	slot->tts_isnull[0] = false;
	eb_relwriter_close(writer);
}

void
eb_log_at_xact(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (announced)
				leave_bound();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			withdraw();
			break;
		default:
			break;
	}
}

/* Least bound of prepared transactions, in progress by definition. */
static EbTick
prepared_bound(EbTick limit)
{
	Oid			table = eb_relation_oid("prepared_publishers");
	Relation	rel;
	TableScanDesc scan;
	TupleTableSlot *slot;
	SnapshotData dirty;

	if (max_prepared_xacts == 0 || !OidIsValid(table))
		return limit;
	rel = table_open(table, AccessShareLock);
	InitDirtySnapshot(dirty);
	scan = table_beginscan(rel, &dirty, 0, NULL);
	slot = table_slot_create(rel, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		EbTick		bound;

		CHECK_FOR_INTERRUPTS();
		if (!TransactionIdIsValid(dirty.xmin))
			continue;			/* committed: its events are visible */
		bound = (EbTick) DatumGetInt64(slot_getattr(slot, 1, &isnull));
		limit = Min(limit, bound);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return limit;
}

EbTick
eb_log_horizon(void)
{
	bool		held;

	return eb_log_horizon_held(&held);
}

EbTick
eb_log_horizon_estimate(void)
{
	if (eb_shmem_section(EB_SHMEM_HORIZON))
		return eb_log_horizon();
	eb_log_adopt_mark();
	return eb_clock_take(1);
}

EbTick
eb_log_horizon_held(bool *held)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);
	EbTick		now;
	EbTick		result;

	*held = false;
	eb_log_adopt_mark();
	if (!horizon)
	{
		LOCKTAG		tag;

		result = eb_clock_take(1);
		SET_LOCKTAG_RELATION(tag, MyDatabaseId, eb_table_oid(EB_EVENTS, false));
		WaitForLockers(tag, ShareLock, false);
		return result;
	}

	LWLockAcquire(&horizon->lock, LW_EXCLUSIVE);
	result = now = eb_clock_take(1);
	for (int i = 0; i < horizon->nslots; i++)
	{
		PublisherSlot *slot = &horizon->slots[i];
		uint64		bound = pg_atomic_read_u64(&slot->bound);

		if (bound != 0 && slot->database == MyDatabaseId && i != EB_MY_PROC_NUMBER)
			result = Min(result, bound);
	}
	LWLockRelease(&horizon->lock);
	result = prepared_bound(result);
	*held = result < now;
	return result;
}

uint32
eb_log_late_rows(void)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);

	return horizon ? pg_atomic_read_u32(&horizon->late_rows) : 0;
}

uint32
eb_log_learned(void)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);

	return horizon ? pg_atomic_read_u32(&horizon->learned) : 0;
}

void
eb_log_count_learned(void)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);

	/* a full barrier */
	if (horizon)
		pg_atomic_fetch_add_u32(&horizon->learned, 1);
}

void
eb_log_report_late_row(void)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);

	if (horizon)
		pg_atomic_fetch_add_u32(&horizon->late_rows, 1);
}

EbTick
eb_log_oldest_publisher(int *pid)
{
	HorizonSection *horizon = eb_shmem_section(EB_SHMEM_HORIZON);
	EbTick		oldest = 0;

	*pid = 0;
	if (!horizon)
		return 0;
	for (int i = 0; i < horizon->nslots; i++)
	{
		uint64		bound = pg_atomic_read_u64(&horizon->slots[i].bound);

		if (bound != 0 && horizon->slots[i].database == MyDatabaseId &&
			(oldest == 0 || bound < oldest))
		{
			PGPROC	   *proc = EB_PROC_BY_NUMBER(i);

			oldest = bound;
			*pid = proc ? proc->pid : 0;
		}
	}
	return oldest;
}
