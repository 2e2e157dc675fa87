// Call sites that are used often behave as those used once: registers, flags, red zone, vectors; signals; what is seen of them.
#include "t.h"
#include <ucontext.h>

struct state { uint64_t r[15], flags, red[16], xmm[32]; };
struct state in, out;
enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15 };
#define MOVES(OP) OP(0, rax) OP(8, rbx) OP(16, rcx) OP(24, rdx) OP(32, rsi) OP(40, rdi) OP(48, rbp) OP(56, r8) OP(64, r9) OP(72, r10) OP(80, r11) OP(88, r12) OP(96, r13) OP(104, r14) OP(112, r15)
#define LOAD(at, reg) "mov in+" #at "(%rip), %" #reg "\n"
#define STORE(at, reg) "mov %" #reg ", out+" #at "(%rip)\n"
#define X(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11) OP(12) OP(13) OP(14) OP(15)
#define XLOAD(n) "movups in+256+16*" #n "(%rip), %xmm" #n "\n"
#define XSTORE(n) "movups %xmm" #n ", out+256+16*" #n "(%rip)\n"
// void NAME(void): everything from `in`, the instructions, everything to `out`. NAME_at is where they begin.
#define ROUTINE(name, code) \
    __asm__(".text\n.globl " #name ", " #name "_at, " #name "_end\n.balign 64\n" #name ":\n" \
            "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\nsub $512, %rsp\n" \
            X(XLOAD) "push in+120(%rip)\npopfq\n" \
            "lea in+128(%rip), %rsi\nlea -128(%rsp), %rdi\nmov $16, %ecx\nrep movsq\n" \
            MOVES(LOAD) #name "_at:\n" code MOVES(STORE) \
            "lea out+128(%rip), %rdi\nlea -128(%rsp), %rsi\nmov $16, %ecx\nrep movsq\n" \
            "pushfq\npop out+120(%rip)\n" X(XSTORE) \
            "add $512, %rsp\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n" #name "_end:\n"); \
    extern void name(void); \
    extern char name##_at[], name##_end[]
ROUTINE(number, "mov $39, %eax\nsyscall\n");
ROUTINE(long_number, "mov $39, %rax\nsyscall\n");
ROUTINE(compared, "syscall\ncmp $-4095, %rax\n");
ROUTINE(compared32, "syscall\ncmp $-4096, %eax\n");
ROUTINE(plain, "syscall\nnop\nnop\n");
ROUTINE(served, "mov $110, %eax\nsyscall\n");
ROUTINE(bare_compare, "cmp $-4095, %rax\n");
static void (*const routines[])(void) = {number, long_number, compared, compared32, plain, served};
static char *const ends[][2] = {{number_at, number_end}, {long_number_at, long_number_end}, {compared_at, compared_end}, {compared32_at, compared32_end}, {plain_at, plain_end}, {served_at, served_end}};
static int simple(int n) { return n < 2 || n == 5; }

static uint64_t seed = 88172645463325252ull;
static uint64_t rnd(void) { seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; return seed; }
static void fill(void) {
    for (int i = 0; i < 15; i++) in.r[i] = rnd();
    for (int i = 0; i < 16; i++) in.red[i] = rnd();
    for (int i = 0; i < 32; i++) in.xmm[i] = rnd();
    in.r[RAX] = seed & 64 ? SYS_getpid : SYS_getppid;
    in.flags = 0x202 | (rnd() & 0x8d5);
}
static long right(int n) { return n < 2 || (n < 5 && in.r[RAX] == SYS_getpid) ? getpid() : getppid(); }
static void check(int n, long value) {
    for (int i = RBX; i <= R15; i++)
        if (i != RCX && i != R11 && out.r[i] != in.r[i]) FAIL("routine %d: register %d is %#lx, was %#lx", n, i, out.r[i], in.r[i]);
    if (simple(n)) EQ(out.r[RCX], ends[n][0] + (n == 1 ? 9 : 7));
    EQ(out.r[R11] & 0xffff, in.flags);
    EQ(out.r[RAX], value);
    EQ(memcmp(out.red, in.red, sizeof in.red), 0);
    EQ(memcmp(out.xmm, in.xmm, sizeof in.xmm), 0);
    if (simple(n) || n == 4) EQ(out.flags, in.flags);
    else if (n == 2) {
        struct state kept = in;
        in.r[RAX] = value;
        uint64_t flags = out.flags;
        bare_compare();
        EQ(out.flags, flags);
        in = kept;
    }
}
TEST(everything_is_kept) {
    for (int round = 0; round < 300; round++)
        for (int n = 0; n < 6; n++) fill(), routines[n](), check(n, right(n));
    for (int round = 0; round < 20; round++)
        for (int n = 2; n < 5; n++) fill(), in.r[RAX] = 100000, routines[n](), check(n, n == 3 ? -ENOSYS : -ENOSYS);
}

// A program may go to the call without the instruction before it.
__asm__(".text\nbranch:\nmov %edi, %eax\ntest %esi, %esi\njne 1f\nmov $39, %eax\n1: syscall\nret\n");
extern long branch(int nr, int skip);
TEST(into_the_middle) {
    for (int i = 0; i < 60; i++) {
        EQ(branch(0, 0), getpid());
        EQ(branch(SYS_getppid, 1), getppid());
        EQ(branch(100000, 1), -ENOSYS);
    }
}

static volatile int ticks;
static int current;
static void tick(int s, siginfo_t *i, void *c) {
    greg_t *g = ((ucontext_t *)c)->uc_mcontext.gregs;
    char *ip = (char *)g[REG_RIP];
    extern char __executable_start[], etext[];
    ticks++;
    // Between the loads and the stores all is as it was given.
    if (ip >= ends[current][0] && ip < ends[current][0] + 14 - 4 * simple(current)) {
        if (g[REG_RBX] != (greg_t)in.r[RBX] || g[REG_RDI] != (greg_t)in.r[RDI] || g[REG_R15] != (greg_t)in.r[R15]) FAIL("registers of a signal frame at %p", ip);
    } else if (ip > (char *)0x7fff80000000 || (ip >= (char *)0x60000 && ip < (char *)0x200000 && !(ip >= __executable_start && ip < etext))) {
        FAIL("a signal at %p", ip);
    }
    if (ticks % 3 == 0) getppid();
}
static void storm(int which, int sig) {
    struct sigaction a = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(sig, &a, 0);
    struct itimerval t = {{0, 300}, {0, 300}}, none = {{0}};
    setitimer(which, &t, 0);
    ticks = 0;
    double end = t_now() + 4;
    for (int round = 0; ticks < 300 && t_now() < end; round++)
        for (int n = 0; n < 6; n++)
            for (int i = 0; i < 40; i++) fill(), current = n, routines[n](), check(n, right(n));
    setitimer(which, &none, 0);
    GE(ticks, 20);
}
TEST(signals_everywhere) { storm(ITIMER_REAL, SIGALRM); }
TEST(profiling_signals) { storm(ITIMER_PROF, SIGPROF); }

static void *caller(void *p) {
    for (int i = 0; i < 3000; i++)
        if (branch(0, 0) != getpid() || syscall(SYS_gettid) == 0) return (void *)1;
    return 0;
}
TEST(threads) {
    pthread_t t[4];
    void *r;
    for (int i = 0; i < 4; i++) pthread_create(t + i, 0, caller, 0);
    for (int i = 0; i < 4; i++) { pthread_join(t[i], &r); EQ(r, 0); }
}
TEST(copies) {
    for (int i = 0; i < 60; i++) branch(0, 0);
    for (int i = 0; i < 5; i++) {
        pid_t p = CHILD({
            for (int i = 0; i < 60; i++) EQ(branch(0, 0), getpid());
            pid_t q = CHILD({ for (int i = 0; i < 60; i++) EQ(branch(0, 0), getpid()); });
            CODE(q, 0);
        });
        CODE(p, 0);
    }
}

static const unsigned char was[] = {0xb8, 39, 0, 0, 0, 0x0f, 5};
TEST(others_see_the_original) {
    for (int i = 0; i < 60; i++) fill(), number(), compared();
    unsigned char b[16];
    int f = OK(open("/proc/self/mem", O_RDONLY)), p[2];
    EQ(pread(f, b, 7, (long)number_at), 7);
    EQ(memcmp(b, was, 7), 0);
    EQ(pread(f, b, 2, (long)number_at + 5), 2);
    EQ(memcmp(b, was + 5, 2), 0);
    struct iovec l = {b, 8}, r = {compared_at, 8};
    EQ(process_vm_readv(getpid(), &l, 1, &r, 1, 0), 8);
    EQ(memcmp(b, "\x0f\x05\x48\x3d\x01\xf0\xff\xff", 8), 0);
    OK(pipe(p));
    EQ(write(p[1], number_at, 7), 7);
    EQ(read(p[0], b, 7), 7);
    EQ(memcmp(b, was, 7), 0);
    char *maps = t_get("/proc/self/maps"), line[64];
    snprintf(line, sizeof line, "%lx-", (long)number_at & ~4095l);
    CHECK(!strstr(maps, "runsc") && strstr(maps, "r-xp"));
}
static void protect(int prot) { OK(mprotect((void *)((long)branch & ~4095l), 8192, prot)); }
TEST(patched_by_the_program) {
    for (int i = 0; i < 60; i++) branch(0, 0);
    protect(PROT_READ | PROT_WRITE | PROT_EXEC);
    unsigned char *site = memmem((void *)branch, 32, was, 7);
    CHECK(site != NULL);
    site[1] = SYS_getppid;
    for (int i = 0; i < 60; i++) EQ(branch(0, 0), getppid());
    protect(PROT_READ | PROT_EXEC);
    for (int i = 0; i < 60; i++) EQ(branch(0, 0), getppid());
    site = memmem((void *)branch, 32, was, 1);
    EQ(site[1], SYS_getppid);
}
// The same page in other places.
TEST(mapped_twice) {
    long page = (long)branch & ~4095l, within = (long)branch - page;
    for (int i = 0; i < 60; i++) branch(0, 0);
    char line[512];
    long start, end, offset;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && start <= page && page < end) break;
    fclose(maps);
    int f = OK(open("/proc/self/exe", O_RDONLY));
    for (int round = 0; round < 3; round++) {
        char *other = OK(mmap(0, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, offset + page - start));
        long (*there)(int, int) = (void *)(other + within);
        for (int i = 0; i < 60; i++) { EQ(there(0, 0), getpid()); EQ(branch(0, 0), getpid()); }
        EQ(memcmp(memmem(other + within, 32, was, 7) ?: "", was, 7), 0);
        char *moved = OK(mremap(other, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, other + (1 << 20)));
        there = (void *)(moved + within);
        for (int i = 0; i < 60; i++) EQ(there(0, 0), getpid());
        OK(munmap(moved, 8192));
    }
    // The first one goes away under a copy, and comes back.
    char *spare = OK(mmap(0, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, offset + page - start));
    long (*there)(int, int) = (void *)(spare + within);
    for (int i = 0; i < 60; i++) EQ(there(SYS_getppid, 1), getppid());
}
// No address is taken from the program.
TEST(low_addresses) {
    for (int i = 0; i < 60; i++) branch(0, 0);
    char *low = mmap((void *)0x60000, 0x40000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    EQ(low, 0x60000);
    for (int i = 0; i < 0x40000; i += 64) EQ(low[i], 0);
    memset(low, 0xee, 0x40000);
    for (int i = 0; i < 60; i++) EQ(branch(0, 0), getpid());
    for (int i = 0; i < 5; i++) fill(), compared(), check(2, right(2));
    OK(munmap(low, 0x40000));
    for (int i = 0; i < 60; i++) EQ(branch(0, 0), getpid());
}
// What a program asks about itself often is right whatever happens to it meanwhile.
static void ask(pid_t pid, pid_t tid, uid_t ruid, uid_t euid, gid_t rgid, gid_t egid) {
    for (int i = 0; i < 200; i++) {
        EQ(getpid(), pid); EQ(syscall(SYS_getpid), pid); EQ(branch(0, 0), pid);
        EQ(syscall(SYS_gettid), tid);
        EQ(getuid(), ruid); EQ(geteuid(), euid); EQ(getgid(), rgid); EQ(getegid(), egid);
        EQ(syscall(SYS_geteuid), euid); EQ(syscall(SYS_getgid), rgid);
    }
}
static void *ask_in_thread(void *p) {
    char link[64] = "";
    pid_t pid, tid;
    GE(readlink("/proc/thread-self", link, sizeof link - 1), 1);
    EQ(sscanf(link, "%d/task/%d", &pid, &tid), 2);
    ask(pid, tid, getuid(), geteuid(), getgid(), getegid());
    return p;
}
TEST(who_one_is) {
    pthread_t t[4];
    int p[2];
    ask_in_thread(0);
    for (int i = 0; i < 4; i++) pthread_create(t + i, 0, ask_in_thread, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    for (int i = 0; i < 3; i++) {
        OK(pipe(p));
        pid_t q = CHILD({
            pid_t self;
            EQ(read(p[0], &self, sizeof self), sizeof self);
            ask(self, self, getuid(), geteuid(), getgid(), getegid());
            ask_in_thread(0);
        });
        EQ(write(p[1], &q, sizeof q), sizeof q);
        CODE(q, 0);
        close(p[0]), close(p[1]);
    }
    ask_in_thread(0);
    if (geteuid()) return;
    pid_t self = getpid();
    OK(setresgid(-1, 2001, -1));
    ask(self, self, 0, 0, 0, 2001);
    OK(setresgid(2002, 2003, -1));
    ask(self, self, 0, 0, 2002, 2003);
    OK(setresuid(1001, 1002, 0));
    ask(self, self, 1001, 1002, 2002, 2003);
    OK(setresuid(-1, 0, -1));
    ask(self, self, 1001, 0, 2002, 2003);
}

#include <linux/filter.h>
#include <linux/seccomp.h>
static void refuse_getpid(int flags) {
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {4, f};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog));
}
static volatile int go, asked;
static void *wait_and_ask(void *p) {
    pid_t pid = getpid();
    for (int i = 0; i < 500; i++) EQ(branch(0, 0), pid);
    asked = 1;
    while (!go);
    for (int i = 0; i < 500; i++) EQ(branch(0, 0), -77);
    return p;
}
TEST(filters_see_every_call) {
    pthread_t t;
    pid_t pid = getpid();
    for (int i = 0; i < 500; i++) EQ(branch(0, 0), pid);
    pthread_create(&t, 0, wait_and_ask, 0);
    while (!asked) sched_yield();
    refuse_getpid(SECCOMP_FILTER_FLAG_TSYNC);
    go = 1;
    for (int i = 0; i < 500; i++) EQ(branch(0, 0), -77);
    pthread_join(t, 0);
    pid_t q = CHILD({ for (int i = 0; i < 500; i++) EQ(branch(0, 0), -77); });
    CODE(q, 0);
}
// The gs base is the program's.
TEST(the_other_segment) {
    long base = 1;
    static long word = 4711;
    for (int i = 0; i < 500; i++) branch(0, 0);
    OK(syscall(SYS_arch_prctl, 0x1004, &base));
    EQ(base, 0);
    OK(syscall(SYS_arch_prctl, 0x1001, &word));
    for (int i = 0; i < 500; i++) {
        EQ(branch(0, 0), getpid());
        __asm__ volatile("mov %%gs:0, %0" : "=r"(base));
        EQ(base, 4711);
        if (i % 50 == 0) { OK(syscall(SYS_arch_prctl, 0x1004, &base)); EQ(base, (long)&word); }
    }
    pid_t q = CHILD({ OK(syscall(SYS_arch_prctl, 0x1004, &base)); EQ(base, (long)&word); });
    CODE(q, 0);
    OK(syscall(SYS_arch_prctl, 0x1001, 0));
    for (int i = 0; i < 500; i++) EQ(branch(0, 0), getpid());
    OK(syscall(SYS_arch_prctl, 0x1004, &base));
    EQ(base, 0);
}
// Followed step by step, and with a handler that is told of each.
static volatile int steps;
static void step(int s, siginfo_t *i, void *c) { steps++; }
__asm__(".text\nstepped:\npushfq\norl $0x100, (%rsp)\npopfq\nmov $39, %eax\nsyscall\nnop\npushfq\nandl $~0x100, (%rsp)\npopfq\nret\n");
extern long stepped(void);
TEST(step_by_step) {
    struct sigaction a = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &a, 0);
    for (int i = 0; i < 100; i++) {
        steps = 0;
        EQ(stepped(), getpid());
        GE(steps, 4);
    }
}
static void *first_caller(void *x) { for (int i = 0; i < 200; i++) syscall(SYS_getppid); return x; }
// Several threads are at the first site that is worth rewriting when it is.
TEST(threads_at_the_first_site) {
    for (int round = 0; round < 100; round++) {
        pid_t p = fork();
        if (p == 0) {
            pthread_t t[4];
            for (int i = 0; i < 4; i++) pthread_create(t + i, 0, first_caller, 0);
            for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
            _exit(0);
        }
        int st;
        EQ(waitpid(p, &st, 0), p);
        EQ(st, 0);
    }
}
int main(void) {
    RUN(threads_at_the_first_site);
    RUN(everything_is_kept);
    RUN(into_the_middle);
    RUN(signals_everywhere);
    RUN(profiling_signals);
    RUN(threads);
    RUN(copies);
    RUN(others_see_the_original);
    RUN(patched_by_the_program);
    RUN(mapped_twice);
    RUN(low_addresses);
    RUN(who_one_is);
    RUN(filters_see_every_call);
    RUN(the_other_segment);
    RUN(step_by_step);
    return t_failed;
}
