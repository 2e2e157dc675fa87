// wait4, waitid: options, siginfo, stop and continue, rusage.
#include "t.h"

TEST(nohang) {
    int st;
    pid_t p = CHILD(pause());
    EQ(waitpid(p, &st, WNOHANG), 0);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
    ERR(waitpid(p, &st, 0), ECHILD);
}
TEST(stop_and_continue) {
    int st;
    pid_t p = CHILD({ for (;;) pause(); });
    kill(p, SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED), p);
    CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED | WNOHANG), 0);
    kill(p, SIGCONT);
    EQ(waitpid(p, &st, WCONTINUED), p);
    CHECK(WIFCONTINUED(st));
    kill(p, SIGTERM);
    KILLED(p, SIGTERM);
}
TEST(waitid_siginfo) {
    siginfo_t i;
    pid_t p = CHILD(_exit(42));
    memset(&i, 0, sizeof i);
    EQ(waitid(P_PID, p, &i, WEXITED), 0);
    EQ(i.si_pid, p); EQ(i.si_signo, SIGCHLD); EQ(i.si_code, CLD_EXITED); EQ(i.si_status, 42); EQ(i.si_uid, getuid());
    p = CHILD(raise(SIGTERM); pause());
    EQ(waitid(P_PID, p, &i, WEXITED), 0);
    EQ(i.si_code, CLD_KILLED); EQ(i.si_status, SIGTERM);
}
TEST(waitid_nowait) {
    siginfo_t i;
    pid_t p = CHILD(_exit(1));
    EQ(waitid(P_PID, p, &i, WEXITED | WNOWAIT), 0);
    EQ(i.si_pid, p);
    EQ(waitid(P_ALL, 0, &i, WEXITED), 0);
    EQ(i.si_pid, p);
    ERR(waitid(P_ALL, 0, &i, WEXITED), ECHILD);
}
TEST(waitid_nohang_clears_pid) {
    siginfo_t i;
    pid_t p = CHILD(pause());
    i.si_pid = 77;
    EQ(waitid(P_PID, p, &i, WEXITED | WNOHANG), 0);
    EQ(i.si_pid, 0);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(waitid_stopped_continued) {
    siginfo_t i;
    pid_t p = CHILD({ for (;;) pause(); });
    kill(p, SIGSTOP);
    EQ(waitid(P_PID, p, &i, WSTOPPED), 0);
    EQ(i.si_code, CLD_STOPPED); EQ(i.si_status, SIGSTOP);
    kill(p, SIGCONT);
    EQ(waitid(P_PID, p, &i, WCONTINUED), 0);
    EQ(i.si_code, CLD_CONTINUED); EQ(i.si_status, SIGCONT);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(errors) {
    int st;
    siginfo_t i;
    ERR(wait(&st), ECHILD);
    ERR(waitid(P_ALL, 0, &i, 0), EINVAL);
    ERR(waitid(99, 0, &i, WEXITED), EINVAL);
    ERR(waitpid(-1, &st, 0x100), EINVAL);
    ERR(waitpid(1, &st, 0), ECHILD);
    ERR(syscall(SYS_wait4, INT_MIN, &st, 0, 0), ESRCH);
}
TEST(by_process_group) {
    int st;
    pid_t p = CHILD({ setpgid(0, 0); _exit(3); });
    setpgid(p, p);
    pid_t q = CHILD(_exit(4));
    EQ(waitpid(-p, &st, 0), p);
    EQ(WEXITSTATUS(st), 3);
    EQ(waitpid(0, &st, 0), q);
    EQ(WEXITSTATUS(st), 4);
}
TEST(by_pidfd) {
    siginfo_t i;
    pid_t p = CHILD(_exit(5));
    int fd = OK(syscall(SYS_pidfd_open, p, 0));
    EQ(waitid(3 /* P_PIDFD */, fd, &i, WEXITED), 0);
    EQ(i.si_status, 5);
}
TEST(ignored_sigchld_reaps) {
    signal(SIGCHLD, SIG_IGN);
    pid_t p = CHILD(_exit(0));
    int st;
    ERR(waitpid(p, &st, 0), ECHILD);
}
TEST(nocldwait_reaps) {
    struct sigaction a = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &a, 0);
    int st;
    CHILD(_exit(0));
    CHILD(_exit(0));
    ERR(wait(&st), ECHILD);
}
// Once a process has begun to end, a signal comes too late to say how.
TEST(killed_while_it_ends) {
    for (int i = 0; i < 30; i++) {
        int p[2], st;
        char c;
        OK(pipe(p));
        pid_t child = fork();
        if (child == 0) { close(p[0]); syscall(SYS_exit, 7); }
        close(p[1]);
        EQ(read(p[0], &c, 1), 0); // closed by its end, if that is not over yet
        OK(kill(child, SIGKILL));
        EQ(waitpid(child, &st, 0), child);
        CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 7);
        close(p[0]);
    }
}
TEST(rusage_of_child) {
    struct rusage u;
    int st;
    struct timespec t;
    pid_t p = CHILD({ do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); while (t.tv_nsec < 100000000); });
    EQ(wait4(p, &st, 0, &u), p);
    GE(u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec, 30000);
    GE(u.ru_maxrss, 1);
    struct rusage c;
    getrusage(RUSAGE_CHILDREN, &c);
    GE(c.ru_utime.tv_sec * 1000000 + c.ru_utime.tv_usec + c.ru_stime.tv_sec * 1000000 + c.ru_stime.tv_usec, 30000);
}
static void touch(long mib) {
    char *m = mmap(0, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long i = 0; i < mib << 20; i += 4096) m[i] = 1;
}
// What a child used of memory is known whether or not it was asked for when the child was waited for; a grandchild's comes with it.
TEST(memory_of_children) {
    struct rusage u;
    int st;
    getrusage(RUSAGE_CHILDREN, &u);
    long before = u.ru_minflt;
    CHILD(touch(40));
    EQ(waitpid(-1, &st, 0) > 0, 1);
    getrusage(RUSAGE_CHILDREN, &u);
    GE(u.ru_maxrss, 40 << 10);
    GE(u.ru_minflt + u.ru_majflt, before + 1);
    pid_t p = CHILD({ CHILD(touch(60)); waitpid(-1, &st, 0); });
    EQ(wait4(p, &st, 0, &u), p);
    GE(u.ru_maxrss, 60 << 10);
    getrusage(RUSAGE_CHILDREN, &u);
    GE(u.ru_maxrss, 60 << 10);
}
static void *waiter(void *a) { int st; return (void *)(long)waitpid(*(pid_t *)a, &st, 0); }
TEST(thread_waits_for_sibling_child) {
    pid_t p = CHILD(t_sleep(30));
    pthread_t t;
    void *r;
    pthread_create(&t, 0, waiter, &p);
    pthread_join(t, &r);
    EQ((long)r, p);
}
static void *forker(void *a) { pid_t p = CHILD(_exit(12)); *(pid_t *)a = p; return 0; }
TEST(thread_children_and_wnothread) {
    pid_t p;
    int st;
    pthread_t t;
    pthread_create(&t, 0, forker, &p);
    pthread_join(t, 0);
    EQ(waitpid(p, &st, 0), p);
    EQ(WEXITSTATUS(st), 12);
}
TEST(core_dump_bit_is_honest) {
    struct rlimit r = {0, 0};
    setrlimit(RLIMIT_CORE, &r);
    int st = t_wait(CHILD(raise(SIGABRT)));
    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGABRT);
}
TEST(zombie_is_no_child_to_wait_for_stops) {
    siginfo_t i;
    pid_t p = CHILD();
    t_state(p, 'Z');
    ERR(waitid(P_PID, p, &i, WSTOPPED), ECHILD);
    ERR(waitid(P_ALL, 0, &i, WCONTINUED | WNOHANG), ECHILD);
    CODE(p, 0);
}
int main(void) {
    RUN(nohang); RUN(stop_and_continue); RUN(waitid_siginfo); RUN(waitid_nowait); RUN(waitid_nohang_clears_pid);
    RUN(waitid_stopped_continued); RUN(errors); RUN(by_process_group); RUN(by_pidfd); RUN(ignored_sigchld_reaps);
    RUN(nocldwait_reaps); RUN(rusage_of_child); RUN(memory_of_children); RUN(thread_waits_for_sibling_child); RUN(thread_children_and_wnothread);
    RUN(core_dump_bit_is_honest);
    RUN(zombie_is_no_child_to_wait_for_stops);
    RUN(killed_while_it_ends);
    DONE();
}
