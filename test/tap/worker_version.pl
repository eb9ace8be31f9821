# Workers do not touch a database whose extension is of another version than the library; eb.workers says what to do, and
# ALTER EXTENSION UPDATE brings them back.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('version');
workers_run($node, 'postgres');
my $version = $node->safe_psql('postgres', q(SELECT extversion FROM pg_extension WHERE extname = 'pg_eventbus'));

# As after a restart with the new library, before the update.
$node->safe_psql('postgres', q(UPDATE pg_extension SET extversion = '0.0.0' WHERE extname = 'pg_eventbus'));
$node->restart;
no_workers($node, 'postgres', 'no workers for another version');
ok( $node->poll_query_until('postgres', q(SELECT string_agg(format('%s %s: %s', worker, state, reason), ', ') FROM eb.workers WHERE database IS NOT NULL),
		"supervisor stopped: the library is version $version, the extension 0.0.0: restart the server, then ALTER EXTENSION pg_eventbus UPDATE"),
	'eb.workers says what to do');

$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'pg_eventbus'");
$node->safe_psql('postgres', 'ALTER EXTENSION pg_eventbus UPDATE');
workers_run($node, 'postgres', 'after ALTER EXTENSION UPDATE');
$node->stop('fast');
done_testing();
