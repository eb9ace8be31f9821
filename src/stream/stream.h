/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  Subscriptions: a pattern and a position in the log.
 *
 * A cursor subscription is a row of eb.subscriptions and one row per part in
 * eb.subscription_positions.  Reading writes nothing.  A part is read by one
 * transaction at a time; the heavyweight lock of eb_stream_lock() orders
 * them, and everything that writes a position holds it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_STREAM_H
#define EB_STREAM_H

#include "log/log.h"
#include "nodes/parsenodes.h"
#include "pattern/pattern.h"

typedef struct EbSubscription
{
	char		name[NAMEDATALEN];
	int32		id;
	Oid			view;			/* eb.subscription_<name> */
	char		bus[NAMEDATALEN];
	int			parts;
	bool		paused;
	bool		has_queue;
	char		queue[NAMEDATALEN];
	int32		bus_id;
	EbPatternSet *pattern;		/* NULL: all events */
} EbSubscription;

/* Privileges on the view. */
#define EB_SUBSCRIPTION_READ	ACL_UPDATE
#define EB_SUBSCRIPTION_ADMIN	ACL_TRUNCATE

/*
 * Look up by name; cached, with the pattern compiled.  Valid until the next
 * call or command end.  An error if it does not exist.
 */
extern const EbSubscription *eb_subscription_get(const char *name);

/*
 * Lock a part to the end of the transaction.  wait: until it is free; else
 * returns false if it is not.
 */
extern bool eb_stream_lock(const EbSubscription *subscription, int part, bool wait);

/* A part's position row. */
typedef struct EbPosition
{
	ItemPointerData tid;
	pg_uuid_t	position;
	int64		evaluated;
	int64		matched;
	TimestampTz committed_at;
} EbPosition;

/* Read and write it; the part is locked. */
extern void eb_position_read(const EbSubscription *subscription, int part,
							 EbPosition *position);
extern void eb_position_write(const EbSubscription *subscription, int part,
							  EbPosition *position);

/* Is the event for this part?  All parts of one group key are the same. */
extern bool eb_stream_is_of_part(const EbLogRow *row, int parts, int part);

/* A row of type eb.event into the result of a set-returning function; part -1: null. */
struct ReturnSetInfo;
extern void eb_stream_put_row(struct ReturnSetInfo *result, const EbLogRow *row, int part);

/* Largest id before a tick: as a position it means "from this tick on". */
extern void eb_position_before(EbTick tick, pg_uuid_t *position);

#endif							/* EB_STREAM_H */
