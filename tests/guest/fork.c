// fork, vfork, clone and what children inherit.
#include "t.h"

TEST(fork_copies_memory) {
    static int v = 1;
    pid_t p = CHILD({ v = 2; if (v != 2) _exit(1); });
    CODE(p, 0);
    EQ(v, 1);
}
TEST(exit_codes) {
    for (int c = 0; c < 256; c += 51) CODE(CHILD(_exit(c)), c);
    CODE(CHILD(_exit(0x1234)), 0x34);
    CODE(CHILD(syscall(SYS_exit, 7)), 7);
}
TEST(parent_and_pid) {
    pid_t me = getpid();
    pid_t p = CHILD({ EQ(getppid(), me); CHECK(getpid() != me); EQ(getpid(), syscall(SYS_gettid)); });
    CODE(p, 0);
}
TEST(vfork_shares_memory_and_waits) {
    volatile int v = 0;
    pid_t p = vfork();
    if (p == 0) { v = 5; _exit(3); }
    CHECK(p > 0);
    EQ(v, 5);
    CODE(p, 3);
}
static int thread_fn(void *arg) { *(int *)arg = 9; return 4; }
TEST(clone_vm) {
    static char stack[65536] __attribute__((aligned(16)));
    int v = 0;
    pid_t p = OK(clone(thread_fn, stack + sizeof stack, CLONE_VM | SIGCHLD, &v));
    CODE(p, 4);
    EQ(v, 9);
}
static int close_fn(void *arg) { close(*(int *)arg); chdir("/"); return 0; }
TEST(clone_files_and_fs) {
    static char stack[65536] __attribute__((aligned(16)));
    int f = OK(open("/dev/null", O_RDONLY));
    pid_t p = OK(clone(close_fn, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, &f));
    CODE(p, 0);
    ERR(fcntl(f, F_GETFD), EBADF);
    char cwd[100];
    STREQ(getcwd(cwd, sizeof cwd), "/");
}
TEST(clone_tid_words) {
    static volatile int ptid, ctid;
    pid_t p = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &ptid, &ctid, 0);
    if (p == 0) _exit(ctid == getpid() ? 0 : 1);
    CODE(p, 0);
    EQ(ptid, p);
    EQ(ctid, 0);
}
struct args3 { uint64_t flags, pidfd, ctid, ptid, sig, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };
TEST(clone3_basic) {
    int ptid = 0, pidfd = -1;
    struct args3 a = {.flags = CLONE_PARENT_SETTID | CLONE_PIDFD, .ptid = (uint64_t)&ptid, .pidfd = (uint64_t)&pidfd, .sig = SIGCHLD};
    pid_t p = syscall(SYS_clone3, &a, sizeof a);
    if (p == 0) _exit(11);
    CHECK(p > 0);
    EQ(ptid, p);
    CHECK(pidfd >= 0);
    EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    CODE(p, 11);
}
TEST(clone3_errors) {
    struct args3 a = {.sig = SIGCHLD};
    ERR(syscall(SYS_clone3, &a, 8), EINVAL);
    ERR(syscall(SYS_clone3, (void *)8, sizeof a), EFAULT);
    a.sig = 1000;
    ERR(syscall(SYS_clone3, &a, sizeof a), EINVAL);
    struct args3 b = {.flags = CLONE_THREAD, .sig = 0};
    ERR(syscall(SYS_clone3, &b, sizeof b), EINVAL);
    struct { struct args3 a; uint64_t more; } big = {.a.sig = SIGCHLD, .more = 1};
    ERR(syscall(SYS_clone3, &big, sizeof big), E2BIG);
}
TEST(clone_flag_rules) {
    ERR(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, 0, 0, 0, 0), EINVAL);
    ERR(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0), EINVAL);
    ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), EINVAL);
    ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EINVAL);
    ERR(syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0), EINVAL);
    ERR(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWPID, 0, 0, 0, 0), EINVAL);
    ERR(syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, 0, 0, 0), EINVAL);
    int fd;
    ERR(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &fd, 0, 0), EINVAL);
    struct args3 a = {.flags = CLONE_DETACHED, .sig = SIGCHLD};
    ERR(syscall(SYS_clone3, &a, sizeof a), EINVAL);
    a.flags = CLONE_SIGHAND | CLONE_VM | 0x100000000 /* CLONE_CLEAR_SIGHAND */;
    ERR(syscall(SYS_clone3, &a, sizeof a), EINVAL);
    a.flags = CLONE_PARENT;
    ERR(syscall(SYS_clone3, &a, sizeof a), EINVAL);
    CODE(CHILD({ OK(unshare(CLONE_NEWPID)); ERR(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, 0, 0, 0, 0), EINVAL); }), 0);
}
TEST(clone_parent) {
    pid_t me = getpid();
    int fds[2];
    CHECK(!pipe(fds));
    pid_t p = CHILD({
        pid_t q = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        if (q == 0) { EQ(getppid(), me); _exit(8); }
        write(fds[1], &q, sizeof q);
    });
    CODE(p, 0);
    pid_t q;
    EQ(read(fds[0], &q, sizeof q), (long)sizeof q);
    CODE(q, 8);
}
TEST(no_exit_signal_needs_wclone) {
    pid_t p = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (p == 0) _exit(6);
    int st;
    ERR(waitpid(p, &st, 0), ECHILD);
    EQ(waitpid(p, &st, __WCLONE), p);
    EQ(WEXITSTATUS(st), 6);
}
static volatile int got;
static void on(int s) { got = s; }
TEST(custom_exit_signal) {
    signal(SIGUSR1, on);
    pid_t p = syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0);
    if (p == 0) _exit(0);
    int st;
    pid_t r;
    while ((r = waitpid(p, &st, __WALL)) < 0 && errno == EINTR) {}
    EQ(r, p);
    EQ(got, SIGUSR1);
}
TEST(many_children) {
    pid_t p[50];
    for (int i = 0; i < 50; i++) p[i] = CHILD(_exit(i));
    for (int i = 49; i >= 0; i--) CODE(p[i], i);
    int st;
    ERR(wait(&st), ECHILD);
}
TEST(stdio_offset_shared_by_fork) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    CODE(CHILD({ EQ(write(f, "abc", 3), 3); }), 0);
    EQ(lseek(f, 0, SEEK_CUR), 3);
}
TEST(personality_and_dump_filter_are_inherited) {
    enum { BSD = 6, SHORT_INODE = 0x1000000 };
    EQ(syscall(SYS_personality, BSD | SHORT_INODE), 0);
    t_put("/proc/self/coredump_filter", "0x7");
    CODE(CHILD({
        EQ(syscall(SYS_personality, 0xffffffff), BSD | SHORT_INODE);
        STREQ(t_get("/proc/self/coredump_filter"), "00000007\n");
    }), 0);
}
TEST(tls_outside_user_memory) {
    char stack[4096];
    ERR(syscall(SYS_clone, CLONE_SETTLS | SIGCHLD, stack + sizeof stack, 0, 0, 0x8000000000000000), EPERM);
}
int main(void) {
    RUN(fork_copies_memory); RUN(exit_codes); RUN(parent_and_pid); RUN(vfork_shares_memory_and_waits);
    RUN(clone_vm); RUN(clone_files_and_fs); RUN(clone_tid_words); RUN(clone3_basic); RUN(clone3_errors);
    RUN(clone_flag_rules); RUN(clone_parent); RUN(no_exit_signal_needs_wclone); RUN(custom_exit_signal);
    RUN(many_children); RUN(stdio_offset_shared_by_fork); RUN(personality_and_dump_filter_are_inherited);
    RUN(tls_outside_user_memory);
    DONE();
}
