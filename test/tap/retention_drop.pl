# A partition whose retention is over goes, and takes nothing with it that somebody still waits for: messages keep body
# and headers, open transactions are waited for, work on the log goes on.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $hour = 3600 * 1000;

for my $how ('maintainer', 'by hand')
{
	my $node = PostgreSQL::Test::Cluster->new($how =~ s/ /_/r);
	$node->init;
	$node->append_conf('postgresql.conf', ($how eq 'maintainer' ? preload() : '') . "eb.maintenance_interval = 1s\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_eventbus');
	workers_run($node, 'postgres') if $how eq 'maintainer';
	feed_short($node, '1 hour', '1 hour');
	$node->safe_psql(
		'postgres', q(
		SET eb.correlation_id = 'c-1';
		SELECT eb.put_event('load', 'Load', jsonb_build_object('n', i), bus => 'short') FROM generate_series(1, 1200) i;
		SELECT count(*) FROM eb.receive('jobs', 3);
		SELECT count(*) FROM eb.consume('jobs', 7);
		SELECT eb.update_queue('jobs', retention => '10 days');));
	my $leaf = $node->safe_psql('postgres', 'SELECT tableoid::regclass FROM eb.events LIMIT 1');
	my $there = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('$leaf')";

	# Moves the clock of everybody: a round looks at it.
	my $move = sub {
		$node->append_conf('postgresql.conf', "eb.clock_offset = $_[0]\n");
		$node->reload;
		$how ne 'maintainer' or $node->poll_query_until('postgres', q(SELECT setting FROM pg_settings WHERE name = 'eb.clock_offset'), $_[0]);
	};
	my $maintain = sub {
		my ($rc, $out, $err) = $node->psql('postgres', $how eq 'maintainer'
			? q(SELECT eb.send('jobs_dlq', '0')) : 'CALL eb.maintain()');
		is($rc, 0, "$how: maintenance") or diag $err;
	};

	$maintain->();
	is($node->safe_psql('postgres', $there), '1', "$how: not expired");

	# A prepared transaction has written to the leaf.
	$node->safe_psql('postgres', q(BEGIN; SELECT eb.put_event('load', 'Prepared', '{"n": 0}', bus => 'short'); PREPARE TRANSACTION 'p'));
	$move->(5 * $hour);
	$maintain->();
	if ($how eq 'maintainer')
	{
		for my $try (1 .. 1800)
		{
			last if slurp_file($node->logfile) =~ /has expired, but an open transaction has written to it/;
			$node->safe_psql('postgres', 'SELECT pg_sleep(0.1)');
		}
		like(slurp_file($node->logfile), qr/has expired, but an open transaction has written to it/, 'the log tells');
	}
	is($node->safe_psql('postgres', $there), '1', "$how: an open transaction has written to it");

	$node->safe_psql('postgres', q(COMMIT PREPARED 'p'));
	$maintain->();
	ok($node->poll_query_until('postgres', "SELECT ($there) = 0"), "$how: then it goes");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.events WHERE source = 'load')), '0', "$how: with its events");

	# Leases have run out by now, hours later.
	is( $node->safe_psql('postgres', q(
			SELECT count(*), count(DISTINCT body->'detail'->>'n'), bool_and(body->>'detail-type' IN ('Load', 'Prepared')), bool_or(body ? 'erased'),
				count(*) FILTER (WHERE correlation_id = 'c-1')
			FROM eb.consume('jobs', 10000))),
		'1194|1194|t|f|1193', "$how: messages have bodies and correlation");

	# The log works on.
	$node->safe_psql('postgres', q(SELECT eb.put_event('load', 'After', '{}', bus => 'short')));
	is($node->safe_psql('postgres', q(SELECT body->>'detail-type' FROM eb.consume('jobs', 10))), 'After', "$how: events go on");
	unlike(slurp_file($node->logfile), qr/(ERROR|FATAL|PANIC):(?!.*(lock timeout))/, "$how: nothing in the log");
	$node->stop('fast');
}
done_testing();
