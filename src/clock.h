/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The one source of time, and the ids made from it.
 *
 * A tick is 63 bits: microseconds since 2000-01-01 (PostgreSQL's epoch), then
 * a 12-bit counter that keeps ticks unique and increasing.  A message id is a
 * tick; an event id is a version 7 uuid (RFC 9562, method 3) that holds a
 * whole tick, so both sort by the time at which they were taken and either
 * yields that time again.
 *
 * With shared memory ticks increase over all backends of the cluster, and n
 * of them are reserved with one atomic step.  Without it the counter holds
 * the backend's number: ticks of one backend increase, those of two differ.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_CLOCK_H
#define EB_CLOCK_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

typedef uint64 EbTick;

#define EB_TICK_SHIFT 12

/* Now, moved by eb.clock_offset.  All of the extension's time is this. */
extern TimestampTz eb_clock_now(void);

/*
 * Reserve n ticks; returns the first.  The following n - 1 are
 * eb_tick_next() of the one before, not first + i: without shared memory the
 * step is larger.
 */
extern EbTick eb_clock_take(int n);
extern EbTick eb_tick_next(EbTick tick);

/* All ticks taken from now on are above this one. */
extern void eb_clock_raise(EbTick tick);

static inline TimestampTz
eb_tick_time(EbTick tick)
{
	return (TimestampTz) (tick >> EB_TICK_SHIFT);
}

/* Ticks have 63 bits: the last instant that has one, in the year 2071. */
#define EB_LAST_TIME	((TimestampTz) (PG_INT64_MAX >> EB_TICK_SHIFT))

/* The first tick of an instant: lower bound in scans by id. */
static inline EbTick
eb_time_tick(TimestampTz at)
{
	return ((EbTick) at) << EB_TICK_SHIFT;
}

/* Event id of a tick (52 random bits below it), and back. */
extern void eb_tick_uuid(EbTick tick, pg_uuid_t *uuid);
extern EbTick eb_uuid_tick(const pg_uuid_t *uuid);

#endif							/* EB_CLOCK_H */
