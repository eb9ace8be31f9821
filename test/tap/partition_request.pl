# Publishers that find no partition for their events get one: sixteen at once do not collide and none fails, with preload
# and without, and with hardly a worker slot.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The clock jumps days ahead of the partitions that are there, in each session.
my $script = q(
\set day 2 + (:client_id % 4)
select set_config('eb.clock_offset', (:day * 86400000)::text, false);
select eb.put_event('load', 'Load', '{}');
);

for my $case ([ 'no_preload', '' ], [ 'preload', 'preload' ], [ 'few_slots', 'preload', "max_worker_processes = 5\n" ],
	[ 'one_slot', '', "max_worker_processes = 2\nmax_parallel_workers = 0\n" ])
{
	my ($name, $preload, $conf) = @$case;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "max_connections = 30\n" . ($preload ? preload() : '') . ($conf // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_eventbus');
	feed($node, 'postgres', 'jobs', 'load');
	$node->safe_psql('postgres', q(SELECT eb.put_event('load', 'Load', '{}')));
	my $before = $node->safe_psql('postgres', q(SELECT count(*) FROM pg_partition_tree('eb.events') WHERE isleaf));

	my ($out, $err) = run_command([ 'pgbench', '-n', '-c', 16, '-t', 5, '-f', script($name), '-h', $node->host, '-p', $node->port, 'postgres' ]);
	unlike($err, qr/ERROR|FATAL|aborted/, "$name: no publisher fails") or diag $err;
	like($out, qr{transactions actually processed: 80/80}, "$name: all have published");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.events)), '81', "$name: all events are there");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.consume('jobs', 1000))), '81', "$name: and their messages");
	cmp_ok($node->safe_psql('postgres', q(SELECT count(DISTINCT tableoid) FROM eb.events)), '>', 1, "$name: in several partitions");
	unlike(slurp_file($node->logfile), qr/ERROR|FATAL|deadlock/, "$name: nothing in the log");

	# In the transaction that has made the class of the events, nobody else could see it.
	my ($rc, $o, $e) = $node->psql('postgres', q(
		BEGIN;
		SELECT eb.create_bus('own', retention => '3 hours');
		SET LOCAL eb.clock_offset = 864000000;
		SELECT eb.put_event('load', 'Load', '{}', bus => 'own');
		COMMIT));
	is($rc, 0, "$name: a bus that the transaction has made itself") or diag $e;
	$node->stop('fast');
}

sub script
{
	my ($name) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.sql";
	open my $f, '>', $file or die $!;
	print $f $script;
	close $f;
	return $file;
}
done_testing();
