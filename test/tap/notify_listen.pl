# A consumer that listens, takes messages until there are none, and sleeps until it is notified gets every message, and a
# busy queue is not notified for each of them.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

# So long that the net for consumers that break the pattern cannot help.
my $node = new_server('listen', conf => "eb.notify_repeat = 1d\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs')));
my $listener = Listener->new($node, 'postgres', 'eb_jobs');

# Nobody has asked the queue for anything: a listener is heard all the same.
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1')));
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'channel eb_<queue>, payload the name of the queue');

# Notified, and nobody came: no more of it.
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '2'))) for 1 .. 3;
is_deeply([ $listener->quiet ], [], 'not again before somebody has looked');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.receive('jobs', 10))), '4', 'who looks gets them all');
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '3')));
is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'a receive that fell short has armed the queue again');

# Rolled back: nothing.
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.receive('jobs', 10))), '1', 'taken');
$node->safe_psql('postgres', q(BEGIN; SELECT eb.send('jobs', '4'); ROLLBACK));
is_deeply([ $listener->quiet ], [], 'a rolled back send wakes nobody');

# Many in one transaction: one.
$node->safe_psql('postgres', q(BEGIN; SELECT eb.send('jobs', to_jsonb(i)) FROM generate_series(1, 100) i; SELECT eb.send('jobs', '5'); COMMIT));
is_deeply([ $listener->wait, $listener->quiet ], [ 'eb_jobs jobs' ], 'one notification for many messages');

$listener->finish;
$node->stop('fast');
done_testing();
