//! A jailed gofer on standard input: `gofer-probe [--without=NR] [--threads=N] [--no-jail] FLAGS:PATH…`. FLAGS are the number of a
//! `MountFlags`. The tests start it, and so does the round-trip measurement.
#![forbid(unsafe_code)]

use gofer::jail::{self, JailSpec, TreeSpec};
use gofer::wire::MountFlags;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut trees, mut without, mut threads) = (Vec::new(), None, 4);
    for arg in std::env::args().skip(1) {
        if let Some(nr) = arg.strip_prefix("--without=") {
            without = nr.parse().ok();
        } else if let Some(n) = arg.strip_prefix("--threads=") {
            threads = n.parse().unwrap_or(4);
        } else if let Some((flags, path)) = arg.split_once(':') {
            let flags = MountFlags::from_bits_truncate(flags.parse().unwrap_or(0));
            trees.push(TreeSpec {
                path: PathBuf::from(path),
                recursive: true,
                flags,
            });
        }
    }
    let spec = JailSpec {
        trees,
        new_network: true,
        die_with_parent: true,
    };
    let channel = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => fd,
        Err(error) => {
            eprintln!("standard input: {error}");
            return ExitCode::FAILURE;
        }
    };
    match jail::run_without(&spec, vec![channel], threads, without, || ()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
