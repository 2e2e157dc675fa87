// POSIX message queues: names, priorities, limits, waiting, notification.
#include "t.h"
#include <mqueue.h>

static const char *name(void) { static char n[32]; snprintf(n, sizeof n, "/t%d", getpid()); return n; }
static mqd_t make(int flags, long max, long size) {
    struct mq_attr a = {.mq_maxmsg = max, .mq_msgsize = size};
    mqd_t q = OK(mq_open(name(), O_RDWR | O_CREAT | O_EXCL | flags, 0600, &a));
    OK(mq_unlink(name()));
    return q;
}
TEST(names) {
    mqd_t q = OK(mq_open(name(), O_RDWR | O_CREAT | O_EXCL, 0600, 0));
    struct mq_attr a;
    OK(mq_getattr(q, &a));
    EQ(a.mq_maxmsg, 10); EQ(a.mq_msgsize, 8192); EQ(a.mq_curmsgs, 0); EQ(a.mq_flags, 0);
    ERR(mq_open(name(), O_RDWR | O_CREAT | O_EXCL, 0600, 0), EEXIST);
    mqd_t again = OK(mq_open(name(), O_RDONLY));
    OK(mq_send(q, "x", 1, 0));
    char b[8192];
    EQ(mq_receive(again, b, sizeof b, 0), 1);
    ERR(mq_send(again, "x", 1, 0), EBADF);
    OK(mq_unlink(name()));
    ERR(mq_unlink(name()), ENOENT);
    ERR(mq_open(name(), O_RDWR), ENOENT);
    ERR(syscall(SYS_mq_open, "a/b", O_RDWR | O_CREAT, 0600, 0), EACCES);
    ERR(syscall(SYS_mq_open, "", O_RDWR | O_CREAT, 0600, 0), ENOENT);
    EQ(fcntl(q, F_GETFD), FD_CLOEXEC);
    CODE(CHILD({ OK(mq_send(q, "y", 1, 0)); }), 0); // outlives its name
    EQ(mq_receive(q, b, sizeof b, 0), 1);
}
TEST(permissions) {
    mqd_t q = OK(mq_open(name(), O_RDWR | O_CREAT, 0600, 0));
    const char *n = name();
    CODE(CHILD({ OK(setuid(1234)); ERR(mq_open(n, O_RDONLY), EACCES); ERR(syscall(SYS_mq_unlink, n + 1), EPERM); }), 0);
    mq_close(q);
    OK(mq_unlink(n));
}
TEST(limits) {
    struct mq_attr a = {.mq_maxmsg = 0, .mq_msgsize = 10};
    ERR(mq_open(name(), O_RDWR | O_CREAT, 0600, &a), EINVAL);
    CODE(CHILD({
        OK(setuid(1234));
        struct mq_attr a = {.mq_maxmsg = 11, .mq_msgsize = 10};
        ERR(mq_open("/none", O_RDWR | O_CREAT, 0600, &a), EINVAL);
        struct rlimit r = {1000, 1000};
        OK(setrlimit(RLIMIT_MSGQUEUE, &r));
        a.mq_maxmsg = 10;
        a.mq_msgsize = 100;
        ERR(mq_open("/none", O_RDWR | O_CREAT, 0600, &a), EMFILE);
    }), 0);
    mqd_t q = make(O_NONBLOCK, 2, 4);
    char b[4];
    ERR(mq_send(q, "12345", 5, 0), EMSGSIZE);
    ERR(mq_receive(q, b, 3, 0), EMSGSIZE);
    ERR(mq_send(q, "1", 1, 32768), EINVAL);
    ERR(mq_receive(q, b, 4, 0), EAGAIN);
    OK(mq_send(q, "1", 1, 0));
    OK(mq_send(q, "", 0, 0));
    ERR(mq_send(q, "3", 1, 0), EAGAIN);
    struct mq_attr got;
    OK(mq_getattr(q, &got));
    EQ(got.mq_curmsgs, 2); EQ(got.mq_flags, O_NONBLOCK);
    ERR(mq_send(0, "1", 1, 0), EBADF);
}
TEST(priorities) {
    mqd_t q = make(0, 10, 4);
    char b[4];
    unsigned p;
    OK(mq_send(q, "a", 1, 1)); OK(mq_send(q, "b", 1, 9)); OK(mq_send(q, "c", 1, 1)); OK(mq_send(q, "d", 1, 9));
    char order[5] = "";
    for (int i = 0; i < 4; i++) { EQ(mq_receive(q, b, 4, &p), 1); order[i] = b[0]; EQ(p, i < 2 ? 9 : 1); }
    STREQ(order, "bdac");
}
TEST(waits) {
    mqd_t q = make(0, 1, 4);
    char b[4];
    pid_t p = CHILD({ for (int i = 0; i < 200; i++) OK(mq_send(q, (char *)&i, 4, 0)); });
    for (int i = 0; i < 200; i++) { EQ(mq_receive(q, b, 4, 0), 4); EQ(*(int *)b, i); }
    CODE(p, 0);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 10000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    ERR(mq_timedreceive(q, b, 4, 0, &t), ETIMEDOUT);
    t.tv_nsec = -1;
    ERR(mq_timedreceive(q, b, 4, 0, &t), EINVAL);
}
TEST(polls) {
    mqd_t q = make(0, 1, 4);
    struct pollfd x = {q, POLLIN | POLLOUT, 0};
    EQ(poll(&x, 1, 0), 1);
    EQ(x.revents, POLLOUT);
    OK(mq_send(q, "a", 1, 0));
    EQ(poll(&x, 1, 0), 1);
    EQ(x.revents, POLLIN);
    char s[100] = "";
    GE(pread(q, s, sizeof s, 0), 10);
    CHECK(!strncmp(s, "QSIZE:1 ", 8));
}
static volatile siginfo_t told;
static void on(int s, siginfo_t *i, void *c) { told = *i; }
TEST(notifies) {
    struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO};
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
    mqd_t q = make(0, 4, 4);
    sigaction(SIGUSR1, &a, 0);
    OK(mq_notify(q, &e));
    ERR(mq_notify(q, &e), EBUSY);
    CODE(CHILD(ERR(mq_notify(q, &e), EBUSY)), 0);
    pid_t p = CHILD(OK(mq_send(q, "a", 1, 0)));
    CODE(p, 0);
    EQ(told.si_signo, SIGUSR1); EQ(told.si_code, SI_MESGQ); EQ(told.si_pid, p); EQ(told.si_value.sival_int, 77);
    told.si_signo = 0;
    OK(mq_notify(q, &e)); // once only, and only for a queue that was empty
    OK(mq_send(q, "b", 1, 0));
    EQ(told.si_signo, 0);
    OK(mq_notify(q, 0));
    OK(mq_notify(q, &e));
    OK(mq_notify(q, 0));
    e.sigev_notify = 99;
    ERR(mq_notify(q, &e), EINVAL);
}
int main(void) {
    RUN(names); RUN(permissions); RUN(limits); RUN(priorities); RUN(waits); RUN(polls); RUN(notifies);
    DONE();
}
