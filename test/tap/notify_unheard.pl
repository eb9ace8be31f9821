# While nobody listens, consumers that poll cause no NOTIFY; who listens later is told what is there already, and then as usual.
use strict;
use warnings;
use EventBus;
use Listener;
use PostgreSQL::Test::Utils;
use Test::More;
use Workers;

my $node = new_server('unheard', conf => "autovacuum = off\neb.maintenance_interval = 1d\neb.notify_repeat = 1h\n");
workers_run($node, 'postgres');
$node->safe_psql('postgres', q(SELECT eb.create_queue('q')));

# Rounds of a look in vain, which arms the queue, and a message; each round takes two transaction ids, a NOTIFY takes one more.
sub transactions
{
	return $node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())');
}

sub rounds
{
	my $n = shift;
	$node->safe_psql('postgres', "SELECT * FROM eb.consume('q', 10);\nSELECT eb.send('q', '1');\n" x $n);
}
rounds(5);
$node->safe_psql('postgres', q(CALL eb.maintain()));
my $before = transactions();
rounds(300);
cmp_ok(transactions() - $before, '<', 620, 'nobody listens: no transactions but those of sender and consumer');

my $listener = Listener->new($node, 'postgres', 'eb_q');
ok($listener->wait, 'who listens now is told of the message that waits');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eb.consume('q', 10))), 1, 'it is there');
$node->safe_psql('postgres', q(SELECT count(*) FROM eb.consume('q', 10)));
$node->safe_psql('postgres', q(SELECT eb.send('q', '2')));
ok($listener->wait, 'and of the next one');
$listener->finish;
$node->stop('fast');
done_testing();
