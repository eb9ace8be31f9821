/*-------------------------------------------------------------------------
 *
 * oracle.c
 *	  A naive matcher, to compare the real one with.
 *
 * It is written to be obviously right, not fast, and shares nothing with
 * src/pattern, not even the algorithm: where the real one recurses through
 * arrays, this one goes by memberships.  The event is taken apart into its
 * leaves; each knows the keys to it and, for every array on the way, which
 * element it is in (a scalar directly in an array is in no element of it).
 * A conjunction is processed field by field in the order of the texts of the
 * paths: a field with tests picks any leaf that satisfies one and that is in
 * the same element of every array as the leaves picked before; a field that
 * is to be missing must have no leaf that could be picked so.  All picks are
 * tried.  That is exponential, and is the definition.
 *
 * Case folding knows only the letters that the tests use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "oracle.h"

#define MAX_DEPTH		16
#define MAX_ARRAYS		32
#define MAX_LEAVES		256
#define MAX_COST		200000	/* picks */

/* ---- numbers: digits without zeros at the ends, and an exponent ---- */

typedef struct Decimal
{
	int			sign;			/* 0 for zero */
	int			exponent;		/* value is 0.DIGITS * 10^exponent */
	int			n;
	const char *digits;
} Decimal;

static Decimal
decimal(const Json *number)
{
	Decimal		d = {1, 0, 0, NULL};
	char	   *digits = palloc(number->len + 1);
	const char *p = number->text;
	bool		after = false;

	if (*p == '-')
	{
		d.sign = -1;
		p++;
	}
	for (; *p && *p != 'e' && *p != 'E'; p++)
	{
		if (*p == '.')
			after = true;
		else
		{
			digits[d.n++] = *p;
			d.exponent += !after;
		}
	}
	if (*p)
		d.exponent += atoi(p + 1);
	while (d.n > 0 && digits[0] == '0')
	{
		digits++;
		d.n--;
		d.exponent--;
	}
	while (d.n > 0 && digits[d.n - 1] == '0')
		d.n--;
	d.digits = digits;
	if (d.n == 0)
		d.sign = 0;
	return d;
}

static int
compare_numbers(const Json *a, const Json *b)
{
	Decimal		da = decimal(a);
	Decimal		db = decimal(b);
	int			cmp = 0;

	if (da.sign != db.sign)
		return da.sign < db.sign ? -1 : 1;
	if (da.sign == 0)
		return 0;
	if (da.exponent != db.exponent)
		cmp = da.exponent < db.exponent ? -1 : 1;
	for (int i = 0; cmp == 0 && (i < da.n || i < db.n); i++)
	{
		char		ca = i < da.n ? da.digits[i] : '0';
		char		cb = i < db.n ? db.digits[i] : '0';

		if (ca != cb)
			cmp = ca < cb ? -1 : 1;
	}
	return cmp * da.sign;
}

/* ---- addresses: a string of bits, "4:0101..." or "6:0101..." ---- */

static const char *
bits_of_ipv4(const char *s)
{
	StringInfoData out;
	int			groups[4];
	int			n = 0;
	int			used = 0;

	if (strlen(s) > 15 || strspn(s, "0123456789.") != strlen(s) ||
		sscanf(s, "%d.%d.%d.%d%n", &groups[0], &groups[1], &groups[2],
			   &groups[3], &used) != 4 || s[used] != '\0')
		return NULL;
	for (const char *p = s; *p; p++)
	{
		n += *p == '.';
		if (*p == '.' && (p == s || p[1] == '.' || p[1] == '\0'))
			return NULL;
	}
	if (n != 3)
		return NULL;
	initStringInfo(&out);
	appendStringInfoString(&out, "4:");
	for (int g = 0; g < 4; g++)
	{
		if (groups[g] > 255)
			return NULL;
		for (int b = 7; b >= 0; b--)
			appendStringInfoChar(&out, groups[g] >> b & 1 ? '1' : '0');
	}
	return out.data;
}

/* Groups of one side of the ::, appended to the list; -1 if they are none */
static int
read_groups(const char *s, const char *end, int *groups, int n)
{
	if (s == end)
		return n;
	for (;;)
	{
		const char *stop = memchr(s, ':', end - s);
		char	   *after;
		char		group[64];

		if (stop == NULL)
			stop = end;
		if (stop == s || stop - s >= (int) sizeof(group) || n >= 8)
			return -1;
		memcpy(group, s, stop - s);
		group[stop - s] = '\0';
		if (strspn(group, "0123456789abcdefABCDEF") != strlen(group))
			return -1;
		groups[n] = (int) Min(strtoul(group, &after, 16), 0x10000);
		if (groups[n++] > 0xffff)
			return -1;
		if (stop == end)
			return n;
		s = stop + 1;
		if (s == end)
			return -1;
	}
}

static const char *
bits_of_ipv6(const char *s)
{
	const char *gap = strstr(s, "::");
	const char *end = s + strlen(s);
	int			groups[16] = {0};
	int			n;
	StringInfoData out;

	if (gap)
	{
		int			right[16];
		int			m;

		n = read_groups(s, gap, groups, 0);
		m = read_groups(gap + 2, end, right, 0);
		if (n < 0 || m < 0 || n + m > 7 || strchr(s, ':') == NULL)
			return NULL;
		for (int i = 0; i < m; i++)
			groups[8 - m + i] = right[i];
	}
	else if (read_groups(s, end, groups, 0) != 8)
		return NULL;
	initStringInfo(&out);
	appendStringInfoString(&out, "6:");
	for (int g = 0; g < 8; g++)
	{
		for (int b = 15; b >= 0; b--)
			appendStringInfoChar(&out, groups[g] >> b & 1 ? '1' : '0');
	}
	if (strncmp(out.data + 2, "0000000000000000000000000000000000000000"
				"0000000000000000000000000000000000000000" "1111111111111111",
				96) == 0)
	{
		out.data[96] = '4';
		out.data[97] = ':';
		return out.data + 96;
	}
	return out.data;
}

static const char *
bits_of(const Json *string)
{
	const char *bits;

	if ((int) strlen(string->text) != string->len)
		return NULL;
	bits = bits_of_ipv4(string->text);
	return bits ? bits : bits_of_ipv6(string->text);
}

/* ---- strings ---- */

static bool
same_text(const Json *a, const Json *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static bool
starts_with(const char *s, int len, const char *prefix, int plen)
{
	return len >= plen && memcmp(s, prefix, plen) == 0;
}

static bool
ends_with(const char *s, int len, const char *suffix, int slen)
{
	return len >= slen && memcmp(s + len - slen, suffix, slen) == 0;
}

static bool
wildcard(const char *w, const char *wend, const char *s, const char *end)
{
	if (w == wend)
		return s == end;
	if (*w == '*')
	{
		for (const char *p = s; p <= end; p++)
		{
			if (wildcard(w + 1, wend, p, end))
				return true;
		}
		return false;
	}
	if (*w == '\\')
		w++;
	return s < end && *s == *w && wildcard(w + 1, wend, s + 1, end);
}

/* Letters with more than one choice: itself, lower case, upper case */
static const char *const foldings[][3] = {
	{"é", "é", "É"}, {"É", "é", "É"}, {"я", "я", "Я"}, {"Я", "я", "Я"},
	{"ß", "ß", "SS"}, {"ẞ", "ß", "ẞ"}, {"Σ", "σ", "Σ"}, {"σ", "σ", "Σ"},
	{"ς", "ς", "Σ"}, {"\u212a", "k", "\u212a"}, {"ſ", "ſ", "S"},
	{"İ", "i\u0307", "İ"}, {"ı", "ı", "I"}, {"ﬁ", "ﬁ", "FI"},
	{"Ⱥ", "ⱥ", "Ⱥ"}, {"𐐀", "𐐨", "𐐀"}, {"ǅ", "ǆ", "Ǆ"},
	{"ǆ", "ǆ", "Ǆ"}, {"Ǆ", "ǆ", "Ǆ"}, {"ⱥ", "ⱥ", "Ⱥ"}, {"𐐨", "𐐨", "𐐀"}
};

static int
letter_length(const char *s)
{
	unsigned char c = (unsigned char) *s;

	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

typedef enum FoldWhere
{
	FOLD_ALL, FOLD_START
} FoldWhere;

static bool
fold_from(const char *p, const char *pend, const char *s, const char *end,
		  FoldWhere where)
{
	char		ascii[3][2] = {{0}};
	const char *choices[3] = {ascii[0], ascii[1], ascii[2]};
	char		letter[5] = {0};
	int			n;

	if (p >= pend)
		return where == FOLD_START || s == end;
	n = letter_length(p);
	memcpy(letter, p, n);
	if (n == 1)
	{
		ascii[0][0] = *p;
		ascii[1][0] = (char) (*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
		ascii[2][0] = (char) (*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
	}
	else
	{
		choices[0] = choices[1] = choices[2] = letter;
		for (size_t i = 0; i < lengthof(foldings); i++)
		{
			if (strcmp(foldings[i][0], letter) == 0)
				memcpy(choices, foldings[i], sizeof(choices));
		}
	}
	for (int c = 0; c < 3; c++)
	{
		int			len = (int) strlen(choices[c]);

		if (starts_with(s, (int) (end - s), choices[c], len) && (n > 1 || *p) &&
			fold_from(p + n, pend, s + len, end, where))
			return true;
	}
	return false;
}

static bool
fold(const Json *pattern, const Json *value, FoldWhere where, bool anywhere)
{
	const char *s = value->text;
	const char *end = s + value->len;

	/* a suffix is what matches to the end from some place on */
	for (;; s++)
	{
		if (fold_from(pattern->text, pattern->text + pattern->len, s, end, where))
			return true;
		if (!anywhere || s == end)
			return false;
	}
}

/* ---- tests ---- */

static bool text_test(const char *operator, const Json *operand,
					  const Json *value);

static bool
affix_test(const char *operator, const Json *operand, const Json *value)
{
	bool		prefix = strcmp(operator, "prefix") == 0;

	if (operand->type == JSON_OBJECT)
		return prefix ? fold(operand->values[0], value, FOLD_START, false) :
			fold(operand->values[0], value, FOLD_ALL, true);
	return prefix ?
		starts_with(value->text, value->len, operand->text, operand->len) :
		ends_with(value->text, value->len, operand->text, operand->len);
}

/* Tests of strings alone */
static bool
text_test(const char *operator, const Json *operand, const Json *value)
{
	if (value->type != JSON_STRING)
		return false;
	if (strcmp(operator, "exactly") == 0)
		return same_text(operand, value);
	if (strcmp(operator, "prefix") == 0 || strcmp(operator, "suffix") == 0)
		return affix_test(operator, operand, value);
	if (strcmp(operator, "equals-ignore-case") == 0)
		return fold(operand, value, FOLD_ALL, false);
	if (strcmp(operator, "wildcard") == 0)
		return wildcard(operand->text, operand->text + operand->len,
						value->text, value->text + value->len);
	if (strcmp(operator, "cidr") == 0)
	{
		const char *slash = strchr(operand->text, '/');
		Json	   *address = json_text(JSON_STRING, operand->text,
										(int) (slash - operand->text));
		const char *block = bits_of(address);
		const char *bits = bits_of(value);

		return bits && strncmp(bits, block, 2 + atoi(slash + 1)) == 0;
	}
	abort();
}

static bool
literal_equal(const Json *a, const Json *b)
{
	if (a->type != b->type)
		return false;
	if (a->type == JSON_NUMBER)
		return compare_numbers(a, b) == 0;
	return a->type != JSON_STRING || same_text(a, b);
}

static bool
is_excluded(const Json *operand, const char *operator, const Json *value)
{
	if (operand->type == JSON_ARRAY)
	{
		for (int i = 0; i < operand->n; i++)
		{
			if (is_excluded(operand->values[i], operator, value))
				return true;
		}
		return false;
	}
	if (operand->type == JSON_OBJECT)
		return is_excluded(operand->values[0], operand->keys[0]->text, value);
	return operator ? text_test(operator, operand, value) :
		literal_equal(operand, value);
}

static bool
numeric_test(const Json *list, const Json *value)
{
	if (value->type != JSON_NUMBER)
		return false;
	for (int i = 0; i < list->n; i += 2)
	{
		const char *op = list->values[i]->text;
		int			cmp = compare_numbers(value, list->values[i + 1]);

		if (!((strchr(op, '=') && cmp == 0) || (op[0] == '<' && cmp < 0) ||
			  (op[0] == '>' && cmp > 0)))
			return false;
	}
	return true;
}

static bool
test_holds(const Json *test, const Json *value)
{
	const char *operator;
	const Json *operand;

	if (test->type == JSON_STRING && value->type == JSON_STRING)
	{
		const char *wanted = bits_of(test);
		const char *bits = wanted ? bits_of(value) : NULL;

		return same_text(test, value) || (bits && strcmp(bits, wanted) == 0);
	}
	if (test->type != JSON_OBJECT)
		return literal_equal(test, value);
	operator = test->keys[0]->text;
	operand = test->values[0];
	if (strcmp(operator, "exists") == 0)
		return operand->type == JSON_TRUE;
	if (strcmp(operator, "numeric") == 0)
		return numeric_test(operand, value);
	if (strcmp(operator, "anything-but") == 0)
		return !is_excluded(operand, NULL, value);
	return text_test(operator, operand, value);
}

static bool
is_absent_test(const Json *test)
{
	return test->type == JSON_OBJECT &&
		strcmp(test->keys[0]->text, "exists") == 0 &&
		test->values[0]->type == JSON_FALSE;
}

/* ---- the event's leaves ---- */

typedef struct Leaf
{
	int			depth;
	const Json *path[MAX_DEPTH];	/* keys */
	const Json *value;
	int			element[MAX_ARRAYS];	/* by array; -1 = not in one of it */
} Leaf;

struct OracleEvent
{
	int			narrays;
	int			n;
	bool		overflow;
	Leaf		current;
	Leaf	   *list;
};

typedef OracleEvent Leaves;

static void
take_apart(Leaves *l, const Json *value)
{
	if (value->type == JSON_OBJECT)
	{
		if (l->current.depth >= MAX_DEPTH)
		{
			l->overflow = true;
			return;
		}
		for (int i = 0; i < value->n; i++)
		{
			l->current.path[l->current.depth++] = value->keys[i];
			take_apart(l, value->values[i]);
			l->current.depth--;
		}
	}
	else if (value->type == JSON_ARRAY)
	{
		int			id = l->narrays++;

		if (id >= MAX_ARRAYS)
		{
			l->overflow = true;
			return;
		}
		for (int i = 0; i < value->n; i++)
		{
			bool		scalar = value->values[i]->type < JSON_ARRAY;

			l->current.element[id] = scalar ? -1 : i;
			take_apart(l, value->values[i]);
		}
		l->current.element[id] = -1;
	}
	else
	{
		if (l->n >= MAX_LEAVES)
		{
			l->overflow = true;
			return;
		}
		l->list[l->n] = l->current;
		l->list[l->n++].value = value;
	}
}

OracleEvent *
oracle_event(const Json *event)
{
	Leaves	   *l = palloc0(sizeof(Leaves));

	l->list = palloc(MAX_LEAVES * sizeof(Leaf));
	for (int i = 0; i < MAX_ARRAYS; i++)
		l->current.element[i] = -1;
	take_apart(l, event);
	return l->overflow ? NULL : l;
}

/* ---- the pattern's conjunctions ---- */

typedef struct Field
{
	int			depth;
	const Json *path[MAX_DEPTH];
	const Json *tests;
	StringInfoData text;		/* keys joined with dots */
	bool		must_miss;
} Field;

typedef struct Conjunction
{
	int			n;
	Field	   *fields;
} Conjunction;

typedef struct Conjunctions
{
	int			n;
	Conjunction *list;
} Conjunctions;

static bool
is_reserved(const Json *key)
{
	static const char *const words[] = {
		"exactly", "prefix", "suffix", "equals-ignore-case", "wildcard",
		"anything-but", "numeric", "cidr", "exists", "=", "<", "<=", ">", ">=",
		"regex", "not-wildcard", "not-equals-ignore-case", "date-after",
		"date-on-or-after", "date-before", "date-on-or-before",
		"in-date-range", "ip-address-in-range", "ip-address-not-in-range"
	};

	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (key->len == (int) strlen(words[i]) &&
			memcmp(key->text, words[i], key->len) == 0)
			return true;
	}
	return false;
}

static bool
is_or(const Json *key, const Json *value)
{
	if (key->len != 3 || memcmp(key->text, "$or", 3) != 0 ||
		value->type != JSON_ARRAY || value->n < 2)
		return false;
	for (int i = 0; i < value->n; i++)
	{
		const Json *o = value->values[i];

		if (o->type != JSON_OBJECT || o->n == 0)
			return false;
		for (int k = 0; k < o->n; k++)
		{
			if (is_reserved(o->keys[k]))
				return false;
		}
	}
	return true;
}

static Conjunctions
both(Conjunctions a, Conjunctions b)
{
	Conjunctions c = {0, palloc(a.n * b.n * sizeof(Conjunction) + 1)};

	for (int i = 0; i < a.n; i++)
	{
		for (int j = 0; j < b.n; j++)
		{
			Conjunction *to = &c.list[c.n++];

			to->n = a.list[i].n + b.list[j].n;
			to->fields = palloc(to->n * sizeof(Field) + 1);
			memcpy(to->fields, a.list[i].fields, a.list[i].n * sizeof(Field));
			memcpy(to->fields + a.list[i].n, b.list[j].fields,
				   b.list[j].n * sizeof(Field));
		}
	}
	return c;
}

static Conjunctions
either(Conjunctions a, Conjunctions b)
{
	Conjunctions c = {a.n + b.n, palloc((a.n + b.n) * sizeof(Conjunction) + 1)};

	memcpy(c.list, a.list, a.n * sizeof(Conjunction));
	memcpy(c.list + a.n, b.list, b.n * sizeof(Conjunction));
	return c;
}

static bool too_deep;			/* set by expand() */

static Conjunctions
expand(const Json *object, const Json **path, int depth)
{
	Conjunction nothing = {0, palloc(1)};
	Conjunctions result = {1, palloc(sizeof(Conjunction))};

	result.list[0] = nothing;
	for (int i = 0; i < object->n; i++)
	{
		const Json *key = object->keys[i];
		const Json *value = object->values[i];
		Conjunctions part = {0, palloc(1)};

		if (depth >= MAX_DEPTH)
		{
			too_deep = true;
			break;
		}
		if (is_or(key, value))
		{
			for (int k = 0; k < value->n; k++)
				part = either(part, expand(value->values[k], path, depth));
		}
		else if (value->type == JSON_OBJECT)
		{
			path[depth] = key;
			part = expand(value, path, depth + 1);
		}
		else
		{
			Field	   *f = palloc0(sizeof(Field));
			Conjunction one = {1, f};

			path[depth] = key;
			f->depth = depth + 1;
			memcpy(f->path, path, f->depth * sizeof(Json *));
			f->tests = value;
			initStringInfo(&f->text);
			for (int d = 0; d < f->depth; d++)
			{
				if (d > 0)
					appendStringInfoChar(&f->text, '.');
				appendBinaryStringInfo(&f->text, path[d]->text, path[d]->len);
			}
			part.n = 1;
			part.list = palloc(sizeof(Conjunction));
			part.list[0] = one;
		}
		result = both(result, part);
	}
	return result;
}

/* ---- matching ---- */

static bool
at_path(const Leaf *leaf, const Field *f)
{
	if (leaf->depth != f->depth)
		return false;
	for (int d = 0; d < f->depth; d++)
	{
		if (!same_text(leaf->path[d], f->path[d]))
			return false;
	}
	return true;
}

static bool
consistent(const int *chosen, const Leaf *leaf)
{
	for (int a = 0; a < MAX_ARRAYS; a++)
	{
		if (chosen[a] >= 0 && leaf->element[a] >= 0 &&
			chosen[a] != leaf->element[a])
			return false;
	}
	return true;
}

static bool
try_fields(const Conjunction *c, int f, const Leaves *l, const int *chosen)
{
	const Field *field;

	if (f == c->n)
		return true;
	field = &c->fields[f];
	for (int i = 0; i < l->n; i++)
	{
		const Leaf *leaf = &l->list[i];
		bool		holds = false;
		int			then[MAX_ARRAYS];

		if (!at_path(leaf, field) || !consistent(chosen, leaf))
			continue;
		if (field->must_miss)
			return false;
		for (int t = 0; t < field->tests->n; t++)
			holds = holds || test_holds(field->tests->values[t], leaf->value);
		if (!holds)
			continue;
		memcpy(then, chosen, sizeof(then));
		for (int a = 0; a < MAX_ARRAYS; a++)
		{
			if (leaf->element[a] >= 0)
				then[a] = leaf->element[a];
		}
		if (try_fields(c, f + 1, l, then))
			return true;
	}
	return field->must_miss && try_fields(c, f + 1, l, chosen);
}

static int
field_order(const void *a, const void *b)
{
	const Field *fa = a;
	const Field *fb = b;
	int			cmp = memcmp(fa->text.data, fb->text.data,
							 Min(fa->text.len, fb->text.len));

	if (cmp == 0)
		cmp = fa->text.len - fb->text.len;
	/* a field whose path does not sort before is not chosen before */
	return cmp != 0 ? cmp : (int) fb->must_miss - (int) fa->must_miss;
}

/* Decides for each field with exists: false whether it is to be missing. */
static bool
try_choices(const Conjunction *c, int f, const Leaves *l)
{
	bool		absent = false;
	bool		other = false;

	if (f == c->n)
	{
		Conjunction sorted = {c->n, palloc(c->n * sizeof(Field) + 1)};
		int			chosen[MAX_ARRAYS];

		memcpy(sorted.fields, c->fields, c->n * sizeof(Field));
		qsort(sorted.fields, c->n, sizeof(Field), field_order);
		for (int a = 0; a < MAX_ARRAYS; a++)
			chosen[a] = -1;
		return try_fields(&sorted, 0, l, chosen);
	}
	for (int t = 0; t < c->fields[f].tests->n; t++)
	{
		if (is_absent_test(c->fields[f].tests->values[t]))
			absent = true;
		else
			other = true;
	}
	c->fields[f].must_miss = false;
	if (other && try_choices(c, f + 1, l))
		return true;
	c->fields[f].must_miss = true;
	return absent && try_choices(c, f + 1, l);
}

bool
oracle_can_afford(const Json *pattern, const OracleEvent *l)
{
	const Json *path[MAX_DEPTH];
	Conjunctions c;
	double		cost = 0;

	too_deep = false;
	c = expand(pattern, path, 0);
	for (int i = 0; i < c.n; i++)
	{
		double		picks = 1;

		for (int f = 0; f < c.list[i].n; f++)
		{
			int			n = 1;

			for (int k = 0; k < l->n; k++)
				n += at_path(&l->list[k], &c.list[i].fields[f]);
			picks *= n;
		}
		cost += picks;
	}
	return !too_deep && cost < MAX_COST;
}

bool
oracle_matches(const Json *pattern, const OracleEvent *l)
{
	const Json *path[MAX_DEPTH];
	Conjunctions c = expand(pattern, path, 0);

	for (int i = 0; i < c.n; i++)
	{
		if (try_choices(&c.list[i], 0, l))
			return true;
	}
	return false;
}
