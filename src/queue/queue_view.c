/*-------------------------------------------------------------------------
 *
 * queue_view.c
 *	  The view of a queue: peek by SELECT, send by INSERT and COPY.
 *
 * eb.queue_<name> carries the privileges of a queue.  It shows messages as
 * they would be delivered.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "queue/queue_internal.h"

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
	eb_sql_execute("CREATE TRIGGER refuse_row INSTEAD OF UPDATE OR DELETE ON eb.%s "
				   "FOR EACH ROW EXECUTE FUNCTION eb.queue_view_refuse()", view);
	eb_sql_execute("CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON eb.%s "
				   "FOR EACH STATEMENT EXECUTE FUNCTION eb.queue_view_refuse()", view);
}

PG_FUNCTION_INFO_V1(eb_queue_view_refuse);

Datum
eb_queue_view_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		update;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"eb.queue_view_refuse")));
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
/* What the view shows of a routed message's event                    */
/* ------------------------------------------------------------------ */

/*
 * The event of the row at tid.  Functions in a view run as the reader, and
 * whoever may call them may call them by hand, with any tid; so the row must
 * be one that a SELECT on the view would show him.  False: no row, or one
 * without an event.  *found: the log still has the event.
 */
static bool
event_of_row(FunctionCallInfo fcinfo, EbEvent *event, bool *found)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ItemPointer tid = (ItemPointer) PG_GETARG_POINTER(1);
	EbQueue		queue = *eb_queue_lookup(name, false);
	EbEventPointer pointer;
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
		routed = !slot->tts_isnull[EB_DELIVERY_EVENT_ID - 1];
		if (routed)
		{
			EbLogReader *reader;

			pointer.id = *DatumGetUUIDP(slot->tts_values[EB_DELIVERY_EVENT_ID - 1]);
			pointer.class = DatumGetInt16(slot->tts_values[EB_DELIVERY_EVENT_CLASS - 1]);
			pointer.tid = *(ItemPointer) DatumGetPointer(slot->tts_values[EB_DELIVERY_EVENT_TID - 1]);
			memset(event, 0, sizeof(EbEvent));
			reader = eb_log_reader_open();
			eb_log_fetch(reader, 1, &pointer, event, found);
			eb_log_reader_close(reader);
			if (!*found)
			{
				event->id = pointer.id;
				event->time = eb_tick_time(eb_uuid_tick(&pointer.id));
				event->source = event->detail_type = "";
			}
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
	EbEvent		event;
	bool		found;

	if (!event_of_row(fcinfo, &event, &found))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(eb_log_envelope(&event, !found));
}

PG_FUNCTION_INFO_V1(eb_queue_event_headers);

Datum
eb_queue_event_headers(PG_FUNCTION_ARGS)
{
	EbEvent		event;
	bool		found;

	if (!event_of_row(fcinfo, &event, &found) || event.headers == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(event.headers);
}

PG_FUNCTION_INFO_V1(eb_clock);

Datum
eb_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(eb_clock_now());
}
