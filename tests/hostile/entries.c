// Other ways in: int 0x80, sysenter, x32 numbers, the vsyscall page, far jumps; and jumps to anywhere.
#include "../guest/t.h"

static void *anywhere(long i) {
    static const uint64_t at[] = {0xffffffffff600000, 0xffffffffff600400, 0xffffffffff600800, 0xffffffffff601000, 0x7fffffffe000, 0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffff81000000, 0x1000, 0x10000, 0x7fff00000000};
    return (void *)(i < 12 ? at[i] : (uint64_t)random() << 17 ^ random());
}
int main(void) {
    for (long nr = 0; nr < 450; nr += 3) {
        int st;
        pid_t p = fork();
        if (p == 0) { alarm(1); close(1); __asm__ volatile("int $0x80" ::"a"(nr), "b"(-1), "c"(-1), "d"(-1) : "memory"); _exit(0); }
        waitpid(p, &st, 0);
    }
    for (long i = 0; i < 200; i++) {
        int st;
        pid_t p = fork();
        if (p == 0) { alarm(1); ((void (*)(void))anywhere(i))(); _exit(0); }
        waitpid(p, &st, 0);
    }
    pid_t p = fork();
    int st;
    if (p == 0) { alarm(1); __asm__ volatile("sysenter"); _exit(0); }
    waitpid(p, &st, 0);
    p = fork();
    if (p == 0) { alarm(1); __asm__ volatile("mov $0x33, %%eax\nmov %%eax, %%ds\nmov $0x2b, %%eax\nmov %%eax, %%ss\nmov $0, %%eax\nmov %%eax, %%fs\npushq $0x23\npushq $0x1000\nlretq" ::: "eax", "memory"); _exit(0); }
    waitpid(p, &st, 0);
    for (int nr = 0; nr < 20; nr++) syscall(0x40000000 + nr, -1, -1, -1);
    syscall(-1);
    syscall(1L << 40);
    printf("survived\n");
    return 0;
}
