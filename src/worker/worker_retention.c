/*-------------------------------------------------------------------------
 *
 * worker_retention.c
 *	  Old partitions of the event log: their index once nobody writes to them,
 *	  their end once their retention is over.
 *
 * The end of a leaf, a transaction each:
 *
 *	 1. Its COMMENT says that it is being removed; that mark is there to find
 *		it by, should we be interrupted after step 3.
 *	 2. With ShareLock on the leaf held for a moment, nobody is left who may
 *		still commit a delivery that names one of its events: who writes
 *		events and deliveries holds RowExclusiveLock to his end, prepared
 *		transactions, too.  If somebody is left, the next round tries again.
 *		Then the bodies of messages that still wait are copied into their rows.
 *	 3. DETACH PARTITION CONCURRENTLY, which waits for nobody but readers of
 *		the class as a whole and blocks nobody.
 *	 4. DROP TABLE.
 *
 * eb.maintain() is a procedure, where CONCURRENTLY is refused; there DROP
 * TABLE does it, with a lock_timeout.  Leaves that somebody detached himself
 * have no mark, and are left alone.
 *
 * A leaf that is closed gets btrees on id, on correlation id, and on source,
 * type and id, which are built in bulk for a fraction of what keeping them up
 * costs while rows come in, and one VACUUM FREEZE, so that no anti-wraparound
 * vacuum comes upon it when it is detached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "clock.h"
#include "log/log.h"
#include "worker/worker_internal.h"

#define CLOSING_MARK	"Expired: pg_eventbus is removing this partition."

/* Rows of a queue that one statement reads. */
#define COPY_BATCH		500

/*
 * How long DDL on a leaf waits for a lock.  Whoever comes after it waits as
 * long, so it is short; the next round tries again.
 */
#define LOCK_TIMEOUT	"200ms"

/* Somebody has a leaf in use: tried again and reported again after this. */
#define BUSY_MS			60000
#define REPORT_MS		600000

/* DETACH CONCURRENTLY waits without holding others up. */
#define DETACH_TIMEOUT	"10s"

/* One partition, copied out of the catalogs. */
typedef struct Leaf
{
	Oid			relid;
	int16		class;
	TimestampTz from;
	TimestampTz to;
	char		name[NAMEDATALEN];
	char		parent[NAMEDATALEN];	/* empty: detached already */
	bool		detaching;		/* DETACH CONCURRENTLY did not come to its end */
	bool		indexed;		/* has its btree */
	bool		frozen;
	bool		busy;			/* a transaction that wrote to it is open */
} Leaf;

typedef struct LeafList
{
	MemoryContext context;
	TimestampTz now;
	Leaf	   *leaves;
	int			n;
	int			room;
	TimestampTz next;			/* when the next leaf will qualify */
} LeafList;

static Leaf *
add_leaf(LeafList *list)
{
	Leaf	   *leaf;

	if (list->n == list->room)
	{
		list->room = Max(16, list->room * 2);
		list->leaves = list->leaves ?
			repalloc(list->leaves, list->room * sizeof(Leaf)) :
			MemoryContextAlloc(list->context, list->room * sizeof(Leaf));
	}
	leaf = &list->leaves[list->n++];
	memset(leaf, 0, sizeof(Leaf));
	return leaf;
}

static Leaf *
add_attached(LeafList *list, const EbLogLeaf *from)
{
	char	   *name = get_rel_name(from->relid);
	char	   *parent = get_rel_name(get_partition_parent(from->relid, true));
	Leaf	   *leaf;

	if (!name || !parent)
		return NULL;			/* dropped meanwhile */
	leaf = add_leaf(list);
	leaf->relid = from->relid;
	leaf->class = from->class;
	leaf->from = from->from;
	leaf->to = from->to;
	strlcpy(leaf->name, name, NAMEDATALEN);
	strlcpy(leaf->parent, parent, NAMEDATALEN);
	return leaf;
}

/* Set for the rest of the transaction. */
static void
set_lock_timeout(const char *value)
{
	(void) set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/* ---- finding what has expired ---- */

/* until[class]: leaves that end before it have expired. */
static TimestampTz
expiry_limit(int16 class, TimestampTz now, TimestampTz *keep_us)
{
	EbConfigScan *scan = eb_config_open(EB_RETENTION_CLASSES, 0, NULL);
	TimestampTz limit = DT_NOBEGIN;
	HeapTuple	tuple;

	while ((tuple = eb_config_next(scan)) != NULL)
	{
		TupleDesc	desc = eb_config_desc(scan);
		bool		isnull;
		Datum		keep;

		if (DatumGetInt16(heap_getattr(tuple, 1, desc, &isnull)) != class)
			continue;
		keep = heap_getattr(tuple, 2, desc, &isnull);
		if (isnull)
			break;				/* for ever */
		limit = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														TimestampTzGetDatum(now), keep));
		*keep_us = now - limit;
	}
	eb_config_close(scan);
	return limit;
}

/*
 * Leaves whose detaching was begun and not finished, or which were detached
 * and not dropped.  Both bear the mark.
 */
static void
list_interrupted(LeafList *list)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1];

	values[0] = ObjectIdGetDatum(eb_schema_oid());
	SPI_connect();
	if (SPI_execute_with_args("SELECT c.oid, c.relname, p.relname, coalesce(i.inhdetachpending, false)"
							  " FROM pg_catalog.pg_class c"
							  " LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid"
							  " LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent"
							  " WHERE c.relnamespace = $1 AND c.relkind = 'r'"
							  " AND (i.inhrelid IS NULL OR i.inhdetachpending)"
							  " AND pg_catalog.obj_description(c.oid, 'pg_class') = '" CLOSING_MARK "'",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for partitions that are being removed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Leaf	   *leaf = add_leaf(list);
		bool		isnull;
		Datum		d;

		leaf->relid = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		strlcpy(leaf->name, NameStr(*DatumGetName(SPI_getbinval(tuple, desc, 2, &isnull))),
				NAMEDATALEN);
		d = SPI_getbinval(tuple, desc, 3, &isnull);
		if (!isnull)
			strlcpy(leaf->parent, NameStr(*DatumGetName(d)), NAMEDATALEN);
		leaf->detaching = DatumGetBool(SPI_getbinval(tuple, desc, 4, &isnull));
	}
	SPI_finish();
}

static void
list_expired(void *arg)
{
	LeafList   *list = arg;
	EbLogLeaf  *leaves;
	int			n;
	int16		class = 0;
	TimestampTz limit = DT_NOBEGIN;
	TimestampTz keep = 0;

	list->next = DT_NOEND;
	if (!eb_worker_installed(NULL) || !OidIsValid(eb_table_oid(EB_EVENTS, true)))
		return;
	list_interrupted(list);
	n = eb_log_leaves(&leaves);
	for (int i = 0; i < n; i++)
	{
		if (leaves[i].class != class)
		{
			class = leaves[i].class;
			limit = expiry_limit(class, list->now, &keep);
		}
		if (limit == DT_NOBEGIN || leaves[i].to == DT_NOEND)
			continue;
		if (leaves[i].to <= limit)
			(void) add_attached(list, &leaves[i]);
		else
			list->next = Min(list->next, leaves[i].to + keep);
	}
}

/* ---- copying bodies ---- */

/* One row that names an event of the leaf. */
typedef struct Waiting
{
	Datum		ctid;
	Datum		message_id;
	Jsonb	   *body;			/* NULL: its event's envelope */
	Jsonb	   *headers;
	char	   *replay;			/* NULL: delivered when it was put */
} Waiting;

static void
write_copy(const char *table, Waiting *row, const EbEventPointer *pointer,
		   EbEvent *event, bool found)
{
	Oid			types[4] = {JSONBOID, JSONBOID, TIDOID, INT8OID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};

	if (!row->body)
		row->body = eb_queue_event_envelope(pointer, event, found, row->replay);
	if (!row->headers && found)
		row->headers = eb_queue_lasting_headers(event);
	values[0] = JsonbPGetDatum(row->body);
	values[1] = JsonbPGetDatum(row->headers);
	if (!row->headers)
		nulls[1] = 'n';
	values[2] = row->ctid;
	values[3] = row->message_id;
	(void) eb_sql_with_args(psprintf("UPDATE %s SET body = $1, headers = $2,"
									 " event_class = NULL, event_tid = NULL"
									 " WHERE ctid = $3 AND message_id = $4", table),
							4, types, values, nulls);
}

/* The lowest id of an instant: its tick with no random bits. */
static void
first_uuid(TimestampTz at, pg_uuid_t *uuid)
{
	eb_tick_uuid(eb_time_tick(at), uuid);
	uuid->data[9] &= 0xf0;
	memset(&uuid->data[10], 0, UUID_LEN - 10);
}

/* Returns how many rows there were, at most COPY_BATCH. */
static int
copy_batch(const EbQueue *queue, const char *table, const Leaf *leaf)
{
	Oid			types[3] = {INT2OID, UUIDOID, UUIDOID};
	Datum		values[3];
	pg_uuid_t	low;
	pg_uuid_t	high;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Waiting    *rows;
	EbEventPointer *pointers;
	EbEvent    *events;
	bool	   *found;
	EbLogReader *reader;
	int			n;

	first_uuid(leaf->from, &low);
	first_uuid(leaf->to, &high);
	values[0] = Int16GetDatum(leaf->class);
	values[1] = UUIDPGetDatum(&low);
	values[2] = UUIDPGetDatum(&high);

	/* not read-only, for a snapshot that is newer than lock and updates */
	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT ctid, message_id, event_id, event_tid, body, headers, replay"
									   " FROM %s WHERE event_class = $1"
									   " AND event_id >= $2 AND event_id < $3 LIMIT %d",
									   table, COPY_BATCH),
							  3, types, values, NULL, false, COPY_BATCH) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", table);
	n = (int) SPI_processed;
	old = MemoryContextSwitchTo(caller);
	rows = palloc0(Max(n, 1) * sizeof(Waiting));
	pointers = palloc0(Max(n, 1) * sizeof(EbEventPointer));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		d;

		rows[i].ctid = datumCopy(SPI_getbinval(tuple, desc, 1, &isnull), false,
								 sizeof(ItemPointerData));
		rows[i].message_id = SPI_getbinval(tuple, desc, 2, &isnull);
		pointers[i].id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 3, &isnull));
		pointers[i].class = leaf->class;
		d = SPI_getbinval(tuple, desc, 4, &isnull);
		if (isnull)
			ItemPointerSetInvalid(&pointers[i].tid);
		else
			pointers[i].tid = *(ItemPointer) DatumGetPointer(d);
		d = SPI_getbinval(tuple, desc, 5, &isnull);
		rows[i].body = isnull ? NULL : DatumGetJsonbPCopy(d);
		d = SPI_getbinval(tuple, desc, 6, &isnull);
		rows[i].headers = isnull ? NULL : DatumGetJsonbPCopy(d);
		rows[i].replay = SPI_getvalue(tuple, desc, 7);
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
	if (n == 0)
		return 0;

	/* consumers who look meanwhile pass these rows by, however this ends */
	eb_notify_taken(queue);
	eb_notify_pending(queue, 0);
	events = palloc0(n * sizeof(EbEvent));
	found = palloc0(n * sizeof(bool));
	reader = eb_log_reader_open();
	eb_log_fetch(reader, n, pointers, events, found);
	eb_log_reader_close(reader);
	for (int i = 0; i < n; i++)
		write_copy(table, &rows[i], &pointers[i], &events[i], found[i]);
	CommandCounterIncrement();
	return n;
}

/*
 * Mark the leaf, in a transaction of its own: who would name its events from
 * now on sees the mark once he has a lock on it.
 */
static void
mark_closing(void *arg)
{
	Leaf	   *leaf = arg;
	EbOwnerContext owner;

	set_lock_timeout(LOCK_TIMEOUT);
	eb_owner_begin(&owner);
	eb_sql_execute("COMMENT ON TABLE eb.%s IS '" CLOSING_MARK "'",
				   quote_identifier(leaf->name));
	eb_owner_end(&owner);
}

/* Now and then, as it may last. */
static void
report_busy(const Leaf *leaf)
{
	static Oid	reported = InvalidOid;
	static TimestampTz reported_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (leaf->relid == reported &&
		!TimestampDifferenceExceeds(reported_at, now, REPORT_MS))
		return;
	reported = leaf->relid;
	reported_at = now;
	ereport(LOG,
			(errmsg("partition \"%s\" of the event log has expired, but an open transaction has written to it",
					leaf->name),
			 errhint("Look for old transactions in pg_stat_activity and pg_prepared_xacts.")));
}

static void
copy_bodies(void *arg)
{
	Leaf	   *leaf = arg;
	EbOwnerContext owner;
	EbQueue    *queues;
	int			n;
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext,
												"pg_eventbus bodies to keep",
												ALLOCSET_DEFAULT_SIZES);

	/* not a wait: the next round will come */
	leaf->busy = !ConditionalLockRelationOid(leaf->relid, ShareLock);
	if (leaf->busy)
	{
		report_busy(leaf);
		return;
	}
	set_lock_timeout(LOCK_TIMEOUT);
	eb_owner_begin(&owner);
	n = eb_queue_list(&queues);
	for (int i = 0; i < n; i++)
	{
		char	   *table = psprintf("eb.%s", quote_identifier(get_rel_name(queues[i].table)));
		int			copied;

		do
		{
			MemoryContext old = MemoryContextSwitchTo(batch);

			CHECK_FOR_INTERRUPTS();
			copied = copy_batch(&queues[i], table, leaf);
			MemoryContextSwitchTo(old);
			MemoryContextReset(batch);
		} while (copied == COPY_BATCH);
	}
	eb_owner_end(&owner);
}

static void
drop_leaf(void *arg)
{
	Leaf	   *leaf = arg;
	EbOwnerContext owner;

	set_lock_timeout(LOCK_TIMEOUT);
	eb_owner_begin(&owner);
	eb_sql_execute("DROP TABLE eb.%s", quote_identifier(leaf->name));
	eb_owner_end(&owner);
}

static bool
toplevel(EbMaintenance *m, const char *timeout, char *sql)
{
	bool		ok;

	SetConfigOption("lock_timeout", timeout, PGC_SUSET, PGC_S_OVERRIDE);
	ok = eb_worker_run_toplevel(sql);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	m->failed |= !ok;
	return ok;
}

/* Returns false if DETACH is not through: only one at a time can be in a class. */
static bool
remove_leaf(EbMaintenance *m, Leaf *leaf)
{
	const char *parent = quote_identifier(leaf->parent);
	const char *name = quote_identifier(leaf->name);

	if (leaf->parent[0] && !leaf->detaching)
	{
		if (!eb_maintenance_step(m, "mark an expired partition", mark_closing, leaf) ||
			!eb_maintenance_step(m, "copy bodies out of an expired partition", copy_bodies, leaf))
			return true;
		if (leaf->busy)
		{
			eb_maintenance_due(m, TimestampTzPlusMilliseconds(eb_clock_now(), BUSY_MS));
			return true;
		}
		if (!m->by_hand &&
			!toplevel(m, DETACH_TIMEOUT,
					  psprintf("ALTER TABLE eb.%s DETACH PARTITION eb.%s CONCURRENTLY",
							   parent, name)))
			return false;
	}
	else if (leaf->detaching && !m->by_hand &&
			 !toplevel(m, DETACH_TIMEOUT,
					   psprintf("ALTER TABLE eb.%s DETACH PARTITION eb.%s FINALIZE",
								parent, name)))
		return false;
	(void) eb_maintenance_step(m, "drop an expired partition", drop_leaf, leaf);
	return true;
}

void
eb_retention_round(EbMaintenance *m)
{
	LeafList	list = {.context = CurrentMemoryContext,.now = eb_clock_now()};
	const char *stuck = NULL;

	if (!eb_maintenance_step(m, "look for expired partitions", list_expired, &list))
		return;
	for (int i = 0; i < list.n; i++)
	{
		Leaf	   *leaf = &list.leaves[i];

		if (stuck && strcmp(stuck, leaf->parent) == 0)
			continue;
		if (!remove_leaf(m, leaf))
			stuck = leaf->parent;
	}
	eb_maintenance_due(m, list.next);
}

/* ---- open and closed leaves ---- */

static bool
leaf_has_btree(Relation rel, Oid *brin)
{
	bool		found = false;
	ListCell   *cell;

	*brin = InvalidOid;
	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indkey.values[0] == get_attnum(RelationGetRelid(rel), "id"))
		{
			if (index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid)
				found = true;
			else if (index->rd_rel->relam == BRIN_AM_OID)
				*brin = RelationGetRelid(index);
		}
		index_close(index, AccessShareLock);
	}
	return found;
}

/*
 * Look-ups by id scan what is not summarized.  Not while vacuum is at it,
 * which does the same.
 */
static void
summarize(Oid relid, Oid brin)
{
	EbOwnerContext owner;

	if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return;
	eb_owner_begin(&owner);
	(void) DirectFunctionCall1(brin_summarize_new_values, ObjectIdGetDatum(brin));
	eb_owner_end(&owner);
}

/* Leaves that are closed and lack something; summarizes those that are open. */
static void
list_leaves(void *arg)
{
	LeafList   *list = arg;
	EbLogLeaf  *leaves;
	int			n;

	list->next = DT_NOEND;
	if (!eb_worker_installed(NULL) || !OidIsValid(eb_table_oid(EB_EVENTS, true)))
		return;
	n = eb_log_leaves(&leaves);
	for (int i = 0; i < n; i++)
	{
		Relation	rel = try_table_open(leaves[i].relid, AccessShareLock);
		Oid			brin;
		bool		btree;
		bool		frozen;

		if (!rel)
			continue;
		btree = leaf_has_btree(rel, &brin);
		frozen = rel->rd_rel->relpages == 0 ? RelationGetNumberOfBlocks(rel) == 0 :
			rel->rd_rel->relallvisible >= rel->rd_rel->relpages;
		if (leaves[i].to > list->now)
		{
			if (leaves[i].from <= list->now && OidIsValid(brin))
				summarize(leaves[i].relid, brin);
			if (RelationGetNumberOfBlocks(rel) > 0)
				list->next = Min(list->next, leaves[i].to);
		}
		else if ((!btree || !frozen) && RelationGetNumberOfBlocks(rel) > 0)
		{
			Leaf	   *leaf = add_attached(list, &leaves[i]);

			if (leaf)
			{
				leaf->indexed = btree;
				leaf->frozen = frozen;
			}
		}
		table_close(rel, AccessShareLock);
	}
}

/*
 * Publishers may use texts of any length, a btree takes entries of a third of
 * a page.  A hash index takes all, but no ranges.
 */
#define BTREE_TEXT_MAX	2500

static bool
fits_btree(const Leaf *leaf, const char *length)
{
	EbSqlArgs	none = {0};

	return eb_sql_run(psprintf("SELECT FROM eb.%s WHERE %s > %d LIMIT 1",
							   quote_identifier(leaf->name), length, BTREE_TEXT_MAX),
					  &none) == 0;
}

static void
index_leaf(void *arg)
{
	Leaf	   *leaf = arg;
	EbOwnerContext owner;

	/* somebody who began before it was closed still writes: another time */
	leaf->busy = !ConditionalLockRelationOid(leaf->relid, ShareLock);
	if (leaf->busy)
		return;
	eb_owner_begin(&owner);
	eb_sql_execute("CREATE INDEX ON eb.%s %s (correlation_id) WHERE correlation_id IS NOT NULL",
				   quote_identifier(leaf->name),
				   fits_btree(leaf, "octet_length(correlation_id)") ? "USING btree" : "USING hash");
	if (fits_btree(leaf, "octet_length(source) + octet_length(detail_type)"))
		eb_sql_execute("CREATE INDEX ON eb.%s (source, detail_type, id)",
					   quote_identifier(leaf->name));

	/* last: it is how a leaf is known to have them all */
	eb_sql_execute("CREATE INDEX ON eb.%s (id)", quote_identifier(leaf->name));
	eb_owner_end(&owner);
}

/*
 * A leaf cannot be frozen while an old snapshot is open; then it is tried
 * again, but not in each round, as that reads all of it.
 */
#define FREEZE_RETRY_MS		(3600 * 1000)

static bool
freeze_is_due(Oid relid)
{
	static struct
	{
		Oid			relid;
		TimestampTz at;
	}			tried[64];
	static int	next = 0;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < (int) lengthof(tried); i++)
	{
		if (tried[i].relid != relid)
			continue;
		if (!TimestampDifferenceExceeds(tried[i].at, now, FREEZE_RETRY_MS))
			return false;
		tried[i].at = now;
		return true;
	}
	tried[next].relid = relid;
	tried[next].at = now;
	next = (next + 1) % lengthof(tried);
	return true;
}

void
eb_leaves_round(EbMaintenance *m)
{
	LeafList	list = {.context = CurrentMemoryContext,.now = eb_clock_now()};

	if (!eb_maintenance_step(m, "look after partitions", list_leaves, &list))
		return;
	for (int i = 0; i < list.n; i++)
	{
		Leaf	   *leaf = &list.leaves[i];

		if (!leaf->indexed)
			(void) eb_maintenance_step(m, "index a closed partition", index_leaf, leaf);
		if (leaf->busy)
			eb_maintenance_due(m, TimestampTzPlusMilliseconds(eb_clock_now(), BUSY_MS));
		else if (!leaf->frozen && !m->by_hand && freeze_is_due(leaf->relid))
			(void) toplevel(m, LOCK_TIMEOUT,
							psprintf("VACUUM (FREEZE) eb.%s", quote_identifier(leaf->name)));
	}
	eb_maintenance_due(m, list.next);
}
