//! A barrier over guest threads (`membarrier(2)`).

use super::Cx;
use super::task::{Task, work};
use std::sync::Arc;

impl Cx {
    /// Returns when each of `tasks` has been outside guest code since the call: every store of it before is seen by everybody, and what it loads next is fresh.
    pub fn barrier(&self, tasks: &[Arc<Task>]) {
        let inside: Vec<_> = tasks
            .iter()
            .filter(|t| !Arc::ptr_eq(t, self.task()) && t.is_in_guest())
            .map(|t| (t, t.entries()))
            .collect();
        for (task, _) in &inside {
            task.kick(work::SIGNAL);
        }
        for (task, before) in inside {
            while task.is_in_guest() && task.entries() == before && !task.is_dead() {
                sync::thread::yield_now();
            }
        }
    }
}
