//: dirs /tmp /work
// User and group ids, permission checks, setuid programs, supplementary groups.
#include "t.h"
#include <grp.h>
#include <sys/fsuid.h>

// The calls themselves: the C library would set them on every thread.
static int setresuid_(int r, int e, int s) { return syscall(SYS_setresuid, r, e, s); }
static int setresgid_(int r, int e, int s) { return syscall(SYS_setresgid, r, e, s); }
static void is(int r, int e, int s) { uid_t a, b, c; OK(getresuid(&a, &b, &c)); EQ(a, r); EQ(b, e); EQ(c, s); }

TEST(setuid_as_root_sets_all) { OK(syscall(SYS_setuid, 1000)); is(1000, 1000, 1000); ERR(syscall(SYS_setuid, 0), EPERM); }
TEST(seteuid_and_back) {
    OK(setresuid_(-1, 1000, -1));
    is(0, 1000, 0);
    OK(setresuid_(-1, 0, -1));
    is(0, 0, 0);
    OK(setresuid_(1, 2, 3));
    is(1, 2, 3);
    ERR(setresuid_(-1, 0, -1), EPERM);
    OK(setresuid_(3, 1, 2));
    is(3, 1, 2);
}
TEST(setreuid_saved_rule) {
    OK(syscall(SYS_setreuid, 1000, -1));
    is(1000, 0, 0);
    OK(syscall(SYS_setreuid, -1, 1000));
    is(1000, 1000, 0); // the saved id follows only a new real id, or an effective one that is not the real one
}
TEST(groups) {
    gid_t g[3] = {10, 20, 30}, o[10];
    OK(syscall(SYS_setgroups, 3, g));
    EQ(getgroups(10, o), 3);
    EQ(o[2], 30);
    EQ(getgroups(0, 0), 3);
    ERR(getgroups(2, o), EINVAL);
    ERR(syscall(SYS_setgroups, 70000, g), EINVAL);
    CHECK(strstr(t_get("/proc/self/status"), "Groups:\t10 20 30"));
    OK(setresuid_(1000, 1000, 1000));
    ERR(syscall(SYS_setgroups, 1, g), EPERM);
}
static int can(const char *path, int flags) { int f = open(path, flags); if (f >= 0) close(f); return f >= 0; }
TEST(mode_bits) {
    t_put("own", "x"); chmod("own", 0600); chown("own", 1000, 2000);
    t_put("grp", "x"); chmod("grp", 0040); chown("grp", 1, 2000);
    t_put("oth", "x"); chmod("oth", 0004); chown("oth", 1, 1);
    t_put("sup", "x"); chmod("sup", 0020); chown("sup", 1, 3000);
    t_put("none", "x"); chmod("none", 0007); chown("none", 1000, 1);
    chmod(".", 0755);
    gid_t g[] = {3000};
    syscall(SYS_setgroups, 1, g);
    OK(setresgid_(2000, 2000, 2000));
    OK(setresuid_(1000, 1000, 1000));
    CHECK(can("own", O_RDWR));
    CHECK(can("grp", O_RDONLY) && !can("grp", O_WRONLY));
    CHECK(can("oth", O_RDONLY) && !can("oth", O_WRONLY));
    CHECK(can("sup", O_WRONLY) && !can("sup", O_RDONLY));
    ERR(open("none", O_RDONLY), EACCES); // the owner's bits count, though others may
    ERR(chmod("grp", 0777), EPERM);
    ERR(chown("own", 5, -1), EPERM);
    OK(chown("own", -1, 3000));
    ERR(chown("own", -1, 4000), EPERM);
    ERR(truncate("oth", 0), EACCES);
    ERR(open("new", O_CREAT | O_WRONLY, 0600), EACCES);
}
TEST(directory_search_and_sticky) {
    mkdir("shut", 0700);
    t_put("shut/f", "x");
    mkdir("sticky", 01777);
    chmod("sticky", 01777);
    t_put("sticky/root", "x");
    chmod(".", 0755);
    OK(setresuid_(1000, 1000, 1000));
    ERR(open("shut/f", O_RDONLY), EACCES);
    struct stat st;
    ERR(stat("shut/f", &st), EACCES);
    OK(stat("shut", &st));
    ERR(unlink("sticky/root"), EPERM);
    int f = OK(open("sticky/mine", O_CREAT | O_RDWR, 0600));
    close(f);
    OK(rename("sticky/mine", "sticky/mine2"));
    OK(unlink("sticky/mine2"));
}
TEST(access_uses_real_ids) {
    t_put("f", "x");
    chmod("f", 0600);
    OK(setresuid_(1000, 0, 0));
    ERR(access("f", R_OK), EACCES);
    OK(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
    CHECK(can("f", O_RDONLY));
}
TEST(root_and_the_x_bit) {
    t_put("f", "#!/bin/true\n");
    chmod("f", 0644);
    ERR(access("f", X_OK), EACCES);
    OK(access("f", R_OK | W_OK));
    chmod("f", 0);
    OK(access("f", R_OK | W_OK));
    chmod("f", 0001);
    OK(access("f", X_OK));
}
TEST(fsuid) {
    struct stat st;
    chmod(".", 0777);
    EQ(setfsuid(1000), 0);
    EQ(setfsuid(-1), 1000);
    close(OK(open("f", O_CREAT | O_RDWR, 0600)));
    OK(stat("f", &st));
    EQ(st.st_uid, 1000);
    EQ(geteuid(), 0);
}
TEST(setuid_program) {
    EQ(system("cp /guest/creds ./suid && chown 1234:2345 suid && chmod 6755 suid && chmod 755 ."), 0);
    CODE(CHILD({ OK(setresuid_(1000, 1000, 1000)); execl("./suid", "suid", "1234", "2345", (char *)0); }), 0);
    CODE(CHILD({ OK(setresuid_(1000, 1000, 1000)); OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); execl("./suid", "suid", "1000", "0", (char *)0); }), 0);
}
TEST(setuid_program_beside_a_sharer) {
    // Whoever shares root and working directory could move them under the program: it gains nothing, unless the caller may set ids anyway.
    EQ(system("cp /guest/creds ./suid && chown 1234:2345 suid && chmod 6755 suid && chmod 755 ."), 0);
    for (int root = 0; root < 2; root++)
        CODE(CHILD({
            int ends[2];
            OK(pipe(ends));
            pid_t p = OK(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
            // Ends with the other end of the pipe: the program closes it at its end.
            if (!p) { char c; close(ends[1]); read(ends[0], &c, 1); _exit(0); }
            if (!root) OK(setresuid_(1000, 1000, 1000));
            if (root) execl("./suid", "suid", "1234", "2345", (char *)0);
            else execl("./suid", "suid", "1000", "0", (char *)0);
        }), 0);
}
TEST(write_drops_setuid) {
    struct stat st;
    t_put("f", "x");
    chmod(".", 0755);
    OK(chown("f", 1000, 1000));
    OK(chmod("f", 06755));
    CODE(CHILD({ OK(setresuid_(1000, 1000, 1000)); int f = OK(open("f", O_WRONLY)); EQ(write(f, "y", 1), 1); }), 0);
    OK(stat("f", &st));
    EQ(st.st_mode & 07777, 0755);
    OK(chmod("f", 06755));
    OK(chown("f", 1001, 1001));
    OK(stat("f", &st));
    EQ(st.st_mode & 07777, 0755);
}
TEST(setgid_directory) {
    struct stat st;
    mkdir("d", 0777);
    OK(chown("d", 0, 777));
    OK(chmod("d", 02777));
    mkdir("d/e", 0755);
    t_put("d/f", "x");
    OK(stat("d/e", &st)); EQ(st.st_gid, 777); CHECK(st.st_mode & S_ISGID);
    OK(stat("d/f", &st)); EQ(st.st_gid, 777); CHECK(!(st.st_mode & S_ISGID));
}
TEST(kill_permission) {
    pid_t p = CHILD(pause());
    OK(setresuid_(1000, 1000, 1000));
    ERR(kill(p, SIGTERM), EPERM);
    ERR(kill(p, 0), EPERM);
}
TEST(umask) {
    struct stat st;
    umask(027);
    EQ(umask(027), 027);
    close(OK(open("f", O_CREAT | O_RDWR, 0777)));
    OK(stat("f", &st));
    EQ(st.st_mode & 0777, 0750);
    CHECK(strstr(t_get("/proc/self/status"), "Umask:\t0027\n"));
}
TEST(changed_identity_is_not_dumpable) {
    EQ(prctl(PR_GET_DUMPABLE), 1);
    OK(setgid(1234));
    EQ(prctl(PR_GET_DUMPABLE), 0);
    OK(prctl(PR_SET_DUMPABLE, 1));
    OK(setgid(1234)); // no change
    EQ(prctl(PR_GET_DUMPABLE), 1);
    OK(setuid(1234));
    EQ(prctl(PR_GET_DUMPABLE), 0);
}
// 1 where the sysctl is on.
static int protects(const char *what) { char p[64]; snprintf(p, sizeof p, "/proc/sys/fs/protected_%s", what); return t_get(p)[0] == '1'; }
TEST(others_files_get_no_second_name) {
    if (!protects("hardlinks")) return;
    OK(chmod(".", 0777));
    t_put("secret", "x");
    OK(chmod("secret", 0600));
    t_put("shared", "x");
    OK(chmod("shared", 0666));
    t_put("setuid", "x");
    OK(chmod("setuid", 04777));
    OK(mkfifo("fifo", 0666));
    OK(chmod("fifo", 0666));
    CODE(CHILD({
        OK(setresuid_(1000, 1000, 1000));
        ERR(link("secret", "a"), EPERM);
        ERR(link("setuid", "b"), EPERM);
        ERR(link("fifo", "c"), EPERM);
        OK(link("shared", "d"));
        t_put("own", "x");
        OK(chmod("own", 0));
        OK(link("own", "e"));
        _exit(0);
    }), 0);
}
TEST(others_links_in_a_sticky_directory_are_not_followed) {
    if (!protects("symlinks")) return;
    char c[8];
    struct stat st;
    OK(chmod(".", 0755));
    OK(mkdir("d", 0755));
    OK(chmod("d", 01777));
    t_put("target", "x");
    OK(symlink("../target", "d/by_root"));
    CODE(CHILD({
        OK(setresuid_(1000, 1000, 1000));
        OK(symlink("../target", "d/by_user"));
        OK(symlink("..", "d/up"));
        OK(stat("d/by_user", &st)); // its own
        OK(stat("d/by_root", &st)); // the directory's owner's
        _exit(0);
    }), 0);
    ERR(open("d/by_user", O_RDONLY), EACCES); // whatever one's capabilities
    OK(lstat("d/by_user", &st));
    EQ(readlink("d/by_user", c, 8), 8);
    OK(stat("d/up/target", &st)); // only the last name counts
    OK(chmod("d", 0777));
    OK(stat("d/by_user", &st));
}
int main(int c, char **v) {
    if (c == 3) return geteuid() == atoi(v[1]) && getegid() == atoi(v[2]) ? 0 : 1;
    RUN(setuid_as_root_sets_all); RUN(seteuid_and_back); RUN(setreuid_saved_rule); RUN(groups); RUN(mode_bits);
    RUN(directory_search_and_sticky); RUN(access_uses_real_ids); RUN(root_and_the_x_bit); RUN(fsuid); RUN(setuid_program); RUN(setuid_program_beside_a_sharer);
    RUN(write_drops_setuid); RUN(setgid_directory); RUN(kill_permission); RUN(umask);
    RUN(changed_identity_is_not_dumpable);
    RUN(others_files_get_no_second_name); RUN(others_links_in_a_sticky_directory_are_not_followed);
    DONE();
}
