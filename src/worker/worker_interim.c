/*-------------------------------------------------------------------------
 *
 * worker_interim.c
 *	  What src/queue will define; weak, so that its definitions win.  This file
 *	  goes with the commit that brings the last of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "worker/worker_interim.h"

pg_attribute_weak() TimestampTz
eb_queue_next_visible(const EbQueue *queue)
{
	return DT_NOEND;
}

pg_attribute_weak() bool
eb_queue_has_visible(const EbQueue *queue)
{
	return false;
}

pg_attribute_weak() int64
eb_queue_expire(const EbQueue *queue, int limit)
{
	return 0;
}

pg_attribute_weak() int64
eb_queue_check_floor(const EbQueue *queue)
{
	return 0;
}

pg_attribute_weak() Jsonb *
eb_queue_event_envelope(const EbEventPointer *pointer, EbEvent *event, bool found)
{
	return eb_log_envelope(event, !found);
}

pg_attribute_weak() Jsonb *
eb_queue_lasting_headers(const EbEvent *event)
{
	return event->headers;
}
