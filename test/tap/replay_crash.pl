# A replay that is killed again and again delivers each event exactly once, and one that was paused before goes on from there.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('replay');
workers_run($node, 'postgres');
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b');
	SELECT eb.create_queue('again');
	SELECT eb.create_queue('by_rule');
	SELECT eb.create_archive('a', 'b');
	SELECT count(*) FROM generate_series(1, 120) g, eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', 's' || i % 2,
		'detail-type', 't', 'detail', jsonb_build_object('g', g, 'i', i))) FROM generate_series(1, 500) i), 'b');
	SELECT eb.put_rule('r', '{"source": ["s1"]}', 'b');
	SELECT eb.put_target('r', queue => 'by_rule', bus => 'b');
	SELECT eb.start_replay('direct', 'a', to_queue => 'again');
	SELECT eb.start_replay('routed', 'a');));

for my $round (1 .. 4)
{
	$node->poll_query_until('postgres', "SELECT replayed >= $round * 5000 OR state = 'COMPLETED' FROM eb.replay_status WHERE replay = 'direct'");
	$node->kill9;
	start_again($node);
}
ok(poll_sql($node, 'postgres', q(SELECT count(*) = 2 FROM eb.replay_status WHERE state = 'COMPLETED')), 'both replays come to their end');
for my $case (['again', 60000], ['by_rule', 30000])
{
	my ($queue, $n) = @$case;
	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT event_id) FROM eb.q_$queue"), "$n|$n", "$queue has each event once");
	is( $node->safe_psql(
			'postgres', "SELECT count(*) FROM (SELECT event_id, lag(event_id) OVER (ORDER BY message_id) AS before FROM eb.q_$queue) q WHERE before > event_id"),
		0, 'in id order');
}
is( $node->safe_psql('postgres', q(SELECT replayed, deliveries, percent FROM eb.replay_status ORDER BY replay)),
	"60000|60000|100.0\n60000|30000|100.0", 'and the figures are right');
is($node->safe_psql('postgres', 'SELECT count(*) FROM eb.events'), 60000, 'nothing was put a second time');
$node->stop('fast');
done_testing();
