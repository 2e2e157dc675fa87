use super::*;
use crate::eventfd::eventfd;
use crate::testing::Counter;
use proptest::prelude::*;

fn request(owner: u64, kind: Option<Kind>, start: u64, end: u64) -> Request {
    Request {
        owner: Owner::Posix(owner),
        kind,
        range: Range { start, end },
        pid: owner as i32,
    }
}

#[test]
fn ranges() {
    assert_eq!(Range::new(10, -5, 3), Ok(Range { start: 5, end: 7 }));
    assert_eq!(Range::new(0, 10, -5), Ok(Range { start: 5, end: 9 }));
    assert_eq!(Range::new(0, 10, 0).map(Range::len), Ok(0));
    assert_eq!(Range::new(0, -1, 0), Err(Errno::EINVAL));
    assert_eq!(Range::new(0, 3, -4), Err(Errno::EINVAL));
    assert_eq!(Range::new(0, i64::MAX, 2), Err(Errno::EOVERFLOW));
    assert_eq!(Range::new(1, i64::MAX, 0), Err(Errno::EOVERFLOW));
}

#[test]
fn split_merge_downgrade() {
    let l = Locks::default();
    l.set(request(1, Some(Kind::Write), 0, 99)).unwrap();
    l.set(request(1, Some(Kind::Read), 40, 59)).unwrap();
    assert_eq!(l.list().0.len(), 3);
    assert_eq!(l.set(request(2, Some(Kind::Read), 40, 59)), Ok(()));
    assert_eq!(
        l.set(request(2, Some(Kind::Read), 39, 59)),
        Err(Errno::EAGAIN)
    );
    assert_eq!(
        l.test(Owner::Posix(2), Kind::Write, Range { start: 0, end: 9 })
            .map(|r| (r.range, r.pid)),
        Some((Range { start: 0, end: 39 }, 1))
    );
    l.set(request(2, None, 0, Range::MAX)).unwrap();
    l.set(request(1, Some(Kind::Write), 40, 59)).unwrap();
    assert_eq!(l.list().0.len(), 1);
    l.set(request(1, None, 50, 50)).unwrap();
    assert_eq!(l.list().0.len(), 2);
}

#[test]
fn ofd_and_posix_conflict() {
    let l = Locks::default();
    l.set(request(1, Some(Kind::Write), 0, 9)).unwrap();
    let ofd = Request {
        owner: Owner::Ofd(1),
        ..request(1, Some(Kind::Read), 0, 9)
    };
    assert_eq!(l.set(ofd), Err(Errno::EAGAIN));
    assert!(l.set_waiting(ofd).unwrap().is_some());
}

#[test]
fn deadlock_is_found() {
    let (a, b) = (Locks::default(), Locks::default());
    let w = Some(Kind::Write);
    a.set(request(101, w, 0, 9)).unwrap();
    b.set(request(102, w, 0, 9)).unwrap();
    let waiting = b.set_waiting(request(101, w, 0, 9)).unwrap();
    assert!(waiting.is_some());
    assert_eq!(
        a.set_waiting(request(102, w, 5, 5)).err(),
        Some(Errno::EDEADLK)
    );
    drop(waiting);
    assert!(a.set_waiting(request(102, w, 5, 5)).unwrap().is_some());
}

#[test]
fn flock_converts_and_ends_with_the_description() {
    let (f, g) = (eventfd(0, 0).unwrap(), eventfd(0, 0).unwrap());
    let l = of(f.inode().vnode()).unwrap();
    let heard = Arc::new(Counter::default());
    l.pollee().register(heard.clone(), Locks::EVENTS);
    l.flock(&f, Some(Kind::Read)).unwrap();
    l.flock(&g, Some(Kind::Read)).unwrap();
    assert_eq!(l.flock(&f, Some(Kind::Write)), Err(Errno::EAGAIN));
    // The failed conversion has lost the lock.
    assert_eq!(l.flock(&g, Some(Kind::Write)), Ok(()));
    assert_eq!(l.flock(&f, Some(Kind::Read)), Err(Errno::EAGAIN));
    heard.take();
    drop(g);
    assert_eq!(heard.take(), 1);
    assert_eq!(l.flock(&f, Some(Kind::Write)), Ok(()));
}

const BYTES: usize = 24;

proptest! {
    /// Against one kind per byte and owner.
    #[test]
    fn like_the_naive_model(ops in prop::collection::vec((0..3u64, 0..3u8, 0..BYTES as u64, 0..BYTES as u64), 1..60)) {
        let locks = Locks::default();
        let mut model = [[None::<Kind>; BYTES]; 3];
        for (owner, kind, a, b) in ops {
            let (start, end) = (a.min(b), a.max(b));
            let kind = [None, Some(Kind::Read), Some(Kind::Write)][usize::from(kind)];
            let bytes = start as usize..=end as usize;
            let conflict = kind.is_some() && (0..3).filter(|o| *o != owner as usize).any(|o| {
                model[o][bytes.clone()].iter().flatten().any(|held| *held == Kind::Write || kind == Some(Kind::Write))
            });
            let result = locks.set(request(owner, kind, start, end));
            prop_assert_eq!(result, if conflict { Err(Errno::EAGAIN) } else { Ok(()) });
            if !conflict {
                model[owner as usize][bytes].fill(kind);
            }
            let mut shown = [[None; BYTES]; 3];
            let records = locks.list().0;
            for (i, r) in records.iter().enumerate() {
                let Owner::Posix(o) = r.owner else { unreachable!() };
                for byte in r.range.start..=r.range.end {
                    prop_assert_eq!(shown[o as usize][byte as usize], None);
                    shown[o as usize][byte as usize] = Some(r.kind);
                }
                // Equal neighbours are one record.
                let neighbour = |s: &Record| s.owner == r.owner && s.kind == r.kind && s.range.start == r.range.end + 1;
                prop_assert!(!records.iter().skip(i).any(neighbour));
            }
            prop_assert_eq!(shown, model);
        }
    }
}
