/*-------------------------------------------------------------------------
 *
 * worker_partition.c
 *	  Ask for a missing partition of the event log.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "log/log.h"

Oid
eb_partition_request(int16 class, TimestampTz at)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event log has no partition of class %d for %s",
					class, timestamptz_to_str(at)),
			 errhint("Run CALL eb.maintain().")));
}
