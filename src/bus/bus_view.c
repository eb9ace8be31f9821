/*-------------------------------------------------------------------------
 *
 * bus_view.c
 *	  eb.bus_<name>: a bus's log by SELECT, publishing by INSERT and COPY.
 *
 * The view carries the privileges of its bus.  Its INSTEAD OF INSERT trigger
 * is called for each row: it checks the row, gives it an id (so RETURNING id
 * works) and buffers it; the AFTER STATEMENT trigger publishes the buffer in
 * one go.  A statement of a million rows is published in parts as it runs.
 *
 * Functions that a statement calls may insert into a bus themselves, also in
 * a subtransaction that then fails, so there is a buffer per subtransaction:
 * a statement trigger publishes the rows of its own subtransaction only.  It
 * may so publish rows of an outer statement early, which is harmless (view
 * claim 1).  Buffers
 * end with their subtransaction.
 *
 * Anybody may hang a trigger function that he can execute on a view of his
 * own, so the triggers check that they fire on a bus's view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"

/* A buffer is published when it has so many rows, or bytes of details. */
#define BUFFER_ROWS		8192
#define BUFFER_BYTES	(4 * 1024 * 1024)

typedef enum ViewColumn
{
	COLUMN_ID,
	COLUMN_INGESTED_AT,
	COLUMN_SOURCE,
	COLUMN_DETAIL_TYPE,
	COLUMN_TIME,
	COLUMN_DETAIL,
	COLUMN_RESOURCES,
	COLUMN_HEADERS,
	COLUMN_GROUP_KEY,
	COLUMN_CORRELATION_ID,
	COLUMN_CAUSATION_ID,
	COLUMN_TRACEPARENT,
	COLUMN_HOPS,
	COLUMN_RULESET_VERSION,
	COLUMN_REPLAY,
	COLUMN_DEDUP_ID,
	VIEW_COLUMNS
} ViewColumn;

static const char *const column_names[VIEW_COLUMNS] = {
	"id", "ingested_at", "source", "detail_type", "time", "detail", "resources",
	"headers", "group_key", "correlation_id", "causation_id", "traceparent",
	"hops", "ruleset_version", "replay", "dedup_id"
};

typedef struct BufferedEvent
{
	EbEvent		event;
	char		bus[NAMEDATALEN];
	struct BufferedEvent *next;
} BufferedEvent;

typedef struct ViewBuffer
{
	SubTransactionId subid;
	MemoryContext context;		/* holds the buffer and its rows */
	BufferedEvent *first;
	BufferedEvent **last;
	int			nrows;
	Size		bytes;
	struct ViewBuffer *outer;
} ViewBuffer;

static ViewBuffer *buffers = NULL;

Oid
eb_bus_view_create(const char *name, int32 bus_id)
{
	const char *relname = psprintf("bus_%s", name);
	const char *view = quote_identifier(relname);

	eb_sql_execute("CREATE VIEW eb.%s WITH (security_barrier) AS"
				   " SELECT id, ingested_at, source, detail_type, \"time\", detail,"
				   " resources, headers, group_key, correlation_id, causation_id,"
				   " traceparent, hops, ruleset_version, replay, NULL::text AS dedup_id"
				   " FROM eb.events WHERE bus_id = %d", view, bus_id);

	/*
	 * Without triggers for them, UPDATE and DELETE would pass through to the
	 * log.  The statement trigger makes a statement that finds no row fail as
	 * well.
	 */
	eb_sql_execute("CREATE TRIGGER publish_row INSTEAD OF INSERT ON eb.%s"
				   " FOR EACH ROW EXECUTE FUNCTION eb.bus_view_insert()", view);
	eb_sql_execute("CREATE TRIGGER publish AFTER INSERT ON eb.%s"
				   " FOR EACH STATEMENT EXECUTE FUNCTION eb.bus_view_publish()", view);
	eb_sql_execute("CREATE TRIGGER refuse_row INSTEAD OF UPDATE OR DELETE ON eb.%s"
				   " FOR EACH ROW EXECUTE FUNCTION eb.bus_view_refuse()", view);
	eb_sql_execute("CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON eb.%s"
				   " FOR EACH STATEMENT EXECUTE FUNCTION eb.bus_view_refuse()", view);
	return eb_relation_oid(relname);
}

/* ---- buffers ---- */

static ViewBuffer *
current_buffer(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext context;
	ViewBuffer *buffer;

	if (buffers && buffers->subid == subid)
		return buffers;

	/* as a put does: the log's lock and the newest rules before the first id */
	eb_log_end(eb_log_begin());

	context = AllocSetContextCreate(TopTransactionContext, "pg_eventbus view buffer",
									ALLOCSET_DEFAULT_SIZES);
	buffer = MemoryContextAllocZero(context, sizeof(ViewBuffer));
	buffer->subid = subid;
	buffer->context = context;
	buffer->last = &buffer->first;
	buffer->outer = buffers;
	buffers = buffer;
	return buffer;
}

static void
drop_buffer(void)
{
	ViewBuffer *buffer = buffers;

	buffers = buffer->outer;
	MemoryContextDelete(buffer->context);
}

/* Publish the innermost buffer.  The executor has checked the privilege. */
static void
publish_buffer(void)
{
	EbPublish  *publish = eb_publish_begin("INSERT");

	for (BufferedEvent *row = buffers->first; row; row = row->next)
	{
		EbPublishBus *bus = eb_publish_bus(publish, row->bus, false);

		EbEvent    *event = eb_publish_next(publish);

		*event = row->event;
		(void) eb_publish_add(publish, bus, event);
	}
	eb_publish_finish(publish);
	drop_buffer();
}

void
eb_bus_view_at_xact(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (buffers)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("events inserted into view \"bus_%s\" were not published",
								buffers->first ? buffers->first->bus : ""),
						 errhint("Its trigger \"publish\" must exist and be enabled.")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* their memory goes with TopTransactionContext */
			buffers = NULL;
			break;
		default:
			break;
	}
}

void
eb_bus_view_at_subxact(SubXactEvent event, SubTransactionId mine,
					   SubTransactionId parent)
{
	while (event == SUBXACT_EVENT_ABORT_SUB && buffers && buffers->subid == mine)
		drop_buffer();
	if (event == SUBXACT_EVENT_COMMIT_SUB && buffers && buffers->subid == mine)
		buffers->subid = parent;
}

/* ---- triggers ---- */

static const EbBus *
bus_of_trigger(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const EbBus *bus;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", function)));
	bus = eb_bus_by_view(RelationGetRelid(trigger->tg_relation));
	if (!bus)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"%s\" is not the view of a bus",
						RelationGetRelationName(trigger->tg_relation)),
				 errhint("The views of buses are made by eb.create_bus().")));
	return bus;
}

/* Positions of our columns; kept for the rest of the statement. */
static int *
column_positions(FunctionCallInfo fcinfo, TupleDesc desc)
{
	int		   *attnos = fcinfo->flinfo->fn_extra;

	if (attnos)
		return attnos;
	attnos = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, VIEW_COLUMNS * sizeof(int));
	for (int i = 0; i < VIEW_COLUMNS; i++)
		attnos[i] = SPI_fnumber(desc, column_names[i]);
	fcinfo->flinfo->fn_extra = attnos;
	return attnos;
}

static const char *
text_column(const Datum *values, const bool *nulls, ViewColumn column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

/* '' is none, as with eb.put_event(): an empty group would be a group. */
static const char *
optional_text_column(const Datum *values, const bool *nulls, ViewColumn column)
{
	const char *text = text_column(values, nulls, column);

	return text && text[0] != '\0' ? text : NULL;
}

static Jsonb *
jsonb_column(const Datum *values, const bool *nulls, ViewColumn column)
{
	return nulls[column] ? NULL : DatumGetJsonbPCopy(values[column]);
}

static void
fill_event(EbEvent *event, const Datum *values, const bool *nulls)
{
	static const ViewColumn required[] = {COLUMN_SOURCE, COLUMN_DETAIL_TYPE, COLUMN_DETAIL};
	static const ViewColumn foreign[] = {
		COLUMN_ID, COLUMN_INGESTED_AT, COLUMN_HOPS, COLUMN_RULESET_VERSION, COLUMN_REPLAY
	};

	for (int i = 0; i < (int) lengthof(foreign); i++)
	{
		if (!nulls[foreign[i]])
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" cannot be inserted into a bus",
							column_names[foreign[i]]),
					 errdetail("The bus fills it in."),
					 errhint("Leave it out of the list of columns.")));
	}
	for (int i = 0; i < (int) lengthof(required); i++)
	{
		if (nulls[required[i]])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("column \"%s\" of an event must not be null",
							column_names[required[i]])));
	}

	event->source = text_column(values, nulls, COLUMN_SOURCE);
	event->detail_type = text_column(values, nulls, COLUMN_DETAIL_TYPE);
	event->detail = jsonb_column(values, nulls, COLUMN_DETAIL);
	event->time = nulls[COLUMN_TIME] ? DT_NOBEGIN : DatumGetTimestampTz(values[COLUMN_TIME]);
	if (!nulls[COLUMN_TIME])
		eb_event_check_time(event->time, 0, "time");
	if (!nulls[COLUMN_RESOURCES])
	{
		event->resources =
			PointerGetDatum(PG_DETOAST_DATUM_COPY(values[COLUMN_RESOURCES]));
		eb_event_check_resources(event->resources, 0);
	}
	event->headers = jsonb_column(values, nulls, COLUMN_HEADERS);
	eb_event_check_headers(event->headers, 0);
	event->group_key = optional_text_column(values, nulls, COLUMN_GROUP_KEY);
	event->correlation_id = optional_text_column(values, nulls, COLUMN_CORRELATION_ID);
	event->causation_id = optional_text_column(values, nulls, COLUMN_CAUSATION_ID);
	event->traceparent = optional_text_column(values, nulls, COLUMN_TRACEPARENT);
	eb_event_check_traceparent(event->traceparent, 0, "traceparent");
	event->dedup_id = text_column(values, nulls, COLUMN_DEDUP_ID);
	if (event->dedup_id)
		eb_event_check_dedup_id(event->dedup_id, 0, "dedup_id");
	eb_event_check(event, 0, "source", "detail_type", "detail");
}

PG_FUNCTION_INFO_V1(eb_bus_view_insert);

Datum
eb_bus_view_insert(PG_FUNCTION_ARGS)
{
	const EbBus *bus = bus_of_trigger(fcinfo, "eb.bus_view_insert");
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int		   *attnos = column_positions(fcinfo, desc);
	HeapTuple	tuple = trigger->tg_trigtuple;
	Datum		values[VIEW_COLUMNS];
	bool		nulls[VIEW_COLUMNS];
	int			filled[3];
	Datum		filled_values[3];
	bool		filled_nulls[3] = {false, false, false};
	MemoryContext old;
	ViewBuffer *buffer;
	BufferedEvent *row;

	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_INSTEAD(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired INSTEAD OF INSERT",
						"eb.bus_view_insert")));
	for (int i = 0; i < VIEW_COLUMNS; i++)
	{
		nulls[i] = true;
		if (attnos[i] > 0)
			values[i] = heap_getattr(tuple, attnos[i], desc, &nulls[i]);
	}

	buffer = current_buffer();
	if (buffer->nrows >= BUFFER_ROWS || buffer->bytes >= BUFFER_BYTES)
	{
		publish_buffer();
		buffer = current_buffer();
	}
	old = MemoryContextSwitchTo(buffer->context);
	row = palloc0(sizeof(BufferedEvent));
	fill_event(&row->event, values, nulls);
	eb_tick_uuid(eb_clock_take(1), &row->event.id);
	strlcpy(row->bus, bus->name, NAMEDATALEN);
	MemoryContextSwitchTo(old);

	/* at once, so that RETURNING shows the id that the event really has */
	if (unlikely(eb_event_dedups(bus, &row->event)))
	{
		EbOnceKeys *keys = eb_once_open(eb_once_lookup(EB_ONCE_BUS, row->bus, false),
										"INSERT");

		eb_event_claim(keys, &row->event);
		eb_once_close(keys);
		row->event.claimed = true;
	}
	if (!row->event.duplicate)
	{
		*buffer->last = row;
		buffer->last = &row->next;
		buffer->nrows++;
		buffer->bytes += VARSIZE(row->event.detail);
	}

	/* RETURNING shows what the bus knows already */
	if (attnos[COLUMN_ID] <= 0 || attnos[COLUMN_INGESTED_AT] <= 0 ||
		attnos[COLUMN_TIME] <= 0)
		return PointerGetDatum(tuple);
	filled[0] = attnos[COLUMN_ID];
	filled[1] = attnos[COLUMN_INGESTED_AT];
	filled[2] = attnos[COLUMN_TIME];
	filled_values[0] = UUIDPGetDatum(&row->event.id);
	filled_values[1] = TimestampTzGetDatum(eb_tick_time(eb_uuid_tick(&row->event.id)));
	filled_values[2] = nulls[COLUMN_TIME] ? filled_values[1] : values[COLUMN_TIME];
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 3, filled,
													 filled_values, filled_nulls));
}

PG_FUNCTION_INFO_V1(eb_bus_view_publish);

Datum
eb_bus_view_publish(PG_FUNCTION_ARGS)
{
	(void) bus_of_trigger(fcinfo, "eb.bus_view_publish");
	if (buffers && buffers->subid == GetCurrentSubTransactionId())
		publish_buffer();
	return PointerGetDatum(NULL);
}

PG_FUNCTION_INFO_V1(eb_bus_view_refuse);

Datum
eb_bus_view_refuse(PG_FUNCTION_ARGS)
{
	const EbBus *bus = bus_of_trigger(fcinfo, "eb.bus_view_refuse");
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s events of bus \"%s\"",
					TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "update" : "delete",
					bus->name),
			 errdetail("The log of a bus only grows; its retention takes events away."),
			 errhint("To erase an event for good, the owner of the extension deletes it from eb.events.")));
	return (Datum) 0;			/* keep compiler quiet */
}
