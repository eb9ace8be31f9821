-- Privileges: PUBLIC may use the schema and call what checks privileges
-- itself (by the views of buses and queues); everything else is the owner's
-- to grant.  This file runs last and sees every object of the extension.

REVOKE ALL ON ALL ROUTINES IN SCHEMA eb FROM PUBLIC;
GRANT USAGE ON SCHEMA eb TO PUBLIC;

-- Sorted.  Each of these checks the privilege on the view of the bus or queue
-- that it works on, or needs none.
GRANT EXECUTE ON FUNCTION eb.ack(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.ack(text, text[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.archive_totals(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.archived_events(text, timestamptz, timestamptz) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.backfill_rule(text, text, timestamptz, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.begin_processing(text, text, interval, text, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.cancel_replay(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.clock() TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.commit(text, uuid, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.complete_processing(text, text, jsonb, bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.consume(text, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.create_archive(text, text, jsonb, interval, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.create_subscription(text, text, jsonb, text, text, integer, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.delete_archive(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.delete_bus(text, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.delete_replay(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.delete_rule(text, text, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.disable_archive(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.disable_rule(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.drop_consumer(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.drop_queue(text, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.drop_subscription(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.enable_archive(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.enable_rule(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.event_id_from(timestamptz) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.event_time(uuid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.explain_routing(jsonb, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.extend(text, text, interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.extend(text, text[], interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.extend_processing(text, text, interval, bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.fail_processing(text, text, text, bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.find_event(uuid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.forget_key(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.import_events(text, regclass) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.key_stats(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.leases() TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.matches(jsonb, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.message_time(bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.nack(text, text, text, interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.nack(text, text[], text, interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.pause_queue(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.pause_replay(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.pause_subscription(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.peek(text, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.process_once(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.process_once(text, uuid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.processing(eb.message) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.publish_row_changes() TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.purge(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.put_event(text, text, jsonb, text, timestamptz, text[], jsonb, text, text, text, text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.put_events(jsonb, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.put_rule(text, jsonb, text, text, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.put_target(text, text, text, text, text, jsonb, text, jsonb, text, text, text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.queue_event_body(text, tid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.queue_event_headers(text, tid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.queue_figures() TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.read(text, integer, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.receive(text, integer, interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.redrive(text, text, jsonb, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.remove_target(text, text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.replay_figures(text, bigint, bigint, bigint, interval) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.resume_queue(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.resume_replay(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.resume_subscription(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.rule_counters() TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.seek(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.seek(text, timestamptz) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.seek(text, uuid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.send(text, jsonb, interval, text, jsonb, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.send_batch(text, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.send_batch(text, jsonb[], interval[], text[], jsonb[], text[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.start_replay(text, text, timestamptz, timestamptz, text[], text, jsonb, integer, boolean, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.subscription_lag(text, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.test_event_pattern(jsonb, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.test_rule(jsonb, text, timestamptz, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.test_transform(jsonb, jsonb, text, jsonb, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.trace(text, timestamptz) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.update_archive(text, jsonb, interval, text, boolean, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.update_bus(text, interval, text, interval, boolean) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.update_consumer(text, interval, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.update_queue(text, interval, interval, interval, integer, text, integer, interval,
	double precision, interval, interval, interval, boolean, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION eb.validate_pattern(jsonb) TO PUBLIC;

GRANT EXECUTE ON PROCEDURE eb.run_replay(text) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE eb.wait(text, interval, boolean, text) TO PUBLIC;

-- Views that show each role what it may see.
GRANT SELECT ON eb.archive_status TO PUBLIC;
GRANT SELECT ON eb.replay_status TO PUBLIC;
GRANT SELECT ON eb.rule_status TO PUBLIC;
GRANT SELECT ON eb.rule_targets TO PUBLIC;
GRANT SELECT ON eb.subscription_status TO PUBLIC;

-- What monitoring reads.
GRANT EXECUTE ON FUNCTION eb.worker_status() TO pg_monitor;
GRANT SELECT ON eb.consumer_status TO pg_monitor;
GRANT SELECT ON eb.dedup_status TO pg_monitor;
GRANT SELECT ON eb.workers TO pg_monitor;
