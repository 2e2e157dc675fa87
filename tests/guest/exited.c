// What outlives a process: its files in /proc while somebody has them open, its zombie; and what counts, lengths and lists may be.
#include "t.h"
#include <sys/signalfd.h>
#include <linux/futex.h>
#include <dirent.h>

static int open_of(pid_t p, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", p, name);
    return open(path, flags);
}
static long get(int f) { char b[4096]; lseek(f, 0, SEEK_SET); return read(f, b, sizeof b); }
static long list(int f) { char b[4096]; lseek(f, 0, SEEK_SET); return syscall(SYS_getdents64, f, b, sizeof b); }
TEST(open_files_of_the_dead) {
    int go[2];
    char b;
    OK(pipe(go));
    pid_t p = CHILD({ close(go[1]); read(go[0], &b, 1); });
    static const char *names[] = {"stat", "status", "cmdline", "environ", "maps", "smaps", "statm", "comm", "limits", "mountinfo", "oom_score_adj", "io", "wchan", "cgroup"};
    int f[20], n = sizeof names / sizeof *names, d = OK(open_of(p, ".", O_RDONLY)), fd = OK(open_of(p, "fd", O_RDONLY)),
        mem = OK(open_of(p, "mem", O_RDONLY));
    for (int i = 0; i < n; i++) f[i] = OK(open_of(p, names[i], O_RDONLY));
    close(go[1]);
    siginfo_t si;
    OK(waitid(P_PID, p, &si, WEXITED | WNOWAIT));
    // A zombie has no memory and no files.
    for (int i = 0; i < n; i++) {
        long r = get(f[i]);
        int empty = !strcmp(names[i], "cmdline") || !strcmp(names[i], "environ") || !strcmp(names[i], "maps") || !strcmp(names[i], "smaps");
        if (!strcmp(names[i], "wchan") || !strcmp(names[i], "io")) continue;
        if (!strcmp(names[i], "mountinfo")) continue; // of the namespace that it was opened for
        if (empty ? r != 0 : r <= 0) FAIL("%s of a zombie: %ld, errno %d", names[i], r, errno);
    }
    char link[64], path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", p);
    ERR(readlink(path, link, sizeof link), ENOENT);
    snprintf(path, sizeof path, "/proc/%d/cwd", p);
    ERR(readlink(path, link, sizeof link), ENOENT);
    EQ(list(fd), 48);
    EQ(pread(mem, link, 8, (long)&b), 0);
    t_wait(p);
    for (int i = 0; i < n; i++) {
        errno = 0;
        long r = get(f[i]);
        int empty = !strcmp(names[i], "environ");
        if (!strcmp(names[i], "mountinfo")) continue;
        if (empty ? r != 0 : r != -1 || errno != ESRCH) FAIL("%s of nobody: %ld, errno %d", names[i], r, errno);
    }
    EQ(pread(mem, link, 8, (long)&b), 0);
    ERR(openat(d, "stat", O_RDONLY), ESRCH);
    ERR(open_of(p, "stat", O_RDONLY), ENOENT);
}
// A signalfd tells whoever asks of its own signals.
TEST(signalfd_is_the_readers) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    int f = OK(signalfd(-1, &set, SFD_NONBLOCK));
    struct pollfd p = {f, POLLIN, 0};
    struct signalfd_siginfo si;
    OK(kill(getpid(), SIGUSR1));
    EQ(poll(&p, 1, 0), 1);
    CODE(CHILD({
        EQ(poll(&p, 1, 0), 0);
        ERR(read(f, &si, sizeof si), EAGAIN);
        OK(kill(getpid(), SIGUSR1));
        EQ(poll(&p, 1, 0), 1);
        EQ(read(f, &si, sizeof si), (long)sizeof si);
        EQ(si.ssi_pid, getpid());
    }), 0);
    EQ(read(f, &si, sizeof si), (long)sizeof si);
    EQ(si.ssi_pid, getpid());
    EQ(poll(&p, 1, 0), 0);
    // A child that waits is told by its own.
    pid_t c = CHILD({ EQ(poll(&p, 1, 5000), 1); EQ(read(f, &si, sizeof si), (long)sizeof si); EQ(si.ssi_pid, getppid()); });
    t_state(c, 'S');
    OK(kill(c, SIGUSR1));
    CODE(c, 0);
}
TEST(counts) {
    int null = OK(open("/dev/null", O_RDWR)), zero = OK(open("/dev/zero", O_RDWR)), s[2];
    // Address space, not memory.
    size_t big = 3ul << 30;
    char *m = mmap(NULL, big, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(m != MAP_FAILED);
    EQ(write(null, m, big), 0x7ffff000);
    struct iovec v[2] = {{m, big / 2}, {m, big}};
    EQ(writev(null, v, 2), 0x7ffff000);
    EQ(pwrite(null, m, big, 0), 0x7ffff000);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    EQ(write(s[0], "abc", 3), 3);
    char b[8];
    EQ(read(zero, b, 0), 0);
    ERR(read(s[1], b, (size_t)-1), EFAULT);
    v[0] = (struct iovec){b, (size_t)-1};
    ERR(readv(s[1], v, 1), EINVAL);
    EQ(syscall(SYS_splice, null, NULL, null, NULL, 0, 0), 0);
    OK(munmap(m, big));
}
TEST(mlock_over_holes) {
    long page = sysconf(_SC_PAGESIZE);
    char *m = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(m != MAP_FAILED);
    OK(mprotect(m + page, page, PROT_NONE));
    ERR(mlock(m, 4 * page), ENOMEM);
    CHECK(strstr(t_get("/proc/self/smaps"), "lo"));
    OK(munlock(m, 4 * page));
    OK(mlock(m, page));
    OK(munmap(m + 2 * page, page));
    ERR(mlock(m, 4 * page), ENOMEM);
    ERR(munlock(m, 4 * page), ENOMEM);
    OK(syscall(SYS_mlock2, m + page, page, 1 /* MLOCK_ONFAULT */));
}
static int tid;
static struct robust_list_head mine;
static void *thread(void *p) {
    OK(syscall(SYS_set_robust_list, &mine, sizeof mine));
    __atomic_store_n(&tid, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    pause();
    return p;
}
TEST(robust_lists_of_others) {
    pthread_t t;
    struct robust_list_head *head;
    size_t len;
    CHECK(!pthread_create(&t, NULL, thread, NULL));
    UNTIL(__atomic_load_n(&tid, __ATOMIC_SEQ_CST));
    OK(syscall(SYS_get_robust_list, tid, &head, &len));
    CHECK(head == &mine);
    EQ(len, sizeof mine);
    pid_t c = CHILD({ pause(); });
    OK(syscall(SYS_get_robust_list, c, &head, &len));
    CHECK(head != &mine);
    kill(c, SIGKILL);
    t_wait(c);
    ERR(syscall(SYS_get_robust_list, c, &head, &len), ESRCH);
    if (getuid() == 0) {
        pid_t me = getpid();
        CODE(CHILD({ OK(setuid(1000)); ERR(syscall(SYS_get_robust_list, me, &head, &len), EPERM); }), 0);
    }
}
static volatile int hits;
static void hit(int s) { hits++; (void)s; }
static double cpu(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec / 1e9; }
TEST(cpu_timers) {
    struct itimerval v = {{0, 0}, {0, 100000}};
    signal(SIGPROF, hit);
    signal(SIGVTALRM, hit);
    for (int which = ITIMER_VIRTUAL; which <= ITIMER_PROF; which++) {
        hits = 0;
        double from = cpu();
        OK(setitimer(which, &v, NULL));
        while (!hits) {}
        GE((cpu() - from) * 1000, 50); // Linux counts in ticks here
        struct itimerval now;
        OK(getitimer(which, &now));
        EQ(now.it_value.tv_sec + now.it_value.tv_usec, 0);
    }
}
// SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
TEST(cpu_limit) {
    alarm(35); // of a busy machine
    pid_t p = CHILD({
        struct rlimit r = {1, 2};
        signal(SIGXCPU, hit);
        hits = 0;
        OK(setrlimit(RLIMIT_CPU, &r));
        while (!hits) {}
        GE(cpu() * 1000, 700); // and in ticks
        OK(getrlimit(RLIMIT_CPU, &r));
        EQ(r.rlim_cur, 2);
        for (;;) {}
    });
    struct rusage u;
    int st;
    EQ(wait4(p, &st, 0, &u), p);
    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    double used = u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    GE(used * 1000, 1500);
}
int main(void) {
    RUN(open_files_of_the_dead); RUN(signalfd_is_the_readers); RUN(counts); RUN(mlock_over_holes); RUN(robust_lists_of_others); RUN(cpu_timers); RUN(cpu_limit);
    DONE();
}
