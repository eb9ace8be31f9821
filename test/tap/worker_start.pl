# CREATE EXTENSION brings workers to a database, in each database its own, and a restart brings them back.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = PostgreSQL::Test::Cluster->new('start');
$node->init;
$node->append_conf('postgresql.conf', preload());
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE second');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventbus%' AND datname IS NOT NULL)),
	'0', 'a database without the extension has no worker');

$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION pg_eventbus; ROLLBACK');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_eventbus');
workers_run($node, 'postgres');
$node->safe_psql('second', 'BEGIN; CREATE EXTENSION pg_eventbus; COMMIT');
workers_run($node, 'second', 'in a transaction block, too, after its commit');
is($node->safe_psql('postgres', q(SELECT count(DISTINCT pid) FROM eb.workers WHERE state = 'running')), '7',
	'one launcher, and three workers in each of two databases');
is($node->safe_psql('postgres', q(SELECT string_agg(format('%s %s', worker, restarts), ', ' ORDER BY worker)
	FROM eb.workers WHERE database = 'second')), 'maintainer 0, notifier 0, supervisor 0', 'none was started twice');

$node->restart;
workers_run($node, $_, "after a restart, in $_") for qw(postgres second);
$node->stop('fast');
done_testing();
