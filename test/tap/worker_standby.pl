# A standby runs no workers and says why; promotion starts them.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $primary = new_server('primary', allows_streaming => 1);
workers_run($primary, 'postgres', 'the workers of the primary run');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

is($standby->safe_psql('postgres', q(SELECT worker, state, reason FROM eb.workers WHERE database IS NULL)),
	'launcher|stopped|the server is a standby: workers start when it is promoted', 'eb.workers on the standby');
is($standby->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventbus%')), '0', 'no process');
my ($rc, $out, $err) = $standby->psql('postgres', 'CALL eb.maintain()');
like($err, qr/cannot execute CALL eb.maintain during recovery/, 'maintenance is refused');

$standby->promote;
workers_run($standby, 'postgres', 'after promotion');
$primary->stop('fast');
$standby->stop('fast');
done_testing();
