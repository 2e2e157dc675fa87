// Makes the sentry use each host call of its filter, in a run that is watched from outside. Says "done"; what it asks for need not succeed.
#include "../guest/t.h"
#include <arpa/inet.h>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/sysinfo.h>

static volatile int stop;
static void *spin(void *p) { while (!stop) __asm__ volatile("pause"); return p; }
static void *nap(void *p) { t_sleep(20); return p; }

static void files(const char *dir) {
    char path[100], *buf = malloc(8 << 20);
    memset(buf, 'x', 8 << 20);
    snprintf(path, sizeof path, "%s/file", dir);
    int f = OK(open(path, O_RDWR | O_CREAT | O_APPEND, 0644));
    write(f, "line\n", 5); fsync(f); fdatasync(f);
    close(f);
    f = OK(open(path, O_RDWR));
    write(f, buf, 100000); pwrite(f, buf, 8 << 20, 5); pread(f, buf, 4 << 20, 7);
    lseek(f, 0, SEEK_DATA); lseek(f, 0, SEEK_HOLE); ftruncate(f, 5 << 20); fallocate(f, 0, 0, 1 << 20);
    char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    m[5] = 1; msync(m, 1 << 20, MS_SYNC); munmap(m, 1 << 20);
    m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
    m[70000] = 1; munmap(m, 1 << 20);
    close(f);
    f = memfd_create("m", 0);
    ftruncate(f, 16 << 20); pwrite(f, buf, 8 << 20, 0); pread(f, buf, 1 << 20, 0); fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 << 20);
    close(f);
    free(buf);
}
// A list of mappings that takes the sentry some hundred kilobytes to tell.
static void long_list(void) {
    static char buf[1 << 20];
    for (int i = 0; i < 400; i++) mmap(NULL, 4096, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int f = OK(open("/proc/self/smaps", O_RDONLY));
    while (read(f, buf, sizeof buf) > 0) {}
    close(f);
}
static void threads_and_processes(void) {
    pthread_t t[24];
    for (int i = 0; i < 24; i++) pthread_create(&t[i], NULL, nap, NULL);
    for (int i = 0; i < 24; i++) pthread_join(t[i], NULL);
    pthread_create(&t[0], NULL, spin, NULL);
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    for (int i = 0; i < 200; i++) syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    stop = 1;
    pthread_join(t[0], NULL);
    stop = 0;
    pid_t p = CHILD({ spin(NULL); });
    t_sleep(100);
    kill(p, SIGKILL);
    t_wait(p);
    p = fork();
    if (p == 0) execl("/bin/true", "true", (char *)0);
    t_wait(p);
    // More processes that grow at once than the allocator has heaps.
    for (int i = 0; i < 12; i++)
        if (fork() == 0) { long_list(); _exit(0); }
    while (wait(NULL) > 0) {}
}
static void on_alarm(int s) { (void)s; }
static void the_rest(void) {
    struct sysinfo si;
    cpu_set_t all;
    char c[100];
    sysinfo(&si);
    getrandom(c, sizeof c, 0);
    CPU_ZERO(&all); CPU_SET(0, &all);
    sched_setaffinity(0, sizeof all, &all);
    signal(SIGALRM, on_alarm);
    ualarm(20000, 0);
    pause();
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
}
// A connection, where the host's sockets serve the guest's.
static void sockets(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0)), v = 1;
    OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &v, sizeof v));
    OK(bind(l, (void *)&a, sizeof a));
    OK(listen(l, 5));
    OK(getsockname(l, (void *)&a, &n));
    OK(connect(c, (void *)&a, sizeof a));
    int s = OK(accept(l, NULL, NULL));
    OK(getpeername(s, (void *)&a, &n));
    n = sizeof v;
    OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &v, &n));
    char b[8];
    EQ(write(c, "hello", 5), 5);
    EQ(read(s, b, sizeof b), 5);
    OK(shutdown(c, SHUT_WR));
}
int main(int argc, char **argv) {
    (void)argv;
    // Standard input, a pipe of the host's: it is waited for and read.
    struct pollfd in = {.fd = 0, .events = POLLIN};
    int e = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN};
    epoll_ctl(e, EPOLL_CTL_ADD, 0, &ev);
    char line[100];
    poll(&in, 1, -1);
    epoll_wait(e, &ev, 1, 0);
    if (read(0, line, sizeof line) <= 0) return 1;
    close(e);
    if (argc > 1) sockets();
    mkdir("/work/jail", 0755);
    files("/work/jail");
    files("/tmp");
    long_list();
    threads_and_processes();
    the_rest();
    write(1, "done\n", 5);
    // Until told: meanwhile it is stopped and continued from outside, and others come in.
    while (read(0, line, sizeof line) > 0 && line[0] != 'q') {}
    return 0;
}
