/*-------------------------------------------------------------------------
 *
 * queue_check.c
 *	  Self-check of the floors, and a look at them for tests and debugging.
 *
 * A message that is alive below its floor would never be found by a receive.
 * The argument in README.md says that there is none but for the moment between
 * a transaction's end and its lowering, so one that is there twice in a row
 * means a bug, or somebody who wrote to the table past the triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "queue/queue_internal.h"
#include "shmem.h"

/* Longer than any backend is likely to take from its end to its lowering. */
#define SECOND_LOOK_MS	100

static int64
check_index(const EbQueue *queue, Relation table, Oid index, EbQueueIndex which)
{
	int64		found;
	int64		lowest;

	found = eb_queue_alive_below(table, index, which, eb_floor_start(table, which), &lowest);
	if (found == 0)
		return 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 SECOND_LOOK_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	found = eb_queue_alive_below(table, index, which, eb_floor_start(table, which), &lowest);
	if (found == 0)
		return 0;

	ereport(WARNING,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("queue \"%s\" had %lld messages below the floor of its %s index",
					queue->name, (long long) found,
					which == EB_READY ? "ready" : "waiting"),
			 errdetail("The floor has been lowered to %lld.", (long long) lowest)));
	eb_floor_lower(table, which, lowest);
	return found;
}

int64
eb_queue_check_floor(const EbQueue *queue)
{
	EbQueue		copy = *queue;
	Relation	table = eb_queue_open(&copy, AccessShareLock);
	int64		found;

	found = check_index(&copy, table, copy.ready_index, EB_READY) +
		check_index(&copy, table, copy.waiting_index, EB_WAITING);
	table_close(table, NoLock);
	return found;
}

PG_FUNCTION_INFO_V1(eb_check_queue_floor);
Datum
eb_check_queue_floor(PG_FUNCTION_ARGS)
{
	const EbQueue *queue = eb_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	PG_RETURN_INT64(eb_queue_check_floor(queue));
}

PG_FUNCTION_INFO_V1(eb_queue_floor);
Datum
eb_queue_floor(PG_FUNCTION_ARGS)
{
	EbQueue		queue = *eb_queue_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	Relation	table = eb_queue_open(&queue, AccessShareLock);
	TupleDesc	desc;
	Datum		values[3 + EB_QUEUE_COUNTS];
	bool		nulls[3 + EB_QUEUE_COUNTS] = {false};
	uint64		counts[EB_QUEUE_COUNTS] = {0};
	int64		floor;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != (int) lengthof(values))
		elog(ERROR, "return type of eb.queue_floor is not what the library knows");
	floor = eb_floor_start(table, EB_READY);
	values[0] = Int64GetDatum(floor);
	nulls[0] = floor == EB_KEY_MIN;
	floor = eb_floor_start(table, EB_WAITING);
	values[1] = TimestampTzGetDatum(floor);
	nulls[1] = floor == EB_KEY_MIN;
	values[2] = BoolGetDatum(eb_floor_counts(table, counts));
	for (int i = 0; i < EB_QUEUE_COUNTS; i++)
		values[3 + i] = Int64GetDatum((int64) counts[i]);
	table_close(table, NoLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
