# Cursor subscriptions under load: readers that write what they read in the transaction that commits the position see each
# event exactly once and in order, whatever publishers and readers do: late commits, rollbacks, aborted reads, killed readers.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('readers', conf => "max_prepared_transactions = 20\n");
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b');
	SELECT eb.create_subscription('one', 'b');
	SELECT eb.create_subscription('many', 'b', '{"source": ["shop"]}', partitions => 4);
	CREATE TABLE got (subscription text, partition int, nr bigserial, id uuid);
	CREATE FUNCTION put(n int) RETURNS void LANGUAGE sql AS $$
		SELECT eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', CASE i % 2 WHEN 0 THEN 'other' ELSE 'shop' END,
			'detail-type', 't', 'detail', jsonb_build_object('i', i), 'group', 'g' || (random() * 50)::int))
			FROM generate_series(1, n) i), 'b') $$;
	CREATE FUNCTION work(sub text, max int) RETURNS bigint LANGUAGE sql AS $$
		WITH batch AS MATERIALIZED (SELECT * FROM eb.read(sub, max)),
			kept AS (INSERT INTO got (subscription, partition, id) SELECT sub, partition, id FROM batch ORDER BY id RETURNING 1),
			moved AS (SELECT eb.commit(sub, (array_agg(id ORDER BY id DESC))[1], min(partition)) FROM batch HAVING count(*) > 0)
		SELECT (SELECT count(*) FROM kept) + 0 * (SELECT count(*) FROM moved) $$;));

my $publish = q(
\set kind random(1, 12)
\set n random(1, 40)
BEGIN;
SELECT put(:n);
\if :kind = 1
	SELECT pg_sleep(0.2);
	SELECT put(:n);
	COMMIT;
\elif :kind = 2
	ROLLBACK;
\elif :kind = 3
	SAVEPOINT s;
	SELECT put(3);
	ROLLBACK TO s;
	SELECT put(1);
	COMMIT;
\elif :kind = 4
	PREPARE TRANSACTION 'p:client_id';
	SELECT pg_sleep(0.05);
	COMMIT PREPARED 'p:client_id';
\else
	COMMIT;
\endif
);
my $read = q(
\set kind random(1, 10)
\set n random(1, 500)
BEGIN;
SELECT work(':sub', :n);
\if :kind = 1
	ROLLBACK;
\else
	COMMIT;
\endif
);
my @load = (load_start($node, 'postgres', 'publish', 6, 10, $publish));
for my $sub ('one', 'many')
{
	my $script = $read =~ s/:sub/$sub/r;
	push @load, load_start($node, 'postgres', "read_$sub", $sub eq 'one' ? 2 : 5, 10, $script);
}

# readers are killed now and then; pgbench goes on with the others
for (1 .. 3)
{
	ok(poll_sql($node, 'postgres', "SELECT count(*) > $_ * 1000 FROM got"), 'readers get on');
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%many%' AND pid <> pg_backend_pid() LIMIT 1});
}
load_finish($_) for @load;

# the rest
$node->safe_psql('postgres', q(DO $$ BEGIN WHILE work('one', 10000) > 0 LOOP END LOOP; WHILE work('many', 10000) > 0 LOOP END LOOP; END $$));
for my $case (['one', ''], ['many', q(WHERE source = 'shop')])
{
	my ($sub, $where) = @$case;
	is( $node->safe_psql(
			'postgres', qq(
			SELECT count(*) FILTER (WHERE e.id IS NULL), count(*) FILTER (WHERE g.n IS NULL), count(*) FILTER (WHERE g.n > 1),
				count(*) > 3000
			FROM (SELECT id FROM eb.events $where) e
				FULL JOIN (SELECT id, count(*) AS n FROM got WHERE subscription = '$sub' GROUP BY id) g USING (id))),
		'0|0|0|t', "subscription $sub got each event exactly once");
	is( $node->safe_psql(
			'postgres', qq(
			SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY partition ORDER BY nr) AS before
				FROM got WHERE subscription = '$sub') g WHERE before > id)),
		0, "in id order");
}
is( $node->safe_psql(
		'postgres', q(
		SELECT max(n) FROM (SELECT count(DISTINCT partition) AS n FROM got JOIN eb.events USING (id)
			WHERE subscription = 'many' GROUP BY group_key) g)),
	1, 'a group key stays in its partition');
is($node->safe_psql('postgres', q(SELECT lag_events, evaluated >= matched FROM eb.subscription_one)), '0|t', 'and nothing is left');

# the position survives a crash
$node->safe_psql('postgres', q(SELECT put(100)));
my $before = $node->safe_psql('postgres', q(SELECT work('one', 30)));
$node->stop('immediate');
start_again($node);
is($node->safe_psql('postgres', q(SELECT work('one', 1000))), 70, 'after a crash a reader goes on where it was');
$node->stop('fast');
done_testing();
