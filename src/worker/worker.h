/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Background workers, and how backends wake them and wait for queues.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_WORKER_H
#define EB_WORKER_H

#include "queue/queue.h"

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

#endif							/* EB_WORKER_H */
