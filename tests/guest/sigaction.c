// Handlers: masks, flags, alternate stacks, siginfo, errors.
#include "t.h"
#include <ucontext.h>

static volatile int n, last, depth, deepest;
static volatile siginfo_t info;
static void on(int s) { n++; last = s; }
static void on_info(int s, siginfo_t *i, void *c) { n++; last = s; info = *i; }
static void set(int s, void *f, int flags, int block) {
    struct sigaction a = {.sa_flags = flags};
    a.sa_sigaction = f;
    if (block) sigaddset(&a.sa_mask, block);
    OK(sigaction(s, &a, 0));
}
TEST(basic) {
    set(SIGUSR1, on, 0, 0);
    raise(SIGUSR1);
    EQ(n, 1);
    EQ(last, SIGUSR1);
}
TEST(get_old_action) {
    struct sigaction a;
    set(SIGUSR1, on_info, SA_SIGINFO | SA_RESTART, SIGUSR2);
    OK(sigaction(SIGUSR1, 0, &a));
    CHECK(a.sa_sigaction == on_info);
    EQ(a.sa_flags & (SA_SIGINFO | SA_RESTART), SA_SIGINFO | SA_RESTART);
    CHECK(sigismember(&a.sa_mask, SIGUSR2));
}
TEST(errors) {
    struct sigaction a = {.sa_handler = on};
    ERR(sigaction(SIGKILL, &a, 0), EINVAL);
    ERR(sigaction(SIGSTOP, &a, 0), EINVAL);
    ERR(syscall(SYS_rt_sigaction, 65, 0, 0, 8), EINVAL);
    ERR(syscall(SYS_rt_sigaction, 0, 0, 0, 8), EINVAL);
    ERR(syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4), EINVAL);
    ERR(syscall(SYS_rt_sigaction, SIGUSR1, 8, 0, 8), EFAULT);
    ERR(syscall(SYS_rt_sigprocmask, 99, &a, 0, 8), EINVAL);
    ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, 0, 8), EFAULT);
    OK(syscall(SYS_rt_sigprocmask, 99, 0, 0, 8));
}
static void nest(int s) { if (++depth > deepest) deepest = depth; if (++n < 3) raise(s); depth--; }
TEST(masked_in_its_handler) { set(SIGUSR1, nest, 0, 0); raise(SIGUSR1); EQ(n, 3); EQ(deepest, 1); }
TEST(nodefer) { set(SIGUSR1, nest, SA_NODEFER, 0); raise(SIGUSR1); EQ(n, 3); EQ(deepest, 3); }
static volatile int order[4], at;
static void first(int s) { order[at++] = 1; raise(SIGUSR2); order[at++] = 2; }
static void second(int s) { order[at++] = 3; }
TEST(sa_mask) {
    set(SIGUSR1, first, 0, SIGUSR2);
    set(SIGUSR2, second, 0, 0);
    raise(SIGUSR1);
    EQ(order[0] * 100 + order[1] * 10 + order[2], 123);
}
TEST(resethand) {
    set(SIGUSR1, on, SA_RESETHAND, 0);
    raise(SIGUSR1);
    struct sigaction a;
    sigaction(SIGUSR1, 0, &a);
    CHECK(a.sa_handler == SIG_DFL);
    KILLED(CHILD(raise(SIGUSR1)), SIGUSR1);
}
TEST(siginfo_of_kill) {
    set(SIGUSR1, on_info, SA_SIGINFO, 0);
    kill(getpid(), SIGUSR1);
    EQ(info.si_code, SI_USER); EQ(info.si_pid, getpid()); EQ(info.si_uid, getuid()); EQ(info.si_signo, SIGUSR1);
    raise(SIGUSR1);
    EQ(info.si_code, SI_TKILL);
}
TEST(siginfo_of_sigqueue) {
    set(SIGRTMIN, on_info, SA_SIGINFO, 0);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_ptr = (void *)0x123456789abcul});
    EQ(info.si_code, SI_QUEUE);
    EQ((long)info.si_value.sival_ptr, 0x123456789abc);
}
TEST(siginfo_of_child) {
    set(SIGCHLD, on_info, SA_SIGINFO, 0);
    pid_t p = CHILD(_exit(33));
    while (!n) t_sleep(2);
    EQ(info.si_pid, p); EQ(info.si_status, 33); EQ(info.si_code, CLD_EXITED);
}
TEST(nocldstop) {
    set(SIGCHLD, on, SA_NOCLDSTOP, 0);
    int st;
    pid_t p = CHILD(for (;;) pause());
    kill(p, SIGSTOP);
    EQ(waitpid(p, &st, WUNTRACED), p);
    EQ(n, 0);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
    EQ(n, 1);
}
static char alt[65536];
static volatile int on_alt, ss_flags;
static void alt_handler(int s) {
    char here;
    stack_t ss;
    on_alt = &here >= alt && &here < alt + sizeof alt;
    sigaltstack(0, &ss);
    ss_flags = ss.ss_flags;
    stack_t other = {.ss_sp = alt, .ss_size = sizeof alt};
    errno = 0;
    if (sigaltstack(&other, 0) != -1 || errno != EPERM) on_alt = 99;
}
TEST(altstack) {
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt}, old;
    OK(sigaltstack(&ss, 0));
    set(SIGUSR1, alt_handler, SA_ONSTACK, 0);
    raise(SIGUSR1);
    EQ(on_alt, 1);
    EQ(ss_flags, SS_ONSTACK);
    OK(sigaltstack(0, &old));
    CHECK(old.ss_sp == alt && old.ss_flags == 0);
    set(SIGUSR1, alt_handler, 0, 0);
    raise(SIGUSR1);
    CHECK(on_alt != 1);
}
TEST(altstack_errors_and_disable) {
    stack_t ss = {.ss_sp = alt, .ss_size = 100}, old;
    ERR(sigaltstack(&ss, 0), ENOMEM);
    ss.ss_flags = 0x77;
    ss.ss_size = sizeof alt;
    ERR(sigaltstack(&ss, 0), EINVAL);
    ss.ss_flags = SS_DISABLE;
    OK(sigaltstack(&ss, &old));
    EQ(old.ss_flags, SS_DISABLE);
}
TEST(autodisarm) {
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt, .ss_flags = 1u << 31}, old;
    OK(sigaltstack(&ss, 0));
    OK(sigaltstack(0, &old));
    EQ((unsigned)old.ss_flags, 1u << 31);
}
static int overflow(int k) { volatile char b[4096]; b[0] = k; return overflow(k + 1) + b[0]; }
static void exit_on_alt(int s) { char here; _exit(&here >= alt && &here < alt + sizeof alt ? 44 : 45); }
TEST(stack_overflow_caught_on_altstack) {
    CODE(CHILD({
        struct rlimit r = {1 << 20, 1 << 20};
        setrlimit(RLIMIT_STACK, &r);
        stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
        sigaltstack(&ss, 0);
        set(SIGSEGV, exit_on_alt, SA_ONSTACK, 0);
        overflow(0);
    }), 44);
    KILLED(CHILD({ struct rlimit r = {1 << 20, 1 << 20}; setrlimit(RLIMIT_STACK, &r); overflow(0); }), SIGSEGV);
}
TEST(ignored_fault_still_kills) {
    KILLED(CHILD({ signal(SIGSEGV, SIG_IGN); *(volatile int *)8 = 1; }), SIGSEGV);
    KILLED(CHILD({ sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); *(volatile int *)8 = 1; }), SIGSEGV);
}
TEST(default_actions) {
    int kill_me[] = {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGUSR1, SIGPIPE, SIGALRM, SIGTERM, SIGVTALRM, SIGPROF, SIGIO, SIGSYS, SIGXCPU, SIGPWR, SIGRTMIN, SIGRTMAX};
    for (unsigned i = 0; i < sizeof kill_me / sizeof *kill_me; i++) KILLED(CHILD(signal(SIGALRM, SIG_DFL); raise(kill_me[i]); _exit(0)), kill_me[i]);
    int ignored[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
    for (unsigned i = 0; i < 4; i++) CODE(CHILD(raise(ignored[i])), 0);
}
TEST(sigpipe) {
    int p[2];
    CHECK(!pipe(p));
    close(p[0]);
    KILLED(CHILD(write(p[1], "x", 1)), SIGPIPE);
    signal(SIGPIPE, SIG_IGN);
    ERR(write(p[1], "x", 1), EPIPE);
}
int main(void) {
    RUN(basic); RUN(get_old_action); RUN(errors); RUN(masked_in_its_handler); RUN(nodefer); RUN(sa_mask); RUN(resethand);
    RUN(siginfo_of_kill); RUN(siginfo_of_sigqueue); RUN(siginfo_of_child); RUN(nocldstop); RUN(altstack);
    RUN(altstack_errors_and_disable); RUN(autodisarm); RUN(stack_overflow_caught_on_altstack);
    RUN(ignored_fault_still_kills); RUN(default_actions); RUN(sigpipe);
    DONE();
}
