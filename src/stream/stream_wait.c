/*-------------------------------------------------------------------------
 *
 * stream_wait.c
 *	  Is there something to read?  For CALL eb.wait, and for readers that have
 *	  found nothing.
 *
 * An event is readable once it is committed and no older publisher is open,
 * so two things wake readers: the commit of the event, and the end of the
 * publisher that held it back.  The first is known to whoever commits.  The
 * second is known to nobody but the reader who looks in vain while committed
 * events of his bus lie above the horizon; so he leaves the horizon with the
 * bus (eb_notify_held), and every publisher compares his bound with it when he
 * has ended.  Nothing is left there while no reader is waiting for that, and
 * publishers then pay for one comparison a transaction.
 *
 * A waiting session looks each time it is woken.  It remembers how far it has
 * looked, so that a pattern that matches little does not make it match the
 * same events again and again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "log/log_columns.h"
#include "stream/stream.h"
#include "worker/worker.h"

/* Events of other buses that are looked at to find one of this bus. */
#define MAX_PEEKED	10000

bool
eb_stream_held(const EbSubscription *subscription, EbTick horizon)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(horizon - 1, eb_clock_take(1), snapshot);
	EbLogRow	row;
	bool		found = false;
	int			n = 0;

	while (!found && eb_log_scan_next(scan, &row))
		found = ++n > MAX_PEEKED ||
			DatumGetInt32(row.values[row.columns[EVENT_BUS_ID]]) == subscription->bus_id;
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	if (found)
		eb_notify_held(subscription->bus, subscription->bus_view, horizon);
	return found;
}

EbStreamLook *
eb_stream_look_begin(void)
{
	EbStreamLook *look = palloc0(sizeof(EbStreamLook));

	look->context = AllocSetContextCreate(CurrentMemoryContext,
										  "pg_eventbus parts being waited for",
										  ALLOCSET_SMALL_SIZES);
	return look;
}

/* Where the parts stand, and from where on to look.  Returns the least of that. */
static EbTick
read_positions(EbStreamLook *look, const EbSubscription *subscription)
{
	EbTick		least = PG_UINT64_MAX;

	if (look->subscription != subscription->id || look->parts != subscription->parts)
	{
		MemoryContextReset(look->context);
		look->subscription = subscription->id;
		look->parts = subscription->parts;
		look->position = MemoryContextAllocZero(look->context, look->parts * sizeof(EbTick));
		look->looked_at = MemoryContextAllocZero(look->context, look->parts * sizeof(EbTick));
	}
	for (int part = 0; part < look->parts; part++)
	{
		EbPosition	position;
		EbTick		tick;

		eb_position_read(subscription, part, &position);
		tick = eb_uuid_tick(&position.position);

		/* moved back: what was looked at is wanted again */
		if (tick < look->position[part])
			look->looked_at[part] = tick;
		look->position[part] = tick;
		look->looked_at[part] = Max(look->looked_at[part], tick);
		least = Min(least, look->looked_at[part]);
	}
	return least;
}

/* Could a reader have the part now?  He waits for the only one. */
static bool
is_free(const EbSubscription *subscription, int part)
{
	if (subscription->parts == 1)
		return true;
	if (!eb_stream_lock(subscription, part, false))
		return false;
	eb_stream_unlock(subscription, part);
	return true;
}

/* One scan from where the last one ended to a new horizon. */
static bool
look_once(EbStreamLook *look, const EbSubscription *subscription, bool *busy,
		  bool *more, EbTick *horizon, bool *held)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "pg_eventbus event being matched",
												  ALLOCSET_DEFAULT_SIZES);
	EbTick		after = read_positions(look, subscription);
	bool	   *passed = palloc0(look->parts * sizeof(bool));
	EbTick		looked_at;
	Snapshot	snapshot;
	EbLogScan  *scan;
	EbLogRow	row;
	bool		found = false;
	int			n = 0;

	*busy = *more = false;
	*horizon = eb_log_horizon_held(held);
	looked_at = *horizon - 1;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = eb_log_scan_begin(after, *horizon, snapshot);
	while (!found && eb_log_scan_next(scan, &row))
	{
		int			part;

		if (DatumGetInt32(row.values[row.columns[EVENT_BUS_ID]]) != subscription->bus_id)
			continue;
		part = eb_stream_part(&row, subscription->parts);
		if (passed[part] || row.tick <= look->looked_at[part])
			continue;
		if (++n > EB_STREAM_MAX_SCAN)
		{
			*more = true;
			looked_at = row.tick - 1;
			break;
		}
		if (!eb_stream_matches(subscription->pattern, &row, context))
			continue;
		if (is_free(subscription, part))
			found = true;
		else
		{
			passed[part] = *busy = true;
			look->looked_at[part] = row.tick - 1;
		}
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(context);
	for (int part = 0; !found && part < look->parts; part++)
	{
		if (!passed[part])
			look->looked_at[part] = Max(look->looked_at[part], looked_at);
	}
	pfree(passed);
	return found;
}

bool
eb_stream_look(EbStreamLook *look, const EbSubscription *subscription, bool *busy,
			   bool *more)
{
	EbTick		horizon;
	EbTick		before;
	bool		held;

	if (look_once(look, subscription, busy, more, &horizon, &held))
		return true;
	while (held && !*more && eb_stream_held(subscription, horizon))
	{
		before = horizon;
		if (look_once(look, subscription, busy, more, &horizon, &held))
			return true;
		if (horizon == before)
			break;				/* the publisher will wake us */
	}
	return false;
}
