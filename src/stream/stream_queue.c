/*-------------------------------------------------------------------------
 *
 * stream_queue.c
 *	  Subscriptions that deliver to a queue: a rule for what is put from now
 *	  on, a backfill for what was put before.
 *
 * Which is which is told by the version of the bus's rules that each event
 * carries, so none falls between and none comes twice.  Pausing disables the
 * rule, which takes a version as well: resuming enables it and backfills what
 * was put under the versions in between.  If history was still being delivered
 * then, its backfill takes them along.
 *
 * For a FIFO queue order matters more than being live at once: its rule stays
 * disabled while history is delivered, and is enabled under a lock that keeps
 * publishers out for that moment (archive_replay_run.c, hand_over).
 *
 * The rule is made and changed with the functions that people use, as the
 * caller: their checks of privileges are the ones that count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

#include "archive/archive_internal.h"
#include "catalog.h"
#include "log/log.h"
#include "queue/queue.h"
#include "stream/stream_internal.h"

static char *
backfill_name(const char *subscription)
{
	return psprintf("subscription-%s", subscription);
}

/* Run as the caller, whose privileges the functions check. */
static void
call(const char *sql, const EbSqlArgs *args)
{
	SPI_connect();
	if (SPI_execute_with_args(sql, args->n, (Oid *) args->types, (Datum *) args->values,
							  args->nulls, false, 0) < 0)
		elog(ERROR, "could not run: %s", sql);
	SPI_finish();
}

static bool
has_rule(const char *bus, const char *name)
{
	return eb_sql_value("SELECT name FROM eb.rules WHERE bus = $1 AND name = $2", bus, name) != NULL;
}

static void
refuse_taken(const char *bus, const char *name)
{
	if (has_rule(bus, name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("rule \"%s\" of bus \"%s\" already exists", name, bus),
				 errhint("A subscription with a queue makes a rule of its own name; choose another.")));
}

/* Forget the last backfill, which has ended or is cancelled by this. */
static void
forget_backfill(const char *name)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	(void) eb_replay_lock(backfill_name(name), true);
	eb_owner_begin(&owner);
	eb_sql_arg_text(&args, backfill_name(name));
	(void) eb_sql_run("DELETE FROM eb.replay_progress WHERE replay = $1", &args);
	(void) eb_sql_run("DELETE FROM eb.replays WHERE name = $1", &args);
	eb_owner_end(&owner);
}

void
eb_subscription_route(const char *name, const char *bus, Jsonb *pattern,
					  const char *queue, bool latest, EbTick after)
{
	EbSqlArgs	rule = {0};
	EbSqlArgs	target = {0};
	Jsonb	   *every = pattern;
	bool		fifo = eb_queue_lookup(queue, false)->fifo;

	/* every event has an id, and a pattern must have a field */
	if (!every)
		every = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												   CStringGetDatum("{\"id\": [{\"exists\": true}]}")));
	refuse_taken(bus, name);
	eb_sql_arg_text(&rule, name);
	eb_sql_arg_jsonb(&rule, every);
	eb_sql_arg_text(&rule, bus);
	eb_sql_arg(&rule, BOOLOID, BoolGetDatum(latest || !fifo), false);
	call("SELECT eb.put_rule($1, $2, $3, 'Made by the subscription of this name.', $4)", &rule);
	eb_sql_arg_text(&target, name);
	eb_sql_arg_text(&target, queue);
	eb_sql_arg_text(&target, bus);
	call("SELECT eb.put_target($1, queue => $2, bus => $3)", &target);
	if (latest)
		return;
	if (fifo)
		eb_handover_start(backfill_name(name), bus, name, queue, pattern, after, 0);
	else
		eb_backfill_start(backfill_name(name), bus, name, after, 0);
}

void
eb_subscription_unroute(const char *name, const char *bus)
{
	EbSqlArgs	args = {0};

	forget_backfill(name);
	if (!has_rule(bus, name))
		return;					/* somebody deleted it */
	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, bus);
	call("SELECT eb.delete_rule($1, $2, true)", &args);
}

static Jsonb *
stored_pattern(const char *name)
{
	char	   *text = eb_sql_value("SELECT pattern FROM eb.subscriptions WHERE name = $1", name, NULL);

	return text ? DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))) : NULL;
}

/* The version from which on the rule has routed to the subscription's queue. */
static char *
routed_since(const char *name, const char *bus)
{
	return eb_sql_value("SELECT greatest(r.since_version, t.since_version) FROM eb.rules r"
						" JOIN eb.subscriptions s ON s.name = r.name AND s.bus = r.bus"
						" LEFT JOIN eb.targets t ON t.bus = r.bus AND t.rule = r.name"
						" AND t.kind = 'queue' AND t.destination = s.queue"
						" WHERE r.name = $1 AND r.bus = $2", name, bus);
}

/*
 * Of a backfill that is not finished: stop it, and note under which versions
 * the rule has routed until it was paused, as its own version does not tell
 * any more once it is enabled again.
 */
static void
pause_backfill(const char *name, const char *since)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	eb_sql_arg_text(&args, backfill_name(name));
	eb_sql_arg_text(&args, name);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(pg_strtoint64(since)), false);
	eb_owner_begin(&owner);
	(void) eb_sql_run("UPDATE eb.replays p SET state = 'PAUSED', error = NULL, ended_at = NULL,"
					  " routed = coalesce(p.routed, '{}') || ARRAY[$3, s.paused_version]"
					  " FROM eb.subscriptions s WHERE p.name = $1 AND s.name = $2", &args);
	eb_owner_end(&owner);
}

/*
 * Disable the rule and note from where on it misses events: those put under
 * this change's version or later.  An event may have its id long before the
 * newest rules are looked up for it (a row of an INSERT, until the statement's
 * end), so their ids are not above a tick of now, but above the horizon, which
 * no open publisher's are below.  The version tells those in between apart.
 */
void
eb_subscription_pause_route(const char *name, const char *bus)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	EbSqlArgs	paused = {0};
	EbReplay   *backfill;
	EbTick		horizon;
	EbTick		own = eb_log_bound();
	pg_uuid_t	at;
	char	   *since;

	/* it is not in the middle of a chunk then, and stays where it is */
	(void) eb_replay_lock(backfill_name(name), true);
	backfill = eb_replay_get(backfill_name(name));
	if (backfill && backfill->handover && eb_replay_unfinished(backfill))
	{
		/* its rule is disabled already */
		(void) eb_replay_change_state(backfill->name, "PAUSED", "{STARTING,RUNNING,PAUSED,FAILED}");
		return;
	}
	horizon = eb_log_horizon();
	eb_position_before(own != 0 ? Min(own, horizon) : horizon, &at);
	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, bus);
	since = routed_since(name, bus);
	call("SELECT eb.disable_rule($1, $2)", &args);
	eb_sql_arg_text(&paused, name);
	eb_sql_arg_text(&paused, bus);
	eb_sql_arg(&paused, UUIDOID, UUIDPGetDatum(&at), false);
	eb_owner_begin(&owner);
	(void) eb_sql_run("UPDATE eb.subscriptions s SET paused_at = $3, paused_version = r.since_version"
					  " FROM eb.rules r WHERE s.name = $1 AND r.bus = $2 AND r.name = $1", &paused);
	eb_owner_end(&owner);
	if (backfill && eb_replay_unfinished(backfill))
		pause_backfill(name, since);
}

static void
enable_rule(const char *name, const char *bus)
{
	EbSqlArgs	args = {0};

	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, bus);
	call("SELECT eb.enable_rule($1, $2)", &args);
}

/*
 * A backfill that was paused goes on where it was, and takes what was put
 * meanwhile with it: there is nothing below its position of that.  latest:
 * without it.
 */
static void
resume_backfill(const char *name, const char *bus, bool latest)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};

	eb_sql_arg_text(&args, backfill_name(name));
	eb_sql_arg_text(&args, name);
	eb_sql_arg_text(&args, bus);
	eb_sql_arg(&args, BOOLOID, BoolGetDatum(latest), false);
	eb_owner_begin(&owner);
	(void) eb_sql_run("UPDATE eb.replays p SET state = 'STARTING', error = NULL, ended_at = NULL,"
					  " made_version = b.rules_version,"
					  " before = CASE WHEN $4 THEN p.before END,"
					  " routed = CASE WHEN $4 THEN coalesce(p.routed, '{}') ||"
					  " ARRAY[s.paused_version, r.since_version] ELSE p.routed END"
					  " FROM eb.rules r JOIN eb.buses b ON b.name = r.bus"
					  " JOIN eb.subscriptions s ON s.name = r.name AND s.bus = r.bus"
					  " WHERE p.name = $1 AND r.name = $2 AND r.bus = $3", &args);
	eb_owner_end(&owner);
}

void
eb_subscription_resume_route(const char *name, const char *bus, const char *queue,
							 bool latest)
{
	EbReplay   *backfill;
	EbTick		after;
	char	   *version;
	char	   *at;

	backfill = eb_replay_get(backfill_name(name));
	if (backfill && backfill->handover && eb_replay_unfinished(backfill))
	{
		if (latest)
		{
			forget_backfill(name);
			enable_rule(name, bus);
		}
		else
			(void) eb_replay_change_state(backfill->name, "STARTING", "{PAUSED,FAILED}");
		return;
	}
	version = eb_sql_value("SELECT paused_version FROM eb.subscriptions WHERE name = $1", name, NULL);
	at = eb_sql_value("SELECT paused_at FROM eb.subscriptions WHERE name = $1", name, NULL);
	if (!version || !at)
		return;					/* it was not paused */

	if (backfill && eb_replay_unfinished(backfill))
	{
		enable_rule(name, bus);
		resume_backfill(name, bus, latest);
		return;
	}
	forget_backfill(name);
	after = eb_uuid_tick(DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(at))));
	if (!latest && eb_queue_lookup(queue, false)->fifo)
	{
		/* the rule stays disabled until what was missed is delivered */
		eb_handover_start(backfill_name(name), bus, name, queue, stored_pattern(name),
						  after, pg_strtoint64(version));
		return;
	}
	enable_rule(name, bus);
	if (!latest)
		eb_backfill_start(backfill_name(name), bus, name, after, pg_strtoint64(version));
}
