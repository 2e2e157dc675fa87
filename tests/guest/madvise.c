// madvise, mincore, mlock, memfd and seals, process_vm_*.
#include "t.h"

#define P 4096
#define RW (PROT_READ | PROT_WRITE)
static char *anon(long n) { char *p = mmap(0, n, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); CHECK(p != MAP_FAILED); return p; }
TEST(dontneed_zeroes) {
    char *p = anon(4 * P);
    memset(p, 1, 4 * P);
    OK(madvise(p + P, 2 * P, MADV_DONTNEED));
    EQ(p[0], 1); EQ(p[P], 0); EQ(p[3 * P - 1], 0); EQ(p[3 * P], 1);
}
TEST(dontneed_on_private_file_shows_the_file) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    EQ(write(f, "file", 4), 4);
    char *p = mmap(0, P, RW, MAP_PRIVATE, f, 0);
    p[0] = 'X';
    OK(madvise(p, P, MADV_DONTNEED));
    EQ(p[0], 'f');
}
TEST(remove_punches_shared) {
    char *p = mmap(0, 4 * P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(p, 1, 4 * P);
    OK(madvise(p + P, P, MADV_REMOVE));
    EQ(p[P], 0); EQ(p[0], 1);
    ERR(madvise(anon(P), P, MADV_REMOVE), EINVAL);
}
TEST(free_and_hints) {
    char *p = anon(4 * P);
    memset(p, 3, 4 * P);
    OK(madvise(p, 4 * P, MADV_FREE));
    p[0] = 4;
    EQ(p[0], 4);
    CHECK(p[P] == 3 || p[P] == 0);
    int hints[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD, MADV_PAGEOUT, MADV_NOHUGEPAGE};
    for (unsigned i = 0; i < sizeof hints / sizeof *hints; i++) OK(madvise(p, 4 * P, hints[i]));
    OK(madvise(p, 4 * P, 22 /* POPULATE_READ */));
    OK(madvise(p, 4 * P, 23 /* POPULATE_WRITE */));
    ERR(madvise(p, P, 999), EINVAL);
    ERR(madvise(p + 1, P, MADV_DONTNEED), EINVAL);
    munmap(p + P, P);
    ERR(madvise(p, 4 * P, MADV_DONTNEED), ENOMEM);
    OK(madvise(p, 0, MADV_DONTNEED));
}
TEST(wipeonfork_and_dontfork) {
    char *w = anon(P), *d = anon(P);
    w[0] = d[0] = 7;
    OK(madvise(w, P, MADV_WIPEONFORK));
    OK(madvise(d, P, MADV_DONTFORK));
    CODE(CHILD(EQ(w[0], 0)), 0);
    EQ(w[0], 7);
    KILLED(CHILD(d[0] = 1), SIGSEGV);
    OK(madvise(w, P, MADV_KEEPONFORK));
    OK(madvise(d, P, MADV_DOFORK));
    CODE(CHILD({ EQ(w[0], 7); EQ(d[0], 7); }), 0);
}
TEST(mincore) {
    unsigned char v[4];
    char *p = anon(4 * P);
    p[P] = 1;
    OK(mincore(p, 4 * P, v));
    EQ(v[1] & 1, 1);
    EQ(v[3] & 1, 0);
    ERR(mincore(p + 1, P, v), EINVAL);
    ERR(mincore(p, P, (void *)8), EFAULT);
    munmap(p, 4 * P);
    ERR(mincore(p, P, v), ENOMEM);
}
TEST(mlock_family) {
    char *p = anon(8 * P);
    OK(mlock(p, 4 * P));
    OK(syscall(SYS_mlock2, p + 4 * P, P, 1 /* MLOCK_ONFAULT */));
    char *s = t_get("/proc/self/status");
    unsigned long kb = 0;
    sscanf(strstr(s, "VmLck:"), "VmLck: %lu", &kb);
    EQ(kb, 20);
    OK(munlock(p, 8 * P));
    OK(mlockall(MCL_CURRENT | MCL_FUTURE));
    OK(munlockall());
    ERR(mlockall(0), EINVAL);
    munmap(p, P);
    ERR(mlock(p, 2 * P), ENOMEM);
}
TEST(memfd_basics) {
    int f = OK(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    OK(ftruncate(f, 2 * P));
    char *a = mmap(0, 2 * P, RW, MAP_SHARED, f, 0), *b = mmap(0, P, RW, MAP_SHARED, f, P), link[100] = "", path[64];
    a[P] = 1;
    EQ(b[0], 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", f);
    GE(readlink(path, link, 99), 5);
    STREQ(link, "/memfd:name (deleted)");
    int g = OK(open(path, O_RDWR));
    EQ(lseek(g, 0, SEEK_END), 2 * P);
    ERR(memfd_create("x", 0x7000), EINVAL);
    char longname[300];
    memset(longname, 'x', 299);
    longname[299] = 0;
    ERR(memfd_create(longname, 0), EINVAL);
}
TEST(seals) {
    int f = OK(memfd_create("s", MFD_ALLOW_SEALING)), n = OK(memfd_create("n", 0));
    ERR(fcntl(n, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    EQ(fcntl(n, F_GET_SEALS), F_SEAL_SEAL);
    EQ(write(f, "abcdef", 6), 6);
    OK(fcntl(f, F_ADD_SEALS, F_SEAL_SHRINK));
    ERR(ftruncate(f, 1), EPERM);
    OK(ftruncate(f, 10));
    OK(fcntl(f, F_ADD_SEALS, F_SEAL_GROW));
    ERR(ftruncate(f, 20), EPERM);
    char *p = mmap(0, P, RW, MAP_SHARED, f, 0);
    ERR(fcntl(f, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    munmap(p, P);
    OK(fcntl(f, F_ADD_SEALS, F_SEAL_WRITE));
    ERR(write(f, "x", 1), EPERM);
    ERR(pwrite(f, "x", 1, 0), EPERM);
    CHECK(mmap(0, P, RW, MAP_SHARED, f, 0) == MAP_FAILED && errno == EPERM);
    CHECK(mmap(0, P, RW, MAP_PRIVATE, f, 0) != MAP_FAILED);
    CHECK(mmap(0, P, PROT_READ, MAP_SHARED, f, 0) != MAP_FAILED);
    EQ(fcntl(f, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    OK(fcntl(f, F_ADD_SEALS, F_SEAL_SEAL));
    ERR(fcntl(f, F_ADD_SEALS, F_SEAL_SHRINK), EPERM);
}
TEST(process_vm) {
    char *p = mmap(0, 2 * P, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), b[100] = "";
    strcpy(p, "parent");
    pid_t c = CHILD({ strcpy(p, "child's"); pause(); });
    t_state(c, 'S');
    t_sleep(20);
    struct iovec l[2] = {{b, 3}, {b + 3, 97}}, r = {p, 8};
    EQ(process_vm_readv(c, l, 2, &r, 1, 0), 8);
    STREQ(b, "child's");
    struct iovec wl = {"poked", 6};
    EQ(process_vm_writev(c, &wl, 1, &r, 1, 0), 6);
    EQ(process_vm_readv(c, l, 2, &r, 1, 0), 8);
    STREQ(b, "poked");
    STREQ(p, "parent");
    struct iovec bad = {(void *)8, 8};
    ERR(process_vm_readv(c, l, 1, &bad, 1, 0), EFAULT);
    struct iovec two[2] = {{p, 3}, {(void *)8, 3}};
    EQ(process_vm_readv(c, l, 2, two, 2, 0), 3);
    ERR(process_vm_readv(c, l, 1, &r, 1, 1), EINVAL);
    ERR(process_vm_readv(4000000, l, 1, &r, 1, 0), ESRCH);
    kill(c, SIGKILL);
    KILLED(c, SIGKILL);
}
TEST(proc_self_mem) {
    char *p = anon(P), b[6] = "";
    strcpy(p, "hello");
    int f = OK(open("/proc/self/mem", O_RDWR));
    EQ(pread(f, b, 5, (long)p), 5);
    STREQ(b, "hello");
    EQ(pwrite(f, "J", 1, (long)p), 1);
    STREQ(p, "Jello");
    ERR(pread(f, b, 5, 8), EIO);
}
TEST(huge_page_advice) {
    char *p = anon(8 << 20);
    int r = madvise(p, 8 << 20, MADV_HUGEPAGE), e = errno;
    CHECK(r == 0 || e == EINVAL);
    for (long i = 0; i < 8 << 20; i += P) p[i] = 1;
}
int main(void) {
    RUN(dontneed_zeroes); RUN(dontneed_on_private_file_shows_the_file); RUN(remove_punches_shared); RUN(free_and_hints);
    RUN(wipeonfork_and_dontfork); RUN(mincore); RUN(mlock_family); RUN(memfd_basics); RUN(seals); RUN(process_vm); RUN(proc_self_mem);
    RUN(huge_page_advice);
    DONE();
}
