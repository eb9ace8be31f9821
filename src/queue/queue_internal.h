/*-------------------------------------------------------------------------
 *
 * queue_internal.h
 *	  What the files of src/queue share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_QUEUE_INTERNAL_H
#define EB_QUEUE_INTERNAL_H

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "queue/queue.h"
#include "utils/snapshot.h"

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

/* Columns of eb.queues that the code reads. */
enum
{
	EB_QUEUES_NAME = 1,
	EB_QUEUES_QUEUE_ID,
	EB_QUEUES_QUEUE_TABLE,
	EB_QUEUES_QUEUE_VIEW,
	EB_QUEUES_FIFO,
	EB_QUEUES_IS_DLQ,
	EB_QUEUES_DEAD_LETTER_QUEUE,
	EB_QUEUES_MAX_RECEIVE_COUNT,
	EB_QUEUES_VISIBILITY_TIMEOUT,
	EB_QUEUES_DELAY,
	EB_QUEUES_RETENTION,
	EB_QUEUES_BACKOFF_BASE,
	EB_QUEUES_BACKOFF_FACTOR,
	EB_QUEUES_BACKOFF_CAP,
	EB_QUEUES_MIN_REDELIVERY_DELAY,
	EB_QUEUES_MAX_PER_GROUP,
	EB_QUEUES_DEDUP_WINDOW,
	EB_QUEUES_CONTENT_DEDUP,
	EB_QUEUES_PAUSED
};

/* ---- queue_lookup.c ---- */

/* A queue from its row, without index oids. */
extern void eb_queue_from_row(EbQueue *queue, HeapTuple tuple, TupleDesc desc);

/* The newest committed row by name; does not look at the queue's table. */
extern bool eb_queue_read(const char *name, EbQueue *queue);

/* ---- queue_config.c ---- */

/*
 * A queue that the current user is about to change: locks configuration,
 * checks that the queue exists and may be administered.
 */
extern EbQueue eb_queue_to_change(const char *name, const char *function);

/*
 * Name of the dead-letter queue that is made with a queue: <name>_dlq; where
 * that is too long, the name's beginning and a hash of the whole.  result:
 * NAMEDATALEN bytes.
 */
extern void eb_queue_default_dlq(const char *name, char *result);

/*
 * Microseconds of an interval: days of 24 hours, months of 30 days.  False if
 * it does not fit.
 */
extern bool eb_interval_microseconds(const Interval *interval, int64 *result);

/* The delay of a message; raises if it is out of range. */
extern int64 eb_delay_microseconds(const Interval *delay);

#define EB_MAX_DELAY	(366 * USECS_PER_DAY)	/* "1 year", of a queue or a
												 * message */
/* The two ways into a queue, each with a floor. */
typedef enum EbQueueIndex
{
	EB_READY,					/* key: message_id */
	EB_WAITING,					/* key: visible_at (then message_id) */
	EB_QUEUE_INDEXES
} EbQueueIndex;

#define EB_KEY_MIN	PG_INT64_MIN
#define EB_KEY_MAX	PG_INT64_MAX

/* visible_at of a message parked behind its FIFO group's head. */
#define EB_PARKED	DT_NOEND

/*
 * A row without event and body is no message but a mark that its FIFO group
 * needs a look (queue_fifo.c); consumers, peek and status must pass it by.
 */
#define EB_ROW_IS_MARK(isnull) \
	((isnull)[EB_DELIVERY_EVENT_ID - 1] && (isnull)[EB_DELIVERY_BODY - 1])

/* ---- queue_floor.c: README.md, floor claims ---- */

typedef enum EbQueueCount
{
	EB_COUNT_SENT,
	EB_COUNT_RECEIVED,
	EB_COUNT_CONSUMED,
	EB_COUNT_ACKED,
	EB_COUNT_NACKED,
	EB_COUNT_DEAD,				/* moved to the dead-letter queue */
	EB_QUEUE_COUNTS
} EbQueueCount;

/*
 * Writing to a queue's table.  Announce once before the first write of a
 * call; say which keys are removed before the row is deleted or updated, and
 * which were inserted after their index entries are in.  Counts are added to
 * the queue's when the transaction commits.
 */
typedef struct EbFloorRecord EbFloorRecord;
extern EbFloorRecord *eb_floor_announce(Relation table);
extern void eb_floor_removing(EbFloorRecord *record, EbQueueIndex which, int64 key,
							  int64 message_id);
extern void eb_floor_inserted(EbFloorRecord *record, EbQueueIndex which, int64 key);
extern void eb_floor_count(EbFloorRecord *record, EbQueueCount count, int n);

/*
 * Floors of FIFO groups: ids below which a group holds nothing that is alive
 * or in progress (FIFO claim 5).  Known for the groups that were used last.
 * begin gives EB_KEY_MIN if nothing is known; raise takes the lowest id that
 * was seen alive or in progress, or a bound above all dead ones.
 */
typedef struct EbGroupFloor
{
	uint64		stamp;			/* of the queue's slot; 0: none */
	uint64		hash[2];
	int64		floor;
} EbGroupFloor;

extern void eb_group_floor_begin(EbGroupFloor *group, Relation table, Datum group_id);
extern void eb_group_floor_raise(const EbGroupFloor *group, Relation table, int64 id);

/* Key at which a scan that does not raise begins; EB_KEY_MIN if nothing is known. */
extern int64 eb_floor_start(Relation table, EbQueueIndex which);

/*
 * Would scans of both indexes up to now end where they begin?  Tells without
 * opening the table, for one that this backend has raised a floor of; false if
 * that is not known.  The caller has accepted invalidations (floor claim 8).
 */
extern bool eb_floor_is_empty(Oid table, TimestampTz now);

/* For a raise: false if another backend is at it, or there is no shared memory. */
extern bool eb_floor_raise_begin(Relation table, EbQueueIndex which, int64 *start);
extern void eb_floor_raise_end(Relation table, EbQueueIndex which, int64 key);
extern bool eb_floor_is_announced(TransactionId xid);
extern void eb_floor_lower(Relation table, EbQueueIndex which, int64 key);

/*
 * create_queue, as the owner: a new table's trigger, and nothing is known of
 * an older one.
 */
extern void eb_floor_storage_create(const char *table);

/* Counts since the slot was made; false if the queue has none. */
extern bool eb_floor_counts(Relation table, uint64 counts[EB_QUEUE_COUNTS]);

/* ---- queue_scan.c: walking a queue from its floor ---- */

/*
 *	 eb_queue_scan_begin(&scan, table, index, which, upto, raise);
 *	 while (eb_queue_scan_next(&scan))
 *		 take scan.slot, then eb_queue_scan_took(&scan), or leave it
 *	 eb_queue_scan_end(&scan);
 *
 * Returns rows that are alive under SnapshotDirty and nobody is at work on, in
 * the order of their keys, up to and including upto.  The table and its index
 * are locked by the caller (eb_queue_open) and by begin (RowExclusiveLock, in
 * recovery AccessShareLock).  raise: raise the floor past what is dead or in
 * the hands of announced transactions; needs no transaction id itself.
 */
typedef struct EbQueueScan
{
	Relation	table;
	Relation	index;
	EbQueueIndex which;
	int64		key;			/* of the current row */
	int64		message_id;
	TupleTableSlot *slot;		/* the current row */

	/* private to queue_scan.c */
	IndexScanDesc scan;
	SnapshotData dirty;
	int64		upto;
	int64		floor;			/* first key not passed, once stopped */
	bool		raise;
	bool		stopped;		/* the floor cannot go further */
	bool		current;		/* a row was returned and not yet taken */
	bool		at_end;			/* nothing is left up to the bound */
	bool		met;			/* any entry, dead or alive */
	TransactionId announced;	/* last transaction found announced */
} EbQueueScan;

extern void eb_queue_scan_begin(EbQueueScan *scan, Relation table, Oid index,
								EbQueueIndex which, int64 upto, bool raise);
extern bool eb_queue_scan_next(EbQueueScan *scan);
extern void eb_queue_scan_took(EbQueueScan *scan);
extern void eb_queue_scan_lost(EbQueueScan *scan, TM_Result result);
extern void eb_queue_scan_end(EbQueueScan *scan);

/*
 * How many rows that are alive, and in nobody's hands, lie below a key, and
 * the lowest of their keys.
 */
extern int64 eb_queue_alive_below(Relation table, Oid index, EbQueueIndex which,
								  int64 key, int64 *lowest);

/* ---- queue_message.c: rows as eb.message ---- */

/*
 *	 messages = eb_messages_begin(fcinfo, queue);
 *	 eb_messages_add(messages, row, receipt);	as often as needed
 *	 eb_messages_end(messages, processing);
 *
 * Fills the function's result set.  add copies what it needs of the row, which
 * has the values to show (receive_count and first_received_at included);
 * receipt NULL: no lease.  Events are fetched by the batch.  processing: a
 * result of one message makes it the transaction's message in process.
 */
typedef struct EbMessages EbMessages;
extern EbMessages *eb_messages_begin(FunctionCallInfo fcinfo, const EbQueue *queue);
extern void eb_messages_add(EbMessages *messages, TupleTableSlot *row,
							const char *receipt);
extern void eb_messages_end(EbMessages *messages, bool processing);

/* Receipts: message id and lease deadline, the key in the waiting index. */
#define EB_RECEIPT_SIZE 40
extern void eb_receipt_format(char *buf, int64 message_id, TimestampTz deadline);

/* ---- queue_row.c: changing one row ---- */

/*
 *	 eb_row_editor_begin(&editor, table, queue);
 *	 result = eb_row_update(&editor, row, &change, &why)	as often as needed
 *	 result = eb_row_delete(&editor, row, &why)
 *	 eb_row_editor_end(&editor);
 *
 * Announces, writes the index entries, and lowers the floors at the end.  Does
 * not wait: a row that somebody else is at work on answers TM_BeingModified.
 * After an update editor.slot holds the new row.
 */
typedef struct EbRowChange
{
	TimestampTz visible_at;
	bool		lease;			/* one more receive, by us, at "now" */
	TimestampTz now;
	bool		release;		/* ends the lease */
	const char *error;			/* with release: new last_error; NULL: as it
								 * was */
} EbRowChange;

typedef struct EbRowEditor
{
	Relation	table;
	const EbQueue *queue;
	EbFloorRecord *record;
	TupleTableSlot *slot;
	Relation	waiting;		/* opened with the first update */
	Relation	group;
	int64		lowest;			/* of the waiting keys inserted */
	bool		foreign;		/* somebody else's index is on the table */
	CommandId	cid;
} EbRowEditor;

extern void eb_row_editor_begin(EbRowEditor *editor, Relation table, const EbQueue *queue);
extern TM_Result eb_row_update(EbRowEditor *editor, TupleTableSlot *row,
							   const EbRowChange *change, TM_FailureData *why);
extern TM_Result eb_row_delete(EbRowEditor *editor, TupleTableSlot *row, TM_FailureData *why);
extern void eb_row_editor_end(EbRowEditor *editor);

/* A row's copy in editor->slot as it looks once received now, for consume. */
extern void eb_row_show_received(EbRowEditor *editor, TupleTableSlot *row, TimestampTz now);

/* ---- queue_send.c ---- */

/* Write a mark for a FIFO group; visible to receivers at once. */
extern void eb_queue_write_mark(const EbQueue *queue, Relation table, const char *group);

/* ---- queue_fifo.c: README.md, FIFO claims ---- */

/*
 * After a live message of a FIFO queue was deleted by other means than
 * receive, consume and ack (expiry): let its group go on.
 */
extern void eb_fifo_close_gates(Relation table);
extern void eb_fifo_deleted(Relation table, const EbQueue *queue, Datum group_id);

/* From now on more of a group may be out at a time. */
extern void eb_fifo_mark_groups(Relation table, const EbQueue *queue);

/*
 * Looking at a row's group and acting on what was seen is bracketed by enter,
 * which takes the group's gate, and leave.  already: messages of the group
 * that this call has deleted.
 */
typedef enum EbFifoVerdict
{
	EB_FIFO_TAKE,
	EB_FIFO_BUSY,				/* another message must go or end first */
	EB_FIFO_PARK				/* should not have been exposed */
} EbFifoVerdict;

extern Datum eb_fifo_group(TupleTableSlot *row);
extern int	eb_fifo_enter(Relation table, TupleTableSlot *row);
extern EbFifoVerdict eb_fifo_look(Relation table, const EbQueue *queue,
								  TupleTableSlot *row, TimestampTz now, int already);
extern void eb_fifo_head_gone(EbRowEditor *editor, Datum group_id);
extern bool eb_fifo_resolve_mark(EbRowEditor *editor, TupleTableSlot *row);
extern void eb_fifo_leave(Relation table, int gate);

/*
 * Sending: lock the groups, take ids, drop duplicates, take the gates and
 * park, write, let the gates go.
 */
typedef struct EbFifoSend EbFifoSend;
extern EbFifoSend *eb_fifo_send_lock(const EbQueue *queue, Relation table,
									 int n, EbDelivery **deliveries);
extern int	eb_fifo_send_dedup(EbFifoSend *send, int n, EbDelivery **deliveries,
							   int64 *ids, TimestampTz *visible);
extern int64 eb_fifo_send_id(EbFifoSend *send, int i);
extern void eb_fifo_send_park(EbFifoSend *send, int n, EbDelivery **deliveries,
							  const int64 *ids, TimestampTz *visible);
extern void eb_fifo_send_unlock(EbFifoSend *send);

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

/* Pointer of a row whose attributes are all there; false if it has no event. */
extern bool eb_queue_event_pointer(TupleTableSlot *row, EbEventPointer *pointer);

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
