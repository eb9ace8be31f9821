/*-------------------------------------------------------------------------
 *
 * queue_config.c
 *	  Queues as objects: create, change, drop, pause; looking one up.
 *
 * A queue is a row of eb.queues, a table eb.q_<name> (typed, owned by the
 * extension's owner, no privileges for anybody else) with its indexes
 * q_<name>$r (ready), $w (waiting) and $g (group; FIFO), and a view
 * eb.queue_<name>, which carries the privileges.  "$" cannot be part of a
 * queue's name, so the indexes of queue "a" never take the table name of
 * another queue.
 *
 * Locks: whoever changes configuration takes ShareUpdateExclusiveLock on
 * eb.queues first, so changes run one after the other and readers never
 * wait.  drop_queue then takes AccessExclusiveLock on the queue's table
 * before it looks for what refers to the queue; whoever adds a reference
 * holds AccessShareLock there (eb_queue_open).
 *
 * Rows are cached by name.  An entry is good as long as no invalidation of
 * eb.queues came in; index oids are checked again whenever the table is
 * opened, as REINDEX CONCURRENTLY changes them without touching eb.queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

/* Columns of eb.queues. */
enum
{
	Anum_name = 1,
	Anum_queue_id,
	Anum_queue_table,
	Anum_queue_view,
	Anum_fifo,
	Anum_is_dlq,
	Anum_dead_letter_queue,
	Anum_max_receive_count,
	Anum_visibility_timeout,
	Anum_delay,
	Anum_retention,
	Anum_backoff_base,
	Anum_backoff_factor,
	Anum_backoff_cap,
	Anum_min_redelivery_delay,
	Anum_max_per_group,
	Anum_dedup_window,
	Anum_content_dedup,
	Anum_paused
};

/* Settings, in the order of the SQL functions' arguments. */
typedef enum SettingNo
{
	VISIBILITY_TIMEOUT,
	DELAY,
	RETENTION,
	MAX_RECEIVE_COUNT,
	MAX_PER_GROUP,
	BACKOFF_BASE,
	BACKOFF_FACTOR,
	BACKOFF_CAP,
	MIN_REDELIVERY_DELAY,
	DEDUP_WINDOW,
	CONTENT_DEDUP,
	SETTINGS
} SettingNo;

typedef struct Setting
{
	const char *name;
	Oid			type;
	double		min;			/* intervals: microseconds */
	double		max;
	const char *range;			/* the two in words */
} Setting;

#define DAY		((double) USECS_PER_DAY)
#define YEAR	(366 * DAY)

static const Setting setting_defs[SETTINGS] = {
	[VISIBILITY_TIMEOUT] = {"visibility_timeout", INTERVALOID, 1000, YEAR, "between 1 millisecond and 1 year"},
	[DELAY] = {"delay", INTERVALOID, 0, YEAR, "between 0 and 1 year"},
	[RETENTION] = {"retention", INTERVALOID, USECS_PER_SEC, 100 * YEAR, "between 1 second and 100 years"},
	[MAX_RECEIVE_COUNT] = {"max_receive_count", INT4OID, 1, 1000000, "between 1 and 1000000"},
	[MAX_PER_GROUP] = {"max_per_group", INT4OID, 1, 10000, "between 1 and 10000"},
	[BACKOFF_BASE] = {"backoff_base", INTERVALOID, 0, YEAR, "between 0 and 1 year"},
	[BACKOFF_FACTOR] = {"backoff_factor", FLOAT8OID, 1, 100, "between 1 and 100"},
	[BACKOFF_CAP] = {"backoff_cap", INTERVALOID, 0, YEAR, "between 0 and 1 year"},
	[MIN_REDELIVERY_DELAY] = {"min_redelivery_delay", INTERVALOID, 0, YEAR, "between 0 and 1 year"},
	[DEDUP_WINDOW] = {"dedup_window", INTERVALOID, USECS_PER_SEC, YEAR, "between 1 second and 1 year"},
	[CONTENT_DEDUP] = {"content_dedup", BOOLOID, 0, 1, NULL},
};

/* Values of all settings; null: leave as it is. */
typedef struct SettingValues
{
	Datum		value[SETTINGS];
	bool		isnull[SETTINGS];
} SettingValues;

/* dead_letter_queue sits among the settings' arguments, after max_receive_count. */
#define SETTING_ARG(base, i)	((base) + (i) + ((i) > MAX_RECEIVE_COUNT ? 1 : 0))
#define DEAD_LETTER_ARG(base)	((base) + MAX_RECEIVE_COUNT + 1)
#define DESCRIPTION_ARG(base)	((base) + SETTINGS + 1)

/* Dead letters wait for a person. */
#define DLQ_RETENTION "14 days"

typedef struct CacheEntry
{
	EbQueue		queue;			/* its name is the hash key */
	uint64		generation;		/* of eb.queues, taken before the row was read */
} CacheEntry;

static HTAB *queue_cache = NULL;

/* ------------------------------------------------------------------ */
/* Looking up                                                         */
/* ------------------------------------------------------------------ */

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

	if (!eb_interval_microseconds(DatumGetIntervalP(value), &result))
		elog(ERROR, "interval in column %d of eb.queues is out of range", attno);
	return result;
}

static void
fill_from_row(EbQueue *queue, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		dlq;

#define ATTRIBUTE(attno) heap_getattr(tuple, attno, desc, &isnull)
	memset(queue, 0, sizeof(EbQueue));
	text_to_cstring_buffer(DatumGetTextPP(ATTRIBUTE(Anum_name)),
						   queue->name, NAMEDATALEN);
	queue->queue_id = DatumGetInt32(ATTRIBUTE(Anum_queue_id));
	queue->table = DatumGetObjectId(ATTRIBUTE(Anum_queue_table));
	queue->view = DatumGetObjectId(ATTRIBUTE(Anum_queue_view));
	queue->fifo = DatumGetBool(ATTRIBUTE(Anum_fifo));
	queue->is_dlq = DatumGetBool(ATTRIBUTE(Anum_is_dlq));
	queue->paused = DatumGetBool(ATTRIBUTE(Anum_paused));
	queue->content_dedup = DatumGetBool(ATTRIBUTE(Anum_content_dedup));
	dlq = ATTRIBUTE(Anum_dead_letter_queue);
	if (!isnull)
		text_to_cstring_buffer(DatumGetTextPP(dlq), queue->dead_letter_queue,
							   NAMEDATALEN);
	queue->max_receive_count = DatumGetInt32(ATTRIBUTE(Anum_max_receive_count));
	queue->max_per_group = DatumGetInt32(ATTRIBUTE(Anum_max_per_group));
	queue->backoff_factor = DatumGetFloat8(ATTRIBUTE(Anum_backoff_factor));
#undef ATTRIBUTE
	queue->visibility_timeout = interval_attribute(tuple, desc, Anum_visibility_timeout);
	queue->delay = interval_attribute(tuple, desc, Anum_delay);
	queue->retention = interval_attribute(tuple, desc, Anum_retention);
	queue->backoff_base = interval_attribute(tuple, desc, Anum_backoff_base);
	queue->backoff_cap = interval_attribute(tuple, desc, Anum_backoff_cap);
	queue->min_redelivery_delay = interval_attribute(tuple, desc, Anum_min_redelivery_delay);
	queue->dedup_window = interval_attribute(tuple, desc, Anum_dedup_window);
}

/* The committed row, without a look at the queue's table. */
static bool
read_row(const char *name, EbQueue *queue)
{
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;

	eb_config_key(&key, Anum_name, name);
	scan = eb_config_open(EB_QUEUES, 1, &key);
	tuple = eb_config_next(scan);
	if (tuple != NULL)
		fill_from_row(queue, tuple, eb_config_desc(scan));
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
		if (read_row(name, &queue))
		{
			table = try_table_open(queue.table, AccessShareLock);
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
		fill_from_row(queue, tuple, eb_config_desc(scan));

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

/* ------------------------------------------------------------------ */
/* Settings                                                           */
/* ------------------------------------------------------------------ */

static void
check_range(const char *queue, const Setting *setting, Datum value)
{
	double		number;
	int64		microseconds;
	Oid			output;
	bool		is_varlena;
	bool		ok;

	switch (setting->type)
	{
		case INTERVALOID:
			ok = eb_interval_microseconds(DatumGetIntervalP(value), &microseconds);
			number = (double) microseconds;
			break;
		case INT4OID:
			ok = true;
			number = DatumGetInt32(value);
			break;
		case FLOAT8OID:
			number = DatumGetFloat8(value);
			ok = !isnan(number);
			break;
		default:
			return;
	}
	if (ok && number >= setting->min && number <= setting->max)
		return;

	getTypeOutputInfo(setting->type, &output, &is_varlena);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" of queue \"%s\" is out of range", setting->name,
					OidOutputFunctionCall(output, value), queue),
			 errdetail("It must be %s.", setting->range)));
}

/*
 * Take settings from the arguments that begin at base.  null_ok: null keeps
 * what is there.
 */
static void
settings_from_arguments(FunctionCallInfo fcinfo, int base, bool null_ok,
						const char *queue, SettingValues *settings)
{
	for (int i = 0; i < SETTINGS; i++)
	{
		int			arg = SETTING_ARG(base, i);

		settings->isnull[i] = PG_ARGISNULL(arg);
		settings->value[i] = settings->isnull[i] ? (Datum) 0 : PG_GETARG_DATUM(arg);
		if (!settings->isnull[i])
			check_range(queue, &setting_defs[i], settings->value[i]);
		else if (!null_ok)
			eb_error_null(setting_defs[i].name);
	}
}

/* Settings that must fit each other; old: the queue's, or NULL if new. */
static void
check_together(const char *name, bool fifo, const EbQueue *old,
			   const SettingValues *settings)
{
	int64		microseconds[SETTINGS];
	int			max_per_group;
	bool		content_dedup;

#define INTERVAL_OF(i, field) \
	do { \
		if (settings->isnull[i]) \
			microseconds[i] = old->field; \
		else \
			(void) eb_interval_microseconds(DatumGetIntervalP(settings->value[i]), \
										 &microseconds[i]); \
	} while (0)
	INTERVAL_OF(DELAY, delay);
	INTERVAL_OF(RETENTION, retention);
	INTERVAL_OF(BACKOFF_BASE, backoff_base);
	INTERVAL_OF(BACKOFF_CAP, backoff_cap);
#undef INTERVAL_OF
	max_per_group = settings->isnull[MAX_PER_GROUP] ? old->max_per_group :
		DatumGetInt32(settings->value[MAX_PER_GROUP]);
	content_dedup = settings->isnull[CONTENT_DEDUP] ? old->content_dedup :
		DatumGetBool(settings->value[CONTENT_DEDUP]);

	if (microseconds[BACKOFF_CAP] < microseconds[BACKOFF_BASE])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("backoff_cap of queue \"%s\" is smaller than its backoff_base",
						name)));
	if (microseconds[DELAY] >= microseconds[RETENTION])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delay of queue \"%s\" is not shorter than its retention",
						name),
				 errdetail("Its messages would expire before anybody could receive them.")));
	if (!fifo && (max_per_group != 1 || content_dedup))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot be set for queue \"%s\"",
						content_dedup ? "content_dedup" : "max_per_group", name),
				 errdetail("It is a setting of FIFO queues.")));
}

/* ------------------------------------------------------------------ */
/* Create                                                             */
/* ------------------------------------------------------------------ */

/*
 * <name>_dlq; where that is too long, the name's beginning and a hash of the
 * whole keep it unique.
 */
static void
default_dlq_name(const char *name, char *result)
{
	if (strlen(name) + strlen("_dlq") <= EB_NAME_MAX)
		snprintf(result, NAMEDATALEN, "%s_dlq", name);
	else
		snprintf(result, NAMEDATALEN, "%.*s_%08x_dlq",
				 EB_NAME_MAX - 8 - (int) strlen("__dlq"), name,
				 hash_bytes((const unsigned char *) name, strlen(name)));
}

/* Configuration changes run one at a time. */
static void
lock_configuration(void)
{
	LockRelationOid(eb_table_oid(EB_QUEUES, false), ShareUpdateExclusiveLock);
}

static int32
next_queue_id(void)
{
	EbConfigScan *scan = eb_config_open(EB_QUEUES, 0, NULL);
	HeapTuple	tuple;
	int32		last = 0;

	while ((tuple = eb_config_next(scan)) != NULL)
	{
		bool		isnull;
		int32		id = DatumGetInt32(heap_getattr(tuple, Anum_queue_id,
													eb_config_desc(scan), &isnull));

		last = Max(last, id);
	}
	eb_config_close(scan);
	if (last == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("no queue id is left"),
				 errdetail("The highest id in eb.queues is %d.", last)));
	return last + 1;
}

/*
 * Table and indexes.  Not truncated by vacuum, which would take
 * AccessExclusiveLock on a queue each time that it runs empty; vacuumed by
 * number of dead rows rather than by share, so that a large backlog is not
 * walked over for each 2 % of change, and a small queue not all the time.
 */
static void
create_table(const char *name, bool fifo)
{
	const char *table = quote_identifier(psprintf("q_%s", name));

	eb_sql_execute("CREATE TABLE eb.%s OF eb.delivery (message_id WITH OPTIONS NOT NULL) USING heap "
				   "WITH (fillfactor = 100, vacuum_truncate = off, toast.vacuum_truncate = off, "
				   "autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0.02, "
				   "toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_scale_factor = 0.02)",
				   table);
#ifdef USE_LZ4
	eb_sql_execute("ALTER TABLE eb.%s ALTER COLUMN body SET COMPRESSION lz4, "
				   "ALTER COLUMN headers SET COMPRESSION lz4", table);
#endif
	eb_sql_execute("CREATE INDEX %s ON eb.%s (message_id) WHERE visible_at IS NULL",
				   quote_identifier(psprintf("q_%s$r", name)), table);
	eb_sql_execute("CREATE INDEX %s ON eb.%s (visible_at, message_id) WHERE visible_at IS NOT NULL",
				   quote_identifier(psprintf("q_%s$w", name)), table);
	if (fifo)
	{
		eb_sql_execute("CREATE INDEX %s ON eb.%s (group_id COLLATE \"C\", message_id)",
					   quote_identifier(psprintf("q_%s$g", name)), table);
		eb_fifo_storage_create();
	}
	eb_floor_storage_create(psprintf("q_%s", name));
}

static void
insert_row(const char *name, bool fifo, bool is_dlq, const char *dlq,
		   const SettingValues *settings, Datum description, bool no_description)
{
	Datum		values[8 + SETTINGS];
	Oid			types[8 + SETTINGS];
	char		nulls[8 + SETTINGS];
	int			n = 0;

#define ADD(type, value, isnull) \
	(types[n] = (type), values[n] = (value), nulls[n++] = (isnull) ? 'n' : ' ')
	ADD(TEXTOID, CStringGetTextDatum(name), false);
	ADD(INT4OID, Int32GetDatum(next_queue_id()), false);
	ADD(OIDOID, ObjectIdGetDatum(eb_relation_oid(psprintf("q_%s", name))), false);
	ADD(OIDOID, ObjectIdGetDatum(eb_relation_oid(psprintf("queue_%s", name))), false);
	ADD(BOOLOID, BoolGetDatum(fifo), false);
	ADD(BOOLOID, BoolGetDatum(is_dlq), false);
	ADD(TEXTOID, dlq ? CStringGetTextDatum(dlq) : (Datum) 0, dlq == NULL);
	ADD(TEXTOID, description, no_description);
	for (int i = 0; i < SETTINGS; i++)
		ADD(setting_defs[i].type, settings->value[i], settings->isnull[i]);
#undef ADD

	(void) eb_sql_with_args("INSERT INTO eb.queues (name, queue_id, queue_table, queue_view, fifo, is_dlq, "
							"dead_letter_queue, description, visibility_timeout, delay, retention, "
							"max_receive_count, max_per_group, backoff_base, backoff_factor, backoff_cap, "
							"min_redelivery_delay, dedup_window, content_dedup) "
							"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
							"$17, $18, $19)",
							n, types, values, nulls);
}

/*
 * Is there something else of this name, such as the view eb.queue_status for
 * a queue "status"?
 */
static void
check_name_is_free(const char *name)
{
	static const char *const prefixes[] = {"q", "queue"};

	for (int i = 0; i < (int) lengthof(prefixes); i++)
	{
		char	   *relname = psprintf("%s_%s", prefixes[i], name);

		if (OidIsValid(eb_relation_oid(relname)))
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("queue name \"%s\" cannot be used", name),
					 errdetail("Schema eb has another object named \"%s\".", relname)));
	}
}

/* Everything of one queue; name and settings were checked. */
static void
create_one(const char *name, bool fifo, bool is_dlq, const char *dlq,
		   const SettingValues *settings, Datum description, bool no_description)
{
	EbOwnerContext context;
	Oid			creator = GetUserId();

	eb_owner_begin(&context);
	create_table(name, fifo);
	eb_queue_view_create(name);
	if (creator != GetUserId())
		eb_sql_execute("GRANT ALL ON eb.%s TO %s WITH GRANT OPTION",
					   quote_identifier(psprintf("queue_%s", name)),
					   quote_identifier(GetUserNameFromId(creator, false)));
	insert_row(name, fifo, is_dlq, dlq, settings, description, no_description);
	eb_owner_end(&context);
}

/* ------------------------------------------------------------------ */
/* Dead-letter queues as configuration                                */
/* ------------------------------------------------------------------ */

/*
 * May dlq serve queue?  It must be a standard queue (a letter must never
 * wait for the lock of a group), and letters must not go round in circles.
 */
static void
check_dead_letter_queue(const char *queue, const EbQueue *dlq)
{
	EbQueue		next = *dlq;

	eb_check_view_privilege(dlq->view, EB_QUEUE_SEND, "queue", dlq->name);
	if (dlq->fifo)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue \"%s\" cannot be a dead-letter queue", dlq->name),
				 errdetail("It is a FIFO queue."),
				 errhint("Use a standard queue: dead letters keep their group, and a redrive restores it.")));
	for (;;)
	{
		if (strcmp(next.name, queue) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("queue \"%s\" cannot be the dead-letter queue of \"%s\"",
							dlq->name, queue),
					 errdetail("Its own dead letters lead back to \"%s\".", queue)));
		if (next.dead_letter_queue[0] == '\0' ||
			!read_row(pstrdup(next.dead_letter_queue), &next))
			break;
	}
}

static void
mark_as_dlq(const EbQueue *dlq)
{
	EbOwnerContext context;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];

	if (dlq->is_dlq)
		return;
	values[0] = CStringGetTextDatum(dlq->name);
	eb_owner_begin(&context);
	(void) eb_sql_with_args("UPDATE eb.queues SET is_dlq = true WHERE name = $1",
							1, types, values, NULL);
	eb_owner_end(&context);
}

/* The dead-letter queue of a new queue: use what is there, or make it. */
static void
ensure_dead_letter_queue(const char *queue, const char *name,
						 const SettingValues *source_settings)
{
	EbQueue		dlq;
	SettingValues settings = *source_settings;

	eb_check_name("queue", name);
	if (strcmp(name, queue) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue \"%s\" cannot be its own dead-letter queue", queue)));
	if (read_row(name, &dlq))
	{
		check_dead_letter_queue(queue, &dlq);
		mark_as_dlq(&dlq);
		return;
	}
	check_name_is_free(name);
	settings.value[RETENTION] = DirectFunctionCall3(interval_in, CStringGetDatum(DLQ_RETENTION),
													ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	settings.value[DELAY] = DirectFunctionCall3(interval_in, CStringGetDatum("0"),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	settings.value[MAX_PER_GROUP] = Int32GetDatum(1);
	settings.value[CONTENT_DEDUP] = BoolGetDatum(false);
	create_one(name, false, true, NULL, &settings,
			   CStringGetTextDatum(psprintf("Dead letters of %s", queue)), false);
}

/* ------------------------------------------------------------------ */
/* SQL: create, update, pause                                         */
/* ------------------------------------------------------------------ */

static char *
text_argument(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		eb_error_null(name);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

PG_FUNCTION_INFO_V1(eb_create_queue);

Datum
eb_create_queue(PG_FUNCTION_ARGS)
{
	char	   *name = text_argument(fcinfo, 0, "name");
	char	   *dlq;
	SettingValues settings;
	EbQueue		existing;
	bool		fifo;

	PreventCommandIfReadOnly("eb.create_queue()");
	if (PG_ARGISNULL(1))
		eb_error_null("fifo");
	fifo = PG_GETARG_BOOL(1);
	eb_check_name("queue", name);
	settings_from_arguments(fcinfo, 2, false, name, &settings);
	check_together(name, fifo, NULL, &settings);
	if (PG_ARGISNULL(DEAD_LETTER_ARG(2)))
	{
		dlq = palloc(NAMEDATALEN);
		default_dlq_name(name, dlq);
	}
	else
	{
		dlq = text_to_cstring(PG_GETARG_TEXT_PP(DEAD_LETTER_ARG(2)));
		if (dlq[0] == '\0')
			dlq = NULL;
	}

	lock_configuration();
	if (read_row(name, &existing))
		eb_error_exists("queue", name);
	check_name_is_free(name);
	if (dlq != NULL)
		ensure_dead_letter_queue(name, dlq, &settings);
	create_one(name, fifo, false, dlq, &settings,
			   PG_ARGISNULL(DESCRIPTION_ARG(2)) ? (Datum) 0 : PG_GETARG_DATUM(DESCRIPTION_ARG(2)),
			   PG_ARGISNULL(DESCRIPTION_ARG(2)));
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}

/* A queue that the current user is about to change. */
static EbQueue
queue_to_change(const char *name, const char *function)
{
	EbQueue		queue;

	PreventCommandIfReadOnly(function);
	lock_configuration();
	if (!read_row(name, &queue))
		eb_error_missing("queue", name, "Create it with eb.create_queue().");
	eb_check_view_privilege(queue.view, EB_QUEUE_ADMIN, "queue", name);
	return queue;
}

PG_FUNCTION_INFO_V1(eb_update_queue);

Datum
eb_update_queue(PG_FUNCTION_ARGS)
{
	char	   *name = text_argument(fcinfo, 0, "name");
	EbQueue		queue = queue_to_change(name, "eb.update_queue()");
	SettingValues settings;
	EbOwnerContext context;
	Oid			types[3 + SETTINGS];
	Datum		values[3 + SETTINGS];
	char		nulls[3 + SETTINGS];
	int			n = 0;

	settings_from_arguments(fcinfo, 1, true, name, &settings);
	check_together(name, queue.fifo, &queue, &settings);
	if (!PG_ARGISNULL(DEAD_LETTER_ARG(1)))
	{
		char	   *dlq_name = text_to_cstring(PG_GETARG_TEXT_PP(DEAD_LETTER_ARG(1)));
		EbQueue		dlq;

		if (dlq_name[0] != '\0')
		{
			if (!read_row(dlq_name, &dlq))
				eb_error_missing("queue", dlq_name, "Create it with eb.create_queue().");
			check_dead_letter_queue(name, &dlq);
			mark_as_dlq(&dlq);
		}
	}

#define ADD(type, value, isnull) \
	(types[n] = (type), values[n] = (value), nulls[n++] = (isnull) ? 'n' : ' ')
	ADD(TEXTOID, CStringGetTextDatum(name), false);
	for (int i = 0; i < SETTINGS; i++)
		ADD(setting_defs[i].type, settings.value[i], settings.isnull[i]);
	ADD(TEXTOID, PG_ARGISNULL(DEAD_LETTER_ARG(1)) ? (Datum) 0 : PG_GETARG_DATUM(DEAD_LETTER_ARG(1)),
		PG_ARGISNULL(DEAD_LETTER_ARG(1)));
	ADD(TEXTOID, PG_ARGISNULL(DESCRIPTION_ARG(1)) ? (Datum) 0 : PG_GETARG_DATUM(DESCRIPTION_ARG(1)),
		PG_ARGISNULL(DESCRIPTION_ARG(1)));
#undef ADD

	eb_owner_begin(&context);
	(void) eb_sql_with_args("UPDATE eb.queues SET "
							"visibility_timeout = coalesce($2, visibility_timeout), "
							"delay = coalesce($3, delay), "
							"retention = coalesce($4, retention), "
							"max_receive_count = coalesce($5, max_receive_count), "
							"max_per_group = coalesce($6, max_per_group), "
							"backoff_base = coalesce($7, backoff_base), "
							"backoff_factor = coalesce($8, backoff_factor), "
							"backoff_cap = coalesce($9, backoff_cap), "
							"min_redelivery_delay = coalesce($10, min_redelivery_delay), "
							"dedup_window = coalesce($11, dedup_window), "
							"content_dedup = coalesce($12, content_dedup), "
							"dead_letter_queue = nullif(coalesce($13, dead_letter_queue), ''), "
							"description = coalesce($14, description) "
							"WHERE name = $1",
							n, types, values, nulls);
	eb_owner_end(&context);
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}

static void
set_paused(FunctionCallInfo fcinfo, bool paused)
{
	char	   *name = text_argument(fcinfo, 0, "queue");
	Oid			types[2] = {TEXTOID, BOOLOID};
	Datum		values[2];
	EbOwnerContext context;
	EbQueue		queue;

	queue = queue_to_change(name, paused ? "eb.pause_queue()" : "eb.resume_queue()");
	values[0] = CStringGetTextDatum(name);
	values[1] = BoolGetDatum(paused);
	eb_owner_begin(&context);
	(void) eb_sql_with_args("UPDATE eb.queues SET paused = $2 WHERE name = $1 AND paused <> $2",
							2, types, values, NULL);
	eb_owner_end(&context);

	/* what came in meanwhile can be received now */
	if (!paused)
		eb_notify_pending(&queue, 0);
}

PG_FUNCTION_INFO_V1(eb_pause_queue);

Datum
eb_pause_queue(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, true);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_resume_queue);

Datum
eb_resume_queue(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, false);
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------ */
/* Drop                                                               */
/* ------------------------------------------------------------------ */

#define MAX_NAMED 10			/* references that an error lists */

/* Collects lines for a DETAIL. */
static void
add_reference(StringInfo detail, int *n, const char *line)
{
	if (++*n <= MAX_NAMED)
		appendStringInfo(detail, "%s%s", *n > 1 ? "\n" : "", line);
}

static void
finish_references(StringInfo detail, int n)
{
	if (n > MAX_NAMED)
		appendStringInfo(detail, "\nAnd %d more.", n - MAX_NAMED);
}

/* Refuse to drop what rules deliver to. */
static void
refuse_if_target(const char *name)
{
	EbConfigScan *scan = eb_config_open(EB_TARGETS, 0, NULL);
	TupleDesc	desc = eb_config_desc(scan);
	int			columns[5];
	static const char *const column_names[5] = {"bus", "rule", "name", "kind", "destination"};
	StringInfoData detail;
	HeapTuple	tuple;
	int			n = 0;

	for (int i = 0; i < 5; i++)
		columns[i] = get_attnum(TupleDescAttr(desc, 0)->attrelid, column_names[i]);
	initStringInfo(&detail);
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		char	   *value[5];
		bool		isnull;

		for (int i = 0; i < 5; i++)
			value[i] = TextDatumGetCString(heap_getattr(tuple, columns[i], desc, &isnull));
		if (strcmp(value[3], "queue") == 0 && strcmp(value[4], name) == 0)
			add_reference(&detail, &n,
						  psprintf("Rule \"%s\" of bus \"%s\" delivers to it (target \"%s\").",
								   value[1], value[0], value[2]));
	}
	eb_config_close(scan);
	if (n == 0)
		return;
	finish_references(&detail, n);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop queue \"%s\" because rules deliver to it", name),
			 errdetail("%s", detail.data),
			 errhint("Remove the targets with eb.remove_target() first.")));
}

/* How many other queues send their dead letters to name; lists them. */
static int
find_sources(const char *name, const char *except, StringInfo detail)
{
	EbConfigScan *scan = eb_config_open(EB_QUEUES, 0, NULL);
	HeapTuple	tuple;
	EbQueue		queue;
	int			n = 0;

	while ((tuple = eb_config_next(scan)) != NULL)
	{
		fill_from_row(&queue, tuple, eb_config_desc(scan));
		if (strcmp(queue.dead_letter_queue, name) == 0 &&
			(except == NULL || strcmp(queue.name, except) != 0) && detail)
			add_reference(detail, &n, psprintf("Queue \"%s\" sends its dead letters there.", queue.name));
		else if (strcmp(queue.dead_letter_queue, name) == 0 &&
				 (except == NULL || strcmp(queue.name, except) != 0))
			n++;
	}
	eb_config_close(scan);
	if (detail)
		finish_references(detail, n);
	return n;
}

static void
refuse_if_dead_letter_queue(const char *name)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (find_sources(name, name, &detail) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop queue \"%s\" because it is a dead-letter queue in use", name),
				 errdetail("%s", detail.data),
				 errhint("Give them another one, or none (''), with eb.update_queue(), or drop them first.")));
}

/* Any message at all; the caller has locked out everybody else. */
static bool
holds_messages(Oid relid)
{
	Relation	table = table_open(relid, NoLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(table, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(table, NoLock);
	return found;
}

/* Lock a queue's table against everybody; false if it is gone. */
static bool
lock_table_for_drop(const EbQueue *queue)
{
	Relation	table = try_table_open(queue->table, AccessExclusiveLock);

	if (table == NULL)
		return false;
	table_close(table, NoLock);
	return true;
}

static void
drop_one(const EbQueue *queue)
{
	EbOwnerContext context;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];

	values[0] = CStringGetTextDatum(queue->name);
	eb_owner_begin(&context);
	if (get_rel_name(queue->view) != NULL)
		eb_sql_execute("DROP VIEW eb.%s",
					   quote_identifier(psprintf("queue_%s", queue->name)));
	if (get_rel_name(queue->table) != NULL)
		eb_sql_execute("DROP TABLE eb.%s",
					   quote_identifier(psprintf("q_%s", queue->name)));
	(void) eb_sql_with_args("DELETE FROM eb.queues WHERE name = $1",
							1, types, values, NULL);

	/* the next queue may get this id */
	if (queue->fifo && OidIsValid(eb_relation_oid("deduplication")))
		eb_sql_execute("DELETE FROM eb.deduplication WHERE queue_id = %d", queue->queue_id);
	eb_owner_end(&context);
}

/*
 * The dead-letter queue that create_queue made beside a queue goes with it,
 * unless it serves another queue, too, or holds letters that nobody allowed
 * to drop.
 */
static void
drop_own_dead_letter_queue(const EbQueue *queue, bool with_dead_letters)
{
	char		own[NAMEDATALEN];
	EbQueue		dlq;

	default_dlq_name(queue->name, own);
	if (strcmp(queue->dead_letter_queue, own) != 0 || !read_row(own, &dlq) ||
		!dlq.is_dlq || find_sources(own, queue->name, NULL) > 0)
		return;
	if (pg_class_aclcheck(dlq.view, GetUserId(), EB_QUEUE_ADMIN) != ACLCHECK_OK)
	{
		ereport(NOTICE,
				(errmsg("dead-letter queue \"%s\" stays", own),
				 errdetail("You may not drop it.")));
		return;
	}
	if (lock_table_for_drop(&dlq) && !with_dead_letters && holds_messages(dlq.table))
	{
		ereport(NOTICE,
				(errmsg("dead-letter queue \"%s\" stays", own),
				 errdetail("It holds dead letters."),
				 errhint("Redrive them to another queue, or drop it with eb.drop_queue(%s, with_dead_letters => true).",
						 quote_literal_cstr(own))));
		return;
	}
	refuse_if_target(own);
	drop_one(&dlq);
}

PG_FUNCTION_INFO_V1(eb_drop_queue);

Datum
eb_drop_queue(PG_FUNCTION_ARGS)
{
	char	   *name = text_argument(fcinfo, 0, "name");
	bool		with_dead_letters;
	EbQueue		queue;

	if (PG_ARGISNULL(1))
		eb_error_null("with_dead_letters");
	with_dead_letters = PG_GETARG_BOOL(1);
	queue = queue_to_change(name, "eb.drop_queue()");

	/* from here on nobody adds a reference: that takes a lock on the table */
	if (lock_table_for_drop(&queue) && queue.is_dlq && !with_dead_letters &&
		holds_messages(queue.table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" holds dead letters", name),
				 errhint("Redrive or purge them first, or use eb.drop_queue(%s, with_dead_letters => true).",
						 quote_literal_cstr(name))));
	refuse_if_target(name);
	refuse_if_dead_letter_queue(name);
	drop_one(&queue);
	drop_own_dead_letter_queue(&queue, with_dead_letters);
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}
