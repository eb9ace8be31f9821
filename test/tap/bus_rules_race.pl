# A put obeys the rules as they were committed before it began, and no others, while eight sessions change one bus's rules and
# put events to it as fast as they can: with room for the compiled rules in shared memory, without, and without preload.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Each client has a rule of its own for a source that nobody else has had; division by zero tells of a wrong match.
my $script = q(
\set a random(1, 1000000000)
\set b random(1, 1000000000)
SELECT eb.put_rule('c' || :client_id, jsonb_build_object('source', jsonb_build_array('a' || :a)), bus => 'race');
SELECT 1 / (matched = 1)::int FROM eb.put_events(jsonb_build_array(jsonb_build_object('source', 'a' || :a, 'detail-type', 't', 'detail', jsonb_build_object())), 'race');
SELECT eb.put_rule('c' || :client_id, jsonb_build_object('source', jsonb_build_array('b' || :b)), bus => 'race');
SELECT 1 / (matched = 0)::int FROM eb.put_events(jsonb_build_array(jsonb_build_object('source', 'a' || :a, 'detail-type', 't', 'detail', jsonb_build_object())), 'race');
BEGIN;
SELECT eb.put_rule('c' || :client_id, jsonb_build_object('source', jsonb_build_array('a' || :a)), bus => 'race');
SELECT 1 / (matched = 1)::int FROM eb.put_events(jsonb_build_array(jsonb_build_object('source', 'a' || :a, 'detail-type', 't', 'detail', jsonb_build_object())), 'race');
ROLLBACK;
SELECT 1 / (matched = 1)::int FROM eb.put_events(jsonb_build_array(jsonb_build_object('source', 'b' || :b, 'detail-type', 't', 'detail', jsonb_build_object())), 'race');
);

sub race
{
	my ($node, $what) = @_;
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM eb.bus_race');
	my $changers = load_start($node, 'postgres', 'rules', 8, 6, $script);
	my $putters = load_start($node, 'postgres', 'puts', 2, 6, q(SELECT eb.put_event('other', 't', '{}', bus => 'race');));
	unlike(load_finish($changers), qr/ERROR|FATAL|aborted/, "$what: rules are obeyed");
	unlike(load_finish($putters), qr/ERROR|FATAL|aborted/, "$what: others put");
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM eb.bus_race'), '>', $before, "$what: events were put");
	return;
}

my $node = new_server('rules_race');
$node->safe_psql('postgres', q(SELECT eb.create_bus('race')));
race($node, 'shared');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.rule_status WHERE bus = 'race' AND matched > 0)), 8, 'shared sets count');

# 3,000 rules more do not fit into the least that can be set
$node->safe_psql(
	'postgres', q(
	SELECT count(eb.put_rule('many' || n, jsonb_build_object('detail', jsonb_build_object('n', jsonb_build_array(n),
		'text', jsonb_build_array(repeat('x', 300) || n))), bus => 'race')) FROM generate_series(1, 3000) n));
$node->append_conf('postgresql.conf', "eb.rule_cache_size = 1MB\n");
$node->reload;
race($node, 'no room');

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
$node->safe_psql('postgres', q(SELECT count(eb.delete_rule('many' || n, 'race')) FROM generate_series(1, 3000) n));
race($node, 'without preload');

$node->stop('fast');
done_testing();
