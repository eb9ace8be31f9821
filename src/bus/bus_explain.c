/*-------------------------------------------------------------------------
 *
 * bus_explain.c
 *	  Why an event goes where it goes: eb.explain_routing(event), and which
 *	  logged events a new rule would get: eb.test_rule(pattern).
 *
 * Both work on the rules and patterns as written, one by one, and not on the
 * compiled set that publishing uses: explaining has to name the first field
 * that failed, which a set that looks at each distinct test once cannot tell.
 * They read what a reader of the bus may read, so they ask for SELECT on its
 * view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bus/bus.h"
#include "bus/bus_internal.h"
#include "catalog.h"
#include "errors.h"

#define MAX_SAMPLES		1000
#define FETCH_ROWS		200		/* events per fetch from the log's cursor */

/* columns of the config tables */
#define RULE_NAME		2
#define RULE_PATTERN	3
#define RULE_ENABLED	4
#define TARGET_RULE		2
#define TARGET_KIND		5
#define TARGET_DESTINATION 6

/* columns of explain_routing */
enum
{
	OUT_RULE,
	OUT_ENABLED,
	OUT_MATCHED,
	OUT_TARGETS,
	OUT_FAILED_PATH,
	OUT_EVENT_VALUE,
	OUT_PREDICATE,
	OUT_COLUMNS
};

/* ---- the event, as the matcher would see it ---- */

/* In jsonb's order of keys.  Others are no part of an envelope. */
static const char *const envelope_keys[] = {
	"id", "time", "detail", "erased", "region", "source", "account", "version",
	"resources", "detail-type", "replay-name"
};

static bool
has_key(Jsonb *object, const char *key)
{
	JsonbValue	value;

	return getKeyJsonValueFromContainer(&object->root, key, strlen(key), &value) != NULL;
}

/* Does the bus fill in what a put leaves out? */
static bool
bus_fills_in(const char *key)
{
	return strcmp(key, "source") != 0 && strcmp(key, "detail-type") != 0 &&
		strcmp(key, "detail") != 0;
}

/*
 * An envelope stays as it is; what an entry leaves to the bus, also with a
 * null, is filled in, so that rules on account or region are explained truly,
 * and a time gets the form that it has in envelopes.  Keys that never reach an
 * envelope (headers, group ...) go, for no rule can see them.
 * Nothing is demanded: a sketch of an event is good enough to ask about.
 */
static Jsonb *
complete_envelope(Jsonb *event)
{
	EbEvent		blank = {0};
	Jsonb	   *defaults;
	JsonbParseState *state = NULL;
	JsonbValue *result;
	TimestampTz time;
	char		time_text[EB_TIME_LENGTH];

	eb_tick_uuid(eb_clock_take(1), &blank.id);
	blank.time = eb_clock_now();
	blank.source = blank.detail_type = "";
	blank.detail = event;
	defaults = eb_log_envelope(&blank, false);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (size_t i = 0; i < lengthof(envelope_keys); i++)
	{
		const char *name = envelope_keys[i];
		JsonbValue	key;
		JsonbValue	value;
		bool		given;

		given = getKeyJsonValueFromContainer(&event->root, name, strlen(name), &value) != NULL;
		if ((!given || value.type == jbvNull) && bus_fills_in(name))
			given = getKeyJsonValueFromContainer(&defaults->root, name, strlen(name), &value) != NULL;
		if (!given)
			continue;
		if (strcmp(name, "time") == 0 && eb_entry_time(&value, &time))
		{
			eb_format_time(time, time_text);
			value.val.string.val = time_text;
			value.val.string.len = strlen(time_text);
		}
		key.type = jbvString;
		key.val.string.val = unconstify(char *, name);
		key.val.string.len = strlen(name);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(result);
}

/* An entry in the shape of the AWS API is read by the reader of put_events. */
static Jsonb *
envelope_of(Jsonb *event)
{
	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event is not an object"),
				 errhint("Give an envelope as read from a queue, or an entry as given to put_events.")));

	if (has_key(event, "Source") || has_key(event, "DetailType") || has_key(event, "Detail"))
	{
		JsonbValue	entry;
		EbEvent		parsed = {.time = DT_NOBEGIN};
		const char *bus;

		entry.type = jbvBinary;
		entry.val.binary.data = &event->root;
		entry.val.binary.len = VARSIZE(event) - VARHDRSZ;
		eb_entry_parse(&entry, 1, &parsed, &bus);
		eb_tick_uuid(eb_clock_take(1), &parsed.id);
		if (parsed.time == DT_NOBEGIN)
			parsed.time = eb_clock_now();
		return eb_log_envelope(&parsed, false);
	}
	return complete_envelope(event);
}

/* A copy, since a look-up is good until the next one. */
static EbBus
readable_bus(const char *name)
{
	EbBus		bus = *eb_bus_lookup(name, false);

	eb_check_view_privilege(bus.view, EB_BUS_READ, "bus", bus.name);
	return bus;
}

/* ---- explain_routing ---- */

/* Targets of a bus in the order of their rules, read beside the rules. */
typedef struct TargetReader
{
	EbConfigScan *scan;
	char	   *rule;			/* of the row at hand; NULL: no more */
	Datum		label;
	MemoryContext context;		/* of the row at hand */
} TargetReader;

static void
next_target(TargetReader *reader)
{
	HeapTuple	tuple = eb_config_next(reader->scan);
	TupleDesc	desc = eb_config_desc(reader->scan);
	MemoryContext old;
	bool		isnull;
	char	   *kind;
	char	   *destination;

	MemoryContextReset(reader->context);
	reader->rule = NULL;
	if (tuple == NULL)
		return;
	old = MemoryContextSwitchTo(reader->context);
	reader->rule = TextDatumGetCString(heap_getattr(tuple, TARGET_RULE, desc, &isnull));
	kind = TextDatumGetCString(heap_getattr(tuple, TARGET_KIND, desc, &isnull));
	destination = TextDatumGetCString(heap_getattr(tuple, TARGET_DESTINATION, desc, &isnull));
	reader->label = CStringGetTextDatum(psprintf("%s:%s", kind, destination));
	MemoryContextSwitchTo(old);
}

/* Labels of a rule's targets; rules are asked for in ascending order. */
static Datum
targets_of(TargetReader *reader, const char *rule)
{
	ArrayBuildState *labels = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	while (reader->rule && strcmp(reader->rule, rule) < 0)
		next_target(reader);	/* of a rule that is gone */
	while (reader->rule && strcmp(reader->rule, rule) == 0)
	{
		accumArrayResult(labels, reader->label, false, TEXTOID, CurrentMemoryContext);
		next_target(reader);
	}
	return makeArrayResult(labels, CurrentMemoryContext);
}

static void
explain_rule(HeapTuple tuple, TupleDesc desc, Jsonb *envelope, TargetReader *targets,
			 Datum *values, bool *nulls)
{
	EbPatternMiss miss = {0};
	EbPattern  *pattern;
	bool		isnull;

	values[OUT_RULE] = heap_getattr(tuple, RULE_NAME, desc, &isnull);
	values[OUT_ENABLED] = heap_getattr(tuple, RULE_ENABLED, desc, &isnull);
	values[OUT_TARGETS] = targets_of(targets, TextDatumGetCString(values[OUT_RULE]));
	pattern = eb_pattern_parse(&DatumGetJsonbP(heap_getattr(tuple, RULE_PATTERN, desc, &isnull))->root);
	if (eb_pattern_explain(pattern, &envelope->root, &miss))
	{
		values[OUT_MATCHED] = BoolGetDatum(true);
		nulls[OUT_FAILED_PATH] = nulls[OUT_EVENT_VALUE] = nulls[OUT_PREDICATE] = true;
		return;
	}
	values[OUT_MATCHED] = BoolGetDatum(false);
	values[OUT_FAILED_PATH] = CStringGetTextDatum(miss.path);
	values[OUT_PREDICATE] = CStringGetTextDatum(miss.predicate);
	if (miss.value)
		values[OUT_EVENT_VALUE] = JsonbPGetDatum(eb_jsonb_from_value(miss.value));
	else
		nulls[OUT_EVENT_VALUE] = true;
}

PG_FUNCTION_INFO_V1(eb_explain_routing);

/* explain_routing(event, bus): a row for each rule of the bus. */
Datum
eb_explain_routing(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EbBus		bus;
	Jsonb	   *envelope;
	EbConfigScan *rules;
	TargetReader targets = {0};
	ScanKeyData rule_key;
	ScanKeyData target_key;
	HeapTuple	tuple;
	MemoryContext row_context;

	if (PG_ARGISNULL(0))
		eb_error_null("event");
	if (PG_ARGISNULL(1))
		eb_error_null("bus");
	bus = readable_bus(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	envelope = envelope_of(PG_GETARG_JSONB_P(0));

	InitMaterializedSRF(fcinfo, 0);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus explained rule",
										ALLOCSET_DEFAULT_SIZES);
	targets.context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus explained target",
											ALLOCSET_SMALL_SIZES);
	eb_config_key(&rule_key, 1, bus.name);
	eb_config_key(&target_key, 1, bus.name);
	rules = eb_config_open(EB_RULES, 1, &rule_key);
	targets.scan = eb_config_open(EB_TARGETS, 1, &target_key);
	next_target(&targets);
	while ((tuple = eb_config_next(rules)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);
		Datum		values[OUT_COLUMNS] = {0};
		bool		nulls[OUT_COLUMNS] = {0};

		CHECK_FOR_INTERRUPTS();
		explain_rule(tuple, eb_config_desc(rules), envelope, &targets, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	eb_config_close(targets.scan);
	eb_config_close(rules);
	return (Datum) 0;
}

/* ---- test_rule ---- */

typedef struct Sample
{
	pg_uuid_t	id;
	Jsonb	   *envelope;
} Sample;

typedef struct RuleTest
{
	EbPatternSet *set;
	EbPatternScratch *scratch;
	int64		scanned;
	int64		matched;
	int			wanted;			/* samples */
	int			nsamples;
	Sample	   *samples;		/* newest first */
	MemoryContext context;		/* of the samples */
	MemoryContext event_context;	/* reset after each event */
} RuleTest;

/* The log comes in no order, so the newest samples are picked on the way. */
static void
keep_sample(RuleTest *test, const EbEvent *event, Jsonb *envelope)
{
	int			at = test->nsamples;
	MemoryContext old;

	while (at > 0 && memcmp(&test->samples[at - 1].id, &event->id, sizeof(pg_uuid_t)) < 0)
		at--;
	if (at == test->wanted)
		return;
	if (test->nsamples == test->wanted)
		pfree(test->samples[--test->nsamples].envelope);
	memmove(&test->samples[at + 1], &test->samples[at],
			(test->nsamples - at) * sizeof(Sample));
	old = MemoryContextSwitchTo(test->context);
	test->samples[at].id = event->id;
	test->samples[at].envelope = (Jsonb *) PG_DETOAST_DATUM_COPY(PointerGetDatum(envelope));
	test->nsamples++;
	MemoryContextSwitchTo(old);
}

static void
test_event(RuleTest *test, HeapTuple tuple, TupleDesc desc)
{
	EbEvent		event = {0};
	Jsonb	   *envelope;
	const uint32 *rules;
	Datum		value;
	bool		isnull;

	event.id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull));
	event.source = TextDatumGetCString(SPI_getbinval(tuple, desc, 2, &isnull));
	event.detail_type = TextDatumGetCString(SPI_getbinval(tuple, desc, 3, &isnull));
	event.time = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 4, &isnull));
	value = SPI_getbinval(tuple, desc, 5, &isnull);
	event.resources = isnull ? (Datum) 0 : value;
	value = SPI_getbinval(tuple, desc, 6, &isnull);
	event.replay = isnull ? NULL : TextDatumGetCString(value);
	event.detail = DatumGetJsonbP(SPI_getbinval(tuple, desc, 7, &isnull));
	envelope = eb_log_envelope(&event, false);

	test->scanned++;
	if (eb_pattern_match(test->set, test->scratch, &envelope->root, &rules) > 0)
	{
		test->matched++;
		if (test->wanted > 0)
			keep_sample(test, &event, envelope);
	}
}

/* Runs as the owner; ingested_at is what the log is partitioned by. */
static void
scan_log(RuleTest *test, int32 bus_id, TimestampTz since)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID};
	Datum		values[] = {Int32GetDatum(bus_id), TimestampTzGetDatum(since)};
	EbOwnerContext owner;
	Portal		portal;

	eb_owner_begin(&owner);
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT id, source, detail_type, \"time\", resources, replay, detail"
									   " FROM eb.events WHERE bus_id = $1 AND ingested_at >= $2",
									   lengthof(types), types, values, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(test->event_context);

			CHECK_FOR_INTERRUPTS();
			test_event(test, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(old);
			MemoryContextReset(test->event_context);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	eb_owner_end(&owner);
}

static Jsonb *
samples_jsonb(const RuleTest *test)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < test->nsamples; i++)
	{
		Jsonb	   *envelope = test->samples[i].envelope;
		JsonbValue	value;

		value.type = jbvBinary;
		value.val.binary.data = &envelope->root;
		value.val.binary.len = VARSIZE(envelope) - VARHDRSZ;
		pushJsonbValue(&state, WJB_ELEM, &value);
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(result);
}

static void
compile_pattern(RuleTest *test, Jsonb *pattern)
{
	EbPatternBuilder *builder = eb_pattern_builder_create(1);

	eb_pattern_builder_add(builder, eb_pattern_parse(&pattern->root), 0);
	test->set = eb_pattern_builder_finish(builder);
	test->scratch = eb_pattern_scratch_create();
}

PG_FUNCTION_INFO_V1(eb_test_rule);

/* test_rule(pattern, bus, since, samples) */
Datum
eb_test_rule(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"pattern", "bus", "since", "samples"};
	RuleTest	test = {0};
	EbBus		bus;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {0};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (PG_ARGISNULL(i))
			eb_error_null(names[i]);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	bus = readable_bus(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	test.wanted = PG_GETARG_INT32(3);
	if (test.wanted < 0 || test.wanted > MAX_SAMPLES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("samples must be between 0 and %d", MAX_SAMPLES)));
	compile_pattern(&test, PG_GETARG_JSONB_P(0));

	test.samples = palloc((test.wanted + 1) * sizeof(Sample));
	test.context = CurrentMemoryContext;
	test.event_context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus tested event",
											   ALLOCSET_DEFAULT_SIZES);
	scan_log(&test, bus.bus_id, PG_GETARG_TIMESTAMPTZ(2));

	values[0] = Int64GetDatum(test.scanned);
	values[1] = Int64GetDatum(test.matched);
	values[2] = JsonbPGetDatum(samples_jsonb(&test));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
