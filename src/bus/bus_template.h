/*-------------------------------------------------------------------------
 *
 * bus_template.h
 *	  Input paths and input templates, parsed: what bus_transform.c compiles.
 *
 * Everything is palloc'd in the caller's current context.  Errors are
 * ERRCODE_INVALID_PARAMETER_VALUE with the place at fault.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_BUS_TEMPLATE_H
#define EB_BUS_TEMPLATE_H

#include "utils/jsonb.h"

/* One step of a path: a key, or (key NULL) the index of an array's element. */
typedef struct EbPathStep
{
	char	   *key;
	int			key_len;
	int			index;
} EbPathStep;

typedef struct EbPath
{
	int			nsteps;			/* 0: the whole event */
	EbPathStep *steps;
} EbPath;

/* what: the place in the target that the path stands at, for messages. */
extern EbPath *eb_path_parse(const char *path, const char *what);

typedef enum EbTemplateKind
{
	EB_TEMPLATE_LITERAL,		/* a scalar */
	EB_TEMPLATE_VARIABLE,		/* placeholder that stands for a JSON value */
	EB_TEMPLATE_TEXT,			/* children: literal strings, variables */
	EB_TEMPLATE_ARRAY,
	EB_TEMPLATE_OBJECT
} EbTemplateKind;

typedef struct EbTemplate
{
	EbTemplateKind kind;
	bool		constant;		/* no placeholder in here */
	JsonbValue	literal;
	int			variable;
	int			nchildren;
	struct EbTemplate **children;
	JsonbValue *keys;			/* object: in jsonb's order, each once */
} EbTemplate;

/* Number of the variable of that name; -1 if there is none. */
typedef int (*EbVariableLookup) (const char *name, void *arg);

extern EbTemplate *eb_template_parse(const char *source, EbVariableLookup lookup,
									 void *arg);

#endif							/* EB_BUS_TEMPLATE_H */
