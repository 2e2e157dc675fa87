// Signal-driven input: fcntl(2) F_SETOWN, F_SETSIG, O_ASYNC.
#include "t.h"
#include <sys/epoll.h>
#include <sys/signalfd.h>

static volatile int hits, code, number;
static volatile long band;
static void on(int s, siginfo_t *i, void *u) { hits++; code = i->si_code; number = i->si_fd; band = i->si_band; }
static void handle(int signal) { struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO}; OK(sigaction(signal, &a, 0)); }

TEST(told_before_the_write_returns) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    handle(SIGIO);
    OK(fcntl(s[0], F_SETOWN, getpid()));
    EQ(fcntl(s[0], F_GETOWN), getpid());
    OK(fcntl(s[0], F_SETFL, fcntl(s[0], F_GETFL) | O_ASYNC));
    hits = 0;
    EQ(write(s[1], "x", 1), 1);
    GE(hits, 1);
    OK(fcntl(s[0], F_SETFL, fcntl(s[0], F_GETFL) & ~O_ASYNC));
    hits = 0;
    EQ(write(s[1], "x", 1), 1);
    EQ(hits, 0);
}
TEST(a_signal_of_ones_own_choice) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    handle(SIGRTMIN);
    OK(fcntl(s[0], F_SETOWN, getpid()));
    OK(fcntl(s[0], F_SETSIG, SIGRTMIN));
    EQ(fcntl(s[0], F_GETSIG), SIGRTMIN);
    OK(fcntl(s[0], F_SETFL, O_ASYNC));
    hits = 0;
    EQ(write(s[1], "x", 1), 1);
    GE(hits, 1);
    EQ(code, POLL_IN);
    EQ(number, s[0]);
    CHECK(band & POLLIN);
    ERR(fcntl(s[0], F_SETSIG, 65), EINVAL);
}
TEST(from_another_process) {
    int p[2];
    OK(pipe(p));
    sigset_t io;
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    OK(sigprocmask(SIG_BLOCK, &io, 0));
    OK(fcntl(p[0], F_SETOWN, getpid()));
    OK(fcntl(p[0], F_SETFL, O_ASYNC));
    pid_t c = CHILD({ t_sleep(50); write(p[1], "x", 1); });
    struct timespec t = {5, 0};
    EQ(sigtimedwait(&io, 0, &t), SIGIO);
    CODE(c, 0);
}
// A signal makes a signalfd ready that an epoll watches, while another signal is on its way: no way of telling holds what the next one needs.
TEST(signals_and_signalfds_and_epoll) {
    int s[2], e = OK(epoll_create1(0)), got = 0;
    sigset_t all;
    sigemptyset(&all);
    sigaddset(&all, SIGIO);
    sigaddset(&all, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &all, 0));
    int f = OK(signalfd(-1, &all, SFD_NONBLOCK));
    struct epoll_event ev = {EPOLLIN | EPOLLET, {0}};
    OK(epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(fcntl(s[0], F_SETOWN, getpid()));
    OK(fcntl(s[0], F_SETFL, O_ASYNC | O_NONBLOCK));
    fcntl(f, F_SETOWN, getpid());
    fcntl(f, F_SETFL, O_ASYNC | O_NONBLOCK);
    for (int i = 0; i < 200; i++) {
        write(s[1], "x", 1);
        kill(getpid(), SIGUSR1);
        if (epoll_wait(e, &ev, 1, 0) == 1) got++;
        struct signalfd_siginfo si;
        while (read(f, &si, sizeof si) == sizeof si) {}
    }
    GE(got, 1);
}
TEST(owners) {
    int p[2];
    OK(pipe(p));
    struct f_owner_ex o = {F_OWNER_TID, getpid()};
    OK(fcntl(p[0], F_SETOWN_EX, &o));
    memset(&o, 0, sizeof o);
    OK(fcntl(p[0], F_GETOWN_EX, &o));
    EQ(o.type, F_OWNER_TID);
    EQ(o.pid, getpid());
    OK(fcntl(p[0], F_SETOWN, -getpgrp()));
    OK(fcntl(p[0], F_GETOWN_EX, &o));
    EQ(o.type, F_OWNER_PGRP);
    o.type = 77;
    ERR(fcntl(p[0], F_SETOWN_EX, &o), EINVAL);
    ERR(fcntl(p[0], F_SETOWN, 999999), ESRCH);
    OK(fcntl(p[0], F_SETOWN, 0));
    EQ(fcntl(p[0], F_GETOWN), 0);
}
int main(void) {
    RUN(told_before_the_write_returns); RUN(a_signal_of_ones_own_choice); RUN(from_another_process); RUN(signals_and_signalfds_and_epoll); RUN(owners);
    DONE();
}
