/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  The extension's own objects: their oids, reading configuration rows,
 *	  noticing changes, acting as the owner, checking privileges.
 *
 * A module that caches configuration keeps eb_catalog_generation() of the
 * tables that it read beside its cache, taken *before* reading, and rebuilds
 * when the number has grown.  The number grows when an invalidation arrives,
 * so call AcceptInvalidationMessages() (or lock a relation) first where the
 * newest committed state is needed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_CATALOG_H
#define EB_CATALOG_H

#include "access/genam.h"
#include "nodes/parsenodes.h"
#include "storage/lockdefs.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef enum EbTable
{
	EB_RETENTION_CLASSES,
	EB_BUSES,
	EB_RULES,
	EB_TARGETS,
	EB_QUEUES,
	EB_KEY_WINDOWS,
	EB_SUBSCRIPTIONS,
	EB_ARCHIVES,
	EB_REPLAYS,
	EB_EVENTS,					/* no member; may not exist yet */
	EB_TABLES
} EbTable;

/* Schema eb, or an error if the extension is not installed. */
extern Oid	eb_schema_oid(void);

/* Owner of the extension (of schema eb): who owns what is made at run time. */
extern Oid	eb_owner(void);

/* Oid of a table; InvalidOid if missing_ok and it does not exist. */
extern Oid	eb_table_oid(EbTable table, bool missing_ok);

/* Any relation of schema eb by name; InvalidOid if there is none. */
extern Oid	eb_relation_oid(const char *relname);

/* Composite type of schema eb by name. */
extern Oid	eb_type_oid(const char *typname);

/* Grows with each invalidation of the table. */
extern uint64 eb_catalog_generation(EbTable table);

/*
 * Grows when configuration was changed by other means than our functions:
 * part of the key of whatever is built from it in shared memory.  Raised at
 * commit; by a utility hook after COMMIT PREPARED.
 */
extern uint64 eb_config_epoch(void);
extern void eb_config_epoch_raise(void);

/*
 * Prepared transactions: the utility hook calls eb_config_prepared_ended()
 * after COMMIT PREPARED, which raises the epoch if any of those that are (or
 * may be) prepared made such a change.  The notifier sets the count done that
 * it read before it found no prepared transaction in the cluster.
 */
extern uint32 eb_config_prepared_count(void);
extern void eb_config_prepared_done(uint32 count);
extern void eb_config_prepared_ended(void);

/*
 * Has the own transaction changed configuration by other means?  What it
 * reads then must not be shared, as no version tells it from what others see.
 */
extern bool eb_config_dirty(void);

/*
 * Scan of a configuration table under GetLatestSnapshot(): what is committed
 * now, and the own transaction's changes, whatever the isolation level.
 *
 *	 scan = eb_config_open(EB_RULES, 1, &key);
 *	 while ((tuple = eb_config_next(scan)) != NULL) ...
 *	 eb_config_close(scan);
 *
 * Keys are on leading columns of the primary key: 1, or 1 and 2, ... with
 * text equality (eb_config_key) or none for all rows.
 */
typedef struct EbConfigScan EbConfigScan;
extern void eb_config_key(ScanKeyData *key, AttrNumber attno, const char *value);
extern EbConfigScan *eb_config_open(EbTable table, int nkeys, ScanKeyData *keys);

/* Several tables as of one moment: a registered snapshot of the caller's. */
extern EbConfigScan *eb_config_open_at(EbTable table, int nkeys, ScanKeyData *keys,
									   Snapshot snapshot);
extern HeapTuple eb_config_next(EbConfigScan *scan);
extern TupleDesc eb_config_desc(EbConfigScan *scan);
extern void eb_config_close(EbConfigScan *scan);

/*
 * Run as the extension's owner with search_path = pg_catalog, pg_temp and
 * SECURITY_LOCAL_USERID_CHANGE.  What it changed is put back by eb_owner_end,
 * or by the (sub)transaction's abort.
 */
typedef struct EbOwnerContext
{
	Oid			user;
	int			sec_context;
	int			guc_nest_level;
} EbOwnerContext;
extern void eb_owner_begin(EbOwnerContext *context);
extern void eb_owner_end(EbOwnerContext *context);

/*
 * SPI shortcuts between eb_owner_begin and eb_owner_end.  SPI is connected
 * and finished inside.  The format takes what psprintf takes; quote
 * identifiers with quote_identifier and pass values as arguments.
 */
extern void eb_sql_execute(const char *format,...) pg_attribute_printf(1, 2);
extern uint64 eb_sql_with_args(const char *sql, int nargs, Oid *types,
							   Datum *values, const char *nulls);

/* The same with arguments that are put together: EbSqlArgs args = {0}. */
#define EB_SQL_MAX_ARGS 20
typedef struct EbSqlArgs
{
	int			n;
	Oid			types[EB_SQL_MAX_ARGS];
	Datum		values[EB_SQL_MAX_ARGS];
	char		nulls[EB_SQL_MAX_ARGS];
} EbSqlArgs;
extern void eb_sql_arg(EbSqlArgs *args, Oid type, Datum value, bool isnull);
extern void eb_sql_arg_text(EbSqlArgs *args, const char *text);	/* NULL: null */
extern void eb_sql_arg_jsonb(EbSqlArgs *args, Jsonb *json); /* NULL: null */
extern uint64 eb_sql_run(const char *sql, const EbSqlArgs *args);

/*
 * First column of the first row as text, in the current context; NULL if there
 * is none.  Of one or two texts (b NULL: one); acts as the owner itself.
 */
extern char *eb_sql_value(const char *sql, const char *a, const char *b);

/*
 * Lock a relation to the end of the transaction, waiting for timeout ("100ms")
 * at most, since whoever comes after us waits as well; NULL: not at all.
 * False: not now.
 */
extern bool eb_lock_briefly(Oid relid, LOCKMODE mode, const char *timeout);

/* Has the current user any of these privileges on a view?  No, if it is gone. */
extern bool eb_view_allows(Oid view, AclMode any);

/*
 * Privileges hang on the views of buses and queues.  Raises
 * 42501 unless the current user has all of mode on the view, with the GRANT
 * that it takes as HINT.  kind and name are for the message.
 */
extern void eb_check_view_privilege(Oid view, AclMode mode,
									const char *kind, const char *name);

#endif							/* EB_CATALOG_H */
