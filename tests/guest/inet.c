// TCP and UDP on loopback, IPv4 and IPv6: connection, options, shutdown, reset, backlog, address reuse.
//: network
#include "t.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static int fam;
static socklen_t alen(void) { return fam == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6); }
static struct sockaddr_storage addr(int port) {
    struct sockaddr_storage s = {0};
    if (fam == AF_INET) { struct sockaddr_in *a = (void *)&s; a->sin_family = AF_INET; a->sin_port = htons(port); a->sin_addr.s_addr = htonl(INADDR_LOOPBACK); }
    else { struct sockaddr_in6 *a = (void *)&s; a->sin6_family = AF_INET6; a->sin6_port = htons(port); a->sin6_addr = in6addr_loopback; }
    return s;
}
static int port_of(int f) { struct sockaddr_storage s; socklen_t n = sizeof s; OK(getsockname(f, (void *)&s, &n)); EQ(n, alen()); return ntohs(((struct sockaddr_in *)&s)->sin_port); }
static int sock(int type) { return OK(socket(fam, type, 0)); }
static int bind_to(int f, int port) { struct sockaddr_storage a = addr(port); return bind(f, (void *)&a, alen()); }
static int conn(int f, int port) { struct sockaddr_storage a = addr(port); return connect(f, (void *)&a, alen()); }
static int listener(void) { int l = sock(SOCK_STREAM); OK(bind_to(l, 0)); OK(listen(l, 8)); return l; }
static void pair(int *c, int *s) { int l = listener(); *c = sock(SOCK_STREAM); OK(conn(*c, port_of(l))); *s = OK(accept(l, 0, 0)); close(l); }
static void stream(void) {
    int c, s;
    char b[10];
    pair(&c, &s);
    EQ(send(c, "hello", 5, 0), 5);
    EQ(recv(s, b, 5, MSG_WAITALL), 5);
    EQ(send(s, "you", 3, 0), 3);
    EQ(recv(c, b, 10, MSG_PEEK), 3);
    EQ(recv(c, b, 10, 0), 3);
    OK(shutdown(c, SHUT_WR));
    EQ(recv(s, b, 10, 0), 0);
    EQ(send(s, "late", 4, 0), 4);
    EQ(recv(c, b, 10, 0), 4);
    ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    close(s);
    EQ(recv(c, b, 10, 0), 0);
}
static void refused_and_states(void) {
    int l = listener(), p = port_of(l), c = sock(SOCK_STREAM);
    ERR(accept(c, 0, 0), EINVAL);
    ERR(recv(c, &l, 1, 0), ENOTCONN);
    ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    ERR(shutdown(c, SHUT_RD), ENOTCONN);
    ERR(bind_to(sock(SOCK_STREAM), p), EADDRINUSE);
    close(l);
    ERR(conn(c, p), ECONNREFUSED);
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    ERR(getpeername(c, (void *)&a, &n), ENOTCONN);
}
static void nonblocking_connect(void) {
    int l = listener(), c = OK(socket(fam, SOCK_STREAM | SOCK_NONBLOCK, 0)), v = 9;
    socklen_t n = sizeof v;
    int r = conn(c, port_of(l)), e = errno;
    CHECK(r == 0 || e == EINPROGRESS);
    struct pollfd p = {c, POLLOUT, 0};
    EQ(poll(&p, 1, 2000), 1);
    EQ(p.revents, POLLOUT);
    OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &v, &n));
    EQ(v, 0);
    ERR(recv(c, &v, 1, 0), EAGAIN);
    int dead = port_of(l);
    close(l);
    c = OK(socket(fam, SOCK_STREAM | SOCK_NONBLOCK, 0));
    r = conn(c, dead), e = errno;
    CHECK(r < 0 && (e == EINPROGRESS || e == ECONNREFUSED));
    if (e == EINPROGRESS) {
        p.fd = c;
        EQ(poll(&p, 1, 2000), 1);
        CHECK(p.revents & POLLERR && p.revents & POLLHUP);
        OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &v, &n));
        EQ(v, ECONNREFUSED);
    }
}
static void reset(void) {
    int c, s;
    char b[4];
    pair(&c, &s);
    struct linger li = {1, 0};
    OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &li, sizeof li));
    close(c);
    ERR(recv(s, b, 4, 0), ECONNRESET);
    EQ(recv(s, b, 4, 0), 0);
    ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
    pair(&c, &s);
    send(c, "unread", 6, 0);
    t_sleep(20);
    close(s); // with unread data: a reset
    t_sleep(20);
    ERR(recv(c, b, 4, 0), ECONNRESET);
}
static void options(void) {
    int c, s, v = 1;
    socklen_t n = sizeof v;
    pair(&c, &s);
    OK(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, 4));
    v = 0;
    OK(getsockopt(c, IPPROTO_TCP, TCP_NODELAY, &v, &n)); EQ(v, 1);
    OK(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &v, 4));
    OK(getsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &v, &n)); EQ(v, 1);
    v = 33;
    OK(setsockopt(c, IPPROTO_TCP, TCP_KEEPIDLE, &v, 4));
    OK(getsockopt(c, IPPROTO_TCP, TCP_KEEPIDLE, &v, &n)); EQ(v, 33);
    OK(getsockopt(c, SOL_SOCKET, SO_TYPE, &v, &n)); EQ(v, SOCK_STREAM);
    OK(getsockopt(c, SOL_SOCKET, SO_DOMAIN, &v, &n)); EQ(v, fam);
    OK(getsockopt(c, SOL_SOCKET, SO_PROTOCOL, &v, &n)); EQ(v, IPPROTO_TCP);
    OK(getsockopt(listener(), SOL_SOCKET, SO_ACCEPTCONN, &v, &n)); EQ(v, 1);
    OK(getsockopt(c, SOL_SOCKET, SO_RCVBUF, &v, &n)); GE(v, 2000);
    struct tcp_info ti;
    n = sizeof ti;
    OK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &ti, &n));
    EQ(ti.tcpi_state, 1);
    struct timeval tv = {0, 30000};
    OK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    ERR(recv(c, &v, 1, 0), EAGAIN);
    ERR(setsockopt(c, SOL_SOCKET, 9999, &v, 4), ENOPROTOOPT);
    ERR(setsockopt(c, IPPROTO_TCP, 9999, &v, 4), ENOPROTOOPT);
    v = 7;
    write(c, "abc", 3);
    t_sleep(10);
    OK(ioctl(s, FIONREAD, &v)); EQ(v, 3);
}
static void reuse(void) {
    int l = listener(), p = port_of(l), c = sock(SOCK_STREAM), one = 1;
    OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, 4)); // both the old and the new owner must agree
    OK(conn(c, p));
    int s = OK(accept(l, 0, 0));
    close(s); // the server closes first: TIME_WAIT on its port
    char b;
    recv(c, &b, 1, 0);
    close(c);
    close(l);
    t_sleep(10);
    l = sock(SOCK_STREAM);
    OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, 4));
    OK(bind_to(l, p));
    int a = sock(SOCK_STREAM), d = sock(SOCK_STREAM);
    OK(setsockopt(a, SOL_SOCKET, SO_REUSEPORT, &one, 4));
    OK(setsockopt(d, SOL_SOCKET, SO_REUSEPORT, &one, 4));
    OK(bind_to(a, 0));
    OK(bind_to(d, port_of(a)));
    OK(listen(a, 50));
    OK(listen(d, 50));
    int na = 0;
    fcntl(a, F_SETFL, O_NONBLOCK);
    fcntl(d, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 40; i++) OK(conn(sock(SOCK_STREAM), port_of(a)));
    while (accept(a, 0, 0) >= 0) na++;
    int nd = 0;
    while (accept(d, 0, 0) >= 0) nd++;
    EQ(na + nd, 40);
    CHECK(na > 2 && nd > 2);
}
static void bulk(void) {
    int c, s;
    pair(&c, &s);
    pid_t p = CHILD({ static unsigned char b[100000]; for (int k = 0; k < 50; k++) { for (unsigned i = 0; i < sizeof b; i++) b[i] = (k * sizeof b + i) * 31 >> 3; long at = 0, r; while (at < (long)sizeof b && (r = write(c, b + at, sizeof b - at)) > 0) at += r; } });
    close(c);
    static unsigned char b[70000];
    long n = 0, r;
    while ((r = read(s, b, sizeof b)) > 0) for (long i = 0; i < r; i++, n++) if (b[i] != (unsigned char)(n * 31 >> 3)) FAIL("byte %ld", n);
    EQ(n, 5000000);
    CODE(p, 0);
}
static void udp(void) {
    int s = sock(SOCK_DGRAM), c = sock(SOCK_DGRAM);
    char b[20];
    static char big[70000];
    OK(bind_to(s, 0));
    struct sockaddr_storage a = addr(port_of(s)), from;
    socklen_t n = sizeof from;
    EQ(sendto(c, "ping", 4, 0, (void *)&a, alen()), 4);
    EQ(recvfrom(s, b, 20, 0, (void *)&from, &n), 4);
    EQ(sendto(s, "pong!", 5, 0, (void *)&from, n), 5);
    EQ(recv(c, b, 2, MSG_TRUNC), 5);
    ERR(recv(c, b, 2, MSG_DONTWAIT), EAGAIN);
    OK(connect(c, (void *)&a, alen()));
    EQ(send(c, "", 0, 0), 0);
    EQ(recv(s, b, 20, 0), 0);
    ERR(send(c, big, sizeof big, 0), EMSGSIZE);
    EQ(send(c, big, 60000, 0), 60000);
    EQ(recv(s, big, sizeof big, 0), 60000);
    ERR(send(sock(SOCK_DGRAM), "x", 1, 0), EDESTADDRREQ);
    close(s);
    send(c, "x", 1, 0);
    t_sleep(20);
    ERR(recv(c, b, 1, MSG_DONTWAIT), ECONNREFUSED);
    struct sockaddr un = {.sa_family = AF_UNSPEC};
    OK(connect(c, &un, sizeof un));
    ERR(send(c, "x", 1, 0), EDESTADDRREQ);
    a = addr(0);
    OK(connect(c, (void *)&a, alen()));
    n = sizeof from;
    ERR(getpeername(c, (void *)&from, &n), ENOTCONN); // port 0 is no peer
}
#define BOTH(f) TEST(f##_v4) { fam = AF_INET; f(); } TEST(f##_v6) { fam = AF_INET6; f(); }
BOTH(stream) BOTH(refused_and_states) BOTH(nonblocking_connect) BOTH(reset) BOTH(options) BOTH(reuse) BOTH(bulk) BOTH(udp)
TEST(v6_accepts_v4_mapped) {
    fam = AF_INET6;
    int l = sock(SOCK_STREAM);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6}, peer;
    OK(bind(l, (void *)&any, sizeof any));
    OK(listen(l, 1));
    int p = port_of(l);
    fam = AF_INET;
    OK(conn(sock(SOCK_STREAM), p));
    socklen_t n = sizeof peer;
    OK(accept(l, (void *)&peer, &n));
    CHECK(IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr));
    int one = 1, only = OK(socket(AF_INET6, SOCK_STREAM, 0));
    OK(setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &one, 4));
}
TEST(wrong_addresses) {
    fam = AF_INET;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808), .sin_port = htons(80)};
    ERR(bind(sock(SOCK_STREAM), (void *)&a, sizeof a), EADDRNOTAVAIL);
    ERR(bind(sock(SOCK_STREAM), (void *)&a, 4), EINVAL);
    ERR(connect(sock(SOCK_STREAM), (void *)&a, sizeof a), ENETUNREACH);
    ERR(socket(AF_INET, SOCK_STREAM, 77), EPROTONOSUPPORT);
    ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
}
static int tcp_value(int f, int name, int set) {
    int got = -1;
    socklen_t n = sizeof got;
    OK(setsockopt(f, IPPROTO_TCP, name, &set, sizeof set));
    OK(getsockopt(f, IPPROTO_TCP, name, &got, &n));
    return got;
}
TEST(tcp_option_values) {
    int c, s, zero = 0, ttl = 0;
    struct linger l = {1, 5};
    socklen_t n = sizeof l;
    fam = AF_INET;
    pair(&c, &s);
    EQ(tcp_value(c, TCP_LINGER2, -1234), -1);
    EQ(tcp_value(c, TCP_LINGER2, 0), 60);
    EQ(tcp_value(c, TCP_LINGER2, 121), 120);
    ERR(setsockopt(c, IPPROTO_TCP, TCP_WINDOW_CLAMP, &zero, sizeof zero), EINVAL);
    EQ(tcp_value(c, TCP_WINDOW_CLAMP, 1), 1152);
    OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    l.l_onoff = 0;
    OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    OK(getsockopt(c, SOL_SOCKET, SO_LINGER, &l, &n));
    CHECK(l.l_onoff == 0 && l.l_linger == 5);
    n = sizeof ttl;
    OK(getsockopt(c, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, &n));
    EQ(ttl, 1);
    ERR(setsockopt(c, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl), EINVAL);
}
TEST(accepted_after_reset) {
    struct linger l = {1, 0};
    struct sockaddr_storage peer;
    socklen_t n = sizeof peer;
    char b;
    fam = AF_INET;
    int l_fd = listener(), c = sock(SOCK_STREAM);
    OK(conn(c, port_of(l_fd)));
    OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    close(c);
    int s = OK(accept(l_fd, (void *)&peer, &n));
    EQ(n, sizeof(struct sockaddr_in));
    ERR(read(s, &b, 1), ECONNRESET);
}
TEST(versions_do_not_mix) {
    fam = AF_INET6;
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    CHECK(inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr) == 1);
    int s = sock(SOCK_STREAM), u = sock(SOCK_DGRAM);
    OK(bind_to(s, 0));
    ERR(connect(s, (void *)&mapped, sizeof mapped), ENETUNREACH);
    OK(bind_to(u, 0));
    ERR(sendto(u, "x", 1, 0, (void *)&mapped, sizeof mapped), ENETUNREACH);
    s = sock(SOCK_STREAM);
    mapped.sin6_port = 0;
    OK(bind(s, (void *)&mapped, sizeof mapped));
    ERR(conn(s, 9), EAFNOSUPPORT);
}
int main(void) {
    RUN(stream_v4); RUN(stream_v6); RUN(refused_and_states_v4); RUN(refused_and_states_v6); RUN(nonblocking_connect_v4);
    RUN(nonblocking_connect_v6); RUN(reset_v4); RUN(reset_v6); RUN(options_v4); RUN(options_v6); RUN(reuse_v4); RUN(reuse_v6);
    RUN(bulk_v4); RUN(bulk_v6); RUN(udp_v4); RUN(udp_v6); RUN(v6_accepts_v4_mapped); RUN(wrong_addresses);
    RUN(tcp_option_values); RUN(accepted_after_reset); RUN(versions_do_not_mix);
    DONE();
}
