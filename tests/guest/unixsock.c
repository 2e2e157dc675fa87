// AF_UNIX: stream, datagram, seqpacket, abstract names, passed descriptors and credentials, cycles.
#include "t.h"

static struct sockaddr_un name(const char *s, socklen_t *n) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int abstract = s[0] == '@';
    memcpy(a.sun_path, s, strlen(s));
    if (abstract) a.sun_path[0] = 0;
    *n = offsetof(struct sockaddr_un, sun_path) + strlen(s) + !abstract;
    return a;
}
static int bound(int type, const char *s) { socklen_t n; struct sockaddr_un a = name(s, &n); int f = OK(socket(AF_UNIX, type, 0)); OK(bind(f, (void *)&a, n)); return f; }
static int conn(int f, const char *s) { socklen_t n; struct sockaddr_un a = name(s, &n); return connect(f, (void *)&a, n); }
TEST(stream_server) {
    int l = bound(SOCK_STREAM, "sock"), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    ERR(conn(c, "sock"), ECONNREFUSED);
    OK(listen(l, 5));
    OK(conn(c, "sock"));
    struct sockaddr_un a;
    socklen_t n = sizeof a;
    int s = OK(accept4(l, (void *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK));
    EQ(n, 2);
    EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
    EQ(write(c, "hello", 5), 5);
    char b[10];
    EQ(read(s, b, 2), 2);
    EQ(read(s, b, 10), 3);
    ERR(read(s, b, 10), EAGAIN);
    n = sizeof a;
    OK(getpeername(c, (void *)&a, &n));
    STREQ(a.sun_path, "sock");
    ERR(conn(c, "sock"), EISCONN);
    close(c);
    EQ(read(s, b, 10), 0);
    signal(SIGPIPE, SIG_IGN);
    ERR(write(s, "x", 1), EPIPE);
    ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
}
TEST(names) {
    int f = bound(SOCK_STREAM, "s1");
    socklen_t n;
    struct sockaddr_un a = name("s1", &n);
    struct sockaddr_un other = name("s2", &n);
    ERR(bind(f, (void *)&other, n), EINVAL);
    int g = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    ERR(bind(g, (void *)&a, n), EADDRINUSE);
    ERR(conn(g, "none"), ENOENT);
    t_put("file", "");
    ERR(conn(g, "file"), ECONNREFUSED);
    ERR(bind(g, (void *)&a, 1), EINVAL);
    a.sun_family = AF_INET;
    ERR(bind(g, (void *)&a, n), EINVAL);
    struct stat st;
    OK(stat("s1", &st));
    CHECK(S_ISSOCK(st.st_mode));
    ERR(open("s1", O_RDWR), ENXIO);
    OK(unlink("s1"));
    ERR(conn(g, "s1"), ENOENT);
}
TEST(abstract) {
    int l = bound(SOCK_STREAM, "@abs"), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(listen(l, 1));
    OK(conn(c, "@abs"));
    socklen_t n;
    struct sockaddr_un a = name("@abs", &n);
    ERR(bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, n), EADDRINUSE);
    CHECK(strstr(t_get("/proc/net/unix"), "@abs"));
    close(l);
    bound(SOCK_DGRAM, "@abs2");
    int d = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    sa_family_t fam = AF_UNIX;
    OK(bind(d, (void *)&fam, 2)); // autobind
    n = sizeof a;
    OK(getsockname(d, (void *)&a, &n));
    EQ(n, 8);
    EQ(a.sun_path[0], 0);
}
TEST(datagrams) {
    int s = bound(SOCK_DGRAM, "d1"), c = bound(SOCK_DGRAM, "d2");
    OK(conn(c, "d1"));
    EQ(write(c, "one", 3), 3);
    EQ(write(c, "", 0), 0);
    EQ(write(c, "three", 5), 5);
    char b[20];
    struct sockaddr_un a;
    socklen_t n = sizeof a;
    EQ(recvfrom(s, b, 20, 0, (void *)&a, &n), 3);
    STREQ(a.sun_path, "d2");
    EQ(recv(s, b, 20, 0), 0);
    EQ(recv(s, b, 2, MSG_PEEK | MSG_TRUNC), 5);
    EQ(recv(s, b, 2, 0), 2); // the rest is gone
    ERR(recv(s, b, 2, MSG_DONTWAIT), EAGAIN);
    ERR(write(s, "x", 1), ENOTCONN);
    close(s);
    ERR(write(c, "x", 1), ECONNREFUSED);
}
TEST(seqpacket) {
    int s[2];
    char b[20];
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    write(s[0], "first", 5);
    write(s[0], "second", 6);
    EQ(read(s[1], b, 3), 3);
    EQ(read(s[1], b, 20), 6);
    close(s[0]);
    EQ(read(s[1], b, 20), 0);
}
TEST(shutdown_halves) {
    int s[2];
    char c;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(shutdown(s[0], SHUT_WR));
    EQ(read(s[1], &c, 1), 0);
    ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    EQ(write(s[1], "x", 1), 1);
    EQ(read(s[0], &c, 1), 1);
    struct pollfd p = {s[1], POLLIN | POLLOUT | POLLRDHUP, 0};
    EQ(poll(&p, 1, 0), 1);
    EQ(p.revents, POLLIN | POLLOUT | POLLRDHUP);
    OK(shutdown(s[1], SHUT_WR));
    EQ(poll(&p, 1, 0), 1);
    CHECK(p.revents & POLLHUP);
    ERR(shutdown(s[0], 9), EINVAL);
}
static void send_fds(int s, int *fds, int n) {
    char c[CMSG_SPACE(300 * sizeof(int))] = {0};
    struct iovec v = {"F", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    EQ(sendmsg(s, &m, 0), 1);
}
static int recv_fds(int s, int *fds, int max, int flags, int *mflags) {
    char c[CMSG_SPACE(300 * sizeof(int))], b[10];
    struct iovec v = {b, 10};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(max * sizeof(int))};
    EQ(recvmsg(s, &m, flags), 1);
    *mflags = m.msg_flags;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (!h) return 0;
    int n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(h), n * sizeof(int));
    return n;
}
TEST(rights) {
    int s[2], p[2], got[4], fl;
    char c;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK(!pipe(p));
    send_fds(s[0], (int[]){p[0], p[1]}, 2);
    close(p[0]);
    EQ(recv_fds(s[1], got, 4, MSG_CMSG_CLOEXEC, &fl), 2);
    EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    EQ(write(got[1], "x", 1), 1);
    EQ(read(got[0], &c, 1), 1);
    send_fds(s[0], (int[]){p[1], p[1]}, 2);
    EQ(recv_fds(s[1], got, 1, 0, &fl), 2); // space for one is, by alignment, space for two
    send_fds(s[0], (int[]){p[1], p[1], p[1]}, 3);
    EQ(recv_fds(s[1], got, 1, 0, &fl), 2);
    CHECK(fl & MSG_CTRUNC);
    // messages with descriptors are not merged
    send_fds(s[0], (int[]){p[1]}, 1);
    write(s[0], "yy", 2);
    char b[10];
    EQ(read(s[1], b, 10), 1);
    EQ(read(s[1], b, 10), 2);
    // but what lies before one is read with it
    write(s[0], "zz", 2);
    send_fds(s[0], (int[]){p[1]}, 1);
    write(s[0], "y", 1);
    EQ(read(s[1], b, 10), 3);
    EQ(read(s[1], b, 10), 1);
}
TEST(empty_read_takes_descriptors) {
    int s[2];
    char c = 'x', space[CMSG_SPACE(sizeof(int))];
    struct iovec one = {&c, 1}, none = {&c, 0};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &s[0], sizeof(int));
    EQ(sendmsg(s[0], &m, 0), 1);
    m.msg_iov = &none;
    EQ(recvmsg(s[1], &m, 0), 0);
    h = CMSG_FIRSTHDR(&m);
    CHECK(h && h->cmsg_type == SCM_RIGHTS);
    EQ(read(s[1], &c, 1), 1); // the byte is still there
}
TEST(rights_closed_with_the_socket) {
    int s[2], p[2];
    char c;
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK(!pipe(p));
    send_fds(s[0], &p[1], 1);
    close(p[1]);
    close(s[0]);
    close(s[1]); // nobody can receive it: the pipe's last writer is gone
    EQ(read(p[0], &c, 1), 0);
}
TEST(rights_cycle_is_collected) {
    int p[2];
    char c;
    CHECK(!pipe(p));
    for (int i = 0; i < 50; i++) {
        int s[2];
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
        send_fds(s[0], (int[]){s[0], s[1], p[1]}, 3); // each end in its own queue
        send_fds(s[1], (int[]){s[1]}, 1);
        close(s[0]);
        close(s[1]);
    }
    close(p[1]);
    int k[2]; // closing a socket is what makes the collector look
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, k));
    close(k[0]);
    close(k[1]);
    struct pollfd x = {p[0], POLLIN, 0};
    EQ(poll(&x, 1, 3000), 1);
    EQ(read(p[0], &c, 1), 0);
}
TEST(credentials) {
    int s[2], one = 1;
    struct ucred u;
    socklen_t n = sizeof u;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
    EQ(u.pid, getpid()); EQ(u.uid, 0);
    OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    pid_t p = CHILD({ OK(syscall(SYS_setresuid, 1000, 1000, 1000)); EQ(write(s[0], "x", 1), 1); });
    char c[CMSG_SPACE(sizeof u)], b[4];
    struct iovec v = {b, 4};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    EQ(recvmsg(s[1], &m, 0), 1);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    CHECK(h && h->cmsg_type == SCM_CREDENTIALS);
    memcpy(&u, CMSG_DATA(h), sizeof u);
    EQ(u.pid, p); EQ(u.uid, 1000);
    CODE(p, 0);
}
TEST(forged_credentials_are_refused) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CODE(CHILD({
        OK(syscall(SYS_setresuid, 1000, 1000, 1000));
        char c[CMSG_SPACE(sizeof(struct ucred))] = {0};
        struct iovec v = {"x", 1};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        *h = (struct cmsghdr){CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS};
        struct ucred u = {getpid(), 0, 0};
        memcpy(CMSG_DATA(h), &u, sizeof u);
        ERR(sendmsg(s[0], &m, 0), EPERM);
        u.uid = 1000, u.gid = getgid();
        memcpy(CMSG_DATA(h), &u, sizeof u);
        EQ(sendmsg(s[0], &m, 0), 1);
    }), 0);
}
TEST(backlog_and_nonblock) {
    bound(SOCK_STREAM, "bl");
    int l = bound(SOCK_STREAM, "bl2"), n = 0;
    OK(listen(l, 2));
    while (n < 10) { int c = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)); if (conn(c, "bl2")) break; n++; }
    int e = errno;
    EQ(e, EAGAIN);
    EQ(n, 3);
    fcntl(l, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 3; i++) OK(accept(l, 0, 0));
    ERR(accept(l, 0, 0), EAGAIN);
}
TEST(options_and_queues) {
    int s[2], v = 0;
    socklen_t n = sizeof v;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &n)); EQ(v, SOCK_STREAM);
    OK(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &n)); EQ(v, AF_UNIX);
    OK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &n)); GE(v, 4096);
    v = 8192;
    OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
    OK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &n)); EQ(v, 16384);
    write(s[0], "abc", 3);
    OK(ioctl(s[1], FIONREAD, &v)); EQ(v, 3);
    char b[4] = "";
    EQ(recv(s[1], b, 3, MSG_PEEK), 3);
    EQ(recv(s[1], b, 3, MSG_WAITALL), 3);
    ERR(setsockopt(s[0], SOL_SOCKET, 9999, &v, 4), ENOPROTOOPT);
    ERR(setsockopt(s[0], 6 /* TCP */, 1, &v, 4), EOPNOTSUPP);
    ERR(recv(s[1], b, 1, MSG_OOB | MSG_DONTWAIT), EINVAL);
    ERR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    ERR(socket(250, SOCK_STREAM, 0), EAFNOSUPPORT);
    ERR(send(0, "x", 1, 0), ENOTSOCK);
}
TEST(flow_control) {
    int s[2];
    static char big[1 << 20];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pid_t p = CHILD({ close(s[1]); for (int i = 0; i < 4; i++) EQ(write(s[0], big, sizeof big), (long)sizeof big); });
    close(s[0]);
    long n = 0, r;
    while ((r = read(s[1], big, 50000)) > 0) n += r;
    EQ(n, 4 << 20);
    CODE(p, 0);
}
TEST(mmsg) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    struct iovec v[2] = {{"ab", 2}, {"cde", 3}};
    struct mmsghdr m[2] = {{{.msg_iov = v, .msg_iovlen = 1}}, {{.msg_iov = v + 1, .msg_iovlen = 1}}};
    EQ(sendmmsg(s[0], m, 2, 0), 2);
    char b[2][10];
    struct iovec w[2] = {{b[0], 10}, {b[1], 10}};
    struct mmsghdr r[2] = {{{.msg_iov = w, .msg_iovlen = 1}}, {{.msg_iov = w + 1, .msg_iovlen = 1}}};
    EQ(recvmmsg(s[1], r, 2, 0, 0), 2);
    EQ(r[1].msg_len, 3);
}
// Who made a socket listen, or sent a message, may be gone and waited for before anybody asks: its identity ends with the last that knew it.
static void from_the_dead(int type) {
    int s[2], pp[2], l = bound(SOCK_STREAM, "listener");
    OK(socketpair(AF_UNIX, type, 0, s));
    CODE(CHILD({ OK(listen(l, 1)); }), 0);
    OK(listen(l, 1));
    CHECK(!pipe(pp));
    CODE(CHILD({
        struct { struct cmsghdr h; struct ucred c; char pad[4]; struct cmsghdr k; int fd; int end; } m = {
            {CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS}, {getpid(), getuid(), getgid()}, "",
            {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}, pp[0], 0};
        struct iovec v = {"x", 1};
        struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &m, .msg_controllen = sizeof m};
        EQ(sendmsg(s[0], &h, 0), 1);
    }), 0);
    char b, c[CMSG_SPACE(sizeof(int))];
    struct iovec v = {&b, 1};
    struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    EQ(recvmsg(s[1], &h, 0), 1);
    EQ(CMSG_FIRSTHDR(&h)->cmsg_type, SCM_RIGHTS);
    unlink("listener");
}
TEST(from_the_dead) {
    from_the_dead(SOCK_STREAM);
    from_the_dead(SOCK_SEQPACKET);
}
int main(void) {
    RUN(stream_server); RUN(names); RUN(abstract); RUN(datagrams); RUN(seqpacket); RUN(shutdown_halves); RUN(rights);
    RUN(rights_closed_with_the_socket); RUN(rights_cycle_is_collected); RUN(credentials); RUN(forged_credentials_are_refused);
    RUN(backlog_and_nonblock); RUN(options_and_queues); RUN(flow_control); RUN(mmsg); RUN(empty_read_takes_descriptors);
    RUN(from_the_dead);
    DONE();
}
