/*-------------------------------------------------------------------------
 *
 * bus_entry.c
 *	  Entries of put_events, in the shapes that people have, to events; and
 *	  the limits that every event keeps, however it is put.
 *
 * Shapes, told apart by the first letter of their keys:
 *
 *	 {"source", "detail-type", "detail", ...}	also a whole envelope as read
 *		from a queue: its id goes to the header "original-id", and what the
 *		bus fills in itself (version, account, region) is dropped;
 *	 {"Source", "DetailType", "Detail", ...}	of the AWS API, with the detail
 *		as a string of JSON.
 *
 * Unknown keys are refused by name, as a misspelt one would be lost.  The
 * detail is cut out of the entry by copying its container's bytes.  Every
 * error names the entry, counted from 1, and the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "bus/bus_internal.h"
#include "compat.h"
#include "eb.h"

#define RESERVED_PREFIX "eb."

typedef enum EntryField
{
	FIELD_SOURCE,
	FIELD_DETAIL_TYPE,
	FIELD_DETAIL,
	FIELD_TIME,
	FIELD_RESOURCES,
	FIELD_HEADERS,
	FIELD_GROUP,
	FIELD_CORRELATION_ID,
	FIELD_CAUSATION_ID,
	FIELD_TRACEPARENT,
	FIELD_DEDUP_ID,
	FIELD_ID,
	FIELD_BUS,
	FIELD_TRACE_HEADER,
	ENTRY_FIELDS,
	FIELD_DROPPED = ENTRY_FIELDS	/* accepted and not kept */
} EntryField;

typedef struct EntryKey
{
	const char *name;
	EntryField	field;
} EntryKey;

static const EntryKey own_keys[] = {
	{"source", FIELD_SOURCE},
	{"detail-type", FIELD_DETAIL_TYPE},
	{"detail", FIELD_DETAIL},
	{"time", FIELD_TIME},
	{"resources", FIELD_RESOURCES},
	{"headers", FIELD_HEADERS},
	{"group", FIELD_GROUP},
	{"correlation-id", FIELD_CORRELATION_ID},
	{"causation-id", FIELD_CAUSATION_ID},
	{"traceparent", FIELD_TRACEPARENT},
	{"dedup-id", FIELD_DEDUP_ID},
	{"id", FIELD_ID},
	{"version", FIELD_DROPPED},
	{"account", FIELD_DROPPED},
	{"region", FIELD_DROPPED},
	{"replay-name", FIELD_DROPPED},
	{"erased", FIELD_DROPPED},
	{NULL}
};

static const EntryKey aws_keys[] = {
	{"Source", FIELD_SOURCE},
	{"DetailType", FIELD_DETAIL_TYPE},
	{"Detail", FIELD_DETAIL},
	{"EventBusName", FIELD_BUS},
	{"Time", FIELD_TIME},
	{"Resources", FIELD_RESOURCES},
	{"TraceHeader", FIELD_TRACE_HEADER},
	{"DedupId", FIELD_DEDUP_ID},
	{NULL}
};

/* An entry taken apart. */
typedef struct Entry
{
	int			index;
	bool		aws;
	const char *names[ENTRY_FIELDS];	/* as the shape calls them */
	bool		given[ENTRY_FIELDS];	/* present and not null */
	JsonbValue	values[ENTRY_FIELDS];
} Entry;

/* "entry 3: ", or nothing for what is no entry. */
static const char *
prefix(int index)
{
	return index > 0 ? psprintf("entry %d: ", index) : "";
}

pg_noreturn static void
field_error(const Entry *entry, EntryField field, const char *must)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s\"%s\" must be %s", prefix(entry->index),
					entry->names[field], must)));
	pg_unreachable();
}

/* ---- taking an entry apart ---- */

static void
unknown_key(Entry *entry, const JsonbValue *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%sunknown key \"%.*s\"", prefix(entry->index),
					key->val.string.len, key->val.string.val),
			 entry->aws ?
			 errhint("An entry in the shape of the AWS API has the keys \"Source\", \"DetailType\", \"Detail\", and may have \"EventBusName\", \"Time\", \"Resources\", \"TraceHeader\", \"DedupId\".") :
			 errhint("An entry has the keys \"source\", \"detail-type\", \"detail\", and may have \"time\", \"resources\", \"headers\", \"group\", \"correlation-id\", \"causation-id\", \"traceparent\", \"dedup-id\".")));
}

static const EntryKey *
find_key(const EntryKey *keys, const JsonbValue *key)
{
	for (; keys->name; keys++)
	{
		if (strlen(keys->name) == (size_t) key->val.string.len &&
			memcmp(keys->name, key->val.string.val, key->val.string.len) == 0)
			return keys;
	}
	return NULL;
}

static void
take_apart(Entry *entry, JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue	key;
	JsonbValue	value;
	const EntryKey *keys = NULL;

	(void) JsonbIteratorNext(&it, &key, true);	/* WJB_BEGIN_OBJECT */
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		const EntryKey *known;

		(void) JsonbIteratorNext(&it, &value, true);
		if (!keys)
		{
			/*
			 * Keys are sorted by length: "Time" and "time" are the shortest
			 * that both shapes may have, so one capital decides for all.
			 */
			entry->aws = key.val.string.len > 0 &&
				key.val.string.val[0] >= 'A' && key.val.string.val[0] <= 'Z';
			keys = entry->aws ? aws_keys : own_keys;
			for (const EntryKey *k = keys; k->name; k++)
			{
				if (k->field != FIELD_DROPPED)
					entry->names[k->field] = k->name;
			}
		}
		known = find_key(keys, &key);
		if (!known)
			unknown_key(entry, &key);
		if (known->field == FIELD_DROPPED || value.type == jbvNull)
			continue;
		entry->given[known->field] = true;
		entry->values[known->field] = value;
	}
}

static const char *
required_text(const Entry *entry, EntryField field)
{
	const JsonbValue *value = &entry->values[field];

	if (!entry->given[field])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" is missing", prefix(entry->index),
						entry->names[field])));
	if (value->type != jbvString)
		field_error(entry, field, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static const char *
optional_text(const Entry *entry, EntryField field)
{
	const char *text;

	if (!entry->given[field])
		return NULL;
	text = required_text(entry, field);

	if (text[0] == '\0')
		field_error(entry, field, "a string that is not empty");
	return text;
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) &&
		!JsonContainerIsScalar(value->val.binary.data);
}

static Jsonb *
object_field(const Entry *entry, EntryField field)
{
	if (!is_object(&entry->values[field]))
		field_error(entry, field, "an object");
	return eb_jsonb_from_value(&entry->values[field]);
}

/* The API's detail is a string of JSON; what the parser says becomes the detail of our error. */
static Jsonb *
parse_detail(const Entry *entry)
{
	const char *text = required_text(entry, FIELD_DETAIL);
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile detail = NULL;

	PG_TRY();
	{
		detail = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(edata->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must be a string of JSON",
						prefix(entry->index), entry->names[FIELD_DETAIL]),
				 errdetail("%s", edata->detail ? edata->detail : edata->message)));
	}
	PG_END_TRY();
	if (!JB_ROOT_IS_OBJECT(detail))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must hold a JSON object",
						prefix(entry->index), entry->names[FIELD_DETAIL])));
	return detail;
}

/* ---- single fields ---- */

/* n digits; false if there are other characters. */
static bool
digits(const char **p, int n, int *value)
{
	*value = 0;
	while (n-- > 0)
	{
		if (**p < '0' || **p > '9')
			return false;
		*value = *value * 10 + (*(*p)++ - '0');
	}
	return true;
}

static bool
literal(const char **p, const char *set)
{
	if (**p == '\0' || strchr(set, **p) == NULL)
		return false;
	(*p)++;
	return true;
}

/*
 * ISO 8601 as events carry it, whatever DateStyle and TimeZone are:
 * YYYY-MM-DDTHH:MM[:SS[.fraction]][Z|+HH[[:]MM]]; without a zone it is UTC.
 */
static bool
parse_time(const char *p, TimestampTz *result)
{
	int			year,
				month,
				day,
				hour,
				minute,
				second = 0,
				zone_hour = 0,
				zone_minute = 0;
	int			zone = 0;
	int64		fraction = 0;
	int64		days;
	int64		time;

	if (!digits(&p, 4, &year) || !literal(&p, "-") || !digits(&p, 2, &month) ||
		!literal(&p, "-") || !digits(&p, 2, &day) || !literal(&p, "Tt ") ||
		!digits(&p, 2, &hour) || !literal(&p, ":") || !digits(&p, 2, &minute))
		return false;
	if (literal(&p, ":"))
	{
		if (!digits(&p, 2, &second))
			return false;
		if (literal(&p, ".,"))
		{
			int64		unit = USECS_PER_SEC / 10;

			if (*p < '0' || *p > '9')
				return false;
			for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
				fraction += (*p - '0') * unit;
		}
	}
	if (*p == '+' || *p == '-')
	{
		int			sign = *p++ == '-' ? -1 : 1;

		if (!digits(&p, 2, &zone_hour))
			return false;
		(void) literal(&p, ":");
		if (*p != '\0' && !digits(&p, 2, &zone_minute))
			return false;
		if (zone_hour > 15 || zone_minute > 59)
			return false;
		zone = sign * (zone_hour * MINS_PER_HOUR + zone_minute);
	}
	else
		(void) literal(&p, "Zz");
	if (*p != '\0' || year < 1 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1] || hour > 23 || minute > 59 ||
		second > 60)
		return false;

	days = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	time = ((int64) hour * MINS_PER_HOUR + minute - zone) * SECS_PER_MINUTE + second;
	*result = days * USECS_PER_DAY + time * USECS_PER_SEC + fraction;
	return true;
}

/* The time that a string of an entry stands for; false if it is none. */
bool
eb_entry_time(const JsonbValue *value, TimestampTz *result)
{
	return value->type == jbvString &&
		parse_time(pnstrdup(value->val.string.val, value->val.string.len), result);
}

/* A string as above, or (as clients of the AWS API send) seconds since 1970. */
static TimestampTz
time_field(const Entry *entry)
{
	const JsonbValue *value = &entry->values[FIELD_TIME];
	TimestampTz result;

	if (entry->aws && value->type == jbvNumeric)
	{
		double		seconds =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
										   NumericGetDatum(value->val.numeric)));

		/* years 1970 to 9999: what text can say, too */
		if (seconds >= 0 && seconds < 253402300800.0)
			return DatumGetTimestampTz(DirectFunctionCall1(float8_timestamptz,
														   Float8GetDatum(seconds)));
	}
	else if (eb_entry_time(value, &result))
	{
		/* its zone may lead out of them */
		eb_event_check_time(result, entry->index, entry->names[FIELD_TIME]);
		return result;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
			 errmsg("%s\"%s\" must be a date and time in ISO 8601",
					prefix(entry->index), entry->names[FIELD_TIME]),
			 value->type == jbvString ?
			 errdetail("It is \"%.*s\".",
					   pg_mbcliplen(value->val.string.val, value->val.string.len, 100),
					   value->val.string.val) : 0,
			 errhint("Write it like \"2026-01-31T12:00:00Z\".")));
}

static Datum
resources_field(const Entry *entry)
{
	const JsonbValue *value = &entry->values[FIELD_RESOURCES];
	JsonbContainer *array;
	Datum	   *elements;
	int			n;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		field_error(entry, FIELD_RESOURCES, "an array of strings");
	array = value->val.binary.data;
	n = JsonContainerSize(array);
	if (n == 0)
		return (Datum) 0;
	elements = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);

		if (element->type != jbvString)
			field_error(entry, FIELD_RESOURCES, "an array of strings");
		elements[i] = PointerGetDatum(cstring_to_text_with_len(element->val.string.val,
															   element->val.string.len));
	}
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/* headers, which may be NULL, with one more string (or in place of the same name's). */
static Jsonb *
add_header(Jsonb *headers, const char *name, const char *text)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;
	JsonbValue	key;
	JsonbValue *result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (headers)
	{
		JsonbIterator *it = JsonbIteratorInit(&headers->root);

		(void) JsonbIteratorNext(&it, &key, true);
		while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
		{
			(void) JsonbIteratorNext(&it, &value, true);
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	key.type = jbvString;
	key.val.string.val = pstrdup(name);
	key.val.string.len = strlen(name);
	value.type = jbvString;
	value.val.string.val = pstrdup(text);
	value.val.string.len = strlen(text);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(result);
}

static bool
lower_hex(const char *p, int n)
{
	while (n-- > 0)
	{
		if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')))
			return false;
		p++;
	}
	return true;
}

/*
 * W3C: version 00, trace id, parent id, flags; later versions may say more after
 * it.  Ids of zeros alone are none.
 */
static bool
valid_traceparent(const char *p)
{
	size_t		len = strlen(p);

	return len >= 55 && lower_hex(p, 2) && p[2] == '-' && lower_hex(p + 3, 32) &&
		p[35] == '-' && lower_hex(p + 36, 16) && p[52] == '-' &&
		lower_hex(p + 53, 2) && strncmp(p, "ff", 2) != 0 &&
		strspn(p + 3, "0") < 32 && strspn(p + 36, "0") < 16 &&
		(len == 55 || (strncmp(p, "00", 2) != 0 && p[55] == '-'));
}

/*
 * The API's X-Ray header: Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1.
 * With a parent it says what a traceparent says; as it came it is kept as a
 * header in any case.
 */
static void
trace_header(const char *text, EbEvent *event)
{
	const char *root = strstr(text, "Root=1-");
	const char *parent = strstr(text, "Parent=");
	char	   *traceparent;

	event->headers = add_header(event->headers, "trace-header", text);
	if (!root || !parent || !lower_hex(root + 7, 8) || root[15] != '-' ||
		!lower_hex(root + 16, 24) || !lower_hex(parent + 7, 16))
		return;
	traceparent = psprintf("00-%.8s%.24s-%.16s-%s", root + 7, root + 16, parent + 7,
						   strstr(text, "Sampled=1") ? "01" : "00");
	if (valid_traceparent(traceparent))
		event->traceparent = traceparent;
}

/* A bus by name, or by the ARN that the API also takes. */
static const char *
bus_of_text(const char *name)
{
	const char *slash;

	if (strncmp(name, "arn:", 4) == 0 && (slash = strrchr(name, '/')) != NULL)
		return slash + 1;
	return name;
}

static const char *
bus_field(const Entry *entry)
{
	const char *name = optional_text(entry, FIELD_BUS);

	return name ? bus_of_text(name) : NULL;
}

const char *
eb_entries_bus(Jsonb *entries)
{
	static const char key[] = "EventBusName";
	JsonbIterator *it = JsonbIteratorInit(&entries->root);
	JsonbValue	entry;
	JsonbValue	bus;
	const char *first = NULL;

	(void) JsonbIteratorNext(&it, &entry, true);	/* WJB_BEGIN_ARRAY */
	while (JsonbIteratorNext(&it, &entry, true) == WJB_ELEM)
	{
		if (!is_object(&entry) ||
			getKeyJsonValueFromContainer(entry.val.binary.data, key, strlen(key), &bus) == NULL ||
			bus.type != jbvString || bus.val.string.len == 0)
			return NULL;
		if (!first)
			first = bus_of_text(pnstrdup(bus.val.string.val, bus.val.string.len));
	}
	return first;
}

/* ---- checks ---- */

#define TRACEPARENT_HINT \
	"Write it like \"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"."

void
eb_event_check_traceparent(const char *traceparent, int index, const char *name)
{
	if (traceparent && !valid_traceparent(traceparent))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must be a W3C trace context", prefix(index), name),
				 errdetail("It is \"%s\".", traceparent),
				 errhint(TRACEPARENT_HINT)));
}

/* Check hook of the setting; it may be empty. */
bool
eb_traceparent_check(char **newval, void **extra, GucSource source)
{
	if (**newval == '\0' || valid_traceparent(*newval))
		return true;
	GUC_check_errdetail("It must be a W3C trace context.");
	GUC_check_errhint(TRACEPARENT_HINT);
	return false;
}

/* As long as Amazon SQS allows. */
void
eb_event_check_dedup_id(const char *dedup_id, int index, const char *name)
{
	int			length = pg_mbstrlen(dedup_id);

	if (length < 1 || length > EB_DEDUP_ID_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must have 1 to %d characters", prefix(index), name,
						EB_DEDUP_ID_MAX),
				 errdetail("It has %d.", length)));
}

void
eb_event_check_headers(const Jsonb *headers, int index)
{
	if (headers && !JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must be an object", prefix(index), "headers")));
}

/* Envelopes write it with a year of four digits, so that texts sort as times do. */
void
eb_event_check_time(TimestampTz time, int index, const char *name)
{
	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must be finite", prefix(index), name)));
	if (time < (date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY ||
		time >= (date2j(10000, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("%s\"%s\" is out of range", prefix(index), name),
				 errdetail("It must be within the years 1 to 9999 in UTC.")));
}

void
eb_event_check_resources(Datum resources, int index)
{
	ArrayType  *array;

	if (resources == (Datum) 0)
		return;
	array = DatumGetArrayTypeP(resources);
	if (ARR_NDIM(array) > 1 || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must be an array of strings", prefix(index),
						"resources")));
}

static void
check_text(const char *text, int index, const char *name)
{
	if (text[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must not be empty", prefix(index), name)));
}

void
eb_event_check(const EbEvent *event, int index, const char *source_name,
			   const char *type_name, const char *detail_name)
{
	const char *texts[] = {
		event->source, event->detail_type, event->group_key, event->correlation_id,
		event->causation_id, event->traceparent
	};
	Size		size = VARSIZE(event->detail);

	check_text(event->source, index, source_name);
	check_text(event->detail_type, index, type_name);
	if (pg_strncasecmp(event->source, RESERVED_PREFIX, strlen(RESERVED_PREFIX)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("%s\"%s\" must not begin with \"%s\"", prefix(index),
						source_name, RESERVED_PREFIX),
				 errdetail("Source \"%s\" is reserved for events of the bus itself.",
						   event->source)));
	if (!JB_ROOT_IS_OBJECT(event->detail))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s\"%s\" must be an object", prefix(index), detail_name)));

	for (int i = 0; i < (int) lengthof(texts); i++)
		size += texts[i] ? strlen(texts[i]) : 0;
	if (event->headers)
		size += VARSIZE(event->headers);
	if (event->resources != (Datum) 0)
		size += VARSIZE_ANY(DatumGetPointer(event->resources));
	if (size > (Size) eb_max_entry_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%sevent of %zu bytes is larger than %d bytes",
						prefix(index), size, eb_max_entry_size),
				 errdetail("The bytes are those of source, detail type, group, correlation, cause and trace, and of detail, resources and headers as jsonb."),
				 errhint("Put large data elsewhere and send a reference, or raise the setting \"eb.max_entry_size\".")));
}

void
eb_entry_parse(const JsonbValue *value, int index, EbEvent *event, const char **bus)
{
	Entry		entry;

	if (!is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("entry %d must be an object", index)));

	memset(&entry, 0, offsetof(Entry, values));
	entry.index = index;
	entry.names[FIELD_SOURCE] = "source";
	take_apart(&entry, value->val.binary.data);

	event->source = required_text(&entry, FIELD_SOURCE);
	event->detail_type = required_text(&entry, FIELD_DETAIL_TYPE);
	if (entry.aws)
		event->detail = parse_detail(&entry);
	else if (!entry.given[FIELD_DETAIL])
		(void) required_text(&entry, FIELD_DETAIL);
	else
		event->detail = object_field(&entry, FIELD_DETAIL);
	if (entry.given[FIELD_TIME])
		event->time = time_field(&entry);
	if (entry.given[FIELD_RESOURCES])
		event->resources = resources_field(&entry);
	if (entry.given[FIELD_HEADERS])
		event->headers = object_field(&entry, FIELD_HEADERS);
	event->group_key = optional_text(&entry, FIELD_GROUP);
	event->correlation_id = optional_text(&entry, FIELD_CORRELATION_ID);
	event->causation_id = optional_text(&entry, FIELD_CAUSATION_ID);
	event->traceparent = optional_text(&entry, FIELD_TRACEPARENT);
	event->dedup_id = optional_text(&entry, FIELD_DEDUP_ID);
	if (event->dedup_id)
		eb_event_check_dedup_id(event->dedup_id, index, entry.names[FIELD_DEDUP_ID]);
	eb_event_check_traceparent(event->traceparent, index, "traceparent");
	if (entry.given[FIELD_ID])
		event->headers = add_header(event->headers, "original-id",
									optional_text(&entry, FIELD_ID));
	if (entry.given[FIELD_TRACE_HEADER])
		trace_header(optional_text(&entry, FIELD_TRACE_HEADER), event);
	*bus = bus_field(&entry);
	eb_event_check(event, index, entry.names[FIELD_SOURCE],
				   entry.names[FIELD_DETAIL_TYPE], entry.names[FIELD_DETAIL]);
}
