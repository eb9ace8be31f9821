/*-------------------------------------------------------------------------
 *
 * log_write.c
 *	  Append events to the log.
 *
 * A call writes to one leaf as a rule: events of one bus get one class, and
 * ids of one call lie within microseconds.  So rows go to a relation writer
 * per leaf, found by class and time with the last one tried first.
 *
 * Events must stay until the flush, which happens when EB_RELWRITER_ROWS of
 * them are buffered: a caller that puts more keeps all of them until
 * eb_log_end(), or flushes and reuses their memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "log/log.h"
#include "log/log_columns.h"
#include "relwriter.h"

/*
 * How long a look for the end of a leaf does: even at ten thousand pages a
 * second the end moves by less than half of EB_LOG_TAIL, and whoever is further
 * away from it reports himself.
 */
#define END_KNOWN_FOR	(3 * USECS_PER_SEC / 1000)

/* This backend's last look for the end of a leaf. */
static struct
{
	Oid			leaf;
	TimestampTz at;
	uint32		learned;		/* eb_log_learned() before it */
	BlockNumber end;
}			last_look;

typedef struct LeafWriter
{
	int16		class;
	TimestampTz from;			/* span of instants known to fall into it */
	TimestampTz to;
	Oid			relid;
	EbRelWriter *writer;
	Oid			asked_index;	/* index last asked for, and its kind */
	bool		asked_brin;
	int			columns[EVENT_COLUMNS];
	struct LeafWriter *next;
} LeafWriter;

/* Pointers to fill in at the flush. */
typedef struct PendingPointer
{
	LeafWriter *leaf;
	int			row;
	EbEventPointer *pointer;
} PendingPointer;

struct EbLogWriter
{
	LeafWriter *leaves;
	int			nbuffered;
	EbTick		last;			/* highest id buffered */
	int			npending;
	PendingPointer pending[EB_RELWRITER_ROWS];
};

EbLogWriter *
eb_log_begin(void)
{
	EbLogWriter *writer = palloc(sizeof(EbLogWriter));

	LockRelationOid(eb_table_oid(EB_EVENTS, false), RowExclusiveLock);

	/*
	 * Announced first, so whoever announces himself after a change of rules
	 * was committed also looks for it after that.  The lock accepts
	 * invalidations, but not a second time in one transaction.
	 */
	eb_log_announce();
	AcceptInvalidationMessages();
	writer->leaves = NULL;
	writer->nbuffered = 0;
	writer->npending = 0;
	writer->last = 0;
	return writer;
}

static bool
is_brin(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool		brin;

	if (!HeapTupleIsValid(tuple))
		return false;
	brin = ((Form_pg_class) GETSTRUCT(tuple))->relam == BRIN_AM_OID;
	ReleaseSysCache(tuple);
	return brin;
}

/*
 * Index entries of a flush.  BRIN keeps the extremes of a range of blocks, and
 * ids ascend within a flush, so a block's first and last row say it all.
 */
static EbIndexAction
leaf_index_wanted(EbRelWriter *writer, Oid index, int row, void *arg)
{
	LeafWriter *leaf = arg;
	int			last = eb_relwriter_count(writer) - 1;
	ItemPointer tid = eb_relwriter_tid(writer, row);
	BlockNumber block;

	if (leaf->asked_index != index)
	{
		leaf->asked_index = index;
		leaf->asked_brin = is_brin(index);
		if (leaf->asked_brin)
			LockRelationOid(index, RowExclusiveLock);
	}
	if (!leaf->asked_brin || !ItemPointerIsValid(tid))
		return EB_INDEX_INSERT;
	block = ItemPointerGetBlockNumber(tid);
	if (row != 0 && row != last &&
		ItemPointerGetBlockNumber(eb_relwriter_tid(writer, row - 1)) == block &&
		ItemPointerGetBlockNumber(eb_relwriter_tid(writer, row + 1)) == block)
		return EB_INDEX_SKIP;
	return eb_log_range_summarized(index, block) ? EB_INDEX_INSERT : EB_INDEX_SKIP;
}

static LeafWriter *
find_leaf(EbLogWriter *writer, int16 class, TimestampTz at)
{
	LeafWriter *leaf;
	Oid			relid;
	MemoryContext old;

	for (leaf = writer->leaves; leaf; leaf = leaf->next)
	{
		if (leaf->class == class && at >= leaf->from && at <= leaf->to)
			return leaf;
	}

	relid = eb_log_leaf(class, at);
	if (!OidIsValid(relid))
		relid = eb_partition_request(class, at);
	for (leaf = writer->leaves; leaf; leaf = leaf->next)
	{
		if (leaf->relid == relid)
		{
			leaf->from = Min(leaf->from, at);
			leaf->to = Max(leaf->to, at);
			return leaf;
		}
	}

	/* it outlives the events, whose memory may be the current context's */
	old = MemoryContextSwitchTo(GetMemoryChunkContext(writer));
	leaf = palloc(sizeof(LeafWriter));
	leaf->class = class;
	leaf->from = leaf->to = at;
	leaf->relid = relid;
	leaf->asked_index = InvalidOid;
	leaf->writer = eb_relwriter_open(relid, leaf_index_wanted, leaf);
	eb_relwriter_append_only(leaf->writer);
	eb_log_columns(RelationGetDescr(eb_relwriter_relation(leaf->writer)),
				   leaf->columns);
	leaf->next = writer->leaves;
	writer->leaves = leaf;
	MemoryContextSwitchTo(old);
	return leaf;
}

static inline void
put_text(TupleTableSlot *slot, int column, const char *value)
{
	slot->tts_isnull[column] = value == NULL;
	if (value)
		slot->tts_values[column] = CStringGetTextDatum(value);
}

static inline void
put_value(TupleTableSlot *slot, int column, Datum value)
{
	slot->tts_isnull[column] = false;
	slot->tts_values[column] = value;
}

void
eb_log_append(EbLogWriter *writer, const EbEvent *event, EbEventPointer *pointer)
{
	EbTick		tick = eb_uuid_tick(&event->id);
	TimestampTz at = eb_tick_time(tick);
	LeafWriter *leaf;
	TupleTableSlot *slot;
	const int  *c;

	if (writer->nbuffered == EB_RELWRITER_ROWS)
		eb_log_flush(writer);
	leaf = find_leaf(writer, event->class, at);
	c = leaf->columns;
	slot = eb_relwriter_next(leaf->writer);
	writer->last = Max(writer->last, tick);

	if (slot->tts_tupleDescriptor->natts != EVENT_COLUMNS)
		memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
	put_value(slot, c[EVENT_ID], UUIDPGetDatum(&event->id));
	put_value(slot, c[EVENT_INGESTED_AT], TimestampTzGetDatum(at));
	put_value(slot, c[EVENT_TIME], TimestampTzGetDatum(event->time));
	put_value(slot, c[EVENT_RULESET_VERSION], Int64GetDatum(event->ruleset_version));
	put_value(slot, c[EVENT_BUS_ID], Int32GetDatum(event->bus_id));
	put_value(slot, c[EVENT_RETENTION], Int16GetDatum(event->class));
	put_value(slot, c[EVENT_HOPS], Int16GetDatum(event->hops));
	put_text(slot, c[EVENT_SOURCE], event->source);
	put_text(slot, c[EVENT_DETAIL_TYPE], event->detail_type);
	put_text(slot, c[EVENT_GROUP_KEY], event->group_key);
	put_text(slot, c[EVENT_CORRELATION_ID], event->correlation_id);
	put_text(slot, c[EVENT_CAUSATION_ID], event->causation_id);
	put_text(slot, c[EVENT_TRACEPARENT], event->traceparent);
	put_text(slot, c[EVENT_REPLAY], event->replay);
	put_value(slot, c[EVENT_DETAIL], JsonbPGetDatum(event->detail));
	slot->tts_isnull[c[EVENT_RESOURCES]] = event->resources == (Datum) 0;
	slot->tts_values[c[EVENT_RESOURCES]] = event->resources;
	slot->tts_isnull[c[EVENT_HEADERS]] = event->headers == NULL;
	slot->tts_values[c[EVENT_HEADERS]] = JsonbPGetDatum(event->headers);

	if (pointer)
	{
		PendingPointer *pending = &writer->pending[writer->npending++];

		pointer->id = event->id;
		pointer->class = event->class;
		ItemPointerSetInvalid(&pointer->tid);
		pending->leaf = leaf;
		pending->row = eb_relwriter_count(leaf->writer) - 1;
		pending->pointer = pointer;
	}
	writer->nbuffered++;
}

/*
 * Leave the page that this backend wrote last if the end of the leaf has moved
 * on too far since.  While it has not, each backend fills a page of its own:
 * all on the last page would fault in and lock every page of the leaf in every
 * backend (a fifth of a put's cost with 16 clients).
 *
 * Between two statements a look holds for a while; the time of one stands
 * still while it runs.
 */
static void
keep_to_end(EbRelWriter *writer)
{
	Relation	rel = eb_relwriter_relation(writer);
	BlockNumber target = RelationGetTargetBlock(rel);
	TimestampTz now = GetCurrentStatementStartTimestamp();

	if (target == InvalidBlockNumber ||
		(last_look.leaf == RelationGetRelid(rel) &&
		 now > last_look.at && now - last_look.at < END_KNOWN_FOR))
		return;
	last_look.leaf = RelationGetRelid(rel);
	last_look.at = now;
	last_look.learned = eb_log_learned();
	pg_memory_barrier();
	last_look.end = RelationGetNumberOfBlocks(rel);
	if (last_look.end > target + EB_LOG_TAIL / 2)
		RelationSetTargetBlock(rel, InvalidBlockNumber);
}

/*
 * Did the flush begin too far from the end of the leaf?  See log_scan.c.
 *
 * Nobody had learned the range of a block that was no further than the tail
 * from the end when we looked for that.  If nobody has learned any range since,
 * we are not late: who counts after we read the count here finds the rows in
 * their pages.  That saves a put the system call.
 */
static bool
is_late(EbRelWriter *writer)
{
	Relation	rel = eb_relwriter_relation(writer);
	BlockNumber block = ItemPointerGetBlockNumber(eb_relwriter_tid(writer, 0));
	BlockNumber end;

	pg_memory_barrier();
	if (last_look.leaf == RelationGetRelid(rel) && block + EB_LOG_TAIL >= last_look.end &&
		last_look.learned == eb_log_learned())
		return false;
	end = RelationGetNumberOfBlocks(rel);
	return end > EB_LOG_TAIL && block < end - EB_LOG_TAIL;
}

/* Did the flush write the first row of a range of blocks?  The last such block. */
static BlockNumber
range_begun(EbRelWriter *writer, int rows)
{
	for (int i = rows - 1; i >= 0; i--)
	{
		ItemPointer tid = eb_relwriter_tid(writer, i);

		if (ItemPointerGetOffsetNumber(tid) == FirstOffsetNumber &&
			ItemPointerGetBlockNumber(tid) % EB_LOG_RANGE == 0)
			return ItemPointerGetBlockNumber(tid);
	}
	return InvalidBlockNumber;
}

void
eb_log_flush(EbLogWriter *writer)
{
	if (writer->nbuffered > 0)
		eb_log_mark_ids(writer->last);
	for (LeafWriter *leaf = writer->leaves; leaf; leaf = leaf->next)
	{
		BlockNumber block;
		int			rows;

		if (eb_relwriter_count(leaf->writer) == 0)
			continue;
		keep_to_end(leaf->writer);
		rows = eb_relwriter_flush(leaf->writer);
		if (is_late(leaf->writer))
			eb_log_report_late_row();
		block = range_begun(leaf->writer, rows);
		if (BlockNumberIsValid(block))
			eb_log_range_begun(leaf->relid, block);
	}

	/* the slots keep the TIDs until they are used again */
	for (int i = 0; i < writer->npending; i++)
	{
		PendingPointer *pending = &writer->pending[i];

		pending->pointer->tid = *eb_relwriter_tid(pending->leaf->writer,
												  pending->row);
	}
	writer->nbuffered = 0;
	writer->npending = 0;
}

void
eb_log_end(EbLogWriter *writer)
{
	eb_log_flush(writer);
	for (LeafWriter *leaf = writer->leaves; leaf; leaf = leaf->next)
		eb_relwriter_close(leaf->writer);
	pfree(writer);
}
