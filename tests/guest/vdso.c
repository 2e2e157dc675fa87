//: link
// The vDSO: found through auxv, its functions agree with the calls, and programs linked dynamically use it.
#include "t.h"
#include <dlfcn.h>
#include <elf.h>
#include <sys/auxv.h>

static void *lookup(const char *want) {
    char *base = (char *)getauxval(AT_SYSINFO_EHDR);
    if (!base) return NULL;
    Elf64_Ehdr *e = (void *)base;
    Elf64_Phdr *p = (void *)(base + e->e_phoff);
    Elf64_Dyn *d = NULL;
    long bias = 0;
    for (int i = 0; i < e->e_phnum; i++) {
        if (p[i].p_type == PT_LOAD) bias = (long)base + p[i].p_offset - p[i].p_vaddr;
        if (p[i].p_type == PT_DYNAMIC) d = (void *)(base + p[i].p_offset);
    }
    Elf64_Sym *sym = NULL;
    char *str = NULL;
    uint32_t *hash = NULL, *gnu = NULL;
    for (; d && d->d_tag; d++) {
        void *v = (void *)(d->d_un.d_ptr + bias);
        if (d->d_tag == DT_SYMTAB) sym = v;
        if (d->d_tag == DT_STRTAB) str = v;
        if (d->d_tag == DT_HASH) hash = v;
        if (d->d_tag == DT_GNU_HASH) gnu = v;
    }
    if (!sym || !str || !(hash || gnu)) return NULL;
    unsigned n = hash ? hash[1] : 32; // without DT_HASH: the symbols before the strings
    if (!hash) n = ((char *)str - (char *)sym) / sizeof *sym;
    for (unsigned i = 0; i < n && i < 64; i++)
        if (sym[i].st_shndx && !strcmp(str + sym[i].st_name, want)) return (void *)(sym[i].st_value + bias);
    return NULL;
}
TEST(symbols) {
    CHECK(lookup("__vdso_clock_gettime"));
    CHECK(lookup("__vdso_gettimeofday"));
    CHECK(lookup("__vdso_time"));
    CHECK(lookup("__vdso_getcpu"));
}
TEST(clock_gettime_agrees) {
    int (*f)(int, struct timespec *) = lookup("__vdso_clock_gettime");
    CHECK(f);
    int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW,
                    CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_TAI};
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        struct timespec a, b, c;
        EQ(syscall(SYS_clock_gettime, clocks[i], &a), 0);
        EQ(f(clocks[i], &b), 0);
        EQ(syscall(SYS_clock_gettime, clocks[i], &c), 0);
        double x = a.tv_sec + a.tv_nsec / 1e9, y = b.tv_sec + b.tv_nsec / 1e9, z = c.tv_sec + c.tv_nsec / 1e9;
        if (!(x <= y + 1e-6 && y <= z + 1e-6)) FAIL("clock %d: %.9f %.9f %.9f", clocks[i], x, y, z);
    }
    struct timespec t;
    EQ(f(12345, &t), -EINVAL);
}
TEST(gettimeofday_and_time) {
    int (*f)(struct timeval *, void *) = lookup("__vdso_gettimeofday");
    time_t (*g)(time_t *) = lookup("__vdso_time");
    struct timeval a, b;
    syscall(SYS_gettimeofday, &a, 0);
    EQ(f(&b, 0), 0);
    CHECK(b.tv_sec - a.tv_sec <= 1 && b.tv_sec >= a.tv_sec);
    time_t x = g(0), y;
    g(&y);
    CHECK(y - x <= 1 && x - b.tv_sec <= 1);
}
TEST(getcpu) {
    long (*f)(unsigned *, unsigned *, void *) = lookup("__vdso_getcpu");
    unsigned cpu = 999, node = 999;
    EQ(f(&cpu, &node, 0), 0);
    CHECK(cpu < sysconf(_SC_NPROCESSORS_CONF));
    EQ(node, 0);
}
TEST(monotonic_never_goes_back) {
    struct timespec p = {0}, t;
    for (int i = 0; i < 200000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        if (t.tv_sec < p.tv_sec || (t.tv_sec == p.tv_sec && t.tv_nsec < p.tv_nsec)) FAIL("went back at %d", i);
        p = t;
    }
}
TEST(mapping_is_named) {
    CHECK(strstr(t_get("/proc/self/maps"), "[vdso]"));
}
TEST(after_fork_and_exec) {
    CODE(CHILD({ struct timespec t; CHECK(!clock_gettime(CLOCK_MONOTONIC, &t)); }), 0);
    EQ(system("date +%s >/dev/null"), 0);
}
TEST(dlopen_works) {
    void *m = dlopen("libm.so.6", RTLD_NOW);
    CHECK(m);
    double (*f)(double) = dlsym(m, "floor");
    CHECK(f && f(3.5) == 3.0);
}
int main(void) {
    RUN(symbols); RUN(clock_gettime_agrees); RUN(gettimeofday_and_time); RUN(getcpu); RUN(monotonic_never_goes_back);
    RUN(mapping_is_named); RUN(after_fork_and_exec); RUN(dlopen_works);
    DONE();
}
