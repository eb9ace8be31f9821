# COMMIT PREPARED wakes consumers of what the transaction sent, ROLLBACK PREPARED those of what it took, and both do so
# across a restart.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('prepared', conf => "eb.notify_repeat = 1d\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs')));

for my $restart (0, 1)
{
	my $when = $restart ? 'across a restart' : 'at once';
	$node->safe_psql('postgres', q(BEGIN; SELECT eb.send('jobs', '1'); PREPARE TRANSACTION 'sent'));
	if ($restart) { $node->restart; workers_run($node, 'postgres'); }
	my $listener = Listener->new($node, 'postgres', 'eb_jobs');
	is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10))) ], [0], "$when: prepared, nothing yet");
	is_deeply([ $listener->quiet ], [], 'and no notification');
	$node->safe_psql('postgres', q(COMMIT PREPARED 'sent'));
	is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'COMMIT PREPARED wakes');

	$listener->finish;
	$node->safe_psql('postgres', q(BEGIN; SELECT eb.consume('jobs', 10); PREPARE TRANSACTION 'taken'));
	if ($restart) { $node->restart; workers_run($node, 'postgres'); }
	$listener = Listener->new($node, 'postgres', 'eb_jobs');
	is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10))) ], [0], "$when: taken by a prepared transaction");
	is_deeply([ $listener->quiet ], [], 'and no notification');
	$node->safe_psql('postgres', q(ROLLBACK PREPARED 'taken'));
	is_deeply([ $listener->wait ], [ 'eb_jobs jobs' ], 'ROLLBACK PREPARED wakes');
	is_deeply([ $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10))) ], [1], 'and there it is');
	$listener->finish;
}

# Once none is left, others' COMMIT PREPARED wake nobody.
my $listener = Listener->new($node, 'postgres', 'eb_jobs');
$listener->query(q(SELECT count(*) FROM eb.consume('jobs', 10)));
$listener->quiet;
$listener->heard;
$node->safe_psql('postgres', q(BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'other'));
$node->safe_psql('postgres', q(COMMIT PREPARED 'other'));
is_deeply([ $listener->quiet ], [], 'a prepared transaction that has nothing to do with it wakes nobody');
$listener->finish;
$node->stop('fast');
done_testing();
