#ifndef EB_WORKER_INTERIM_H
#define EB_WORKER_INTERIM_H

#include "queue/queue_internal.h"

#define pg_attribute_weak() __attribute__((weak))

extern Jsonb *eb_queue_event_envelope(const EbEventPointer *pointer, EbEvent *event, bool found);
extern Jsonb *eb_queue_lasting_headers(const EbEvent *event);

#endif							/* EB_WORKER_INTERIM_H */
