/*-------------------------------------------------------------------------
 *
 * archive_read.c
 *	  Read an archive; count what it holds.
 *
 * An archive is a view of the log, so counting it means looking at the log's
 * events.  The maintainer does it once per event: it goes on where it stopped
 * (eb.archive_counted) and adds what it found to a row per partition, which
 * goes when the partition goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "archive/archive.h"
#include "catalog.h"
#include "errors.h"
#include "log/log_columns.h"
#include "stream/stream.h"

/* Events that one step of counting looks at. */
#define COUNT_STEP	100000

/* Events that eb.archive_totals() looks at on top of the counts. */
#define TOTALS_SCAN	10000

typedef struct Count
{
	Oid			leaf;
	int64		events;
	int64		bytes;
	EbTick		oldest;
	EbTick		newest;
} Count;

PG_FUNCTION_INFO_V1(eb_archived_events);
PG_FUNCTION_INFO_V1(eb_archive_totals);

EbTick
eb_archive_after(bool isnull, TimestampTz from)
{
	if (isnull || from <= 0)
		return 0;
	if (from > EB_LAST_TIME)
		return PG_INT64_MAX;
	return eb_time_tick(from) - 1;
}

void
eb_archive_clamp(const EbArchive *archive, EbTick *after)
{
	TimestampTz begin;

	if (archive->forever)
		return;
	begin = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
													TimestampTzGetDatum(eb_clock_now()),
													IntervalPGetDatum(&archive->retention)));
	*after = Max(*after, eb_archive_after(false, begin));
}

bool
eb_archive_row_matches(const EbLogRow *row, int32 bus_id, const EbPatternSet *pattern,
					   MemoryContext context)
{
	return DatumGetInt32(row->values[row->columns[EVENT_BUS_ID]]) == bus_id &&
		eb_stream_matches(pattern, row, context);
}

Datum
eb_archived_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EbArchive  *archive;
	EbTick		after;
	EbTick		before;
	Snapshot	snapshot;
	EbLogScan  *scan;
	EbLogRow	row;
	MemoryContext context;

	if (PG_ARGISNULL(0))
		eb_error_null("archive");
	archive = eb_archive_get(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	eb_check_view_privilege(archive->view, EB_ARCHIVE_READ, "archive", archive->name);
	after = eb_archive_after(PG_ARGISNULL(1), PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1));
	eb_archive_clamp(archive, &after);
	InitMaterializedSRF(fcinfo, 0);
	if (archive->bus_id == 0 || !OidIsValid(eb_table_oid(EB_EVENTS, true)))
		PG_RETURN_VOID();

	context = AllocSetContextCreate(CurrentMemoryContext,
									"pg_eventbus event being matched",
									ALLOCSET_DEFAULT_SIZES);
	before = eb_log_horizon();
	if (!PG_ARGISNULL(2))
		before = Min(before, eb_archive_after(false, PG_GETARG_TIMESTAMPTZ(2)) + 1);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = eb_log_scan_begin(after, before, snapshot);
	while (eb_log_scan_next(scan, &row))
	{
		CHECK_FOR_INTERRUPTS();
		if (eb_archive_row_matches(&row, archive->bus_id, archive->pattern, context))
			eb_stream_put_row(result, &row, -1);
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(context);
	PG_RETURN_VOID();
}

/* ---- counting ---- */

/*
 * Look at up to limit events after *position and below horizon; counts by
 * partition.  Moves *position to the last one looked at; returns how many were.
 */
static int
count_events(const EbArchive *archive, EbTick *position, EbTick horizon, int limit,
			 Count *counts, int *ncounts, int max_counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "pg_eventbus event being counted",
												  ALLOCSET_DEFAULT_SIZES);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EbLogScan  *scan = eb_log_scan_begin(*position, horizon, snapshot);
	EbLogRow	row;
	int			n = 0;

	*ncounts = 0;
	while (n < limit && eb_log_scan_next(scan, &row))
	{
		Count	   *count = NULL;

		n++;
		*position = row.tick;
		if (!eb_archive_row_matches(&row, archive->bus_id, archive->pattern, context))
			continue;
		for (int i = 0; i < *ncounts && !count; i++)
		{
			if (counts[i].leaf == row.leaf)
				count = &counts[i];
		}
		if (!count)
		{
			/* more partitions than room: the next step takes the rest */
			if (*ncounts == max_counts)
			{
				*position = row.tick - 1;
				break;
			}
			count = &counts[(*ncounts)++];
			memset(count, 0, sizeof(Count));
			count->leaf = row.leaf;
			count->oldest = row.tick;
		}
		count->events++;
		count->bytes += VARSIZE_ANY(DatumGetPointer(row.values[row.columns[EVENT_DETAIL]]));
		count->newest = row.tick;
	}
	eb_log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(context);
	return n;
}

static EbTick
counted_position(const char *archive)
{
	char	   *value;

	value = eb_sql_value("SELECT \"position\"::text FROM eb.archive_counted WHERE archive = $1",
						 archive, NULL);
	if (!value)
		return 0;
	return eb_uuid_tick(DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(value))));
}

static void
store_count(const char *archive, const Count *count)
{
	EbSqlArgs	args = {0};
	pg_uuid_t	oldest;
	pg_uuid_t	newest;

	eb_tick_uuid(count->oldest, &oldest);
	eb_tick_uuid(count->newest, &newest);
	eb_sql_arg_text(&args, archive);
	eb_sql_arg_text(&args, get_rel_name(count->leaf));
	eb_sql_arg(&args, INT8OID, Int64GetDatum(count->events), false);
	eb_sql_arg(&args, INT8OID, Int64GetDatum(count->bytes), false);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&oldest), false);
	eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&newest), false);
	(void) eb_sql_run("INSERT INTO eb.archive_counts AS c"
					  " (archive, leaf, events, bytes, oldest, newest)"
					  " VALUES ($1, $2, $3, $4, $5, $6)"
					  " ON CONFLICT (archive, leaf) DO UPDATE SET"
					  " events = c.events + excluded.events,"
					  " bytes = c.bytes + excluded.bytes,"
					  " newest = excluded.newest", &args);
}

bool
eb_archive_count(const char *name)
{
	EbArchive  *archive = eb_archive_find(name);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	EbTick		position;
	EbTick		start;
	pg_uuid_t	id;
	Count		counts[16];
	int			ncounts;
	int			n;

	if (!archive || archive->bus_id == 0 || !OidIsValid(eb_table_oid(EB_EVENTS, true)))
		return false;
	eb_owner_begin(&owner);
	start = position = counted_position(name);
	n = count_events(archive, &position, eb_log_horizon(), COUNT_STEP, counts, &ncounts, lengthof(counts));
	if (position != start)
	{
		for (int i = 0; i < ncounts; i++)
			store_count(name, &counts[i]);
		eb_position_before(position + 1, &id);
		eb_sql_arg_text(&args, name);
		eb_sql_arg(&args, UUIDOID, UUIDPGetDatum(&id), false);
		(void) eb_sql_run("INSERT INTO eb.archive_counted VALUES ($1, $2)"
						  " ON CONFLICT (archive) DO UPDATE SET \"position\" = excluded.\"position\"",
						  &args);
	}

	/* partitions that are gone take their counts with them */
	(void) eb_sql_run("DELETE FROM eb.archive_counts c WHERE NOT EXISTS ("
					  "SELECT FROM pg_catalog.pg_class k"
					  " WHERE k.relname = c.leaf AND k.relnamespace = 'eb'::regnamespace)",
					  &(EbSqlArgs) {0});
	eb_owner_end(&owner);
	return n == COUNT_STEP;
}

Datum
eb_archive_totals(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EbArchive  *archive = eb_archive_get(name);
	EbOwnerContext owner;
	EbSqlArgs	args = {0};
	TupleDesc	desc;
	Datum		values[5];
	bool		isnull[5] = {false, false, true, true, false};
	EbTick		position;
	EbTick		after = 0;
	EbTick		newest = 0;
	EbTick		oldest = 0;
	int64		events = 0;
	int64		bytes = 0;
	Count		counts[64];
	int			ncounts = 0;
	int			n = 0;
	bool		partly_expired = false;

	if (pg_class_aclcheck(archive->view, GetUserId(),
						  EB_ARCHIVE_READ | EB_ARCHIVE_ADMIN) != ACLCHECK_OK)
		eb_check_view_privilege(archive->view, EB_ARCHIVE_READ, "archive", name);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	eb_archive_clamp(archive, &after);
	eb_owner_begin(&owner);
	position = counted_position(name);
	eb_sql_arg_text(&args, name);
	SPI_connect();
	if (SPI_execute_with_args("SELECT events, bytes, oldest, newest FROM eb.archive_counts"
							  " WHERE archive = $1", args.n, args.types, args.values,
							  args.nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the counts of archives");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	row = SPI_tuptable->tupdesc;
		EbTick		first = eb_uuid_tick(DatumGetUUIDP(SPI_getbinval(tuple, row, 3, &isnull[0])));
		EbTick		last = eb_uuid_tick(DatumGetUUIDP(SPI_getbinval(tuple, row, 4, &isnull[0])));

		/* a partition that the retention has passed is counted no more */
		if (last <= after)
			continue;
		partly_expired |= first <= after;
		events += DatumGetInt64(SPI_getbinval(tuple, row, 1, &isnull[0]));
		bytes += DatumGetInt64(SPI_getbinval(tuple, row, 2, &isnull[0]));
		oldest = oldest == 0 ? first : Min(oldest, first);
		newest = Max(newest, last);
	}
	SPI_finish();
	eb_owner_end(&owner);

	position = Max(position, after);
	if (archive->bus_id != 0 && OidIsValid(eb_table_oid(EB_EVENTS, true)) && !RecoveryInProgress())
		n = count_events(archive, &position, eb_log_horizon_estimate(), TOTALS_SCAN,
						 counts, &ncounts, lengthof(counts));
	for (int i = 0; i < ncounts; i++)
	{
		events += counts[i].events;
		bytes += counts[i].bytes;
		oldest = oldest == 0 ? counts[i].oldest : Min(oldest, counts[i].oldest);
		newest = Max(newest, counts[i].newest);
	}
	values[0] = Int64GetDatum(events);
	values[1] = Int64GetDatum(bytes);
	values[2] = TimestampTzGetDatum(eb_tick_time(Max(oldest, after)));
	values[3] = TimestampTzGetDatum(eb_tick_time(newest));
	values[4] = BoolGetDatum(n < TOTALS_SCAN && !partly_expired);
	isnull[0] = false;
	isnull[2] = isnull[3] = events == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
