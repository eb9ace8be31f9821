# While nothing happens workers run no statement and use no CPU.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

plan skip_all => 'needs /proc' unless -r '/proc/self/stat';

my $node = new_server('idle', conf => "eb.maintenance_interval = 1s\n");
workers_run($node, 'postgres');

sub ticks
{
	my $sum = 0;
	for my $pid (split /\n/, $node->safe_psql('postgres', 'SELECT pid FROM eb.workers'))
	{
		my @field = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr;
		$sum += $field[11] + $field[12];
	}
	return $sum;
}

# Statements of workers show as changes of state in pg_stat_activity.
my $changes = q(SELECT string_agg(format('%s %s', pid, state_change), ',' ORDER BY pid)
	FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventbus%' AND datname IS NOT NULL);

# At rest once two looks, more than an interval apart, are the same.
sub rests
{
	my ($what) = @_;
	my ($before, $after) = ('', $node->safe_psql('postgres', $changes));
	for my $try (1 .. 30)
	{
		$before = $after;
		$node->safe_psql('postgres', 'SELECT pg_sleep(2)');
		$after = $node->safe_psql('postgres', $changes);
		last if $before eq $after;
	}
	is($after, $before, "$what: the workers come to rest");
	my $ticks = ticks();
	$node->safe_psql('postgres', 'SELECT pg_sleep(5)');
	is($node->safe_psql('postgres', $changes), $before, "$what: no statement in five more seconds, with a maintenance interval of one");
	is(ticks(), $ticks, "$what: and no CPU time");
}

rests('nothing there');

# With a bus, events, messages that wait, a dead letter queue, a lease and a delay.
feed($node, 'postgres', 'jobs', 'load');
$node->safe_psql('postgres', q(
	SELECT eb.put_event('load', 'Load', '{}') FROM generate_series(1, 1000);
	SELECT count(*) FROM eb.receive('jobs', 10, '1 hour');
	SELECT count(*) FROM eb.consume('jobs', 10);
	SELECT eb.send('jobs', '1', delay => '1 hour');));
rests('after some work');
$node->stop('fast');
done_testing();
