/*-------------------------------------------------------------------------
 *
 * eb.c
 *	  Module entry: settings, hooks, one-time callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "eb.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
}
