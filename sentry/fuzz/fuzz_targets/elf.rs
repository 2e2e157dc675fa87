//! Any bytes as a program: its headers are refused or understood, and what is asked of them afterwards has an answer.
#![no_main]

use rustix::fs::{MemfdFlags, memfd_create};
use sentry::loader::elf::Image;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let fd = memfd_create("elf", MemfdFlags::CLOEXEC).expect("a memory file");
    rustix::io::pwrite(&fd, bytes, 0).expect("room");
    let file = fs::hostfile::file(fd).expect("a file");
    let head = bytes.get(..256).unwrap_or(bytes).to_vec();
    let Ok(image) = Image::parse(&file, head) else {
        return;
    };
    let _ = image.interpreter(&file);
    let _ = (image.is_dynamic(), image.entry(), image.phnum(), image.exec_stack());
    let _ = (image.phdr_addr(0), image.phdr_addr(u64::MAX), image.align());
    let _ = (image.span(), image.bias_at(0x10000), image.bias_at(u64::MAX));
});
