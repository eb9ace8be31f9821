# Whatever moment the server is killed at: every committed event is delivered, nothing is consumed twice in transaction
# mode, and nothing that was acked comes back.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{EB_CRASH_ROUNDS} // 20;
my $node = new_server('crash', conf => "wal_level = minimal\nmax_wal_senders = 0\nlog_min_messages = warning\n");
feed($node, 'postgres', $_, 'load', "visibility_timeout => '1 second', max_receive_count => 1000") for qw(taken leased);
feed($node, 'postgres', 'ordered', 'load', "fifo => true, max_receive_count => 1000");
$node->safe_psql(
	'postgres', q(
	CREATE SEQUENCE number;
	CREATE TABLE sent (n int);                                      -- written with the put
	CREATE TABLE taken (n int);                                     -- written with the consume
	CREATE TABLE in_order (seq bigserial, g text, n int);           -- the same, from the FIFO queue
	CREATE TABLE seen (seq bigserial, message_id bigint, receipt text, n int);   -- written with the receive
	CREATE TABLE acked (seq bigint DEFAULT nextval('seen_seq_seq'), receipt text)));    # with the ack

my $put = q(
begin;
select nextval('number') as n \gset
insert into sent values (:n);
select eb.put_event('load', 'Load', jsonb_build_object('n', :n), group_key => 'g' || :n % 3);
commit;
);
my $consume = q(
begin;
insert into taken select (body->'detail'->>'n')::int from eb.consume('taken', 5);
commit;
);
my $ordered = q(
begin;
insert into in_order (g, n) select group_id, (body->'detail'->>'n')::int from eb.consume('ordered', 2);
commit;
);
my $lease = q(
with m as (select * from eb.receive('leased', 5)),
     s as (insert into seen (message_id, receipt, n) select message_id, receipt, (body->'detail'->>'n')::int from m)
select quote_literal(coalesce(string_agg(receipt, ','), '')) as receipts from m \gset
begin;
insert into acked (receipt) select receipt from eb.ack('leased', string_to_array(:receipts, ',')) where result = 'done';
commit;
);

my $alive = 0;
for my $round (1 .. $rounds)
{
	my @loads = (
		load_start($node, 'postgres', 'put', 2, 60, $put),
		load_start($node, 'postgres', 'consume', 2, 60, $consume),
		load_start($node, 'postgres', 'ordered', 2, 60, $ordered),
		load_start($node, 'postgres', 'lease', 2, 60, $lease));
	# a moment that differs from round to round, but not from run to run
	select undef, undef, undef, 0.3 + ($round * 7 % 10) / 15;
	$node->kill9;
	my $errors = join '', map { load_finish($_) } @loads;
	my @odd = grep { /ERROR/ and not /terminat|connection|recovery/ } split /\n/, $errors;
	is("@odd", '', "round $round: no error before the crash") if @odd;
	start_again($node);
	$alive++ if $node->safe_psql('postgres', 'SELECT 1') eq '1';
}
is($alive, $rounds, "the server came back from $rounds crashes");

# Drain.
for my $try (1 .. 400)
{
	$node->safe_psql('postgres', q(
		INSERT INTO taken SELECT (body->'detail'->>'n')::int FROM eb.consume('taken', 1000);
		INSERT INTO in_order (g, n) SELECT group_id, (body->'detail'->>'n')::int FROM eb.consume('ordered', 1000)));
	$node->safe_psql('postgres', q(
		WITH m AS (SELECT * FROM eb.receive('leased', 1000)),
		     s AS (INSERT INTO seen (message_id, receipt, n) SELECT message_id, receipt, (body->'detail'->>'n')::int FROM m)
		INSERT INTO acked (receipt) SELECT a.receipt FROM eb.ack('leased', (SELECT coalesce(array_agg(receipt), '{}') FROM m)) a WHERE result = 'done'));
	last if $node->safe_psql('postgres',
		q(SELECT sum(ready + in_flight + delayed + parked) FROM eb.queue_status)) eq '0';
	select undef, undef, undef, 0.1;
}
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM sent'), '>', 20 * $rounds, 'there was load');
is($node->safe_psql('postgres', 'SELECT n FROM sent EXCEPT SELECT n FROM taken'), '', 'every committed event was consumed');
is($node->safe_psql('postgres', 'SELECT n FROM taken EXCEPT SELECT n FROM sent'), '', 'and no other');
is($node->safe_psql('postgres', 'SELECT n FROM taken GROUP BY n HAVING count(*) > 1'), '', 'none twice');
is($node->safe_psql('postgres', 'SELECT n FROM sent EXCEPT SELECT n FROM seen'), '', 'every committed event was received');
is($node->safe_psql('postgres', 'SELECT again.message_id FROM acked a JOIN seen s USING (receipt) JOIN seen again ON again.message_id = s.message_id AND again.receipt <> a.receipt AND again.seq > a.seq'),
	'', 'nothing that was acked came back');
is($node->safe_psql('postgres', 'SELECT n FROM sent EXCEPT SELECT n FROM in_order'), '', 'the FIFO queue lost none');
is($node->safe_psql('postgres', 'SELECT n FROM in_order GROUP BY n HAVING count(*) > 1'), '', 'and gave none twice');
$node->stop;
done_testing();
