/* Until the files that define these land: weak, so that the real ones win.  Goes then. */
#include "postgres.h"
#include "queue/queue_internal.h"
#define WEAK __attribute__((weak))
WEAK EbDeadLetters *eb_deadletter_begin(const EbQueue *q){return NULL;}
WEAK void eb_deadletter_add(EbDeadLetters *l, TupleTableSlot *r, const char *e){}
WEAK void eb_deadletter_finish(EbDeadLetters *l){}
WEAK void eb_queue_view_at_xact_end(void){}
WEAK void eb_queue_view_at_subxact(SubXactEvent e, SubTransactionId m, SubTransactionId p){}
