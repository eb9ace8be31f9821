/*-------------------------------------------------------------------------
 *
 * observe_status.c
 *	  What is in the queues: eb.queue_status and eb.in_flight.
 *
 * Both are views over functions here.  A queue's row costs the same whether
 * it holds ten thousand messages or ten million: each index is walked from
 * its floor for at most WALK_ROWS messages (and WALK_ENTRIES entries, dead ones
 * included), and if that did not reach the end the figures are estimated from
 * a sample of the index's pages.
 *
 * The sample takes SAMPLE_PAGES pages at equal distances.  Each leaf tells
 * how many entries it has above the floor, and a look at SAMPLE_ROWS of their
 * rows how these divide into states and how many are dead; times the number
 * of pages that is the estimate.  (Statistics of the table would be cheaper,
 * but they are as old as the last vacuum, and a queue turns over many times
 * between two.  Interpolating between ids fails when messages come in bursts.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "queue/queue_internal.h"

#define WALK_ROWS		10000
#define WALK_ENTRIES	30000
#define SAMPLE_PAGES	128
#define SAMPLE_ROWS		8

/* As the state that a queue's view shows. */
typedef enum MessageState
{
	STATE_READY,
	STATE_IN_FLIGHT,
	STATE_DELAYED,
	STATE_PARKED,
	MESSAGE_STATES
} MessageState;

typedef struct QueueFigures
{
	double		count[MESSAGE_STATES];
	int64		oldest;			/* lowest message id met; 0: none */
	bool		exact;
} QueueFigures;

/* One look at one queue. */
typedef struct Look
{
	Relation	table;
	Relation	index;
	EbQueueIndex which;
	int64		floor;
	const char *source;			/* count only what came from here; NULL: all */
	TimestampTz now;
	Snapshot	snapshot;
	TupleTableSlot *slot;
	QueueFigures *figures;
} Look;

/* State of the row in the slot; false: not to be counted. */
static bool
row_state(Look *look, MessageState *state)
{
	TupleTableSlot *slot = look->slot;
	TimestampTz visible_at;

	slot_getallattrs(slot);
	if (EB_ROW_IS_MARK(slot->tts_isnull))
		return false;
	if (look->source != NULL &&
		(slot->tts_isnull[EB_DELIVERY_SOURCE_QUEUE - 1] ||
		 strcmp(TextDatumGetCString(slot->tts_values[EB_DELIVERY_SOURCE_QUEUE - 1]),
				look->source) != 0))
		return false;

	if (slot->tts_isnull[EB_DELIVERY_VISIBLE_AT - 1])
	{
		*state = STATE_READY;
		return true;
	}
	visible_at = DatumGetTimestampTz(slot->tts_values[EB_DELIVERY_VISIBLE_AT - 1]);
	if (visible_at == EB_PARKED)
		*state = STATE_PARKED;
	else if (visible_at <= look->now)
		*state = STATE_READY;
	else if (!slot->tts_isnull[EB_DELIVERY_LEASE_PID - 1])
		*state = STATE_IN_FLIGHT;
	else
		*state = STATE_DELAYED;
	return true;
}

static void
note_age(QueueFigures *figures, TupleTableSlot *slot)
{
	int64		id = DatumGetInt64(slot->tts_values[EB_DELIVERY_MESSAGE_ID - 1]);

	if (figures->oldest == 0 || id < figures->oldest)
		figures->oldest = id;
}

/* Counts into counts; returns false if the index has more than may be read. */
static bool
walk_index(Look *look, double *counts)
{
	ScanKeyData key;
	IndexScanDesc scan;
	int			entries = 0;
	int			rows = 0;
	bool		complete = true;
	MessageState state;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber,
				look->which == EB_READY ? F_INT8GE : F_TIMESTAMPTZ_GE,
				Int64GetDatum(look->floor));
	scan = EB_INDEX_BEGINSCAN(look->table, look->index, look->snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_tid(scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		if (++entries > WALK_ENTRIES || rows == WALK_ROWS)
		{
			complete = false;
			break;
		}
		if (!index_fetch_heap(scan, look->slot))
			continue;
		rows++;
		if (row_state(look, &state))
		{
			counts[state]++;
			note_age(look->figures, look->slot);
		}
	}
	index_endscan(scan);
	return complete;
}

/*
 * One leaf: how many entries lie above the floor, and the TIDs of a few of
 * them, spread over the page.
 */
static int
read_leaf(Look *look, Page page, ItemPointer tids, int *ntids)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);
	TupleDesc	desc = RelationGetDescr(look->index);
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	OffsetNumber first = P_FIRSTDATAKEY(opaque);
	int			entries = 0;

	*ntids = 0;
	for (OffsetNumber offset = first; offset <= last; offset = OffsetNumberNext(offset))
	{
		ItemId		item = PageGetItemId(page, offset);
		IndexTuple	tuple = (IndexTuple) PageGetItem(page, item);
		bool		isnull;

		if (ItemIdIsDead(item) ||
			DatumGetInt64(index_getattr(tuple, 1, desc, &isnull)) < look->floor)
			continue;
		if (BTreeTupleIsPosting(tuple))
			entries += BTreeTupleGetNPosting(tuple);
		else
			entries++;
		if ((offset - first) % ((last - first) / SAMPLE_ROWS + 1) == 0 &&
			*ntids < SAMPLE_ROWS)
			tids[(*ntids)++] = *BTreeTupleGetHeapTID(tuple);
	}
	return entries;
}

static void
sample_index(Look *look, double *counts)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(look->index);
	BlockNumber step = Max(1, (nblocks - 1) / SAMPLE_PAGES);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	double		found[MESSAGE_STATES] = {0};
	int			npages = 0;

	/* block 0 is the meta page */
	for (BlockNumber block = 1; block < nblocks; block += step)
	{
		Buffer		buffer;
		Page		page;
		ItemPointerData tids[SAMPLE_ROWS];
		int			ntids = 0;
		int			entries = 0;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(look->index, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BT_READ);
		page = BufferGetPage(buffer);
		if (!PageIsNew(page) && P_ISLEAF(BTPageGetOpaque(page)) &&
			!P_IGNORE(BTPageGetOpaque(page)))
			entries = read_leaf(look, page, tids, &ntids);
		UnlockReleaseBuffer(buffer);
		npages++;

		for (int i = 0; i < ntids; i++)
		{
			MessageState state;

			/* a TID may have been reused since, by another row of this queue */
			if (table_tuple_fetch_row_version(look->table, &tids[i], look->snapshot,
											  look->slot) &&
				row_state(look, &state))
			{
				found[state] += (double) entries / ntids;
				note_age(look->figures, look->slot);
			}
		}
		ExecClearTuple(look->slot);
	}
	FreeAccessStrategy(strategy);
	if (npages == 0)
		return;
	for (int i = 0; i < MESSAGE_STATES; i++)
		counts[i] = rint(found[i] * (nblocks - 1) / npages);
}

/*
 * Parked messages have the last keys of the waiting index, in the order of
 * their ids; so the first of them is the oldest.
 */
static void
look_at_parked(Look *look)
{
	ScanKeyData key;
	IndexScanDesc scan;
	int			entries = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(EB_PARKED));
	scan = EB_INDEX_BEGINSCAN(look->table, look->index, look->snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (entries++ < WALK_ENTRIES && index_getnext_tid(scan, ForwardScanDirection))
	{
		MessageState state;

		if (index_fetch_heap(scan, look->slot) && row_state(look, &state))
		{
			note_age(look->figures, look->slot);
			break;
		}
	}
	index_endscan(scan);
}

static void
look_at_queue(const EbQueue *queue, const char *source, QueueFigures *figures)
{
	Look		look;

	memset(figures, 0, sizeof(QueueFigures));
	figures->exact = true;
	look.table = eb_queue_open(queue, AccessShareLock);
	look.source = source;
	look.now = eb_clock_now();
	look.snapshot = GetActiveSnapshot();
	look.slot = table_slot_create(look.table, NULL);
	look.figures = figures;
	for (int which = 0; which < EB_QUEUE_INDEXES; which++)
	{
		double		counts[MESSAGE_STATES] = {0};

		look.which = which;
		look.index = index_open(which == EB_READY ? queue->ready_index : queue->waiting_index,
								AccessShareLock);
		look.floor = eb_floor_start(look.table, which);
		if (!walk_index(&look, counts))
		{
			double		sampled[MESSAGE_STATES] = {0};

			/* at least what was met */
			sample_index(&look, sampled);
			for (int i = 0; i < MESSAGE_STATES; i++)
				counts[i] = Max(counts[i], sampled[i]);
			figures->exact = false;
			if (which == EB_WAITING && queue->fifo)
				look_at_parked(&look);
		}
		for (int i = 0; i < MESSAGE_STATES; i++)
			figures->count[i] += counts[i];
		index_close(look.index, AccessShareLock);
	}
	ExecDropSingleTupleTableSlot(look.slot);
	table_close(look.table, AccessShareLock);
}

/* Any privilege on its view lets a role see that and how a queue is. */
static bool
may_see(const EbQueue *queue)
{
	return eb_view_allows(queue->view,
						  ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE);
}

/* ------------------------------------------------------------------ */
/* eb.queue_status                                                    */
/* ------------------------------------------------------------------ */

enum
{
	STATUS_QUEUE,
	STATUS_READY,				/* in the order of MessageState */
	STATUS_IN_FLIGHT,
	STATUS_DELAYED,
	STATUS_PARKED,
	STATUS_DEAD_LETTERED,
	STATUS_OLDEST_AGE,
	STATUS_PAUSED,
	STATUS_FIFO,
	STATUS_IS_DLQ,
	STATUS_DLQ,
	STATUS_EXACT,
	STATUS_COUNTS,				/* in the order of EbQueueCount */
	STATUS_COLUMNS = STATUS_COUNTS + EB_QUEUE_COUNTS
};

static void
put_status(ReturnSetInfo *rsinfo, const EbQueue *queue)
{
	Datum		values[STATUS_COLUMNS];
	bool		isnull[STATUS_COLUMNS] = {0};
	QueueFigures figures;
	uint64		counts[EB_QUEUE_COUNTS];
	const EbQueue *dlq = NULL;
	Relation	table;
	bool		counted;

	look_at_queue(queue, NULL, &figures);
	values[STATUS_QUEUE] = CStringGetTextDatum(queue->name);
	for (int i = 0; i < MESSAGE_STATES; i++)
		values[STATUS_READY + i] = Int64GetDatum((int64) figures.count[i]);
	if (figures.oldest == 0)
		isnull[STATUS_OLDEST_AGE] = true;
	else
		values[STATUS_OLDEST_AGE] =
			DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(eb_clock_now()),
								TimestampTzGetDatum(eb_tick_time((EbTick) figures.oldest)));
	values[STATUS_PAUSED] = BoolGetDatum(queue->paused);
	values[STATUS_FIFO] = BoolGetDatum(queue->fifo);
	values[STATUS_IS_DLQ] = BoolGetDatum(queue->is_dlq);

	if (queue->dead_letter_queue[0] != '\0')
		dlq = eb_queue_lookup(queue->dead_letter_queue, true);
	if (dlq == NULL)
		isnull[STATUS_DEAD_LETTERED] = true;
	else
	{
		QueueFigures dead;
		double		total = 0;

		look_at_queue(dlq, queue->name, &dead);
		for (int i = 0; i < MESSAGE_STATES; i++)
			total += dead.count[i];
		values[STATUS_DEAD_LETTERED] = Int64GetDatum((int64) total);
		figures.exact = figures.exact && dead.exact;
	}
	if (queue->dead_letter_queue[0] == '\0')
		isnull[STATUS_DLQ] = true;
	else
		values[STATUS_DLQ] = CStringGetTextDatum(queue->dead_letter_queue);
	values[STATUS_EXACT] = BoolGetDatum(figures.exact);

	table = eb_queue_open(queue, AccessShareLock);
	counted = eb_floor_counts(table, counts);
	table_close(table, AccessShareLock);
	for (int i = 0; i < EB_QUEUE_COUNTS; i++)
	{
		isnull[STATUS_COUNTS + i] = !counted;
		if (counted)
			values[STATUS_COUNTS + i] = Int64GetDatum((int64) counts[i]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/* Calls put for each queue that the user may see, in a context of its own. */
static void
for_each_queue(FunctionCallInfo fcinfo, int columns,
			   void (*put) (ReturnSetInfo *rsinfo, const EbQueue *queue))
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	EbQueue    *queues;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	if (rsinfo->setDesc->natts != columns)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function returns %d columns where the library knows %d",
						rsinfo->setDesc->natts, columns),
				 errhint("Update the extension, or restart the server after a new library was installed.")));
	n = eb_queue_list(&queues);
	context = AllocSetContextCreate(CurrentMemoryContext, "eb queue status",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old;
		Relation	table;

		if (!may_see(&queues[i]))
			continue;
		/* it may have been dropped since the list was made */
		table = try_table_open(queues[i].table, AccessShareLock);
		if (table == NULL)
			continue;
		old = MemoryContextSwitchTo(context);
		put(rsinfo, &queues[i]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		table_close(table, AccessShareLock);
	}
	MemoryContextDelete(context);
}

PG_FUNCTION_INFO_V1(eb_queue_figures);

Datum
eb_queue_figures(PG_FUNCTION_ARGS)
{
	for_each_queue(fcinfo, STATUS_COLUMNS, put_status);
	return (Datum) 0;
}

/* ------------------------------------------------------------------ */
/* eb.in_flight                                                       */
/* ------------------------------------------------------------------ */

enum
{
	LEASE_QUEUE,
	LEASE_MESSAGE_ID,
	LEASE_ROLE,
	LEASE_PID,
	LEASE_UNTIL,
	LEASE_RECEIVE_COUNT,
	LEASE_FIRST_RECEIVED_AT,
	LEASE_GROUP_ID,
	LEASE_EVENT_ID,
	LEASE_COLUMNS
};

/* Leases that have not run out are the future part of the waiting index. */
static void
put_leases(ReturnSetInfo *rsinfo, const EbQueue *queue)
{
	static const int attributes[LEASE_COLUMNS] = {
		[LEASE_MESSAGE_ID] = EB_DELIVERY_MESSAGE_ID,
		[LEASE_ROLE] = EB_DELIVERY_LEASE_ROLE,
		[LEASE_PID] = EB_DELIVERY_LEASE_PID,
		[LEASE_UNTIL] = EB_DELIVERY_VISIBLE_AT,
		[LEASE_RECEIVE_COUNT] = EB_DELIVERY_RECEIVE_COUNT,
		[LEASE_FIRST_RECEIVED_AT] = EB_DELIVERY_FIRST_RECEIVED_AT,
		[LEASE_GROUP_ID] = EB_DELIVERY_GROUP_ID,
		[LEASE_EVENT_ID] = EB_DELIVERY_EVENT_ID,
	};
	Relation	table = eb_queue_open(queue, AccessShareLock);
	Relation	index = index_open(queue->waiting_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	Datum		name = CStringGetTextDatum(queue->name);
	ScanKeyData keys[2];
	IndexScanDesc scan;

	ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_TIMESTAMPTZ_GT,
				TimestampTzGetDatum(eb_clock_now()));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_TIMESTAMPTZ_LT,
				TimestampTzGetDatum(EB_PARKED));
	scan = EB_INDEX_BEGINSCAN(table, index, GetActiveSnapshot(), 2);
	index_rescan(scan, keys, 2, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		Datum		values[LEASE_COLUMNS];
		bool		isnull[LEASE_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (slot->tts_isnull[EB_DELIVERY_LEASE_PID - 1] || EB_ROW_IS_MARK(slot->tts_isnull))
			continue;
		values[LEASE_QUEUE] = name;
		isnull[LEASE_QUEUE] = false;
		for (int i = LEASE_MESSAGE_ID; i < LEASE_COLUMNS; i++)
		{
			values[i] = slot->tts_values[attributes[i] - 1];
			isnull[i] = slot->tts_isnull[attributes[i] - 1];
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

PG_FUNCTION_INFO_V1(eb_leases);

Datum
eb_leases(PG_FUNCTION_ARGS)
{
	for_each_queue(fcinfo, LEASE_COLUMNS, put_leases);
	return (Datum) 0;
}
