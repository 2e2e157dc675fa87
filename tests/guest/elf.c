// The loader: auxiliary vector, stack layout, kinds of binaries, corrupt ones.
#include "t.h"
#include <elf.h>
#include <sys/auxv.h>

extern char **environ;
TEST(auxv) {
    EQ(getauxval(AT_PAGESZ), 4096);
    EQ(getauxval(AT_CLKTCK), 100);
    EQ(getauxval(AT_UID), getuid());
    EQ(getauxval(AT_SECURE), 0);
    CHECK(getauxval(AT_PHDR));
    GE(getauxval(AT_PHNUM), 3);
    EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
    CHECK(getauxval(AT_RANDOM));
    CHECK(getauxval(AT_HWCAP));
    STREQ((char *)getauxval(AT_PLATFORM), "x86_64");
    CHECK(strstr((char *)getauxval(AT_EXECFN), "/elf"));
    CHECK(getauxval(AT_ENTRY));
    CHECK(getauxval(AT_SYSINFO_EHDR));
    GE(getauxval(AT_MINSIGSTKSZ), 1000);
}
TEST(auxv_file) {
    int f = OK(open("/proc/self/auxv", O_RDONLY));
    Elf64_auxv_t a[64];
    int n = read(f, a, sizeof a) / sizeof *a, seen = 0;
    for (int i = 0; i < n; i++) if (a[i].a_type == AT_PHDR) seen = a[i].a_un.a_val == getauxval(AT_PHDR);
    EQ(seen, 1);
    EQ(a[n - 1].a_type, AT_NULL);
}
static char random_of_child[40];
static void child_random(char *out) {
    FILE *f = popen("LD_SHOW_AUXV=1 /bin/true | grep -a AT_RANDOM; od -An -tx1 -N48 /proc/self/auxv | head -1", "r");
    size_t n = fread(out, 1, 39, f);
    out[n] = 0;
    pclose(f);
}
TEST(layout_is_randomised) {
    char other[40];
    child_random(random_of_child);
    child_random(other);
    CHECK(strcmp(random_of_child, other));
}
TEST(stack_alignment) {
    // argv[0] string lies above argv, which lies above the stack pointer; both in [stack]
    char *maps = t_get("/proc/self/maps"), *line = strstr(maps, "[stack]");
    CHECK(line);
    while (line > maps && line[-1] != '\n') line--;
    unsigned long lo, hi;
    EQ(sscanf(line, "%lx-%lx rw-p", &lo, &hi), 2);
    CHECK((unsigned long)&maps > lo && (unsigned long)environ < hi && (unsigned long)environ > (unsigned long)&maps);
}
static void build(const char *flags) {
    char cmd[300];
    t_put("p.c", "#include <stdio.h>\nint x = 5; int main(int c, char **v) { return x + c; }\n");
    snprintf(cmd, sizeof cmd, "gcc %s p.c -o p", flags);
    EQ(system(cmd), 0);
    CODE(CHILD(execl("./p", "p", "a", (char *)0); _exit(99)), 7);
}
TEST(static_pie) { build("-static-pie"); }
TEST(static_fixed) { build("-static -no-pie"); }
TEST(dynamic_pie) { build("-pie"); }
TEST(dynamic_fixed) { build("-no-pie"); }
TEST(executable_stack) { build("-z execstack"); }
TEST(large_bss) {
    t_put("b.c", "char a[200<<20]; int main(void) { a[0] = 1; a[sizeof a - 1] = 2; for (int i = 0; i < 1000; i++) if (a[4096 * i + 5000]) return 1; return 0; }\n");
    EQ(system("gcc -static b.c -o b"), 0);
    CODE(CHILD(execl("./b", "b", (char *)0); _exit(99)), 0);
}
TEST(section_less_segments) {
    t_put("s.c", "int main(void) { return 0; }\n");
    EQ(system("gcc -static s.c -o s && strip --strip-all s"), 0);
    CODE(CHILD(execl("./s", "s", (char *)0); _exit(99)), 0);
}
// Writes a copy of /guest/elf with `bytes` at `at`, cut to `size` when that is not 0, and tries to run it.
static int mutated(long at, const void *bytes, int len, long size) {
    int in = OK(open("/guest/elf", O_RDONLY)), out = OK(open("bad", O_WRONLY | O_CREAT | O_TRUNC, 0755));
    static char b[4 << 20];
    long n = read(in, b, sizeof b);
    memcpy(b + at, bytes, len);
    write(out, b, size ? size : n);
    close(in);
    close(out);
    pid_t p = CHILD({
        char *argv[] = {"bad", "--exit", NULL};
        execve("./bad", argv, environ);
        _exit(errno);
    });
    return t_wait(p);
}
TEST(corrupt_headers) {
    uint16_t h;
    uint64_t q;
    EQ(WEXITSTATUS(mutated(0, "\177ELG", 4, 0)), ENOEXEC);
    EQ(WEXITSTATUS(mutated(0, "", 0, 3)), ENOEXEC);
    EQ(WEXITSTATUS(mutated(0, "", 0, 40)), ENOEXEC);
    h = 40; EQ(WEXITSTATUS(mutated(offsetof(Elf64_Ehdr, e_machine), &h, 2, 0)), ENOEXEC); // ARM
    h = 1; EQ(WEXITSTATUS(mutated(offsetof(Elf64_Ehdr, e_type), &h, 2, 0)), ENOEXEC);     // an object file
    h = 1; EQ(WEXITSTATUS(mutated(offsetof(Elf64_Ehdr, e_phentsize), &h, 2, 0)), ENOEXEC);
    h = 0; EQ(WEXITSTATUS(mutated(offsetof(Elf64_Ehdr, e_phnum), &h, 2, 0)), ENOEXEC);
    q = 1ull << 40; CHECK(mutated(offsetof(Elf64_Ehdr, e_phoff), &q, 8, 0) != 0);
    q = ~0ull; CHECK(mutated(offsetof(Elf64_Ehdr, e_phoff), &q, 8, 0) != 0);
    CHECK(mutated(0, "", 0, 0) == 0); // unharmed, it runs
}
TEST(corrupt_segments) {
    Elf64_Phdr ph;
    int in = OK(open("/guest/elf", O_RDONLY)), n = 0;
    long at = 0;
    for (int i = 0; i < 16; i++) {
        pread(in, &ph, sizeof ph, 64 + i * sizeof ph);
        if (ph.p_type == PT_LOAD && n++ == 0) { at = 64 + i * sizeof ph; break; }
    }
    CHECK(at);
    uint64_t q = 0x7fffffffffff0000ull;
    CHECK(mutated(at + offsetof(Elf64_Phdr, p_vaddr), &q, 8, 0) != 0);
    q = ~0ull;
    CHECK(mutated(at + offsetof(Elf64_Phdr, p_memsz), &q, 8, 0) != 0);
    CHECK(mutated(at + offsetof(Elf64_Phdr, p_filesz), &q, 8, 0) != 0);
    q = 0xffffffff80000000ull;
    CHECK(mutated(at + offsetof(Elf64_Phdr, p_vaddr), &q, 8, 0) != 0);
    CHECK(mutated(offsetof(Elf64_Ehdr, e_entry), &q, 8, 0) != 0); // enters kernel space: dies of SIGSEGV
}
int main(int argc, char **argv) {
    if (argc > 1) return 0;
    RUN(auxv); RUN(auxv_file); RUN(layout_is_randomised); RUN(stack_alignment); RUN(static_pie); RUN(static_fixed);
    RUN(dynamic_pie); RUN(dynamic_fixed); RUN(executable_stack); RUN(large_bss); RUN(section_less_segments);
    RUN(corrupt_headers); RUN(corrupt_segments);
    DONE();
}
