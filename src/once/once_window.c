/*-------------------------------------------------------------------------
 *
 * once_window.c
 *	  Remember a key until it expires, then forget it without deleting rows.
 *
 * A set of keys lies in two tables, each with one unique index on the key.
 * Time is cut into windows; in even ones the first table is written, in odd
 * ones the second.  A window is longer than any entry lives (the set's
 * reach), so some time after a change all of the other table has expired, and
 * it is truncated before its turn comes (once_rotate.c).  An entry carries the
 * time at which it expires, and from then on it is as if it were not there,
 * whether or not its table was emptied: nothing depends on the truncation but
 * space.  The one row that is deleted is an expired one in the way of the
 * same key's new entry.
 *
 * Each unique index arbitrates for one table only, and near a change of
 * windows two callers may write different ones.  So a claim
 *
 *	 1. looks at both tables, and waits for whoever is at work on the key;
 *	 2. inserts a speculative row into the table of the window;
 *	 3. looks at the other table again, and confirms, or takes its row back
 *		and starts over.
 *
 * Since everybody inserts before he looks, of two callers at least one sees
 * the other (once claim 1).  A speculative row that is taken back is gone at
 * once for everybody, not only at the end of the transaction, so those who
 * lost a race do not wait for each other (once claim 2).
 *
 * All looks are under SnapshotDirty: they see what is committed at that
 * moment and say which transaction is at work on a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "compat.h"
#include "errors.h"
#include "once/once.h"
#include "worker/worker.h"

struct EbOnceKeys
{
	EbOnceSet	set;
	TimestampTz now;
	int			current;		/* which table is written now */
	bool		wrote;
	MemoryContext context;		/* this struct and what it points to */
	Relation	tables[2];
	Relation	indexes[2];
	IndexInfo  *index_infos[2];
	IndexScanDesc scans[2];		/* NULL until needed, and while waiting */
	TupleTableSlot *slots[2];	/* what a scan came upon */
	TupleTableSlot *row;		/* to be written; tables have the same columns */
	SnapshotData dirty;
	int			found;			/* table of the found row; -1 */
	ItemPointerData expired[2]; /* expired row of the key; invalid: none */
};

/* What a look at the tables came to. */
typedef enum LookResult
{
	LOOK_NONE,
	LOOK_KNOWN,
	LOOK_BUSY					/* a running transaction decides; see Busy */
} LookResult;

typedef struct Busy
{
	TransactionId xid;
	uint32		token;			/* speculative; 0: wait for the transaction */
	Relation	table;
	ItemPointerData tid;
} Busy;

void
eb_once_key(const char *text, Size length, pg_uuid_t *key)
{
	pg_cryptohash_ctx *hash;
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	int			digits = 0;

	/* 8-4-4-4-12 hexadecimal digits and nothing else */
	if (length == 36)
	{
		int			i;

		for (i = 0; i < 36; i++)
		{
			unsigned char c = (unsigned char) text[i];
			int			nibble;

			if (i == 8 || i == 13 || i == 18 || i == 23)
			{
				if (c != '-')
					break;
				continue;
			}
			if (c >= '0' && c <= '9')
				nibble = c - '0';
			else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
				nibble = (c | 0x20) - 'a' + 10;
			else
				break;
			if (digits % 2 == 0)
				key->data[digits / 2] = (unsigned char) (nibble << 4);
			else
				key->data[digits / 2] |= (unsigned char) nibble;
			digits++;
		}
		if (i == 36)
			return;
	}

	hash = pg_cryptohash_create(PG_SHA256);
	if (pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) text, length) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the hash of a key: %s",
			 pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
	memcpy(key->data, digest, UUID_LEN);
}

/* ------------------------------------------------------------------ */
/* Opening                                                            */
/* ------------------------------------------------------------------ */

static void
open_table(EbOnceKeys *keys, int i)
{
	Relation	table = try_table_open(keys->set.tables[i], RowExclusiveLock);
	List	   *indexes;
	IndexInfo  *info;

	if (table == NULL)
		eb_error_missing(eb_once_kind_name(keys->set.kind), keys->set.name, NULL);
	indexes = RelationGetIndexList(table);

	/* entries are written to our index alone, and no trigger fires */
	if (list_length(indexes) != 1 || table->trigdesc != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was changed", RelationGetRelationName(table)),
				 errdetail("It must have its one unique index and no triggers.")));
	keys->tables[i] = table;
	keys->indexes[i] = index_open(linitial_oid(indexes), RowExclusiveLock);
	list_free(indexes);

	info = makeNode(IndexInfo);
	info->ii_NumIndexAttrs = info->ii_NumIndexKeyAttrs = 1;
	info->ii_IndexAttrNumbers[0] = EB_ONCE_KEY;
	info->ii_Unique = true;
	info->ii_ReadyForInserts = true;
	info->ii_Am = keys->indexes[i]->rd_rel->relam;
	info->ii_Context = keys->context;
	keys->index_infos[i] = info;
	keys->slots[i] = table_slot_create(table, NULL);
	keys->scans[i] = NULL;
}

static void
read_clock(EbOnceKeys *keys)
{
	keys->now = eb_clock_now();
	keys->current = (keys->now / keys->set.window) & 1;
}

EbOnceKeys *
eb_once_open(const EbOnceSet *set, const char *command)
{
	EbOnceKeys *keys;
	MemoryContext context;
	MemoryContext old;

	PreventCommandIfReadOnly(command);
	PreventCommandIfParallelMode(command);
	PreventCommandDuringRecovery(command);

	context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus keys",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	keys = palloc0(sizeof(EbOnceKeys));
	keys->context = context;
	keys->set = *set;
	keys->found = -1;
	InitDirtySnapshot(keys->dirty);

	/*
	 * Locks come before the clock: a truncation that finds the table unlocked
	 * then knows that no row is still to come from a window that has passed.
	 */
	open_table(keys, 0);
	open_table(keys, 1);
	keys->row = MakeSingleTupleTableSlot(RelationGetDescr(keys->tables[0]),
										 &TTSOpsVirtual);
	Assert(RelationGetDescr(keys->tables[0])->natts <= EB_ONCE_MAX_COLUMNS);
	read_clock(keys);
	MemoryContextSwitchTo(old);
	return keys;
}

const EbOnceSet *
eb_once_set(EbOnceKeys *keys)
{
	return &keys->set;
}

TimestampTz
eb_once_now(EbOnceKeys *keys)
{
	return keys->now;
}

TupleTableSlot *
eb_once_found(EbOnceKeys *keys)
{
	Assert(keys->found >= 0);
	return keys->slots[keys->found];
}

/* Let go of all pages: before waiting, and at the end. */
static void
release(EbOnceKeys *keys)
{
	for (int i = 0; i < 2; i++)
	{
		if (keys->scans[i])
			index_endscan(keys->scans[i]);
		keys->scans[i] = NULL;
		ExecClearTuple(keys->slots[i]);
	}
	keys->found = -1;
}

void
eb_once_close(EbOnceKeys *keys)
{
	release(keys);
	for (int i = 0; i < 2; i++)
	{
		ExecDropSingleTupleTableSlot(keys->slots[i]);
		index_close(keys->indexes[i], NoLock);
		table_close(keys->tables[i], NoLock);
	}
	ExecDropSingleTupleTableSlot(keys->row);
	if (keys->wrote)
	{
		CommandCounterIncrement();
		eb_worker_active();
	}
	MemoryContextDelete(keys->context);
}

/* ------------------------------------------------------------------ */
/* Looking                                                            */
/* ------------------------------------------------------------------ */

static bool
has_expired(EbOnceKeys *keys, TupleTableSlot *slot)
{
	bool		isnull;
	TimestampTz at;

	at = DatumGetTimestampTz(slot_getattr(slot, EB_ONCE_EXPIRES_AT, &isnull));
	return isnull || at <= keys->now;
}

/*
 * The scans outlive the caller's context, and what the index keeps of the dead
 * that it met is allocated here and freed at the scan's end.
 */
static bool
next_row(EbOnceKeys *keys, int i)
{
	MemoryContext old = MemoryContextSwitchTo(keys->context);
	bool		found = index_getnext_slot(keys->scans[i], ForwardScanDirection,
										   keys->slots[i]);

	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Look at one table.  KNOWN leaves the row in the table's slot.  An expired
 * row is remembered and otherwise passed by, even one that is being deleted.
 */
static LookResult
look_at_table(EbOnceKeys *keys, int i, const pg_uuid_t *key, Busy *busy)
{
	TupleTableSlot *slot = keys->slots[i];
	ScanKeyData scankey;
	LookResult	result = LOOK_NONE;

	ItemPointerSetInvalid(&keys->expired[i]);
	ScanKeyInit(&scankey, EB_ONCE_KEY, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key));
	if (keys->scans[i] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(keys->context);

		keys->scans[i] = EB_INDEX_BEGINSCAN(keys->tables[i], keys->indexes[i],
											&keys->dirty, 1);
		MemoryContextSwitchTo(old);
	}
	index_rescan(keys->scans[i], &scankey, 1, NULL, 0);

	while (next_row(keys, i))
	{
		TransactionId inserting = keys->dirty.xmin;
		TransactionId deleting = keys->dirty.xmax;

		if (TransactionIdIsValid(inserting) ||
			(TransactionIdIsValid(deleting) && !has_expired(keys, slot)))
		{
			busy->xid = TransactionIdIsValid(inserting) ? inserting : deleting;
			busy->token = TransactionIdIsValid(inserting) ? keys->dirty.speculativeToken : 0;
			busy->table = keys->tables[i];
			busy->tid = slot->tts_tid;
			result = LOOK_BUSY;
		}
		else if (has_expired(keys, slot))
			keys->expired[i] = slot->tts_tid;
		else
			return LOOK_KNOWN;
	}
	return result;
}

/*
 * Look at both; a known row outweighs one that somebody is at work on.  The
 * table that is written now comes first, so that an expired row in it is
 * known even if the key is found in the other.
 */
static LookResult
look(EbOnceKeys *keys, const pg_uuid_t *key, Busy *busy)
{
	LookResult	result = LOOK_NONE;

	keys->found = -1;
	for (int n = 0; n < 2; n++)
	{
		int			i = n == 0 ? keys->current : 1 - keys->current;

		switch (look_at_table(keys, i, key, busy))
		{
			case LOOK_KNOWN:
				keys->found = i;
				return LOOK_KNOWN;
			case LOOK_BUSY:
				result = LOOK_BUSY;
				break;
			case LOOK_NONE:
				break;
		}
	}
	return result;
}

/* The wait may have been long: what has expired is judged, and written, anew. */
static void
wait_for(EbOnceKeys *keys, Busy *busy)
{
	release(keys);
	if (busy->token != 0)
		SpeculativeInsertionWait(busy->xid, busy->token);
	else
		XactLockTableWait(busy->xid, busy->table, &busy->tid, XLTW_InsertIndex);
	read_clock(keys);
}

/*
 * The answer "known" rests on a row.  Under REPEATABLE READ the caller could
 * not see what else that row's transaction did, so to go on as if it had been
 * done would mix two states of the database; INSERT ... ON CONFLICT refuses
 * likewise.
 */
static void
check_visible(EbOnceKeys *keys, const char *label)
{
	TupleTableSlot *slot = keys->slots[keys->found];
	bool		isnull;
	TransactionId xmin;

	if (!IsolationUsesXactSnapshot() ||
		table_tuple_satisfies_snapshot(keys->tables[keys->found], slot,
									   GetTransactionSnapshot()))
		return;
	xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber,
												 &isnull));
	if (TransactionIdIsCurrentTransactionId(xmin))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access to key \"%s\" of %s \"%s\"", label,
					eb_once_kind_name(keys->set.kind), keys->set.name),
			 errdetail("Another transaction wrote it after this one's snapshot was taken."),
			 errhint("Run the transaction again.")));
}

bool
eb_once_find(EbOnceKeys *keys, const pg_uuid_t *key, const char *label)
{
	for (;;)
	{
		Busy		busy;

		switch (look(keys, key, &busy))
		{
			case LOOK_NONE:
				return false;
			case LOOK_KNOWN:
				check_visible(keys, label);
				slot_getallattrs(keys->slots[keys->found]);
				return true;
			case LOOK_BUSY:
				wait_for(keys, &busy);
				break;
		}
	}
}

/* ------------------------------------------------------------------ */
/* Writing                                                            */
/* ------------------------------------------------------------------ */

static void
fill_row(EbOnceKeys *keys, int64 lifetime, Datum *values, bool *isnull)
{
	int			natts = RelationGetDescr(keys->tables[0])->natts;

	Assert(lifetime <= keys->set.reach);
	values[EB_ONCE_EXPIRES_AT - 1] = TimestampTzGetDatum(keys->now + lifetime);
	isnull[EB_ONCE_EXPIRES_AT - 1] = false;
	ExecClearTuple(keys->row);
	memcpy(keys->row->tts_values, values, natts * sizeof(Datum));
	memcpy(keys->row->tts_isnull, isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(keys->row);
}

/* The row's entry in the index of table i; false: another row may hold the key. */
static bool
insert_index_entry(EbOnceKeys *keys, int i, IndexUniqueCheck check, bool unchanged)
{
	return index_insert(keys->indexes[i],
						&keys->row->tts_values[EB_ONCE_KEY - 1],
						&keys->row->tts_isnull[EB_ONCE_KEY - 1],
						&keys->row->tts_tid, keys->tables[i], check, unchanged,
						keys->index_infos[i]);
}

/*
 * After the own row went into the current table: is somebody at work on the
 * same key in the other one?  While the own row is speculative nothing may be
 * waited for, but for the outcome of a younger transaction's speculative row:
 * it never waits for an older one, so there is no circle, and of two that see
 * each other one goes on (once claim 2).
 */
static bool
other_table_is_free(EbOnceKeys *keys, const pg_uuid_t *key)
{
	for (;;)
	{
		Busy		busy;
		LookResult	result = look_at_table(keys, 1 - keys->current, key, &busy);

		if (result == LOOK_NONE)
			return true;
		if (result == LOOK_KNOWN || busy.token == 0 ||
			!TransactionIdPrecedes(GetCurrentTransactionId(), busy.xid))
			return false;
		release(keys);
		SpeculativeInsertionWait(busy.xid, busy.token);
	}
}

/* Anything but TM_Ok: look again. */
static TM_Result
delete_row(EbOnceKeys *keys, int i, ItemPointer tid, bool wait, TM_FailureData *failure)
{
	keys->wrote = true;
	return table_tuple_delete(keys->tables[i], tid, GetCurrentCommandId(true),
							  InvalidSnapshot, InvalidSnapshot, wait, failure,
							  false);
}

/*
 * Write the row that fill_row() made into the current table.  remove: a found
 * row of the other table that it replaces.  False: somebody came first, and
 * nothing was written.
 */
static bool
insert_row(EbOnceKeys *keys, const pg_uuid_t *key, ItemPointer remove)
{
	int			i = keys->current;
	TransactionId xid = GetCurrentTransactionId();
	TM_FailureData failure;
	uint32		token;
	bool		ok;

	/* an expired entry of the key in this table: its row is in the way */
	if (ItemPointerIsValid(&keys->expired[i]))
	{
		if (remove == NULL)
			release(keys);
		if (delete_row(keys, i, &keys->expired[i], true, &failure) != TM_Ok)
			return false;
	}

	keys->wrote = true;
	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(keys->tables[i], keys->row,
								   GetCurrentCommandId(true), 0, NULL, token);
	ok = insert_index_entry(keys, i, UNIQUE_CHECK_PARTIAL, false);
	if (ok && remove)
		ok = delete_row(keys, 1 - i, remove, false, &failure) == TM_Ok;
	else if (ok)
		ok = other_table_is_free(keys, key);
	table_tuple_complete_speculative(keys->tables[i], keys->row, token, ok);
	SpeculativeInsertionLockRelease(xid);
	return ok;
}

bool
eb_once_insert(EbOnceKeys *keys, const pg_uuid_t *key, int64 lifetime,
			   Datum *values, bool *isnull)
{
	values[EB_ONCE_KEY - 1] = UUIDPGetDatum(key);
	isnull[EB_ONCE_KEY - 1] = false;
	fill_row(keys, lifetime, values, isnull);
	return insert_row(keys, key, NULL);
}

bool
eb_once_claim(EbOnceKeys *keys, const pg_uuid_t *key, const char *label,
			  Datum *values, bool *isnull)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (eb_once_find(keys, key, label))
			return false;
		if (eb_once_insert(keys, key, keys->set.ttl, values, isnull))
			return true;
	}
}

bool
eb_once_replace(EbOnceKeys *keys, int64 lifetime, Datum *values, bool *isnull)
{
	int			i = keys->found;
	ItemPointerData tid = keys->slots[i]->tts_tid;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	EbUpdateIndexes update_indexes;

	fill_row(keys, lifetime, values, isnull);

	/* rows of a table that is not written now must not live longer than they do */
	if (i != keys->current)
		return insert_row(keys, DatumGetUUIDP(values[EB_ONCE_KEY - 1]), &tid);

	keys->wrote = true;
	if (table_tuple_update(keys->tables[i], &tid, keys->row,
						   GetCurrentCommandId(true), InvalidSnapshot,
						   InvalidSnapshot, true, &failure, &lock_mode,
						   &update_indexes) != TM_Ok)
		return false;
	if (update_indexes)
		(void) insert_index_entry(keys, i, UNIQUE_CHECK_NO, true);
	return true;
}

bool
eb_once_remove(EbOnceKeys *keys)
{
	TM_FailureData failure;

	return delete_row(keys, keys->found, &keys->slots[keys->found]->tts_tid,
					  true, &failure) == TM_Ok;
}
