/*-------------------------------------------------------------------------
 *
 * queue_fifo.c
 *	  FIFO groups: order among senders, one head at a time, dedup ids.
 *
 * Scans are to meet the heads of groups only, however long the groups are:
 * a message that is sent into a group with live messages is parked
 * (visible_at = infinity, which no scan reaches), and whoever deletes a head
 * exposes its successor, in the waiting index at the time of the clock.
 *
 * Two kinds of heavyweight locks, both on a hash of the group, so that their
 * number is bounded, and always taken in the order of their numbers:
 *
 *	 order	held by senders to the end of the transaction: ids of a group are
 *			taken under it, so the order of ids is the order of commits
 *	 gate	held for the moment of a look at a group and the write that follows
 *			from it, by senders and consumers alike
 *
 * Nobody waits for anything while he holds a gate, so a consumer never waits
 * for an open sender, nor a sender for an open consumer.  What each must know
 * of the other's unfinished work is in README.md, FIFO claims.  In short:
 * exposing is never wrong, since a receiver takes a message only after it has
 * looked at the group itself; parking is right only behind a message that is
 * alive and not being deleted; and a head's deletion that finds its successor
 * still uncommitted leaves a mark, a row without event and body, on which the
 * next receiver looks at the group again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "compat.h"
#include "once/once.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

/* Locks of a queue: groups are spread over so many. */
#define GROUP_LOCKS		128

/* Fourth field of an advisory lock's tag; 1 and 2 are those of SQL. */
#define ORDER_LOCK		0xEB01
#define GATE_LOCK		0xEB02

/* ---- locks ---- */

static inline uint32
group_hash(const char *group, int length)
{
	return hash_bytes((const unsigned char *) group, length);
}

static inline int
group_slot(uint32 hash)
{
	return hash % GROUP_LOCKS;
}

static void
lock_group(Relation table, int slot, int kind)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, RelationGetRelid(table), slot, kind);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
unlock_gate(Relation table, int slot)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, RelationGetRelid(table), slot, GATE_LOCK);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Hold the gates of all groups to the end of the transaction: for who deletes
 * parked messages, and may yet give them back.
 */
void
eb_fifo_close_gates(Relation table)
{
	for (int i = 0; i < GROUP_LOCKS; i++)
		lock_group(table, i, GATE_LOCK);
}

/* ---- walking a group ---- */

#define ROW_ID(slot)	DatumGetInt64((slot)->tts_values[EB_DELIVERY_MESSAGE_ID - 1])

typedef enum RowState
{
	ROW_ALIVE,					/* committed, or this transaction's own */
	ROW_ARRIVING,				/* inserted by a running transaction */
	ROW_LEAVING					/* deleted or updated by one; an update's new
								 * version is another row of the walk */
} RowState;

typedef struct GroupWalk
{
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	SnapshotData dirty;
	TupleTableSlot *slot;
	RowState	state;
	EbGroupFloor floor;
	int64		first;			/* lowest id that is not dead; EB_KEY_MAX:
								 * none met */
} GroupWalk;

/*
 * All rows of a group by id that are not dead to us, from the group's floor.
 * Under the group's gate.
 */
static void
walk_begin(GroupWalk *walk, Relation table, const EbQueue *queue, Datum group_id)
{
	ScanKeyData keys[2];

	walk->table = table;
	walk->index = index_open(queue->group_index, RowExclusiveLock);
	walk->slot = table_slot_create(table, NULL);
	InitDirtySnapshot(walk->dirty);
	eb_group_floor_begin(&walk->floor, table, group_id);
	walk->first = EB_KEY_MAX;
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   walk->index->rd_indcollation[0], F_TEXTEQ, group_id);
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(walk->floor.floor));
	walk->scan = EB_INDEX_BEGINSCAN(table, walk->index, &walk->dirty, 2);
	index_rescan(walk->scan, keys, 2, NULL, 0);
}

/*
 * SnapshotDirty says no more of a row that is being inserted than that; but
 * the same transaction may have deleted it again already.
 */
static bool
arriving_is_leaving(TupleTableSlot *slot)
{
	HeapTupleHeader header = ((HeapTupleTableSlot *) slot)->tuple->t_data;
	TransactionId xmax;

	if (header->t_infomask & HEAP_XMAX_INVALID ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	xmax = HeapTupleHeaderGetUpdateXid(header);
	return TransactionIdIsValid(xmax) && !TransactionIdDidAbort(xmax);
}

static bool
walk_next(GroupWalk *walk)
{
	while (index_getnext_slot(walk->scan, ForwardScanDirection, walk->slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(walk->slot);
		if (EB_ROW_IS_MARK(walk->slot->tts_isnull))
			continue;
		walk->first = Min(walk->first, ROW_ID(walk->slot));
		if (TransactionIdIsValid(walk->dirty.xmin))
			walk->state = arriving_is_leaving(walk->slot) ? ROW_LEAVING : ROW_ARRIVING;
		else if (TransactionIdIsValid(walk->dirty.xmax))
			walk->state = ROW_LEAVING;
		else
			walk->state = ROW_ALIVE;
		return true;
	}
	return false;
}

/* bound: an id that no row of the group has reached, if one is known. */
static void
walk_end(GroupWalk *walk, int64 bound)
{
	eb_group_floor_raise(&walk->floor, walk->table, Min(walk->first, bound));
	index_endscan(walk->scan);
	ExecDropSingleTupleTableSlot(walk->slot);
	index_close(walk->index, NoLock);
}

/* A row's group; it may have been compressed with a large row. */
Datum
eb_fifo_group(TupleTableSlot *row)
{
	slot_getallattrs(row);
	return PointerGetDatum(PG_DETOAST_DATUM_PACKED(row->tts_values[EB_DELIVERY_GROUP_ID - 1]));
}

static inline bool
row_is_parked(TupleTableSlot *slot)
{
	return !slot->tts_isnull[EB_DELIVERY_VISIBLE_AT - 1] &&
		DatumGetTimestampTz(slot->tts_values[EB_DELIVERY_VISIBLE_AT - 1]) == EB_PARKED;
}

/* ---- exposing and parking ---- */

/*
 * Let the first max_per_group messages of a group be seen.  Under the gate.
 * Returns whether one had to be left to a mark.
 */
static bool
expose(EbRowEditor *editor, Datum group_id)
{
	const EbQueue *queue = editor->queue;
	GroupWalk	walk;
	int			seen = 0;
	bool		uncommitted = false;

	walk_begin(&walk, editor->table, queue, group_id);
	while (seen < queue->max_per_group && walk_next(&walk))
	{
		if (walk.state == ROW_LEAVING)
			continue;
		if (row_is_parked(walk.slot))
		{
			if (walk.state == ROW_ARRIVING)
				uncommitted = true;
			else
			{
				TimestampTz now = eb_clock_now();
				EbRowChange change = {.visible_at = now};
				TM_FailureData why;

				/*
				 * ids may be ahead of the clock, the delay is not to grow by
				 * that
				 */
				if (queue->delay > 0)
					change.visible_at = Max(now, queue->delay +
											Min(now, eb_tick_time((EbTick) ROW_ID(walk.slot))));

				/* somebody, not one of us, has it locked: come back later */
				if (eb_row_update(editor, walk.slot, &change, &why) == TM_Ok)
					eb_notify_pending(queue, change.visible_at);
				else
					uncommitted = true;
			}
		}
		seen++;
	}
	walk_end(&walk, EB_KEY_MAX);
	return uncommitted;
}

/* A message was deleted, under the gate. */
void
eb_fifo_head_gone(EbRowEditor *editor, Datum group_id)
{
	if (expose(editor, group_id))
		eb_queue_write_mark(editor->queue, editor->table, TextDatumGetCString(group_id));
}

void
eb_fifo_deleted(Relation table, const EbQueue *queue, Datum group_id)
{
	int			gate = group_slot(group_hash(VARDATA_ANY(group_id),
											 VARSIZE_ANY_EXHDR(group_id)));
	EbRowEditor editor;

	eb_row_editor_begin(&editor, table, queue);
	lock_group(table, gate, GATE_LOCK);
	eb_fifo_head_gone(&editor, group_id);
	eb_row_editor_end(&editor);
	unlock_gate(table, gate);
}

/* ---- taking ---- */

int
eb_fifo_enter(Relation table, TupleTableSlot *row)
{
	Datum		group_id;
	int			gate;

	group_id = eb_fifo_group(row);
	gate = group_slot(group_hash(VARDATA_ANY(group_id), VARSIZE_ANY_EXHDR(group_id)));
	lock_group(table, gate, GATE_LOCK);
	return gate;
}

void
eb_fifo_leave(Relation table, int gate)
{
	unlock_gate(table, gate);
}

/* FIFO claim 2: a row may be taken only after all before it are out, and few enough. */
EbFifoVerdict
eb_fifo_look(Relation table, const EbQueue *queue, TupleTableSlot *row,
			 TimestampTz now, int already)
{
	int64		message_id = ROW_ID(row);
	EbFifoVerdict verdict = EB_FIFO_TAKE;
	int			before = 0;		/* alive, not being deleted */
	int			out = already;
	GroupWalk	walk;

	walk_begin(&walk, table, queue, eb_fifo_group(row));
	while (walk_next(&walk))
	{
		TupleTableSlot *slot = walk.slot;

		if (ROW_ID(slot) >= message_id)
			break;
		if (walk.state == ROW_ALIVE)
		{
			before++;
			if (slot->tts_isnull[EB_DELIVERY_LEASE_PID - 1] ||
				DatumGetTimestampTz(slot->tts_values[EB_DELIVERY_VISIBLE_AT - 1]) <= now)
				verdict = EB_FIFO_BUSY; /* it must go first */
		}
		out++;
		if (out >= queue->max_per_group)
			verdict = EB_FIFO_BUSY;
		if (before >= queue->max_per_group)
		{
			verdict = EB_FIFO_PARK;
			break;
		}
	}
	walk_end(&walk, message_id);
	if (out >= queue->max_per_group && verdict == EB_FIFO_TAKE)
		verdict = EB_FIFO_BUSY;
	return verdict;
}

/* A scan met a mark.  Returns whether it has done its duty and may go. */
bool
eb_fifo_resolve_mark(EbRowEditor *editor, TupleTableSlot *row)
{
	return !expose(editor, eb_fifo_group(row));
}

/*
 * max_per_group has grown: leave a mark for each group with parked messages, so
 * that the next receiver exposes more of them.  We must not do that ourselves:
 * who deletes the head would see a successor exposed, which our abort parks.
 */
void
eb_fifo_mark_groups(Relation table, const EbQueue *queue)
{
	Relation	index = index_open(queue->group_index, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus mark",
												  ALLOCSET_DEFAULT_SIZES);
	char	   *last = NULL;
	SnapshotData dirty;
	IndexScanDesc scan;

	/* what is being sent just now may have been parked by the old setting */
	InitDirtySnapshot(dirty);
	scan = EB_INDEX_BEGINSCAN(table, index, &dirty, 0);
	index_rescan(scan, NULL, 0, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old;
		char	   *group;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (EB_ROW_IS_MARK(slot->tts_isnull) || !row_is_parked(slot))
			continue;
		group = TextDatumGetCString(eb_fifo_group(slot));
		if (last && strcmp(group, last) == 0)
		{
			pfree(group);
			continue;
		}
		old = MemoryContextSwitchTo(context);
		eb_queue_write_mark(queue, table, group);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		if (last)
			pfree(last);
		last = group;
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(context);
	index_close(index, NoLock);
	CommandCounterIncrement();
}

/* ---- sending ---- */

struct EbFifoSend
{
	const EbQueue *queue;
	Relation	table;
	int			n;				/* deliveries given */
	int64	   *ids;			/* of each of them */
	uint32	   *hashes;			/* of the groups; compacted with the
								 * deliveries */
	bool		locks[GROUP_LOCKS];
};

EbFifoSend *
eb_fifo_send_lock(const EbQueue *queue, Relation table, int n, EbDelivery **deliveries)
{
	EbFifoSend *send = palloc0(sizeof(EbFifoSend));

	send->queue = queue;
	send->table = table;
	send->n = n;
	send->ids = palloc(n * sizeof(int64));
	send->hashes = palloc(n * sizeof(uint32));
	for (int i = 0; i < n; i++)
	{
		const char *group = deliveries[i]->group_id;

		send->hashes[i] = group_hash(group, strlen(group));
		send->locks[group_slot(send->hashes[i])] = true;
	}
	for (int i = 0; i < GROUP_LOCKS; i++)
	{
		if (send->locks[i])
			lock_group(table, i, ORDER_LOCK);
	}
	return send;
}

int64
eb_fifo_send_id(EbFifoSend *send, int i)
{
	return send->ids[i];
}

/* Groups of this call by name: how many messages each has alive. */
typedef struct GroupEntry
{
	uint32		hash;
	const char *group;
	int			alive;
} GroupEntry;

/* next_id: the id of the first message that is about to be sent. */
static int
count_alive(Relation table, const EbQueue *queue, const char *group, int64 next_id)
{
	GroupWalk	walk;
	int			alive = 0;

	walk_begin(&walk, table, queue, CStringGetTextDatum(group));
	while (alive < queue->max_per_group && walk_next(&walk))
	{
		if (walk.state != ROW_LEAVING)
			alive++;
	}
	walk_end(&walk, next_id);
	return alive;
}

/* Find or make a group's entry; the table is a power of two and never full. */
static GroupEntry *
group_entry(GroupEntry *entries, uint32 mask, uint32 hash, const char *group)
{
	uint32		i = hash & mask;

	while (entries[i].group &&
		   (entries[i].hash != hash || strcmp(entries[i].group, group) != 0))
		i = (i + 1) & mask;
	return &entries[i];
}

/*
 * Take the gates, and park what has enough messages before it.  The rows must
 * be written before eb_fifo_send_unlock (FIFO claim 1: look and write are one
 * to whoever deletes a message before them).
 */
void
eb_fifo_send_park(EbFifoSend *send, int n, EbDelivery **deliveries, const int64 *ids,
				  TimestampTz *visible)
{
	uint32		size = 16;
	GroupEntry *entries;

	for (int i = 0; i < GROUP_LOCKS; i++)
	{
		if (send->locks[i])
			lock_group(send->table, i, GATE_LOCK);
	}

	while (size < (uint32) n * 2)
		size *= 2;
	entries = palloc0(size * sizeof(GroupEntry));
	for (int i = 0; i < n; i++)
	{
		GroupEntry *entry = group_entry(entries, size - 1, send->hashes[i],
										deliveries[i]->group_id);

		if (!entry->group)
		{
			entry->hash = send->hashes[i];
			entry->group = deliveries[i]->group_id;
			entry->alive = count_alive(send->table, send->queue, entry->group, ids[i]);
		}
		if (entry->alive >= send->queue->max_per_group)
			visible[i] = EB_PARKED;
		else
			entry->alive++;
	}
	pfree(entries);
}

void
eb_fifo_send_unlock(EbFifoSend *send)
{
	for (int i = 0; i < GROUP_LOCKS; i++)
	{
		if (send->locks[i])
			unlock_gate(send->table, i);
	}
}

/* ---- dedup ids ---- */

/* What stands for a message among those that the queue has had; false: nothing. */
static bool
fill_dedup(const EbQueue *queue, const EbDelivery *delivery, int64 message_id,
		   EbDedup *dedup)
{
	dedup->message_id = message_id;
	dedup->dedup_id = delivery->dedup_id;
	if (delivery->dedup_id)
		return true;
	if (!queue->content_dedup || !delivery->body || delivery->moved)
		return false;
	eb_dedup_content(dedup, NULL, NULL, delivery->body);
	return true;
}

/*
 * Take duplicates out of the list; returns how many deliveries are left.  Ids
 * of all that were given can be asked for afterwards.
 */
int
eb_fifo_send_dedup(EbFifoSend *send, int n, EbDelivery **deliveries,
				   int64 *ids, TimestampTz *visible)
{
	EbDedup    *batch = palloc_extended(n * sizeof(EbDedup),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	EbOnceKeys *keys;
	int			wanted = 0;
	int			left = 0;

	memcpy(send->ids, ids, n * sizeof(int64));
	for (int i = 0; i < n; i++)
		wanted += fill_dedup(send->queue, deliveries[i], ids[i], &batch[i]);
	if (wanted == 0)
	{
		pfree(batch);
		return n;
	}

	keys = eb_once_open(eb_once_lookup(EB_ONCE_QUEUE, send->queue->name, false),
						"eb.send()");
	eb_dedup_claim(keys, batch, n);
	eb_once_close(keys);
	for (int i = 0; i < n; i++)
	{
		if (batch[i].duplicate)
		{
			send->ids[i] = batch[i].message_id;
			continue;
		}
		deliveries[left] = deliveries[i];
		ids[left] = ids[i];
		visible[left] = visible[i];
		send->hashes[left] = send->hashes[i];
		left++;
	}
	pfree(batch);
	return left;
}
