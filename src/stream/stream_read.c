/*-------------------------------------------------------------------------
 *
 * stream_read.c
 *	  Read a subscription's next events, and commit the position.
 *
 * Order in a read: lock the part; its position; the horizon; a snapshot taken
 * after it (under the statement's own, events that committed in between would
 * be passed for good); the log from the position to the horizon.
 *
 * A read looks at EB_STREAM_MAX_SCAN events at most.  If none of them was for
 * this reader, it moves the position itself, so that a pattern that matches
 * nothing does not read the same history for ever; it does so only when it
 * looked at enough to be worth a write.  If it neither read nor wrote
 * anything it lets the part go, so that an idle reader is in nobody's way.
 *
 * A read that found less than it was asked for arms the subscription, so that
 * the next event wakes its readers (stream_wait.c, worker/README.md).
 *
 * How many events were looked at and matched is known to the read and written
 * with the commit: this backend keeps the counts of its last read of a part.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "catalog.h"
#include "errors.h"
#include "log/log_columns.h"
#include "stream/stream.h"
#include "worker/worker.h"

#define EB_STREAM_MAX_EVENTS	100000

/* A read that found nothing moves the position after this many events ... */
#define WORTH_A_WRITE			1000
/* ... or this many microseconds since it was last written. */
#define WORTH_A_WRITE_US		USECS_PER_SEC

/* Columns of eb.event. */
enum
{
	OUT_ID,
	OUT_PART,
	OUT_SOURCE,
	OUT_DETAIL_TYPE,
	OUT_TIME,
	OUT_INGESTED_AT,
	OUT_RESOURCES,
	OUT_DETAIL,
	OUT_HEADERS,
	OUT_GROUP_KEY,
	OUT_CORRELATION_ID,
	OUT_CAUSATION_ID,
	OUT_TRACEPARENT,
	OUT_REPLAY,
	OUT_COLUMNS
};

static const int out_columns[OUT_COLUMNS] = {
	[OUT_ID] = EVENT_ID,
	[OUT_PART] = -1,
	[OUT_SOURCE] = EVENT_SOURCE,
	[OUT_DETAIL_TYPE] = EVENT_DETAIL_TYPE,
	[OUT_TIME] = EVENT_TIME,
	[OUT_INGESTED_AT] = EVENT_INGESTED_AT,
	[OUT_RESOURCES] = EVENT_RESOURCES,
	[OUT_DETAIL] = EVENT_DETAIL,
	[OUT_HEADERS] = EVENT_HEADERS,
	[OUT_GROUP_KEY] = EVENT_GROUP_KEY,
	[OUT_CORRELATION_ID] = EVENT_CORRELATION_ID,
	[OUT_CAUSATION_ID] = EVENT_CAUSATION_ID,
	[OUT_TRACEPARENT] = EVENT_TRACEPARENT,
	[OUT_REPLAY] = EVENT_REPLAY,
};

/* Counts of this backend's last read of a part, until its commit. */
typedef struct ReadCounts
{
	struct
	{
		int32		subscription;
		int32		part;
	}			key;
	int64		evaluated;
	int64		matched;
} ReadCounts;

static HTAB *read_counts = NULL;
static EbPatternScratch *scratch = NULL;

PG_FUNCTION_INFO_V1(eb_read);
PG_FUNCTION_INFO_V1(eb_commit);

static ReadCounts *
counts_of(const EbSubscription *subscription, int part)
{
	ReadCounts	key = {.key = {subscription->id, part}};
	ReadCounts *counts;
	bool		found;

	if (!read_counts)
	{
		HASHCTL		ctl = {.keysize = sizeof(key.key),.entrysize = sizeof(ReadCounts)};

		read_counts = hash_create("pg_eventbus counts of reads", 32, &ctl,
								  HASH_ELEM | HASH_BLOBS);
	}
	counts = hash_search(read_counts, &key.key, HASH_ENTER, &found);
	if (!found)
		counts->evaluated = counts->matched = 0;
	return counts;
}

void
eb_stream_refuse_part(const EbSubscription *subscription, int part)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("subscription \"%s\" has no partition %d", subscription->name, part),
			 errdetail("Its partitions are 0 to %d.", subscription->parts - 1)));
	pg_unreachable();
}

/* Without a group key any part will do. */
int
eb_stream_part(const EbLogRow *row, int parts)
{
	uint32		hash;
	int			c = row->columns[EVENT_GROUP_KEY];

	if (parts == 1)
		return 0;
	if (row->isnull[c])
		hash = hash_bytes((unsigned char *) DatumGetPointer(row->values[row->columns[EVENT_ID]]),
						  sizeof(pg_uuid_t));
	else
	{
		text	   *key = DatumGetTextPP(row->values[c]);

		hash = hash_bytes((unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	}
	return hash % parts;
}

bool
eb_stream_matches(const EbPatternSet *pattern, const EbLogRow *row, MemoryContext context)
{
	MemoryContext old;
	EbEvent		event;
	const uint32 *rules;
	bool		result;

	if (!pattern)
		return true;
	if (!scratch)
	{
		old = MemoryContextSwitchTo(CacheMemoryContext);
		scratch = eb_pattern_scratch_create();
		MemoryContextSwitchTo(old);
	}
	old = MemoryContextSwitchTo(context);
	eb_log_row_event(row, &event);
	result = eb_pattern_match(pattern, scratch, &eb_log_envelope(&event, false)->root,
							  &rules) > 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	return result;
}

void
eb_stream_put_row(struct ReturnSetInfo *result, const EbLogRow *row, int part)
{
	Datum		values[OUT_COLUMNS];
	bool		isnull[OUT_COLUMNS];

	for (int i = 0; i < OUT_COLUMNS; i++)
	{
		int			c;

		if (i == OUT_PART)
		{
			values[i] = Int32GetDatum(part);
			isnull[i] = part < 0;
			continue;
		}
		c = row->columns[out_columns[i]];
		values[i] = row->values[c];
		isnull[i] = row->isnull[c];
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/* One look at a locked part, from after on; rows go into result. */
typedef struct PartRead
{
	const EbSubscription *subscription;
	int			part;
	int			max;
	ReturnSetInfo *result;
	EbTick		looked_at;		/* last event looked at, or where it started */
	int64		evaluated;
	int			rows;
	EbTick		horizon;
	bool		held;			/* an open publisher bounds the horizon */
} PartRead;

static void
scan_part(PartRead *r)
{
	const EbSubscription *subscription = r->subscription;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "pg_eventbus event being matched",
												  ALLOCSET_DEFAULT_SIZES);
	Snapshot	snapshot;
	EbLogScan  *scan;
	EbLogRow	row;

	r->horizon = eb_log_horizon_held(&r->held);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = eb_log_scan_begin(r->looked_at, r->horizon, snapshot);
	while (r->rows < r->max && r->evaluated < EB_STREAM_MAX_SCAN && eb_log_scan_next(scan, &row))
	{
		r->looked_at = row.tick;
		if (DatumGetInt32(row.values[row.columns[EVENT_BUS_ID]]) != subscription->bus_id ||
			eb_stream_part(&row, subscription->parts) != r->part)
			continue;
		r->evaluated++;
		if (!eb_stream_matches(subscription->pattern, &row, context))
			continue;
		eb_stream_put_row(r->result, &row, r->part);
		r->rows++;
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(context);
}

/*
 * Read one locked part into result.  Returns the number of rows.
 */
static int
read_part(const EbSubscription *subscription, int part, int max,
		  ReturnSetInfo *result)
{
	PartRead	r = {.subscription = subscription,.part = part,.max = max,.result = result};
	EbPosition	position;
	EbTick		after;
	ReadCounts *counts;

	eb_position_read(subscription, part, &position);
	after = r.looked_at = eb_uuid_tick(&position.position);
	scan_part(&r);

	/* what became readable between the look and the arming has woken nobody */
	while (r.rows < max && r.evaluated < EB_STREAM_MAX_SCAN)
	{
		bool		again = eb_notify_arm_subscription(subscription->name, subscription->view,
													   subscription->bus, subscription->bus_view);
		EbTick		horizon = r.horizon;

		if (r.held)
			again |= eb_stream_held(subscription, horizon);
		if (!again)
			break;
		scan_part(&r);
		if (r.horizon == horizon)
			break;				/* still the same publisher, which will wake
								 * us */
	}

	counts = counts_of(subscription, part);
	counts->evaluated = r.evaluated;
	counts->matched = r.rows;
	if (r.rows > 0)
		return r.rows;
	if (r.looked_at > after && !XactReadOnly &&
		(r.evaluated >= WORTH_A_WRITE ||
		 eb_clock_now() - position.committed_at >= WORTH_A_WRITE_US))
	{
		eb_position_before(r.looked_at + 1, &position.position);
		position.evaluated += r.evaluated;
		position.committed_at = eb_clock_now();
		eb_position_write(subscription, part, &position);
		counts->evaluated = 0;
	}
	else
		eb_stream_unlock(subscription, part);
	return 0;
}

/* Parts in the order in which they were last written, longest ago first. */
static int *
parts_by_age(const EbSubscription *subscription)
{
	int		   *parts = palloc(subscription->parts * sizeof(int));
	TimestampTz *ages = palloc(subscription->parts * sizeof(TimestampTz));

	for (int i = 0; i < subscription->parts; i++)
	{
		EbPosition	position;
		int			k = i;

		eb_position_read(subscription, i, &position);
		while (k > 0 && ages[k - 1] > position.committed_at)
		{
			ages[k] = ages[k - 1];
			parts[k] = parts[k - 1];
			k--;
		}
		ages[k] = position.committed_at;
		parts[k] = i;
	}
	pfree(ages);
	return parts;
}

Datum
eb_read(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EbSubscription subscription;
	char	   *name;
	int			max;

	if (PG_ARGISNULL(0))
		eb_error_null("subscription");
	if (PG_ARGISNULL(1))
		eb_error_null("max_events");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	max = PG_GETARG_INT32(1);
	if (max < 1 || max > EB_STREAM_MAX_EVENTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid max_events %d", max),
				 errhint("Use 1 to %d.", EB_STREAM_MAX_EVENTS)));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot read subscription \"%s\" during recovery", name),
				 errhint("Read it on the primary.")));
	subscription = *eb_subscription_get(name);
	eb_check_view_privilege(subscription.view, EB_SUBSCRIPTION_READ, "subscription", name);
	if (subscription.has_queue)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("subscription \"%s\" delivers to a queue", name),
				 errhint("Receive from the queue.")));
	InitMaterializedSRF(fcinfo, 0);
	if (subscription.paused)
		PG_RETURN_VOID();

	if (!PG_ARGISNULL(2) || subscription.parts == 1)
	{
		int			part = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);

		if (part < 0 || part >= subscription.parts)
			eb_stream_refuse_part(&subscription, part);
		(void) eb_stream_lock(&subscription, part, true);
		(void) read_part(&subscription, part, max, result);
	}
	else
	{
		int		   *parts = parts_by_age(&subscription);

		for (int i = 0; i < subscription.parts; i++)
		{
			if (eb_stream_lock(&subscription, parts[i], false) &&
				read_part(&subscription, parts[i], max, result) > 0)
				break;
		}
	}
	PG_RETURN_VOID();
}

Datum
eb_commit(PG_FUNCTION_ARGS)
{
	EbSubscription subscription;
	EbPosition	position;
	ReadCounts *counts;
	char	   *name;
	pg_uuid_t  *to;
	int			part;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	subscription = *eb_subscription_get(name);
	eb_check_view_privilege(subscription.view, EB_SUBSCRIPTION_READ, "subscription", name);

	/* null as the position of no events: nothing to commit */
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	to = PG_GETARG_UUID_P(1);
	PreventCommandIfReadOnly("eb.commit()");
	PreventCommandIfParallelMode("eb.commit()");
	if (to->data[6] >> 4 != 7)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uuid is not an event id"),
				 errdetail("Its version is %d; ids of events are of version 7.",
						   to->data[6] >> 4)));

	/* a position of another partition would pass events that were not read */
	if (PG_ARGISNULL(2) && subscription.parts > 1)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("partition of subscription \"%s\" must be given", name),
				 errhint("Pass the column \"partition\" of the events that eb.read() returned.")));
	part = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	if (part < 0 || part >= subscription.parts)
		eb_stream_refuse_part(&subscription, part);
	(void) eb_stream_lock(&subscription, part, true);
	eb_position_read(&subscription, part, &position);
	if (memcmp(to, &position.position, sizeof(pg_uuid_t)) <= 0)
		PG_RETURN_BOOL(false);
	if (eb_uuid_tick(to) >= eb_log_horizon())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position is beyond what can have been read"),
				 errhint("Pass the id of an event that eb.read returned.")));
	counts = counts_of(&subscription, part);
	position.position = *to;
	position.evaluated += counts->evaluated;
	position.matched += counts->matched;
	position.committed_at = eb_clock_now();
	counts->evaluated = counts->matched = 0;
	eb_position_write(&subscription, part, &position);
	CommandCounterIncrement();
	PG_RETURN_BOOL(true);
}
