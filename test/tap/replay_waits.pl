# A replay whose FIFO group a publisher holds waits for it, and neither the other replays nor the maintainer wait along.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('waits', conf => "max_prepared_transactions = 2\n");
workers_run($node, 'postgres');
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b');
	SELECT eb.create_queue('ordered', fifo => true);
	SELECT eb.create_queue('plain');
	SELECT eb.create_archive('a', 'b');
	SELECT count(*) FROM eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', 's', 'detail-type', 't',
		'detail', jsonb_build_object('i', i))) FROM generate_series(1, 3000) i), 'b');));

# the group of events without a group key is their source
$node->safe_psql('postgres', q(BEGIN; SELECT eb.send('ordered', '{}', group_id => 's'); PREPARE TRANSACTION 'holder'));
$node->safe_psql('postgres', q(SELECT eb.start_replay('stuck', 'a', to_queue => 'ordered')));
ok( $node->poll_query_until('postgres', q(SELECT last_error LIKE '%lock timeout%' FROM eb.workers WHERE worker = 'maintainer')),
	'the replay does not get the group');
$node->safe_psql('postgres', q(SELECT eb.start_replay('free', 'a', to_queue => 'plain')));
ok($node->poll_query_until('postgres', q(SELECT state = 'COMPLETED' FROM eb.replay_status WHERE replay = 'free')), 'another one passes it');
is($node->safe_psql('postgres', q(SELECT state IN ('STARTING', 'RUNNING'), replayed FROM eb.replay_status WHERE replay = 'stuck')),
	't|0', 'which has not failed');
$node->safe_psql('postgres', q(COMMIT PREPARED 'holder'));
ok($node->poll_query_until('postgres', q(SELECT state = 'COMPLETED' FROM eb.replay_status WHERE replay = 'stuck')), 'it goes on');
is($node->safe_psql('postgres', q(SELECT count(*), count(event_id), count(DISTINCT event_id) FROM eb.q_ordered)), '3001|3000|3000', 'each event once');
$node->stop('fast');
done_testing();
