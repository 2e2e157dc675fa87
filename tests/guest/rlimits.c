// Limits that bite.
#include "t.h"

static void lim(int what, long soft, long hard) { struct rlimit r = {soft, hard}; OK(setrlimit(what, &r)); }
TEST(get_set_rules) {
    struct rlimit r;
    lim(RLIMIT_NOFILE, 100, 200);
    OK(getrlimit(RLIMIT_NOFILE, &r));
    EQ(r.rlim_cur, 100); EQ(r.rlim_max, 200);
    r.rlim_cur = 300;
    ERR(setrlimit(RLIMIT_NOFILE, &r), EINVAL);
    ERR(getrlimit(99, &r), EINVAL);
    ERR(syscall(SYS_getrlimit, RLIMIT_NOFILE, 8), EFAULT);
    OK(syscall(SYS_setresuid, 1000, 1000, 1000));
    r = (struct rlimit){100, 300};
    ERR(setrlimit(RLIMIT_NOFILE, &r), EPERM);
    r = (struct rlimit){50, 150};
    OK(setrlimit(RLIMIT_NOFILE, &r));
}
TEST(prlimit_of_another) {
    pid_t p = CHILD(pause());
    struct rlimit r = {10, 20}, o;
    OK(prlimit(p, RLIMIT_NOFILE, &r, 0));
    OK(prlimit(p, RLIMIT_NOFILE, 0, &o));
    EQ(o.rlim_cur, 10);
    ERR(prlimit(4000000, RLIMIT_NOFILE, 0, &o), ESRCH);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(nofile) {
    lim(RLIMIT_NOFILE, 20, 20);
    int f = 0, n = 0;
    while ((f = open("/dev/null", O_RDONLY)) >= 0) { n++; CHECK(f < 20); }
    int e = errno;
    EQ(e, EMFILE);
    GE(n, 10);
    ERR(dup(0), EMFILE);
    ERR(dup2(0, 20), EBADF);
    ERR(fcntl(0, F_DUPFD, 20), EINVAL);
    int p[2];
    ERR(pipe(p), EMFILE);
    ERR(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
}
static volatile int hits;
static void on(int s) { hits++; }
TEST(fsize) {
    signal(SIGXFSZ, on);
    lim(RLIMIT_FSIZE, 1000, 1000);
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    char b[2000] = {0};
    EQ(write(f, b, 2000), 1000);
    ERR(write(f, b, 1), EFBIG);
    EQ(hits, 1);
    ERR(ftruncate(f, 2000), EFBIG);
    EQ(hits, 2);
    signal(SIGXFSZ, SIG_DFL);
    KILLED(CHILD(write(f, b, 1)), SIGXFSZ);
}
TEST(address_space) {
    lim(RLIMIT_AS, 64 << 20, 64 << 20);
    CHECK(mmap(0, 256 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
    CHECK(mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}
TEST(data) {
    void *p = sbrk(0);
    lim(RLIMIT_DATA, 1 << 20, 1 << 20);
    EQ((long)sbrk(64 << 20), -1);
    CHECK(sbrk(0) == p);
}
static int deep(int n) { volatile char b[4096]; b[0] = n; return n ? deep(n - 1) + b[0] : 0; }
TEST(stack) {
    lim(RLIMIT_STACK, 512 << 10, 512 << 10);
    CODE(CHILD(deep(60)), 0);
    KILLED(CHILD(deep(2000)), SIGSEGV);
}
static int told[2];
static void warned(int s) { write(told[1], "x", 1); }
TEST(cpu) {
    char b[9];
    OK(pipe(told));
    KILLED(CHILD({ lim(RLIMIT_CPU, 1, 2); signal(SIGXCPU, warned); for (;;) {} }), SIGKILL);
    close(told[1]);
    EQ(read(told[0], b, sizeof b), 1);
}
TEST(cpu_of_a_child_starts_at_zero) {
    lim(RLIMIT_CPU, 1, 1);
    CODE(CHILD({ struct timespec t; do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); while (t.tv_nsec < 400000000); }), 0);
    CODE(CHILD({ struct timespec t; do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); while (t.tv_nsec < 700000000); }), 0);
}
TEST(nproc) {
    OK(syscall(SYS_setresuid, 54321, 54321, 54321));
    lim(RLIMIT_NPROC, 5, 5);
    int n = 0;
    while (n < 20) {
        pid_t p = fork();
        if (p < 0) break;
        if (p == 0) { t_sleep(3000); _exit(0); }
        n++;
    }
    int e = errno;
    kill(0, 0);
    EQ(n, 4);
    EQ(e, EAGAIN);
}
TEST(memlock) {
    char *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lim(RLIMIT_MEMLOCK, 65536, 65536);
    OK(syscall(SYS_setresuid, 1000, 1000, 1000));
    OK(mlock(p, 32768));
    ERR(mlock(p, 1 << 20), ENOMEM);
    lim(RLIMIT_MEMLOCK, 0, 0);
    ERR(mlock(p + 65536, 4096), EPERM);
}
TEST(nice) {
    OK(setpriority(PRIO_PROCESS, 0, 5));
    EQ(getpriority(PRIO_PROCESS, 0), 5);
    OK(syscall(SYS_setresuid, 1000, 1000, 1000));
    lim(RLIMIT_NICE, 0, 0);
    OK(setpriority(PRIO_PROCESS, 0, 7));
    ERR(setpriority(PRIO_PROCESS, 0, 1), EACCES);
    errno = 0;
    nice(100);
    EQ(getpriority(PRIO_PROCESS, 0), 19);
}
TEST(proc_limits) {
    lim(RLIMIT_NOFILE, 123, 456);
    char *s = t_get("/proc/self/limits"), *l = strstr(s, "Max open files");
    CHECK(l);
    int a, b;
    EQ(sscanf(l, "Max open files %d %d", &a, &b), 2);
    EQ(a, 123); EQ(b, 456);
}
TEST(inherited) {
    lim(RLIMIT_NOFILE, 77, 88);
    CODE(CHILD(execl("/bin/sh", "sh", "-c", "[ $(ulimit -n) = 77 ] && [ $(ulimit -Hn) = 88 ]", (char *)0)), 0);
}
int main(void) {
    RUN(get_set_rules); RUN(prlimit_of_another); RUN(nofile); RUN(fsize); RUN(address_space); RUN(data); RUN(stack); RUN(cpu); RUN(cpu_of_a_child_starts_at_zero); RUN(nproc);
    RUN(memlock); RUN(nice); RUN(proc_limits); RUN(inherited);
    DONE();
}
