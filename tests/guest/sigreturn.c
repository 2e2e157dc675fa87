// The signal frame: registers and vector state are saved, shown, restored, and may be edited; bad frames kill.
#include "t.h"
#include <cpuid.h>
#include <immintrin.h>
#include <ucontext.h>

static void set(int s, void *f, int flags) {
    struct sigaction a = {.sa_flags = flags};
    a.sa_sigaction = f;
    OK(sigaction(s, &a, 0));
}
static void clobber(int s) {
    __asm__ volatile("pxor %%xmm0, %%xmm0\npcmpeqd %%xmm1, %%xmm1\npxor %%xmm15, %%xmm15\nfninit" ::: "xmm0", "xmm1", "xmm15");
    for (volatile int i = 0; i < 10; i++) {}
}
TEST(general_registers_survive) {
    set(SIGUSR1, clobber, 0);
    long pid = getpid(), bx, r12, r13, r14, r15, r8, r9, r10;
    __asm__ volatile(
        "mov $0x1111, %%r12\nmov $0x2222, %%r13\nmov $0x3333, %%r14\nmov $0x4444, %%r15\nmov $0x5555, %%rbx\n"
        "mov $0x6666, %%r8\nmov $0x7777, %%r9\nmov $0x8888, %%r10\n"
        "mov $62, %%eax\nmov $10, %%esi\nsyscall\n"
        "mov %%rbx, %0\nmov %%r12, %1\nmov %%r13, %2\nmov %%r14, %3\nmov %%r15, %4\nmov %%r8, %5\nmov %%r9, %6\nmov %%r10, %7\n"
        : "=m"(bx), "=m"(r12), "=m"(r13), "=m"(r14), "=m"(r15), "=m"(r8), "=m"(r9), "=m"(r10)
        : "D"(pid)
        : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
    EQ(r12, 0x1111); EQ(r13, 0x2222); EQ(r14, 0x3333); EQ(r15, 0x4444); EQ(bx, 0x5555); EQ(r8, 0x6666); EQ(r9, 0x7777); EQ(r10, 0x8888);
}
TEST(syscall_preserves_all_but_three) {
    long out[3];
    __asm__ volatile("mov $0xabcd, %%rdx\nmov $0xbcde, %%r10\nmov $39, %%eax\nsyscall\nmov %%rdx, %0\nmov %%r10, %1\nmov %%rcx, %2"
                     : "=m"(out[0]), "=m"(out[1]), "=m"(out[2])::"rax", "rcx", "rdx", "r10", "r11");
    EQ(out[0], 0xabcd); EQ(out[1], 0xbcde);
    CHECK(out[2] != 0); // rcx is where the call returns to
}
TEST(xmm_and_x87_survive) {
    set(SIGUSR1, clobber, 0);
    uint64_t in[2] = {0x0123456789abcdef, 0xfedcba9876543210}, out[2], out15[2];
    long double pi;
    long pid = getpid();
    __asm__ volatile("movdqu %3, %%xmm0\nmovdqu %3, %%xmm15\nfldpi\nmov $62, %%eax\nmov $10, %%esi\nsyscall\nfstpt %2\nmovdqu %%xmm0, %0\nmovdqu %%xmm15, %1"
                     : "=m"(out), "=m"(out15), "=m"(pi) : "m"(in), "D"(pid) : "rax", "rcx", "r11", "rsi", "xmm0", "xmm15", "memory");
    CHECK(!memcmp(in, out, 16) && !memcmp(in, out15, 16));
    CHECK(pi > 3.14159L && pi < 3.1416L);
}
static uint64_t handler_xmm0;
static unsigned handler_mxcsr;
static void look(int s) { (void)s; __asm__ volatile("movq %%xmm0, %0\nstmxcsr %1" : "=m"(handler_xmm0), "=m"(handler_mxcsr)); }
TEST(handler_starts_clean) {
    set(SIGUSR1, look, 0);
    uint64_t in = 0x1234, out;
    unsigned odd = 0x9fc0, mxcsr; // flush to zero, denormals are zero
    long pid = getpid();
    __asm__ volatile("movq %2, %%xmm0\nldmxcsr %3\nmov $62, %%eax\nmov $10, %%esi\nsyscall\nmovq %%xmm0, %0\nstmxcsr %1"
                     : "=m"(out), "=m"(mxcsr) : "m"(in), "m"(odd), "D"(pid) : "rax", "rcx", "r11", "rsi", "xmm0", "memory");
    EQ(handler_xmm0, 0);
    EQ(handler_mxcsr, 0x1f80);
    EQ(out, in);
    EQ(mxcsr, odd);
}
__attribute__((target("avx2"))) static void clobber_ymm(int s) { __asm__ volatile("vpxor %%ymm5, %%ymm5, %%ymm5\nvpxor %%ymm0, %%ymm0, %%ymm0" ::: "ymm0", "ymm5"); }
__attribute__((target("avx2"))) static void ymm(void) {
    set(SIGUSR1, clobber_ymm, 0);
    uint64_t in[4] = {1, 2, 0x1234567812345678, 0x8765432187654321}, out[4];
    long pid = getpid();
    __asm__ volatile("vmovdqu %1, %%ymm5\nmov $62, %%eax\nmov $10, %%esi\nsyscall\nvmovdqu %%ymm5, %0" : "=m"(out) : "m"(in), "D"(pid) : "rax", "rcx", "r11", "rsi", "ymm5", "memory");
    CHECK(!memcmp(in, out, 32));
}
TEST(ymm_survives) { if (__builtin_cpu_supports("avx2")) ymm(); }
__attribute__((target("avx512f"))) static void clobber_zmm(int s) { __asm__ volatile("vpxorq %%zmm30, %%zmm30, %%zmm30\nkxorw %%k3, %%k3, %%k3" ::: "memory"); }
__attribute__((target("avx512f"))) static void zmm(void) {
    set(SIGUSR1, clobber_zmm, 0);
    uint64_t in[8] = {1, 2, 3, 4, 5, 6, 7, 0xfeedfacecafebeef}, out[8];
    long pid = getpid(), k = 0;
    __asm__ volatile("vmovdqu64 %2, %%zmm30\nmov $0x5a5a, %%eax\nkmovw %%eax, %%k3\nmov $62, %%eax\nmov $10, %%esi\nsyscall\nvmovdqu64 %%zmm30, %0\nkmovw %%k3, %%eax\nmov %%rax, %1"
                     : "=m"(out), "=m"(k) : "m"(in), "D"(pid) : "rax", "rcx", "r11", "rsi", "memory");
    CHECK(!memcmp(in, out, 64));
    EQ(k, 0x5a5a);
}
TEST(zmm_survives) { if (__builtin_cpu_supports("avx512f")) zmm(); }
static void skip(int s, siginfo_t *i, void *c) { ((ucontext_t *)c)->uc_mcontext.gregs[REG_RIP] += 2; ((ucontext_t *)c)->uc_mcontext.gregs[REG_RAX] = 77; }
TEST(handler_edits_registers) {
    set(SIGILL, skip, SA_SIGINFO);
    long r;
    __asm__ volatile("ud2\nmov %%rax, %0" : "=r"(r)::"rax");
    EQ(r, 77);
}
static void edit_xmm(int s, siginfo_t *i, void *c) { ((ucontext_t *)c)->uc_mcontext.fpregs->_xmm[3].element[0] = 0x1234; ((ucontext_t *)c)->uc_mcontext.gregs[REG_RIP] += 2; }
TEST(handler_edits_xmm) {
    set(SIGILL, edit_xmm, SA_SIGINFO);
    unsigned r;
    __asm__ volatile("pxor %%xmm3, %%xmm3\nud2\nmovd %%xmm3, %0" : "=r"(r)::"xmm3");
    EQ(r, 0x1234);
}
static void edit_mask(int s, siginfo_t *i, void *c) { sigaddset(&((ucontext_t *)c)->uc_sigmask, SIGUSR2); sigaddset(&((ucontext_t *)c)->uc_sigmask, SIGKILL); }
TEST(handler_edits_mask) {
    set(SIGUSR1, edit_mask, SA_SIGINFO);
    raise(SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_BLOCK, 0, &now);
    CHECK(sigismember(&now, SIGUSR2) && !sigismember(&now, SIGKILL) && !sigismember(&now, SIGUSR1));
}
static volatile unsigned long flags_in;
static void dirty_flags(int s) { __asm__ volatile("pushf\npop %0\nstd\n" : "=r"(flags_in)); __asm__ volatile("cld"); }
TEST(flags) {
    set(SIGUSR1, dirty_flags, 0);
    unsigned long f;
    long pid = getpid();
    __asm__ volatile("mov $62, %%eax\nmov $10, %%esi\nstc\nsyscall\npushf\npop %0" : "=r"(f) : "D"(pid) : "rax", "rcx", "r11", "rsi", "memory");
    CHECK(f & 1);             // carry survives call and handler
    CHECK(!(flags_in & 0x400)); // direction is clear on entry
}
TEST(red_zone_is_skipped) {
    set(SIGUSR1, clobber, 0);
    long pid = getpid(), v;
    __asm__ volatile("movq $0x77777, -8(%%rsp)\nmovq $0x88888, -128(%%rsp)\nmov $62, %%eax\nmov $10, %%esi\nsyscall\nmov -8(%%rsp), %0\nadd -128(%%rsp), %0"
                     : "=r"(v) : "D"(pid) : "rax", "rcx", "r11", "rsi", "memory");
    EQ(v, 0x77777 + 0x88888);
}
static volatile long aligned;
static void check_alignment(int s) { aligned = ((long)__builtin_frame_address(0)) % 16; }
TEST(handler_stack_is_aligned) { set(SIGUSR1, check_alignment, 0); raise(SIGUSR1); EQ(aligned, 0); }
TEST(bad_frames_kill) {
    KILLED(CHILD(__asm__ volatile("mov $0x10, %%rsp\nmov $15, %%eax\nsyscall\nud2" ::: "memory")), SIGSEGV);
    KILLED(CHILD({ static char junk[4096]; memset(junk, 0xff, sizeof junk); __asm__ volatile("mov %0, %%rsp\nmov $15, %%eax\nsyscall\nud2" ::"r"(junk + 1024) : "memory"); }), SIGSEGV);
}
static void evil(int s, siginfo_t *i, void *c) { ((ucontext_t *)c)->uc_mcontext.gregs[REG_EFL] |= 0x3000; ((ucontext_t *)c)->uc_mcontext.gregs[REG_CSGSFS] = ((ucontext_t *)c)->uc_mcontext.gregs[REG_CSGSFS] & ~0xffff; }
TEST(privilege_is_not_restorable) {
    set(SIGUSR1, evil, SA_SIGINFO);
    int st = t_wait(CHILD({ raise(SIGUSR1); unsigned long f; __asm__ volatile("pushf\npop %0" : "=r"(f)); CHECK(!(f & 0x3000)); }));
    CHECK(st == 0 || (WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV));
}
static void sum(int s) { __asm__ volatile("pxor %%xmm8, %%xmm8" ::: "xmm8"); }
TEST(vector_loop_under_timer) {
    set(SIGALRM, sum, SA_RESTART);
    struct itimerval it = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &it, 0);
    double end = t_now() + 0.3;
    for (long k = 0; t_now() < end; k++) {
        __m128i a = _mm_set1_epi64x(k), b = a;
        for (volatile int i = 0; i < 50; i++) b = _mm_add_epi64(_mm_sub_epi64(b, a), a);
        CHECK(_mm_cvtsi128_si64(b) == k);
    }
}
int main(void) {
    RUN(general_registers_survive); RUN(syscall_preserves_all_but_three); RUN(xmm_and_x87_survive); RUN(ymm_survives); RUN(zmm_survives);
    RUN(handler_edits_registers); RUN(handler_edits_xmm); RUN(handler_edits_mask); RUN(flags); RUN(red_zone_is_skipped);
    RUN(handler_stack_is_aligned); RUN(bad_frames_kill); RUN(privilege_is_not_restorable); RUN(vector_loop_under_timer); RUN(handler_starts_clean);
    DONE();
}
