/*-------------------------------------------------------------------------
 *
 * queue_internal.h
 *	  What the files of src/queue share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_QUEUE_INTERNAL_H
#define EB_QUEUE_INTERNAL_H

#include "access/xact.h"
#include "executor/tuptable.h"
#include "queue/queue.h"

/* Attribute numbers of eb.delivery, hence of every queue table. */
#define EB_DELIVERY_MESSAGE_ID			1
#define EB_DELIVERY_VISIBLE_AT			2
#define EB_DELIVERY_EVENT_ID			3
#define EB_DELIVERY_EVENT_TID			4
#define EB_DELIVERY_EVENT_CLASS			5
#define EB_DELIVERY_TARGET_ID			6
#define EB_DELIVERY_RECEIVE_COUNT		7
#define EB_DELIVERY_LEASE_PID			8
#define EB_DELIVERY_LEASE_ROLE			9
#define EB_DELIVERY_FIRST_RECEIVED_AT	10
#define EB_DELIVERY_ENQUEUED_AT			11
#define EB_DELIVERY_ORIGINAL_ID			12
#define EB_DELIVERY_GROUP_ID			13
#define EB_DELIVERY_SOURCE_QUEUE		14
#define EB_DELIVERY_LAST_ERROR			15
#define EB_DELIVERY_REPLAY				16
#define EB_DELIVERY_HEADERS				17
#define EB_DELIVERY_BODY				18
#define EB_DELIVERY_NATTS				18

/*
 * Privileges on a queue's view: SELECT peeks, INSERT sends, UPDATE and DELETE
 * together receive and settle, TRUNCATE administers (purge, settings, pause,
 * drop).
 */
#define EB_QUEUE_PEEK		ACL_SELECT
#define EB_QUEUE_SEND		ACL_INSERT
#define EB_QUEUE_RECEIVE	(ACL_UPDATE | ACL_DELETE)
#define EB_QUEUE_ADMIN		ACL_TRUNCATE

/* ---- queue_config.c ---- */

/*
 * Microseconds of an interval: days of 24 hours, months of 30 days.  False if
 * it does not fit.
 */
extern bool eb_interval_microseconds(const Interval *interval, int64 *result);

#define EB_MAX_DELAY	(366 * USECS_PER_DAY)	/* "1 year", of a queue or a message */

/* ---- queue_view.c ---- */

/* Make eb.queue_<name> over eb.q_<name>; runs as the owner (eb_owner_begin). */
extern void eb_queue_view_create(const char *name);

/* Forget rows that the (sub)transaction buffered but did not write. */
extern void eb_queue_view_at_xact_end(void);
extern void eb_queue_view_at_subxact(SubXactEvent event, SubTransactionId mine,
									 SubTransactionId parent);

/* ---- queue_context.c ---- */

extern void eb_message_context_at_xact_end(void);
extern void eb_message_context_at_subxact(SubXactEvent event, SubTransactionId mine,
										  SubTransactionId parent);

/* ---- queue_deadletter.c ---- */

/*
 * Move messages to the dead-letter queue:
 *
 *	 letters = eb_deadletter_begin(queue);		NULL: it has none, retry on
 *	 eb_deadletter_add(letters, row, error);	rows that the caller deleted
 *	 eb_deadletter_finish(letters);
 *
 * begin and finish bracket one call of receive or settle.  add copies the row,
 * which the caller has deleted in this transaction with success, so a message
 * moves once; error NULL: the row's last_error, or that its receives are
 * used up.  finish fetches the events, so that the letter holds the whole
 * body, and writes.  No privilege is needed on the dead-letter queue.
 */
typedef struct EbDeadLetters EbDeadLetters;
extern EbDeadLetters *eb_deadletter_begin(const EbQueue *queue);
extern void eb_deadletter_add(EbDeadLetters *letters, TupleTableSlot *row,
							  const char *error);
extern void eb_deadletter_finish(EbDeadLetters *letters);

#endif							/* EB_QUEUE_INTERNAL_H */
