/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  The extension's own objects: their oids, reading configuration rows,
 *	  noticing changes, acting as the owner, checking privileges.
 *
 * Oids are looked up by name once and forgotten when schema eb or the table
 * itself is invalidated (DROP and CREATE EXTENSION, or a rolled back one).
 *
 * Configuration is cached by other modules.  Each config table has a
 * generation here, raised by its relcache invalidations; the tables' triggers
 * (eb.config_changed) send one for every write.  What lies in shared memory
 * is keyed by version numbers that our functions hand out; writes by other
 * means (a superuser's UPDATE, a restore) have none, so they raise a shared
 * epoch instead, which is part of the key: at commit, after the change became
 * visible and before its invalidations are sent (CommitTransaction calls
 * XACT_EVENT_COMMIT callbacks between the two).  So whoever read the old rows
 * read the old epoch before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "eb.h"
#include "errors.h"
#include "shmem.h"
#include "worker/worker.h"

static const char *const table_names[EB_TABLES] = {
	[EB_RETENTION_CLASSES] = "retention_classes",
	[EB_BUSES] = "buses",
	[EB_RULES] = "rules",
	[EB_TARGETS] = "targets",
	[EB_QUEUES] = "queues",
	[EB_KEY_WINDOWS] = "key_windows",
	[EB_SUBSCRIPTIONS] = "subscriptions",
	[EB_ARCHIVES] = "archives",
	[EB_REPLAYS] = "replays",
	[EB_EVENTS] = "events",
};

static bool callbacks_registered = false;
static Oid	schema_oid = InvalidOid;
static Oid	owner_oid = InvalidOid;
static Oid	table_oids[EB_TABLES];
static uint64 generations[EB_TABLES];

/* Statements of our own functions are running: they take versions. */
static int	own_statement_depth = 0;

/* This transaction wrote configuration by other means. */
static bool epoch_pending = false;

typedef struct CatalogSection
{
	pg_atomic_uint64 epoch;		/* raised by committing backends */
	pg_atomic_uint32 prepared;	/* counts PREPAREs of such changes */
	pg_atomic_uint32 prepared_done; /* all up to this one have ended; by a
									 * notifier */
} CatalogSection;

struct EbConfigScan
{
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	MemoryContext context;		/* in which it was opened, and is advanced */
};

Size
eb_catalog_shmem_size(void)
{
	return sizeof(CatalogSection);
}

void
eb_catalog_shmem_init(void *section)
{
	CatalogSection *catalog = section;

	pg_atomic_init_u64(&catalog->epoch, 0);

	/* one that was prepared before a restart may be such a change */
	pg_atomic_init_u32(&catalog->prepared, 1);
	pg_atomic_init_u32(&catalog->prepared_done, 0);
}

static void
relation_invalidated(Datum arg, Oid relid)
{
	for (int i = 0; i < EB_TABLES; i++)
	{
		if (relid == InvalidOid || table_oids[i] == relid)
		{
			table_oids[i] = InvalidOid;
			generations[i]++;
		}
	}
}

static void
schema_invalidated(Datum arg, int cacheid, uint32 hashvalue)
{
	schema_oid = InvalidOid;
	owner_oid = InvalidOid;
	for (int i = 0; i < EB_TABLES; i++)
	{
		table_oids[i] = InvalidOid;
		generations[i]++;
	}
}

static void
register_callbacks(void)
{
	if (callbacks_registered)
		return;
	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_invalidated, (Datum) 0);
	callbacks_registered = true;
}

Oid
eb_schema_oid(void)
{
	if (likely(OidIsValid(schema_oid)))
		return schema_oid;
	register_callbacks();
	schema_oid = get_namespace_oid("eb", true);
	if (!OidIsValid(schema_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("extension \"pg_eventbus\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION pg_eventbus.")));
	return schema_oid;
}

Oid
eb_owner(void)
{
	HeapTuple	tuple;
	Oid			schema = eb_schema_oid();

	if (likely(OidIsValid(owner_oid)))
		return owner_oid;
	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", schema);
	owner_oid = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner_oid;
}

Oid
eb_table_oid(EbTable table, bool missing_ok)
{
	Oid			schema;

	if (likely(OidIsValid(table_oids[table])))
		return table_oids[table];
	schema = eb_schema_oid();
	table_oids[table] = get_relname_relid(table_names[table], schema);
	if (!OidIsValid(table_oids[table]) && !missing_ok)
		eb_error_missing("table", psprintf("eb.%s", table_names[table]),
						 table == EB_EVENTS ? "Create a bus first." : NULL);
	return table_oids[table];
}

Oid
eb_relation_oid(const char *relname)
{
	return get_relname_relid(relname, eb_schema_oid());
}

Oid
eb_type_oid(const char *typname)
{
	Oid			oid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									  CStringGetDatum(typname),
									  ObjectIdGetDatum(eb_schema_oid()));

	if (!OidIsValid(oid))
		elog(ERROR, "type eb.%s does not exist", typname);
	return oid;
}

uint64
eb_catalog_generation(EbTable table)
{
	register_callbacks();

	/* an unknown oid would miss the invalidations that are to raise it */
	(void) eb_table_oid(table, true);
	return generations[table];
}

uint64
eb_config_epoch(void)
{
	CatalogSection *section = eb_shmem_section(EB_SHMEM_CATALOG);

	return section ? pg_atomic_read_u64(&section->epoch) : 0;
}

void
eb_config_epoch_raise(void)
{
	CatalogSection *section = eb_shmem_section(EB_SHMEM_CATALOG);

	if (section)
		pg_atomic_fetch_add_u64(&section->epoch, 1);
}

uint32
eb_config_prepared_count(void)
{
	CatalogSection *section = eb_shmem_section(EB_SHMEM_CATALOG);

	return section ? pg_atomic_read_u32(&section->prepared) : 0;
}

void
eb_config_prepared_done(uint32 count)
{
	CatalogSection *section = eb_shmem_section(EB_SHMEM_CATALOG);

	if (section)
		pg_atomic_write_u32(&section->prepared_done, count);
}

void
eb_config_prepared_ended(void)
{
	CatalogSection *section = eb_shmem_section(EB_SHMEM_CATALOG);

	if (section && pg_atomic_read_u32(&section->prepared) !=
		pg_atomic_read_u32(&section->prepared_done))
		eb_config_epoch_raise();
}

bool
eb_config_dirty(void)
{
	return epoch_pending;
}

static void
count_prepared(void)
{
	CatalogSection *section = eb_shmem_section(EB_SHMEM_CATALOG);

	if (section)
		pg_atomic_fetch_add_u32(&section->prepared, 1);
}

void
eb_catalog_at_xact(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:

			/*
			 * A prepared change becomes visible in another backend, whose
			 * utility hook raises the epoch after COMMIT PREPARED.
			 */
			if (epoch_pending)
				eb_config_epoch_raise();
			if (epoch_pending && event == XACT_EVENT_PREPARE)
				count_prepared();
			/* FALLTHROUGH */
		case XACT_EVENT_ABORT:
			epoch_pending = false;
			own_statement_depth = 0;
			break;
		default:
			break;
	}
}

PG_FUNCTION_INFO_V1(eb_config_changed);

Datum
eb_config_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"eb.config_changed")));
	CacheInvalidateRelcache(trigdata->tg_relation);

	/* a dropped queue gives its slots in shared memory back */
	if (!TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) &&
		RelationGetRelid(trigdata->tg_relation) == eb_table_oid(EB_QUEUES, true))
		eb_worker_wake_at_commit();
	if (own_statement_depth == 0)
		epoch_pending = true;
	return PointerGetDatum(NULL);
}

void
eb_config_key(ScanKeyData *key, AttrNumber attno, const char *value)
{
	/* key columns are COLLATE "C", which is what ScanKeyInit assumes */
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(value));
}

EbConfigScan *
eb_config_open(EbTable table, int nkeys, ScanKeyData *keys)
{
	return eb_config_open_at(table, nkeys, keys, NULL);
}

EbConfigScan *
eb_config_open_at(EbTable table, int nkeys, ScanKeyData *keys, Snapshot snapshot)
{
	EbConfigScan *scan = palloc(sizeof(EbConfigScan));

	scan->context = CurrentMemoryContext;
	scan->rel = table_open(eb_table_oid(table, false), AccessShareLock);
	scan->snapshot = RegisterSnapshot(snapshot ? snapshot : GetLatestSnapshot());
	scan->scan = systable_beginscan(scan->rel, EB_PRIMARY_KEY_INDEX(scan->rel),
									nkeys > 0, scan->snapshot, nkeys, keys);
	return scan;
}

HeapTuple
eb_config_next(EbConfigScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	HeapTuple	tuple;

	/* what the index keeps of the dead it met is allocated here, freed at the end */
	tuple = systable_getnext(scan->scan);
	MemoryContextSwitchTo(old);
	return tuple;
}

TupleDesc
eb_config_desc(EbConfigScan *scan)
{
	return RelationGetDescr(scan->rel);
}

void
eb_config_close(EbConfigScan *scan)
{
	systable_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->rel, AccessShareLock);
	pfree(scan);
}

void
eb_owner_begin(EbOwnerContext *context)
{
	GetUserIdAndSecContext(&context->user, &context->sec_context);
	SetUserIdAndSecContext(eb_owner(),
						   context->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	context->guc_nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
eb_owner_end(EbOwnerContext *context)
{
	AtEOXact_GUC(false, context->guc_nest_level);
	SetUserIdAndSecContext(context->user, context->sec_context);
}

static int
run_own(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	int			result;

	SPI_connect();
	own_statement_depth++;
	PG_TRY();
	{
		if (nargs == 0)
			result = SPI_execute(sql, false, 0);
		else
			result = SPI_execute_with_args(sql, nargs, types, values, nulls,
										   false, 0);
	}
	PG_FINALLY();
	{
		own_statement_depth--;
	}
	PG_END_TRY();
	if (result < 0)
		elog(ERROR, "%s: %s", SPI_result_code_string(result), sql);
	return result;
}

void
eb_sql_execute(const char *format,...)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&sql, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}
	(void) run_own(sql.data, 0, NULL, NULL, NULL);
	SPI_finish();
	pfree(sql.data);
}

uint64
eb_sql_with_args(const char *sql, int nargs, Oid *types, Datum *values,
				 const char *nulls)
{
	uint64		processed;

	(void) run_own(sql, nargs, types, values, nulls);
	processed = SPI_processed;
	SPI_finish();
	return processed;
}

/* "SELECT, TRUNCATE" for the bits of a mode. */
static const char *
privilege_names(AclMode mode)
{
	static const struct
	{
		AclMode		bit;
		const char *name;
	}			names[] = {
		{ACL_SELECT, "SELECT"}, {ACL_INSERT, "INSERT"}, {ACL_UPDATE, "UPDATE"},
		{ACL_DELETE, "DELETE"}, {ACL_TRUNCATE, "TRUNCATE"}
	};
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (mode & names[i].bit)
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", names[i].name);
	}
	return buf.data;
}

void
eb_sql_arg(EbSqlArgs *args, Oid type, Datum value, bool isnull)
{
	Assert(args->n < EB_SQL_MAX_ARGS);
	args->types[args->n] = type;
	args->values[args->n] = value;
	args->nulls[args->n] = isnull ? 'n' : ' ';
	args->n++;
}

void
eb_sql_arg_text(EbSqlArgs *args, const char *text)
{
	eb_sql_arg(args, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

void
eb_sql_arg_jsonb(EbSqlArgs *args, Jsonb *json)
{
	eb_sql_arg(args, JSONBOID, JsonbPGetDatum(json), json == NULL);
}

uint64
eb_sql_run(const char *sql, const EbSqlArgs *args)
{
	return eb_sql_with_args(sql, args->n, (Oid *) args->types, (Datum *) args->values,
							args->nulls);
}

char *
eb_sql_value(const char *sql, const char *a, const char *b)
{
	MemoryContext context = CurrentMemoryContext;
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	char	   *result = NULL;

	eb_sql_arg_text(&args, a);
	if (b)
		eb_sql_arg_text(&args, b);
	eb_owner_begin(&owner);
	(void) run_own(sql, args.n, args.types, args.values, args.nulls);
	if (SPI_processed > 0)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value)
			result = MemoryContextStrdup(context, value);
	}
	SPI_finish();
	eb_owner_end(&owner);
	return result;
}

bool
eb_lock_briefly(Oid relid, LOCKMODE mode, const char *timeout)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool locked = false;

	if (ConditionalLockRelationOid(relid, mode))
		return true;
	if (!timeout)
		return false;

	/* the timeout raises an error; the subtransaction leaves the lock to us */
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		int			nest_level = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", timeout, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		LockRelationOid(relid, mode);
		AtEOXact_GUC(false, nest_level);
		ReleaseCurrentSubTransaction();
		locked = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return locked;
}

bool
eb_view_allows(Oid view, AclMode any)
{
	bool		missing = false;

	return pg_class_aclcheck_ext(view, GetUserId(), any, &missing) == ACLCHECK_OK;
}

/* The check of a privilege is satisfied by any of its bits; we want all. */
static bool
view_allows_all(Oid view, AclMode mode, bool *missing)
{
	while (mode != 0)
	{
		AclMode		bit = mode & (~mode + 1);

		if (pg_class_aclcheck_ext(view, GetUserId(), bit, missing) != ACLCHECK_OK)
			return false;
		mode &= ~bit;
	}
	return true;
}

void
eb_check_view_privilege(Oid view, AclMode mode, const char *kind,
						const char *name)
{
	bool		missing = false;

	if (likely(view_allows_all(view, mode, &missing)))
		return;

	/*
	 * Somebody dropped the view by hand (or all that its owner had).  Nobody
	 * can have a privilege on it then, but what is left must be removable.
	 */
	if (missing && (mode & ACL_TRUNCATE) != 0 &&
		has_privs_of_role(GetUserId(), eb_owner()))
		return;
	if (missing)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("view of %s \"%s\" does not exist", kind, name),
				 errhint("The owner of the extension can drop what is left of it, as if it were whole.")));
	else
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s \"%s\"", kind, name),
				 errhint("GRANT %s ON eb.%s TO %s is what it needs.",
						 privilege_names(mode),
						 quote_identifier(get_rel_name(view)),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}
