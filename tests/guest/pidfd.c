// pidfds: open, poll, signal, getfd, waitid.
#include "t.h"

TEST(open_errors) {
    ERR(syscall(SYS_pidfd_open, 0, 0), EINVAL);
    ERR(syscall(SYS_pidfd_open, -1, 0), EINVAL);
    ERR(syscall(SYS_pidfd_open, 4000000, 0), ESRCH);
    ERR(syscall(SYS_pidfd_open, getpid(), 0x10000000), EINVAL);
    int fd = OK(syscall(SYS_pidfd_open, getpid(), 0));
    EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}
TEST(poll_on_exit) {
    pid_t p = CHILD(t_sleep(60));
    int fd = OK(syscall(SYS_pidfd_open, p, 0));
    struct pollfd x = {fd, POLLIN, 0};
    EQ(poll(&x, 1, 0), 0);
    EQ(poll(&x, 1, 5000), 1);
    EQ(x.revents, POLLIN);
    CODE(p, 0);
    x.revents = 0;
    EQ(poll(&x, 1, 0), 1);
    CHECK(x.revents & POLLIN);
}
TEST(send_signal) {
    pid_t p = CHILD(pause());
    int fd = OK(syscall(SYS_pidfd_open, p, 0));
    OK(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
    ERR(syscall(SYS_pidfd_send_signal, fd, 100, 0, 0), EINVAL);
    OK(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    KILLED(p, SIGTERM);
    ERR(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0), ESRCH);
    ERR(syscall(SYS_pidfd_send_signal, 0, SIGTERM, 0, 0), EBADF);
}
TEST(getfd) {
    int pp[2];
    CHECK(!pipe(pp));
    pid_t p = CHILD(pause());
    int fd = OK(syscall(SYS_pidfd_open, p, 0));
    int other = OK(syscall(SYS_pidfd_getfd, fd, pp[1], 0));
    EQ(write(other, "x", 1), 1);
    char c;
    EQ(read(pp[0], &c, 1), 1);
    ERR(syscall(SYS_pidfd_getfd, fd, 999, 0), EBADF);
    ERR(syscall(SYS_pidfd_getfd, fd, 0, 1), EINVAL);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
// A process that does not let itself be looked at keeps its files from others of its user.
static int taken_from(int dumpable) {
    int up[2];
    CHECK(!pipe(up));
    pid_t p = CHILD({
        if (setgid(1234) || setuid(1234) || prctl(PR_SET_DUMPABLE, dumpable)) _exit(1);
        write(up[1], "x", 1);
        pause();
    });
    char c;
    EQ(read(up[0], &c, 1), 1);
    pid_t q = CHILD({
        if (setgid(1234) || setuid(1234)) _exit(200);
        int fd = syscall(SYS_pidfd_open, p, 0);
        _exit(syscall(SYS_pidfd_getfd, fd, up[1], 0) < 0 ? errno : 0);
    });
    int st = t_wait(q);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
    return st;
}
TEST(getfd_asks) {
    if (getuid()) return;
    EQ(taken_from(1), 0);
    EQ(taken_from(0), EPERM << 8);
}
TEST(no_read_write) {
    char c;
    int fd = OK(syscall(SYS_pidfd_open, getpid(), 0));
    ERR(read(fd, &c, 1), EINVAL);
    ERR(write(fd, &c, 1), EINVAL);
    CHECK(strstr(t_get("/proc/self/fdinfo/0"), "flags:"));
}
TEST(fdinfo_pid) {
    pid_t p = CHILD(pause());
    char path[64], want[64];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%ld", OK(syscall(SYS_pidfd_open, p, 0)));
    snprintf(want, sizeof want, "Pid:\t%d\n", p);
    CHECK(strstr(t_get(path), want));
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
    CHECK(strstr(t_get(path), "Pid:\t-1\n"));
}
TEST(kill_errors) {
    ERR(kill(4000000, 0), ESRCH);
    ERR(kill(getpid(), 65), EINVAL);
    ERR(kill(getpid(), -1), EINVAL);
    ERR(kill(-4000000, 0), ESRCH);
}
int main(void) {
    RUN(open_errors); RUN(poll_on_exit); RUN(send_signal); RUN(getfd); RUN(getfd_asks); RUN(no_read_write); RUN(fdinfo_pid); RUN(kill_errors);
    DONE();
}
