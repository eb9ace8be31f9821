# A standby refuses what it cannot do, in plain words; promoted under load, it holds every event that its copy of the
# publisher's table has, delivers each exactly once to a consumer in transaction mode, and goes on.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_server('primary', allows_streaming => 1);
feed($primary, 'postgres', 'jobs', 'load');
$primary->safe_psql('postgres', 'CREATE TABLE sent (n bigserial); CREATE TABLE taken (n bigint)');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', q(
	SELECT eb.create_consumer('old');
	SELECT eb.create_archive('kept');
	SELECT eb.create_queue('again');
	SELECT eb.start_replay('held', 'kept', to_queue => 'again')));
$primary->safe_psql('postgres', q(
	SELECT eb.put_event('load', 'First', '{"n": 0}');
	SELECT receipt FROM eb.receive('jobs', 1, interval '1 second')));
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my ($rc, $out, $err) = $standby->psql('postgres', q(SELECT eb.put_event('load', 'X', '{}')));
like($err, qr/ERROR:  cannot execute .* (during recovery|in a read-only transaction)/, 'put_event on a standby');
($rc, $out, $err) = $standby->psql('postgres', q(SELECT * FROM eb.receive('jobs', 1)));
like($err, qr/ERROR:  cannot execute .* (during recovery|in a read-only transaction)/, 'receive on a standby');
($rc, $out, $err) = $standby->psql('postgres', q(SELECT * FROM eb.consume('jobs', 1)));
like($err, qr/ERROR:  cannot execute .* (during recovery|in a read-only transaction)/, 'consume on a standby');
is($standby->safe_psql('postgres', q(SELECT queue FROM eb.queue_status WHERE queue = 'jobs')), 'jobs', 'status can be read there');
is($standby->safe_psql('postgres', q(SELECT body->'detail'->>'n' FROM eb.queue_jobs)), '0', 'the view shows messages with their events');
is($standby->safe_psql('postgres', q(SET eb.clock_offset = '1 h'; SELECT body->'detail'->>'n', receipt IS NULL FROM eb.peek('jobs'))), '0|t',
	'and so does peek');
($rc, $out, $err) = $standby->psql('postgres', q(INSERT INTO eb.queue_jobs (body) VALUES ('1')));
like($err, qr/ERROR:  cannot execute .* (during recovery|in a read-only transaction)/, 'but nothing is sent through the view');
for my $call ("purge('jobs')", "redrive('jobs_dlq')", "create_queue('x')", "drop_queue('jobs')", "pause_queue('jobs')",
	"create_consumer('x')", "update_consumer('old', '1 day')", "drop_consumer('old')")
{
	($rc, $out, $err) = $standby->psql('postgres', "SELECT eb.$call");
	like($err, qr/ERROR:  cannot execute .* (during recovery|in a read-only transaction)/, "$call on a standby");
}
($rc, $out, $err) = $standby->psql('postgres', q(CALL eb.run_replay('held')));
like($err, qr/ERROR:  cannot execute CALL eb.run_replay in a read-only transaction/, 'a replay on a standby');

my $put = q(
begin;
insert into sent default values returning n \gset
select eb.put_event('load', 'Load', jsonb_build_object('n', :n));
commit;
);
my $take = q(insert into taken select (body->'detail'->>'n')::bigint from eb.consume('jobs', 3););
my @loads = (
	load_start($primary, 'postgres', 'put', 3, 30, $put),
	load_start($primary, 'postgres', 'take', 1, 30, $take));
poll_sql($standby, 'postgres', 'SELECT count(*) > 300 FROM sent') or die "no load arrives at the standby";
$standby->promote;
$primary->kill9;
load_finish($_) for @loads;

my @after = (load_start($standby, 'postgres', 'put', 3, 2, $put), load_start($standby, 'postgres', 'take', 2, 2, $take));
my $errors = join '', map { load_finish($_) } @after;
unlike($errors, qr/ERROR|FATAL/, 'puts and consumes go on after the promotion');
$standby->safe_psql('postgres', $take) for 1 .. 3;
poll_sql($standby, 'postgres', q(
	WITH t AS (INSERT INTO taken SELECT (body->'detail'->>'n')::bigint FROM eb.consume('jobs', 10000) RETURNING 1)
	SELECT ready + in_flight + delayed = 0 FROM eb.queue_status WHERE queue = 'jobs')) or die "the queue does not run dry";
is($standby->safe_psql('postgres', 'SELECT n FROM sent EXCEPT SELECT n FROM taken'), '', 'every event that it has was consumed');
is($standby->safe_psql('postgres', 'SELECT n FROM taken WHERE n > 0 EXCEPT SELECT n FROM sent'), '', 'and no other');
is($standby->safe_psql('postgres', 'SELECT n FROM taken GROUP BY n HAVING count(*) > 1'), '', 'none twice');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM taken WHERE n = 0'), '1', 'the lease of before the promotion ran out there');
$standby->stop;
done_testing();
