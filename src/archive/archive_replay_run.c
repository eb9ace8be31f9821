/*-------------------------------------------------------------------------
 *
 * archive_replay_run.c
 *	  Run a replay, chunk by chunk.
 *
 * A chunk is a transaction: it reads events from the replay's position on,
 * writes their deliveries and the new position.  So a replay that is killed
 * anywhere goes on where it was, and each event is delivered once.
 *
 * A backfill begins with a barrier: events that were routed before its rule
 * are those with an older ruleset_version, and it must not begin to count on
 * having all of them while transactions are open that route by the older
 * rules.  Publishers announce themselves before they look for new rules
 * (eb_log_begin), and whoever looks after the rule's transaction has let go
 * its locks finds them.  So:
 *
 *	 1. The transaction that made the backfill has ended, locks and all.
 *	 2. A tick is taken; it is waited until the horizon has passed it.  Every
 *		transaction that may have routed by the older rules has ended then.
 *	 3. A second tick is taken: all they put is before it.  The backfill ends
 *		there, and delivers what has an older version.
 *
 * The wait is a look at the horizon in each step, so the worker goes on with
 * other things meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "archive/archive_internal.h"
#include "bus/bus.h"
#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "log/log_columns.h"
#include "queue/queue.h"
#include "stream/stream.h"

/* A chunk ends with so many events delivered, or looked at. */
#define CHUNK_EVENTS	5000
#define CHUNK_SCAN		50000
#define CHUNK_BYTES		(16 * 1024 * 1024)

/* How often to look again for open publishers. */
#define BARRIER_US		(20 * 1000)

/* With a rate limit: chunks of so much time. */
#define RATE_US			(100 * 1000)

/* How long a hand-over may hold publishers up at a time, and when it tries again. */
#define HANDOVER_TIMEOUT	"200ms"
#define HANDOVER_RETRY_US	USECS_PER_SEC

#define LOCK_CLASS_REPLAY	0xEC

/* Columns of eb.replays that are read. */
enum
{
	Anum_name = 1,
	Anum_kind,
	Anum_bus,
	Anum_archive,
	Anum_rules,
	Anum_to_queue,
	Anum_pattern,
	Anum_after,
	Anum_before,
	Anum_max_rate,
	Anum_through_buses,
	Anum_dry_run,
	Anum_state,
	Anum_from_version,
	Anum_owner,
	Anum_made_version,
	Anum_routed
};

/* Barriers that this backend waits for: step 2. */
typedef struct Barrier
{
	char		replay[NAMEDATALEN];	/* hash key */
	EbTick		tick;
} Barrier;

static HTAB *barriers = NULL;

bool
eb_replay_lock(const char *name, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
						 hash_bytes((const unsigned char *) name, strlen(name)), 0,
						 LOCK_CLASS_REPLAY);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- reading its row ---- */

static char *
get_text(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;
	Datum		d = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(d);
}

static void
get_rules(EbReplay *replay, Datum rules)
{
	Datum	   *names;
	bool	   *nulls;

	deconstruct_array(DatumGetArrayTypeP(rules), TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &replay->nrules);
	replay->rules = palloc(Max(replay->nrules, 1) * sizeof(char *));
	for (int i = 0; i < replay->nrules; i++)
		replay->rules[i] = TextDatumGetCString(names[i]);
}

static void
get_routed(EbReplay *replay, Datum routed)
{
	Datum	   *versions;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(routed), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &versions, &nulls, &n);
	replay->versions.nrouted = n;
	replay->versions.routed = palloc(Max(n, 1) * sizeof(int64));
	for (int i = 0; i < n; i++)
		replay->versions.routed[i] = DatumGetInt64(versions[i]);
}

static EbReplay *
read_row(HeapTuple tuple, TupleDesc desc)
{
	EbReplay   *replay = palloc0(sizeof(EbReplay));
	bool		isnull;
	Datum		d;

	strlcpy(replay->name, get_text(tuple, Anum_name, desc), NAMEDATALEN);
	replay->backfill = strcmp(get_text(tuple, Anum_kind, desc), "backfill") == 0;
	replay->bus = get_text(tuple, Anum_bus, desc);
	replay->handover = strcmp(get_text(tuple, Anum_kind, desc), "handover") == 0;
	replay->archive = get_text(tuple, Anum_archive, desc);
	replay->to_queue = get_text(tuple, Anum_to_queue, desc);
	replay->state = get_text(tuple, Anum_state, desc);
	d = heap_getattr(tuple, Anum_rules, desc, &isnull);
	if (!isnull)
		get_rules(replay, d);
	d = heap_getattr(tuple, Anum_pattern, desc, &isnull);
	if (!isnull)
		replay->pattern = DatumGetJsonbPCopy(d);
	d = heap_getattr(tuple, Anum_before, desc, &isnull);
	if (!isnull)
		replay->before = eb_uuid_tick(DatumGetUUIDP(d));
	d = heap_getattr(tuple, Anum_max_rate, desc, &isnull);
	if (!isnull)
		replay->max_rate = DatumGetInt32(d);
	d = heap_getattr(tuple, Anum_from_version, desc, &isnull);
	if (!isnull)
		replay->versions.from = DatumGetInt64(d);
	d = heap_getattr(tuple, Anum_made_version, desc, &isnull);
	if (!isnull)
		replay->versions.made = DatumGetInt64(d);
	d = heap_getattr(tuple, Anum_routed, desc, &isnull);
	if (!isnull)
		get_routed(replay, d);
	replay->through_buses = DatumGetBool(heap_getattr(tuple, Anum_through_buses, desc, &isnull));
	replay->dry_run = DatumGetBool(heap_getattr(tuple, Anum_dry_run, desc, &isnull));
	replay->owner = DatumGetObjectId(heap_getattr(tuple, Anum_owner, desc, &isnull));
	replay->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	return replay;
}

static void
read_progress(EbReplay *replay)
{
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	SPIPlanPtr	plan;
	bool		isnull;

	eb_sql_arg_text(&args, replay->name);
	eb_owner_begin(&owner);
	SPI_connect();
	plan = SPI_prepare("SELECT \"position\", scanned, replayed, deliveries, next_at"
					   " FROM eb.replay_progress WHERE replay = $1", args.n, args.types);
	if (!plan || SPI_execute_snapshot(plan, args.values, args.nulls, GetLatestSnapshot(),
									  InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the progress of replay \"%s\"", replay->name);
	if (SPI_processed == 1)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		replay->position = eb_uuid_tick(DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull)));
		replay->scanned = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		replay->replayed = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
		replay->deliveries = DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull));
		replay->next_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &isnull));
	}
	SPI_finish();
	eb_owner_end(&owner);
}

EbReplay *
eb_replay_get(const char *name)
{
	EbReplay   *replay = NULL;
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;

	eb_config_key(&key, Anum_name, name);
	scan = eb_config_open(EB_REPLAYS, 1, &key);
	tuple = eb_config_next(scan);
	if (HeapTupleIsValid(tuple))
		replay = read_row(tuple, eb_config_desc(scan));
	eb_config_close(scan);
	if (replay)
		read_progress(replay);
	return replay;
}

int
eb_replay_list(char ***names)
{
	EbConfigScan *scan = eb_config_open(EB_REPLAYS, 0, NULL);
	HeapTuple	tuple;
	int			n = 0;
	int			room = 16;

	*names = palloc(room * sizeof(char *));
	while (HeapTupleIsValid(tuple = eb_config_next(scan)))
	{
		TupleDesc	desc = eb_config_desc(scan);
		char	   *state = get_text(tuple, Anum_state, desc);

		if (strcmp(state, "STARTING") != 0 && strcmp(state, "RUNNING") != 0 &&
			strcmp(state, "CANCELLING") != 0)
			continue;
		if (n == room)
		{
			room *= 2;
			*names = repalloc(*names, room * sizeof(char *));
		}
		(*names)[n++] = get_text(tuple, Anum_name, desc);
	}
	eb_config_close(scan);
	return n;
}

/* With a rate limit: how long the chunk's events may take at least. */
static int64
time_of_events(const EbReplay *replay, int events)
{
	return replay->max_rate > 0 ? events * USECS_PER_SEC / replay->max_rate : 0;
}

static void
write_progress(EbReplay *replay, TimestampTz began, int events)
{
	int64		at_least = time_of_events(replay, events);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	pg_uuid_t	position;
	Interval	busy = {0};
	TimestampTz now = eb_clock_now();

	eb_position_before(replay->position + 1, &position);
	busy.time = Max(now - began, at_least);
	replay->next_at = at_least > 0 ? began + at_least : 0;
	eb_sql_arg_text(&args, replay->name);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&position), false);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(replay->scanned), false);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(replay->replayed), false);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(replay->deliveries), false);
	eb_sql_arg(&args, INTERVALOID, IntervalPGetDatum(&busy), false);
	eb_sql_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now), false);
	eb_sql_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(replay->next_at), replay->next_at == 0);
	eb_owner_begin(&owner);
	(void) eb_sql_run("UPDATE eb.replay_progress SET \"position\" = $2, scanned = $3,"
					  " replayed = $4, deliveries = $5, busy = busy + $6,"
					  " updated_at = $7, next_at = $8 WHERE replay = $1", &args);
	eb_owner_end(&owner);
}

/* ---- the barrier of a backfill ---- */

/* Has it been passed?  Then replay->before is set, and stored. */
static bool
pass_barrier(EbReplay *replay)
{
	Barrier    *barrier;
	bool		found;
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	pg_uuid_t	before;

	if (!barriers)
	{
		HASHCTL		ctl = {.keysize = NAMEDATALEN,.entrysize = sizeof(Barrier)};

		barriers = hash_create("pg_eventbus barriers of backfills", 16, &ctl,
							   HASH_ELEM | HASH_STRINGS);
	}

	/* 1. who made it has ended */
	if (!TransactionIdIsCurrentTransactionId(replay->xmin) &&
		!EB_XACT_HAS_ENDED(replay->xmin))
		return false;

	/* 2. who may have routed without its rule has ended */
	barrier = hash_search(barriers, replay->name, HASH_ENTER, &found);
	if (!found)
		barrier->tick = eb_clock_take(1);
	if (eb_log_horizon() <= barrier->tick)
		return false;
	(void) hash_search(barriers, replay->name, HASH_REMOVE, NULL);

	/* 3. all that they put is before this */
	replay->before = eb_clock_take(1);
	eb_position_before(replay->before + 1, &before);
	eb_sql_arg_text(&args, replay->name);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&before), false);
	eb_owner_begin(&owner);
	(void) eb_sql_run("UPDATE eb.replays SET before = $2 WHERE name = $1", &args);
	eb_owner_end(&owner);
	return true;
}

/* ---- a chunk ---- */

typedef struct Chunk
{
	EbReplay   *replay;
	int32		bus_id;
	EbPatternSet *archive_pattern;
	EbPatternSet *pattern;
	MemoryContext match_context;	/* reset with each event */
	EbSendBatch *send;			/* to_queue */
	EbQueue		queue;
	EbRedeliver *redeliver;		/* by rules */
	Oid			locked_leaf;
	int			events;
	bool		handed_over;
	Size		bytes;			/* of details that were taken out of the log */
} Chunk;

static EbPatternSet *
compile(Jsonb *pattern)
{
	EbPatternBuilder *builder;

	if (!pattern)
		return NULL;
	builder = eb_pattern_builder_create(1);
	eb_pattern_builder_add(builder, eb_pattern_parse(&pattern->root), 0);
	return eb_pattern_builder_finish(builder);
}

static void
chunk_begin(Chunk *chunk, EbReplay *replay)
{
	chunk->replay = replay;
	chunk->match_context = AllocSetContextCreate(CurrentMemoryContext,
												 "pg_eventbus event being replayed",
												 ALLOCSET_DEFAULT_SIZES);
	chunk->pattern = compile(replay->pattern);
	if (replay->archive)
	{
		EbArchive  *archive = eb_archive_get(replay->archive);

		chunk->archive_pattern = archive->pattern;
		eb_archive_clamp(archive, &replay->position);
	}
	chunk->bus_id = eb_bus_lookup(replay->bus, false)->bus_id;
	if (replay->dry_run)
		return;
	if (replay->to_queue)
	{
		chunk->queue = *eb_queue_lookup(replay->to_queue, false);
		chunk->send = eb_send_begin();
	}
	else
		chunk->redeliver = eb_redeliver_begin(replay->bus, replay->name,
											  replay->rules, replay->nrules,
											  replay->through_buses,
											  replay->backfill ? &replay->versions : NULL);
}

/*
 * Hold the leaf until the deliveries that name its events are committed:
 * whoever removes it waits for that lock before it copies bodies.
 */
static void
lock_leaf(Chunk *chunk, Oid leaf)
{
	if (chunk->locked_leaf == leaf)
		return;
	LockRelationOid(leaf, RowExclusiveLock);
	chunk->locked_leaf = leaf;
}

static void
deliver(Chunk *chunk, const EbLogRow *row)
{
	EbEvent    *event = palloc(sizeof(EbEvent));
	EbEventPointer *pointer = palloc(sizeof(EbEventPointer));
	EbDelivery	delivery = {.delay = -1};
	int			targets;

	chunk->events++;
	if (chunk->replay->dry_run)
		return;
	lock_leaf(chunk, row->leaf);
	pointer->id = *DatumGetUUIDP(row->values[row->columns[EVENT_ID]]);
	pointer->class = row->class;
	pointer->tid = row->tid;
	if (chunk->redeliver)
	{
		eb_log_row_event(row, event);
		chunk->bytes += VARSIZE(event->detail);
		targets = eb_redeliver_add(chunk->redeliver, event, pointer, row->expiring);
		chunk->replay->deliveries += targets;

		/* most of what a backfill looks at is not its rule's */
		if (chunk->replay->backfill && targets == 0)
			chunk->events--;
		return;
	}
	delivery.event = pointer;
	delivery.replay = chunk->replay->name;
	if (chunk->queue.fifo)
	{
		int			c = row->columns[EVENT_GROUP_KEY];

		if (row->isnull[c])
			c = row->columns[EVENT_SOURCE];
		delivery.group_id = TextDatumGetCString(row->values[c]);
	}
	if (row->expiring)
	{
		eb_log_row_event(row, event);
		event->replay = chunk->replay->name;
		delivery.body = eb_log_envelope(event, false);
	}
	eb_send_add(chunk->send, &chunk->queue, &delivery);
	chunk->replay->deliveries++;
}

static bool
wanted(Chunk *chunk, const EbLogRow *row)
{
	/* a hand-over after a pause: what came before went there live */
	if (chunk->replay->handover &&
		DatumGetInt64(row->values[row->columns[EVENT_RULESET_VERSION]]) < chunk->replay->versions.from)
		return false;
	return eb_archive_row_matches(row, chunk->bus_id, chunk->archive_pattern,
								  chunk->match_context) &&
		(!chunk->pattern ||
		 eb_archive_row_matches(row, chunk->bus_id, chunk->pattern, chunk->match_context));
}

/* Returns true if the scan came to its end below the horizon of now. */
static bool
run_chunk(Chunk *chunk, EbTick before)
{
	EbReplay   *replay = chunk->replay;
	int			max = replay->max_rate > 0 ?
		Max(1, Min(CHUNK_EVENTS, replay->max_rate / (USECS_PER_SEC / RATE_US))) : CHUNK_EVENTS;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(replay->position, before, snapshot);
	EbLogRow	row;
	bool		at_end = false;
	int			scanned = 0;

	while (chunk->events < max && scanned < CHUNK_SCAN && chunk->bytes < CHUNK_BYTES)
	{
		if (!eb_log_scan_next(scan, &row))
		{
			at_end = true;
			break;
		}
		scanned++;
		replay->position = row.tick;
		if (wanted(chunk, &row))
			deliver(chunk, &row);
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	replay->scanned += scanned;
	replay->replayed += chunk->events;
	return at_end;
}

/*
 * The end of a hand-over: keep publishers out for a moment, deliver what is
 * left, enable the rule.  With ShareLock on eb.events nobody is in the middle
 * of publishing, prepared transactions included, so the horizon is the
 * present, and whoever publishes next finds the rule.  The lock is not waited
 * for long: who comes after it would wait as well.  *horizon is what was
 * reached; returns whether all below it is delivered.
 */
static bool
hand_over(Chunk *chunk, EbTick *horizon)
{
	EbReplay   *replay = chunk->replay;
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	char	   *state;

	/* who has paused it meanwhile must find that nothing was handed over */
	state = eb_replay_lock_state(replay->name);
	if (!state || strcmp(state, "RUNNING") != 0)
		return true;
	if (!eb_lock_briefly(eb_table_oid(EB_EVENTS, false), ShareLock, HANDOVER_TIMEOUT))
		return true;
	AcceptInvalidationMessages();
	*horizon = eb_log_horizon();
	do
	{
		CHECK_FOR_INTERRUPTS();
		chunk->events = 0;
	} while (!run_chunk(chunk, *horizon));

	eb_owner_begin(&owner);
	(void) eb_bus_take_version(replay->bus);
	eb_sql_arg_text(&args, replay->bus);
	eb_sql_arg_text(&args, replay->rules[0]);
	(void) eb_sql_run("UPDATE eb.rules r SET enabled = true, updated_at = now(),"
					  " since_version = b.rules_version FROM eb.buses b"
					  " WHERE r.bus = $1 AND r.name = $2 AND b.name = r.bus", &args);
	eb_owner_end(&owner);
	chunk->handed_over = true;
	return true;
}

/*
 * Begin or end it.  NULL if that has to wait: somebody is changing its state.
 * Else the state that it has then, which is what he made of it before.
 */
static const char *
advance_state(const char *name, const char *from, const char *to)
{
	char	   *state = eb_replay_lock_state(name);

	if (!state || strcmp(state, from) != 0)
		return state;
	eb_replay_set_state(name, to, NULL);
	return to;
}

EbReplayOutcome
eb_replay_chunk(const char *name, bool wait, TimestampTz *due)
{
	TimestampTz began = eb_clock_now();
	EbReplay   *replay;
	Chunk		chunk = {0};
	EbTick		horizon;
	const char *state;
	int			events;
	bool		at_end;

	*due = began + BARRIER_US;
	if (!eb_replay_lock(name, wait))
	{
		*due = began + USECS_PER_SEC;
		return EB_REPLAY_LATER;
	}
	replay = eb_replay_get(name);
	if (!replay)
		return EB_REPLAY_ENDED;
	state = replay->state;
	if (strcmp(state, "CANCELLING") == 0)
		return advance_state(name, "CANCELLING", "CANCELLED") ? EB_REPLAY_ENDED : EB_REPLAY_LATER;
	if (strcmp(state, "STARTING") == 0)
	{
		state = eb_replay_lock_state(name);
		if (!state || strcmp(state, "STARTING") != 0)
			return EB_REPLAY_LATER;
		if (replay->backfill && replay->before == 0 && !pass_barrier(replay))
			return EB_REPLAY_LATER;
		eb_replay_set_state(name, "RUNNING", NULL);
	}
	else if (strcmp(state, "RUNNING") != 0)
		return EB_REPLAY_ENDED;

	if (began < replay->next_at)
	{
		*due = replay->next_at;
		return EB_REPLAY_LATER;
	}

	chunk_begin(&chunk, replay);
	horizon = eb_log_horizon();
	at_end = run_chunk(&chunk, replay->before == 0 ? horizon : Min(replay->before, horizon));
	events = chunk.events;
	if (replay->handover && at_end)
		at_end = hand_over(&chunk, &horizon);
	if (chunk.send)
		eb_send_finish(chunk.send, NULL);
	if (chunk.redeliver)
		eb_redeliver_finish(chunk.redeliver);
	if (at_end)
		replay->position = Max(replay->position,
							   (replay->before == 0 ? horizon : Min(replay->before, horizon)) - 1);
	write_progress(replay, began, events);
	MemoryContextDelete(chunk.match_context);
	if (!at_end)
	{
		if (replay->next_at == 0)
			return EB_REPLAY_MORE;
		*due = replay->next_at;
		return EB_REPLAY_LATER;
	}
	if (replay->handover && !chunk.handed_over)
	{
		*due = began + HANDOVER_RETRY_US;
		return EB_REPLAY_LATER;
	}
	if (!replay->handover && horizon < replay->before)
		return EB_REPLAY_LATER;

	/* one that was paused or cancelled meanwhile ends when it is looked at next */
	return advance_state(name, "RUNNING", "COMPLETED") ? EB_REPLAY_ENDED : EB_REPLAY_LATER;
}

void
eb_replay_fail(const char *name, const char *message)
{
	if (eb_replay_lock(name, false) && eb_replay_lock_state(name))
		eb_replay_set_state(name, "FAILED", message);
}
