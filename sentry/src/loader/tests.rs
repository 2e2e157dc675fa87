//! Programs of all kinds, on the mock platform.

use super::*;
use crate::kernel::HostClock;
use crate::mm::testing::host_file;
use crate::syscall::SyscallTable;
use abi::elf::*;
use platform::mock::MockPlatform;
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

fn kernel() -> Arc<Kernel> {
    Kernel::new(
        Arc::new(MockPlatform::new().unwrap()),
        SyscallTable::default(),
        Arc::new(HostClock),
    )
    .unwrap()
}

fn elf(kind: u16, base: u64, interp: Option<&str>) -> Vec<u8> {
    let mut phdrs = vec![
        Phdr {
            p_type: PT_LOAD,
            p_flags: PF_R | PF_X,
            p_offset: 0,
            p_vaddr: base,
            p_paddr: 0,
            p_filesz: 0x1000,
            p_memsz: 0x1000,
            p_align: 0x1000,
        },
        Phdr {
            p_type: PT_LOAD,
            p_flags: PF_R | PF_W,
            p_offset: 0x1100,
            p_vaddr: base + 0x2100,
            p_paddr: 0,
            p_filesz: 0x200,
            p_memsz: 0x3000,
            p_align: 0x1000,
        },
        Phdr {
            p_type: PT_GNU_STACK,
            p_flags: PF_R | PF_W,
            ..Phdr::default()
        },
    ];
    if let Some(path) = interp {
        phdrs.push(Phdr {
            p_type: PT_INTERP,
            p_offset: 0x400,
            p_filesz: path.len() as u64 + 1,
            ..Phdr::default()
        });
    }
    let mut ident = [0; 16];
    ident[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', ELFCLASS64, ELFDATA2LSB, 1]);
    let header = Ehdr {
        e_ident: ident,
        e_type: kind,
        e_machine: EM_X86_64,
        e_version: 1,
        e_entry: base + 0x800,
        e_phoff: 64,
        e_phentsize: 56,
        e_phnum: phdrs.len() as u16,
        ..Ehdr::default()
    };
    let mut bytes = header.as_bytes().to_vec();
    for phdr in &phdrs {
        bytes.extend_from_slice(phdr.as_bytes());
    }
    bytes.resize(0x400, 0);
    bytes.extend_from_slice(interp.unwrap_or("").as_bytes());
    bytes.resize(0x1000, 0);
    bytes.resize(0x1100, 0xee);
    bytes.resize(0x1300, 0xdd);
    bytes
}

struct Try<'a> {
    kernel: &'a Arc<Kernel>,
    others: &'a [(&'a str, Vec<u8>)],
    argv: Vec<Vec<u8>>,
    personality: u32,
}

impl Try<'_> {
    fn run(&self, bytes: &[u8]) -> Result<Loaded, Errno> {
        let memory = self.kernel.platform.memory_file();
        let limits = Limits::default();
        let args = LoadArgs {
            file: host_file(memory, bytes),
            filename: b"./prog".to_vec(),
            script_unreachable: false,
            argv: self.argv.clone(),
            envp: vec![b"A=1".to_vec()],
            stack_limit: 8 << 20,
            limits: &limits,
            personality: self.personality,
        };
        let open = |path: &[u8]| {
            let found = self
                .others
                .iter()
                .find(|(name, _)| name.as_bytes() == path)
                .ok_or(Errno::ENOENT)?;
            Ok(host_file(memory, &found.1))
        };
        load(self.kernel, &args, &open, &mut |_| Ok(((1, 2, 3, 4), true)))
    }
}

fn words(loaded: &Loaded, count: usize) -> Vec<u64> {
    loaded.mm.read_vec(loaded.stack_pointer, count).unwrap()
}

#[test]
fn a_static_program() {
    let kernel = kernel();
    let t = Try {
        kernel: &kernel,
        others: &[],
        argv: vec![b"prog".to_vec(), b"x".to_vec()],
        personality: 0,
    };
    let loaded = t.run(&elf(ET_EXEC, 0x40_0000, None)).unwrap();
    assert_eq!(loaded.entry, 0x40_0800);
    assert_eq!(loaded.stack_pointer % 16, 0);
    let w = words(&loaded, 48);
    assert_eq!((w[0], w[3], w[5]), (2, 0, 0));
    let text = |at: u64| loaded.mm.read_cstring(at, 100).unwrap();
    assert_eq!(
        (text(w[1]), text(w[2]), text(w[4])),
        (b"prog".to_vec(), b"x".to_vec(), b"A=1".to_vec())
    );
    let auxv: std::collections::HashMap<u64, u64> = w[6..]
        .chunks_exact(2)
        .take_while(|p| p[0] != AT_NULL)
        .map(|p| (p[0], p[1]))
        .collect();
    assert_eq!(text(auxv[&AT_EXECFN]), b"./prog");
    assert_eq!(text(auxv[&AT_PLATFORM]), b"x86_64");
    assert_eq!(
        (
            auxv[&AT_PHDR],
            auxv[&AT_PHNUM],
            auxv[&AT_BASE],
            auxv[&AT_ENTRY]
        ),
        (0x40_0040, 3, 0, 0x40_0800)
    );
    assert_eq!(
        (
            auxv[&AT_UID],
            auxv[&AT_EUID],
            auxv[&AT_GID],
            auxv[&AT_EGID],
            auxv[&AT_SECURE]
        ),
        (1, 2, 3, 4, 1)
    );
    let mut head = [0; 4];
    loaded
        .mm
        .read_bytes(auxv[&AT_SYSINFO_EHDR], &mut head)
        .unwrap();
    assert_eq!(head, ELFMAG);
    // Data, what lies before it in its page, and zeroes.
    let byte = |at: u64| loaded.mm.read_obj::<u8>(at);
    assert_eq!(
        (byte(0x40_20ff), byte(0x40_2100), byte(0x40_22ff)),
        (Ok(0xee), Ok(0xdd), Ok(0xdd))
    );
    assert_eq!(
        (byte(0x40_2300), byte(0x40_4fff), byte(0x40_6000)),
        (Ok(0), Ok(0), Err(Errno::EFAULT))
    );
    assert_eq!(loaded.mm.write_bytes(0x40_0000, b"x"), Err(Errno::EFAULT));
    loaded.mm.write_bytes(0x40_2100, b"x").unwrap();
    let layout = loaded.mm.layout();
    assert!(layout.brk >= 0x40_6000 && layout.brk < 0x40_6000 + (32 << 20));
    assert_eq!((layout.start_code, layout.end_code), (0x40_0000, 0x40_1000));
    let brk = loaded.mm.brk(layout.brk + 4096, &MemLimits::NONE);
    assert_eq!(brk, layout.brk + 4096);
}

/// Many segments that show one piece of the file at one place: what is copied for them all is bounded.
#[test]
fn segments_that_repeat_themselves() {
    const MIB: u64 = 1 << 20;
    let kernel = kernel();
    let mut bytes = elf(ET_EXEC, 0x40_0000, None);
    let more = Phdr {
        p_type: PT_LOAD,
        p_flags: PF_R | PF_W,
        p_vaddr: 0x80_0000,
        p_filesz: MIB,
        p_memsz: MIB,
        ..Phdr::default()
    };
    let mut header = Ehdr::read_from_bytes(&bytes[..64]).unwrap();
    header.e_phnum = 50;
    bytes[..64].copy_from_slice(header.as_bytes());
    bytes.resize(usize::try_from(MIB).unwrap(), 0);
    for slot in bytes[64 + 2 * 56..64 + 50 * 56].chunks_exact_mut(56) {
        slot.copy_from_slice(more.as_bytes());
    }
    let file = host_file(kernel.platform.memory_file(), &bytes);
    let image = elf::Image::parse(&file, bytes[..4096].to_vec()).unwrap();
    let space = kernel.platform.new_address_space().unwrap();
    let mm = MemoryManager::new(&kernel, space).unwrap();
    let range = mm.user_range();
    let layout = Layout::new(&range, 8 << 20, false, &mut Random::new(false));
    let mut plan = Plan::new(layout);
    let map = Plan::file(&mm, &file).unwrap();
    image.map(&mut plan, &map, 0, &range).unwrap();
    assert!((MIB..5 * MIB).contains(&plan.copied()), "{}", plan.copied());
}

#[test]
fn dynamic_programs_and_places() {
    let kernel = kernel();
    let others = [("/ld.so", elf(ET_DYN, 0, None)), ("/bad", b"text".to_vec())];
    let t = Try {
        kernel: &kernel,
        others: &others,
        argv: Vec::new(),
        personality: ADDR_NO_RANDOMIZE,
    };
    let loaded = t.run(&elf(ET_DYN, 0, Some("/ld.so"))).unwrap();
    let pie = kernel.platform.user_range().end / 3 * 2;
    let text = loaded.mm.layout();
    assert!(
        text.start_code.abs_diff(pie) < 0x10_0000,
        "{:x}",
        text.start_code
    );
    assert!(loaded.entry > 0x7000_0000_0000);
    assert_eq!(words(&loaded, 1), [1], "an empty argv has one argument");
    let again = t.run(&elf(ET_DYN, 0, Some("/ld.so"))).unwrap();
    assert_eq!(
        (again.entry, again.stack_pointer),
        (loaded.entry, loaded.stack_pointer)
    );
    let own = t.run(&elf(ET_DYN, 0, None)).unwrap();
    assert!(own.entry > 0x7000_0000_0000);
    assert!(own.mm.layout().brk < 0x6000_0000_0000);
    assert_eq!(
        t.run(&elf(ET_DYN, 0, Some("/none"))).err(),
        Some(Errno::ENOENT)
    );
    assert_eq!(
        t.run(&elf(ET_DYN, 0, Some("/bad"))).err(),
        Some(Errno::ELIBBAD)
    );
    let random = Try {
        personality: 0,
        ..t
    };
    assert_ne!(random.run(&elf(ET_DYN, 0, None)).unwrap().entry, own.entry);
}

#[test]
fn scripts() {
    let kernel = kernel();
    let others = [
        ("/sh", elf(ET_EXEC, 0x40_0000, None)),
        ("/again", b"#!/again\n".to_vec()),
    ];
    let t = Try {
        kernel: &kernel,
        others: &others,
        argv: vec![b"name".to_vec(), b"last".to_vec()],
        personality: 0,
    };
    let loaded = t.run(b"#! /sh -x y\nbody").unwrap();
    let w = words(&loaded, 6);
    assert_eq!(w[0], 4);
    let text = |at: u64| String::from_utf8(loaded.mm.read_cstring(at, 100).unwrap()).unwrap();
    assert_eq!(
        (text(w[1]), text(w[2]), text(w[3]), text(w[4])),
        ("/sh".into(), "-x y".into(), "./prog".into(), "last".into())
    );
    assert_eq!(t.run(b"#!/again\n").err(), Some(Errno::ELOOP));
    assert_eq!(t.run(b"#!/missing\n").err(), Some(Errno::ENOENT));
    assert_eq!(t.run(b"").err(), Some(Errno::ENOEXEC));
    assert_eq!(t.run(b"plain text").err(), Some(Errno::ENOEXEC));
    let long = Try {
        argv: vec![vec![b'a'; 131_072]],
        ..t
    };
    assert_eq!(
        long.run(&elf(ET_EXEC, 0x40_0000, None)).err(),
        Some(Errno::E2BIG)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    /// Whatever the headers say: an error or a program, no panic.
    #[test]
    fn hostile_headers(changes in proptest::collection::vec((0..300usize, any::<u8>()), 1..8), dynamic in any::<bool>()) {
        let kernel = kernel();
        let mut bytes = elf(if dynamic { ET_DYN } else { ET_EXEC }, if dynamic { 0 } else { 0x40_0000 }, None);
        for (at, value) in changes {
            bytes[at] = value;
        }
        // The mock makes every page of a mapping: keep it from eating the machine.
        let loads = bytes[64..64 + 3 * 56].chunks(56).map(|p| u64::from_le_bytes(p[40..48].try_into().unwrap()));
        prop_assume!(loads.clone().all(|memsz| !(1 << 28..=1 << 48).contains(&memsz)));
        let t = Try { kernel: &kernel, others: &[], argv: Vec::new(), personality: 0 };
        let _ = t.run(&bytes);
    }
}
