// epoll, eventfd, poll, select.
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static int e;
static struct epoll_event ev[10];
static int add(int f, unsigned events) { struct epoll_event x = {events, {.fd = f}}; return epoll_ctl(e, EPOLL_CTL_ADD, f, &x); }
static int wait0(void) { return epoll_wait(e, ev, 10, 0); }
static void up(int f, uint64_t v) { EQ(write(f, &v, 8), 8); }
static uint64_t down(int f) { uint64_t v = 0; EQ(read(f, &v, 8), 8); return v; }
#define START e = OK(epoll_create1(EPOLL_CLOEXEC)); int f = OK(eventfd(0, EFD_NONBLOCK))
TEST(level) { START; OK(add(f, EPOLLIN)); EQ(wait0(), 0); up(f, 1); EQ(wait0(), 1); EQ(wait0(), 1); EQ(ev[0].events, EPOLLIN); EQ(ev[0].data.fd, f); down(f); EQ(wait0(), 0); }
TEST(edge) { START; OK(add(f, EPOLLIN | EPOLLET)); up(f, 1); EQ(wait0(), 1); EQ(wait0(), 0); up(f, 1); EQ(wait0(), 1); EQ(wait0(), 0); down(f); EQ(wait0(), 0); up(f, 1); EQ(wait0(), 1); }
TEST(edge_reports_what_is_there_when_added) { START; up(f, 1); OK(add(f, EPOLLIN | EPOLLET)); EQ(wait0(), 1); EQ(wait0(), 0); }
TEST(oneshot) {
    START;
    OK(add(f, EPOLLIN | EPOLLONESHOT));
    up(f, 1);
    EQ(wait0(), 1); EQ(wait0(), 0);
    struct epoll_event x = {EPOLLIN | EPOLLONESHOT, {.fd = f}};
    OK(epoll_ctl(e, EPOLL_CTL_MOD, f, &x));
    EQ(wait0(), 1); EQ(wait0(), 0);
}
TEST(ctl_errors) {
    START;
    struct epoll_event x = {EPOLLIN};
    OK(add(f, EPOLLIN));
    ERR(add(f, EPOLLIN), EEXIST);
    OK(epoll_ctl(e, EPOLL_CTL_DEL, f, 0));
    ERR(epoll_ctl(e, EPOLL_CTL_DEL, f, 0), ENOENT);
    ERR(epoll_ctl(e, EPOLL_CTL_MOD, f, &x), ENOENT);
    ERR(add(e, EPOLLIN), EINVAL);
    ERR(add(999, EPOLLIN), EBADF);
    ERR(epoll_ctl(f, EPOLL_CTL_ADD, e, &x), EINVAL);
    ERR(add(OK(open("/bin/true", O_RDONLY)), EPOLLIN), EPERM);
    ERR(epoll_ctl(e, 9, f, &x), EINVAL);
    ERR(epoll_wait(e, ev, 0, 0), EINVAL);
    ERR(epoll_wait(0, ev, 1, 0), EINVAL);
    ERR(epoll_create(0), EINVAL);
    ERR(epoll_create1(0x55), EINVAL);
}
TEST(nested_and_loops) {
    START;
    int outer = OK(epoll_create1(0));
    struct epoll_event x = {EPOLLIN, {.u64 = 77}};
    OK(add(f, EPOLLIN));
    OK(epoll_ctl(outer, EPOLL_CTL_ADD, e, &x));
    EQ(epoll_wait(outer, ev, 10, 0), 0);
    up(f, 1);
    EQ(epoll_wait(outer, ev, 10, 100), 1);
    EQ(ev[0].data.u64, 77);
    ERR(epoll_ctl(e, EPOLL_CTL_ADD, outer, &x), ELOOP);
    struct pollfd p = {outer, POLLIN, 0};
    EQ(poll(&p, 1, 0), 1);
    int d[7];
    d[0] = OK(epoll_create1(0));
    for (int i = 1; i < 5; i++) { d[i] = OK(epoll_create1(0)); OK(epoll_ctl(d[i], EPOLL_CTL_ADD, d[i - 1], &x)); }
    d[5] = OK(epoll_create1(0));
    ERR(epoll_ctl(d[5], EPOLL_CTL_ADD, d[4], &x), ELOOP);
}
TEST(closing_removes) { START; OK(add(f, EPOLLIN)); up(f, 1); int d = dup(f); close(f); EQ(wait0(), 1); close(d); EQ(wait0(), 0); }
TEST(hangup_is_always_told) {
    START;
    int p[2];
    (void)f;
    CHECK(!pipe(p));
    OK(add(p[0], 0));
    close(p[1]);
    EQ(wait0(), 1);
    EQ(ev[0].events, EPOLLHUP);
}
TEST(fairness) {
    START;
    int g[5];
    (void)f;
    for (int i = 0; i < 5; i++) { g[i] = OK(eventfd(1, 0)); OK(add(g[i], EPOLLIN)); }
    int seen = 0;
    for (int i = 0; i < 5; i++) { EQ(epoll_wait(e, ev, 1, 0), 1); for (int k = 0; k < 5; k++) if (g[k] == ev[0].data.fd) seen |= 1 << k; }
    EQ(seen, 31); // one at a time, each gets its turn
}
TEST(timeout_and_wakeup) {
    START;
    OK(add(f, EPOLLIN));
    double a = t_now();
    EQ(epoll_wait(e, ev, 1, 30), 0);
    CHECK(t_now() - a >= 0.029);
    CHILD({ t_sleep(30); up(f, 1); });
    EQ(epoll_wait(e, ev, 1, 5000), 1);
    struct timespec t = {0, 1000000};
    down(f);
    EQ(syscall(SYS_epoll_pwait2, e, ev, 1, &t, 0, 8), 0);
}
static volatile int woken;
static void *w(void *x) { struct epoll_event v; int k = *(int *)x; if (epoll_wait(k, &v, 1, 400) == 1) __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST); return 0; }
TEST(exclusive_wakes_some) {
    int f = OK(eventfd(0, 0)), es[4];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        e = es[i] = OK(epoll_create1(0));
        OK(add(f, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET));
        pthread_create(t + i, 0, w, es + i);
    }
    struct epoll_event x = {EPOLLIN | EPOLLEXCLUSIVE};
    ERR(epoll_ctl(e, EPOLL_CTL_MOD, f, &x), EINVAL);
    t_sleep(50);
    up(f, 1);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    CHECK(woken >= 1);
}
TEST(eventfd_rules) {
    int f = OK(eventfd(3, EFD_NONBLOCK)), s = OK(eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE));
    uint64_t v;
    EQ(down(f), 3);
    ERR(read(f, &v, 8), EAGAIN);
    ERR(read(f, &v, 4), EINVAL);
    v = ~0ull;
    ERR(write(f, &v, 8), EINVAL);
    up(f, ~0ull - 1);
    v = 1;
    ERR(write(f, &v, 8), EAGAIN);
    struct pollfd p = {f, POLLIN | POLLOUT, 0};
    EQ(poll(&p, 1, 0), 1);
    EQ(p.revents, POLLIN);
    EQ(down(s), 1); EQ(down(s), 1);
    ERR(read(s, &v, 8), EAGAIN);
    ERR(eventfd(0, 0x123), EINVAL);
}
TEST(poll_rules) {
    struct pollfd p[3] = {{-1, POLLIN, 7}, {999, POLLIN, 0}, {0, 0, 0}};
    p[2].fd = OK(open("/dev/null", O_RDWR));
    p[2].events = POLLIN | POLLOUT;
    EQ(poll(p, 3, 0), 2);
    EQ(p[0].revents, 0); EQ(p[1].revents, POLLNVAL); EQ(p[2].revents, POLLIN | POLLOUT);
    ERR(poll((void *)8, 1, 0), EFAULT);
    struct rlimit r = {10, 10};
    setrlimit(RLIMIT_NOFILE, &r);
    ERR(poll(p, 11, 0), EINVAL);
    struct timespec t = {0, 2000000000};
    ERR(ppoll(p, 0, &t, 0), EINVAL);
}
TEST(select_rules) {
    fd_set r, x;
    int p[2];
    CHECK(!pipe(p));
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    x = r;
    struct timeval tv = {0, 0};
    EQ(select(p[0] + 1, &r, 0, &x, &tv), 0);
    CHECK(!FD_ISSET(p[0], &r));
    write(p[1], "x", 1);
    FD_SET(p[0], &r);
    EQ(select(p[0] + 1, &r, 0, 0, 0), 1);
    CHECK(FD_ISSET(p[0], &r));
    FD_ZERO(&r);
    FD_SET(40, &r);
    ERR(select(41, &r, 0, 0, &tv), EBADF);
    ERR(select(-1, 0, 0, 0, &tv), EINVAL);
}
TEST(ppoll_mask) {
    sigset_t s, none;
    sigemptyset(&none);
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigprocmask(SIG_BLOCK, &s, 0);
    signal(SIGUSR1, SIG_IGN);
    struct timespec t = {0, 10000000};
    raise(SIGUSR1);
    EQ(ppoll(0, 0, &t, &none), 0); // ignored: does not interrupt
}
// A ready file under very many numbers: closing them all ends, and so does asking about one file very often.
TEST(one_file_very_often) {
    struct rlimit r = {60000, 60000};
    if (setrlimit(RLIMIT_NOFILE, &r)) OK(getrlimit(RLIMIT_NOFILE, &r));
    int many = r.rlim_cur < 60000 ? (int)r.rlim_cur : 60000;
    int e = OK(epoll_create1(0)), f = OK(eventfd(1, 0)), quiet = OK(eventfd(0, 0)), last = f;
    for (int i = 0; i < many - 10; i++) {
        struct epoll_event ev = {EPOLLIN, {.fd = last}};
        OK(epoll_ctl(e, EPOLL_CTL_ADD, last, &ev));
        last = OK(dup(f));
    }
    struct epoll_event ev;
    EQ(epoll_wait(e, &ev, 1, 0), 1);
    OK(close_range(quiet + 1, ~0U, 0));
    close(f);
    EQ(epoll_wait(e, &ev, 1, 0), 0);
    struct pollfd *p = calloc(many, sizeof *p);
    for (int i = 0; i < many; i++) p[i] = (struct pollfd){quiet, POLLIN, 0};
    EQ(poll(p, many, 1), 0);
}
int main(void) {
    RUN(level); RUN(edge); RUN(edge_reports_what_is_there_when_added); RUN(oneshot); RUN(ctl_errors); RUN(nested_and_loops);
    RUN(closing_removes); RUN(one_file_very_often); RUN(hangup_is_always_told); RUN(fairness); RUN(timeout_and_wakeup); RUN(exclusive_wakes_some); RUN(eventfd_rules);
    RUN(poll_rules); RUN(select_rules); RUN(ppoll_mask);
    DONE();
}
