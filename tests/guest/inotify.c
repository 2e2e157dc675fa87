//: dirs /tmp /work
// inotify: events of files and directories, moves with cookies, masks, overflow of buffers, removal.
#include "t.h"
#include <sys/inotify.h>

static int in;
static char buf[16384];
static int at, have;
// The next event, or mask 0 when there is none.
static struct inotify_event *next(void) {
    static struct inotify_event none;
    if (at >= have) {
        struct pollfd p = {in, POLLIN, 0};
        at = 0;
        have = poll(&p, 1, 100) == 1 ? read(in, buf, sizeof buf) : 0;
        if (have <= 0) { have = 0; return &none; }
    }
    struct inotify_event *e = (void *)(buf + at);
    at += sizeof *e + e->len;
    return e;
}
static void expect(unsigned mask, const char *name) {
    struct inotify_event *e = next();
    if (e->mask != mask || strcmp(e->len ? e->name : "", name)) FAIL("event %#x \"%s\", not %#x \"%s\"", e->mask, e->len ? e->name : "", mask, name);
}
static int watch(const char *p, unsigned mask) { in = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); return OK(inotify_add_watch(in, p, mask)); }
TEST(directory_events) {
    watch(".", IN_ALL_EVENTS & ~IN_ACCESS);
    t_put("f", "x");
    expect(IN_CREATE, "f"); expect(IN_OPEN, "f"); expect(IN_MODIFY, "f"); expect(IN_CLOSE_WRITE, "f");
    chmod("f", 0600);
    expect(IN_ATTRIB, "f");
    mkdir("d", 0755);
    expect(IN_CREATE | IN_ISDIR, "d");
    rmdir("d");
    expect(IN_DELETE | IN_ISDIR, "d");
    unlink("f");
    expect(IN_DELETE, "f");
    expect(0, "");
}
TEST(moves_share_a_cookie) {
    mkdir("a", 0755); mkdir("b", 0755); t_put("a/f", "");
    watch("a", IN_MOVE);
    OK(inotify_add_watch(in, "b", IN_MOVE));
    rename("a/f", "b/g");
    struct inotify_event *e = next();
    EQ(e->mask, IN_MOVED_FROM);
    unsigned c = e->cookie;
    CHECK(c);
    e = next();
    EQ(e->mask, IN_MOVED_TO); EQ(e->cookie, c);
    STREQ(e->name, "g");
}
TEST(self_events) {
    t_put("f", "x");
    watch("f", IN_ALL_EVENTS);
    int f = OK(open("f", O_RDONLY));
    char c;
    expect(IN_OPEN, "");
    read(f, &c, 1);
    expect(IN_ACCESS, "");
    close(f);
    expect(IN_CLOSE_NOWRITE, "");
    rename("f", "g");
    expect(IN_MOVE_SELF, "");
    unlink("g");
    expect(IN_ATTRIB, ""); expect(IN_DELETE_SELF, ""); expect(IN_IGNORED, "");
}
TEST(rm_watch_and_errors) {
    int w = watch(".", IN_CREATE);
    ERR(inotify_rm_watch(in, 999), EINVAL);
    OK(inotify_rm_watch(in, w));
    expect(IN_IGNORED, "");
    ERR(inotify_add_watch(in, "none", IN_CREATE), ENOENT);
    ERR(inotify_add_watch(in, ".", 0), EINVAL);
    ERR(inotify_add_watch(0, ".", IN_CREATE), EINVAL);
    t_put("f", "");
    ERR(inotify_add_watch(in, "f", IN_CREATE | IN_ONLYDIR), ENOTDIR);
    ERR(inotify_init1(0x777), EINVAL);
    ERR(read(in, buf, 100), EAGAIN);
}
TEST(oneshot_mask_add_and_small_buffer) {
    int w = watch(".", IN_CREATE | IN_ONESHOT);
    t_put("a", "");
    expect(IN_CREATE, "a"); expect(IN_IGNORED, "");
    t_put("b", "");
    expect(0, "");
    w = OK(inotify_add_watch(in, ".", IN_CREATE));
    EQ(inotify_add_watch(in, ".", IN_DELETE | IN_MASK_ADD), w);
    t_put("c", "");
    ERR(read(in, buf, 10), EINVAL);
    int n = 0;
    OK(ioctl(in, FIONREAD, &n));
    EQ(n, 32);
    expect(IN_CREATE, "c");
    unlink("c");
    expect(IN_DELETE, "c");
}
TEST(same_events_merge) {
    t_put("f", "");
    watch("f", IN_MODIFY);
    int f = OK(open("f", O_WRONLY));
    for (int i = 0; i < 5; i++) write(f, "x", 1);
    expect(IN_MODIFY, "");
    expect(0, "");
}
TEST(what_modifies) {
    struct inotify_event e;
    char name[32];
    int w = OK(inotify_init1(IN_NONBLOCK)), f = OK(open("f", O_CREAT | O_RDWR, 0600));
    OK(inotify_add_watch(w, "f", IN_MODIFY));
    EQ(write(f, name, 0), 0);
    ERR(read(w, &e, sizeof e), EAGAIN);
    OK(fallocate(f, 0, 0, 100));
    EQ(read(w, &e, sizeof e), (long)sizeof e);
    EQ(e.mask, IN_MODIFY);
}
// Who is gone, or has a name more, hears of it before its directory does; one time alone is an access or a change.
TEST(own_events_come_first) {
    mkdir("d", 0755);
    t_put("f", "");
    watch(".", IN_ALL_EVENTS);
    OK(inotify_add_watch(in, "d", IN_ALL_EVENTS));
    OK(inotify_add_watch(in, "f", IN_ALL_EVENTS));
    OK(rmdir("d"));
    expect(IN_DELETE_SELF, ""); expect(IN_IGNORED, ""); expect(IN_DELETE | IN_ISDIR, "d");
    OK(link("f", "g"));
    expect(IN_ATTRIB, ""); expect(IN_CREATE, "g");
    OK(unlink("g"));
    expect(IN_ATTRIB, ""); expect(IN_DELETE, "g");
    struct timespec t[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    OK(utimensat(AT_FDCWD, "f", t, 0));
    expect(IN_ACCESS, "f"); expect(IN_ACCESS, "");
    t[0].tv_nsec = UTIME_OMIT;
    t[1].tv_nsec = UTIME_NOW;
    OK(utimensat(AT_FDCWD, "f", t, 0));
    expect(IN_MODIFY, "f"); expect(IN_MODIFY, "");
    OK(utimensat(AT_FDCWD, "f", NULL, 0));
    expect(IN_ATTRIB, "f"); expect(IN_ATTRIB, "");
    OK(unlink("f"));
    expect(IN_ATTRIB, ""); expect(IN_DELETE_SELF, ""); expect(IN_IGNORED, ""); expect(IN_DELETE, "f");
    expect(0, "");
}
int main(void) {
    RUN(directory_events); RUN(moves_share_a_cookie); RUN(self_events); RUN(rm_watch_and_errors); RUN(oneshot_mask_add_and_small_buffer);
    RUN(same_events_merge);
    RUN(what_modifies); RUN(own_events_come_first);
    DONE();
}
