// The pages that rewritten call sites hand calls over by: other threads of the process write all over them, while calls run, time and again. Whatever becomes
// of the process, others go on. (Where there are no such pages, or no rewriting, the writers find nothing.)
#include "../guest/t.h"

#define PAGES ((volatile uint64_t *)0x7fffe2000000)
#define WORDS (0x40000 / 8)
static uint64_t seed = 88172645463325252ull;
static void t_ignore(int s) { (void)s; }
static uint64_t next(uint64_t *s) { *s ^= *s << 13, *s ^= *s >> 7, *s ^= *s << 17; return *s; }

// States, numbers of calls, addresses, anything.
static uint64_t value(uint64_t *s) {
    switch (next(s) % 5) {
    case 0: return next(s) % 8;
    case 1: return next(s) % 460;
    case 2: return 0x7fffe0000000 + next(s) % 0x3000000;
    case 3: return -(next(s) % 600);
    default: return next(s);
    }
}
static void *writer(void *p) {
    uint64_t s = seed ^ (uintptr_t)p;
    int how = (uintptr_t)p % 3;
    for (;;) {
        int page = next(&s) % 8 * 512;
        switch (how) {
        case 0: PAGES[page + next(&s) % 20] = value(&s); break;                    // anything there
        case 1: PAGES[page] = next(&s) % 8; break;                                 // only the state
        default:                                                                   // a whole request
            PAGES[page + 1] = next(&s) % 460;
            for (int i = 2; i < 8; i++) PAGES[page + i] = value(&s);
            PAGES[page + 8] = next(&s) % 2 ? 0x7fffe0001000 + next(&s) % 0x400 : value(&s);
            PAGES[page] = 2;
        }
    }
    return 0;
}
static void *caller(void *p) {
    struct stat st;
    for (;;) getppid(), stat("/", &st), syscall(SYS_getpgid, 0), syscall(SYS_fstat, 1, &st);
    return p;
}
static void attack(int round) {
    struct itimerval t = {{0, 1000}, {0, 1000}};
    signal(SIGALRM, t_ignore);
    if (round % 2) setitimer(ITIMER_REAL, &t, 0);
    pthread_t p;
    seed += round * 7919;
    close(0), close(1), close(2);
    for (int i = 0; i < 2; i++) pthread_create(&p, 0, caller, 0);
    usleep(20000);
    pthread_create(&p, 0, writer, (void *)(uintptr_t)round);
    for (int i = 0; i < 3000; i++) getppid();
    usleep(30000);
    _exit(0);
}
int main(void) {
    for (int round = 0; round < 60; round++) {
        pid_t p = fork();
        if (!p) attack(round);
        // It may have ordered itself to wait for ever.
        for (int i = 0; i < 200 && waitpid(p, 0, WNOHANG) == 0; i++) usleep(5000);
        kill(p, SIGKILL);
        waitpid(p, 0, 0);
    }
    while (waitpid(-1, 0, WNOHANG) > 0);
    // An ordinary process has what it asks for.
    for (int i = 0; i < 2000; i++)
        if (getpid() != syscall(SYS_getpid)) return 1;
    puts("survived");
    return 0;
}
