// A restartable sequence that covers code which is not the program's own: a thread that is taken out of there must still be in reach.
#include "../guest/t.h"
#include <sys/rseq.h>
#include <ucontext.h>

static struct { uint32_t version, flags; uint64_t start, len, abort; } cs __attribute__((aligned(32)));
static volatile uint64_t *victim;
static volatile long got_out;
void taken_out(void);
__asm__(".text\n.long 0x53053053\ntaken_out: incq got_out(%rip)\n1: pause\njmp 1b\n");

static void on_ill(int s, siginfo_t *i, void *u) { ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP] += 2; }
static void *writer(void *x) { for (;;) *victim = (uint64_t)&cs; return 0; }
static void faults(int share) {
    struct sigaction sa = {.sa_sigaction = on_ill, .sa_flags = SA_SIGINFO};
    if (!__rseq_size) _exit(0);
    victim = (uint64_t *)((char *)__builtin_thread_pointer() + __rseq_offset + 8);
    // All above the stack: the part of user space where no mapping of a program's is.
    cs.start = 0x7fff80000000;
    cs.len = 0x7ffffffff000 - cs.start - 4096;
    cs.abort = (uint64_t)taken_out;
    sigaction(SIGILL, &sa, 0);
    sigaction(SIGSEGV, &sa, 0);
    pthread_t t;
    pthread_create(&t, 0, writer, 0);
    for (long i = 0;; i++) {
        if (i % 3 == share) __asm__ volatile("ud2");
        else if (i % 3 == 1) getppid();
        else getpid();
    }
}
int main(void) {
    for (int n = 0; n < 4; n++) {
        pid_t p = fork();
        if (p == 0) { faults(n % 2); _exit(0); }
        t_sleep(500);
        for (int i = 0; i < 20; i++) { kill(p, SIGSTOP); kill(p, SIGCONT); t_sleep(5); }
        kill(p, SIGKILL);
        waitpid(p, 0, 0);
    }
    printf("survived\n");
    return 0;
}
