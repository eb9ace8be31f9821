-- Workers: maintenance by hand, waiting, the state of the background workers.

CREATE PROCEDURE eb.wait(queue text DEFAULT NULL, timeout interval DEFAULT '30 seconds', INOUT ready boolean DEFAULT NULL,
		subscription text DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'eb_wait' LANGUAGE C;
COMMENT ON PROCEDURE eb.wait(text, interval, boolean, text) IS
'Long poll: waits until the queue has a message that a receive could get, or the timeout is over, and says which in ready.  Another consumer may be faster, so ready is a hint.  While it waits the session holds no snapshot, no transaction id and no lock, which is why it cannot run inside a transaction block, function or trigger, nor in a procedure with a SET clause or SECURITY DEFINER; in another procedure it commits what was done before it.  timeout is 1 year at most.  A paused queue has nothing to get.  Messages that are delayed, backing off or leased count from the moment when they become visible.  Without shared memory (PostgreSQL 15 and 16 without preload) it looks ten times a second.  Needs UPDATE and DELETE on the queue''s view, as receive does.

CALL eb.wait(subscription => ''name'') waits in the same way for an event that eb.read could return, one that matches the subscription''s pattern and that no open publisher holds back; it needs UPDATE on the subscription''s view.  While another session reads the only partitions that have events it looks ten times a second.  Errors: 42704 no such queue or subscription, 42809 a subscription with a queue, 22004 null argument, 22023 timeout out of range or both arguments, 25001 inside a transaction block.';

CREATE PROCEDURE eb.maintain()
	AS 'MODULE_PATHNAME', 'eb_maintain' LANGUAGE C;
COMMENT ON PROCEDURE eb.maintain() IS
'One round of what the maintainer does in the background: makes partitions of the event log ahead of time (eb.partitions_ahead), deletes messages older than their queue''s retention, drops partitions whose retention is over after copying what waiting messages need of them, indexes closed partitions, checks the queues'' scan floors.  For servers without preload: call it at least once per partition interval (an hour or a day), from cron or the like.  Commits after each step, so it cannot run inside a transaction block (25001).  Safe to run beside the maintainer and itself.';

CREATE FUNCTION eb.worker_status(
	OUT database text, OUT worker text, OUT pid integer, OUT state text,
	OUT started_at timestamptz, OUT restarts integer, OUT reason text,
	OUT last_error text, OUT last_error_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_worker_status' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION eb.worker_status() IS 'Rows of the view eb.workers.';

CREATE VIEW eb.workers AS SELECT * FROM eb.worker_status();
COMMENT ON VIEW eb.workers IS
'The background workers of the cluster: one launcher, and for each database that has the extension a supervisor, a notifier and a maintainer.  state: running, starting, waiting (for a worker slot or the next try after a failure), stopped.  reason: why it does not run, and the setting to change.  last_error: of its last failed task or start, kept until the next one.';
COMMENT ON COLUMN eb.workers.database IS 'Database that the worker serves; null for the launcher, which serves all.';
COMMENT ON COLUMN eb.workers.restarts IS 'How often it was started again since the server started.';
