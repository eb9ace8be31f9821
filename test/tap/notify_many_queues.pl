# More queues than eb.max_queues has slots for: those without a slot are served all the same, by a NOTIFY of the
# transaction itself, and a dropped queue gives its slot back.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('many_queues', conf => "eb.max_queues = 16\neb.notify_repeat = 1d\n");
workers_run($node, 'postgres');
my $last = 40;
$node->safe_psql('postgres', "SELECT eb.create_queue('q' || i, dead_letter_queue => '') FROM generate_series(1, $last) i");
my $listener = Listener->new($node, 'postgres', 'eb_q1');
$listener->query(qq(LISTEN "eb_q$_")) for 2 .. $last;

for my $round (1 .. 2)
{
	my %heard;
	$node->safe_psql('postgres', join(';', map { "SELECT eb.send('q$_', '1')" } 1 .. $last));
	for my $try (1 .. 300)
	{
		$heard{$_}++ for $listener->quiet;
		last if keys %heard == $last;
	}
	is(scalar(keys %heard), $last, "round $round: all queues are heard of");
	$listener->query("SELECT count(*) FROM eb.consume('q$_', 10)") for 1 .. $last;
	$listener->quiet;
}

# Waiting works without a slot, too.
my ($rc, $out, $err) = $node->psql('postgres', "CALL eb.wait('q$last', '300ms'); SELECT eb.send('q$last', '1') > 0; CALL eb.wait('q$last', '10s')");
is($out, "f\nt\nt", 'eb.wait') or diag $err;
$listener->query("SELECT count(*) FROM eb.consume('q$last', 10)");
$listener->quiet;

# Room for the later ones once the first are gone: they are notified once until somebody looks, as all with a slot.
$node->safe_psql('postgres', "SELECT eb.drop_queue('q' || i, true) FROM generate_series(1, 30) i");
my @heard;
for my $try (1 .. 100)
{
	$node->safe_psql('postgres', "SELECT eb.send('q$last', '1')") for 1 .. 2;
	@heard = $listener->quiet;
	last unless @heard;
}
is_deeply(\@heard, [], 'a slot for the last');
$listener->finish;
$node->stop('fast');
done_testing();
