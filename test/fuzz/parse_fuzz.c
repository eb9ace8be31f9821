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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *) data;
	Json	   *json = json_parse(&p, p + size);
	EbPattern  *parsed = json ? shim_parse_pattern(&json_to_jsonb(json)->root) : NULL;

	if (parsed)
	{
		StringInfoData first;
		StringInfoData second;

		initStringInfo(&first);
		initStringInfo(&second);
		eb_pattern_to_json(&first, parsed);
		p = first.data;
		json = json_parse(&p, first.data + first.len);
		parsed = json ? shim_parse_pattern(&json_to_jsonb(json)->root) : NULL;
		if (parsed == NULL)
			abort();
		eb_pattern_to_json(&second, parsed);
		if (strcmp(first.data, second.data) != 0)
			abort();
	}
	shim_reset();
	return 0;
}
