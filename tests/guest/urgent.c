// Urgent data of stream sockets: marks, SIOCATMARK, SIGURG, POLLPRI; what is left (TCP_INQ), deferred accepts, a socket connected to itself.
//: network
#include "t.h"
#include <netinet/in.h>
#include <netinet/tcp.h>

static void tcp_pair(int s[2]) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int l = OK(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
    OK(bind(l, (void *)&a, n));
    OK(listen(l, 1));
    OK(getsockname(l, (void *)&a, &n));
    s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(connect(s[0], (void *)&a, n));
    OK(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    s[1] = OK(accept(l, NULL, NULL));
    close(l);
}
static void unix_pair(int s[2]) { OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s)); }
typedef void maker(int[2]);
static int at_mark(int f) { int m = -1; OK(ioctl(f, 0x8905 /* SIOCATMARK */, &m)); return m; }
static int events(int f) { struct pollfd p = {f, POLLIN | POLLPRI, 0}; OK(poll(&p, 1, 0)); return p.revents; }
static int queued(int f) { int n = -1; OK(ioctl(f, FIONREAD, &n)); return n; }
// Reads without waiting into a string.
static char *take(int f, int flags) {
    static char b[64];
    int n = recv(f, b, sizeof b - 1, flags | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN ? "EAGAIN" : errno == EINVAL ? "EINVAL" : "?";
    b[n] = 0;
    return b;
}
static void send_all(int f, const char *s, int flags) { EQ(send(f, s, strlen(s), flags), (long)strlen(s)); }

static void mark(maker *make) {
    int s[2];
    make(s);
    EQ(at_mark(s[1]), 0);
    STREQ(take(s[1], MSG_OOB), "EINVAL");
    send_all(s[0], "abc", MSG_OOB);
    send_all(s[0], "de", 0);
    UNTIL(events(s[1]) == (POLLIN | POLLPRI));
    STREQ(take(s[1], MSG_PEEK), "ab");
    STREQ(take(s[1], 0), "ab");
    EQ(at_mark(s[1]), 1);
    STREQ(take(s[1], MSG_OOB | MSG_PEEK), "c");
    STREQ(take(s[1], MSG_OOB), "c");
    STREQ(take(s[1], MSG_OOB), "EINVAL");
    EQ(events(s[1]), POLLIN);
    EQ(at_mark(s[1]), 1);
    STREQ(take(s[1], MSG_PEEK), "de");
    STREQ(take(s[1], 0), "de");
    EQ(at_mark(s[1]), 0);
    STREQ(take(s[1], 0), "EAGAIN");
}
TEST(mark_unix) { mark(unix_pair); }
TEST(mark_tcp) { mark(tcp_pair); }

// Bytes read past a mark are gone as urgent ones; a later mark replaces an earlier one, whose byte is ordinary then.
static void passed(maker *make) {
    int s[2];
    make(s);
    send_all(s[0], "aU", MSG_OOB);
    send_all(s[0], "b", 0);
    UNTIL(queued(s[1]) > 0 && events(s[1]) & POLLPRI);
    STREQ(take(s[1], 0), "a");
    UNTIL(strcmp(take(s[1], MSG_PEEK), "b") == 0);
    STREQ(take(s[1], 0), "b");
    STREQ(take(s[1], MSG_OOB), "EINVAL");
    EQ(at_mark(s[1]), 0);
    send_all(s[0], "xV", MSG_OOB);
    send_all(s[0], "yW", MSG_OOB);
    send_all(s[0], "z", 0);
    UNTIL(strcmp(take(s[1], MSG_OOB | MSG_PEEK), "W") == 0);
    STREQ(take(s[1], 0), "xVy");
    STREQ(take(s[1], MSG_OOB), "W");
    UNTIL(strcmp(take(s[1], MSG_PEEK), "z") == 0);
    STREQ(take(s[1], 0), "z");
}
TEST(passed_unix) { passed(unix_pair); }
TEST(passed_tcp) { passed(tcp_pair); }

static void inlined(maker *make) {
    int s[2], one = 1;
    make(s);
    OK(setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof one));
    send_all(s[0], "abU", MSG_OOB);
    send_all(s[0], "cd", 0);
    UNTIL(queued(s[1]) == 5);
    STREQ(take(s[1], MSG_OOB), "EINVAL");
    STREQ(take(s[1], 0), "ab");
    EQ(at_mark(s[1]), 1);
    STREQ(take(s[1], 0), "Ucd");
    EQ(at_mark(s[1]), 0);
}
TEST(inlined_unix) { inlined(unix_pair); }
TEST(inlined_tcp) { inlined(tcp_pair); }

static volatile int told;
static void on_urgent(int sig) { told++; (void)sig; }
static void signalled(maker *make) {
    int s[2];
    make(s);
    signal(SIGURG, on_urgent);
    told = 0;
    OK(fcntl(s[1], F_SETOWN, getpid()));
    send_all(s[0], "x", 0);
    EQ(told, 0);
    send_all(s[0], "y", MSG_OOB);
    UNTIL(told == 1);
    STREQ(take(s[1], MSG_OOB), "y");
    shutdown(s[0], SHUT_RDWR);
    EQ(told, 1);
    // Whoever is told, and not the others.
    OK(fcntl(s[1], F_SETOWN, 0));
}
TEST(signal_unix) { signalled(unix_pair); }
TEST(signal_tcp) { signalled(tcp_pair); }

TEST(refused) {
    int s[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    ERR(send(s[0], "x", 1, MSG_OOB), EOPNOTSUPP);
    ERR(recv(s[0], s, 1, MSG_OOB), EOPNOTSUPP);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    ERR(send(s[0], "x", 1, MSG_OOB), EOPNOTSUPP);
    unix_pair(s);
    ERR(send(s[0], "", 0, MSG_OOB), EOPNOTSUPP);
    send_all(s[0], "u", MSG_OOB);
    OK(close(s[0]));
    STREQ(take(s[1], MSG_OOB), "u");
    STREQ(take(s[1], 0), "");
    int u = OK(socket(AF_INET, SOCK_DGRAM, 0)), m;
    ERR(ioctl(u, 0x8905, &m), ENOTTY);
}
// How much is left is told with what was read (TCP_INQ).
TEST(what_is_left) {
    int s[2], one = 1, n = 0;
    tcp_pair(s);
    OK(setsockopt(s[1], IPPROTO_TCP, 36 /* TCP_INQ */, &one, sizeof one));
    ERR(setsockopt(s[1], IPPROTO_TCP, 36, &(int){2}, sizeof one), EINVAL);
    send_all(s[0], "abcdef", 0);
    UNTIL(queued(s[1]) == 6);
    char b[2], c[64];
    struct iovec v = {b, 2};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    EQ(recvmsg(s[1], &m, 0), 2);
    CHECK(CMSG_FIRSTHDR(&m));
    EQ(CMSG_FIRSTHDR(&m)->cmsg_level, IPPROTO_TCP);
    EQ(CMSG_FIRSTHDR(&m)->cmsg_type, 36);
    memcpy(&n, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof n);
    EQ(n, 4);
}
// A listener may wait for the first bytes, or the end, of a connection.
TEST(accept_is_deferred) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a, k = sizeof(int);
    int l = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), secs = 5, c = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(bind(l, (void *)&a, n));
    OK(setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){-1}, k));
    OK(getsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &secs, &k));
    EQ(secs, 0);
    OK(setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){5}, k));
    OK(getsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &secs, &k));
    EQ(secs, 7);
    OK(listen(l, 5));
    OK(getsockname(l, (void *)&a, &n));
    OK(connect(c, (void *)&a, n));
    ERR(accept(l, NULL, NULL), EAGAIN);
    EQ(events(l), 0);
    send_all(c, "x", 0);
    UNTIL(events(l) == POLLIN);
    int s = OK(accept(l, NULL, NULL));
    STREQ(take(s, 0), "x");
    c = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(connect(c, (void *)&a, n));
    EQ(events(l), 0);
    close(c);
    UNTIL(events(l) == POLLIN);
    STREQ(take(OK(accept(l, NULL, NULL)), 0), "");
}
// Both ends of a connection can be one socket.
TEST(connected_to_itself) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, p;
    socklen_t n = sizeof a;
    int s = OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(bind(s, (void *)&a, n));
    OK(getsockname(s, (void *)&a, &n));
    OK(connect(s, (void *)&a, n));
    OK(getpeername(s, (void *)&p, &n));
    EQ(p.sin_port, a.sin_port);
    EQ(events(s), 0);
    send_all(s, "echo", 0);
    UNTIL(queued(s) == 4);
    STREQ(take(s, 0), "echo");
    send_all(s, "last", 0);
    OK(shutdown(s, SHUT_WR));
    ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
    UNTIL(queued(s) >= 4);
    STREQ(take(s, 0), "last");
    STREQ(take(s, 0), "");
}
int main(void) {
    RUN(mark_unix); RUN(mark_tcp); RUN(passed_unix); RUN(passed_tcp); RUN(inlined_unix); RUN(inlined_tcp); RUN(signal_unix); RUN(signal_tcp);
    RUN(refused); RUN(what_is_left); RUN(accept_is_deferred); RUN(connected_to_itself);
    DONE();
}
