/*-------------------------------------------------------------------------
 *
 * json.c
 *	  JSON trees: see json.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "json.h"

#define MAX_DEPTH	2000
#define MAX_DIGITS	400			/* exponents beyond are refused */

Json *
json_new(JsonType type)
{
	Json	   *j = palloc0(sizeof(Json));

	j->type = type;
	return j;
}

Json *
json_text(JsonType type, const char *text, int len)
{
	Json	   *j = json_new(type);

	j->text = palloc(len + 1);
	memcpy(j->text, text, len);
	j->text[len] = '\0';
	j->len = len;
	return j;
}

Json *
json_string(const char *text)
{
	return json_text(JSON_STRING, text, (int) strlen(text));
}

static void
make_room(Json *j)
{
	if (j->n < j->max)
		return;
	j->max = Max(8, j->max * 2);
	j->values = j->values ? repalloc(j->values, j->max * sizeof(Json *)) :
		palloc(j->max * sizeof(Json *));
	if (j->type == JSON_OBJECT)
		j->keys = j->keys ? repalloc(j->keys, j->max * sizeof(Json *)) :
			palloc(j->max * sizeof(Json *));
}

void
json_add(Json *array, Json *value)
{
	make_room(array);
	array->values[array->n++] = value;
}

static int
key_order(const char *a, int alen, const char *b, int blen)
{
	return alen != blen ? alen - blen : memcmp(a, b, alen);
}

void
json_set(Json *object, Json *key, Json *value)
{
	int			i = 0;

	while (i < object->n && key_order(object->keys[i]->text, object->keys[i]->len,
									  key->text, key->len) < 0)
		i++;
	if (i < object->n && key_order(object->keys[i]->text, object->keys[i]->len,
								   key->text, key->len) == 0)
	{
		object->values[i] = value;
		return;
	}
	make_room(object);
	memmove(object->keys + i + 1, object->keys + i,
			(object->n - i) * sizeof(Json *));
	memmove(object->values + i + 1, object->values + i,
			(object->n - i) * sizeof(Json *));
	object->keys[i] = key;
	object->values[i] = value;
	object->n++;
}

Json *
json_get(const Json *object, const char *key, int len)
{
	for (int i = 0; i < object->n; i++)
	{
		if (key_order(object->keys[i]->text, object->keys[i]->len, key, len) == 0)
			return object->values[i];
	}
	return NULL;
}

/* ---- reading ---- */

typedef struct Reader
{
	const char *p;
	const char *end;
	int			depth;
} Reader;

static void
skip_space(Reader *r)
{
	while (r->p < r->end && strchr(" \t\r\n", *r->p) && *r->p)
		r->p++;
}

static bool
take(Reader *r, const char *word)
{
	int			n = (int) strlen(word);

	if (r->end - r->p < n || memcmp(r->p, word, n) != 0)
		return false;
	r->p += n;
	return true;
}

static int
utf8_valid(const unsigned char *s, const unsigned char *end)
{
	int			n = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 :
		(*s & 0xf0) == 0xe0 ? 3 : *s >= 0xf0 && *s < 0xf5 ? 4 : 0;
	uint32		code;

	if (n == 0 || end - s < n)
		return 0;
	code = n == 1 ? *s : *s & (0xff >> (n + 1));
	for (int i = 1; i < n; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if ((n == 3 && code < 0x800) || (n == 4 && code < 0x10000) ||
		code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code == 0)
		return 0;
	return n;
}

static int
hex4(Reader *r)
{
	int			code = 0;

	if (r->end - r->p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		const char *digits = "0123456789abcdef";
		const char *d = strchr(digits, tolower((unsigned char) r->p[i]));

		if (d == NULL || *d == '\0')
			return -1;
		code = code * 16 + (int) (d - digits);
	}
	r->p += 4;
	return code;
}

extern unsigned char *unicode_to_utf8(unsigned int c, unsigned char *s);
extern int	pg_utf_mblen(const unsigned char *s);

static bool
read_escape(Reader *r, StringInfo out)
{
	const char *from = "\"\\/bfnrt";
	const char *to = "\"\\/\b\f\n\r\t";
	const char *found;
	unsigned char bytes[4];
	int			code;

	if (r->p >= r->end)
		return false;
	if (*r->p != 'u')
	{
		found = strchr(from, *r->p);
		if (found == NULL || *found == '\0')
			return false;
		appendStringInfoChar(out, to[found - from]);
		r->p++;
		return true;
	}
	r->p++;
	code = hex4(r);
	if (code >= 0xd800 && code < 0xdc00)
	{
		int			low;

		if (!take(r, "\\u"))
			return false;
		low = hex4(r);
		if (low < 0xdc00 || low >= 0xe000)
			return false;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	else if (code <= 0 || (code >= 0xdc00 && code < 0xe000))
		return false;
	unicode_to_utf8(code, bytes);
	appendBinaryStringInfo(out, bytes, pg_utf_mblen(bytes));
	return true;
}

static Json *
read_string(Reader *r)
{
	StringInfoData out;

	initStringInfo(&out);
	r->p++;
	while (r->p < r->end && *r->p != '"')
	{
		int			n;

		if (*r->p == '\\')
		{
			r->p++;
			if (!read_escape(r, &out))
				return NULL;
			continue;
		}
		n = utf8_valid((const unsigned char *) r->p,
					   (const unsigned char *) r->end);
		if (n == 0 || (unsigned char) *r->p < 0x20)
			return NULL;
		appendBinaryStringInfo(&out, r->p, n);
		r->p += n;
	}
	if (r->p >= r->end)
		return NULL;
	r->p++;
	return json_text(JSON_STRING, out.data, out.len);
}

static bool
read_digits(Reader *r)
{
	const char *start = r->p;

	while (r->p < r->end && isdigit((unsigned char) *r->p))
		r->p++;
	return r->p > start;
}

/* Is the first digit that counts near the decimal point? */
static bool
is_moderate(const char *p, const char *end, int exponent)
{
	bool		after = false;
	bool		seen = false;
	int			place = exponent;

	for (; p < end && *p != 'e' && *p != 'E'; p++)
	{
		if (*p == '.')
			after = true;
		else if (*p >= '1' && *p <= '9')
			seen = true;
		if (isdigit((unsigned char) *p))
		{
			if (seen && !after)
				place++;
			else if (!seen && after)
				place--;
		}
	}
	return !seen ? abs(exponent) <= MAX_DIGITS : abs(place) <= MAX_DIGITS;
}

static Json *
read_number(Reader *r)
{
	const char *start = r->p;
	int			exponent = 0;
	int			sign = 1;

	(void) take(r, "-");
	if (r->p < r->end && *r->p == '0')
		r->p++;
	else if (!read_digits(r))
		return NULL;
	if (take(r, ".") && !read_digits(r))
		return NULL;
	if (r->p < r->end && (*r->p == 'e' || *r->p == 'E'))
	{
		const char *digits;

		r->p++;
		if (take(r, "-"))
			sign = -1;
		else
			(void) take(r, "+");
		digits = r->p;
		if (!read_digits(r))
			return NULL;
		for (; digits < r->p && exponent < 100000; digits++)
			exponent = exponent * 10 + (*digits - '0');
	}
	if (!is_moderate(start, r->p, sign * exponent))
		return NULL;
	return json_text(JSON_NUMBER, start, (int) (r->p - start));
}

static Json *read_value(Reader *r);

static Json *
read_list(Reader *r, JsonType type, char close)
{
	Json	   *j = json_new(type);

	r->p++;
	skip_space(r);
	if (r->p < r->end && *r->p == close)
	{
		r->p++;
		return j;
	}
	for (;;)
	{
		Json	   *key = NULL;
		Json	   *value;

		skip_space(r);
		if (type == JSON_OBJECT)
		{
			if (r->p >= r->end || *r->p != '"' || (key = read_string(r)) == NULL)
				return NULL;
			skip_space(r);
			if (!take(r, ":"))
				return NULL;
		}
		value = read_value(r);
		if (value == NULL)
			return NULL;
		if (key)
			json_set(j, key, value);
		else
			json_add(j, value);
		skip_space(r);
		if (r->p >= r->end)
			return NULL;
		if (*r->p == close)
			break;
		if (*r->p++ != ',')
			return NULL;
	}
	r->p++;
	return j;
}

static Json *
read_value(Reader *r)
{
	Json	   *j = NULL;

	skip_space(r);
	if (r->p >= r->end || ++r->depth > MAX_DEPTH)
		return NULL;
	switch (*r->p)
	{
		case '{':
			j = read_list(r, JSON_OBJECT, '}');
			break;
		case '[':
			j = read_list(r, JSON_ARRAY, ']');
			break;
		case '"':
			j = read_string(r);
			break;
		case 't':
			j = take(r, "true") ? json_new(JSON_TRUE) : NULL;
			break;
		case 'f':
			j = take(r, "false") ? json_new(JSON_FALSE) : NULL;
			break;
		case 'n':
			j = take(r, "null") ? json_new(JSON_NULL) : NULL;
			break;
		default:
			j = read_number(r);
			break;
	}
	r->depth--;
	return j;
}

Json *
json_parse(const char **text, const char *end)
{
	Reader		r = {*text, end, 0};
	Json	   *j = read_value(&r);

	*text = r.p;
	return j;
}

/* ---- writing text ---- */

static void
write_string(StringInfo out, const Json *j)
{
	appendStringInfoChar(out, '"');
	for (int i = 0; i < j->len; i++)
	{
		unsigned char c = (unsigned char) j->text[i];

		if (c == '"' || c == '\\')
			appendStringInfo(out, "\\%c", c);
		else if (c < 0x20)
			appendStringInfo(out, "\\u%04x", c);
		else
			appendStringInfoChar(out, (char) c);
	}
	appendStringInfoChar(out, '"');
}

void
json_write(StringInfo out, const Json *j)
{
	switch (j->type)
	{
		case JSON_NULL:
			appendStringInfoString(out, "null");
			break;
		case JSON_TRUE:
			appendStringInfoString(out, "true");
			break;
		case JSON_FALSE:
			appendStringInfoString(out, "false");
			break;
		case JSON_NUMBER:
			appendStringInfoString(out, j->text);
			break;
		case JSON_STRING:
			write_string(out, j);
			break;
		case JSON_ARRAY:
		case JSON_OBJECT:
			appendStringInfoChar(out, j->type == JSON_ARRAY ? '[' : '{');
			for (int i = 0; i < j->n; i++)
			{
				if (i > 0)
					appendStringInfoChar(out, ',');
				if (j->type == JSON_OBJECT)
				{
					write_string(out, j->keys[i]);
					appendStringInfoChar(out, ':');
				}
				json_write(out, j->values[i]);
			}
			appendStringInfoChar(out, j->type == JSON_ARRAY ? ']' : '}');
			break;
	}
}

/* ---- writing jsonb ---- */

static void
pad(StringInfo out)
{
	while (out->len % 4 != 0)
		appendStringInfoChar(out, '\0');
}

/* A numeric as the server stores it, from the text of a JSON number */
static void
write_numeric(StringInfo out, const char *text)
{
	char		digits[2 * MAX_DIGITS + 4096];
	int16		groups[1024];
	int			ndigits = 0;
	int			point = 0;		/* digits before the decimal point */
	int			scale = 0;
	bool		negative = *text == '-';
	bool		after = false;
	int			ngroups = 0;
	int			weight;
	int			exponent = 0;
	int			start;
	int			len_at;
	int			first;
	uint16		header;

	for (text += negative; *text && *text != 'e' && *text != 'E'; text++)
	{
		if (*text == '.')
		{
			after = true;
			continue;
		}
		if (ndigits >= 3000)
			break;
		digits[ndigits++] = *text - '0';
		if (after)
			scale++;
		else
			point++;
	}
	if (*text == 'e' || *text == 'E')
		exponent = atoi(text + 1);
	point += exponent;
	scale = Max(0, scale - exponent);

	for (first = 0; first < ndigits && digits[first] == 0; first++)
		point--;
	/* the first group holds the digits down to a multiple of four */
	weight = point > 0 ? (point - 1) / 4 : -((-point) / 4 + 1);
	start = first - ((weight + 1) * 4 - point);
	for (int i = start; i < ndigits; i += 4)
	{
		int			g = 0;

		for (int k = i; k < i + 4; k++)
			g = g * 10 + (k >= first && k < ndigits ? digits[k] : 0);
		groups[ngroups++] = (int16) g;
	}
	while (ngroups > 0 && groups[ngroups - 1] == 0)
		ngroups--;
	if (ngroups == 0)
	{
		weight = 0;
		negative = false;
	}

	pad(out);
	len_at = out->len;
	appendBinaryStringInfo(out, "\0\0\0\0", 4);
	if (scale <= 63 && weight <= 63 && weight >= -64)
	{
		header = 0x8000 | (negative ? 0x2000 : 0) | scale << 7 |
			(weight < 0 ? 0x40 : 0) | (weight & 0x3f);
		appendBinaryStringInfo(out, &header, 2);
	}
	else
	{
		int16		w = (int16) weight;

		header = (negative ? 0x4000 : 0) | (scale & 0x3fff);
		appendBinaryStringInfo(out, &header, 2);
		appendBinaryStringInfo(out, &w, 2);
	}
	appendBinaryStringInfo(out, groups, ngroups * 2);
	SET_VARSIZE(out->data + len_at, out->len - len_at);
}

static void write_container(StringInfo out, const Json *j);

/* Appends the data of a value; returns the type bits of its entry. */
static JEntry
write_data(StringInfo out, const Json *j)
{
	switch (j->type)
	{
		case JSON_NULL:
			return JENTRY_ISNULL;
		case JSON_TRUE:
			return JENTRY_ISBOOL_TRUE;
		case JSON_FALSE:
			return JENTRY_ISBOOL_FALSE;
		case JSON_NUMBER:
			write_numeric(out, j->text);
			return JENTRY_ISNUMERIC;
		case JSON_STRING:
			appendBinaryStringInfo(out, j->text, j->len);
			return JENTRY_ISSTRING;
		default:
			pad(out);
			write_container(out, j);
			return JENTRY_ISCONTAINER;
	}
}

static void
write_container(StringInfo out, const Json *j)
{
	bool		object = j->type == JSON_OBJECT;
	int			nentries = object ? 2 * j->n : j->n;
	uint32		header = j->n | (object ? JB_FOBJECT : JB_FARRAY);
	int			entries;
	int			base;

	appendBinaryStringInfo(out, &header, sizeof(header));
	entries = out->len;
	for (int i = 0; i < nentries; i++)
		appendBinaryStringInfo(out, "\0\0\0\0", sizeof(JEntry));
	base = out->len;
	for (int i = 0; i < nentries; i++)
	{
		const Json *child = !object ? j->values[i] :
			i < j->n ? j->keys[i] : j->values[i - j->n];
		int			start = out->len;
		JEntry		entry = write_data(out, child);

		if (i % JB_OFFSET_STRIDE == 0)
			entry |= JENTRY_HAS_OFF | (out->len - base);
		else
			entry |= out->len - start;
		memcpy(out->data + entries + i * sizeof(JEntry), &entry, sizeof(entry));
	}
}

/* The chunk ends where the jsonb does, so that overruns are seen. */
Jsonb *
json_to_jsonb(const Json *j)
{
	StringInfoData out;
	Jsonb	   *copy;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, "\0\0\0\0", VARHDRSZ);
	if (j->type == JSON_ARRAY || j->type == JSON_OBJECT)
		write_container(&out, j);
	else
	{
		Json	   *wrapper = json_new(JSON_ARRAY);
		uint32		header = 1 | JB_FARRAY | JB_FSCALAR;

		json_add(wrapper, unconstify(Json *, j));
		write_container(&out, wrapper);
		memcpy(out.data + VARHDRSZ, &header, sizeof(header));
	}
	copy = palloc(out.len);
	memcpy(copy, out.data, out.len);
	SET_VARSIZE(copy, out.len);
	pfree(out.data);
	return copy;
}
