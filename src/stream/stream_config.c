/*-------------------------------------------------------------------------
 *
 * stream_config.c
 *	  Subscriptions as objects: create, pause, seek, drop; looking one up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bus/bus.h"
#include "catalog.h"
#include "errors.h"
#include "stream/stream_internal.h"
#include "worker/worker.h"

#define MAX_PARTS	1024

/* Columns of eb.subscriptions. */
enum
{
	Anum_name = 1,
	Anum_subscription_id,
	Anum_bus,
	Anum_pattern,
	Anum_parts,
	Anum_queue,
	Anum_rule,
	Anum_subscription_view,
	Anum_paused
};

typedef struct CacheEntry
{
	char		name[NAMEDATALEN];	/* hash key */
	uint64		generation;
	uint64		bus_generation;
	MemoryContext context;		/* NULL: nothing cached */
	EbSubscription *subscription;
} CacheEntry;

static HTAB *cache = NULL;

PG_FUNCTION_INFO_V1(eb_create_subscription);
PG_FUNCTION_INFO_V1(eb_drop_subscription);
PG_FUNCTION_INFO_V1(eb_pause_subscription);
PG_FUNCTION_INFO_V1(eb_resume_subscription);
PG_FUNCTION_INFO_V1(eb_seek_text);
PG_FUNCTION_INFO_V1(eb_seek_time);
PG_FUNCTION_INFO_V1(eb_seek_position);

/* ---- looking up ---- */

static EbSubscription *
read_subscription(const char *name)
{
	EbSubscription *result = NULL;
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;

	eb_config_key(&key, Anum_name, name);
	scan = eb_config_open(EB_SUBSCRIPTIONS, 1, &key);
	tuple = eb_config_next(scan);
	if (tuple)
	{
		TupleDesc	desc = eb_config_desc(scan);
		bool		isnull;
		Datum		d;

		result = palloc0(sizeof(EbSubscription));
		strlcpy(result->name, name, NAMEDATALEN);
		result->id = DatumGetInt32(heap_getattr(tuple, Anum_subscription_id, desc, &isnull));
		d = heap_getattr(tuple, Anum_bus, desc, &isnull);
		strlcpy(result->bus, TextDatumGetCString(d), NAMEDATALEN);
		result->parts = DatumGetInt32(heap_getattr(tuple, Anum_parts, desc, &isnull));
		result->view = DatumGetObjectId(heap_getattr(tuple, Anum_subscription_view, desc, &isnull));
		result->paused = DatumGetBool(heap_getattr(tuple, Anum_paused, desc, &isnull));
		d = heap_getattr(tuple, Anum_queue, desc, &isnull);
		result->has_queue = !isnull;
		if (!isnull)
			strlcpy(result->queue, TextDatumGetCString(d), NAMEDATALEN);
		d = heap_getattr(tuple, Anum_pattern, desc, &isnull);
		if (!isnull)
		{
			EbPatternBuilder *builder = eb_pattern_builder_create(1);

			eb_pattern_builder_add(builder, eb_pattern_parse(&DatumGetJsonbP(d)->root), 0);
			result->pattern = eb_pattern_builder_finish(builder);
		}
	}
	eb_config_close(scan);
	return result;
}

const EbSubscription *
eb_subscription_get(const char *name)
{
	uint64		generation = eb_catalog_generation(EB_SUBSCRIPTIONS);
	uint64		bus_generation = eb_catalog_generation(EB_BUSES);
	char		key[NAMEDATALEN] = {0};
	CacheEntry *entry;
	MemoryContext context;
	MemoryContext old;
	EbSubscription *subscription;
	const EbBus *bus;
	bool		found;

	if (strlen(name) > EB_NAME_MAX)
		eb_error_missing("subscription", name, NULL);
	strlcpy(key, name, NAMEDATALEN);
	if (!cache)
	{
		HASHCTL		ctl = {.keysize = NAMEDATALEN,.entrysize = sizeof(CacheEntry)};

		cache = hash_create("pg_eventbus subscriptions", 32, &ctl,
							HASH_ELEM | HASH_STRINGS);
	}
	entry = hash_search(cache, key, HASH_FIND, NULL);
	if (entry && entry->context && entry->generation == generation &&
		entry->bus_generation == bus_generation)
		return entry->subscription;

	context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus subscription",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	subscription = read_subscription(key);
	if (!subscription)
		eb_error_missing("subscription", name,
						 "Create it with eb.create_subscription().");
	bus = eb_bus_lookup(subscription->bus, true);
	if (bus)					/* else it was deleted by hand; nothing is read */
	{
		subscription->bus_id = bus->bus_id;
		subscription->bus_view = bus->view;
	}
	MemoryContextSwitchTo(old);

	entry = hash_search(cache, key, HASH_ENTER, &found);
	if (found && entry->context)
		MemoryContextDelete(entry->context);
	MemoryContextSetParent(context, CacheMemoryContext);
	entry->context = context;
	entry->subscription = subscription;
	entry->generation = generation;
	entry->bus_generation = bus_generation;
	return subscription;
}

int
eb_subscription_list(EbSubscriptionName **names)
{
	EbConfigScan *scan = eb_config_open(EB_SUBSCRIPTIONS, 0, NULL);
	HeapTuple	tuple;
	int			n = 0;
	int			room = 16;

	*names = palloc(room * sizeof(EbSubscriptionName));
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		TupleDesc	desc = eb_config_desc(scan);
		EbSubscriptionName *name;
		const EbBus *bus;
		bool		isnull;
		Datum		d;

		(void) heap_getattr(tuple, Anum_queue, desc, &isnull);
		if (!isnull)
			continue;
		if (n == room)
		{
			room *= 2;
			*names = repalloc_huge(*names, room * sizeof(EbSubscriptionName));
		}
		name = &(*names)[n];
		d = heap_getattr(tuple, Anum_name, desc, &isnull);
		strlcpy(name->name, TextDatumGetCString(d), NAMEDATALEN);
		d = heap_getattr(tuple, Anum_bus, desc, &isnull);
		strlcpy(name->bus, TextDatumGetCString(d), NAMEDATALEN);
		name->view = DatumGetObjectId(heap_getattr(tuple, Anum_subscription_view, desc, &isnull));
		bus = eb_bus_lookup(name->bus, true);
		if (!bus)
			continue;			/* changed by hand */
		name->bus_view = bus->view;
		n++;
	}
	eb_config_close(scan);
	return n;
}

/* The subscription, if the user has the privilege, to change it. */
static EbSubscription
get_as_admin(const char *name, const char *function)
{
	const EbSubscription *subscription = eb_subscription_get(name);

	PreventCommandIfReadOnly(function);
	eb_check_view_privilege(subscription->view, EB_SUBSCRIPTION_ADMIN,
							"subscription", name);
	return *subscription;
}

/* ---- positions by word or time ---- */

static void
position_of_time(TimestampTz at, const char *said, pg_uuid_t *position)
{
	if (at < 0 || at > EB_LAST_TIME)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("position \"%s\" is out of range", said),
				 errhint("Use 'earliest', 'latest' or a time in the years 2000 to 2070.")));
	eb_position_before(eb_time_tick(at), position);
}

static void
position_of_word(const char *word, pg_uuid_t *position)
{
	Datum		at;

	if (pg_strcasecmp(word, "latest") == 0)
	{
		eb_position_before(eb_log_horizon(), position);
		return;
	}
	if (pg_strcasecmp(word, "earliest") == 0)
	{
		eb_position_before(1, position);
		return;
	}
	at = DirectFunctionCall3(timestamptz_in, CStringGetDatum(word),
							 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	position_of_time(DatumGetTimestampTz(at), word, position);
}

/* Who waits for the subscription looks again after commit. */
static void
wake_readers(const EbSubscription *subscription)
{
	if (!subscription->has_queue && OidIsValid(subscription->bus_view))
		eb_notify_published(subscription->bus_view, subscription->bus);
}

/* Put all parts there, one after the other under its lock. */
static void
move_all(const EbSubscription *subscription, const pg_uuid_t *to)
{
	for (int part = 0; part < subscription->parts; part++)
	{
		EbPosition	position;

		(void) eb_stream_lock(subscription, part, true);
		eb_position_read(subscription, part, &position);
		position.position = *to;
		position.committed_at = eb_clock_now();
		eb_position_write(subscription, part, &position);
	}
	wake_readers(subscription);
	CommandCounterIncrement();
}

static void
refuse_queue(const EbSubscription *subscription)
{
	if (subscription->has_queue)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("subscription \"%s\" delivers to a queue", subscription->name),
				 errhint("Receive from the queue; only subscriptions without one are read and moved.")));
}

/* ---- create and drop ---- */

static int32
next_id(void)
{
	EbConfigScan *scan = eb_config_open(EB_SUBSCRIPTIONS, 0, NULL);
	HeapTuple	tuple;
	int32		id = 1;
	bool		isnull;

	while ((tuple = eb_config_next(scan)) != NULL)
		id = Max(id, DatumGetInt32(heap_getattr(tuple, Anum_subscription_id,
												eb_config_desc(scan), &isnull)) + 1);
	eb_config_close(scan);
	return id;
}

static bool
exists(const char *name)
{
	ScanKeyData key;
	EbConfigScan *scan;
	bool		found;

	eb_config_key(&key, Anum_name, name);
	scan = eb_config_open(EB_SUBSCRIPTIONS, 1, &key);
	found = eb_config_next(scan) != NULL;
	eb_config_close(scan);
	return found;
}

static Oid
create_view(const char *name, Oid creator)
{
	char	   *view = psprintf("subscription_%s", name);

	eb_sql_execute("CREATE VIEW eb.%s AS SELECT s.* FROM eb.subscription_status s"
				   " WHERE s.subscription = %s",
				   quote_identifier(view), quote_literal_cstr(name));
	eb_sql_execute("GRANT ALL ON eb.%s TO %s WITH GRANT OPTION",
				   quote_identifier(view),
				   quote_identifier(GetUserNameFromId(creator, false)));
	return eb_relation_oid(view);
}

static void
insert_rows(const char *name, int32 id, const char *bus, Datum pattern,
			bool no_pattern, int parts, Oid view, Datum description,
			bool no_description, const char *queue, const pg_uuid_t *position)
{
	EbSqlArgs	args = {0};
	EbSqlArgs	positions = {0};

	eb_sql_arg_text(&args, name);
	eb_sql_arg(&args, INT4OID, Int32GetDatum(id), false);
	eb_sql_arg_text(&args, bus);
	eb_sql_arg(&args, JSONBOID, pattern, no_pattern);
	eb_sql_arg(&args, INT4OID, Int32GetDatum(parts), false);
	eb_sql_arg(&args, OIDOID, ObjectIdGetDatum(view), false);
	eb_sql_arg(&args, TEXTOID, description, no_description);
	eb_sql_arg_text(&args, queue);
	eb_sql_arg_text(&args, queue ? name : NULL);
	(void) eb_sql_run("INSERT INTO eb.subscriptions (name, subscription_id, bus,"
					  " pattern, partitions, subscription_view, description, queue, rule)"
					  " VALUES ($1, $2, $3, $4, $5, $6::regclass, $7, $8, $9)", &args);
	if (queue)
		return;
	eb_sql_arg_text(&positions, name);
	eb_sql_arg(&positions, INT4OID, Int32GetDatum(parts - 1), false);
	eb_sql_arg(&positions, UUIDOID, UUIDPGetDatum(position), false);
	eb_sql_arg(&positions, TIMESTAMPTZOID, TimestampTzGetDatum(eb_clock_now()), false);
	(void) eb_sql_run("INSERT INTO eb.subscription_positions"
					  " (subscription, partition, \"position\", committed_at)"
					  " SELECT $1, p, $3, $4 FROM pg_catalog.generate_series(0, $2) p",
					  &positions);
}

Datum
eb_create_subscription(PG_FUNCTION_ARGS)
{
	static const char *const argument_names[] = {"name", "bus", NULL, "start", NULL, "partitions"};
	EbOwnerContext owner;
	const EbBus *bus;
	char	   *name;
	char	   *bus_name;
	char	   *start;
	char	   *queue = NULL;
	int			parts;
	pg_uuid_t	position;
	Oid			creator = GetUserId();
	Oid			view;

	for (int i = 0; i < (int) lengthof(argument_names); i++)
	{
		if (argument_names[i] && PG_ARGISNULL(i))
			eb_error_null(argument_names[i]);
	}
	PreventCommandIfReadOnly("eb.create_subscription()");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bus_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	parts = PG_GETARG_INT32(5);
	eb_check_name("subscription", name);
	if (parts < 1 || parts > MAX_PARTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid number of partitions %d", parts),
				 errhint("Use 1 to %d.", MAX_PARTS)));
	bus = eb_bus_lookup(bus_name, false);
	eb_check_view_privilege(bus->view, ACL_SELECT, "bus", bus_name);
	if (!PG_ARGISNULL(2))
		(void) eb_pattern_parse(&PG_GETARG_JSONB_P(2)->root);

	/* eb.delete_bus() takes this lock as well, so the bus stays */
	LockRelationOid(eb_table_oid(EB_SUBSCRIPTIONS, false), ShareUpdateExclusiveLock);
	(void) eb_bus_lookup(bus_name, false);
	if (exists(name))
		eb_error_exists("subscription", name);
	if (!PG_ARGISNULL(4))
	{
		queue = text_to_cstring(PG_GETARG_TEXT_PP(4));
		if (parts != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a subscription with a queue has no partitions"),
					 errhint("Any number of consumers may receive from the queue.")));
	}
	start = text_to_cstring(PG_GETARG_TEXT_PP(3));
	position_of_word(start, &position);
	eb_owner_begin(&owner);
	view = create_view(name, creator);
	insert_rows(name, next_id(), bus_name,
				PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2), PG_ARGISNULL(2),
				parts, view,
				PG_ARGISNULL(6) ? (Datum) 0 : PG_GETARG_DATUM(6), PG_ARGISNULL(6),
				queue, &position);
	eb_owner_end(&owner);
	if (queue)
		eb_subscription_route(name, bus_name, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2),
							  queue, pg_strcasecmp(start, "latest") == 0,
							  eb_uuid_tick(&position));
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}

Datum
eb_drop_subscription(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EbSubscription subscription = get_as_admin(name, "eb.drop_subscription()");
	EbOwnerContext owner;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(name)};

	LockRelationOid(eb_table_oid(EB_SUBSCRIPTIONS, false), ShareUpdateExclusiveLock);
	for (int part = 0; part < subscription.parts; part++)
		(void) eb_stream_lock(&subscription, part, true);
	if (subscription.has_queue)
		eb_subscription_unroute(name, subscription.bus);
	eb_owner_begin(&owner);
	(void) eb_sql_with_args("DELETE FROM eb.subscription_positions WHERE subscription = $1",
							1, types, values, NULL);
	(void) eb_sql_with_args("DELETE FROM eb.subscriptions WHERE name = $1",
							1, types, values, NULL);
	eb_sql_execute("DROP VIEW IF EXISTS eb.%s",
				   quote_identifier(psprintf("subscription_%s", name)));
	eb_owner_end(&owner);
	wake_readers(&subscription);
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}

static void
set_paused(const char *name, bool paused)
{
	EbOwnerContext owner;
	Oid			types[2] = {TEXTOID, BOOLOID};
	Datum		values[2] = {CStringGetTextDatum(name), BoolGetDatum(paused)};

	eb_owner_begin(&owner);
	(void) eb_sql_with_args("UPDATE eb.subscriptions SET paused = $2 WHERE name = $1",
							2, types, values, NULL);
	eb_owner_end(&owner);
}

Datum
eb_pause_subscription(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EbSubscription subscription;

	subscription = get_as_admin(name, "eb.pause_subscription()");
	if (subscription.paused)
		PG_RETURN_VOID();
	if (subscription.has_queue)
		eb_subscription_pause_route(name, subscription.bus);
	set_paused(name, true);
	PG_RETURN_VOID();
}

Datum
eb_resume_subscription(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *from = text_to_cstring(PG_GETARG_TEXT_PP(1));
	EbSubscription subscription = get_as_admin(name, "eb.resume_subscription()");

	if (strcmp(from, "latest") != 0 && strcmp(from, "last") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot resume from \"%s\"", from),
				 errhint("Use 'last' or 'latest'; eb.seek goes anywhere else.")));
	if (subscription.has_queue && subscription.paused)
	{
		eb_subscription_resume_route(name, subscription.bus, subscription.queue,
									 strcmp(from, "latest") == 0);
		eb_worker_wake_at_commit();
	}
	else if (strcmp(from, "latest") == 0)
	{
		pg_uuid_t	position;

		refuse_queue(&subscription);
		position_of_word(from, &position);
		move_all(&subscription, &position);
	}
	set_paused(name, false);
	wake_readers(&subscription);
	PG_RETURN_VOID();
}

Datum
eb_seek_text(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EbSubscription subscription = get_as_admin(name, "eb.seek()");
	pg_uuid_t	position;

	refuse_queue(&subscription);
	position_of_word(text_to_cstring(PG_GETARG_TEXT_PP(1)), &position);
	move_all(&subscription, &position);
	PG_RETURN_VOID();
}

Datum
eb_seek_time(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EbSubscription subscription = get_as_admin(name, "eb.seek()");
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);
	pg_uuid_t	position;

	refuse_queue(&subscription);
	position_of_time(at, timestamptz_to_str(at), &position);
	move_all(&subscription, &position);
	PG_RETURN_VOID();
}

Datum
eb_seek_position(PG_FUNCTION_ARGS)
{
	EbSubscription subscription = get_as_admin(text_to_cstring(PG_GETARG_TEXT_PP(0)), "eb.seek()");
	pg_uuid_t  *position = PG_GETARG_UUID_P(1);

	refuse_queue(&subscription);
	if (position->data[6] >> 4 != 7)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uuid is not an event id"),
				 errdetail("Its version is %d; ids of events are of version 7.",
						   position->data[6] >> 4)));
	move_all(&subscription, position);
	PG_RETURN_VOID();
}
