# A consumer that does not look after a notification is notified again: late, but not never.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('repeat', conf => "eb.notify_repeat = 200ms\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs')));
my $listener = Listener->new($node, 'postgres', 'eb_jobs');
for my $i (1 .. 3)
{
	$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1')));
	is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], "message $i, and nobody has looked since the last");
}
is_deeply([ $listener->quiet ], [], 'but nothing without a new message');
$listener->finish;
$node->stop('fast');
done_testing();
