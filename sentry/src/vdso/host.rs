//! Finds the functions in the host's vDSO.

use abi::elf::*;
use std::ops::Range;
use zerocopy::FromBytes;

/// More than any host's image.
const MOST: u64 = 64 << 10;

fn at<T: FromBytes>(image: &[u8], offset: u64) -> Option<T> {
    let start = usize::try_from(offset).ok()?;
    let bytes = image.get(start..start.checked_add(size_of::<T>())?)?;
    T::read_from_bytes(bytes).ok()
}

fn text(image: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = image.get(usize::try_from(offset).ok()?..)?;
    rest.get(..rest.iter().position(|b| *b == 0)?)
}

/// Names and addresses of the exported functions; empty if the image is not as expected.
pub fn functions(range: &Range<u64>, read: impl Fn(u64, &mut [u8]) -> bool) -> Vec<(Vec<u8>, u64)> {
    let len = range.end.saturating_sub(range.start).min(MOST);
    let mut image = vec![0; usize::try_from(len).unwrap_or(0)];
    if !read(range.start, &mut image) {
        return Vec::new();
    }
    parse(&image, range.start).unwrap_or_default()
}

fn parse(image: &[u8], base: u64) -> Option<Vec<(Vec<u8>, u64)>> {
    let header: Ehdr = at(image, 0)?;
    if !header.e_ident.starts_with(&ELFMAG) {
        return None;
    }
    let phdrs = (0..u64::from(header.e_phnum))
        .filter_map(|i| at::<Phdr>(image, header.e_phoff.checked_add(i.checked_mul(56)?)?));
    let (mut load, mut dynamic) = (None, None);
    for phdr in phdrs {
        match phdr.p_type {
            PT_LOAD => load = load.or(Some(phdr.p_vaddr.wrapping_sub(phdr.p_offset))),
            PT_DYNAMIC => dynamic = Some(phdr),
            _ => {}
        }
    }
    let (load, dynamic) = (load?, dynamic?);
    let (mut symtab, mut strtab, mut hash) = (None, None, None);
    for i in 0..dynamic.p_filesz / 16 {
        let entry: Dyn = at(image, dynamic.p_offset.checked_add(i.checked_mul(16)?)?)?;
        let value = entry.d_val.wrapping_sub(load);
        match entry.d_tag {
            DT_NULL => break,
            DT_SYMTAB => symtab = Some(value),
            DT_STRTAB => strtab = Some(value),
            DT_HASH => hash = Some(value),
            _ => {}
        }
    }
    let (symtab, strtab) = (symtab?, strtab?);
    let count = match hash {
        Some(hash) => u64::from(at::<u32>(image, hash.checked_add(4)?)?),
        // Linkers put the strings right behind the symbols.
        None => strtab.checked_sub(symtab)? / 24,
    };
    let mut found = Vec::new();
    for i in 0..count {
        let Some(symbol) = symtab
            .checked_add(i.checked_mul(24)?)
            .and_then(|o| at::<Sym>(image, o))
        else {
            break;
        };
        let function = symbol.st_info & 0xf == 2 && symbol.st_shndx != 0;
        if let Some(name) =
            text(image, strtab.checked_add(symbol.st_name.into())?).filter(|_| function)
        {
            found.push((
                name.to_vec(),
                base.wrapping_add(symbol.st_value.wrapping_sub(load)),
            ));
        }
    }
    Some(found)
}
