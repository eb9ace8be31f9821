# A session in CALL eb.wait holds neither snapshot nor transaction id nor lock, so it is in nobody's way; it can be
# cancelled, and is told when its queue is dropped.
use strict;
use warnings;
use EventBus;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('wait');
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs')));

sub waiter
{
	my ($sql) = @_;
	my %w = (in => '', out => '', err => '');
	$w{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ],
		'<', \undef, '>', \$w{out}, '2>', \$w{err});
	ok( $node->poll_query_until('postgres',
			q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event_type = 'Extension')),
		'a session waits');
	return \%w;
}

my $w = waiter(q(CALL eb.wait('jobs', '1 hour')));
is($node->safe_psql('postgres', q(SELECT backend_xid IS NULL, backend_xmin IS NULL FROM pg_stat_activity WHERE query LIKE 'CALL%')),
	't|t', 'it has no transaction id and no snapshot');
is($node->safe_psql('postgres', q(SELECT coalesce(string_agg(locktype, ','), '') FROM pg_locks
	WHERE pid = (SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL%') AND locktype <> 'virtualxid')), '', 'and no lock');

$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1')));
$w->{run}->finish;
is($w->{out}, "t\n", 'a message wakes it');

# Delayed while it waits.
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.consume('jobs', 10))), '1', 'taken');
$w = waiter(q(CALL eb.wait('jobs', '1 hour')));
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '1', delay => '1 second')));
$w->{run}->finish;
is($w->{out}, "t\n", 'a message that is sent with a delay wakes it');
$node->safe_psql('postgres', q(SELECT pg_sleep(0.2); SELECT count(*) FROM eb.consume('jobs', 10)));

# Cancelled.
$w = waiter(q(CALL eb.wait('jobs', '1 hour')));
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'));
$w->{run}->finish;
like($w->{err}, qr/canceling statement due to user request/, 'it can be cancelled');

# statement_timeout holds, too.
my ($rc, $out, $err) = $node->psql('postgres', q(SET statement_timeout = '100ms'; CALL eb.wait('jobs', '1 hour')));
like($err, qr/canceling statement due to statement timeout/, 'statement_timeout');

# Dropped under it.
$w = waiter(q(CALL eb.wait('jobs', '1 hour')));
$node->safe_psql('postgres', q(SELECT eb.drop_queue('jobs')));
$w->{run}->finish;
like($w->{err}, qr/queue "jobs" does not exist/, 'DROP is not held up, and tells who waits');
$node->stop('fast');
done_testing();
