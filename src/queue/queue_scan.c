/*-------------------------------------------------------------------------
 *
 * queue_scan.c
 *	  Walking a queue's index from its floor, and raising the floor on the way.
 *
 * The scan's snapshot is SnapshotDirty: it sees what is committed at the
 * moment of the look, whatever the isolation level, and tells when a row is
 * being inserted or deleted by a running transaction.  Such rows are passed
 * by, never waited for.  nbtree keeps the pin on the leaf page that it reads
 * for a snapshot of this kind, which keeps VACUUM from recycling the TIDs that
 * were read from it.
 *
 * A scan that raises keeps the first key that it could not pass.  An entry is
 * passed if its row is invisible or in the hands of an announced transaction
 * (README.md, floor claim 3).  Keys are taken from rows, not from index tuples,
 * which nbtree would copy by the page: the key of an entry whose row is gone
 * is not needed, since the floor only ever comes to stand at a row that was
 * seen, behind one that was taken, or at the end of the range.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "queue/queue_internal.h"

/* Keys of both indexes are 64-bit integers to the scan. */
static void
set_key(ScanKeyData *key, EbQueueIndex which, StrategyNumber strategy, int64 value)
{
	bool		lower = strategy == BTGreaterEqualStrategyNumber;
	RegProcedure proc;

	if (which == EB_WAITING)
		proc = lower ? F_TIMESTAMPTZ_GE : F_TIMESTAMPTZ_LE;
	else
		proc = lower ? F_INT8GE : F_INT8LE;
	ScanKeyInit(key, 1, strategy, proc, Int64GetDatum(value));
}

/*
 * The waiting index is read up to a bound; the ready index to its end, since
 * whatever is in there is ready.
 */
static void
start_scan(EbQueueScan *scan, int64 from, bool bounded)
{
	ScanKeyData keys[2];
	int			nkeys = 0;

	set_key(&keys[nkeys++], scan->which, BTGreaterEqualStrategyNumber, from);
	if (bounded)
		set_key(&keys[nkeys++], scan->which, BTLessEqualStrategyNumber, scan->upto);
	scan->scan = EB_INDEX_BEGINSCAN(scan->table, scan->index, &scan->dirty, nkeys);
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

void
eb_queue_scan_begin(EbQueueScan *scan, Relation table, Oid index,
					EbQueueIndex which, int64 upto, bool raise)
{
	int64		from;

	memset(scan, 0, sizeof(EbQueueScan));
	scan->table = table;
	scan->which = which;
	scan->upto = upto;
	scan->announced = InvalidTransactionId;
	if (raise)
		scan->raise = eb_floor_raise_begin(table, which, &from);
	else
		from = eb_floor_start(table, which);
	scan->floor = from;

	/* nothing alive lies below the floor, so there may be nothing to look at */
	if (from > upto || from == EB_KEY_MAX)
	{
		scan->at_end = scan->stopped = true;
		return;
	}
	scan->index = index_open(index, RecoveryInProgress() ? AccessShareLock : RowExclusiveLock);
	InitDirtySnapshot(scan->dirty);
	scan->slot = table_slot_create(table, NULL);
	start_scan(scan, from, upto != EB_KEY_MAX);
}

/* Key and message id of the row that the scan stands on. */
static void
read_key(EbQueueScan *scan)
{
	bool		isnull;

	scan->message_id = DatumGetInt64(slot_getattr(scan->slot, EB_DELIVERY_MESSAGE_ID, &isnull));
	scan->key = scan->which == EB_READY ? scan->message_id :
		DatumGetTimestampTz(slot_getattr(scan->slot, EB_DELIVERY_VISIBLE_AT, &isnull));
}

/* The key that a floor may have at most once this row has been passed. */
static inline int64
beyond(const EbQueueScan *scan)
{
	/* message ids are unique, times are not */
	return scan->which == EB_READY ? scan->key + 1 : scan->key;
}

static inline void
pass(EbQueueScan *scan)
{
	if (!scan->stopped)
		scan->floor = beyond(scan);
}

static inline void
stop(EbQueueScan *scan)
{
	if (!scan->stopped)
	{
		scan->floor = scan->key;
		scan->stopped = true;
	}
}

/*
 * floor claim 3: a row in progress is passed if its transaction is announced.
 * Having been announced at some time during this raise is enough: the
 * lowering that follows finds our collector.
 */
static void
pass_in_progress(EbQueueScan *scan, TransactionId xid)
{
	if (!scan->raise || scan->stopped)
		return;
	if (TransactionIdEquals(xid, scan->announced) || eb_floor_is_announced(xid))
	{
		scan->announced = xid;
		pass(scan);
	}
	else
		stop(scan);
}

bool
eb_queue_scan_next(EbQueueScan *scan)
{
	if (scan->at_end)
		return false;
	if (scan->current)
	{
		stop(scan);				/* the caller left it alive */
		scan->current = false;
	}

	while (index_getnext_tid(scan->scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		scan->met = true;
		if (!index_fetch_heap(scan->scan, scan->slot))
			continue;			/* gone: passed without a word */
		read_key(scan);
		if (TransactionIdIsValid(scan->dirty.xmin))
			pass_in_progress(scan, scan->dirty.xmin);
		else if (TransactionIdIsValid(scan->dirty.xmax))
			pass_in_progress(scan, scan->dirty.xmax);
		else
		{
			scan->current = true;
			return true;
		}
	}
	scan->at_end = true;
	return false;
}

/* The caller has deleted or updated the row, having announced itself before. */
void
eb_queue_scan_took(EbQueueScan *scan)
{
	Assert(scan->current);
	scan->current = false;
	pass(scan);
}

/*
 * Who is deleting or updating the row; invalid if it is only locked, as by a
 * SELECT FOR UPDATE, whose end brings nothing to life.
 */
static TransactionId
modifier(TupleTableSlot *slot)
{
	Buffer		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
	HeapTupleHeader header = ((HeapTupleTableSlot *) slot)->tuple->t_data;
	TransactionId xid = InvalidTransactionId;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (!(header->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		xid = HeapTupleHeaderGetRawXmax(header);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return xid;
}

/* The caller tried to, but somebody was faster. */
void
eb_queue_scan_lost(EbQueueScan *scan, TM_Result result)
{
	TransactionId xid;

	Assert(scan->current);
	scan->current = false;
	switch (result)
	{
		case TM_Updated:
		case TM_Deleted:
			pass(scan);
			break;
		case TM_BeingModified:
			xid = modifier(scan->slot);
			if (TransactionIdIsValid(xid))
				pass_in_progress(scan, xid);
			else
				stop(scan);
			break;
		default:
			stop(scan);
			break;
	}
}

/*
 * When nothing lies between the floor and the bound, the waiting floor may go
 * up to the first entry beyond, dead or alive, so that scans until then need
 * not look at all.  (Reading on in general would walk over the dead leases of
 * the future again and again.)
 */
static int64
first_beyond(EbQueueScan *scan)
{
	ScanKeyData key;
	bool		isnull;

	index_endscan(scan->scan);
	set_key(&key, scan->which, BTGreaterEqualStrategyNumber, scan->upto);
	scan->scan = EB_INDEX_BEGINSCAN(scan->table, scan->index, &scan->dirty, 1);
	scan->scan->xs_want_itup = true;
	index_rescan(scan->scan, &key, 1, NULL, 0);
	if (!index_getnext_tid(scan->scan, ForwardScanDirection))
		return EB_KEY_MAX;
	return DatumGetInt64(index_getattr(scan->scan->xs_itup, 1,
									   scan->scan->xs_itupdesc, &isnull));
}

void
eb_queue_scan_end(EbQueueScan *scan)
{
	if (scan->current)
		stop(scan);
	if (scan->raise)
	{
		/* at the end of a range all of it was passed (floor claim 3) */
		if (scan->at_end && !scan->stopped)
		{
			if (scan->which == EB_READY)
				scan->floor = EB_KEY_MAX;
			else
				scan->floor = scan->met ? scan->upto : first_beyond(scan);
		}
		eb_floor_raise_end(scan->table, scan->which, scan->floor);
		scan->raise = false;
	}
	if (scan->scan)
		index_endscan(scan->scan);
	if (scan->slot)
		ExecDropSingleTupleTableSlot(scan->slot);
	if (scan->index)
		index_close(scan->index, NoLock);
}

int64
eb_queue_alive_below(Relation table, Oid index, EbQueueIndex which, int64 key,
					 int64 *lowest)
{
	EbQueueScan scan;
	int64		alive = 0;

	*lowest = EB_KEY_MAX;
	if (key == EB_KEY_MIN)
		return 0;
	memset(&scan, 0, sizeof(EbQueueScan));
	scan.table = table;
	scan.which = which;
	scan.upto = key - 1;
	scan.index = index_open(index, AccessShareLock);
	scan.slot = table_slot_create(table, NULL);
	InitDirtySnapshot(scan.dirty);
	start_scan(&scan, EB_KEY_MIN, true);
	while (eb_queue_scan_next(&scan))
	{
		if (alive++ == 0)
			*lowest = scan.key;
	}
	eb_queue_scan_end(&scan);
	return alive;
}
