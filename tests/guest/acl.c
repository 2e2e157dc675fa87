//: dirs /tmp /work
// POSIX access control lists: their values, the mode that goes with them, whom they let in, and what new files inherit.
#include "t.h"
#include <sys/xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"
enum { UO = 1, U = 2, GO = 4, G = 8, M = 16, O = 32 };
struct e { uint16_t tag, perm; uint32_t id; };
struct acl { uint32_t version; struct e e[8]; };
#define N(n) (4 + 8 * (n))
static struct acl named(int user, int perm, int mask) {
    return (struct acl){2, {{UO, 6, -1}, {U, perm, user}, {GO, 4, -1}, {M, mask, -1}, {O, 0, -1}}};
}
static int mode(const char *f) { struct stat s; OK(stat(f, &s)); return s.st_mode & 07777; }
static void make(const char *f, int m) { close(OK(open(f, O_CREAT | O_RDWR, 0600))); OK(chmod(f, m)); }
static void become(int uid, int gid) { OK(syscall(SYS_setgroups, 0, 0)); OK(syscall(SYS_setresgid, gid, gid, gid)); OK(syscall(SYS_setresuid, uid, uid, uid)); }

TEST(values) {
    struct acl a = named(1000, 6, 4), b = a, got;
    make("f", 0644);
    ERR(getxattr("f", ACCESS, &got, sizeof got), ENODATA);
    OK(setxattr("f", ACCESS, &a, N(5), 0));
    EQ(mode("f"), 0640);
    EQ(getxattr("f", ACCESS, 0, 0), N(5));
    EQ(getxattr("f", ACCESS, &got, sizeof got), N(5));
    EQ(memcmp(&got, &a, N(5)), 0);
    ERR(getxattr("f", ACCESS, &got, 8), ERANGE);
    char list[200];
    EQ(listxattr("f", list, sizeof list), sizeof ACCESS);
    b.version = 3;
    ERR(setxattr("f", ACCESS, &b, N(5), 0), EOPNOTSUPP);
    b = a; b.e[1].tag = 3;
    ERR(setxattr("f", ACCESS, &b, N(5), 0), EINVAL);
    b = a; b.e[1].perm = 8;
    ERR(setxattr("f", ACCESS, &b, N(5), 0), EINVAL);
    b = a; b.e[3] = b.e[4];
    ERR(setxattr("f", ACCESS, &b, N(4), 0), EINVAL);
    b = a; b.e[0] = a.e[1]; b.e[1] = a.e[0];
    ERR(setxattr("f", ACCESS, &b, N(5), 0), EINVAL);
    ERR(setxattr("f", ACCESS, &a, N(5) - 1, 0), EINVAL);
    ERR(setxattr("f", DEFAULT, &a, N(5), 0), EACCES);
    OK(symlink("f", "l"));
    ERR(lsetxattr("l", ACCESS, &a, N(5), 0), EOPNOTSUPP);
    OK(removexattr("f", ACCESS));
    ERR(getxattr("f", ACCESS, &got, sizeof got), ENODATA);
    OK(removexattr("f", ACCESS));
    EQ(mode("f"), 0640);
}
TEST(mode_and_list_follow_each_other) {
    struct acl a = named(1000, 6, 4), got;
    make("f", 0644);
    OK(setxattr("f", ACCESS, &a, N(5), 0));
    OK(chmod("f", 0751));
    EQ(getxattr("f", ACCESS, &got, sizeof got), N(5));
    EQ(got.e[0].perm, 7); EQ(got.e[1].perm, 6); EQ(got.e[2].perm, 4); EQ(got.e[3].perm, 5); EQ(got.e[4].perm, 1);
    // What a mode can say is no list.
    struct acl small = {2, {{UO, 7, -1}, {GO, 5, -1}, {O, 4, -1}}};
    OK(setxattr("f", ACCESS, &small, N(3), 0));
    EQ(mode("f"), 0754);
    ERR(getxattr("f", ACCESS, &got, sizeof got), ENODATA);
    OK(setxattr("f", ACCESS, &a, N(5), 0));
    OK(setxattr("f", ACCESS, &a, 4, 0));
    ERR(getxattr("f", ACCESS, &got, sizeof got), ENODATA);
}
TEST(lets_in_and_keeps_out) {
    OK(chmod(".", 0755));
    make("f", 0640);
    struct acl a = named(1000, 6, 6);
    OK(setxattr("f", ACCESS, &a, N(5), 0));
    CODE(CHILD({ become(1000, 1000); close(OK(open("f", O_RDWR))); OK(access("f", R_OK | W_OK)); ERR(access("f", X_OK), EACCES); }), 0);
    CODE(CHILD({ become(1001, 1000); ERR(open("f", O_RDONLY), EACCES); }), 0);
    // The mask limits whoever is named.
    a = named(1000, 6, 4);
    OK(setxattr("f", ACCESS, &a, N(5), 0));
    CODE(CHILD({ become(1000, 1000); close(OK(open("f", O_RDONLY))); ERR(open("f", O_RDWR), EACCES); }), 0);
    // Somebody who is in a group is not one of the others.
    struct acl g = {2, {{UO, 6, -1}, {GO, 0, -1}, {G, 2, 2000}, {M, 6, -1}, {O, 4, -1}}};
    OK(setxattr("f", ACCESS, &g, N(5), 0));
    CODE(CHILD({ become(1000, 2000); close(OK(open("f", O_WRONLY))); ERR(open("f", O_RDONLY), EACCES); }), 0);
    CODE(CHILD({ become(1000, 1000); close(OK(open("f", O_RDONLY))); ERR(open("f", O_WRONLY), EACCES); }), 0);
    CODE(CHILD({ become(1000, 1000); ERR(setxattr("f", ACCESS, &g, N(5), 0), EPERM); ERR(removexattr("f", ACCESS), EPERM); }), 0);
    CODE(CHILD({ close(OK(open("f", O_RDWR))); }), 0);
    // A directory that only somebody named may search.
    OK(mkdir("d", 0700));
    make("d/f", 0644);
    struct acl d = named(1000, 1, 1);
    d.e[0].perm = 7;
    OK(setxattr("d", ACCESS, &d, N(5), 0));
    CODE(CHILD({ become(1000, 1000); OK(access("d/f", R_OK)); ERR(open("d", O_RDONLY), EACCES); }), 0);
    CODE(CHILD({ become(1001, 1001); ERR(access("d/f", R_OK), EACCES); }), 0);
}
TEST(new_files_inherit) {
    struct acl a = named(1000, 7, 7), got;
    a.e[0].perm = 7; a.e[2].perm = 5; a.e[4].perm = 5;
    OK(mkdir("d", 0755));
    OK(setxattr("d", DEFAULT, &a, N(5), 0));
    EQ(mode("d"), 0755);
    umask(077);
    close(OK(open("d/f", O_CREAT | O_RDWR, 0664)));
    EQ(mode("d/f"), 0664);
    EQ(getxattr("d/f", ACCESS, &got, sizeof got), N(5));
    EQ(got.e[0].perm, 6); EQ(got.e[1].perm, 7); EQ(got.e[2].perm, 5); EQ(got.e[3].perm, 6); EQ(got.e[4].perm, 4);
    ERR(getxattr("d/f", DEFAULT, &got, sizeof got), ENODATA);
    OK(mkdir("d/e", 0777));
    EQ(mode("d/e"), 0775);
    EQ(getxattr("d/e", DEFAULT, &got, sizeof got), N(5));
    EQ(memcmp(&got, &a, N(5)), 0);
    OK(mknod("d/p", S_IFIFO | 0666, 0));
    EQ(mode("d/p"), 0664);
    OK(removexattr("d", DEFAULT));
    close(OK(open("d/g", O_CREAT | O_RDWR, 0664)));
    EQ(mode("d/g"), 0600);
}
int main(void) {
    RUN(values); RUN(mode_and_list_follow_each_other); RUN(lets_in_and_keeps_out); RUN(new_files_inherit);
    DONE();
}
