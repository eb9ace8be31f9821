# Two databases at once, with the same names in them, have nothing to do with each other; a database made from another as
# its template has its queues, and a database can be dropped while its workers run.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('databases');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(one two);
for my $db (qw(one two))
{
	$node->safe_psql($db, 'CREATE EXTENSION pg_eventbus; CREATE TABLE took (n int)');
	feed($node, $db, 'jobs', 'load');
}
my $put = q(
\set n random(1, 1000000)
select eb.put_event('load', 'Load', jsonb_build_object('db', current_database(), 'n', :n));
);
my $take = q(
insert into took select (body->'detail'->>'n')::int from eb.consume('jobs', 5) where body->'detail'->>'db' = current_database();
);
my @loads = map { (load_start($node, $_, "put_$_", 2, 3, $put), load_start($node, $_, "take_$_", 2, 3, $take)) } qw(one two);
unlike(join('', map { load_finish($_) } @loads), qr/ERROR|FATAL/, 'load on both without an error');
for my $db (qw(one two))
{
	$node->safe_psql($db, $take =~ s/, 5/, 100000/r);
	is($node->safe_psql($db, q(SELECT (SELECT count(*) FROM took) = (SELECT count(*) FROM eb.events))), 't',
		"$db consumed its own events, all of them");
}

# From a template.
$node->safe_psql('one', q(SELECT eb.put_event('load', 'Kept', '{"n": 1}')));
ok(poll_sql($node, 'postgres', q(
	SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'one' AND backend_type = 'client backend')), 'nobody is in one');
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE DATABASE copy TEMPLATE one');
is($rc, 0, 'CREATE DATABASE from a template that has the extension, workers running') or diag $err;
is($node->safe_psql('copy', q(SELECT body->>'detail-type' FROM eb.consume('jobs', 10))), 'Kept', 'the copy has the message');
is($node->safe_psql('one', q(SELECT body->>'detail-type' FROM eb.consume('jobs', 10))), 'Kept', 'and so has the original');
($rc, $out, $err) = $node->psql('one', 'CREATE DATABASE own_copy TEMPLATE one');
is($rc, 0, 'CREATE DATABASE from the current database') or diag $err;

# Dropped while its workers run.
($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE copy');
is($rc, 0, 'DROP DATABASE') or diag $err;
$node->safe_psql('two', 'DROP EXTENSION pg_eventbus CASCADE');
is($node->safe_psql('two', q(SELECT count(*) FROM pg_namespace WHERE nspname = 'eb')), '0', 'DROP EXTENSION CASCADE leaves no schema behind');
$node->safe_psql('two', 'CREATE EXTENSION pg_eventbus');
feed($node, 'two', 'jobs', 'load');
is($node->safe_psql('two', q(SELECT eb.put_event('load', 'Again', '{}') IS NOT NULL; SELECT body->>'detail-type' FROM eb.consume('jobs', 10))),
	"t\nAgain", 'and it can be made again');
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal (6|11)/, 'nothing crashed');
done_testing();
