# DROP EXTENSION does not wait for the workers, they leave by themselves, and CREATE EXTENSION brings them back.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('drop_extension');
$node->safe_psql('postgres', 'CREATE DATABASE app');
my $log = -s $node->logfile;
for my $round (1 .. 5)
{
	$node->safe_psql('app', 'CREATE EXTENSION pg_eventbus');
	workers_run($node, 'app', "round $round: the workers come");
	$node->safe_psql('app', 'BEGIN; DROP EXTENSION pg_eventbus; ROLLBACK');
	$node->safe_psql('app', 'DROP EXTENSION pg_eventbus');
	no_workers($node, 'app', "round $round: and go");
}
ok($node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM eb.workers WHERE database = 'app')), 'eb.workers has forgotten the database');

# At once, while they are being started.
$node->safe_psql('app', 'CREATE EXTENSION pg_eventbus');
$node->safe_psql('app', 'DROP EXTENSION pg_eventbus');
no_workers($node, 'app', 'dropped while they started');
$node->safe_psql('app', 'CREATE EXTENSION pg_eventbus; DROP EXTENSION pg_eventbus; CREATE EXTENSION pg_eventbus');
workers_run($node, 'app', 'dropped and made again in one breath');

# While the launcher takes away the entry of the one that was dropped before.
my $rounds = 30;
$node->safe_psql('app', "DROP EXTENSION pg_eventbus; CREATE EXTENSION pg_eventbus") for 1 .. $rounds;
workers_run($node, 'app', "dropped and made again $rounds times");

# With a schema that somebody else's DROP OWNED takes.
$node->safe_psql('app', 'CREATE ROLE boss SUPERUSER; DROP EXTENSION pg_eventbus; SET ROLE boss; CREATE EXTENSION pg_eventbus');
workers_run($node, 'app', 'owned by somebody else');
$node->safe_psql('app', 'DROP OWNED BY boss CASCADE');
no_workers($node, 'app', 'DROP OWNED takes the extension and the workers');

my $text = slurp_file($node->logfile, $log);
unlike($text, qr/(ERROR|FATAL|PANIC|WARNING):/, 'no worker complained');
$node->stop('fast');
done_testing();
