/*-------------------------------------------------------------------------
 *
 * stream_position.c
 *	  The position of a subscription's part: locking, reading, moving it.
 *
 * A busy reader moves its position hundreds of times a second.  While
 * somebody holds an old snapshot, none of the row's dead versions can be
 * removed, and finding the live one through the index would walk over all of
 * them.  So the backend remembers where the live version lies; it looks there
 * first, and goes through the index only if it is not there.
 *
 * Rows are read under SnapshotSelf: the part is locked, so the committed
 * version (or the own one) is the truth, whatever the snapshot says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "stream/stream.h"

/* Advisory locks of users have 1 or 2 here. */
#define EB_LOCK_CLASS_STREAM	0xEB

enum
{
	Anum_subscription = 1,
	Anum_part,
	Anum_position,
	Anum_evaluated,
	Anum_matched,
	Anum_committed_at,
	Natts_position = Anum_committed_at
};

typedef struct RememberedKey
{
	Oid			table;
	int32		subscription;
	int32		part;
} RememberedKey;

typedef struct Remembered
{
	RememberedKey key;			/* hash key */
	ItemPointerData tid;
} Remembered;

static HTAB *remembered = NULL;

bool
eb_stream_lock(const EbSubscription *subscription, int part, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, subscription->id, part,
						 EB_LOCK_CLASS_STREAM);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Let go of a part of which nothing was read or written. */
void
eb_stream_unlock(const EbSubscription *subscription, int part)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, subscription->id, part,
						 EB_LOCK_CLASS_STREAM);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

static Oid
positions_table(void)
{
	Oid			oid = eb_relation_oid("subscription_positions");

	if (!OidIsValid(oid))
		elog(ERROR, "table eb.subscription_positions does not exist");
	return oid;
}

static Remembered *
remember(Oid table, const EbSubscription *subscription, int part, bool *found)
{
	RememberedKey key = {table, subscription->id, part};

	if (!remembered)
	{
		HASHCTL		ctl = {.keysize = sizeof(RememberedKey),.entrysize = sizeof(Remembered)};

		remembered = hash_create("pg_eventbus places of positions", 32, &ctl,
								 HASH_ELEM | HASH_BLOBS);
	}
	return hash_search(remembered, &key, HASH_ENTER, found);
}

/* Is the row in the slot the one of this part? */
static bool
is_row_of(TupleTableSlot *slot, const EbSubscription *subscription, int part)
{
	bool		isnull;
	Datum		d;
	text	   *name;

	d = slot_getattr(slot, Anum_part, &isnull);
	if (DatumGetInt32(d) != part)
		return false;
	name = DatumGetTextPP(slot_getattr(slot, Anum_subscription, &isnull));
	return VARSIZE_ANY_EXHDR(name) == strlen(subscription->name) &&
		memcmp(VARDATA_ANY(name), subscription->name, VARSIZE_ANY_EXHDR(name)) == 0;
}

static void
take_row(TupleTableSlot *slot, EbPosition *position)
{
	bool		isnull;

	position->tid = slot->tts_tid;
	position->position = *DatumGetUUIDP(slot_getattr(slot, Anum_position, &isnull));
	position->evaluated = DatumGetInt64(slot_getattr(slot, Anum_evaluated, &isnull));
	position->matched = DatumGetInt64(slot_getattr(slot, Anum_matched, &isnull));
	position->committed_at = DatumGetTimestampTz(slot_getattr(slot, Anum_committed_at, &isnull));
}

static bool
find_by_index(Relation rel, const EbSubscription *subscription, int part,
			  EbPosition *position)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	eb_config_key(&keys[0], Anum_subscription, subscription->name);
	ScanKeyInit(&keys[1], Anum_part, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(part));
	scan = systable_beginscan(rel, EB_PRIMARY_KEY_INDEX(rel), true, SnapshotSelf,
							  2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
														&TTSOpsHeapTuple);

		ExecStoreHeapTuple(tuple, slot, false);
		slot->tts_tid = tuple->t_self;
		take_row(slot, position);
		ExecDropSingleTupleTableSlot(slot);
		found = true;
	}
	systable_endscan(scan);
	return found;
}

void
eb_position_read(const EbSubscription *subscription, int part, EbPosition *position)
{
	Relation	rel = table_open(positions_table(), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		found;
	Remembered *place = remember(RelationGetRelid(rel), subscription, part, &found);

	if (found && ItemPointerGetBlockNumber(&place->tid) < RelationGetNumberOfBlocks(rel) &&
		table_tuple_fetch_row_version(rel, &place->tid, SnapshotSelf, slot) &&
		is_row_of(slot, subscription, part))
		take_row(slot, position);
	else
	{
		found = find_by_index(rel, subscription, part, position);

		/* without the part's lock an update may slip past the first scan */
		if (!found)
			found = find_by_index(rel, subscription, part, position);
		if (!found)				/* dropped meanwhile */
			eb_error_missing("subscription", subscription->name, NULL);
		place->tid = position->tid;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
}

void
eb_position_write(const EbSubscription *subscription, int part, EbPosition *position)
{
	Relation	rel = table_open(positions_table(), RowExclusiveLock);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
													&TTSOpsVirtual);
	TM_FailureData failure;
	LockTupleMode lockmode;
	EbUpdateIndexes update_indexes;
	TM_Result	result;
	bool		found;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
	memset(slot->tts_isnull, false, Natts_position);
	slot->tts_values[Anum_subscription - 1] = CStringGetTextDatum(subscription->name);
	slot->tts_values[Anum_part - 1] = Int32GetDatum(part);
	slot->tts_values[Anum_position - 1] = UUIDPGetDatum(&position->position);
	slot->tts_values[Anum_evaluated - 1] = Int64GetDatum(position->evaluated);
	slot->tts_values[Anum_matched - 1] = Int64GetDatum(position->matched);
	slot->tts_values[Anum_committed_at - 1] = TimestampTzGetDatum(position->committed_at);
	ExecStoreVirtualTuple(slot);

	/* the part is locked: nobody but a stray UPDATE by hand can be in the way */
	result = table_tuple_update(rel, &position->tid, slot, GetCurrentCommandId(true),
								InvalidSnapshot, InvalidSnapshot, true, &failure,
								&lockmode, &update_indexes);
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("position of subscription \"%s\" was changed by hand meanwhile",
						subscription->name)));
	if (EB_UPDATES_ALL_INDEXES(update_indexes))
	{
		Relation	index = index_open(EB_PRIMARY_KEY_INDEX(rel), RowExclusiveLock);
		Datum		values[2];
		bool		isnull[2] = {false, false};
		IndexInfo  *info = makeNode(IndexInfo);

		values[0] = slot->tts_values[Anum_subscription - 1];
		values[1] = slot->tts_values[Anum_part - 1];
		info->ii_NumIndexAttrs = info->ii_NumIndexKeyAttrs = 2;
		info->ii_Unique = true;
		(void) index_insert(index, values, isnull, &slot->tts_tid, rel,
							UNIQUE_CHECK_YES, true, info);
		index_close(index, NoLock);
	}
	position->tid = slot->tts_tid;
	remember(RelationGetRelid(rel), subscription, part, &found)->tid = slot->tts_tid;
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/*
 * The greatest uuid whose tick is below: as a position, everything from the
 * tick on is still to be read.
 */
void
eb_position_before(EbTick tick, pg_uuid_t *position)
{
	eb_tick_uuid(tick > 0 ? tick - 1 : 0, position);
	position->data[9] |= 0x0f;
	memset(&position->data[10], 0xff, 6);
}
