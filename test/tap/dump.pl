# pg_dump and pg_restore carry everything: live, leased, delayed and dead messages, rules, settings, privileges; work goes
# on in the restored database.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('dump');
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';

$node->safe_psql(
	'postgres', q(
	CREATE ROLE shop; CREATE ROLE worker;
	SELECT eb.create_queue('jobs', max_receive_count => 1, backoff_base => '0', min_redelivery_delay => '0');
	SELECT eb.create_queue('lines', fifo => true);
	SELECT eb.create_bus('orders');
	SELECT eb.put_rule('jobs', '{"detail": {"n": [{"numeric": [">", 0]}]}}', bus => 'orders');
	SELECT eb.put_target('jobs', 'q', queue => 'jobs', bus => 'orders');
	SELECT eb.put_target('jobs', 'lines', queue => 'lines', bus => 'orders', input_path => '$.detail');
	GRANT INSERT ON eb.bus_orders TO shop;
	GRANT UPDATE, DELETE ON eb.queue_jobs TO worker;
	SELECT eb.put_event('orders', 'Placed', jsonb_build_object('n', i), bus => 'orders', group_key => 'g') FROM generate_series(1, 3) i;));
# 1 is dead, 2 is leased, 3 is live, 4 is delayed.
$node->safe_psql('postgres', q(SELECT eb.nack('jobs', array[receipt], error => 'broken') FROM eb.receive('jobs', 1)));
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.peek('jobs_dlq'))), '1', 'one dead letter');
my $leased = $node->safe_psql('postgres', q(SELECT receipt FROM eb.receive('jobs', 1, interval '1 hour')));
$node->safe_psql('postgres', q(SELECT eb.send('jobs', '{"detail": {"n": 4}}', delay => interval '1 hour')));

my $state = q(SELECT queue, ready, in_flight, delayed, parked, (SELECT count(*) FROM eb.peek('jobs_dlq')) FROM eb.queue_status ORDER BY queue);
my $before = $node->safe_psql('postgres', $state);
note $before;

command_ok([ 'pg_dump', '-Fd', '-j', 2, '-f', $file, $node->connstr('postgres') ], 'pg_dump');
for my $mode ([ '-1' ], [ '-j', '4' ])
{
	my $db = 'restored' . ($mode->[0] eq '-1' ? '_one' : '_parallel');
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	command_ok([ 'pg_restore', @$mode, '--exit-on-error', '-d', $node->connstr($db), $file ], "pg_restore @$mode");
	is($node->safe_psql($db, $state), $before, 'the queues are as they were');
	is( $node->safe_psql($db, q(SELECT body->'detail'->>'n' FROM eb.consume('jobs', 10))), '3',
		'the live message comes, with its event');
	is($node->safe_psql($db, qq(SELECT result FROM eb.ack('jobs', array['$leased']))), 'done', 'a lease can be settled');
	is($node->safe_psql($db, q(SELECT last_error, source_queue, body->'detail'->>'n' FROM eb.peek('jobs_dlq'))),
		'broken|jobs|1', 'the dead letter has its error and body');
	is($node->safe_psql($db, q(SELECT eb.redrive('jobs_dlq'))), '1', 'and can be redriven');
	is($node->safe_psql($db, q(SELECT body->'detail'->>'n' FROM eb.consume('jobs', 10))), '1', 'to where it came from');
	is( join(',', map { $node->safe_psql($db, q(SELECT body->>'n' FROM eb.consume('lines', 10))) } 1 .. 3),
		'1,2,3', 'the FIFO queue goes on in order');
	is( $node->safe_psql($db, q(
			SELECT eb.put_event('orders', 'Placed', '{"n": 5}', bus => 'orders', group_key => 'g') IS NOT NULL;
			SELECT body->'detail'->>'n' FROM eb.consume('jobs', 10)
		)), "t\n5", 'the rules route new events');
	is($node->safe_psql($db, q(SET ROLE shop; SELECT eb.put_event('orders', 'X', '{}', bus => 'orders') IS NOT NULL)),
		't', 'a publisher may publish');
	isnt($node->psql($db, q(SET ROLE worker; SELECT eb.put_event('orders', 'X', '{}', bus => 'orders'))), 0, 'a consumer may not');
}
is($node->safe_psql('postgres', $state), $before, 'the dump changed nothing');
$node->stop;
done_testing();
