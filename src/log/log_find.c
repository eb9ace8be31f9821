/*-------------------------------------------------------------------------
 *
 * log_find.c
 *	  Single events: by id, and by correlation id.
 *
 * Puts pay for none of this.  The leaf of an id is known from the time in it,
 * and ids lie in order there, so BRIN finds it in an open leaf; closed leaves
 * have btrees on id, on correlation id, and on source, type and id, which the
 * maintainer builds in bulk (worker_retention.c).  By correlation id an open
 * leaf is scanned from where the time asked for begins.
 *
 * The log is read as the owner, for buses whose view the caller may SELECT
 * from.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "log/log.h"

#define MAX_BUSES 10000

PG_FUNCTION_INFO_V1(eb_find_event);
PG_FUNCTION_INFO_V1(eb_trace);

/* Columns as in type eb.event. */
#define EVENT_ROW "id, NULL::integer, source, detail_type, \"time\", ingested_at, resources," \
	" detail, headers, group_key, correlation_id, causation_id, traceparent, replay"

/* Numbers of the buses that the caller may read, as int4[]. */
static Datum
readable_buses(void)
{
	EbConfigScan *scan = eb_config_open(EB_BUSES, 0, NULL);
	Datum	   *ids = palloc(MAX_BUSES * sizeof(Datum));
	HeapTuple	tuple;
	int			n = 0;

	while (HeapTupleIsValid(tuple = eb_config_next(scan)) && n < MAX_BUSES)
	{
		TupleDesc	desc = eb_config_desc(scan);
		int			id = SPI_fnumber(desc, "bus_id");
		int			view = SPI_fnumber(desc, "log_view");
		bool		isnull;
		Oid			view_oid = DatumGetObjectId(heap_getattr(tuple, view, desc, &isnull));

		if (eb_view_allows(view_oid, ACL_SELECT))
			ids[n++] = heap_getattr(tuple, id, desc, &isnull);
	}
	eb_config_close(scan);
	return PointerGetDatum(construct_array(ids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* Run a query over eb.events as the owner; its rows are the function's result. */
static void
return_events(FunctionCallInfo fcinfo, const char *sql, const EbSqlArgs *args)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EbOwnerContext owner;

	eb_owner_begin(&owner);
	SPI_connect();
	if (SPI_execute_with_args(sql, args->n, (Oid *) args->types, (Datum *) args->values,
							  args->nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	eb_owner_end(&owner);
}

Datum
eb_find_event(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	EbSqlArgs	args = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (id->data[6] >> 4 != 7 || !OidIsValid(eb_table_oid(EB_EVENTS, true)))
		PG_RETURN_VOID();
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(id), false);
	eb_sql_arg(&args, TIMESTAMPTZOID,
			   TimestampTzGetDatum(eb_tick_time(eb_uuid_tick(id))), false);
	eb_sql_arg(&args, INT4ARRAYOID, readable_buses(), false);
	return_events(fcinfo, "SELECT " EVENT_ROW " FROM eb.events"
				  " WHERE id = $1 AND ingested_at = $2 AND bus_id = ANY ($3)", &args);
	PG_RETURN_VOID();
}

Datum
eb_trace(PG_FUNCTION_ARGS)
{
	EbSqlArgs	args = {0};
	pg_uuid_t	from;
	TimestampTz since = PG_GETARG_TIMESTAMPTZ(1);

	InitMaterializedSRF(fcinfo, 0);
	if (!OidIsValid(eb_table_oid(EB_EVENTS, true)))
		PG_RETURN_VOID();

	/* the id tells BRIN what the time tells the planner */
	eb_tick_uuid(eb_time_tick(Max(since, 0)), &from);
	from.data[9] &= 0xf0;
	memset(&from.data[10], 0, 6);
	eb_sql_arg(&args, TEXTOID, PG_GETARG_DATUM(0), false);
	eb_sql_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(since), false);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&from), false);
	eb_sql_arg(&args, INT4ARRAYOID, readable_buses(), false);
	return_events(fcinfo, "SELECT " EVENT_ROW " FROM eb.events"
				  " WHERE correlation_id = $1 AND ingested_at >= $2 AND id >= $3"
				  " AND bus_id = ANY ($4) ORDER BY id", &args);
	PG_RETURN_VOID();
}
