# Messages that become visible later (delay, backoff, the end of a lease) wake listeners at that moment, without anybody
# polling, also across a restart and on a queue that nobody touches.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Workers;

my $node = new_server('delayed', conf => "eb.notify_repeat = 1d\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres',
	q(SELECT eb.create_queue('jobs', min_redelivery_delay => '0', backoff_base => '1 second', backoff_factor => 1)));
my $listener = Listener->new($node, 'postgres', 'eb_jobs');

sub empty
{
	is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10))) ], [0], 'nothing to get yet');
	$listener->heard;
}

$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1', delay => '1 second')));
empty();
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'woken when the delay is over');
is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10))) ], [1], 'and there it is');

# A shorter delay that comes after a longer one.
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1', delay => '1 hour')));
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '2', delay => '1 second')));
empty();
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'woken for the earlier one');
is_deeply([ $listener->query(q(SELECT body FROM eb.consume('jobs', 10))) ], [2], 'which is due');

# The end of a lease.
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '3')));
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'a message');
$node->safe_psql('postgres', q(SELECT * FROM eb.receive('jobs', 1, '1 second')));
empty();
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'woken when the lease is over');

# Backoff after nack.
$node->safe_psql('postgres', q(SELECT eb.nack('jobs', array_agg(receipt), 'no') FROM eb.receive('jobs', 1)));
$listener->heard;
empty();
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'woken when the backoff is over');
is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10))) ], [1], 'and there it is');

# Across a restart: nobody has written to the queue since.
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '4', delay => '3 seconds')));
$listener->finish;
$node->restart;
workers_run($node, 'postgres');
$listener = Listener->new($node, 'postgres', 'eb_jobs');
empty();
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'woken after a restart');
$listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10)));

# The notifier's death.
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '5', delay => '2 seconds')));
my $pid = worker_pid($node, 'notifier', 'postgres');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(other_pid($node, 'notifier', 'postgres', $pid), 'another notifier');
$listener->heard;
empty();
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'woken by the next notifier');
$listener->finish;
$node->stop('fast');
done_testing();
