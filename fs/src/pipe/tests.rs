use super::*;
use crate::testing::{Counter, TestCaller, TestMemory};

fn fifo(pipe: &Arc<Pipe>, flags: u32) -> Result<Arc<File>, Errno> {
    Ok(anon::file("fifo", Box::new(open_fifo(pipe, flags)?), flags))
}

#[test]
fn data_flows_and_ends() {
    let c = TestCaller::root();
    let (r, w) = pair(&c, 0).unwrap();
    let mut buf = [0; 16];
    assert_eq!(r.read(&mut buf), Err(Errno::EAGAIN));
    assert_eq!(r.poll(), Events::empty());
    assert_eq!(w.poll(), Events::WRITE);
    assert_eq!(w.write(&c, b"abc"), Ok(3));
    assert_eq!(r.poll(), Events::READ);
    let m = TestMemory::new(8);
    assert_eq!(r.ops().ioctl(&r, &c, &m, FIONREAD, 0), Ok(0));
    assert_eq!(m.i32_at(0), 3);
    drop(w);
    assert_eq!(r.poll(), Events::READ | Events::HUP);
    assert_eq!(r.read(&mut buf), Ok(3));
    assert_eq!(r.read(&mut buf), Ok(0));
    assert_eq!(r.poll(), Events::HUP);
    assert_eq!(r.seek(0, 0), Err(Errno::ESPIPE));
    assert_eq!(r.write(&c, b"x"), Err(Errno::EBADF));
}

#[test]
fn writer_without_reader() {
    let c = TestCaller::root();
    let (r, w) = pair(&c, 0).unwrap();
    drop(r);
    assert_eq!(w.write(&c, b"x"), Err(Errno::EPIPE));
    assert_eq!(w.write(&c, b""), Ok(0));
    assert_eq!(w.poll(), Events::WRITE | Events::ERR);
}

#[test]
fn atomic_up_to_pipe_buf() {
    let c = TestCaller::root();
    let (r, w) = pair(&c, O_NONBLOCK).unwrap();
    assert_eq!(w.write(&c, &[0; 65535]), Ok(65535));
    // One byte of room in the last slot; 2 bytes do not fit there, nothing of them is written.
    assert_eq!(w.write(&c, &[1; 2]), Err(Errno::EAGAIN));
    assert_eq!(w.write(&c, &[1; 1]), Ok(1));
    let mut buf = vec![0; 65536];
    assert_eq!(r.read(&mut buf[..4096]), Ok(4096));
    assert_eq!(w.write(&c, &[2; 10000]), Ok(4096));
    assert_eq!(r.read(&mut buf), Ok(65536));
}

#[test]
fn sizes() {
    let (root, user) = (TestCaller::root(), TestCaller::user(77));
    let (r, w) = pair(&root, 0).unwrap();
    let p = of(&r).unwrap();
    assert_eq!(p.size(), 65536);
    assert_eq!(p.set_size(&user.0, 5000), Ok(8192));
    assert_eq!(p.set_size(&user.0, 0), Ok(4096));
    assert_eq!(p.set_size(&user.0, (1 << 31) + 1), Err(Errno::EINVAL));
    assert_eq!(p.set_size(&user.0, (1 << 20) + 1), Err(Errno::EPERM));
    assert_eq!(p.set_size(&root.0, 2 << 20), Ok(2 << 20));
    assert_eq!(w.write(&root, &[0; 10000]), Ok(10000));
    assert_eq!(p.set_size(&user.0, 8192), Err(Errno::EBUSY));
    assert_eq!(p.set_size(&user.0, 16384), Ok(16384));
}

#[test]
fn a_user_beyond_the_limit_gets_small_pipes() {
    let user = TestCaller::user(78);
    let pipes: Vec<_> = (0..1025).map(|_| pair(&user, 0).unwrap()).collect();
    assert_eq!(of(&pipes[0].0).unwrap().size(), 65536);
    assert_eq!(of(&pipes[1024].0).unwrap().size(), 8192);
    assert_eq!(
        of(&pipes[1024].0).unwrap().set_size(&user.0, 65536),
        Err(Errno::EPERM)
    );
    drop(pipes);
    assert_eq!(of(&pair(&user, 0).unwrap().0).unwrap().size(), 65536);
}

#[test]
fn notifications() {
    let c = TestCaller::root();
    let (r, w) = pair(&c, 0).unwrap();
    let (on_read, on_write) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    r.ops()
        .pollee()
        .unwrap()
        .register(on_read.clone(), Events::IN);
    w.ops()
        .pollee()
        .unwrap()
        .register(on_write.clone(), Events::OUT);
    w.write(&c, &[0; 65536]).unwrap();
    assert_eq!((on_read.take(), on_write.take()), (1, 0));
    r.read(&mut [0; 10]).unwrap();
    assert_eq!((on_read.take(), on_write.take()), (0, 0));
    r.read(&mut [0; 5000]).unwrap();
    assert_eq!((on_read.take(), on_write.take()), (0, 1));
    drop(w);
    assert_eq!(on_read.take(), 1);
}

#[test]
fn fifo_rendezvous() {
    let pipe = Pipe::new(&Cred::kernel());
    assert_eq!(fifo(&pipe, 1 | O_NONBLOCK).err(), Some(Errno::ENXIO));
    // A reader that would not wait opens at once and sees no hang-up before a writer came.
    let r = fifo(&pipe, O_NONBLOCK).unwrap();
    assert_eq!(r.poll(), Events::empty());
    let w = fifo(&pipe, 1).unwrap();
    drop(w);
    assert_eq!(r.poll(), Events::HUP);
    drop(r);

    let pending = |f: &Arc<File>| f.ops().open_pending(f);
    let reader = fifo(&pipe, 0).unwrap();
    let heard = Arc::new(Counter::default());
    reader
        .ops()
        .pollee()
        .unwrap()
        .register(heard.clone(), Events::READ);
    assert!(pending(&reader));
    let w = fifo(&pipe, 1).unwrap();
    assert_eq!(heard.take(), 1);
    assert!(!pending(&w));
    drop(w);
    // The writer came and went: the reader's open is done all the same.
    assert!(!pending(&reader));
    drop(reader);
    let given_up = fifo(&pipe, 1).unwrap();
    assert!(pending(&given_up));
    drop(given_up);
    assert!(pending(&fifo(&pipe, 0).unwrap()));
    let both = fifo(&pipe, 2).unwrap();
    assert_eq!(both.write(&TestCaller::root(), b"x"), Ok(1));
    assert_eq!(both.read(&mut [0; 4]), Ok(1));
}

#[test]
fn a_fifo_forgets_with_its_last_opener() {
    let pipe = Pipe::new(&Cred::kernel());
    let both = fifo(&pipe, 2).unwrap();
    both.write(&TestCaller::root(), b"x").unwrap();
    drop(both);
    assert_eq!(pipe.len(), 0);
}
