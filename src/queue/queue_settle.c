/*-------------------------------------------------------------------------
 *
 * queue_settle.c
 *	  ack, nack and extend: what a consumer does with a lease.
 *
 * A receipt is the key under which the lease stands in the waiting index:
 * message id and deadline.  Whoever takes the message over later, ends the
 * lease or extends it moves the row to another key, so an old receipt finds
 * nothing: that is the whole fence (README.md, lease claims).  A lease that
 * has run out while nobody took the message is still good.
 *
 * Each receipt gets its own result: done; stale, the message exists but this
 * lease does not; unknown, there is no such message.  Telling the latter two
 * apart takes a walk over the keys that wait, one for all receipts of a call
 * that found nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/nbtree.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

typedef enum Verb
{
	ACK,
	NACK,
	EXTEND
} Verb;

typedef enum Outcome
{
	UNKNOWN,
	STALE,
	DONE
} Outcome;

static const char *const outcome_names[] = {"unknown", "stale", "done"};

typedef struct Receipt
{
	int64		message_id;
	TimestampTz deadline;
	Datum		given;
	Outcome		outcome;
	TimestampTz new_deadline;	/* extend */
} Receipt;

typedef struct Settler
{
	Verb		verb;
	EbQueue		queue;
	Relation	table;
	EbRowEditor editor;
	bool		writing;
	const char *error;			/* nack */
	int64		delay;			/* nack: -1 for backoff; extend: the extension */
	bool		letters_known;
	EbDeadLetters *letters;
	int			ndone;
	int			ndead;
	TimestampTz next_visible;	/* the earliest that nack and extend wrote */
} Settler;

/* ---- receipts ---- */

static char *
put_hex(char *buf, uint64 value)
{
	static const char digits[] = "0123456789abcdef";
	int			shift = 60;

	while (shift > 0 && (value >> shift) == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*buf++ = digits[(value >> shift) & 0x0f];
	return buf;
}

void
eb_receipt_format(char *buf, int64 message_id, TimestampTz deadline)
{
	buf = put_hex(buf, (uint64) message_id);
	*buf++ = '-';
	buf = put_hex(buf, (uint64) deadline);
	*buf = '\0';
}

/* Read the digits up to the end character; false if they are not what we write. */
static bool
get_hex(const char **p, const char *limit, int64 *result)
{
	const char *start = *p;
	uint64		value = 0;

	while (*p < limit && *p - start < 16)
	{
		char		c = **p;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64) (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64) (c - 'a' + 10);
		else
			break;
		(*p)++;
	}
	*result = (int64) value;
	return *p > start && *start != '0' && value <= (uint64) PG_INT64_MAX;
}

static void
parse_receipt(Datum value, Receipt *receipt)
{
	text	   *string = DatumGetTextPP(value);
	const char *p = VARDATA_ANY(string);
	const char *limit = p + VARSIZE_ANY_EXHDR(string);
	bool		ok;

	ok = get_hex(&p, limit, &receipt->message_id) &&
		p < limit && *p++ == '-' &&
		get_hex(&p, limit, &receipt->deadline) && p == limit;
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a receipt", text_to_cstring(string)),
				 errhint("Pass the column \"receipt\" of a message as eb.receive() returned it.")));
	receipt->given = value;
	receipt->outcome = UNKNOWN;
}

/* All receipts are read before anything is changed. */
static Receipt *
parse_receipts(ArrayType *array, int *n)
{
	Receipt    *receipts;
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	receipts = palloc0(Max(*n, 1) * sizeof(Receipt));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("receipt %d is null", i + 1),
					 errhint("Messages of eb.consume() and of peeks have no receipt: there is nothing to settle.")));
		parse_receipt(elements[i], &receipts[i]);
	}
	return receipts;
}

/* ---- what becomes of a message ---- */

/*
 * Full jitter: uniform between zero and the exponential bound, so that
 * consumers that failed together do not come back together.
 */
static int64
backoff(const EbQueue *queue, int receive_count)
{
	double		bound = (double) queue->backoff_base *
	pow(queue->backoff_factor, Max(receive_count - 1, 0));
	int64		delay;

	if (!(bound <= (double) queue->backoff_cap))
		bound = (double) queue->backoff_cap;
	delay = (int64) (bound * pg_prng_double(&pg_global_prng_state));
	return Max(delay, queue->min_redelivery_delay);
}

static bool
is_used_up(Settler *s, int receive_count)
{
	if (receive_count < s->queue.max_receive_count)
		return false;
	if (!s->letters_known)
	{
		s->letters = eb_deadletter_begin(&s->queue);
		s->letters_known = true;
	}
	return s->letters != NULL;
}

static bool
remove_row(Settler *s, TupleTableSlot *row)
{
	TM_FailureData why;

	return eb_row_delete(&s->editor, row, &why) == TM_Ok;
}

static bool
move_row(Settler *s, TupleTableSlot *row, EbRowChange *change)
{
	TM_FailureData why;

	if (eb_row_update(&s->editor, row, change, &why) != TM_Ok)
		return false;
	s->next_visible = Min(s->next_visible, change->visible_at);
	return true;
}

static int
receive_count(TupleTableSlot *row)
{
	return row->tts_isnull[EB_DELIVERY_RECEIVE_COUNT - 1] ? 0 :
		DatumGetInt32(row->tts_values[EB_DELIVERY_RECEIVE_COUNT - 1]);
}

static bool
release_row(Settler *s, TupleTableSlot *row)
{
	EbRowChange change = {.release = true,.error = s->error};
	int			count = receive_count(row);
	int64		delay;

	delay = s->delay < 0 ? backoff(&s->queue, count) :
		Max(s->delay, s->queue.min_redelivery_delay);
	change.visible_at = eb_clock_now() + delay;
	return move_row(s, row, &change);
}

/* Settle the lease that stands in this row. */
static void
settle_row(Settler *s, TupleTableSlot *row, Receipt *receipt)
{
	bool		in_group = s->queue.fifo && !row->tts_isnull[EB_DELIVERY_GROUP_ID - 1];
	bool		dead = s->verb == NACK && is_used_up(s, receive_count(row));
	bool		removed = s->verb == ACK || dead;
	bool		ok;
	int			gate = 0;

	if (!s->writing)
		eb_row_editor_begin(&s->editor, s->table, &s->queue);
	s->writing = true;
	if (in_group)
		gate = eb_fifo_enter(s->table, row);

	if (removed)
		ok = remove_row(s, row);
	else if (s->verb == NACK)
		ok = release_row(s, row);
	else
	{
		EbRowChange change = {.visible_at = eb_clock_now() + s->delay};

		ok = move_row(s, row, &change);
		receipt->new_deadline = change.visible_at;
	}

	if (in_group)
	{
		if (ok && removed)
			eb_fifo_head_gone(&s->editor, eb_fifo_group(row));
		eb_fifo_leave(s->table, gate);
	}
	if (ok && dead)
	{
		eb_deadletter_add(s->letters, row, s->error);
		s->ndead++;
	}
	if (ok)
		s->ndone++;
	receipt->outcome = ok ? DONE : STALE;
}

/* Look up each receipt's key.  A row that somebody is at work on is lost. */
static void
settle_all(Settler *s, Receipt *receipts, int n)
{
	Relation	index = index_open(s->queue.waiting_index, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(s->table, NULL);
	SnapshotData dirty;
	IndexScanDesc scan;
	ScanKeyData keys[2];

	InitDirtySnapshot(dirty);
	scan = EB_INDEX_BEGINSCAN(s->table, index, &dirty, 2);
	for (int i = 0; i < n; i++)
	{
		Receipt    *receipt = &receipts[i];

		CHECK_FOR_INTERRUPTS();
		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
					TimestampTzGetDatum(receipt->deadline));
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(receipt->message_id));
		index_rescan(scan, keys, 2, NULL, 0);
		while (receipt->outcome != DONE &&
			   index_getnext_slot(scan, ForwardScanDirection, slot))
		{
			receipt->outcome = STALE;
			if (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax))
				continue;
			slot_getallattrs(slot);
			if (!slot->tts_isnull[EB_DELIVERY_LEASE_PID - 1])
				settle_row(s, slot, receipt);
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
}

/* ---- stale or unknown ---- */

static int
compare_ids(const void *a, const void *b)
{
	int64		x = (*(Receipt *const *) a)->message_id;
	int64		y = (*(Receipt *const *) b)->message_id;

	return x < y ? -1 : x > y;
}

/* All missing receipts of a message that was seen, and that lie before limit, are stale. */
static int
mark_stale(Receipt **missing, int n, int64 message_id, const Receipt *limit)
{
	Receipt		wanted = {.message_id = message_id};
	Receipt    *pointer = &wanted;
	Receipt   **hit = bsearch(&pointer, missing, n, sizeof(Receipt *), compare_ids);
	int			marked = 0;

	if (!hit)
		return 0;
	while (hit > missing && (*(hit - 1))->message_id == message_id)
		hit--;
	for (; hit < missing + n && (*hit)->message_id == message_id; hit++)
	{
		if ((*hit)->outcome == UNKNOWN && *hit < limit)
		{
			(*hit)->outcome = STALE;
			marked++;
		}
	}
	return marked;
}

static bool
is_missing(Receipt **missing, int n, int64 message_id)
{
	Receipt		wanted = {.message_id = message_id};
	Receipt    *pointer = &wanted;

	return bsearch(&pointer, missing, n, sizeof(Receipt *), compare_ids) != NULL;
}

/*
 * Walk over the keys of the waiting index; only rows whose key has an id that
 * is looked for are fetched.  A leased message is never in the ready index
 * again.
 */
static void
find_stale(Settler *s, Receipt *receipts, int n)
{
	Receipt   **missing = palloc(Max(n, 1) * sizeof(Receipt *));
	int			nmissing = 0;
	int			left;
	Relation	index;
	TupleTableSlot *slot;
	SnapshotData dirty;
	IndexScanDesc scan;
	ScanKeyData key;

	for (int i = 0; i < n; i++)
	{
		if (receipts[i].outcome == UNKNOWN)
			missing[nmissing++] = &receipts[i];
	}
	if (nmissing == 0)
		return;
	qsort(missing, nmissing, sizeof(Receipt *), compare_ids);

	/*
	 * when its turn came, the message that a later one settled was still
	 * there
	 */
	left = nmissing;
	for (int i = 0; i < n; i++)
	{
		if (receipts[i].outcome == DONE)
			left -= mark_stale(missing, nmissing, receipts[i].message_id, &receipts[i]);
	}
	if (left == 0)
		return;

	index = index_open(s->queue.waiting_index, RowExclusiveLock);
	slot = table_slot_create(s->table, NULL);
	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(eb_floor_start(s->table, EB_WAITING)));
	scan = EB_INDEX_BEGINSCAN(s->table, index, &dirty, 1);
	scan->xs_want_itup = true;
	index_rescan(scan, &key, 1, NULL, 0);
	while (left > 0 && index_getnext_tid(scan, ForwardScanDirection))
	{
		bool		isnull;
		int64		id = DatumGetInt64(index_getattr(scan->xs_itup, 2, scan->xs_itupdesc, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (is_missing(missing, nmissing, id) && index_fetch_heap(scan, slot))
			left -= mark_stale(missing, nmissing, id, receipts + n);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
}

/* ---- SQL ---- */

/* why: the caller wants to know why receipts were not done. */
static void
settle(Settler *s, Receipt *receipts, int n, bool why)
{
	s->table = eb_queue_open(&s->queue, RowExclusiveLock);
	settle_all(s, receipts, n);
	if (why)
		find_stale(s, receipts, n);
	if (s->letters)
		eb_deadletter_finish(s->letters);
	if (s->writing)
	{
		if (s->verb != EXTEND)
			eb_floor_count(s->editor.record, s->verb == ACK ? EB_COUNT_ACKED : EB_COUNT_NACKED,
						   s->ndone);
		eb_floor_count(s->editor.record, EB_COUNT_DEAD, s->ndead);
		eb_row_editor_end(&s->editor);
		eb_notify_taken(&s->queue);
		if (s->next_visible != DT_NOEND)
			eb_notify_pending(&s->queue, s->next_visible);
		CommandCounterIncrement();
	}
	table_close(s->table, NoLock);
}

static void
return_results(FunctionCallInfo fcinfo, const Settler *s, const Receipt *receipts, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		names[lengthof(outcome_names)];

	for (int i = 0; i < (int) lengthof(outcome_names); i++)
		names[i] = CStringGetTextDatum(outcome_names[i]);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		Datum		values[3] = {receipts[i].given, names[receipts[i].outcome], (Datum) 0};
		bool		nulls[3] = {false, false, true};

		if (s->verb == EXTEND && receipts[i].outcome == DONE)
		{
			char		buf[EB_RECEIPT_SIZE];

			eb_receipt_format(buf, receipts[i].message_id, receipts[i].new_deadline);
			values[2] = CStringGetTextDatum(buf);
			nulls[2] = false;
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

static int64
interval_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	int64		result;

	if (!eb_interval_microseconds(PG_GETARG_INTERVAL_P(argno), &result) ||
		result < 0 || result > EB_MAX_DELAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is out of range", name,
						DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(argno)))),
				 errdetail("It can be from 0 to 1 year.")));
	return result;
}

/* The verb's arguments; receipts have been taken already. */
static void
begin(Settler *s, Verb verb, FunctionCallInfo fcinfo)
{
	static const char *const functions[] = {"eb.ack()", "eb.nack()", "eb.extend()"};
	const EbQueue *queue;

	if (verb == EXTEND && PG_ARGISNULL(2))
		eb_error_null("extension");
	PreventCommandIfReadOnly(functions[verb]);
	PreventCommandIfParallelMode(functions[verb]);
	queue = eb_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eb_check_view_privilege(queue->view, EB_QUEUE_RECEIVE, "queue", queue->name);
	memset(s, 0, sizeof(Settler));
	s->verb = verb;
	s->queue = *queue;
	s->delay = -1;
	s->next_visible = DT_NOEND;
	if (verb == EXTEND)
		s->delay = interval_argument(fcinfo, 2, "extension");
	else if (verb == NACK)
	{
		if (!PG_ARGISNULL(2))
			s->error = text_to_cstring(PG_GETARG_TEXT_PP(2));
		if (!PG_ARGISNULL(3))
			s->delay = interval_argument(fcinfo, 3, "delay");
	}
}

/* eb.ack, eb.nack and eb.extend of an array of receipts, and of one. */
static Datum
settle_many(FunctionCallInfo fcinfo, Verb verb)
{
	Settler		settler;
	Receipt    *receipts;
	int			n;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("receipts");
	receipts = parse_receipts(PG_GETARG_ARRAYTYPE_P(1), &n);
	begin(&settler, verb, fcinfo);
	settle(&settler, receipts, n, true);
	return_results(fcinfo, &settler, receipts, n);
	return (Datum) 0;
}

/* Was it done? */
static bool
settle_one(FunctionCallInfo fcinfo, Verb verb, Receipt *receipt)
{
	Settler		settler;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("receipt");
	memset(receipt, 0, sizeof(Receipt));
	parse_receipt(PG_GETARG_DATUM(1), receipt);
	begin(&settler, verb, fcinfo);
	settle(&settler, receipt, 1, false);
	return receipt->outcome == DONE;
}

PG_FUNCTION_INFO_V1(eb_ack);
Datum
eb_ack(PG_FUNCTION_ARGS)
{
	return settle_many(fcinfo, ACK);
}

PG_FUNCTION_INFO_V1(eb_ack_one);
Datum
eb_ack_one(PG_FUNCTION_ARGS)
{
	Receipt		receipt;

	PG_RETURN_BOOL(settle_one(fcinfo, ACK, &receipt));
}

PG_FUNCTION_INFO_V1(eb_nack);
Datum
eb_nack(PG_FUNCTION_ARGS)
{
	return settle_many(fcinfo, NACK);
}

PG_FUNCTION_INFO_V1(eb_nack_one);
Datum
eb_nack_one(PG_FUNCTION_ARGS)
{
	Receipt		receipt;

	PG_RETURN_BOOL(settle_one(fcinfo, NACK, &receipt));
}

PG_FUNCTION_INFO_V1(eb_extend);
Datum
eb_extend(PG_FUNCTION_ARGS)
{
	return settle_many(fcinfo, EXTEND);
}

PG_FUNCTION_INFO_V1(eb_extend_one);
Datum
eb_extend_one(PG_FUNCTION_ARGS)
{
	Receipt		receipt;
	char		buf[EB_RECEIPT_SIZE];

	if (!settle_one(fcinfo, EXTEND, &receipt))
		PG_RETURN_NULL();
	eb_receipt_format(buf, receipt.message_id, receipt.new_deadline);
	PG_RETURN_TEXT_P(cstring_to_text(buf));
}
