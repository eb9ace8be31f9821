/*-------------------------------------------------------------------------
 *
 * errors.c
 *	  Error families that several modules raise, worded once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "errors.h"

void
eb_error_missing(const char *kind, const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("%s \"%s\" does not exist", kind, name),
			 hint ? errhint("%s", hint) : 0));
	pg_unreachable();
}

void
eb_error_exists(const char *kind, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("%s \"%s\" already exists", kind, name)));
	pg_unreachable();
}

void
eb_error_null(const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not be null", argument)));
	pg_unreachable();
}

/*
 * ASCII letters only: names become parts of table, view and channel names,
 * whose length limit is in bytes.
 */
void
eb_check_name(const char *kind, const char *name)
{
	size_t		len = strlen(name);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("%s name must not be empty", kind)));
	for (const char *p = name; *p; p++)
	{
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			(*p >= '0' && *p <= '9') || *p == '_' || *p == '-')
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid %s name \"%s\"", kind, name),
				 errdetail("Character \"%.*s\" at position %d is not allowed.",
						   pg_mblen(p), p,
						   pg_mbstrlen_with_len(name, p - name) + 1),
				 errhint("Use ASCII letters, digits, \"_\" and \"-\".")));
	}
	if (len > EB_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("%s name \"%s\" is too long", kind, name),
				 errdetail("It has %zu characters; the limit is %d.",
						   len, EB_NAME_MAX)));
}
