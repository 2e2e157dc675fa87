// Restartable sequences: registration and its errors.
#include "t.h"

struct rs { uint32_t cpu_start, cpu; uint64_t cs; uint32_t flags, node, mm, pad; } __attribute__((aligned(32)));
static void *rseq_thread(void *x) {
    static struct rs r;
    long rc = syscall(SYS_rseq, &r, 32, 0, 0x53053053);
    if (rc) return (void *)(long)errno;
    if (r.cpu >= 1024) return (void *)1000;
    errno = 0;
    if (syscall(SYS_rseq, &r, 32, 0, 0x11111111) != -1 || errno != EPERM) return (void *)1001;
    if (syscall(SYS_rseq, &r, 32, 1, 0x53053053)) return (void *)1002;
    return 0;
}
TEST(rseq_errors) {
    // The C library has registered this thread: a second, different registration is refused.
    static struct rs r;
    long rc = syscall(SYS_rseq, &r, 32, 0, 0x53053053);
    int e = errno;
    CHECK(rc == 0 || e == EINVAL || e == EBUSY);
    ERR(syscall(SYS_rseq, (char *)&r + 1, 32, 2, 1), EINVAL);
}
TEST(rseq_unregistered_thread) {
    setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
    CODE(CHILD(execl("/guest/rseq", "rseq", "thread", (char *)0)), 0);
}
int main(int c, char **v) {
    if (c == 2) { long r = (long)rseq_thread(0); if (r) printf("rseq: %ld\n", r); return r != 0; }
    RUN(rseq_errors); RUN(rseq_unregistered_thread);
    DONE();
}
