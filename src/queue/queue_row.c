/*-------------------------------------------------------------------------
 *
 * queue_row.c
 *	  Changing one row of a queue: lease, release, move in time, delete.
 *
 * Straight through the table access method, and never waiting: an answer of
 * TM_BeingModified means that somebody else is at work on the row, without a
 * row lock having been written anywhere.  A changed row always goes to the
 * waiting index, never back to the ready one, whose floor is at its end by
 * then (README.md, lease claim 3).
 *
 * An index that somebody added to the table gets its entries through the
 * executor.  Triggers that somebody added are not fired.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "queue/queue_internal.h"

static bool
has_foreign_index(Relation table, const EbQueue *queue)
{
	List	   *indexes = RelationGetIndexList(table);
	int			ours = queue->fifo ? 3 : 2;
	bool		result = list_length(indexes) != ours;

	list_free(indexes);
	return result;
}

void
eb_row_editor_begin(EbRowEditor *editor, Relation table, const EbQueue *queue)
{
	memset(editor, 0, sizeof(EbRowEditor));
	editor->table = table;
	editor->queue = queue;
	editor->record = eb_floor_announce(table);
	editor->lowest = EB_KEY_MAX;
	editor->foreign = has_foreign_index(table, queue);
	editor->cid = GetCurrentCommandId(true);
}

static TupleTableSlot *
result_slot(EbRowEditor *editor)
{
	if (!editor->slot)
		editor->slot = MakeSingleTupleTableSlot(RelationGetDescr(editor->table),
												&TTSOpsVirtual);
	else
		ExecClearTuple(editor->slot);
	return editor->slot;
}

static inline void
set_attribute(TupleTableSlot *slot, int attribute, Datum value)
{
	slot->tts_values[attribute - 1] = value;
	slot->tts_isnull[attribute - 1] = false;
}

/* A copy of the row's values, not of what they point to. */
static TupleTableSlot *
copy_values(EbRowEditor *editor, TupleTableSlot *row)
{
	TupleTableSlot *slot = result_slot(editor);
	int			natts = slot->tts_tupleDescriptor->natts;

	slot_getallattrs(row);
	memcpy(slot->tts_values, row->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	return slot;
}

static void
count_receive(TupleTableSlot *slot, TupleTableSlot *row, TimestampTz now)
{
	int32		count = row->tts_isnull[EB_DELIVERY_RECEIVE_COUNT - 1] ? 0 :
	DatumGetInt32(row->tts_values[EB_DELIVERY_RECEIVE_COUNT - 1]);

	if (count < PG_INT32_MAX)
		count++;
	set_attribute(slot, EB_DELIVERY_RECEIVE_COUNT, Int32GetDatum(count));
	if (slot->tts_isnull[EB_DELIVERY_FIRST_RECEIVED_AT - 1])
		set_attribute(slot, EB_DELIVERY_FIRST_RECEIVED_AT,
					  TimestampTzGetDatum(now));
}

void
eb_row_show_received(EbRowEditor *editor, TupleTableSlot *row, TimestampTz now)
{
	count_receive(copy_values(editor, row), row, now);
}

/* The key under which the row is now: it will be dead there (floor claim 2). */
static void
note_removal(EbRowEditor *editor, TupleTableSlot *row)
{
	int64		message_id = DatumGetInt64(row->tts_values[EB_DELIVERY_MESSAGE_ID - 1]);

	if (row->tts_isnull[EB_DELIVERY_VISIBLE_AT - 1])
		eb_floor_removing(editor->record, EB_READY, message_id, message_id);
	else
		eb_floor_removing(editor->record, EB_WAITING,
						  DatumGetTimestampTz(row->tts_values[EB_DELIVERY_VISIBLE_AT - 1]),
						  message_id);
}

static void
insert_entry(EbRowEditor *editor, Relation *index, Oid oid, bool unchanged,
			 Datum first, Datum second, ItemPointer tid)
{
	Datum		values[2] = {first, second};
	bool		isnull[2] = {false, false};

	if (!*index)
		*index = index_open(oid, RowExclusiveLock);
	index_insert(*index, values, isnull, tid, editor->table, UNIQUE_CHECK_NO,
				 unchanged, NULL);
}

/* Every index's entry, for a table that has one more than ours. */
static void
insert_entries_through_executor(EbRowEditor *editor)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);

	InitResultRelInfo(info, editor->table, 0, NULL, 0);
	ExecOpenIndices(info, false);
	PushActiveSnapshot(GetLatestSnapshot());
	(void) EB_EXEC_INSERT_INDEX_TUPLES(info, editor->slot, estate);
	PopActiveSnapshot();
	ExecCloseIndices(info);
	FreeExecutorState(estate);
}

static void
insert_entries(EbRowEditor *editor, TimestampTz visible_at)
{
	TupleTableSlot *slot = editor->slot;
	const EbQueue *queue = editor->queue;
	Datum		message_id = slot->tts_values[EB_DELIVERY_MESSAGE_ID - 1];

	if (editor->foreign)
		insert_entries_through_executor(editor);
	else
	{
		insert_entry(editor, &editor->waiting, queue->waiting_index, false,
					 TimestampTzGetDatum(visible_at), message_id, &slot->tts_tid);

		/* the same key once more: lets nbtree throw out old versions */
		if (queue->fifo)
			insert_entry(editor, &editor->group, queue->group_index, true,
						 slot->tts_values[EB_DELIVERY_GROUP_ID - 1], message_id,
						 &slot->tts_tid);
	}
	editor->lowest = Min(editor->lowest, visible_at);
}

TM_Result
eb_row_update(EbRowEditor *editor, TupleTableSlot *row, const EbRowChange *change,
			  TM_FailureData *why)
{
	TupleTableSlot *slot = copy_values(editor, row);
	LockTupleMode lockmode;
	EbUpdateIndexes update_indexes;
	TM_Result	result;

	set_attribute(slot, EB_DELIVERY_VISIBLE_AT, TimestampTzGetDatum(change->visible_at));
	if (change->lease)
	{
		count_receive(slot, row, change->now);
		set_attribute(slot, EB_DELIVERY_LEASE_PID, Int32GetDatum(MyProcPid));
		set_attribute(slot, EB_DELIVERY_LEASE_ROLE, ObjectIdGetDatum(GetUserId()));
	}
	if (change->release)
	{
		slot->tts_isnull[EB_DELIVERY_LEASE_PID - 1] = true;
		slot->tts_isnull[EB_DELIVERY_LEASE_ROLE - 1] = true;
		if (change->error)
			set_attribute(slot, EB_DELIVERY_LAST_ERROR, CStringGetTextDatum(change->error));
	}

	note_removal(editor, row);
	result = table_tuple_update(editor->table, &row->tts_tid, slot, editor->cid,
								SnapshotAny, InvalidSnapshot, false, why,
								&lockmode, &update_indexes);
	if (result == TM_Ok)
		insert_entries(editor, change->visible_at);
	return result;
}

TM_Result
eb_row_delete(EbRowEditor *editor, TupleTableSlot *row, TM_FailureData *why)
{
	slot_getallattrs(row);
	note_removal(editor, row);
	return table_tuple_delete(editor->table, &row->tts_tid, editor->cid,
							  SnapshotAny, InvalidSnapshot, false, why, false);
}

void
eb_row_editor_end(EbRowEditor *editor)
{
	if (editor->lowest != EB_KEY_MAX)
		eb_floor_inserted(editor->record, EB_WAITING, editor->lowest);
	if (editor->waiting)
		index_close(editor->waiting, NoLock);
	if (editor->group)
		index_close(editor->group, NoLock);
	if (editor->slot)
		ExecDropSingleTupleTableSlot(editor->slot);
}
