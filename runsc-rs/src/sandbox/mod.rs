//! Making a sandbox: its two processes, their namespaces and identity, and the walls of the one that is the sentry.
//!
//! ```text
//!   create                        boot (pid 1 of its pid namespace)         gofer
//!     │ clone(NEWUSER|NEWNS|…) ──────▶│ waits for `go`                          
//!     │ clone(NEWPID) ────────────────┼─────────────────────────────────────────▶│ joins boot's network namespace,
//!     │ id maps, limits, cgroups      │                                          │ waits for `go`
//!     │ go ──────────────────────────▶│ jail::enter, platform, kernel            │
//!     │ hooks                         │                                          │
//!     │ go ───────────────────────────┼─────────────────────────────────────────▶│ its own jail, serves
//!     │                               │◀──────────── files ──────────────────────│
//!     │◀─────────── ready ────────────│ (filter installed, program loaded)
//!     │ state.json, pid file          │
//!     │ start (now or by another command) ─▶ the user's program runs
//! ```
//!
//! Both are forks of `create`, so they start with the parsed configuration in memory. The command holds a **leash**: a
//! connection whose end ends the sandbox, until the command lets go of it (`detach`). So a command that is killed at any point
//! leaves nothing running.

pub mod filter;
pub mod identity;
pub mod jail;
pub mod launch;
pub mod network;
pub mod trees;
