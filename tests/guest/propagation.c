// Mounts that share what happens to them: peer groups, slaves, private and unbindable ones, between mount namespaces too (mount_namespaces(7)).
#include "t.h"
#include <sys/epoll.h>

static void tmpfs(const char *at) { OK(mount("none", at, "tmpfs", 0, "")); }
static void set(const char *at, int how) { OK(mount("none", at, NULL, how, NULL)); }
static void bound(const char *from, const char *to, int how) { OK(mount(from, to, NULL, MS_BIND | how, NULL)); }
static void dir(const char *name) { OK(mkdir(name, 0755)); }
static int there(const char *name) { return access(name, F_OK) == 0; }
// The optional fields of the topmost mount at this place of the working directory, "?" if nothing is mounted there.
static char *state(const char *at) {
    static char out[128];
    char cwd[256], want[300], *line, *save;
    CHECK(getcwd(cwd, sizeof cwd));
    snprintf(want, sizeof want, "%s/%s", cwd, at);
    strcpy(out, "?");
    for (line = strtok_r(t_get("/proc/self/mountinfo"), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char place[300];
        int skip = 0;
        EQ(sscanf(line, "%*d %*d %*s %*s %299s %*s %n", place, &skip), 1);
        if (strcmp(place, want)) continue;
        char *end = strstr(line + skip, "- ");
        snprintf(out, sizeof out, "%.*s", (int)(end - line - skip), line + skip);
    }
    return out;
}
// The number after this word of the state, 0 if there is none.
static int group(const char *at, const char *word) {
    char *s = strstr(state(at), word);
    return s ? atoi(s + strlen(word)) : 0;
}
static void own(void) {
    OK(unshare(CLONE_NEWNS));
    set("/", MS_REC | MS_PRIVATE);
    dir("a");
    dir("b");
    dir("c");
    tmpfs("a");
    dir("a/sub");
}
TEST(peers) {
    own();
    STREQ(state("a"), "");
    set("a", MS_SHARED);
    bound("a", "b", 0);
    GE(group("a", "shared:"), 1);
    EQ(group("b", "shared:"), group("a", "shared:"));
    tmpfs("a/sub");
    t_put("a/sub/f", "x");
    CHECK(there("b/sub/f"));
    EQ(group("b/sub", "shared:"), group("a/sub", "shared:"));
    CHECK(group("a/sub", "shared:") != group("a", "shared:"));
    OK(umount("b/sub"));
    CHECK(!there("a/sub/f"));
    set("b", MS_PRIVATE);
    STREQ(state("b"), "");
    tmpfs("a/sub");
    t_put("a/sub/f", "x");
    CHECK(!there("b/sub/f"));
}
TEST(slaves) {
    own();
    // Alone in its group it is nobody's slave.
    set("a", MS_SHARED);
    set("a", MS_SLAVE);
    STREQ(state("a"), "");
    set("a", MS_SHARED);
    bound("a", "b", 0);
    set("b", MS_SLAVE);
    EQ(group("b", "master:"), group("a", "shared:"));
    EQ(group("b", "shared:"), 0);
    set("b", MS_SHARED);
    bound("b", "c", 0);
    EQ(group("c", "shared:"), group("b", "shared:"));
    EQ(group("c", "master:"), group("a", "shared:"));
    tmpfs("a/sub");
    t_put("a/sub/f", "x");
    CHECK(there("b/sub/f") && there("c/sub/f"));
    EQ(group("c/sub", "shared:"), group("b/sub", "shared:"));
    EQ(group("c/sub", "master:"), group("a/sub", "shared:"));
    OK(umount("a/sub"));
    CHECK(!there("b/sub/f") && !there("c/sub/f"));
    // Not back to the master.
    tmpfs("b/sub");
    t_put("b/sub/g", "x");
    CHECK(there("c/sub/g") && !there("a/sub/g"));
    // Without its last member the group is gone, and with it who was its slave.
    OK(umount("b/sub"));
    OK(umount("a"));
    EQ(group("b", "master:"), 0);
    GE(group("b", "shared:"), 1);
}
TEST(unbindable) {
    own();
    set("a", MS_UNBINDABLE);
    STREQ(state("a"), "unbindable ");
    ERR(mount("a", "b", NULL, MS_BIND, NULL), EINVAL);
    set("a", MS_PRIVATE);
    tmpfs("a/sub");
    t_put("a/sub/f", "x");
    set("a/sub", MS_UNBINDABLE);
    bound("a", "b", MS_REC);
    CHECK(there("b/sub") && !there("b/sub/f"));
    ERR(mount("none", "a", NULL, MS_SHARED | MS_PRIVATE, NULL), EINVAL);
    ERR(mount("none", "a/sub/..", NULL, MS_SHARED | MS_BIND, NULL), ENOENT);
}
TEST(namespaces) {
    own();
    set("a", MS_SHARED);
    int go[2], done[2];
    char b;
    OK(pipe(go));
    OK(pipe(done));
    pid_t p = CHILD({
        OK(unshare(CLONE_NEWNS));
        int g = group("a", "shared:");
        GE(g, 1);
        EQ(write(done[1], "1", 1), 1);
        EQ(read(go[0], &b, 1), 1);
        CHECK(there("a/sub/f"));
        OK(umount("a/sub"));
        EQ(write(done[1], "2", 1), 1);
        EQ(read(go[0], &b, 1), 1);
        set("a", MS_SLAVE);
        tmpfs("a/sub");
        t_put("a/sub/mine", "x");
        EQ(write(done[1], "3", 1), 1);
        EQ(read(go[0], &b, 1), 1);
    });
    EQ(read(done[0], &b, 1), 1);
    int g = group("a", "shared:");
    tmpfs("a/sub");
    t_put("a/sub/f", "x");
    EQ(write(go[1], "1", 1), 1);
    EQ(read(done[0], &b, 1), 1);
    CHECK(!there("a/sub/f"));
    EQ(write(go[1], "2", 1), 1);
    EQ(read(done[0], &b, 1), 1);
    CHECK(!there("a/sub/mine"));
    EQ(group("a", "shared:"), g);
    EQ(write(go[1], "3", 1), 1);
    CODE(p, 0);
}
TEST(busy_and_covered) {
    own();
    set("a", MS_SHARED);
    bound("a", "b", 0);
    tmpfs("a/sub");
    int f = OK(open("b/sub", O_RDONLY));
    ERR(umount("a/sub"), EBUSY);
    close(f);
    // What covers a copy comes to light where the copy was.
    set("b/sub", MS_PRIVATE);
    tmpfs("b/sub");
    t_put("b/sub/cover", "x");
    OK(umount("a/sub"));
    CHECK(there("b/sub/cover"));
    CHECK(!there("a/sub/cover"));
    ERR(mount("a/sub", "c", NULL, MS_MOVE, NULL), EINVAL);
}
TEST(poll_tells_of_changes) {
    own();
    int f = OK(open("/proc/self/mountinfo", O_RDONLY)), e = OK(epoll_create1(0));
    struct epoll_event ev = {EPOLLPRI | EPOLLERR, {0}};
    OK(epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
    EQ(epoll_wait(e, &ev, 1, 0), 0);
    struct pollfd p = {f, POLLPRI, 0};
    EQ(poll(&p, 1, 0), 0);
    tmpfs("b");
    EQ(epoll_wait(e, &ev, 1, 0), 1);
    EQ(ev.events, EPOLLPRI | EPOLLERR);
    EQ(poll(&p, 1, 0), 0);
    OK(umount("b"));
    EQ(poll(&p, 1, 0), 1);
    EQ(p.revents, POLLPRI | POLLERR);
}
// What a tmpfs may hold is what it holds.
TEST(tmpfs_limits) {
    OK(unshare(CLONE_NEWNS));
    set("/", MS_REC | MS_PRIVATE);
    dir("a");
    OK(mount("none", "a", "tmpfs", 0, "size=16k,nr_inodes=4"));
    struct statfs s;
    OK(statfs("a", &s));
    EQ(s.f_blocks, 4);
    EQ(s.f_bfree, 4);
    EQ(s.f_files, 4);
    EQ(s.f_ffree, 3);
    char long_link[129], page[4096];
    memset(long_link, 'x', 128);
    long_link[128] = 0;
    OK(symlink(long_link, "a/l"));
    OK(statfs("a", &s));
    EQ(s.f_bfree, 3);
    int f = OK(open("a/f", O_CREAT | O_RDWR, 0600));
    memset(page, 1, sizeof page);
    for (int i = 0; i < 3; i++) EQ(write(f, page, sizeof page), (long)sizeof page);
    ERR(write(f, page, 1), ENOSPC);
    ERR(fallocate(f, 0, 0, 16384), ENOSPC);
    t_put("a/empty", "");
    ERR(open("a/more", O_CREAT | O_RDWR, 0600), ENOSPC);
    OK(unlink("a/l"));
    EQ(write(f, page, 4096), 4096);
    OK(statfs("a", &s));
    EQ(s.f_bfree, 0);
    ERR(mount("none", "a", NULL, MS_REMOUNT, "size=4k"), EINVAL);
    OK(mount("none", "a", NULL, MS_REMOUNT, "size=32k"));
    EQ(write(f, page, 4096), 4096);
}
int main(void) {
    RUN(peers); RUN(slaves); RUN(unbindable); RUN(namespaces); RUN(busy_and_covered); RUN(poll_tells_of_changes); RUN(tmpfs_limits);
    DONE();
}
