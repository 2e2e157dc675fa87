//: driver
// Random sequences of calls from a seed: prints each call's result and, at the end, a hash of everything it left.
// The same seed gives the same sequence, so host and sandbox can be compared line by line.
#include "t.h"
#include <dirent.h>
#include <sys/xattr.h>

static uint64_t seed;
static unsigned rnd(unsigned n) { seed = seed * 6364136223846793005ull + 1442695040888963407ull; return (seed >> 33) % n; }
static int fds[8];
static char buf[1 << 16];
static const char *name(void) { static const char *n[] = {"a", "b", "c", "d1", "d2", "d1/a", "d1/b", "d2/a", "d1/d3", "d1/d3/x", "l", "none/x", "", ".", "..", "d1/.."}; return n[rnd(16)]; }
static int slot(void) { return fds[rnd(8)]; }
static unsigned hash(const void *p, long n) { unsigned h = 2166136261u; const unsigned char *c = p; while (n-- > 0) h = (h ^ *c++) * 16777619u; return h; }
static void say(int i, const char *what, long r) { if (r < 0) printf("%d %s: errno %d\n", i, what, errno); else printf("%d %s: %ld\n", i, what, r); }
static void step(int i) {
    struct stat s;
    struct iovec v[3];
    long r;
    int k = rnd(8), f, flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND | O_CREAT, O_RDONLY | O_DIRECTORY, O_PATH, O_RDONLY | O_NOFOLLOW};
    errno = 0;
    switch (rnd(34)) {
    case 0: case 1: case 2:
        f = open(name(), flags[rnd(10)], 0600 + rnd(64));
        if (f >= 0) { if (fds[k] >= 0) close(fds[k]); fds[k] = f; r = 0; } else r = -1;
        return say(i, "open", r);
    case 3: r = close(slot()); for (int j = 0; j < 8; j++) if (fds[j] >= 0 && fcntl(fds[j], F_GETFD) < 0) fds[j] = -1; errno = r ? EBADF : 0; return say(i, "close", r);
    case 4: case 5: for (int j = 0; j < 5000; j++) buf[j] = i + j; r = write(slot(), buf, rnd(5000)); return say(i, "write", r);
    case 6: case 7: r = read(slot(), buf, rnd(5000)); say(i, "read", r); if (r > 0) printf("  %08x\n", hash(buf, r)); return;
    case 8: r = pread(slot(), buf, rnd(9000), rnd(20000)); say(i, "pread", r); if (r > 0) printf("  %08x\n", hash(buf, r)); return;
    case 9: memset(buf, i, 3000); return say(i, "pwrite", pwrite(slot(), buf, rnd(3000), rnd(20000)));
    case 10: { // a directory's offsets are its filesystem's own business
        int at = slot(), off = (int)rnd(20000) - 5000, w = rnd(3);
        if (fstat(at, &s) == 0 && S_ISDIR(s.st_mode)) return say(i, "lseek", 0);
        return say(i, "lseek", lseek(at, off, w));
    }
    case 11: return say(i, "ftruncate", ftruncate(slot(), (long)rnd(30000) - 100));
    case 12: return say(i, "truncate", truncate(name(), rnd(30000)));
    case 13: case 14: return say(i, "mkdir", mkdir(name(), 0700 + rnd(64)));
    case 15: return say(i, "rmdir", rmdir(name()));
    case 16: return say(i, "unlink", unlink(name()));
    case 17: case 18: { const char *x = name(); return say(i, "rename", rename(x, name())); }
    case 19: { const char *x = name(); return say(i, "link", link(x, name())); }
    case 20: { const char *x = name(); return say(i, "symlink", symlink(x, name())); }
    case 21: case 22: r = lstat(name(), &s); say(i, "lstat", r); if (!r) printf("  %o %ld %ld\n", s.st_mode, S_ISDIR(s.st_mode) ? 0 : (long)s.st_nlink, S_ISDIR(s.st_mode) ? 0 : (long)s.st_size); return;
    case 23: r = fstat(slot(), &s); say(i, "fstat", r); if (!r && S_ISREG(s.st_mode)) printf("  %o %ld %ld\n", s.st_mode, (long)s.st_nlink, (long)s.st_size); return;
    case 24: return say(i, "chmod", chmod(name(), rnd(512) | 0700));
    case 25: r = readlink(name(), buf, rnd(20)); say(i, "readlink", r); if (r > 0) printf("  %.*s\n", (int)r, buf); return;
    case 26: f = dup(slot()); if (f >= 0) { if (fds[k] >= 0) close(fds[k]); fds[k] = f; } return say(i, "dup", f >= 0 ? 0 : -1);
    case 27: for (int j = 0; j < 3; j++) v[j] = (struct iovec){buf + j * 1000, rnd(1000)}; memset(buf, 7, 3000); return say(i, "writev", writev(slot(), v, 3));
    case 28: return say(i, "fallocate", fallocate(slot(), rnd(2), rnd(20000), (long)rnd(9000) - 10));
    case 29: return say(i, "setxattr", setxattr(name(), rnd(2) ? "user.x" : "user.y", buf, 0, rnd(3)));
    case 30: r = getxattr(name(), "user.x", buf, 100); return say(i, "getxattr", r);
    case 31: return say(i, "access", access(name(), rnd(8)));
    case 32: { int a = slot(), b = slot(); return say(i, "copy_file_range", a == b ? 0 : copy_file_range(a, 0, b, 0, rnd(4000), 0)); }
    default: { int w = rnd(3); return say(i, "flags", w == 0 ? fcntl(slot(), F_GETFD) : w == 1 ? fcntl(slot(), F_SETFL, rnd(2) ? O_APPEND : 0) : fsync(slot())); }
    }
}
static void tree(const char *d, int depth) {
    struct dirent **e;
    int n = scandir(d, &e, 0, alphasort);
    for (int i = 0; i < n; i++) {
        char p[4096];
        struct stat s;
        if (!strcmp(e[i]->d_name, ".") || !strcmp(e[i]->d_name, "..")) continue;
        snprintf(p, sizeof p, "%s/%s", d, e[i]->d_name);
        lstat(p, &s);
        printf("%s %o %ld\n", p, s.st_mode, S_ISREG(s.st_mode) ? (long)s.st_size : 0);
        if (S_ISREG(s.st_mode)) { unsigned h = 0; int f = open(p, O_RDONLY), r; while ((r = read(f, buf, sizeof buf)) > 0) h = h * 31 + hash(buf, r); close(f); printf("  %08x\n", h); }
        if (S_ISDIR(s.st_mode) && depth < 20) tree(p, depth + 1);
    }
}
int main(int argc, char **argv) {
    seed = argc > 1 ? strtoul(argv[1], 0, 10) * 2654435761u + 1 : 1;
    int n = argc > 2 ? atoi(argv[2]) : 500;
    umask(022);
    memset(fds, -1, sizeof fds);
    mkdir("fuzz", 0755);
    if (chdir("fuzz")) return 1;
    for (int i = 0; i < n; i++) step(i);
    for (int i = 0; i < 8; i++) if (fds[i] >= 0) close(fds[i]);
    tree(".", 0);
    return 0;
}
