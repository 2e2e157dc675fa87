// Capabilities: capget and capset, the bounding and ambient sets, securebits, file capabilities, what exec makes of them.
#include "t.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/xattr.h>

typedef uint64_t set;
#define BIT(c) (1ull << (c))
static struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
static void get(set *e, set *p, set *i) {
    struct __user_cap_data_struct d[2];
    hdr.pid = 0;
    OK(syscall(SYS_capget, &hdr, d));
    *e = d[0].effective | (set)d[1].effective << 32; *p = d[0].permitted | (set)d[1].permitted << 32; *i = d[0].inheritable | (set)d[1].inheritable << 32;
}
static int put(set e, set p, set i) {
    struct __user_cap_data_struct d[2] = {{e, p, i}, {e >> 32, p >> 32, i >> 32}};
    hdr.pid = 0;
    return syscall(SYS_capset, &hdr, d);
}
static int setuid_(int u) { return syscall(SYS_setresuid, u, u, u); }
// Execs a copy of this program that fails unless its sets are these.
static void exec_expect(const char *prog, set e, set p) {
    char a[40], b[40];
    snprintf(a, sizeof a, "%lx", e);
    snprintf(b, sizeof b, "%lx", p);
    execl(prog, prog, a, b, (char *)0);
    FAIL("exec");
}
TEST(get_and_set) {
    set e, p, i;
    get(&e, &p, &i);
    EQ(e, p);
    OK(put(BIT(CAP_CHOWN), BIT(CAP_CHOWN) | BIT(CAP_KILL), 0));
    get(&e, &p, &i);
    EQ(e, BIT(CAP_CHOWN)); EQ(p, BIT(CAP_CHOWN) | BIT(CAP_KILL));
    ERR(put(BIT(CAP_CHOWN), BIT(CAP_CHOWN) | BIT(CAP_SYS_ADMIN), 0), EPERM);
    ERR(put(BIT(CAP_SYS_ADMIN), BIT(CAP_CHOWN), 0), EPERM);
}
TEST(versions) {
    struct __user_cap_header_struct h = {0, 0};
    struct __user_cap_data_struct d[2];
    ERR(syscall(SYS_capget, &h, d), EINVAL);
    EQ(h.version, _LINUX_CAPABILITY_VERSION_3);
    h.version = 0;
    OK(syscall(SYS_capget, &h, 0));
    h.pid = 4000000;
    ERR(syscall(SYS_capget, &h, d), ESRCH);
    h = (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_3, getppid()};
    ERR(syscall(SYS_capset, &h, d), EPERM);
}
TEST(setuid_clears) {
    set e, p, i;
    OK(setuid_(1000));
    get(&e, &p, &i);
    EQ(e, 0); EQ(p, 0);
}
TEST(keepcaps) {
    set e, p, i, p0;
    get(&e, &p0, &i);
    OK(prctl(PR_SET_KEEPCAPS, 1));
    OK(setuid_(1000));
    get(&e, &p, &i);
    EQ(e, 0); EQ(p, p0);
    OK(put(BIT(CAP_CHOWN), p, 0));
    t_put("/tmp/caps-x", "");
    unlink("/tmp/caps-x");
}
TEST(euid_moves_effective) {
    set e, p, i, p0;
    get(&e, &p0, &i);
    OK(syscall(SYS_setresuid, -1, 1000, -1));
    get(&e, &p, &i);
    EQ(e, 0); EQ(p, p0);
    OK(syscall(SYS_setresuid, -1, 0, -1));
    get(&e, &p, &i);
    EQ(e, p0);
}
TEST(root_gets_all_by_exec) {
    set e, p, i;
    get(&e, &p, &i);
    set p0 = p;
    OK(put(0, 0, 0));
    CODE(CHILD(exec_expect("/guest/caps", p0, p0)), 0);
}
TEST(bounding_set) {
    EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
    OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
    ERR(prctl(PR_CAPBSET_READ, 63), EINVAL);
    set e, p, i;
    get(&e, &p, &i);
    CODE(CHILD(exec_expect("/guest/caps", p & ~BIT(CAP_CHOWN), p & ~BIT(CAP_CHOWN))), 0);
    OK(put(0, 0, 0));
    ERR(prctl(PR_CAPBSET_DROP, CAP_KILL), EPERM);
}
TEST(ambient) {
    set e, p, i;
    get(&e, &p, &i);
    ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0), EPERM); // not inheritable yet
    OK(put(e, p, BIT(CAP_KILL)));
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
    EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
    EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
    CODE(CHILD({ prctl(PR_SET_KEEPCAPS, 1); OK(syscall(SYS_setresuid, 1000, 1000, 1000)); get(&e, &p, &i); exec_expect("/guest/caps", 0, 0); }), 0);
    OK(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
    CODE(CHILD({ OK(setuid_(1000)); exec_expect("/guest/caps", BIT(CAP_KILL), BIT(CAP_KILL)); }), 0);
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0);
}
TEST(securebits) {
    EQ(prctl(PR_GET_SECUREBITS), 0);
    OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
    ERR(prctl(PR_SET_SECUREBITS, 0), EPERM);
    CODE(CHILD(exec_expect("/guest/caps", 0, 0)), 0);
}
TEST(file_capabilities) {
    EQ(system("cp /guest/caps /work/capprog && chmod 755 /work/capprog"), 0);
    struct { uint32_t magic, p0, i0, p1, i1; } v = {0x02000001, BIT(CAP_NET_RAW), 0, 0, 0};
    OK(setxattr("/work/capprog", "security.capability", &v, sizeof v, 0));
    CODE(CHILD({ OK(setuid_(1000)); exec_expect("/work/capprog", BIT(CAP_NET_RAW), BIT(CAP_NET_RAW)); }), 0);
    CODE(CHILD({ OK(setuid_(1000)); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); exec_expect("/work/capprog", 0, 0); }), 0);
    EQ(system("echo x >>/work/capprog"), 0); // writing drops them
    ERR(getxattr("/work/capprog", "security.capability", &v, sizeof v), ENODATA);
    unlink("/work/capprog");
}
TEST(they_matter) {
    set e, p, i;
    get(&e, &p, &i);
    OK(put(e & ~BIT(CAP_CHOWN) & ~BIT(CAP_SYS_CHROOT) & ~BIT(CAP_SETUID) & ~BIT(CAP_SYS_ADMIN), p, 0));
    t_put("f", "");
    ERR(chown("f", 5, 5), EPERM);
    ERR(chroot("."), EPERM);
    ERR(setuid_(1000), EPERM);
    ERR(sethostname("x", 1), EPERM);
    ERR(mount("none", "/tmp", "tmpfs", 0, 0), EPERM);
    OK(put(e, p, 0));
    OK(chown("f", 5, 5));
}
int main(int c, char **v) {
    if (c == 3) {
        set e, p, i;
        get(&e, &p, &i);
        if (e == strtoul(v[1], 0, 16) && p == strtoul(v[2], 0, 16)) return 0;
        printf("FAIL after exec: effective %lx permitted %lx, not %s %s\n", e, p, v[1], v[2]);
        return 1;
    }
    RUN(get_and_set); RUN(versions); RUN(setuid_clears); RUN(keepcaps); RUN(euid_moves_effective); RUN(root_gets_all_by_exec);
    RUN(bounding_set); RUN(ambient); RUN(securebits); RUN(file_capabilities); RUN(they_matter);
    DONE();
}
