# Readers that sleep until they are woken miss no event while others put, hold the horizon back, roll back and prepare at
# the same time: with the net of eb.notify_repeat out of the way, a lost wake-up would leave events unread and readers asleep.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('subscription_race', conf => "eb.notify_repeat = 1h\neb.notify_interval = 0\nmax_prepared_transactions = 10\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(
	SELECT eb.create_bus('orders');
	SELECT eb.create_bus('other');
	SELECT eb.create_subscription('one', 'orders');
	SELECT eb.create_subscription('many', 'orders', partitions => 3);
	SELECT eb.create_subscription('few', 'orders', '{"detail-type": ["Rare"]}');
	CREATE TABLE took (subscription text, id uuid);));

# An hour at most: whoever misses his wake-up stays asleep.
sub reader
{
	my ($name, $clients) = @_;
	return load_start($node, 'postgres', "read_$name", $clients, 600, qq(
call eb.wait(subscription => '$name', timeout => '1 hour');
with r as materialized (select * from eb.read('$name', 20)),
	i as (insert into took select '$name', id from r)
select eb.commit('$name', max(id::text)::uuid, partition) from r group by partition;
));
}
my @readers = (reader('one', 2), reader('many', 3), reader('few', 1));
my $put = q(select eb.put_event('s', case when random() < 0.01 then 'Rare' else 'Often' end, '{}', 'orders', group_key => (random() * 10)::int::text););
my @publishers = (
	load_start($node, 'postgres', 'put', 2, 6, $put),
	load_start($node, 'postgres', 'hold', 2, 6, "begin;\nselect eb.put_event('s', 'x', '{}', 'other');\n\\sleep 20 ms\nrollback;\n"),
	load_start($node, 'postgres', 'late', 1, 6, "begin;\n$put\n\\sleep 5 ms\ncommit;\n"),
	load_start($node, 'postgres', 'prepare', 1, 6, "begin;\n$put\nprepare transaction 'p:client_id';\n\\sleep 10 ms\ncommit prepared 'p:client_id';\n" =~ s/'p:client_id'/'p'/gr));
unlike(load_finish($_), qr/ERROR|FATAL/, $_->{name}) for @publishers;

# What each has read, and how much there was.
my $read = q(SELECT string_agg(n::text, ' ' ORDER BY subscription) FROM
	(SELECT subscription, count(*) AS n FROM took GROUP BY subscription) x);
my $put_so_far = q(SELECT concat_ws(' ', count(*) FILTER (WHERE detail_type = 'Rare'), count(*), count(*))
	FROM eb.events e JOIN eb.buses b ON b.bus_id = e.bus_id AND b.name = 'orders');
ok(poll_sql($node, 'postgres', "SELECT ($read) = ($put_so_far)"), 'all events were read by sleepers')
	or diag $node->safe_psql('postgres', "SELECT ($read), ($put_so_far)");

# One at a time, so that each finds only sleepers.
for my $i (1 .. 100)
{
	$node->safe_psql('postgres', $put =~ s/random\(\) < 0.01/true/r);
	next if $i % 20;
	last unless ok(poll_sql($node, 'postgres', "SELECT ($read) = ($put_so_far)"), "still awake after $i");
}
is($node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT FROM took GROUP BY subscription, id HAVING count(*) > 1) x)), '0',
	'no event was read twice');
for (@readers) { $_->{run}->kill_kill; unlike(${ $_->{err} }, qr/ERROR/, $_->{name}); }
$node->stop('fast');
done_testing();
