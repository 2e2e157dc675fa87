//: dirs /tmp /work
// Pipes and FIFOs: sizes, atomicity, blocking, ends; splice, tee, vmsplice, sendfile, copy_file_range.
#include "t.h"
#include <sys/sendfile.h>

static int rd, wr;
static char big[1 << 20];
static void mk(int flags) { int p[2]; OK(pipe2(p, flags)); rd = p[0], wr = p[1]; }
TEST(capacity) {
    mk(O_NONBLOCK);
    EQ(fcntl(rd, F_GETPIPE_SZ), 65536);
    EQ(write(wr, big, sizeof big), 65536);
    ERR(write(wr, big, 1), EAGAIN);
    int n;
    OK(ioctl(rd, FIONREAD, &n));
    EQ(n, 65536);
    EQ(read(rd, big, 4095), 4095);
    ERR(write(wr, big, 4096), EAGAIN); // at most PIPE_BUF: all or nothing
    EQ(read(rd, big, 1), 1);
    EQ(write(wr, big, 4096), 4096);
}
TEST(set_size) {
    mk(O_NONBLOCK);
    EQ(fcntl(wr, F_SETPIPE_SZ, 100), 4096);
    EQ(write(wr, big, 10000), 4096);
    EQ(fcntl(wr, F_SETPIPE_SZ, 0), 4096);
    EQ(fcntl(wr, F_SETPIPE_SZ, 1 << 20), 1 << 20);
    EQ(write(wr, big, sizeof big), (1 << 20) - 4096);
    ERR(fcntl(wr, F_SETPIPE_SZ, 4096), EBUSY);
    ERR(fcntl(0, F_GETPIPE_SZ + 100), EINVAL);
}
TEST(ends) {
    char c;
    mk(0);
    ERR(read(wr, &c, 1), EBADF);
    ERR(write(rd, &c, 1), EBADF);
    ERR(lseek(rd, 0, SEEK_SET), ESPIPE);
    ERR(pread(rd, &c, 1, 0), ESPIPE);
    write(wr, "ab", 2);
    close(wr);
    EQ(read(rd, &c, 1), 1);
    EQ(read(rd, &c, 1), 1);
    EQ(read(rd, &c, 1), 0);
    ERR(pipe2((int[2]){0}, 0x7), EINVAL);
    ERR(pipe((void *)8), EFAULT);
}
TEST(polling) {
    mk(0);
    struct pollfd p[2] = {{rd, POLLIN, 0}, {wr, POLLOUT, 0}};
    EQ(poll(p, 2, 0), 1);
    EQ(p[1].revents, POLLOUT);
    write(wr, "x", 1);
    EQ(poll(p, 2, 0), 2);
    EQ(p[0].revents, POLLIN);
    close(wr);
    EQ(poll(p, 1, 0), 1);
    EQ(p[0].revents, POLLIN | POLLHUP);
    mk(0);
    close(rd);
    p[0] = (struct pollfd){wr, POLLOUT, 0};
    EQ(poll(p, 1, 0), 1);
    EQ(p[0].revents, POLLOUT | POLLERR);
}
TEST(small_writes_are_atomic) {
    mk(0);
    pid_t w[3];
    for (int i = 0; i < 3; i++) w[i] = CHILD({ char b[1000]; memset(b, 'a' + i, 1000); for (int k = 0; k < 100; k++) EQ(write(wr, b, 1000), 1000); });
    close(wr);
    char b[1000];
    for (int k = 0; k < 300; k++) {
        int n = 0, r;
        while (n < 1000 && (r = read(rd, b + n, 1000 - n)) > 0) n += r;
        EQ(n, 1000);
        for (int i = 1; i < 1000; i++) EQ(b[i], b[0]);
    }
    for (int i = 0; i < 3; i++) CODE(w[i], 0);
}
TEST(large_blocking_write) {
    mk(0);
    pid_t p = CHILD({ for (unsigned i = 0; i < sizeof big; i++) big[i] = i * 7; EQ(write(wr, big, sizeof big), (long)sizeof big); });
    close(wr);
    unsigned n = 0;
    int r;
    static unsigned char b[5000];
    while ((r = read(rd, b, sizeof b)) > 0) for (int i = 0; i < r; i++, n++) EQ(b[i], (unsigned char)(n * 7));
    EQ(n, sizeof big);
    CODE(p, 0);
}
static volatile sig_atomic_t signals;
static void count_signal(int s) { (void)s; signals++; }
TEST(write_cut_by_the_reader_signals) {
    mk(0);
    signal(SIGPIPE, count_signal);
    int me = getpid(), end = rd;
    pid_t p = CHILD({ close(wr); t_state(me, 'S'); close(end); });
    close(rd);
    EQ(write(wr, big, sizeof big), 65536);
    EQ(signals, 1);
    ERR(write(wr, big, 1), EPIPE);
    EQ(signals, 2);
    CODE(p, 0);
}
TEST(read_into_memory_that_ends) {
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    OK(mprotect(m + 4096, 4096, PROT_NONE));
    t_put("f", "0123456789");
    int f = OK(open("f", O_RDONLY));
    EQ(read(f, m + 4094, 10), 2);
    CHECK(!memcmp(m + 4094, "01", 2));
    ERR(pread(f, m, 10, LONG_MAX), EINVAL);
    int d = OK(open(".", O_RDONLY));
    EQ(syscall(SYS_getdents64, d, m + 4096 - 30, 4096), 24); // one entry fits
    ERR(syscall(SYS_getdents64, d, m + 4096, 4096), EFAULT);
    ERR(sendfile(1, f, 0, -1), EINVAL);
}
TEST(packet_mode) {
    char b[10];
    mk(O_DIRECT);
    write(wr, "abc", 3);
    write(wr, "defgh", 5);
    EQ(read(rd, b, 10), 3);
    EQ(read(rd, b, 2), 2);
    write(wr, "z", 1);
    EQ(read(rd, b, 10), 1);
    EQ(b[0], 'z');
}
TEST(fifo) {
    char c;
    OK(mkfifo("p", 0600));
    ERR(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
    int r = OK(open("p", O_RDONLY | O_NONBLOCK));
    EQ(read(r, &c, 1), 0);
    int w = OK(open("p", O_WRONLY));
    ERR(read(r, &c, 1), EAGAIN);
    EQ(write(w, "q", 1), 1);
    EQ(read(r, &c, 1), 1);
    close(w);
    close(r);
    pid_t p = CHILD({ int f = OK(open("p", O_WRONLY)); EQ(write(f, "hello", 5), 5); });
    r = OK(open("p", O_RDONLY)); // waits for the writer
    char b[10];
    EQ(read(r, b, 10), 5);
    CODE(p, 0);
    int rw = OK(open("p", O_RDWR)); // never waits
    EQ(write(rw, "x", 1), 1);
}
TEST(reopened_through_proc) {
    char path[64], c;
    mk(0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", wr);
    int w = OK(open(path, O_WRONLY));
    EQ(write(w, "z", 1), 1);
    EQ(read(rd, &c, 1), 1);
    char to[64] = "";
    readlink(path, to, 63);
    CHECK(!strncmp(to, "pipe:[", 6));
    close(rd);
    OK(open(path, O_WRONLY | O_NONBLOCK)); // without a name it waits for nobody
    write(OK(open(path, O_RDWR)), "y", 1);
}
TEST(splice_and_tee) {
    mk(0);
    int r2[2], f;
    char b[20] = "";
    CHECK(!pipe(r2));
    t_put("f", "0123456789");
    f = OK(open("f", O_RDONLY));
    loff_t off = 2;
    EQ(splice(f, &off, wr, 0, 5, 0), 5);
    EQ(off, 7);
    EQ(lseek(f, 0, SEEK_CUR), 0);
    EQ(tee(rd, r2[1], 100, 0), 5);
    EQ(read(r2[0], b, 20), 5);
    CHECK(!memcmp(b, "23456", 5));
    int o = OK(open("o", O_CREAT | O_RDWR, 0600));
    EQ(splice(rd, 0, o, 0, 100, 0), 5);
    STREQ(t_get("o"), "23456");
    ERR(splice(f, 0, o, 0, 5, 0), EINVAL);
    ERR(splice(rd, &off, o, 0, 5, 0), ESPIPE);
    ERR(splice(rd, 0, o, 0, 5, SPLICE_F_NONBLOCK), EAGAIN);
    ERR(tee(rd, wr, 1, 0), EINVAL);
    int a = OK(open("o", O_WRONLY | O_APPEND));
    write(wr, "x", 1);
    ERR(splice(rd, 0, a, 0, 1, 0), EINVAL);
}
TEST(vmsplice) {
    mk(0);
    char b[10];
    struct iovec v[2] = {{"abc", 3}, {"de", 2}}, o = {b, 10};
    EQ(vmsplice(wr, v, 2, 0), 5);
    EQ(vmsplice(rd, &o, 1, 0), 5);
    CHECK(!memcmp(b, "abcde", 5));
    ERR(vmsplice(OK(open("/dev/null", O_RDWR)), v, 1, 0), EBADF);
}
TEST(sendfile_paths) {
    mk(0);
    t_put("f", "0123456789");
    int f = OK(open("f", O_RDONLY)), o = OK(open("o", O_CREAT | O_RDWR, 0600)), s[2];
    off_t off = 3;
    char b[20];
    EQ(sendfile(wr, f, &off, 4), 4);
    EQ(off, 7);
    EQ(read(rd, b, 20), 4);
    EQ(sendfile(o, f, 0, 100), 10);
    EQ(lseek(f, 0, SEEK_CUR), 10);
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    off = 0;
    EQ(sendfile(s[0], f, &off, 10), 10);
    EQ(read(s[1], b, 20), 10);
    ERR(sendfile(o, rd, 0, 1), EINVAL);
    ERR(sendfile(f, f, 0, 1), EBADF);
}
TEST(copy_file_range_rules) {
    t_put("a", "0123456789");
    int a = OK(open("a", O_RDONLY)), b = OK(open("b", O_CREAT | O_RDWR, 0600));
    loff_t x = 5, y = 2;
    EQ(copy_file_range(a, &x, b, &y, 100, 0), 5);
    EQ(x, 10); EQ(y, 7);
    EQ(lseek(b, 0, SEEK_END), 7);
    EQ(copy_file_range(a, 0, b, 0, 3, 0), 3);
    ERR(copy_file_range(a, 0, b, 0, 3, 1), EINVAL);
    ERR(copy_file_range(b, 0, a, 0, 3, 0), EBADF);
    ERR(copy_file_range(b, &(loff_t){0}, b, &(loff_t){1}, 5, 0), EINVAL);
}
int main(void) {
    RUN(capacity); RUN(set_size); RUN(ends); RUN(polling); RUN(small_writes_are_atomic); RUN(large_blocking_write); RUN(write_cut_by_the_reader_signals); RUN(read_into_memory_that_ends); RUN(packet_mode);
    RUN(fifo); RUN(reopened_through_proc); RUN(splice_and_tee); RUN(vmsplice); RUN(sendfile_paths); RUN(copy_file_range_rules);
    DONE();
}
