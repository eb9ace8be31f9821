# Without a free worker slot nothing fails; eb.workers names the setting, and a slot that becomes free is taken.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

# One slot is the server's (logical replication launcher), one the launcher's, two are left.
my $node = new_server('slots', conf => "max_worker_processes = 4\n");
ok( $node->poll_query_until('postgres',
		q(SELECT count(*) = 1 FROM eb.workers WHERE state = 'waiting' AND reason = 'no background worker slot is free: raise max_worker_processes')),
	'the third worker waits and says for what');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.workers WHERE state = 'running')), '3', 'the others run');

# More slots: all run.
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
workers_run($node, 'postgres', 'with more slots all run');

# Taken by somebody else, then free again.
$node->append_conf('postgresql.conf', "max_worker_processes = 5\n");
$node->restart;
workers_run($node, 'postgres', 'just enough');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION pg_eventbus');
ok( $node->poll_query_until('postgres',
		q(SELECT count(*) = 1 FROM eb.workers WHERE database = 'second' AND worker = 'supervisor' AND state = 'waiting' AND reason LIKE 'no background worker slot is free%')),
	'no slot for a second database');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.workers WHERE database = 'second' AND reason = 'its supervisor does not run')),
	'2', 'and its other workers say why they do not run');
$node->safe_psql('postgres', 'DROP EXTENSION pg_eventbus');
ok( $node->poll_query_until('second',
		q(SELECT count(*) = 3 FROM eb.workers WHERE database = 'second' AND state = 'running')),
	'it gets the slots that became free');
$node->stop('fast');
done_testing();
