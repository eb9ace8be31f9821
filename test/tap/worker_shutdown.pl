# All ways of shutting down work with workers running, and none of them leaves anything that hinders the next start.
use strict;
use warnings;
use EventBus;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('shutdown');
for my $mode (qw(smart fast immediate))
{
	workers_run($node, 'postgres', "before a $mode shutdown");
	$node->stop($mode);
	ok(!-e $node->data_dir . '/postmaster.pid', "$mode shutdown");
	$node->start;
}
workers_run($node, 'postgres', 'after all of them');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'nothing broke');
done_testing();
