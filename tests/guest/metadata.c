//: dirs /tmp /work
// stat and statx, times, rename, links, directories, fallocate, xattrs, statfs.
#include "t.h"
#include <dirent.h>
#include <sys/xattr.h>

static struct stat st_of(const char *p) { struct stat s; OK(lstat(p, &s)); return s; }
TEST(stat_fields) {
    t_put("f", "12345");
    struct stat s = st_of("f");
    EQ(s.st_size, 5); EQ(s.st_nlink, 1); EQ(s.st_mode, S_IFREG | 0644); EQ(s.st_uid, 0); EQ(s.st_blksize, 4096);
    CHECK(s.st_ino && s.st_dev);
    symlink("target", "l");
    s = st_of("l");
    EQ(s.st_size, 6); EQ(s.st_mode, S_IFLNK | 0777);
    ERR(stat("l", &s), ENOENT);
    ERR(stat("f", (void *)8), EFAULT);
    ERR(fstatat(AT_FDCWD, "f", &s, 0x80), EINVAL);
}
TEST(statx_fields) {
    struct statx x;
    t_put("f", "123");
    OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
    EQ(x.stx_size, 3); EQ(x.stx_mode, S_IFREG | 0644);
    CHECK((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    struct stat s = st_of("f");
    EQ(x.stx_ino, s.st_ino); EQ(makedev(x.stx_dev_major, x.stx_dev_minor), s.st_dev);
    int f = OK(open("f", O_RDONLY));
    OK(statx(f, "", AT_EMPTY_PATH, STATX_SIZE, &x));
    ERR(statx(f, "", 0, STATX_SIZE, &x), ENOENT);
    ERR(statx(AT_FDCWD, "f", 0x8, STATX_SIZE, &x), EINVAL);
    ERR(statx(AT_FDCWD, "f", 0, 0x80000000, &x), EINVAL);
    ERR(statx(AT_FDCWD, "f", AT_STATX_SYNC_TYPE, STATX_SIZE, &x), EINVAL);
}
TEST(times) {
    struct timespec t[2] = {{1000, 123456789}, {2000, 987654321}};
    t_put("f", "");
    OK(utimensat(AT_FDCWD, "f", t, 0));
    struct stat s = st_of("f");
    EQ(s.st_atim.tv_sec, 1000); EQ(s.st_mtim.tv_nsec, 987654321);
    t[0].tv_nsec = UTIME_OMIT; t[1].tv_nsec = UTIME_NOW;
    OK(utimensat(AT_FDCWD, "f", t, 0));
    s = st_of("f");
    EQ(s.st_atim.tv_sec, 1000);
    CHECK(s.st_mtim.tv_sec > 1000000000);
    t[0].tv_nsec = 2000000000;
    ERR(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
    symlink("f", "l");
    struct timespec u[2] = {{5, 0}, {6, 0}};
    OK(utimensat(AT_FDCWD, "l", u, AT_SYMLINK_NOFOLLOW));
    EQ(st_of("l").st_mtim.tv_sec, 6);
    int f = OK(open("f", O_RDWR));
    OK(futimens(f, u));
    EQ(write(f, "x", 1), 1);
    CHECK(st_of("f").st_mtim.tv_sec > 6);
    long c = st_of("f").st_ctim.tv_sec;
    CHECK(c > 1000000000);
}
TEST(rename_rules) {
    mkdir("d", 0755); mkdir("e", 0755); mkdir("e/full", 0755);
    t_put("f", "f"); t_put("g", "g");
    OK(rename("f", "g"));
    STREQ(t_get("g"), "f");
    ERR(rename("none", "x"), ENOENT);
    ERR(rename("g", "d"), EISDIR);
    ERR(rename("d", "g"), ENOTDIR);
    ERR(rename("d", "e"), ENOTEMPTY);
    ERR(rename("e", "e/full/x"), EINVAL);
    OK(rename("e", "d"));
    OK(access("d/full", F_OK));
    OK(link("g", "h"));
    OK(rename("g", "h")); // the same file: nothing happens
    OK(access("g", F_OK));
    ERR(rename("d/.", "x"), EBUSY);
    ERR(rename("g", ""), ENOENT);
}
TEST(renameat2_flags) {
    t_put("a", "A"); t_put("b", "B");
    ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1 /* NOREPLACE */), EEXIST);
    OK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 2 /* EXCHANGE */));
    STREQ(t_get("a"), "B");
    OK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", 1));
    ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "none", 2), ENOENT);
    ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 3), EINVAL);
    ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 64), EINVAL);
}
TEST(whiteouts) {
    t_put("a", "A"); t_put("b", "B"); mkdir("d", 0755);
    ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 6 /* WHITEOUT, EXCHANGE */), EINVAL);
    long r = syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 4);
    // An overlay has none.
    int e = errno;
    if (r != 0) { EQ(e, EINVAL); STREQ(t_get("a"), "A"); return; }
    STREQ(t_get("b"), "A");
    struct stat s = st_of("a");
    EQ(s.st_mode & S_IFMT, S_IFCHR);
    EQ(s.st_rdev, 0);
    ERR(open("a", O_RDONLY), ENXIO);
    OK(syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "e", 4));
    EQ(st_of("d").st_mode & S_IFMT, S_IFCHR);
    EQ(st_of("e").st_mode & S_IFMT, S_IFDIR);
    OK(unlink("a"));
    OK(unlink("d"));
    ERR(access("d", F_OK), ENOENT);
}
TEST(links) {
    t_put("f", "x");
    OK(link("f", "g"));
    EQ(st_of("f").st_nlink, 2); EQ(st_of("f").st_ino, st_of("g").st_ino);
    ERR(link("f", "g"), EEXIST);
    mkdir("d", 0755);
    ERR(link("d", "e"), EPERM);
    symlink("f", "s");
    OK(link("s", "s2"));
    CHECK(S_ISLNK(st_of("s2").st_mode));
    OK(linkat(AT_FDCWD, "s", AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
    CHECK(S_ISREG(st_of("h").st_mode));
    ERR(symlink("", "x"), ENOENT);
    ERR(symlink("a", "f"), EEXIST);
    char b[3];
    EQ(readlink("s", b, 3), 1);
    ERR(readlink("f", b, 3), EINVAL);
    ERR(readlink("s", b, 0), EINVAL);
    ERR(unlink("d"), EISDIR);
    ERR(rmdir("f"), ENOTDIR);
    OK(unlink("g"));
    ERR(unlink("g"), ENOENT);
    ERR(unlinkat(AT_FDCWD, "d", 0x1), EINVAL);
}
TEST(mkdir_rmdir) {
    OK(mkdir("d", 01777));
    EQ(st_of("d").st_mode, S_IFDIR | 01755);
    ERR(mkdir("d", 0755), EEXIST);
    ERR(mkdir("x/y", 0755), ENOENT);
    OK(mkdir("d/e/", 0755));
    ERR(rmdir("d"), ENOTEMPTY);
    ERR(rmdir("d/e/."), EINVAL);
    ERR(rmdir("d/e/.."), ENOTEMPTY);
    int f = OK(open("d/e", O_RDONLY));
    OK(rmdir("d/e"));
    ERR(openat(f, "x", O_CREAT | O_RDWR, 0600), ENOENT);
    OK(chdir("d"));
    OK(rmdir("../d"));
    char b[PATH_MAX];
    ERR((long)getcwd(b, sizeof b) == 0 ? -1 : 0, ENOENT);
}
TEST(getdents) {
    char name[20], seen[300] = {0};
    for (int i = 0; i < 300; i++) { snprintf(name, 20, "f%d", i); close(OK(open(name, O_CREAT | O_RDWR, 0600))); }
    mkdir("sub", 0755); symlink("x", "lnk"); mkfifo("fifo", 0600);
    DIR *d = opendir(".");
    struct dirent *e;
    int dots = 0, types = 0, n = 0;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') dots++;
        else if (!strcmp(e->d_name, "sub")) types += e->d_type == DT_DIR;
        else if (!strcmp(e->d_name, "lnk")) types += e->d_type == DT_LNK;
        else if (!strcmp(e->d_name, "fifo")) types += e->d_type == DT_FIFO;
        else { seen[atoi(e->d_name + 1)]++; n++; CHECK(e->d_type == DT_REG); CHECK(e->d_ino); }
    }
    EQ(dots, 2); EQ(types, 3); EQ(n, 300);
    for (int i = 0; i < 300; i++) EQ(seen[i], 1);
    rewinddir(d);
    readdir(d); readdir(d); readdir(d);
    long pos = telldir(d);
    e = readdir(d);
    char keep[256];
    strcpy(keep, e->d_name);
    seekdir(d, pos);
    STREQ(readdir(d)->d_name, keep);
    int f = OK(open(".", O_RDONLY));
    char b[100];
    ERR(syscall(SYS_getdents64, f, b, 5), EINVAL);
    ERR(syscall(SYS_getdents64, OK(open("f0", O_RDONLY)), b, 100), ENOTDIR);
}
TEST(removal_while_listing) {
    char name[20];
    for (int i = 0; i < 500; i++) { snprintf(name, 20, "f%d", i); close(OK(open(name, O_CREAT | O_RDWR, 0600))); }
    DIR *d = opendir(".");
    struct dirent *e;
    while ((e = readdir(d))) if (e->d_name[0] == 'f') OK(unlink(e->d_name));
    rewinddir(d);
    int n = 0;
    while (readdir(d)) n++;
    EQ(n, 2);
}
TEST(truncate_and_holes) {
    int f = OK(open("f", O_CREAT | O_RDWR, 0600));
    EQ(pwrite(f, "end", 3, 100000), 3);
    char b[10];
    EQ(pread(f, b, 10, 50000), 10);
    EQ(b[5], 0);
    EQ(pread(f, b, 10, 100001), 2);
    EQ(pread(f, b, 10, 200000), 0);
    OK(ftruncate(f, 10));
    OK(ftruncate(f, 100003));
    EQ(pread(f, b, 3, 100000), 3);
    EQ(b[0], 0);
    ERR(ftruncate(f, -1), EINVAL);
    ERR(truncate("none", 0), ENOENT);
    ERR(truncate(".", 0), EISDIR);
    EQ(lseek(f, 5, SEEK_SET), 5);
    ERR(lseek(f, -10, SEEK_SET), EINVAL);
    ERR(lseek(f, 0, 99), EINVAL);
    ERR(lseek(f, 200000, SEEK_DATA), ENXIO);
    GE(lseek(f, 0, SEEK_HOLE), 0);
}
TEST(fallocate_modes) {
    int f = OK(open("f", O_CREAT | O_RDWR, 0600));
    struct stat s;
    OK(fallocate(f, 0, 0, 10000));
    OK(fstat(f, &s));
    EQ(s.st_size, 10000);
    OK(fallocate(f, FALLOC_FL_KEEP_SIZE, 0, 50000));
    OK(fstat(f, &s));
    EQ(s.st_size, 10000);
    char b[12288], z[4096] = {0};
    memset(b, 1, sizeof b);
    EQ(pwrite(f, b, sizeof b, 0), 12288);
    OK(fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
    EQ(pread(f, b, 4096, 4096), 4096);
    CHECK(!memcmp(b, z, 4096));
    ERR(fallocate(f, 0, -1, 10), EINVAL);
    ERR(fallocate(f, 0, 0, 0), EINVAL);
    ERR(fallocate(f, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
    ERR(fallocate(OK(open("f", O_RDONLY)), 0, 0, 10), EBADF);
    int p[2];
    CHECK(!pipe(p));
    ERR(fallocate(p[1], 0, 0, 10), ESPIPE);
}
TEST(xattrs) {
    char b[100];
    t_put("f", "");
    OK(setxattr("f", "user.one", "value", 5, 0));
    EQ(getxattr("f", "user.one", b, 100), 5);
    CHECK(!memcmp(b, "value", 5));
    EQ(getxattr("f", "user.one", 0, 0), 5);
    ERR(getxattr("f", "user.one", b, 2), ERANGE);
    ERR(setxattr("f", "user.one", "x", 1, XATTR_CREATE), EEXIST);
    ERR(setxattr("f", "user.two", "x", 1, XATTR_REPLACE), ENODATA);
    OK(setxattr("f", "trusted.t", "x", 1, 0));
    int n = OK(listxattr("f", b, 100));
    CHECK(n == 19 && memmem(b, n, "user.one", 9) && memmem(b, n, "trusted.t", 10));
    EQ(getxattr("f", "trusted.t", b, 100), 1);
    ERR(setxattr("f", "trusted.t", "x", 1, XATTR_CREATE), EEXIST);
    ERR(getxattr("f", "trusted.none", b, 100), ENODATA);
    ERR(getxattr("f", "user.runsc-rs.trusted.t", b, 100), ENODATA);
    // Only for the administrator: others do not even see the name.
    CODE(CHILD({
        OK(chmod("f", 0666));
        int f = OK(open("f", O_RDWR));
        OK(setresuid(1000, 1000, 1000));
        EQ(flistxattr(f, b, 100), 9);
        ERR(fgetxattr(f, "trusted.t", b, 100), ENODATA);
        ERR(fsetxattr(f, "trusted.u", "x", 1, 0), EPERM);
        ERR(fremovexattr(f, "trusted.t"), EPERM);
    }), 0);
    OK(removexattr("f", "trusted.t"));
    ERR(removexattr("f", "trusted.t"), ENODATA);
    EQ(listxattr("f", b, 100), 9);
    OK(removexattr("f", "user.one"));
    ERR(getxattr("f", "user.one", b, 100), ENODATA);
    ERR(removexattr("f", "user.one"), ENODATA);
    ERR(setxattr("f", "bogus", "x", 1, 0), EOPNOTSUPP);
    symlink("f", "l");
    ERR(lsetxattr("l", "user.x", "x", 1, 0), EPERM);
    ERR(getxattr("none", "user.x", b, 10), ENOENT);
}
TEST(statfs_fields) {
    struct statfs s;
    OK(statfs(".", &s));
    CHECK(s.f_bsize >= 512 && s.f_namelen == 255);
    OK(statfs("/proc", &s));
    EQ(s.f_type, 0x9fa0);
    OK(statfs("/dev/shm", &s));
    EQ(s.f_type, 0x01021994);
    ERR(statfs("none", &s), ENOENT);
}
TEST(special_files) {
    OK(mknod("fifo", S_IFIFO | 0600, 0));
    CHECK(S_ISFIFO(st_of("fifo").st_mode));
    OK(mknod("sock", S_IFSOCK | 0600, 0));
    ERR(open("sock", O_RDWR), ENXIO);
    OK(mknod("reg", S_IFREG | 0600, 0));
    ERR(mknod("reg", S_IFREG | 0600, 0), EEXIST);
    ERR(mknod("dir", S_IFDIR | 0600, 0), EPERM);
    ERR(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
}
int main(void) {
    RUN(stat_fields); RUN(statx_fields); RUN(times); RUN(rename_rules); RUN(renameat2_flags); RUN(whiteouts); RUN(links); RUN(mkdir_rmdir); RUN(getdents);
    RUN(removal_while_listing); RUN(truncate_and_holes); RUN(fallocate_modes); RUN(xattrs); RUN(statfs_fields); RUN(special_files);
    DONE();
}
