# A new queue subscription under eight publishers: history and live meet without a gap or a duplicate, and a FIFO queue gets
# history first.  Publishers stay open across the hand-over, roll back, use savepoints, and prepare.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('handover', conf => "max_prepared_transactions = 20\n");
workers_run($node, 'postgres');
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b');
	SELECT eb.create_queue('plain');
	SELECT eb.create_queue('ordered', fifo => true);
	CREATE SEQUENCE numbers;
	CREATE FUNCTION put(n int, client int) RETURNS void LANGUAGE sql AS $$
		SELECT eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', CASE i % 3 WHEN 0 THEN 'other' ELSE 'shop' END,
			'detail-type', 't', 'detail', jsonb_build_object('seq', nextval('numbers')), 'group', 'g' || client))
			FROM generate_series(1, n) i), 'b') $$;));

my $script = q(
\set kind random(1, 20)
\set n random(1, 20)
\set number random(1, 1000000000)
BEGIN;
SELECT put(:n, :client_id);
\if :kind = 1
	SELECT pg_sleep(0.3);
	SELECT put(:n, :client_id);
	COMMIT;
\elif :kind <= 3
	ROLLBACK;
\elif :kind <= 5
	SAVEPOINT s;
	SELECT put(3, :client_id);
	ROLLBACK TO s;
	SELECT put(1, :client_id);
	COMMIT;
\elif :kind = 6
	PREPARE TRANSACTION 'p:client_id';
	SELECT pg_sleep(0.05);
	COMMIT PREPARED 'p:client_id';
\elif :kind = 7
	PREPARE TRANSACTION 'p:client_id';
	ROLLBACK PREPARED 'p:client_id';
\else
	COMMIT;
\endif
);
my $load = load_start($node, 'postgres', 'publish', 8, 9, $script);
ok(poll_sql($node, 'postgres', 'SELECT count(*) > 2000 FROM eb.events'), 'history has come about');

# one publisher is open with an event of before, one is prepared
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN; SELECT put(2, 98)');
$node->safe_psql('postgres', q(BEGIN; SELECT put(2, 99); PREPARE TRANSACTION 'early'));
$node->safe_psql('postgres', q(SELECT eb.create_subscription('s1', 'b', '{"source": ["shop"]}', 'earliest', queue => 'plain')));
$node->safe_psql('postgres', q(SELECT eb.create_subscription('s2', 'b', '{"source": ["shop"]}', 'earliest', queue => 'ordered')));
ok(poll_sql($node, 'postgres', q(SELECT count(*) > 500 FROM eb.q_ordered)), 'history is being delivered');
is($node->safe_psql('postgres', q(SELECT DISTINCT state FROM eb.subscription_status)), 'backfilling', 'an open publisher keeps the hand-over waiting');
$open->query_safe('SELECT put(2, 98); COMMIT');
$open->quit;
$node->safe_psql('postgres', q(COMMIT PREPARED 'early'));
ok(poll_sql($node, 'postgres', q(SELECT count(*) = 2 FROM eb.subscription_status WHERE state = 'active')), 'history is delivered');
my $more = $node->safe_psql('postgres', 'SELECT count(*) FROM eb.events');
is(load_finish($load), '', 'publishers had no errors');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM eb.events'), '>', $more, 'and went on after the hand-over');

for my $queue ('plain', 'ordered')
{
	is( $node->safe_psql(
			'postgres', qq(
			SELECT count(*) FILTER (WHERE e.id IS NULL), count(*) FILTER (WHERE m.n IS NULL), count(*) FILTER (WHERE m.n > 1)
			FROM (SELECT id FROM eb.events WHERE source = 'shop') e
				FULL JOIN (SELECT event_id, count(*) AS n FROM eb.q_$queue GROUP BY event_id) m ON m.event_id = e.id)),
		'0|0|0', "queue $queue has each event exactly once");
}
is( $node->safe_psql(
		'postgres', q(
		SELECT count(*) FROM (SELECT event_id, lag(event_id) OVER (PARTITION BY group_id ORDER BY message_id) AS before
			FROM eb.q_ordered WHERE replay IS NOT NULL) m WHERE before > event_id)),
	0, 'history is in id order');
is( $node->safe_psql(
		'postgres', q(
		SELECT max(message_id) FILTER (WHERE replay IS NOT NULL) < min(message_id) FILTER (WHERE replay IS NULL) FROM eb.q_ordered)),
	't', 'and before what was live');
is( $node->safe_psql(
		'postgres', q(
		SELECT count(*) FROM (SELECT (body -> 'detail' ->> 'seq')::int AS seq,
				lag((body -> 'detail' ->> 'seq')::int) OVER (PARTITION BY group_id ORDER BY message_id) AS before
			FROM eb.queue_ordered WHERE group_id NOT IN ('g98', 'g99')) m WHERE before > seq)),
	0, 'each group is in the order of its publisher');
$node->stop('fast');
done_testing();
