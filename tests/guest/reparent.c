// Orphans, subreapers, parent-death signals, prctl.
#include "t.h"

TEST(subreaper_adopts) {
    int pp[2], v = 0;
    CHECK(!pipe(pp));
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    OK(prctl(PR_GET_CHILD_SUBREAPER, &v));
    EQ(v, 1);
    pid_t me = getpid();
    pid_t p = CHILD({
        pid_t q = CHILD({ while (getppid() != me) t_sleep(2); _exit(17); });
        write(pp[1], &q, sizeof q);
    });
    pid_t q;
    EQ(read(pp[0], &q, sizeof q), 4);
    CODE(p, 0);
    CODE(q, 17);
}
TEST(orphan_goes_to_init_without_subreaper) {
    int pp[2];
    CHECK(!pipe(pp));
    pid_t p = CHILD({
        pid_t mid = getpid();
        CHILD({ while (getppid() == mid) t_sleep(2); int v = getppid(); write(pp[1], &v, sizeof v); });
    });
    CODE(p, 0);
    int v;
    EQ(read(pp[0], &v, sizeof v), 4);
    EQ(v, 1);
}
static volatile int got;
static void on(int s) { got = s; }
TEST(pdeathsig) {
    int pp[2], v = 0;
    CHECK(!pipe(pp));
    pid_t p = CHILD({
        CHILD({
            signal(SIGUSR1, on);
            OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            write(pp[1], "r", 1);
            while (!got) t_sleep(2);
            write(pp[1], "d", 1);
        });
        char c;
        read(pp[0], &c, 1);
    });
    CODE(p, 0);
    char c = 0;
    EQ(read(pp[0], &c, 1), 1);
    EQ(c, 'd');
    OK(prctl(PR_GET_PDEATHSIG, &v));
    EQ(v, 0);
    ERR(prctl(PR_SET_PDEATHSIG, 100), EINVAL);
}
TEST(pdeathsig_cleared_by_fork) {
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR2));
    CODE(CHILD({ int v = 9; prctl(PR_GET_PDEATHSIG, &v); _exit(v); }), 0);
}
TEST(name) {
    char b[17] = "";
    OK(prctl(PR_SET_NAME, "a-name-longer-than-fifteen"));
    OK(prctl(PR_GET_NAME, b));
    STREQ(b, "a-name-longer-t");
    t_put("/proc/self/comm", "written");
    OK(prctl(PR_GET_NAME, b));
    STREQ(b, "written");
}
TEST(dumpable) {
    EQ(prctl(PR_GET_DUMPABLE), 1);
    OK(prctl(PR_SET_DUMPABLE, 0));
    EQ(prctl(PR_GET_DUMPABLE), 0);
    ERR(prctl(PR_SET_DUMPABLE, 2), EINVAL);
}
TEST(no_new_privs) {
    EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    CODE(CHILD(_exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))), 1);
    CHECK(strstr(t_get("/proc/self/status"), "NoNewPrivs:\t1\n"));
}
TEST(timerslack) {
    EQ(prctl(PR_GET_TIMERSLACK), 50000);
    OK(prctl(PR_SET_TIMERSLACK, 1234));
    EQ(prctl(PR_GET_TIMERSLACK), 1234);
    OK(prctl(PR_SET_TIMERSLACK, 0));
    EQ(prctl(PR_GET_TIMERSLACK), 50000);
}
TEST(unknown) {
    ERR(prctl(9999, 0, 0, 0, 0), EINVAL);
    ERR(prctl(PR_GET_NAME, 8), EFAULT);
    EQ(prctl(PR_GET_KEEPCAPS), 0);
    OK(prctl(PR_SET_KEEPCAPS, 1));
    EQ(prctl(PR_GET_KEEPCAPS), 1);
    ERR(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
}
TEST(anonymous_vma_name) {
    char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r = prctl(0x53564d41 /* PR_SET_VMA */, 0, p, 4096, "named");
    int e = errno;
    CHECK(r == 0 || e == EINVAL); // a kernel may be built without it
}
int main(void) {
    RUN(subreaper_adopts); RUN(orphan_goes_to_init_without_subreaper); RUN(pdeathsig); RUN(pdeathsig_cleared_by_fork);
    RUN(name); RUN(dumpable); RUN(no_new_privs); RUN(timerslack); RUN(unknown); RUN(anonymous_vma_name);
    DONE();
}
