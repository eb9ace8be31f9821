/*-------------------------------------------------------------------------
 *
 * eb.h
 *	  The few names that all modules of pg_eventbus share: settings, and
 *	  what a module hangs into the transaction's end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_H
#define EB_H

#include "access/xact.h"
#include "compat.h"
#include "utils/guc.h"

/* Settings (defined in eb.c; documented in docs/operations.md). */
extern char *eb_account;		/* envelope's account */
extern char *eb_region;			/* envelope's region */
extern int	eb_max_entry_size;	/* bytes of one entry */
extern int	eb_max_hops;		/* bus to bus */
extern char *eb_correlation_id; /* session's context for new events */
extern char *eb_causation_id;
extern char *eb_traceparent;
extern bool eb_traceparent_check(char **newval, void **extra, GucSource source);
extern int	eb_max_queues;		/* queue slots in shared memory */
extern int	eb_rule_cache_size; /* kB of shared compiled rules */
extern int	eb_clock_offset;	/* ms added to the clock; for tests */
extern bool eb_workers_enabled; /* launcher starts workers */
extern int	eb_maintenance_interval;	/* s between maintenance rounds */
extern int	eb_partitions_ahead;	/* partitions kept ready per class */
extern int	eb_floor_check_interval;	/* s between two checks of the queues' floors */
extern int	eb_notify_interval; /* ms between two NOTIFY of a queue */
extern int	eb_notify_repeat;	/* ms until a NOTIFY that nobody followed is repeated */

/*
 * Ends of (sub)transactions.  Registered once per process by eb.c, which
 * calls the modules in a fixed order; each function must not raise on
 * COMMIT, ABORT and PREPARE.
 */
extern void eb_catalog_at_xact(XactEvent event);
extern void eb_log_at_xact(XactEvent event);
extern void eb_queue_at_xact(XactEvent event);
extern void eb_queue_at_subxact(SubXactEvent event, SubTransactionId mine,
								SubTransactionId parent);
extern void eb_bus_at_xact(XactEvent event);
extern void eb_bus_at_subxact(SubXactEvent event, SubTransactionId mine,
							  SubTransactionId parent);
extern void eb_worker_at_xact(XactEvent event);
extern void eb_worker_at_subxact(SubXactEvent event, SubTransactionId mine,
								 SubTransactionId parent);

/* Module starts, called from _PG_init in this order. */
extern void eb_shmem_init(void);
extern void eb_worker_init(void);

#endif							/* EB_H */
