/*-------------------------------------------------------------------------
 *
 * random_test.c
 *	  Compares the compiled matcher with the oracle on random patterns and
 *	  events.
 *
 *	 random_test [ROUNDS [SEED]]
 *
 * A round makes a set of patterns and EVENTS events out of the same few keys
 * and values, so that matches are frequent, compiles the set, and compares
 * for each event the rules found with what the oracle says of each pattern.
 * It also checks that a set works at another address, that the normal form of
 * a pattern matches the same events and is its own normal form, and that
 * eb_pattern_explain() agrees.  Ends with "N passed, N failed".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "pattern/pattern_int.h"

#include "json.h"
#include "oracle.h"
#include "shim.h"

#undef printf
#undef fprintf

#define EVENTS			10
#define MAX_PATTERNS	400

static uint64 state;

/*
 * In some rounds most tests are of one kind and few values are arrays, so that
 * each way of finding tests meets many of them at once.  -1: as it comes.
 */
static int	only_kind;

static uint32
rnd(uint32 n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32) ((state >> 11) % n);
}

static bool
chance(int percent)
{
	return (int) rnd(100) < percent;
}

/* ---- values ---- */

static const char *const keys[] = {
	"a", "b", "c", "d", "a", "b", "c", "d", "x", "y", "a-b", "a.b", "a/b", "",
	"é", "detail-type", "A"
};

static const char *const pieces[] = {
	"a", "b", "x", "y", "ab", "abc", "bc", "A", "B", "k", "K", "\u212a", "s",
	"S", "ss", "SS", "sS", "ß", "ẞ", "ſ", "é", "É", "e\u0301", "я", "Я", "σ",
	"ς", "Σ", "İ", "i\u0307", "i", "I", "ı", "ﬁ", "FI", "fi", "Ⱥ", "ⱥ", "𐐀",
	"𐐨", "ǅ", "ǆ", "Ǆ", "*", "\\", "\"", "\n", " ", "1", "5", "😀", "雨",
	"aws.ec2", "instance/"
};

static const char *const addresses[] = {
	"10.0.0.1", "010.0.0.1", "10.0.0.2", "10.1.2.3", "::ffff:a00:1", "::1",
	"0:0:0:0:0:0:0:1", "2001:db8::5", "2001:DB8:0::5", "10.0.0.256", "10.1",
	"fe80::1", "::ffff:10.0.0.1", "1:2:3:4:5:6:7::", ":::", "a00::1"
};

static const char *const blocks[] = {
	"10.0.0.0/8", "10.0.0.0/31", "0.0.0.0/0", "10.1.2.0/24", "::/0", "::/1",
	"2001:db8::/32", "::ffff:a00:0/8", "fe80::/10", "10.0.0.1/30"
};

static const char *const numbers[] = {
	"0", "-0", "0.0", "1", "1.0", "1.5", "1.50", "15e-1", "10", "1e1", "100",
	"0.5", "5e-1", "-3", "-3.0", "-1e300", "1e300", "1e-300", "5", "5.0", "6",
	"9007199254740993", "9007199254740992", "9007199254740993.0",
	"12345678901234567890.123456789", "12345678901234567890.123456788",
	"1234567890123456789012345678901234567890", "0.1",
	"0.1000000000000000055511151231257827", "99999999", "100000000",
	"123456789012", "123456789012.0001", "-123456789012.0001",
	"-123456789012.00010001", "123456789012.00010001", "123456789012.0001",
	"123456789012.00010001", "1e30", "7", "8", "9.25", "2", "3", "4"
};

#define PICK(list)	((list)[rnd(lengthof(list))])

static Json *
random_text(int max_pieces)
{
	StringInfoData out;

	if (chance(12))
		return json_string(PICK(addresses));
	initStringInfo(&out);
	for (int n = rnd(max_pieces + 1); n > 0; n--)
		appendStringInfoString(&out, PICK(pieces));
	return json_text(JSON_STRING, out.data, out.len);
}

static Json *
random_number(void)
{
	const char *text = PICK(numbers);

	return json_text(JSON_NUMBER, text, (int) strlen(text));
}

static Json *
random_scalar(void)
{
	switch (rnd(10))
	{
		case 0:
			return json_new(JSON_NULL);
		case 1:
			return json_new(chance(50) ? JSON_TRUE : JSON_FALSE);
		case 2:
		case 3:
		case 4:
			return random_number();
		default:
			return random_text(3);
	}
}

static Json *random_object(int depth);

static Json *
random_value(int depth)
{
	Json	   *list;

	if (depth <= 0 || chance(45))
		return random_scalar();
	if (chance(45))
		return random_object(depth - 1);
	if (only_kind >= 0 && chance(80))
		return random_scalar();
	list = json_new(JSON_ARRAY);
	for (int n = rnd(5); n > 0; n--)
		json_add(list, chance(60) ? random_object(depth - 1) :
				 random_value(depth - 1));
	return list;
}

static Json *
random_object(int depth)
{
	Json	   *o = json_new(JSON_OBJECT);

	for (int n = rnd(5); n > 0; n--)
		json_set(o, json_string(chance(70) ? keys[rnd(4)] : PICK(keys)),
				 random_value(depth));
	return o;
}

/* A value that is somewhere in the event, or any */
static const Json *
some_value(const Json *j)
{
	while ((j->type == JSON_ARRAY || j->type == JSON_OBJECT) && j->n > 0)
		j = j->values[rnd(j->n)];
	return j->type < JSON_ARRAY ? j : random_scalar();
}

/* ---- tests ---- */

static Json *
operator(const char *name, Json *operand)
{
	Json	   *o = json_new(JSON_OBJECT);

	json_set(o, json_string(name), operand);
	return o;
}

static int
char_length(const Json *s, int at)
{
	unsigned char c = (unsigned char) s->text[at];

	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Part of a text, between characters; what says which end is kept */
static Json *
part_of(const Json *text, bool start, bool end)
{
	int			from = 0;
	int			to = text->len;
	int			cut = text->len ? (int) rnd(text->len + 1) : 0;
	int			at = 0;

	while (at < cut)
		at += char_length(text, at);
	if (!start)
		from = at;
	else if (!end)
		to = at;
	return json_text(JSON_STRING, text->text + from, to - from);
}

/* Some of its letters in the other case, where that is one letter */
static Json *
other_case(const Json *text)
{
	Json	   *j = json_text(JSON_STRING, text->text, text->len);

	for (int i = 0; i < j->len; i++)
	{
		if (isascii((unsigned char) j->text[i]) && chance(50))
			j->text[i] = (char) (isupper((unsigned char) j->text[i]) ?
								 tolower(j->text[i]) : toupper(j->text[i]));
	}
	return j;
}

static Json *
wildcard_of(const Json *text)
{
	StringInfoData out;
	bool		star = false;

	initStringInfo(&out);
	for (int i = 0; i < text->len;)
	{
		int			n = char_length(text, i);

		if (chance(25))
		{
			if (!star)
				appendStringInfoChar(&out, '*');
			star = true;
			i += chance(50) ? n : 0;
			continue;
		}
		if (text->text[i] == '*' || text->text[i] == '\\')
			appendStringInfoChar(&out, '\\');
		appendBinaryStringInfo(&out, text->text + i, n);
		star = false;
		i += n;
	}
	if (!star && chance(30))
		appendStringInfoChar(&out, '*');
	return json_text(JSON_STRING, out.data, out.len);
}

static Json *
random_range(void)
{
	static const char *const ops[] = {">", ">=", "<", "<=", "="};
	Json	   *list = json_new(JSON_ARRAY);
	int			op = rnd(5);

	json_add(list, json_string(ops[op]));
	json_add(list, random_number());
	if (op < 2 && chance(70))
	{
		json_add(list, json_string(ops[2 + rnd(2)]));
		json_add(list, random_number());
	}
	return list;
}

/* Lists of one or more, or one alone */
static Json *
but_operand(const Json *near)
{
	static const char *const names[] = {"prefix", "suffix", "equals-ignore-case", "wildcard"};
	const char *name = chance(50) ? names[rnd(4)] : NULL;
	bool		number = name == NULL && near->type == JSON_NUMBER;
	Json	   *list = json_new(JSON_ARRAY);
	Json	   *operand;

	for (int n = 1 + rnd(3); n > 0; n--)
	{
		const Json *base = near->type == JSON_STRING && chance(60) ? near :
			random_text(2);

		if (number)
			json_add(list, chance(50) ? unconstify(Json *, near) : random_number());
		else if (name == NULL)
			json_add(list, unconstify(Json *, base));
		else if (strcmp(name, "wildcard") == 0)
			json_add(list, wildcard_of(base));
		else if (strcmp(name, "equals-ignore-case") == 0)
			json_add(list, other_case(base));
		else
		{
			Json	   *part = part_of(base, strcmp(name, "prefix") == 0,
									   strcmp(name, "suffix") == 0);

			json_add(list, part->len > 0 ? part : json_string("q"));
		}
	}
	operand = list->n == 1 && chance(50) ? list->values[0] : list;
	return name ? operator(name, operand) : operand;
}

static Json *
random_test(const Json *event, const Json *here)
{
	const Json *near = some_value(here && chance(70) ? here : event);
	const Json *text = near->type == JSON_STRING ? near : random_text(3);

	switch (only_kind >= 0 && chance(80) ? only_kind : (int) rnd(20))
	{
		case 0:
			return operator("exists", json_new(JSON_TRUE));
		case 1:
		case 2:
			return operator("exists", json_new(JSON_FALSE));
		case 3:
		case 4:
			return operator("numeric", random_range());
		case 5:
		case 6:
			return operator("anything-but", but_operand(near));
		case 7:
			return operator("prefix", part_of(text, true, false));
		case 8:
			return operator("suffix", part_of(text, false, true));
		case 9:
			return operator("prefix", operator("equals-ignore-case",
											   other_case(part_of(text, true, false))));
		case 10:
			return operator("suffix", operator("equals-ignore-case",
											   other_case(part_of(text, false, true))));
		case 11:
			return operator("equals-ignore-case", other_case(text));
		case 12:
		case 13:
			return operator("wildcard", wildcard_of(text));
		case 14:
			return operator("cidr", json_string(PICK(blocks)));
		case 15:
			return operator("exactly", unconstify(Json *, text));
		default:
			return unconstify(Json *, near);
	}
}

static Json *
random_tests(const Json *event, const Json *here)
{
	Json	   *list = json_new(JSON_ARRAY);

	for (int n = chance(60) ? 1 : 1 + rnd(4); n > 0; n--)
		json_add(list, random_test(event, here));
	return list;
}

/* Keys often follow those of the event. */
static Json *
random_pattern(const Json *event, const Json *here, int depth, bool top)
{
	Json	   *o = json_new(JSON_OBJECT);

	for (int n = chance(40) ? 1 : 1 + rnd(top ? 3 : 2); n > 0; n--)
	{
		const Json *key;
		const Json *below = NULL;
		const Json *place = here;

		while (place && place->type == JSON_ARRAY && place->n > 0)
			place = place->values[rnd(place->n)];
		if (place && place->type == JSON_OBJECT && place->n > 0 && chance(75))
		{
			int			k = rnd(place->n);

			key = place->keys[k];
			below = place->values[k];
		}
		else
			key = json_string(PICK(keys));
		if (depth > 0 && chance(below && below->type >= JSON_ARRAY ? 75 : 25))
			json_set(o, unconstify(Json *, key),
					 random_pattern(event, below, depth - 1, false));
		else
			json_set(o, unconstify(Json *, key), random_tests(event, below));
	}
	if (depth > 0 && chance(15))
	{
		Json	   *list = json_new(JSON_ARRAY);

		for (int n = 2 + rnd(2); n > 0; n--)
			json_add(list, random_pattern(event, here, depth - 1, false));
		json_set(o, json_string("$or"), list);
	}
	return o;
}

/* ---- comparing ---- */

static long passed;				/* pairs of a set and an event */
static long failed;
static long compared;			/* pairs of a pattern and an event */
static long matching;

static void
report(const char *what, const Json *pattern, const Json *event)
{
	StringInfoData text;

	failed++;
	if (failed > 20)
		return;
	initStringInfo(&text);
	json_write(&text, pattern);
	fprintf(stderr, "%s\n  pattern %s\n", what, text.data);
	if (event)
	{
		resetStringInfo(&text);
		json_write(&text, event);
		fprintf(stderr, "  event   %s\n", text.data);
	}
}

static bool
in_list(const uint32 *rules, int n, uint32 rule)
{
	for (int i = 0; i < n; i++)
	{
		if (rules[i] == rule)
			return true;
	}
	return false;
}

/* The normal form as a pattern, having checked that it is its own */
static EbPattern *
normal_form(const Json *pattern, const EbPattern *parsed)
{
	StringInfoData first;
	StringInfoData second;
	const char *p;
	Json	   *json;
	EbPattern  *again;

	initStringInfo(&first);
	initStringInfo(&second);
	eb_pattern_to_json(&first, parsed);
	p = first.data;
	json = json_parse(&p, first.data + first.len);
	if (json == NULL)
	{
		report("normal form is not JSON", pattern, NULL);
		return eb_pattern_parse(&json_to_jsonb(pattern)->root);
	}
	again = eb_pattern_parse(&json_to_jsonb(json)->root);
	eb_pattern_to_json(&second, again);
	if (strcmp(first.data, second.data) != 0)
		report("normal form has another normal form", pattern, json);
	return again;
}

/*
 * Which refusals are not the generator's to avoid: a field twice in one
 * conjunction, ranges that are empty.
 */
static bool
is_expected_refusal(void)
{
	return strstr(shim_message, "each field only once") ||
		strstr(shim_message, "less than the upper one");
}

static EbPattern *
parse_or_skip(const Json *pattern)
{
	EbPattern  *parsed = shim_parse_pattern(&json_to_jsonb(pattern)->root);

	if (!parsed && !is_expected_refusal())
		report(shim_message, pattern, NULL);
	return parsed;
}

static void
one_round(void)
{
	Json	   *events[EVENTS];
	Json	   *patterns[MAX_PATTERNS];
	EbPattern  *parsed[MAX_PATTERNS];
	EbPatternBuilder *b = eb_pattern_builder_create(10);
	EbPatternBuilder *nb = eb_pattern_builder_create(10);
	EbPatternScratch *s = eb_pattern_scratch_create();
	EbPatternSet *set;
	EbPatternSet *normal;
	EbPatternSet *moved;
	int			n = 0;
	int			wanted = chance(60) ? 1 + rnd(3) : chance(98) ? 4 + rnd(12) : 200;

	only_kind = -1;
	if (chance(8))
	{
		only_kind = rnd(20);
		wanted = 20 + rnd(40);
	}
	for (int e = 0; e < EVENTS; e++)
		events[e] = random_object(3);
	while (n < wanted)
	{
		const Json *event = events[rnd(EVENTS)];
		Json	   *pattern = random_pattern(event, event, 2, true);

		parsed[n] = parse_or_skip(pattern);
		if (parsed[n] == NULL)
			continue;
		patterns[n] = pattern;
		eb_pattern_builder_add(b, parsed[n], n);
		eb_pattern_builder_add(nb, normal_form(pattern, parsed[n]), n);
		n++;
	}
	set = eb_pattern_builder_finish(b);
	normal = eb_pattern_builder_finish(nb);
	moved = palloc(set->size);
	memcpy(moved, set, set->size);
	memset(set, 0x7f, set->size);

	for (int e = 0; e < EVENTS; e++)
	{
		Jsonb	   *event = json_to_jsonb(events[e]);
		OracleEvent *apart = oracle_event(events[e]);
		const uint32 *found;
		uint32		rules[MAX_PATTERNS];
		int			nrules = eb_pattern_match(moved, s, &event->root, &found);
		long		before = failed;

		memcpy(rules, found, nrules * sizeof(uint32));
		for (int i = 1; i < nrules; i++)
		{
			if (rules[i - 1] >= rules[i])
				report("rules are not ascending", patterns[rules[i]], events[e]);
		}
		for (int i = 0; i < n; i++)
		{
			bool		expected;

			if (apart == NULL || !oracle_can_afford(patterns[i], apart))
				continue;
			expected = oracle_matches(patterns[i], apart);
			compared++;
			matching += expected;
			if (in_list(rules, nrules, i) != expected)
				report(expected ? "match not found" : "wrong match",
					   patterns[i], events[e]);
			if (i == e)
			{
				EbPatternMiss miss;

				if (eb_pattern_explain(parsed[i], &event->root, &miss) != expected)
					report("explain disagrees", patterns[i], events[e]);
			}
		}
		if (eb_pattern_match(normal, s, &event->root, &found) != nrules ||
			memcmp(found, rules, nrules * sizeof(uint32)) != 0)
			report("normal forms match other rules", patterns[0], events[e]);
		if (failed == before)
			passed++;
	}
}

int
main(int argc, char **argv)
{
	long		rounds = argc > 1 ? atol(argv[1]) : 10050;
	uint64		seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

	for (volatile long r = 0; r < rounds; r++)
	{
		state = (seed * UINT64CONST(1000003) + r) *
			UINT64CONST(0x9E3779B97F4A7C15) | 1;
		sigjmp_buf	refused;

		shim_target = &refused;
		if (sigsetjmp(refused, 0) == 0)
			one_round();
		else
		{
			fprintf(stderr, "round %ld: %s\n", r, shim_message);
			failed++;
		}
		shim_reset();
	}
	printf("random patterns and events (seed %llu, %ld compared, %ld matching): %ld passed, %ld failed\n",
		   (unsigned long long) seed, compared, matching, passed, failed);
	return failed > 0;
}
