/*-------------------------------------------------------------------------
 *
 * eb.c
 *	  Module entry: settings, hooks, one-time callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"

#include "eb.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

char	   *eb_account;
char	   *eb_region;
int			eb_max_entry_size;
int			eb_max_hops;
char	   *eb_correlation_id;
char	   *eb_causation_id;
char	   *eb_traceparent;
int			eb_max_queues = 1024;
int			eb_rule_cache_size;
int			eb_clock_offset;
bool		eb_workers_enabled;
int			eb_maintenance_interval;
int			eb_partitions_ahead;
int			eb_notify_interval;
int			eb_notify_repeat;
int			eb_floor_check_interval;

/*
 * Ends of transactions.  Order: configuration first, so that caches keyed by
 * its epoch are out of date before anybody is woken; wake-ups last.
 */
static void (*const at_xact[]) (XactEvent event) = {
	eb_catalog_at_xact,
	eb_log_at_xact,
	eb_queue_at_xact,
	eb_bus_at_xact,
	eb_worker_at_xact,
};

static void (*const at_subxact[]) (SubXactEvent event, SubTransactionId mine,
								   SubTransactionId parent) = {
	eb_queue_at_subxact,
	eb_bus_at_subxact,
	eb_worker_at_subxact,
};

static void
xact_callback(XactEvent event, void *arg)
{
	for (int i = 0; i < (int) lengthof(at_xact); i++)
		at_xact[i] (event);
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine,
				 SubTransactionId parent, void *arg)
{
	for (int i = 0; i < (int) lengthof(at_subxact); i++)
	{
		if (at_subxact[i])
			at_subxact[i] (event, mine, parent);
	}
}

static void
define_settings(void)
{
	DefineCustomStringVariable("eb.account",
							   "Account in the envelope of events.",
							   NULL, &eb_account, "000000000000",
							   PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eb.region",
							   "Region in the envelope of events.",
							   NULL, &eb_region, "local",
							   PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.max_entry_size",
							"Largest size of an event or message.",
							NULL, &eb_max_entry_size, 1024 * 1024,
							1024, 255 * 1024 * 1024,
							PGC_SUSET, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.max_hops",
							"How often an event may be forwarded from bus to bus.",
							NULL, &eb_max_hops, 16, 0, 1000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eb.correlation_id",
							   "Correlation id of events and messages that name none.",
							   NULL, &eb_correlation_id, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eb.causation_id",
							   "Cause of events and messages that name none.",
							   NULL, &eb_causation_id, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eb.traceparent",
							   "W3C trace context of events and messages that name none.",
							   NULL, &eb_traceparent, "",
							   PGC_USERSET, 0, eb_traceparent_check, NULL, NULL);
	DefineCustomIntVariable("eb.rule_cache_size",
							"Largest size of compiled rules in shared memory.",
							NULL, &eb_rule_cache_size, 256 * 1024,
							1024, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.clock_offset",
							"Moves the extension's clock; for tests.",
							NULL, &eb_clock_offset, 0, INT_MIN, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS | GUC_NOT_IN_SAMPLE,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("eb.workers_enabled",
							 "Run background workers.",
							 NULL, &eb_workers_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.maintenance_interval",
							"Time between two rounds of maintenance.",
							NULL, &eb_maintenance_interval, 60, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.partitions_ahead",
							"Partitions of the event log kept ready for the time to come.",
							NULL, &eb_partitions_ahead, 3, 1, 100,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("eb.floor_check_interval",
							"Time between two checks of the queues' scan floors.",
							NULL, &eb_floor_check_interval, 600, 0, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.notify_interval",
							"Shortest time between two notifications of a queue.",
							NULL, &eb_notify_interval, 1, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("eb.notify_repeat",
							"Longest time until a queue is notified again though nobody has looked since.",
							NULL, &eb_notify_repeat, 1000, 10, 86400 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	/* fixed at server start; without preload the default holds */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("eb.max_queues",
								"Queues whose state is kept in shared memory, over all databases.",
								NULL, &eb_max_queues, eb_max_queues, 16, 1000000,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("eb");
}

void
_PG_init(void)
{
	define_settings();
	if (IsBinaryUpgrade)
		return;
	eb_shmem_init();
	eb_worker_init();
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
