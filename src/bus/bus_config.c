/*-------------------------------------------------------------------------
 *
 * bus_config.c
 *	  Buses, rules and targets: create, change, delete.
 *
 * Every change of a bus's rules locks the bus's row first, takes a version
 * from eb.rules_version_seq under that lock and stores it there.  The lock is
 * held to commit, so the order of versions is the order of commits, and a
 * version that was rolled back is never used again.  A change that changes
 * nothing takes none: deployments may put their rules as often as they like.
 *
 * Several changes in one transaction share one version, unless events were
 * put in between (eb_bus_version_used): others see them together.
 *
 * Locks, in this order: the bus's row FOR NO KEY UPDATE; then what a target
 * refers to, so that it cannot be dropped meanwhile: a queue's table
 * AccessShare, another bus's row FOR KEY SHARE (which passes that bus's rule
 * changes, so two buses may come to refer to each other at once).  delete_bus
 * takes its row FOR UPDATE before it looks for what refers to the bus.
 *
 * Privileges: bus.h.  A target's destination is checked when the target is
 * put: who puts it must be allowed to send there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"
#include "eb.h"
#include "errors.h"
#include "once/once.h"
#include "queue/queue.h"
#include "worker/worker.h"

/* The version that this transaction took last, and may use again. */
static int64 own_version = 0;

/*
 * The rows of a query, columns as text joined by separator: a list for a
 * message, or a single value.  NULL if there is no row.
 */
static char *
query(const char *sql, EbSqlArgs *args, const char *separator)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *result = NULL;

	SPI_connect();
	if (SPI_execute_with_args(sql, args->n, args->types, args->values, args->nulls,
							  false, 0) < 0)
		elog(ERROR, "could not run: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(context);

		result = i == 0 ? pstrdup(value) : psprintf("%s%s%s", result, separator, value);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

/* ---- versions ---- */

void
eb_bus_version_used(void)
{
	own_version = 0;
}

void
eb_bus_at_xact(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			own_version = 0;
			break;
		default:
			break;
	}
	eb_ruleset_at_xact(event);
	eb_bus_view_at_xact(event);
}

void
eb_bus_at_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent)
{
	eb_bus_view_at_subxact(event, mine, parent);
}

static int64
next_of(const char *sequence)
{
	return nextval_internal(eb_relation_oid(sequence), false);
}

/*
 * Lock a bus's row; its version now.  strength as in SELECT.  view is that of
 * the bus on which privileges were checked: until the lock is there it may
 * have been deleted, and another one made under its name.
 */
static int64
lock_bus(const char *bus, Oid view, const char *strength)
{
	EbSqlArgs	args = {0};
	char	   *version;

	eb_sql_arg_text(&args, bus);
	eb_sql_arg(&args, OIDOID, ObjectIdGetDatum(view), false);
	version = query(psprintf("SELECT rules_version FROM eb.buses"
							 " WHERE name = $1 AND log_view::oid = $2 FOR %s",
							 strength), &args, "");
	if (!version)
	{
		/* it was looked up outside of the snapshot */
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access to bus \"%s\"", bus),
					 errdetail("It was made after this transaction's snapshot was taken."),
					 errhint("Run the transaction again.")));
		eb_error_missing("bus", bus, "It was deleted a moment ago.");
	}
	return strtoi64(version, NULL, 10);
}

/*
 * The version of a change of the bus's rules (rule set claim 2); the row is
 * locked and has version current.  Versions are never handed out twice, so if the row still
 * has the one that this transaction took, it is not rolled back either.
 */
static int64
take_version(const char *bus, int64 current)
{
	EbSqlArgs	args = {0};

	if (own_version != 0 && own_version == current)
		return current;
	own_version = next_of("rules_version_seq");
	eb_sql_arg_text(&args, bus);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(own_version), false);
	(void) eb_sql_run("UPDATE eb.buses SET rules_version = $2 WHERE name = $1", &args);
	return own_version;
}

int64
eb_bus_take_version(const char *bus)
{
	Oid			view = eb_bus_lookup(bus, false)->view;

	return take_version(bus, lock_bus(bus, view, "NO KEY UPDATE"));
}

/* ---- buses ---- */

void
eb_bus_create(const char *name, const Interval *retention, const char *description,
			  Interval *dedup_window, bool content_dedup, bool exists_ok)
{
	Oid			creator = GetUserId();
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	int16		class;
	int32		bus_id;
	Oid			view;

	PreventCommandIfReadOnly("eb.create_bus()");
	eb_check_name("bus", name);
	(void) eb_once_check_ttl(EB_ONCE_BUS, name, "dedup_window", dedup_window);

	/* this comes one after the other, and so does what follows */
	class = eb_log_class_ensure(retention);
	AcceptInvalidationMessages();
	if (eb_bus_lookup(name, true))
	{
		if (exists_ok)
			return;
		eb_error_exists("bus", name);
	}

	eb_owner_begin(&owner);
	bus_id = (int32) next_of("object_id_seq");
	view = eb_bus_view_create(name, bus_id);
	if (creator != eb_owner())
		eb_sql_execute("GRANT SELECT, INSERT, TRUNCATE ON eb.%s TO %s WITH GRANT OPTION",
					   quote_identifier(psprintf("bus_%s", name)),
					   quote_identifier(GetUserNameFromId(creator, false)));
	eb_sql_arg_text(&args, name);
	eb_sql_arg(&args, INT4OID, Int32GetDatum(bus_id), false);
	eb_sql_arg(&args, OIDOID, ObjectIdGetDatum(view), false);
	eb_sql_arg(&args, INTERVALOID, IntervalPGetDatum(retention), retention == NULL);
	eb_sql_arg(&args, INT2OID, Int16GetDatum(class), false);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(next_of("rules_version_seq")), false);
	eb_sql_arg_text(&args, description);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(content_dedup), false);
	(void) eb_sql_run("INSERT INTO eb.buses (name, bus_id, log_view, retention, class,"
			   " rules_version, description, content_dedup)"
			   " VALUES ($1, $2, $3::regclass, $4, $5, $6, $7, $8)", &args);
	eb_once_create(EB_ONCE_BUS, name, dedup_window);
	eb_owner_end(&owner);
	eb_worker_wake_at_commit();
}

/* Text argument; raises if it is null and there is no NULL to give back. */
static char *
required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		eb_error_null(name);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static char *
optional_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

PG_FUNCTION_INFO_V1(eb_create_bus);

/* eb.create_bus(name, retention, description, dedup_window, content_dedup) */
Datum
eb_create_bus(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(3))
		eb_error_null("dedup_window");
	if (PG_ARGISNULL(4))
		eb_error_null("content_dedup");
	eb_bus_create(required_text(fcinfo, 0, "name"),
				  PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1),
				  optional_text(fcinfo, 2), PG_GETARG_INTERVAL_P(3),
				  PG_GETARG_BOOL(4), false);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_update_bus);

/*
 * eb.update_bus(name, retention, description, dedup_window, content_dedup):
 * null leaves all but the retention as they are
 */
Datum
eb_update_bus(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "name");
	Interval   *retention = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	Oid			view = eb_bus_lookup(name, false)->view;
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	PreventCommandIfReadOnly("eb.update_bus()");
	eb_check_view_privilege(view, EB_BUS_ADMIN, "bus", name);
	eb_sql_arg_text(&args, name);
	eb_sql_arg(&args, INTERVALOID, IntervalPGetDatum(retention), retention == NULL);
	eb_sql_arg(&args, INT2OID, Int16GetDatum(eb_log_class_ensure(retention)), false);
	eb_sql_arg_text(&args, optional_text(fcinfo, 2));
	eb_sql_arg(&args, BOOLOID, PG_ARGISNULL(4) ? (Datum) 0 : PG_GETARG_DATUM(4), PG_ARGISNULL(4));
	if (!PG_ARGISNULL(3))
		(void) eb_once_check_ttl(EB_ONCE_BUS, name, "dedup_window", PG_GETARG_INTERVAL_P(3));
	eb_owner_begin(&owner);
	(void) lock_bus(name, view, "NO KEY UPDATE");
	(void) eb_sql_run("UPDATE eb.buses SET retention = $2, class = $3,"
			   " description = coalesce($4, description),"
			   " content_dedup = coalesce($5, content_dedup) WHERE name = $1", &args);
	eb_owner_end(&owner);
	if (!PG_ARGISNULL(3))
		eb_once_update(EB_ONCE_BUS, name, PG_GETARG_INTERVAL_P(3));
	PG_RETURN_VOID();
}

/* A bus that something reads is not deleted: it would find nothing any more. */
static void
refuse_used(const char *bus, EbSqlArgs *args, const char *what, const char *sql,
			const char *hint)
{
	char	   *list = query(sql, args, ", ");

	if (list)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot delete bus \"%s\" because it has %s", bus, what),
				 errdetail("They are: %s.", list),
				 errhint("%s", hint)));
}

PG_FUNCTION_INFO_V1(eb_delete_bus);

/* eb.delete_bus(name, with_rules) */
Datum
eb_delete_bus(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "name");
	bool		with_rules = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	Oid			view = eb_bus_lookup(name, false)->view;
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	char	   *list;

	PreventCommandIfReadOnly("eb.delete_bus()");
	eb_check_view_privilege(view, EB_BUS_ADMIN, "bus", name);
	eb_owner_begin(&owner);

	/* in this order: who makes a subscription takes both */
	LockRelationOid(eb_table_oid(EB_SUBSCRIPTIONS, false), ShareUpdateExclusiveLock);
	(void) lock_bus(name, view, "UPDATE");

	eb_sql_arg_text(&args, name);
	refuse_used(name, &args, "archives",
				"SELECT pg_catalog.format('\"%s\"', name) FROM eb.archives WHERE bus = $1"
				" ORDER BY name LIMIT 20",
				"Delete them with eb.delete_archive() first; what they hold cannot be read without the bus.");
	refuse_used(name, &args, "subscriptions",
				"SELECT pg_catalog.format('\"%s\"', name) FROM eb.subscriptions WHERE bus = $1"
				" ORDER BY name LIMIT 20",
				"Drop them with eb.drop_subscription() first.");
	list = query("SELECT pg_catalog.format('\"%s\" of bus \"%s\"', rule, bus) FROM eb.targets"
				 " WHERE kind = 'bus' AND destination = $1 AND bus <> $1"
				 " GROUP BY bus, rule ORDER BY bus, rule LIMIT 20", &args, ", ");
	if (list)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot delete bus \"%s\" because rules of other buses forward to it", name),
				 errdetail("Rules: %s.", list),
				 errhint("Remove their targets with eb.remove_target() first.")));
	list = query("SELECT pg_catalog.format('\"%s\"', name) FROM eb.rules WHERE bus = $1"
				 " ORDER BY name LIMIT 20", &args, ", ");
	if (list && !with_rules)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot delete bus \"%s\" because it has rules", name),
				 errdetail("Rules: %s.", list),
				 errhint("Delete them with eb.delete_rule(), or all of them with eb.delete_bus(..., with_rules => true).")));

	(void) eb_sql_run("DELETE FROM eb.targets WHERE bus = $1", &args);
	(void) eb_sql_run("DELETE FROM eb.rules WHERE bus = $1", &args);
	(void) eb_sql_run("DELETE FROM eb.buses WHERE name = $1", &args);
	if (get_rel_name(view) != NULL)
		eb_sql_execute("DROP VIEW eb.%s", quote_identifier(psprintf("bus_%s", name)));
	eb_owner_end(&owner);
	eb_once_drop(EB_ONCE_BUS, name);
	PG_RETURN_VOID();
}

/* ---- rules ---- */

/*
 * Begin to manage a rule: privilege, ownership, the bus's lock.  Returns the
 * bus's version.
 */
static int64
begin_managing(const char *bus_name, const char *function, EbOwnerContext *owner)
{
	Oid			view = eb_bus_lookup(bus_name, false)->view;

	PreventCommandIfReadOnly(function);
	eb_check_view_privilege(view, EB_BUS_MANAGE_RULES, "bus", bus_name);
	eb_owner_begin(owner);
	return lock_bus(bus_name, view, "NO KEY UPDATE");
}

pg_noreturn static void
rule_missing(const char *bus, const char *rule)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("rule \"%s\" of bus \"%s\" does not exist", rule, bus),
			 errhint("Make it with eb.put_rule(), or name its bus in the argument \"bus\".")));
	pg_unreachable();
}

PG_FUNCTION_INFO_V1(eb_put_rule);

/* eb.put_rule(name, pattern, bus, description, enabled) */
Datum
eb_put_rule(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "name");
	char	   *bus = required_text(fcinfo, 2, "bus");
	char	   *description = optional_text(fcinfo, 3);
	Jsonb	   *pattern;
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	int64		version;
	char	   *found;

	if (PG_ARGISNULL(1))
		eb_error_null("pattern");
	if (PG_ARGISNULL(4))
		eb_error_null("enabled");
	pattern = PG_GETARG_JSONB_P(1);
	eb_check_name("rule", name);
	(void) eb_pattern_parse(&pattern->root);
	(void) eb_bus_use(bus);

	version = begin_managing(bus, "eb.put_rule()", &owner);
	eb_sql_arg_text(&args, bus);
	eb_sql_arg_text(&args, name);
	eb_sql_arg_jsonb(&args, pattern);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(PG_GETARG_BOOL(4)), false);
	eb_sql_arg_text(&args, description);
	found = query("SELECT CASE WHEN (pattern, enabled) IS DISTINCT FROM ($3, $4) THEN 'routing'"
				  " WHEN description IS DISTINCT FROM $5 THEN 'description' ELSE 'nothing' END"
				  " FROM eb.rules WHERE bus = $1 AND name = $2", &args, "");
	if (!found || strcmp(found, "routing") == 0)
	{
		eb_sql_arg(&args, INT8OID, Int64GetDatum(take_version(bus, version)), false);
		if (!found)
			(void) eb_sql_run("INSERT INTO eb.rules (bus, name, pattern, enabled, description,"
					   " since_version) VALUES ($1, $2, $3, $4, $5, $6)", &args);
		else
			(void) eb_sql_run("UPDATE eb.rules SET pattern = $3, enabled = $4, description = $5,"
					   " since_version = $6, updated_at = now()"
					   " WHERE bus = $1 AND name = $2", &args);
	}
	else if (strcmp(found, "description") == 0)
		(void) eb_sql_run("UPDATE eb.rules SET description = $5, updated_at = now()"
				   " WHERE bus = $1 AND name = $2 AND pattern = $3 AND enabled = $4", &args);
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

/* Raise unless the rule exists; as owner, with the bus's lock. */
static void
check_rule(const char *bus, const char *rule)
{
	EbSqlArgs	args = {0};

	eb_sql_arg_text(&args, bus);
	eb_sql_arg_text(&args, rule);
	if (!query("SELECT 'yes' FROM eb.rules WHERE bus = $1 AND name = $2", &args, ""))
		rule_missing(bus, rule);
}

PG_FUNCTION_INFO_V1(eb_delete_rule);

/* eb.delete_rule(name, bus, with_targets) */
Datum
eb_delete_rule(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "name");
	char	   *bus = required_text(fcinfo, 1, "bus");
	bool		with_targets = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	int64		version = begin_managing(bus, "eb.delete_rule()", &owner);
	char	   *targets;

	check_rule(bus, name);
	eb_sql_arg_text(&args, bus);
	eb_sql_arg_text(&args, name);
	targets = query("SELECT pg_catalog.format('\"%s\"', name) FROM eb.targets"
					" WHERE bus = $1 AND rule = $2 ORDER BY name LIMIT 20", &args, ", ");
	if (targets && !with_targets)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot delete rule \"%s\" of bus \"%s\" because it has targets",
						name, bus),
				 errdetail("Targets: %s.", targets),
				 errhint("Remove them with eb.remove_target(), or all of them with eb.delete_rule(..., with_targets => true).")));
	(void) take_version(bus, version);
	(void) eb_sql_run("DELETE FROM eb.targets WHERE bus = $1 AND rule = $2", &args);
	(void) eb_sql_run("DELETE FROM eb.rules WHERE bus = $1 AND name = $2", &args);
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

static void
set_enabled(FunctionCallInfo fcinfo, bool enabled, const char *function)
{
	char	   *name = required_text(fcinfo, 0, "name");
	char	   *bus = required_text(fcinfo, 1, "bus");
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	int64		version = begin_managing(bus, function, &owner);
	char	   *now;

	check_rule(bus, name);
	eb_sql_arg_text(&args, bus);
	eb_sql_arg_text(&args, name);
	now = query("SELECT enabled::text FROM eb.rules WHERE bus = $1 AND name = $2", &args, "");
	if (now && (strcmp(now, "true") == 0) != enabled)
	{
		eb_sql_arg(&args, BOOLOID, BoolGetDatum(enabled), false);
		eb_sql_arg(&args, INT8OID, Int64GetDatum(take_version(bus, version)), false);
		(void) eb_sql_run("UPDATE eb.rules SET enabled = $3, since_version = $4, updated_at = now()"
				   " WHERE bus = $1 AND name = $2", &args);
	}
	eb_owner_end(&owner);
}

PG_FUNCTION_INFO_V1(eb_enable_rule);

Datum
eb_enable_rule(PG_FUNCTION_ARGS)
{
	set_enabled(fcinfo, true, "eb.enable_rule()");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_disable_rule);

Datum
eb_disable_rule(PG_FUNCTION_ARGS)
{
	set_enabled(fcinfo, false, "eb.disable_rule()");
	PG_RETURN_VOID();
}

/* ---- targets ---- */

/* Arguments of eb.put_target. */
enum
{
	ARG_RULE,
	ARG_NAME,
	ARG_QUEUE,
	ARG_TARGET_BUS,
	ARG_CHANNEL,
	ARG_INPUT,
	ARG_INPUT_PATH,
	ARG_INPUT_TRANSFORMER,
	ARG_ON_MISSING,
	ARG_SOURCE,
	ARG_DETAIL_TYPE,
	ARG_BUS
};

typedef struct Target
{
	const char *rule;
	const char *name;
	bool		named;			/* by the caller */
	const char *kind;
	const char *destination;
	Oid			view;			/* of the destination; invalid for a channel */
	const char *source;
	const char *detail_type;
	const char *bus;
} Target;

/* Exactly one destination, and what goes with it. */
static void
read_destination(FunctionCallInfo fcinfo, Target *target)
{
	static const struct
	{
		int			arg;
		const char *kind;
	}			kinds[] = {
		{ARG_QUEUE, "queue"}, {ARG_TARGET_BUS, "bus"}, {ARG_CHANNEL, "notify"}
	};

	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (PG_ARGISNULL(kinds[i].arg))
			continue;
		if (target->kind)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a target has one destination"),
					 errhint("Put one target for each destination.")));
		target->kind = kinds[i].kind;
		target->destination = text_to_cstring(PG_GETARG_TEXT_PP(kinds[i].arg));
	}
	if (!target->kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a target needs a destination"),
				 errhint("Name it with one of the arguments \"queue\", \"target_bus\" and \"channel\", such as eb.put_target('my-rule', queue => 'my-queue').")));
}

/* May the current user send there?  Before we become the owner. */
static void
check_destination(Target *target)
{
	if (strcmp(target->kind, "queue") == 0)
	{
		target->view = eb_queue_lookup(target->destination, false)->view;
		eb_check_view_privilege(target->view, ACL_INSERT, "queue", target->destination);
	}
	else if (strcmp(target->kind, "bus") == 0)
	{
		target->view = eb_bus_use(target->destination)->view;
		eb_check_view_privilege(target->view, EB_BUS_PUBLISH, "bus", target->destination);
	}
}

/*
 * Keep the destination from being dropped until we commit, and see that there
 * is a retention class for what waits in a queue longer than on the bus.
 */
static void
hold_destination(const Target *target)
{
	if (strcmp(target->kind, "queue") == 0)
	{
		EbQueue		queue = *eb_queue_lookup(target->destination, false);
		Interval	keep = {.time = queue.retention};
		const EbBus *bus = eb_bus_lookup(target->bus, false);
		int16		class;

		table_close(eb_queue_open(&queue, AccessShareLock), NoLock);
		if (queue.view != target->view)
			eb_error_missing("queue", target->destination, "It was dropped a moment ago.");
		class = eb_log_class_at_least(&keep);
		if (class == 0 || eb_log_class_longer(class, bus->class) != bus->class)
			(void) eb_log_class_ensure(&keep);
	}
	else if (strcmp(target->kind, "bus") == 0)
		(void) lock_bus(target->destination, target->view, "KEY SHARE");
}

static void
check_channel(const char *channel)
{
	if (channel[0] == '\0' || strlen(channel) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid channel name \"%s\"", channel),
				 errdetail("A channel's name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

static void
check_target_texts(const Target *target)
{
	if (strcmp(target->kind, "notify") == 0)
		check_channel(target->destination);
	if (target->name[0] == '\0' || strlen(target->name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid target name \"%s\"", target->name),
				 errdetail("A target's name has 1 to %d bytes.", NAMEDATALEN - 1)));
	if ((target->source || target->detail_type) && strcmp(target->kind, "bus") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is for targets that are buses",
						target->source ? "source" : "detail_type"),
				 errhint("What a queue or a channel gets is shaped by input, input_path or input_transformer.")));
	if ((target->source && target->source[0] == '\0') ||
		(target->detail_type && target->detail_type[0] == '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must not be empty",
						target->source && target->source[0] == '\0' ? "source" : "detail_type")));
	if (target->source && pg_strncasecmp(target->source, "eb.", 3) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("\"source\" must not begin with \"eb.\""),
				 errdetail("Source \"%s\" is reserved for events of the bus itself.",
						   target->source)));
}

/* A name that was not given must not take another target's place by accident. */
static void
check_default_name(const Target *target)
{
	EbSqlArgs	args = {0};
	char	   *kind;

	if (target->named)
		return;
	eb_sql_arg_text(&args, target->bus);
	eb_sql_arg_text(&args, target->rule);
	eb_sql_arg_text(&args, target->name);
	kind = query("SELECT kind FROM eb.targets WHERE bus = $1 AND rule = $2 AND name = $3",
				 &args, "");
	if (kind && strcmp(kind, target->kind) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("target \"%s\" of rule \"%s\" already exists", target->name,
						target->rule),
				 errdetail("It is of kind \"%s\".", kind),
				 errhint("Give this one another name with the argument \"name\".")));
}

PG_FUNCTION_INFO_V1(eb_put_target);

/*
 * eb.put_target(rule, name, queue, target_bus, channel, input, input_path,
 * input_transformer, on_missing, source, detail_type, bus)
 */
Datum
eb_put_target(PG_FUNCTION_ARGS)
{
	Target		target = {0};
	Jsonb	   *input = PG_ARGISNULL(ARG_INPUT) ? NULL : PG_GETARG_JSONB_P(ARG_INPUT);
	char	   *input_path = optional_text(fcinfo, ARG_INPUT_PATH);
	Jsonb	   *transformer = PG_ARGISNULL(ARG_INPUT_TRANSFORMER) ? NULL :
	PG_GETARG_JSONB_P(ARG_INPUT_TRANSFORMER);
	char	   *on_missing = required_text(fcinfo, ARG_ON_MISSING, "on_missing");
	EbOnMissing missing = eb_transform_on_missing(on_missing);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	int64		version;

	target.rule = required_text(fcinfo, ARG_RULE, "rule");
	target.bus = required_text(fcinfo, ARG_BUS, "bus");
	read_destination(fcinfo, &target);
	target.named = !PG_ARGISNULL(ARG_NAME);
	target.name = target.named ? optional_text(fcinfo, ARG_NAME) : target.destination;
	target.source = optional_text(fcinfo, ARG_SOURCE);
	target.detail_type = optional_text(fcinfo, ARG_DETAIL_TYPE);
	check_target_texts(&target);
	if (input || input_path || transformer)
		(void) eb_transform_compile(input, input_path, transformer, missing,
									strcmp(target.kind, "bus") == 0);
	check_destination(&target);

	version = begin_managing(target.bus, "eb.put_target()", &owner);
	check_rule(target.bus, target.rule);
	check_default_name(&target);
	hold_destination(&target);

	eb_sql_arg_text(&args, target.bus);
	eb_sql_arg_text(&args, target.rule);
	eb_sql_arg_text(&args, target.name);
	eb_sql_arg_text(&args, target.kind);
	eb_sql_arg_text(&args, target.destination);
	eb_sql_arg_jsonb(&args, input);
	eb_sql_arg_text(&args, input_path);
	eb_sql_arg_jsonb(&args, transformer);
	eb_sql_arg_text(&args, on_missing);
	eb_sql_arg_text(&args, target.source);
	eb_sql_arg_text(&args, target.detail_type);

	/* json as text: what a template says may hang on how it is written */
	if (!query("SELECT 'same' FROM eb.targets"
			   " WHERE bus = $1 AND rule = $2 AND name = $3"
			   " AND (kind, destination, input::text, input_path, input_transformer::text,"
			   " on_missing, bus_source, bus_detail_type) IS NOT DISTINCT FROM"
			   " ($4, $5, $6::text, $7, $8::text, $9, $10, $11)", &args, ""))
	{
		eb_sql_arg(&args, INT4OID, Int32GetDatum((int32) next_of("object_id_seq")), false);
		eb_sql_arg(&args, INT8OID, Int64GetDatum(take_version(target.bus, version)), false);
		(void) eb_sql_run("INSERT INTO eb.targets AS t (bus, rule, name, kind, destination, input,"
				   " input_path, input_transformer, on_missing, bus_source, bus_detail_type,"
				   " target_id, since_version)"
				   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
				   " ON CONFLICT (bus, rule, name) DO UPDATE SET"
				   " since_version = CASE WHEN (t.kind, t.destination) ="
				   " (excluded.kind, excluded.destination) THEN t.since_version"
				   " ELSE excluded.since_version END,"
				   " kind = excluded.kind,"
				   " destination = excluded.destination, input = excluded.input,"
				   " input_path = excluded.input_path,"
				   " input_transformer = excluded.input_transformer,"
				   " on_missing = excluded.on_missing, bus_source = excluded.bus_source,"
				   " bus_detail_type = excluded.bus_detail_type", &args);
	}
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_remove_target);

/* eb.remove_target(rule, name, bus) */
Datum
eb_remove_target(PG_FUNCTION_ARGS)
{
	char	   *rule = required_text(fcinfo, 0, "rule");
	char	   *name = required_text(fcinfo, 1, "name");
	char	   *bus = required_text(fcinfo, 2, "bus");
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	int64		version = begin_managing(bus, "eb.remove_target()", &owner);

	check_rule(bus, rule);
	eb_sql_arg_text(&args, bus);
	eb_sql_arg_text(&args, rule);
	eb_sql_arg_text(&args, name);
	if (eb_sql_run("DELETE FROM eb.targets WHERE bus = $1 AND rule = $2 AND name = $3", &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("target \"%s\" of rule \"%s\" of bus \"%s\" does not exist",
						name, rule, bus)));
	(void) take_version(bus, version);
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}
