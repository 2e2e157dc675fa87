// uts, ipc, mount and pid namespaces as a program inside makes them; sethostname; uname.
#include "t.h"
#include <sys/ipc.h>
#include <sys/shm.h>

TEST(uname_and_hostname) {
    struct utsname u;
    OK(uname(&u));
    STREQ(u.sysname, "Linux");
    STREQ(u.machine, "x86_64");
    STREQ(u.nodename, "guest");
    CHECK(atoi(u.release) >= 4);
    ERR(sethostname("x", -1), EINVAL);
    char b[70];
    memset(b, 'x', 70);
    ERR(sethostname(b, 65), EINVAL);
}
TEST(unshare_uts) {
    CODE(CHILD({
        char b[65];
        OK(unshare(CLONE_NEWUTS));
        OK(sethostname("inner", 5));
        OK(setdomainname("dom", 3));
        gethostname(b, sizeof b);
        STREQ(b, "inner");
        STREQ(t_get("/proc/sys/kernel/hostname"), "inner\n");
    }), 0);
    struct utsname u;
    uname(&u);
    STREQ(u.nodename, "guest");
}
TEST(unshare_ipc) {
    int id = OK(shmget(4242, 4096, IPC_CREAT | 0600));
    CODE(CHILD({ OK(unshare(CLONE_NEWIPC)); ERR(shmget(4242, 4096, 0600), ENOENT); }), 0);
    EQ(shmget(4242, 4096, 0600), id);
    OK(shmctl(id, IPC_RMID, 0));
}
TEST(unshare_mount) {
    mkdir("m", 0755);
    t_put("m/under", "u");
    CODE(CHILD({
        OK(unshare(CLONE_NEWNS));
        OK(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
        OK(mount("x", "m", "tmpfs", 0, 0));
        ERR(access("m/under", F_OK), ENOENT);
        t_put("m/inside", "i");
    }), 0);
    OK(access("m/under", F_OK));
    ERR(access("m/inside", F_OK), ENOENT);
}
TEST(pid_namespace) {
    int pp[2];
    CHECK(!pipe(pp));
    pid_t p = CHILD({
        OK(unshare(CLONE_NEWPID));
        pid_t q = CHILD({
            EQ(getpid(), 1);
            EQ(getppid(), 0);
            pid_t r = CHILD(_exit(getpid()));
            CODE(r, 2);
            EQ(r, 2);
        });
        CHECK(q > 1);
        CODE(q, 0);
        ERR(fork(), ENOMEM); // its init is gone
    });
    CODE(p, 0);
}
TEST(pid_namespace_dies_with_init) {
    int pp[2];
    char c;
    CHECK(!pipe(pp));
    pid_t p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    CHECK(p >= 0);
    if (p == 0) { CHILD({ close(pp[0]); for (;;) pause(); }); t_sleep(20); _exit(3); }
    close(pp[1]);
    CODE(p, 3);
    EQ(read(pp[0], &c, 1), 0); // the grandchild was killed: its end is closed
}
TEST(init_is_not_killed_by_its_own) {
    pid_t p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (p == 0) {
        CODE(CHILD({ kill(1, SIGTERM); kill(1, SIGKILL); }), 0);
        t_sleep(20);
        _exit(9);
    }
    CODE(p, 9);
}
TEST(ns_links) {
    char a[64] = "", b[64] = "";
    GE(readlink("/proc/self/ns/uts", a, 63), 8);
    CHECK(!strncmp(a, "uts:[", 5));
    CODE(CHILD({ OK(unshare(CLONE_NEWUTS)); readlink("/proc/self/ns/uts", b, 63); CHECK(strcmp(a, b)); }), 0);
    CODE(CHILD({ readlink("/proc/self/ns/uts", b, 63); STREQ(a, b); }), 0);
}
TEST(setns_uts) {
    int f = OK(open("/proc/self/ns/uts", O_RDONLY));
    CODE(CHILD({
        char b[65];
        OK(unshare(CLONE_NEWUTS));
        OK(sethostname("other", 5));
        OK(setns(f, CLONE_NEWUTS));
        gethostname(b, sizeof b);
        STREQ(b, "guest");
        ERR(setns(f, CLONE_NEWIPC), EINVAL);
    }), 0);
}
TEST(setns_other_files) {
    CODE(CHILD({
        int own = OK(open("/proc/self/ns/pid", O_RDONLY));
        OK(unshare(CLONE_NEWPID));
        OK(setns(own, 0));
        CODE(CHILD(_exit(getpid() == 1)), 0);
    }), 0);
    ERR(setns(OK(open("/proc/self/ns/user", O_RDONLY)), 0), EINVAL);
    ERR(setns(OK(open("/dev/null", O_RDONLY)), 0), EINVAL);
    CODE(CHILD({ int f = OK(open("/proc/self/ns/uts", O_RDONLY)); OK(setuid(1234)); ERR(setns(f, 0), EPERM); }), 0);
}
TEST(unshare_files_and_fs) {
    static int f;
    f = OK(open("/dev/null", O_RDONLY));
    OK(unshare(CLONE_FILES | CLONE_FS));
    OK(fcntl(f, F_GETFD));
    ERR(unshare(0x1), EINVAL);
}
TEST(chroot_changes_the_root) {
    mkdir("r", 0755);
    mkdir("r/d", 0755);
    CODE(CHILD({
        OK(chroot("r"));
        OK(chdir("/"));
        OK(access("/d", F_OK));
        OK(access("/../../d", F_OK));
        ERR(access("/bin/sh", F_OK), ENOENT);
        char b[PATH_MAX];
        STREQ(getcwd(b, sizeof b), "/");
    }), 0);
    CODE(CHILD({ char b[PATH_MAX] = ""; OK(chroot("r")); OK(syscall(SYS_getcwd, b, sizeof b)); CHECK(!strncmp(b, "(unreachable)", 13)); }), 0);
}
TEST(pivot_root) {
    CODE(CHILD({
        OK(unshare(CLONE_NEWNS));
        OK(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
        mkdir("n", 0755);
        OK(mount("x", "n", "tmpfs", 0, 0));
        mkdir("n/old", 0755);
        ERR(syscall(SYS_pivot_root, "/nonexistent", "n"), ENOENT);
        OK(syscall(SYS_pivot_root, "n", "n/old"));
        OK(chdir("/"));
        OK(access("/old/bin/sh", F_OK));
        OK(umount2("/old", MNT_DETACH));
        ERR(access("/old/bin/sh", F_OK), ENOENT);
    }), 0);
}
// A first thread that has namespaces of its own and ends before the others: they go with it, and execve takes its place.
static int own_program;
static void *executes(void *main_thread) {
    char *argv[] = {"namespaces", "executed", NULL};
    pthread_join(*(pthread_t *)main_thread, 0);
    fexecve(own_program, argv, environ);
    _exit(9);
}
TEST(the_first_threads_own) {
    pid_t p = CHILD({
        static pthread_t self, t;
        self = pthread_self();
        own_program = OK(open("/proc/self/exe", O_RDONLY));
        CHECK(!pthread_create(&t, 0, executes, &self));
        mkdir("m", 0755);
        OK(unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS));
        OK(mount("x", "m", "tmpfs", 0, 0));
        t_put("m/inside", "i");
        pthread_exit(0);
    });
    CODE(p, 7);
}
TEST(a_zombie_has_left) {
    char path[64], name[64];
    pid_t p = CHILD({ OK(unshare(CLONE_NEWUTS)); });
    t_state(p, 'Z');
    for (const char *const *n = (const char *const[]){"mnt", "uts", "ipc", "net", 0}; *n; n++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", p, *n);
        ERR(readlink(path, name, sizeof name), ENOENT);
    }
    snprintf(path, sizeof path, "/proc/%d/ns/pid", p);
    OK(readlink(path, name, sizeof name));
    CODE(p, 0);
}
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "executed")) return 7;
    RUN(uname_and_hostname); RUN(unshare_uts); RUN(unshare_ipc); RUN(unshare_mount); RUN(pid_namespace); RUN(pid_namespace_dies_with_init);
    RUN(init_is_not_killed_by_its_own); RUN(ns_links); RUN(setns_uts); RUN(setns_other_files); RUN(unshare_files_and_fs); RUN(chroot_changes_the_root);
    RUN(pivot_root); RUN(the_first_threads_own); RUN(a_zombie_has_left);
    DONE();
}
