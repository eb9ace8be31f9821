/*-------------------------------------------------------------------------
 *
 * queue_message.c
 *	  Rows of queues as eb.message, the way receive, consume and peek hand
 *	  them out.
 *
 * A message goes into the result set at once, with its own body or with its
 * event's, which is read from the page where the pointer says that it lies.
 * If it is not there (VACUUM FULL, CLUSTER or a restore moves rows), the
 * message waits, as a copy of its row, until enough are together for one look
 * into the log by id; so do all that come behind it, for the order's sake.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "keptmem.h"
#include "queue/queue_internal.h"

#define CHUNK_ROWS 256

/* Columns of eb.message. */
enum
{
	MESSAGE_ID,
	RECEIPT,
	QUEUE,
	EVENT_ID,
	BODY,
	HEADERS,
	GROUP_ID,
	ENQUEUED_AT,
	RECEIVE_COUNT,
	FIRST_RECEIVED_AT,
	CORRELATION_ID,
	CAUSATION_ID,
	TRACEPARENT,
	REPLAY,
	SOURCE_QUEUE,
	LAST_ERROR,
	MESSAGE_COLUMNS
};

typedef struct Pending
{
	HeapTuple	tuple;
	const char *receipt;
	bool		has_event;		/* its pointer is among those to fetch */
} Pending;

struct EbMessages
{
	const EbQueue *queue;
	Datum		queue_name;
	Tuplestorestate *store;
	TupleDesc	desc;
	TupleDesc	row_desc;		/* of the queue's table */
	EbLogReader *reader;
	MemoryContext chunk;		/* one message's event and envelope, or all
								 * that is pending */
	int			npending;
	int			nevents;
	int			total;			/* written */
	Pending    *pending;		/* CHUNK_ROWS of them, in chunk */
	EbEventPointer *pointers;	/* of those that have an event, in chunk */
	EbMessageContext context;	/* of the first message */
};

EbMessages *
eb_messages_begin(FunctionCallInfo fcinfo, const EbQueue *queue)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbMessages *messages = palloc(sizeof(EbMessages));

	eb_kept_results(fcinfo);
	if (rsinfo->setDesc->natts != MESSAGE_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("type eb.message has %d columns where the library knows %d",
						rsinfo->setDesc->natts, MESSAGE_COLUMNS),
				 errhint("Update the extension, or restart the server after a new library was installed.")));
	messages->queue = queue;
	messages->queue_name = CStringGetTextDatum(queue->name);
	messages->store = rsinfo->setResult;
	messages->desc = rsinfo->setDesc;
	messages->row_desc = NULL;
	messages->reader = NULL;
	messages->chunk = NULL;
	messages->npending = 0;
	messages->nevents = 0;
	messages->total = 0;
	memset(&messages->context, 0, sizeof(EbMessageContext));
	return messages;
}

/* A text value of a jsonb object as a datum, or 0. */
static Datum
header_text(Jsonb *headers, const char *key)
{
	JsonbValue	buf;
	JsonbValue *value = getKeyJsonValueFromContainer(&headers->root, key,
													 strlen(key), &buf);

	if (!value || value->type != jbvString)
		return (Datum) 0;
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
													value->val.string.len));
}

static inline void
set(Datum *values, bool *isnull, int column, Datum value)
{
	values[column] = value;
	isnull[column] = value == (Datum) 0;
}

static inline Datum
text_or_null(const char *string)
{
	return string ? CStringGetTextDatum(string) : (Datum) 0;
}

/* The row may be gone before the result is read: nothing of it stays in TOAST. */
static Datum
take_out(Datum value)
{
	struct varlena *attribute = (struct varlena *) DatumGetPointer(value);

	return VARATT_IS_EXTERNAL(attribute) ?
		PointerGetDatum(detoast_external_attr(attribute)) : value;
}

/* What the first message means to events that are put while it is processed. */
static void
remember(EbMessages *messages, const Datum *values, const bool *isnull,
		 const EbEvent *event)
{
	EbMessageContext *context = &messages->context;
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(messages));

	if (!isnull[EVENT_ID])
		context->causation_id = DatumGetCString(DirectFunctionCall1(uuid_out, values[EVENT_ID]));
	context->correlation_id = isnull[CORRELATION_ID] ? context->causation_id :
		TextDatumGetCString(values[CORRELATION_ID]);
	if (!isnull[TRACEPARENT])
		context->traceparent = TextDatumGetCString(values[TRACEPARENT]);
	context->hops = event ? event->hops : 0;
	MemoryContextSwitchTo(old);
}

/*
 * Write one message.  row and null are those of the queue's row; event is NULL
 * for a message of its own (which has a body, unless somebody wrote the row by
 * hand), found tells whether it is still in the log.
 */
static void
put(EbMessages *messages, const Datum *row, const bool *null,
	const char *receipt, const EbEvent *event, bool found)
{
	Datum		values[MESSAGE_COLUMNS];
	bool		isnull[MESSAGE_COLUMNS];
	int64		message_id = DatumGetInt64(row[EB_DELIVERY_MESSAGE_ID - 1]);
	EbEvent		replayed;

#define COPY(column, attribute) \
	(values[column] = row[(attribute) - 1], isnull[column] = null[(attribute) - 1])

	memset(isnull, true, sizeof(isnull));
	values[MESSAGE_ID] = Int64GetDatum(message_id);
	isnull[MESSAGE_ID] = false;
	set(values, isnull, RECEIPT, text_or_null(receipt));
	values[QUEUE] = messages->queue_name;
	isnull[QUEUE] = false;
	COPY(EVENT_ID, EB_DELIVERY_EVENT_ID);
	COPY(BODY, EB_DELIVERY_BODY);
	COPY(HEADERS, EB_DELIVERY_HEADERS);
	COPY(GROUP_ID, EB_DELIVERY_GROUP_ID);
	COPY(ENQUEUED_AT, EB_DELIVERY_ENQUEUED_AT);
	COPY(RECEIVE_COUNT, EB_DELIVERY_RECEIVE_COUNT);
	COPY(FIRST_RECEIVED_AT, EB_DELIVERY_FIRST_RECEIVED_AT);
	COPY(REPLAY, EB_DELIVERY_REPLAY);
	COPY(SOURCE_QUEUE, EB_DELIVERY_SOURCE_QUEUE);
	COPY(LAST_ERROR, EB_DELIVERY_LAST_ERROR);

	if (isnull[ENQUEUED_AT])
	{
		values[ENQUEUED_AT] = TimestampTzGetDatum(eb_tick_time((EbTick) message_id));
		isnull[ENQUEUED_AT] = false;
	}
	if (event && found)
	{
		if (isnull[HEADERS])
			set(values, isnull, HEADERS, PointerGetDatum(event->headers));
		else
			values[HEADERS] = take_out(values[HEADERS]);
		set(values, isnull, CORRELATION_ID, text_or_null(event->correlation_id));
		set(values, isnull, CAUSATION_ID, text_or_null(event->causation_id));
		set(values, isnull, TRACEPARENT, text_or_null(event->traceparent));
	}
	else if (!isnull[HEADERS])
	{
		Jsonb	   *headers = DatumGetJsonbP(values[HEADERS]);

		values[HEADERS] = JsonbPGetDatum(headers);
		if (JB_ROOT_IS_OBJECT(headers))
		{
			set(values, isnull, CORRELATION_ID, header_text(headers, "correlation-id"));
			set(values, isnull, CAUSATION_ID, header_text(headers, "causation-id"));
			set(values, isnull, TRACEPARENT, header_text(headers, "traceparent"));
		}
	}

	if (isnull[BODY] && event)
	{
		if (!isnull[REPLAY])
		{
			replayed = *event;
			replayed.replay = TextDatumGetCString(values[REPLAY]);
			event = &replayed;
		}
		values[BODY] = JsonbPGetDatum(eb_log_envelope(event, !found));
		isnull[BODY] = false;
	}
	else if (!isnull[BODY])
		values[BODY] = take_out(values[BODY]);
	if (!isnull[LAST_ERROR])
		values[LAST_ERROR] = take_out(values[LAST_ERROR]);
#undef COPY

	tuplestore_putvalues(messages->store, messages->desc, values, isnull);
	if (messages->total++ == 0)
		remember(messages, values, isnull, event);
}

static EbLogReader *
reader(EbMessages *messages)
{
	if (!messages->reader)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(messages));

		messages->reader = eb_log_reader_open();
		MemoryContextSwitchTo(old);
	}
	return messages->reader;
}

/* Write a message whose event, if it has one, is where its pointer says. */
static bool
put_at_once(EbMessages *messages, TupleTableSlot *row, const char *receipt,
			const EbEventPointer *pointer)
{
	EbEvent		event;
	bool		there = true;

	if (pointer)
		there = eb_log_peek(reader(messages), pointer, &event);
	if (there)
		put(messages, row->tts_values, row->tts_isnull, receipt,
			pointer ? &event : NULL, pointer != NULL);
	return there;
}

/* Keep a copy of the row until its event has been looked for. */
static void
keep(EbMessages *messages, TupleTableSlot *row, const char *receipt,
	 const EbEventPointer *pointer)
{
	Pending    *pending;

	if (messages->npending == 0)
	{
		messages->pending = palloc(CHUNK_ROWS * sizeof(Pending));
		messages->pointers = palloc(CHUNK_ROWS * sizeof(EbEventPointer));
	}
	pending = &messages->pending[messages->npending++];
	pending->tuple = ExecCopySlotHeapTuple(row);
	pending->receipt = receipt ? pstrdup(receipt) : NULL;
	pending->has_event = pointer != NULL;
	if (pointer)
		messages->pointers[messages->nevents++] = *pointer;
}

/* Fetch the events of the pending rows and write them all. */
static void
put_pending(EbMessages *messages)
{
	int			n = messages->nevents;
	Datum	   *row = palloc(messages->row_desc->natts * sizeof(Datum));
	bool	   *null = palloc(messages->row_desc->natts * sizeof(bool));
	EbEvent    *events = palloc0(n * sizeof(EbEvent));
	bool	   *found = palloc0(n * sizeof(bool));

	if (n > 0)
		eb_log_fetch(reader(messages), n, messages->pointers, events, found);

	n = 0;
	for (int i = 0; i < messages->npending; i++)
	{
		const Pending *pending = &messages->pending[i];
		EbEvent    *event = NULL;

		heap_deform_tuple(pending->tuple, messages->row_desc, row, null);
		if (!pending->has_event)
		{
			put(messages, row, null, pending->receipt, NULL, false);
			continue;
		}
		event = &events[n];
		if (!found[n])
		{
			/* erased by hand: what the pointer says is all there is */
			event->id = messages->pointers[n].id;
			event->time = eb_tick_time(eb_uuid_tick(&event->id));
			event->source = event->detail_type = "";
		}
		put(messages, row, null, pending->receipt, event, found[n]);
		n++;
	}
	messages->npending = 0;
	messages->nevents = 0;
}

static void
write_pending(EbMessages *messages)
{
	MemoryContext old = MemoryContextSwitchTo(messages->chunk);

	put_pending(messages);
	MemoryContextSwitchTo(old);
	MemoryContextReset(messages->chunk);
}

void
eb_messages_add(EbMessages *messages, TupleTableSlot *row, const char *receipt)
{
	EbEventPointer pointer;
	bool		has_event;
	bool		written = false;
	MemoryContext old;

	slot_getallattrs(row);
	has_event = eb_queue_event_pointer(row, &pointer);
	if (!messages->chunk)
	{
		messages->chunk = eb_kept_context(GetMemoryChunkContext(messages));
		messages->row_desc = row->tts_tupleDescriptor;
	}
	old = MemoryContextSwitchTo(messages->chunk);
	if (messages->npending == 0)
	{
		/* its memory is let go at once: it stays in the processor's cache so */
		written = put_at_once(messages, row, receipt, has_event ? &pointer : NULL);
		MemoryContextReset(messages->chunk);
	}
	if (!written)
		keep(messages, row, receipt, has_event ? &pointer : NULL);
	MemoryContextSwitchTo(old);
	if (messages->npending == CHUNK_ROWS)
		write_pending(messages);
}

void
eb_messages_end(EbMessages *messages, bool processing)
{
	if (messages->npending > 0)
		write_pending(messages);
	if (messages->reader)
		eb_log_reader_close(messages->reader);
	if (processing && messages->total == 1)
		eb_message_context_set(&messages->context);
}
