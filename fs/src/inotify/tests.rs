use super::*;
use crate::testing::{TestCaller, TestMemory};

fn inode() -> Arc<dyn Inode> {
    anon::pipe(&TestCaller::root()).inode().clone()
}
fn events(file: &Arc<File>) -> Vec<(i32, u32, u32, String)> {
    let mut buf = vec![0; 4096];
    let n = match file.read(&mut buf) {
        Ok(n) => n,
        Err(e) => {
            assert_eq!(e, Errno::EAGAIN);
            return vec![];
        }
    };
    let mut rest = &buf[..n];
    let mut out = vec![];
    while let [a, b, c, d, tail @ ..] = rest.as_chunks::<4>().0 {
        let len = u32::from_ne_bytes(*d) as usize;
        let name = tail.as_flattened()[..len]
            .split(|b| *b == 0)
            .next()
            .unwrap_or(&[]);
        out.push((
            i32::from_ne_bytes(*a),
            u32::from_ne_bytes(*b),
            u32::from_ne_bytes(*c),
            String::from_utf8_lossy(name).into_owned(),
        ));
        rest = &rest[16 + len..];
    }
    out
}

#[test]
fn events_reach_inode_and_parent() {
    let (dir, child, f) = (inode(), inode(), create(O_NONBLOCK).unwrap());
    let i = of(&f).unwrap();
    assert_eq!(i.add_watch(&dir, event::CREATE | event::MODIFY), Ok(1));
    assert_eq!(i.add_watch(&child, event::MODIFY), Ok(2));
    assert_eq!(f.poll(), Events::empty());
    notify(child.vnode(), Some(dir.vnode()), b"name", event::MODIFY, 0);
    notify(child.vnode(), Some(dir.vnode()), b"name", event::OPEN, 0);
    assert_eq!(f.poll(), Events::READ);
    let m = TestMemory::new(4);
    f.ops()
        .ioctl(&f, &TestCaller::root(), &m, FIONREAD, 0)
        .unwrap();
    assert_eq!(m.i32_at(0), 48);
    assert_eq!(f.read(&mut [0; 31]), Err(Errno::EINVAL));
    assert_eq!(
        events(&f),
        [
            (1, event::MODIFY, 0, "name".into()),
            (2, event::MODIFY, 0, "".into())
        ]
    );
}

#[test]
fn equal_neighbours_merge() {
    let (a, f) = (inode(), create(0).unwrap());
    of(&f).unwrap().add_watch(&a, IN_ALL_EVENTS).unwrap();
    for mask in [event::MODIFY, event::MODIFY, event::OPEN, event::MODIFY] {
        notify(a.vnode(), None, b"", mask, 0);
    }
    assert_eq!(events(&f).len(), 3);
}

#[test]
fn masks_are_replaced_added_refused() {
    let (a, f) = (inode(), create(0).unwrap());
    let i = of(&f).unwrap();
    assert_eq!(i.add_watch(&a, 0), Err(Errno::EINVAL));
    assert_eq!(
        i.add_watch(&a, IN_MASK_ADD | IN_MASK_CREATE | 1),
        Err(Errno::EINVAL)
    );
    assert_eq!(i.add_watch(&a, IN_ONLYDIR | 1), Err(Errno::ENOTDIR));
    assert_eq!(i.add_watch(&a, event::MODIFY), Ok(1));
    assert_eq!(i.add_watch(&a, event::OPEN | IN_MASK_ADD), Ok(1));
    assert_eq!(
        i.add_watch(&a, event::OPEN | IN_MASK_CREATE),
        Err(Errno::EEXIST)
    );
    notify(a.vnode(), None, b"", event::MODIFY, 0);
    assert_eq!(i.add_watch(&a, event::OPEN), Ok(1));
    notify(a.vnode(), None, b"", event::MODIFY, 0);
    assert_eq!(events(&f).len(), 1);
}

#[test]
fn removal_oneshot_deletion() {
    let (a, f) = (inode(), create(0).unwrap());
    let i = of(&f).unwrap();
    let wd = i.add_watch(&a, event::OPEN | IN_ONESHOT).unwrap();
    notify(a.vnode(), None, b"", event::OPEN, 0);
    notify(a.vnode(), None, b"", event::OPEN, 0);
    assert_eq!(
        events(&f),
        [
            (wd, event::OPEN, 0, "".into()),
            (wd, IN_IGNORED, 0, "".into())
        ]
    );
    let wd = i.add_watch(&a, event::OPEN).unwrap();
    assert_eq!(wd, 2);
    assert_eq!(i.remove_watch(wd), Ok(()));
    assert_eq!(i.remove_watch(wd), Err(Errno::EINVAL));
    assert_eq!(events(&f), [(wd, IN_IGNORED, 0, "".into())]);
    let wd = i.add_watch(&a, event::DELETE_SELF).unwrap();
    notify(a.vnode(), None, b"", event::DELETE_SELF, 0);
    assert_eq!(
        events(&f),
        [
            (wd, event::DELETE_SELF, 0, "".into()),
            (wd, IN_IGNORED, 0, "".into())
        ]
    );
    i.add_watch(&a, event::OPEN).unwrap();
    drop(f);
    assert!(marks(a.vnode()).unwrap().0.lock().is_empty());
}

#[test]
fn overflow_is_told_once() {
    let (a, f) = (inode(), create(0).unwrap());
    let wd = of(&f).unwrap().add_watch(&a, IN_ALL_EVENTS).unwrap();
    for n in 0..MAX_QUEUED + 10 {
        notify(
            a.vnode(),
            None,
            b"",
            if n % 2 == 0 {
                event::OPEN
            } else {
                event::MODIFY
            },
            0,
        );
    }
    let mut all = vec![];
    loop {
        let some = events(&f);
        if some.is_empty() {
            break;
        }
        all.extend(some);
    }
    assert_eq!(all.len(), MAX_QUEUED + 1);
    assert_eq!(
        (all[0].0, all.last().unwrap().0, all.last().unwrap().1),
        (wd, -1, IN_Q_OVERFLOW)
    );
}
