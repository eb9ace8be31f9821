# Without a notifier (no preload, or workers off) transactions send their own NOTIFY.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

for my $case ('no preload', 'workers off')
{
	my $node = PostgreSQL::Test::Cluster->new($case =~ s/ /_/r);
	$node->init;
	$node->append_conf('postgresql.conf', preload() . "eb.workers_enabled = off\n") if $case eq 'workers off';
	$node->start;
	$node->safe_psql('postgres', q(CREATE EXTENSION pg_eventbus; SELECT eb.create_queue('jobs')));
	my $listener = Listener->new($node, 'postgres', 'eb_jobs');
	for my $i (1 .. 3)
	{
		$node->safe_psql('postgres', q(BEGIN; SELECT eb.send('jobs', '1'); SELECT eb.send('jobs', '2'); COMMIT));
		is_deeply([ $listener->wait, $listener->quiet ], [ 'eb_jobs jobs' ], "$case: one notification for each transaction");
	}
	$node->safe_psql('postgres', q(BEGIN; SELECT eb.send('jobs', '1'); ROLLBACK));
	is_deeply([ $listener->quiet ], [], "$case: none if it is rolled back");
	my ($rc, $out, $err) = $node->psql('postgres', q(BEGIN; SELECT eb.send('jobs', '1'); PREPARE TRANSACTION 'p'));
	is($rc, 0, "$case: PREPARE TRANSACTION works") or diag $err;
	$node->safe_psql('postgres', q(COMMIT PREPARED 'p'));
	like($node->safe_psql('postgres', q(SELECT state, reason FROM eb.workers WHERE worker = 'launcher')),
		$case eq 'no preload'
		? qr/^stopped\|pg_eventbus is not preloaded: add it to shared_preload_libraries and restart the server$/
		: qr/^running\|$/, "$case: eb.workers");
	$listener->finish;
	$node->stop('fast');
}
done_testing();
