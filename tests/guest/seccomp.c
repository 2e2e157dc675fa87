// Seccomp: strict mode, filters and each of their actions, chains, inheritance over fork and exec, TSYNC, who may install one.
#include "t.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#define LD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define RET(k) BPF_STMT(BPF_RET | BPF_K, k)
#define NR offsetof(struct seccomp_data, nr)
#define ARG0 offsetof(struct seccomp_data, args[0])

static int install_flags(struct sock_filter *code, int n, unsigned flags) {
    struct sock_fprog p = {n, code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
// This call gets `action`, everything else goes.
static int on(int nr, unsigned action, unsigned flags) {
    struct sock_filter code[] = {LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), RET(action), RET(SECCOMP_RET_ALLOW)};
    return install_flags(code, 4, flags);
}
static void privs(void) { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }
static int field(const char *name) {
    char *s = strstr(t_get("/proc/thread-self/status"), name);
    CHECK(s != NULL);
    return atoi(strchr(s, ':') + 1);
}
TEST(strict) {
    KILLED(CHILD({ OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)); write(2, "", 0); syscall(SYS_getpid); }), SIGKILL);
    pid_t p = fork();
    if (p == 0) {
        OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL));
        write(2, "", 0);
        syscall(SYS_exit, 3);
    }
    CODE(p, 3);
    ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
    ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, &p), EINVAL);
}
TEST(who_may) {
    OK(syscall(SYS_setresuid, 1000, 1000, 1000));
    ERR(on(SYS_getppid, SECCOMP_RET_ERRNO | 1, 0), EACCES);
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_ERRNO | 1, 0));
    ERR(syscall(SYS_getppid), EPERM);
}
TEST(errno_and_allow) {
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_ERRNO | ENODATA, 0));
    ERR(syscall(SYS_getppid), ENODATA);
    OK(syscall(SYS_getpgrp));
    OK(on(SYS_getsid, SECCOMP_RET_ERRNO | 0, 0));
    EQ(syscall(SYS_getsid, 0), 0);
    OK(on(SYS_getuid, SECCOMP_RET_ERRNO | 0xffff, 0));
    ERR(syscall(SYS_getuid), 4095);
}
TEST(by_argument) {
    struct sock_filter code[] = {
        LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 5),
        LD(ARG0 + 4), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),
        LD(ARG0), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, PRIO_USER, 0, 1), RET(SECCOMP_RET_ERRNO | EXDEV), RET(SECCOMP_RET_ALLOW)};
    privs();
    OK(install_flags(code, 8, 0));
    GE(syscall(SYS_getpriority, PRIO_PROCESS, 0), 1);
    ERR(syscall(SYS_getpriority, PRIO_USER, 0), EXDEV);
    GE(syscall(SYS_getpriority, PRIO_PROCESS, 0), 1);
}
TEST(instruction_pointer_and_arch) {
    struct sock_filter code[] = {
        LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 4),
        LD(offsetof(struct seccomp_data, arch)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
        LD(offsetof(struct seccomp_data, instruction_pointer) + 4), BPF_STMT(BPF_RET | BPF_A, 0), RET(SECCOMP_RET_ALLOW)};
    // The upper half of the address is below 0x10000: SECCOMP_RET_KILL_THREAD with data.
    KILLED(CHILD({ privs(); OK(install_flags(code, 7, 0)); syscall(SYS_getppid); }), SIGSYS);
}
static siginfo_t seen;
static void on_sys(int s, siginfo_t *i, void *u) { (void)s; (void)u; seen = *i; }
TEST(trap) {
    struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGSYS, &sa, NULL));
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_TRAP | 77, 0));
    EQ(syscall(SYS_getppid), SYS_getppid);
    EQ(seen.si_signo, SIGSYS); EQ(seen.si_code, 1 /* SYS_SECCOMP */); EQ(seen.si_errno, 77);
    EQ(seen.si_syscall, SYS_getppid); EQ(seen.si_arch, AUDIT_ARCH_X86_64); CHECK(seen.si_call_addr != NULL);
    signal(SIGSYS, SIG_IGN);
    KILLED(CHILD({ syscall(SYS_getppid); }), SIGSYS);
}
TEST(kill_process_and_trace_and_log) {
    KILLED(CHILD({ privs(); OK(on(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0)); syscall(SYS_getppid); }), SIGSYS);
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_TRACE | 1, 0));
    ERR(syscall(SYS_getppid), ENOSYS);
    OK(on(SYS_getpgrp, SECCOMP_RET_LOG, SECCOMP_FILTER_FLAG_LOG));
    OK(syscall(SYS_getpgrp));
}
static void *do_getppid(void *p) { (void)p; syscall(SYS_getppid); return NULL; }
static volatile int go;
static void *do_wait(void *p) { while (!go) t_sleep(1); return (void *)(long)syscall(SYS_getppid); }
TEST(kill_thread) {
    pthread_t t;
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0));
    EQ(pthread_create(&t, NULL, do_getppid, NULL), 0);
    // It dies alone: its join word is cleared, the process goes on.
    EQ(pthread_join(t, NULL), 0);
    KILLED(CHILD({ syscall(SYS_getppid); }), SIGSYS);
}
TEST(the_strictest_counts) {
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_ERRNO | 5, 0));
    OK(on(SYS_getppid, SECCOMP_RET_LOG, 0));
    OK(on(SYS_getppid, SECCOMP_RET_TRACE, 0));
    ERR(syscall(SYS_getppid), 5);
    OK(on(SYS_getppid, SECCOMP_RET_ERRNO | 6, 0));
    ERR(syscall(SYS_getppid), 6);
    EQ(field("\nSeccomp_filters"), 4);
}
TEST(status_fork_and_exec) {
    EQ(prctl(PR_GET_SECCOMP), 0); EQ(field("\nSeccomp"), 0); EQ(field("\nSeccomp_filters"), 0);
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_ERRNO | 9, 0));
    EQ(prctl(PR_GET_SECCOMP), 2); EQ(field("\nSeccomp"), 2); EQ(field("\nSeccomp_filters"), 1);
    CODE(CHILD({ ERR(syscall(SYS_getppid), 9); EQ(field("\nSeccomp"), 2); }), 0);
    pid_t p = fork();
    if (p == 0) execl("/proc/self/exe", "seccomp", "exec", (char *)0);
    CODE(p, 0);
}
TEST(tsync) {
    pthread_t t;
    void *r;
    EQ(pthread_create(&t, NULL, do_wait, NULL), 0);
    privs();
    OK(on(SYS_getppid, SECCOMP_RET_ERRNO | 8, SECCOMP_FILTER_FLAG_TSYNC));
    go = 1;
    EQ(pthread_join(t, &r), 0);
    EQ(r, -1);
}
static int tid;
static void *own_filter(void *p) {
    tid = syscall(SYS_gettid);
    if (on(SYS_getsid, SECCOMP_RET_ERRNO | 1, 0)) return (void *)1;
    *(volatile int *)p = 1;
    while (!go) t_sleep(1);
    return (void *)(syscall(SYS_getppid) < 0);
}
TEST(tsync_refused) {
    pthread_t t;
    volatile int ready = 0;
    void *r;
    privs();
    EQ(pthread_create(&t, NULL, own_filter, (void *)&ready), 0);
    while (!ready) t_sleep(1);
    EQ(on(SYS_getppid, SECCOMP_RET_ERRNO | 8, SECCOMP_FILTER_FLAG_TSYNC), tid);
    ERR(on(SYS_getppid, SECCOMP_RET_ERRNO | 8, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH), ESRCH);
    GE(syscall(SYS_getppid), 0);
    go = 1;
    EQ(pthread_join(t, &r), 0);
    EQ(r, 0);
}
TEST(what_is_refused) {
    struct sock_filter ret[] = {RET(SECCOMP_RET_ALLOW)}, open_end[] = {LD(NR)}, odd[] = {LD(2), RET(0)}, far_[] = {LD(64), RET(0)};
    struct sock_filter jump[] = {BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(0)}, unset[] = {BPF_STMT(BPF_LD | BPF_MEM, 0), RET(0)};
    struct sock_filter packet[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RET(0)}, zero[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0)};
    privs();
    ERR(install_flags(open_end, 1, 0), EINVAL); ERR(install_flags(odd, 2, 0), EINVAL); ERR(install_flags(far_, 2, 0), EINVAL);
    ERR(install_flags(jump, 2, 0), EINVAL); ERR(install_flags(unset, 2, 0), EINVAL); ERR(install_flags(packet, 2, 0), EINVAL);
    ERR(install_flags(zero, 2, 0), EINVAL); ERR(install_flags(ret, 0, 0), EINVAL); ERR(install_flags(ret, 1, 1 << 20), EINVAL);
    ERR(install_flags(NULL, 1, 0), EINVAL); ERR(install_flags((void *)8, 1, 0), EFAULT);
    ERR(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL), EFAULT);
    ERR(syscall(SYS_seccomp, 77, 0, NULL), EINVAL);
    ERR(prctl(PR_SET_SECCOMP, 3, 0), EINVAL);
    OK(install_flags(ret, 1, 0));
    ERR(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), EINVAL);
}
TEST(actions_there_are) {
    unsigned a[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW};
    for (int i = 0; i < 7; i++) OK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &a[i]));
    unsigned none = 0x12340000;
    ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &none), EOPNOTSUPP);
    ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &none), EINVAL);
    ERR(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, NULL), EFAULT);
}
TEST(long_chains_end) {
    static struct sock_filter code[BPF_MAXINSNS];
    int n = 0;
    for (int i = 0; i < BPF_MAXINSNS; i++) code[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
    privs();
    while (install_flags(code, BPF_MAXINSNS, 0) == 0 && n < 100) n++;
    int e = errno;
    EQ(e, ENOMEM);
    GE(n, 3);
}
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "exec")) {
        t_name = "exec";
        ERR(syscall(SYS_getppid), 9);
        EQ(field("\nSeccomp"), 2);
        return 0;
    }
    (void)argv;
    RUN(strict); RUN(who_may); RUN(errno_and_allow); RUN(by_argument); RUN(instruction_pointer_and_arch); RUN(trap);
    RUN(kill_process_and_trace_and_log); RUN(kill_thread); RUN(the_strictest_counts); RUN(status_fork_and_exec); RUN(tsync);
    RUN(tsync_refused); RUN(what_is_refused); RUN(actions_there_are); RUN(long_chains_end);
    DONE();
}
