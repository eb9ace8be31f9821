/*-------------------------------------------------------------------------
 *
 * log_envelope.c
 *	  The JSON that matcher and consumers see of an event.
 *
 * A jsonb container is relocatable: its JEntries hold lengths and offsets
 * relative to itself, and it only must begin at a multiple of four bytes.  So
 * the envelope is put together by writing its own JEntries and short strings
 * and copying the detail's container into place; a 10 kB webhook costs its
 * bytes, not a walk over its values.  Keys stand in jsonb's order: shorter
 * ones first, then bytewise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "eb.h"
#include "log/log.h"

#define MAX_PAIRS 11

/* Lengths of keys are known when this is compiled: asking for them costs more. */
#define KEY(literal)	(literal), sizeof(literal) - 1

typedef struct Pair
{
	const char *key;
	int			keylen;
	uint32		type;			/* JENTRY_ISSTRING, JENTRY_ISCONTAINER, ... */
	const void *data;
	int			len;
} Pair;

/* To the second, without the Z.  Returns the end of the text. */
static char *
format_second(TimestampTz time, char *buf)
{
	struct pg_tm tm;
	fsec_t		fsec;

	/* infinite times cannot be: entries refuse them */
	if (timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	Assert(fsec == 0);

	/* for every event that is matched: sprintf() would be a third of an envelope */
	if (tm.tm_year < 0)
		*buf++ = '-';
	buf = pg_ultostr_zeropad(buf, (uint32) abs(tm.tm_year), 4);
	*buf++ = '-';
	buf = pg_ultostr_zeropad(buf, (uint32) tm.tm_mon, 2);
	*buf++ = '-';
	buf = pg_ultostr_zeropad(buf, (uint32) tm.tm_mday, 2);
	*buf++ = 'T';
	buf = pg_ultostr_zeropad(buf, (uint32) tm.tm_hour, 2);
	*buf++ = ':';
	buf = pg_ultostr_zeropad(buf, (uint32) tm.tm_min, 2);
	*buf++ = ':';
	return pg_ultostr_zeropad(buf, (uint32) tm.tm_sec, 2);
}

void
eb_format_time(TimestampTz time, char *buf)
{
	/* times of events that are put or read in a row lie close together */
	static TimestampTz known = DT_NOBEGIN;
	static char start[EB_TIME_LENGTH];
	static int	length;
	TimestampTz fsec = time % USECS_PER_SEC;
	TimestampTz second;

	if (fsec < 0)
		fsec += USECS_PER_SEC;
	second = time - fsec;
	if (unlikely(second != known))
	{
		length = format_second(second, start) - start;
		known = second;
	}
	memcpy(buf, start, length);
	buf += length;
	if (fsec != 0)
	{
		*buf++ = '.';
		buf = pg_ultostr_zeropad(buf, (uint32) fsec, 6);
		while (buf[-1] == '0')
			buf--;
	}
	*buf++ = 'Z';
	*buf = '\0';
}

static void
format_uuid(const pg_uuid_t *uuid, char *buf)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*buf++ = '-';
		*buf++ = hex[uuid->data[i] >> 4];
		*buf++ = hex[uuid->data[i] & 0x0f];
	}
	*buf = '\0';
}

/* An object of pairs that are in order.  The result is one allocation. */
static Jsonb *
build_object(const Pair *pairs, int npairs)
{
	Size		size = VARHDRSZ + sizeof(uint32) + 2 * npairs * sizeof(JEntry);
	Jsonb	   *jsonb;
	JEntry	   *entries;
	char	   *base;
	uint32		offset = 0;

	for (int i = 0; i < npairs; i++)
		size = add_size(size, pairs[i].keylen + pairs[i].len + 3);
	if (size > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large for jsonb")));

	jsonb = palloc(size);
	jsonb->root.header = (uint32) npairs | JB_FOBJECT;
	entries = jsonb->root.children;
	base = (char *) (entries + 2 * npairs);

	for (int i = 0; i < 2 * npairs; i++)
	{
		const Pair *pair = &pairs[i % npairs];
		uint32		start = offset;
		uint32		type;

		if (i < npairs)
		{
			memcpy(base + offset, pair->key, pair->keylen);
			offset += pair->keylen;
			type = JENTRY_ISSTRING;
		}
		else
		{
			type = pair->type;
			if (type == JENTRY_ISCONTAINER)
			{
				/* padding counts to the value that it precedes */
				while (offset % 4 != 0)
					base[offset++] = '\0';
			}
			memcpy(base + offset, pair->data, pair->len);
			offset += pair->len;
		}

		/* every JB_OFFSET_STRIDE'th entry holds its end, the others a length */
		if (i % JB_OFFSET_STRIDE == 0)
			entries[i] = type | offset | JENTRY_HAS_OFF;
		else
			entries[i] = type | (offset - start);
	}
	SET_VARSIZE(jsonb, VARHDRSZ + sizeof(uint32) + 2 * npairs * sizeof(JEntry) + offset);
	return jsonb;
}

static inline void
add(Pair *pairs, int *n, const char *key, int keylen, uint32 type, const void *data, int len)
{
	Pair	   *pair = &pairs[(*n)++];

	pair->key = key;
	pair->keylen = keylen;
	pair->type = type;
	pair->data = data;
	pair->len = len;
}

static inline void
add_string(Pair *pairs, int *n, const char *key, int keylen, const char *value)
{
	add(pairs, n, key, keylen, JENTRY_ISSTRING, value, (int) strlen(value));
}

/* A Jsonb in the place of a value: a container, or the scalar inside. */
static void
add_jsonb(Pair *pairs, int *n, const char *key, int keylen, const Jsonb *value)
{
	JEntry		entry;

	if (!JB_ROOT_IS_SCALAR(value))
	{
		add(pairs, n, key, keylen, JENTRY_ISCONTAINER, &value->root, VARSIZE(value) - VARHDRSZ);
		return;
	}
	entry = value->root.children[0];

	/* a number needs the alignment that containers get */
	if (JBE_ISNUMERIC(entry))
		elog(ERROR, "detail of an event is a number");
	add(pairs, n, key, keylen, entry & JENTRY_TYPEMASK, &value->root.children[1],
		JBE_OFFLENFLD(entry));
}

/* resources as a jsonb array of strings */
static Jsonb *
resources_jsonb(Datum resources)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	if (resources != (Datum) 0)
	{
		Datum	   *elements;
		bool	   *nulls;
		int			n;

		deconstruct_array(DatumGetArrayTypeP(resources), TEXTOID, -1, false,
						  TYPALIGN_INT, &elements, &nulls, &n);
		for (int i = 0; i < n; i++)
		{
			JsonbValue	value;

			if (nulls[i])
				continue;
			value.type = jbvString;
			value.val.string.val = VARDATA_ANY(elements[i]);
			value.val.string.len = VARSIZE_ANY_EXHDR(elements[i]);
			(void) pushJsonbValue(&state, WJB_ELEM, &value);
		}
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(result);
}

Jsonb *
eb_log_envelope(const EbEvent *event, bool erased)
{
	/* an empty array is its header alone */
	static const uint32 no_resources = JB_FARRAY;
	Pair		pairs[MAX_PAIRS];
	int			n = 0;
	char		id[40];
	char		time[EB_TIME_LENGTH];

	format_uuid(&event->id, id);
	eb_format_time(event->time, time);

	add_string(pairs, &n, KEY("id"), id);
	add_string(pairs, &n, KEY("time"), time);
	if (erased)
		add(pairs, &n, KEY("detail"), JENTRY_ISNULL, "", 0);
	else
		add_jsonb(pairs, &n, KEY("detail"), event->detail);
	if (erased)
		add(pairs, &n, KEY("erased"), JENTRY_ISBOOL_TRUE, "", 0);
	add_string(pairs, &n, KEY("region"), eb_region);
	add_string(pairs, &n, KEY("source"), event->source);
	add_string(pairs, &n, KEY("account"), eb_account);
	add_string(pairs, &n, KEY("version"), "0");
	if (event->resources == (Datum) 0)
		add(pairs, &n, KEY("resources"), JENTRY_ISCONTAINER, &no_resources, sizeof(no_resources));
	else
		add_jsonb(pairs, &n, KEY("resources"), resources_jsonb(event->resources));
	add_string(pairs, &n, KEY("detail-type"), event->detail_type);
	if (event->replay)
		add_string(pairs, &n, KEY("replay-name"), event->replay);
	return build_object(pairs, n);
}

Jsonb *
eb_jsonb_from_value(const JsonbValue *value)
{
	Jsonb	   *jsonb;

	if (value->type != jbvBinary)
		return JsonbValueToJsonb((JsonbValue *) value);
	jsonb = palloc(VARHDRSZ + value->val.binary.len);
	SET_VARSIZE(jsonb, VARHDRSZ + value->val.binary.len);
	memcpy(&jsonb->root, value->val.binary.data, value->val.binary.len);
	return jsonb;
}
