// mmap, munmap, mprotect, brk, mremap: placement, splitting, sharing, errors.
//: dirs /tmp /work
#include "t.h"

#define P 4096
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
static char *anon(long n) { char *p = mmap(0, n, RW, ANON, -1, 0); CHECK(p != MAP_FAILED); return p; }
// The permissions that /proc/self/maps gives an address, or "".
static const char *perms(void *at) {
    static char line[500], pr[8];
    unsigned long a, b;
    FILE *f = fopen("/proc/self/maps", "r");
    pr[0] = 0;
    while (fgets(line, sizeof line, f)) {
        char q[8];
        if (sscanf(line, "%lx-%lx %7s", &a, &b, q) == 3 && (unsigned long)at >= a && (unsigned long)at < b) { strcpy(pr, q); break; }
    }
    fclose(f);
    return pr;
}
TEST(zeroed_and_writable) { char *p = anon(10 * P); for (int i = 0; i < 10 * P; i++) EQ(p[i], 0); memset(p, 1, 10 * P); }
TEST(errors) {
    CHECK(mmap(0, 0, RW, ANON, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap(0, P, RW, MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap(0, P, RW, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
    CHECK((void *)syscall(SYS_mmap, 0, P, RW, MAP_PRIVATE, 0, 1) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap((void *)1, P, RW, ANON | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap((void *)0x7ffffffff000, P, RW, ANON | MAP_FIXED, -1, 0) == MAP_FAILED && errno == ENOMEM);
    CHECK(mmap(0, -1ul & ~4095, RW, ANON, -1, 0) == MAP_FAILED && errno == ENOMEM);
    ERR(munmap((void *)1, P), EINVAL);
    ERR(munmap((void *)P, 0), EINVAL);
    OK(munmap((void *)0x10000000, P)); // nothing there is no error
    ERR(mprotect((void *)1, P, RW), EINVAL);
    char *p = anon(2 * P);
    munmap(p + P, P);
    ERR(mprotect(p, 2 * P, PROT_READ), ENOMEM);
    ERR(mprotect(p, P, 0x1000), EINVAL);
}
TEST(file_modes) {
    t_put("f", "hello");
    int r = OK(open("f", O_RDONLY)), w = OK(open("f", O_WRONLY));
    CHECK(mmap(0, P, RW, MAP_SHARED, r, 0) == MAP_FAILED && errno == EACCES);
    CHECK(mmap(0, P, PROT_READ, MAP_PRIVATE, w, 0) == MAP_FAILED && errno == EACCES);
    char *p = mmap(0, P, RW, MAP_PRIVATE, r, 0), *s = mmap(0, P, PROT_READ, MAP_SHARED, r, 0);
    p[0] = 'J';
    EQ(s[0], 'h');
    ERR(mprotect(s, P, RW), EACCES);
    CHECK(mmap(0, P, RW, MAP_SHARED, OK(open(".", O_RDONLY)), 0) == MAP_FAILED && errno == EACCES);
    CHECK(mmap(0, P, PROT_READ, MAP_SHARED, OK(open(".", O_RDONLY)), 0) == MAP_FAILED && errno == ENODEV);
}
TEST(shared_file_coherence) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(f, 3 * P));
    char *a = mmap(0, 3 * P, RW, MAP_SHARED, f, 0), *b = mmap(0, P, RW, MAP_SHARED, f, P), c[4] = "";
    a[P] = 'x';
    EQ(b[0], 'x');
    EQ(pread(f, c, 1, P), 1);
    EQ(c[0], 'x');
    EQ(pwrite(f, "yz", 2, P), 2);
    EQ(b[1], 'z');
    CODE(CHILD(a[2 * P] = 'q'), 0);
    EQ(a[2 * P], 'q');
    OK(msync(a, 3 * P, MS_SYNC));
    OK(msync(a, 3 * P, MS_ASYNC));
    ERR(msync(a, P, MS_SYNC | MS_ASYNC), EINVAL);
    ERR(msync(a + 1, P, MS_SYNC), EINVAL);
    munmap(a + P, P);
    ERR(msync(a, 3 * P, MS_SYNC), ENOMEM);
}
TEST(private_sees_later_writes_until_touched) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    char buf[P] = "old";
    EQ(write(f, buf, P), P);
    char *p = mmap(0, P, RW, MAP_PRIVATE, f, 0);
    p[100] = 1;
    pwrite(f, "new", 3, 0);
    STREQ(p, "old");
    OK(ftruncate(f, 0));
}
TEST(anonymous_shared_across_fork) {
    char *p = mmap(0, P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CODE(CHILD(p[7] = 7), 0);
    EQ(p[7], 7);
}
TEST(fixed_replaces_and_noreplace_refuses) {
    char *p = anon(3 * P);
    memset(p, 1, 3 * P);
    CHECK(mmap(p + P, P, RW, ANON | MAP_FIXED, -1, 0) == p + P);
    EQ(p[P], 0); EQ(p[0], 1); EQ(p[2 * P], 1);
    CHECK(mmap(p, P, RW, ANON | 0x100000, -1, 0) == MAP_FAILED && errno == EEXIST);
    munmap(p, P);
    CHECK(mmap(p, P, RW, ANON | 0x100000, -1, 0) == p);
    char *h = mmap(p + P, P, RW, ANON, -1, 0);
    CHECK(h != p + P && h != MAP_FAILED); // a hint that is taken
    CHECK((unsigned long)mmap(0, P, RW, ANON | MAP_32BIT, -1, 0) < 0x80000000ul);
}
TEST(unmap_splits) {
    char *p = anon(3 * P);
    memset(p, 5, 3 * P);
    OK(munmap(p + P, P));
    EQ(p[0], 5); EQ(p[2 * P], 5);
    KILLED(CHILD(p[P] = 1), SIGSEGV);
    STREQ(perms(p), "rw-p");
    STREQ(perms(p + P), "");
}
TEST(protect_splits_and_merges) {
    char *p = anon(3 * P);
    OK(mprotect(p + P, P, PROT_READ));
    STREQ(perms(p + P), "r--p"); STREQ(perms(p + 2 * P), "rw-p");
    KILLED(CHILD(p[P] = 1), SIGSEGV);
    OK(mprotect(p, 3 * P, PROT_NONE));
    STREQ(perms(p + P), "---p");
    KILLED(CHILD((void)*(volatile char *)p), SIGSEGV);
    OK(mprotect(p, 3 * P, RW));
    memset(p, 1, 3 * P);
}
TEST(brk) {
    char *a = sbrk(0);
    OK(sbrk(10 * P));
    memset(a, 1, 10 * P);
    CHECK(sbrk(0) == a + 10 * P);
    OK(sbrk(-10 * P));
    OK(sbrk(P));
    EQ(a[0], 0); // fresh again
    CHECK(syscall(SYS_brk, 0) == syscall(SYS_brk, 8));
    CHECK(strstr(t_get("/proc/self/maps"), "[heap]"));
}
TEST(mremap_grow_shrink_move) {
    char *p = anon(4 * P);
    for (int i = 0; i < 4; i++) p[i * P] = i + 1;
    munmap(p + 2 * P, 2 * P);
    char *q = mremap(p, 2 * P, 4 * P, 0); // room was made
    CHECK(q == p);
    EQ(q[2 * P], 0); EQ(q[P], 2);
    CHECK(mremap(q, 4 * P, P, 0) == q);
    KILLED(CHILD(q[P] = 1), SIGSEGV);
    char *wall = mmap(q + P, P, PROT_NONE, ANON | MAP_FIXED, -1, 0);
    CHECK(wall == q + P);
    CHECK(mremap(q, P, 3 * P, 0) == MAP_FAILED && errno == ENOMEM);
    char *m = mremap(q, P, 3 * P, MREMAP_MAYMOVE);
    CHECK(m != MAP_FAILED && m != q);
    EQ(m[0], 1); EQ(m[2 * P], 0);
    KILLED(CHILD(q[0] = 1), SIGSEGV);
}
TEST(mremap_fixed_and_errors) {
    char *a = anon(2 * P), *b = anon(2 * P);
    a[0] = 9;
    CHECK(mremap(a, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, b) == b);
    EQ(b[0], 9);
    CHECK(mremap(b, 2 * P, 2 * P, MREMAP_FIXED, a) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(b + 1, P, P, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(b, P, 0, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(a, P, 2 * P, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
    CHECK(mremap(b, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, b + P) == MAP_FAILED && errno == EINVAL);
    char *s = mmap(0, P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    s[5] = 5;
    char *dup = mremap(s, 0, P, MREMAP_MAYMOVE); // a second view
    CHECK(dup != MAP_FAILED);
    EQ(dup[5], 5);
    dup[6] = 6;
    EQ(s[6], 6);
    char *d = anon(P);
    d[0] = 3;
    char *e = (char *)syscall(SYS_mremap, d, P, P, MREMAP_MAYMOVE | 4 /* DONTUNMAP */, 0);
    CHECK(e != MAP_FAILED);
    EQ(e[0], 3); EQ(d[0], 0);
}
TEST(mremap_file) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(f, 3 * P));
    pwrite(f, "Z", 1, 2 * P);
    char *p = mmap(0, P, RW, MAP_SHARED, f, 0), *q = mremap(p, P, 3 * P, MREMAP_MAYMOVE);
    EQ(q[2 * P], 'Z');
}
TEST(growing_stack) {
    char *p = mmap(0, 64 * P, RW, ANON | MAP_GROWSDOWN | MAP_STACK, -1, 0);
    CHECK(p != MAP_FAILED);
    p[0] = 1;
    char *big = alloca(1 << 20);
    memset(big, 1, 1 << 20);
    CHECK(strstr(t_get("/proc/self/maps"), "[stack]"));
}
TEST(big_reservation) {
    char *p = mmap(0, 1ul << 40, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    OK(mprotect(p + (1ul << 39), P, RW));
    p[1ul << 39] = 1;
    OK(munmap(p, 1ul << 40));
}
TEST(many_mappings) {
    char *p = anon(2000 * P);
    for (int i = 0; i < 2000; i += 2) OK(mprotect(p + i * P, P, PROT_READ));
    for (int i = 1; i < 2000; i += 2) p[i * P] = 1;
    for (int i = 0; i < 2000; i += 2) OK(mprotect(p + i * P, P, RW));
    for (int i = 0; i < 2000; i += 3) OK(munmap(p + i * P, P));
}
TEST(self_modifying_code) {
    unsigned char *p = mmap(0, P, RW | PROT_EXEC, ANON, -1, 0);
    for (int i = 0; i < 50; i++) {
        unsigned char code[] = {0xb8, i, 0, 0, 0, 0xc3};
        memcpy(p, code, sizeof code);
        EQ(((int (*)(void))p)(), i);
    }
}
TEST(shared_validate_needs_a_file) {
    CHECK(mmap(0, 4096, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
}
// Address space costs nothing, and neither does asking how much of it is resident.
TEST(address_space_without_measure) {
    size_t big = 64UL << 40;
    char *p = mmap(0, big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    p[big / 2] = 1;
    long size, resident;
    EQ(sscanf(t_get("/proc/self/statm"), "%ld %ld", &size, &resident), 2);
    GE(size, big / 4096);
    CHECK(resident > 0 && resident < 1 << 20);
    CHECK(strstr(t_get("/proc/self/status"), "VmRSS:"));
}
int main(void) {
    RUN(zeroed_and_writable); RUN(errors); RUN(file_modes); RUN(shared_file_coherence); RUN(private_sees_later_writes_until_touched);
    RUN(anonymous_shared_across_fork); RUN(fixed_replaces_and_noreplace_refuses); RUN(unmap_splits); RUN(protect_splits_and_merges);
    RUN(brk); RUN(mremap_grow_shrink_move); RUN(mremap_fixed_and_errors); RUN(mremap_file); RUN(growing_stack); RUN(big_reservation);
    RUN(many_mappings); RUN(self_modifying_code);
    RUN(shared_validate_needs_a_file); RUN(address_space_without_measure);
    DONE();
}
