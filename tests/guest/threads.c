// Threads: creation, thread groups, exit, exec and fork from a thread, per-thread state.
#include "t.h"

static void *add(void *a) { __atomic_add_fetch((int *)a, 1, __ATOMIC_SEQ_CST); return a; }
TEST(create_join) {
    int n = 0;
    pthread_t t[40];
    for (int i = 0; i < 40; i++) EQ(pthread_create(t + i, 0, add, &n), 0);
    for (int i = 0; i < 40; i++) EQ(pthread_join(t[i], 0), 0);
    EQ(n, 40);
}
static void *ids(void *a) { int *v = a; v[0] = getpid(); v[1] = syscall(SYS_gettid); v[2] = getppid(); return 0; }
TEST(one_pid_many_tids) {
    int v[3];
    pthread_t t;
    pthread_create(&t, 0, ids, v);
    pthread_join(t, 0);
    EQ(v[0], getpid());
    CHECK(v[1] != getpid());
    EQ(v[2], getppid());
}
static void *group_exit(void *a) { t_sleep(20); _exit(9); }
TEST(exit_group_from_thread) {
    pid_t p = CHILD({ pthread_t t; pthread_create(&t, 0, group_exit, 0); for (;;) pause(); });
    CODE(p, 9);
}
static void *late(void *a) { t_sleep(50); _exit(5); }
TEST(leader_exits_first) {
    pid_t p = CHILD({ pthread_t t; pthread_create(&t, 0, late, 0); syscall(SYS_exit, 0); });
    CODE(p, 5);
}
static void *do_exec(void *a) { execl("/bin/sh", "sh", "-c", "test $$ = $0 && exit 21", (char *)a, (char *)0); _exit(1); }
TEST(exec_from_thread_takes_the_leaders_pid) {
    pid_t p = CHILD({
        char me[20];
        snprintf(me, sizeof me, "%d", getpid());
        pthread_t t;
        pthread_create(&t, 0, do_exec, me);
        for (;;) pause();
    });
    CODE(p, 21);
}
static void *do_fork(void *a) { pid_t p = CHILD(_exit(syscall(SYS_gettid) == getpid() ? 3 : 4)); CODE(p, 3); return 0; }
TEST(fork_from_thread) {
    pthread_t t;
    pthread_create(&t, 0, do_fork, 0);
    pthread_join(t, 0);
}
static __thread int tls = 3;
static void *set_tls(void *a) { tls++; *(int *)a = tls; return 0; }
TEST(tls) {
    int v = 0;
    pthread_t t;
    tls = 10;
    pthread_create(&t, 0, set_tls, &v);
    pthread_join(t, 0);
    EQ(v, 4);
    EQ(tls, 10);
    unsigned long fs = 0;
    OK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs));
    CHECK(fs != 0);
    OK(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, 0x1234000));
    unsigned long gs = 0;
    OK(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &gs));
    EQ(gs, 0x1234000);
}
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int turn;
static void *pinger(void *a) {
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&m);
        while (turn != 1) pthread_cond_wait(&c, &m);
        turn = 0;
        pthread_cond_broadcast(&c);
        pthread_mutex_unlock(&m);
    }
    return 0;
}
TEST(condvar_pingpong) {
    pthread_t t;
    pthread_create(&t, 0, pinger, 0);
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&m);
        while (turn != 0) pthread_cond_wait(&c, &m);
        turn = 1;
        pthread_cond_broadcast(&c);
        pthread_mutex_unlock(&m);
    }
    pthread_join(t, 0);
}
static void *sleeper(void *a) { for (;;) t_sleep(1000); return 0; }
TEST(cancel) {
    pthread_t t;
    void *r;
    pthread_create(&t, 0, sleeper, 0);
    t_sleep(20);
    pthread_cancel(t);
    pthread_join(t, &r);
    CHECK(r == PTHREAD_CANCELED);
}
static volatile int hit;
static void on(int s) { hit = syscall(SYS_gettid); }
static volatile int tid2;
static void *park(void *a) { tid2 = syscall(SYS_gettid); while (!hit) t_sleep(5); return 0; }
TEST(tgkill_reaches_that_thread) {
    signal(SIGUSR1, on);
    pthread_t t;
    pthread_create(&t, 0, park, 0);
    while (!tid2) t_sleep(1);
    OK(syscall(SYS_tgkill, getpid(), tid2, SIGUSR1));
    pthread_join(t, 0);
    EQ(hit, tid2);
    while (syscall(SYS_tgkill, getpid(), tid2, SIGUSR1) == 0) t_sleep(1); // join hears of the end a moment before the number is free
    int error = errno;
    EQ(error, ESRCH);
    ERR(syscall(SYS_tgkill, -1, 1, 0), EINVAL);
}
TEST(proc_task_lists_threads) {
    pthread_t t;
    pthread_create(&t, 0, sleeper, 0);
    int n = 0;
    FILE *f = popen("ls /proc/$PPID/task | wc -l", "r");
    fscanf(f, "%d", &n);
    EQ(n, 2);
    CHECK(strstr(t_get("/proc/self/status"), "Threads:\t2\n"));
}
static void *namer(void *a) { prctl(PR_SET_NAME, "second"); t_sleep(1000); return 0; }
TEST(comm_is_per_thread) {
    pthread_t t;
    prctl(PR_SET_NAME, "first");
    pthread_create(&t, 0, namer, 0);
    t_sleep(50);
    STREQ(t_get("/proc/self/comm"), "first\n");
    char b[64] = "";
    pthread_getname_np(t, b, sizeof b);
    STREQ(b, "second");
}
static void *nothing(void *a) { return 0; }
TEST(thousand_threads_in_turn) {
    for (int i = 0; i < 1000; i++) {
        pthread_t t;
        EQ(pthread_create(&t, 0, nothing, 0), 0);
        pthread_join(t, 0);
    }
}
TEST(segfault_in_thread_kills_all) {
    pid_t p = CHILD({ pthread_t t; pthread_create(&t, 0, (void *(*)(void *))8, 0); for (;;) pause(); });
    KILLED(p, SIGSEGV);
}
int main(void) {
    RUN(create_join); RUN(one_pid_many_tids); RUN(exit_group_from_thread); RUN(leader_exits_first);
    RUN(exec_from_thread_takes_the_leaders_pid); RUN(fork_from_thread); RUN(tls); RUN(condvar_pingpong); RUN(cancel);
    RUN(tgkill_reaches_that_thread); RUN(proc_task_lists_threads); RUN(comm_is_per_thread);
    RUN(thousand_threads_in_turn); RUN(segfault_in_thread_kills_all);
    DONE();
}
