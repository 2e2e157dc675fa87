// Sleeping and timers: nanosleep, itimers, POSIX timers, timerfd, CPU clocks, alarm.
#include "t.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>

static volatile int n, overrun, value;
static void on(int s, siginfo_t *i, void *c) { n++; overrun = i->si_overrun; value = i->si_value.sival_int; }
static void handle(int s) { struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO | SA_RESTART}; OK(sigaction(s, &a, 0)); }
static void until(volatile int *v, int want) { for (double end = t_now() + 5; *v < want && t_now() < end;) t_sleep(2); GE(*v, want); }
static void burn(double s) { struct timespec t; do { for (volatile int i = 0; i < 100000; i++) {} clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); } while (t.tv_sec + t.tv_nsec / 1e9 < s); }

TEST(nanosleep_errors_and_length) {
    struct timespec bad = {0, 1000000000}, neg = {-1, 0}, t = {0, 20000000};
    ERR(nanosleep(&bad, 0), EINVAL);
    ERR(nanosleep(&neg, 0), EINVAL);
    ERR(nanosleep((void *)8, 0), EFAULT);
    double a = t_now();
    OK(nanosleep(&t, 0));
    double d = t_now() - a;
    CHECK(d >= 0.0199 && d < 0.5);
    EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, 0), EINVAL);
    EQ(clock_nanosleep(99, 0, &t, 0), EINVAL);
    struct timespec past = {1, 0};
    EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &past, 0), 0);
}
TEST(alarm_returns_the_rest) {
    EQ(alarm(100), 10);
    CHECK(alarm(0) >= 99);
    EQ(alarm(0), 0);
    handle(SIGALRM);
    ualarm(20000, 0);
    until(&n, 1);
}
TEST(itimer_real_repeats) {
    handle(SIGALRM);
    struct itimerval v = {{0, 10000}, {0, 10000}}, o;
    OK(setitimer(ITIMER_REAL, &v, 0));
    until(&n, 5);
    OK(getitimer(ITIMER_REAL, &o));
    EQ(o.it_interval.tv_usec, 10000);
    memset(&v, 0, sizeof v);
    OK(setitimer(ITIMER_REAL, &v, &o));
    EQ(o.it_interval.tv_usec, 10000);
    v.it_value.tv_usec = 1000000;
    ERR(setitimer(ITIMER_REAL, &v, 0), EINVAL);
    ERR(setitimer(7, &o, 0), EINVAL);
}
TEST(itimer_virtual_and_prof) {
    handle(SIGVTALRM);
    handle(SIGPROF);
    struct itimerval v = {{0, 0}, {0, 20000}};
    OK(setitimer(ITIMER_VIRTUAL, &v, 0));
    burn(0.15);
    EQ(n, 1);
    OK(setitimer(ITIMER_PROF, &v, 0));
    burn(0.3);
    EQ(n, 2);
}
TEST(posix_timer_signal_and_value) {
    handle(SIGRTMIN);
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 321};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec s = {{0, 0}, {0, 10000000}}, o;
    OK(timer_settime(t, 0, &s, 0));
    until(&n, 1);
    EQ(value, 321);
    OK(timer_gettime(t, &o));
    EQ(o.it_value.tv_nsec, 0);
    s.it_value.tv_sec = 100;
    OK(timer_settime(t, 0, &s, 0));
    OK(timer_gettime(t, &o));
    CHECK(o.it_value.tv_sec == 99 || o.it_value.tv_sec == 100);
    OK(timer_delete(t));
    ERR(timer_gettime(t, &o), EINVAL);
}
// A timer whose signal is blocked, and the set that unblocks it.
static timer_t blocked_timer(sigset_t *b) {
    sigemptyset(b);
    sigaddset(b, SIGRTMIN);
    sigprocmask(SIG_BLOCK, b, 0);
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    return t;
}
TEST(posix_timer_overrun) {
    handle(SIGRTMIN);
    sigset_t b;
    timer_t t = blocked_timer(&b);
    struct itimerspec s = {{0, 5000000}, {0, 5000000}};
    OK(timer_settime(t, 0, &s, 0));
    sigset_t pending;
    UNTIL(sigpending(&pending) == 0 && sigismember(&pending, SIGRTMIN));
    sigprocmask(SIG_UNBLOCK, &b, 0);
    GE(n, 1);
    CHECK(timer_getoverrun(t) >= 0);
    GE(n, 1);
}
static volatile int thread_hits;
static void notify(union sigval v) { thread_hits += v.sival_int; }
TEST(posix_timer_thread) {
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify, .sigev_value.sival_int = 1};
    OK(timer_create(CLOCK_REALTIME, &e, &t));
    struct itimerspec s = {{0, 0}, {0, 10000000}};
    OK(timer_settime(t, 0, &s, 0));
    until(&thread_hits, 1);
}
TEST(posix_timer_cpu_clock) {
    handle(SIGRTMIN);
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    OK(timer_create(CLOCK_PROCESS_CPUTIME_ID, &e, &t));
    struct itimerspec s = {{0, 0}, {0, 30000000}};
    OK(timer_settime(t, 0, &s, 0));
    t_sleep(60);
    EQ(n, 0); // sleeping uses no CPU time
    burn(0.2);
    EQ(n, 1);
    ERR(timer_create(99, &e, &t), EINVAL);
}
TEST(posix_timer_absolute) {
    handle(SIGRTMIN);
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    OK(timer_create(CLOCK_REALTIME, &e, &t));
    struct itimerspec s = {{0, 0}, {1, 0}}; // long past
    OK(timer_settime(t, TIMER_ABSTIME, &s, 0));
    until(&n, 1);
}
TEST(timerfd_basic) {
    int f = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    uint64_t k;
    ERR(read(f, &k, 8), EAGAIN);
    struct itimerspec s = {{0, 10000000}, {0, 10000000}}, o;
    OK(timerfd_settime(f, 0, &s, 0));
    ERR(read(f, &k, 4), EINVAL);
    struct pollfd x = {f, POLLIN, 0};
    EQ(poll(&x, 1, 2000), 1);
    t_sleep(50);
    EQ(read(f, &k, 8), 8);
    CHECK(k >= 3 && k < 200);
    OK(timerfd_gettime(f, &o));
    EQ(o.it_interval.tv_nsec, 10000000);
    memset(&s, 0, sizeof s);
    OK(timerfd_settime(f, 0, &s, &o));
    ERR(read(f, &k, 8), EAGAIN);
    ERR(timerfd_create(99, 0), EINVAL);
    ERR(timerfd_create(CLOCK_MONOTONIC, 0x77), EINVAL);
    ERR(timerfd_settime(0, 0, &s, 0), EINVAL);
    s.it_value.tv_nsec = -1;
    ERR(timerfd_settime(f, 0, &s, 0), EINVAL);
    ERR(write(f, &k, 8), EINVAL);
}
TEST(timerfd_blocking_and_absolute) {
    int f = OK(timerfd_create(CLOCK_REALTIME, 0));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct itimerspec s = {{0, 0}, {now.tv_sec, now.tv_nsec + 30000000}};
    if (s.it_value.tv_nsec >= 1000000000) s.it_value.tv_sec++, s.it_value.tv_nsec -= 1000000000;
    OK(timerfd_settime(f, TFD_TIMER_ABSTIME, &s, 0));
    uint64_t k = 0;
    double a = t_now();
    EQ(read(f, &k, 8), 8);
    EQ(k, 1);
    CHECK(t_now() - a < 1);
}
TEST(cpu_clocks) {
    struct timespec a, b;
    clockid_t id;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    t_sleep(50);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    CHECK(b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9 < 0.03);
    pid_t p = CHILD({ burn(0.1); raise(SIGSTOP); pause(); });
    int st;
    EQ(waitpid(p, &st, WUNTRACED), p);
    EQ(clock_getcpuclockid(p, &id), 0);
    OK(clock_gettime(id, &a));
    CHECK(a.tv_sec * 1e3 + a.tv_nsec / 1e6 > 50);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(clock_ids) {
    struct timespec t;
    for (int c = 0; c < 12; c++) if (c < 8 || c == 11) { OK(clock_gettime(c, &t)); OK(clock_getres(c, &t)); }
    ERR(clock_gettime(10, &t), EINVAL);
    ERR(clock_gettime(40, &t), EINVAL);
    OK(clock_getres(CLOCK_MONOTONIC, &t));
    EQ(t.tv_nsec, 1);
    ERR(clock_settime(CLOCK_MONOTONIC, &t), EINVAL);
}
TEST(timers_do_not_survive_fork_and_exec) {
    handle(SIGALRM);
    struct itimerval v = {{0, 0}, {0, 30000}};
    OK(setitimer(ITIMER_REAL, &v, 0));
    CODE(CHILD({ struct itimerval o; getitimer(ITIMER_REAL, &o); EQ(o.it_value.tv_usec, 0); }), 0);
    until(&n, 1);
}
// Who does not read a timer hears of it once.
TEST(timerfd_is_heard_once_until_read) {
    int f = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), e = OK(epoll_create1(0));
    struct itimerspec s = {{0, 5000000}, {0, 5000000}};
    struct epoll_event ev = {EPOLLIN | EPOLLET, {0}};
    OK(epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
    OK(timerfd_settime(f, 0, &s, 0));
    EQ(epoll_wait(e, &ev, 1, 5000), 1);
    t_sleep(50);
    EQ(epoll_wait(e, &ev, 1, 0), 0);
    uint64_t k;
    EQ(read(f, &k, 8), 8);
    GE(k, 3);
    EQ(epoll_wait(e, &ev, 1, 5000), 1);
}
// However often it has gone off, a timer's signal is pending once, and counts the rest.
TEST(posix_timer_is_pending_once) {
    sigset_t b;
    timer_t t = blocked_timer(&b);
    struct itimerspec s = {{0, 300000000}, {0, 1000000}}, none = {{0}};
    OK(timer_settime(t, 0, &s, 0));
    t_sleep(1000);
    siginfo_t i;
    struct timespec now = {0, 0};
    EQ(sigtimedwait(&b, &i, &now), SIGRTMIN);
    OK(timer_settime(t, 0, &none, 0));
    EQ(i.si_code, SI_TIMER);
    CHECK(i.si_overrun >= 2 && i.si_overrun <= 20);
    ERR(sigtimedwait(&b, &i, &now), EAGAIN);
}
// It stands still while its signal is pending, and counts what it has missed when that is taken.
TEST(posix_timer_of_a_nanosecond) {
    sigset_t b;
    timer_t t = blocked_timer(&b);
    struct itimerspec s = {{0, 1}, {0, 1}}, none = {{0}};
    OK(timer_settime(t, 0, &s, 0));
    siginfo_t i;
    struct timespec now = {0, 0}, long_time = {5, 0};
    for (int k = 0; k < 3; k++) {
        t_sleep(20);
        EQ(sigtimedwait(&b, &i, &long_time), SIGRTMIN);
        EQ(i.si_code, SI_TIMER);
        GE(i.si_overrun, 19000000);
        EQ(timer_getoverrun(t), i.si_overrun);
    }
    // 2^31 nanoseconds and more: it does not overflow.
    t_sleep(2300);
    EQ(sigtimedwait(&b, &i, &long_time), SIGRTMIN);
    EQ(i.si_overrun, INT_MAX);
    OK(timer_settime(t, 0, &none, 0));
    sigtimedwait(&b, &i, &now);
    ERR(sigtimedwait(&b, &i, &now), EAGAIN);
}
TEST(posix_timer_goes_on_after_being_ignored) {
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    signal(SIGRTMIN, SIG_IGN);
    struct itimerspec s = {{0, 1000000}, {0, 1000000}};
    OK(timer_settime(t, 0, &s, 0));
    t_sleep(20);
    handle(SIGRTMIN);
    until(&n, 3);
}
TEST(posix_timer_that_tells_nobody) {
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec s = {{0, 0}, {0, 1000000}};
    OK(timer_settime(t, 0, &s, 0));
    t_sleep(20);
    OK(timer_gettime(t, &s));
    EQ(s.it_value.tv_sec | s.it_value.tv_nsec, 0);
    s.it_value.tv_nsec = s.it_interval.tv_nsec = 7000000;
    OK(timer_settime(t, 0, &s, 0));
    t_sleep(20);
    OK(timer_gettime(t, &s));
    CHECK(s.it_value.tv_nsec > 0 && s.it_value.tv_nsec <= 7000000);
    EQ(timer_getoverrun(t), 0);
}
// As a POSIX timer: the next is due when this one is taken, and several that are due are one.
TEST(itimer_real_waits_for_its_signal) {
    sigset_t b, pending;
    sigemptyset(&b);
    sigaddset(&b, SIGALRM);
    sigprocmask(SIG_BLOCK, &b, 0);
    struct itimerval v = {{0, 1}, {0, 1}}, none = {{0}};
    OK(setitimer(ITIMER_REAL, &v, 0));
    for (int k = 0; k < 3; k++) EQ(sigwaitinfo(&b, 0), SIGALRM);
    OK(setitimer(ITIMER_REAL, &none, 0));
    struct timespec now = {0, 0};
    sigtimedwait(&b, 0, &now);
    OK(sigpending(&pending));
    EQ(sigismember(&pending, SIGALRM), 0);
}
int main(void) {
    RUN(posix_timer_of_a_nanosecond); RUN(posix_timer_goes_on_after_being_ignored); RUN(posix_timer_that_tells_nobody);
    RUN(itimer_real_waits_for_its_signal);
    RUN(nanosleep_errors_and_length); RUN(alarm_returns_the_rest); RUN(itimer_real_repeats); RUN(itimer_virtual_and_prof);
    RUN(posix_timer_signal_and_value); RUN(posix_timer_overrun); RUN(posix_timer_thread); RUN(posix_timer_cpu_clock);
    RUN(posix_timer_absolute); RUN(timerfd_basic); RUN(timerfd_blocking_and_absolute); RUN(cpu_clocks); RUN(clock_ids);
    RUN(timers_do_not_survive_fork_and_exec); RUN(timerfd_is_heard_once_until_read); RUN(posix_timer_is_pending_once);
    DONE();
}
