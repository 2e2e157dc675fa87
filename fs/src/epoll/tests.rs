use super::*;
use crate::eventfd::eventfd;
use crate::pipe;
use crate::testing::{Counter, TestCaller};

const IN: u32 = 1;
const OUT: u32 = 4;

fn ctl(ep: &Arc<File>, op: i32, fd: i32, target: &Arc<File>, events: u32) -> Result<(), Errno> {
    of(ep).unwrap().ctl(ep, op, fd, target, events, fd as u64)
}
fn wait(ep: &Arc<File>) -> Vec<Report> {
    of(ep).unwrap().collect(16)
}
fn add(f: &Arc<File>, n: u64) {
    f.write(&TestCaller::root(), &n.to_ne_bytes()).unwrap();
}
fn take(f: &Arc<File>) {
    f.read(&mut [0; 8]).unwrap();
}

#[test]
fn level_edge_oneshot() {
    let (ep, a, b, c) = (
        create(),
        eventfd(0, 0).unwrap(),
        eventfd(0, 0).unwrap(),
        eventfd(0, 0).unwrap(),
    );
    ctl(&ep, EPOLL_CTL_ADD, 1, &a, IN).unwrap();
    ctl(&ep, EPOLL_CTL_ADD, 2, &b, IN | EPOLLET).unwrap();
    ctl(&ep, EPOLL_CTL_ADD, 3, &c, IN | EPOLLONESHOT).unwrap();
    assert_eq!(wait(&ep), []);
    add(&a, 1);
    add(&b, 1);
    add(&c, 1);
    assert_eq!(wait(&ep), [(IN, 1), (IN, 2), (IN, 3)]);
    assert_eq!(wait(&ep), [(IN, 1)]);
    add(&b, 1);
    add(&c, 1);
    assert_eq!(wait(&ep), [(IN, 1), (IN, 2)]);
    take(&a);
    assert_eq!(wait(&ep), []);
    // Modification re-arms.
    ctl(&ep, EPOLL_CTL_MOD, 2, &b, IN | EPOLLET).unwrap();
    ctl(&ep, EPOLL_CTL_MOD, 3, &c, IN | EPOLLONESHOT).unwrap();
    assert_eq!(wait(&ep), [(IN, 2), (IN, 3)]);
}

#[test]
fn level_triggered_take_turns() {
    let ep = create();
    let files: Vec<_> = (0..3).map(|_| eventfd(1, 0).unwrap()).collect();
    for (fd, f) in (0..).zip(&files) {
        ctl(&ep, EPOLL_CTL_ADD, fd, f, IN).unwrap();
    }
    let one = || of(&ep).unwrap().collect(1)[0].1;
    assert_eq!([one(), one(), one(), one()], [0, 1, 2, 0]);
}

#[test]
fn errors() {
    let (ep, a) = (create(), eventfd(0, 0).unwrap());
    assert_eq!(ctl(&ep, EPOLL_CTL_ADD, 0, &ep, IN), Err(Errno::EINVAL));
    assert_eq!(ctl(&ep, EPOLL_CTL_MOD, 0, &a, IN), Err(Errno::ENOENT));
    assert_eq!(ctl(&ep, EPOLL_CTL_DEL, 0, &a, IN), Err(Errno::ENOENT));
    assert_eq!(ctl(&ep, 9, 0, &a, IN), Err(Errno::EINVAL));
    ctl(&ep, EPOLL_CTL_ADD, 0, &a, IN).unwrap();
    assert_eq!(ctl(&ep, EPOLL_CTL_ADD, 0, &a, IN), Err(Errno::EEXIST));
    // Another number of the same description is another item.
    ctl(&ep, EPOLL_CTL_ADD, 1, &a, OUT).unwrap();
    assert_eq!(
        ctl(
            &ep,
            EPOLL_CTL_ADD,
            2,
            &a,
            IN | EPOLLEXCLUSIVE | EPOLLONESHOT
        ),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        ctl(&ep, EPOLL_CTL_MOD, 1, &a, IN | EPOLLEXCLUSIVE),
        Err(Errno::EINVAL)
    );
    ctl(&ep, EPOLL_CTL_ADD, 2, &a, IN | EPOLLEXCLUSIVE).unwrap();
    assert_eq!(ctl(&ep, EPOLL_CTL_MOD, 2, &a, IN), Err(Errno::EINVAL));
    ctl(&ep, EPOLL_CTL_DEL, 2, &a, 0).unwrap();
}

#[test]
fn closing_the_last_reference_removes() {
    let (ep, a) = (create(), eventfd(1, 0).unwrap());
    ctl(&ep, EPOLL_CTL_ADD, 5, &a, IN).unwrap();
    let other = a.clone();
    drop(a);
    assert_eq!(wait(&ep), [(IN, 5)]);
    drop(other);
    assert_eq!(wait(&ep), []);
    assert!(of(&ep).unwrap().interest.lock().is_empty());
    // The instance goes first.
    let a = eventfd(0, 0).unwrap();
    ctl(&ep, EPOLL_CTL_ADD, 5, &a, IN).unwrap();
    drop(ep);
    assert!(!a.ops().pollee().unwrap().is_watched());
}

#[test]
fn hang_up_and_error_come_unasked() {
    let c = TestCaller::root();
    let (ep, (r, w)) = (create(), pipe::pair(&c, 0).unwrap());
    ctl(&ep, EPOLL_CTL_ADD, 1, &r, 0).unwrap();
    drop(w);
    assert_eq!(wait(&ep), [(0x10, 1)]);
}

#[test]
fn nested() {
    let (outer, inner, a) = (create(), create(), eventfd(0, 0).unwrap());
    ctl(&outer, EPOLL_CTL_ADD, 1, &inner, IN | EPOLLET).unwrap();
    ctl(&inner, EPOLL_CTL_ADD, 2, &a, IN).unwrap();
    assert_eq!((wait(&outer), outer.poll()), (vec![], Events::empty()));
    add(&a, 1);
    assert_eq!(wait(&outer), [(IN, 1)]);
    assert_eq!(wait(&outer), []);
    assert_eq!(wait(&inner), [(IN, 2)]);
    take(&a);
    assert_eq!(inner.poll(), Events::empty());
    assert_eq!(ctl(&inner, EPOLL_CTL_ADD, 3, &outer, IN), Err(Errno::ELOOP));
}

#[test]
fn chains_of_five_at_most() {
    for upwards in [true, false] {
        let eps: Vec<_> = (0..6).map(|_| create()).collect();
        let mut results: Vec<_> = (0..5).collect();
        if upwards {
            results.reverse();
        }
        let results: Vec<_> = results
            .into_iter()
            .map(|i| ctl(&eps[i], EPOLL_CTL_ADD, 0, &eps[i + 1], IN))
            .collect();
        assert_eq!(results[..4], [Ok(()); 4]);
        assert_eq!(results[4], Err(Errno::ELOOP));
    }
}

#[test]
fn exclusive_wakes_one_that_sleeps() {
    let a = eventfd(0, 0).unwrap();
    let eps: Vec<_> = (0..3).map(|_| create()).collect();
    let sleepers: Vec<_> = (0..2).map(|_| Arc::new(Counter::default())).collect();
    for ep in &eps {
        ctl(ep, EPOLL_CTL_ADD, 0, &a, IN | EPOLLEXCLUSIVE).unwrap();
    }
    of(&eps[1])
        .unwrap()
        .waiters()
        .register_exclusive(sleepers[0].clone(), Events::READ);
    of(&eps[2])
        .unwrap()
        .waiters()
        .register_exclusive(sleepers[1].clone(), Events::READ);
    add(&a, 1);
    assert_eq!((sleepers[0].take(), sleepers[1].take()), (1, 0));
    add(&a, 1);
    assert_eq!((sleepers[0].take(), sleepers[1].take()), (0, 1));
}

#[test]
fn one_of_several_waiters_hears() {
    let (ep, a) = (create(), eventfd(0, 0).unwrap());
    ctl(&ep, EPOLL_CTL_ADD, 0, &a, IN | EPOLLET).unwrap();
    let sleepers: Vec<_> = (0..2).map(|_| Arc::new(Counter::default())).collect();
    for s in &sleepers {
        of(&ep)
            .unwrap()
            .waiters()
            .register_exclusive(s.clone(), Events::READ);
    }
    add(&a, 1);
    assert_eq!(sleepers[0].take() + sleepers[1].take(), 1);
}

/// A file that takes an outer lock to say whether it is ready, as a socket does.
struct Locked(Pollee);
static OUTER: Mutex<(), { level::UNIX_SOCKET }> = Mutex::new(());
impl FileOps for Locked {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn poll(&self, _file: &File) -> Events {
        drop(OUTER.lock());
        Events::READ
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.0)
    }
}

#[test]
fn a_ready_instance_is_added_with_no_lock_held() {
    let (outer, inner) = (create(), create());
    let file = anon::file("[locked]", Box::new(Locked(Pollee::new())), 2);
    ctl(&inner, EPOLL_CTL_ADD, 1, &file, IN).unwrap();
    ctl(&outer, EPOLL_CTL_ADD, 2, &inner, IN).unwrap();
    assert_eq!(wait(&outer), [(IN, 2)]);
}

/// Four instances in each of five layers, each watching all of the next: 256 ways down. What is refused leaves nothing.
#[test]
fn as_many_ways_as_linux_allows() {
    let layers: Vec<Vec<_>> = (0..5).map(|_| (0..4).map(|_| create()).collect()).collect();
    for pair in layers.windows(2) {
        for above in &pair[0] {
            for (fd, below) in pair[1].iter().enumerate() {
                ctl(above, EPOLL_CTL_ADD, fd as i32, below, IN).unwrap();
            }
        }
    }
    let (top, bottom) = (&layers[0][0], &layers[4][0]);
    let parents = || of(bottom).unwrap().parents.lock().len();
    for _ in 0..20 {
        assert_eq!(ctl(bottom, EPOLL_CTL_ADD, 90, top, IN), Err(Errno::ELOOP));
        let again = ctl(&layers[3][0], EPOLL_CTL_ADD, 0, bottom, IN);
        assert_eq!(again, Err(Errno::EEXIST));
    }
    assert_eq!(parents(), 4);
    let more: Vec<_> = (0..200).map(|_| create()).collect();
    let results = more.iter().map(|e| ctl(e, EPOLL_CTL_ADD, 0, bottom, IN));
    let refused = results.filter(|r| *r == Err(Errno::EINVAL)).count();
    // Above the bottom there are 1 + 4 + 16 + 64 + 256 ways.
    assert_eq!((refused, parents()), (200 - (500 - 341), 4 + 500 - 341));
}

/// One ready file under many numbers, in two instances: each watch goes at a price that does not depend on the others. Were they searched one by one, this
/// would take 10^10 steps.
#[test]
fn many_watches_of_one_file_go_one_by_one() {
    const MANY: i32 = 100_000;
    let (one, two) = (create(), create());
    let file = eventfd(1, 0).unwrap();
    for fd in 0..MANY {
        ctl(&one, EPOLL_CTL_ADD, fd, &file, IN).unwrap();
        ctl(&two, EPOLL_CTL_ADD, fd, &file, IN).unwrap();
    }
    for fd in (0..MANY).filter(|fd| fd % 2 == 0) {
        ctl(&one, EPOLL_CTL_DEL, fd, &file, 0).unwrap();
    }
    let half = MANY as usize / 2;
    let left = |ep: &Arc<File>| {
        (
            of(ep).unwrap().interest.lock().len(),
            of(ep).unwrap().ready.lock().list.len(),
        )
    };
    assert_eq!(left(&one).0, half);
    assert!(left(&one).1 <= 2 * half);
    assert_eq!(of(&one).unwrap().collect(usize::MAX).len(), half);
    assert_eq!(left(&one), (half, half));
    drop(two);
    drop(file);
    assert_eq!(left(&one).0, 0);
    assert_eq!(wait(&one), []);
}
