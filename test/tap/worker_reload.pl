# ALTER SYSTEM and reload: workers stop, come back, and take new settings without a restart.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('reload');
workers_run($node, 'postgres');
my $pid = worker_pid($node, 'maintainer', 'postgres');

$node->safe_psql('postgres', q(ALTER SYSTEM SET eb.maintenance_interval = '5s'));
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
is(worker_pid($node, 'maintainer', 'postgres'), $pid, 'a setting changes without a new process');

$node->safe_psql('postgres', 'ALTER SYSTEM SET eb.workers_enabled = off');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
no_workers($node, 'postgres', 'eb.workers_enabled = off stops the workers');
is($node->safe_psql('postgres', q(SELECT DISTINCT state, reason FROM eb.workers WHERE database = 'postgres')),
	'stopped|eb.workers_enabled is off', 'eb.workers says why');

$node->safe_psql('postgres', 'ALTER SYSTEM RESET eb.workers_enabled');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
workers_run($node, 'postgres', 'and on brings them back');
$node->stop('fast');
done_testing();
