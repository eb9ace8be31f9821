/*-------------------------------------------------------------------------
 *
 * match_fuzz.c
 *	  Fuzz target: an event and patterns, as JSON texts one after the other.
 *
 * Patterns that are refused are skipped.  Where the oracle can afford it, its
 * answer must be the matcher's.  (The oracle folds few letters: patterns that
 * ignore case are only compared where all text is ASCII.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_int.h"

#include "json.h"
#include "oracle.h"
#include "shim.h"

#define MAX_PATTERNS	64

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_ascii(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
	{
		/* also none that an escape makes */
		if (data[i] >= 0x80 || (data[i] == '\\' && i + 1 < size && data[i + 1] == 'u'))
			return false;
	}
	return true;
}

static void
run(const uint8_t *data, size_t size)
{
	const char *p = (const char *) data;
	const char *end = p + size;
	Json	   *event = json_parse(&p, end);
	Json	   *patterns[MAX_PATTERNS];
	int			n = 0;
	EbPatternBuilder *b = eb_pattern_builder_create(8);
	EbPatternScratch *s = eb_pattern_scratch_create();
	OracleEvent *apart = NULL;
	Jsonb	   *jb;
	const uint32 *rules;
	int			nrules;
	int			next = 0;

	if (event == NULL)
		return;
	while (n < MAX_PATTERNS)
	{
		Json	   *pattern = json_parse(&p, end);
		EbPattern  *parsed;

		if (pattern == NULL)
			break;
		parsed = shim_parse_pattern(&json_to_jsonb(pattern)->root);
		if (parsed == NULL)
			continue;
		eb_pattern_builder_add(b, parsed, n);
		patterns[n++] = pattern;
	}
	jb = json_to_jsonb(event);
	nrules = eb_pattern_match(eb_pattern_builder_finish(b), s, &jb->root, &rules);
	if (is_ascii(data, size))
		apart = oracle_event(event);
	for (int i = 0; apart && i < n; i++)
	{
		bool		found = next < nrules && rules[next] == (uint32) i;

		next += found;
		if (oracle_can_afford(patterns[i], apart) &&
			oracle_matches(patterns[i], apart) != found)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	sigjmp_buf	refused;

	shim_target = &refused;
	if (sigsetjmp(refused, 0) == 0)
		run(data, size);
	shim_reset();
	return 0;
}
