// Scheduling, affinity, accounting, sysinfo, membarrier.
#include "t.h"
#include <linux/membarrier.h>
#include <sys/sysinfo.h>
#include <sys/times.h>

TEST(affinity) {
    cpu_set_t s, one;
    OK(sched_getaffinity(0, sizeof s, &s));
    EQ(CPU_COUNT(&s), sysconf(_SC_NPROCESSORS_ONLN));
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    EQ(sched_getcpu(), 0);
    CODE(CHILD({ cpu_set_t c; sched_getaffinity(0, sizeof c, &c); EQ(CPU_COUNT(&c), 1); }), 0);
    CPU_ZERO(&one);
    ERR(sched_setaffinity(0, sizeof one, &one), EINVAL);
    ERR(sched_getaffinity(0, 1, &s), EINVAL);
    ERR(sched_getaffinity(4000000, sizeof s, &s), ESRCH);
    ERR(syscall(SYS_sched_getaffinity, 0, 8, 0), EFAULT);
}
static volatile int at, done, tid;
static void *runs(void *x) {
    tid = syscall(SYS_gettid);
    while (!done) at = sched_getcpu();
    return 0;
}
TEST(affinity_of_another_thread) {
    cpu_set_t s, old;
    pthread_t t;
    OK(sched_getaffinity(0, sizeof old, &old));
    CHECK(!pthread_create(&t, 0, runs, 0));
    while (!tid) sched_yield();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &old)) continue;
        CPU_ZERO(&s);
        CPU_SET(cpu, &s);
        OK(sched_setaffinity(tid, sizeof s, &s));
        while (at != cpu) sched_yield();
        for (int i = 0; i < 1000; i++) EQ(at, cpu);
    }
    done = 1;
    pthread_join(t, 0);
}
static double used(clockid_t c) { struct timespec t; OK(clock_gettime(c, &t)); return t.tv_sec + t.tv_nsec / 1e9; }
static void *sleeps(void *x) { pause(); return 0; }
static void *computes(void *x) { while (used(CLOCK_THREAD_CPUTIME_ID) < 0.1) for (volatile int i = 0; i < 100000; i++) {} return 0; }
TEST(threads_have_clocks_of_their_own) {
    pthread_t a, b;
    clockid_t slept;
    pthread_create(&a, 0, sleeps, 0);
    CHECK(!pthread_getcpuclockid(a, &slept));
    pthread_create(&b, 0, computes, 0);
    pthread_join(b, 0);
    CHECK(used(slept) < 0.05);
    CHECK(used(CLOCK_THREAD_CPUTIME_ID) < 0.05);
    CHECK(used(CLOCK_PROCESS_CPUTIME_ID) >= 0.1);
    struct rusage u;
    OK(getrusage(RUSAGE_THREAD, &u));
    CHECK(u.ru_utime.tv_sec == 0 && u.ru_utime.tv_usec < 50000);
}
TEST(times_survive_exec_and_are_handed_up) {
    struct rusage u;
    CODE(CHILD({ while (used(CLOCK_PROCESS_CPUTIME_ID) < 0.1) {} execl("/bin/true", "true", (char *)0); }), 0);
    OK(getrusage(RUSAGE_CHILDREN, &u));
    GE(u.ru_utime.tv_usec + u.ru_stime.tv_usec + (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000, 100000);
    GE(u.ru_minflt, 10);
}
TEST(switches_are_counted) {
    struct rusage u;
    for (int i = 0; i < 5; i++) t_sleep(1);
    OK(getrusage(RUSAGE_SELF, &u));
    GE(u.ru_nvcsw, 5);
    long before, after;
    EQ(sscanf(strstr(t_get("/proc/stat"), "\nctxt "), "\nctxt %ld", &before), 1);
    for (int i = 0; i < 5; i++) t_sleep(1);
    EQ(sscanf(strstr(t_get("/proc/stat"), "\nctxt "), "\nctxt %ld", &after), 1);
    GE(after - before, 5);
}
TEST(reads_and_writes_are_counted) {
    unsigned long before[4], after[4];
    const char *form = "rchar: %lu\nwchar: %lu\nsyscr: %lu\nsyscw: %lu\n";
    int f = OK(open("/dev/null", O_RDWR)), z = OK(open("/dev/zero", O_RDONLY));
    char b[1000];
    EQ(sscanf(t_get("/proc/self/io"), form, before, before + 1, before + 2, before + 3), 4);
    for (int i = 0; i < 5; i++) { EQ(write(f, b, 1000), 1000); EQ(read(z, b, 1000), 1000); }
    EQ(sscanf(t_get("/proc/self/io"), form, after, after + 1, after + 2, after + 3), 4);
    GE(after[0] - before[0], 5000);
    EQ(after[1] - before[1], 5000);
    GE(after[2] - before[2], 5);
    EQ(after[3] - before[3], 5);
}
static volatile int rang;
static void ring(int s) { rang = s; }
TEST(timers_of_processor_time) {
    struct itimerval v = {.it_value = {.tv_usec = 20000}};
    signal(SIGVTALRM, ring);
    signal(SIGPROF, ring);
    OK(setitimer(ITIMER_VIRTUAL, &v, 0));
    double from = used(CLOCK_PROCESS_CPUTIME_ID);
    while (rang != SIGVTALRM) {}
    CHECK(used(CLOCK_PROCESS_CPUTIME_ID) - from >= 0.015);
    OK(setitimer(ITIMER_PROF, &v, 0));
    while (rang != SIGPROF) {}
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec s = {.it_value = {.tv_nsec = 20000000}};
    timer_t t;
    signal(SIGUSR1, ring);
    OK(timer_create(CLOCK_THREAD_CPUTIME_ID, &e, &t));
    OK(timer_settime(t, 0, &s, 0));
    from = used(CLOCK_THREAD_CPUTIME_ID);
    while (rang != SIGUSR1) {}
    CHECK(used(CLOCK_THREAD_CPUTIME_ID) - from >= 0.015);
}
TEST(policies) {
    struct sched_param p = {0};
    EQ(sched_getscheduler(0), SCHED_OTHER);
    OK(sched_getparam(0, &p));
    EQ(p.sched_priority, 0);
    EQ(sched_get_priority_max(SCHED_FIFO), 99);
    EQ(sched_get_priority_min(SCHED_RR), 1);
    EQ(sched_get_priority_max(SCHED_OTHER), 0);
    ERR(sched_get_priority_max(99), EINVAL);
    OK(sched_setscheduler(0, SCHED_BATCH, &p));
    EQ(sched_getscheduler(0), SCHED_BATCH);
    p.sched_priority = 5;
    ERR(sched_setscheduler(0, SCHED_OTHER, &p), EINVAL);
    ERR(sched_setscheduler(0, 77, &p), EINVAL);
    ERR(sched_getscheduler(-1), EINVAL);
    OK(sched_yield());
}
TEST(sched_attr) {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t prio; uint64_t a, b, c; uint32_t d, e; } a = {0};
    OK(syscall(SYS_sched_getattr, 0, &a, sizeof a, 0));
    EQ(a.policy, SCHED_OTHER);
    a.nice = 3;
    OK(syscall(SYS_sched_setattr, 0, &a, 0));
    EQ(getpriority(PRIO_PROCESS, 0), 3);
}
TEST(sched_attr_of_the_future) {
    uint32_t a[64] = {0};
    OK(syscall(SYS_sched_getattr, 0, a, sizeof a, 0));
    a[0] = sizeof a;
    OK(syscall(SYS_sched_setattr, 0, a, 0)); // what is not known is zero
    a[0] = sizeof a;
    a[63] = 1;
    ERR(syscall(SYS_sched_setattr, 0, a, 0), E2BIG);
    CHECK(a[0] >= 48 && a[0] < sizeof a); // and says what is
    a[0] = 4097;
    ERR(syscall(SYS_sched_setattr, 0, a, 0), E2BIG);
    a[0] = 40;
    ERR(syscall(SYS_sched_setattr, 0, a, 0), E2BIG);
}
TEST(rusage_and_times) {
    struct rusage u;
    struct tms t;
    struct timespec used;
    do { for (int i = 0; i < 1000; i++) getppid(); clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used); } while (used.tv_nsec < 100000000 && !used.tv_sec);
    OK(getrusage(RUSAGE_SELF, &u));
    GE(u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec, 40000);
    GE(u.ru_maxrss, 100);
    CHECK(times(&t) > 0);
    GE(t.tms_utime + t.tms_stime, 4);
    OK(getrusage(RUSAGE_THREAD, &u));
    ERR(getrusage(55, &u), EINVAL);
    char *s = strrchr(t_get("/proc/self/stat"), ')');
    unsigned long ut, stm;
    EQ(sscanf(s + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut, &stm), 2);
    GE(ut + stm, 4);
}
TEST(sysinfo_is_plausible) {
    struct sysinfo i;
    OK(sysinfo(&i));
    CHECK(i.uptime >= 0 && i.mem_unit >= 1 && i.procs >= 1);
    unsigned long kb = 0;
    sscanf(strstr(t_get("/proc/meminfo"), "MemTotal:"), "MemTotal: %lu", &kb);
    EQ(kb / 1024, i.totalram * i.mem_unit / 1024 / 1024);
    CHECK(i.freeram <= i.totalram);
}
TEST(getcpu_call) {
    unsigned c = 999, n = 999;
    OK(syscall(SYS_getcpu, &c, &n, 0));
    CHECK(c < sysconf(_SC_NPROCESSORS_CONF));
    ERR(syscall(SYS_getcpu, 8, 0, 0), EFAULT);
}
TEST(membarrier) {
    int q = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    CHECK(q >= 0);
    CHECK(q & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), EPERM);
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    ERR(syscall(SYS_membarrier, 1 << 30, 0, 0), EINVAL);
    if (q & MEMBARRIER_CMD_GLOBAL) OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
}
TEST(getpriority_groups) {
    setpgid(0, 0);
    OK(setpriority(PRIO_PGRP, 0, 4));
    EQ(getpriority(PRIO_PGRP, 0), 4);
    ERR(getpriority(PRIO_PROCESS, 4000000), ESRCH);
    ERR(getpriority(9, 0), EINVAL);
    EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 16);
}
TEST(loadavg_and_uptime) {
    float a;
    double up, idle;
    EQ(sscanf(t_get("/proc/loadavg"), "%f", &a), 1);
    EQ(sscanf(t_get("/proc/uptime"), "%lf %lf", &up, &idle), 2);
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    CHECK(up <= t.tv_sec + 1 && up >= t.tv_sec - 2);
}
TEST(ioprio) {
    EQ(syscall(SYS_ioprio_get, 1, 0) & 0x1fff, syscall(SYS_ioprio_get, 1, 0) & 0x1fff);
    OK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
    EQ(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6);
}
// A thread's policy is kept, handed on, and checked; memory has the default one.
TEST(memory_policies) {
    enum { BIND = 2, INTERLEAVE = 3, LOCAL = 4, STATIC = 1 << 15, RELATIVE = 1 << 14 };
    unsigned long nodes = 1;
    int mode = 9;
    ERR(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 1 /* MPOL_F_NODE */), EINVAL);
    OK(syscall(SYS_set_mempolicy, BIND, &nodes, 64));
    char many[8192] = "";
    OK(syscall(SYS_get_mempolicy, &mode, many, sizeof many, NULL, 0));
    EQ(mode, BIND);
    EQ(many[0], 1);
    CODE(CHILD({ OK(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0)); EQ(mode, BIND); }), 0);
    OK(syscall(SYS_set_mempolicy, INTERLEAVE | STATIC, &nodes, 64));
    OK(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
    EQ(mode, INTERLEAVE | STATIC);
    OK(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 1));
    EQ(mode, 0);
    ERR(syscall(SYS_set_mempolicy, INTERLEAVE | STATIC | RELATIVE, &nodes, 64), EINVAL);
    ERR(syscall(SYS_set_mempolicy, BIND, NULL, 1), EINVAL);
    ERR(syscall(SYS_set_mempolicy, 0, &nodes, 0), EINVAL);
    ERR(syscall(SYS_set_mempolicy, 99, &nodes, 64), EINVAL);
    OK(syscall(SYS_set_mempolicy, 1 /* MPOL_PREFERRED */, NULL, 1));
    OK(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
    EQ(mode, LOCAL);
    OK(syscall(SYS_set_mempolicy, 0, NULL, 0));
    OK(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
    EQ(mode, 0);
}
int main(void) {
    RUN(affinity); RUN(affinity_of_another_thread); RUN(threads_have_clocks_of_their_own); RUN(times_survive_exec_and_are_handed_up);
    RUN(switches_are_counted); RUN(reads_and_writes_are_counted); RUN(timers_of_processor_time); RUN(policies); RUN(sched_attr); RUN(rusage_and_times); RUN(sysinfo_is_plausible); RUN(getcpu_call); RUN(membarrier);
    RUN(getpriority_groups); RUN(loadavg_and_uptime); RUN(ioprio); RUN(memory_policies);
    RUN(sched_attr_of_the_future);
    DONE();
}
