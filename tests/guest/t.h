// The little that guest programs share. A program is a list of tests; each runs in a child of its own, in a fresh
// directory, for at most 10 seconds, and prints "ok NAME" or "FAIL NAME: why". Passing on Linux is what makes it right.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int t_failed;
static const char *t_name = "?";

// Fails the current test, from whichever of its processes.
#define FAIL(...) t_fail(__LINE__, __VA_ARGS__)
static __attribute__((noreturn, unused, format(printf, 2, 3))) void t_fail(int line, const char *fmt, ...) {
    char buf[600];
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(buf, 200, "FAIL %s: line %d: ", t_name, line);
    n += vsnprintf(buf + n, sizeof buf - n - 2, fmt, ap);
    if (n > (int)sizeof buf - 2) n = sizeof buf - 2;
    buf[n++] = '\n';
    va_end(ap);
    write(1, buf, n);
    _exit(1);
}

#define CHECK(c) do { errno = 0; if (!(c)) FAIL("%s (errno %d)", #c, errno); } while (0)
#define EQ(got, want) do { errno = 0; long g_ = (long)(got), w_ = (long)(want); \
    if (g_ != w_) FAIL("%s is %ld (%#lx), not %s = %ld (errno %d)", #got, g_, g_, #want, w_, errno); } while (0)
#define GE(got, want) do { long g_ = (long)(got), w_ = (long)(want); \
    if (g_ < w_) FAIL("%s is %ld, below %s = %ld", #got, g_, #want, w_); } while (0)
#define STREQ(got, want) do { const char *g_ = (got), *w_ = (want); \
    if (strcmp(g_, w_)) FAIL("%s is \"%s\", not \"%s\"", #got, g_, w_); } while (0)
// The call must fail with this errno.
#define ERR(call, want) do { errno = 0; long r_ = (long)(call); int e_ = errno; \
    if (r_ != -1 || e_ != (want)) FAIL("%s returned %ld with errno %d, not -1 with %s", #call, r_, e_, #want); } while (0)
// The call must not fail; its value.
#define OK(call) ({ errno = 0; __typeof__(call) r_ = (call); \
    if ((long)r_ == -1) FAIL("%s failed with errno %d", #call, errno); r_; })

// Waits for a child that must exit with this code.
#define CODE(pid, code) do { int s_ = t_wait(pid); \
    if (!WIFEXITED(s_) || WEXITSTATUS(s_) != (code)) FAIL("child's status is %#x, not exit %d", s_, code); } while (0)
#define KILLED(pid, sig) do { int s_ = t_wait(pid); \
    if (!WIFSIGNALED(s_) || WTERMSIG(s_) != (sig)) FAIL("child's status is %#x, not signal %d", s_, sig); } while (0)
static __attribute__((unused)) int t_wait(pid_t p) {
    int st = 0;
    pid_t r;
    while ((r = waitpid(p, &st, 0)) < 0 && errno == EINTR) {}
    if (r != p) t_fail(0, "waitpid(%d) = %d, errno %d", p, r, errno);
    return st;
}

// Forks a child that runs the block and exits with 0 at its end: pid_t p = CHILD({ … });
#define CHILD(...) ({ pid_t p_ = OK(fork()); if (p_ == 0) { __VA_ARGS__; _exit(0); } p_; })

static __attribute__((unused)) double t_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static __attribute__((unused)) void t_sleep(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) {}
}
// Waits until the condition holds, at most ten seconds.
#define UNTIL(c) do { double end_ = t_now() + 10; while (!(c)) { if (t_now() > end_) FAIL("never: %s", #c); t_sleep(2); } } while (0)
static __attribute__((unused)) void t_put(const char *path, const char *text) {
    int f = OK(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    EQ(write(f, text, strlen(text)), (long)strlen(text));
    close(f);
}
// The whole of a (small) file, in a static buffer.
static __attribute__((unused)) char *t_get(const char *path) {
    static char buf[1 << 16];
    int f = open(path, O_RDONLY), n = 0, r;
    if (f < 0) t_fail(0, "open %s: errno %d", path, errno);
    while (n < (int)sizeof buf - 1 && (r = read(f, buf + n, sizeof buf - 1 - n)) > 0) n += r;
    close(f);
    buf[n] = 0;
    return buf;
}
// Waits until PID is in this state (a letter of /proc/PID/stat), at most two seconds.
static __attribute__((unused)) void t_state(pid_t pid, char want) {
    char path[64], *s = NULL;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int i = 0; i < 400; i++) {
        s = strrchr(t_get(path), ')');
        if (s && s[2] == want) return;
        t_sleep(5);
    }
    t_fail(0, "process %d never got into state %c (is %c)", pid, want, s ? s[2] : '?');
}

#define TEST(name) static void test_##name(void)
#define RUN(name) t_run(#name, test_##name)
static __attribute__((unused)) void t_run(const char *name, void (*body)(void)) {
    char dir[] = "t-XXXXXX", rm[64];
    t_name = name;
    if (!mkdtemp(dir)) { printf("FAIL %s: mkdtemp: errno %d\n", name, errno); t_failed = 1; return; }
    fflush(stdout);
    pid_t p = fork();
    if (p == 0) {
        if (chdir(dir)) t_fail(0, "chdir");
        alarm(10);
        body();
        _exit(0);
    }
    int st = 0;
    if (p < 0 || waitpid(p, &st, 0) != p) { printf("FAIL %s: fork or wait: errno %d\n", name, errno); t_failed = 1; return; }
    if (st == 0) printf("ok %s\n", name);
    else if (WIFSIGNALED(st)) printf("FAIL %s: %s (signal %d)\n", name, WTERMSIG(st) == SIGALRM ? "timed out" : "killed", WTERMSIG(st));
    else if (WEXITSTATUS(st) != 1) printf("FAIL %s: exit %d\n", name, WEXITSTATUS(st));
    if (st) t_failed = 1;
    fflush(stdout);
    snprintf(rm, sizeof rm, "rm -rf %s", dir);
    if (rmdir(dir) && errno == ENOTEMPTY) system(rm);
}
#define DONE() return t_failed
