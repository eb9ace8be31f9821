/*-------------------------------------------------------------------------
 *
 * bus_put.c
 *	  eb.put_event() and eb.put_events().
 *
 * Both are all or nothing: an error in any entry fails the statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "bus/bus_internal.h"
#include "compat.h"
#include "errors.h"

PG_FUNCTION_INFO_V1(eb_put_events);

/* eb.put_events(entries, bus) -> (index, event_id, matched, duplicate) for each entry, in order. */
Datum
eb_put_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Jsonb	   *entries;
	char	   *default_bus;
	JsonbIterator *it;
	JsonbValue	value;
	EbPublish  *publish;
	EbPublishBus *bus;
	const char *bus_name;
	EbDedup    *claimed;
	int			index = 0;

	if (PG_ARGISNULL(0))
		eb_error_null("entries");
	if (PG_ARGISNULL(1))
		eb_error_null("bus");
	entries = PG_GETARG_JSONB_P(0);
	default_bus = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!JB_ROOT_IS_ARRAY(entries) || JB_ROOT_IS_SCALAR(entries))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("entries must be a JSON array"),
				 errhint("Write [{\"source\": \"...\", \"detail-type\": \"...\", \"detail\": {...}}], or put a single event with eb.put_event().")));

	InitMaterializedSRF(fcinfo, 0);
	/* who names a bus in every entry need not be allowed to use another */
	bus_name = eb_entries_bus(entries);
	publish = eb_publish_begin("eb.put_events()");
	bus = eb_publish_bus(publish, bus_name ? bus_name : default_bus, true);
	claimed = eb_entries_claim(publish, bus, entries);
	it = JsonbIteratorInit(&entries->root);
	(void) JsonbIteratorNext(&it, &value, true);	/* WJB_BEGIN_ARRAY */
	while (JsonbIteratorNext(&it, &value, true) == WJB_ELEM)
	{
		EbEvent    *event = eb_publish_next(publish);
		MemoryContext old = MemoryContextSwitchTo(eb_publish_context(publish));
		Datum		row[4];
		bool		nulls[4] = {0};

		CHECK_FOR_INTERRUPTS();
		eb_entry_parse(&value, ++index, event, &bus_name);
		MemoryContextSwitchTo(old);
		if (claimed)
		{
			EbDedup    *dedup = &claimed[index - 1];

			event->id = dedup->event_id;
			event->claimed = dedup->dedup_id || dedup->has_key;
			event->duplicate = dedup->duplicate;
		}
		row[2] = Int32GetDatum(eb_publish_add(publish,
											  bus_name ? eb_publish_bus(publish, bus_name, true) : bus,
											  event));
		row[0] = Int32GetDatum(index);
		row[1] = UUIDPGetDatum(&event->id);
		row[3] = BoolGetDatum(event->duplicate);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
	}
	eb_publish_finish(publish);
	return (Datum) 0;
}

/* Text argument, or NULL; '' is none as well. */
static const char *
text_argument(FunctionCallInfo fcinfo, int arg)
{
	char	   *value;

	if (PG_ARGISNULL(arg))
		return NULL;
	value = text_to_cstring(PG_GETARG_TEXT_PP(arg));
	return value[0] != '\0' ? value : NULL;
}

PG_FUNCTION_INFO_V1(eb_put_event);

/*
 * eb.put_event(source, detail_type, detail, bus, time, resources, headers,
 * group_key, correlation_id, causation_id, traceparent, dedup_id) -> uuid
 */
Datum
eb_put_event(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"source", "detail_type", "detail", "bus"};
	EbPublish  *publish;
	EbPublishBus *bus;
	EbEvent    *event;
	pg_uuid_t  *id;

	for (int i = 0; i < (int) lengthof(required); i++)
	{
		if (PG_ARGISNULL(i))
			eb_error_null(required[i]);
	}
	publish = eb_publish_begin("eb.put_event()");
	bus = eb_publish_bus(publish, text_to_cstring(PG_GETARG_TEXT_PP(3)), true);
	event = eb_publish_next(publish);
	event->source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	event->detail_type = text_to_cstring(PG_GETARG_TEXT_PP(1));
	event->detail = PG_GETARG_JSONB_P(2);
	if (!PG_ARGISNULL(4))
	{
		event->time = PG_GETARG_TIMESTAMPTZ(4);
		eb_event_check_time(event->time, 0, "time");
	}
	if (!PG_ARGISNULL(5))
		event->resources = PointerGetDatum(PG_GETARG_ARRAYTYPE_P(5));
	eb_event_check_resources(event->resources, 0);
	if (!PG_ARGISNULL(6))
		event->headers = PG_GETARG_JSONB_P(6);
	eb_event_check_headers(event->headers, 0);
	event->group_key = text_argument(fcinfo, 7);
	event->correlation_id = text_argument(fcinfo, 8);
	event->causation_id = text_argument(fcinfo, 9);
	event->traceparent = text_argument(fcinfo, 10);
	eb_event_check_traceparent(event->traceparent, 0, "traceparent");
	if (!PG_ARGISNULL(11))
	{
		event->dedup_id = text_to_cstring(PG_GETARG_TEXT_PP(11));
		eb_event_check_dedup_id(event->dedup_id, 0, "dedup_id");
	}
	eb_event_check(event, 0, "source", "detail_type", "detail");
	(void) eb_publish_add(publish, bus, event);

	id = palloc(sizeof(pg_uuid_t));
	*id = event->id;
	eb_publish_finish(publish);
	PG_RETURN_UUID_P(id);
}
