// Sessions and process groups: rules, kill by group, orphaned groups, job control without a terminal.
#include "t.h"

TEST(setsid) {
    CODE(CHILD({
        pid_t me = getpid();
        EQ(setsid(), me);
        EQ(getsid(0), me);
        EQ(getpgrp(), me);
        ERR(setsid(), EPERM);
        ERR(setpgid(0, 0), EPERM);
        CODE(CHILD({ EQ(getsid(0), me); EQ(getpgrp(), me); }), 0);
    }), 0);
}
TEST(setpgid_rules) {
    ERR(setpgid(-1, 0), EINVAL);
    ERR(setpgid(0, -1), EINVAL);
    ERR(setpgid(4000000, 0), ESRCH);
    ERR(setpgid(0, 4000000), EPERM);
    pid_t p = CHILD(pause());
    OK(setpgid(p, 0));
    EQ(getpgid(p), p);
    pid_t q = CHILD(pause());
    OK(setpgid(q, p));
    EQ(getpgid(q), p);
    kill(-p, SIGTERM);
    KILLED(p, SIGTERM);
    KILLED(q, SIGTERM);
    ERR(getpgid(4000000), ESRCH);
    ERR(getsid(4000000), ESRCH);
}
TEST(setpgid_after_exec) {
    pid_t p = CHILD(execl("/bin/sleep", "sleep", "5", (char *)0));
    t_sleep(50);
    ERR(setpgid(p, p), EACCES);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
TEST(setpgid_other_session) {
    int pp[2];
    char c;
    CHECK(!pipe(pp));
    pid_t p = CHILD({ setsid(); write(pp[1], "x", 1); pause(); });
    read(pp[0], &c, 1);
    ERR(setpgid(p, p), EPERM);
    kill(p, SIGKILL);
    KILLED(p, SIGKILL);
}
static volatile int hups, conts;
static void on_hup(int s) { hups++; }
static void on_cont(int s) { conts++; }
TEST(orphaned_stopped_group_gets_hup_and_cont) {
    int pp[2];
    char c = 0;
    CHECK(!pipe(pp));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t p = CHILD({
        setsid();
        pid_t q = CHILD({
            setpgid(0, 0);
            signal(SIGHUP, on_hup);
            signal(SIGCONT, on_cont);
            raise(SIGSTOP);
            while (!hups || !conts) t_sleep(2);
            write(pp[1], "y", 1);
        });
        int st;
        EQ(waitpid(q, &st, WUNTRACED), q);
        CHECK(WIFSTOPPED(st));
    });
    CODE(p, 0);
    EQ(read(pp[0], &c, 1), 1);
    EQ(c, 'y');
}
TEST(orphaned_group_ignores_tty_stops) {
    pid_t p = CHILD({
        setsid(); // a session of its own: its group is orphaned
        raise(SIGTSTP);
        raise(SIGTTIN);
        raise(SIGTTOU);
    });
    CODE(p, 0);
}
TEST(kill_everyone_spares_self) {
    CODE(CHILD({
        setsid();
        EQ(kill(0, 0), 0);
        signal(SIGTERM, SIG_IGN);
        EQ(kill(0, SIGTERM), 0);
    }), 0);
}
TEST(no_controlling_terminal) {
    CODE(CHILD({
        setsid();
        ERR(open("/dev/tty", O_RDWR), ENXIO);
        CHECK(strstr(t_get("/proc/self/stat"), " 0 -1 "));
    }), 0);
}
TEST(zombie_keeps_its_group) {
    pid_t p = CHILD({ setpgid(0, 0); });
    t_state(p, 'Z');
    EQ(getpgid(p), p);
    EQ(kill(-p, 0), 0);
    CODE(p, 0);
    ERR(kill(-p, 0), ESRCH);
}
int main(void) {
    RUN(setsid); RUN(setpgid_rules); RUN(setpgid_after_exec); RUN(setpgid_other_session);
    RUN(orphaned_stopped_group_gets_hup_and_cont); RUN(orphaned_group_ignores_tty_stops); RUN(kill_everyone_spares_self);
    RUN(no_controlling_terminal); RUN(zombie_keeps_its_group);
    DONE();
}
