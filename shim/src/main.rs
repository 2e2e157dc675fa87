//! `containerd-shim-runsc-rs-v1`: containerd's side of runsc-rs (runtime v2 API: `core/runtime/v2/README.md` of containerd).
//!
//! ```text
//!   containerd ──ttrpc──► service.rs ──► container.rs    what containers and processes there are, and how they ended
//!       ▲                     ├────────► runtime.rs ──►  runsc-rs create, start, exec, kill, …
//!       └──events── events.rs ┘          stdio.rs        containerd's FIFOs and the terminal
//! ```
//!
//! One process for each container, or for all containers of a pod (the annotation `io.kubernetes.cri.sandbox-id`). It outlives containerd. Each container is a
//! sandbox of its own.
#![forbid(unsafe_code)]

mod container;
mod events;
mod runtime;
mod service;
mod stdio;

fn main() {
    containerd_shim::run::<service::Shim>("io.containerd.runsc-rs.v1", None);
}
