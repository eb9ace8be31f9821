# Whoever looks at a queue while bodies are copied out of an expired partition passes those messages by.  So the copying wakes
# consumers, as anything does that gives messages back.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('wakes', conf => "eb.notify_repeat = 1d\neb.maintenance_interval = 1d\n");
workers_run($node, 'postgres');
feed_short($node, '1 hour', '1 hour');
$node->safe_psql(
	'postgres', q(
	SELECT eb.put_event('load', 'Load', '{}', bus => 'short');
	SELECT eb.update_queue('jobs', retention => '10 days');));

# Passed by, since somebody has the row locked: then the consumer sleeps, with a message left, as he would after a look while it is copied.
my $consumer = Listener->new($node, 'postgres', 'eb_jobs');
my $holder = Listener->new($node, 'postgres', 'none');
$holder->query('BEGIN', 'SELECT count(*) FROM (SELECT FROM eb.q_jobs FOR UPDATE) x');
is(($consumer->query(q(SELECT count(*) FROM eb.consume('jobs', 10))))[0], '0', 'in other hands');
$holder->query('ROLLBACK');
$consumer->quick;
$consumer->query(q(SELECT 1));
is_deeply([ $consumer->quiet ], [], 'asleep');

my $events = $node->safe_psql('postgres', 'SELECT event_id IS NOT NULL AND body IS NULL FROM eb.q_jobs');
is($events, 't', 'the message names its event');
$node->append_conf('postgresql.conf', "eb.maintenance_interval = 1s\neb.clock_offset = " . 5 * 3600 * 1000 . "\n");
$node->reload;
ok($node->poll_query_until('postgres', q(SELECT setting = '18000000' FROM pg_settings WHERE name = 'eb.clock_offset')), 'five hours later');
$node->safe_psql('postgres', q(SELECT eb.send('jobs_dlq', '0')));
ok($node->poll_query_until('postgres', 'SELECT body IS NOT NULL FROM eb.q_jobs'), 'the body was copied');
is_deeply([ $consumer->wait ], ['eb_jobs jobs'], 'told');
is(($consumer->query(q(SELECT count(*) FROM eb.consume('jobs', 10))))[0], '1', 'taken');
$_->finish for $consumer, $holder;
$node->stop('fast');
done_testing();
