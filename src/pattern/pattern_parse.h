/*-------------------------------------------------------------------------
 *
 * pattern_parse.h
 *	  State of the parser, shared by pattern_parse.c (objects, $or) and
 *	  pattern_operator.c (the tests of a list).
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_PARSE_H
#define EB_PATTERN_PARSE_H

#include "compat.h"
#include "pattern/pattern_int.h"

#define EB_PARSE_FOUND_BYTES	60	/* of a value shown in a message */

typedef struct EbParser
{
	StringInfoData path;		/* jsonpath of the current place */
	int			depth;
	int			ntests;
	bool		or_as_key;		/* in the list of an ordinary "$or" that looks
								 * like a failed operator */
	bool		or_operator_seen;
	bool		or_key_seen;

	EbIntern   *paths;			/* parent and key -> node */
	EbPathNode *nodes;
	uint32		maxnodes;
	StringInfoData key;			/* work space of path_node() */

	uint32	   *used;			/* log of paths marked in_use */
	int			nused;
	int			maxused;
} EbParser;

extern const char *eb_operator_meant(const char *s, uint32 len);
extern int	eb_parse_push_key(EbParser *ps, const char *key, uint32 keylen);
extern int	eb_parse_push_index(EbParser *ps, int index);
extern void eb_parse_pop(EbParser *ps, int mark);
pg_noreturn extern void eb_parse_refuse(EbParser *ps, const char *expected,
										const EbValue *found,
										const char *hint);
extern void eb_parse_check_depth(int depth);
extern void eb_parse_tests(EbParser *ps, const JsonbContainer *list,
						   EbField *field);

#endif							/* EB_PATTERN_PARSE_H */
