// Pending signals: blocking, order of real-time queues, sigwait and friends, signalfd, stop and continue.
#include "t.h"
#include <sys/epoll.h>
#include <sys/signalfd.h>

static sigset_t set_of(int a, int b) { sigset_t s; sigemptyset(&s); sigaddset(&s, a); if (b) sigaddset(&s, b); return s; }
static sigset_t block(int a, int b) { sigset_t s = set_of(a, b); OK(sigprocmask(SIG_BLOCK, &s, 0)); return s; }
static int seen[100], count;
static void on(int s, siginfo_t *i, void *c) { seen[count++] = i->si_code == SI_QUEUE ? i->si_value.sival_int : s; }
static void handle(int s) { struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO}; sigfillset(&a.sa_mask); OK(sigaction(s, &a, 0)); }

TEST(standard_signals_coalesce) {
    handle(SIGUSR1);
    sigset_t s = block(SIGUSR1, 0), p;
    for (int i = 0; i < 5; i++) raise(SIGUSR1);
    OK(sigpending(&p));
    CHECK(sigismember(&p, SIGUSR1) && !sigismember(&p, SIGUSR2));
    sigprocmask(SIG_UNBLOCK, &s, 0);
    EQ(count, 1);
}
TEST(realtime_signals_queue_in_order) {
    int r = SIGRTMIN;
    handle(r);
    handle(r + 1);
    sigset_t s = block(r, r + 1);
    for (int i = 0; i < 5; i++) { sigqueue(getpid(), r + 1, (union sigval){i + 10}); sigqueue(getpid(), r, (union sigval){i}); }
    sigprocmask(SIG_UNBLOCK, &s, 0);
    EQ(count, 10);
    for (int i = 0; i < 5; i++) { EQ(seen[i], i); EQ(seen[i + 5], i + 10); }
}
TEST(queue_limit) {
    struct rlimit l = {5, 5};
    setrlimit(RLIMIT_SIGPENDING, &l);
    if (getuid() == 0) OK(syscall(SYS_setuid, 12345));
    block(SIGRTMIN, 0);
    int k = 0;
    while (k < 100 && sigqueue(getpid(), SIGRTMIN, (union sigval){k}) == 0) k++;
    CHECK(k <= 5);
    ERR(sigqueue(getpid(), SIGRTMIN, (union sigval){0}), EAGAIN);
}
TEST(sigsuspend) {
    handle(SIGUSR1);
    block(SIGUSR1, 0);
    pid_t me = getpid();
    CHILD({ t_sleep(20); kill(me, SIGUSR1); });
    sigset_t none, now;
    sigemptyset(&none);
    ERR(sigsuspend(&none), EINTR);
    EQ(count, 1);
    sigprocmask(SIG_BLOCK, 0, &now);
    CHECK(sigismember(&now, SIGUSR1));
}
TEST(sigtimedwait) {
    sigset_t s = block(SIGUSR1, SIGRTMIN);
    siginfo_t i;
    struct timespec t = {0, 20000000}, zero = {0, 0}, bad = {0, 2000000000};
    ERR(sigtimedwait(&s, &i, &t), EAGAIN);
    ERR(sigtimedwait(&s, &i, &zero), EAGAIN);
    ERR(sigtimedwait(&s, &i, &bad), EINVAL);
    sigqueue(getpid(), SIGRTMIN, (union sigval){7});
    raise(SIGUSR1);
    EQ(sigtimedwait(&s, &i, &t), SIGUSR1);
    EQ(i.si_code, SI_USER); // the C library says so for SI_TKILL
    EQ(sigwaitinfo(&s, &i), SIGRTMIN);
    EQ(i.si_value.sival_int, 7);
    pid_t me = getpid();
    CHILD({ t_sleep(20); kill(me, SIGUSR1); });
    EQ(sigwaitinfo(&s, &i), SIGUSR1);
}
TEST(sigtimedwait_interrupted) {
    handle(SIGUSR2);
    sigset_t s = block(SIGUSR1, 0);
    pid_t me = getpid();
    CHILD({ t_sleep(20); kill(me, SIGUSR2); });
    siginfo_t i;
    ERR(sigwaitinfo(&s, &i), EINTR);
    EQ(count, 1);
}
TEST(signalfd_reads) {
    sigset_t s = block(SIGUSR1, SIGRTMIN);
    int f = OK(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
    struct signalfd_siginfo i[4];
    ERR(read(f, i, sizeof i), EAGAIN);
    ERR(read(f, i, 10), EINVAL);
    struct pollfd x = {f, POLLIN, 0};
    EQ(poll(&x, 1, 0), 0);
    raise(SIGUSR1);
    sigqueue(getpid(), SIGRTMIN, (union sigval){42});
    EQ(poll(&x, 1, 0), 1);
    EQ(read(f, i, sizeof i), 2 * (long)sizeof *i);
    EQ(i[0].ssi_signo, SIGUSR1); EQ(i[0].ssi_pid, getpid());
    EQ(i[1].ssi_signo, SIGRTMIN); EQ(i[1].ssi_int, 42); EQ(i[1].ssi_code, SI_QUEUE);
    sigset_t only = set_of(SIGUSR2, 0);
    EQ(signalfd(f, &only, 0), f);
    raise(SIGUSR1);
    ERR(read(f, i, sizeof i), EAGAIN);
    ERR(signalfd(0, &s, 0), EINVAL);
    ERR(signalfd(-1, &s, 0x1234), EINVAL);
}
TEST(signalfd_shows_the_signals_of_whoever_asks) {
    sigset_t s = block(SIGUSR1, 0);
    int f = OK(signalfd(-1, &s, 0)), e = OK(epoll_create1(0));
    struct pollfd x = {f, POLLIN, 0};
    struct epoll_event v = {EPOLLIN};
    CODE(CHILD({
        raise(SIGUSR1);
        EQ(poll(&x, 1, 0), 1);
        OK(epoll_ctl(e, EPOLL_CTL_ADD, f, &v));
        EQ(epoll_wait(e, &v, 1, 0), 1);
    }), 0);
    EQ(poll(&x, 1, 0), 0);
    EQ(epoll_wait(e, &v, 1, 0), 0);
}
TEST(signalfd_blocks_until_signal) {
    sigset_t s = block(SIGUSR1, 0);
    int f = OK(signalfd(-1, &s, 0));
    pid_t me = getpid();
    CHILD({ t_sleep(20); kill(me, SIGUSR1); });
    struct signalfd_siginfo i;
    EQ(read(f, &i, sizeof i), (long)sizeof i);
    EQ(i.ssi_code, SI_USER);
}
TEST(signalfd_does_not_signal) {
    sigset_t set;
    block(SIGUSR1, SIGIO);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    int f = OK(signalfd(-1, &set, 0));
    OK(fcntl(f, F_SETOWN, getpid()));
    OK(fcntl(f, F_SETFL, O_ASYNC));
    raise(SIGUSR1);
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1) && !sigismember(&set, SIGIO));
}
TEST(async_names_the_descriptor) {
    int s[2], owner = getpid();
    siginfo_t i;
    sigset_t set;
    block(SIGRTMIN, SIGRTMIN);
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(ioctl(s[0], FIOSETOWN, &owner));
    owner = 0;
    OK(ioctl(s[0], SIOCGPGRP, &owner));
    EQ(owner, getpid());
    ERR(fcntl(s[0], F_SETOWN_EX, &(struct f_owner_ex){99, 0}), EINVAL);
    OK(fcntl(s[0], F_SETFL, O_ASYNC));
    OK(fcntl(dup(s[0]), F_SETSIG, SIGRTMIN));
    write(s[1], "x", 1);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    EQ(sigwaitinfo(&set, &i), SIGRTMIN);
    EQ(i.si_fd, s[0]);
}
TEST(kill_and_stop_cannot_be_blocked) {
    sigset_t all, now;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, 0);
    sigprocmask(SIG_SETMASK, 0, &now);
    CHECK(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP));
    KILLED(CHILD(raise(SIGKILL)), SIGKILL);
}
TEST(cont_discards_stops_and_resumes) {
    int st;
    pid_t p = CHILD({ handle(SIGCONT); raise(SIGSTOP); _exit(count); });
    EQ(waitpid(p, &st, WUNTRACED), p);
    t_state(p, 'T');
    kill(p, SIGTERM); // stays pending while stopped
    t_sleep(20);
    EQ(waitpid(p, &st, WNOHANG), 0);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
    p = CHILD({ handle(SIGCONT); raise(SIGSTOP); _exit(count); });
    EQ(waitpid(p, &st, WUNTRACED), p);
    kill(p, SIGCONT);
    CODE(p, 1);
}
TEST(init_may_wait_for_what_it_blocks) {
    CODE(CHILD({
        OK(unshare(CLONE_NEWPID));
        CODE(CHILD({
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            kill(getpid(), SIGUSR1); // dropped: an init without a handler
            sigprocmask(SIG_BLOCK, &set, 0);
            ERR(sigtimedwait(&set, 0, &(struct timespec){0, 1000000}), EAGAIN);
            kill(getpid(), SIGUSR1);
            EQ(sigwaitinfo(&set, 0), SIGUSR1);
        }), 0);
    }), 0);
}
TEST(stop_stops_every_thread) {
    static volatile long ticks;
    int st;
    volatile long *t = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t p = CHILD({ for (;;) { (*t)++; ticks++; } });
    kill(p, SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED), p);
    long a = *t;
    t_sleep(30);
    EQ(*t, a);
    kill(p, SIGCONT);
    t_sleep(100);
    CHECK(*t > a);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(pending_is_shown_in_proc) {
    block(SIGUSR1, SIGUSR2);
    kill(getpid(), SIGUSR1);
    raise(SIGUSR2);
    char *s = t_get("/proc/self/status");
    CHECK(strstr(s, "ShdPnd:\t0000000000000200"));
    CHECK(strstr(s, "SigPnd:\t0000000000000800"));
    CHECK(strstr(s, "SigBlk:\t0000000000000a00"));
}
TEST(sigqueueinfo_rules) {
    siginfo_t i = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    sigset_t s = block(SIGUSR1, 0);
    i.si_value.sival_int = 5;
    OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &i));
    siginfo_t o;
    EQ(sigwaitinfo(&s, &o), SIGUSR1);
    EQ(o.si_value.sival_int, 5);
    i.si_code = SI_USER; // only the kernel says so, about others
    ERR(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &i), EPERM);
    OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &i));
}
int main(void) {
    RUN(standard_signals_coalesce); RUN(realtime_signals_queue_in_order); RUN(queue_limit); RUN(sigsuspend); RUN(sigtimedwait);
    RUN(sigtimedwait_interrupted); RUN(signalfd_reads); RUN(signalfd_shows_the_signals_of_whoever_asks); RUN(signalfd_blocks_until_signal); RUN(signalfd_does_not_signal); RUN(async_names_the_descriptor); RUN(kill_and_stop_cannot_be_blocked);
    RUN(cont_discards_stops_and_resumes); RUN(init_may_wait_for_what_it_blocks); RUN(stop_stops_every_thread); RUN(pending_is_shown_in_proc); RUN(sigqueueinfo_rules);
    DONE();
}
