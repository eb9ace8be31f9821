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

#include "compat.h"
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
	Oid			bus_view;
	EbPatternSet *pattern;		/* NULL: all events */
} EbSubscription;

/* A read looks at this many events of its bus at most. */
#define EB_STREAM_MAX_SCAN	200000

/* Privileges on the view. */
#define EB_SUBSCRIPTION_READ	ACL_UPDATE
#define EB_SUBSCRIPTION_ADMIN	ACL_TRUNCATE

/*
 * Look up by name; cached, with the pattern compiled.  Valid until the next
 * call or command end.  An error if it does not exist.
 */
extern const EbSubscription *eb_subscription_get(const char *name);

/* All subscriptions without a queue; array in the current context. */
typedef struct EbSubscriptionName
{
	char		name[NAMEDATALEN];
	char		bus[NAMEDATALEN];
	Oid			view;
	Oid			bus_view;
} EbSubscriptionName;
extern int	eb_subscription_list(EbSubscriptionName **names);

/*
 * Lock a part to the end of the transaction.  wait: until it is free; else
 * returns false if it is not.
 */
extern bool eb_stream_lock(const EbSubscription *subscription, int part, bool wait);
extern void eb_stream_unlock(const EbSubscription *subscription, int part);

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

/* Raise: there is no such part. */
pg_noreturn extern void eb_stream_refuse_part(const EbSubscription *subscription, int part);

/* The part that the event is for.  All events of one group key are for the same. */
extern int	eb_stream_part(const EbLogRow *row, int parts);

/* Does the pattern (NULL: any event) match?  Works in context, which is reset. */
extern bool eb_stream_matches(const EbPatternSet *pattern, const EbLogRow *row,
							  MemoryContext context);

/*
 * Are there events that a read could not return because a publisher is open?
 * If so, its end is made to wake readers, and the caller looks once more.
 */
extern bool eb_stream_held(const EbSubscription *subscription, EbTick horizon);

/*
 * Is there an event to read?  For somebody who looks repeatedly: what he has
 * looked at is kept from look to look.  *busy: only in parts that others are
 * reading.  *more: there is more to look at than was done in this look.
 */
typedef struct EbStreamLook
{
	int32		subscription;	/* id */
	int			parts;
	EbTick	   *position;		/* by part: where it stood */
	EbTick	   *looked_at;		/* and no event for it up to here */
	MemoryContext context;
} EbStreamLook;
extern EbStreamLook *eb_stream_look_begin(void);
extern bool eb_stream_look(EbStreamLook *look, const EbSubscription *subscription,
						   bool *busy, bool *more);

/* A row of type eb.event into the result of a set-returning function; part -1: null. */
struct ReturnSetInfo;
extern void eb_stream_put_row(struct ReturnSetInfo *result, const EbLogRow *row, int part);

/* Largest id before a tick: as a position it means "from this tick on". */
extern void eb_position_before(EbTick tick, pg_uuid_t *position);

#endif							/* EB_STREAM_H */
