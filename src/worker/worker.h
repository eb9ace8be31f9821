/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Background workers, and how backends wake them and wait for queues.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_WORKER_H
#define EB_WORKER_H

#include "clock.h"
#include "queue/queue.h"
#include "storage/block.h"

/*
 * Wake-up protocol (worker_notify.c; claims numbered in README.md).
 *
 * A receive or consume that gets fewer messages than it was asked for calls
 * eb_notify_arm() after its scan, and if that returns true it looks once more
 * for the rest: what became visible between its look and the arming woke
 * nobody.
 *
 * Whoever makes a message visible in a transaction, or will at visible_at (0:
 * at once), calls eb_notify_pending(), as often as it likes: sends and moves
 * (at once or after a delay), nack, extend and leases (when they run out),
 * un-pausing, the end of a FIFO head (for its successor).
 *
 * Whoever takes a message away (lease, delete), calls eb_notify_taken(): if
 * the transaction or the subtransaction aborts, it is visible again.
 *
 * At commit, armed queues wake the notifier, which sends one NOTIFY on
 * channel eb_<queue> and disarms, and whoever waits in eb.wait is woken.
 * Without workers the transaction sends the NOTIFY itself at its end.  All of
 * it is cheap, and none raises but for lack of memory.
 */
extern bool eb_notify_arm(const EbQueue *queue);
extern void eb_notify_pending(const EbQueue *queue, TimestampTz visible_at);
extern void eb_notify_taken(const EbQueue *queue);

/*
 * The same for subscriptions without a queue (README.md, claims 11 to 13).
 *
 * Whoever puts events on a bus calls eb_notify_published(): at commit the
 * readers of its log are woken, on channel eb_sub_<name>.
 *
 * A read that found nothing, or less than it was asked for, calls
 * eb_notify_arm_subscription() after its scan; true: look once more.  If
 * events lie above the horizon that it had, it calls eb_notify_held() with
 * that horizon and then, whatever that returns, takes a new horizon and looks
 * once more: the end of the publisher that holds it back wakes the bus's
 * readers, whether it commits or aborts.
 */
extern void eb_notify_published(Oid bus_view, const char *bus);
extern bool eb_notify_arm_subscription(const char *name, Oid view,
									   const char *bus, Oid bus_view);
extern void eb_notify_held(const char *bus, Oid bus_view, EbTick horizon);

/*
 * After CREATE EXTENSION, at the first bus or queue of a database, when a
 * queue was dropped and when configuration changed: let launcher, supervisor
 * and their workers look again after commit.
 */
extern void eb_worker_wake_at_commit(void);

/*
 * This transaction leaves work for the maintainer, other than by messages:
 * let it run a round within its interval.
 */
extern void eb_worker_active(void);

/*
 * Let the maintainer summarize a leaf's ranges up to a block at once
 * (eb_log_summarize); false if there is none.
 */
extern bool eb_maintainer_summarize(Oid leaf, BlockNumber block);

#endif							/* EB_WORKER_H */
