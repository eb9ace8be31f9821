/*-------------------------------------------------------------------------
 *
 * queue_expire.c
 *	  Messages that have lived too long, emptying a queue, and what the
 *	  notifier asks: is there anything to receive, and when will there be?
 *
 * A message's retention counts from the time in its id, which is when it came
 * into this queue (a dead letter's from when it died), or from the end of its
 * delay.  A message that is leased, or waits for its next try, is looked at
 * when that time has come: until then somebody may still settle it.
 *
 * Deletes are those of a consumer: announced to the floors, never waiting for
 * anybody, and whoever is at work on a row keeps it.  In FIFO queues parked
 * messages are deleted, too, which nobody else does: the gates of the groups
 * are held to the end of the transaction (README.md, expire claim 2).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "errors.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

/* Deleting messages of one queue. */
typedef struct Removal
{
	const EbQueue *queue;
	Relation	table;
	bool		writing;		/* editor is set up: not before something is
								 * to be deleted, so that looking costs no
								 * transaction id */
	EbRowEditor editor;
	int64		done;
	List	   *groups;			/* FIFO: groups that lost their head */
} Removal;

static void
begin_removal(Removal *removal, const EbQueue *queue)
{
	removal->queue = queue;
	removal->table = eb_queue_open(queue, RowExclusiveLock);
	removal->writing = false;
	removal->done = 0;
	removal->groups = NIL;
}

/* Delete the row in the slot, of which all attributes are there. */
static TM_Result
remove_row(Removal *removal, TupleTableSlot *row, TM_FailureData *why)
{
	bool		parked = !row->tts_isnull[EB_DELIVERY_VISIBLE_AT - 1] &&
	DatumGetTimestampTz(row->tts_values[EB_DELIVERY_VISIBLE_AT - 1]) == EB_PARKED;
	TM_Result	result;

	if (!removal->writing)
	{
		if (removal->queue->fifo)
			eb_fifo_close_gates(removal->table);
		eb_row_editor_begin(&removal->editor, removal->table, removal->queue);
		eb_notify_taken(removal->queue);
		removal->writing = true;
	}
	result = eb_row_delete(&removal->editor, row, why);
	if (result != TM_Ok)
		return result;
	removal->done++;
	if (removal->queue->fifo && !parked)
		removal->groups = lappend(removal->groups, TextDatumGetCString(eb_fifo_group(row)));
	return TM_Ok;
}

/*
 * Groups go on only when all is deleted: a successor that is moved before may
 * itself be one to delete, under a version that the scan does not see.
 */
static int64
end_removal(Removal *removal)
{
	ListCell   *lc;

	if (removal->writing)
	{
		eb_row_editor_end(&removal->editor);
		CommandCounterIncrement();
	}
	foreach(lc, removal->groups)
	{
		eb_fifo_deleted(removal->table, removal->queue, CStringGetTextDatum(lfirst(lc)));
		CHECK_FOR_INTERRUPTS();
	}
	list_free_deep(removal->groups);
	table_close(removal->table, NoLock);
	return removal->done;
}

/* ------------------------------------------------------------------ */
/* Expiry                                                             */
/* ------------------------------------------------------------------ */

/* Has a row of the waiting index, due by now, lived too long? */
static bool
waiting_row_expired(TupleTableSlot *row, int64 cutoff_id, TimestampTz cutoff)
{
	bool		received = !row->tts_isnull[EB_DELIVERY_RECEIVE_COUNT - 1] &&
	DatumGetInt32(row->tts_values[EB_DELIVERY_RECEIVE_COUNT - 1]) > 0;

	if (DatumGetInt64(row->tts_values[EB_DELIVERY_MESSAGE_ID - 1]) >= cutoff_id)
		return false;
	return received ||
		DatumGetTimestampTz(row->tts_values[EB_DELIVERY_VISIBLE_AT - 1]) < cutoff;
}

static void
expire_index(Removal *removal, EbQueueIndex which, int64 upto, int64 cutoff_id,
			 TimestampTz cutoff, int limit)
{
	EbQueueScan scan;

	eb_queue_scan_begin(&scan, removal->table,
						which == EB_READY ? removal->queue->ready_index :
						removal->queue->waiting_index,
						which, upto, false);
	while (removal->done < limit && eb_queue_scan_next(&scan))
	{
		TM_FailureData why;
		TM_Result	result;

		/* most of a backlog is young, which the index entry tells */
		if (scan.message_id >= cutoff_id)
			continue;
		slot_getallattrs(scan.slot);
		if (EB_ROW_IS_MARK(scan.slot->tts_isnull) ||
			(which == EB_WAITING && !waiting_row_expired(scan.slot, cutoff_id, cutoff)))
			continue;
		result = remove_row(removal, scan.slot, &why);
		if (result == TM_Ok)
			eb_queue_scan_took(&scan);
		else
			eb_queue_scan_lost(&scan, result);
	}
	eb_queue_scan_end(&scan);
}

/*
 * Parked messages lie together at the end of the waiting index, in the order
 * of their ids, so those that are too old are one range.
 */
static void
expire_parked(Removal *removal, int64 cutoff_id, int limit)
{
	Relation	index = index_open(removal->queue->waiting_index, RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(removal->table, NULL);
	ScanKeyData keys[2];
	IndexScanDesc scan;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(EB_PARKED));
	ScanKeyInit(&keys[1], 2, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(cutoff_id));
	scan = EB_INDEX_BEGINSCAN(removal->table, index, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	while (removal->done < limit &&
		   index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		TM_FailureData why;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (!EB_ROW_IS_MARK(slot->tts_isnull))
			(void) remove_row(removal, slot, &why);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
}

int64
eb_queue_expire(const EbQueue *queue, int limit)
{
	TimestampTz now = eb_clock_now();
	TimestampTz cutoff = now - queue->retention;
	int64		cutoff_id;
	Removal		removal;

	if (cutoff <= 0)
		return 0;				/* nothing is as old as that */
	cutoff_id = (int64) eb_time_tick(cutoff);

	begin_removal(&removal, queue);
	expire_index(&removal, EB_WAITING, now, cutoff_id, cutoff, limit);
	if (queue->fifo)
		expire_parked(&removal, cutoff_id, limit);

	/* ids ascend, so the scan may end where the young ones begin */
	expire_index(&removal, EB_READY, cutoff_id - 1, cutoff_id, cutoff, limit);
	return end_removal(&removal);
}

/* ------------------------------------------------------------------ */
/* Purge                                                              */
/* ------------------------------------------------------------------ */

/*
 * Everything that is committed now, in flight or not.  Not by TRUNCATE, which
 * would wait for every transaction that uses the queue, and stop all others.
 */
PG_FUNCTION_INFO_V1(eb_purge);

Datum
eb_purge(PG_FUNCTION_ARGS)
{
	EbQueue		queue;
	Removal		removal;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	PreventCommandIfReadOnly("eb.purge()");
	PreventCommandIfParallelMode("eb.purge()");
	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	queue = *eb_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eb_check_view_privilege(queue.view, EB_QUEUE_ADMIN, "queue", queue.name);

	begin_removal(&removal, &queue);
	if (queue.fifo)
		eb_fifo_close_gates(removal.table);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(removal.table, NULL);
	scan = table_beginscan(removal.table, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		TM_FailureData why;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (!EB_ROW_IS_MARK(slot->tts_isnull))
			(void) remove_row(&removal, slot, &why);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	PG_RETURN_INT64(end_removal(&removal));
}

/* ------------------------------------------------------------------ */
/* What the notifier asks                                             */
/* ------------------------------------------------------------------ */

/*
 * Locks are let go at once: the notifier looks at many queues in one
 * transaction, and whoever drops one of them would wait for it, with others
 * locked already that it comes to next.
 */
static bool
index_has_visible(const EbQueue *queue, Relation table, EbQueueIndex which,
				  int64 upto)
{
	Oid			index = which == EB_READY ? queue->ready_index : queue->waiting_index;
	EbQueueScan scan;
	bool		found;
	bool		opened;

	eb_queue_scan_begin(&scan, table, index, which, upto, false);
	found = eb_queue_scan_next(&scan);
	opened = scan.index != NULL;
	eb_queue_scan_end(&scan);
	if (opened)
		UnlockRelationOid(index, RecoveryInProgress() ? AccessShareLock : RowExclusiveLock);
	return found;
}

bool
eb_queue_has_visible(const EbQueue *queue)
{
	Relation	table;
	bool		found;

	if (queue->paused)
		return false;
	table = eb_queue_open(queue, AccessShareLock);
	found = index_has_visible(queue, table, EB_READY, EB_KEY_MAX) ||
		index_has_visible(queue, table, EB_WAITING, eb_clock_now());
	table_close(table, AccessShareLock);
	return found;
}

#define NEXT_VISIBLE_ENTRIES 1000

/*
 * Entries of the future are mostly leases that were settled long ago, which
 * no floor can skip.  So the search ends after some, and the time reached is
 * the answer: nothing becomes visible before, and whoever sleeps until then
 * asks again.
 */
TimestampTz
eb_queue_next_visible(const EbQueue *queue)
{
	Relation	table = eb_queue_open(queue, AccessShareLock);
	Relation	index = index_open(queue->waiting_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TimestampTz result = DT_NOEND;
	SnapshotData dirty;
	ScanKeyData keys[2];
	IndexScanDesc scan;
	int			entries = 0;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_TIMESTAMPTZ_GT,
				TimestampTzGetDatum(eb_clock_now()));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_TIMESTAMPTZ_LT,
				TimestampTzGetDatum(EB_PARKED));
	scan = EB_INDEX_BEGINSCAN(table, index, &dirty, 2);
	scan->xs_want_itup = true;
	index_rescan(scan, keys, 2, NULL, 0);
	while (index_getnext_tid(scan, ForwardScanDirection))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (index_fetch_heap(scan, slot) || ++entries >= NEXT_VISIBLE_ENTRIES)
		{
			result = DatumGetTimestampTz(index_getattr(scan->xs_itup, 1,
													   scan->xs_itupdesc, &isnull));
			break;
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return result;
}
