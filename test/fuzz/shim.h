/*-------------------------------------------------------------------------
 *
 * shim.h
 *	  The server functions that src/pattern links to, for programs outside
 *	  of the server.
 *
 * An ERROR longjmps to *shim_target; memory belongs to contexts as in the
 * server, each chunk a malloc of its own, so that AddressSanitizer sees every
 * overrun and every use after a context is gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SHIM_H
#define SHIM_H

#include <setjmp.h>

#include "pattern/pattern_int.h"

extern sigjmp_buf *shim_target;	/* where an ERROR goes */
extern int	shim_sqlstate;		/* of the last error */
extern char shim_message[4096];

/* eb_pattern_parse(); NULL if it refuses, and shim_message says why. */
extern EbPattern *shim_parse_pattern(JsonbContainer *pattern);

/* Deletes everything that was allocated and starts afresh. */
extern void shim_reset(void);
extern long shim_live_chunks(void);

#endif							/* SHIM_H */
