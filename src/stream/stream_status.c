/*-------------------------------------------------------------------------
 *
 * stream_status.c
 *	  How far a subscription is behind, and what holds it up.
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
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "log/log_columns.h"
#include "stream/stream.h"

/* Counted are so many events of the bus, or looked at so many of the log. */
#define MAX_COUNTED 10000
#define MAX_SCANNED 100000

PG_FUNCTION_INFO_V1(eb_subscription_lag);

Datum
eb_subscription_lag(PG_FUNCTION_ARGS)
{
	EbSubscription subscription = *eb_subscription_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int			part = PG_GETARG_INT32(1);
	TupleDesc	desc;
	Datum		values[5];
	bool		isnull[5] = {false};
	EbPosition	position;
	EbTick		oldest;
	EbTick		first = 0;
	int64		count = 0;
	int			scanned = 0;
	bool		exact = true;
	int			pid;
	TimestampTz now = eb_clock_now();
	Interval   *lag = palloc0(sizeof(Interval));

	if (pg_class_aclcheck(subscription.view, GetUserId(),
						  ACL_SELECT | EB_SUBSCRIPTION_READ | EB_SUBSCRIPTION_ADMIN) != ACLCHECK_OK)
		eb_check_view_privilege(subscription.view, ACL_SELECT, "subscription",
								subscription.name);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	if (part < 0 || part >= subscription.parts)
		eb_stream_refuse_part(&subscription, part);
	eb_position_read(&subscription, part, &position);
	if (!RecoveryInProgress())
	{
		EbTick		horizon = eb_log_horizon_estimate();
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		EbLogScan  *scan = eb_log_scan_begin(eb_uuid_tick(&position.position),
											 horizon, snapshot);
		EbLogRow	row;

		while (count < MAX_COUNTED && scanned < MAX_SCANNED && eb_log_scan_next(scan, &row))
		{
			scanned++;
			if (DatumGetInt32(row.values[row.columns[EVENT_BUS_ID]]) != subscription.bus_id ||
				eb_stream_part(&row, subscription.parts) != part)
				continue;
			if (count++ == 0)
				first = row.tick;
		}
		eb_log_scan_end(scan);
		UnregisterSnapshot(snapshot);
		exact = count < MAX_COUNTED && scanned < MAX_SCANNED;

		/* as if the rest had as many for this part */
		if (!exact)
			count = Max(count, (int64) ((double) eb_log_estimate(eb_uuid_tick(&position.position), horizon) *
										count / scanned));
	}
	if (count > 0)
		lag->time = Max(now - eb_tick_time(first), 0);
	oldest = eb_log_oldest_publisher(&pid);

	values[0] = Int64GetDatum(count);
	values[1] = BoolGetDatum(exact);
	values[2] = IntervalPGetDatum(lag);
	values[3] = Int32GetDatum(pid);
	values[4] = TimestampTzGetDatum(eb_tick_time(oldest));
	isnull[3] = isnull[4] = oldest == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
