// Objects that hold one another in long chains, whose end must not recurse; and caches that a guest can fill but not without bound.
#include "../guest/t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>

#define LINKS 20000

static void in_child(const char *name, void (*f)(void)) {
    int st;
    pid_t p = fork();
    if (p == 0) { setsid(); alarm(60); f(); _exit(0); }
    waitpid(p, &st, 0);
    kill(-p, SIGKILL);
    while (waitpid(-1, &st, WNOHANG) > 0) {}
    fprintf(stderr, "%s: %x\n", name, st);
}
static int pass(int over, int fd) {
    char c = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    return sendmsg(over, &m, 0) == 1 ? 0 : -1;
}
// Each socket's queue holds the socket before it; the last close frees all.
static void sockets(void) {
    int inner = open("/dev/null", O_RDONLY);
    for (int i = 0; i < LINKS; i++) {
        int s[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, s) || pass(s[0], inner)) break;
        close(inner);
        close(s[0]);
        inner = s[1];
    }
    close(inner);
}
// The same with datagram sockets that hold each other in a ring: only cycle collection frees them.
static void ring(void) {
    for (int round = 0; round < 2000; round++) {
        int s[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s)) break;
        pass(s[0], s[1]);
        pass(s[1], s[0]);
        close(s[0]);
        close(s[1]);
    }
}
// Directories inside one another far beyond PATH_MAX, on both kinds of file system; left to the end of the process, not removed.
static void deep_in(const char *top) {
    if (chdir(top)) return;
    for (int i = 0; i < LINKS; i++) if (mkdir("d", 0755) || chdir("d")) break;
    char b[8192];
    if (getcwd(b, sizeof b)) fprintf(stderr, "getcwd fits?\n");
    chdir("/");
}
static void deep_memory(void) { mkdir("/tmp/deep", 0755); if (mount("none", "/tmp/deep", "tmpfs", 0, 0)) return; deep_in("/tmp/deep"); umount2("/tmp/deep", MNT_DETACH); }
static void deep_root(void) { mkdir("/deep", 0755); alarm(10); deep_in("/deep"); }
// Mounts on top of one another, let go of at once.
static void mounts(void) {
    mkdir("/tmp/m", 0755);
    for (int i = 0; i < 5000; i++) if (mount("none", "/tmp/m", "tmpfs", 0, 0)) break;
    for (int i = 0; i < 12; i++) { mount("/tmp", "/tmp/m", 0, MS_BIND | MS_REC, 0); }
    umount2("/tmp/m", MNT_DETACH);
}
// Names that are not there: negative entries are remembered, but not all of them.
static void absent(void) {
    char n[64];
    struct stat s;
    for (int i = 0; i < 100000; i++) { snprintf(n, sizeof n, "/tmp/absent-%d", i); stat(n, &s); }
    for (int i = 0; i < 30000; i++) { snprintf(n, sizeof n, "/usr/absent-%d", i); stat(n, &s); }
}
// Interest in interest in interest: refused beyond Linux's depth, and freed in one go.
static void epolls(void) {
    int inner = epoll_create1(0);
    for (int i = 0; i < LINKS; i++) {
        int outer = epoll_create1(0);
        struct epoll_event e = {EPOLLIN, {0}};
        if (outer < 0 || (epoll_ctl(outer, EPOLL_CTL_ADD, inner, &e) && i < 4)) break;
        close(inner);
        inner = outer;
    }
}
// Children of children of children, all waiting; the first one's end sends them all to init.
static void generations(void) {
    for (int i = 0; i < 500; i++) { pid_t p = fork(); if (p < 0) break; if (p) { pause(); _exit(0); } }
    kill(0, SIGKILL);
}
static void locks(void) {
    int f = open("/tmp/locked", O_CREAT | O_RDWR, 0600);
    for (int i = 0; i < 50000; i++) { struct flock l = {F_WRLCK, SEEK_SET, i * 2L, 1, 0}; if (fcntl(f, F_SETLK, &l)) break; }
}
static void regions(void) {
    for (int i = 0; i < 70000; i++) if (mmap(0, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
    for (int i = 0; i < 20; i++) { pid_t p = fork(); if (p == 0) _exit(0); waitpid(p, 0, 0); }
}
static void arguments(void) {
    static char *v[600000];
    for (unsigned i = 0; i < 599999; i++) v[i] = "";
    execv("/bin/true", v);
    static char big[131072];
    memset(big, 'x', sizeof big - 1);
    for (unsigned i = 0; i < 64; i++) v[i] = big;
    v[64] = 0;
    execv("/bin/true", v);
}
static void robust(void) { // a list that never ends
    static struct { void *next; long offset; void *pending; } head;
    head.next = &head.pending;
    head.pending = &head.pending;
    syscall(SYS_set_robust_list, &head, sizeof head);
}
static void watches(void) {
    int f = inotify_init1(IN_NONBLOCK);
    char n[64];
    mkdir("/tmp/w", 0755);
    inotify_add_watch(f, "/tmp/w", IN_ALL_EVENTS);
    for (int i = 0; i < 100000; i++) { snprintf(n, sizeof n, "/tmp/w/%d", i % 10); close(open(n, O_CREAT | O_RDWR, 0600)); }
}
static void segments(void) { for (int i = 0; i < 10000; i++) { if (shmget(IPC_PRIVATE, 1 << 20, 0600) < 0) break; } for (int i = 0; i < 40000; i++) if (syscall(SYS_msgget, IPC_PRIVATE, 0600) < 0) break; }
// As many filters as go on one another.
static void filters(void) {
    struct sock_filter f = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog prog = {1, &f};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    while (!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)) {}
}
int main(int c, char **v) { // an argument names the one to run
    struct rlimit r = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &r);
#define RUN(f) if (c < 2 || !strcmp(v[1], #f)) in_child(#f, f)
    RUN(sockets); RUN(ring); RUN(deep_memory); RUN(deep_root); RUN(mounts); RUN(absent); RUN(epolls); RUN(generations); RUN(locks);
    RUN(regions); RUN(arguments); RUN(robust); RUN(watches); RUN(segments); RUN(filters);
    printf("survived\n");
    return 0;
}
