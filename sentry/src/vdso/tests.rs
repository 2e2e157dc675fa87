//! The image as a loader sees it.

use super::{host, image};

#[test]
fn our_own_reader_finds_what_the_writer_wrote() {
    let bytes = image::build(&[]).unwrap();
    assert_eq!(bytes.len(), 4096);
    let base = 0x7000_0000_0000;
    let read = |addr: u64, buf: &mut [u8]| {
        let at = (addr - base) as usize;
        buf.copy_from_slice(&bytes[at..at + buf.len()]);
        true
    };
    let found = host::functions(&(base..base + 4096), read);
    assert_eq!(found.len(), 10);
    for (name, addr) in &found {
        let at = (addr - base) as usize;
        let code = &bytes[at..at + 12];
        assert_eq!(
            &code[..5],
            [0xf3, 0x0f, 0x1e, 0xfa, 0xb8],
            "{}",
            String::from_utf8_lossy(name)
        );
    }
    // A second image leads to the first.
    let chained = image::build(&found).unwrap();
    let target = found.iter().find(|(n, _)| n == b"__vdso_time").unwrap().1;
    assert!(chained.windows(8).any(|w| w == target.to_le_bytes()));
}

/// Writes the image where `VDSO_OUT` says, to try it with a real dynamic linker.
#[test]
fn written_out() {
    if let Some(path) = std::env::var_os("VDSO_OUT") {
        std::fs::write(path, image::build(&[]).unwrap()).unwrap();
    }
}
