/*-------------------------------------------------------------------------
 *
 * archive_replay.c
 *	  Replays and backfills as objects: start, pause, resume, cancel, run.
 *
 *	 STARTING --> RUNNING --> COMPLETED
 *		|  ^	  |  ^  |
 *		v  |	  v  |  +--> FAILED --> (resume) STARTING
 *	   PAUSED	PAUSED
 *	 any of these, cancelled: CANCELLING --> CANCELLED
 *
 * Who runs a chunk holds the replay's lock (eb_replay_lock) to the end of its
 * transaction.  States are changed by UPDATE of the row, which does not wait
 * for the chunk: the next one sees it.  Nor does a chunk wait for somebody
 * who has changed the state and not committed yet: it tries again later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "archive/archive_internal.h"
#include "bus/bus.h"
#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "queue/queue.h"
#include "stream/stream.h"
#include "worker/worker.h"

#define SUBSCRIPTION_PREFIX "subscription-"

PG_FUNCTION_INFO_V1(eb_start_replay);
PG_FUNCTION_INFO_V1(eb_backfill_rule);
PG_FUNCTION_INFO_V1(eb_pause_replay);
PG_FUNCTION_INFO_V1(eb_resume_replay);
PG_FUNCTION_INFO_V1(eb_cancel_replay);
PG_FUNCTION_INFO_V1(eb_delete_replay);
PG_FUNCTION_INFO_V1(eb_run_replay);

/* ---- making one ---- */

typedef struct NewReplay
{
	const char *name;
	const char *kind;
	const char *bus;
	const char *archive;
	Datum		rules;			/* text[], (Datum) 0: all */
	const char *to_queue;
	Jsonb	   *pattern;
	EbTick		after;
	EbTick		before;			/* 0: not known yet */
	int			max_rate;		/* 0: none */
	bool		through_buses;
	bool		dry_run;
	int64		from_version;	/* 0: any */
	int64		estimated;
} NewReplay;

static void
insert_replay(const NewReplay *r)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	EbSqlArgs	progress = {0};
	Oid			user = GetUserId();
	pg_uuid_t	after;
	pg_uuid_t	before;

	eb_position_before(r->after + 1, &after);
	eb_tick_uuid(r->before, &before);
	before.data[9] &= 0xf0;
	memset(&before.data[10], 0, 6);

	eb_owner_begin(&owner);
	if (eb_sql_value("SELECT name FROM eb.replays WHERE name = $1", r->name, NULL))
		eb_error_exists("replay", r->name);
	eb_sql_arg_text(&args, r->name);
	eb_sql_arg_text(&args, r->kind);
	eb_sql_arg_text(&args, r->bus);
	eb_sql_arg_text(&args, r->archive);
	eb_sql_arg(&args, TEXTARRAYOID, r->rules, r->rules == (Datum) 0);
	eb_sql_arg_text(&args, r->to_queue);
	eb_sql_arg_jsonb(&args, r->pattern);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&after), false);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&before), r->before == 0);
	eb_sql_arg(&args, INT4OID, Int32GetDatum(r->max_rate), r->max_rate == 0);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(r->through_buses), false);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(r->dry_run), false);
	eb_sql_arg(&args, OIDOID, ObjectIdGetDatum(user), false);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(r->estimated), r->estimated < 0);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(r->from_version), r->from_version == 0);
	if (eb_sql_run("INSERT INTO eb.replays (name, kind, bus, archive, rules, to_queue,"
				   " pattern, after, before, max_rate, through_buses, dry_run, owner,"
				   " estimated, from_version, state, made_version)"
				   " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::regrole,"
				   " $14, $15, 'STARTING', b.rules_version FROM eb.buses b WHERE b.name = $3"
				   " ON CONFLICT DO NOTHING", &args) == 0)
		eb_error_exists("replay", r->name);
	eb_sql_arg_text(&progress, r->name);
	eb_sql_arg(&progress, UUIDOID, UUIDPGetDatum(&after), false);
	eb_sql_arg(&progress, TIMESTAMPTZOID, TimestampTzGetDatum(eb_clock_now()), false);
	(void) eb_sql_run("INSERT INTO eb.replay_progress (replay, \"position\", updated_at)"
					  " VALUES ($1, $2, $3)", &progress);
	eb_owner_end(&owner);
	eb_worker_wake_at_commit();
}

/* Names of people's replays.  What backfills subscriptions bears theirs. */
static void
check_replay_name(const char *name)
{
	eb_check_name("replay", name);
	if (strncmp(name, SUBSCRIPTION_PREFIX, strlen(SUBSCRIPTION_PREFIX)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("replay name \"%s\" is reserved", name),
				 errdetail("Names that begin with \"%s\" are those of the replays that deliver history to subscriptions.",
						   SUBSCRIPTION_PREFIX)));
}

/* Rules must be there and enabled; others would replay nothing, silently. */
static void
check_rules(const char *bus, ArrayType *rules)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;

	deconstruct_array(rules, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("list of rules is empty"),
				 errhint("Use null for all rules of the bus.")));
	for (int i = 0; i < n; i++)
	{
		char	   *name;
		char	   *enabled;

		if (nulls[i])
			eb_error_null("rules");
		name = TextDatumGetCString(names[i]);
		enabled = eb_sql_value("SELECT enabled FROM eb.rules WHERE bus = $1 AND name = $2", bus, name);
		if (!enabled)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("rule \"%s\" of bus \"%s\" does not exist", name, bus)));
		if (strcmp(enabled, "t") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("rule \"%s\" of bus \"%s\" is disabled", name, bus),
					 errhint("Enable it with eb.enable_rule().")));
	}
}

Datum
eb_start_replay(PG_FUNCTION_ARGS)
{
	NewReplay	r = {.kind = "replay"};
	EbArchive  *archive;
	const EbBus *bus;
	EbTick		now;

	if (PG_ARGISNULL(0))
		eb_error_null("name");
	if (PG_ARGISNULL(1))
		eb_error_null("archive");
	if (PG_ARGISNULL(8))
		eb_error_null("dry_run");
	if (PG_ARGISNULL(9))
		eb_error_null("through_buses");
	PreventCommandIfReadOnly("eb.start_replay()");
	r.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_replay_name(r.name);
	archive = eb_archive_get(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	eb_check_view_privilege(archive->view, EB_ARCHIVE_READ, "archive", archive->name);
	r.archive = archive->name;
	r.bus = archive->bus;
	bus = eb_bus_lookup(r.bus, false);
	if (!PG_ARGISNULL(4) && !PG_ARGISNULL(5))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a replay goes to rules or to a queue, not to both"),
				 errhint("Leave out rules or to_queue.")));
	if (!PG_ARGISNULL(5))
	{
		r.to_queue = text_to_cstring(PG_GETARG_TEXT_PP(5));
		eb_check_view_privilege(eb_queue_lookup(r.to_queue, false)->view, ACL_INSERT,
								"queue", r.to_queue);
	}
	else
		eb_check_view_privilege(bus->view, EB_BUS_MANAGE_RULES, "bus", r.bus);
	if (!PG_ARGISNULL(4))
	{
		r.rules = PG_GETARG_DATUM(4);
		check_rules(r.bus, DatumGetArrayTypeP(r.rules));
	}
	if (!PG_ARGISNULL(6))
	{
		r.pattern = PG_GETARG_JSONB_P(6);
		(void) eb_pattern_parse(&r.pattern->root);
	}
	if (!PG_ARGISNULL(7))
	{
		r.max_rate = PG_GETARG_INT32(7);
		if (r.max_rate < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid max_rate %d", r.max_rate),
					 errhint("Use a number of events a second, or null for no limit.")));
	}
	r.dry_run = PG_GETARG_BOOL(8);
	r.through_buses = PG_GETARG_BOOL(9);

	r.after = eb_archive_after(PG_ARGISNULL(2), PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMPTZ(2));
	now = eb_clock_take(1);
	r.before = PG_ARGISNULL(3) ? now :
		Min(now, eb_archive_after(false, PG_GETARG_TIMESTAMPTZ(3)) + 1);
	if (!PG_ARGISNULL(2) && !PG_ARGISNULL(3) &&
		PG_GETARG_TIMESTAMPTZ(2) >= PG_GETARG_TIMESTAMPTZ(3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from\" must be before \"to\"")));
	eb_archive_clamp(archive, &r.after);
	r.estimated = eb_log_estimate(r.after, r.before);
	insert_replay(&r);
	PG_RETURN_VOID();
}

/* A name for a backfill that nobody named. */
static char *
backfill_name(const char *rule)
{
	for (int i = 1;; i++)
	{
		char	   *suffix = psprintf("-%d", i);
		char	   *name = psprintf("backfill-%.*s%s",
									(int) (EB_NAME_MAX - strlen("backfill-") - strlen(suffix)),
									rule, suffix);

		if (!eb_sql_value("SELECT name FROM eb.replays WHERE name = $1", name, NULL))
			return name;
	}
}

void
eb_backfill_start(const char *name, const char *bus, const char *rule, EbTick after,
				  int64 from_version)
{
	NewReplay	r = {.name = name,.kind = "backfill",.bus = bus,.after = after,
	.from_version = from_version};
	Datum		names[1] = {CStringGetTextDatum(rule)};

	r.rules = PointerGetDatum(construct_array(names, 1, TEXTOID, -1, false, TYPALIGN_INT));
	r.estimated = eb_log_estimate(after, eb_clock_take(1));
	insert_replay(&r);
}

void
eb_handover_start(const char *name, const char *bus, const char *rule,
				  const char *queue, Jsonb *pattern, EbTick after, int64 from_version)
{
	NewReplay	r = {.name = name,.kind = "handover",.bus = bus,.to_queue = queue,
	.pattern = pattern,.after = after,.from_version = from_version};
	Datum		names[1] = {CStringGetTextDatum(rule)};

	r.rules = PointerGetDatum(construct_array(names, 1, TEXTOID, -1, false, TYPALIGN_INT));
	r.estimated = eb_log_estimate(after, eb_clock_take(1));
	insert_replay(&r);
}

Datum
eb_backfill_rule(PG_FUNCTION_ARGS)
{
	char	   *bus_name;
	char	   *rule;
	char	   *name;
	Datum		names[1];

	if (PG_ARGISNULL(0))
		eb_error_null("bus");
	if (PG_ARGISNULL(1))
		eb_error_null("rule");
	PreventCommandIfReadOnly("eb.backfill_rule()");
	bus_name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	rule = text_to_cstring(PG_GETARG_TEXT_PP(1));
	eb_check_view_privilege(eb_bus_lookup(bus_name, false)->view, EB_BUS_MANAGE_RULES, "bus", bus_name);
	names[0] = CStringGetTextDatum(rule);
	check_rules(bus_name, construct_array(names, 1, TEXTOID, -1, false, TYPALIGN_INT));
	if (PG_ARGISNULL(3))
		name = backfill_name(rule);
	else
	{
		name = text_to_cstring(PG_GETARG_TEXT_PP(3));
		check_replay_name(name);
	}
	eb_backfill_start(name, bus_name, rule,
					  eb_archive_after(PG_ARGISNULL(2),
									   PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMPTZ(2)), 0);
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

/* ---- changing its state ---- */

static EbReplay *
get_as_owner(const char *name)
{
	EbReplay   *replay = eb_replay_get(name);

	if (!replay)
		eb_error_missing("replay", name, "See eb.replay_status.");
	if (!has_privs_of_role(GetUserId(), replay->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for replay \"%s\"", name),
				 errdetail("It was started by another role.")));
	return replay;
}

static void
refuse_state(const EbReplay *replay, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot %s replay \"%s\"", what, replay->name),
			 errdetail("Its state is %s.", replay->state)));
}

void
eb_replay_set_state(const char *name, const char *state, const char *error)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	eb_owner_begin(&owner);
	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, state);
	eb_sql_arg_text(&args, error);
	(void) eb_sql_run("UPDATE eb.replays SET state = $2, error = $3,"
					  " ended_at = CASE WHEN $2 IN ('COMPLETED', 'CANCELLED', 'FAILED')"
					  " THEN pg_catalog.clock_timestamp() END WHERE name = $1", &args);
	eb_owner_end(&owner);
}

bool
eb_replay_change_state(const char *name, const char *state, const char *from)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	uint64		changed;

	eb_owner_begin(&owner);
	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, state);
	eb_sql_arg_text(&args, from);
	changed = eb_sql_run("UPDATE eb.replays SET state = $2, error = NULL,"
						 " ended_at = CASE WHEN $2 = 'CANCELLED' THEN pg_catalog.clock_timestamp() END"
						 " WHERE name = $1 AND state = ANY ($3::text[])", &args);
	eb_owner_end(&owner);
	return changed > 0;
}

char *
eb_replay_lock_state(const char *name)
{
	return eb_sql_value("SELECT state FROM eb.replays WHERE name = $1"
						" FOR NO KEY UPDATE SKIP LOCKED", name, NULL);
}

bool
eb_replay_unfinished(const EbReplay *replay)
{
	return strcmp(replay->state, "COMPLETED") != 0 &&
		strcmp(replay->state, "CANCELLING") != 0 &&
		strcmp(replay->state, "CANCELLED") != 0;
}

/*
 * Change it for a user.  A chunk under way holds the row when it has begun or
 * ended the replay: wait for it, and look again.
 */
static void
change_state(EbReplay *replay, const char *state, const char *from, const char *what)
{
	if (eb_replay_change_state(replay->name, state, from))
		return;
	replay = eb_replay_get(replay->name);
	if (replay)
		refuse_state(replay, what);
}

Datum
eb_pause_replay(PG_FUNCTION_ARGS)
{
	EbReplay   *replay = get_as_owner(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PreventCommandIfReadOnly("eb.pause_replay()");
	if (strcmp(replay->state, "STARTING") != 0 && strcmp(replay->state, "RUNNING") != 0)
		refuse_state(replay, "pause");
	change_state(replay, "PAUSED", "{STARTING,RUNNING}", "pause");
	PG_RETURN_VOID();
}

Datum
eb_resume_replay(PG_FUNCTION_ARGS)
{
	EbReplay   *replay = get_as_owner(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PreventCommandIfReadOnly("eb.resume_replay()");
	if (strcmp(replay->state, "PAUSED") != 0 && strcmp(replay->state, "FAILED") != 0)
		refuse_state(replay, "resume");
	change_state(replay, "STARTING", "{PAUSED,FAILED}", "resume");
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}

Datum
eb_cancel_replay(PG_FUNCTION_ARGS)
{
	EbReplay   *replay = get_as_owner(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PreventCommandIfReadOnly("eb.cancel_replay()");
	if (strcmp(replay->state, "COMPLETED") == 0 || strcmp(replay->state, "CANCELLED") == 0)
		refuse_state(replay, "cancel");

	/* with the lock in hand nobody is in the middle of a chunk */
	change_state(replay, eb_replay_lock(replay->name, false) ? "CANCELLED" : "CANCELLING",
				 "{STARTING,RUNNING,PAUSED,FAILED,CANCELLING}", "cancel");
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}

Datum
eb_delete_replay(PG_FUNCTION_ARGS)
{
	EbReplay   *replay = get_as_owner(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	PreventCommandIfReadOnly("eb.delete_replay()");
	if (strcmp(replay->state, "COMPLETED") != 0 && strcmp(replay->state, "CANCELLED") != 0 &&
		strcmp(replay->state, "FAILED") != 0)
		refuse_state(replay, "delete");
	eb_owner_begin(&owner);
	eb_sql_arg_text(&args, replay->name);
	(void) eb_sql_run("DELETE FROM eb.replay_progress WHERE replay = $1", &args);
	(void) eb_sql_run("DELETE FROM eb.replays WHERE name = $1", &args);
	eb_owner_end(&owner);
	PG_RETURN_VOID();
}

/* ---- in the foreground ---- */

Datum
eb_run_replay(PG_FUNCTION_ARGS)
{
	CallContext *call = (CallContext *) fcinfo->context;
	char	   *name;

	PreventCommandIfReadOnly("CALL eb.run_replay");
	if (PG_ARGISNULL(0))
		eb_error_null("name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!call || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("eb.run_replay() cannot run inside a transaction block"),
				 errhint("Call it with CALL on its own: it commits chunk by chunk.")));
	(void) get_as_owner(name);
	name = MemoryContextStrdup(PortalContext, name);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	for (;;)
	{
		TimestampTz due = 0;
		EbReplayOutcome outcome;

		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetTransactionSnapshot());
		outcome = eb_replay_chunk(name, true, &due);
		PopActiveSnapshot();
		SPI_commit();
		if (outcome == EB_REPLAY_ENDED)
			break;
		if (outcome == EB_REPLAY_LATER)
		{
			long		ms = TimestampDifferenceMilliseconds(eb_clock_now(), due);

			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 Max(ms, 1), PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
	}
	SPI_finish();
	PG_RETURN_VOID();
}
