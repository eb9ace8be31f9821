# A long reader of the whole log (a dump, a report) holds up the removal of a partition, but neither publishers nor
# anything else, and no events are lost to it; when it is done the removal goes on where it was.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('reader', conf => "eb.maintenance_interval = 1s\n");
workers_run($node, 'postgres');
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('short', retention => '1 hour');
	SELECT eb.put_event('load', 'Load', jsonb_build_object('n', i), bus => 'short') FROM generate_series(1, 100) i;));
my $leaf = $node->safe_psql('postgres', 'SELECT tableoid::regclass FROM eb.events LIMIT 1');

my $reader = Listener->new($node, 'postgres', 'unused');
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is_deeply([ $reader->query('SELECT count(*) FROM eb.events') ], [100], 'a reader');
$node->append_conf('postgresql.conf', "eb.clock_offset = 5h\n");
$node->reload;
$node->safe_psql('postgres', q(SELECT eb.create_queue('poke'); SELECT eb.send('poke', '1')));
ok($node->poll_query_until('postgres', "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = '$leaf'::regclass"),
	'the expired partition is being detached');
is_deeply([ $reader->query('SELECT count(*) FROM eb.events') ], [100], 'the reader still has it');
$node->safe_psql('postgres', q(SELECT eb.put_event('load', 'Now', '{}', bus => 'short')));
is($node->safe_psql('postgres', 'SELECT count(*) FROM eb.events'), '1', 'others have not, and go on publishing');

# The maintainer gives up for now, and looks after other things.
ok($node->poll_query_until('postgres', q(SELECT last_error LIKE '%lock timeout%' FROM eb.workers WHERE worker = 'maintainer')),
	'the maintainer does not wait for ever');
$reader->query('COMMIT');
ok($node->poll_query_until('postgres', "SELECT to_regclass('$leaf') IS NULL"), 'removed when the reader is done');
$reader->finish;

# Somebody's own detached partition is left alone.
$node->safe_psql('postgres', q(SELECT eb.put_event('load', 'Kept', '{}', bus => 'short')));
$leaf = $node->safe_psql('postgres', 'SELECT tableoid::regclass FROM eb.events LIMIT 1');
my $parent = $node->safe_psql('postgres', "SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = '$leaf'::regclass");
$node->safe_psql('postgres', "ALTER TABLE $parent DETACH PARTITION $leaf");
$node->append_conf('postgresql.conf', "eb.clock_offset = 10h\n");
$node->reload;
$node->safe_psql('postgres', q(SELECT eb.put_event('load', 'Later', '{}', bus => 'short')));
my $first = $node->safe_psql('postgres', 'SELECT tableoid::regclass FROM eb.events LIMIT 1');
$node->append_conf('postgresql.conf', "eb.clock_offset = 15h\n");
$node->reload;
$node->safe_psql('postgres', q(SELECT eb.send('poke', '1')));
ok($node->poll_query_until('postgres', "SELECT to_regclass('$first') IS NULL"), 'another partition goes');
is($node->safe_psql('postgres', "SELECT count(*) FROM $leaf"), '2', 'one that was detached by hand stays');
$node->stop('fast');
done_testing();
