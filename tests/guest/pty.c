// Pseudo-terminals: the pair, the line discipline, control characters as signals, sizes, hang-ups.
#include "t.h"
#include <termios.h>

static int master, slave;
static char name[64];
static volatile sig_atomic_t seen;
static void on(int sig) { seen = sig; }

static void pair(void) {
    int unlock = 0;
    unsigned n;
    master = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    OK(ioctl(master, TIOCGPTN, &n));
    snprintf(name, sizeof name, "/dev/pts/%u", n);
    ERR(open(name, O_RDWR | O_NOCTTY), EIO); // locked as yet
    OK(ioctl(master, TIOCSPTLCK, &unlock));
    slave = OK(open(name, O_RDWR | O_NOCTTY));
}
static void raw(void) {
    struct termios t;
    OK(tcgetattr(slave, &t));
    cfmakeraw(&t);
    OK(tcsetattr(slave, TCSANOW, &t));
}
// Reads from FD until WANT is there, and nothing else.
static void expect(int fd, const char *want) {
    char got[200] = "";
    size_t n = 0;
    while (n < strlen(want)) {
        ssize_t r = OK(read(fd, got + n, strlen(want) - n));
        CHECK(r > 0);
        n += r;
    }
    STREQ(got, want);
}
TEST(opens_by_name) {
    struct stat st;
    pair();
    OK(stat(name, &st));
    CHECK(S_ISCHR(st.st_mode) && major(st.st_rdev) == 136);
    OK(fstat(master, &st));
    EQ(st.st_rdev, makedev(5, 2));
    CHECK(isatty(slave) && isatty(master));
    STREQ(ttyname(slave), name);
    close(OK(open("/dev/pts/ptmx", O_RDWR | O_NOCTTY)));
    close(slave);
    close(master);
    ERR(open(name, O_RDWR | O_NOCTTY), ENOENT);
}
TEST(output_is_cooked) {
    pair();
    write(slave, "a\nb", 3);
    expect(master, "a\r\nb");
    raw();
    write(slave, "a\n", 2);
    expect(master, "a\n");
}
TEST(lines_and_echo) {
    int n;
    pair();
    write(master, "ab", 2);
    expect(master, "ab");
    OK(ioctl(slave, FIONREAD, &n));
    EQ(n, 0); // no line yet
    write(master, "x\177c\n", 4);
    expect(master, "x\b \bc\r\n");
    expect(slave, "abc\n");
    write(master, "end\004", 4);
    expect(master, "end");
    expect(slave, "end");
    char c;
    write(master, "\004", 1);
    EQ(read(slave, &c, 1), 0);
}
TEST(interrupt_reaches_the_foreground) {
    pair();
    pid_t p = CHILD({
        signal(SIGINT, on);
        setsid();
        OK(ioctl(slave, TIOCSCTTY, 0));
        EQ(tcgetpgrp(slave), getpid());
        close(OK(open("/dev/tty", O_RDWR)));
        write(slave, "ready", 5);
        while (!seen) t_sleep(2);
        EQ(seen, SIGINT);
        write(slave, "!", 1);
    });
    expect(master, "ready");
    write(master, "\003", 1);
    expect(master, "^C!");
    CODE(p, 0);
}
TEST(who_gets_a_controlling_terminal) {
    CODE(CHILD({
        setsid();
        pair(); // neither ptmx nor O_NOCTTY gives one
        close(OK(open("/dev/ptmx", O_RDWR)));
        ERR(open("/dev/tty", O_RDWR), ENXIO);
        CODE(CHILD({ setsid(); OK(ioctl(slave, TIOCSCTTY, 0)); EQ(tcgetsid(slave), getpid()); signal(SIGHUP, SIG_IGN); }), 0);
        ERR(tcgetsid(slave), ENOTTY); // its session has ended
    }), 0);
    CODE(CHILD({
        pair();
        setsid();
        close(OK(open(name, O_RDWR)));
        close(OK(open("/dev/tty", O_RDWR)));
        OK(ioctl(slave, TIOCSCTTY, 0)); // it has it already
        EQ(tcgetsid(slave), getpid());
    }), 0);
}
TEST(size_changes_signal) {
    struct winsize w = {30, 100, 0, 0}, got;
    pair();
    pid_t p = CHILD({
        signal(SIGWINCH, on);
        setsid();
        OK(ioctl(slave, TIOCSCTTY, 0));
        write(slave, "r", 1);
        while (!seen) t_sleep(2);
        OK(ioctl(slave, TIOCGWINSZ, &got));
        EQ(got.ws_row, 30);
        EQ(got.ws_col, 100);
    });
    expect(master, "r");
    OK(ioctl(master, TIOCSWINSZ, &w));
    CODE(p, 0);
}
TEST(hang_ups) {
    char c;
    pair();
    write(slave, "x", 1);
    close(slave);
    expect(master, "x");
    ERR(read(master, &c, 1), EIO);
    struct pollfd f = {master, POLLIN, 0};
    EQ(poll(&f, 1, 0), 1);
    CHECK(f.revents & POLLHUP);
    slave = OK(open(name, O_RDWR | O_NOCTTY)); // comes back to life
    EQ(poll(&f, 1, 0), 0);
    close(master);
    EQ(read(slave, &c, 1), 0);
    ERR(write(slave, "x", 1), EIO);
}
TEST(leader_of_a_closed_terminal_is_hung_up) {
    pair();
    pid_t p = CHILD({
        setsid();
        OK(ioctl(slave, TIOCSCTTY, 0));
        close(master);
        for (;;) pause();
    });
    t_state(p, 'S');
    t_sleep(50);
    close(slave);
    close(master);
    KILLED(p, SIGHUP);
}
// More than the line discipline holds waits for room; a line that is too long loses what is too much, and not its end.
static int waiting(void) { int n; OK(ioctl(slave, FIONREAD, &n)); return n; }
TEST(long_input) {
    static char in[4100], out[8192];
    pair();
    memset(in, 'M', sizeof in);
    struct termios t;
    OK(tcgetattr(slave, &t));
    t.c_lflag &= ~(ICANON | ECHO);
    OK(tcsetattr(slave, TCSANOW, &t));
    for (int done = 0; done < (int)sizeof in;) done += OK(write(master, in + done, sizeof in - done));
    UNTIL(waiting() == 4095);
    EQ(write(master, "\n", 1), 1);
    t.c_lflag |= ICANON;
    OK(tcsetattr(slave, TCSANOW, &t));
    EQ(read(slave, out, sizeof out), 4095);
    UNTIL(waiting() == 6);
    EQ(read(slave, out, sizeof out), 6);
    for (int i = 0; i < 2; i++) {
        for (int done = 0; done < (int)sizeof in;) done += OK(write(master, in + done, sizeof in - done));
        EQ(write(master, "\n", 1), 1);
    }
    for (int i = 0; i < 2; i++) {
        UNTIL(waiting() >= 4096);
        EQ(read(slave, out, sizeof out), 4096);
        EQ(out[4095], '\n');
    }
}
TEST(characters_are_erased_whole) {
    pair();
    struct termios t;
    char b[16];
    OK(tcgetattr(slave, &t));
    t.c_iflag |= IUTF8;
    t.c_lflag &= ~ECHO;
    OK(tcsetattr(slave, TCSANOW, &t));
    EQ(write(master, "a\xc3\xa4\x7f\n", 5), 5);
    EQ(read(slave, b, sizeof b), 2);
    // The rest of a character without its beginning stays.
    EQ(write(master, "\x80\x7f\n", 3), 3);
    EQ(read(slave, b, sizeof b), 2);
    EQ((unsigned char)b[0], 0x80);
}
TEST(peer_without_a_name) {
    pair();
    int f = OK(ioctl(master, 0x5441 /* TIOCGPTPEER */, O_RDWR | O_NOCTTY | O_CLOEXEC));
    EQ(fcntl(f, F_GETFD), FD_CLOEXEC);
    raw();
    EQ(write(f, "hi", 2), 2);
    expect(master, "hi");
    struct stat a, b;
    OK(fstat(f, &a));
    OK(fstat(slave, &b));
    EQ(a.st_rdev, b.st_rdev);
    CODE(CHILD({
        signal(SIGHUP, SIG_IGN);
        OK(setsid());
        close(f);
        f = OK(ioctl(master, 0x5441, O_RDWR));
        OK(ioctl(f, TIOCNOTTY));
    }), 0);
    CODE(CHILD({ signal(SIGHUP, SIG_IGN); OK(setsid()); OK(ioctl(master, TIOCSCTTY, 0)); int g = OK(open("/dev/tty", O_RDWR)); struct stat c; OK(fstat(g, &c)); }), 0);
}
// What the controller flushes is its own, and nobody is told.
TEST(flushes) {
    int on = 1;
    pair();
    raw();
    OK(ioctl(master, TIOCPKT, &on));
    struct pollfd p = {master, POLLIN | POLLPRI, 0}, w = {slave, POLLOUT, 0};
    for (int what = TCIFLUSH; what <= TCIOFLUSH; what++) {
        OK(ioctl(master, TCFLSH, what));
        EQ(poll(&p, 1, 0), 0);
    }
    OK(fcntl(slave, F_SETFL, O_NONBLOCK));
    char b[512] = "";
    while (write(slave, b, sizeof b) > 0 || (usleep(20000), write(slave, b, sizeof b)) > 0) {}
    EQ(poll(&w, 1, 0), 0);
    OK(ioctl(master, TCFLSH, TCIFLUSH));
    EQ(poll(&w, 1, 5000), 1);
    OK(ioctl(slave, TCFLSH, TCIFLUSH));
    EQ(poll(&p, 1, 5000), 1);
    CHECK(p.revents & POLLPRI);
    ERR(ioctl(master, TCFLSH, 7), EINVAL);
}
int main(void) {
    RUN(opens_by_name); RUN(output_is_cooked); RUN(lines_and_echo); RUN(interrupt_reaches_the_foreground);
    RUN(who_gets_a_controlling_terminal); RUN(size_changes_signal); RUN(hang_ups); RUN(leader_of_a_closed_terminal_is_hung_up);
    RUN(long_input); RUN(characters_are_erased_whole); RUN(peer_without_a_name); RUN(flushes);
    DONE();
}
