/*-------------------------------------------------------------------------
 *
 * log_summary.c
 *	  BRIN summaries of the log, made while it grows.
 *
 * BRIN does not summarize a range by itself before the next vacuum, and until
 * then whoever looks for ids has to look at all of its rows: half a hundred
 * milliseconds per million small events, for the first read of a connection,
 * the start of a replay, a look-up by id.  So the put that begins a range asks
 * for the summary of the one that has just come to lie before the tail, where
 * nobody writes any more (log_scan.c).  The maintainer makes it; without
 * workers the put does, which is a third of a millisecond once in 64 blocks.
 *
 * Ranges that are still written to are left alone: once summarized, each put
 * would have to keep their summary up.  While a range has none there is nothing
 * for an insertion to do, but brininsert() opens its index, reads the metapage
 * and makes a revmap to learn that; eb_log_range_summarized() goes to the same
 * place by itself, which saves a put one part in a hundred.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/brin.h"
#include "access/brin_page.h"
#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "catalog.h"
#include "compat.h"
#include "log/log.h"
#include "worker/worker.h"

/* Ranges that a put summarizes at most; what was missed before is left to vacuum. */
#define MOST_BY_PUT	4

/* Where the range map lies of the index that this backend wrote to last. */
typedef struct RevmapPlace
{
	Oid			index;
	RelFileLocator locator;
	BlockNumber pages_per_range;
	BlockNumber block;			/* of the map's page looked at last */
	Buffer		buffer;			/* where that was then */
} RevmapPlace;

static RevmapPlace revmap_place = {.index = InvalidOid};

Relation
eb_log_open_brin(Relation leaf)
{
	List	   *indexes = RelationGetIndexList(leaf);
	ListCell   *lc;
	Relation	found = NULL;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (!found && index->rd_rel->relam == BRIN_AM_OID &&
			index->rd_index->indisvalid && index->rd_index->indnatts == 1 &&
			BrinGetPagesPerRange(index) == EB_LOG_RANGE)
			found = index;
		else
			index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* Returns whether there was something to do. */
static bool
summarize_range(Oid index, BlockNumber block)
{
	int			n;

	/* one that is interrupted half-way is never made again */
	HOLD_INTERRUPTS();
	n = DatumGetInt32(DirectFunctionCall2(brin_summarize_range,
										  ObjectIdGetDatum(index),
										  Int64GetDatum((int64) block)));
	RESUME_INTERRUPTS();
	return n > 0;
}

void
eb_log_summarize(Oid leaf, BlockNumber block, int most)
{
	BlockNumber range = block / EB_LOG_RANGE;
	EbOwnerContext owner;
	Relation	rel;
	Relation	index;

	if (range < 1 + EB_LOG_TAIL / EB_LOG_RANGE)
		return;
	range -= 1 + EB_LOG_TAIL / EB_LOG_RANGE;

	/* vacuum does the same; a leaf being made or dropped can do without */
	if (!ConditionalLockRelationOid(leaf, ShareUpdateExclusiveLock))
		return;
	rel = try_table_open(leaf, NoLock);
	index = rel ? eb_log_open_brin(rel) : NULL;
	if (index)
	{
		eb_owner_begin(&owner);
		while (most-- > 0 && summarize_range(RelationGetRelid(index), range * EB_LOG_RANGE) &&
			   range-- > 0)
			CHECK_FOR_INTERRUPTS();
		eb_owner_end(&owner);
		index_close(index, AccessShareLock);
	}
	if (rel)
		table_close(rel, NoLock);

	/* in a put's transaction it would keep vacuum away for long */
	UnlockRelationOid(leaf, ShareUpdateExclusiveLock);
}

void
eb_log_range_begun(Oid leaf, BlockNumber block)
{
	if (!eb_maintainer_summarize(leaf, block))
		eb_log_summarize(leaf, block, MOST_BY_PUT);
}

static void
forget_revmap(Datum arg, Oid relid)
{
	if (relid == revmap_place.index || relid == InvalidOid)
		revmap_place.index = InvalidOid;
}

/* The page of the range map that has the place of a block's range. */
static inline BlockNumber
revmap_block(BlockNumber heap_block, BlockNumber pages_per_range)
{
	return 1 + heap_block / pages_per_range / REVMAP_PAGE_MAXITEMS;
}

/* Learn where that is, and pin it; the place stays unknown if it is not there. */
static void
find_revmap(RevmapPlace *place, Oid index, BlockNumber heap_block)
{
	static bool registered = false;
	Relation	rel = index_open(index, NoLock);
	BrinStatsData stats;

	if (!registered)
		CacheRegisterRelcacheCallback(forget_revmap, (Datum) 0);
	registered = true;
	place->index = InvalidOid;
	if (rel->rd_index->indisready)
	{
		/* what it was made with: the option may have been changed since */
		brinGetStats(rel, &stats);
		place->locator = EB_RELATION_LOCATOR(rel);
		place->pages_per_range = stats.pagesPerRange;
		place->block = revmap_block(heap_block, stats.pagesPerRange);
		if (place->block < RelationGetNumberOfBlocks(rel))
		{
			place->buffer = ReadBuffer(rel, place->block);
			place->index = index;
		}
	}
	index_close(rel, NoLock);
}

bool
eb_log_range_summarized(Oid index, BlockNumber block)
{
	RevmapPlace *place = &revmap_place;
	bool		summarized = true;
	Page		page;

	if (place->index != index ||
		place->block != revmap_block(block, place->pages_per_range) ||
		!ReadRecentBuffer(place->locator, MAIN_FORKNUM, place->block, place->buffer))
	{
		find_revmap(place, index, block);
		if (place->index != index)
			return true;
	}
	LockBuffer(place->buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(place->buffer);

	/* the map may not have come that far: another page is there until it does */
	if (!PageIsNew(page) && BRIN_IS_REVMAP_PAGE(page))
	{
		RevmapContents *map = (RevmapContents *) PageGetContents(page);

		summarized = ItemPointerIsValid(&map->rm_tids[block / place->pages_per_range %
													  REVMAP_PAGE_MAXITEMS]);
	}
	UnlockReleaseBuffer(place->buffer);
	return summarized;
}
