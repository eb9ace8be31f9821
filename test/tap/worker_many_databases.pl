# At start every database is looked at, however many there are, also after a crash and with few worker slots.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('many', conf => "max_worker_processes = 40\nrestart_after_crash = on\n");
my @with = map { "with_$_" } 1 .. 8;
$node->safe_psql('postgres', "CREATE DATABASE $_") for @with, map { "without_$_" } 1 .. 4;
$node->safe_psql($_, 'CREATE EXTENSION pg_eventbus') for @with;

my $all = q(SELECT count(*) = 28 FROM eb.workers WHERE state = 'running');
ok($node->poll_query_until('postgres', $all), 'nine databases have workers');
for my $mode (qw(fast immediate fast))
{
	$node->stop($mode);
	$node->start;
	ok($node->poll_query_until('postgres', $all), "after a $mode shutdown, too");
}
kill 9, worker_pid($node, 'notifier', 'with_3');
ok($node->poll_query_until('postgres', $all), 'after a crash, too');
is($node->safe_psql('postgres', q(SELECT count(DISTINCT datname) FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventbus%')), '9', 'and no other database');

# Fewer slots than are wanted: as many as there are, and reasons for the rest.
$node->append_conf('postgresql.conf', "max_worker_processes = 10\n");
$node->restart;
ok( $node->poll_query_until('postgres', q(
		SELECT count(*) FILTER (WHERE state = 'running') = 9
			AND count(*) FILTER (WHERE state <> 'running' AND reason IS NULL) = 0 AND count(*) = 28 FROM eb.workers)),
	'with few slots');
$node->stop('fast');
done_testing();
