# A publisher that is put to sleep between choosing its page and writing to it writes far behind the end of the log, into
# blocks that a reader has looked into already and would not look into again.  It says so, and the reader does.
use strict;
use warnings;
use EventBus;
use Test::More;

my $node = new_server('late', conf => "autovacuum = off\neb.workers_enabled = off\n");
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('log');
	SELECT eb.create_subscription('all', 'log', start => 'earliest');
	CREATE FUNCTION put(what text, n int) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(eb.put_event('shop', what, jsonb_build_object('text', repeat(md5(i::text), 30)), 'log')) FROM generate_series(1, n) i
	$$;
	SELECT put('First', 1);));
my $leaf = $node->safe_psql('postgres', q(SELECT tableoid::regclass FROM eb.events LIMIT 1));

my $reader = $node->background_psql('postgres');
my $other = $node->background_psql('postgres');
my $sleeper = $node->background_psql('postgres');

# What the subscription has for its reader, in order; all of it is committed.
sub read_all
{
	my $out = $reader->query_safe(
		q(SELECT string_agg(DISTINCT detail_type, ' ' ORDER BY detail_type) FROM eb.read('all', 100000);
		SELECT eb.commit('all', max(id::text)::uuid) FROM eb.read('all', 100000);));
	return (split /\n/, $out)[0];
}
read_all();

# The sleeper's statement begins right after its last put, so it does not look where the log ends; it puts only when others
# have gone on.  A machine may be too slow for that at times: then it looks, and its event is at the end.
my $late = 0;
my $seen = 0;
my $rounds = 0;
while ($late < 3 && $rounds < 200)
{
	$rounds++;
	$other->query_safe('SELECT pg_advisory_lock(1)');
	$sleeper->query_until(
		qr/asleep/, q(
		\echo asleep
		SELECT put('Early', 1);
		SELECT eb.put_event('shop', 'Late', '{}', 'log') FROM pg_advisory_xact_lock(1);
		));
	$node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)));
	$other->query_safe(q(SELECT put('Other', 800)));
	my $before = read_all();
	$other->query_safe('SELECT pg_advisory_unlock(1)');
	$sleeper->query_safe('SELECT 1');
	my $blocks = $node->safe_psql('postgres',
		qq(SELECT (pg_relation_size('$leaf') / 8192 - (ctid::text::point)[0])::int FROM $leaf WHERE detail_type = 'Late' ORDER BY id DESC LIMIT 1));
	my $read = read_all();
	$seen++ if $before eq 'Early Other' && $read eq 'Late';
	$late++ if $blocks > 64;
}
cmp_ok($late, '>=', 3, 'events were written far behind the end of the log');
is($seen, $rounds, 'the reader has got each of them');
$_->quit for $reader, $other, $sleeper;
$node->stop('fast');
done_testing();
