/*-------------------------------------------------------------------------
 *
 * stream_internal.h
 *	  What the files of src/stream share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_STREAM_INTERNAL_H
#define EB_STREAM_INTERNAL_H

#include "stream/stream.h"

/*
 * ---- stream_queue.c: the rule and the backfill of one with a queue ----
 *
 * Run as the user, not as the owner.
 */
extern void eb_subscription_route(const char *name, const char *bus, Jsonb *pattern,
								  const char *queue, bool latest, EbTick after);
extern void eb_subscription_unroute(const char *name, const char *bus);
extern void eb_subscription_pause_route(const char *name, const char *bus);
extern void eb_subscription_resume_route(const char *name, const char *bus,
										 const char *queue, bool latest);

#endif							/* EB_STREAM_INTERNAL_H */
