//! Any bytes as a config.json: see `runsc-rs/src/hostile.rs`. The crate is a program, so its modules are included.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/control"]
mod control {
    pub mod wire;
}
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/hostile.rs"]
mod hostile;
#[path = "../../src/oci/mod.rs"]
mod oci;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::config(bytes));
