//! Guest memory on the mock platform.

use super::testing::*;
use super::*;
use abi::mman::*;
use fs::vfs::Vnode;
use fs::{Caller, File};
use platform::mock::MockPlatform;
use platform::{Access, Prot};
use proptest::prelude::*;
use std::any::Any;

const P: u64 = PAGE_SIZE;
const RW: Prot = Prot::READ.union(Prot::WRITE);
const BASE: u64 = 0x10_0000;
const ACCERR: i32 = abi::siginfo::SEGV_ACCERR;

struct World {
    platform: MockPlatform,
    mm: Arc<MemoryManager>,
}

fn world() -> World {
    let platform = MockPlatform::new().unwrap();
    let mm = MemoryManager::on(&platform, platform.new_address_space().unwrap());
    mm.update_layout(|l| l.mmap_base = 0x7000_0000_0000);
    World { platform, mm }
}

impl World {
    fn host_file(&self, bytes: &[u8]) -> Arc<File> {
        host_file(self.platform.memory_file(), bytes)
    }

    fn memory_file(&self, bytes: &[u8], room: u64) -> (Arc<File>, Arc<TestInode>) {
        let memory = self.platform.memory_file().clone();
        let offset = memory.allocate(room).unwrap();
        memory.write_at(offset, bytes).unwrap();
        let inode = TestInode {
            host: None,
            memory,
            offset,
            size: AtomicU64::new(bytes.len() as u64),
            vnode: Vnode::new(),
            fs: Arc::new(TestFs),
        };
        let inode = Arc::new(inode);
        (open(inode.clone(), 2), inode)
    }

    fn map(
        &self,
        addr: u64,
        pages: u64,
        prot: Prot,
        flags: MapFlags,
        source: MapSource,
    ) -> Result<u64, Errno> {
        self.mm.mmap(
            &MapRequest {
                addr,
                len: pages * P,
                prot,
                flags,
                source,
            },
            &MemLimits::NONE,
        )
    }
    fn anon(&self, addr: u64, pages: u64, prot: Prot) -> u64 {
        self.map(
            addr,
            pages,
            prot,
            MapFlags::MAP_PRIVATE | MapFlags::MAP_ANONYMOUS | MapFlags::MAP_FIXED,
            MapSource::Anonymous,
        )
        .unwrap()
    }
    fn byte(&self, addr: u64) -> Result<u8, Errno> {
        self.mm.read_obj::<u8>(addr)
    }
    fn check(&self) {
        let (kept, counted) = self.mm.recount();
        assert_eq!(kept, counted);
    }
}

const PRIVATE: MapFlags = MapFlags::MAP_PRIVATE;
const SHARED: MapFlags = MapFlags::MAP_SHARED;

struct Nobody;
impl Caller for Nobody {
    fn cred(&self) -> Arc<fs::Cred> {
        Arc::new(fs::Cred::default())
    }
    fn umask(&self) -> u32 {
        0
    }
    fn now_ns(&self) -> i64 {
        0
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn maps_go_down_and_are_joined() {
    let w = world();
    let a = w
        .map(
            0,
            1,
            RW,
            PRIVATE | MapFlags::MAP_ANONYMOUS,
            MapSource::Anonymous,
        )
        .unwrap();
    let b = w
        .map(
            0,
            3,
            RW,
            PRIVATE | MapFlags::MAP_ANONYMOUS,
            MapSource::Anonymous,
        )
        .unwrap();
    assert_eq!((a, b), (0x7000_0000_0000 - P, 0x7000_0000_0000 - 4 * P));
    assert_eq!(w.mm.vmas().len(), 1);
    w.mm.write_bytes(b, b"hello").unwrap();
    w.mm.munmap(b + P, P).unwrap();
    assert_eq!(w.mm.vmas().len(), 2);
    assert_eq!(w.byte(b + P), Err(Errno::EFAULT));
    assert_eq!(w.byte(b), Ok(b'h'));
    assert_eq!(w.mm.munmap(b + 1, P), Err(Errno::EINVAL));
    assert_eq!(w.mm.munmap(b, 0), Err(Errno::EINVAL));
    assert_eq!(w.mm.munmap(!0xfff, P), Err(Errno::EINVAL));
    // The hole is taken before what lies below.
    assert_eq!(
        w.map(
            0,
            1,
            RW,
            PRIVATE | MapFlags::MAP_ANONYMOUS,
            MapSource::Anonymous
        ),
        Ok(b + P)
    );
    w.check();
}

#[test]
fn bad_arguments() {
    let w = world();
    let anon = PRIVATE | MapFlags::MAP_ANONYMOUS;
    let go = |addr, len, flags| {
        w.mm.mmap(
            &MapRequest {
                addr,
                len,
                prot: RW,
                flags,
                source: MapSource::Anonymous,
            },
            &MemLimits::NONE,
        )
    };
    assert_eq!(go(0, 0, anon), Err(Errno::EINVAL));
    assert_eq!(go(0, u64::MAX, anon), Err(Errno::ENOMEM));
    assert_eq!(go(0, 1 << 47, anon), Err(Errno::ENOMEM));
    assert_eq!(go(0, P, MapFlags::MAP_ANONYMOUS), Err(Errno::EINVAL));
    assert_eq!(
        go(0x1001, P, anon | MapFlags::MAP_FIXED),
        Err(Errno::EINVAL)
    );
    assert_eq!(go(0, P, anon | MapFlags::MAP_FIXED), Err(Errno::EPERM));
    assert_eq!(
        go(0x7fff_ffff_f000, 2 * P, anon | MapFlags::MAP_FIXED),
        Err(Errno::ENOMEM)
    );
    assert_eq!(go(BASE, P, anon | MapFlags::MAP_FIXED_NOREPLACE), Ok(BASE));
    assert_eq!(
        go(BASE, P, anon | MapFlags::MAP_FIXED_NOREPLACE),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        go(BASE, P, anon | MapFlags::MAP_HUGETLB),
        Err(Errno::ENOMEM)
    );
    let low = go(0, P, anon | MapFlags::MAP_32BIT).unwrap();
    assert!((0x4000_0000..0x8000_0000).contains(&low));
    assert_ne!(go(BASE, P, anon), Ok(BASE), "a taken hint is no order");
    assert_eq!(go(BASE + 0x10_0001, P, anon), Ok(BASE + 0x10_1000));
}

#[test]
fn limits_bite() {
    let w = world();
    let limits = MemLimits {
        address_space: 4 * P,
        ..MemLimits::NONE
    };
    let request = |pages: u64, flags| MapRequest {
        addr: BASE,
        len: pages * P,
        prot: RW,
        flags,
        source: MapSource::Anonymous,
    };
    let fixed = PRIVATE | MapFlags::MAP_ANONYMOUS | MapFlags::MAP_FIXED;
    assert_eq!(w.mm.mmap(&request(5, fixed), &limits), Err(Errno::ENOMEM));
    w.mm.mmap(&request(4, fixed), &limits).unwrap();
    w.mm.mmap(&request(4, fixed), &limits).unwrap();
    let locked = MemLimits {
        memlock: 2 * P,
        ..MemLimits::NONE
    };
    assert_eq!(w.mm.mlock(BASE, 3 * P, false, &locked), Err(Errno::ENOMEM));
    w.mm.mlock(BASE + 1, P, false, &locked).unwrap();
    assert_eq!(w.mm.statm().locked, 2);
    w.mm.munlock(BASE, P).unwrap();
    assert_eq!(w.mm.statm().locked, 1);
    assert_eq!(
        w.mm.mlock(
            BASE,
            P,
            false,
            &MemLimits {
                memlock: 0,
                ..MemLimits::NONE
            }
        ),
        Err(Errno::EPERM)
    );
    w.mm.munlockall();
    assert_eq!(w.mm.statm().locked, 0);
    w.check();
}

#[test]
fn private_file_pages_are_copied() {
    let w = world();
    let mut bytes = vec![1u8; 3 << 20];
    bytes[P as usize..2 * P as usize].fill(2);
    let file = w.host_file(&bytes);
    let source = || MapSource::File {
        file: file.clone(),
        offset: 0,
    };
    // Small: at once, exactly to the end of the file.
    let small = w.host_file(&bytes[..5000]);
    let at = w
        .map(
            0,
            4,
            RW,
            PRIVATE,
            MapSource::File {
                file: small,
                offset: 0,
            },
        )
        .unwrap();
    assert_eq!(
        (w.byte(at), w.byte(at + 4999), w.byte(at + 5000)),
        (Ok(1), Ok(2), Ok(0))
    );
    w.mm.write_bytes(at + 4096, b"x").unwrap();
    // Large: chunk by chunk.
    let big = w.map(0, 768, RW, PRIVATE, source()).unwrap();
    assert_eq!(w.byte(big + P), Ok(2));
    w.mm.write_bytes(big + P, b"new").unwrap();
    assert_eq!(
        (w.byte(big + P), w.byte(big + P + 3), w.byte(big)),
        (Ok(b'n'), Ok(2), Ok(1))
    );
    assert_eq!(w.mm.vmas().len(), 2, "seen as two mappings, of two files");
    let again = w.map(0, 2, Prot::READ, PRIVATE, source()).unwrap();
    assert_eq!(w.byte(again + P), Ok(2), "the file is as it was");
    // Back to the file's own.
    w.mm.madvise(&Nobody, big + P, P, MADV_DONTNEED).unwrap();
    assert_eq!(w.byte(big + P), Ok(2));
    w.mm.write_bytes(big + P, b"again").unwrap();
    assert_eq!(w.byte(big + P), Ok(b'a'));
    // Read-only first, then writable.
    w.mm.mprotect(again, P, RW, false, &MemLimits::NONE)
        .unwrap();
    assert_eq!(w.mm.write_bytes(again, b"y"), Ok(()));
    assert_eq!(w.mm.write_bytes(again + P, b"y"), Err(Errno::EFAULT));
    w.check();
}

#[test]
fn memory_files_end_where_they_end() {
    let w = world();
    let (file, inode) = w.memory_file(b"content", 8 * P);
    let at = w
        .map(
            0,
            4,
            RW,
            SHARED,
            MapSource::File {
                file: file.clone(),
                offset: 0,
            },
        )
        .unwrap();
    assert_eq!(w.byte(at), Ok(b'c'));
    let beyond = w.mm.handle_fault(at + P, Access::Read, 11, ACCERR);
    assert_eq!(
        beyond,
        FaultOutcome::Signal {
            signo: 7,
            code: abi::siginfo::BUS_ADRERR
        }
    );
    inode.size.store(2 * P, Ordering::SeqCst);
    assert_eq!(
        w.mm.handle_fault(at + P, Access::Read, 11, ACCERR),
        FaultOutcome::Resolved
    );
    w.mm.write_bytes(at + P, b"grown").unwrap();
    // Truncated: gone from parent and child.
    let child = w.mm.fork().unwrap();
    assert_eq!(child.read_obj::<u8>(at + P), Ok(b'g'));
    inode.size.store(10, Ordering::SeqCst);
    inode.vnode.invalidate(P, u64::MAX);
    for mm in [&w.mm, &child] {
        assert_eq!(mm.read_obj::<u8>(at + P), Err(Errno::EFAULT));
        assert_eq!(mm.read_obj::<u8>(at), Ok(b'c'));
        assert_eq!(
            mm.handle_fault(at + P, Access::Write, 11, ACCERR),
            FaultOutcome::Signal {
                signo: 7,
                code: abi::siginfo::BUS_ADRERR
            }
        );
    }
    assert!(matches!(
        w.mm.futex_key(at + 4, true),
        Ok(FutexKey::Shared {
            object: FutexObject::Inode {
                dev: 0x801,
                ino: 42
            },
            offset: 4
        })
    ));
    assert_eq!(w.mm.futex_key(at + 4, true), child.futex_key(at + 4, true));
    w.check();
}

#[test]
fn stacks_grow_to_their_limits() {
    let w = world();
    let flags = PRIVATE | MapFlags::MAP_ANONYMOUS | MapFlags::MAP_GROWSDOWN | MapFlags::MAP_FIXED;
    let top = 0x6000_0000_0000;
    w.map(top - P, 1, RW, flags, MapSource::Anonymous).unwrap();
    w.mm.set_stack_limit(1 << 20);
    w.mm.write_bytes(top - 5 * P, b"deep").unwrap();
    assert_eq!(
        w.mm.handle_fault(top - (1 << 20), Access::Write, 11, 1),
        FaultOutcome::Resolved
    );
    assert_eq!(
        w.mm.handle_fault(top - (1 << 20) - 1, Access::Write, 11, 1),
        FaultOutcome::Signal { signo: 11, code: 1 }
    );
    // A neighbour keeps its distance.
    w.mm.set_stack_limit(u64::MAX);
    w.anon(top - (3 << 20), 1, RW);
    assert_eq!(
        w.mm.handle_fault(top - (2 << 20), Access::Write, 11, 1),
        FaultOutcome::Signal { signo: 11, code: 1 }
    );
    assert_eq!(
        w.mm.handle_fault(top - (2 << 20) + P, Access::Write, 11, 1),
        FaultOutcome::Resolved
    );
    assert_eq!(
        w.mm.handle_fault(0x1234, Access::Read, 11, 1),
        FaultOutcome::Signal { signo: 11, code: 1 }
    );
    assert_eq!(
        w.mm.handle_fault(0, Access::Read, 11, 0x80),
        FaultOutcome::Signal {
            signo: 11,
            code: 0x80
        }
    );
    w.check();
}

#[test]
fn the_heap() {
    let w = world();
    w.mm.update_layout(|l| (l.start_brk, l.brk) = (BASE, BASE));
    assert_eq!(w.mm.brk(0, &MemLimits::NONE), BASE);
    assert_eq!(w.mm.brk(BASE + 5000, &MemLimits::NONE), BASE + 5000);
    w.mm.write_bytes(BASE + 8000, b"in").unwrap();
    assert_eq!(w.mm.brk(BASE + 100, &MemLimits::NONE), BASE + 100);
    assert_eq!(w.byte(BASE + 8000), Err(Errno::EFAULT));
    w.anon(BASE + 4 * P, 1, RW);
    assert_eq!(
        w.mm.brk(BASE + 4 * P, &MemLimits::NONE),
        BASE + 100,
        "no room"
    );
    assert_eq!(
        w.mm.brk(
            BASE + 2 * P,
            &MemLimits {
                data: P,
                ..MemLimits::NONE
            }
        ),
        BASE + 100
    );
    assert_eq!(w.mm.brk(u64::MAX, &MemLimits::NONE), BASE + 100);
    w.check();
}

#[test]
fn remapping() {
    let w = world();
    let go = |a, o, n, f, t| w.mm.mremap(a, o * P, n * P, f, t, &MemLimits::NONE);
    w.anon(BASE, 2, RW);
    w.mm.write_bytes(BASE + P, b"move").unwrap();
    assert_eq!(go(BASE, 2, 3, 0, 0), Ok(BASE), "room behind it");
    w.anon(BASE + 3 * P, 1, Prot::READ);
    assert_eq!(go(BASE, 3, 4, 0, 0), Err(Errno::ENOMEM));
    let moved = go(BASE, 3, 4, MREMAP_MAYMOVE, 0).unwrap();
    assert_eq!(
        (w.byte(moved + P), w.byte(BASE + P), w.byte(moved + 3 * P)),
        (Ok(b'm'), Err(Errno::EFAULT), Ok(0))
    );
    assert_eq!(
        go(moved, 4, 2, MREMAP_MAYMOVE | MREMAP_FIXED, BASE),
        Ok(BASE)
    );
    assert_eq!(w.byte(BASE + P), Ok(b'm'));
    assert_eq!(
        go(BASE, 2, 2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0).map(|a| w.byte(a + P)),
        Ok(Ok(b'm'))
    );
    assert_eq!(w.byte(BASE + P), Ok(0));
    assert_eq!(go(BASE, 2, 1, 0, 0), Ok(BASE));
    assert_eq!(w.byte(BASE + P), Err(Errno::EFAULT));
    for (bad, error) in [
        (go(BASE + 1, 1, 1, 0, 0), Errno::EINVAL),
        (go(BASE, 1, 0, 0, 0), Errno::EINVAL),
        (go(BASE, 1, 1, MREMAP_FIXED, BASE), Errno::EINVAL),
        (
            go(BASE, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, BASE),
            Errno::EINVAL,
        ),
        (go(BASE, 0, 1, MREMAP_MAYMOVE, 0), Errno::EINVAL),
        (go(BASE + 0x100_0000, 1, 2, 0, 0), Errno::EFAULT),
        (go(BASE, 8, 9, MREMAP_MAYMOVE, 0), Errno::EFAULT),
        (go(BASE, 1, 1, 8, 0), Errno::EINVAL),
    ] {
        assert_eq!(bad, Err(error));
    }
    // Shared memory can be mapped a second time.
    let shared = w
        .map(
            0,
            2,
            RW,
            SHARED | MapFlags::MAP_ANONYMOUS,
            MapSource::Anonymous,
        )
        .unwrap();
    w.mm.write_bytes(shared, b"both").unwrap();
    let second = go(shared, 0, 2, MREMAP_MAYMOVE, 0).unwrap();
    assert_eq!(w.byte(second), Err(Errno::EFAULT).or(Ok(b'b')));
    // Private pages of a file move in the state they are in.
    let file = w.host_file(&vec![5; 2 << 20]);
    let big = w
        .map(0, 512, RW, PRIVATE, MapSource::File { file, offset: 0 })
        .unwrap();
    w.mm.write_bytes(big + 100 * P, b"copied").unwrap();
    let to = go(big, 512, 512, MREMAP_MAYMOVE | MREMAP_FIXED, 0x2_0000_0000).unwrap();
    assert_eq!((w.byte(to + 100 * P), w.byte(to)), (Ok(b'c'), Ok(5)));
    w.mm.write_bytes(to, b"z").unwrap();
    w.check();
}

#[test]
fn forks_and_what_they_leave_out() {
    let w = world();
    w.anon(BASE, 4, RW);
    w.mm.write_bytes(BASE, &vec![9; 4 * P as usize]).unwrap();
    let shared = w
        .map(
            0,
            1,
            RW,
            SHARED | MapFlags::MAP_ANONYMOUS,
            MapSource::Anonymous,
        )
        .unwrap();
    w.mm.madvise(&Nobody, BASE + P, P, MADV_DONTFORK).unwrap();
    w.mm.madvise(&Nobody, BASE + 2 * P, P, MADV_WIPEONFORK)
        .unwrap();
    assert_eq!(
        w.mm.madvise(&Nobody, shared, P, MADV_WIPEONFORK),
        Err(Errno::EINVAL)
    );
    w.mm.mlock(BASE, P, false, &MemLimits::NONE).unwrap();
    let child = w.mm.fork().unwrap();
    let get = |at| child.read_obj::<u8>(at);
    assert_eq!(
        (
            get(BASE),
            get(BASE + P),
            get(BASE + 2 * P),
            get(BASE + 3 * P)
        ),
        (Ok(9), Err(Errno::EFAULT), Ok(0), Ok(9))
    );
    child.write_bytes(BASE, b"c").unwrap();
    child.write_bytes(shared, b"s").unwrap();
    assert_eq!((w.byte(BASE), w.byte(shared)), (Ok(9), Ok(b's')));
    assert_eq!(child.statm().locked, 0);
    assert_eq!(child.futex_key(shared, true), w.mm.futex_key(shared, true));
    assert_ne!(child.futex_key(BASE, true), w.mm.futex_key(BASE, true));
    let (kept, counted) = child.recount();
    assert_eq!(kept, counted);
    drop(child);
    let used = w.platform.memory_file().usage();
    w.mm.munmap(shared, P).unwrap();
    assert_eq!(w.platform.memory_file().usage(), used - P);
}

#[test]
fn strings_and_vectors() {
    let w = world();
    w.anon(BASE, 2, RW);
    w.mm.write_bytes(BASE + P - 3, b"abcdef\0").unwrap();
    assert_eq!(w.mm.read_cstring(BASE + P - 3, 64), Ok(b"abcdef".to_vec()));
    assert_eq!(w.mm.read_cstring(BASE + P - 3, 6), Err(Errno::ENAMETOOLONG));
    w.mm.write_bytes(BASE + 2 * P - 2, b"xy").unwrap();
    assert_eq!(w.mm.read_cstring(BASE + 2 * P - 2, 64), Err(Errno::EFAULT));
    assert_eq!(w.mm.read_cstring(u64::MAX - 2, 64), Err(Errno::EFAULT));
    let iovecs = [
        abi::Iovec {
            iov_base: BASE,
            iov_len: 2,
        },
        abi::Iovec {
            iov_base: BASE + 2 * P - 1,
            iov_len: 4,
        },
    ];
    w.mm.write_obj(BASE + 64, &iovecs).unwrap();
    let read = w.mm.read_iovecs(BASE + 64, 2).unwrap();
    let mut buf = [0; 6];
    assert_eq!(w.mm.read_iovecs_into(&read, &mut buf), Ok(3));
    assert_eq!(buf[2], b'y');
    assert_eq!(w.mm.write_iovecs_from(&read, b"123456"), Ok(3));
    assert_eq!(w.mm.read_iovecs(BASE + 64, 1025), Err(Errno::EINVAL));
    assert_eq!(w.mm.futex_key(BASE + 1, false), Err(Errno::EINVAL));
    assert_eq!(w.mm.compare_exchange_u32(BASE + 4, 3, 9), Ok(Err(0)));
    assert_eq!(w.mm.compare_exchange_u32(BASE + 4, 0, 9), Ok(Ok(0)));
}

#[test]
fn proc_text() {
    let w = world();
    let file = w.host_file(&[0; 8192]);
    w.map(
        BASE,
        2,
        Prot::READ,
        PRIVATE | MapFlags::MAP_FIXED,
        MapSource::File {
            file: file.clone(),
            offset: 0,
        },
    )
    .unwrap();
    w.mm.update_layout(|l| (l.start_brk, l.brk) = (BASE + 0x10_000, BASE + 0x10_000));
    w.mm.brk(BASE + 0x11_000, &MemLimits::NONE);
    let text = String::from_utf8(w.mm.maps(file.path())).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "00100000-00102000 r--p 00000000 08:01 42                                 /lib/test.so"
    );
    assert_eq!(
        lines.next().unwrap(),
        "00110000-00111000 rw-p 00000000 00:00 0                                  [heap]"
    );
    assert!(w.mm.status().contains("VmSize:\t      12 kB\n"));
    assert!(!w.mm.smaps(file.path()).is_empty() && !w.mm.smaps_rollup().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Random changes against an array of pages.
    #[test]
    fn changes_agree_with_a_model(ops in proptest::collection::vec((0..7u8, 0..40u64, 1..12u64, 0..40u64), 1..80)) {
        let w = world();
        let mut model: Vec<Option<(Prot, u8)>> = vec![None; 64];
        let mut stamp = 0u8;
        for (op, page, len, other) in ops {
            let (at, end) = (BASE + page * P, page + len);
            let cells = page as usize..end as usize;
            match op {
                0 | 1 => {
                    w.anon(at, len, RW);
                    stamp = stamp.wrapping_add(1);
                    model[cells.clone()].fill(Some((RW, stamp)));
                    for i in cells {
                        w.mm.write_bytes(BASE + i as u64 * P, &[stamp]).unwrap();
                    }
                }
                2 => {
                    w.mm.munmap(at, len * P).unwrap();
                    model[cells].fill(None);
                }
                3 => {
                    let prot = [Prot::empty(), Prot::READ, RW][other as usize % 3];
                    let whole = model[cells.clone()].iter().all(Option::is_some);
                    prop_assert_eq!(w.mm.mprotect(at, len * P, prot, false, &MemLimits::NONE).is_ok(), whole);
                    for cell in model[cells].iter_mut() {
                        let Some(cell) = cell else { break };
                        cell.0 = prot;
                    }
                }
                4 => {
                    let moved: Vec<_> = model[cells.clone()].to_vec();
                    let one = moved[0].is_some() && moved.iter().all(|c| c.map(|c| c.0) == moved[0].map(|c| c.0));
                    let apart = other >= end || other + len <= page;
                    let result = w.mm.mremap(at, len * P, len * P, MREMAP_MAYMOVE | MREMAP_FIXED, BASE + other * P, &MemLimits::NONE);
                    prop_assert_eq!(result.is_ok(), one && apart, "{:?}", result);
                    if result.is_ok() {
                        model[cells].fill(None);
                        model[other as usize..(other + len) as usize].clone_from_slice(&moved);
                    }
                }
                5 => {
                    let whole = model[cells.clone()].iter().all(Option::is_some);
                    prop_assert_eq!(w.mm.madvise(&Nobody, at, len * P, MADV_DONTNEED).is_ok(), whole);
                    for cell in model[cells].iter_mut().flatten() {
                        cell.1 = 0;
                    }
                }
                _ => {
                    let child = w.mm.fork().unwrap();
                    child.munmap(BASE, 64 * P).unwrap();
                }
            }
            for (i, cell) in model.iter().enumerate() {
                let addr = BASE + i as u64 * P;
                let expected = cell.and_then(|(prot, byte)| prot.contains(Prot::READ).then_some(byte)).ok_or(Errno::EFAULT);
                prop_assert_eq!(w.byte(addr), expected);
                let writes = cell.is_some_and(|c| c.0.contains(Prot::WRITE));
                prop_assert_eq!(w.mm.write_bytes(addr + 8, &[1]).is_ok(), writes);
            }
            let (kept, counted) = w.mm.recount();
            prop_assert_eq!(kept, counted);
        }
    }
}
