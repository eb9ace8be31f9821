# Consumers that listen to one queue and receive from it in the same session are told by the commits themselves, without a
# NOTIFY, as long as nobody else listens; then by NOTIFY, and either way nobody is forgotten.  (README of src/worker, claim 15)
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Scalar::Util 'refaddr';
use Test::More;
use Workers;

my $node = new_server('told',
	conf => "autovacuum = off\neb.maintenance_interval = 1d\neb.notify_repeat = 1d\neb.notify_interval = 0\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('q'); SELECT eb.create_queue('other'); CALL eb.maintain()));

sub put_message
{
	$node->safe_psql('postgres', q(SELECT eb.send('q', '1')));
	return;
}

# Take all there is, and be ready for more: a look in vain is what enters a consumer.
sub take_all
{
	my ($consumer) = @_;
	return ($consumer->query(q(SELECT count(*) FROM eb.consume('q', 100)), q(SELECT count(*) FROM eb.consume('q', 100))))[0];
}

# A channel of one's own.
sub mark
{
	return 'mark_' . refaddr($_[0]);
}

# Ready, and all that was sent before is forgotten: the server delivers in order, so what comes before a mark is not missed.
sub ready
{
	for my $consumer (@_)
	{
		take_all($consumer);
		my $mark = mark($consumer);
		$node->safe_psql('postgres', "NOTIFY $mark, 'now'");
		my @heard;
		push @heard, $consumer->wait until grep { $_ eq "$mark now" } @heard;
		$consumer->query('SELECT 1');
		$consumer->heard;
	}
	return;
}

sub consumer
{
	my $consumer = Listener->new($node, 'postgres', 'eb_q');
	$consumer->query('LISTEN ' . mark($consumer));
	return $consumer;
}

# Transactions of a number of rounds, each of a message and somebody who is told of it and takes it.  Sender and taker need
# two; the NOTIFY is one more.
sub transactions
{
	my ($consumer, @others) = @_;
	ready($consumer, @others);
	my $now = 'SELECT pg_snapshot_xmax(pg_current_snapshot())';
	my $before = $node->safe_psql('postgres', $now);
	for (1 .. 10)
	{
		put_message();
		is_deeply([ $consumer->wait ], ['eb_q q'], 'told');
		take_all($consumer);
	}
	my $n = $node->safe_psql('postgres', $now) - $before;
	ready($consumer, @others);
	return $n;
}

my $a = consumer();
cmp_ok(transactions($a), '<', 25, 'one consumer: no NOTIFY');
my $b = consumer();
cmp_ok(transactions($a, $b), '<', 25, 'two of them: no NOTIFY');
put_message();
is_deeply([ $_->wait ], ['eb_q q'], 'each is told') for $a, $b;
is(take_all($a) + take_all($b), 1, 'one has it');

# Somebody who only listens cannot be told by commits, so the notifier does it for all.
my $monitor = Listener->new($node, 'postgres', 'eb_q');
cmp_ok(transactions($a, $b), '>=', 30, 'somebody who only listens: a NOTIFY for each');
$monitor->query('SELECT 1');
$monitor->heard;
put_message();
is_deeply([ $_->wait ], ['eb_q q'], 'all hear it') for $a, $b;
ok($monitor->wait, 'he, too');
$monitor->finish;
cmp_ok(transactions($a, $b), '<', 25, 'and none when he is gone');

# In a transaction block a client is told nothing before its end, as with NOTIFY.
$a->query('BEGIN');
put_message();
is_deeply([ $b->wait ], ['eb_q q'], 'the other one is told');
is_deeply([ $a->quiet ], [], 'not within a transaction block');
$a->query('COMMIT');
is_deeply([ $a->wait ], ['eb_q q'], 'after it');

# What a consumer takes and gives back wakes the others.
ready($a, $b);
put_message();
is_deeply([ $_->wait ], ['eb_q q'], 'told') for $a, $b;
$a->query('BEGIN', q(SELECT count(*) FROM eb.consume('q', 100)));
is(take_all($b), 0, 'nothing left for the other one');
$a->query('ROLLBACK');
is_deeply([ $b->wait ], ['eb_q q'], 'told of what was given back');

# UNLISTEN: no more; rolled back, nothing is lost, not even what one was told of before it.
ready($a, $b);
$a->query('BEGIN');
put_message();
is_deeply([ $b->wait ], ['eb_q q'], 'message while the other one is in a transaction');
$a->query('UNLISTEN *', 'ROLLBACK');
is_deeply([ $a->wait ], ['eb_q q'], 'known after an UNLISTEN that was rolled back');
ready($a, $b);
$a->query('BEGIN', 'UNLISTEN eb_q', 'ROLLBACK');
put_message();
is_deeply([ $_->wait ], ['eb_q q'], 'and so is the next one') for $a, $b;
ready($a, $b);
$a->query('UNLISTEN eb_q');
put_message();
is_deeply([ $b->wait ], ['eb_q q'], 'told');
is_deeply([ $a->quiet ], [], 'who does not listen any more hears nothing');
$a->query('LISTEN eb_q');
cmp_ok(transactions($a, $b), '<', 25, 'who listens again is told as before');

# Two queues: by NOTIFY.
$a->query('LISTEN eb_other', q(SELECT count(*) FROM eb.consume('other', 1)));
put_message();
is_deeply([ $a->wait ], ['eb_q q'], 'one queue');
$node->safe_psql('postgres', q(SELECT eb.send('other', '1')));
is_deeply([ $a->wait ], ['eb_other other'], 'the other queue');
$a->query('DISCARD ALL', 'LISTEN eb_q', 'LISTEN ' . mark($a));
cmp_ok(transactions($a, $b), '<', 25, 'one queue again: no NOTIFY');

# One that is terminated is not counted any more.
my $c = consumer();
ready($c);
my ($pid) = $c->query('SELECT pg_backend_pid()');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 100000)");
cmp_ok(transactions($a, $b), '<', 25, 'after the end of a third one: no NOTIFY');

# Signals to many are the notifier's work.
my @more = map { consumer() } 1 .. 7;
ready(@more);
cmp_ok(transactions($a, $b), '>=', 30, 'nine consumers: a NOTIFY for each');
$_->finish for @more;
cmp_ok(transactions($a, $b), '<', 25, 'two of them: none');

# The queue is another one of the same name.
$node->safe_psql('postgres', q(SELECT eb.drop_queue('q', true)));
$node->safe_psql('postgres', q(SELECT eb.create_queue('q')));
put_message();
is_deeply([ $_->wait ], ['eb_q q'], 'a new queue of the same name') for $a, $b;
cmp_ok(transactions($a, $b), '<', 25, 'and then without NOTIFY');

# The interval between two notifications of a queue holds for this way, too.
$node->append_conf('postgresql.conf', "eb.notify_interval = 1min\n");
$node->reload;
ok($node->poll_query_until('postgres', q(SELECT current_setting('eb.notify_interval') = '1min')), 'reloaded');
put_message();
is_deeply([ $a->quiet ], [], 'not within eb.notify_interval');
$node->append_conf('postgresql.conf', "eb.notify_interval = 0\neb.notify_repeat = 200ms\n");
$node->reload;
is_deeply([ $a->wait ], ['eb_q q'], 'but after it');

# The net: a consumer that does not look is told again, by the notifier, once there is something new.
ready($a, $b);
for my $i (1 .. 4)
{
	put_message();
	is_deeply([ $a->wait ], ['eb_q q'], "message $i, and nobody has looked since the last");
}
is(take_all($a), 4, 'all are there');
$_->finish for $a, $b;
$node->stop('fast');
done_testing();
