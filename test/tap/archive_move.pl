# An archive goes on living elsewhere: its old partitions on another tablespace, a copy of it alone in another database.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('move');
workers_run($node, 'postgres');
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b', '1 day');
	SELECT eb.create_queue('q');
	SELECT eb.create_archive('orders', 'b', '{"source": ["shop"]}', '30 days');
	SELECT eb.put_rule('r', '{"source": ["shop"]}', 'b');
	SELECT eb.put_target('r', queue => 'q', bus => 'b');
	SELECT count(eb.put_event(CASE n % 3 WHEN 0 THEN 'other' ELSE 'shop' END, 't', jsonb_build_object('n', n, 'pad', repeat('x', 3000)),
		'b', correlation_id => 'c' || n)) FROM generate_series(1, 600) n;));

# to cheaper storage: the statements of docs/archive-and-replay.md
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE cold LOCATION '$dir'");
my $moves = $node->safe_psql(
	'postgres', q(
	SELECT format('ALTER %s eb.%I SET TABLESPACE cold', CASE c.relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END, c.relname)
	FROM pg_partition_tree('eb.events_30d') p
		JOIN pg_class t ON t.oid = p.relid AND p.isleaf
		LEFT JOIN pg_index i ON i.indrelid = t.oid
		JOIN pg_class c ON c.oid IN (t.oid, i.indexrelid)
	GROUP BY c.relname, c.relkind));
$node->safe_psql('postgres', "$_;") for split /\n/, $moves;
cmp_ok(
	$node->safe_psql(
		'postgres', q(SELECT count(*) FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE spcname = 'cold' AND relname LIKE 'events_30d%')),
	'>=', 2, 'partitions and their indexes are on the other tablespace');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.archived_events('orders'))), 400, 'the archive reads as before');
is( $node->safe_psql('postgres', q(SELECT count(*), count(body -> 'erased') FROM eb.consume('q', 50))),
	'50|0', 'and messages find their events');
$node->safe_psql('postgres', q(SELECT eb.put_event('shop', 't', '{"n": 601}', 'b')));

# one archive alone, into another database
my $file = "$dir/orders.copy";
$node->safe_psql('postgres', qq(\\copy (SELECT * FROM eb.archived_events('orders')) TO '$file'));
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql(
	'elsewhere', qq(
	CREATE EXTENSION pg_eventbus;
	SELECT eb.create_bus('c');
	SELECT eb.create_archive('orders', 'c');
	CREATE TABLE staged OF eb.event;
	\\copy staged FROM '$file'
	));
is($node->safe_psql('elsewhere', q(SELECT eb.import_events('orders', 'staged'))), 401, 'all events are imported');
is($node->safe_psql('elsewhere', q(SELECT eb.import_events('orders', 'staged'))), 0, 'once');
my $columns = 'id, source, detail_type, time, ingested_at, resources, detail, headers, group_key, correlation_id';
my $sum = "SELECT md5(string_agg(e::text, ' ')) FROM (SELECT $columns FROM eb.archived_events('orders') ORDER BY id) e";
is($node->safe_psql('elsewhere', $sum), $node->safe_psql('postgres', $sum), 'and they are the same');
$node->safe_psql('elsewhere', q(SELECT eb.create_queue('q'); SELECT eb.start_replay('r', 'orders', to_queue => 'q'); CALL eb.run_replay('r')));
is($node->safe_psql('elsewhere', q(SELECT count(DISTINCT event_id) FROM eb.q_q)), 401, 'a replay delivers them');
$node->safe_psql('elsewhere', q(SELECT eb.create_subscription('s', 'c', start => 'earliest'); SELECT eb.put_event('shop', 't', '{"n": 602}', 'c')));
is($node->safe_psql('elsewhere', q(SELECT count(*), max((detail ->> 'n')::int) FROM eb.read('s', 1000))), '402|602', 'a subscription reads them, then what is new');
$node->stop('fast');
done_testing();
