/*-------------------------------------------------------------------------
 *
 * queue_config.c
 *	  Queues as objects: create, change, pause.
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
 * wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "once/once.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

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

/* ------------------------------------------------------------------ */
/* Settings                                                           */
/* ------------------------------------------------------------------ */

static void
check_range(const char *queue, const Setting *setting, Datum value)
{
	double		number;
	int64		microseconds = 0;
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

static void
take_interval(const SettingValues *settings, SettingNo i, int64 *microseconds)
{
	if (!settings->isnull[i])
		(void) eb_interval_microseconds(DatumGetIntervalP(settings->value[i]),
										microseconds);
}

/* Settings that must fit each other; null ones are those of the queue. */
static void
check_together(const EbQueue *queue, const SettingValues *settings)
{
	const char *name = queue->name;
	int64		delay = queue->delay;
	int64		retention = queue->retention;
	int64		base = queue->backoff_base;
	int64		cap = queue->backoff_cap;
	int			max_per_group = queue->max_per_group;
	bool		content_dedup = queue->content_dedup;

	take_interval(settings, DELAY, &delay);
	take_interval(settings, RETENTION, &retention);
	take_interval(settings, BACKOFF_BASE, &base);
	take_interval(settings, BACKOFF_CAP, &cap);
	if (!settings->isnull[MAX_PER_GROUP])
		max_per_group = DatumGetInt32(settings->value[MAX_PER_GROUP]);
	if (!settings->isnull[CONTENT_DEDUP])
		content_dedup = DatumGetBool(settings->value[CONTENT_DEDUP]);

	if (cap < base)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("backoff_cap of queue \"%s\" is smaller than its backoff_base",
						name)));
	if (delay >= retention)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delay of queue \"%s\" is not shorter than its retention",
						name),
				 errdetail("Its messages would expire before anybody could receive them.")));
	if (!queue->fifo && (max_per_group != 1 || content_dedup))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot be set for queue \"%s\"",
						content_dedup ? "content_dedup" : "max_per_group", name),
				 errdetail("It is a setting of FIFO queues.")));
}

/* ------------------------------------------------------------------ */
/* Create                                                             */
/* ------------------------------------------------------------------ */

void
eb_queue_default_dlq(const char *name, char *result)
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
		int32		id = DatumGetInt32(heap_getattr(tuple, EB_QUEUES_QUEUE_ID,
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
		eb_sql_execute("CREATE INDEX %s ON eb.%s (group_id COLLATE \"C\", message_id)",
					   quote_identifier(psprintf("q_%s$g", name)), table);
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
	if (fifo)
		eb_once_create(EB_ONCE_QUEUE, name,
					   DatumGetIntervalP(settings->value[DEDUP_WINDOW]));
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
			!eb_queue_read(pstrdup(next.dead_letter_queue), &next))
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
	if (eb_queue_read(name, &dlq))
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
	EbQueue		queue = {0};
	bool		fifo;

	PreventCommandIfReadOnly("eb.create_queue()");
	if (PG_ARGISNULL(1))
		eb_error_null("fifo");
	fifo = PG_GETARG_BOOL(1);
	eb_check_name("queue", name);
	settings_from_arguments(fcinfo, 2, false, name, &settings);
	strlcpy(queue.name, name, NAMEDATALEN);
	queue.fifo = fifo;
	check_together(&queue, &settings);
	if (PG_ARGISNULL(DEAD_LETTER_ARG(2)))
	{
		dlq = palloc(NAMEDATALEN);
		eb_queue_default_dlq(name, dlq);
	}
	else
	{
		dlq = text_to_cstring(PG_GETARG_TEXT_PP(DEAD_LETTER_ARG(2)));
		if (dlq[0] == '\0')
			dlq = NULL;
	}

	lock_configuration();
	if (eb_queue_read(name, &queue))
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

EbQueue
eb_queue_to_change(const char *name, const char *function)
{
	EbQueue		queue;

	PreventCommandIfReadOnly(function);
	lock_configuration();
	if (!eb_queue_read(name, &queue))
		eb_error_missing("queue", name, "Create it with eb.create_queue().");
	eb_check_view_privilege(queue.view, EB_QUEUE_ADMIN, "queue", name);
	return queue;
}

PG_FUNCTION_INFO_V1(eb_update_queue);

Datum
eb_update_queue(PG_FUNCTION_ARGS)
{
	char	   *name = text_argument(fcinfo, 0, "name");
	EbQueue		queue = eb_queue_to_change(name, "eb.update_queue()");
	SettingValues settings;
	EbOwnerContext context;
	Oid			types[3 + SETTINGS];
	Datum		values[3 + SETTINGS];
	char		nulls[3 + SETTINGS];
	int			n = 0;

	settings_from_arguments(fcinfo, 1, true, name, &settings);
	check_together(&queue, &settings);
	if (!PG_ARGISNULL(DEAD_LETTER_ARG(1)))
	{
		char	   *dlq_name = text_to_cstring(PG_GETARG_TEXT_PP(DEAD_LETTER_ARG(1)));
		EbQueue		dlq;

		if (dlq_name[0] != '\0')
		{
			if (!eb_queue_read(dlq_name, &dlq))
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
	if (queue.fifo && !settings.isnull[DEDUP_WINDOW])
		eb_once_update(EB_ONCE_QUEUE, name,
					   DatumGetIntervalP(settings.value[DEDUP_WINDOW]));
	if (queue.fifo && !settings.isnull[MAX_PER_GROUP] &&
		DatumGetInt32(settings.value[MAX_PER_GROUP]) > queue.max_per_group)
	{
		Relation	table = eb_queue_open(&queue, RowExclusiveLock);

		eb_fifo_mark_groups(table, &queue);
		table_close(table, NoLock);
	}
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

	queue = eb_queue_to_change(name, paused ? "eb.pause_queue()" : "eb.resume_queue()");
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
