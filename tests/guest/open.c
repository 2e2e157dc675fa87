//: dirs /tmp /work
// open and its flags, O_TMPFILE, O_PATH, openat2's resolve flags, creation modes.
#include "t.h"
#include <linux/openat2.h>

static int o2(int d, const char *p, int flags, int mode, long resolve) {
    struct open_how h = {flags, mode, resolve};
    return syscall(SYS_openat2, d, p, &h, sizeof h);
}
TEST(create_and_excl) {
    int f = OK(open("f", O_CREAT | O_EXCL | O_RDWR, 0640));
    struct stat st;
    OK(fstat(f, &st));
    EQ(st.st_mode, S_IFREG | 0640);
    ERR(open("f", O_CREAT | O_EXCL, 0600), EEXIST);
    symlink("f", "l");
    symlink("dangling-target", "dl");
    ERR(open("l", O_CREAT | O_EXCL, 0600), EEXIST);
    ERR(open("dl", O_CREAT | O_EXCL, 0600), EEXIST);
    close(OK(open("dl", O_CREAT | O_WRONLY, 0600)));
    OK(stat("dangling-target", &st));
    ERR(open("none", O_RDONLY), ENOENT);
    ERR(open("f/x", O_RDONLY), ENOTDIR);
    ERR(open("", O_RDONLY), ENOENT);
    ERR(open("nodir/x", O_CREAT | O_RDWR, 0600), ENOENT);
    ERR(open("f/", O_RDONLY), ENOTDIR);
    ERR(open("new/", O_CREAT | O_RDWR, 0600), EISDIR);
}
// An empty path is refused before the descriptor beside it is looked at; with AT_EMPTY_PATH there is no path.
TEST(empty_path_and_bad_descriptor) {
    struct stat st;
    char c;
    ERR(openat(-1, "", O_RDONLY), ENOENT);
    ERR(fchmodat(-1, "", 0444, 0), ENOENT);
    ERR(fstatat(-1, "", &st, 0), ENOENT);
    ERR(fstatat(-1, "", &st, AT_EMPTY_PATH), EBADF);
    ERR(unlinkat(-1, "", 0), ENOENT);
    ERR(mkdirat(-1, "", 0700), ENOENT);
    ERR(faccessat(-1, "", F_OK, 0), ENOENT);
    ERR(readlinkat(-1, "", &c, 1), EBADF);
    ERR(linkat(-1, "", AT_FDCWD, "x", 0), ENOENT);
    ERR(renameat(-1, "", AT_FDCWD, "x"), ENOENT);
    ERR(renameat(AT_FDCWD, "x", -1, ""), ENOENT);
    // The old name's own error comes first.
    ERR(renameat(AT_FDCWD, "/dev/null/x", -1, ""), ENOTDIR);
    ERR(openat(-1, "x", O_RDONLY), EBADF);
}
TEST(access_modes) {
    char c;
    t_put("f", "abc");
    int r = OK(open("f", O_RDONLY)), w = OK(open("f", O_WRONLY));
    ERR(write(r, "x", 1), EBADF);
    ERR(read(w, &c, 1), EBADF);
    EQ(fcntl(w, F_GETFL) & O_ACCMODE, O_WRONLY);
    int three = OK(open("f", 3));
    ERR(read(three, &c, 1), EBADF);
    ERR(write(three, &c, 1), EBADF);
}
TEST(append_trunc) {
    struct stat st;
    t_put("f", "abcdef");
    int a = OK(open("f", O_WRONLY | O_APPEND));
    EQ(lseek(a, 0, SEEK_CUR), 0);
    EQ(write(a, "gh", 2), 2);
    EQ(lseek(a, 0, SEEK_CUR), 8);
    lseek(a, 0, SEEK_SET);
    EQ(write(a, "i", 1), 1);
    EQ(pwrite(a, "j", 1, 0), 1); // O_APPEND wins over the offset
    STREQ(t_get("f"), "abcdefghij");
    OK(fcntl(a, F_SETFL, 0));
    EQ(pwrite(a, "A", 1, 0), 1);
    STREQ(t_get("f"), "Abcdefghij");
    close(OK(open("f", O_WRONLY | O_TRUNC)));
    OK(stat("f", &st));
    EQ(st.st_size, 0);
}
TEST(directories) {
    mkdir("d", 0755);
    ERR(open("d", O_RDWR), EISDIR);
    ERR(open("d", O_CREAT | O_RDONLY, 0600), EISDIR);
    t_put("f", "");
    ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
    int d = OK(open("d", O_RDONLY | O_DIRECTORY));
    char c;
    ERR(read(d, &c, 1), EISDIR);
    ERR(openat(OK(open("f", O_RDONLY)), "x", O_RDONLY), ENOTDIR);
    close(OK(openat(d, "inside", O_CREAT | O_RDWR, 0600)));
    OK(access("d/inside", F_OK));
    ERR(openat(d, "../f/../f", O_RDONLY), ENOTDIR);
    close(OK(openat(d, "/dev/null", O_RDONLY)));
    ERR(openat(999, "x", O_RDONLY), EBADF);
}
TEST(nofollow_and_loops) {
    t_put("f", "");
    symlink("f", "l");
    ERR(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
    symlink("b", "a");
    symlink("a", "b");
    ERR(open("a", O_RDONLY), ELOOP);
    char prev[20] = "f", name[20];
    for (int i = 0; i < 41; i++) { snprintf(name, 20, "s%d", i); symlink(prev, name); strcpy(prev, name); }
    close(OK(open("s39", O_RDONLY))); // 40 links
    ERR(open("s40", O_RDONLY), ELOOP);
}
TEST(long_names) {
    char n[300], p[5000];
    memset(n, 'n', 299);
    n[255] = 0;
    close(OK(open(n, O_CREAT | O_RDWR, 0600)));
    OK(unlink(n));
    n[255] = 'n', n[256] = 0;
    ERR(open(n, O_CREAT | O_RDWR, 0600), ENAMETOOLONG);
    memset(p, '/', 4999);
    p[4999] = 0;
    ERR(open(p, O_RDONLY), ENAMETOOLONG);
    p[4095] = 0;
    close(OK(open(p, O_RDONLY)));
}
TEST(tmpfile) {
    struct stat st;
    int f = OK(open(".", O_TMPFILE | O_RDWR, 0600));
    OK(fstat(f, &st));
    EQ(st.st_nlink, 0);
    EQ(write(f, "tmp", 3), 3);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", f);
    OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    STREQ(t_get("named"), "tmp");
    int g = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
    snprintf(path, sizeof path, "/proc/self/fd/%d", g);
    ERR(linkat(AT_FDCWD, path, AT_FDCWD, "named2", AT_SYMLINK_FOLLOW), ENOENT);
    ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
}
TEST(o_path) {
    t_put("f", "data");
    chmod("f", 0);
    symlink("f", "l");
    int p = OK(open("f", O_PATH));
    char c;
    struct stat st;
    ERR(read(p, &c, 1), EBADF);
    ERR(fchmod(p, 0600), EBADF);
    ERR(ioctl(p, FIONREAD, &c), EBADF);
    OK(fstat(p, &st));
    OK(fstatat(p, "", &st, AT_EMPTY_PATH));
    EQ(st.st_size, 4);
    EQ(fcntl(p, F_GETFL), O_PATH);
    int l = OK(open("l", O_PATH | O_NOFOLLOW));
    OK(fstat(l, &st));
    CHECK(S_ISLNK(st.st_mode));
    char to[10] = "";
    EQ(readlinkat(l, "", to, 9), 1);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", p);
    int again = OK(open(path, O_RDONLY));
    EQ(read(again, &c, 1), 1);
    int d = OK(open(".", O_PATH));
    close(OK(openat(d, "f", O_RDONLY)));
    OK(fchdir(d));
}
TEST(openat2_resolve) {
    mkdir("d", 0755);
    t_put("d/f", "");
    t_put("out", "");
    symlink("f", "d/in");
    symlink("../out", "d/up");
    symlink("/dev/null", "d/abs");
    symlink("/proc/self/exe", "d/magic");
    int d = OK(open("d", O_PATH));
    close(OK(o2(d, "in", O_RDONLY, 0, RESOLVE_BENEATH)));
    ERR(o2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    ERR(o2(d, "../out", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    ERR(o2(d, "abs", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    ERR(o2(d, "/dev/null", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    ERR(o2(d, "in", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), ELOOP);
    close(OK(o2(d, "f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS)));
    ERR(o2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS), ELOOP);
    ERR(o2(d, "up", O_RDONLY, 0, RESOLVE_IN_ROOT), ENOENT);
    ERR(o2(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT), ENOENT);
    close(OK(o2(d, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT)));
    close(OK(o2(d, "../../../f", O_RDONLY, 0, RESOLVE_IN_ROOT)));
    ERR(o2(AT_FDCWD, "/proc/self/stat", O_RDONLY, 0, RESOLVE_NO_XDEV), EXDEV);
    ERR(o2(d, "f", O_RDONLY, 0600, 0), EINVAL);
    ERR(o2(d, "f", O_RDONLY, 0, 1 << 20), EINVAL);
    ERR(o2(d, "f", O_RDONLY | 1 << 30, 0, 0), EINVAL);
    struct open_how h = {0};
    ERR(syscall(SYS_openat2, d, "f", &h, 10), EINVAL);
    struct { struct open_how h; long x; } big = {.x = 1};
    ERR(syscall(SYS_openat2, d, "f", &big, sizeof big), E2BIG);
}
TEST(dup_family) {
    int f = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    int g = OK(dup(f));
    EQ(fcntl(g, F_GETFD), 0);
    EQ(dup2(f, 50), 50);
    EQ(dup2(f, f), f);
    ERR(dup3(f, f, 0), EINVAL);
    EQ(dup3(f, 51, O_CLOEXEC), 51);
    EQ(fcntl(51, F_GETFD), FD_CLOEXEC);
    EQ(fcntl(f, F_DUPFD, 60), 60);
    EQ(fcntl(f, F_DUPFD_CLOEXEC, 60), 61);
    ERR(dup2(999, 5), EBADF);
    OK(syscall(SYS_close_range, 50, 61, 0));
    ERR(fcntl(60, F_GETFD), EBADF);
    OK(syscall(SYS_close_range, f, f, 4 /* CLOEXEC */));
    ERR(syscall(SYS_close_range, 5, 4, 0), EINVAL);
}
TEST(unlinked_open_file) {
    t_put("f", "content");
    int f = OK(open("f", O_RDWR));
    OK(unlink("f"));
    char b[8] = "", path[64], to[300] = "";
    EQ(read(f, b, 7), 7);
    STREQ(b, "content");
    EQ(write(f, "more", 4), 4);
    struct stat st;
    OK(fstat(f, &st));
    EQ(st.st_nlink, 0); EQ(st.st_size, 11);
    snprintf(path, sizeof path, "/proc/self/fd/%d", f);
    GE(readlink(path, to, 299), 5);
    CHECK(strstr(to, "/f (deleted)"));
    int g = OK(open(path, O_RDONLY));
    EQ(read(g, b, 7), 7);
    t_put("f", "new");
    EQ(pread(f, b, 7, 0), 7);
    STREQ(b, "content");
}
TEST(seeks_without_positions) {
    int n = OK(open("/dev/null", O_RDWR)), z = OK(open("/dev/zero", O_RDONLY)), u = OK(open("/dev/urandom", O_RDONLY));
    EQ(lseek(n, 1000, SEEK_CUR), 0);
    EQ(lseek(z, -10, SEEK_SET), 0);
    EQ(lseek(u, -10, SEEK_END), 0);
    int p = OK(open("/proc", O_RDONLY | O_DIRECTORY));
    OK(lseek(p, 0, SEEK_END));
    ERR(open(".", O_RDONLY | O_DIRECT), EINVAL);
}
int main(void) {
    RUN(create_and_excl); RUN(access_modes); RUN(append_trunc); RUN(directories); RUN(nofollow_and_loops); RUN(long_names); RUN(tmpfile);
    RUN(o_path); RUN(openat2_resolve); RUN(dup_family); RUN(unlinked_open_file); RUN(seeks_without_positions);
    RUN(empty_path_and_bad_descriptor);
    DONE();
}
