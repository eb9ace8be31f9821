# After a crash one notification goes out for each queue that is not empty: what woke whom before is not known any more.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('restart', conf => "eb.notify_repeat = 1d\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue(q) FROM unnest(ARRAY['full', 'empty', 'later']) q));
$node->safe_psql('postgres', q(SELECT eb.send('full', '1'); SELECT eb.send('later', '1', delay => '1 hour')));
$node->stop('immediate');

# Workers wait until somebody listens, which the test must be sure of.
$node->append_conf('postgresql.conf', "eb.workers_enabled = off\n");
$node->start;
my %listener = map { $_ => Listener->new($node, 'postgres', "eb_$_") } qw(full empty later);
$node->append_conf('postgresql.conf', "eb.workers_enabled = on\n");
$node->reload;
workers_run($node, 'postgres');
is_deeply([ $listener{full}->wait ], [ 'eb_full full' ], 'the queue that has a message');
is_deeply([ $listener{$_}->quiet ], [], "not the $_ one") for qw(empty later);
$_->finish for values %listener;
$node->stop('fast');
done_testing();
