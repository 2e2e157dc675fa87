//! The queue of an inotify instance: bounded, equal neighbours merged, read in whole events.

use super::{IN_Q_OVERFLOW, MAX_QUEUED};
use abi::Errno;
use std::collections::VecDeque;

/// `struct inotify_event` without its name.
const HEADER: usize = 16;

#[derive(PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    /// The name with its NUL, up to the next multiple of the header's size.
    fn padded(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            self.name.len().saturating_add(1).next_multiple_of(HEADER)
        }
    }
    fn len(&self) -> usize {
        HEADER.saturating_add(self.padded())
    }
}

#[derive(Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What `FIONREAD` says.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends an event unless it equals the last one; when the queue is full, one event says so. Tells whether there is something new to read.
    pub fn push(&mut self, wd: i32, mask: u32, cookie: u32, name: &[u8]) -> bool {
        let mut event = Event {
            wd,
            mask,
            cookie,
            name: name.into(),
        };
        if self.events.back() == Some(&event) {
            return false;
        }
        if self.events.len() >= MAX_QUEUED {
            event = Event {
                wd: -1,
                mask: IN_Q_OVERFLOW,
                cookie: 0,
                name: Box::default(),
            };
            if self.events.back() == Some(&event) {
                return false;
            }
        }
        self.bytes = self.bytes.saturating_add(event.len());
        self.events.push_back(event);
        true
    }

    /// Whole events into `buf`: `EAGAIN` if there are none, `EINVAL` if the first does not fit.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0usize;
        while let Some(event) = self.events.front() {
            let len = event.len();
            let Some(out) = done.checked_add(len).and_then(|end| buf.get_mut(done..end)) else {
                return if done == 0 {
                    Err(Errno::EINVAL)
                } else {
                    Ok(done)
                };
            };
            out.fill(0);
            let padded = u32::try_from(event.padded()).unwrap_or(0);
            let mut bytes = Vec::with_capacity(len);
            bytes.extend_from_slice(&event.wd.to_ne_bytes());
            bytes.extend_from_slice(&event.mask.to_ne_bytes());
            bytes.extend_from_slice(&event.cookie.to_ne_bytes());
            bytes.extend_from_slice(&padded.to_ne_bytes());
            bytes.extend_from_slice(&event.name);
            if let Some(out) = out.get_mut(..bytes.len()) {
                out.copy_from_slice(&bytes);
            }
            done = done.saturating_add(len);
            self.bytes = self.bytes.saturating_sub(len);
            self.events.pop_front();
        }
        if self.events.is_empty() && self.events.capacity() > 64 {
            self.events = VecDeque::new();
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }
}
