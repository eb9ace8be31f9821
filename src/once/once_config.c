/*-------------------------------------------------------------------------
 *
 * once_config.c
 *	  Sets of keys as objects: make, change, drop; consumers; looking one up.
 *
 * A set is a row of eb.key_windows and two tables, each with a unique index:
 *
 *	 once_<name>$0, $1			of a consumer, typed eb.processed
 *	 dedup_bus_<name>$0, $1		of a bus, typed eb.published
 *	 dedup_queue_<name>$0, $1	of a FIFO queue, typed eb.published
 *
 * "$" cannot be part of a name, so these never collide with each other.  The
 * tables are the owner's, and nobody else has a privilege on them; what
 * consumers may do hangs on the view eb.consumer_<name>.
 *
 * A change of the time to live moves the borders between windows.  Entries
 * made before it may live as long as the old time said, so nothing is
 * truncated until that has passed; the maintainer starts that time when it
 * first sees the change committed (once_rotate.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "once/once_internal.h"

static const struct
{
	const char *name;
	const char *prefix;			/* of the tables */
	const char *type;			/* of their rows */
	const char *create;			/* for the HINT where one does not exist */
}			kinds[EB_ONCE_KINDS] = {
	[EB_ONCE_CONSUMER] = {"consumer", "once", "processed", "Create it with eb.create_consumer()."},
	[EB_ONCE_BUS] = {"bus", "dedup_bus", "published", "Create it with eb.create_bus()."},
	[EB_ONCE_QUEUE] = {"queue", "dedup_queue", "published", "Create it with eb.create_queue()."},
};

typedef struct CacheKey
{
	EbOnceKind	kind;
	char		name[NAMEDATALEN];	/* filled up with zeros */
} CacheKey;

typedef struct CacheEntry
{
	CacheKey	key;
	uint64		generation;		/* of eb.key_windows, taken before the row was read */
	EbOnceSet	set;
} CacheEntry;

static HTAB *cache = NULL;

/* ------------------------------------------------------------------ */
/* Looking up                                                         */
/* ------------------------------------------------------------------ */

const char *
eb_once_kind_name(EbOnceKind kind)
{
	return kinds[kind].name;
}

/*
 * Microseconds of an interval: days of 24 hours, months of 30 days.  False if
 * it does not fit (infinite intervals of PostgreSQL 17 do not).
 */
bool
eb_once_microseconds(const Interval *interval, int64 *result)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;

	return !pg_mul_s64_overflow(days, USECS_PER_DAY, result) &&
		!pg_add_s64_overflow(*result, interval->time, result);
}

/*
 * How long a table is written: longer than entries live, so that there is
 * time to empty the other one in each window.
 */
static void
set_times(EbOnceSet *set, int64 ttl)
{
	int64		gap;

	set->ttl = ttl;

	/* a lease may be longer than the time to live; see once_lease.c */
	set->reach = set->kind == EB_ONCE_CONSUMER ? Max(ttl, EB_ONCE_LEASE_MAX) : ttl;
	gap = Min(Max(set->reach / 2, EB_ONCE_MIN_GAP), USECS_PER_DAY);
	set->window = set->reach + gap;
}

void
eb_once_fill(EbOnceRow *row, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char	   *kind;
	int64		microseconds;
	Datum		value;

#define ATTRIBUTE(attno) heap_getattr(tuple, attno, desc, &isnull)
	memset(row, 0, sizeof(EbOnceRow));
	kind = TextDatumGetCString(ATTRIBUTE(EB_KEY_WINDOWS_KIND));
	while (strcmp(kinds[row->set.kind].name, kind) != 0)
	{
		if (++row->set.kind == EB_ONCE_KINDS)
			elog(ERROR, "unknown kind \"%s\" in eb.key_windows", kind);
	}
	text_to_cstring_buffer(DatumGetTextPP(ATTRIBUTE(EB_KEY_WINDOWS_NAME)),
						   row->set.name, NAMEDATALEN);
	value = ATTRIBUTE(EB_KEY_WINDOWS_TTL);
	if (isnull || !eb_once_microseconds(DatumGetIntervalP(value), &microseconds))
		elog(ERROR, "interval of %s \"%s\" in eb.key_windows is out of range",
			 kind, row->set.name);
	set_times(&row->set, microseconds);

	value = ATTRIBUTE(EB_KEY_WINDOWS_PREVIOUS_TTL);
	row->changed = !isnull;
	if (row->changed && !eb_once_microseconds(DatumGetIntervalP(value),
											  &row->previous_ttl))
		elog(ERROR, "interval of %s \"%s\" in eb.key_windows is out of range",
			 kind, row->set.name);
	value = ATTRIBUTE(EB_KEY_WINDOWS_HOLD_UNTIL);
	row->holds = !isnull;
	row->hold_until = isnull ? 0 : DatumGetTimestampTz(value);
	value = ATTRIBUTE(EB_KEY_WINDOWS_DUPLICATES);
	row->duplicates = DatumGetInt64(value);
#undef ATTRIBUTE

	for (int i = 0; i < 2; i++)
		row->set.tables[i] = eb_relation_oid(psprintf("%s_%s$%d", kinds[row->set.kind].prefix,
													  row->set.name, i));
	if (row->set.kind == EB_ONCE_CONSUMER)
		row->set.view = eb_relation_oid(psprintf("consumer_%s", row->set.name));
}

bool
eb_once_read_row(EbOnceKind kind, const char *name, EbOnceRow *row)
{
	ScanKeyData keys[2];
	EbConfigScan *scan;
	HeapTuple	tuple;

	eb_config_key(&keys[0], EB_KEY_WINDOWS_KIND, kinds[kind].name);
	eb_config_key(&keys[1], EB_KEY_WINDOWS_NAME, name);
	scan = eb_config_open(EB_KEY_WINDOWS, 2, keys);
	tuple = eb_config_next(scan);
	if (tuple != NULL)
		eb_once_fill(row, tuple, eb_config_desc(scan));
	eb_config_close(scan);
	return tuple != NULL;
}

static CacheEntry *
cache_find(EbOnceKind kind, const char *name, HASHACTION action)
{
	CacheKey	key;

	if (cache == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(CacheKey),.entrysize = sizeof(CacheEntry)};

		cache = hash_create("pg_eventbus sets of keys", 64, &ctl,
							HASH_ELEM | HASH_BLOBS);
	}
	memset(&key, 0, sizeof(key));
	key.kind = kind;
	strlcpy(key.name, name, NAMEDATALEN);
	return hash_search(cache, &key, action, NULL);
}

const EbOnceSet *
eb_once_lookup(EbOnceKind kind, const char *name, bool missing_ok)
{
	uint64		generation;
	CacheEntry *entry;
	EbOnceRow	row;

	AcceptInvalidationMessages();
	generation = eb_catalog_generation(EB_KEY_WINDOWS);
	if (strlen(name) < NAMEDATALEN)
	{
		entry = cache_find(kind, name, HASH_FIND);
		if (likely(entry != NULL && entry->generation == generation))
			return &entry->set;
		if (eb_once_read_row(kind, name, &row))
		{
			if (!OidIsValid(row.set.tables[0]) || !OidIsValid(row.set.tables[1]))
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_TABLE),
						 errmsg("a table of %s \"%s\" does not exist",
								kinds[kind].name, name),
						 errdetail("Its keys are remembered in eb.\"%s_%s$0\" and eb.\"%s_%s$1\".",
								   kinds[kind].prefix, name, kinds[kind].prefix, name)));
			entry = cache_find(kind, name, HASH_ENTER);
			entry->set = row.set;
			entry->generation = generation;
			return &entry->set;
		}
		if (entry != NULL)
			(void) cache_find(kind, name, HASH_REMOVE);
	}
	if (!missing_ok)
		eb_error_missing(kinds[kind].name, name, kinds[kind].create);
	return NULL;
}

int
eb_once_list(EbOnceSet **sets)
{
	EbConfigScan *scan = eb_config_open(EB_KEY_WINDOWS, 0, NULL);
	HeapTuple	tuple;
	int			n = 0,
				allocated = 16;

	*sets = palloc(allocated * sizeof(EbOnceSet));
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		EbOnceRow	row;

		if (n == allocated)
		{
			allocated *= 2;
			*sets = repalloc_huge(*sets, allocated * sizeof(EbOnceSet));
		}
		eb_once_fill(&row, tuple, eb_config_desc(scan));
		(*sets)[n++] = row.set;
	}
	eb_config_close(scan);
	return n;
}

/* ------------------------------------------------------------------ */
/* Making, changing, dropping                                         */
/* ------------------------------------------------------------------ */

int64
eb_once_check_ttl(EbOnceKind kind, const char *name, const char *setting,
				  Interval *ttl)
{
	int64		microseconds;

	if (!eb_once_microseconds(ttl, &microseconds) ||
		microseconds < USECS_PER_SEC || microseconds > 366 * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" of %s \"%s\" is out of range", setting,
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(ttl))),
						kinds[kind].name, name),
				 errdetail("It must be between 1 second and 1 year.")));
	return microseconds;
}

/*
 * Rows are written once and go by truncation, so the tables are never worth
 * vacuuming but for freezing and for keys that come back after they expired;
 * those of consumers are updated by leases.  Not truncated at the end by
 * vacuum, which would lock everybody out.
 */
static void
create_tables(EbOnceKind kind, const char *name)
{
	for (int i = 0; i < 2; i++)
	{
		const char *table = psprintf("%s_%s$%d", kinds[kind].prefix, name, i);

		eb_sql_execute("CREATE TABLE eb.%s OF eb.%s (key WITH OPTIONS NOT NULL, "
					   "expires_at WITH OPTIONS NOT NULL) USING heap "
					   "WITH (vacuum_truncate = off, toast.vacuum_truncate = off%s)",
					   quote_identifier(table), kinds[kind].type,
					   kind == EB_ONCE_CONSUMER ? ", fillfactor = 90" : "");
		eb_sql_execute("CREATE UNIQUE INDEX %s ON eb.%s (key)",
					   quote_identifier(psprintf("%sk", table)),
					   quote_identifier(table));
	}
}

/* Run as the owner, with the set's kind and name as $1 and $2. */
static uint64
execute_for(const char *sql, EbOnceKind kind, const char *name, Interval *ttl,
			text *description)
{
	Oid			types[4] = {TEXTOID, TEXTOID, INTERVALOID, TEXTOID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ttl ? ' ' : 'n', description ? ' ' : 'n'};

	values[0] = CStringGetTextDatum(kinds[kind].name);
	values[1] = CStringGetTextDatum(name);
	values[2] = IntervalPGetDatum(ttl);
	values[3] = PointerGetDatum(description);
	return eb_sql_with_args(sql, 4, types, values, nulls);
}

static void
create_set(EbOnceKind kind, const char *name, Interval *ttl, text *description)
{
	create_tables(kind, name);
	(void) execute_for("INSERT INTO eb.key_windows (kind, name, ttl, description) "
					   "VALUES ($1, $2, $3, $4)", kind, name, ttl, description);
}

/*
 * previous_ttl tells the maintainer that entries of another time to live are
 * about; a further change starts its waiting anew, with the longest time.
 */
static bool
update_set(EbOnceKind kind, const char *name, Interval *ttl, text *description)
{
	return execute_for("UPDATE eb.key_windows SET "
					   "previous_ttl = CASE WHEN $3 IS NULL OR $3 = ttl THEN previous_ttl "
					   "ELSE greatest(previous_ttl, ttl) END, "
					   "hold_until = CASE WHEN $3 IS NULL OR $3 = ttl THEN hold_until END, "
					   "ttl = coalesce($3, ttl), description = coalesce($4, description) "
					   "WHERE kind = $1 AND name = $2",
					   kind, name, ttl, description) > 0;
}

static void
drop_set(EbOnceKind kind, const char *name)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];

	for (int i = 0; i < 2; i++)
		eb_sql_execute("DROP TABLE IF EXISTS eb.%s",
					   quote_identifier(psprintf("%s_%s$%d", kinds[kind].prefix, name, i)));
	values[0] = CStringGetTextDatum(kinds[kind].name);
	values[1] = CStringGetTextDatum(name);
	(void) eb_sql_with_args("DELETE FROM eb.key_windows WHERE kind = $1 AND name = $2",
							2, types, values, NULL);
}

void
eb_once_create(EbOnceKind kind, const char *name, Interval *ttl)
{
	EbOwnerContext context;

	eb_owner_begin(&context);
	create_set(kind, name, ttl, NULL);
	eb_owner_end(&context);
}

void
eb_once_update(EbOnceKind kind, const char *name, Interval *ttl)
{
	EbOwnerContext context;

	eb_owner_begin(&context);
	(void) update_set(kind, name, ttl, NULL);
	eb_owner_end(&context);
}

void
eb_once_drop(EbOnceKind kind, const char *name)
{
	EbOwnerContext context;

	eb_owner_begin(&context);
	drop_set(kind, name);
	eb_owner_end(&context);
}

/* ------------------------------------------------------------------ */
/* SQL: consumers                                                     */
/* ------------------------------------------------------------------ */

static char *
name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		eb_error_null("name");
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* Changes of consumers run one at a time; readers never wait. */
static void
lock_configuration(void)
{
	LockRelationOid(eb_table_oid(EB_KEY_WINDOWS, false), ShareUpdateExclusiveLock);
}

/*
 * The view shows what is remembered and carries the privileges; plain writes
 * to it are refused, even statements that would find no row.
 */
static void
create_view(const char *name)
{
	const char *view = quote_identifier(psprintf("consumer_%s", name));
	const char *tables[2];

	for (int i = 0; i < 2; i++)
		tables[i] = quote_identifier(psprintf("once_%s$%d", name, i));
	eb_sql_execute("CREATE VIEW eb.%s AS SELECT coalesce(p.name, p.key::text) AS key, "
				   "CASE WHEN p.token IS NULL OR p.lease_until IS NULL THEN 'completed' "
				   "WHEN p.lease_until = '-infinity' THEN 'failed' "
				   "WHEN p.lease_until <= eb.clock() THEN 'lease ended' "
				   "ELSE 'in_progress' END AS state, "
				   "p.attempts, p.token, nullif(p.lease_until, '-infinity') AS lease_until, "
				   "p.payload_hash, p.result, p.last_error, p.expires_at "
				   "FROM (SELECT * FROM eb.%s UNION ALL SELECT * FROM eb.%s) p "
				   "WHERE p.expires_at > eb.clock()",
				   view, tables[0], tables[1]);
	eb_sql_execute("CREATE TRIGGER refuse_row INSTEAD OF INSERT OR UPDATE OR DELETE ON eb.%s "
				   "FOR EACH ROW EXECUTE FUNCTION eb.consumer_view_refuse()", view);
	eb_sql_execute("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON eb.%s "
				   "FOR EACH STATEMENT EXECUTE FUNCTION eb.consumer_view_refuse()", view);
}

PG_FUNCTION_INFO_V1(eb_consumer_view_refuse);

Datum
eb_consumer_view_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"eb.consumer_view_refuse")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s view \"%s\"",
					TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? "insert into" :
					TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "update" : "delete from",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("Its rows are the keys that a consumer has processed."),
			 errhint("Use eb.process_once(), eb.begin_processing() or eb.forget_key().")));
	return (Datum) 0;			/* keep compiler quiet */
}

PG_FUNCTION_INFO_V1(eb_create_consumer);

Datum
eb_create_consumer(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo);
	Oid			creator = GetUserId();
	EbOwnerContext context;
	EbOnceRow	row;

	PreventCommandIfReadOnly("eb.create_consumer()");
	if (PG_ARGISNULL(1))
		eb_error_null("ttl");
	eb_check_name("consumer", name);
	(void) eb_once_check_ttl(EB_ONCE_CONSUMER, name, "ttl", PG_GETARG_INTERVAL_P(1));
	lock_configuration();
	if (eb_once_read_row(EB_ONCE_CONSUMER, name, &row))
		eb_error_exists("consumer", name);
	if (OidIsValid(eb_relation_oid(psprintf("consumer_%s", name))))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("consumer name \"%s\" cannot be used", name),
				 errdetail("Schema eb has another object named \"consumer_%s\".", name)));

	eb_owner_begin(&context);
	create_set(EB_ONCE_CONSUMER, name, PG_GETARG_INTERVAL_P(1),
			   PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	create_view(name);
	if (creator != GetUserId())
		eb_sql_execute("GRANT ALL ON eb.%s TO %s WITH GRANT OPTION",
					   quote_identifier(psprintf("consumer_%s", name)),
					   quote_identifier(GetUserNameFromId(creator, false)));
	eb_owner_end(&context);
	PG_RETURN_VOID();
}

/* A consumer that the current user is about to change or drop. */
static void
check_consumer_to_change(const char *name)
{
	EbOnceRow	row;

	lock_configuration();
	if (!eb_once_read_row(EB_ONCE_CONSUMER, name, &row))
		eb_error_missing("consumer", name, kinds[EB_ONCE_CONSUMER].create);

	/* a view dropped by hand leaves the consumer to the owner */
	if (OidIsValid(row.set.view))
		eb_check_view_privilege(row.set.view, EB_CONSUMER_ADMIN, "consumer", name);
	else if (!has_privs_of_role(GetUserId(), eb_owner()))
		eb_error_missing("view", psprintf("consumer_%s", name), NULL);
}

PG_FUNCTION_INFO_V1(eb_update_consumer);

Datum
eb_update_consumer(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo);
	Interval   *ttl = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	EbOwnerContext context;

	PreventCommandIfReadOnly("eb.update_consumer()");
	check_consumer_to_change(name);
	if (ttl)
		(void) eb_once_check_ttl(EB_ONCE_CONSUMER, name, "ttl", ttl);
	eb_owner_begin(&context);
	(void) update_set(EB_ONCE_CONSUMER, name, ttl,
					  PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	eb_owner_end(&context);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_drop_consumer);

Datum
eb_drop_consumer(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo);
	EbOwnerContext context;

	PreventCommandIfReadOnly("eb.drop_consumer()");
	check_consumer_to_change(name);
	eb_owner_begin(&context);
	eb_sql_execute("DROP VIEW IF EXISTS eb.%s",
				   quote_identifier(psprintf("consumer_%s", name)));
	drop_set(EB_ONCE_CONSUMER, name);
	eb_owner_end(&context);
	PG_RETURN_VOID();
}
