# Partitions of the log: closed ones get their index and are frozen, expired ones go, and what a queue still names stays whole.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('retention', conf => "eb.maintenance_interval = '1s'\n");
workers_run($node, 'postgres');
my $at = sub { $node->safe_psql('postgres', "ALTER SYSTEM SET eb.clock_offset = '$_[0]'; SELECT pg_reload_conf()"); };

$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b', '2 hours');
	SELECT eb.create_queue('q', retention => '1 hour');
	SELECT eb.put_rule('r', '{"source": ["s"]}', 'b');
	SELECT eb.put_target('r', queue => 'q', bus => 'b');
	SELECT count(eb.put_event('s', 't', jsonb_build_object('n', n), 'b')) FROM generate_series(1, 700) n;
	SELECT eb.update_queue('q', retention => '100 days');));
my $first = $node->safe_psql('postgres', 'SELECT tableoid::regclass FROM eb.events LIMIT 1');

# an hour later nobody writes to it any more
$at->('61min');
ok( $node->poll_query_until(
		'postgres', "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
			WHERE i.indrelid = '$first'::regclass AND a.amname = 'btree')"),
	'a closed partition gets a btree on id');
ok( $node->poll_query_until(
		'postgres', "SELECT relallvisible > 0 AND relallvisible = relpages FROM pg_class WHERE oid = '$first'::regclass"),
	'and is frozen');
is($node->safe_psql('postgres', 'SELECT count(*) FROM eb.workers WHERE restarts > 0'), 0, 'no worker was lost over it');

# an open transaction that published keeps its partition
my $open = $node->background_psql('postgres');
$open->query_safe(q(SET eb.clock_offset = '0'));
$open->query_safe(q(BEGIN; SELECT eb.put_event('other', 't', '{}', 'b')));
$at->('8h');
$node->safe_psql('postgres', q(SELECT eb.put_event('other', 't', '{}', 'b')));
ok( $node->poll_query_until(
		'postgres', "SELECT obj_description('$first'::regclass, 'pg_class') LIKE 'Expired%'"),
	'an expired partition is marked');
is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM $first"), 't', 'and waits for a publisher that is open');
$open->query_safe('COMMIT');
$open->quit;
$node->safe_psql('postgres', q(SELECT eb.put_event('other', 't', '{}', 'b')));
ok($node->poll_query_until('postgres', "SELECT to_regclass('$first') IS NULL"), 'then it goes');

# messages that named its events have their bodies
is( $node->safe_psql(
		'postgres', q(SELECT count(*), count(DISTINCT body -> 'detail' -> 'n'), count(body -> 'erased') FROM eb.consume('q', 10000))),
	'700|700|0', 'what waits in a queue is still whole');
is($node->safe_psql('postgres', 'SELECT count(*) FROM eb.workers WHERE restarts > 0'), 0, 'no worker was lost over that');
$node->stop('fast');
done_testing();
