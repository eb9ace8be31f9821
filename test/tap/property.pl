# Everything at once, at random: publishers that commit, commit late, roll back, use savepoints and prepare; consumers of
# every kind; replays, backfills and subscriptions that are made, paused, resumed and cancelled meanwhile; workers and clients
# that are terminated; and a server that is killed and restarted under it, again and again.  At the end what every consumer
# got is compared with what was committed: each event once, no other, in order where order is promised.
#
# Publishers write what they put, and consumers what they got, into tables in the same transactions (property.sql), so a
# crash cannot make them disagree with what happened.  What cannot be known to the event (was it put before or after that
# rule was switched?) is optional for the moment of the switch only.
#
#	EB_SECONDS	how long to go on before everything is drained (default 60; a few minutes find more)
#	EB_SEED		the random choices to make (default: others each time; printed)
#
#	EB_SECONDS=240 scripts/test --only tap --tests property
#
# The seed gives the same choices, though not the same races: clients run side by side.
use strict;
use warnings;
use EventBus;
use List::Util qw(first shuffle);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Workers;

my $seconds = $ENV{EB_SECONDS} // 60;
my $seed = $ENV{EB_SEED} // int(time * 1000) % 1_000_000_000;
srand $seed;
diag "seed $seed (EB_SEED), $seconds seconds (EB_SECONDS)";

# name, pattern, and the same said in SQL about the truth
my @patterns = (
	[ 'every', undef, 'true' ],
	[ 'shop', '{"source": ["shop"]}', "source = 'shop'" ],
	[ 'types', '{"detail-type": ["A", "B"]}', "type IN ('A', 'B')" ],
	[ 'third', '{"detail": {"third": [0]}}', 'n % 3 = 0' ],
	[ 'late', '{"detail": {"n": [{"numeric": [">=", 1000]}]}}', 'n >= 1000' ],
	[ 'mixed', '{"source": [{"anything-but": "stock"}], "detail-type": ["B", "C"], "detail": {"third": [1, 2]}}',
		"source <> 'stock' AND type IN ('B', 'C') AND n % 3 > 0" ]);
my @grouped = (
	[ 'c', '{"detail-type": ["C"]}', "type = 'C'" ],
	[ 'shop-c', '{"detail-type": ["C"], "source": ["shop"]}', "type = 'C' AND source = 'shop'" ]);

my $node = new_server('property', conf => "deadlock_timeout = 100ms\nautovacuum_naptime = 5s\nlog_min_messages = warning\n");
my $queue_options = q(dead_letter_queue => '', max_receive_count => 1000000);
my $lease_options = q(visibility_timeout => '1 second', backoff_base => '20 ms', backoff_cap => '500 ms', min_redelivery_delay => '10 ms');

# What changes a replay waits for its chunk, which may wait for a FIFO group that a prepared transaction holds that nobody but
# this script ends: so it does not wait for long, ends those, and tries again.
sub sql
{
	my ($statement) = @_;
	local $ENV{PGOPTIONS} = '-c lock_timeout=2s';
	for my $try (1 .. 30)
	{
		my ($rc, $out, $err) = $node->psql('postgres', $statement);
		return $out if $rc == 0;
		die "$statement: $err" unless $err =~ /lock timeout/ && $try < 30;
		end_prepared(1);
	}
	return;
}

sub one_of { return $_[ rand @_ ] }

sub chance { return rand() < $_[0] }

# ---- the world ----

sql(slurp_file("$ENV{EB_SRC}/test/tap/property.sql"));
sql(qq(
	SELECT eb.create_bus('b', dedup_window => '1 day');
	SELECT eb.create_bus('copy');
	SELECT eb.create_archive('everything', 'b');
	SELECT eb.create_archive('shopping', 'b', '{"source": ["shop"]}');
	SELECT eb.create_consumer('billing');
	SELECT eb.create_queue('leased', max_receive_count => 4, $lease_options);
	SELECT eb.create_queue('ordered', fifo => true, $queue_options, $lease_options);
	SELECT eb.create_queue(q, $queue_options) FROM unnest('{taken,switched,again}'::text[]) q;
	SELECT eb.create_queue('again_ordered', fifo => true, $queue_options);
	INSERT INTO sinks VALUES ('taken'), ('switched'), ('again'), ('again_ordered');
	SELECT eb.put_rule('taken', '{"source": ["shop"]}', 'b');
	SELECT eb.put_rule('leased', '{"detail-type": ["A"]}', 'b');
	SELECT eb.put_rule('ordered', '{"detail-type": ["C"]}', 'b');
	SELECT eb.put_rule('switched', '{"detail": {"third": [0]}}', 'b');
	SELECT eb.put_target(q, queue => q, bus => 'b') FROM unnest('{taken,leased,ordered,switched}'::text[]) q;
	SELECT eb.put_rule('copy', '{"source": ["stock"]}', 'b');
	SELECT eb.put_target('copy', target_bus => 'copy', bus => 'b');
	INSERT INTO switches VALUES ('switched', true, '-infinity', '-infinity');
	SELECT eb.create_subscription('one', 'b');
	SELECT eb.create_subscription('parts', 'b', '{"source": ["shop"]}', partitions => 3);
	SELECT eb.create_subscription('copied', 'copy');
	INSERT INTO cursors VALUES ('one'), ('parts'), ('copied');));
workers_run($node, 'postgres');

# What there is, and what is to be said of it at the end.
my %queues = map { $_ => 1 } qw(taken leased ordered switched again again_ordered);
my @replays;     # name, queue, archive and pattern as conditions, from, to, dry, fifo
my @feeds;       # queue subscriptions and backfills: name, queue, condition, since, latest, fifo, subscription
my @cursors = (
	{ name => 'one', where => 'true' },
	{ name => 'parts', where => "source = 'shop'" });
my %paused = (queue => {}, feed => {}, cursor => {});
my $number = 0;
my $round = 0;
my %done;        # how often each action was done

# ---- the clients ----

# Each transaction seeds the server's random() with what pgbench draws, and pgbench is seeded.
sub clients
{
	my ($round, $name, $clients, $time, $script) = @_;
	$script = "\\set s random(1, 1000000000)\nSELECT setseed(:s / 1000000000.0::double precision);\n$script";
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.$round.sql";
	append_to_file($file, $script);
	my ($out, $err) = ('', '');
	local $ENV{PGAPPNAME} = 'pgbench';
	my $run = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $clients, '-j', 1, '-T', $time, '-f', $file, '--max-tries', 1000,
			'--random-seed', ($seed + $round * 17) % 2_000_000_000, '-h', $node->host, '-p', $node->port, 'postgres'
		],
		'<', \undef, '>', \$out, '2>', \$err);
	return { run => $run, out => \$out, err => \$err, name => $name };
}

sub publish_script
{
	my ($round) = @_;
	my $put = q(SELECT publish(:client_id, 'g' || :g););
	return qq(
\\set kind random(1, 40)
\\set g random(1, 60)
\\set ms random(1, 30)
\\sleep :ms ms
BEGIN;
$put
\\if :kind <= 2
	\\set late random(100, 1500)
	\\sleep :late ms
	$put
	COMMIT;
\\elif :kind <= 6
	ROLLBACK;
\\elif :kind <= 10
	SAVEPOINT s;
	$put
	SAVEPOINT t;
	$put
	ROLLBACK TO s;
	$put
	COMMIT;
\\elif :kind = 11
	SAVEPOINT s;
	$put
	RELEASE s;
	ROLLBACK;
\\elif :kind <= 13
	PREPARE TRANSACTION 'p$round.:client_id';
	\\set late random(1, 800)
	\\sleep :late ms
	COMMIT PREPARED 'p$round.:client_id';
\\elif :kind = 14
	PREPARE TRANSACTION 'p$round.:client_id';
	ROLLBACK PREPARED 'p$round.:client_id';
\\elif :kind = 15
	ROLLBACK;
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	$put
	COMMIT;
\\else
	COMMIT;
\\endif
);
}

# A consumer's transaction, one in ten of which is rolled back; those that find nothing take a breath.
sub consume_script
{
	my ($call) = @_;
	return qq(
\\set fate random(1, 10)
BEGIN;
SELECT $call AS rows \\gset
\\if :fate = 1
	ROLLBACK;
\\else
	COMMIT;
\\endif
\\if :rows = 0
	\\sleep 20 ms
\\endif
);
}

sub start_clients
{
	my ($round, $time) = @_;
	return (
		clients($round, 'publish', 5, $time, publish_script($round)),
		clients($round, 'take', 2, $time, consume_script('take_some()')),
		clients($round, 'take_ordered', 2, $time, consume_script(q(take_some('ordered')))),
		clients($round, 'lease', 2, $time, "CALL lease_some('leased');\n\\sleep 3 ms\n"),
		clients($round, 'lease_ordered', 2, $time, "CALL lease_some('ordered');\n\\sleep 10 ms\n"),
		clients($round, 'read', 4, $time, consume_script('read_some()')));
}

# Errors that the loss of a session or of the server brings with it; pgbench tries again after a deadlock.
my $interrupted = qr/terminating connection|shutting down|starting up|recovery mode|deadlock detected/;

sub finish_clients
{
	my ($round, @clients) = @_;
	for my $load (@clients)
	{
		$load->{run}->finish;
		my @odd = grep { /(ERROR|FATAL|PANIC|WARNING):/ && !/$interrupted/ } split /\n/, ${ $load->{err} };
		is(join("\n", @odd), '', "round $round: $load->{name} met no error but the loss of its connection") if @odd;
	}
	return;
}

# ---- what else goes on ----

sub some_time_ago
{
	my ($most) = @_;
	return sql("SELECT clock_timestamp() - interval '1 second' * " . rand($most));
}

sub new_queue
{
	my ($name, $fifo) = @_;
	sql("SELECT eb.create_queue('$name', fifo => " . ($fifo ? 'true' : 'false') . ", $queue_options);");
	$queues{$name} = 1;
	return;
}

sub literal { return defined $_[0] ? "'$_[0]'" : 'NULL' }

# Of replays that are not over the states can change under us; an action that comes too late is none.
sub try_sql
{
	my ($statement, $too_late) = @_;
	return 1 if eval { sql($statement); 1 };
	die $@ unless $@ =~ $too_late;
	return 0;
}

sub replay_state { return sql("SELECT state FROM eb.replay_status WHERE replay = '$_[0]'") }

my %actions = (
	start_replay => sub {
		return if sql(q(SELECT count(*) FROM eb.replay_status WHERE state NOT IN ('COMPLETED', 'CANCELLED'))) > 3;
		my $archive = one_of([ 'everything', 'true' ], [ 'shopping', "source = 'shop'" ]);
		my $to = one_of('again', 'again', 'again_ordered', 'taken', 'leased', 'ordered');
		my %rule = (taken => "source = 'shop'", leased => "type = 'A'", ordered => "type = 'C'");
		my $pattern = $to eq 'again_ordered' ? one_of(@grouped) : one_of(@patterns);
		my $r = { name => 'r' . ++$number, queue => $to, dry => chance(0.1), fifo => scalar($to =~ /ordered/) };
		$r->{from} = some_time_ago(30) if chance(0.7);
		$r->{to} = sql("SELECT least('$r->{from}'::timestamptz + interval '1 second' * (0.01 + " . rand(20) . '), clock_timestamp())')
			if $r->{from} && chance(0.5);
		$r->{where} = "$archive->[1] AND $pattern->[2]" . ($rule{$to} ? " AND $rule{$to}" : '');
		$r->{seen} = "$archive->[1] AND $pattern->[2]";
		push @replays, $r;
		sql("SELECT eb.start_replay('$r->{name}', '$archive->[0]', " . literal($r->{from}) . ', ' . literal($r->{to}) . ', '
			. ($rule{$to} ? "rules => '{$to}'" : "to_queue => '$to'") . ', pattern => ' . literal($pattern->[1])
			. ', max_rate => ' . one_of('NULL', 300, 2000, 20000) . ', dry_run => ' . ($r->{dry} ? 'true' : 'false') . ')');
	},
	pause_replay => sub {
		my $r = one_of(@replays) or return;
		try_sql("SELECT eb.pause_replay('$r->{name}')", qr/cannot pause/);
	},
	resume_replay => sub {
		for my $r (@replays) { try_sql("SELECT eb.resume_replay('$r->{name}')", qr/cannot resume/) if replay_state($r->{name}) eq 'PAUSED' }
	},
	cancel_replay => sub {
		my $r = first { replay_state($_->{name}) =~ /STARTING|RUNNING|PAUSED/ } shuffle @replays or return;
		try_sql("SELECT eb.cancel_replay('$r->{name}')", qr/cannot cancel/);
	},
	pause_queue => sub {
		return if keys %{ $paused{queue} } > 2;
		my $queue = one_of(sort keys %queues);
		sql("SELECT eb.pause_queue('$queue')");
		$paused{queue}{$queue} = 1;
	},
	resume_queue => sub {
		my $queue = one_of(sort keys %{ $paused{queue} }) or return;
		sql("SELECT eb.resume_queue('$queue')");
		delete $paused{queue}{$queue};
	},
	new_subscription => sub {
		return if (grep { $_->{subscription} } @feeds) >= 4 + $seconds / 20;
		my $fifo = chance(0.5);
		my $pattern = one_of($fifo ? @grouped : @patterns);
		my $feed = { name => 's' . ++$number, queue => "q$number", where => $pattern->[2], fifo => $fifo, subscription => 1 };
		my $start = one_of('earliest', 'earliest', 'latest', 'time');
		$feed->{since} = $start = some_time_ago(20) if $start eq 'time';
		$feed->{latest} = 1 if $start eq 'latest';
		new_queue($feed->{queue}, $fifo);
		sql("INSERT INTO switches VALUES ('$feed->{name}', false, '-infinity', '-infinity'), ('$feed->{name}', true, clock_timestamp(), NULL);");
		sql("SELECT eb.create_subscription('$feed->{name}', 'b', " . literal($pattern->[1]) . ", '$start', queue => '$feed->{queue}')");
		sql("UPDATE switches SET after = clock_timestamp() WHERE after IS NULL; INSERT INTO sinks VALUES ('$feed->{queue}')");
		push @feeds, $feed;
	},
	pause_subscription => sub {
		my $feed = first { $_->{subscription} && !$paused{feed}{ $_->{name} } } shuffle @feeds or return;
		try_sql("SELECT eb.pause_subscription('$feed->{name}')", qr/while its history is being delivered/) or return;
		$paused{feed}{ $feed->{name} } = 1;
		$feed->{interrupted} = 1;
	},
	resume_subscription => sub {
		my $name = one_of(sort keys %{ $paused{feed} }) or return;
		sql("SELECT eb.resume_subscription('$name')");
		delete $paused{feed}{$name};
	},
	new_cursor => sub {
		return if @cursors >= 4 + $seconds / 30;
		my $pattern = one_of(@patterns);
		my $cursor = { name => 'c' . ++$number, where => $pattern->[2] };
		my $start = 'earliest';
		$cursor->{since} = $start = some_time_ago(20) if chance(0.5);
		sql("SELECT eb.create_subscription('$cursor->{name}', 'b', " . literal($pattern->[1]) . ", '$start', partitions => "
			. one_of(1, 4) . ')');
		sql("INSERT INTO cursors VALUES ('$cursor->{name}')");
		push @cursors, $cursor;
	},
	switch_cursor => sub {
		my $name = one_of(@cursors)->{name};
		my $how = delete $paused{cursor}{$name} ? 'resume' : 'pause';
		sql("SELECT eb.${how}_subscription('$name')");
		$paused{cursor}{$name} = 1 if $how eq 'pause';
	},
	new_rule => sub {
		return if (grep { !$_->{subscription} } @feeds) >= 3 + $seconds / 30;
		my $pattern = one_of(grep { $_->[1] } @patterns);
		my $feed = { name => 'f' . ++$number, queue => "q$number", where => $pattern->[2], waiting => 1 };
		$feed->{since} = some_time_ago(20) if chance(0.3);
		new_queue($feed->{queue}, 0);
		my $rule = "SELECT eb.put_rule('$feed->{name}', '$pattern->[1]', 'b')";
		my $target = "SELECT eb.put_target('$feed->{name}', queue => '$feed->{queue}', bus => 'b')";
		sql(one_of("BEGIN; $rule; $target; COMMIT", "$rule; $target"));
		sql("INSERT INTO sinks VALUES ('$feed->{queue}')");
		push @feeds, $feed;
	},
	backfill => sub {
		my $feed = first { $_->{waiting} } @feeds or return;
		delete $feed->{waiting};
		sql("SELECT eb.backfill_rule('b', '$feed->{name}', " . literal($feed->{since}) . ", 'backfill-$feed->{name}')");
	},
	switch_rule => sub {
		my $on = sql(q(SELECT enabled FROM eb.rules WHERE bus = 'b' AND name = 'switched')) eq 't';
		sql("INSERT INTO switches VALUES ('switched', " . ($on ? 'false' : 'true') . ', clock_timestamp(), NULL);');
		sql($on ? q(SELECT eb.disable_rule('switched', 'b')) : q(SELECT eb.enable_rule('switched', 'b')));
		sql('UPDATE switches SET after = clock_timestamp() WHERE after IS NULL');
	},
	terminate_worker => sub {
		my $worker = one_of(qw(maintainer maintainer notifier supervisor launcher));
		sql("SELECT pg_terminate_backend(pid) FROM eb.workers WHERE worker = '$worker' AND state = 'running'");
	},
	terminate_client => sub {
		my $salt = int rand 1000;
		sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY hashint4(pid + $salt) LIMIT 1");
	},
	redrive => sub { sql(q(SELECT eb.redrive('leased_dlq'))) },
	end_prepared => sub { end_prepared(0.7) });
my %weights = (start_replay => 6, pause_replay => 3, resume_replay => 3, new_subscription => 4, switch_rule => 3, end_prepared => 4,
	terminate_worker => 2, resume_queue => 3, pause_queue => 2, pause_subscription => 3, resume_subscription => 3);
my @draw = map { ($_) x ($weights{$_} // 1) } sort keys %actions;

# Prepared transactions that a restart or a terminated client has left: each is committed or rolled back with a chance, else
# left a while longer.  Those of clients that are there are none of them; they do not take that long.
sub end_prepared
{
	my ($chance) = @_;
	my $left = sql(qq(SELECT gid FROM pg_prepared_xacts
		WHERE gid NOT LIKE 'p$round.%' OR prepared < clock_timestamp() - interval '10 seconds' ORDER BY gid));
	for my $gid (split /\n/, $left)
	{
		next unless chance($chance);
		$done{ended_prepared}++;
		sql(one_of('COMMIT', 'COMMIT', 'ROLLBACK') . " PREPARED '$gid'");
	}
	return;
}

# ---- the run ----

my @endings;
my $until = time + $seconds;
while (time < $until)
{
	$round++;
	@endings = shuffle(qw(kill9 immediate kill9 immediate fast smart)) unless @endings;
	my $ending = shift @endings;
	my $length = 3 + rand(5);
	my @clients = start_clients($round, $ending eq 'smart' ? int($length) : 600);
	my $end = time + $length;
	while (time < $end)
	{
		sleep 0.05 + rand(0.3);
		my $action = one_of(@draw);
		$actions{$action}->();
		$done{$action}++;
	}
	note "round $round ends: $ending";

	# clients come to their end by themselves, unless they wait for a prepared transaction that nobody ends
	my $patience = time + 120;
	while ($ending eq 'smart')
	{
		my $busy = sql(q(SELECT pid, state, wait_event_type, wait_event, pg_blocking_pids(pid), query FROM pg_stat_activity
			WHERE application_name = 'pgbench'));
		last if $busy eq '';
		die "clients do not come to their end:\n$busy\n" if time > $patience;
		end_prepared(1);
		sleep 0.1;
	}
	$ending eq 'kill9' ? $node->kill9 : $node->stop($ending);
	finish_clients($round, @clients);
	start_again($node);
	end_prepared(0.6);
}

# ---- the end: everything goes on undisturbed until there is nothing left ----

$round = 0;
end_prepared(1);
sql("SELECT eb.resume_queue('$_')") for sort keys %{ $paused{queue} };
sql("SELECT eb.resume_subscription('$_')") for sort(keys %{ $paused{feed} }, keys %{ $paused{cursor} });
$actions{resume_replay}->();
$actions{backfill}->() while grep { $_->{waiting} } @feeds;

my $left = q(
	SELECT 'replay ' || replay, state || coalesce(': ' || error, '') FROM eb.replay_status WHERE state NOT IN ('COMPLETED', 'CANCELLED')
	UNION ALL
	SELECT 'subscription ' || subscription, state || coalesce(': ' || error, '') FROM eb.subscription_status WHERE state <> 'active' OR lag_events > 0
	UNION ALL
	SELECT 'queue ' || queue, format('%s ready, %s in flight, %s delayed, %s parked', ready, in_flight, delayed, parked)
	FROM eb.queue_status WHERE ready + in_flight + delayed + parked > 0 ORDER BY 1);
my ($what_left, $progress, $moved) = ('', '', time);
while (time < $moved + 90)
{
	sql(q(SELECT sum(take(queue, 5000)) FROM sinks; SELECT take('ordered', 5000); SELECT eb.redrive('leased_dlq');
		SELECT sum(read(subscription, 20000)) FROM cursors;));
	sql(q(CALL lease_some('leased', 1))) for 1 .. 5;
	$what_left = sql($left);
	last if $what_left eq '';
	my $now = sql(q(SELECT count(*) FROM got UNION ALL SELECT count(*) FROM had));
	($progress, $moved) = ($now, time) if $now ne $progress;
	sleep 0.05;
}
is($what_left, '', 'all replays and subscriptions come to their end, all queues run empty');

note 'tried: ', join ', ', map { "$_ $done{$_}" } sort keys %done;
note scalar(@replays) . ' replays, ' . @feeds . ' subscriptions with queues and backfills, ' . @cursors . ' cursors';
note 'committed: ' . sql(q(SELECT count(*) || ' events, ' || (SELECT count(*) FROM duplicates) || ' duplicates, last number '
	|| (SELECT last_value FROM numbers) FROM truth));

# ---- the checker ----

sub compare
{
	my ($name, $expected, $gotten, $optional) = @_;
	my $found = sql(qq(SELECT differences(\$a\$$expected\$a\$, \$b\$$gotten\$b\$) || '')) unless $optional;
	$found = sql(qq(SELECT differences(\$a\$$expected\$a\$, \$b\$$gotten\$b\$, \$c\$$optional\$c\$))) if $optional;
	my $n = sql("SELECT count(*) FROM ($gotten) g");
	is($found, '', "$name ($n)") or diag "seed $seed";
	return $n;
}

sub in_order
{
	my ($name, $key, $from, $group) = @_;
	is( sql(qq(SELECT format('%s after %s in %s', k, before, g)
			FROM (SELECT $key AS k, lag($key) OVER (PARTITION BY $group ORDER BY c.step) AS before, ROW($group) AS g FROM $from) o
			WHERE before >= k ORDER BY 1 LIMIT 3)),
		'', $name) or diag "seed $seed";
	return;
}

sub truth { return 'SELECT id, n FROM truth WHERE ' . join ' AND ', map { "($_)" } grep { defined } @_ }

sub since { return defined $_[0] ? "eb.event_time(id) >= '$_[0]'" : undef }

cmp_ok(sql('SELECT count(*) FROM truth'), '>', $seconds * 20, 'enough was published');
cmp_ok(compare('the log has what was committed', truth('true'), q(SELECT id, (detail ->> 'n')::bigint FROM eb.bus_b)), '>', 0, 'it is not empty');
is(sql(q(SELECT dedup_id, count(*) FROM truth WHERE dedup_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1)), '', 'no dedup id was put twice');
is(sql(q(SELECT d.* FROM duplicates d LEFT JOIN truth t USING (id) WHERE t.dedup_id IS DISTINCT FROM d.dedup_id)), '',
	'a duplicate got the id of the event that was first');
cmp_ok(sql('SELECT count(*) FROM duplicates'), '>', 0, 'there were duplicates');
compare('the other bus got a copy of each', truth(q(source = 'stock')),
	q(SELECT causation_id::uuid, (detail ->> 'n')::bigint FROM eb.bus_copy));
compare('its cursor read them', 'SELECT id, (detail ->> \'n\')::bigint FROM eb.bus_copy', q(SELECT id, n FROM had WHERE subscription = 'copied'));

# live, one queue for each way to consume
my $live = q(SELECT id, n FROM got WHERE replay IS NULL AND queue =);
compare("queue taken: consume", truth(q(source = 'shop')), "$live 'taken'");
compare('queue leased: receive and ack', truth(q(type = 'A')), "$live 'leased'");
compare('queue ordered: FIFO by either', truth(q(type = 'C')), "$live 'ordered'");
compare('process_once: one effect', truth(q(type = 'A')), 'SELECT e.id, t.n FROM effects e JOIN truth t USING (id)');
is(sql('SELECT count(*) FROM effects'), sql(q(SELECT count(*) FROM truth WHERE type = 'A')), 'and none of what was not committed');
is( sql(q(SELECT a.queue, a.message_id FROM acked a JOIN seen s USING (queue, message_id) WHERE s.step > a.step LIMIT 3)),
	'', 'what was acked did not come back');
is( sql(q(SELECT a.queue, a.message_id, a.receipt FROM acked a LEFT JOIN seen s USING (queue, message_id, receipt)
		WHERE s.step IS NULL OR EXISTS (SELECT FROM seen l WHERE l.queue = s.queue AND l.message_id = s.message_id AND l.step > s.step) LIMIT 3)),
	'', 'and was acked by who received it last');
is(sql(q(SELECT queue, message_id FROM acked GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 3)), '', 'nor was it acked twice');
compare('queue switched: while its rule was enabled', truth('n % 3 = 0', q(was_routed('switched', began, ended))),
	"$live 'switched'", truth('n % 3 = 0', q(was_routed('switched', began, ended) IS NULL)));

# replays: each event once for each target; a cancelled one has delivered the first of them
for my $r (@replays)
{
	my ($state, $replayed, $deliveries) = split /\|/,
		sql("SELECT state, replayed, deliveries FROM eb.replay_status WHERE replay = '$r->{name}'");
	my $range = ($r->{to} ? "eb.event_time(id) < '$r->{to}'" : "id < (SELECT before FROM eb.replays WHERE name = '$r->{name}')");
	my $gotten = "SELECT id, n FROM got WHERE queue = '$r->{queue}' AND replay = '$r->{name}'";
	my $upto = $state eq 'COMPLETED' ? undef : "id <= (SELECT \"position\" FROM eb.replay_progress WHERE replay = '$r->{name}')";
	my $n = compare("replay $r->{name} to $r->{queue}, $state" . ($r->{dry} ? ', dry' : ''),
		truth($r->{where}, $range, since($r->{from}), $upto, $r->{dry} ? 'false' : undef), $gotten);
	is($deliveries, $n, "replay $r->{name} counted its deliveries");
	is($replayed, sql('SELECT count(*) FROM (' . truth($r->{seen}, $range, since($r->{from}), $upto) . ') t'), 'and what it replayed');
}
in_order("replays to $_ kept the order of ids in each group", 'c.id', "got c WHERE replay LIKE 'r%' AND queue = '$_'", 'replay, group_id')
	for qw(ordered again_ordered);

# history, then live
for my $feed (@feeds)
{
	my $gotten = "SELECT id, n FROM got WHERE queue = '$feed->{queue}'";
	my $what = $feed->{subscription} ? 'subscription' : 'backfill of rule';
	my $start = $feed->{latest} ? 'latest' : $feed->{since} ? 'a time' : 'earliest';
	compare("$what $feed->{name} from $start" . ($feed->{fifo} ? ', FIFO' : '') . ($feed->{interrupted} ? ', was paused' : ''),
		truth($feed->{where}, since($feed->{since}), $feed->{latest} ? "was_routed('$feed->{name}', began, ended)" : undef),
		$gotten, $feed->{latest} ? truth($feed->{where}, "was_routed('$feed->{name}', began, ended) IS NULL") : undef);
	next unless $feed->{fifo};
	in_order("$feed->{name}: each publisher's events are in order in their group", 't.step',
		"got c JOIN truth t USING (id) WHERE c.queue = '$feed->{queue}'", 'c.group_id, t.client');
	next if $feed->{interrupted};
	in_order("$feed->{name}: history is in order of ids", 'c.id', "got c WHERE queue = '$feed->{queue}' AND replay IS NOT NULL", 'group_id');
	is( sql("SELECT group_id FROM got WHERE queue = '$feed->{queue}' GROUP BY 1
			HAVING max(step) FILTER (WHERE replay IS NOT NULL) > min(step) FILTER (WHERE replay IS NULL)"),
		'', "$feed->{name}: and before what was live");
}
in_order('live events of a FIFO group are in the order in which they were put', 't.step',
	'got c JOIN truth t USING (id) WHERE replay IS NULL AND queue IN (SELECT name FROM eb.queues WHERE fifo)', 'c.queue, c.group_id');

# cursors
for my $cursor (@cursors)
{
	compare("cursor $cursor->{name} from " . ($cursor->{since} ? 'a time' : 'the start'), truth($cursor->{where}, since($cursor->{since})),
		"SELECT id, n FROM had WHERE subscription = '$cursor->{name}'");
}
in_order('cursors read in order of ids', 'c.id', 'had c', 'subscription, part');
is( sql(q(SELECT subscription, group_key FROM had JOIN truth USING (id) WHERE group_key IS NOT NULL
		GROUP BY 1, 2 HAVING count(DISTINCT part) > 1 LIMIT 3)),
	'', 'a group key stays in its partition');
is(sql(q(SELECT sum(eb.check_queue_floor(name)) FROM eb.queues)), 0, 'nothing is left below the floor of a queue');

$node->stop('fast');
done_testing();
