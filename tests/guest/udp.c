// Datagram sockets: peeking from an offset, errors that come back (IP_RECVERR), times of arrival, receiving after a shutdown.
#include "t.h"
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>

static int fam = AF_INET;
static union { struct sockaddr_in v4; struct sockaddr_in6 v6; struct sockaddr any; } at;
static socklen_t len;
static int made(void) {
    int f = OK(socket(fam, SOCK_DGRAM, 0));
    memset(&at, 0, sizeof at);
    at.any.sa_family = fam;
    len = fam == AF_INET ? sizeof at.v4 : sizeof at.v6;
    if (fam == AF_INET) at.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else at.v6.sin6_addr = in6addr_loopback;
    OK(bind(f, &at.any, len));
    OK(getsockname(f, &at.any, &len));
    return f;
}
// A connected pair.
static void pair(int s[2]) {
    s[0] = made();
    s[1] = OK(socket(fam, SOCK_DGRAM, 0));
    OK(connect(s[1], &at.any, len));
    OK(getsockname(s[1], &at.any, &len));
    OK(connect(s[0], &at.any, len));
}
static char *take(int f, int flags) {
    static char b[64];
    int n = recv(f, b, sizeof b - 1, flags | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN ? "EAGAIN" : "?";
    b[n] = 0;
    return b;
}
static int peek_off(int f, int set) {
    int v = set;
    socklen_t n = sizeof v;
    if (set > -2) OK(setsockopt(f, SOL_SOCKET, SO_PEEK_OFF, &v, n));
    OK(getsockopt(f, SOL_SOCKET, SO_PEEK_OFF, &v, &n));
    return v;
}
static void peeking(int s[2], int stream) {
    char b[4];
    EQ(peek_off(s[1], -2), -1);
    EQ(write(s[0], "abcd", 4), 4);
    EQ(write(s[0], "efgh", 4), 4);
    EQ(write(s[0], "ij", 2), 2);
    UNTIL(recv(s[1], b, 4, MSG_PEEK | MSG_DONTWAIT) == 4);
    EQ(peek_off(s[1], 1), 1);
    STREQ(take(s[1], MSG_PEEK), stream ? "bcdefghij" : "bcd");
    STREQ(take(s[1], MSG_PEEK), stream ? "EAGAIN" : "efgh");
    EQ(peek_off(s[1], -2), stream ? 10 : 8);
    STREQ(take(s[1], MSG_PEEK), stream ? "EAGAIN" : "ij");
    EQ(recv(s[1], b, 4, 0), 4);
    EQ(peek_off(s[1], -2), 6);
    EQ(peek_off(s[1], 5), 5);
    STREQ(take(s[1], MSG_PEEK), "j");
    EQ(peek_off(s[1], 0), 0);
    EQ(recv(s[1], b, 2, MSG_PEEK), 2);
    EQ(b[0], 'e');
    EQ(peek_off(s[1], -1), -1);
    STREQ(take(s[1], 0), stream ? "efghij" : "efgh");
}
TEST(peek_off) {
    int s[2];
    pair(s);
    peeking(s, 0);
}
TEST(peek_off_unix) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    peeking(s, 0);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    peeking(s, 0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    peeking(s, 1);
    int v = 0, n = OK(socket(AF_NETLINK, SOCK_RAW, 0));
    ERR(setsockopt(n, SOL_SOCKET, SO_PEEK_OFF, &v, sizeof v), EOPNOTSUPP);
}
static void errors(int family) {
    fam = family;
    int level = fam == AF_INET ? SOL_IP : SOL_IPV6, name = fam == AF_INET ? IP_RECVERR : IPV6_RECVERR, one = 1, n;
    close(made());
    int f = OK(socket(fam, SOCK_DGRAM, 0));
    OK(setsockopt(f, level, name, &one, sizeof one));
    // Unconnected, and told all the same.
    EQ(sendto(f, "lost", 4, 0, &at.any, len), 4);
    struct pollfd p = {f, 0, 0};
    EQ(poll(&p, 1, 5000), 1);
    EQ(p.revents, POLLERR);
    union { struct sockaddr_in v4; struct sockaddr_in6 v6; } to;
    char data[16], control[256];
    struct iovec v = {data, sizeof data};
    struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    EQ(recvmsg(f, &m, MSG_ERRQUEUE), 4);
    CHECK(memcmp(data, "lost", 4) == 0);
    EQ(m.msg_flags, MSG_ERRQUEUE);
    EQ(m.msg_namelen, len);
    EQ(fam == AF_INET ? to.v4.sin_port : to.v6.sin6_port, fam == AF_INET ? at.v4.sin_port : at.v6.sin6_port);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    CHECK(c);
    EQ(c->cmsg_level, level);
    EQ(c->cmsg_type, name);
    EQ(c->cmsg_len, CMSG_LEN(sizeof(struct sock_extended_err) + len));
    struct sock_extended_err e;
    memcpy(&e, CMSG_DATA(c), sizeof e);
    EQ(e.ee_errno, ECONNREFUSED);
    EQ(e.ee_origin, fam == AF_INET ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6);
    EQ(e.ee_type, fam == AF_INET ? 3 : 1);
    EQ(e.ee_code, fam == AF_INET ? 3 : 4);
    EQ(((struct sockaddr *)(CMSG_DATA(c) + sizeof e))->sa_family, fam);
    ERR(recvmsg(f, &m, MSG_ERRQUEUE), EAGAIN);
    // The error is in the queue only now.
    socklen_t l = sizeof n;
    OK(getsockopt(f, SOL_SOCKET, SO_ERROR, &n, &l));
    EQ(n, 0);
    EQ(sendto(f, "lost", 4, 0, &at.any, len), 4);
    UNTIL(poll(&p, 1, 0) == 1);
    ERR(recv(f, data, 4, MSG_DONTWAIT), ECONNREFUSED);
    EQ(poll(&p, 1, 0), 1); // still queued
    EQ(recv(f, data, 2, MSG_ERRQUEUE), 2);
    EQ(poll(&p, 1, 0), 0);
}
TEST(errors_v4) { errors(AF_INET); }
TEST(errors_v6) { errors(AF_INET6); }

static void stamped(int s[2], int netdev) {
    int one = 1;
    char data[4], control[64];
    struct iovec v = {data, sizeof data};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct timeval before, after, tv;
    struct timespec ts;
    OK(setsockopt(s[1], SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one));
    gettimeofday(&before, NULL);
    EQ(write(s[0], "a", 1), 1);
    EQ(recvmsg(s[1], &m, 0), 1);
    gettimeofday(&after, NULL);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    CHECK(c);
    EQ(c->cmsg_level, SOL_SOCKET);
    EQ(c->cmsg_type, SCM_TIMESTAMP);
    EQ(c->cmsg_len, CMSG_LEN(sizeof tv));
    memcpy(&tv, CMSG_DATA(c), sizeof tv);
    CHECK(!timercmp(&tv, &before, <) && !timercmp(&tv, &after, >));
    OK(setsockopt(s[1], SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one));
    EQ(write(s[0], "b", 1), 1);
    m.msg_controllen = sizeof control;
    EQ(recvmsg(s[1], &m, 0), 1);
    c = CMSG_FIRSTHDR(&m);
    CHECK(c);
    EQ(c->cmsg_type, SCM_TIMESTAMPNS);
    memcpy(&ts, CMSG_DATA(c), sizeof ts);
    GE(ts.tv_sec, tv.tv_sec);
    OK(setsockopt(s[1], SOL_SOCKET, SO_TIMESTAMPNS, &(int){0}, sizeof one));
    EQ(write(s[0], "c", 1), 1);
    m.msg_controllen = sizeof control;
    EQ(recvmsg(s[1], &m, 0), 1);
    EQ(m.msg_controllen, 0);
    if (!netdev) return;
    OK(ioctl(s[1], SIOCGSTAMP, &tv));
    CHECK(!timercmp(&tv, &before, <));
    OK(ioctl(s[1], SIOCGSTAMPNS, &ts));
    ERR(ioctl(OK(socket(AF_INET, SOCK_DGRAM, 0)), SIOCGSTAMP, &tv), ENOENT);
}
TEST(stamps) {
    int s[2];
    pair(s);
    stamped(s, 1);
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    stamped(s, 0);
    ERR(ioctl(s[1], SIOCGSTAMP, s), ENOTTY);
}
// Who does not wait is not told of the end.
TEST(after_shutdown) {
    int s[2], f = made();
    char b;
    ERR(shutdown(f, SHUT_RD), ENOTCONN);
    pair(s);
    OK(shutdown(s[0], SHUT_RD));
    ERR(recv(s[0], &b, 1, MSG_DONTWAIT), EAGAIN);
    EQ(recv(s[0], &b, 1, 0), 0);
    OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
    ERR(read(s[0], &b, 1), EAGAIN);
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    OK(shutdown(s[0], SHUT_RD));
    ERR(recv(s[0], &b, 1, MSG_DONTWAIT), EAGAIN);
    EQ(recv(s[0], &b, 1, 0), 0);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    OK(shutdown(s[0], SHUT_RD));
    EQ(recv(s[0], &b, 1, MSG_DONTWAIT), 0);
}
// A classic BPF program says what is received, and how much of it.
static void filtered(int s[2], int header) {
    struct sock_filter odd[] = {
        {BPF_LD | BPF_B | BPF_ABS, 0, 0, header}, {BPF_JMP | BPF_JEQ, 0, 1, 'x'}, {BPF_RET | BPF_K, 0, 0, 0},
        {BPF_JMP | BPF_JEQ, 0, 1, 'c'}, {BPF_RET | BPF_K, 0, 0, header + 2}, {BPF_RET | BPF_K, 0, 0, -1},
    };
    struct sock_fprog p = {6, odd}, bad = {1, odd}, none = {0, odd};
    int v = 1, b;
    ERR(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &bad, sizeof bad), EINVAL);
    ERR(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &none, sizeof none), EINVAL);
    ERR(setsockopt(s[1], SOL_SOCKET, SO_DETACH_FILTER, &v, sizeof v), ENOENT);
    OK(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
    EQ(write(s[0], "xyz", 3), 3);
    EQ(write(s[0], "cut", 3), 3);
    EQ(write(s[0], "all", 3), 3);
    UNTIL(poll(&(struct pollfd){s[1], POLLIN, 0}, 1, 0) == 1);
    STREQ(take(s[1], 0), "cu");
    UNTIL(poll(&(struct pollfd){s[1], POLLIN, 0}, 1, 0) == 1);
    STREQ(take(s[1], 0), "all");
    OK(setsockopt(s[1], SOL_SOCKET, SO_DETACH_FILTER, &v, sizeof v));
    EQ(write(s[0], "xyz", 3), 3);
    UNTIL(poll(&(struct pollfd){s[1], POLLIN, 0}, 1, 0) == 1);
    STREQ(take(s[1], 0), "xyz");
    OK(setsockopt(s[1], SOL_SOCKET, SO_LOCK_FILTER, &v, sizeof v));
    ERR(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p), EPERM);
    v = 0;
    ERR(setsockopt(s[1], SOL_SOCKET, SO_LOCK_FILTER, &v, sizeof v), EPERM);
}
TEST(filters) {
    int s[2];
    fam = AF_INET;
    pair(s);
    filtered(s, 8);
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    filtered(s, 0);
}
// The field of this name in a table of /proc/net/snmp.
static long counted(const char *table, const char *field) {
    char names[1024], values[1024], *ns, *vs, *n, *v;
    char head[16];
    snprintf(head, sizeof head, "%s: ", table);
    char *text = t_get("/proc/net/snmp"), *at = strstr(text, head), *next = at ? strchr(at, '\n') : NULL;
    CHECK(next && sscanf(at, "%1023[^\n]\n%1023[^\n]", names, values) == 2);
    for (n = strtok_r(names, " ", &ns), v = strtok_r(values, " ", &vs); n && v; n = strtok_r(NULL, " ", &ns), v = strtok_r(NULL, " ", &vs))
        if (!strcmp(n, field)) return atol(v);
    FAIL("%s has no %s", table, field);
}
TEST(counts) {
    fam = AF_INET;
    long in = counted("Udp", "InDatagrams"), out = counted("Udp", "OutDatagrams"), lost = counted("Udp", "NoPorts"), active = counted("Tcp", "ActiveOpens"),
         passive = counted("Tcp", "PassiveOpens"), failed = counted("Tcp", "AttemptFails"), reset = counted("Tcp", "EstabResets");
    int s[2], l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0)), inuse;
    pair(s);
    EQ(write(s[0], "x", 1), 1);
    UNTIL(strcmp(take(s[1], 0), "x") == 0);
    close(s[1]);
    EQ(write(s[0], "x", 1), 1);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    OK(bind(l, (void *)&a, n));
    OK(getsockname(l, (void *)&a, &n));
    ERR(connect(c, (void *)&a, n), ECONNREFUSED);
    OK(listen(l, 1));
    c = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(connect(c, (void *)&a, n));
    int g = OK(accept(l, NULL, NULL));
    GE(counted("Tcp", "CurrEstab"), 2);
    EQ(sscanf(strstr(t_get("/proc/net/sockstat"), "TCP: inuse "), "TCP: inuse %d", &inuse), 1);
    GE(inuse, 3);
    struct linger now = {1, 0};
    OK(setsockopt(g, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    close(g);
    UNTIL(counted("Tcp", "EstabResets") > reset);
    GE(counted("Udp", "InDatagrams"), in + 1);
    GE(counted("Udp", "OutDatagrams"), out + 2);
    GE(counted("Udp", "NoPorts"), lost + 1);
    GE(counted("Tcp", "ActiveOpens"), active + 2);
    GE(counted("Tcp", "PassiveOpens"), passive + 1);
    GE(counted("Tcp", "AttemptFails"), failed + 1);
}
int main(void) {
    RUN(peek_off); RUN(peek_off_unix); RUN(errors_v4); RUN(errors_v6); RUN(stamps); RUN(after_shutdown); RUN(filters); RUN(counts);
    DONE();
}
