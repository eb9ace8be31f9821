# What a transaction took and gives back by rolling back wakes consumers: they saw nothing while it was gone.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('abort', conf => "eb.notify_repeat = 1d\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs')));
my $listener = Listener->new($node, 'postgres', 'eb_jobs');
my $taker = Listener->new($node, 'postgres', 'unused');

for my $back ([ '', 'ROLLBACK', 'consume' ], [ 'SAVEPOINT s', 'ROLLBACK TO s', 'consume' ], [ '', 'ROLLBACK', 'receive' ])
{
	my ($before, $undo, $how) = @$back;
	$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1')));
	is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'a message comes');
	$taker->query("BEGIN; $before");
	is_deeply([ $taker->query("SELECT count(*) FROM eb.$how('jobs', 1)") ], [1], "one session takes it ($how)");
	is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 1))) ], [0], 'the other finds nothing');
	is_deeply([ $listener->quiet ], [], 'and sleeps');
	$taker->query($undo);
	is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], "until $undo");
	is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 1))) ], [1], 'and gets it');
	$taker->query('COMMIT') if $undo =~ / TO /;
	$listener->query(q(SELECT count(*) FROM eb.consume('jobs', 1)));
}
$_->finish for $listener, $taker;
$node->stop('fast');
done_testing();
