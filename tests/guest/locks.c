//: dirs /tmp /work
// POSIX, OFD and flock locks; leases are refused honestly.
#include "t.h"
#include <sys/file.h>

static int lk(int f, int cmd, int type, long start, long len) { struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len}; return fcntl(f, cmd, &l); }
TEST(posix_between_processes) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(lk(f, F_SETLK, F_WRLCK, 10, 10));
    pid_t me = getpid();
    CODE(CHILD({
        ERR(lk(f, F_SETLK, F_RDLCK, 15, 1), EAGAIN);
        OK(lk(f, F_SETLK, F_WRLCK, 0, 10));
        OK(lk(f, F_SETLK, F_WRLCK, 20, 0));
        struct flock l = {.l_type = F_RDLCK, .l_start = 0, .l_len = 0};
        OK(fcntl(f, F_GETLK, &l));
        EQ(l.l_type, F_WRLCK); EQ(l.l_start, 10); EQ(l.l_len, 10); EQ(l.l_pid, me);
    }), 0);
    OK(lk(f, F_SETLK, F_UNLCK, 12, 2)); // splits
    CODE(CHILD({ OK(lk(f, F_SETLK, F_WRLCK, 12, 2)); ERR(lk(f, F_SETLK, F_WRLCK, 14, 1), EAGAIN); }), 0);
}
TEST(posix_shared_and_upgrade) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600)), r = OK(open("f", O_RDONLY));
    OK(lk(f, F_SETLK, F_RDLCK, 0, 0));
    CODE(CHILD({ OK(lk(f, F_SETLK, F_RDLCK, 0, 0)); ERR(lk(f, F_SETLK, F_WRLCK, 0, 0), EAGAIN); }), 0);
    OK(lk(f, F_SETLK, F_WRLCK, 0, 0));
    ERR(lk(r, F_SETLK, F_WRLCK, 0, 0), EBADF);
    ERR(lk(f, F_SETLK, 77, 0, 0), EINVAL);
    ERR(lk(f, F_SETLK, F_RDLCK, -5, 1), EINVAL);
}
TEST(posix_blocks_and_wakes) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(lk(f, F_SETLK, F_WRLCK, 0, 0));
    int p2[2];
    char c = 0;
    OK(pipe(p2));
    // What the pipe says tells who was first: the child writes only once it has the lock.
    pid_t p = CHILD({ OK(lk(f, F_SETLKW, F_WRLCK, 0, 0)); EQ(write(p2[1], "c", 1), 1); });
    t_sleep(60);
    EQ(write(p2[1], "p", 1), 1);
    OK(lk(f, F_SETLK, F_UNLCK, 0, 0));
    CODE(p, 0);
    EQ(read(p2[0], &c, 1), 1);
    EQ(c, 'p');
    EQ(read(p2[0], &c, 1), 1);
    EQ(c, 'c');
}
TEST(posix_close_releases_all) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(lk(f, F_SETLK, F_WRLCK, 0, 0));
    close(OK(open("f", O_RDONLY)));
    CODE(CHILD(OK(lk(f, F_SETLK, F_WRLCK, 0, 0))), 0);
}
TEST(posix_exit_releases_and_fork_does_not_inherit) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    CODE(CHILD(OK(lk(f, F_SETLK, F_WRLCK, 0, 0))), 0);
    OK(lk(f, F_SETLK, F_WRLCK, 0, 0));
    CODE(CHILD(ERR(lk(f, F_SETLK, F_WRLCK, 0, 0), EAGAIN)), 0);
}
TEST(posix_deadlock) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(lk(f, F_SETLK, F_WRLCK, 0, 1));
    pid_t p = CHILD({ OK(lk(f, F_SETLK, F_WRLCK, 1, 1)); OK(lk(f, F_SETLKW, F_WRLCK, 0, 1)); });
    t_sleep(60);
    ERR(lk(f, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
    OK(lk(f, F_SETLK, F_UNLCK, 0, 1));
    CODE(p, 0);
}
TEST(ofd) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600)), g = OK(open("f", O_RDWR));
    OK(lk(f, F_OFD_SETLK, F_WRLCK, 0, 10));
    ERR(lk(g, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
    ERR(lk(f, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
    CODE(CHILD(OK(lk(f, F_OFD_SETLK, F_WRLCK, 0, 20))), 0);
    struct flock l = {.l_type = F_WRLCK};
    OK(fcntl(g, F_OFD_GETLK, &l));
    EQ(l.l_pid, -1); EQ(l.l_len, 20);
    close(OK(open("f", O_RDONLY)));
    ERR(lk(g, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
    int d = OK(dup(f));
    close(f);
    ERR(lk(g, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
    close(d);
    OK(lk(g, F_OFD_SETLK, F_WRLCK, 5, 1));
}
TEST(flock_rules) {
    int f = OK(open("f", O_RDONLY | O_CREAT, 0600)), g = OK(open("f", O_RDONLY));
    OK(flock(f, LOCK_EX));
    ERR(flock(g, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    OK(flock(f, LOCK_SH));
    OK(flock(g, LOCK_SH | LOCK_NB));
    ERR(flock(f, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    OK(flock(f, LOCK_UN));
    OK(flock(g, LOCK_EX | LOCK_NB));
    ERR(flock(g, 0), EINVAL);
    ERR(flock(999, LOCK_EX), EBADF);
    CODE(CHILD(OK(flock(g, LOCK_UN))), 0); // one description, shared by fork
    OK(flock(f, LOCK_EX | LOCK_NB));
}
TEST(flock_released_by_last_close) {
    int f = OK(open("f", O_RDONLY | O_CREAT, 0600)), g = OK(open("f", O_RDONLY));
    OK(flock(f, LOCK_EX));
    int d = OK(dup(f));
    close(f);
    ERR(flock(g, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    close(d);
    OK(flock(g, LOCK_EX | LOCK_NB));
}
int main(void) {
    RUN(posix_between_processes); RUN(posix_shared_and_upgrade); RUN(posix_blocks_and_wakes); RUN(posix_close_releases_all);
    RUN(posix_exit_releases_and_fork_does_not_inherit); RUN(posix_deadlock); RUN(ofd); RUN(flock_rules); RUN(flock_released_by_last_close);
    DONE();
}
