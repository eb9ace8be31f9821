# Senders, consumers and lease holders that commit, abort, roll back to savepoints, let leases run out, nack and extend, all
# at random and at once: every message that was sent is processed, none twice, FIFO groups in order, none below a floor.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{QUEUE_RANDOM_SECONDS} // 6;
my $node = new_server('random');

# Short leases, so that some run out; no dead letters, so that what was sent is what is processed.
my $settings = q(visibility_timeout => '300 ms', dead_letter_queue => '', backoff_base => '5 ms', min_redelivery_delay => '1 ms');
$node->safe_psql('postgres', qq(
	SELECT eb.create_queue('standard', $settings);
	SELECT eb.create_queue('fifo', fifo => true, $settings);
	CREATE TABLE sent (id bigint, queue text, group_id text);
	CREATE TABLE done (step bigserial, id bigint, queue text, group_id text);));
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION misfortune() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF random() < 0.1 THEN PERFORM pg_sleep(random() * 0.02); END IF;
	IF random() < 0.05 THEN RAISE EXCEPTION 'bad luck' USING ERRCODE = 'serialization_failure'; END IF;
END $$;

CREATE FUNCTION send_some(queue text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE g text;
BEGIN
	BEGIN
		FOR i IN 1 .. 1 + (random() * 4)::int LOOP
			g := CASE queue WHEN 'fifo' THEN 'g' || (random() * 9)::int END;
			INSERT INTO sent VALUES (eb.send(queue, to_jsonb(i), group_id => g,
				delay => CASE WHEN g IS NULL AND random() < 0.2 THEN interval '20 ms' END), queue, g);
		END LOOP;
		PERFORM misfortune();
	EXCEPTION WHEN serialization_failure THEN NULL;
	END;
	PERFORM misfortune();
END $$;

CREATE FUNCTION consume_some(queue text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO done (id, queue, group_id)
			SELECT message_id, m.queue, group_id FROM eb.consume(consume_some.queue, 1 + (random() * 4)::int) m;
		PERFORM misfortune();
	EXCEPTION WHEN serialization_failure THEN NULL;
	END;
	PERFORM misfortune();
END $$;

CREATE PROCEDURE lease_some(queue text) LANGUAGE plpgsql AS $$
DECLARE
	messages eb.message[];
	receipts text[];
	m eb.message;
BEGIN
	SELECT array_agg(r) INTO messages FROM eb.receive(queue, 1 + (random() * 4)::int) r;
	COMMIT;
	IF messages IS NULL THEN RETURN; END IF;
	IF random() < 0.02 THEN PERFORM pg_sleep(0.4); END IF;	-- too late
	receipts := ARRAY(SELECT receipt FROM unnest(messages) WITH ORDINALITY ORDER BY ordinality);
	IF random() < 0.2 THEN
		PERFORM eb.nack(queue, receipts, 'again');
		COMMIT;
		RETURN;
	END IF;
	IF random() < 0.1 THEN
		receipts := ARRAY(SELECT coalesce(new_receipt, receipt) FROM eb.extend(queue, receipts, '500 ms'));
		COMMIT;
	END IF;
	FOR i IN 1 .. cardinality(messages) LOOP
		m := messages[i];
		IF eb.ack(queue, receipts[i]) THEN
			INSERT INTO done (id, queue, group_id) VALUES (m.message_id, queue, m.group_id);
		END IF;
	END LOOP;
	IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
END $$;
SQL

# The floors are checked all the while.
my @loads = load_start($node, 'postgres', 'check', 1, $seconds, q(
SELECT 1 / (eb.check_queue_floor('standard') + eb.check_queue_floor('fifo') = 0)::int;
\sleep 200 ms
));
for my $queue (qw(standard fifo))
{
	push @loads, load_start($node, 'postgres', "send_$queue", 3, $seconds, "SELECT send_some('$queue');");
	push @loads, load_start($node, 'postgres', "consume_$queue", 2, $seconds, "SELECT consume_some('$queue');");
	push @loads, load_start($node, 'postgres', "lease_$queue", 3, $seconds, "CALL lease_some('$queue');");
}
for my $load (@loads)
{
	unlike(load_finish($load), qr/aborted|FATAL|WARNING|server closed/, "$load->{name}: no error but bad luck");
}

# What is left, with leases and delays that have to run out first.
$node->safe_psql('postgres', q(INSERT INTO done (id, queue, group_id)
	SELECT message_id, 'standard', group_id FROM eb.consume('standard', 100000)));
ok($node->poll_query_until('postgres', q(
	WITH a AS (INSERT INTO done (id, queue, group_id) SELECT message_id, queue, group_id FROM eb.consume('standard', 100000) RETURNING 1),
	     b AS (INSERT INTO done (id, queue, group_id) SELECT message_id, queue, group_id FROM eb.consume('fifo', 100000) RETURNING 1)
	SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) = 0
		AND NOT EXISTS (SELECT FROM eb.q_standard) AND NOT EXISTS (SELECT FROM eb.q_fifo))), 'the queues run empty');

for my $queue (qw(standard fifo))
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM sent WHERE queue = '$queue'"), '>', 100, "$queue: something was sent");
	is($node->safe_psql('postgres', "SELECT count(*) FROM sent s WHERE queue = '$queue' AND NOT EXISTS (SELECT FROM done d WHERE d.id = s.id)"),
		0, "$queue: nothing is lost");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT FROM done WHERE queue = '$queue' GROUP BY id HAVING count(*) > 1) x"),
		0, "$queue: nothing is done twice");
	is($node->safe_psql('postgres', "SELECT count(*) FROM done d WHERE queue = '$queue' AND NOT EXISTS (SELECT FROM sent s WHERE d.id = s.id)"),
		0, "$queue: nothing comes that was not sent");
}
is($node->safe_psql('postgres', q(
	SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY group_id ORDER BY step) AS before FROM done WHERE queue = 'fifo') x
	WHERE id < before)), 0, 'each group was processed in order');
$node->stop('fast');
done_testing();
