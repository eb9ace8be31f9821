# A partition that is closed gets its index on id and is frozen, once; the open one has neither.  Texts that no btree takes
# do not keep it from that.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('closed', conf => "eb.maintenance_interval = 1s\nautovacuum = off\n");
workers_run($node, 'postgres');
feed_short($node, '2 days', '1 day');
$node->safe_psql(
	'postgres', q(
	SELECT eb.put_event('load', 'Load', jsonb_build_object('n', i), bus => 'short') FROM generate_series(1, 3000) i;
	CREATE FUNCTION long(what text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5(what || n), '') FROM generate_series(1, 300) n $$;
	SELECT eb.put_event(long('source'), 'Load', '{"n": 0}', bus => 'short', correlation_id => long('correlation'));));
my $leaf = $node->safe_psql('postgres', 'SELECT tableoid::regclass FROM eb.events LIMIT 1');
my $index = "SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam
	WHERE indrelid = '%s'::regclass AND amname = 'btree' AND pg_get_indexdef(indexrelid, 1, true) = 'id'";
is($node->safe_psql('postgres', sprintf($index, $leaf)), '0', 'no btree while it is open');

$node->append_conf('postgresql.conf', "eb.clock_offset = 2h\n");
$node->reload;
$node->safe_psql('postgres', q(SELECT eb.put_event('load', 'Load', '{"n": 0}', bus => 'short')));
ok($node->poll_query_until('postgres', sprintf("SELECT ($index) = 1", $leaf)), 'a btree when it is closed');
ok( $node->poll_query_until('postgres', "SELECT relallvisible >= relpages AND relpages > 0 AND age(relfrozenxid) < 100
		FROM pg_class WHERE oid = '$leaf'::regclass"), 'and it is frozen');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.trace(long('correlation')))), '1', 'an event of a long correlation id is found');
unlike($node->safe_psql('postgres', q(SELECT string_agg(last_error, '') FROM eb.workers)), qr/index row/, 'and no worker complains');
my $open = $node->safe_psql('postgres', q(SELECT tableoid::regclass FROM eb.events ORDER BY id DESC LIMIT 1));
isnt($open, $leaf, 'the open partition');
is($node->safe_psql('postgres', sprintf($index, $open)), '0', 'has none');

# Events are found by their pointers, and by id where those have moved.
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.consume('jobs', 10) WHERE body ? 'detail' AND NOT body ? 'erased')), '10', 'by pointer');
$node->safe_psql('postgres', "DELETE FROM $leaf WHERE (detail->>'n')::int % 2 = 1; VACUUM FULL $leaf");
is($node->safe_psql('postgres', q(SELECT count(*) FILTER (WHERE NOT body ? 'erased') > 900, count(*) FROM eb.consume('jobs', 2000))),
	't|2000', 'by id');
$node->stop('fast');
done_testing();
