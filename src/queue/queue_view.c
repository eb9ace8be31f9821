/*-------------------------------------------------------------------------
 *
 * queue_view.c
 *	  The view of a queue: peek by SELECT, send by INSERT and COPY.
 *
 * eb.queue_<name> carries the privileges of a queue.  It shows messages as
 * they would be delivered.
 *
 * An INSTEAD OF trigger takes each row and buffers it; an AFTER STATEMENT
 * trigger writes what is buffered, so that COPY and multi-row INSERT cost
 * what send_batch() costs.  Message ids of standard queues are taken when the
 * row comes in, for RETURNING.  FIFO queues take ids under their groups' locks,
 * and these must be taken in one order: row by row, two statements that send
 * to the same groups in different order would wait for each other for ever.
 * So there RETURNING has no id to tell.
 *
 * Buffers belong to a view and a subtransaction: a statement that runs inside
 * of another one on the same view (a function in its SELECT) may flush the
 * outer one's rows early, but a subtransaction that is rolled back must not
 * take them with it.  They live in the subtransaction's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "errors.h"
#include "queue/queue_internal.h"

#define BUFFER_ROWS		1000
#define BUFFER_BYTES	(4 * 1024 * 1024)

/* FIFO: each flush begins anew with the lowest lock, so as few as possible. */
#define FIFO_BUFFER_ROWS	100000
#define FIFO_BUFFER_BYTES	(64 * 1024 * 1024)

/* Columns of the view that a sender fills. */
typedef enum InsertColumn
{
	BODY,
	DELAY,
	GROUP_ID,
	HEADERS,
	DEDUP_ID,
	INSERT_COLUMNS
}			InsertColumn;

static const char *const insert_columns[INSERT_COLUMNS] = {
	"body", "delay", "group_id", "headers", "dedup_id"
};

typedef struct ViewBuffer
{
	Oid			view;
	SubTransactionId subid;
	EbQueue		queue;
	int			attnos[INSERT_COLUMNS];
	AttrNumber	message_id_attno;
	AttrNumber	enqueued_at_attno;
	AttrNumber	state_attno;
	MemoryContext context;		/* this struct and all below */
	MemoryContext rows;			/* batch and what its rows point to; reset by
								 * a flush */
	EbSendBatch *batch;			/* NULL: empty */
	int			nrows;
	Size		nbytes;
	struct ViewBuffer *next;
} ViewBuffer;

static ViewBuffer *buffers = NULL;

/*
 * Without the triggers on UPDATE and DELETE the view would be updatable by
 * itself, and write the table as its owner.  The statement trigger makes a
 * statement that finds no row fail as well.
 */
void
eb_queue_view_create(const char *name)
{
	const char *view = quote_identifier(psprintf("queue_%s", name));

	eb_sql_execute("CREATE VIEW eb.%s AS SELECT d.message_id, "
				   "CASE WHEN d.visible_at IS NULL THEN 'ready' "
				   "WHEN d.visible_at = 'infinity' THEN 'parked' "
				   "WHEN d.visible_at <= eb.clock() THEN 'ready' "
				   "WHEN d.lease_pid IS NOT NULL THEN 'in flight' "
				   "ELSE 'delayed' END AS state, "
				   "coalesce(d.enqueued_at, eb.message_time(d.message_id)) AS enqueued_at, "
				   "d.visible_at, d.receive_count, d.first_received_at, d.group_id, d.event_id, "
				   "coalesce(d.body, eb.queue_event_body(%s, d.ctid)) AS body, "
				   "CASE WHEN d.event_id IS NULL OR d.headers IS NOT NULL THEN d.headers "
				   "ELSE eb.queue_event_headers(%s, d.ctid) END AS headers, "
				   "d.source_queue, d.original_id, d.last_error, d.replay, "
				   "NULL::interval AS delay, NULL::text AS dedup_id "
				   "FROM eb.%s d WHERE d.event_id IS NOT NULL OR d.body IS NOT NULL",
				   view, quote_literal_cstr(name), quote_literal_cstr(name),
				   quote_identifier(psprintf("q_%s", name)));
	eb_sql_execute("CREATE TRIGGER send_row INSTEAD OF INSERT ON eb.%s "
				   "FOR EACH ROW EXECUTE FUNCTION eb.queue_view_insert()", view);
	eb_sql_execute("CREATE TRIGGER send AFTER INSERT ON eb.%s "
				   "FOR EACH STATEMENT EXECUTE FUNCTION eb.queue_view_flush()", view);
	eb_sql_execute("CREATE TRIGGER refuse_row INSTEAD OF UPDATE OR DELETE ON eb.%s "
				   "FOR EACH ROW EXECUTE FUNCTION eb.queue_view_refuse()", view);
	eb_sql_execute("CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON eb.%s "
				   "FOR EACH STATEMENT EXECUTE FUNCTION eb.queue_view_refuse()", view);
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", function)));
	return (TriggerData *) fcinfo->context;
}

PG_FUNCTION_INFO_V1(eb_queue_view_refuse);

Datum
eb_queue_view_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, "eb.queue_view_refuse");
	bool		update;

	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s view \"%s\"", update ? "update" : "delete from",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("Its rows are the messages of a queue."),
			 errhint("Take messages with eb.receive() and settle them with eb.ack() or eb.nack(), or take them for good with eb.consume() or eb.purge().")));
	return (Datum) 0;			/* keep compiler quiet */
}

/* ------------------------------------------------------------------ */
/* Send by INSERT                                                     */
/* ------------------------------------------------------------------ */

/*
 * Anybody may hang a trigger on a view of his own; the queue is only what
 * eb.queues says of this very view.
 */
static const EbQueue *
queue_of_view(Relation view)
{
	const char *name = RelationGetRelationName(view);
	const EbQueue *queue = NULL;

	if (strncmp(name, "queue_", strlen("queue_")) == 0)
		queue = eb_queue_lookup(name + strlen("queue_"), true);
	if (queue == NULL || queue->view != RelationGetRelid(view))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"%s\" is not the view of a queue", name)));
	return queue;
}

static AttrNumber
view_column(Relation view, const char *name)
{
	AttrNumber	attno = SPI_fnumber(RelationGetDescr(view), name);

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("view \"%s\" has no column \"%s\"",
						RelationGetRelationName(view), name)));
	return attno;
}

static ViewBuffer **
find_buffer(Oid view)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	ViewBuffer **place = &buffers;

	while (*place != NULL && ((*place)->view != view || (*place)->subid != subid))
		place = &(*place)->next;
	return place;
}

static ViewBuffer *
make_buffer(Relation view)
{
	const EbQueue *queue = queue_of_view(view);
	MemoryContext context = AllocSetContextCreate(CurTransactionContext,
												  "eb rows for a queue",
												  ALLOCSET_SMALL_SIZES);
	ViewBuffer *buffer = MemoryContextAllocZero(context, sizeof(ViewBuffer));

	buffer->view = RelationGetRelid(view);
	buffer->subid = GetCurrentSubTransactionId();
	buffer->queue = *queue;
	buffer->context = context;
	buffer->rows = AllocSetContextCreate(context, "eb buffered rows",
										 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < INSERT_COLUMNS; i++)
		buffer->attnos[i] = view_column(view, insert_columns[i]);
	buffer->message_id_attno = view_column(view, "message_id");
	buffer->enqueued_at_attno = view_column(view, "enqueued_at");
	buffer->state_attno = view_column(view, "state");
	buffer->next = buffers;
	buffers = buffer;
	return buffer;
}

static void
flush_buffer(ViewBuffer *buffer)
{
	MemoryContext old;
	EbSendBatch *batch = buffer->batch;

	buffer->batch = NULL;
	old = MemoryContextSwitchTo(buffer->rows);
	eb_send_finish(batch, NULL);
	MemoryContextSwitchTo(old);
	MemoryContextReset(buffer->rows);
	buffer->nrows = 0;
	buffer->nbytes = 0;
}

static bool
buffer_is_full(ViewBuffer *buffer)
{
	if (buffer->queue.fifo)
		return buffer->nrows >= FIFO_BUFFER_ROWS || buffer->nbytes >= FIFO_BUFFER_BYTES;
	return buffer->nrows >= BUFFER_ROWS || buffer->nbytes >= BUFFER_BYTES;
}

/* What the sender must leave to us. */
static void
refuse_other_columns(ViewBuffer *buffer, Relation view, const bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(view);

	for (int i = 0; i < desc->natts; i++)
	{
		bool		sender = false;

		for (int j = 0; j < INSERT_COLUMNS; j++)
			sender = sender || buffer->attnos[j] == i + 1;
		if (!sender && !isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot insert into column \"%s\" of view \"%s\"",
							NameStr(TupleDescAttr(desc, i)->attname),
							RelationGetRelationName(view)),
					 errdetail("A sender gives body, delay, group_id, headers and dedup_id.")));
	}
}

/* Copied into the buffer's rows. */
static void
fill_delivery(ViewBuffer *buffer, EbDelivery *delivery, const Datum *values,
			  const bool *isnull)
{
#define GIVEN(column) (!isnull[buffer->attnos[column] - 1])
#define VALUE(column) (values[buffer->attnos[column] - 1])
	MemoryContext old = MemoryContextSwitchTo(buffer->rows);

	memset(delivery, 0, sizeof(EbDelivery));
	if (GIVEN(BODY))
	{
		delivery->body = DatumGetJsonbPCopy(VALUE(BODY));
		buffer->nbytes += VARSIZE(delivery->body);
	}
	if (GIVEN(HEADERS))
	{
		delivery->headers = DatumGetJsonbPCopy(VALUE(HEADERS));
		buffer->nbytes += VARSIZE(delivery->headers);
	}
	if (GIVEN(GROUP_ID))
		delivery->group_id = TextDatumGetCString(VALUE(GROUP_ID));
	if (GIVEN(DEDUP_ID))
		delivery->dedup_id = TextDatumGetCString(VALUE(DEDUP_ID));
	delivery->delay = GIVEN(DELAY) ?
		eb_delay_microseconds(DatumGetIntervalP(VALUE(DELAY))) : -1;
	MemoryContextSwitchTo(old);
#undef GIVEN
#undef VALUE
}

PG_FUNCTION_INFO_V1(eb_queue_view_insert);

Datum
eb_queue_view_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, "eb.queue_view_insert");
	Relation	view = trigger->tg_relation;
	TupleDesc	desc = RelationGetDescr(view);
	ViewBuffer *buffer = *find_buffer(RelationGetRelid(view));
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *isnull = palloc(desc->natts * sizeof(bool));
	EbDelivery	delivery;
	MemoryContext old;
	int64		delay;

	if (buffer == NULL)
		buffer = make_buffer(view);
	heap_deform_tuple(trigger->tg_trigtuple, desc, values, isnull);
	refuse_other_columns(buffer, view, isnull);
	fill_delivery(buffer, &delivery, values, isnull);
	if (!buffer->queue.fifo)
		delivery.message_id = (int64) eb_clock_take(1);

	old = MemoryContextSwitchTo(buffer->rows);
	if (buffer->batch == NULL)
		buffer->batch = eb_send_begin();
	eb_send_add(buffer->batch, &buffer->queue, &delivery);
	MemoryContextSwitchTo(old);
	buffer->nrows++;
	if (buffer_is_full(buffer))
		flush_buffer(buffer);

	/* for RETURNING */
	if (!buffer->queue.fifo)
	{
		delay = delivery.delay >= 0 ? delivery.delay : buffer->queue.delay;
#define SET(attno, value) (values[(attno) - 1] = (value), isnull[(attno) - 1] = false)
		SET(buffer->message_id_attno, Int64GetDatum(delivery.message_id));
		SET(buffer->enqueued_at_attno,
			TimestampTzGetDatum(eb_tick_time((EbTick) delivery.message_id)));
		SET(buffer->state_attno, CStringGetTextDatum(delay > 0 ? "delayed" : "ready"));
#undef SET
	}
	return PointerGetDatum(heap_form_tuple(desc, values, isnull));
}

PG_FUNCTION_INFO_V1(eb_queue_view_flush);

Datum
eb_queue_view_flush(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, "eb.queue_view_flush");
	ViewBuffer **place = find_buffer(RelationGetRelid(trigger->tg_relation));
	ViewBuffer *buffer = *place;

	if (buffer != NULL)
	{
		if (buffer->batch != NULL)
			flush_buffer(buffer);
		*find_buffer(buffer->view) = buffer->next;
		MemoryContextDelete(buffer->context);
	}
	return PointerGetDatum(NULL);
}

void
eb_queue_view_at_xact_end(void)
{
	/* the memory goes with the transaction */
	buffers = NULL;
}

/* A statement ends in the subtransaction that it began in, or fails with it. */
void
eb_queue_view_at_subxact(SubXactEvent event, SubTransactionId mine,
						 SubTransactionId parent)
{
	ViewBuffer **place = &buffers;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*place != NULL)
	{
		if ((*place)->subid == mine)
			*place = (*place)->next;
		else
			place = &(*place)->next;
	}
}

/* ------------------------------------------------------------------ */
/* What the view shows of a routed message's event                    */
/* ------------------------------------------------------------------ */

/*
 * The event of the row at tid.  Functions in a view run as the reader, and
 * whoever may call them may call them by hand, with any tid; so the row must
 * be one that a SELECT on the view would show him.  False: no row, or one
 * without an event.  *found: the log still has the event.
 */
static bool
event_of_row(FunctionCallInfo fcinfo, EbEventPointer *pointer, EbEvent *event,
			 bool *found, char **replay)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ItemPointer tid = (ItemPointer) PG_GETARG_POINTER(1);
	EbQueue		queue = *eb_queue_lookup(name, false);
	Relation	table;
	TupleTableSlot *slot;
	bool		routed = false;

	eb_check_view_privilege(queue.view, EB_QUEUE_PEEK, "queue", name);
	table = eb_queue_open(&queue, AccessShareLock);
	slot = table_slot_create(table, NULL);
	if (ItemPointerIsValid(tid) &&
		ItemPointerGetBlockNumber(tid) < RelationGetNumberOfBlocks(table) &&
		table_tuple_fetch_row_version(table, tid, GetActiveSnapshot(), slot))
	{
		slot_getallattrs(slot);
		routed = eb_queue_event_pointer(slot, pointer);
		if (!slot->tts_isnull[EB_DELIVERY_REPLAY - 1])
			*replay = TextDatumGetCString(slot->tts_values[EB_DELIVERY_REPLAY - 1]);
		if (routed)
		{
			EbLogReader *reader = eb_log_reader_open();

			eb_log_fetch(reader, 1, pointer, event, found);
			eb_log_reader_close(reader);
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(table, AccessShareLock);
	return routed;
}

PG_FUNCTION_INFO_V1(eb_queue_event_body);

Datum
eb_queue_event_body(PG_FUNCTION_ARGS)
{
	EbEventPointer pointer;
	EbEvent		event = {0};
	bool		found;
	char	   *replay = NULL;

	if (!event_of_row(fcinfo, &pointer, &event, &found, &replay))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(eb_queue_event_envelope(&pointer, &event, found, replay));
}

PG_FUNCTION_INFO_V1(eb_queue_event_headers);

Datum
eb_queue_event_headers(PG_FUNCTION_ARGS)
{
	EbEventPointer pointer;
	EbEvent		event = {0};
	bool		found;
	char	   *replay = NULL;

	if (!event_of_row(fcinfo, &pointer, &event, &found, &replay) || !found ||
		event.headers == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(event.headers);
}

PG_FUNCTION_INFO_V1(eb_clock);

Datum
eb_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(eb_clock_now());
}

/* ------------------------------------------------------------------ */
/* Peek                                                               */
/* ------------------------------------------------------------------ */

/* Returns how many are still wanted. */
static int
peek_index(EbMessages *messages, const EbQueue *queue, Relation table,
		   EbQueueIndex which, int64 upto, int max)
{
	EbQueueScan scan;

	if (max == 0)
		return 0;
	eb_queue_scan_begin(&scan, table,
						which == EB_READY ? queue->ready_index : queue->waiting_index,
						which, upto, false);
	while (max > 0 && eb_queue_scan_next(&scan))
	{
		slot_getallattrs(scan.slot);
		if (EB_ROW_IS_MARK(scan.slot->tts_isnull))
			continue;
		eb_messages_add(messages, scan.slot, NULL);
		max--;
	}
	eb_queue_scan_end(&scan);
	return max;
}

PG_FUNCTION_INFO_V1(eb_peek);

Datum
eb_peek(PG_FUNCTION_ARGS)
{
	EbQueue		queue;
	Relation	table;
	EbMessages *messages;
	int			max;

	if (PG_ARGISNULL(0))
		eb_error_null("queue");
	if (PG_ARGISNULL(1))
		eb_error_null("max");
	max = PG_GETARG_INT32(1);
	if (max < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max must be at least 1")));
	queue = *eb_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eb_check_view_privilege(queue.view, EB_QUEUE_PEEK, "queue", queue.name);

	table = eb_queue_open(&queue, AccessShareLock);
	messages = eb_messages_begin(fcinfo, &queue);
	max = peek_index(messages, &queue, table, EB_WAITING, eb_clock_now(), max);
	(void) peek_index(messages, &queue, table, EB_READY, EB_KEY_MAX, max);
	eb_messages_end(messages, false);
	table_close(table, NoLock);
	return (Datum) 0;
}
