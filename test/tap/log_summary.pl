# The maintainer summarizes the log's partitions while they grow; vacuum in the way makes no put wait, and the rest comes later.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('summary', conf => "autovacuum = off\neb.maintenance_interval = 1d\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_bus('grow')));

# Two ranges and a half a call, of seven events to a block.
sub grow
{
	$node->safe_psql('postgres', q(SELECT count(eb.put_event('shop', 'Grown',
		jsonb_build_object('n', n, 'text', repeat(md5(n::text), 33)), 'grow')) FROM generate_series(1, 1120) n));
}
grow() for 1 .. 2;
my $leaf = $node->safe_psql('postgres', q(SELECT tableoid::regclass FROM eb.events LIMIT 1));
my $index = $node->safe_psql('postgres', qq(SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '$leaf'::regclass));
$node->safe_psql('postgres', q(CREATE EXTENSION pageinspect));

# Ranges that have a summary, from the index's pages.
my $summarized = qq(SELECT count(*) FROM generate_series(1, pg_relation_size('$index') / 8192 - 1) p,
	brin_page_items(get_raw_page('$index', p::int), '$index') i
	WHERE brin_page_type(get_raw_page('$index', p::int)) = 'regular' AND NOT i.placeholder);

sub before_tail
{
	return $node->safe_psql('postgres', qq(SELECT pg_relation_size('$leaf') / 8192 / 64 - 2));
}
my $ranges = before_tail();
ok($ranges >= 3, 'the log has grown');
ok($node->poll_query_until('postgres', "SELECT ($summarized) >= $ranges"), 'and is summarized but for the last ranges');

my $vacuum = $node->background_psql('postgres');
$vacuum->query_safe('BEGIN');
$vacuum->query_safe("LOCK TABLE $leaf IN SHARE UPDATE EXCLUSIVE MODE");
my $had = $node->safe_psql('postgres', $summarized);
grow() for 1 .. 2;
is($node->safe_psql('postgres', $summarized), $had, 'puts do not wait for vacuum');
$vacuum->query_safe('COMMIT');
$vacuum->quit;
grow();
$ranges = before_tail();
ok($node->poll_query_until('postgres', "SELECT ($summarized) >= $ranges"), 'what was missed is made up for');
$node->stop('fast');
done_testing();
