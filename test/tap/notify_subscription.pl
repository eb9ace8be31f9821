# Readers of a subscription are woken by what makes an event readable: its commit, or the end of an older publisher that
# held it back, whether that commits, rolls back or was prepared.  Nothing else wakes them.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('subscription', conf => "eb.notify_repeat = 1h\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(
	SELECT eb.create_bus('orders');
	SELECT eb.create_bus('other');
	SELECT eb.create_subscription('audit', 'orders');
	SELECT eb.create_subscription('idle', 'orders')));

my $reader = Listener->new($node, 'postgres', 'eb_sub_audit');
my $holder = Listener->new($node, 'postgres', 'unused');
my $put = q(SELECT count(eb.put_event('shop', 'Placed', '{}', 'orders')));
my $put_other = q(SELECT count(eb.put_event('shop', 'Placed', '{}', 'other')));

# Read all there is and commit: afterwards the subscription is armed.
# What a wait brings, each once: a wake-up may be repeated.
sub wakes
{
	my %seen;
	return grep { !$seen{$_}++ } $reader->wait;
}

sub drain
{
	my $n = 0;
	while (1)
	{
		my ($got) = $reader->query(q(SELECT count(*) FROM (SELECT eb.commit('audit', max(id::text)::uuid) FROM eb.read('audit', 100) HAVING count(*) > 0) x));
		my ($left) = $reader->query(q(SELECT count(*) FROM eb.read('audit', 100)));
		$n += $got;
		last if $left == 0;
	}
	return $n;
}

# A new subscription may have been announced once.
drain();
$reader->quiet;
$reader->heard;

for my $i (1 .. 3)
{
	$node->safe_psql('postgres', "BEGIN; $put; $put; COMMIT; $put");
	is_deeply([ $reader->wait, $reader->quiet ], [ 'eb_sub_audit audit' ], "events wake once ($i)");
	is(drain(), 1, 'and are read');
}

# What came before the reader slept may be announced once more when the notifier wakes for something else.
$node->safe_psql('postgres', $put_other);
$reader->quiet;
$reader->query(q(SELECT count(*) FROM eb.read('audit')));
$node->safe_psql('postgres', $put_other);
is_deeply([ $reader->quiet ], [], 'an event of another bus wakes nobody');
$node->safe_psql('postgres', "BEGIN; $put; ROLLBACK");
is_deeply([ $reader->quiet ], [], 'nor does one that is rolled back');

# Held back by a publisher of another bus.
for my $end ('COMMIT', 'ROLLBACK')
{
	$holder->query("BEGIN; $put_other");
	$node->safe_psql('postgres', $put);
	is_deeply([ wakes() ], [ 'eb_sub_audit audit' ], 'committed while another publisher is open: a wake-up');
	is_deeply([ $reader->query(q(SELECT count(*) FROM eb.read('audit'))) ], [0], 'but it cannot be read yet');
	is_deeply([ $reader->quiet ], [], 'and the reader sleeps');
	$node->safe_psql('postgres', $put_other);
	is_deeply([ $reader->quiet ], [], 'also while younger publishers come and go');
	$holder->query($end);
	is_deeply([ wakes() ], [ 'eb_sub_audit audit' ], "$end of the older one wakes");
	is(drain(), 1, 'and the event is read');
}

# The same with prepared transactions, also across a restart.
for my $restart (0, 1)
{
	for my $end ('COMMIT', 'ROLLBACK')
	{
		$node->safe_psql('postgres', "BEGIN; $put_other; PREPARE TRANSACTION 'older'");
		$node->safe_psql('postgres', $put);
		if ($restart)
		{
			$reader->finish;
			$node->restart;
			workers_run($node, 'postgres');
			$reader = Listener->new($node, 'postgres', 'eb_sub_audit');
		}
		is_deeply([ $reader->query(q(SELECT count(*) FROM eb.read('audit'))) ], [0], 'held back by a prepared one');
		$reader->quiet;
		is_deeply([ $reader->query(q(SELECT count(*) FROM eb.read('audit'))) ], [0], 'still');
		is_deeply([ $reader->quiet ], [], 'no notification');
		$node->safe_psql('postgres', "$end PREPARED 'older'");
		is_deeply([ wakes() ], [ 'eb_sub_audit audit' ], "$end PREPARED wakes" . ($restart ? ' across a restart' : ''));
		is(drain(), 1, 'and the event is read');
		$reader->quiet;
	}
	$node->safe_psql('postgres', "BEGIN; $put; PREPARE TRANSACTION 'event'");
	if ($restart)
	{
		$reader->finish;
		$holder->finish;
		$node->restart;
		workers_run($node, 'postgres');
		$reader = Listener->new($node, 'postgres', 'eb_sub_audit');
		is_deeply([ $reader->query(q(SELECT count(*) FROM eb.read('audit'))) ], [0], 'prepared, nothing yet');
		$reader->quiet;
		is_deeply([ $reader->query(q(SELECT count(*) FROM eb.read('audit'))) ], [0], 'still');
	}
	is_deeply([ $reader->quiet ], [], 'no notification');
	$node->safe_psql('postgres', "COMMIT PREPARED 'event'");
	is_deeply([ wakes() ], [ 'eb_sub_audit audit' ], 'COMMIT PREPARED of an event wakes');
	is(drain(), 1, 'and the event is read');
}

# Nobody needs to have read first, and a dropped one is forgotten.
$reader->finish;
$node->safe_psql('postgres', q(SELECT eb.create_subscription('new', 'orders')));
$reader = Listener->new($node, 'postgres', 'eb_sub_new');
$node->safe_psql('postgres', $put);
is_deeply([ ($reader->wait)[0] ], [ 'eb_sub_new new' ], 'whoever only listens is woken, too');
$reader->quiet;
$node->safe_psql('postgres', q(SELECT eb.drop_subscription('new')));
$reader->quiet;
$reader->heard;
$node->safe_psql('postgres', $put);
is_deeply([ $reader->quiet ], [], 'a dropped subscription is not announced');
$reader->finish;
$node->stop('fast');
done_testing();
