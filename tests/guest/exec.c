// execve, execveat, #! lines, what survives an exec.
#include "t.h"

extern char **environ;
static int sh(const char *cmd) { return CHILD({ execl("/bin/sh", "sh", "-c", cmd, (char *)0); _exit(99); }); }
static void script(const char *name, const char *text) {
    t_put(name, text);
    chmod(name, 0755);
}
TEST(argv_and_env) {
    char *argv[] = {"zero", "one two", "", NULL}, *envp[] = {"A=b c", NULL};
    script("s", "#!/bin/sh\n[ $# = 2 ] && [ \"$1\" = 'one two' ] && [ -z \"$2\" ] && [ \"$A\" = 'b c' ] && [ -z \"$HOME\" ]\n");
    CODE(CHILD(execve("./s", argv, envp)), 0);
}
TEST(errors) {
    char *argv[] = {"x", NULL};
    ERR(execve("./none", argv, environ), ENOENT);
    ERR(execve("", argv, environ), ENOENT);
    ERR(execve("/tmp", argv, environ), EACCES);
    ERR(execve((void *)8, argv, environ), EFAULT);
    ERR(execve("/bin/true", (void *)8, environ), EFAULT);
    t_put("noexec", "#!/bin/sh\n");
    ERR(execve("./noexec", argv, environ), EACCES);
    script("empty", "");
    ERR(execve("./empty", argv, environ), ENOEXEC);
    script("text", "hello\n");
    ERR(execve("./text", argv, environ), ENOEXEC);
    ERR(execve("./text/x", argv, environ), ENOTDIR);
    script("badinterp", "#!/no/such/interpreter\n");
    ERR(execve("./badinterp", argv, environ), ENOENT);
    script("nointerp", "#!\n");
    ERR(execve("./nointerp", argv, environ), ENOEXEC);
    symlink("loop", "loop");
    ERR(execve("./loop", argv, environ), ELOOP);
}
TEST(interpreter_with_argument) {
    script("s", "#!  /bin/echo  one two  \nignored\n");
    FILE *f = popen("./s three", "r");
    char line[200] = "";
    fgets(line, sizeof line, f);
    STREQ(line, "one two ./s three\n");
}
TEST(interpreter_chain) {
    script("a", "#!/bin/sh\necho \"$@\" >out\n");
    script("b", "#!./a bee\n");
    CODE(sh("exec ./b x"), 0);
    STREQ(t_get("out"), "bee ./b x\n");
    script("l0", "#!./l0\n");
    char *argv[] = {"x", NULL};
    ERR(execve("./l0", argv, environ), ELOOP);
}
TEST(cloexec) {
    int keep = OK(open("/dev/null", O_RDONLY)), drop = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    char cmd[200];
    snprintf(cmd, sizeof cmd, "[ -e /proc/self/fd/%d ] && [ ! -e /proc/self/fd/%d ]", keep, drop);
    CODE(sh(cmd), 0);
}
TEST(signal_dispositions) {
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, (void (*)(int))1000);
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGHUP);
    sigprocmask(SIG_BLOCK, &s, 0);
    CODE(CHILD(execl("/bin/grep", "grep", "-Eq", "SigBlk:.0*1$", "/proc/self/status", (char *)0)), 0);
    CODE(CHILD(execl("/bin/grep", "grep", "-Eq", "SigIgn:.*2..$", "/proc/self/status", (char *)0)), 0);
}
TEST(pending_signal_survives) {
    CODE(CHILD({
        sigset_t s;
        sigemptyset(&s);
        sigaddset(&s, SIGTERM);
        sigprocmask(SIG_BLOCK, &s, 0);
        raise(SIGTERM);
        execl("/bin/grep", "grep", "-Eq", "(Shd|Sig)Pnd:.0*4000$", "/proc/self/status", (char *)0);
    }), 0);
}
TEST(comm_and_exe_and_cmdline) {
    char *argv[] = {"myname", "-c", "read x </proc/$$/comm; [ \"$x\" = sh ] && [ \"$(readlink /proc/$$/exe)\" = \"$(readlink -f /bin/sh)\" ] && tr '\\0' ' ' </proc/$$/cmdline | grep -q '^myname -c '", NULL};
    CODE(CHILD(execve("/bin/sh", argv, environ)), 0);
}
TEST(execveat_variants) {
    char *argv[] = {"true", NULL};
    int d = OK(open("/bin", O_PATH | O_DIRECTORY)), f = OK(open("/bin/true", O_PATH));
    CODE(CHILD(syscall(SYS_execveat, d, "true", argv, environ, 0); _exit(1)), 0);
    CODE(CHILD(syscall(SYS_execveat, f, "", argv, environ, AT_EMPTY_PATH); _exit(1)), 0);
    ERR(syscall(SYS_execveat, f, "", argv, environ, 0), ENOENT);
    ERR(syscall(SYS_execveat, 999, "true", argv, environ, 0), EBADF);
    ERR(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, environ, 0x80000), EINVAL);
    symlink("/bin/true", "link");
    ERR(syscall(SYS_execveat, AT_FDCWD, "link", argv, environ, AT_SYMLINK_NOFOLLOW), ELOOP);
}
TEST(memfd_exec) {
    int m = OK(memfd_create("prog", MFD_CLOEXEC)), f = OK(open("/bin/true", O_RDONLY));
    struct stat st;
    fstat(f, &st);
    char *b = malloc(st.st_size);
    EQ(read(f, b, st.st_size), st.st_size);
    EQ(write(m, b, st.st_size), st.st_size);
    char *argv[] = {"true", NULL};
    CODE(CHILD(fexecve(m, argv, environ); _exit(1)), 0);
}
TEST(too_big) {
    char *big = malloc(200000), *argv[] = {"true", big, NULL};
    memset(big, 'x', 199999);
    big[199999] = 0;
    ERR(execve("/bin/true", argv, environ), E2BIG); // one string over 128 KiB
    char **many = malloc(sizeof *many * 200001);
    for (int i = 0; i < 200000; i++) many[i] = "0123456789012345678901234567890";
    many[200000] = NULL;
    ERR(execve("/bin/true", many, environ), E2BIG); // together over a quarter of the stack limit
}
TEST(large_but_allowed) {
    char *big = malloc(100000), *argv[] = {"sh", "-c", "[ ${#1} = 99999 ] && [ ${#2} = 99999 ]", "sh", big, big, NULL};
    memset(big, 'x', 99999);
    big[99999] = 0;
    CODE(CHILD(execve("/bin/sh", argv, environ)), 0);
}
TEST(text_busy) {
    CODE(sh("cp /bin/sleep ./busy"), 0);
    int f = OK(open("./busy", O_RDWR));
    char *argv[] = {"x", NULL};
    ERR(execve("./busy", argv, environ), ETXTBSY);
    close(f);
    pid_t p = CHILD(execl("./busy", "busy", "5", (char *)0));
    for (int i = 0; i < 100 && !strstr(t_get("/proc/self/comm"), "none"); i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/comm", p);
        if (!strcmp(t_get(path), "busy\n")) break;
        t_sleep(5);
    }
    ERR(open("./busy", O_WRONLY), ETXTBSY);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(deleted_exe_link) {
    CODE(sh("cp /bin/sleep ./gone"), 0);
    pid_t p = CHILD(execl("./gone", "gone", "5", (char *)0));
    t_sleep(50);
    unlink("./gone");
    char path[64], to[PATH_MAX] = "";
    snprintf(path, sizeof path, "/proc/%d/exe", p);
    GE(readlink(path, to, sizeof to - 1), 1);
    CHECK(strstr(to, "/gone (deleted)"));
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
int main(void) {
    RUN(argv_and_env); RUN(errors); RUN(interpreter_with_argument); RUN(interpreter_chain); RUN(cloexec);
    RUN(signal_dispositions); RUN(pending_signal_survives); RUN(comm_and_exe_and_cmdline); RUN(execveat_variants);
    RUN(memfd_exec); RUN(too_big); RUN(large_but_allowed); RUN(text_busy); RUN(deleted_exe_link);
    DONE();
}
