//! Whether others have changed a directory that is taken to be the sentry's own: by its `ctime`, once in a [`Moment`].

use super::attr::nanos;
use super::inode::GoferInode;
use crate::vfs::Moment;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

/// Below this age a `ctime` does not tell: the host's clock for it has ticks, and what follows in the same one has the same time.
const YOUNG_NS: i64 = 20_000_000;

/// What is known of one directory.
pub(super) struct Outside {
    /// When it was asked last.
    moment: AtomicU32,
    /// How often it may have changed since the first time.
    count: AtomicU32,
    /// Its `ctime` when nothing was cached that is not so any more; 0 if that cannot be told by it.
    ctime: AtomicI64,
}

impl Outside {
    pub fn new(ctime: i64) -> Self {
        Self {
            moment: AtomicU32::new(0),
            count: AtomicU32::new(0),
            ctime: AtomicI64::new(ctime),
        }
    }

    /// The sentry itself has changed it: whether others have, too, cannot be told.
    pub fn changed_here(&self) {
        self.ctime.store(0, Relaxed);
    }

    /// See [`crate::Inode::changes`].
    pub fn count(&self, dir: &GoferInode, moment: Moment) -> u32 {
        let known = self.ctime.load(Relaxed);
        let young = |ctime: i64| moment.ns.saturating_sub(ctime) < YOUNG_NS;
        match self.moment.swap(moment.number, Relaxed) {
            last if last == moment.number => return self.count.load(Relaxed),
            // Nothing has been cached yet.
            0 => {
                if young(known) {
                    self.changed_here();
                }
                return self.count.load(Relaxed);
            }
            _ => {}
        }
        dir.cached.stale.store(false, Relaxed);
        let Ok(host) = dir.node.attr() else {
            // Whoever looks up a name hears of it.
            dir.touched();
            return self.count.load(Relaxed);
        };
        dir.seen(&host);
        let ctime = nanos(host.ctime);
        if known != 0 && ctime == known {
            return self.count.load(Relaxed);
        }
        self.ctime
            .store(if young(ctime) { 0 } else { ctime }, Relaxed);
        dir.listings.changed();
        dir.ahead.doubt(dir);
        self.count.fetch_add(1, Relaxed).wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use crate::gofer::tests::{Fixture, names};
    use crate::vfs::look_again;
    use abi::Errno;
    use std::fs;

    #[test]
    fn the_next_moment_shows_what_others_have_done() {
        let t = Fixture::exclusive();
        let dir = t.host.join("dir");
        fs::create_dir(&dir).unwrap();
        t.at().mkdir(b"mine", 0o755).unwrap();
        for name in ["replaced", "removed", "stays"] {
            fs::write(dir.join(name), "old").unwrap();
            assert_eq!(t.read(&format!("dir/{name}")).unwrap(), "old");
        }
        for absent in ["dir/missed", "mine/missed"] {
            assert_eq!(t.read(absent).unwrap_err(), Errno::ENOENT);
        }
        assert_eq!(names(&t.open("dir", 0).unwrap()).len(), 5);

        fs::write(dir.join("other"), "new").unwrap();
        fs::rename(dir.join("other"), dir.join("replaced")).unwrap();
        fs::remove_file(dir.join("removed")).unwrap();
        fs::write(dir.join("missed"), "new").unwrap();
        fs::write(t.host.join("mine/missed"), "new").unwrap();
        look_again();
        assert_eq!(t.read("dir/replaced").unwrap(), "new");
        assert_eq!(t.read("dir/removed").unwrap_err(), Errno::ENOENT);
        assert_eq!(t.read("dir/missed").unwrap(), "new");
        assert_eq!(t.read("mine/missed").unwrap(), "new");
        assert_eq!(t.read("dir/stays").unwrap(), "old");
        let listed = names(&t.open("dir", 0).unwrap());
        assert_eq!(listed, [".", "..", "missed", "replaced", "stays"]);
    }
}
