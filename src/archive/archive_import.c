/*-------------------------------------------------------------------------
 *
 * archive_import.c
 *	  Take events into an archive that were exported from another database.
 *
 * They keep their ids, so the time at which they were ingested, and are filed
 * under the archive's retention.  Nothing is routed: it is history, not news;
 * a replay delivers it.  Partitions of the past are asked for as publishers
 * ask for missing ones.  An id that the log has already, under any retention,
 * is left out, so an import that broke off can be run again.
 *
 * An id from the future would draw the clock, and all ids that are made from
 * then on, into the future with it: it is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "archive/archive.h"
#include "bus/bus.h"
#include "catalog.h"
#include "errors.h"

#define BATCH 250

/* Columns of the query below, from 1. */
enum
{
	COL_ID = 1,
	COL_SOURCE,
	COL_DETAIL_TYPE,
	COL_TIME,
	COL_RESOURCES,
	COL_DETAIL,
	COL_HEADERS,
	COL_GROUP_KEY,
	COL_CORRELATION_ID,
	COL_CAUSATION_ID,
	COL_TRACEPARENT
};

PG_FUNCTION_INFO_V1(eb_import_events);

static char *
text_at(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static Datum
value_at(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static void
require(const void *value, const char *column, const char *table)
{
	if (!value)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("column \"%s\" of table \"%s\" holds a null", column, table)));
}

static void
read_row(uint64 row, const char *table, EbEvent *event)
{
	bool		isnull;
	Datum		d;

	memset(event, 0, sizeof(EbEvent));
	d = value_at(row, COL_ID, &isnull);
	require(isnull ? NULL : event, "id", table);
	event->id = *DatumGetUUIDP(d);
	if (event->id.data[6] >> 4 != 7)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uuid \"%s\" is not an event id", text_at(row, COL_ID)),
				 errdetail("Its version is %d; ids of events are of version 7.",
						   event->id.data[6] >> 4)));
	if (eb_uuid_tick(&event->id) == 0 || eb_uuid_tick(&event->id) >= eb_time_tick(eb_clock_now()))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("time of event \"%s\" is out of range", text_at(row, COL_ID)),
				 errdetail("The times in ids of events that are imported must be since the year 2000 and in the past.")));
	event->source = text_at(row, COL_SOURCE);
	require(event->source, "source", table);
	event->detail_type = text_at(row, COL_DETAIL_TYPE);
	require(event->detail_type, "detail_type", table);
	d = value_at(row, COL_TIME, &isnull);
	event->time = isnull ? eb_tick_time(eb_uuid_tick(&event->id)) : DatumGetTimestampTz(d);
	if (TIMESTAMP_NOT_FINITE(event->time))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time of event \"%s\" must be finite", text_at(row, COL_ID))));
	d = value_at(row, COL_RESOURCES, &isnull);
	event->resources = isnull ? (Datum) 0 : d;
	d = value_at(row, COL_DETAIL, &isnull);
	require(isnull ? NULL : event, "detail", table);
	event->detail = DatumGetJsonbP(d);
	if (!JB_ROOT_IS_OBJECT(event->detail))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("detail of event \"%s\" is not an object", text_at(row, COL_ID))));
	d = value_at(row, COL_HEADERS, &isnull);
	event->headers = isnull ? NULL : DatumGetJsonbP(d);
	event->group_key = text_at(row, COL_GROUP_KEY);
	event->correlation_id = text_at(row, COL_CORRELATION_ID);
	event->causation_id = text_at(row, COL_CAUSATION_ID);
	event->traceparent = text_at(row, COL_TRACEPARENT);
}

/* Which of these ids does the log have?  Looks into all classes. */
static void
look_up(EbEvent *events, int n, bool *found)
{
	EbEventPointer *pointers = palloc(n * sizeof(EbEventPointer));
	EbEvent    *there = palloc(n * sizeof(EbEvent));
	bool	   *in_class = palloc(n * sizeof(bool));
	int16	   *classes;
	int			nclasses = eb_log_classes(&classes);
	EbLogReader *reader = eb_log_reader_open();

	for (int c = 0; c < nclasses; c++)
	{
		for (int i = 0; i < n; i++)
		{
			pointers[i].id = events[i].id;
			pointers[i].class = classes[c];
			ItemPointerSetInvalid(&pointers[i].tid);
		}
		eb_log_fetch(reader, n, pointers, there, in_class);
		for (int i = 0; i < n; i++)
			found[i] |= in_class[i];
	}
	eb_log_reader_close(reader);
}

/* Append a batch; returns how many were new. */
static int
import_batch(EbEvent *events, int n, int16 class, const EbBus *bus)
{
	bool	   *found = palloc0(n * sizeof(bool));
	EbLogWriter *writer;
	int			written = 0;

	look_up(events, n, found);
	writer = eb_log_begin();
	for (int i = 0; i < n; i++)
	{
		/* they are sorted: an id that comes twice follows itself */
		if (found[i] || (i > 0 && memcmp(&events[i].id, &events[i - 1].id, UUID_LEN) == 0))
			continue;
		events[i].class = class;
		events[i].bus_id = bus->bus_id;
		events[i].ruleset_version = bus->rules_version;
		eb_log_append(writer, &events[i], NULL);
		written++;
	}
	eb_log_end(writer);
	CommandCounterIncrement();
	return written;
}

Datum
eb_import_events(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			table = PG_GETARG_OID(1);
	char	   *table_name;
	EbArchive  *archive = eb_archive_get(name);
	EbBus		bus = *eb_bus_lookup(archive->bus, false);
	int16		class;
	MemoryContext batch;
	Portal		cursor;
	int64		imported = 0;

	PreventCommandIfReadOnly("eb.import_events()");
	eb_check_view_privilege(archive->view, EB_ARCHIVE_ADMIN, "archive", name);
	class = eb_log_class_ensure(archive->forever ? NULL : &archive->retention);
	table_name = get_rel_name(table);
	if (!table_name)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	batch = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus events being imported",
								  ALLOCSET_DEFAULT_SIZES);

	/* as the caller, who must be allowed to read the table */
	SPI_connect();
	cursor = SPI_cursor_open_with_args(NULL,
									   psprintf("SELECT id::pg_catalog.uuid, source::pg_catalog.text,"
												" detail_type::pg_catalog.text, \"time\"::pg_catalog.timestamptz,"
												" resources::pg_catalog.text[], detail::pg_catalog.jsonb,"
												" headers::pg_catalog.jsonb, group_key::pg_catalog.text,"
												" correlation_id::pg_catalog.text, causation_id::pg_catalog.text,"
												" traceparent::pg_catalog.text FROM %s ORDER BY 1",
												quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
																		   table_name)),
									   0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		EbEvent    *events;
		MemoryContext old;
		int			n;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(cursor, true, BATCH);
		n = (int) SPI_processed;
		if (n == 0)
			break;
		old = MemoryContextSwitchTo(batch);
		events = palloc(n * sizeof(EbEvent));
		for (int i = 0; i < n; i++)
			read_row(i, table_name, &events[i]);
		imported += import_batch(events, n, class, &bus);
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(cursor);
	SPI_finish();
	PG_RETURN_INT64(imported);
}
