/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  Queues: looking one up, writing deliveries, what workers need to know.
 *
 * The SQL functions of the module (create_queue, send, receive, ack ...) are
 * not declared here.  README.md beside this file argues the leases, the
 * floors and FIFO order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_QUEUE_H
#define EB_QUEUE_H

#include "log/log.h"
#include "nodes/parsenodes.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* A queue's configuration row, and the oids of what belongs to it. */
typedef struct EbQueue
{
	char		name[NAMEDATALEN];
	int32		queue_id;
	Oid			table;			/* eb.q_<name> */
	Oid			view;			/* eb.queue_<name> */
	Oid			ready_index;	/* (message_id) WHERE visible_at IS NULL */
	Oid			waiting_index;	/* (visible_at, message_id) WHERE visible_at
								 * IS NOT NULL */
	Oid			group_index;	/* FIFO: (group_id, message_id) */
	bool		fifo;
	bool		is_dlq;
	bool		paused;
	bool		content_dedup;
	char		dead_letter_queue[NAMEDATALEN]; /* empty: none */
	int			max_receive_count;
	int			max_per_group;
	int64		visibility_timeout; /* microseconds, as all below */
	int64		delay;
	int64		retention;
	int64		backoff_base;
	double		backoff_factor;
	int64		backoff_cap;
	int64		min_redelivery_delay;
	int64		dedup_window;
} EbQueue;

/*
 * Look up by name under the newest committed configuration; cached.  The
 * result is valid until the next call of this function or command end: copy
 * what must stay.  Missing: NULL or an error with a HINT.
 */
extern const EbQueue *eb_queue_lookup(const char *name, bool missing_ok);

/*
 * Open and lock a queue's table; raises "does not exist" if the queue was
 * dropped meanwhile.  Index oids of the EbQueue are only sure to be right
 * after this (REINDEX CONCURRENTLY gives an index a new oid), so read them
 * from *queue after the call.  Whoever refers to a queue by name (a target)
 * keeps it from being dropped until commit with AccessShareLock.
 */
extern Relation eb_queue_open(const EbQueue *queue, LOCKMODE lockmode);

/* ---- queue_send.c: writing deliveries, for send() and for the bus ---- */

/* What a message keeps when it moves to another queue (dead letter, redrive). */
typedef struct EbMoved
{
	TimestampTz enqueued_at;	/* into the first queue */
	int64		original_id;	/* message id in the queue that it leaves */
	const char *source_queue;	/* dead letters: that queue; else NULL */
	const char *last_error;		/* may be NULL */
} EbMoved;

/* One message to be. Absent optional parts are NULL. */
typedef struct EbDelivery
{
	const EbEventPointer *event;	/* routed: its event; filled by the log's
									 * flush */
	int32		target_id;		/* 0: sent directly */
	Jsonb	   *body;			/* NULL: the event's envelope */
	Jsonb	   *headers;		/* of direct messages */
	const char *group_id;		/* FIFO queues need one */
	const char *dedup_id;		/* FIFO queues */
	const char *replay;
	int64		delay;			/* microseconds; -1: the queue's default */
	int64		message_id;		/* 0: taken when written; else taken from the
								 * clock before (standard queues only: ids of
								 * a group are taken under its lock) */
	const EbMoved *moved;		/* NULL: a new message */
} EbDelivery;

typedef struct EbSendBatch EbSendBatch;

/*
 * Deliveries of one call, to any number of queues.  All is buffered; the rows
 * are written by eb_send_finish, queue by queue in the order of their table
 * oids (lock order).  Everything that a delivery points to must stay until
 * then.  No privilege is checked here.
 */
extern EbSendBatch *eb_send_begin(void);
extern void eb_send_add(EbSendBatch *batch, const EbQueue *queue,
						const EbDelivery *delivery);

/*
 * Write.  message_ids, if not NULL, has room for all that were added and gets
 * their ids in the order of eb_send_add (a FIFO duplicate gets its first
 * message's id).  Lowers floors, marks the queues for NOTIFY.
 */
extern void eb_send_finish(EbSendBatch *batch, int64 *message_ids);

/* ---- context of the message in process (queue_context.c) ---- */

/* Correlation, cause and trace for events put now; NULL fields where unset. */
typedef struct EbMessageContext
{
	const char *correlation_id;
	const char *causation_id;
	const char *traceparent;
	int			hops;
} EbMessageContext;
extern const EbMessageContext *eb_message_context(void);

/*
 * From now to the end of the (sub)transaction, events that are put come from
 * processing this message.  NULL: from none.  The strings are copied.
 */
extern void eb_message_context_set(const EbMessageContext *context);

/* ---- queue_deadletter.c: what a message holds without the log ---- */

/*
 * The body of a message that is its event's envelope; found as eb_log_fetch()
 * says.  An event that is gone leaves an envelope without detail that says
 * "erased"; *event is filled with what the pointer tells then.  replay: the
 * replay that delivered the message, or NULL.
 */
extern Jsonb *eb_queue_event_envelope(const EbEventPointer *pointer, EbEvent *event,
									  bool found, const char *replay);

/*
 * The event's headers, and in them what the log knows of its correlation,
 * cause and trace: where the event is gone, a message is taken to have them
 * there, like one that was sent directly.  NULL: none.
 */
extern Jsonb *eb_queue_lasting_headers(const EbEvent *event);

/* ---- for the notifier and maintainer ---- */

/*
 * A time in the future before which no delayed, leased or retried message of the
 * queue becomes visible: the earliest visible_at, or earlier; DT_NOEND if there
 * is none.
 */
extern TimestampTz eb_queue_next_visible(const EbQueue *queue);

/* Does the queue have a message that a receive could get now? */
extern bool eb_queue_has_visible(const EbQueue *queue);

/* Delete messages older than the queue's retention, at most limit; returns how many. */
extern int64 eb_queue_expire(const EbQueue *queue, int limit);

/* Self-check of the floors; returns messages found alive below one (a bug), after repair. */
extern int64 eb_queue_check_floor(const EbQueue *queue);

/* All queues, in the current context. */
extern int	eb_queue_list(EbQueue **queues);

#endif							/* EB_QUEUE_H */
