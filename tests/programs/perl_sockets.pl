# limit: 30
use strict; use warnings; use IO::Socket::INET; use IO::Socket::UNIX; use POSIX ":sys_wait_h"; use IO::Select; $| = 1;
pipe(my $r, my $w); my $pid = fork();
if (!$pid) { close $r; print $w "from child\n"; exit 5 }
close $w; print "pipe: ", scalar <$r>; waitpid($pid, 0); print "status ", $? >> 8, "\n";
my $l = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", Proto => "tcp") or die $!;
my $port = $l->sockport;
for my $n (1 .. 4) { if (!fork()) { my $c = IO::Socket::INET->new("127.0.0.1:$port") or die $!; print $c "client $n\n"; my $a = <$c>; exit($a eq "CLIENT $n\n" ? 0 : 1) } }
for (1 .. 4) { my $c = $l->accept; my $line = <$c>; print $c uc $line; close $c }
my $bad = 0; for (1 .. 4) { wait; $bad++ if $? } print "tcp bad $bad\n";
my $path = "/tmp/perl.sock"; unlink $path; my $u = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die $!;
if (!fork()) { my $c = IO::Socket::UNIX->new(Peer => $path); print $c "x" x 100000; close $c; exit } my $c = $u->accept; my $n = 0; while (sysread($c, my $b, 4096)) { $n += length $b } print "unix $n\n"; wait;
my $got = 0; local $SIG{USR1} = sub { $got++ }; kill USR1 => $$; select(undef, undef, undef, 0.01); print "signal $got\n";
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; sleep 10 }; print "eval $@";
my $out = `echo backtick; exit 3`; print $out, $? >> 8, "\n"; print "system ", system("true"), " ", system("sh -c 'kill -9 \$\$'") & 127, "\n";
open(my $p, "-|", "seq 1 5") or die; my @l = <$p>; close $p; print "open ", scalar(@l), "\n"; my %h = map { $_ => 1 } (1 .. 50000); print "hash ", scalar(keys %h), "\n";
if (!fork()) { exit 9 } my $k; do { $k = waitpid(-1, WNOHANG); select(undef, undef, undef, 0.005) } while ($k == 0); print "nohang ", $? >> 8, "\n"; local $_ = "The quick brown fox"; print join(",", sort map { lc } /(\w+)/g), "\n";
