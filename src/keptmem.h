/*-------------------------------------------------------------------------
 *
 * keptmem.h
 *	  Memory that a backend keeps from one statement to the next.
 *
 * What a consumer gets in a batch is a few hundred kilobytes, made and freed
 * with every statement.  The C library gives blocks of that size back to the
 * system each time, so every batch would fault its pages in again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_KEPTMEM_H
#define EB_KEPTMEM_H

#include "fmgr.h"

/*
 * An empty context whose first EB_KEPT_SIZE bytes come from kept memory.  It
 * is the caller's until "until" is reset or deleted; what is in it is gone
 * then.  When all kept contexts are in use, a child of "until".
 */
extern MemoryContext eb_kept_context(MemoryContext until);

/* InitMaterializedSRF() with a result set in a kept context. */
extern void eb_kept_results(FunctionCallInfo fcinfo);

#define EB_KEPT_SIZE	(256 * 1024)

#endif							/* EB_KEPTMEM_H */
