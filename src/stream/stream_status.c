/*-------------------------------------------------------------------------
 *
 * stream_status.c
 *	  How far a subscription is behind, and what holds it up.
 *
 * The lag is of events that the subscription wants, so they are matched here
 * as a read would match them.  The position alone would not tell: a read that
 * finds nothing writes nothing, and leaves it before events that the pattern
 * leaves out.  What a reader keeps up with is little to match; of what it has
 * left lying, a part is matched and the rest estimated.
 *
 * Committed events above the horizon count: they wait, if for somebody else
 * than the reader.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "log/log_columns.h"
#include "stream/stream.h"

/* Matched are so many events of the bus at most, or looked at so many of the log. */
#define MAX_EVALUATED	10000
#define MAX_SCANNED		100000

PG_FUNCTION_INFO_V1(eb_subscription_lag);

typedef struct Lag
{
	int64		events;			/* wanted and not read */
	bool		exact;
	EbTick		first;			/* of the first of them, or of the first that
								 * was not looked at; 0: none */
} Lag;

static Lag
measure(const EbSubscription *subscription, int part)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "pg_eventbus event being matched",
												  ALLOCSET_DEFAULT_SIZES);
	EbTick		now = eb_clock_take(1);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Lag			lag = {0};
	EbPosition	position;
	EbTick		after;
	EbLogScan  *scan;
	EbLogRow	row;
	int			evaluated = 0;
	int			scanned = 0;

	eb_position_read(subscription, part, &position);
	after = eb_uuid_tick(&position.position);
	scan = eb_log_scan_begin(after, now, snapshot);
	while (evaluated < MAX_EVALUATED && scanned < MAX_SCANNED && eb_log_scan_next(scan, &row))
	{
		scanned++;
		if (DatumGetInt32(row.values[row.columns[EVENT_BUS_ID]]) != subscription->bus_id ||
			eb_stream_part(&row, subscription->parts) != part)
			continue;
		evaluated++;
		if (eb_stream_matches(subscription->pattern, &row, context) && lag.events++ == 0)
			lag.first = row.tick;
	}
	lag.exact = evaluated < MAX_EVALUATED && scanned < MAX_SCANNED;

	/* as if the rest had as many for this part */
	if (!lag.exact)
	{
		double		rest = eb_log_estimate(after, now);

		if (lag.first == 0)
			lag.first = row.tick;
		lag.events = Max(lag.events, (int64) (rest * lag.events / scanned));
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(context);
	return lag;
}

Datum
eb_subscription_lag(PG_FUNCTION_ARGS)
{
	EbSubscription subscription = *eb_subscription_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int			part = PG_GETARG_INT32(1);
	TupleDesc	desc;
	Datum		values[5] = {0};
	bool		isnull[5] = {false};
	int			pid;
	EbTick		oldest;

	if (pg_class_aclcheck(subscription.view, GetUserId(),
						  ACL_SELECT | EB_SUBSCRIPTION_READ | EB_SUBSCRIPTION_ADMIN) != ACLCHECK_OK)
		eb_check_view_privilege(subscription.view, ACL_SELECT, "subscription",
								subscription.name);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	if (part < 0 || part >= subscription.parts)
		eb_stream_refuse_part(&subscription, part);

	/* a standby knows neither the clock nor the publishers */
	if (RecoveryInProgress())
		isnull[0] = isnull[1] = isnull[2] = true;
	else
	{
		Lag			lag = measure(&subscription, part);
		Interval   *age = palloc0(sizeof(Interval));

		if (lag.first != 0)
			age->time = Max(eb_clock_now() - eb_tick_time(lag.first), 0);
		values[0] = Int64GetDatum(lag.events);
		values[1] = BoolGetDatum(lag.exact);
		values[2] = IntervalPGetDatum(age);
	}
	oldest = eb_log_oldest_publisher(&pid);
	values[3] = Int32GetDatum(pid);
	values[4] = TimestampTzGetDatum(eb_tick_time(oldest));
	isnull[3] = isnull[4] = oldest == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
