# Queues go through pg_dump whole, in plain SQL, with pg_restore in one transaction and in parallel; DROP EXTENSION refuses
# while there are queues, and CASCADE takes their tables whole.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('dump_queue');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $long = 'L' . ('-' x 46) . 'g';

# Of everything some: ready, leased, delayed, backing off, parked behind a FIFO head, dead; names that need quotes; settings;
# privileges; remembered dedup ids; a paused queue; messages with headers and large bodies.
$node->safe_psql(
	'postgres', qq(
	CREATE ROLE dump_publisher; CREATE ROLE dump_consumer;
	SELECT eb.create_queue('jobs', max_receive_count => 2, backoff_base => '1 h', backoff_cap => '1 h',
		description => 'with "quotes", ''quotes'' and a \\');
	SELECT eb.create_queue('Fifo-1', fifo => true, max_receive_count => 1);
	SELECT eb.create_queue('$long', dead_letter_queue => '');
	SELECT eb.pause_queue('$long');
	GRANT INSERT ON eb.queue_jobs TO dump_publisher;
	GRANT UPDATE, DELETE ON eb."queue_Fifo-1" TO dump_consumer WITH GRANT OPTION;
	SELECT eb.send('jobs', '{"n": 1}'), eb.send('jobs', '{"n": 2}'), eb.send('jobs', '{"n": 3}', headers => '{"h": "ü"}'),
		eb.send('jobs', '{"n": 4}', delay => '1 hour'),
		eb.send('jobs', jsonb_build_object('n', 5, 'big', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)));
	SELECT eb.send('Fifo-1', to_jsonb(i), group_id => 'g' || i % 2, dedup_id => 'd' || i) FROM generate_series(1, 6) i;
	SELECT eb.send('$long', '"in a queue with a long name"');
));
my $first = $node->safe_psql('postgres', q(SELECT receipt FROM eb.receive('jobs')));
is($node->safe_psql('postgres', "SELECT eb.nack('jobs', '$first', 'once')"), 't', 'one message backs off');
my $leased = $node->safe_psql('postgres', q(SELECT receipt FROM eb.receive('jobs', 1, '1 hour')));
my $dead = $node->safe_psql('postgres', q(SELECT receipt FROM eb.receive('Fifo-1')));
is($node->safe_psql('postgres', "SELECT eb.nack('Fifo-1', '$dead', 'broken')"), 't', 'one is dead');

my $state = q(SELECT queue, ready, in_flight, delayed, parked, dead_lettered, paused FROM eb.queue_status ORDER BY queue);
my $config = q(SELECT q FROM eb.queues q ORDER BY name);
my $rows = join ';', map { qq(SELECT * FROM eb."q_$_" ORDER BY message_id) } 'jobs', 'jobs_dlq', 'Fifo-1', 'Fifo-1_dlq', $long;
my $privileges = q(SELECT relname, relacl FROM pg_class WHERE relnamespace = 'eb'::regnamespace AND relname LIKE 'queue%'
	OR relname LIKE 'q\_%' ORDER BY relname COLLATE "C");
my $objects = q(SELECT c.relname, c.relkind, c.reloptions, c.reloftype::regtype, pg_get_indexdef(c.oid), t.tgname, t.tgenabled, a.attcompression
	FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'body'
	WHERE c.relnamespace = 'eb'::regnamespace AND c.relname ~ '^q(ueue)?_' ORDER BY c.relname COLLATE "C", t.tgname);
my %expect = map { $_->[0] => $node->safe_psql('postgres', $_->[1]) }
  [ state => $state ], [ config => $config ], [ rows => $rows ], [ privileges => $privileges ], [ objects => $objects ];
note $expect{state};

my $postgres = $node->connstr('postgres');
command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $postgres ], 'pg_dump, plain');
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", $postgres ], 'pg_dump, custom');

my %restore = (
	plain => sub { [ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/plain.sql", $_[0] ] },
	single => sub { [ 'pg_restore', '-1', '--exit-on-error', '-d', $_[0], "$dir/custom" ] },
	parallel => sub { [ 'pg_restore', '-j', '4', '--exit-on-error', '-d', $_[0], "$dir/custom" ] });

for my $how (sort keys %restore)
{
	my $db = "restored_$how";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	command_ok($restore{$how}->($node->connstr($db)), "restore, $how");
	my $sql = sub { $node->safe_psql($db, $_[0]) };
	is($sql->($state), $expect{state}, "$how: the queues hold what they held");
	is($sql->($config), $expect{config}, "$how: settings are as they were");
	is($sql->($rows), $expect{rows}, "$how: every column of every message is as it was");
	is($sql->($privileges), $expect{privileges}, "$how: privileges are as they were");
	is($sql->($objects), $expect{objects}, "$how: tables, indexes, triggers are as they were");

	is($sql->("SELECT eb.ack('jobs', '$leased')"), 't', "$how: a lease can be settled");
	is($sql->(q(SELECT string_agg(body->>'n', ',' ORDER BY message_id) FROM eb.consume('jobs', 10))), '3,5', "$how: what is ready comes");
	is($sql->(q(SELECT eb.send('Fifo-1', '"again"', group_id => 'g1', dedup_id => 'd1') = original_id FROM eb."queue_Fifo-1_dlq")),
		't', "$how: a dedup id is remembered");
	is($sql->(join ';', (q(SELECT string_agg(body::text, ',' ORDER BY message_id) FROM eb.consume('Fifo-1', 10))) x 3), "2,3\n4,5\n6",
		"$how: groups go on in order");
	is($sql->(q(SELECT eb.redrive('Fifo-1_dlq'))), '1', "$how: a dead letter goes back");
	is($sql->(q(SELECT body, group_id FROM eb.consume('Fifo-1'))), '1|g1', "$how: with its body and group");
	is($sql->("SELECT count(*) FROM eb.receive('$long')"), '0', "$how: what was paused is paused");
	is($sql->("SELECT eb.resume_queue('$long'); SELECT body FROM eb.consume('$long')"), "\n" . '"in a queue with a long name"',
		"$how: and can be resumed");
	is($sql->(q(SET ROLE dump_publisher; INSERT INTO eb.queue_jobs (body) VALUES ('6'); RESET ROLE; SELECT body FROM eb.consume('jobs'))), '6',
		"$how: a publisher publishes through the view");
	isnt($node->psql($db, q(SET ROLE dump_publisher; SELECT * FROM eb.receive('jobs'))), 0, "$how: and does not receive");
	is($sql->(q(SELECT eb.create_queue('new'); SELECT eb.send('new', '1') > 0; SELECT body FROM eb.consume('new'))), "\nt\n1",
		"$how: new queues can be made");
	is($sql->(q(SELECT eb.drop_queue('Fifo-1'); SELECT count(*) FROM eb.queues WHERE name LIKE 'Fifo%')), "\n0", "$how: and old ones dropped");
}
is($node->safe_psql('postgres', $state), $expect{state}, 'the dump changed nothing');

# Data alone, into queues that are there already.
$node->safe_psql('postgres', 'CREATE DATABASE data_only');
$node->safe_psql('data_only', q(CREATE EXTENSION pg_eventbus; SELECT eb.create_queue('jobs'); SELECT count(*) FROM eb.receive('jobs', 5);));
command_ok(
	[ 'pg_restore', '--data-only', '-t', 'q_jobs', '-n', 'eb', '-d', $node->connstr('data_only'), "$dir/custom" ],
	'pg_restore --data-only of a queue');
is($node->safe_psql('data_only', q(SELECT string_agg(body->>'n', ',' ORDER BY message_id) FROM eb.consume('jobs', 10))), '3,5',
	'messages that somebody else wrote are found');

# DROP EXTENSION.
my ($rc, $out, $err);
$rc = $node->psql('restored_plain', 'DROP EXTENSION pg_eventbus', stderr => \$err);
isnt($rc, 0, 'DROP EXTENSION refuses while there are queues');
like($err, qr/cannot drop extension pg_eventbus because other objects depend on it/, 'and says why');
is($node->safe_psql('restored_plain', q(SELECT eb.send('jobs', '1') > 0)), 't', 'and nothing is lost');
$node->safe_psql('restored_plain', 'DROP EXTENSION pg_eventbus CASCADE');
is($node->safe_psql('restored_plain', q(SELECT count(*) FROM pg_class WHERE relname LIKE 'q\_%' OR relname LIKE 'queue\_%')), '0',
	'CASCADE takes tables and views whole');
is($node->safe_psql('restored_plain', q(CREATE EXTENSION pg_eventbus; SELECT eb.create_queue('jobs'); SELECT count(*) FROM eb.peek('jobs'))),
	"\n0", 'and a new one begins empty');
$node->stop;
done_testing();
