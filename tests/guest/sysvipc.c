// SysV shared memory, semaphores, message queues; POSIX shared memory.
#include "t.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun { int val; struct semid_ds *buf; unsigned short *array; };
static int sem(int n) { return OK(semget(IPC_PRIVATE, n, 0600)); }
static int op(int id, int num, int v, int flags) { struct sembuf b = {num, v, flags}; return semop(id, &b, 1); }
TEST(shm_attach_and_share) {
    int id = OK(shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600));
    char *a = shmat(id, 0, 0), *r = shmat(id, 0, SHM_RDONLY);
    CHECK(a != (void *)-1);
    CODE(CHILD(strcpy(a, "from child")), 0);
    STREQ(r, "from child");
    KILLED(CHILD(r[0] = 1), SIGSEGV);
    struct shmid_ds d;
    OK(shmctl(id, IPC_STAT, &d));
    EQ(d.shm_segsz, 10000); EQ(d.shm_nattch, 2); EQ(d.shm_cpid, getpid());
    OK(shmctl(id, IPC_RMID, 0));
    strcpy(a, "still there");
    OK(shmctl(id, IPC_STAT, &d));
    CHECK(d.shm_perm.mode & SHM_DEST);
    OK(shmdt(a));
    OK(shmdt(r));
    ERR(shmctl(id, IPC_STAT, &d), EINVAL);
    ERR(shmdt(a), EINVAL);
}
TEST(shm_keys_and_errors) {
    int id = OK(shmget(777, 4096, IPC_CREAT | IPC_EXCL | 0600));
    EQ(shmget(777, 0, 0), id);
    ERR(shmget(777, 4096, IPC_CREAT | IPC_EXCL), EEXIST);
    ERR(shmget(777, 8192, 0), EINVAL);
    ERR(shmget(778, 4096, 0), ENOENT);
    ERR(shmget(779, 0, IPC_CREAT), EINVAL);
    ERR((long)shmat(id, (void *)1, 0), EINVAL);
    ERR((long)shmat(9999999, 0, 0), EINVAL);
    char *at = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ERR((long)shmat(id, at, 0), EINVAL);
    CHECK(shmat(id, at, SHM_REMAP) == at);
    OK(shmctl(id, IPC_RMID, 0));
}
TEST(sem_values_and_wait) {
    int id = sem(2);
    OK(semctl(id, 0, SETVAL, (union semun){3}));
    EQ(semctl(id, 0, GETVAL), 3);
    OK(op(id, 0, -2, 0));
    EQ(semctl(id, 0, GETVAL), 1);
    ERR(op(id, 0, -2, IPC_NOWAIT), EAGAIN);
    ERR(op(id, 0, 0, IPC_NOWAIT), EAGAIN);
    pid_t p = CHILD(OK(op(id, 0, -5, 0)));
    UNTIL(semctl(id, 0, GETNCNT) == 1);
    OK(op(id, 0, 4, 0));
    CODE(p, 0);
    EQ(semctl(id, 0, GETVAL), 0);
    EQ(semctl(id, 0, GETPID), p);
    unsigned short v[2] = {7, 8};
    OK(semctl(id, 0, SETALL, (union semun){.array = v}));
    v[0] = 0;
    OK(semctl(id, 0, GETALL, (union semun){.array = v}));
    EQ(v[0], 7);
    ERR(op(id, 5, 1, 0), EFBIG);
    ERR(semctl(id, 0, SETVAL, (union semun){40000}), ERANGE);
    OK(semctl(id, 0, IPC_RMID));
    ERR(semctl(id, 0, GETVAL), EINVAL);
}
TEST(sem_atomic_pair_and_zero_wait) {
    int id = sem(2);
    struct sembuf b[2] = {{0, 1, 0}, {1, -1, IPC_NOWAIT}};
    ERR(semop(id, b, 2), EAGAIN);
    EQ(semctl(id, 0, GETVAL), 0); // all or nothing
    OK(op(id, 0, 1, 0));
    pid_t p = CHILD(OK(op(id, 0, 0, 0)));
    UNTIL(semctl(id, 0, GETZCNT) == 1);
    OK(op(id, 0, -1, 0));
    CODE(p, 0);
    struct timespec t = {0, 20000000};
    struct sembuf w = {0, -1, 0};
    ERR(semtimedop(id, &w, 1, &t), EAGAIN);
}
TEST(sem_undo) {
    int id = sem(1);
    OK(op(id, 0, 1, 0));
    CODE(CHILD({ OK(op(id, 0, -1, SEM_UNDO)); EQ(semctl(id, 0, GETVAL), 0); }), 0);
    EQ(semctl(id, 0, GETVAL), 1);
}
TEST(sem_removed_while_waiting) {
    int id = sem(1);
    pid_t p = CHILD(ERR(op(id, 0, -1, 0), EIDRM));
    UNTIL(semctl(id, 0, GETNCNT) == 1);
    OK(semctl(id, 0, IPC_RMID));
    CODE(p, 0);
}
struct m { long type; char text[100]; };
TEST(msg_types) {
    int q = OK(msgget(IPC_PRIVATE, 0600));
    struct m m;
    for (int i = 1; i <= 4; i++) { m.type = i; snprintf(m.text, 100, "t%d", i); OK(msgsnd(q, &m, 3, 0)); }
    EQ(msgrcv(q, &m, 100, 3, 0), 3);
    STREQ(m.text, "t3");
    EQ(msgrcv(q, &m, 100, -2, 0), 3);
    EQ(m.type, 1);
    EQ(msgrcv(q, &m, 100, 2, MSG_EXCEPT), 3);
    EQ(m.type, 4);
    ERR(msgrcv(q, &m, 1, 0, 0), E2BIG);
    EQ(msgrcv(q, &m, 1, 0, MSG_NOERROR), 1);
    ERR(msgrcv(q, &m, 100, 0, IPC_NOWAIT), ENOMSG);
    m.type = 0;
    ERR(msgsnd(q, &m, 3, 0), EINVAL);
    pid_t p = CHILD({ struct m n; EQ(msgrcv(q, &n, 100, 9, 0), 5); });
    t_sleep(20);
    m.type = 9;
    OK(msgsnd(q, &m, 5, 0));
    CODE(p, 0);
    struct msqid_ds d;
    OK(msgctl(q, IPC_STAT, &d));
    EQ(d.msg_qnum, 0);
    OK(msgctl(q, IPC_RMID, 0));
    ERR(msgsnd(q, &m, 1, 0), EINVAL);
}
TEST(msg_full_queue) {
    int q = OK(msgget(IPC_PRIVATE, 0600));
    static struct { long t; char b[8192]; } m = {1};
    int n = 0;
    while (msgsnd(q, &m, 8192, IPC_NOWAIT) == 0) n++;
    EQ(n, 2);
    ERR(msgsnd(q, &m, 8193, 0), EINVAL);
}
TEST(posix_shm) {
    int f = OK(shm_open("/t-shm", O_RDWR | O_CREAT | O_EXCL, 0600));
    OK(ftruncate(f, 4096));
    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    CODE(CHILD({ int g = OK(shm_open("/t-shm", O_RDWR, 0)); EQ(write(g, "shared", 7), 7); }), 0);
    STREQ(p, "shared");
    OK(shm_unlink("/t-shm"));
    ERR(shm_open("/t-shm", O_RDWR, 0), ENOENT);
}
// Who leaves a namespace with its only thread undoes there what it has done.
TEST(undone_on_leaving) {
    int id = OK(semget(IPC_PRIVATE, 1, 0600));
    struct sembuf up = {0, 3, SEM_UNDO};
    CODE(CHILD({
        OK(semop(id, &up, 1));
        EQ(semctl(id, 0, GETVAL), 3);
        OK(unshare(CLONE_NEWIPC));
    }), 0);
    EQ(semctl(id, 0, GETVAL), 0);
    OK(semctl(id, 0, IPC_RMID));
}
// Many who remove one object while another is made: what is made stays, under its key.
static volatile int doomed;
static void *removes(void *p) { for (;;) semctl(doomed, 0, IPC_RMID); return p; }
TEST(removed_by_many) {
    pthread_t t;
    for (int i = 0; i < 3; i++) CHECK(!pthread_create(&t, 0, removes, 0));
    for (int i = 0; i < 1000; i++) {
        doomed = OK(semget(IPC_PRIVATE, 1, 0600));
        int id = OK(semget(0x1234, 1, IPC_CREAT | 0600));
        EQ(semget(0x1234, 1, IPC_CREAT | 0600), id);
        OK(semctl(id, 0, IPC_RMID));
        semctl(doomed, 0, IPC_RMID);
    }
}
int main(void) {
    RUN(shm_attach_and_share); RUN(shm_keys_and_errors); RUN(sem_values_and_wait); RUN(sem_atomic_pair_and_zero_wait); RUN(sem_undo);
    RUN(sem_removed_while_waiting); RUN(msg_types); RUN(msg_full_queue); RUN(posix_shm);
    RUN(undone_on_leaving); RUN(removed_by_many);
    DONE();
}
