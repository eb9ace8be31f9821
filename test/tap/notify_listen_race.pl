# A listener that takes one message at a time until there is none, and then sleeps until it is notified, misses none while
# several sessions send; the net of eb.notify_repeat is out of the way.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('listen_race', conf => "eb.notify_repeat = 1d\neb.notify_interval = 0\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs')));
my $listener = Listener->new($node, 'postgres', 'eb_jobs');

my $took = 0;
sub take_all
{
	while (1)
	{
		my ($n) = $listener->query(q(SELECT count(*) FROM eb.consume('jobs', 1)));
		last unless $n;
		$took++;
	}
}

my $total = 0;
my $sleeps = 0;
for my $round (1 .. 3)
{
	my $load = load_start($node, 'postgres', "put$round", 3, 3, "\\sleep 15 ms\nselect eb.send('jobs', '1');\n");
	while ($load->{run}->pumpable)
	{
		$load->{run}->pump_nb;
		next unless $listener->quick;
		$sleeps++;
		take_all();
	}
	unlike(load_finish($load), qr/ERROR|FATAL/, "round $round: sent");
	my ($sent) = ${ $load->{out} } =~ /transactions actually processed: (\d+)/;
	$total += $sent;

	# Asleep since the last empty look: whatever is left must have been announced.
	take_all() while $listener->quick;
	is($took, $total, "round $round: all $sent taken");
}
cmp_ok($sleeps, '>', 10, "it slept in between ($sleeps times)");
$listener->finish;
$node->stop('fast');
done_testing();
