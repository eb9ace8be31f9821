# CALL eb.wait for a subscription: woken by an event that a read returns and by nothing less; in nobody's way meanwhile.
use strict;
use warnings;
use EventBus;
use IPC::Run;
use Listener;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

sub waiter
{
	my ($node, $name, $timeout) = @_;
	my %w = (in => '', out => '', err => '');
	$timeout //= '1 hour';
	$w{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL eb.wait(subscription => '$name', timeout => '$timeout')" ],
		'<', \undef, '>', \$w{out}, '2>', \$w{err});
	ok( $node->poll_query_until('postgres',
			q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event_type = 'Extension')),
		'a session waits');
	return \%w;
}
sub put { return "SELECT count(eb.put_event('shop', '$_[0]', '{}', 'orders'))"; }

for my $case ('workers', 'workers off', 'no preload')
{
	my $node = PostgreSQL::Test::Cluster->new('wait_' . $case =~ s/ /_/r);
	$node->init;
	$node->append_conf('postgresql.conf', preload()) unless $case eq 'no preload';
	$node->append_conf('postgresql.conf', "eb.workers_enabled = off\n") if $case eq 'workers off';
	$node->start;
	$node->safe_psql('postgres', q(
		CREATE EXTENSION pg_eventbus;
		SELECT eb.create_bus('orders');
		SELECT eb.create_subscription('audit', 'orders');
		SELECT eb.create_subscription('placed', 'orders', '{"detail-type": ["Placed"]}')));
	workers_run($node, 'postgres') if $case eq 'workers';

	my $w = waiter($node, 'audit');
	if ($case ne 'no preload')
	{
		is($node->safe_psql('postgres', q(SELECT backend_xid IS NULL, backend_xmin IS NULL FROM pg_stat_activity WHERE query LIKE 'CALL%')),
			't|t', "$case: it has no transaction id and no snapshot");
		is($node->safe_psql('postgres', q(SELECT coalesce(string_agg(locktype, ','), '') FROM pg_locks
			WHERE pid = (SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL%') AND locktype <> 'virtualxid')), '', 'and no lock');
	}
	$node->safe_psql('postgres', put('Placed'));
	$w->{run}->finish;
	is($w->{out}, "t\n", "$case: an event wakes it") or diag $w->{err};

	# An event that is there already, and one that the pattern leaves out.
	is($node->safe_psql('postgres', q(CALL eb.wait(subscription => 'audit', timeout => '0'))), 't', 'an event that is there ends it at once');
	$node->safe_psql('postgres', q(SELECT eb.seek('placed', 'latest')));
	$w = waiter($node, 'placed', '3 seconds');
	$node->safe_psql('postgres', put('Cancelled')) for 1 .. 3;
	$w->{run}->finish;
	is($w->{out}, "f\n", 'events that do not match do not end it');

	# Held back by an open publisher, which rolls back.  (Without shared memory looking itself waits for it.)
	my $holder = Listener->new($node, 'postgres', 'unused');
	my $shared = $case ne 'no preload' || $node->pg_version >= 17;
	if ($shared)
	{
		$holder->query('BEGIN; ' . put('Placed'));
		$w = waiter($node, 'placed');
		$node->safe_psql('postgres', put('Placed'));
		$w->{run}->pump_nb;
		is($w->{out}, '', 'an event above an open publisher is not ready');
		$holder->query('ROLLBACK');
		$w->{run}->finish;
		is($w->{out}, "t\n", 'the end of that publisher wakes it') or diag $w->{err};
	}

	# Resumed, moved back, dropped.
	$node->safe_psql('postgres', q(SELECT eb.seek('placed', 'latest'); SELECT eb.pause_subscription('placed')));
	$node->safe_psql('postgres', put('Placed'));
	$w = waiter($node, 'placed');
	$node->safe_psql('postgres', q(SELECT eb.resume_subscription('placed')));
	$w->{run}->finish;
	is($w->{out}, "t\n", 'resuming wakes it');
	$node->safe_psql('postgres', q(SELECT eb.seek('placed', 'latest')));
	$w = waiter($node, 'placed');
	$node->safe_psql('postgres', q(SELECT eb.seek('placed', 'earliest')));
	$w->{run}->finish;
	is($w->{out}, "t\n", 'so does moving it back');
	$node->safe_psql('postgres', q(SELECT eb.seek('placed', 'latest')));
	$w = waiter($node, 'placed');
	$node->safe_psql('postgres', q(SELECT eb.drop_subscription('placed')));
	$w->{run}->finish;
	like($w->{err}, qr/subscription "placed" does not exist/, 'and dropping it');

	# Without a notifier each commit sends its own NOTIFY.
	if ($case ne 'workers')
	{
		my $listener = Listener->new($node, 'postgres', 'eb_sub_audit');
		$node->safe_psql('postgres', 'BEGIN; ' . put('Placed') . '; ' . put('Placed') . '; COMMIT');
		is_deeply([ $listener->wait, $listener->quiet ], [ 'eb_sub_audit audit' ], "$case: one notification for each transaction");
		$node->safe_psql('postgres', 'BEGIN; ' . put('Placed') . '; ROLLBACK');
		is_deeply([ $listener->quiet ], [], "$case: none if it is rolled back");
		$listener->finish;
	}
	$holder->finish;
	$node->stop('fast');
}
done_testing();
