/*-------------------------------------------------------------------------
 *
 * queue_lookup.c
 *	  A queue's configuration and oids by name.
 *
 * Rows of eb.queues are cached by name.  An entry is good as long as no
 * invalidation of eb.queues came in; index oids are checked again whenever
 * the table is opened, as REINDEX CONCURRENTLY changes them without touching
 * eb.queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "queue/queue_internal.h"

typedef struct CacheEntry
{
	EbQueue		queue;			/* its name is the hash key */
	uint64		generation;		/* of eb.queues, taken before the row was read */
} CacheEntry;

static HTAB *queue_cache = NULL;

/* Infinite intervals (PostgreSQL 17) do not fit either. */
bool
eb_interval_microseconds(const Interval *interval, int64 *result)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;

	return !pg_mul_s64_overflow(days, USECS_PER_DAY, result) &&
		!pg_add_s64_overflow(*result, interval->time, result);
}

int64
eb_delay_microseconds(const Interval *delay)
{
	int64		result;

	if (!eb_interval_microseconds(delay, &result) || result < 0 ||
		result > EB_MAX_DELAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delay \"%s\" is out of range",
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(delay)))),
				 errdetail("It must be between 0 and 1 year.")));
	return result;
}

static int64
interval_attribute(HeapTuple tuple, TupleDesc desc, AttrNumber attno)
{
	bool		isnull;
	int64		result;
	Datum		value = heap_getattr(tuple, attno, desc, &isnull);

	if (isnull || !eb_interval_microseconds(DatumGetIntervalP(value), &result))
		elog(ERROR, "interval in column %d of eb.queues is null or out of range", attno);
	return result;
}

void
eb_queue_from_row(EbQueue *queue, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		dlq;

#define ATTRIBUTE(attno) heap_getattr(tuple, attno, desc, &isnull)
	memset(queue, 0, sizeof(EbQueue));
	text_to_cstring_buffer(DatumGetTextPP(ATTRIBUTE(EB_QUEUES_NAME)),
						   queue->name, NAMEDATALEN);
	queue->queue_id = DatumGetInt32(ATTRIBUTE(EB_QUEUES_QUEUE_ID));
	queue->table = DatumGetObjectId(ATTRIBUTE(EB_QUEUES_QUEUE_TABLE));
	queue->view = DatumGetObjectId(ATTRIBUTE(EB_QUEUES_QUEUE_VIEW));
	queue->fifo = DatumGetBool(ATTRIBUTE(EB_QUEUES_FIFO));
	queue->is_dlq = DatumGetBool(ATTRIBUTE(EB_QUEUES_IS_DLQ));
	queue->paused = DatumGetBool(ATTRIBUTE(EB_QUEUES_PAUSED));
	queue->content_dedup = DatumGetBool(ATTRIBUTE(EB_QUEUES_CONTENT_DEDUP));
	dlq = ATTRIBUTE(EB_QUEUES_DEAD_LETTER_QUEUE);
	if (!isnull)
		text_to_cstring_buffer(DatumGetTextPP(dlq), queue->dead_letter_queue,
							   NAMEDATALEN);
	queue->max_receive_count = DatumGetInt32(ATTRIBUTE(EB_QUEUES_MAX_RECEIVE_COUNT));
	queue->max_per_group = DatumGetInt32(ATTRIBUTE(EB_QUEUES_MAX_PER_GROUP));
	queue->backoff_factor = DatumGetFloat8(ATTRIBUTE(EB_QUEUES_BACKOFF_FACTOR));
#undef ATTRIBUTE
	queue->visibility_timeout = interval_attribute(tuple, desc, EB_QUEUES_VISIBILITY_TIMEOUT);
	queue->delay = interval_attribute(tuple, desc, EB_QUEUES_DELAY);
	queue->retention = interval_attribute(tuple, desc, EB_QUEUES_RETENTION);
	queue->backoff_base = interval_attribute(tuple, desc, EB_QUEUES_BACKOFF_BASE);
	queue->backoff_cap = interval_attribute(tuple, desc, EB_QUEUES_BACKOFF_CAP);
	queue->min_redelivery_delay = interval_attribute(tuple, desc, EB_QUEUES_MIN_REDELIVERY_DELAY);
	queue->dedup_window = interval_attribute(tuple, desc, EB_QUEUES_DEDUP_WINDOW);
}

bool
eb_queue_read(const char *name, EbQueue *queue)
{
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;

	eb_config_key(&key, EB_QUEUES_NAME, name);
	scan = eb_config_open(EB_QUEUES, 1, &key);
	tuple = eb_config_next(scan);
	if (tuple != NULL)
		eb_queue_from_row(queue, tuple, eb_config_desc(scan));
	eb_config_close(scan);
	return tuple != NULL;
}

/*
 * Indexes are known by name: other indexes that the owner may have added do
 * not matter to us.
 */
static void
find_indexes(EbQueue *queue, Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *lc;
	size_t		prefix = strlen(queue->name) + 2;

	queue->ready_index = queue->waiting_index = queue->group_index = InvalidOid;
	foreach(lc, indexes)
	{
		char	   *name = get_rel_name(lfirst_oid(lc));

		if (name == NULL || strncmp(name, "q_", 2) != 0 ||
			strncmp(name + 2, queue->name, prefix - 2) != 0)
			continue;
		if (strcmp(name + prefix, "$r") == 0)
			queue->ready_index = lfirst_oid(lc);
		else if (strcmp(name + prefix, "$w") == 0)
			queue->waiting_index = lfirst_oid(lc);
		else if (strcmp(name + prefix, "$g") == 0)
			queue->group_index = lfirst_oid(lc);
	}
	list_free(indexes);

	if (!OidIsValid(queue->ready_index) || !OidIsValid(queue->waiting_index) ||
		(queue->fifo && !OidIsValid(queue->group_index)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("an index of queue \"%s\" does not exist", queue->name),
				 errdetail("The table eb.%s needs the indexes $r and $w, and $g if it is a FIFO queue.",
						   quote_identifier(RelationGetRelationName(table)))));
}

static CacheEntry *
cache_find(const char *name, HASHACTION action)
{
	if (queue_cache == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = NAMEDATALEN;
		ctl.entrysize = sizeof(CacheEntry);
		queue_cache = hash_create("eb queue configuration", 64, &ctl,
								  HASH_ELEM | HASH_STRINGS);
	}
	return hash_search(queue_cache, name, action, NULL);
}

/*
 * The table of a queue is gone: with the queue, by a transaction whose end we
 * waited for, or by hand.
 */
static bool
dropped_meanwhile(const EbQueue *queue)
{
	EbQueue		now;

	return !eb_queue_read(queue->name, &now) || now.table != queue->table;
}

const EbQueue *
eb_queue_lookup(const char *name, bool missing_ok)
{
	uint64		generation;
	CacheEntry *entry;
	EbQueue		queue;
	Relation	table;

	AcceptInvalidationMessages();
	generation = eb_catalog_generation(EB_QUEUES);
	if (strlen(name) < NAMEDATALEN)
	{
		entry = cache_find(name, HASH_FIND);
		if (likely(entry != NULL && entry->generation == generation))
			return &entry->queue;
		while (eb_queue_read(name, &queue))
		{
			table = try_table_open(queue.table, AccessShareLock);
			if (table == NULL && dropped_meanwhile(&queue))
				continue;
			if (table == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_TABLE),
						 errmsg("table of queue \"%s\" does not exist", name),
						 errhint("Remove what is left of the queue with eb.drop_queue().")));
			find_indexes(&queue, table);
			table_close(table, AccessShareLock);

			entry = cache_find(name, HASH_ENTER);
			entry->queue = queue;
			entry->generation = generation;
			return &entry->queue;
		}
		if (entry != NULL)
			(void) cache_find(name, HASH_REMOVE);
	}
	if (!missing_ok)
		eb_error_missing("queue", name, "Create it with eb.create_queue().");
	return NULL;
}

Relation
eb_queue_open(const EbQueue *queue, LOCKMODE lockmode)
{
	Relation	table = try_table_open(queue->table, lockmode);
	List	   *indexes;

	if (table == NULL)
		eb_error_missing("queue", queue->name, "Create it with eb.create_queue().");

	indexes = RelationGetIndexList(table);
	if (!list_member_oid(indexes, queue->ready_index) ||
		!list_member_oid(indexes, queue->waiting_index) ||
		(queue->fifo && !list_member_oid(indexes, queue->group_index)))
		find_indexes(unconstify(EbQueue *, queue), table);
	list_free(indexes);
	return table;
}

int
eb_queue_list(EbQueue **queues)
{
	EbConfigScan *scan = eb_config_open(EB_QUEUES, 0, NULL);
	HeapTuple	tuple;
	int			n = 0,
				allocated = 16;

	*queues = palloc(allocated * sizeof(EbQueue));
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		EbQueue    *queue;
		Relation	table;

		if (n == allocated)
		{
			allocated *= 2;
			*queues = repalloc_huge(*queues, allocated * sizeof(EbQueue));
		}
		queue = &(*queues)[n];
		eb_queue_from_row(queue, tuple, eb_config_desc(scan));

		/* one whose table was dropped by hand holds nothing */
		table = try_table_open(queue->table, AccessShareLock);
		if (table == NULL)
			continue;
		find_indexes(queue, table);
		table_close(table, AccessShareLock);
		n++;
	}
	eb_config_close(scan);
	return n;
}
