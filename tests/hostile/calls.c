// Every call number, through the `syscall` instruction, with random and with wild arguments, each in a child.
#include "../guest/t.h"

static uint64_t seed = 88172645463325252ull;
static uint64_t rnd(void) { seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17; return seed; }
static uint64_t wild(void) {
    static char buf[8192];
    switch (rnd() % 12) {
    case 0: return 0;
    case 1: return -1ull;
    case 2: return rnd();
    case 3: return rnd() % 64;
    case 4: return 1ull << (rnd() % 64);
    case 5: return 0x7ffffffff000ull - rnd() % 4096;
    case 6: return 0xffffffff80000000ull + rnd() % 65536;
    case 7: return 0x8000000000000000ull;
    case 8: return INT_MAX;
    case 9: return (uint64_t)(uint32_t)INT_MIN;
    default: return (uint64_t)buf + rnd() % 4096;
    }
}
int main(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    for (int round = 0; round < 4; round++)
        for (int nr = 0; nr < 520; nr++) {
            uint64_t a = wild(), b = wild(), c = wild(), d = wild(), e = wild(), f = wild();
            pid_t p = fork();
            if (p < 0) { t_sleep(10); continue; }
            if (p == 0) {
                setsid(); // whom it may kill by group
                alarm(1);
                int z = open("/dev/null", O_RDWR);
                dup2(z, 1);
                dup2(z, 2);
                // never at everyone else: this is about the sentry, not about a container killing itself
                if ((nr == SYS_kill || nr == SYS_tkill || nr == SYS_tgkill || nr == SYS_rt_sigqueueinfo || nr == SYS_rt_tgsigqueueinfo)) a = getpid();
                if (nr == SYS_reboot) _exit(0);
                syscall(nr, a, b, c, d, e, f);
                _exit(0);
            }
            int st;
            for (int i = 0; waitpid(p, &st, WNOHANG) == 0; i++) { t_sleep(i < 10 ? 1 : 20); if (i > 120) kill(p, SIGKILL); }
        }
    printf("survived\n");
    return 0;
}
