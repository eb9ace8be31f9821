/*-------------------------------------------------------------------------
 *
 * parse_fuzz.c
 *	  Fuzz target: one JSON text as a pattern.
 *
 * A pattern that is accepted must have a normal form that is accepted and its
 * own normal form.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_int.h"

#include "json.h"
#include "shim.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EbPattern *
parse(const Json *pattern)
{
	Jsonb	   *jb = json_to_jsonb(pattern);
	sigjmp_buf	refused;
	sigjmp_buf *outer = shim_target;
	EbPattern  *parsed = NULL;

	shim_target = &refused;
	if (sigsetjmp(refused, 0) == 0)
		parsed = eb_pattern_parse(&jb->root);
	shim_target = outer;
	return parsed;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *) data;
	Json	   *json = json_parse(&p, p + size);
	EbPattern  *parsed = json ? parse(json) : NULL;

	if (parsed)
	{
		StringInfoData first;
		StringInfoData second;

		initStringInfo(&first);
		initStringInfo(&second);
		eb_pattern_to_json(&first, parsed);
		p = first.data;
		json = json_parse(&p, first.data + first.len);
		parsed = json ? parse(json) : NULL;
		if (parsed == NULL)
			abort();
		eb_pattern_to_json(&second, parsed);
		if (strcmp(first.data, second.data) != 0)
			abort();
	}
	shim_reset();
	return 0;
}
