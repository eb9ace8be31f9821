/*-------------------------------------------------------------------------
 *
 * log_scan.c
 *	  Read the log in id order, from a position up to the horizon.
 *
 * A btree on the id of open leaves would cost a put a third of its CPU.  It
 * is not needed: ids ascend with the time of insertion, and log_write.c puts
 * rows at the end of the leaf only, so a leaf is nearly in order as it lies.
 * What is left is to be exact about "nearly":
 *
 * 1. The leaf is cut into ranges of EB_LOG_RANGE blocks.  The least and the
 *    greatest id of a range come from the leaf's BRIN index, or from a look
 *    at the range where it has no summary yet, and are kept in this backend
 *    (the directory).  A range takes part in a scan if it overlaps it; it is
 *    read once, its rows are sorted with what was read before, and a row is
 *    handed out once its id is below the least id of all ranges not yet read.
 * 2. Ranges are learned only when EB_LOG_TAIL blocks lie behind them; the
 *    blocks after that, the tail, are looked at, or read, in every scan.
 * 3. Rows that come into a learned range afterwards have ids at or above the
 *    horizon of the time of learning: all rows below it were there already,
 *    since their transactions had ended.  So old directories never hide an
 *    old row.  To not hide new ones, a writer whose row went further than the
 *    tail from the end of the leaf counts that in shared memory before its
 *    transaction ends (eb_log_late_rows), and a directory learned under
 *    another count is thrown away.  It happens when a writer is put to sleep
 *    between choosing a page and writing it.
 *
 * Without shared memory nobody counts, so directories last for one scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/brin.h"
#include "access/brin_internal.h"
#include "access/brin_revmap.h"
#include "access/brin_tuple.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "log/log.h"
#include "log/log_columns.h"
#include "shmem.h"

#define NO_TICK		PG_UINT64_MAX
#define MAX_DIRECTORIES	64

/* Least and greatest id of some blocks; min = NO_TICK: no rows. */
typedef struct Span
{
	EbTick		min;
	EbTick		max;
} Span;

typedef struct Range
{
	Span		span;
	EbTick		least_from;		/* least id of this range and all after it */
	EbTick		greatest_upto;	/* greatest id of this range and all before it */
} Range;

typedef struct Directory
{
	Oid			relid;			/* hash key */
	RelFileLocator locator;		/* as learned: a rewrite moves the rows */
	uint32		late_rows;
	BlockNumber nranges;
	BlockNumber room;
	Range	   *ranges;
} Directory;

static HTAB *directories = NULL;
static MemoryContext directories_context = NULL;

/* A row that was read and not yet handed out. */
typedef struct Entry
{
	EbTick		tick;
	BlockNumber block;
	OffsetNumber offset;
} Entry;

/* The rows of one leaf. */
typedef struct Stream
{
	EbLogLeaf	leaf;
	Relation	rel;			/* NULL: not opened yet */
	bool		gone;			/* the leaf was dropped */
	bool		expiring;
	int			columns[EVENT_COLUMNS];
	Directory  *directory;
	BlockNumber nblocks;
	BlockNumber next_range;		/* first range not read */
	bool		tail_read;
	EbTick		tail_least;
	Entry	   *entries;		/* sorted from next to n */
	int			next;
	int			n;
	int			room;
} Stream;

struct EbLogScan
{
	EbTick		after;			/* ids wanted: after < id < before */
	EbTick		before;
	Snapshot	snapshot;
	int			nstreams;
	Stream	   *streams;		/* by start of their leaves */
	Buffer		buffer;			/* page of the row handed out last */
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *isnull;
	int			natts;
	MemoryContext context;
};

static inline EbTick
item_tick(Page page, ItemId item, Stream *stream)
{
	HeapTupleHeader header = (HeapTupleHeader) PageGetItem(page, item);
	pg_uuid_t	id;

	if (likely(stream->columns[EVENT_ID] == 0))
		memcpy(&id, (char *) header + header->t_hoff, sizeof(id));
	else
	{
		HeapTupleData tuple;
		bool		isnull;

		tuple.t_data = header;
		tuple.t_len = ItemIdGetLength(item);
		id = *DatumGetUUIDP(heap_getattr(&tuple, stream->columns[EVENT_ID] + 1,
										 RelationGetDescr(stream->rel), &isnull));
	}
	return eb_uuid_tick(&id);
}

static inline void
span_add(Span *span, EbTick tick)
{
	span->min = Min(span->min, tick);
	span->max = Max(span->max, tick);
}

/* Look at all rows of some blocks, whatever their state. */
static Span
look_at_blocks(Stream *stream, BlockNumber from, BlockNumber to)
{
	Span		span = {NO_TICK, 0};

	for (BlockNumber block = from; block < to; block++)
	{
		Buffer		buffer = ReadBuffer(stream->rel, block);
		Page		page = BufferGetPage(buffer);
		OffsetNumber max;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		max = PageGetMaxOffsetNumber(page);
		for (OffsetNumber i = FirstOffsetNumber; i <= max; i++)
		{
			ItemId		item = PageGetItemId(page, i);

			if (ItemIdIsNormal(item))
				span_add(&span, item_tick(page, item, stream));
		}
		UnlockReleaseBuffer(buffer);
	}
	return span;
}

/* ---- directories ---- */

/* What BRIN knows of a range; false if it has no summary. */
static bool
summary(BrinRevmap *revmap, BrinDesc *desc, BlockNumber block, Snapshot snapshot,
		BrinMemTuple **memtuple, Span *span)
{
	Buffer		buffer = InvalidBuffer;
	OffsetNumber offset;
	Size		size;
	BrinTuple  *tuple;
	BrinTuple  *copy;
	bool		summarized = false;

	tuple = EB_BRIN_GET_TUPLE(revmap, block, &buffer, &offset, &size, snapshot);
	if (tuple)
	{
		copy = brin_copy_tuple(tuple, size, NULL, NULL);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		*memtuple = brin_deform_tuple(desc, copy, *memtuple);
		summarized = !(*memtuple)->bt_placeholder;
		span->min = NO_TICK;
		span->max = 0;
		if (summarized && !(*memtuple)->bt_columns[0].bv_allnulls)
		{
			Datum	   *values = (*memtuple)->bt_columns[0].bv_values;

			span->min = eb_uuid_tick(DatumGetUUIDP(values[0]));
			span->max = eb_uuid_tick(DatumGetUUIDP(values[1]));
		}
		brin_free_tuple(copy);
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return summarized;
}

static void
directory_add(Directory *directory, Span span)
{
	BlockNumber i = directory->nranges;
	Range	   *range;

	if (i == directory->room)
	{
		directory->room = Max(64, directory->room * 2);
		directory->ranges = directory->ranges ?
			repalloc_huge(directory->ranges, directory->room * sizeof(Range)) :
			MemoryContextAlloc(directories_context, directory->room * sizeof(Range));
	}
	range = &directory->ranges[i];
	range->span = span;
	range->least_from = span.min;
	range->greatest_upto = i > 0 ? Max(range[-1].greatest_upto, span.max) : span.max;
	directory->nranges++;

	/* never falls with i, so the first that is low enough ends it */
	while (i > 0 && directory->ranges[i - 1].least_from > span.min)
		directory->ranges[--i].least_from = span.min;
}

/* Learn the ranges that have come to lie before the tail. */
static void
directory_extend(Stream *stream, Snapshot snapshot)
{
	Directory  *directory = stream->directory;
	BlockNumber complete = stream->nblocks > EB_LOG_TAIL ?
		(stream->nblocks - EB_LOG_TAIL) / EB_LOG_RANGE : 0;
	Relation	index = NULL;
	BrinRevmap *revmap = NULL;
	BrinDesc   *desc = NULL;
	BrinMemTuple *memtuple = NULL;

	if (directory->nranges >= complete)
		return;
	eb_log_count_learned();		/* before the first look (log_write.c) */
	if (complete - directory->nranges > 1)
		index = eb_log_open_brin(stream->rel);
	if (index)
	{
		revmap = EB_BRIN_REVMAP(index, snapshot);
		desc = brin_build_desc(index);
		memtuple = brin_new_memtuple(desc);
	}
	while (directory->nranges < complete)
	{
		BlockNumber block = directory->nranges * EB_LOG_RANGE;
		Span		span;

		CHECK_FOR_INTERRUPTS();
		if (!index || !summary(revmap, desc, block, snapshot, &memtuple, &span))
			span = look_at_blocks(stream, block, block + EB_LOG_RANGE);
		directory_add(directory, span);
	}
	if (index)
	{
		brin_free_desc(desc);
		brinRevmapTerminate(revmap);
		index_close(index, AccessShareLock);
	}
}

static Directory *
find_directory(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	uint32		late_rows = eb_log_late_rows();
	RelFileLocator locator = EB_RELATION_LOCATOR(rel);
	Directory  *directory;
	bool		found;

	if (directories && hash_get_num_entries(directories) >= MAX_DIRECTORIES)
	{
		hash_destroy(directories);
		directories = NULL;
		MemoryContextDelete(directories_context);
	}
	if (!directories)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Directory)};

		directories_context = AllocSetContextCreate(CacheMemoryContext,
													"pg_eventbus directories of log partitions",
													ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = directories_context;
		directories = hash_create("pg_eventbus directories", MAX_DIRECTORIES, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	directory = hash_search(directories, &relid, HASH_ENTER, &found);
	if (!found)
	{
		directory->ranges = NULL;
		directory->room = 0;
		directory->nranges = 0;
	}
	else if (directory->late_rows != late_rows ||
			 !eb_shmem_section(EB_SHMEM_HORIZON) ||
			 memcmp(&directory->locator, &locator, sizeof(locator)) != 0)
		directory->nranges = 0;
	directory->late_rows = late_rows;
	directory->locator = locator;
	return directory;
}

/* ---- streams ---- */

static void
stream_add(Stream *stream, EbTick tick, BlockNumber block, OffsetNumber offset)
{
	Entry	   *entry;

	if (stream->n == stream->room)
	{
		stream->room = Max(1024, stream->room * 2);
		stream->entries = stream->entries ?
			repalloc_huge(stream->entries, stream->room * sizeof(Entry)) :
			palloc(stream->room * sizeof(Entry));
	}
	entry = &stream->entries[stream->n++];
	entry->tick = tick;
	entry->block = block;
	entry->offset = offset;
}

/* Read the visible rows of some blocks that the scan wants. */
static void
read_blocks(EbLogScan *scan, Stream *stream, BlockNumber from, BlockNumber to)
{
	for (BlockNumber block = from; block < to; block++)
	{
		Buffer		buffer = ReadBuffer(stream->rel, block);
		Page		page = BufferGetPage(buffer);
		OffsetNumber max;
		bool		all_visible;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		max = PageGetMaxOffsetNumber(page);
		all_visible = PageIsAllVisible(page) && !scan->snapshot->takenDuringRecovery;
		for (OffsetNumber i = FirstOffsetNumber; i <= max; i++)
		{
			ItemId		item = PageGetItemId(page, i);
			EbTick		tick;

			if (!ItemIdIsNormal(item))
				continue;
			tick = item_tick(page, item, stream);
			if (tick <= scan->after || tick >= scan->before)
				continue;
			if (!all_visible)
			{
				HeapTupleData tuple;

				tuple.t_tableOid = stream->leaf.relid;
				tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
				tuple.t_len = ItemIdGetLength(item);
				ItemPointerSet(&tuple.t_self, block, i);
				if (!HeapTupleSatisfiesVisibility(&tuple, scan->snapshot, buffer))
					continue;
			}
			stream_add(stream, tick, block, i);
		}
		UnlockReleaseBuffer(buffer);
	}
}

static int
compare_entries(const void *a, const void *b)
{
	EbTick		x = ((const Entry *) a)->tick;
	EbTick		y = ((const Entry *) b)->tick;

	return x < y ? -1 : x > y;
}

/* First range that is not wholly at or before the position. */
static BlockNumber
first_range(Directory *directory, EbTick after)
{
	BlockNumber low = 0;
	BlockNumber high = directory->nranges;

	while (low < high)
	{
		BlockNumber mid = low + (high - low) / 2;

		if (directory->ranges[mid].greatest_upto <= after)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void
stream_open(EbLogScan *scan, Stream *stream)
{
	BlockNumber tail;

	stream->rel = try_table_open(stream->leaf.relid, AccessShareLock);
	if (!stream->rel)
	{
		stream->gone = true;
		return;
	}
	eb_log_columns(RelationGetDescr(stream->rel), stream->columns);
	stream->expiring = eb_log_expiring(stream->leaf.class, stream->leaf.to);

	/* the count before the size: rows that come later are after the horizon */
	stream->directory = find_directory(stream->rel);
	stream->nblocks = RelationGetNumberOfBlocks(stream->rel);
	directory_extend(stream, scan->snapshot);
	stream->next_range = first_range(stream->directory, scan->after);
	tail = stream->directory->nranges * EB_LOG_RANGE;

	/* no range before it is wanted: it will be read, so need not be looked at */
	if (stream->next_range < stream->directory->nranges)
		stream->tail_least = look_at_blocks(stream, tail, stream->nblocks).min;
	else
		stream->tail_least = 0;
}

/* Below it no row is left that was not read. */
static EbTick
stream_bound(Stream *stream)
{
	EbTick		bound = stream->tail_read ? NO_TICK : stream->tail_least;

	if (stream->next_range < stream->directory->nranges)
		bound = Min(bound, stream->directory->ranges[stream->next_range].least_from);
	return bound;
}

/* Make the next row the stream's first entry, reading as far as that takes. */
static bool
stream_fill(EbLogScan *scan, Stream *stream)
{
	Directory  *directory = stream->directory;

	for (;;)
	{
		EbTick		bound = stream_bound(stream);
		BlockNumber tail = directory->nranges * EB_LOG_RANGE;

		if (stream->next < stream->n && stream->entries[stream->next].tick < bound)
			return true;
		if (bound == NO_TICK || bound >= scan->before)
			return stream->next < stream->n;

		/* drop what was handed out, read on, and sort */
		if (stream->next > 0)
		{
			stream->n -= stream->next;
			memmove(stream->entries, stream->entries + stream->next,
					stream->n * sizeof(Entry));
			stream->next = 0;
		}
		if (stream->next_range < directory->nranges)
		{
			Span	   *span = &directory->ranges[stream->next_range].span;

			if (span->max > scan->after && span->min < scan->before)
				read_blocks(scan, stream, stream->next_range * EB_LOG_RANGE,
							(stream->next_range + 1) * EB_LOG_RANGE);
			stream->next_range++;
		}
		else
		{
			read_blocks(scan, stream, tail, stream->nblocks);
			stream->tail_read = true;
		}
		qsort(stream->entries, stream->n, sizeof(Entry), compare_entries);
	}
}

EbLogScan *
eb_log_scan_begin(EbTick after, EbTick before, Snapshot snapshot)
{
	EbLogScan  *scan = palloc0(sizeof(EbLogScan));
	EbLogLeaf  *leaves;
	int			n = eb_log_leaves(&leaves);

	scan->after = after;
	scan->before = before;
	scan->snapshot = snapshot;
	scan->context = CurrentMemoryContext;
	scan->streams = palloc0(Max(n, 1) * sizeof(Stream));
	for (int i = 0; i < n; i++)
	{
		if (leaves[i].to <= eb_tick_time(after) ||
			leaves[i].from > eb_tick_time(before))
			continue;
		scan->streams[scan->nstreams++].leaf = leaves[i];
	}
	pfree(leaves);
	return scan;
}

/* The stream with the least next id; opens leaves as the scan gets to them. */
static Stream *
least_stream(EbLogScan *scan)
{
	Stream	   *least = NULL;

	for (int i = 0; i < scan->nstreams; i++)
	{
		Stream	   *stream = &scan->streams[i];

		if (stream->gone)
			continue;
		if (!stream->rel)
		{
			/* all of its ids are at or after its start */
			if (least && !TIMESTAMP_NOT_FINITE(stream->leaf.from) &&
				stream->leaf.from > eb_tick_time(least->entries[least->next].tick))
				continue;
			stream_open(scan, stream);
			if (stream->gone)
				continue;
		}
		if (!stream_fill(scan, stream))
			continue;
		if (!least || stream->entries[stream->next].tick <
			least->entries[least->next].tick)
			least = stream;
	}
	return least;
}

bool
eb_log_scan_next(EbLogScan *scan, EbLogRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	Stream	   *stream = least_stream(scan);
	TupleDesc	desc;
	Entry	   *entry;
	Page		page;
	ItemId		item;

	MemoryContextSwitchTo(old);
	if (!stream)
		return false;
	entry = &stream->entries[stream->next++];
	desc = RelationGetDescr(stream->rel);
	if (scan->natts < desc->natts)
	{
		scan->natts = desc->natts;
		scan->values = MemoryContextAlloc(scan->context, desc->natts * sizeof(Datum));
		scan->isnull = MemoryContextAlloc(scan->context, desc->natts * sizeof(bool));
	}

	/* the pin keeps the row in place; a visible row's data never changes */
	scan->buffer = ReleaseAndReadBuffer(scan->buffer, stream->rel, entry->block);
	page = BufferGetPage(scan->buffer);
	item = PageGetItemId(page, entry->offset);
	scan->tuple.t_tableOid = stream->leaf.relid;
	scan->tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
	scan->tuple.t_len = ItemIdGetLength(item);
	ItemPointerSet(&scan->tuple.t_self, entry->block, entry->offset);
	heap_deform_tuple(&scan->tuple, desc, scan->values, scan->isnull);

	row->tick = entry->tick;
	row->class = stream->leaf.class;
	row->leaf = stream->leaf.relid;
	row->expiring = stream->expiring;
	row->tid = scan->tuple.t_self;
	row->values = scan->values;
	row->isnull = scan->isnull;
	row->columns = stream->columns;
	return true;
}

/*
 * Small ranges are counted.  Of larger ones the ranges of blocks that they
 * overlap are, with the density of a few of them.
 */
#define ESTIMATE_COUNT	10000
#define ESTIMATE_SAMPLE	16

static double
rows_per_block(Stream *stream)
{
	BlockNumber n = Min(stream->nblocks, ESTIMATE_SAMPLE);
	int64		rows = 0;

	for (BlockNumber i = 0; i < n; i++)
	{
		Buffer		buffer = ReadBuffer(stream->rel, (BlockNumber)
										((uint64) stream->nblocks * i / n));

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		rows += PageGetMaxOffsetNumber(BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
	}
	return n > 0 ? (double) rows / n : 0;
}

int64
eb_log_estimate(EbTick after, EbTick before)
{
	Snapshot	snapshot;
	EbLogScan  *scan;
	EbLogRow	row;
	double		estimate = 0;
	int64		counted = 0;

	if (!OidIsValid(eb_table_oid(EB_EVENTS, true)))
		return 0;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = eb_log_scan_begin(after, before, snapshot);
	while (counted < ESTIMATE_COUNT && eb_log_scan_next(scan, &row))
		counted++;
	for (int i = 0; counted == ESTIMATE_COUNT && i < scan->nstreams; i++)
	{
		Stream	   *stream = &scan->streams[i];
		BlockNumber blocks;

		if (!stream->rel && !stream->gone)
			stream_open(scan, stream);
		if (stream->gone)
			continue;
		blocks = stream->nblocks - stream->directory->nranges * EB_LOG_RANGE;
		for (BlockNumber k = 0; k < stream->directory->nranges; k++)
		{
			Span	   *span = &stream->directory->ranges[k].span;

			if (span->max > after && span->min < before)
				blocks += EB_LOG_RANGE;
		}
		estimate += blocks * rows_per_block(stream);
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return counted < ESTIMATE_COUNT ? counted : (int64) estimate;
}

void
eb_log_scan_end(EbLogScan *scan)
{
	if (BufferIsValid(scan->buffer))
		ReleaseBuffer(scan->buffer);
	for (int i = 0; i < scan->nstreams; i++)
	{
		Stream	   *stream = &scan->streams[i];

		if (stream->entries)
			pfree(stream->entries);
		if (stream->rel)
			table_close(stream->rel, NoLock);
	}
	pfree(scan->streams);
	pfree(scan);
}
