# An event is found through its partition's BRIN index whoever summarizes the index, and when: vacuum and users do so while
# events are put, and a put looks by itself whether its range has a summary.
use strict;
use warnings;
use EventBus;
use Test::More;

my $node = new_server('indexed', conf => "autovacuum = off\neb.workers_enabled = off\n");
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('log');
	CREATE FUNCTION put(n int) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(eb.put_event('shop', 'Put', jsonb_build_object('text', repeat(md5(i::text), 30)), 'log')) FROM generate_series(1, n) i
	$$;

	-- Events of a partition that its index does not find.
	CREATE FUNCTION lost(leaf regclass) RETURNS bigint LANGUAGE plpgsql SET enable_seqscan = off SET enable_indexscan = off AS $$
	DECLARE
		wanted uuid;
		n bigint;
		result bigint = 0;
	BEGIN
		FOR wanted IN EXECUTE format('SELECT id FROM %s WHERE id IS NOT NULL', leaf) LOOP
			EXECUTE format('SELECT count(*) FROM %s WHERE id = $1', leaf) INTO n USING wanted;
			result = result + (n <> 1)::int;
		END LOOP;
		RETURN result;
	END
	$$;
	SELECT put(10)));
my $leaf = $node->safe_psql('postgres', q(SELECT tableoid::regclass FROM eb.events LIMIT 1));
my $index = $node->safe_psql('postgres', qq(SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '$leaf'::regclass));
like($node->safe_psql('postgres', qq(SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT count(*) FROM $leaf WHERE id = '01a20d6b-5fc7-7bc0-8004-c3a5eee63f14')),
	qr/Bitmap Index Scan on events_/, 'the index is used');

sub none_lost
{
	my ($what) = @_;
	is($node->safe_psql('postgres', "SELECT lost('$leaf')"), '0', $what);
}

# One backend puts all the while: it has seen the range without a summary, then it is given one by another.
my $putter = $node->background_psql('postgres');
my $summarize = "SELECT brin_summarize_new_values('$index')";

sub put_around_summary
{
	my ($n, $what) = @_;
	$putter->query_safe("SELECT put($n)");
	$node->safe_psql('postgres', $summarize);
	$putter->query_safe("SELECT put($n)");
	none_lost($what);
	return;
}
$putter->query_safe('SELECT put(450 + 20)');
$putter->query_safe('SELECT put(20)');
is($node->safe_psql('postgres', "SELECT pg_relation_size('$leaf') / 8192 / 64"), '1', 'a second range has been begun');
cmp_ok($node->safe_psql('postgres', $summarize), '>', 0, 'and is summarized half full');
$putter->query_safe('SELECT put(20)');
none_lost('what is put into a range after it was summarized');
$node->safe_psql('postgres', "SELECT brin_desummarize_range('$index', 64)");
put_around_summary(20, 'the same once more after it had lost its summary');

# Ranges of another size, which hold from REINDEX on.
$node->safe_psql('postgres', "ALTER INDEX $index SET (pages_per_range = 4)");
put_around_summary(20, 'an index with an option that it was not made with');
$node->safe_psql('postgres', "REINDEX INDEX $index");
put_around_summary(60, 'an index that was made anew');
$node->safe_psql('postgres', "ALTER INDEX $index SET (pages_per_range = 64)");
$node->safe_psql('postgres', "REINDEX INDEX CONCURRENTLY $index");
put_around_summary(20, 'an index that was made anew while others wrote');
$putter->quit;

# All at once: summaries come and go while rows are written.
my $put = load_start($node, 'postgres', 'put', 4, 4, 'SELECT put(1)');
my $again = load_start(
	$node, 'postgres', 'summaries', 2, 4, qq(
	SELECT brin_desummarize_range('$index', (pg_relation_size('$leaf') / 8192 - random() * 64)::int) FROM generate_series(1, (random() * 2)::int);
	SELECT brin_summarize_new_values('$index');));
is(load_finish($put),   '', 'puts succeed');
is(load_finish($again), '', 'summaries are made and dropped');
none_lost('what was put meanwhile');
$node->stop('fast');
done_testing();
