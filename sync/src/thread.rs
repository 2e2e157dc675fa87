//! Threads of the sandbox's process.

use std::io;

/// A running thread; joining it gives its result.
pub type JoinHandle<T> = std::thread::JoinHandle<T>;

/// How a thread is started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// The name that `ps -L` and a core dump show (15 bytes of it).
    pub name: String,
    /// Bytes of stack; zero: [`DEFAULT_STACK`].
    pub stack_size: usize,
}

/// The stack of a thread that asks for none. Memory is taken as it is touched.
pub const DEFAULT_STACK: usize = 256 << 10;

impl Builder {
    /// A named thread with the default stack.
    pub fn new(name: impl Into<String>) -> Builder {
        Builder {
            name: name.into(),
            stack_size: 0,
        }
    }

    /// With so many bytes of stack.
    pub fn stack_size(self, stack_size: usize) -> Builder {
        Builder { stack_size, ..self }
    }
}

/// Starts a thread.
pub fn spawn<T: Send + 'static>(
    builder: Builder,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let stack = if builder.stack_size == 0 {
        DEFAULT_STACK
    } else {
        builder.stack_size
    };
    // std refuses a name with a zero byte by panicking.
    let name = builder.name.replace('\0', "?");
    std::thread::Builder::new()
        .name(name)
        .stack_size(stack)
        .spawn(body)
}

/// The host's number of the calling thread.
///
/// Asked of the kernel, not of `libc::gettid`: std names that function too, as a weak symbol, and link-time optimisation makes one weak declaration of
/// the two. A static libc gives no body to what is only weakly asked for, and the call would go to null.
pub fn current_tid() -> i32 {
    // SAFETY: gettid has no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    // A thread's number is at most PID_MAX_LIMIT, 2^22.
    tid as i32
}

/// Lets another thread have the processor.
pub fn yield_now() {
    std::thread::yield_now();
}

/// Lets the C library's allocator make up its mind before a filter is installed: the first time a thread's heap shrinks, glibc reads
/// `/proc/sys/vm/overcommit_memory` (`check_may_shrink_heap` in its `arena.c`) and remembers the answer. Under a filter without `openat` that one call
/// would be the end of the process, at the moment when somebody frees a lot of memory. Call it once, before the filter and before there are other threads:
/// with them about, the two may be given heaps that do not shrink, the main one or one that somebody else holds the end of.
pub fn settle_allocator() -> io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    // The main heap shrinks by other means, and a thread may be given that one: so there are two at a time, each with a heap of its own.
    const THREADS: usize = 2;
    let here = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::with_capacity(THREADS);
    for _ in 0..THREADS {
        let here = here.clone();
        let shrink = move || {
            let own = std::hint::black_box(Box::new(0_u64));
            here.fetch_add(1, Ordering::AcqRel);
            while here.load(Ordering::Acquire) < THREADS {
                yield_now();
            }
            // More than the allocator may by now have learned to keep (`M_TRIM_THRESHOLD`, twice the largest block that it has unmapped).
            let blocks: [Vec<u8>; 40] =
                std::array::from_fn(|_| std::hint::black_box(Vec::with_capacity(100_000)));
            drop(std::hint::black_box(blocks));
            drop(own);
        };
        threads.push(spawn(Builder::new("settle").stack_size(64 << 10), shrink)?);
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("the allocator's thread panicked"))?;
    }
    Ok(())
}

/// A variable that each thread has its own of: constant at first, plain memory without a destructor, so that it is valid until the thread's
/// last instruction and nothing is registered anywhere.
///
/// ```
/// use std::cell::Cell;
/// sync::per_thread! {
///     static CALLS: Cell<u32> = Cell::new(0);
/// }
/// CALLS.with(|calls| calls.set(calls.get() + 1));
/// ```
#[macro_export]
macro_rules! per_thread {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        ::std::thread_local! {
            $(#[$meta])*
            static $name: $type = const { $value };
        }
        const _: () = assert!(!::std::mem::needs_drop::<$type>(), "per-thread variables have no destructor");
    };
}
