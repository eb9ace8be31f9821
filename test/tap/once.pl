# Effects happen once: many clients pass the same keys on both sides of a border between windows, roll back and crash, and
# every key has exactly one effect; dumps carry what is remembered; the maintainer empties what has expired.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('once', conf => "eb.maintenance_interval = 1\nmax_prepared_transactions = 5\n");
my $keys = 3000;

# A session's clock stands 20 s before or after the border that comes after the next one.
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_consumer('c', '1 hour');
	CREATE TABLE effects (k integer, client integer);
	CREATE FUNCTION near_border(client integer) RETURNS text LANGUAGE sql AS $$
		SELECT set_config('eb.clock_offset', (1000 * ((floor(extract(epoch FROM n) / 5400) + 2) * 5400
			+ CASE client % 2 WHEN 0 THEN -20 ELSE 20 END - extract(epoch FROM n)))::integer::text, true)
		FROM (SELECT clock_timestamp() - timestamptz '2000-01-01 00:00+00') t (n) $$;
	CREATE FUNCTION pass(k integer, client integer) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM near_border(client);
		IF eb.process_once('c', 'key ' || k) THEN
			INSERT INTO effects VALUES (k, client);
		END IF;
	END $$;));

# Neighbours in time take neighbouring keys, so that races are many.
my $script = qq(
\\set k (:i * 7 + random(0, 3)) % $keys
\\set i :i + 1
\\set fate random(1, 4)
BEGIN;
SELECT pass(:k, :client_id);
\\if :fate = 1
ROLLBACK;
\\else
COMMIT;
\\endif
);

sub check
{
	my ($what) = @_;
	is($node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT k FROM effects GROUP BY k HAVING count(*) > 1) twice)),
		'0', "$what: no key has two effects");
	is( $node->safe_psql('postgres', q(
			BEGIN;
			SELECT near_border(1);
			SELECT count(*) FROM generate_series(0, 2999) k
			WHERE eb.process_once('c', 'key ' || k) = EXISTS (SELECT FROM effects e WHERE e.k = k.k);
			ROLLBACK)) =~ /(\d+)$/ && $1, '0', "$what: what is remembered is what was done");
}

sub run_load
{
	my ($seconds) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/pass.sql';
	open my $f, '>', $file or die $!;
	print $f $script;
	close $f;
	return [ 'pgbench', '-n', '-c', 12, '-j', 2, '-T', $seconds, '-D', 'i=0', '-f', $file, '-h', $node->host, '-p', $node->port, 'postgres' ];
}

my ($out, $err) = run_command(run_load(8));
like($out, qr/number of transactions actually processed: [1-9]\d\d/, 'load ran');
unlike("$out$err", qr/deadlock|ERROR/, 'nobody waited in a circle');
is($node->safe_psql('postgres', q(SELECT count(DISTINCT client % 2) FROM effects)), '2', 'clients on both sides were first');
check('after the load');

# A crash in the middle.
$node->safe_psql('postgres', 'TRUNCATE effects; SELECT eb.drop_consumer(\'c\'); SELECT eb.create_consumer(\'c\', \'1 hour\')');
my $load = IPC::Run::start(run_load(20), '>', \my $o, '2>', \my $e);
poll_sql($node, 'postgres', 'SELECT count(*) > 200 FROM effects');
$node->stop('immediate');
eval { $load->finish };
$node->start;
check('after a crash');

# A prepared transaction holds its key like an open one.
$node->safe_psql('postgres', q(BEGIN; SELECT eb.process_once('c', 'prepared'); PREPARE TRANSACTION 'p'));
my ($rc, undef, $waited) = $node->psql('postgres', q(SET lock_timeout = '200ms'; SELECT eb.process_once('c', 'prepared')));
like($waited, qr/lock timeout/, 'a prepared key is waited for');
$node->safe_psql('postgres', q(COMMIT PREPARED 'p'));
is($node->safe_psql('postgres', q(SELECT eb.process_once('c', 'prepared'))), 'f', 'and known once it is committed');

# Dump and restore.
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_bus('b');
	SELECT eb.put_event('s', 't', '{}', bus => 'b', dedup_id => 'd');
	SELECT eb.begin_processing('c', 'lease', '1 hour', 'hash');
	CREATE ROLE once_user; GRANT INSERT ON eb.consumer_c TO once_user;));
my $first = $node->safe_psql('postgres', q(SELECT id FROM eb.bus_b));
my $file = PostgreSQL::Test::Utils::tempdir() . '/once_dump';
command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '-1', '-d', $node->connstr('restored'), $file ], 'pg_restore');
is($node->safe_psql('restored', q(SELECT eb.process_once('c', 'prepared'), eb.process_once('c', 'new'))), 'f|t', 'keys are known there');
is($node->safe_psql('restored', q(SET ROLE once_user; SELECT state, attempt FROM eb.begin_processing('c', 'lease', payload_hash => 'hash'))),
	'in_progress|1', 'leases and privileges, too');
is($node->safe_psql('restored', q(SELECT eb.put_event('s', 't', '{}', bus => 'b', dedup_id => 'd'))), $first, 'and dedup ids');

# DROP EXTENSION refuses, and takes all with CASCADE.
isnt($node->psql('restored', 'DROP EXTENSION pg_eventbus'), 0, 'DROP EXTENSION refuses');
$node->safe_psql('restored', 'DROP EXTENSION pg_eventbus CASCADE');
is($node->safe_psql('restored', q(SELECT count(*) FROM pg_class WHERE relname ~ '^(once|dedup|consumer)_')), '0', 'CASCADE leaves nothing');

# The maintainer gives the space back once all has expired, with no row deleted.
$node->safe_psql(
	'postgres', q(
	SELECT eb.create_consumer('short', '1 second');
	SELECT count(eb.process_once('short', 'k' || i)) FROM generate_series(1, 20000) i;));
my $sizes = q(SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relname ~ '^once_short\$.$');
cmp_ok($node->safe_psql('postgres', $sizes), '>', 1000000, 'keys take space');
# its windows are 90 minutes long (a lease may last an hour): to where the next one leaves time for it
my $offset = $node->safe_psql('postgres', q(SELECT (1000 * ((floor(extract(epoch FROM n) / 5400) + 1) * 5400 + 3700 - extract(epoch FROM n)))::integer
	FROM (SELECT clock_timestamp() - timestamptz '2000-01-01 00:00+00') t (n)));
$node->append_conf('postgresql.conf', "eb.clock_offset = $offset");
$node->reload;
poll_sql($node, 'postgres', q(SELECT eb.clock() > now() + interval '61 minutes'));
$node->safe_psql('postgres', q(SELECT eb.process_once('short', 'again')));
poll_sql($node, 'postgres', "SELECT ($sizes) < 200000");
cmp_ok($node->safe_psql('postgres', $sizes), '<', 200000, 'the maintainer gave it back');
is($node->safe_psql('postgres', q(SELECT sum(n_dead_tup) < 100 FROM pg_stat_all_tables WHERE relname ~ '^once_short\$.$')), 't',
	'without dead rows');
$node->stop;
done_testing();
