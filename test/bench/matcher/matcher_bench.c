/*-------------------------------------------------------------------------
 *
 * matcher_bench.c
 *	  SQL functions that time the matcher inside of a server; no part of the
 *	  extension.
 *
 *	 matcher_bench_match(rules jsonb[], events jsonb[], seconds float8)
 *		compiles the rules into one set and matches the events, as they lie in
 *		the array, one after the other until the time is over; in three runs,
 *		of which the median counts.
 *	 matcher_bench_compile(rules jsonb[], runs int)
 *		median time to parse and compile the rules, and bytes of the set.
 *
 * The sources of src/pattern are compiled into this module, so that it needs
 * no extension to be installed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "pattern/pattern.h"

#define RUNS	3

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(matcher_bench_match);
PG_FUNCTION_INFO_V1(matcher_bench_compile);

static Jsonb **
jsonb_array(ArrayType *array, int *n)
{
	Datum	   *values;
	Jsonb	  **list;

	deconstruct_array(array, JSONBOID, -1, false, TYPALIGN_INT, &values, NULL, n);
	list = palloc(*n * sizeof(Jsonb *));
	for (int i = 0; i < *n; i++)
	{
		/* a small one may have a short header; the matcher gets full ones */
		list[i] = DatumGetJsonbP(values[i]);
	}
	return list;
}

static EbPatternSet *
compile(Jsonb **rules, int n)
{
	EbPatternBuilder *b = eb_pattern_builder_create(n);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext,
											   "parsed pattern",
											   ALLOCSET_SMALL_SIZES);

	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(work);
		EbPattern  *p = eb_pattern_parse(&rules[i]->root);

		MemoryContextSwitchTo(old);
		eb_pattern_builder_add(b, p, i);
		MemoryContextReset(work);
	}
	MemoryContextDelete(work);
	return eb_pattern_builder_finish(b);
}

static int
cmp_double(const void *a, const void *b)
{
	double		da = *(const double *) a;
	double		db = *(const double *) b;

	return da < db ? -1 : da > db;
}

/*
 * CPU time of this process: the work is pure computation, and what else runs
 * on the machine should show as little as possible.
 */
static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static Datum
make_row(FunctionCallInfo fcinfo, Datum *values)
{
	TupleDesc	desc;
	bool		nulls[8] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a row is wanted");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* OUT ns_per_event float8, OUT matches_per_event float8 */
Datum
matcher_bench_match(PG_FUNCTION_ARGS)
{
	int			nrules;
	int			nevents;
	Jsonb	  **rules = jsonb_array(PG_GETARG_ARRAYTYPE_P(0), &nrules);
	Jsonb	  **events = jsonb_array(PG_GETARG_ARRAYTYPE_P(1), &nevents);
	double		seconds = PG_GETARG_FLOAT8(2);
	EbPatternSet *set = compile(rules, nrules);
	EbPatternScratch *scratch = eb_pattern_scratch_create();
	double		ns[RUNS];
	int64		matches = 0;
	int64		total = 0;
	Datum		values[2];

	for (int run = 0; run < RUNS; run++)
	{
		double		start = cpu_seconds();
		int64		done = 0;
		double		elapsed;

		do
		{
			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < 128; i++)
			{
				const uint32 *found;

				matches += eb_pattern_match(set, scratch,
											&events[done % nevents]->root, &found);
				done++;
			}
			elapsed = cpu_seconds() - start;
		} while (elapsed < seconds);
		ns[run] = elapsed / done * 1e9;
		total += done;
	}
	qsort(ns, RUNS, sizeof(double), cmp_double);
	values[0] = Float8GetDatum(ns[RUNS / 2]);
	values[1] = Float8GetDatum((double) matches / total);
	return make_row(fcinfo, values);
}

/* OUT milliseconds float8, OUT bytes bigint */
Datum
matcher_bench_compile(PG_FUNCTION_ARGS)
{
	int			nrules;
	Jsonb	  **rules = jsonb_array(PG_GETARG_ARRAYTYPE_P(0), &nrules);
	int			runs = PG_GETARG_INT32(1);
	double	   *ms = palloc(runs * sizeof(double));
	Size		bytes = 0;
	Datum		values[2];

	for (int run = 0; run < runs; run++)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
													  "compile",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		double		start = cpu_seconds();

		bytes = compile(rules, nrules)->size;
		ms[run] = (cpu_seconds() - start) * 1000;
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
	}
	qsort(ms, runs, sizeof(double), cmp_double);
	values[0] = Float8GetDatum(ms[runs / 2]);
	values[1] = Int64GetDatum((int64) bytes);
	return make_row(fcinfo, values);
}
