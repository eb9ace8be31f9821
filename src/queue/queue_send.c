/*-------------------------------------------------------------------------
 *
 * queue_send.c
 *	  Writing messages: send() and send_batch(), and the deliveries of the bus.
 *
 * A call buffers deliveries for any number of queues and writes them at its
 * end, queue by queue in the order of the tables' oids.  Rows go straight
 * through table and index access methods (relwriter.h); a put of a message
 * that is ready at once locks the table and its ready index and no more.
 *
 * Message ids come from the clock just before the rows are written.  That
 * they reach the index a little later than others may have moved the floor
 * past them is what lowering is for (README.md, floor claim 2).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "eb.h"
#include "errors.h"
#include "queue/queue_internal.h"
#include "relwriter.h"
#include "worker/worker.h"

#define MAX_GROUP_LENGTH	512

/* What goes to one queue; deliveries by their number in the batch. */
typedef struct QueueBatch
{
	EbQueue		queue;
	int			n;
	int			allocated;
	int		   *deliveries;
} QueueBatch;

struct EbSendBatch
{
	MemoryContext context;
	int			n;
	int			allocated;
	EbDelivery *deliveries;
	int			nqueues;
	int			queues_allocated;
	QueueBatch **queues;
	QueueBatch *last;			/* the queue of the last delivery */
	bool		context_known;
	EbMessageContext message_context;
};

EbSendBatch *
eb_send_begin(void)
{
	EbSendBatch *batch;

	PreventCommandIfReadOnly("eb.send()");
	PreventCommandIfParallelMode("eb.send()");

	batch = palloc0(sizeof(EbSendBatch));
	batch->context = CurrentMemoryContext;
	return batch;
}

static QueueBatch *
queue_batch(EbSendBatch *batch, const EbQueue *queue)
{
	QueueBatch *qb;

	if (batch->last && batch->last->queue.table == queue->table)
		return batch->last;
	for (int i = 0; i < batch->nqueues; i++)
	{
		if (batch->queues[i]->queue.table == queue->table)
			return batch->last = batch->queues[i];
	}

	if (batch->nqueues == batch->queues_allocated)
	{
		batch->queues_allocated = batch->queues_allocated ? batch->queues_allocated * 2 : 4;
		batch->queues = batch->nqueues == 0 ?
			palloc(batch->queues_allocated * sizeof(QueueBatch *)) :
			repalloc(batch->queues, batch->queues_allocated * sizeof(QueueBatch *));
	}
	qb = palloc(sizeof(QueueBatch));
	qb->queue = *queue;
	qb->n = 0;
	qb->allocated = 4;
	qb->deliveries = palloc(qb->allocated * sizeof(int));
	batch->queues[batch->nqueues++] = qb;
	return batch->last = qb;
}

/* ---- headers of messages sent directly: the session's context ---- */

static inline bool
is_set(const char *value)
{
	return value && value[0] != '\0';
}

static void
add_header(JsonbParseState **state, Jsonb *headers, const char *key, const char *value)
{
	JsonbValue	v;

	if (!is_set(value))
		return;
	if (headers && getKeyJsonValueFromContainer(&headers->root, key, strlen(key), &v))
		return;					/* the sender's own wins */
	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * The sender's headers, and from the message in process or the session what
 * they do not say about correlation, cause and trace.
 */
static Jsonb *
complete_headers(EbSendBatch *batch, Jsonb *headers)
{
	EbMessageContext *context = &batch->message_context;
	JsonbParseState *state = NULL;
	JsonbIterator *iter;
	JsonbIteratorToken token;
	JsonbValue	v;

	if (!batch->context_known)
	{
		*context = *eb_message_context();
		if (!context->correlation_id)
			context->correlation_id = eb_correlation_id;
		if (!context->causation_id)
			context->causation_id = eb_causation_id;
		if (!context->traceparent)
			context->traceparent = eb_traceparent;
		batch->context_known = true;
	}
	if (!is_set(context->correlation_id) && !is_set(context->causation_id) &&
		!is_set(context->traceparent))
		return headers;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (headers)
	{
		iter = JsonbIteratorInit(&headers->root);
		(void) JsonbIteratorNext(&iter, &v, true);	/* the object itself */
		while ((token = JsonbIteratorNext(&iter, &v, true)) != WJB_END_OBJECT)
			(void) pushJsonbValue(&state, token, &v);
	}
	add_header(&state, headers, "correlation-id", context->correlation_id);
	add_header(&state, headers, "causation-id", context->causation_id);
	add_header(&state, headers, "traceparent", context->traceparent);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Checks of what a sender may have got wrong; routed and moved messages pass. */
static void
check_direct(const EbQueue *queue, const EbDelivery *delivery)
{
	if (!delivery->body)
		eb_error_null("body");
	if (VARSIZE_ANY(delivery->body) > (Size) eb_max_entry_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("message of %zu bytes is too large for queue \"%s\"",
						(Size) VARSIZE_ANY(delivery->body), queue->name),
				 errdetail("The setting eb.max_entry_size allows %d bytes.",
						   eb_max_entry_size)));
	if (delivery->headers && !JB_ROOT_IS_OBJECT(delivery->headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers of a message must be a JSON object"),
				 errhint("Write them as {\"name\": \"value\"}.")));
	if (queue->fifo)
	{
		if (!delivery->group_id)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("queue \"%s\" is FIFO: a message needs a group", queue->name),
					 errhint("Messages of one group_id are delivered in order.")));
		if (delivery->delay >= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("queue \"%s\" is FIFO: a message cannot have a delay of its own",
							queue->name),
					 errhint("Set the delay of the queue with eb.update_queue().")));
	}
	else if (delivery->dedup_id)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue \"%s\" is not FIFO: it takes no dedup_id", queue->name)));
}

void
eb_send_add(EbSendBatch *batch, const EbQueue *queue, const EbDelivery *delivery)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	QueueBatch *qb = queue_batch(batch, queue);
	EbDelivery *d;

	if (batch->n == batch->allocated)
	{
		batch->allocated = batch->allocated ? batch->allocated * 2 : 8;
		batch->deliveries = batch->n == 0 ?
			palloc(batch->allocated * sizeof(EbDelivery)) :
			repalloc_huge(batch->deliveries, batch->allocated * sizeof(EbDelivery));
	}
	if (qb->n == qb->allocated)
	{
		qb->allocated *= 2;
		qb->deliveries = repalloc_huge(qb->deliveries, qb->allocated * sizeof(int));
	}

	qb->deliveries[qb->n++] = batch->n;
	d = &batch->deliveries[batch->n++];
	*d = *delivery;
	if (!d->event && !d->moved)
	{
		check_direct(queue, d);
		d->headers = complete_headers(batch, d->headers);
	}
	else if (queue->fifo && !d->group_id)
		d->group_id = "";		/* events without a group key: one group of
								 * their own */
	if (d->group_id && strlen(d->group_id) > MAX_GROUP_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("group of a message for queue \"%s\" is too long", queue->name),
				 errdetail("It has %zu bytes; at most %d are allowed.",
						   strlen(d->group_id), MAX_GROUP_LENGTH)));
	MemoryContextSwitchTo(old);
}

/* ---- writing ---- */

/* Which indexes a row goes to; parked and delayed rows are waiting. */
static EbIndexAction
index_wanted(EbRelWriter *writer, Oid index, int row, void *arg)
{
	const EbQueue *queue = arg;
	bool		ready = eb_relwriter_slot(writer, row)->tts_isnull[EB_DELIVERY_VISIBLE_AT - 1];

	if (index == queue->ready_index)
		return ready ? EB_INDEX_INSERT : EB_INDEX_SKIP;
	if (index == queue->waiting_index)
		return ready ? EB_INDEX_SKIP : EB_INDEX_INSERT;
	if (queue->fifo && index == queue->group_index)
		return EB_INDEX_INSERT;
	return EB_INDEX_FOREIGN;
}

static inline void
set_text(TupleTableSlot *slot, int attribute, const char *value)
{
	if (!value)
		return;
	slot->tts_values[attribute - 1] = CStringGetTextDatum(value);
	slot->tts_isnull[attribute - 1] = false;
}

#define SET(slot, attribute, value) \
	((slot)->tts_values[(attribute) - 1] = (value), \
	 (slot)->tts_isnull[(attribute) - 1] = false)

/* visible_at 0: ready at once. */
static void
fill_row(TupleTableSlot *slot, const EbDelivery *d, int64 message_id,
		 TimestampTz visible_at)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	memset(slot->tts_isnull, true, natts * sizeof(bool));
	memset(slot->tts_values, 0, natts * sizeof(Datum));

	SET(slot, EB_DELIVERY_MESSAGE_ID, Int64GetDatum(message_id));
	if (visible_at != 0)
		SET(slot, EB_DELIVERY_VISIBLE_AT, TimestampTzGetDatum(visible_at));
	if (d->event)
	{
		SET(slot, EB_DELIVERY_EVENT_ID, UUIDPGetDatum(&d->event->id));
		SET(slot, EB_DELIVERY_EVENT_TID, PointerGetDatum(&d->event->tid));
		SET(slot, EB_DELIVERY_EVENT_CLASS, Int16GetDatum(d->event->class));
	}
	if (d->target_id != 0)
		SET(slot, EB_DELIVERY_TARGET_ID, Int32GetDatum(d->target_id));
	SET(slot, EB_DELIVERY_RECEIVE_COUNT, Int32GetDatum(0));
	if (d->moved)
	{
		SET(slot, EB_DELIVERY_ENQUEUED_AT, TimestampTzGetDatum(d->moved->enqueued_at));
		SET(slot, EB_DELIVERY_ORIGINAL_ID, Int64GetDatum(d->moved->original_id));
		set_text(slot, EB_DELIVERY_SOURCE_QUEUE, d->moved->source_queue);
		set_text(slot, EB_DELIVERY_LAST_ERROR, d->moved->last_error);
	}
	set_text(slot, EB_DELIVERY_GROUP_ID, d->group_id);
	set_text(slot, EB_DELIVERY_REPLAY, d->replay);
	if (d->headers)
		SET(slot, EB_DELIVERY_HEADERS, JsonbPGetDatum(d->headers));
	if (d->body)
		SET(slot, EB_DELIVERY_BODY, JsonbPGetDatum(d->body));
}

/*
 * Write rows that have their ids and times.  One writer, so that a batch costs
 * few visits to each page; then the floors, once all entries are in.
 */
static void
write_rows(const EbQueue *queue, Relation table, EbFloorRecord *record, int n,
		   EbDelivery **deliveries, const int64 *ids, const TimestampTz *visible)
{
	EbRelWriter *writer = eb_relwriter_begin(table, index_wanted,
											 unconstify(EbQueue *, queue));
	int64		lowest[EB_QUEUE_INDEXES] = {EB_KEY_MAX, EB_KEY_MAX};

	for (int i = 0; i < n; i++)
	{
		fill_row(eb_relwriter_next(writer), deliveries[i], ids[i], visible[i]);
		if (visible[i] == 0)
			lowest[EB_READY] = Min(lowest[EB_READY], ids[i]);
		else
			lowest[EB_WAITING] = Min(lowest[EB_WAITING], visible[i]);
	}
	eb_relwriter_close(writer);

	for (int i = 0; i < EB_QUEUE_INDEXES; i++)
	{
		/* what is parked is in nobody's way, but a floor must not pass it */
		if (lowest[i] != EB_KEY_MAX)
			eb_floor_inserted(record, i, lowest[i]);
	}
	if (lowest[EB_READY] != EB_KEY_MAX)
		eb_notify_pending(queue, 0);
	if (lowest[EB_WAITING] < EB_PARKED)
		eb_notify_pending(queue, lowest[EB_WAITING]);
}

void
eb_queue_write_mark(const EbQueue *queue, Relation table, const char *group)
{
	EbDelivery	mark = {.group_id = group};
	EbDelivery *deliveries = &mark;
	int64		id = (int64) eb_clock_take(1);
	TimestampTz visible = eb_clock_now();

	write_rows(queue, table, eb_floor_announce(table), 1, &deliveries, &id, &visible);
}

static int64
delay_of(const EbQueue *queue, const EbDelivery *d)
{
	return d->delay >= 0 ? d->delay : queue->delay;
}

static void
send_to_queue(EbSendBatch *batch, QueueBatch *qb, int64 *message_ids)
{
	EbQueue    *queue = &qb->queue;
	Relation	table = eb_queue_open(queue, RowExclusiveLock);
	int			n = qb->n;
	EbDelivery **deliveries = palloc(n * sizeof(EbDelivery *));
	int64	   *ids = palloc(n * sizeof(int64));
	TimestampTz *visible = palloc0(n * sizeof(TimestampTz));
	TimestampTz now = 0;
	EbFloorRecord *record;
	EbFifoSend *fifo = NULL;
	EbTick		tick;

	for (int i = 0; i < n; i++)
		deliveries[i] = &batch->deliveries[qb->deliveries[i]];
	if (queue->fifo)
		fifo = eb_fifo_send_lock(queue, table, n, deliveries);

	/* ids go on from where they were before a crash: FIFO order is theirs */
	eb_log_adopt_mark();
	tick = eb_clock_take(n);
	for (int i = 0; i < n; i++)
	{
		int64		delay = delay_of(queue, deliveries[i]);

		ids[i] = deliveries[i]->message_id != 0 && !fifo ?
			deliveries[i]->message_id : (int64) tick;
		tick = eb_tick_next(tick);
		if (delay > 0)
		{
			if (now == 0)
				now = eb_clock_now();
			visible[i] = now + delay;
		}
	}
	eb_log_mark_ids(tick);

	/*
	 * a duplicate gets the first message's id, and its delivery leaves the
	 * list
	 */
	if (fifo)
		n = eb_fifo_send_dedup(fifo, n, deliveries, ids, visible);
	if (message_ids)
	{
		for (int i = 0; i < qb->n; i++)
			message_ids[qb->deliveries[i]] = fifo ? eb_fifo_send_id(fifo, i) : ids[i];
	}
	if (n == 0)
	{
		table_close(table, NoLock);
		return;
	}

	record = eb_floor_announce(table);
	if (fifo)
		eb_fifo_send_park(fifo, n, deliveries, ids, visible);
	write_rows(queue, table, record, n, deliveries, ids, visible);
	eb_floor_count(record, EB_COUNT_SENT, n);
	if (fifo)
		eb_fifo_send_unlock(fifo);
	table_close(table, NoLock);
}

static int
compare_tables(const void *a, const void *b)
{
	Oid			x = (*(QueueBatch *const *) a)->queue.table;
	Oid			y = (*(QueueBatch *const *) b)->queue.table;

	return x < y ? -1 : x > y;
}

void
eb_send_finish(EbSendBatch *batch, int64 *message_ids)
{
	if (batch->nqueues > 1)
		qsort(batch->queues, batch->nqueues, sizeof(QueueBatch *), compare_tables);
	for (int i = 0; i < batch->nqueues; i++)
		send_to_queue(batch, batch->queues[i], message_ids);

	/* so that what follows in this statement sees the messages, too */
	if (batch->n > 0)
		CommandCounterIncrement();
}

/* ---- SQL ---- */

static const EbQueue *
lookup_for_sending(text *name)
{
	const EbQueue *queue = eb_queue_lookup(text_to_cstring(name), false);

	eb_check_view_privilege(queue->view, EB_QUEUE_SEND, "queue", queue->name);
	return queue;
}

/* Microseconds of a delay that somebody gave; -1 for null. */
static int64
delay_argument(const Interval *delay)
{
	int64		result;

	if (!delay)
		return -1;
	if (!eb_interval_microseconds(delay, &result) || result < 0 ||
		result > EB_MAX_DELAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delay \"%s\" is out of range",
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(delay)))),
				 errdetail("It can be from 0 to 1 year.")));
	return result;
}

PG_FUNCTION_INFO_V1(eb_send);
Datum
eb_send(PG_FUNCTION_ARGS)
{
	EbDelivery	delivery = {0};
	EbSendBatch *batch;
	const EbQueue *queue;
	int64		message_id;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("body");
	queue = lookup_for_sending(PG_GETARG_TEXT_PP(0));
	delivery.body = PG_GETARG_JSONB_P(1);
	delivery.delay = delay_argument(PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2));
	if (!PG_ARGISNULL(3))
		delivery.group_id = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		delivery.headers = PG_GETARG_JSONB_P(4);
	if (!PG_ARGISNULL(5))
		delivery.dedup_id = text_to_cstring(PG_GETARG_TEXT_PP(5));

	batch = eb_send_begin();
	eb_send_add(batch, queue, &delivery);
	eb_send_finish(batch, &message_id);
	PG_RETURN_INT64(message_id);
}

/* An array argument taken apart; n 0 and no elements for null. */
typedef struct ArrayArgument
{
	bool		given;
	int			n;
	Datum	   *elements;
	bool	   *nulls;
} ArrayArgument;

static ArrayArgument
array_argument(FunctionCallInfo fcinfo, int argno, Oid type, int16 length,
			   bool byval, char align)
{
	ArrayArgument result = {0};

	if (PG_ARGISNULL(argno))
		return result;
	result.given = true;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argno), type, length, byval, align,
					  &result.elements, &result.nulls, &result.n);
	return result;
}

static void
check_length(const ArrayArgument *array, const char *name, int n)
{
	if (array->given && array->n != n)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array \"%s\" has %d elements for %d bodies", name, array->n, n),
				 errhint("Give one element for each body; null elements stand for the default.")));
}

static inline bool
has_element(const ArrayArgument *array, int i)
{
	return array->given && !array->nulls[i];
}

static void
return_ids(FunctionCallInfo fcinfo, const int64 *ids, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum		value = Int64GetDatum(ids[i]);
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
}

/* CONTEXT of errors: which message of a batch it is about. */
static void
name_message(void *number)
{
	errcontext("message %d of the batch", *(int *) number);
}

static void
begin_naming(ErrorContextCallback *callback, int *number)
{
	callback->callback = name_message;
	callback->arg = number;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

PG_FUNCTION_INFO_V1(eb_send_batch);
Datum
eb_send_batch(PG_FUNCTION_ARGS)
{
	ArrayArgument bodies,
				delays,
				groups,
				headers,
				dedup_ids;
	EbSendBatch *batch;
	const EbQueue *queue;
	int64	   *ids;
	ErrorContextCallback naming;
	int			number = 0;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("bodies");
	queue = lookup_for_sending(PG_GETARG_TEXT_PP(0));
	bodies = array_argument(fcinfo, 1, JSONBOID, -1, false, TYPALIGN_INT);
	delays = array_argument(fcinfo, 2, INTERVALOID, sizeof(Interval), false, TYPALIGN_DOUBLE);
	groups = array_argument(fcinfo, 3, TEXTOID, -1, false, TYPALIGN_INT);
	headers = array_argument(fcinfo, 4, JSONBOID, -1, false, TYPALIGN_INT);
	dedup_ids = array_argument(fcinfo, 5, TEXTOID, -1, false, TYPALIGN_INT);
	check_length(&delays, "delays", bodies.n);
	check_length(&groups, "groups", bodies.n);
	check_length(&headers, "headers", bodies.n);
	check_length(&dedup_ids, "dedup_ids", bodies.n);

	ids = palloc(Max(bodies.n, 1) * sizeof(int64));
	batch = eb_send_begin();
	begin_naming(&naming, &number);
	for (int i = 0; i < bodies.n; i++)
	{
		EbDelivery	d = {0};

		number = i + 1;
		if (bodies.nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("body %d of the batch is null", number)));
		d.body = DatumGetJsonbP(bodies.elements[i]);
		d.delay = delay_argument(has_element(&delays, i) ?
								 DatumGetIntervalP(delays.elements[i]) : NULL);
		if (has_element(&groups, i))
			d.group_id = TextDatumGetCString(groups.elements[i]);
		if (has_element(&headers, i))
			d.headers = DatumGetJsonbP(headers.elements[i]);
		if (has_element(&dedup_ids, i))
			d.dedup_id = TextDatumGetCString(dedup_ids.elements[i]);
		eb_send_add(batch, queue, &d);
	}
	error_context_stack = naming.previous;
	eb_send_finish(batch, ids);
	return_ids(fcinfo, ids, bodies.n);
	return (Datum) 0;
}

/* ---- send_batch(queue, messages jsonb) ---- */

static void
message_error(int number, const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("message %d: \"%s\" must be %s", number, key, expected)));
}

static char *
string_value(const JsonbValue *value, int number, const char *key)
{
	if (value->type != jbvString)
		message_error(number, key, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* Seconds, or an interval in words. */
static int64
delay_value(const JsonbValue *value, int number)
{
	Datum		interval;

	if (value->type == jbvString)
		interval = DirectFunctionCall3(interval_in,
									   CStringGetDatum(string_value(value, number, "delay")),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	else if (value->type == jbvNumeric)
		interval = DirectFunctionCall3(interval_in,
									   CStringGetDatum(psprintf("%s seconds",
																DatumGetCString(DirectFunctionCall1(numeric_out,
																									NumericGetDatum(value->val.numeric))))),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	else
		message_error(number, "delay", "a number of seconds or an interval");
	return delay_argument(DatumGetIntervalP(interval));
}

/* One object {body, delay, group_id, headers, dedup_id}; nulls are defaults. */
static void
read_message(JsonbContainer *object, int number, EbDelivery *d)
{
	JsonbIterator *iter = JsonbIteratorInit(object);
	JsonbValue	key,
				value;

	d->delay = -1;
	(void) JsonbIteratorNext(&iter, &key, true);
	while (JsonbIteratorNext(&iter, &key, true) == WJB_KEY)
	{
		char	   *name = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&iter, &value, true);
		if (strcmp(name, "body") == 0)
			d->body = eb_jsonb_from_value(&value);
		else if (value.type == jbvNull)
			continue;
		else if (strcmp(name, "delay") == 0)
			d->delay = delay_value(&value, number);
		else if (strcmp(name, "group_id") == 0)
			d->group_id = string_value(&value, number, name);
		else if (strcmp(name, "dedup_id") == 0)
			d->dedup_id = string_value(&value, number, name);
		else if (strcmp(name, "headers") == 0)
			d->headers = eb_jsonb_from_value(&value);
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("message %d has the unexpected key \"%s\"", number, name),
					 errhint("A message is an object of body, delay, group_id, headers and dedup_id.")));
	}
	if (!d->body)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("message %d has no body", number)));
}

PG_FUNCTION_INFO_V1(eb_send_messages);
Datum
eb_send_messages(PG_FUNCTION_ARGS)
{
	Jsonb	   *messages;
	JsonbIterator *iter;
	JsonbValue	value;
	EbSendBatch *batch;
	const EbQueue *queue;
	int64	   *ids;
	ErrorContextCallback naming;
	int			n = 0;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("messages");
	queue = lookup_for_sending(PG_GETARG_TEXT_PP(0));
	messages = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_ARRAY(messages) || JB_ROOT_IS_SCALAR(messages))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("messages must be a JSON array of objects")));

	ids = palloc(Max(JB_ROOT_COUNT(messages), 1) * sizeof(int64));
	batch = eb_send_begin();
	iter = JsonbIteratorInit(&messages->root);
	(void) JsonbIteratorNext(&iter, &value, true);
	begin_naming(&naming, &n);
	while (JsonbIteratorNext(&iter, &value, true) == WJB_ELEM)
	{
		EbDelivery	d = {0};

		n++;
		if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("message %d is not a JSON object", n)));
		read_message(value.val.binary.data, n, &d);
		eb_send_add(batch, queue, &d);
	}
	error_context_stack = naming.previous;
	eb_send_finish(batch, ids);
	return_ids(fcinfo, ids, n);
	return (Datum) 0;
}
