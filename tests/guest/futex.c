// Every futex operation, robust lists, clear_child_tid.
#include "t.h"
#include <linux/futex.h>

static long fx(void *u, int op, long v, void *t, void *u2, long v3) { return syscall(SYS_futex, u, op, v, t, u2, v3); }
static int *shared(void) { return mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); }

TEST(wait_value_mismatch) { int w = 1; ERR(fx(&w, FUTEX_WAIT, 0, 0, 0, 0), EAGAIN); }
TEST(wait_timeout) {
    int w = 0;
    struct timespec t = {0, 30000000};
    double a = t_now();
    ERR(fx(&w, FUTEX_WAIT, 0, &t, 0, 0), ETIMEDOUT);
    CHECK(t_now() - a >= 0.029);
    struct timespec bad = {0, 1000000000};
    ERR(fx(&w, FUTEX_WAIT, 0, &bad, 0, 0), EINVAL);
    struct timespec zero = {0, 0};
    ERR(fx(&w, FUTEX_WAIT, 0, &zero, 0, 0), ETIMEDOUT);
}
TEST(wait_bitset_absolute) {
    int w = 0;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += 20000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    ERR(fx(&w, FUTEX_WAIT_BITSET, 0, &t, 0, -1), ETIMEDOUT);
    clock_gettime(CLOCK_REALTIME, &t);
    ERR(fx(&w, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, 0, -1), ETIMEDOUT);
    ERR(fx(&w, FUTEX_WAIT_BITSET, 0, &t, 0, 0), EINVAL);
    ERR(fx(&w, FUTEX_WAKE_BITSET, 1, 0, 0, 0), EINVAL);
}
TEST(errors) {
    int w[2] = {0};
    ERR(fx((char *)w + 1, FUTEX_WAIT, 0, 0, 0, 0), EINVAL);
    ERR(fx((void *)4, FUTEX_WAIT, 0, 0, 0, 0), EFAULT);
    ERR(fx((void *)0xffffffff80000000, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), EFAULT);
    ERR(fx(w, 99, 0, 0, 0, 0), ENOSYS);
    EQ(fx(w, FUTEX_WAKE, 1, 0, 0, 0), 0);
    EQ(fx((void *)0x1000, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0); // private: nothing is read
}
// Children that wait on w (with mask), then exit with their number.
static pid_t waiter(int *w, int mask, int code) {
    pid_t p = CHILD({ fx(w, FUTEX_WAIT_BITSET, 0, 0, 0, mask); _exit(code); });
    t_state(p, 'S');
    t_sleep(20);
    return p;
}
TEST(wake_counts_shared) {
    int *w = shared();
    pid_t p[4];
    for (int i = 0; i < 4; i++) p[i] = waiter(w, -1, i);
    EQ(fx(w, FUTEX_WAKE, 1, 0, 0, 0), 1);
    CODE(p[0], 0); // first come, first woken
    EQ(fx(w, FUTEX_WAKE, 2, 0, 0, 0), 2);
    EQ(fx(w, FUTEX_WAKE, INT_MAX, 0, 0, 0), 1);
    for (int i = 1; i < 4; i++) CODE(p[i], i);
}
TEST(bitset_selects) {
    int *w = shared();
    pid_t a = waiter(w, 1, 1), b = waiter(w, 2, 2);
    EQ(fx(w, FUTEX_WAKE_BITSET, 10, 0, 0, 4), 0);
    EQ(fx(w, FUTEX_WAKE_BITSET, 10, 0, 0, 2), 1);
    CODE(b, 2);
    EQ(fx(w, FUTEX_WAKE_BITSET, 10, 0, 0, 3), 1);
    CODE(a, 1);
}
TEST(requeue) {
    int *w = shared();
    pid_t p[3];
    for (int i = 0; i < 3; i++) p[i] = waiter(w, -1, i);
    EQ(fx(w, FUTEX_REQUEUE, 1, (void *)10, w + 1, 0), 3); // woken and moved
    CODE(p[0], 0);
    EQ(fx(w, FUTEX_WAKE, 10, 0, 0, 0), 0);
    EQ(fx(w + 1, FUTEX_WAKE, 10, 0, 0, 0), 2);
    CODE(p[1], 1);
    CODE(p[2], 2);
}
TEST(cmp_requeue) {
    int *w = shared();
    pid_t p[2];
    for (int i = 0; i < 2; i++) p[i] = waiter(w, -1, i);
    ERR(fx(w, FUTEX_CMP_REQUEUE, 0, (void *)10, w + 1, 5), EAGAIN);
    EQ(fx(w, FUTEX_CMP_REQUEUE, 0, (void *)10, w + 1, 0), 2);
    EQ(fx(w + 1, FUTEX_WAKE, 10, 0, 0, 0), 2);
    CODE(p[0], 0);
    CODE(p[1], 1);
    ERR(fx(w, FUTEX_CMP_REQUEUE, -1, (void *)1, w + 1, 0), EINVAL);
}
TEST(wake_op) {
    int *w = shared();
    pid_t a = waiter(w, -1, 1), b = waiter(w + 1, -1, 2);
    w[1] = 5;
    EQ(fx(w, FUTEX_WAKE_OP, 1, (void *)1, w + 1, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)), 2);
    EQ(w[1], 8);
    CODE(a, 1);
    CODE(b, 2);
    EQ(fx(w, FUTEX_WAKE_OP, 1, (void *)1, w + 1, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_LT, 0)), 0); EQ(w[1], 1);
    EQ(fx(w, FUTEX_WAKE_OP, 1, (void *)1, w + 1, FUTEX_OP(FUTEX_OP_OR, 6, FUTEX_OP_CMP_NE, 0)), 0); EQ(w[1], 7);
    EQ(fx(w, FUTEX_WAKE_OP, 1, (void *)1, w + 1, FUTEX_OP(FUTEX_OP_ANDN, 2, FUTEX_OP_CMP_GE, 0)), 0); EQ(w[1], 5);
    EQ(fx(w, FUTEX_WAKE_OP, 1, (void *)1, w + 1, FUTEX_OP(FUTEX_OP_XOR, 1, FUTEX_OP_CMP_GT, 0)), 0); EQ(w[1], 4);
    EQ(fx(w, FUTEX_WAKE_OP, 1, (void *)1, w + 1, FUTEX_OP((FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_LE, 0)), 0); EQ(w[1], 16);
}
TEST(private_is_not_shared) {
    int *w = shared();
    pid_t p = CHILD({ struct timespec t = {0, 150000000}; ERR(fx(w, FUTEX_WAIT_PRIVATE, 0, &t, 0, 0), ETIMEDOUT); });
    t_sleep(60);
    EQ(fx(w, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0), 0);
    CODE(p, 0);
}
TEST(shared_through_a_file) {
    int f = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(f, 4096));
    int *a = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0), *b = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    pid_t p = waiter(a, -1, 7);
    EQ(fx(b, FUTEX_WAKE, 1, 0, 0, 0), 1);
    CODE(p, 7);
}
static int child_tid_word;
static int child(void *a) { t_sleep(20); return 0; }
TEST(clear_child_tid_wakes) {
    static char stack[65536] __attribute__((aligned(16)));
    child_tid_word = 1;
    pid_t p = OK(clone(child, stack + sizeof stack, CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, 0, 0, 0, &child_tid_word));
    while (__atomic_load_n(&child_tid_word, __ATOMIC_SEQ_CST)) fx(&child_tid_word, FUTEX_WAIT, 1, 0, 0, 0);
    CODE(p, 0);
}
TEST(robust_list) {
    struct node { struct robust_list l; int lock; } *n = (void *)shared();
    pid_t p = CHILD({
        static struct robust_list_head h;
        h.list.next = &n->l;
        n->l.next = &h.list;
        h.futex_offset = offsetof(struct node, lock);
        OK(syscall(SYS_set_robust_list, &h, sizeof h));
        n->lock = syscall(SYS_gettid) | FUTEX_WAITERS;
    });
    CODE(p, 0);
    EQ((unsigned)n->lock, (unsigned)(FUTEX_OWNER_DIED | FUTEX_WAITERS));
    ERR(syscall(SYS_set_robust_list, n, 5), EINVAL);
    void *head;
    size_t len;
    OK(syscall(SYS_get_robust_list, 0, &head, &len));
    EQ(len, sizeof(struct robust_list_head));
}
TEST(robust_mutex) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_t *m = (void *)shared();
    pthread_mutex_init(m, &a);
    CODE(CHILD(pthread_mutex_lock(m)), 0);
    EQ(pthread_mutex_lock(m), EOWNERDEAD);
    EQ(pthread_mutex_consistent(m), 0);
    EQ(pthread_mutex_unlock(m), 0);
}
static void *hammer(void *a) { pthread_mutex_t *m = a; for (int i = 0; i < 3000; i++) { pthread_mutex_lock(m); (*(long *)(m + 1))++; pthread_mutex_unlock(m); } return 0; }
TEST(contended_mutex) {
    static struct { pthread_mutex_t m; long n; } x = {PTHREAD_MUTEX_INITIALIZER, 0};
    pthread_t t[8];
    for (int i = 0; i < 8; i++) pthread_create(t + i, 0, hammer, &x);
    for (int i = 0; i < 8; i++) pthread_join(t[i], 0);
    EQ(x.n, 24000);
}
struct any { uint64_t val, addr; uint32_t flags, pad; };
static long waitv(struct any *v, int n, int flags, struct timespec *t, int clock) { return syscall(449, v, n, flags, t, clock); }
TEST(waitv_errors) {
    int w[2] = {1, 2};
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    struct any v[2] = {{1, (uint64_t)w, 2 | 128}, {2, (uint64_t)(w + 1), 2}};
    ERR(waitv(v, 2, 0, &t, CLOCK_MONOTONIC), ETIMEDOUT);
    ERR(waitv(v, 2, 0, &t, CLOCK_BOOTTIME), EINVAL);
    ERR(waitv(v, 0, 0, 0, 0), EINVAL);
    ERR(waitv(v, 129, 0, 0, 0), EINVAL);
    ERR(waitv(v, 2, 1, 0, 0), EINVAL);
    ERR(waitv(0, 2, 0, 0, 0), EINVAL);
    v[1].val = 3;
    ERR(waitv(v, 2, 0, 0, 0), EAGAIN);
    v[1].flags = 1;
    ERR(waitv(v, 2, 0, 0, 0), EINVAL);
    v[1].flags = 2;
    v[1].pad = 1;
    ERR(waitv(v, 2, 0, 0, 0), EINVAL);
    v[1].pad = 0;
    v[1].addr++;
    ERR(waitv(v, 2, 0, 0, 0), EINVAL);
}
TEST(waitv_is_woken_by_any) {
    int *w = shared();
    struct any v[3] = {{0, (uint64_t)w, 2}, {0, (uint64_t)(w + 1), 2}, {0, (uint64_t)(w + 2), 2}};
    for (int i = 0; i < 3; i++) {
        pid_t p = CHILD({ while (fx(w + i, FUTEX_WAKE, 1, 0, 0, 0) == 0) sched_yield(); });
        EQ(waitv(v, 3, 0, 0, 0), i);
        CODE(p, 0);
    }
    EQ(fx(w, FUTEX_WAKE, 10, 0, 0, 0), 0); // nothing is left behind
}
static pthread_mutex_t *pi_mutex(int robust, int type) {
    pthread_mutexattr_t a;
    pthread_mutex_t *m = (void *)shared();
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    if (robust) pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&a, type);
    EQ(pthread_mutex_init(m, &a), 0);
    return m;
}
TEST(pi_mutex_contended) {
    pthread_mutex_t *m = pi_mutex(0, PTHREAD_MUTEX_NORMAL);
    pthread_t t[4];
    pid_t p = CHILD(hammer(m));
    for (int i = 0; i < 4; i++) pthread_create(t + i, 0, hammer, m);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    CODE(p, 0);
    EQ(*(long *)(m + 1), 15000);
    EQ(*(int *)m, 0);
}
TEST(pi_mutex_of_the_dead) {
    pthread_mutex_t *m = pi_mutex(1, PTHREAD_MUTEX_NORMAL);
    int *ready = (int *)m + 100;
    pid_t p = CHILD({ pthread_mutex_lock(m); *ready = 1; t_sleep(50); });
    while (!*(volatile int *)ready) sched_yield();
    EQ(pthread_mutex_lock(m), EOWNERDEAD); // slept for it
    CODE(p, 0);
    EQ(pthread_mutex_consistent(m), 0);
    EQ(pthread_mutex_unlock(m), 0);
    CODE(CHILD(pthread_mutex_lock(m)), 0);
    EQ(pthread_mutex_lock(m), EOWNERDEAD);
}
TEST(pi_calls) {
    pthread_mutex_t *m = pi_mutex(0, PTHREAD_MUTEX_ERRORCHECK);
    struct timespec t;
    EQ(pthread_mutex_lock(m), 0);
    EQ(pthread_mutex_lock(m), EDEADLK);
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 20000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    CODE(CHILD(_exit(pthread_mutex_timedlock(m, &t))), ETIMEDOUT);
    CODE(CHILD(_exit(pthread_mutex_trylock(m))), EBUSY);
    CODE(CHILD(_exit(pthread_mutex_unlock(m))), EPERM);
    EQ(pthread_mutex_unlock(m), 0);
    int w = 0, tid = syscall(SYS_gettid);
    OK(fx(&w, FUTEX_LOCK_PI, 0, 0, 0, 0));
    EQ(w, tid);
    ERR(fx(&w, FUTEX_LOCK_PI, 0, 0, 0, 0), EDEADLK);
    OK(fx(&w, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    EQ(w, 0);
    ERR(fx(&w, FUTEX_UNLOCK_PI, 0, 0, 0, 0), EPERM);
    OK(fx(&w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0));
    w = 4194303;
    ERR(fx(&w, FUTEX_LOCK_PI, 0, 0, 0, 0), ESRCH);
}
static void *wait_private(void *w) { fx(w, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0); return 0; }
TEST(wait_and_wake_must_agree) {
    int *word = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t t;
    CHECK(!pthread_create(&t, 0, wait_private, word));
    t_sleep(50);
    EQ(fx(word, FUTEX_WAKE, 1, 0, 0, 0), 0); // the word of everybody is another
    while (fx(word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0) == 0) t_sleep(1);
    pthread_join(t, 0);
}
int main(void) {
    RUN(wait_value_mismatch); RUN(wait_timeout); RUN(wait_bitset_absolute); RUN(errors); RUN(wake_counts_shared); RUN(bitset_selects);
    RUN(requeue); RUN(cmp_requeue); RUN(wake_op); RUN(private_is_not_shared); RUN(shared_through_a_file); RUN(clear_child_tid_wakes);
    RUN(robust_list); RUN(robust_mutex); RUN(contended_mutex); RUN(waitv_errors); RUN(waitv_is_woken_by_any); RUN(pi_mutex_contended); RUN(pi_mutex_of_the_dead); RUN(pi_calls);
    RUN(wait_and_wake_must_agree);
    DONE();
}
