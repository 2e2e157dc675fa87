// Restartable sequences: registration and its errors, what the area says, and that a sequence is all or nothing.
#include "t.h"
#include <sys/rseq.h>
#include <ucontext.h>

#define SIG 0x53053053
struct rs { uint32_t cpu_start, cpu; uint64_t cs; uint32_t flags, node, mm, pad; } __attribute__((aligned(32)));
static struct rs own;
static long reg(struct rs *r, uint32_t len, int flags, uint32_t sig) { return syscall(SYS_rseq, r, len, flags, sig); }
// The C library's area of this thread; or one of our own.
static struct rs *area(void) {
    if (__rseq_size) return (struct rs *)((char *)__builtin_thread_pointer() + __rseq_offset);
    static __thread struct rs mine;
    if (!mine.cpu_start && !mine.pad) { OK(reg(&mine, 32, 0, SIG)); mine.pad = 1; }
    return &mine;
}

// One sequence: if the thread is on this processor, adds to its counter, slowly. 0 if it was broken off.
static int add(struct rs *r, int cpu, volatile long *count) {
    int done = 0;
    __asm__ __volatile__(
        ".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
        "lea 3b(%%rip), %%rax\n mov %%rax, 8(%[r])\n"
        "1: cmp %[cpu], 4(%[r])\n jne 5f\n"
        "mov (%[count]), %%rax\n mov $60, %%ecx\n6: dec %%ecx\n jnz 6b\n inc %%rax\n mov %%rax, (%[count])\n"
        "2: mov $1, %[done]\n jmp 5f\n"
        ".byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\n4: nop\n"
        "5:\n"
        : [done] "+r"(done) : [r] "r"(r), [cpu] "r"(cpu), [count] "r"(count) : "rax", "rcx", "memory", "cc");
    return done;
}
// One that waits in itself for ever; returns when it is broken off.
static void spin(struct rs *r, volatile int *inside) {
    __asm__ __volatile__(
        ".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
        "lea 3b(%%rip), %%rax\n mov %%rax, 8(%[r])\n"
        "1: movl $1, (%[inside])\n6: pause\n jmp 6b\n2: ud2\n"
        ".byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\n4: nop\n"
        : : [r] "r"(r), [inside] "r"(inside) : "rax", "memory", "cc");
}

TEST(errors) {
    struct rs *r = area();
    ERR(reg((struct rs *)((char *)&own + 1), 32, 2, 1), EINVAL);
    ERR(reg(&own, 32, 0, SIG), EINVAL);
    ERR(reg(&own, 32, 1, SIG), EINVAL);
    ERR(reg(r, 32, 0, SIG), EBUSY);
    ERR(reg(r, 32, 0, SIG + 1), EPERM);
    ERR(reg(r, 32, 1, SIG + 1), EPERM);
    ERR(reg(r, 64, 1, SIG), EINVAL);
    OK(reg(r, 32, 1, SIG));
    EQ((int)r->cpu, -1);
    EQ(r->cpu_start, 0);
    ERR(reg(r, 32, 1, SIG), EINVAL);
    ERR(reg(&own, 16, 0, SIG), EINVAL);
    ERR(reg((struct rs *)((char *)&own + 8), 32, 0, SIG), EINVAL);
    ERR(reg((struct rs *)64, 32, 0, SIG), EFAULT);
    ERR(reg((struct rs *)0xffff800000000000, 32, 0, SIG), EFAULT);
    OK(reg(&own, 32, 0, SIG));
    CHECK((int)own.cpu >= 0 && own.cpu == own.cpu_start);
}
static void pin(int cpu) { cpu_set_t s; CPU_ZERO(&s); CPU_SET(cpu, &s); OK(sched_setaffinity(0, sizeof s, &s)); }
TEST(says_the_processor) {
    struct rs *r = area();
    cpu_set_t may;
    OK(sched_getaffinity(0, sizeof may, &may));
    for (int c = 0; c < 64; c++) {
        if (!CPU_ISSET(c, &may)) continue;
        pin(c);
        EQ(r->cpu, c);
        EQ(r->cpu_start, c);
        EQ(sched_getcpu(), c);
    }
}
TEST(lives_on_in_a_child) {
    struct rs *r = area();
    CODE(CHILD({
        ERR(reg(r, 32, 0, SIG), EBUSY);
        r->cpu = 999;
        usleep(1000);
        CHECK(r->cpu < 999);
        CODE(CHILD(ERR(reg(r, 32, 0, SIG), EBUSY)), 0);
    }), 0);
}
static void *fresh(void *x) {
    (void)x;
    CHECK(area()->cpu < 1024);
    return 0;
}
TEST(threads_come_and_go) {
    for (int i = 0; i < 300; i++) {
        pthread_t t;
        pthread_attr_t a;
        pthread_attr_init(&a);
        // Sizes that differ, so that stacks are unmapped rather than kept.
        pthread_attr_setstacksize(&a, (64 + 1024 * (i % 40)) << 10);
        EQ(pthread_create(&t, &a, fresh, 0), 0);
        EQ(pthread_join(t, 0), 0);
    }
}
static volatile long counts[64][8], sum;
static void *adder(void *x) {
    struct rs *r = area();
    for (long i = 0; i < (long)x; i++) {
        int cpu;
        do cpu = r->cpu_start; while (!add(r, cpu, counts[cpu]));
    }
    return 0;
}
TEST(all_or_nothing) {
    pthread_t t[6];
    for (int i = 0; i < 6; i++) EQ(pthread_create(&t[i], 0, adder, (void *)200000), 0);
    for (int i = 0; i < 6; i++) pthread_join(t[i], 0);
    for (int i = 0; i < 64; i++) sum += counts[i][0];
    EQ(sum, 1200000);
}
static volatile int inside;
static volatile long at;
static void handler(int s, siginfo_t *i, void *u) {
    (void)s; (void)i;
    at = ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP];
}
TEST(a_handler_breaks_off) {
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGALRM, &sa, 0));
    // On the way to its handler the thread is at the place where the sequence says that it goes on: the signature is in front of it.
    for (int i = 0; i < 5; i++) {
        struct itimerval it = {.it_value.tv_usec = 20000};
        at = 0;
        OK(setitimer(ITIMER_REAL, &it, 0));
        while (!at) spin(area(), &inside);
        EQ(area()->cs, 0);
    }
    EQ(((uint32_t *)at)[-1], SIG);
}
static void *spinner(void *x) {
    spin(area(), x);
    *(volatile int *)x = 2;
    return 0;
}
TEST(a_barrier_breaks_off) {
    EQ(syscall(SYS_membarrier, 0, 0, 0) & 384, 384);
    ERR(syscall(SYS_membarrier, 128, 0, 0), EPERM);
    OK(syscall(SYS_membarrier, 256, 0, 0));
    ERR(syscall(SYS_membarrier, 128, 2, 0), EINVAL);
    pthread_t t;
    EQ(pthread_create(&t, 0, spinner, (void *)&inside), 0);
    while (inside == 0) usleep(1000);
    while (inside != 2) { OK(syscall(SYS_membarrier, 128, 0, 0)); usleep(1000); }
    pthread_join(t, 0);
}
TEST(unsound_sequence_kills) {
    KILLED(CHILD({
        static struct { uint32_t v, f; uint64_t start, len, abort; } cs __attribute__((aligned(32)));
        cs.abort = (uint64_t)&cs + 4096 * 4096 * 8ul;
        cs.len = 1ul << 46;
        cs.start = 0;
        area()->cs = (uint64_t)&cs;
        for (;;) usleep(1);
    }), SIGSEGV);
}
int main(void) {
    RUN(errors); RUN(says_the_processor); RUN(lives_on_in_a_child); RUN(threads_come_and_go); RUN(all_or_nothing);
    RUN(a_handler_breaks_off); RUN(a_barrier_breaks_off); RUN(unsound_sequence_kills);
    DONE();
}
