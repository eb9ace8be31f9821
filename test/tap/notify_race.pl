# Consumers that sleep until they are notified miss no message while others send and take at the same time: with the net
# of eb.notify_repeat out of the way, a lost wake-up would leave messages in the queue and consumers asleep.
use strict;
use warnings;
use EventBus;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('race', conf => "eb.notify_repeat = 1d\neb.notify_interval = 0\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('jobs'); CREATE TABLE took (n int)));

# CALL eb.wait sleeps on the same flags as a listener, and can be driven by pgbench: each round waits (an hour at most),
# then takes what it gets one by one, as a consumer would, until there is nothing.
my $consumer = q(
call eb.wait('jobs', '1 hour');
insert into took select (body #>> '{}')::int from eb.consume('jobs', 1);
);
my $messages = 4000;
my $producer = q(select eb.send('jobs', to_jsonb(:client_id)););

my $consumers = load_start($node, 'postgres', 'take', 4, 600, $consumer);
my $producers = load_start($node, 'postgres', 'put', 4, 5, $producer);
unlike(load_finish($producers), qr/ERROR|FATAL/, 'producers');
my $sent = $node->safe_psql('postgres', q(SELECT sum(n) FROM (SELECT count(*) AS n FROM took UNION ALL SELECT count(*) FROM eb.queue_jobs) x));
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM eb.queue_jobs))), 'all messages were taken by sleepers');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM took'), '>=', $sent, 'none is missing');

# One at a time, so that each is sent to sleepers only.
for my $i (1 .. 200)
{
	$node->safe_psql('postgres', q(SELECT eb.send('jobs', '0')));
	next if $i % 20;
	last unless ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM eb.queue_jobs))), "still awake after $i");
}
$consumers->{run}->kill_kill;
$node->stop('fast');
done_testing();
