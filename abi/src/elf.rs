//! ELF (`linux/elf.h`) and the auxiliary vector (`linux/auxvec.h`).
#![allow(missing_docs)]

abi_struct! {
    /// `Elf64_Ehdr`.
    pub struct Ehdr [64] {
        pub e_ident: [u8; 16],
        pub e_type: u16,
        pub e_machine: u16,
        pub e_version: u32,
        pub e_entry: u64,
        pub e_phoff: u64,
        pub e_shoff: u64,
        pub e_flags: u32,
        pub e_ehsize: u16,
        pub e_phentsize: u16,
        pub e_phnum: u16,
        pub e_shentsize: u16,
        pub e_shnum: u16,
        pub e_shstrndx: u16,
    }

    /// `Elf64_Phdr`.
    pub struct Phdr [56] {
        pub p_type: u32,
        pub p_flags: u32,
        pub p_offset: u64,
        pub p_vaddr: u64,
        pub p_paddr: u64,
        pub p_filesz: u64,
        pub p_memsz: u64,
        pub p_align: u64,
    }

    /// `Elf64_Shdr`.
    pub struct Shdr [64] {
        pub sh_name: u32,
        pub sh_type: u32,
        pub sh_flags: u64,
        pub sh_addr: u64,
        pub sh_offset: u64,
        pub sh_size: u64,
        pub sh_link: u32,
        pub sh_info: u32,
        pub sh_addralign: u64,
        pub sh_entsize: u64,
    }

    /// `Elf64_Sym`.
    pub struct Sym [24] {
        pub st_name: u32,
        pub st_info: u8,
        pub st_other: u8,
        pub st_shndx: u16,
        pub st_value: u64,
        pub st_size: u64,
    }

    /// `Elf64_Dyn`.
    pub struct Dyn [16] {
        pub d_tag: i64,
        pub d_val: u64,
    }

    /// `Elf64_Nhdr`.
    pub struct Nhdr [12] {
        pub n_namesz: u32,
        pub n_descsz: u32,
        pub n_type: u32,
    }

    /// One entry of the auxiliary vector.
    pub struct Auxv [16] {
        pub a_type: u64,
        pub a_val: u64,
    }
}

/// The four bytes an ELF file starts with.
pub const ELFMAG: [u8; 4] = *b"\x7fELF";
pub const EI_CLASS: usize = 4;
pub const EI_DATA: usize = 5;
pub const EI_VERSION: usize = 6;
pub const EI_OSABI: usize = 7;
pub const ELFCLASS32: u8 = 1;
pub const ELFCLASS64: u8 = 2;
pub const ELFDATA2LSB: u8 = 1;
pub const EV_CURRENT: u8 = 1;
pub const ET_NONE: u16 = 0;
pub const ET_REL: u16 = 1;
pub const ET_EXEC: u16 = 2;
pub const ET_DYN: u16 = 3;
pub const ET_CORE: u16 = 4;
pub const EM_386: u16 = 3;
pub const EM_X86_64: u16 = 62;
pub const PT_NULL: u32 = 0x0;
pub const PT_LOAD: u32 = 0x1;
pub const PT_DYNAMIC: u32 = 0x2;
pub const PT_INTERP: u32 = 0x3;
pub const PT_NOTE: u32 = 0x4;
pub const PT_SHLIB: u32 = 0x5;
pub const PT_PHDR: u32 = 0x6;
pub const PT_TLS: u32 = 0x7;
pub const PT_GNU_EH_FRAME: u32 = 0x6474e550;
pub const PT_GNU_STACK: u32 = 0x6474e551;
pub const PT_GNU_RELRO: u32 = 0x6474e552;
pub const PF_X: u32 = 0x1;
pub const PF_W: u32 = 0x2;
pub const PF_R: u32 = 0x4;
pub const SHT_NULL: u32 = 0x0;
pub const SHT_PROGBITS: u32 = 0x1;
pub const SHT_SYMTAB: u32 = 0x2;
pub const SHT_STRTAB: u32 = 0x3;
pub const SHT_RELA: u32 = 0x4;
pub const SHT_HASH: u32 = 0x5;
pub const SHT_DYNAMIC: u32 = 0x6;
pub const SHT_NOTE: u32 = 0x7;
pub const SHT_NOBITS: u32 = 0x8;
pub const SHT_DYNSYM: u32 = 0xb;
pub const PT_GNU_PROPERTY: u32 = 0x6474e553;
pub const DT_NULL: i64 = 0;
pub const DT_NEEDED: i64 = 1;
pub const DT_HASH: i64 = 4;
pub const DT_STRTAB: i64 = 5;
pub const DT_SYMTAB: i64 = 6;
pub const DT_STRSZ: i64 = 10;
pub const DT_SYMENT: i64 = 11;
pub const DT_SONAME: i64 = 14;
pub const DT_VERSYM: i64 = 1879048176;
pub const DT_VERDEF: i64 = 1879048188;
pub const DT_VERDEFNUM: i64 = 1879048189;
pub const DT_GNU_HASH: i64 = 1879047925;
pub const NT_PRSTATUS: u32 = 0x1;
pub const NT_PRFPREG: u32 = 0x2;
pub const NT_PRPSINFO: u32 = 0x3;
pub const NT_AUXV: u32 = 0x6;
pub const NT_SIGINFO: u32 = 0x53494749;
pub const NT_FILE: u32 = 0x46494c45;
pub const NT_X86_XSTATE: u32 = 0x202;
pub const AT_NULL: u64 = 0;
pub const AT_IGNORE: u64 = 1;
pub const AT_EXECFD: u64 = 2;
pub const AT_PHDR: u64 = 3;
pub const AT_PHENT: u64 = 4;
pub const AT_PHNUM: u64 = 5;
pub const AT_PAGESZ: u64 = 6;
pub const AT_BASE: u64 = 7;
pub const AT_FLAGS: u64 = 8;
pub const AT_ENTRY: u64 = 9;
pub const AT_NOTELF: u64 = 10;
pub const AT_UID: u64 = 11;
pub const AT_EUID: u64 = 12;
pub const AT_GID: u64 = 13;
pub const AT_EGID: u64 = 14;
pub const AT_PLATFORM: u64 = 15;
pub const AT_HWCAP: u64 = 16;
pub const AT_CLKTCK: u64 = 17;
pub const AT_SECURE: u64 = 23;
pub const AT_BASE_PLATFORM: u64 = 24;
pub const AT_RANDOM: u64 = 25;
pub const AT_HWCAP2: u64 = 26;
pub const AT_EXECFN: u64 = 31;
pub const AT_MINSIGSTKSZ: u64 = 51;
pub const AT_SYSINFO_EHDR: u64 = 33;
pub const AT_RSEQ_FEATURE_SIZE: u64 = 27;
pub const AT_RSEQ_ALIGN: u64 = 28;
