# Workers do not stand in the way of statements that want a database for themselves, and only for who may run those.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('drop_database');
$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN CREATEDB") for qw(alice bob);
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER alice');
$node->safe_psql('app', 'CREATE EXTENSION pg_eventbus');
workers_run($node, 'app');

# Who may not drop it does not stop its workers either.
my $pid = worker_pid($node, 'notifier', 'app');
my ($rc, $out, $err) = $node->psql('postgres', 'SET ROLE bob; DROP DATABASE app');
like($err, qr/must be owner of database app/, 'not the owner');
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE bob; CREATE DATABASE mine TEMPLATE app');
like($err, qr/permission denied to copy database "app"/, 'nor may he copy it');
is(worker_pid($node, 'notifier', 'app'), $pid, 'the workers were not touched');

# CREATE DATABASE .. TEMPLATE
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE alice; CREATE DATABASE copy TEMPLATE app');
is($rc, 0, 'CREATE DATABASE .. TEMPLATE') or diag $err;
workers_run($node, 'app', 'the template has its workers back');
workers_run($node, 'copy', 'and the copy has its own');

# ALTER DATABASE
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE alice; ALTER DATABASE copy RENAME TO other');
is($rc, 0, 'ALTER DATABASE .. RENAME') or diag $err;
workers_run($node, 'other', 'workers under the new name');
my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$space'");
($rc, $out, $err) = $node->psql('postgres', 'ALTER DATABASE other SET TABLESPACE elsewhere');
is($rc, 0, 'ALTER DATABASE .. SET TABLESPACE') or diag $err;
workers_run($node, 'other', 'workers in the new place');

# A statement that fails gives them back.
($rc, $out, $err) = $node->psql('postgres', 'ALTER DATABASE other RENAME TO app');
like($err, qr/database "app" already exists/, 'a failing statement');
workers_run($node, 'other', 'workers after it');

# A template has none: anybody who may create databases could not copy it.
$node->safe_psql('postgres', 'ALTER DATABASE other IS_TEMPLATE true');
no_workers($node, 'other', 'no workers in a template');
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE bob; CREATE DATABASE bobs TEMPLATE other');
is($rc, 0, 'bob copies the template') or diag $err;
workers_run($node, 'bobs', 'workers in what was made of it');
$node->safe_psql('postgres', 'ALTER DATABASE other IS_TEMPLATE false');
workers_run($node, 'other', 'and again where it is no template any more');

# DROP DATABASE
for my $db (qw(app other bobs))
{
	($rc, $out, $err) = $node->psql('postgres', "DROP DATABASE $db");
	is($rc, 0, "DROP DATABASE $db") or diag $err;
}
ok($node->poll_query_until('postgres', q(SELECT count(*) = 4 FROM eb.workers)), 'eb.workers has forgotten them');
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION pg_eventbus');
workers_run($node, 'app', 'made again under the old name');
my $log = slurp_file($node->logfile);
unlike($log, qr/FATAL:|does not exist.*database/, 'no worker was sent into a database that is gone');
$node->stop('fast');
done_testing();
