/*-------------------------------------------------------------------------
 *
 * log_read.c
 *	  Fetch events by pointer.
 *
 * A pointer's TID is taken only if its block lies within the leaf and the row
 * found there has the right id: VACUUM FULL, CLUSTER or a restore may have
 * moved the rows.  Rows are fetched under SnapshotSelf: a delivery that a
 * consumer can see was written with its event in one subtransaction, so the
 * event is committed or his own, but it may be newer than his snapshot.
 * They are fetched as an index scan would, which keeps the last page pinned:
 * a queue's events mostly come from the page of the one before.
 *
 * What was not at its TID is looked for by id, all of a leaf's in one query:
 * after a restore every row misses, and one query per row would make a
 * backlog of a million a million scans.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "log/log.h"
#include "log/log_columns.h"

typedef struct LeafReader
{
	Oid			relid;
	Relation	rel;			/* NULL: has been dropped */
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	int			columns[EVENT_COLUMNS];
	struct LeafReader *next;
} LeafReader;

struct EbLogReader
{
	LeafReader *leaves;
};

EbLogReader *
eb_log_reader_open(void)
{
	EbLogReader *reader = palloc(sizeof(EbLogReader));

	reader->leaves = NULL;
	return reader;
}

static LeafReader *
leaf_reader(EbLogReader *reader, int16 class, TimestampTz at)
{
	Oid			relid = eb_log_leaf(class, at);
	LeafReader *leaf;
	MemoryContext old;

	if (!OidIsValid(relid))
		return NULL;
	for (leaf = reader->leaves; leaf; leaf = leaf->next)
	{
		if (leaf->relid == relid)
			return leaf;
	}
	/* it outlives the batch, whose memory may be the current context's */
	old = MemoryContextSwitchTo(GetMemoryChunkContext(reader));
	leaf = palloc0(sizeof(LeafReader));
	leaf->relid = relid;
	leaf->rel = try_table_open(relid, AccessShareLock);
	if (leaf->rel)
	{
		leaf->fetch = table_index_fetch_begin(leaf->rel);
		leaf->slot = table_slot_create(leaf->rel, NULL);
		eb_log_columns(RelationGetDescr(leaf->rel), leaf->columns);
	}
	leaf->next = reader->leaves;
	reader->leaves = leaf;
	MemoryContextSwitchTo(old);
	return leaf;
}

static const char *
get_text(const EbLogRow *row, EbEventColumn column)
{
	int			i = row->columns[column];

	return row->isnull[i] ? NULL : TextDatumGetCString(row->values[i]);
}

static inline Jsonb *
get_jsonb(const EbLogRow *row, EbEventColumn column, bool copy)
{
	Datum		value = row->values[row->columns[column]];

	return copy ? DatumGetJsonbPCopy(value) : DatumGetJsonbP(value);
}

/* copy: nothing of the row is pointed to */
static inline void
fill_event(const EbLogRow *row, EbEvent *event, bool copy)
{
	const int  *c = row->columns;
	const Datum *values = row->values;
	const bool *isnull = row->isnull;

	event->id = *DatumGetUUIDP(values[c[EVENT_ID]]);
	event->class = DatumGetInt16(values[c[EVENT_RETENTION]]);
	event->hops = DatumGetInt16(values[c[EVENT_HOPS]]);
	event->bus_id = DatumGetInt32(values[c[EVENT_BUS_ID]]);
	event->ruleset_version = DatumGetInt64(values[c[EVENT_RULESET_VERSION]]);
	event->time = DatumGetTimestampTz(values[c[EVENT_TIME]]);
	event->source = get_text(row, EVENT_SOURCE);
	event->detail_type = get_text(row, EVENT_DETAIL_TYPE);
	event->group_key = get_text(row, EVENT_GROUP_KEY);
	event->correlation_id = get_text(row, EVENT_CORRELATION_ID);
	event->causation_id = get_text(row, EVENT_CAUSATION_ID);
	event->traceparent = get_text(row, EVENT_TRACEPARENT);
	event->replay = get_text(row, EVENT_REPLAY);
	event->detail = get_jsonb(row, EVENT_DETAIL, copy);
	event->resources = isnull[c[EVENT_RESOURCES]] ? (Datum) 0 :
		PointerGetDatum(DatumGetArrayTypePCopy(values[c[EVENT_RESOURCES]]));
	event->headers = isnull[c[EVENT_HEADERS]] ? NULL :
		get_jsonb(row, EVENT_HEADERS, copy);

	/* it may be forwarded to another bus, which puts a copy of it */
	event->dedup_id = NULL;
	event->distinct = event->claimed = event->duplicate = false;
}

void
eb_log_row_event(const EbLogRow *row, EbEvent *event)
{
	fill_event(row, event, true);
}

/*
 * Does the leaf reach to this block?  The size that the storage manager knows
 * is a lower bound that can be trusted under our lock: a table is truncated
 * under an exclusive one, and that drops what was known.
 */
static inline bool
block_exists(Relation rel, BlockNumber block)
{
	BlockNumber known = RelationGetSmgr(rel)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (BlockNumberIsValid(known) && block < known) ||
		block < RelationGetNumberOfBlocks(rel);
}

/* The slot keeps the row until the next one is fetched. */
static bool
fetch_at(LeafReader *leaf, const pg_uuid_t *id, ItemPointerData tid, EbEvent *event,
		 bool copy)
{
	EbLogRow	row = {.columns = leaf->columns};
	bool		again = false;
	bool		isnull;
	Datum		found;

	if (!ItemPointerIsValid(&tid) ||
		!block_exists(leaf->rel, ItemPointerGetBlockNumber(&tid)))
		return false;
	if (!table_index_fetch_tuple(leaf->fetch, &tid, SnapshotSelf, leaf->slot, &again, NULL))
		return false;
	found = slot_getattr(leaf->slot, leaf->columns[EVENT_ID] + 1, &isnull);
	if (isnull || memcmp(DatumGetUUIDP(found), id, sizeof(pg_uuid_t)) != 0)
		return false;
	slot_getallattrs(leaf->slot);
	row.values = leaf->slot->tts_values;
	row.isnull = leaf->slot->tts_isnull;
	fill_event(&row, event, copy);
	return true;
}

static int
compare_uuid(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(pg_uuid_t));
}

typedef struct Located
{
	pg_uuid_t	id;				/* first: compare_uuid sorts and finds by it */
	ItemPointerData tid;
} Located;

/* TIDs of rows by id, sorted by id; n is how many ids there are. */
static Located *
locate(LeafReader *leaf, int n, pg_uuid_t *ids, int *nlocated)
{
	EbOwnerContext owner;
	Oid			types[3] = {UUIDOID, UUIDOID, UUIDARRAYOID};
	Datum		args[3];
	Datum	   *elements = palloc(n * sizeof(Datum));
	Located    *located = palloc(n * sizeof(Located));
	StringInfoData sql;
	SPIPlanPtr	plan;

	qsort(ids, n, sizeof(pg_uuid_t), compare_uuid);
	for (int i = 0; i < n; i++)
		elements[i] = UUIDPGetDatum(&ids[i]);
	args[0] = UUIDPGetDatum(&ids[0]);
	args[1] = UUIDPGetDatum(&ids[n - 1]);
	args[2] = PointerGetDatum(construct_array(elements, n, UUIDOID, UUID_LEN,
											  false, TYPALIGN_CHAR));

	/* the range is for BRIN, the array for a btree */
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT id, ctid FROM eb.%s"
					 " WHERE id BETWEEN $1 AND $2 AND id = ANY ($3)",
					 quote_identifier(RelationGetRelationName(leaf->rel)));

	eb_owner_begin(&owner);
	SPI_connect();
	plan = SPI_prepare(sql.data, 3, types);
	if (!plan)
		elog(ERROR, "could not prepare: %s", sql.data);
	if (SPI_execute_snapshot(plan, args, NULL, GetLatestSnapshot(),
							 InvalidSnapshot, true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", sql.data);
	*nlocated = (int) Min(SPI_processed, (uint64) n);
	for (int i = 0; i < *nlocated; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;

		located[i].id = *DatumGetUUIDP(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		located[i].tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	eb_owner_end(&owner);
	qsort(located, *nlocated, sizeof(Located), compare_uuid);
	return located;
}

/* Second try for what was not at its TID, leaf by leaf. */
static void
fetch_by_id(EbLogReader *reader, int n, const EbEventPointer *pointers,
			EbEvent *events, bool *found, LeafReader **leaf_of)
{
	for (LeafReader *leaf = reader->leaves; leaf; leaf = leaf->next)
	{
		pg_uuid_t  *ids;
		Located    *located;
		int			nids = 0;
		int			nlocated;

		if (!leaf->rel)
			continue;
		ids = palloc(n * sizeof(pg_uuid_t));
		for (int i = 0; i < n; i++)
		{
			if (!found[i] && leaf_of[i] == leaf)
				ids[nids++] = pointers[i].id;
		}
		if (nids > 0)
		{
			located = locate(leaf, nids, ids, &nlocated);
			for (int i = 0; i < n; i++)
			{
				Located    *hit;

				if (found[i] || leaf_of[i] != leaf)
					continue;
				hit = bsearch(&pointers[i].id, located, nlocated,
							  sizeof(Located), compare_uuid);
				if (hit)
					found[i] = fetch_at(leaf, &hit->id, hit->tid, &events[i], true);
			}
			pfree(located);
		}
		pfree(ids);
	}
}

bool
eb_log_peek(EbLogReader *reader, const EbEventPointer *pointer, EbEvent *event)
{
	TimestampTz at = eb_tick_time(eb_uuid_tick(&pointer->id));
	LeafReader *leaf = leaf_reader(reader, pointer->class, at);

	return leaf && leaf->rel &&
		fetch_at(leaf, &pointer->id, pointer->tid, event, false);
}

void
eb_log_fetch(EbLogReader *reader, int n, const EbEventPointer *pointers,
			 EbEvent *events, bool *found)
{
	LeafReader **leaf_of = palloc(n * sizeof(LeafReader *));
	int			missing = 0;

	for (int i = 0; i < n; i++)
	{
		TimestampTz at = eb_tick_time(eb_uuid_tick(&pointers[i].id));

		leaf_of[i] = leaf_reader(reader, pointers[i].class, at);
		found[i] = leaf_of[i] && leaf_of[i]->rel &&
			fetch_at(leaf_of[i], &pointers[i].id, pointers[i].tid, &events[i], true);
		if (!found[i] && leaf_of[i])
			missing++;
	}
	if (missing > 0)
		fetch_by_id(reader, n, pointers, events, found, leaf_of);
	pfree(leaf_of);
}

void
eb_log_reader_close(EbLogReader *reader)
{
	for (LeafReader *leaf = reader->leaves; leaf; leaf = leaf->next)
	{
		if (!leaf->rel)
			continue;
		ExecDropSingleTupleTableSlot(leaf->slot);
		table_index_fetch_end(leaf->fetch);
		table_close(leaf->rel, AccessShareLock);
	}
	pfree(reader);
}
