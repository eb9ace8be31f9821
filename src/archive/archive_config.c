/*-------------------------------------------------------------------------
 *
 * archive_config.c
 *	  Archives as objects: create, change, delete; looking one up.
 *
 * An archive is a pattern with a retention.  It is part of its bus's compiled
 * rules (bus_compile.c), where it has no targets but a retention class, so a
 * change of it is a change of the bus's rules and takes a version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "archive/archive.h"
#include "bus/bus.h"
#include "catalog.h"
#include "errors.h"

/* Columns of eb.archives. */
enum
{
	Anum_name = 1,
	Anum_bus,
	Anum_pattern,
	Anum_retention,
	Anum_class,
	Anum_enabled,
	Anum_archive_view
};

PG_FUNCTION_INFO_V1(eb_create_archive);
PG_FUNCTION_INFO_V1(eb_update_archive);
PG_FUNCTION_INFO_V1(eb_delete_archive);
PG_FUNCTION_INFO_V1(eb_enable_archive);
PG_FUNCTION_INFO_V1(eb_disable_archive);

static EbArchive *
read_archive(HeapTuple tuple, TupleDesc desc, bool compile)
{
	EbArchive  *archive = palloc0(sizeof(EbArchive));
	const EbBus *bus;
	bool		isnull;
	Datum		d;

	d = heap_getattr(tuple, Anum_name, desc, &isnull);
	strlcpy(archive->name, TextDatumGetCString(d), NAMEDATALEN);
	d = heap_getattr(tuple, Anum_bus, desc, &isnull);
	strlcpy(archive->bus, TextDatumGetCString(d), NAMEDATALEN);
	archive->view = DatumGetObjectId(heap_getattr(tuple, Anum_archive_view, desc, &isnull));
	archive->enabled = DatumGetBool(heap_getattr(tuple, Anum_enabled, desc, &isnull));
	d = heap_getattr(tuple, Anum_retention, desc, &archive->forever);
	if (!archive->forever)
		archive->retention = *DatumGetIntervalP(d);
	d = heap_getattr(tuple, Anum_pattern, desc, &isnull);
	if (!isnull && compile)
	{
		EbPatternBuilder *builder = eb_pattern_builder_create(1);

		eb_pattern_builder_add(builder, eb_pattern_parse(&DatumGetJsonbP(d)->root), 0);
		archive->pattern = eb_pattern_builder_finish(builder);
	}
	bus = eb_bus_lookup(archive->bus, true);
	archive->bus_id = bus ? bus->bus_id : 0;
	return archive;
}

EbArchive *
eb_archive_find(const char *name)
{
	EbArchive  *archive = NULL;
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;

	eb_config_key(&key, Anum_name, name);
	scan = eb_config_open(EB_ARCHIVES, 1, &key);
	tuple = eb_config_next(scan);
	if (HeapTupleIsValid(tuple))
		archive = read_archive(tuple, eb_config_desc(scan), true);
	eb_config_close(scan);
	return archive;
}

EbArchive *
eb_archive_get(const char *name)
{
	EbArchive  *archive = eb_archive_find(name);

	if (!archive)
		eb_error_missing("archive", name, "Create it with eb.create_archive().");
	return archive;
}

int
eb_archive_list(char ***names)
{
	EbConfigScan *scan = eb_config_open(EB_ARCHIVES, 0, NULL);
	HeapTuple	tuple;
	int			n = 0;
	int			room = 16;

	*names = palloc(room * sizeof(char *));
	while (HeapTupleIsValid(tuple = eb_config_next(scan)))
	{
		bool		isnull;

		if (n == room)
		{
			room *= 2;
			*names = repalloc(*names, room * sizeof(char *));
		}
		(*names)[n++] = TextDatumGetCString(heap_getattr(tuple, Anum_name,
														 eb_config_desc(scan), &isnull));
	}
	eb_config_close(scan);
	return n;
}

static EbArchive *
get_as_admin(const char *name)
{
	EbArchive  *archive = eb_archive_get(name);

	eb_check_view_privilege(archive->view, EB_ARCHIVE_ADMIN, "archive", name);
	return archive;
}

static char *
view_name(const char *archive)
{
	return psprintf("archive_%s", archive);
}

Datum
eb_create_archive(PG_FUNCTION_ARGS)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	Interval   *retention = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	Jsonb	   *pattern = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	Oid			creator = GetUserId();
	const EbBus *bus;
	char	   *name;
	char	   *bus_name;
	char	   *view;
	int16		class;

	if (PG_ARGISNULL(0))
		eb_error_null("name");
	if (PG_ARGISNULL(1))
		eb_error_null("bus");
	PreventCommandIfReadOnly("eb.create_archive()");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bus_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	eb_check_name("archive", name);
	bus = eb_bus_use(bus_name);
	eb_check_view_privilege(bus->view, EB_BUS_MANAGE_RULES, "bus", bus_name);
	if (pattern)
		(void) eb_pattern_parse(&pattern->root);

	/* makers of archives come one after the other, by the lock in here */
	class = eb_log_class_ensure(retention);
	if (eb_archive_find(name))
		eb_error_exists("archive", name);

	eb_owner_begin(&owner);
	(void) eb_bus_take_version(bus_name);
	view = view_name(name);
	eb_sql_execute("CREATE VIEW eb.%s AS SELECT id, source, detail_type, \"time\","
				   " ingested_at, resources, detail, headers, group_key, correlation_id,"
				   " causation_id, traceparent FROM eb.archived_events(%s)",
				   quote_identifier(view), quote_literal_cstr(name));
	eb_sql_execute("GRANT SELECT, TRUNCATE ON eb.%s TO %s WITH GRANT OPTION",
				   quote_identifier(view),
				   quote_identifier(GetUserNameFromId(creator, false)));
	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, bus_name);
	eb_sql_arg_jsonb(&args, pattern);
	eb_sql_arg(&args, INTERVALOID, IntervalPGetDatum(retention), retention == NULL);
	eb_sql_arg(&args, INT2OID, Int16GetDatum(class), false);
	eb_sql_arg(&args, OIDOID, ObjectIdGetDatum(eb_relation_oid(view)), false);
	eb_sql_arg_text(&args, PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4)));
	(void) eb_sql_run("INSERT INTO eb.archives (name, bus, pattern, retention, class,"
					  " archive_view, description)"
					  " VALUES ($1, $2, $3, $4, $5, $6::regclass, $7)", &args);
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

/* What was counted under another pattern is nothing. */
static void
forget_counts(const char *name)
{
	EbSqlArgs	args = {0};

	eb_sql_arg_text(&args, name);
	(void) eb_sql_run("DELETE FROM eb.archive_counts WHERE archive = $1", &args);
	(void) eb_sql_run("DELETE FROM eb.archive_counted WHERE archive = $1", &args);
}

Datum
eb_update_archive(PG_FUNCTION_ARGS)
{
	static const char *const argument_names[] = {"name", NULL, NULL, NULL, "every_event", "for_ever"};
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	Jsonb	   *pattern = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	Interval   *retention = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
	EbArchive  *archive;
	char	   *name;
	bool		every_event;
	bool		for_ever;
	int16		class;

	for (int i = 0; i < (int) lengthof(argument_names); i++)
	{
		if (argument_names[i] && PG_ARGISNULL(i))
			eb_error_null(argument_names[i]);
	}
	PreventCommandIfReadOnly("eb.update_archive()");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	every_event = PG_GETARG_BOOL(4);
	for_ever = PG_GETARG_BOOL(5);
	archive = get_as_admin(name);
	if ((pattern && every_event) || (retention && for_ever))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments of eb.update_archive() contradict each other"),
				 errhint("Give a pattern or every_event, a retention or for_ever.")));
	if (pattern)
		(void) eb_pattern_parse(&pattern->root);
	class = eb_log_class_ensure(retention ? retention :
								for_ever || archive->forever ? NULL : &archive->retention);

	eb_owner_begin(&owner);
	(void) eb_bus_take_version(archive->bus);
	eb_sql_arg_text(&args, name);
	eb_sql_arg_jsonb(&args, pattern);
	eb_sql_arg(&args, INTERVALOID, IntervalPGetDatum(retention), retention == NULL);
	eb_sql_arg(&args, INT2OID, Int16GetDatum(class), false);
	eb_sql_arg_text(&args, PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3)));
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(every_event), false);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(for_ever), false);
	(void) eb_sql_run("UPDATE eb.archives SET"
					  " pattern = CASE WHEN $6 THEN NULL ELSE coalesce($2, pattern) END,"
					  " retention = CASE WHEN $7 THEN NULL ELSE coalesce($3, retention) END,"
					  " class = $4, description = coalesce($5, description),"
					  " updated_at = now() WHERE name = $1", &args);
	if (pattern || every_event)
		forget_counts(name);
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

Datum
eb_delete_archive(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EbArchive  *archive = get_as_admin(name);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	char	   *replay;

	PreventCommandIfReadOnly("eb.delete_archive()");
	eb_owner_begin(&owner);
	if (archive->bus_id != 0)
		(void) eb_bus_take_version(archive->bus);
	replay = eb_sql_value("SELECT name FROM eb.replays WHERE archive = $1"
						  " AND state NOT IN ('COMPLETED', 'CANCELLED', 'FAILED')"
						  " ORDER BY name LIMIT 1", name, NULL);
	if (replay)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot delete archive \"%s\" while replay \"%s\" is not finished",
						name, replay),
				 errhint("Wait for it, or end it with eb.cancel_replay().")));
	eb_sql_arg_text(&args, name);
	(void) eb_sql_run("DELETE FROM eb.archives WHERE name = $1", &args);
	forget_counts(name);
	eb_sql_execute("DROP VIEW IF EXISTS eb.%s", quote_identifier(view_name(name)));
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

static void
set_enabled(const char *name, bool enabled)
{
	EbArchive  *archive = get_as_admin(name);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	PreventCommandIfReadOnly(enabled ? "eb.enable_archive()" : "eb.disable_archive()");
	if (archive->enabled == enabled)
		return;
	eb_owner_begin(&owner);
	(void) eb_bus_take_version(archive->bus);
	eb_sql_arg_text(&args, name);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(enabled), false);
	(void) eb_sql_run("UPDATE eb.archives SET enabled = $2, updated_at = now()"
					  " WHERE name = $1", &args);
	eb_owner_end(&owner);
}

Datum
eb_enable_archive(PG_FUNCTION_ARGS)
{
	set_enabled(text_to_cstring(PG_GETARG_TEXT_PP(0)), true);
	PG_RETURN_VOID();
}

Datum
eb_disable_archive(PG_FUNCTION_ARGS)
{
	set_enabled(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	PG_RETURN_VOID();
}
