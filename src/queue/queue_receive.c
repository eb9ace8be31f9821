/*-------------------------------------------------------------------------
 *
 * queue_receive.c
 *	  receive and consume: take the oldest messages that nobody has.
 *
 * First the waiting index up to now (delays, retries and leases that have run
 * out), then the ready index, each from its floor.  receive updates a row for
 * a lease, consume deletes it in the caller's transaction.  Either is tried
 * without waiting and without a row lock: who comes second is told at once
 * that the row is being modified and goes on to the next.
 *
 * An idle queue costs no transaction id: nothing is announced before there is
 * a row to write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "keptmem.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

/* FIFO groups of which this call has deleted messages. */
typedef struct TakenGroup
{
	Datum		group_id;
	int			n;
	struct TakenGroup *next;
} TakenGroup;

typedef struct Receiver
{
	EbQueue		queue;
	Relation	table;
	bool		consume;
	int			max;
	int			n;
	TimestampTz now;			/* of the look that is under way */
	TimestampTz deadline;		/* of the leases */
	bool		writing;		/* editor has begun */
	EbRowEditor editor;
	EbMessages *messages;
	bool		letters_known;
	EbDeadLetters *letters;		/* NULL: no dead-letter queue */
	int			ndead;
	bool		look_again;		/* messages were exposed behind the scan's
								 * bound */
	TakenGroup *taken;
} Receiver;

static void
begin_writing(Receiver *r)
{
	if (!r->writing)
		eb_row_editor_begin(&r->editor, r->table, &r->queue);
	r->writing = true;
}

/* May this row be received no more? */
static bool
is_used_up(Receiver *r, TupleTableSlot *row)
{
	int32		count = row->tts_isnull[EB_DELIVERY_RECEIVE_COUNT - 1] ? 0 :
	DatumGetInt32(row->tts_values[EB_DELIVERY_RECEIVE_COUNT - 1]);

	if (count < r->queue.max_receive_count)
		return false;
	if (!r->letters_known)
	{
		r->letters = eb_deadletter_begin(&r->queue);
		r->letters_known = true;
	}
	return r->letters != NULL;
}

typedef enum Taken
{
	LOST,						/* somebody was faster, or it may not be taken */
	TAKEN,
	DEAD						/* gone to the dead-letter queue */
} Taken;

/* Update or delete the scan's row. */
static Taken
take_row(Receiver *r, EbQueueScan *scan, bool used_up)
{
	TupleTableSlot *row = scan->slot;
	TM_FailureData why;
	TM_Result	result;

	begin_writing(r);
	if (used_up || r->consume)
		result = eb_row_delete(&r->editor, row, &why);
	else
	{
		EbRowChange change = {.lease = true,.now = r->now,.visible_at = r->deadline};

		result = eb_row_update(&r->editor, row, &change, &why);
	}
	if (result != TM_Ok)
	{
		eb_queue_scan_lost(scan, result);
		return LOST;
	}
	eb_queue_scan_took(scan);
	return used_up ? DEAD : TAKEN;
}

/* What was taken goes to the caller or to the dead letters; no gate is held. */
static void
hand_over(Receiver *r, EbQueueScan *scan, Taken taken)
{
	char		receipt[EB_RECEIPT_SIZE];

	if (taken == DEAD)
	{
		eb_deadletter_add(r->letters, scan->slot, NULL);
		r->ndead++;
	}
	else if (taken == TAKEN && r->consume)
	{
		eb_row_show_received(&r->editor, scan->slot, r->now);
		eb_messages_add(r->messages, r->editor.slot, NULL);
		r->n++;
	}
	else if (taken == TAKEN)
	{
		eb_receipt_format(receipt, scan->message_id, r->deadline);
		eb_messages_add(r->messages, r->editor.slot, receipt);
		r->n++;
	}
}

/* From now on rows that this call has written can be written again. */
static void
next_command(Receiver *r)
{
	CommandCounterIncrement();
	r->editor.cid = GetCurrentCommandId(true);
}

/* ---- FIFO ---- */

static TakenGroup *
taken_group(Receiver *r, Datum group_id)
{
	TakenGroup *group;

	for (group = r->taken; group; group = group->next)
	{
		if (VARSIZE_ANY_EXHDR(group->group_id) == VARSIZE_ANY_EXHDR(group_id) &&
			memcmp(VARDATA_ANY(group->group_id), VARDATA_ANY(group_id),
				   VARSIZE_ANY_EXHDR(group_id)) == 0)
			return group;
	}
	return NULL;
}

static void
note_taken(Receiver *r, Datum group_id)
{
	TakenGroup *group = taken_group(r, group_id);

	if (!group)
	{
		group = palloc(sizeof(TakenGroup));
		group->group_id = PointerGetDatum(PG_DETOAST_DATUM_COPY(group_id));
		group->n = 0;
		group->next = r->taken;
		r->taken = group;
	}
	group->n++;
}

/* Under the gate of the row's group. */
static Taken
take_from_group(Receiver *r, EbQueueScan *scan, bool used_up)
{
	TupleTableSlot *row = scan->slot;
	Datum		group_id = eb_fifo_group(row);
	TakenGroup *group = r->consume ? taken_group(r, group_id) : NULL;
	EbRowChange park = {.visible_at = EB_PARKED};
	TM_FailureData why;
	TM_Result	result;
	Taken		taken;

	switch (eb_fifo_look(r->table, &r->queue, row, r->now, group ? group->n : 0))
	{
		case EB_FIFO_BUSY:
			return LOST;
		case EB_FIFO_PARK:
			begin_writing(r);
			result = eb_row_update(&r->editor, row, &park, &why);
			if (result == TM_Ok)
			{
				/* this call may take its head yet, and expose it again */
				eb_queue_scan_took(scan);
				next_command(r);
			}
			else
				eb_queue_scan_lost(scan, result);
			return LOST;
		case EB_FIFO_TAKE:
			break;
	}

	taken = take_row(r, scan, used_up);
	if (taken == DEAD)
		r->look_again = true;	/* its successor may be had in this call */
	else if (taken == TAKEN && r->consume)
		note_taken(r, group_id);
	else
		return taken;
	eb_fifo_head_gone(&r->editor, group_id);
	return taken;
}

/* A mark asks for a look at its group; it goes once the look is done. */
static void
take_mark(Receiver *r, EbQueueScan *scan)
{
	TM_FailureData why;
	TM_Result	result;

	begin_writing(r);
	if (!eb_fifo_resolve_mark(&r->editor, scan->slot))
		return;
	result = eb_row_delete(&r->editor, scan->slot, &why);
	if (result == TM_Ok)
	{
		eb_queue_scan_took(scan);
		r->look_again = true;
	}
	else
		eb_queue_scan_lost(scan, result);
}

/* Leased by this call, with a timeout of nothing or next to it? */
static bool
is_ours(Receiver *r, EbQueueScan *scan)
{
	return scan->which == EB_WAITING && scan->key == r->deadline && !r->consume &&
		!scan->slot->tts_isnull[EB_DELIVERY_LEASE_PID - 1] &&
		DatumGetInt32(scan->slot->tts_values[EB_DELIVERY_LEASE_PID - 1]) == MyProcPid;
}

static void
take(Receiver *r, EbQueueScan *scan)
{
	bool		used_up;
	Taken		taken = LOST;
	int			gate;

	slot_getallattrs(scan->slot);
	if (is_ours(r, scan))
		return;
	used_up = is_used_up(r, scan->slot);
	if (!r->queue.fifo || scan->slot->tts_isnull[EB_DELIVERY_GROUP_ID - 1])
		taken = take_row(r, scan, used_up);
	else
	{
		gate = eb_fifo_enter(r->table, scan->slot);
		if (EB_ROW_IS_MARK(scan->slot->tts_isnull))
			take_mark(r, scan);
		else
			taken = take_from_group(r, scan, used_up);
		eb_fifo_leave(r->table, gate);
	}
	hand_over(r, scan, taken);
}

/* ---- one look at the queue ---- */

static void
scan_index(Receiver *r, Oid index, EbQueueIndex which, int64 upto)
{
	EbQueueScan scan;

	if (r->n >= r->max)
		return;
	eb_queue_scan_begin(&scan, r->table, index, which, upto, true);
	while (r->n < r->max && eb_queue_scan_next(&scan))
		take(r, &scan);
	eb_queue_scan_end(&scan);
}

/* A later look may meet rows that an earlier one of this call has written. */
static void
look(Receiver *r)
{
	do
	{
		if (r->writing)
			next_command(r);
		r->look_again = false;
		r->now = eb_clock_now();
		scan_index(r, r->queue.waiting_index, EB_WAITING, r->now);
		scan_index(r, r->queue.ready_index, EB_READY, EB_KEY_MAX);
	} while (r->look_again && r->n < r->max);
}

static void
finish(Receiver *r)
{
	if (r->letters)
		eb_deadletter_finish(r->letters);
	eb_messages_end(r->messages, true);
	if (!r->writing)
		return;

	eb_floor_count(r->editor.record, r->consume ? EB_COUNT_CONSUMED : EB_COUNT_RECEIVED, r->n);
	eb_floor_count(r->editor.record, EB_COUNT_DEAD, r->ndead);
	eb_row_editor_end(&r->editor);
	eb_notify_taken(&r->queue);
	if (r->n > 0 && !r->consume)
		eb_notify_pending(&r->queue, r->deadline);
	CommandCounterIncrement();
}

/*
 * Known to hold nothing: consumers that one NOTIFY has woken find that most of
 * the time.  The same steps as a receive that looks, with the floors as its looks.
 */
static bool
is_empty(const EbQueue *queue)
{
	return eb_floor_is_empty(queue->table, eb_clock_now()) &&
		(!eb_notify_arm(queue) || eb_floor_is_empty(queue->table, eb_clock_now()));
}

/* The empty set, without a tuplestore. */
static Datum
no_messages(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	if (rsinfo && IsA(rsinfo, ReturnSetInfo) && (rsinfo->allowedModes & SFRM_ValuePerCall))
		rsinfo->isDone = ExprEndResult;
	else
		eb_kept_results(fcinfo);
	PG_RETURN_NULL();
}

static int64
visibility_argument(FunctionCallInfo fcinfo, int argno, const EbQueue *queue)
{
	int64		result;

	if (PG_ARGISNULL(argno))
		return queue->visibility_timeout;
	if (!eb_interval_microseconds(PG_GETARG_INTERVAL_P(argno), &result) ||
		result < 0 || result > EB_MAX_DELAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("visibility timeout \"%s\" is out of range",
						DatumGetCString(DirectFunctionCall1(interval_out,
															PG_GETARG_DATUM(argno)))),
				 errdetail("It can be from 0 to 1 year.")));
	return result;
}

static Datum
receive(FunctionCallInfo fcinfo, bool consume)
{
	const char *function = consume ? "eb.consume()" : "eb.receive()";
	Receiver   *r;
	const EbQueue *queue;
	int64		visibility_timeout;

	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("max_messages");
	queue = eb_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eb_check_view_privilege(queue->view, EB_QUEUE_RECEIVE, "queue", queue->name);
	if (PG_GETARG_INT32(1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_messages %d is out of range", PG_GETARG_INT32(1)),
				 errdetail("It must be at least 1.")));

	visibility_timeout = consume ? 0 : visibility_argument(fcinfo, 2, queue);
	if (queue->paused || is_empty(queue))
		return no_messages(fcinfo);

	r = palloc0(sizeof(Receiver));
	r->queue = *queue;
	r->consume = consume;
	r->max = PG_GETARG_INT32(1);
	r->table = eb_queue_open(&r->queue, RowExclusiveLock);
	r->messages = eb_messages_begin(fcinfo, &r->queue);
	r->deadline = eb_clock_now() + visibility_timeout;
	look(r);

	/* what came between the look and the arming has woken nobody */
	if (r->n < r->max && eb_notify_arm(&r->queue))
		look(r);
	finish(r);
	table_close(r->table, NoLock);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(eb_receive);
Datum
eb_receive(PG_FUNCTION_ARGS)
{
	return receive(fcinfo, false);
}

PG_FUNCTION_INFO_V1(eb_consume);
Datum
eb_consume(PG_FUNCTION_ARGS)
{
	return receive(fcinfo, true);
}
