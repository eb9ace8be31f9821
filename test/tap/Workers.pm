# What the tests of the background workers share: looking at eb.workers and waiting for a state.
package Workers;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(worker_pid workers_run no_workers other_pid alive);

# Process of a worker; the launcher has no database.
sub worker_pid
{
	my ($node, $worker, $db) = @_;
	my $where = $worker eq 'launcher' ? 'database IS NULL' : "database = '$db'";
	return $node->safe_psql('postgres',
		"SELECT coalesce(max(pid), 0) FROM eb.workers WHERE worker = '$worker' AND $where AND state = 'running'");
}

# All three workers of a database run.
sub workers_run
{
	my ($node, $db, $what) = @_;
	my $ok = ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 3 FROM eb.workers WHERE database = '$db' AND state = 'running'"),
		$what // "the workers of $db run");
	diag $node->safe_psql('postgres', 'SELECT * FROM eb.workers'),
		$node->safe_psql('postgres', q(SELECT pid, backend_type, wait_event, state, query FROM pg_stat_activity)) unless $ok;
	return $ok;
}

# Nothing of ours is connected to a database.
sub no_workers
{
	my ($node, $db, $what) = @_;
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '$db' AND backend_type LIKE 'pg_eventbus%'"),
		$what // "no worker is connected to $db");
}

# The worker runs, and is another process than before.
sub other_pid
{
	my ($node, $worker, $db, $old) = @_;
	my $where = $worker eq 'launcher' ? 'database IS NULL' : "database = '$db'";
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM eb.workers WHERE worker = '$worker' AND $where AND state = 'running' AND pid <> $old");
}

sub alive
{
	my ($pid) = @_;
	return -d "/proc/$pid" ? 1 : 0 if -d '/proc/self';
	return kill(0, $pid);
}

1;
