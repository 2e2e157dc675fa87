//! Timer descriptors (`timerfd_create(2)`).

use super::{Armed, Expire, advance, service};
use crate::kernel::Kernel;
use abi::Errno;
use fs::{Events, File, FileOps, Pollee, Pos};
use std::any::Any;
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

#[derive(Default)]
struct State {
    /// Monotonic deadline of the next expiry.
    deadline: Option<u64>,
    interval: u64,
    expirations: u64,
    armed: Option<Armed>,
}

/// The timer behind the descriptor.
pub struct Timer {
    kernel: Weak<Kernel>,
    /// `CLOCK_*` as created.
    clock: i32,
    state: Mutex<State, { level::TIMER }>,
    pollee: Pollee,
    me: Weak<Timer>,
}

/// A timerfd's operations.
pub struct TimerFd(Arc<Timer>);

/// A new timer's description; `flags` has `O_NONBLOCK`.
pub fn create(kernel: &Arc<Kernel>, clock: i32, flags: u32) -> Arc<File> {
    let timer = Arc::new_cyclic(|me| Timer {
        kernel: Arc::downgrade(kernel),
        clock,
        state: Mutex::new(State::default()),
        pollee: Pollee::new(),
        me: me.clone(),
    });
    fs::anon::file("[timerfd]", Box::new(TimerFd(timer)), 2 | (flags & 0o4000))
}

/// The timer of a description.
pub fn of(file: &File) -> Option<&Arc<Timer>> {
    file.downcast::<TimerFd>().map(|t| &t.0)
}

impl Timer {
    /// Which clock it counts.
    pub fn clock(&self) -> i32 {
        self.clock
    }

    /// Time left and interval, nanoseconds (`timerfd_gettime`).
    pub fn get(&self) -> (u64, u64) {
        let now = self.kernel.upgrade().map_or(0, |k| k.clock.monotonic());
        let mut state = self.state.lock();
        self.catch_up(&mut state, now);
        (
            state.deadline.map_or(0, |d| d.saturating_sub(now).max(1)),
            state.interval,
        )
    }

    /// Sets deadline (monotonic, `None` disarms) and interval; what was there before.
    pub fn set(&self, deadline: Option<u64>, interval: u64) -> (u64, u64) {
        let old = self.get();
        let Some(kernel) = self.kernel.upgrade() else {
            return old;
        };
        let mut state = self.state.lock();
        if let Some(armed) = state.armed {
            service(&kernel).disarm(armed);
        }
        *state = State {
            deadline,
            interval,
            ..State::default()
        };
        self.arm(&mut state, &kernel);
        old
    }

    /// Arms it for its next expiry, unless it is. One that has expired waits to be read first, as on Linux: nobody hears more of it until then.
    fn arm(&self, state: &mut State, kernel: &Arc<Kernel>) {
        if let Some(deadline) = state.deadline
            && state.armed.is_none()
            && state.expirations == 0
        {
            let weak: Weak<dyn Expire> = self.me.clone();
            state.armed = Some(service(kernel).arm(kernel, deadline, weak));
        }
    }

    fn catch_up(&self, state: &mut State, now: u64) {
        if let Some(deadline) = state.deadline {
            let (passed, next) = advance(deadline, state.interval, now);
            state.expirations = state.expirations.saturating_add(passed);
            state.deadline = next;
        }
    }
}

impl Expire for Timer {
    fn expire(&self, now: u64) {
        let mut state = self.state.lock();
        if state.armed.is_some_and(|armed| armed.deadline() <= now) {
            state.armed = None;
        }
        self.catch_up(&mut state, now);
        if let Some(kernel) = self.kernel.upgrade() {
            self.arm(&mut state, &kernel);
        }
        drop(state);
        self.pollee.notify(Events::READ);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(armed), Some(kernel)) =
            (self.state.get_mut().armed.take(), self.kernel.upgrade())
        {
            service(&kernel).disarm(armed);
        }
    }
}

impl FileOps for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        let Some(out) = buf.get_mut(..8) else {
            return Err(Errno::EINVAL);
        };
        let kernel = self.0.kernel.upgrade().ok_or(Errno::EIO)?;
        let now = kernel.clock.monotonic();
        let mut state = self.0.state.lock();
        self.0.catch_up(&mut state, now);
        let count = std::mem::take(&mut state.expirations);
        self.0.arm(&mut state, &kernel);
        drop(state);
        if count == 0 {
            return Err(Errno::EAGAIN);
        }
        out.copy_from_slice(&count.to_ne_bytes());
        Ok(8)
    }
    fn poll(&self, _file: &File) -> Events {
        let now = self.0.kernel.upgrade().map_or(0, |k| k.clock.monotonic());
        let mut state = self.0.state.lock();
        self.0.catch_up(&mut state, now);
        if state.expirations > 0 {
            Events::READ
        } else {
            Events::empty()
        }
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.0.pollee)
    }
    fn fdinfo(&self, _file: &File) -> String {
        let (value, interval) = self.0.get();
        let ticks = self.0.state.lock().expirations;
        let show = |ns: u64| format!("({}, {})", ns / 1_000_000_000, ns % 1_000_000_000);
        format!(
            "clockid: {}\nticks: {ticks}\nsettime flags: 00\nit_value: {}\nit_interval: {}\n",
            self.0.clock,
            show(value),
            show(interval)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::HostClock;
    use crate::syscall::SyscallTable;
    use platform::mock::MockPlatform;

    /// A timer that has expired rests until it is read: the shortest interval costs no more than the longest while nobody looks.
    #[test]
    fn an_unread_timer_rests() {
        const YEAR: u64 = 365 * 86_400 * 1_000_000_000;
        let platform = Arc::new(MockPlatform::new().unwrap());
        let kernel = Kernel::new(platform, SyscallTable::default(), Arc::new(HostClock)).unwrap();
        let file = create(&kernel, 1, 0);
        let timer = of(&file).unwrap();
        timer.set(Some(1), YEAR);
        timer.expire(kernel.clock.monotonic());
        assert_eq!(timer.state.lock().armed, None);
        assert_eq!(file.poll(), Events::READ);
        let mut count = [0; 8];
        assert_eq!(file.read(&mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 1);
        let armed = timer.state.lock().armed.unwrap();
        assert_eq!(armed.deadline(), 1 + YEAR);
        assert_eq!(file.read(&mut count), Err(Errno::EAGAIN));
    }
}
