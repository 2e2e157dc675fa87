//! `/proc/sysvipc/{shm,sem,msg}`.

use super::{IpcNamespace, msg, sem, shm};
use std::fmt::Write;

impl IpcNamespace {
    /// `/proc/sysvipc/shm`
    pub fn shm_text(&self) -> String {
        let mut out = String::from(
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
        );
        for (id, d, len) in shm::rows(self) {
            let p = d.shm_perm;
            let _ = writeln!(
                out,
                "{:>10} {id:>10}  {:>4o} {:>21} {:>5} {:>5}  {:>5} {:>5} {:>5} {:>5} {:>5} {:>10} {:>10} {:>10} {:>21} {:>21}",
                p.key,
                p.mode,
                d.shm_segsz,
                d.shm_cpid,
                d.shm_lpid,
                d.shm_nattch,
                p.uid,
                p.gid,
                p.cuid,
                p.cgid,
                d.shm_atime,
                d.shm_dtime,
                d.shm_ctime,
                len,
                0
            );
        }
        out
    }

    /// `/proc/sysvipc/sem`
    pub fn sem_text(&self) -> String {
        let mut out = String::from(
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
        );
        for (id, d) in sem::rows(self) {
            let p = d.sem_perm;
            let _ = writeln!(
                out,
                "{:>10} {id:>10}  {:>4o} {:>10} {:>5} {:>5} {:>5} {:>5} {:>10} {:>10}",
                p.key, p.mode, d.sem_nsems, p.uid, p.gid, p.cuid, p.cgid, d.sem_otime, d.sem_ctime
            );
        }
        out
    }

    /// `/proc/sysvipc/msg`
    pub fn msg_text(&self) -> String {
        let mut out = String::from(
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
        );
        for (id, d) in msg::rows(self) {
            let p = d.msg_perm;
            let _ = writeln!(
                out,
                "{:>10} {id:>10}  {:>4o}  {:>10} {:>10} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>10} {:>10} {:>10}",
                p.key,
                p.mode,
                d.msg_cbytes,
                d.msg_qnum,
                d.msg_lspid,
                d.msg_lrpid,
                p.uid,
                p.gid,
                p.cuid,
                p.cgid,
                d.msg_stime,
                d.msg_rtime,
                d.msg_ctime
            );
        }
        out
    }
}
