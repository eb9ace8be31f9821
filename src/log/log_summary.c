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
 * would have to keep their summary up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/brin.h"
#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

#include "catalog.h"
#include "log/log.h"
#include "worker/worker.h"

/* Ranges that a put summarizes at most; what was missed before is left to vacuum. */
#define MOST_BY_PUT	4

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
