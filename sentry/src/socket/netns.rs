//! A network namespace: what sockets of one family find each other through.

use super::unix::{NameTable, UnixSocket};
use std::sync::Arc;

/// Abstract Unix names, and (module `inet`) interfaces, routes and ports.
#[derive(Default)]
pub struct NetNamespace {
    /// Abstract Unix names.
    pub(super) abstract_names: NameTable<UnixSocket>,
}

impl NetNamespace {
    /// An empty one, with its loopback interface up.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
}
