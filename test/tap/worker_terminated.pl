# A worker that is terminated is started again, and no other is touched.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('terminated', conf => "restart_after_crash = on\n");
workers_run($node, 'postgres');
my @all = qw(launcher supervisor notifier maintainer);
for my $worker (@all)
{
	my %before = map { $_ => worker_pid($node, $_, 'postgres') } @all;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($before{$worker})");
	ok(other_pid($node, $worker, 'postgres', $before{$worker}), "the $worker is started again");
	for my $other (grep { $_ ne $worker } @all)
	{
		is(worker_pid($node, $other, 'postgres'), $before{$other}, "the $other is not touched");
	}
	my $where = $worker eq 'launcher' ? 'database IS NULL' : q(database = 'postgres');
	is( $node->safe_psql('postgres', "SELECT restarts, last_error FROM eb.workers WHERE worker = '$worker' AND $where"),
		'1|it was terminated', 'eb.workers tells');
}

# A new launcher adopts who is there: what it has to do still works.
$node->safe_psql('postgres', 'CREATE DATABASE late');
$node->safe_psql('late', 'CREATE EXTENSION pg_eventbus');
workers_run($node, 'late', 'the new launcher goes on');

# kill -9: the server starts all of its processes again.
my $pid = worker_pid($node, 'notifier', 'postgres');
kill 9, $pid;
ok(other_pid($node, 'notifier', 'postgres', $pid), 'back after kill -9 of a worker');
workers_run($node, $_, "all of them, in $_") for qw(postgres late);
$node->stop('fast');
done_testing();
