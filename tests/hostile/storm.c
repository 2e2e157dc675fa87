// Random calls with likely arguments from many processes and threads at once, on shared descriptors, memory and files, for some seconds.
// storm [SECONDS [SEED]]: a seed chooses the calls; how they interleave is chance.
#include "../guest/t.h"
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <linux/futex.h>

static char *shared;                   // written by everybody while calls read it
static char private_area[1 << 18] __attribute__((aligned(4096)));
static __thread uint64_t state;
static time_t until;
static uint64_t rnd(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }
static unsigned below(unsigned n) { return rnd() % n; }

static const char *names[] = {"a", "b", "d/a", "d/b", "d", "d/e/f", "l", "/proc/self/fd/3", "/proc/self/mem", "/proc/self/maps", "/dev/null", "/dev/zero", "/dev/ptmx", "/proc/self", ".", "..", "/", "fifo", "sock", "/dev/shm/x", "/proc/sys/kernel/hostname", "/sys/devices/system/cpu/online", "/tmp", "/proc/thread-self/status", "/bin/true"};
static char *name(void) {
    if (below(30) == 0) return shared + below(65536);
    return (char *)names[below(sizeof names / sizeof *names)];
}
static int fd(void) { return below(20) == 0 ? (int)rnd() : (int)below(40); }
static void *memory(void) {
    switch (below(8)) {
    case 0: return 0;
    case 1: return (void *)rnd();
    case 2: return private_area + below(sizeof private_area);
    case 3: return (void *)(0x7ffffffff000ull - below(8192));
    default: return shared + below(1 << 17);
    }
}
static uint64_t number(void) {
    switch (below(8)) {
    case 0: return rnd();
    case 1: return -(int64_t)below(4096);
    case 2: return 1ull << below(64);
    case 3: return below(1 << 20);
    default: return below(64);
    }
}
static uint64_t page(void) { return (uint64_t)shared + below(60) * 4096ull; }

static void one(void) {
    int st;
    switch (below(64)) {
    case 0: case 1: case 2: open(name(), below(2) ? O_RDWR | O_CREAT | O_NONBLOCK : (int)(rnd() & 07777777) | O_NONBLOCK, 0700); break;
    case 3: case 4: close(3 + below(60)); break;
    case 5: case 6: read(fd(), memory(), below(1 << 17)); break;
    case 7: case 8: write(3 + below(40), memory(), below(1 << 17)); break;
    case 9: { struct iovec v[4]; for (int i = 0; i < 4; i++) v[i] = (struct iovec){memory(), below(9000)}; readv(fd(), v, 4); writev(3 + below(40), v, below(5)); break; }
    case 10: { int p[2]; pipe2(p, O_NONBLOCK); break; }
    case 11: { int s[2]; socketpair(AF_UNIX, (below(2) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0, s); break; }
    case 12: socket(below(3) ? AF_INET : AF_INET6, (below(2) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0); break;
    case 13: { struct sockaddr_storage a = {.ss_family = AF_INET}; ((unsigned short *)&a)[1] = 0x4000 + below(8); bind(fd(), (void *)&a, 16); listen(fd(), below(8)); ((char *)&a)[4] = 127; ((char *)&a)[7] = 1; connect(fd(), (void *)&a, 16); accept4(fd(), 0, 0, SOCK_NONBLOCK); break; }
    case 14: { struct msghdr m = {.msg_iov = &(struct iovec){memory(), 64}, .msg_iovlen = 1}; char c[CMSG_SPACE(16)] = {0}; m.msg_control = c; m.msg_controllen = sizeof c; struct cmsghdr *h = CMSG_FIRSTHDR(&m); *h = (struct cmsghdr){CMSG_LEN(16), SOL_SOCKET, SCM_RIGHTS}; int f[4] = {fd(), fd(), fd(), fd()}; memcpy(CMSG_DATA(h), f, sizeof f); sendmsg(fd(), &m, MSG_DONTWAIT); recvmsg(fd(), &m, MSG_DONTWAIT); break; }
    case 15: mmap((void *)(below(2) ? page() + (1 << 18) : 0), below(1 << 18), below(8), below(2) ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_ANONYMOUS, -1, 0); break;
    case 16: mmap(0, below(1 << 18), below(4), below(2) ? MAP_SHARED : MAP_PRIVATE, fd(), below(16) * 4096ull); break;
    case 17: mprotect((void *)page(), below(8) * 4096, 3); madvise((void *)page(), below(8) * 4096, below(26)); break;
    case 18: { void *p = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); mremap(p, 65536, below(1 << 18), below(4), page()); munmap(p, below(1 << 17)); break; }
    case 19: munmap((void *)rnd(), below(1 << 20)); break;
    case 20: case 21: { struct timespec t = {0, below(2000000)}; syscall(SYS_futex, page() & ~3ull, FUTEX_WAIT | (below(2) ? FUTEX_PRIVATE_FLAG : 0), *(int *)shared, &t, memory(), number()); break; }
    case 22: syscall(SYS_futex, page(), below(14) & ~2, below(4), below(4), page(), number()); break;
    case 23: epoll_create1(0); break;
    case 24: { struct epoll_event e = {rnd(), {0}}; epoll_ctl(fd(), 1 + below(3), fd(), &e); struct epoll_event out[8]; epoll_wait(fd(), out, 8, below(3)); break; }
    case 25: { struct pollfd p[8]; for (int i = 0; i < 8; i++) p[i] = (struct pollfd){fd(), (short)rnd(), 0}; poll(p, 8, below(3)); break; }
    case 26: eventfd(below(4), EFD_NONBLOCK | (below(2) ? EFD_SEMAPHORE : 0)); break;
    case 27: { int f = timerfd_create(below(2), TFD_NONBLOCK); struct itimerspec s = {{0, below(1000000) + 1}, {0, below(1000000)}}; timerfd_settime(f, 0, &s, 0); break; }
    case 28: inotify_add_watch(inotify_init1(O_NONBLOCK), name(), rnd()); break;
    case 29: { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR1); signalfd(below(2) ? -1 : fd(), &s, SFD_NONBLOCK); break; }
    case 30: mkdir(name(), 0700); rmdir(name()); break;
    case 31: rename(name(), name()); break;
    case 32: link(name(), name()); symlink(name(), name()); break;
    case 33: unlink(name()); mknod(name(), S_IFIFO | 0600, 0); break;
    case 34: { struct stat s; stat(name(), &s); fstat(fd(), &s); char b[256]; readlink(name(), b, sizeof b); break; }
    case 35: ftruncate(fd(), below(1 << 20)); fallocate(fd(), below(8), below(1 << 18), below(1 << 18)); break;
    case 36: { char b[2048]; syscall(SYS_getdents64, fd(), b, sizeof b); break; }
    case 37: fcntl(fd(), below(40), number()); break;
    case 38: { struct flock l = {(short)below(3), 0, below(100), below(100), 0}; fcntl(fd(), below(2) ? F_SETLK : 37, &l); break; }
    case 39: ioctl(fd(), below(2) ? 0x5400 + below(0x60) : rnd(), memory()); break;
    case 40: kill(below(4) ? 0 : -1 - (int)below(50), below(2) ? SIGUSR1 : SIGCONT); break;
    case 41: syscall(SYS_tgkill, getpid(), syscall(SYS_gettid) + below(3), SIGUSR2); break;
    case 42: { sigset_t s; memset(&s, below(256), sizeof s); sigprocmask(below(3), &s, 0); struct timespec t = {0, 100000}; sigtimedwait(&s, 0, &t); break; }
    case 43: { struct itimerval v = {{0, below(5000)}, {0, below(5000)}}; setitimer(below(3), &v, 0); signal(SIGALRM, SIG_IGN); signal(SIGVTALRM, SIG_IGN); signal(SIGPROF, SIG_IGN); break; }
    case 44: case 45: { pid_t p = fork(); if (p == 0) { for (int i = 0; i < (int)below(40); i++) one(); _exit(below(256)); } break; }
    case 46: { pid_t p = vfork(); if (p == 0) { execl("/bin/true", "true", (char *)0); _exit(1); } break; }
    case 47: case 48: while (waitpid(-1, &st, WNOHANG) > 0) {} break;
    case 49: { siginfo_t i; waitid(below(4), below(100), &i, WNOHANG | (int)(rnd() & 0xf)); break; }
    case 50: setpgid(0, below(50)); setsid(); break;
    case 51: sendfile(fd(), fd(), 0, below(1 << 17)); splice(fd(), 0, fd(), 0, below(1 << 17), SPLICE_F_NONBLOCK); tee(fd(), fd(), below(1 << 16), SPLICE_F_NONBLOCK); break;
    case 52: copy_file_range(fd(), 0, fd(), 0, below(1 << 17), 0); break;
    case 53: { int id = shmget(below(4), 65536, IPC_CREAT | 0600); void *p = shmat(id, 0, 0); if (below(2)) shmdt(p); shmctl(id, IPC_RMID, 0); break; }
    case 54: { int id = semget(below(4), 4, IPC_CREAT | 0600); struct sembuf b[2] = {{(unsigned short)below(5), (short)below(3) - 1, IPC_NOWAIT | SEM_UNDO}, {(unsigned short)below(5), 1, IPC_NOWAIT}}; semop(id, b, 2); if (below(8) == 0) semctl(id, 0, IPC_RMID); break; }
    case 55: unshare(below(2) ? CLONE_NEWNS : CLONE_NEWUTS | CLONE_FS); break;
    case 56: mount(name(), name(), "tmpfs", rnd() & 0x7fff, 0); umount2(name(), below(8)); break;
    case 57: prctl(below(60), number(), number(), number(), number()); break;
    case 58: { struct iovec l = {memory(), below(70000)}, r = {memory(), below(70000)}; syscall(SYS_process_vm_readv, getppid(), &l, 1, &r, 1, 0); syscall(SYS_process_vm_writev, getpid(), &l, 1, &r, 1, 0); break; }
    case 59: chdir(name()); break;
    case 60: dup2(fd(), fd()); break;
    case 61: setxattr(name(), "user.x", memory(), below(70000), below(3)); getxattr(name(), "user.x", memory(), below(70000)); break;
    case 62: { char *v[3] = {name(), memory(), 0}; if (below(40) == 0) { alarm(2); execv(name(), v); } break; }
    default: {
        long nr = below(460);
        // Those that would only end or stop the storm itself.
        if (nr == SYS_exit || nr == SYS_exit_group || nr == SYS_pause || nr == SYS_rt_sigreturn || nr == SYS_rt_sigsuspend || nr == SYS_vfork || nr == SYS_clone || nr == SYS_seccomp || nr == SYS_munmap) break;
        syscall(nr, number(), memory(), number(), memory(), number(), memory());
    }
    }
}
static void *spin(void *seed) {
    state = (uint64_t)seed | 1;
    while (time(0) < until) { one(); shared[below(1 << 17)] = rnd(); }
    return 0;
}
static void quiet(int s) {}
static void worker(uint64_t seed) {
    struct sigaction a = {.sa_handler = quiet, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &a, 0);
    sigaction(SIGUSR2, &a, 0);
    signal(SIGPIPE, SIG_IGN);
    alarm(until - time(0) + 3);
    pthread_t t[3];
    for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, spin, (void *)(seed * 977 + i * 31337));
    spin((void *)(seed * 7919));
    _exit(0);
}
int main(int c, char **v) {
    int seconds = c > 1 ? atoi(v[1]) : 15;
    uint64_t seed = c > 2 ? strtoull(v[2], 0, 0) : 1;
    mkdir("/tmp/storm", 0700);
    chdir("/tmp/storm");
    until = time(0) + seconds;
    for (int round = 0; time(0) < until; round++) {
        // Workers die of what they do; new ones take their place, below a guard that outlives any kill of theirs.
        pid_t guard = fork();
        if (guard == 0) {
            setsid();
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            int null = open("/dev/null", O_RDWR);
            for (int i = 0; i < 3; i++) dup2(null, i);
            shared = mmap(0, 1 << 19, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            alarm(until - time(0) + 5);
            struct rlimit r = {200, 200}, f = {1 << 22, 1 << 22};
            setrlimit(RLIMIT_NPROC, &r);
            setrlimit(RLIMIT_FSIZE, &f);
            setresuid(round % 2 ? 0 : 7777, round % 2 ? 0 : 7777, round % 2 ? 0 : 7777);
            for (int i = 0; i < 4; i++) if (fork() == 0) worker(seed * 1000 + round * 10 + i);
            while (wait(0) > 0) {}
            _exit(0);
        }
        while (waitpid(guard, 0, 0) != guard) {}
        kill(-guard, SIGKILL);
        while (waitpid(-1, 0, WNOHANG) > 0) {}
    }
    printf("survived\n");
    return 0;
}
