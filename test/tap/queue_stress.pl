# Under a mix of everything that one can do with queues, rolled back or not, no message is lost and none is done twice, and no
# call fails.
use strict;
use warnings;
use EventBus;
use Test::More;

my $node = new_server('stress');
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_queue(q, fifo => q = 'lanes', max_receive_count => 2, min_redelivery_delay => '0', backoff_base => '1 ms',
		backoff_cap => '5 ms', visibility_timeout => '1 s') FROM unnest(ARRAY['pool', 'lanes']) q;
	CREATE SEQUENCE ids;
	CREATE TABLE sent (id bigint);
	CREATE TABLE done (queue text, id bigint);

	CREATE FUNCTION put(n int) RETURNS void LANGUAGE sql AS $$
		WITH s AS (INSERT INTO sent SELECT nextval('ids') FROM generate_series(1, n) RETURNING id),
			p AS (INSERT INTO eb.queue_pool (body) SELECT to_jsonb(id) FROM s)
		INSERT INTO eb.queue_lanes (body, group_id) SELECT to_jsonb(id), (random() * 100)::int FROM s
	$$;

	-- Some are done, and some of these attempts rolled back; some fail; some are forgotten until their lease runs out.
	CREATE FUNCTION work(q text, n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		m eb.message;
	BEGIN
		FOR m IN SELECT * FROM eb.receive(q, n) LOOP
			IF random() < 0.15 THEN
				PERFORM eb.nack(q, m.receipt, 'unlucky');
			ELSIF random() < 0.99 THEN
				BEGIN
					IF eb.ack(q, m.receipt) THEN
						INSERT INTO done VALUES (q, (m.body #>> '{}')::bigint);
					END IF;
					IF random() < 0.05 THEN
						RAISE EXCEPTION 'undone';
					END IF;
				EXCEPTION WHEN raise_exception THEN
					NULL;
				END;
			END IF;
		END LOOP;
	END
	$$;

	CREATE FUNCTION eat(q text, n int) RETURNS bigint LANGUAGE sql AS $$
		WITH d AS (INSERT INTO done SELECT q, (body #>> '{}')::bigint FROM eb.consume(q, n) RETURNING 1) SELECT count(*) FROM d
	$$;
));

my %scripts = (
	put => [ 3, q(
\set n random(1, 30)
SELECT put(:n);
\set dice random(1, 5)
\if :dice = 1
BEGIN;
SELECT put(10);
ROLLBACK;
\endif
SELECT pg_sleep(0.01);
) ],
	work => [ 4, q(
SELECT work('pool', 20);
SELECT work('lanes', 20);
SELECT eat('pool', 5);
BEGIN;
SELECT eat('lanes', 10);
SELECT eat('pool', 5);
ROLLBACK;
) ],
	move => [ 2, q(
SELECT eb.redrive('pool_dlq');
SELECT eb.redrive('lanes_dlq', max_messages => 5);
BEGIN;
SELECT eb.redrive('pool_dlq'), eb.purge('pool_dlq'), eb.purge('lanes');
ROLLBACK;
SELECT pg_sleep(0.01);
) ],
	look => [ 1, q(
SELECT count(*) FROM eb.queue_status;
SELECT count(*) FROM eb.in_flight;
SELECT count(*) FROM eb.queue_lanes;
SELECT count(*) FROM eb.peek('pool', 100);
SELECT pg_sleep(0.01);
) ]);
my %loads = map { $_ => load_start($node, 'postgres', $_, $scripts{$_}[0], 5, $scripts{$_}[1]) } sort keys %scripts;
for my $name (sort keys %loads)
{
	my $errors = load_finish($loads{$name});
	$errors =~ s/^pgbench:? \(.*\)\n//mg;
	is($errors, '', "$name: no errors");
}
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM sent'), '>', 1000, 'there was some load');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM done'), '>', 1000, 'and some was done meanwhile');
cmp_ok($node->safe_psql('postgres', q(SELECT sum(died) FROM eb.queue_status)), '>', 10, 'and some died');

my $drain = q(
	SELECT eb.redrive('pool_dlq'), eb.redrive('lanes_dlq');
	SELECT eat('pool', 10000);
	SELECT count(eat('lanes', 1000)) FROM generate_series(1, 50);
	SELECT sum(ready + in_flight + delayed + parked) FROM eb.queue_status;);
for (1 .. 300)
{
	my $left = (split /\n/, $node->safe_psql('postgres', $drain))[-1];
	last if $left eq '0';
	select undef, undef, undef, 0.1;
}
is($node->safe_psql('postgres', q(SELECT sum(ready + in_flight + delayed + parked) FROM eb.queue_status)), '0', 'the queues run dry');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.queue_pool) . ' UNION ALL ' . q(SELECT count(*) FROM eb.queue_lanes)),
	"0\n0", 'they are empty indeed');
for my $queue ('pool', 'lanes')
{
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT id FROM sent EXCEPT SELECT id FROM done WHERE queue = '$queue') s"),
		'0', "$queue: nothing was lost");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT id FROM done WHERE queue = '$queue' EXCEPT SELECT id FROM sent) s"),
		'0', "$queue: nothing was made up");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT FROM done WHERE queue = '$queue' GROUP BY id HAVING count(*) > 1) s"),
		'0', "$queue: nothing was done twice");
	is($node->safe_psql('postgres', "SELECT eb.check_queue_floor('$queue')"), '0', "$queue: no message lies below a floor");
}
$node->stop;
done_testing();
