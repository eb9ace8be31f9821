/*-------------------------------------------------------------------------
 *
 * json.h
 *	  JSON trees for the tests of the matcher: read from text, written as text
 *	  and as jsonb containers.  Shared by the random test and the fuzzers; the
 *	  oracle works on these trees and never sees a jsonb.
 *
 * Objects are as jsonb has them: keys sorted by length and bytes, the last of
 * duplicates kept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_JSON_H
#define TEST_JSON_H

#include "utils/jsonb.h"

typedef enum JsonType
{
	JSON_NULL, JSON_TRUE, JSON_FALSE, JSON_NUMBER, JSON_STRING, JSON_ARRAY,
	JSON_OBJECT
} JsonType;

typedef struct Json
{
	JsonType	type;
	int			len;
	char	   *text;			/* bytes of a string, digits of a number */
	int			n;				/* elements or pairs */
	int			max;
	struct Json **values;
	struct Json **keys;			/* strings */
} Json;

extern Json *json_new(JsonType type);
extern Json *json_text(JsonType type, const char *text, int len);
extern Json *json_string(const char *text);
extern void json_add(Json *array, Json *value);
extern void json_set(Json *object, Json *key, Json *value);
extern Json *json_get(const Json *object, const char *key, int len);

/* NULL if the text is not valid JSON that jsonb can hold */
extern Json *json_parse(const char **text, const char *end);
extern void json_write(StringInfo out, const Json *j);
extern Jsonb *json_to_jsonb(const Json *j);

#endif							/* TEST_JSON_H */
