//! Writes the shared object: one page, one segment, the tables that glibc, musl and Go look at.
//!
//! ```text
//!   header, program headers | .hash | .dynsym | .dynstr | .versym | .verdef | .dynamic | code
//! ```

use abi::elf::*;
use zerocopy::IntoBytes;

/// The functions: the name after `__vdso_`, and the system call that does the same.
const FUNCTIONS: [(&str, u32); 5] = [
    ("clock_gettime", abi::nr::CLOCK_GETTIME as u32),
    ("gettimeofday", abi::nr::GETTIMEOFDAY as u32),
    ("time", abi::nr::TIME as u32),
    ("getcpu", abi::nr::GETCPU as u32),
    ("clock_getres", abi::nr::CLOCK_GETRES as u32),
];
const SONAME: &str = "linux-vdso.so.1";
const VERSION: &str = "LINUX_2.6";
/// Room for one function.
const SLOT: usize = 32;
const PAGE: usize = abi::PAGE_SIZE as usize;
const STT_FUNC: u8 = 2;
const STB_GLOBAL: u8 = 1 << 4;
const STB_WEAK: u8 = 2 << 4;
const BUCKETS: usize = 8;

/// The System V hash of a name.
fn elf_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |h, byte| {
        let h = (h << 4).wrapping_add(byte.into());
        let high = h & 0xf000_0000;
        (h ^ high >> 24) & !high
    })
}

/// The image as it grows.
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self.0.len() as u64
    }
    fn put(&mut self, value: &(impl IntoBytes + zerocopy::Immutable + ?Sized)) {
        self.0.extend_from_slice(value.as_bytes());
    }
}

/// A string table.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = u32::try_from(self.0.len()).unwrap_or(0);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        at
    }
}

fn code(name: &str, nr: u32, host: &[(Vec<u8>, u64)]) -> Vec<u8> {
    // endbr64
    let mut code = vec![0xf3, 0x0f, 0x1e, 0xfa];
    match host
        .iter()
        .find(|(n, _)| n == format!("__vdso_{name}").as_bytes())
    {
        Some((_, addr)) => {
            // mov $addr, %rax; jmp *%rax
            code.extend([0x48, 0xb8]);
            code.extend(addr.to_le_bytes());
            code.extend([0xff, 0xe0]);
        }
        None => {
            // mov $nr, %eax; syscall; ret
            code.push(0xb8);
            code.extend(nr.to_le_bytes());
            code.extend([0x0f, 0x05, 0xc3]);
        }
    }
    // int3
    code.resize(SLOT, 0xcc);
    code
}

/// The image, one page; `host` are the host's functions, by name. `None` never happens but if the tables outgrow the page.
pub fn build(host: &[(Vec<u8>, u64)]) -> Option<Vec<u8>> {
    let mut strings = Strings(vec![0]);
    let soname = strings.add(SONAME);
    let version = strings.add(VERSION);
    // Symbol 0 is empty; then each function under both its names.
    let names: Vec<(String, u8, usize)> = FUNCTIONS
        .iter()
        .enumerate()
        .flat_map(|(i, (name, _))| {
            [
                (format!("__vdso_{name}"), STB_GLOBAL, i),
                ((*name).to_owned(), STB_WEAK, i),
            ]
        })
        .collect();
    let text = PAGE.checked_sub(FUNCTIONS.len().checked_mul(SLOT)?)?;
    let text_addr = |i: usize| (text as u64).saturating_add((i as u64).saturating_mul(SLOT as u64));

    let mut out = Writer(vec![
        0;
        size_of::<Ehdr>()
            .checked_add(size_of::<Phdr>().checked_mul(2)?)?
    ]);
    let hash_at = out.align(8);
    let count = names.len().checked_add(1)?;
    let mut buckets = [0u32; BUCKETS];
    let mut chains = vec![0u32; count];
    for (i, (name, ..)) in names.iter().enumerate() {
        let index = i.checked_add(1)?;
        let bucket = buckets.get_mut(usize::try_from(elf_hash(name)).ok()? % BUCKETS)?;
        *chains.get_mut(index)? = *bucket;
        *bucket = u32::try_from(index).ok()?;
    }
    out.put(&[BUCKETS as u32, u32::try_from(count).ok()?]);
    out.put(&buckets);
    out.put(chains.as_slice());

    let dynsym_at = out.align(8);
    out.put(&Sym::default());
    for (name, binding, function) in &names {
        let symbol = Sym {
            st_name: strings.add(name),
            st_info: binding | STT_FUNC,
            st_other: 0,
            // Any section but "undefined": there are no section headers.
            st_shndx: 1,
            st_value: text_addr(*function),
            st_size: SLOT as u64,
        };
        out.put(&symbol);
    }
    let dynstr_at = out.align(8);
    out.put(strings.0.as_slice());
    let versym_at = out.align(8);
    out.put(&0u16);
    for _ in &names {
        out.put(&2u16);
    }
    let verdef_at = out.align(8);
    for (index, (flags, name, text, next)) in
        [(1u16, soname, SONAME, 28u32), (0, version, VERSION, 0)]
            .into_iter()
            .enumerate()
    {
        out.put(&[1u16, flags, u16::try_from(index.checked_add(1)?).ok()?, 1]);
        out.put(&[elf_hash(text), 20, next]);
        out.put(&[name, 0]);
    }
    let dynamic_at = out.align(8);
    let entries = [
        (DT_SONAME, soname.into()),
        (DT_HASH, hash_at),
        (DT_STRTAB, dynstr_at),
        (DT_SYMTAB, dynsym_at),
        (DT_STRSZ, strings.0.len() as u64),
        (DT_SYMENT, size_of::<Sym>() as u64),
        (DT_VERDEF, verdef_at),
        (DT_VERDEFNUM, 2),
        (DT_VERSYM, versym_at),
        (DT_NULL, 0),
    ];
    for (d_tag, d_val) in entries {
        out.put(&Dyn { d_tag, d_val });
    }
    let dynamic_len = (out.0.len() as u64).checked_sub(dynamic_at)?;
    let mut image = out.0;
    if image.len() > text {
        return None;
    }
    image.resize(text, 0);
    for (name, nr) in FUNCTIONS {
        image.extend(code(name, nr, host));
    }

    let mut e_ident = [0; 16];
    e_ident.get_mut(..4)?.copy_from_slice(&ELFMAG);
    e_ident
        .get_mut(4..7)?
        .copy_from_slice(&[ELFCLASS64, ELFDATA2LSB, EV_CURRENT]);
    let header = Ehdr {
        e_ident,
        e_type: ET_DYN,
        e_machine: EM_X86_64,
        e_version: EV_CURRENT.into(),
        e_phoff: size_of::<Ehdr>() as u64,
        e_ehsize: size_of::<Ehdr>() as u16,
        e_phentsize: size_of::<Phdr>() as u16,
        e_phnum: 2,
        ..Ehdr::default()
    };
    let len = PAGE as u64;
    let load = Phdr {
        p_type: PT_LOAD,
        p_flags: PF_R | PF_X,
        p_filesz: len,
        p_memsz: len,
        p_align: len,
        ..Phdr::default()
    };
    let dynamic = Phdr {
        p_type: PT_DYNAMIC,
        p_flags: PF_R,
        p_offset: dynamic_at,
        p_vaddr: dynamic_at,
        p_paddr: dynamic_at,
        p_filesz: dynamic_len,
        p_memsz: dynamic_len,
        p_align: 8,
    };
    let mut head = Writer(Vec::new());
    head.put(&header);
    head.put(&load);
    head.put(&dynamic);
    image.get_mut(..head.0.len())?.copy_from_slice(&head.0);
    Some(image)
}
