// Interrupted calls: which restart under SA_RESTART, which never do, restart_syscall's remaining time.
#include "t.h"
#include <sys/epoll.h>
#include <sys/file.h>
#include <linux/futex.h>

static volatile int n;
static void on(int s) { n++; }
static void arm(int flags) {
    struct sigaction a = {.sa_handler = on, .sa_flags = flags};
    OK(sigaction(SIGUSR1, &a, 0));
    pid_t me = getpid();
    if (fork() == 0) { t_sleep(30); kill(me, SIGUSR1); _exit(0); }
}
// Runs a call that blocks; somebody ends the wait after the signal by writing to the pipe.
static int rd, wr;
static void later_write(void) {
    int p[2];
    CHECK(!pipe(p));
    rd = p[0], wr = p[1];
    CHILD({ t_sleep(80); write(p[1], "x", 1); });
}
TEST(read_restarts) { char c; later_write(); arm(SA_RESTART); EQ(read(rd, &c, 1), 1); EQ(n, 1); }
TEST(read_is_interrupted) { char c; later_write(); arm(0); ERR(read(rd, &c, 1), EINTR); EQ(n, 1); }
TEST(wait_restarts) { pid_t p = CHILD(t_sleep(100)); arm(SA_RESTART); int st; EQ(waitpid(p, &st, 0), p); EQ(n, 1); }
TEST(wait_is_interrupted) { pid_t p = CHILD(t_sleep(100)); arm(0); int st; ERR(waitpid(p, &st, 0), EINTR); }
TEST(write_to_full_pipe_restarts) {
    int p[2];
    static char b[65536];
    CHECK(!pipe(p));
    EQ(write(p[1], b, sizeof b), (long)sizeof b);
    CHILD({ t_sleep(80); read(p[0], b, sizeof b); t_sleep(50); });
    arm(SA_RESTART);
    EQ(write(p[1], "y", 1), 1);
    EQ(n, 1);
}
TEST(partial_write_is_returned) {
    int p[2];
    static char b[100000];
    CHECK(!pipe(p));
    arm(SA_RESTART);
    EQ(write(p[1], b, sizeof b), 65536);
}
TEST(flock_restarts) {
    int f = OK(open("l", O_RDWR | O_CREAT, 0600));
    CHILD({ int g = OK(open("l", O_RDWR)); flock(g, LOCK_EX); t_sleep(100); });
    t_sleep(10);
    arm(SA_RESTART);
    EQ(flock(f, LOCK_EX), 0);
    EQ(n, 1);
}
TEST(futex_wait_restarts) {
    int *w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHILD({ t_sleep(80); syscall(SYS_futex, w, FUTEX_WAKE, 1, 0, 0, 0); });
    arm(SA_RESTART);
    EQ(syscall(SYS_futex, w, FUTEX_WAIT, 0, 0, 0, 0), 0);
    EQ(n, 1);
}
TEST(futex_timed_wait_is_interrupted) {
    int w = 0;
    struct timespec t = {5, 0};
    arm(0);
    ERR(syscall(SYS_futex, &w, FUTEX_WAIT, 0, &t, 0, 0), EINTR);
}
TEST(accept_and_recv_restart) {
    int s[2];
    char c;
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHILD({ t_sleep(80); write(s[1], "x", 1); });
    arm(SA_RESTART);
    EQ(recv(s[0], &c, 1, 0), 1);
    EQ(n, 1);
}
TEST(recv_with_timeout_does_not_restart) {
    int s[2];
    char c;
    struct timeval tv = {5, 0};
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    arm(SA_RESTART);
    ERR(recv(s[0], &c, 1, 0), EINTR);
}
TEST(never_restarted) {
    struct timespec t = {5, 0}, rem;
    struct pollfd x = {-1, 0, 0};
    arm(SA_RESTART);
    ERR(pause(), EINTR);
    arm(SA_RESTART);
    ERR(poll(&x, 1, 5000), EINTR);
    arm(SA_RESTART);
    ERR(select(0, 0, 0, 0, &(struct timeval){5, 0}), EINTR);
    arm(SA_RESTART);
    ERR(nanosleep(&t, &rem), EINTR);
    CHECK(rem.tv_sec == 4);
    arm(SA_RESTART);
    EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rem), EINTR);
    int e = OK(epoll_create1(0));
    struct epoll_event ev;
    arm(SA_RESTART);
    ERR(epoll_wait(e, &ev, 1, 5000), EINTR);
    arm(SA_RESTART);
    sigset_t none;
    sigemptyset(&none);
    ERR(sigsuspend(&none), EINTR);
    arm(SA_RESTART);
    struct timespec abs;
    clock_gettime(CLOCK_MONOTONIC, &abs);
    abs.tv_sec += 5;
    EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, 0), EINTR);
}
// A stop and continue without a handler is invisible: the sleep goes on with what remained (restart_syscall).
TEST(stop_is_invisible_to_sleep) {
    pid_t p = CHILD({
        struct timespec t = {0, 200000000};
        double a = t_now();
        EQ(nanosleep(&t, 0), 0);
        double d = t_now() - a;
        if (d < 0.19 || d > 0.6) FAIL("slept %.3f", d);
    });
    int st;
    t_sleep(50);
    kill(p, SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED), p);
    t_sleep(50);
    kill(p, SIGCONT);
    CODE(p, 0);
}
TEST(stop_is_invisible_to_poll_and_futex) {
    pid_t p = CHILD({ struct pollfd x = {-1, 0, 0}; EQ(poll(&x, 1, 150), 0); });
    int st;
    t_sleep(40);
    kill(p, SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED), p);
    kill(p, SIGCONT);
    CODE(p, 0);
    p = CHILD({ int w = 0; struct timespec t = {0, 150000000}; ERR(syscall(SYS_futex, &w, FUTEX_WAIT, 0, &t, 0, 0), ETIMEDOUT); });
    t_sleep(40);
    kill(p, SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED), p);
    kill(p, SIGCONT);
    CODE(p, 0);
}
TEST(ignored_signal_does_not_interrupt) {
    signal(SIGUSR1, SIG_IGN);
    pid_t me = getpid();
    CHILD({ t_sleep(20); kill(me, SIGUSR1); });
    struct timespec t = {0, 100000000};
    EQ(nanosleep(&t, 0), 0);
}
TEST(select_writes_back_remaining_time) {
    struct timeval tv = {5, 0};
    arm(0);
    ERR(select(0, 0, 0, 0, &tv), EINTR);
    EQ(tv.tv_sec, 4);
}
int main(void) {
    RUN(read_restarts); RUN(read_is_interrupted); RUN(wait_restarts); RUN(wait_is_interrupted); RUN(write_to_full_pipe_restarts);
    RUN(partial_write_is_returned); RUN(flock_restarts); RUN(futex_wait_restarts); RUN(futex_timed_wait_is_interrupted);
    RUN(accept_and_recv_restart); RUN(recv_with_timeout_does_not_restart); RUN(never_restarted); RUN(stop_is_invisible_to_sleep);
    RUN(stop_is_invisible_to_poll_and_futex); RUN(ignored_signal_does_not_interrupt); RUN(select_writes_back_remaining_time);
    DONE();
}
