/*-------------------------------------------------------------------------
 *
 * pattern_text.c
 *	  Suffixes, wildcards and case folding.
 *
 * Fold programs.  Each code point of a pattern stands for up to three
 * strings: itself, its lower-case and its upper-case mapping.  A program is
 * a flag byte and then
 *
 *	 flag 1: the pattern in lower case, all of it ASCII: bytes are compared;
 *	 flag 0: for each code point the number of choices and, for each choice,
 *			 its length in bytes and the bytes, in UTF-8, the code point
 *			 itself first.  Programs for suffixes hold the code points in
 *			 reverse order.
 *
 * No choice of a code point is a prefix or suffix of another one, so that the
 * first choice that fits is the only one that can, and one pass decides.
 * (scripts/casefold_table.py, which makes the table, checks that.)
 *
 * Bytes and characters.  In UTF-8 a match of whole characters is a match of
 * bytes, and the other way round.  In the other multi-byte server encodings a
 * run of bytes may match across a character boundary, so there matches are
 * only tried where a character starts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "pattern/pattern_int.h"

#define FOLD_ASCII		1
#define FOLD_GENERAL	0

/* True if characters can be mistaken for each other's tails. */
static bool
bytes_mislead(void)
{
	return GetDatabaseEncoding() != PG_UTF8 &&
		pg_database_encoding_max_length() > 1;
}

static bool
is_ascii(const char *s, uint32 len)
{
	unsigned char bits = 0;

	for (uint32 i = 0; i < len; i++)
		bits |= (unsigned char) s[i];
	return bits < 0x80;
}

/* Does a character start at this place? */
static bool
at_boundary(const char *s, uint32 place)
{
	uint32		i = 0;

	while (i < place)
		i += pg_mblen(s + i);
	return i == place;
}

bool
eb_suffix_match(const char *suffix, uint32 slen, const char *s, uint32 len)
{
	return len >= slen &&
		memcmp(s + len - slen, suffix, slen) == 0 &&
		(!bytes_mislead() || at_boundary(s, len - slen));
}

/* ---- wildcards ---- */

/*
 * Splits a wildcard at its asterisks.  On an error *offset is the place of
 * the error in characters, from 0.
 */
int
eb_wildcard_compile(const char *s, uint32 len, char **segments,
					uint32 *seglen, int *offset, int *nstars)
{
	StringInfoData out;
	uint32		head = 0;		/* where the length of the open segment is */
	uint32		n = 0;
	int			chars = 0;
	bool		after_star = false;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, (const char *) &n, sizeof(n));
	*nstars = 0;
	for (uint32 i = 0; i < len;)
	{
		int			charlen = Min((uint32) pg_mblen(s + i), len - i);

		*offset = chars++;
		if (s[i] == '*')
		{
			if (after_star)
			{
				(*offset)--;
				return EB_WILDCARD_TWO_STARS;
			}
			after_star = true;
			(*nstars)++;
			n = out.len - head - sizeof(uint32);
			memcpy(out.data + head, &n, sizeof(n));
			while (out.len != (int) INTALIGN(out.len))
				appendStringInfoCharMacro(&out, '\0');
			head = out.len;
			n = 0;
			appendBinaryStringInfo(&out, (const char *) &n, sizeof(n));
			i++;
			continue;
		}
		after_star = false;
		if (s[i] == '\\')
		{
			if (i + 1 >= len || (s[i + 1] != '*' && s[i + 1] != '\\'))
				return EB_WILDCARD_BACKSLASH;
			i++;
			chars++;
		}
		appendBinaryStringInfo(&out, s + i, charlen);
		i += charlen;
	}
	n = out.len - head - sizeof(uint32);
	memcpy(out.data + head, &n, sizeof(n));
	while (out.len != (int) INTALIGN(out.len))
		appendStringInfoCharMacro(&out, '\0');
	*segments = out.data;
	*seglen = out.len;
	return EB_WILDCARD_OK;
}

/* The first place of needle in s, or NULL. */
static const char *
find(const char *s, const char *end, const char *needle, uint32 nlen,
	 bool stepping)
{
	if (nlen == 0)
		return s;
	while ((Size) (end - s) >= nlen)
	{
		if (stepping)
		{
			if (memcmp(s, needle, nlen) == 0)
				return s;
			s += Min(pg_mblen(s), end - s);
			continue;
		}
		s = memchr(s, needle[0], end - s - nlen + 1);
		if (s == NULL)
			return NULL;
		if (memcmp(s, needle, nlen) == 0)
			return s;
		s++;
	}
	return NULL;
}

bool
eb_wildcard_match(const char *segments, uint32 seglen, const char *s,
				  uint32 len)
{
	const char *p = segments;
	const char *stop = segments + seglen;
	const char *end = s + len;
	const char *bytes;
	uint32		n;
	bool		stepping;

	/* what stands before the first asterisk, or all of it */
	p = eb_segment_next(p, &bytes, &n);
	if (len < n || memcmp(s, bytes, n) != 0)
		return false;
	if (p == stop)
		return len == n;
	s += n;

	/* in between the leftmost places do as well as any other */
	stepping = bytes_mislead();
	for (;;)
	{
		p = eb_segment_next(p, &bytes, &n);
		if (p == stop)
			break;
		s = find(s, end, bytes, n, stepping);
		if (s == NULL)
			return false;
		s += n;
	}
	return (Size) (end - s) >= n && eb_suffix_match(bytes, n, s, end - s);
}

/* ---- case folding ---- */

static const EbCaseMap *
case_map(uint32 code)
{
	int			low = 0;
	int			high = eb_casefold_count - 1;

	while (low <= high)
	{
		int			mid = (low + high) / 2;

		if (eb_casefold_map[mid].code == code)
			return &eb_casefold_map[mid];
		if (eb_casefold_map[mid].code < code)
			low = mid + 1;
		else
			high = mid - 1;
	}
	return NULL;
}

/* Bytes of the character at s; a byte that starts none stands for itself. */
static int
utf8_length(const char *s, uint32 len, uint32 *code)
{
	unsigned char c = (unsigned char) *s;
	int			n = pg_utf_mblen((const unsigned char *) s);

	*code = c;
	if (n == 1 || (uint32) n > len)
		return 1;
	for (int i = 1; i < n; i++)
	{
		if ((s[i] & 0xC0) != 0x80)
			return 1;
	}
	*code = utf8_to_unicode((const unsigned char *) s);
	return n;
}

static void
add_choice(StringInfo out, int first, const char *bytes, int len)
{
	int			p = first + 1;

	for (int i = 0; i < out->data[first]; i++)
	{
		if (out->data[p] == len && memcmp(out->data + p + 1, bytes, len) == 0)
			return;
		p += 1 + out->data[p];
	}
	out->data[first]++;
	appendStringInfoChar(out, (char) len);
	appendBinaryStringInfo(out, bytes, len);
}

static void
add_mapping(StringInfo out, int first, const uint32 *codes)
{
	char		bytes[3 * 4];
	int			len = 0;

	for (int i = 0; i < 3 && codes[i] != 0; i++)
	{
		unicode_to_utf8(codes[i], (unsigned char *) bytes + len);
		len += pg_utf_mblen((unsigned char *) bytes + len);
	}
	if (len > 0)
		add_choice(out, first, bytes, len);
}

static void
add_code_point(StringInfo out, const char *s, int len, uint32 code)
{
	int			first = out->len;
	const EbCaseMap *map = case_map(code);

	appendStringInfoChar(out, 0);
	add_choice(out, first, s, len);
	if (map != NULL && (len > 1 || code < 0x80))
	{
		add_mapping(out, first, map->lower);
		add_mapping(out, first, map->upper);
	}
}

/* Text of the server's encoding in UTF-8, or as it is where that is unknown */
static const char *
to_utf8(const char *s, uint32 *len)
{
	char	   *converted;

	if (GetDatabaseEncoding() == PG_UTF8 ||
		GetDatabaseEncoding() == PG_SQL_ASCII || is_ascii(s, *len))
		return s;
	converted = pg_server_to_any(s, (int) *len, PG_UTF8);
	if (converted != s)
		*len = (uint32) strlen(converted);
	return converted;
}

char	   *
eb_fold_compile(const char *s, uint32 len, bool backwards, uint32 *proglen)
{
	StringInfoData out;
	uint32	   *starts;
	uint32		n = 0;
	uint32		code;

	initStringInfo(&out);
	if (is_ascii(s, len))
	{
		appendStringInfoChar(&out, FOLD_ASCII);
		for (uint32 i = 0; i < len; i++)
			appendStringInfoChar(&out, (char) eb_ascii_lower(s[i]));
		*proglen = out.len;
		return out.data;
	}

	s = to_utf8(s, &len);
	starts = palloc(len * sizeof(uint32));
	for (uint32 i = 0; i < len; i += utf8_length(s + i, len - i, &code))
		starts[n++] = i;
	appendStringInfoChar(&out, FOLD_GENERAL);
	for (uint32 i = 0; i < n; i++)
	{
		uint32		start = starts[backwards ? n - 1 - i : i];
		int			charlen = utf8_length(s + start, len - start, &code);

		add_code_point(&out, s + start, charlen, code);
	}
	pfree(starts);
	*proglen = out.len;
	return out.data;
}

/* The text that a forward program was made of, ASCII in lower case. */
static void
append_source(StringInfo out, const char *prog, uint32 proglen)
{
	const char *end = prog + proglen;

	if (*prog == FOLD_ASCII)
	{
		appendBinaryStringInfo(out, prog + 1, proglen - 1);
		return;
	}
	for (const char *p = prog + 1; p < end;)
	{
		int			nchoices = (unsigned char) *p++;

		appendBinaryStringInfo(out, p + 1, *p);
		while (nchoices-- > 0)
			p += 1 + *p;
	}
}

/* Likewise, of programs in either direction, in the server's encoding. */
void
eb_fold_source(StringInfo out, const char *prog, uint32 proglen,
			   bool backwards)
{
	StringInfoData text;
	char	   *server;

	initStringInfo(&text);
	append_source(&text, prog, proglen);
	if (backwards && *prog == FOLD_GENERAL)
	{
		char	   *forward = palloc(text.len + 1);
		int			to = text.len;
		uint32		code;

		for (int i = 0; i < text.len;)
		{
			int			n = utf8_length(text.data + i, text.len - i, &code);

			to -= n;
			memcpy(forward + to, text.data + i, n);
			i += n;
		}
		memcpy(text.data, forward, text.len);
		pfree(forward);
	}
	server = text.data;

	if (*prog == FOLD_GENERAL && GetDatabaseEncoding() != PG_SQL_ASCII)
		server = pg_any_to_server(text.data, text.len, PG_UTF8);
	appendStringInfoString(out, server);
	pfree(text.data);
}

static bool
ascii_match(EbTestKind kind, const char *lower, uint32 n, const char *s,
			uint32 len)
{
	if (kind == EB_TEST_FOLD ? len != n : len < n)
		return false;
	if (kind == EB_TEST_FOLD_SUFFIX)
		s += len - n;
	for (uint32 i = 0; i < n; i++)
	{
		if (eb_ascii_lower((unsigned char) s[i]) != (unsigned char) lower[i])
			return false;
	}
	return true;
}

static bool
general_match(EbTestKind kind, const char *prog, uint32 proglen,
			  const char *s, uint32 len)
{
	const char *p = prog + 1;
	const char *pend = prog + proglen;
	const char *from = s;
	const char *to = s + len;

	while (p < pend)
	{
		int			nchoices = (unsigned char) *p++;
		int			taken = -1;

		for (; nchoices > 0; nchoices--)
		{
			int			n = (unsigned char) *p;

			if (taken < 0 && to - from >= n &&
				memcmp(kind == EB_TEST_FOLD_SUFFIX ? to - n : from, p + 1, n) == 0)
				taken = n;
			p += 1 + n;
		}
		if (taken < 0)
			return false;
		if (kind == EB_TEST_FOLD_SUFFIX)
			to -= taken;
		else
			from += taken;
	}
	return kind != EB_TEST_FOLD || from == to;
}

bool
eb_fold_match(EbTestKind kind, const char *prog, uint32 proglen,
			  const char *s, uint32 len)
{
	const char *utf8;
	bool		result;

	if (*prog == FOLD_ASCII)
		return ascii_match(kind, prog + 1, proglen - 1, s, len);
	utf8 = to_utf8(s, &len);
	result = general_match(kind, prog, proglen, utf8, len);
	if (utf8 != s)
		pfree(unconstify(char *, utf8));
	return result;
}

/*
 * The ASCII characters with which every match of a program must begin (for a
 * backwards program: end, last one first), in lower case.  Returns their
 * number; *whole tells whether that is all that the program asks for.
 */
uint32
eb_fold_ascii_run(const char *prog, uint32 proglen, bool backwards, char *run,
				  bool *whole)
{
	uint32		n = 0;

	*whole = true;
	if (*prog == FOLD_ASCII)
	{
		n = proglen - 1;
		for (uint32 i = 0; i < n; i++)
			run[i] = prog[1 + (backwards ? n - 1 - i : i)];
		return n;
	}
	for (const char *p = prog + 1; p < prog + proglen;)
	{
		int			nchoices = (unsigned char) *p++;

		if (p[0] != 1 || (unsigned char) p[1] >= 0x80)
		{
			*whole = false;
			break;
		}
		run[n++] = (char) eb_ascii_lower((unsigned char) p[1]);
		while (nchoices-- > 0)
			p += 1 + *p;
	}
	return n;
}
