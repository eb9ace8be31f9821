/*-------------------------------------------------------------------------
 *
 * log_sql.c
 *	  SQL functions on ids and time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "clock.h"

PG_FUNCTION_INFO_V1(eb_message_time);
PG_FUNCTION_INFO_V1(eb_event_time);
PG_FUNCTION_INFO_V1(eb_event_id_from);

Datum
eb_message_time(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);

	if (id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid message id " INT64_FORMAT, id)));
	PG_RETURN_TIMESTAMPTZ(eb_tick_time((EbTick) id));
}

Datum
eb_event_time(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);

	if (id->data[6] >> 4 != 7)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uuid is not an event id"),
				 errdetail("Its version is %d; ids of events are of version 7.",
						   id->data[6] >> 4)));
	PG_RETURN_TIMESTAMPTZ(eb_tick_time(eb_uuid_tick(id)));
}

Datum
eb_event_id_from(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (TIMESTAMP_NOT_FINITE(at) || at < 0 || at > (PG_INT64_MAX >> EB_TICK_SHIFT))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range"),
				 errdetail("Event ids begin in the year 2000 and end in 2071.")));
	eb_tick_uuid(eb_time_tick(at), id);
	id->data[9] &= 0xf0;
	memset(&id->data[10], 0, 6);
	PG_RETURN_UUID_P(id);
}
