/*-------------------------------------------------------------------------
 *
 * once_rotate.c
 *	  Emptying the tables of keys in which everything has expired; counting
 *	  duplicates; what the status views show.
 *
 * In window number p (the clock divided by the set's window) table p mod 2 is
 * written; the other was written in window p - 1, and what went into it before
 * the border had expired a reach after it.  So from then on to the end of the
 * window it can be truncated.  That takes AccessExclusiveLock, for which we
 * queue only when the time left gets short, and then for a moment only: who
 * queues makes everybody wait who comes later.  The table is looked through
 * before, for an entry that a step of the clock has left alive.  If all of a window passes
 * without success, the table is written again as it is, which costs space and
 * nothing else.
 *
 * Duplicates are counted in shared memory, and added to eb.key_windows by the
 * maintainer; without shared memory they are not counted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "errors.h"
#include "once/once_internal.h"
#include "shmem.h"

/* How long truncation may make others queue up behind it, in milliseconds. */
#define LOCK_WAIT "100ms"

/* Tables up to this size are looked through whole at any time. */
#define COUNTED_BLOCKS	1024

/* ------------------------------------------------------------------ */
/* Counting duplicates                                                */
/* ------------------------------------------------------------------ */

#define COUNTERS	512
#define PROBES		16

typedef struct Counter
{
	Oid			database;		/* InvalidOid: never used */
	Oid			table;			/* the set's first */
	int64		duplicates;		/* not yet in eb.key_windows; at 0 the counter is free for others */
} Counter;

/* All under the lock, which is held for a few loads and stores. */
typedef struct OnceSection
{
	slock_t		lock;
	Counter		counters[COUNTERS];
} OnceSection;

Size
eb_once_shmem_size(void)
{
	return sizeof(OnceSection);
}

void
eb_once_shmem_init(void *section)
{
	SpinLockInit(&((OnceSection *) section)->lock);
}

/*
 * Add to a set's counter and return what it holds; take empties it.  0 if it
 * has none and none is to be had: then the count is lost.
 */
static int64
counter(const EbOnceSet *set, int64 add, bool take)
{
	OnceSection *section = eb_shmem_section(EB_SHMEM_ONCE);
	uint32		start = hash_combine(murmurhash32(MyDatabaseId),
									 murmurhash32(set->tables[0]));
	int64		result = 0;
	Counter    *mine = NULL;

	if (section == NULL)
		return 0;
	SpinLockAcquire(&section->lock);
	for (int i = 0; i < PROBES; i++)
	{
		Counter    *c = &section->counters[(start + i) % COUNTERS];

		if (c->database == MyDatabaseId && c->table == set->tables[0])
		{
			mine = c;
			break;
		}
		if (mine == NULL && c->duplicates == 0)
			mine = c;
	}
	if (mine != NULL)
	{
		mine->database = MyDatabaseId;
		mine->table = set->tables[0];
		mine->duplicates += add;
		result = mine->duplicates;
		if (take)
			mine->duplicates = 0;
	}
	SpinLockRelease(&section->lock);
	return result;
}

void
eb_once_count(const EbOnceSet *set, int64 duplicates)
{
	(void) counter(set, duplicates, false);
}

/* ------------------------------------------------------------------ */
/* Emptying                                                           */
/* ------------------------------------------------------------------ */

static void
update_row(const EbOnceRow *row, const char *sql, Oid type, Datum value)
{
	Oid			types[3] = {TEXTOID, TEXTOID, type};
	Datum		values[3];

	values[0] = CStringGetTextDatum(eb_once_kind_name(row->set.kind));
	values[1] = CStringGetTextDatum(row->set.name);
	values[2] = value;
	(void) eb_sql_with_args(sql, 3, types, values, NULL);
}

/*
 * Has all in a table expired, from a block on?  By the clock it has; but the
 * clock may have stepped back since somebody wrote, and sessions' clocks may
 * differ.  Row versions count whether or not they are alive.  Backwards, so
 * that what was written last is seen first.
 */
static bool
all_expired(Oid relid, BlockNumber from, TimestampTz now)
{
	Relation	table = try_table_open(relid, AccessShareLock);
	TupleTableSlot *slot;
	TableScanDesc scan;
	ItemPointerData low,
				high;
	bool		result = true;

	if (table == NULL)
		return false;
	ItemPointerSet(&low, from, FirstOffsetNumber);
	ItemPointerSet(&high, MaxBlockNumber, MaxOffsetNumber);
	slot = table_slot_create(table, NULL);
	scan = table_beginscan_tidrange(table, SnapshotAny, &low, &high);
	while (result && table_scan_getnextslot_tidrange(scan, BackwardScanDirection, slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		result = DatumGetTimestampTz(slot_getattr(slot, EB_ONCE_EXPIRES_AT, &isnull)) <= now;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	table_close(table, AccessShareLock);
	return result;
}

static BlockNumber
size_of(Oid relid)
{
	Relation	table = try_table_open(relid, AccessShareLock);
	BlockNumber blocks;

	if (table == NULL)
		return 0;
	blocks = RelationGetNumberOfBlocks(table);
	table_close(table, AccessShareLock);
	return blocks;
}

/*
 * After a change of the time to live: may tables be emptied?  Whoever made an
 * entry by the old time read the clock before this sees the change, so its
 * entry has expired when the old reach has passed from now on.
 */
static bool
settle_change(const EbOnceRow *row, TimestampTz now)
{
	int64		reach = row->previous_ttl;

	if (!row->changed)
		return true;
	if (row->set.kind == EB_ONCE_CONSUMER)
		reach = Max(reach, EB_ONCE_LEASE_MAX);
	if (!row->holds)
		update_row(row, "UPDATE eb.key_windows SET hold_until = $3 WHERE kind = $1 AND name = $2",
				   TIMESTAMPTZOID, TimestampTzGetDatum(now + reach));
	else if (row->hold_until <= now)
	{
		update_row(row, "UPDATE eb.key_windows SET hold_until = NULL, previous_ttl = NULL "
				   "WHERE kind = $1 AND name = $2 AND hold_until <= $3",
				   TIMESTAMPTZOID, TimestampTzGetDatum(now));
		return true;
	}
	return false;
}

/* Lock a table against everybody; false: not now. */
static bool
lock_out(Oid relid, bool urgent)
{
	return eb_lock_briefly(relid, AccessExclusiveLock, urgent ? LOCK_WAIT : NULL);
}

/*
 * Runs as the owner.  Returns how many tables were emptied; *next: when to
 * come again at the latest.
 */
static int
maintain(const EbOnceRow *row, TimestampTz *next)
{
	const EbOnceSet *set = &row->set;
	TimestampTz now = eb_clock_now();
	int64		number = now / set->window;
	TimestampTz border = number * set->window;	/* the window's beginning */
	TimestampTz expired = border + set->reach;	/* what was written before it */
	TimestampTz end = border + set->window;
	Oid			current = set->tables[number & 1];
	Oid			other = set->tables[1 - (number & 1)];
	BlockNumber blocks = OidIsValid(other) ? size_of(other) : 0;
	int64		duplicates;

	duplicates = counter(set, 0, true);
	if (duplicates > 0)
		update_row(row, "UPDATE eb.key_windows SET duplicates = duplicates + $3 "
				   "WHERE kind = $1 AND name = $2", INT8OID, Int64GetDatum(duplicates));

	if (size_of(current) > 0)
		*next = end + set->reach;
	if (!settle_change(row, now))
	{
		*next = row->holds ? row->hold_until : now;
		return 0;
	}
	if (blocks == 0)
		return 0;
	if (now < expired)
	{
		*next = expired;
		return 0;
	}

	/* a large table is looked through before it is locked, its end after that */
	*next = now;
	if (blocks > COUNTED_BLOCKS && !all_expired(other, 0, now))
		return 0;
	if (!lock_out(other, now >= expired + (end - expired) / 2) ||
		!all_expired(other, blocks > COUNTED_BLOCKS ? blocks - 1 : 0, now))
		return 0;
	*next = size_of(current) > 0 ? end + set->reach : DT_NOEND;
	eb_sql_execute("TRUNCATE eb.%s", quote_identifier(get_rel_name(other)));
	return 1;
}

int
eb_once_maintain_set(EbOnceKind kind, const char *name, TimestampTz *next)
{
	EbOwnerContext context;
	EbOnceRow	row;
	int			n = 0;

	*next = DT_NOEND;
	eb_owner_begin(&context);
	if (eb_once_read_row(kind, name, &row))
		n = maintain(&row, next);
	eb_owner_end(&context);
	return n;
}

int
eb_once_maintain(void)
{
	EbOnceSet  *sets;
	int			nsets = eb_once_list(&sets);
	int			n = 0;
	TimestampTz next;

	for (int i = 0; i < nsets; i++)
	{
		CHECK_FOR_INTERRUPTS();
		n += eb_once_maintain_set(sets[i].kind, sets[i].name, &next);
	}
	pfree(sets);
	return n;
}

PG_FUNCTION_INFO_V1(eb_maintain_keys);

Datum
eb_maintain_keys(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(eb_once_maintain());
}

/* ------------------------------------------------------------------ */
/* Status                                                             */
/* ------------------------------------------------------------------ */

#define SAMPLED_BLOCKS	128

typedef struct Stats
{
	double		entries;
	double		in_progress;
	double		failed;
	TimestampTz first_expiry;	/* DT_NOEND: none */
	int64		bytes;
} Stats;

static void
add_rows(Relation table, TableScanDesc scan, bool range, TimestampTz now,
		 bool leases, double weight, Stats *stats)
{
	TupleTableSlot *slot = table_slot_create(table, NULL);

	while (range ? table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot) :
		   table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		TimestampTz at = DatumGetTimestampTz(slot_getattr(slot, EB_ONCE_EXPIRES_AT, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (at <= now)
			continue;
		stats->entries += weight;
		stats->first_expiry = Min(stats->first_expiry, at);
		if (!leases)
			continue;
		at = DatumGetTimestampTz(slot_getattr(slot, EB_PROCESSED_LEASE_UNTIL, &isnull));
		if (isnull)
			continue;
		if (at == DT_NOBEGIN)
			stats->failed += weight;
		else
			stats->in_progress += weight;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
}

static void
add_table(Oid relid, TimestampTz now, bool leases, Stats *stats)
{
	Relation	table = try_table_open(relid, AccessShareLock);
	Snapshot	snapshot = GetActiveSnapshot();
	BlockNumber blocks;

	if (table == NULL)
		return;
	blocks = RelationGetNumberOfBlocks(table);
	stats->bytes += (int64) blocks * BLCKSZ;
	if (blocks <= COUNTED_BLOCKS)
		add_rows(table, table_beginscan(table, snapshot, 0, NULL), false, now,
				 leases, 1, stats);
	else
	{
		for (int i = 0; i < SAMPLED_BLOCKS; i++)
		{
			BlockNumber block = (BlockNumber) ((uint64) blocks * i / SAMPLED_BLOCKS);
			ItemPointerData low,
						high;

			ItemPointerSet(&low, block, FirstOffsetNumber);
			ItemPointerSet(&high, block, MaxOffsetNumber);
			add_rows(table, table_beginscan_tidrange(table, snapshot, &low, &high),
					 true, now, leases, (double) blocks / SAMPLED_BLOCKS, stats);
		}
	}
	table_close(table, AccessShareLock);
}

PG_FUNCTION_INFO_V1(eb_key_stats);

/*
 * eb.key_stats(kind, name): part of the status views, and for those who may
 * read them.
 */
Datum
eb_key_stats(PG_FUNCTION_ARGS)
{
	char	   *kind_name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	EbOnceKind	kind = 0;
	const char *view;
	EbOnceRow	row;
	Stats		stats = {.first_expiry = DT_NOEND};
	TupleDesc	desc;
	Datum		values[6] = {0};
	bool		isnull[6] = {0};

	while (strcmp(eb_once_kind_name(kind), kind_name) != 0)
	{
		if (++kind == EB_ONCE_KINDS)
			eb_error_missing("kind of keys", kind_name, NULL);
	}
	view = kind == EB_ONCE_CONSUMER ? "consumer_status" : "dedup_status";
	if (pg_class_aclcheck(eb_relation_oid(view), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, view);
	if (!eb_once_read_row(kind, name, &row))
		eb_error_missing(kind_name, name, NULL);

	for (int i = 0; i < 2; i++)
	{
		if (OidIsValid(row.set.tables[i]))
			add_table(row.set.tables[i], eb_clock_now(), kind == EB_ONCE_CONSUMER, &stats);
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum((int64) (stats.entries + 0.5));
	values[1] = Int64GetDatum((int64) (stats.in_progress + 0.5));
	values[2] = Int64GetDatum((int64) (stats.failed + 0.5));
	values[3] = TimestampTzGetDatum(stats.first_expiry - row.set.ttl);
	isnull[3] = TIMESTAMP_IS_NOEND(stats.first_expiry);
	values[4] = Int64GetDatum(stats.bytes);
	values[5] = Int64GetDatum(row.duplicates + counter(&row.set, 0, false));
	isnull[5] = eb_shmem_section(EB_SHMEM_ONCE) == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
