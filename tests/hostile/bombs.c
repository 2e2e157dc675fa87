// Too much of everything: processes, threads, descriptors, files, pipes, timers, signals, sockets with descriptors.
#include "../guest/t.h"

static void *sleeper(void *x) { for (;;) pause(); return 0; }
static void in_child(void (*f)(void)) {
    int st;
    pid_t p = fork();
    if (p == 0) { setsid(); alarm(20); f(); _exit(0); }
    waitpid(p, &st, 0);
    kill(-p, SIGKILL);
    while (waitpid(-1, &st, WNOHANG) > 0) {}
}
static void processes(void) { for (int i = 0; i < 1000; i++) { pid_t p = fork(); if (p < 0) break; if (p == 0) { alarm(20); pause(); _exit(0); } } }
static void bomb(void) { struct rlimit r = {800, 800}; setrlimit(RLIMIT_NPROC, &r); syscall(SYS_setresuid, 7777, 7777, 7777); alarm(3); for (int i = 0; i < 12; i++) { fork(); alarm(3); } t_sleep(500); kill(0, SIGKILL); }
static void threads(void) {
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 16384);
    for (int i = 0; i < 10000; i++) { pthread_t t; if (pthread_create(&t, &a, sleeper, 0)) break; }
}
static void descriptors(void) { struct rlimit r = {1 << 20, 1 << 20}; setrlimit(RLIMIT_NOFILE, &r); for (int i = 0; i < 200000; i++) if (open("/dev/null", O_RDONLY) < 0) break; }
static void pipes(void) { struct rlimit r = {1 << 20, 1 << 20}; static char b[65536]; int p[2]; setrlimit(RLIMIT_NOFILE, &r); for (int i = 0; i < 2000; i++) { if (pipe2(p, O_NONBLOCK)) break; write(p[1], b, sizeof b); } }
static void inodes(void) { char n[32]; mkdir("/tmp/many", 0755); for (int i = 0; i < 50000; i++) { snprintf(n, sizeof n, "/tmp/many/%d", i); int f = open(n, O_CREAT | O_RDWR, 0600); if (f < 0) break; close(f); } }
static void depth(void) { for (int i = 0; i < 5000; i++) if (mkdir("d", 0755) || chdir("d")) break; char b[8192]; getcwd(b, sizeof b); }
static void timers(void) { for (int i = 0; i < 20000; i++) { timer_t t; struct itimerspec s = {{0, 1}, {0, 1}}; struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN}; signal(SIGRTMIN, SIG_IGN); if (timer_create(CLOCK_MONOTONIC, &e, &t)) break; if (i % 500 == 0) timer_settime(t, 0, &s, 0); } t_sleep(200); }
static void signals(void) { sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); for (int i = 0; i < 200000; i++) if (sigqueue(getpid(), SIGRTMIN + i % 30, (union sigval){i})) break; }
int main(void) {
    struct { const char *name; void (*f)(void); } all[] = {{"processes", processes}, {"bomb", bomb}, {"threads", threads}, {"descriptors", descriptors}, {"pipes", pipes}, {"inodes", inodes}, {"depth", depth}, {"timers", timers}, {"signals", signals}};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) { in_child(all[i].f); fprintf(stderr, "%s\n", all[i].name); }
    printf("survived\n");
    return 0;
}
