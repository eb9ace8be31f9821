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
 * NOTIFY protocol (worker_notify.c; claims numbered in README.md).  A receive
 * that finds nothing calls eb_notify_arm(), and if that returns true (newly
 * armed) it looks once more.  Whoever makes messages visible calls
 * eb_notify_pending(), as often as it likes; at commit, armed queues wake the
 * notifier, which sends one NOTIFY on channel eb_<queue> and disarms.
 * Without workers eb_notify_pending() issues the NOTIFY itself in the
 * transaction.
 *
 * visible_at: when the message will be visible; 0 for at once.  A message
 * that is delayed makes the notifier look at that time.
 */
extern bool eb_notify_arm(const EbQueue *queue);
extern void eb_notify_pending(const EbQueue *queue, TimestampTz visible_at);

/*
 * After CREATE EXTENSION, at the first bus or queue of a database, and when
 * configuration changed: let launcher and supervisor look again after commit.
 */
extern void eb_worker_wake_at_commit(void);

#endif							/* EB_WORKER_H */
