/*-------------------------------------------------------------------------
 *
 * queue_deadletter.c
 *	  Messages that move: into a dead-letter queue, and back by redrive.
 *
 * A message moves by being deleted in one queue and written to another in the
 * same transaction, so it is never in both and never in none, and as only one
 * transaction can delete a row, it moves once.  A dead letter holds its whole
 * body (the envelope of its event, too) and its headers, so it outlives the
 * event log's retention; the pointer to the event goes with it, for the
 * correlation ids, as long as the log has them.
 *
 * In its new queue a message has a new id, hence its place at the end and a
 * retention that begins anew; enqueued_at stays what it was.  receive_count
 * begins at 0.
 *
 * If the dead-letter queue is gone (someone deleted its row by hand:
 * drop_queue refuses) nothing moves: messages are retried until they expire,
 * with a warning.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "errors.h"
#include "pattern/pattern.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

/* A message on its way. */
typedef struct Letter
{
	bool		routed;			/* pointer is set */
	EbEventPointer pointer;
	EbMoved		moved;
	EbDelivery	delivery;		/* body NULL: to be taken from the event */
} Letter;

struct EbDeadLetters
{
	char		source[NAMEDATALEN];
	EbQueue		dlq;
	MemoryContext context;		/* holds the letters */
	int			n;
	int			allocated;
	Letter	   *letters;
};

/* ------------------------------------------------------------------ */
/* Letters                                                            */
/* ------------------------------------------------------------------ */

Jsonb	   *
eb_queue_event_envelope(const EbEventPointer *pointer, EbEvent *event, bool found,
						const char *replay)
{
	if (!found)
	{
		memset(event, 0, sizeof(EbEvent));
		event->id = pointer->id;
		event->time = eb_tick_time(eb_uuid_tick(&pointer->id));
		event->source = event->detail_type = "";
	}
	if (replay)
		event->replay = replay;
	return eb_log_envelope(event, !found);
}

bool
eb_queue_event_pointer(TupleTableSlot *row, EbEventPointer *pointer)
{
	if (row->tts_isnull[EB_DELIVERY_EVENT_ID - 1] ||
		row->tts_isnull[EB_DELIVERY_EVENT_CLASS - 1])
		return false;
	pointer->id = *DatumGetUUIDP(row->tts_values[EB_DELIVERY_EVENT_ID - 1]);
	pointer->class = DatumGetInt16(row->tts_values[EB_DELIVERY_EVENT_CLASS - 1]);
	if (row->tts_isnull[EB_DELIVERY_EVENT_TID - 1])
		ItemPointerSetInvalid(&pointer->tid);
	else
		pointer->tid = *(ItemPointer) DatumGetPointer(row->tts_values[EB_DELIVERY_EVENT_TID - 1]);
	return true;
}

static char *
row_text(TupleTableSlot *row, int attno)
{
	return row->tts_isnull[attno - 1] ? NULL :
		TextDatumGetCString(row->tts_values[attno - 1]);
}

static Jsonb *
row_jsonb(TupleTableSlot *row, int attno)
{
	return row->tts_isnull[attno - 1] ? NULL :
		DatumGetJsonbPCopy(row->tts_values[attno - 1]);
}

/*
 * Copy a row, whose attributes are all there (slot_getallattrs), into the
 * current context.
 */
static void
fill_letter(Letter *letter, TupleTableSlot *row)
{
	memset(letter, 0, sizeof(Letter));
	letter->routed = eb_queue_event_pointer(row, &letter->pointer);
	letter->moved.original_id = DatumGetInt64(row->tts_values[EB_DELIVERY_MESSAGE_ID - 1]);
	letter->moved.enqueued_at = row->tts_isnull[EB_DELIVERY_ENQUEUED_AT - 1] ?
		eb_tick_time((EbTick) letter->moved.original_id) :
		DatumGetTimestampTz(row->tts_values[EB_DELIVERY_ENQUEUED_AT - 1]);
	letter->delivery.target_id = row->tts_isnull[EB_DELIVERY_TARGET_ID - 1] ? 0 :
		DatumGetInt32(row->tts_values[EB_DELIVERY_TARGET_ID - 1]);
	letter->delivery.body = row_jsonb(row, EB_DELIVERY_BODY);
	letter->delivery.headers = row_jsonb(row, EB_DELIVERY_HEADERS);
	letter->delivery.group_id = row_text(row, EB_DELIVERY_GROUP_ID);
	letter->delivery.replay = row_text(row, EB_DELIVERY_REPLAY);
	letter->delivery.delay = 0;
}

static void
push_text(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

Jsonb	   *
eb_queue_lasting_headers(const EbEvent *event)
{
	JsonbParseState *state = NULL;

	if (event->correlation_id == NULL && event->causation_id == NULL &&
		event->traceparent == NULL)
		return event->headers;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (event->headers != NULL)
	{
		JsonbIterator *iter = JsonbIteratorInit(&event->headers->root);
		JsonbIteratorToken token;
		JsonbValue	v;

		(void) JsonbIteratorNext(&iter, &v, true);
		while ((token = JsonbIteratorNext(&iter, &v, true)) != WJB_END_OBJECT)
			(void) pushJsonbValue(&state, token, &v);
	}
	if (event->correlation_id != NULL)
		push_text(&state, "correlation-id", event->correlation_id);
	if (event->causation_id != NULL)
		push_text(&state, "causation-id", event->causation_id);
	if (event->traceparent != NULL)
		push_text(&state, "traceparent", event->traceparent);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Take bodies and headers of routed messages out of the log, all in one go. */
static void
complete_letters(Letter *letters, int n)
{
	EbEventPointer *pointers = palloc(n * sizeof(EbEventPointer));
	EbEvent    *events = palloc0(n * sizeof(EbEvent));
	bool	   *found = palloc(n * sizeof(bool));
	Letter	  **owners = palloc(n * sizeof(Letter *));
	EbLogReader *reader;
	int			nrouted = 0;

	for (int i = 0; i < n; i++)
	{
		if (letters[i].routed &&
			(letters[i].delivery.body == NULL || letters[i].delivery.headers == NULL))
		{
			owners[nrouted] = &letters[i];
			pointers[nrouted++] = letters[i].pointer;
		}
	}
	if (nrouted == 0)
		return;

	reader = eb_log_reader_open();
	eb_log_fetch(reader, nrouted, pointers, events, found);
	eb_log_reader_close(reader);
	for (int i = 0; i < nrouted; i++)
	{
		EbDelivery *delivery = &owners[i]->delivery;

		if (delivery->body == NULL)
			delivery->body = eb_queue_event_envelope(&pointers[i], &events[i], found[i],
													 delivery->replay);
		if (delivery->headers == NULL && found[i])
			delivery->headers = eb_queue_lasting_headers(&events[i]);
	}
}

static void
send_letter(EbSendBatch *batch, const EbQueue *queue, Letter *letter)
{
	letter->delivery.event = letter->routed ? &letter->pointer : NULL;
	letter->delivery.moved = &letter->moved;
	eb_send_add(batch, queue, &letter->delivery);
}

/* ------------------------------------------------------------------ */
/* Into the dead-letter queue                                         */
/* ------------------------------------------------------------------ */

EbDeadLetters *
eb_deadletter_begin(const EbQueue *queue)
{
	const EbQueue *dlq;
	EbDeadLetters *letters;

	if (queue->dead_letter_queue[0] == '\0')
		return NULL;
	dlq = eb_queue_lookup(queue->dead_letter_queue, true);
	if (dlq == NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dead-letter queue \"%s\" of queue \"%s\" does not exist",
						queue->dead_letter_queue, queue->name),
				 errdetail("Messages that failed too often are retried."),
				 errhint("Give the queue another one with eb.update_queue().")));
		return NULL;
	}

	letters = palloc0(sizeof(EbDeadLetters));
	strlcpy(letters->source, queue->name, NAMEDATALEN);
	letters->dlq = *dlq;
	letters->context = AllocSetContextCreate(CurrentMemoryContext,
											 "eb dead letters",
											 ALLOCSET_DEFAULT_SIZES);
	return letters;
}

void
eb_deadletter_add(EbDeadLetters *letters, TupleTableSlot *row, const char *error)
{
	MemoryContext old = MemoryContextSwitchTo(letters->context);
	Letter	   *letter;

	if (letters->n == letters->allocated)
	{
		letters->allocated = Max(letters->allocated * 2, 8);
		letters->letters = letters->letters == NULL ?
			palloc(letters->allocated * sizeof(Letter)) :
			repalloc_huge(letters->letters, letters->allocated * sizeof(Letter));
	}
	letter = &letters->letters[letters->n++];
	slot_getallattrs(row);
	fill_letter(letter, row);
	letter->moved.source_queue = letters->source;
	if (error != NULL)
		letter->moved.last_error = pstrdup(error);
	else
	{
		letter->moved.last_error = row_text(row, EB_DELIVERY_LAST_ERROR);
		if (letter->moved.last_error == NULL)
			letter->moved.last_error =
				psprintf("received %d times and never acknowledged",
						 row->tts_isnull[EB_DELIVERY_RECEIVE_COUNT - 1] ? 0 :
						 DatumGetInt32(row->tts_values[EB_DELIVERY_RECEIVE_COUNT - 1]));
	}
	MemoryContextSwitchTo(old);
}

void
eb_deadletter_finish(EbDeadLetters *letters)
{
	if (letters->n > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(letters->context);
		EbSendBatch *batch;

		complete_letters(letters->letters, letters->n);
		batch = eb_send_begin();
		for (int i = 0; i < letters->n; i++)
			send_letter(batch, &letters->dlq, &letters->letters[i]);
		eb_send_finish(batch, NULL);
		MemoryContextSwitchTo(old);
	}
	MemoryContextDelete(letters->context);
	pfree(letters);
}

/* ------------------------------------------------------------------ */
/* Redrive                                                            */
/* ------------------------------------------------------------------ */

/*
 * Letters that are held in memory.  Many, since each chunk that goes to FIFO
 * queues takes locks of groups, which a later chunk cannot do in order.
 */
#define REDRIVE_CHUNK		10000
#define REDRIVE_BYTES		(64 * 1024 * 1024)

/* A queue that letters go back to. */
typedef struct Destination
{
	char		name[NAMEDATALEN];	/* hash key */
	bool		exists;
	EbQueue		queue;
	int64		left;			/* letters that stay as the queue is gone */
} Destination;

typedef struct Redrive
{
	EbQueue		dlq;
	Relation	table;
	EbRowEditor editor;
	const char *to;				/* NULL: each letter's source queue */
	HTAB	   *destinations;
	EbPatternSet *pattern;		/* NULL: all */
	EbPatternScratch *scratch;
	int64		limit;
	int64		done;
	int64		unsourced;		/* letters without a source queue */
	List	   *groups;			/* FIFO: groups of taken messages */
	MemoryContext row;			/* a look at one letter */
	MemoryContext chunk;		/* letters of the current chunk */
	int			n;
	Letter	   *letters;		/* in chunk, like all they point to */
	Destination **targets;
} Redrive;

static Destination *
find_destination(Redrive *redrive, const char *name)
{
	Destination *destination;
	bool		found;
	const EbQueue *queue;

	destination = hash_search(redrive->destinations, name, HASH_FIND, NULL);
	if (destination != NULL)
		return destination;
	queue = eb_queue_lookup(name, true);
	if (queue != NULL)
		eb_check_view_privilege(queue->view, EB_QUEUE_SEND, "queue", queue->name);
	destination = hash_search(redrive->destinations, name, HASH_ENTER, &found);
	destination->exists = queue != NULL;
	destination->left = 0;
	if (queue != NULL)
		destination->queue = *queue;
	return destination;
}

static void
begin_chunk(Redrive *redrive)
{
	MemoryContextReset(redrive->chunk);
	redrive->n = 0;
	redrive->letters = MemoryContextAlloc(redrive->chunk, REDRIVE_CHUNK * sizeof(Letter));
	redrive->targets = MemoryContextAlloc(redrive->chunk, REDRIVE_CHUNK * sizeof(Destination *));
}

static void
send_chunk(Redrive *redrive)
{
	MemoryContext old;
	EbSendBatch *batch;

	if (redrive->n == 0)
		return;
	old = MemoryContextSwitchTo(redrive->chunk);
	complete_letters(redrive->letters, redrive->n);
	batch = eb_send_begin();
	for (int i = 0; i < redrive->n; i++)
		send_letter(batch, &redrive->targets[i]->queue, &redrive->letters[i]);
	eb_send_finish(batch, NULL);
	MemoryContextSwitchTo(old);
	begin_chunk(redrive);
}

/* Patterns are about objects; other bodies match none. */
static bool
row_matches(Redrive *redrive, TupleTableSlot *row)
{
	Jsonb	   *body;
	const uint32 *rules;

	if (redrive->pattern == NULL)
		return true;
	if (!row->tts_isnull[EB_DELIVERY_BODY - 1])
		body = DatumGetJsonbP(row->tts_values[EB_DELIVERY_BODY - 1]);
	else
	{
		Letter		letter;

		fill_letter(&letter, row);
		complete_letters(&letter, 1);
		body = letter.delivery.body;
	}
	return JB_ROOT_IS_OBJECT(body) &&
		eb_pattern_match(redrive->pattern, redrive->scratch, &body->root, &rules) > 0;
}

/* Where a letter goes; NULL: it stays. */
static Destination *
row_destination(Redrive *redrive, TupleTableSlot *row)
{
	char	   *source;
	Destination *destination;

	if (redrive->to != NULL)
		return find_destination(redrive, redrive->to);
	source = row_text(row, EB_DELIVERY_SOURCE_QUEUE);
	if (source == NULL)
	{
		redrive->unsourced++;
		return NULL;
	}
	destination = find_destination(redrive, source);
	if (!destination->exists)
	{
		destination->left++;
		return NULL;
	}
	return destination;
}

/* One of the two indexes of the dead-letter queue. */
static void
redrive_index(Redrive *redrive, EbQueueIndex which, int64 upto)
{
	EbQueueScan scan;
	MemoryContext old;

	eb_queue_scan_begin(&scan, redrive->table,
						which == EB_READY ? redrive->dlq.ready_index : redrive->dlq.waiting_index,
						which, upto, false);
	while (redrive->done < redrive->limit && eb_queue_scan_next(&scan))
	{
		Letter	   *letter = &redrive->letters[redrive->n];
		Destination *destination = NULL;
		TM_FailureData why;
		TM_Result	result;

		slot_getallattrs(scan.slot);
		if (EB_ROW_IS_MARK(scan.slot->tts_isnull))
			continue;
		MemoryContextReset(redrive->row);
		old = MemoryContextSwitchTo(redrive->row);
		if (row_matches(redrive, scan.slot))
			destination = row_destination(redrive, scan.slot);
		MemoryContextSwitchTo(old);
		if (destination == NULL)
			continue;

		result = eb_row_delete(&redrive->editor, scan.slot, &why);
		if (result != TM_Ok)
		{
			eb_queue_scan_lost(&scan, result);
			continue;
		}
		old = MemoryContextSwitchTo(redrive->chunk);
		fill_letter(letter, scan.slot);
		MemoryContextSwitchTo(old);
		eb_queue_scan_took(&scan);
		if (redrive->dlq.fifo)
			redrive->groups = lappend(redrive->groups,
									  TextDatumGetCString(eb_fifo_group(scan.slot)));
		redrive->targets[redrive->n++] = destination;
		redrive->done++;
		if (redrive->n == REDRIVE_CHUNK ||
			MemoryContextMemAllocated(redrive->chunk, true) > REDRIVE_BYTES)
			send_chunk(redrive);
	}
	eb_queue_scan_end(&scan);
}

/* What stays, and why. */
static void
report_left(Redrive *redrive)
{
	HASH_SEQ_STATUS status;
	Destination *destination;

	hash_seq_init(&status, redrive->destinations);
	while ((destination = hash_seq_search(&status)) != NULL)
	{
		if (destination->left > 0)
			ereport(NOTICE,
					(errmsg_plural(INT64_FORMAT " message stays in queue \"%s\"",
								   INT64_FORMAT " messages stay in queue \"%s\"",
								   destination->left, destination->left, redrive->dlq.name),
					 errdetail("Their source queue \"%s\" does not exist.", destination->name),
					 errhint("Name a destination.")));
	}
	if (redrive->unsourced > 0)
		ereport(NOTICE,
				(errmsg_plural(INT64_FORMAT " message stays in queue \"%s\"",
							   INT64_FORMAT " messages stay in queue \"%s\"",
							   redrive->unsourced, redrive->unsourced, redrive->dlq.name),
				 errdetail("They came from no other queue."),
				 errhint("Name a destination.")));
}

static void
prepare_redrive(Redrive *redrive, const EbQueue *dlq, const char *to, Jsonb *pattern)
{
	HASHCTL		ctl = {0};

	memset(redrive, 0, sizeof(Redrive));
	redrive->dlq = *dlq;
	redrive->to = to;
	ctl.keysize = NAMEDATALEN;
	ctl.entrysize = sizeof(Destination);
	ctl.hcxt = CurrentMemoryContext;
	redrive->destinations = hash_create("eb redrive destinations", 8, &ctl,
										HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	redrive->row = AllocSetContextCreate(CurrentMemoryContext, "eb redrive row",
										 ALLOCSET_DEFAULT_SIZES);
	redrive->chunk = AllocSetContextCreate(CurrentMemoryContext, "eb redrive letters",
										   ALLOCSET_DEFAULT_SIZES);
	if (pattern != NULL)
	{
		EbPatternBuilder *builder = eb_pattern_builder_create(1);

		eb_pattern_builder_add(builder, eb_pattern_parse(&pattern->root), 0);
		redrive->pattern = eb_pattern_builder_finish(builder);
		redrive->scratch = eb_pattern_scratch_create();
	}
}

/*
 * Queues are locked before their dead-letter queue, as a receiver that buries
 * a letter and drop_queue do.
 */
static void
lock_sources(const EbQueue *dlq)
{
	EbQueue    *queues;
	int			n = eb_queue_list(&queues);

	for (int i = 0; i < n; i++)
	{
		if (strcmp(queues[i].dead_letter_queue, dlq->name) == 0)
			LockRelationOid(queues[i].table, RowExclusiveLock);
	}
	pfree(queues);
}

PG_FUNCTION_INFO_V1(eb_redrive);

Datum
eb_redrive(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *to = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	Jsonb	   *pattern = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	Redrive		redrive;
	ListCell   *lc;

	PreventCommandIfReadOnly("eb.redrive()");
	PreventCommandIfParallelMode("eb.redrive()");
	if (PG_ARGISNULL(0))
		eb_error_null("dlq");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(3) && PG_GETARG_INT32(3) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_messages must be at least 1")));
	prepare_redrive(&redrive, eb_queue_lookup(name, false), to, pattern);
	redrive.limit = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT32(3);
	eb_check_view_privilege(redrive.dlq.view, EB_QUEUE_RECEIVE, "queue", name);
	if (to != NULL)
	{
		if (strcmp(to, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("cannot redrive queue \"%s\" to itself", name)));
		if (!find_destination(&redrive, to)->exists)
			eb_error_missing("queue", to, "Create it with eb.create_queue().");
	}

	lock_sources(&redrive.dlq);
	redrive.table = eb_queue_open(&redrive.dlq, RowExclusiveLock);
	eb_row_editor_begin(&redrive.editor, redrive.table, &redrive.dlq);
	eb_notify_taken(&redrive.dlq);
	begin_chunk(&redrive);
	redrive_index(&redrive, EB_WAITING, eb_clock_now());
	redrive_index(&redrive, EB_READY, EB_KEY_MAX);
	send_chunk(&redrive);
	eb_row_editor_end(&redrive.editor);
	foreach(lc, redrive.groups)
		eb_fifo_deleted(redrive.table, &redrive.dlq, CStringGetTextDatum(lfirst(lc)));
	table_close(redrive.table, NoLock);
	CommandCounterIncrement();
	report_left(&redrive);
	PG_RETURN_INT64(redrive.done);
}
