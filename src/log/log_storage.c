/*-------------------------------------------------------------------------
 *
 * log_storage.c
 *	  The event log's tables: making them, finding the leaf for an instant.
 *
 * eb.events (LIST by retention class) > eb.events_<class> (RANGE by
 * ingested_at) > eb.events_<class>_<start>.  Neither parent has an index or a
 * primary key: pg_dump restores partitions by ATTACH, which would clone a
 * parent's indexes onto them and collide with the dump's own.  A leaf that is
 * written to has a BRIN index on id: rows arrive in id order, so it is as
 * good as a btree for the rare look-up by id, at a tenth of the cost; a leaf
 * that is closed gets its btree from the maintainer.
 *
 * Tables are made with CREATE TABLE and ATTACH PARTITION, which takes
 * ShareUpdateExclusiveLock on the parent and so passes open publishers, never
 * with PARTITION OF, which would wait for them.
 *
 * The map from (class, instant) to leaf is read from the partition
 * descriptors once, and again when a parent is invalidated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "log/log.h"
#include "log/log_columns.h"

/*
 * Longer than that is for ever: what is reckoned with now and a retention
 * must stay within the range of timestamps.
 */
#define MAX_RETENTION_YEARS 1000

static const char *const column_names[EVENT_COLUMNS] = {
	[EVENT_ID] = "id",
	[EVENT_INGESTED_AT] = "ingested_at",
	[EVENT_TIME] = "time",
	[EVENT_RULESET_VERSION] = "ruleset_version",
	[EVENT_BUS_ID] = "bus_id",
	[EVENT_RETENTION] = "retention",
	[EVENT_HOPS] = "hops",
	[EVENT_SOURCE] = "source",
	[EVENT_DETAIL_TYPE] = "detail_type",
	[EVENT_RESOURCES] = "resources",
	[EVENT_GROUP_KEY] = "group_key",
	[EVENT_CORRELATION_ID] = "correlation_id",
	[EVENT_CAUSATION_ID] = "causation_id",
	[EVENT_TRACEPARENT] = "traceparent",
	[EVENT_REPLAY] = "replay",
	[EVENT_HEADERS] = "headers",
	[EVENT_DETAIL] = "detail",
};

/* The map; in a context of its own, replaced as a whole. */
static MemoryContext map_context = NULL;
static EbLogLeaf *map_leaves = NULL;
static int	map_nleaves = 0;
static Oid *map_parents = NULL; /* class partitions, to know their invalidations */
static int	map_nparents = 0;
static Oid	map_root = InvalidOid;
static bool map_valid = false;
static bool map_callback = false;
static uint64 map_changes = 0;	/* relcache invalidations seen, of any relation */

/* Retention classes, longest first. */
typedef struct ClassInfo
{
	int16		class;
	bool		forever;
	Interval	keep;
} ClassInfo;

static MemoryContext class_context = NULL;
static ClassInfo *classes = NULL;
static int	nclasses = 0;
static uint64 classes_generation = 0;

void
eb_log_columns(TupleDesc desc, int attnos[EVENT_COLUMNS])
{
	for (int c = 0; c < EVENT_COLUMNS; c++)
	{
		int			i = c;

		if (c >= desc->natts ||
			strcmp(NameStr(TupleDescAttr(desc, c)->attname), column_names[c]) != 0)
		{
			for (i = 0; i < desc->natts; i++)
			{
				Form_pg_attribute att = TupleDescAttr(desc, i);

				if (!att->attisdropped &&
					strcmp(NameStr(att->attname), column_names[c]) == 0)
					break;
			}
			if (i == desc->natts)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("event log has no column \"%s\"", column_names[c]),
						 errdetail("Its tables were made by another version of the extension."),
						 errhint("Run ALTER EXTENSION pg_eventbus UPDATE.")));
		}
		attnos[c] = i;
	}
}

/* ---- the map of leaves ---- */

static void
map_invalidate(Datum arg, Oid relid)
{
	map_changes++;
	if (relid == InvalidOid || relid == map_root)
		map_valid = false;
	for (int i = 0; map_valid && i < map_nparents; i++)
	{
		if (map_parents[i] == relid)
			map_valid = false;
	}
}

static int
compare_leaves(const void *a, const void *b)
{
	const EbLogLeaf *x = a;
	const EbLogLeaf *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return x->from < y->from ? -1 : x->from > y->from;
}

/* Add the leaves of a class partition to the array. */
static void
map_class(Oid parent, int16 class, EbLogLeaf **leaves, int *n, int *room)
{
	Relation	rel = table_open(parent, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = desc->boundinfo;

	for (int i = 0; bounds && i < bounds->ndatums; i++)
	{
		int			index = bounds->indexes[i];
		EbLogLeaf  *leaf;

		/* indexes[i] is the partition whose upper bound is datums[i] */
		if (index < 0)
			continue;
		if (*n == *room)
		{
			*room *= 2;
			*leaves = repalloc(*leaves, *room * sizeof(EbLogLeaf));
		}
		leaf = &(*leaves)[(*n)++];
		leaf->relid = desc->oids[index];
		leaf->class = class;
		leaf->to = bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE ?
			DatumGetTimestampTz(bounds->datums[i][0]) : DT_NOEND;
		leaf->from = i > 0 && bounds->kind[i - 1][0] == PARTITION_RANGE_DATUM_VALUE ?
			DatumGetTimestampTz(bounds->datums[i - 1][0]) : DT_NOBEGIN;
	}
	table_close(rel, AccessShareLock);
}

static void
map_build(void)
{
	Oid			root = eb_table_oid(EB_EVENTS, true);
	MemoryContext context;
	MemoryContext old;
	EbLogLeaf  *leaves;
	Oid		   *parents = NULL;
	int			nleaves = 0;
	int			nparents = 0;
	int			room = 32;
	uint64		changes = map_changes;

	if (!map_callback)
	{
		CacheRegisterRelcacheCallback(map_invalidate, (Datum) 0);
		map_callback = true;
	}

	context = AllocSetContextCreate(CurrentMemoryContext,
									"pg_eventbus map of the event log",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	leaves = palloc(room * sizeof(EbLogLeaf));

	if (OidIsValid(root))
	{
		Relation	rel = table_open(root, AccessShareLock);
		PartitionDesc desc = RelationGetPartitionDesc(rel, true);

		parents = palloc(Max(desc->nparts, 1) * sizeof(Oid));
		for (int i = 0; desc->boundinfo && i < desc->boundinfo->ndatums; i++)
		{
			int			index = desc->boundinfo->indexes[i];

			if (index < 0 || desc->is_leaf[index])
				continue;
			parents[nparents++] = desc->oids[index];
			map_class(desc->oids[index],
					  DatumGetInt16(desc->boundinfo->datums[i][0]),
					  &leaves, &nleaves, &room);
		}
		table_close(rel, AccessShareLock);
	}
	qsort(leaves, nleaves, sizeof(EbLogLeaf), compare_leaves);
	MemoryContextSwitchTo(old);

	if (map_context)
		MemoryContextDelete(map_context);
	MemoryContextSetParent(context, CacheMemoryContext);
	map_context = context;
	map_leaves = leaves;
	map_nleaves = nleaves;
	map_parents = parents;
	map_nparents = nparents;
	map_root = root;

	/*
	 * Which relations matter was not known before the end, so whatever was
	 * invalidated meanwhile makes the next look-up read again.
	 */
	map_valid = OidIsValid(root) && changes == map_changes;
}

static EbLogLeaf *
map_find(int16 class, TimestampTz at)
{
	int			low = 0;
	int			high = map_nleaves;

	/* the last leaf that starts at or before the instant */
	while (low < high)
	{
		int			mid = (low + high) / 2;
		EbLogLeaf  *leaf = &map_leaves[mid];

		if (leaf->class < class || (leaf->class == class && leaf->from <= at))
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return NULL;
	if (map_leaves[low - 1].class != class || map_leaves[low - 1].to <= at)
		return NULL;
	return &map_leaves[low - 1];
}

Oid
eb_log_leaf(int16 class, TimestampTz at)
{
	EbLogLeaf  *leaf;

	if (!map_valid)
		map_build();
	leaf = map_find(class, at);
	return leaf ? leaf->relid : InvalidOid;
}

int
eb_log_leaves(EbLogLeaf **leaves)
{
	if (!map_valid)
		map_build();
	*leaves = palloc(Max(map_nleaves, 1) * sizeof(EbLogLeaf));
	memcpy(*leaves, map_leaves, map_nleaves * sizeof(EbLogLeaf));
	return map_nleaves;
}

/* ---- retention classes ---- */

static int
compare_keep(const ClassInfo *a, const ClassInfo *b)
{
	if (a->forever || b->forever)
		return (int) a->forever - (int) b->forever;
	return DatumGetInt32(DirectFunctionCall2(interval_cmp,
											 IntervalPGetDatum(&a->keep),
											 IntervalPGetDatum(&b->keep)));
}

static void
load_classes(void)
{
	uint64		generation = eb_catalog_generation(EB_RETENTION_CLASSES);
	EbConfigScan *scan;
	HeapTuple	tuple;
	int			room = 8;
	int			n = 0;
	MemoryContext context;
	ClassInfo  *list;

	if (class_context && classes_generation == generation)
		return;

	context = AllocSetContextCreate(CurrentMemoryContext,
									"pg_eventbus retention classes",
									ALLOCSET_SMALL_SIZES);
	list = MemoryContextAlloc(context, room * sizeof(ClassInfo));
	scan = eb_config_open(EB_RETENTION_CLASSES, 0, NULL);
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		bool		isnull;
		Datum		d;

		if (n == room)
		{
			room *= 2;
			list = repalloc(list, room * sizeof(ClassInfo));
		}
		d = heap_getattr(tuple, 1, eb_config_desc(scan), &isnull);
		list[n].class = DatumGetInt16(d);
		d = heap_getattr(tuple, 2, eb_config_desc(scan), &isnull);
		list[n].forever = isnull;
		if (!isnull)
			list[n].keep = *DatumGetIntervalP(d);
		n++;
	}
	eb_config_close(scan);

	if (class_context)
		MemoryContextDelete(class_context);
	MemoryContextSetParent(context, CacheMemoryContext);
	class_context = context;
	classes = list;
	nclasses = n;
	classes_generation = generation;
}

static const ClassInfo *
find_class(int16 class)
{
	load_classes();
	for (int i = 0; i < nclasses; i++)
	{
		if (classes[i].class == class)
			return &classes[i];
	}
	return NULL;
}

int
eb_log_classes(int16 **result)
{
	load_classes();
	*result = palloc(Max(nclasses, 1) * sizeof(int16));
	for (int i = 0; i < nclasses; i++)
		(*result)[i] = classes[i].class;
	return nclasses;
}

int16
eb_log_class_longer(int16 a, int16 b)
{
	const ClassInfo *x;
	const ClassInfo *y;

	if (a == b)
		return a;
	x = find_class(a);
	y = find_class(b);
	if (!x || !y)
		return x ? a : b;
	return compare_keep(x, y) >= 0 ? a : b;
}

bool
eb_log_expiring(int16 class, TimestampTz to)
{
	const ClassInfo *info = find_class(class);
	TimestampTz end;

	if (!info || info->forever || TIMESTAMP_NOT_FINITE(to))
		return false;
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(to),
												  IntervalPGetDatum(&info->keep)));
	return end <= eb_clock_now() + 5 * USECS_PER_MINUTE;
}

int16
eb_log_class_at_least(const Interval *keep)
{
	ClassInfo	wanted = {.forever = keep == NULL};
	const ClassInfo *best = NULL;

	if (keep)
		wanted.keep = *keep;
	load_classes();
	for (int i = 0; i < nclasses; i++)
	{
		if (compare_keep(&classes[i], &wanted) >= 0 &&
			(!best || compare_keep(&classes[i], best) < 0))
			best = &classes[i];
	}
	return best ? best->class : 0;
}

/* ---- making tables ---- */

/* "7d", "12h", "90min": part of the names of the class's tables. */
static char *
class_label(const Interval *keep)
{
	int64		us;

	if (!keep)
		return pstrdup("forever");
	us = keep->time + ((int64) keep->month * DAYS_PER_MONTH + keep->day) * USECS_PER_DAY;
	if (us % USECS_PER_DAY == 0)
		return psprintf(INT64_FORMAT "d", us / USECS_PER_DAY);
	if (us % USECS_PER_HOUR == 0)
		return psprintf(INT64_FORMAT "h", us / USECS_PER_HOUR);
	return psprintf(INT64_FORMAT "s", us / USECS_PER_SEC);
}

/* At most about 100 leaves a class: relcache entries cost every backend. */
static const char *
class_partition_interval(const Interval *keep)
{
	int64		days;

	if (!keep)
		return "1 month";
	days = (int64) keep->month * DAYS_PER_MONTH + keep->day +
		keep->time / USECS_PER_DAY;
	if (days < 3)
		return "1 hour";
	if (days <= 100)
		return "1 day";
	return "1 month";
}

/* " COMPRESSION lz4" if the server was built with it. */
static const char *
detail_compression(void)
{
	if (eb_sql_with_args("SELECT 1 FROM pg_settings"
						 " WHERE name = 'default_toast_compression'"
						 " AND 'lz4' = ANY (enumvals)", 0, NULL, NULL, NULL) > 0)
		return " COMPRESSION lz4";
	return "";
}

static void
create_root(void)
{
	eb_sql_execute("CREATE TABLE eb.events ("
				   " id uuid NOT NULL,"
				   " ingested_at timestamptz NOT NULL,"
				   " \"time\" timestamptz NOT NULL,"
				   " ruleset_version bigint NOT NULL,"
				   " bus_id integer NOT NULL,"
				   " retention eb.retention,"
				   " hops smallint NOT NULL,"
				   " source text NOT NULL,"
				   " detail_type text NOT NULL,"
				   " resources text[],"
				   " group_key text,"
				   " correlation_id text,"
				   " causation_id text,"
				   " traceparent text,"
				   " replay text,"
				   " headers jsonb,"
				   " detail jsonb%s NOT NULL"
				   ") PARTITION BY LIST (retention)", detail_compression());
	eb_sql_execute("CREATE TABLE eb.prepared_publishers (bound bigint NOT NULL)"
				   " USING heap");
	eb_sql_execute("COMMENT ON TABLE eb.prepared_publishers IS "
				   "'Rows of prepared transactions that published, in progress "
				   "until COMMIT PREPARED; committed ones mean nothing.'");
	eb_sql_execute("COMMENT ON TABLE eb.events IS "
				   "'The event log: every event of every bus, once. "
				   "id is a version 7 uuid that holds ingested_at.'");
}

/* Oid of a class's partition of eb.events, its partition interval by *interval. */
static Oid
class_partition(int16 class, Interval *interval)
{
	EbConfigScan *scan = eb_config_open(EB_RETENTION_CLASSES, 0, NULL);
	HeapTuple	tuple;
	char	   *label = NULL;

	while ((tuple = eb_config_next(scan)) != NULL)
	{
		TupleDesc	desc = eb_config_desc(scan);
		bool		isnull;
		Datum		d;

		if (DatumGetInt16(heap_getattr(tuple, 1, desc, &isnull)) != class)
			continue;
		d = heap_getattr(tuple, 2, desc, &isnull);
		label = class_label(isnull ? NULL : DatumGetIntervalP(d));
		*interval = *DatumGetIntervalP(heap_getattr(tuple, 3, desc, &isnull));
	}
	eb_config_close(scan);
	if (!label)
		return InvalidOid;
	return eb_relation_oid(psprintf("events_%s", label));
}

/* The partition that holds an instant, in UTC. */
static void
leaf_bounds(const Interval *interval, TimestampTz at, TimestampTz *from,
			TimestampTz *to)
{
	int64		step;

	if (interval->month > 0)
	{
		struct pg_tm tm;
		fsec_t		fsec;
		int			month;

		if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("timestamp out of range")));
		month = (tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1) /
			interval->month * interval->month;
		*from = (int64) (date2j(month / MONTHS_PER_YEAR,
								month % MONTHS_PER_YEAR + 1, 1) -
						 POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
		month += interval->month;
		*to = (int64) (date2j(month / MONTHS_PER_YEAR,
							  month % MONTHS_PER_YEAR + 1, 1) -
					   POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
		return;
	}

	step = interval->day * USECS_PER_DAY + interval->time;
	if (step <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition interval must be positive")));
	*from = at - at % step;
	if (*from > at)
		*from -= step;
	*to = *from + step;
}

Oid
eb_log_leaf_create(int16 class, TimestampTz at)
{
	EbOwnerContext owner;
	Interval	interval;
	TimestampTz from;
	TimestampTz to;
	struct pg_tm tm;
	fsec_t		fsec;
	Oid			parent;
	Oid			leaf;
	char	   *name;
	char		from_text[MAXDATELEN + 1];
	char		to_text[MAXDATELEN + 1];

	parent = class_partition(class, &interval);
	if (!OidIsValid(parent))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("retention class %d has no partition in the event log", class)));

	/* one at a time, and the map read after the lock is the newest */
	LockRelationOid(parent, ShareUpdateExclusiveLock);
	leaf = eb_log_leaf(class, at);
	if (OidIsValid(leaf))
		return leaf;

	leaf_bounds(&interval, at, &from, &to);
	if (timestamp2tm(from, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	name = psprintf("%s_%04d%02d", get_rel_name(parent), tm.tm_year, tm.tm_mon);
	if (interval.month == 0)
		name = psprintf("%s%02d", name, tm.tm_mday);
	if (interval.month == 0 && interval.day == 0)
		name = psprintf("%s%02d%02d", name, tm.tm_hour, tm.tm_min);
	eb_format_time(from, from_text);
	eb_format_time(to, to_text);

	eb_owner_begin(&owner);
	eb_sql_execute("CREATE TABLE eb.%s (LIKE eb.events INCLUDING DEFAULTS"
				   " INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS)"
				   " USING heap WITH (toast.vacuum_truncate = off,"
				   " vacuum_truncate = off)", quote_identifier(name));
	eb_sql_execute("CREATE INDEX ON eb.%s USING brin (id) WITH (pages_per_range = %d)",
				   quote_identifier(name), EB_LOG_RANGE);
	eb_sql_execute("ALTER TABLE eb.%s ATTACH PARTITION eb.%s"
				   " FOR VALUES FROM ('%s') TO ('%s')",
				   quote_identifier(get_rel_name(parent)),
				   quote_identifier(name), from_text, to_text);
	eb_owner_end(&owner);
	return eb_relation_oid(name);
}

/* Insert the row of a new class and make its partition. */
static int16
create_class(const Interval *keep)
{
	Oid			types[2] = {INTERVALOID, TEXTOID};
	Datum		values[2];
	char		nulls[2] = {keep ? ' ' : 'n', ' '};
	char	   *label = class_label(keep);
	Interval	justified;
	int			class = 1;

	load_classes();
	for (int i = 0; i < nclasses; i++)
		class = Max(class, classes[i].class + 1);
	if (class > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many retention classes")));

	/* 96 hours read better as 4 days; they compare equal */
	if (keep)
	{
		justified = *DatumGetIntervalP(DirectFunctionCall1(interval_justify_hours,
														   IntervalPGetDatum(keep)));
		keep = &justified;
	}
	values[0] = IntervalPGetDatum(keep);
	values[1] = CStringGetTextDatum(class_partition_interval(keep));
	(void) eb_sql_with_args(psprintf("INSERT INTO eb.retention_classes"
									 " (class, keep, partition_interval)"
									 " VALUES (%d, $1, $2::interval)", class),
							2, types, values, nulls);
	eb_sql_execute("CREATE TABLE eb.events_%s (LIKE eb.events INCLUDING DEFAULTS"
				   " INCLUDING STORAGE INCLUDING COMPRESSION)"
				   " PARTITION BY RANGE (ingested_at)", label);
	eb_sql_execute("ALTER TABLE eb.events ATTACH PARTITION eb.events_%s"
				   " FOR VALUES IN (%d)", label, class);
	return (int16) class;
}

int16
eb_log_class_ensure(const Interval *keep)
{
	EbOwnerContext owner;
	ClassInfo	wanted = {.forever = keep == NULL};
	TimestampTz now = eb_clock_now();
	int16		class = 0;

	if (keep)
	{
		Interval	zero = {0};
		Interval	longest = {.month = MAX_RETENTION_YEARS * MONTHS_PER_YEAR};

		wanted.keep = *keep;
		if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(keep),
											  IntervalPGetDatum(&zero))) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("retention must be positive")));
		if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(keep),
											  IntervalPGetDatum(&longest))) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("retention \"%s\" is too long",
							DatumGetCString(DirectFunctionCall1(interval_out,
																IntervalPGetDatum(keep)))),
					 errdetail("The longest is %d years.", MAX_RETENTION_YEARS),
					 errhint("Keep for ever what is to stay longer.")));
	}

	eb_owner_begin(&owner);

	/* makers of classes come one after the other; readers are not kept out */
	LockRelationOid(eb_table_oid(EB_RETENTION_CLASSES, false),
					ShareRowExclusiveLock);
	if (!OidIsValid(eb_table_oid(EB_EVENTS, true)))
		create_root();
	load_classes();
	for (int i = 0; i < nclasses && class == 0; i++)
	{
		if (compare_keep(&classes[i], &wanted) == 0)
			class = classes[i].class;
	}
	if (class == 0)
		class = create_class(keep);
	if (!OidIsValid(eb_log_leaf(class, now)))
		(void) eb_log_leaf_create(class, now);
	eb_owner_end(&owner);
	return class;
}
