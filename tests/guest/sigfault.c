// Signals of faults and exceptions: numbers, si_code, si_addr, and what handlers may change.
#include "t.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf env;
static volatile siginfo_t info;
static ucontext_t uc;
static void on(int s, siginfo_t *i, void *c) { info = *i; uc = *(ucontext_t *)c; siglongjmp(env, 1); }
static void catch(int s) { struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO}; OK(sigaction(s, &a, 0)); }
// Runs a statement that must fault.
#define FAULTS(...) do { if (!sigsetjmp(env, 1)) { __VA_ARGS__; FAIL("no fault: %s", #__VA_ARGS__); } } while (0)
#define TRAPNO uc.uc_mcontext.gregs[REG_TRAPNO]
#define ERRCODE uc.uc_mcontext.gregs[REG_ERR]

TEST(segv_maperr) {
    catch(SIGSEGV);
    FAULTS(*(volatile char *)0x123 = 1);
    EQ(info.si_code, SEGV_MAPERR); EQ((long)info.si_addr, 0x123); EQ(TRAPNO, 14); EQ(ERRCODE & 3, 2); EQ(uc.uc_mcontext.gregs[REG_CR2], 0x123);
    FAULTS((void)*(volatile char *)0x456);
    EQ((long)info.si_addr, 0x456); EQ(ERRCODE & 2, 0);
}
TEST(segv_accerr) {
    catch(SIGSEGV);
    char *p = mmap(0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAULTS(*(volatile char *)(p + 5000) = 1);
    EQ(info.si_code, SEGV_ACCERR);
    CHECK(info.si_addr == p + 5000);
    OK(mprotect(p, 4096, PROT_NONE));
    FAULTS((void)*(volatile char *)p);
    EQ(info.si_code, SEGV_ACCERR);
    munmap(p, 4096);
    FAULTS((void)*(volatile char *)p);
    EQ(info.si_code, SEGV_MAPERR);
}
TEST(segv_noncanonical) {
    catch(SIGSEGV);
    FAULTS(*(volatile char *)0x8000000000000000ul = 1);
    EQ(info.si_code, SI_KERNEL); EQ((long)info.si_addr, 0); EQ(TRAPNO, 13);
}
TEST(segv_kernel_address) {
    catch(SIGSEGV);
    FAULTS(*(volatile char *)0xffffffff81000000ul = 1);
    EQ(info.si_code, SEGV_MAPERR);
    CHECK(info.si_addr == (void *)0xffffffff81000000ul);
}
TEST(segv_execute) {
    catch(SIGSEGV);
    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = 0xc3;
    FAULTS(((void (*)(void))p)());
    EQ(info.si_code, SEGV_ACCERR);
    CHECK(info.si_addr == p);
    EQ(uc.uc_mcontext.gregs[REG_RIP], (long)p);
    OK(mprotect(p, 4096, PROT_READ | PROT_EXEC));
    ((void (*)(void))p)();
    FAULTS(((void (*)(void))0x77)());
    EQ((long)info.si_addr, 0x77);
}
TEST(bus_beyond_end_of_file) {
    catch(SIGBUS);
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(f, 100));
    char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    p[200] = 1; // within the last page
    FAULTS(p[4096] = 1);
    EQ(info.si_code, BUS_ADRERR);
    CHECK(info.si_addr == p + 4096);
    OK(ftruncate(f, 8192));
    p[4096] = 1;
    OK(ftruncate(f, 0));
    FAULTS((void)*(volatile char *)p);
    CHECK(info.si_addr == p);
    char *q = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
    FAULTS(*(volatile char *)(q + 8) = 1);
    CHECK(info.si_addr == q + 8);
}
TEST(fpe) {
    catch(SIGFPE);
    volatile int zero = 0, one = 1, r;
    FAULTS(r = one / zero);
    EQ(info.si_code, FPE_INTDIV); EQ(TRAPNO, 0);
    EQ((long)info.si_addr, uc.uc_mcontext.gregs[REG_RIP]);
    volatile int min = INT_MIN, m1 = -1;
    FAULTS(r = min / m1);
    (void)r;
}
TEST(fpe_sse) {
    catch(SIGFPE);
    unsigned csr = 0x1f80 & ~(1 << 9); // unmask division by zero
    FAULTS({ __asm__ volatile("ldmxcsr %0" ::"m"(csr)); volatile double z = 0, o = 1; o = o / z; });
    EQ(info.si_code, FPE_FLTDIV); EQ(TRAPNO, 19);
}
TEST(ill) {
    catch(SIGILL);
    FAULTS(__asm__ volatile("ud2"));
    EQ(info.si_code, ILL_ILLOPN); EQ(TRAPNO, 6);
    CHECK((long)info.si_addr == uc.uc_mcontext.gregs[REG_RIP]);
}
TEST(privileged_instructions) {
    catch(SIGSEGV);
    FAULTS(__asm__ volatile("hlt"));
    EQ(info.si_code, SI_KERNEL); EQ(TRAPNO, 13);
    FAULTS(__asm__ volatile("cli"));
    FAULTS(__asm__ volatile("in $0x60, %%al" ::: "al"));
    FAULTS(__asm__ volatile("mov %%cr0, %%rax" ::: "rax"));
}
TEST(trap_int3) {
    catch(SIGTRAP);
    FAULTS(__asm__ volatile("int3"));
    EQ(info.si_code, SI_KERNEL); EQ(TRAPNO, 3);
}
static volatile int steps;
static void step(int s, siginfo_t *i, void *c) { info = *i; if (++steps >= 5) ((ucontext_t *)c)->uc_mcontext.gregs[REG_EFL] &= ~0x100; }
TEST(trap_single_step) {
    struct sigaction a = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &a, 0);
    __asm__ volatile("sub $128, %%rsp\npushf\norq $0x100, (%%rsp)\npopf\nnop\nnop\nnop\nnop\nnop\nnop\nadd $128, %%rsp\n" ::: "memory", "cc");
    EQ(steps, 5);
    EQ(info.si_code, 2 /* TRAP_TRACE */);
}
static char *page;
static void mend(int s, siginfo_t *i, void *c) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }
TEST(handler_mends_and_the_instruction_runs_again) {
    struct sigaction a = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &a, 0);
    page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 100; i++) {
        *(volatile int *)page = i;
        EQ(*(volatile int *)page, i);
        mprotect(page, 4096, PROT_READ);
    }
}
TEST(call_with_bad_pointer_is_efault_not_segv) {
    ERR(write(1, (void *)0x123, 5), EFAULT);
    ERR(read(OK(open("/dev/zero", O_RDONLY)), (void *)0x123, 5), EFAULT);
    ERR(syscall(SYS_uname, 0xffffffff81000000ul), EFAULT);
    ERR(syscall(SYS_uname, 0x8000000000000000ul), EFAULT);
}
TEST(killed_by_fault) {
    KILLED(CHILD(*(volatile int *)0 = 1), SIGSEGV);
    KILLED(CHILD(__asm__ volatile("ud2")), SIGILL);
    KILLED(CHILD(__asm__ volatile("int3")), SIGTRAP);
    KILLED(CHILD({ volatile int one = 1, z = 0; z = one / z; }), SIGFPE);
}
TEST(fault_in_handler_kills) {
    struct sigaction a = {.sa_flags = 0};
    a.sa_handler = (void (*)(int))8;
    sigaction(SIGUSR1, &a, 0);
    KILLED(CHILD(raise(SIGUSR1)), SIGSEGV);
    // a frame that cannot be pushed
    KILLED(CHILD({ signal(SIGUSR1, SIG_DFL); catch(SIGUSR1); __asm__ volatile("mov $0x1000, %%rsp\nmov $39, %%eax\nsyscall\nmov %%eax, %%edi\nmov $10, %%esi\nmov $62, %%eax\nsyscall\nud2" ::: "memory", "rax", "rdi", "rsi", "rcx", "r11"); }), SIGSEGV);
}
int main(void) {
    RUN(segv_maperr); RUN(segv_accerr); RUN(segv_noncanonical); RUN(segv_kernel_address); RUN(segv_execute); RUN(bus_beyond_end_of_file);
    RUN(fpe); RUN(fpe_sse); RUN(ill); RUN(privileged_instructions); RUN(trap_int3); RUN(trap_single_step);
    RUN(handler_mends_and_the_instruction_runs_again); RUN(call_with_bad_pointer_is_efault_not_segv); RUN(killed_by_fault);
    RUN(fault_in_handler_kills);
    DONE();
}
