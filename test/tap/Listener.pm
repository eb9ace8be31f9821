# A session that listens on a channel; its notifications are fetched by a statement that does nothing.
package Listener;

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;

sub new
{
	my ($class, $node, $db, $channel) = @_;
	my $self = bless { in => '', out => '', n => 0 }, $class;
	$self->{timer} = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default // 180);
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr($db), '-v', 'ON_ERROR_STOP=1' ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	$self->query(qq(LISTEN "$channel"));
	return $self;
}

# Run something; returns its lines.  Notifications that psql prints are put aside.
sub query
{
	my ($self, @statements) = @_;
	my $sql = join ";\n", @statements;
	my $mark = 'mark ' . ++$self->{n};
	$self->{in} .= "$sql;\n\\echo $mark\n";
	$self->{run}->pump until $self->{out} =~ /^\Q$mark\E$/m;
	my @lines = split /\n/, $self->{out};
	$self->{out} = '';
	my @result;
	for my $line (@lines)
	{
		if ($line =~ /^Asynchronous notification "(.*?)" with payload "(.*?)" received/)
		{
			push @{ $self->{heard} }, "$1 $2";
		}
		elsif ($line ne $mark)
		{
			push @result, $line;
		}
	}
	return @result;
}

# What was heard, once there is something.
sub wait
{
	my ($self) = @_;
	my $tries = 1800;
	while (!@{ $self->{heard} // [] } && $tries--)
	{
		$self->query('SELECT pg_sleep(0.1)');
	}
	return $self->heard;
}

sub heard
{
	my ($self) = @_;
	my @heard = @{ $self->{heard} // [] };
	$self->{heard} = [];
	return @heard;
}

# Whether something is heard in a short while, which is forgotten.
sub quick
{
	my ($self) = @_;
	$self->query('SELECT pg_sleep(0.01)');
	$self->query('SELECT pg_sleep(0.2)') unless @{ $self->{heard} // [] };
	return scalar $self->heard;
}

# What is heard in a while in which nothing should be.
sub quiet
{
	my ($self) = @_;
	$self->query('SELECT pg_sleep(0.1)') for 1 .. 7;
	return $self->heard;
}

sub finish
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	$self->{run}->finish;
	return;
}

1;
