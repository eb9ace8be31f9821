# What the TAP tests share: a server with pg_eventbus preloaded, queues fed by a rule, load by pgbench.
package EventBus;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(preload new_server start_again feed feed_short load_start load_finish poll_sql);

# Settings that preload the extension (TEMP_CONFIG lets every server find it).
sub preload
{
	return slurp_file($ENV{EB_PRELOAD_CONF});
}

# A running server with the extension in database postgres; options go to init.
sub new_server
{
	my ($name, %options) = @_;
	my $conf = delete $options{conf};
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%options);
	$node->append_conf('postgresql.conf', preload() . ($conf // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_eventbus');
	return $node;
}

# Start a server whose postmaster was killed.  Its children go by themselves, which takes a moment; the lock files may name
# a process that nobody has reaped yet.
sub start_again
{
	my ($node) = @_;
	my $data = $node->data_dir;
	for my $try (1 .. 600)
	{
		last unless grep { (readlink($_) // '') eq $data } glob '/proc/[0-9]*/cwd';
		select undef, undef, undef, 0.05;
	}
	unlink "$data/postmaster.pid", $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	$node->start;
	return;
}

# A queue that gets the events of a source by a rule of its own.
sub feed
{
	my ($node, $db, $queue, $source, $options) = @_;
	$options = $options ? ", $options" : '';
	$node->safe_psql(
		$db, qq(
		SELECT eb.create_queue('$queue'$options);
		SELECT eb.put_rule('$queue', '{"source": ["$source"]}');
		SELECT eb.put_target('$queue', 'queue', queue => '$queue');));
}

# A bus "short" that keeps events for a while, and a queue "jobs" that gets all of source "load".
sub feed_short
{
	my ($node, $bus_retention, $queue_retention) = @_;
	$node->safe_psql(
		'postgres', qq(
		SELECT eb.create_bus('short', retention => '$bus_retention');
		SELECT eb.create_queue('jobs', retention => '$queue_retention');
		SELECT eb.put_rule('all', '{"source": ["load"]}', bus => 'short');
		SELECT eb.put_target('all', 'queue', queue => 'jobs', bus => 'short');));
	return;
}

# Run a pgbench script with some clients in the background; errors after a crash are expected and ignored.
sub load_start
{
	my ($node, $db, $name, $clients, $seconds, $script) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.sql";
	open my $f, '>', $file or die $!;
	print $f $script;
	close $f;
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $clients, '-j', 1, '-T', $seconds, '-f', $file,
			'-h', $node->host, '-p', $node->port, $db
		],
		'<', \undef, '>', \$out, '2>', \$err);
	return { run => $run, out => \$out, err => \$err, name => $name };
}

# Wait for it; returns what it wrote to standard error.
sub load_finish
{
	my ($load) = @_;
	$load->{run}->finish;
	return ${ $load->{err} };
}

# Until a query prints the value (true by default).
sub poll_sql
{
	my ($node, $db, $sql, $want) = @_;
	return $node->poll_query_until($db, $sql, $want // 't');
}

1;
