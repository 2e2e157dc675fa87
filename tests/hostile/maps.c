// Memory games: unmapping under a running call, protection races, self-modifying code, unmapping everything.
#include "../guest/t.h"

static volatile int stop;
static char *page;
static void *flipper(void *x) { for (int i = 0; !stop; i++) { mprotect(page, 65536, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE); if (i % 64 == 0) { munmap(page + 4096, 4096); mmap(page + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); } } return 0; }
static void *caller(void *x) {
    int p[2], z = open("/dev/zero", O_RDONLY);
    pipe2(p, O_NONBLOCK);
    while (!stop) { read(z, page, 65536); write(p[1], page, 65536); read(p[0], page, 65536); open(page, O_RDONLY); stat(page, (void *)page); struct iovec v[4] = {{page, 5000}, {page + 9000, 5000}, {page, 65536}, {(void *)8, 8}}; readv(z, v, 4); uname((void *)(page + 4000)); }
    return 0;
}
int main(void) {
    int st;
    pid_t p = fork();
    if (p == 0) {
        close(1);
        page = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        pthread_t t[4];
        for (int i = 0; i < 4; i++) pthread_create(t + i, 0, i & 1 ? flipper : caller, 0);
        t_sleep(2000);
        stop = 1;
        _exit(0);
    }
    waitpid(p, &st, 0);
    p = fork();
    if (p == 0) { alarm(2); munmap(0, 1ul << 46); munmap((void *)4096, (1ul << 47) - 8192); _exit(0); }
    waitpid(p, &st, 0);
    p = fork();
    if (p == 0) {
        alarm(3);
        unsigned char *c = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (long i = 0; i < 200000; i++) { c[0] = 0xb8; memcpy(c + 1, &i, 4); c[5] = 0xc3; if (((int (*)(void))c)() != (int)i) _exit(9); }
        _exit(0);
    }
    waitpid(p, &st, 0);
    if (st != 0 && WIFEXITED(st)) printf("self-modifying code went wrong: %x\n", st);
    p = fork();
    if (p == 0) { // ever more mappings
        alarm(5);
        for (long i = 0; i < 100000; i++) if (mmap(0, 4096, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
        _exit(0);
    }
    waitpid(p, &st, 0);
    printf("survived\n");
    return 0;
}
