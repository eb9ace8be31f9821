-- Status views.

CREATE FUNCTION eb.queue_figures(
		OUT queue text,
		OUT ready bigint,
		OUT in_flight bigint,
		OUT delayed bigint,
		OUT parked bigint,
		OUT dead_lettered bigint,
		OUT oldest_age interval,
		OUT paused boolean,
		OUT fifo boolean,
		OUT is_dlq boolean,
		OUT dead_letter_queue text,
		OUT exact boolean,
		OUT sent bigint,
		OUT received bigint,
		OUT consumed bigint,
		OUT acked bigint,
		OUT nacked bigint,
		OUT died bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_queue_figures' LANGUAGE C VOLATILE ROWS 100 COST 10000;
COMMENT ON FUNCTION eb.queue_figures() IS 'Rows of the view eb.queue_status.';

CREATE VIEW eb.queue_status AS SELECT * FROM eb.queue_figures() ORDER BY queue;
COMMENT ON VIEW eb.queue_status IS
'How the queues are: one row for each queue on whose view the current role has any privilege.  A row costs a few milliseconds at most, however many messages there are.';
COMMENT ON COLUMN eb.queue_status.ready IS
'Messages that a receive could get now, those whose lease, delay or backoff has run out included.';
COMMENT ON COLUMN eb.queue_status.in_flight IS 'Messages that were received and are neither settled nor timed out (see eb.in_flight).';
COMMENT ON COLUMN eb.queue_status.delayed IS 'Messages that wait for the end of their delay, or after a failure for their next try.';
COMMENT ON COLUMN eb.queue_status.parked IS 'FIFO: messages behind the head of their group.';
COMMENT ON COLUMN eb.queue_status.dead_lettered IS 'Messages from this queue that are in its dead-letter queue; null if it has none.';
COMMENT ON COLUMN eb.queue_status.oldest_age IS
'How long ago the oldest message came into this queue; null if the queue is empty.  Exact if exact is true; else as old as this at least.';
COMMENT ON COLUMN eb.queue_status.exact IS
'True: ready, in_flight, delayed, parked and dead_lettered were counted, as this transaction sees them.  False: an index of the queue or of its dead-letter queue has more than 10,000 messages, or many entries that vacuum has not removed yet, so what is in there was estimated from a sample: usually within a few percent, but a few messages among many that are gone may be missed.';
COMMENT ON COLUMN eb.queue_status.sent IS
'Messages that came in, committed, since the server started (or the queue was last moved out of shared memory); exact, as are received, consumed, acked, nacked and died.  All are null without shared memory, and until something has happened.  A prepared transaction counts when it is prepared.';
COMMENT ON COLUMN eb.queue_status.received IS 'Leases given out.';
COMMENT ON COLUMN eb.queue_status.consumed IS 'Messages taken by eb.consume.';
COMMENT ON COLUMN eb.queue_status.acked IS 'Messages acknowledged.';
COMMENT ON COLUMN eb.queue_status.nacked IS 'Failures reported.';
COMMENT ON COLUMN eb.queue_status.died IS 'Messages moved to the dead-letter queue.';

CREATE FUNCTION eb.leases(
		OUT queue text,
		OUT message_id bigint,
		OUT role oid,
		OUT pid integer,
		OUT until timestamptz,
		OUT receive_count integer,
		OUT first_received_at timestamptz,
		OUT group_id text,
		OUT event_id uuid)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'eb_leases' LANGUAGE C VOLATILE ROWS 1000 COST 10000;
COMMENT ON FUNCTION eb.leases() IS 'Rows of the view eb.in_flight.';

CREATE VIEW eb.in_flight AS
SELECT l.queue, l.message_id, pg_catalog.pg_get_userbyid(l.role) AS role, l.pid, a.application_name,
	l.first_received_at, l.until, l.receive_count, l.group_id, l.event_id
FROM eb.leases() l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usesysid = l.role
	AND a.datname = pg_catalog.current_database();
COMMENT ON VIEW eb.in_flight IS
'Who holds what until when: each message that was received and is neither settled nor timed out, of queues on whose view the current role has any privilege.  application_name is that of the connection that now has this pid and role; null if it is gone.  Messages in the hands of eb.consume are held by a transaction, not by a lease, and are not shown.';
COMMENT ON COLUMN eb.in_flight.until IS 'When the lease runs out.';

-- Names that no queue's or bus's view can have: those begin with queue_ and bus_.
CREATE VIEW eb.my_queues WITH (security_barrier) AS
	SELECT q.name AS queue, q.fifo, q.is_dlq, q.dead_letter_queue, q.max_receive_count, q.visibility_timeout,
		q.delay, q.retention, q.backoff_base, q.backoff_factor, q.backoff_cap, q.min_redelivery_delay,
		q.max_per_group, q.dedup_window, q.content_dedup, q.paused, q.description, q.created_at
	FROM eb.queues q
	WHERE pg_catalog.has_table_privilege(q.queue_view::oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE');
COMMENT ON VIEW eb.my_queues IS
'Queues on whose view the current role has any privilege, with their settings (see eb.create_queue).';

CREATE VIEW eb.my_buses WITH (security_barrier) AS
	SELECT b.name AS bus, b.retention, w.ttl AS dedup_window, b.content_dedup, b.description, b.created_at
	FROM eb.buses b
	LEFT JOIN eb.key_windows w ON w.kind = 'bus' AND w.name = b.name
	WHERE pg_catalog.has_table_privilege(b.log_view::oid, 'SELECT, INSERT, TRUNCATE');
COMMENT ON VIEW eb.my_buses IS
'Buses on whose view the current role has any privilege, with their settings (see eb.create_bus).';

GRANT SELECT ON eb.queue_status, eb.in_flight, eb.my_queues, eb.my_buses TO PUBLIC;
