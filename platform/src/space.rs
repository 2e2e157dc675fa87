//! Address spaces that are stub processes, and the platforms made of them. How guest threads run in them is all in which ptrace and systrap
//! differ: see [`ptrace`] and [`systrap`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::{Errno, Iovec};

use crate::edges::Edges;
use crate::placement::Balancer;
use crate::stub::{self, GuestKind, HostVdso, Pool, Process, Thread};
use crate::systrap::{Offer, Rewriter, TextMap};
use crate::{Context, Entry, Fault, MemoryFile, Order, Result, ptrace, systrap, workers};

/// See the module.
pub struct StubPlatform {
    shared: Arc<Shared>,
    vdso: Option<Range<u64>>,
}

struct Shared {
    kind: GuestKind,
    memory: Arc<MemoryFile>,
    pool: Pool,
    balancer: Arc<Balancer>,
    /// Call sites are rewritten (systrap).
    rewriter: Option<Arc<Rewriter>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.balancer.stop();
    }
}

impl StubPlatform {
    /// Forks the zygote, then starts the thread that keeps stubs ready. To be called while this process has one thread, which must live as
    /// long as the sandbox, and after everything that stubs are to inherit has been set up: namespaces, root directory, user.
    pub(crate) fn new(
        kind: GuestKind,
        vdso: &HostVdso,
        options: systrap::Options,
    ) -> Result<StubPlatform> {
        let memory = Arc::new(MemoryFile::new()?);
        let rewriter = match options.rewrite {
            true => Some(Arc::new(Rewriter::new(&memory, options.spin)?)),
            false => None,
        };
        let mut pool = Pool::new(kind, vdso)?;
        pool.start()?;
        let balancer = Arc::new(Balancer::new());
        let body = {
            let balancer = balancer.clone();
            move || balancer.run()
        };
        if kind == GuestKind::Traced {
            sync::thread::spawn(
                sync::thread::Builder::new("balancer").stack_size(64 << 10),
                body,
            )
            .map_err(|_| Errno::EAGAIN)?;
        }
        Ok(StubPlatform {
            shared: Arc::new(Shared {
                kind,
                memory,
                pool,
                balancer,
                rewriter,
            }),
            vdso: vdso.image(),
        })
    }
}

impl crate::Platform for StubPlatform {
    fn name(&self) -> &'static str {
        match self.shared.kind {
            GuestKind::Traced => "ptrace",
            GuestKind::Notified => "systrap",
        }
    }
    fn memory_file(&self) -> &Arc<MemoryFile> {
        &self.shared.memory
    }
    fn new_address_space(&self) -> Result<Arc<dyn crate::AddressSpace>> {
        let process = self.shared.pool.take()?;
        let text = self.shared.rewriter.as_ref().map(TextMap::new);
        Ok(AddressSpace::new(
            self.shared.clone(),
            process,
            text,
            Edges::default(),
        ))
    }
    fn user_range(&self) -> Range<u64> {
        stub::USER
    }
    fn host_vdso(&self) -> Option<Range<u64>> {
        self.vdso.clone()
    }
}

/// A stub process.
pub struct AddressSpace {
    shared: Arc<Shared>,
    /// Always there, until drop takes it.
    process: Option<Process>,
    /// Guest threads that run in it or are about to.
    guests: AtomicUsize,
    /// A call of its only guest thread that may turn out to be an order (systrap).
    offer: sync::Mutex<Offer>,
    /// Its rewritten call sites (systrap).
    text: Option<TextMap>,
    /// How many mappings it may have.
    edges: sync::Mutex<Edges>,
}

impl AddressSpace {
    fn new(
        shared: Arc<Shared>,
        process: Process,
        text: Option<TextMap>,
        edges: Edges,
    ) -> Arc<AddressSpace> {
        Arc::new(AddressSpace {
            shared,
            process: Some(process),
            guests: AtomicUsize::new(0),
            offer: sync::Mutex::default(),
            text,
            edges: sync::Mutex::new(edges),
        })
    }

    /// One of its guest threads makes a call that may turn out to be an order. Is it the only one there is?
    pub(crate) fn offer(&self, offer: Offer) -> bool {
        let alone = self.guests.load(Ordering::SeqCst) == 1;
        if alone {
            *self.offer.lock() = offer;
        }
        alone
    }

    /// The end of that: has it turned out so?
    pub(crate) fn accepted(&self) -> bool {
        matches!(std::mem::take(&mut *self.offer.lock()), Offer::Accepted(_))
    }

    /// Will the host do what is ordered, whoever makes the call? Its refusal of a call that is let through would go to the guest only.
    fn sure(&self, order: &Order) -> bool {
        self.shared.kind == GuestKind::Notified && self.edges.lock().sure(order)
    }

    /// Orders that have been given, or are about to be.
    fn given(&self, orders: &[Order], done: bool) {
        if self.shared.kind == GuestKind::Notified {
            let mut edges = self.edges.lock();
            orders.iter().for_each(|order| edges.given(order, done));
        }
    }

    /// A guest thread runs in it no more. Was it the last? A guest has no more then: only its threads make others.
    pub(crate) fn left(&self) -> bool {
        self.guests.fetch_sub(1, Ordering::SeqCst) == 1
    }

    pub(crate) fn balancer(&self) -> &Balancer {
        &self.shared.balancer
    }

    pub(crate) fn text(&self) -> Option<&TextMap> {
        self.text.as_ref()
    }

    /// Has orders carried out, and with them what is mapped of the memory file for rewritten text; or lets the call proceed that is one.
    fn carry_out(&self, orders: &[Order], more: &[stub::Entry]) -> Result<()> {
        let apply = |orders: &[Order], more: &[stub::Entry]| {
            let outcome = stub::apply(self.process(), &self.shared.memory, orders, more);
            self.given(orders, outcome.is_ok());
            outcome
        };
        let found = std::mem::take(&mut *self.offer.lock());
        if let [order] = orders
            && found.carries(order)
            && self.sure(order)
        {
            self.given(orders, true);
            *self.offer.lock() = Offer::Accepted(order.clone());
            return Ok(());
        }
        if let Offer::Accepted(before) = found {
            apply(&[before], &[])?;
        }
        apply(orders, more)
    }

    pub(crate) fn process(&self) -> &Process {
        match &self.process {
            Some(process) => process,
            None => unreachable!("only drop takes the process"),
        }
    }
}

/// How the calling sentry thread runs a guest thread.
fn context(space: Arc<AddressSpace>, thread: Result<Thread>) -> Box<dyn Context> {
    match space.shared.kind {
        GuestKind::Traced => Box::new(ptrace::Context::new(space, thread)),
        GuestKind::Notified => Box::new(systrap::Context::new(space, thread)),
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            self.shared.pool.bury(process);
        }
    }
}

fn one(addr: u64, len: usize) -> [Iovec; 1] {
    [Iovec {
        iov_base: addr,
        iov_len: len as u64,
    }]
}

impl crate::AddressSpace for AddressSpace {
    fn apply(&self, orders: &[Order]) -> Result<()> {
        match &self.text {
            Some(text) => {
                let carry_out = |more: &[stub::Entry]| self.carry_out(orders, more);
                text.apply(self.process(), orders, carry_out)
            }
            None => self.carry_out(orders, &[]),
        }
    }

    fn fork(&self) -> Result<Arc<dyn crate::AddressSpace>> {
        let edges = self.edges.lock().clone();
        let copy = || self.process().fork();
        let (process, text) = match &self.text {
            Some(text) => text
                .fork(copy)
                .map(|(process, text)| (process, Some(text)))?,
            None => (copy()?, None),
        };
        if let Some(family) = text.as_ref().and_then(TextMap::family) {
            process.keep_family(&family);
        }
        Ok(AddressSpace::new(self.shared.clone(), process, text, edges))
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        self.readv(&one(addr, buf.len()), buf)
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Fault> {
        self.writev(&one(addr, buf.len()), buf)
    }

    fn readv(&self, remote: &[Iovec], buf: &mut [u8]) -> Result<usize, Fault> {
        let done = stub::read(self.process().pid(), remote, buf)?;
        if let Some(text) = &self.text {
            text.unrewrite(remote, &mut buf[..done]);
        }
        Ok(done)
    }

    fn writev(&self, remote: &[Iovec], buf: &[u8]) -> Result<usize, Fault> {
        stub::write(self.process().pid(), remote, buf)
    }

    fn compare_exchange_u32(
        &self,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, Fault> {
        let fault = Fault { addr };
        if !addr.is_multiple_of(4) || !stub::USER.contains(&addr) {
            return Err(fault);
        }
        self.process()
            .compare_exchange(addr, old, new)
            .map_err(|_| fault)
    }

    fn load_u32(&self, addr: u64) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        match self.read(addr, &mut bytes)? {
            4 => Ok(u32::from_ne_bytes(bytes)),
            n => Err(Fault {
                addr: addr.wrapping_add(n as u64),
            }),
        }
    }

    fn mincore(&self, start: u64, len: u64, resident: &mut [u8]) -> Result<()> {
        stub::mincore(self.process(), start, len, resident)
    }

    fn rss(&self, mapped: &[Range<u64>]) -> u64 {
        stub::resident(self.process(), mapped)
    }

    fn alive(&self) -> bool {
        stub::alive(self.process().pid())
    }

    fn usage(&self) -> crate::HostUsage {
        stub::usage(self.process()).unwrap_or_default()
    }

    fn last_usage(&self) -> Option<Arc<crate::LastUsage>> {
        Some(self.process().last_usage().clone())
    }

    fn cpu_time(&self) -> u64 {
        stub::cpu_time(self.process().pid())
    }

    fn show_as(&self, command: &str) -> Option<i32> {
        let pid = self.process().pid();
        stub::show_as(pid, command).then_some(pid)
    }

    fn spawn(self: Arc<Self>, name: &str, entry: Entry) -> Result<()> {
        // The first thread of a new process is waited for by the new sentry thread, so that the parent can go on. Should there be none, because
        // the host refused, the new task finds that it has died; the same can happen to it at any later moment.
        let thread = if self.process().newborn() {
            None
        } else {
            Some(self.process().take_thread()?)
        };
        self.guests.fetch_add(1, Ordering::SeqCst);
        // Whoever finds it there has it: the new sentry thread, or the caller if there can be no sentry thread.
        let thread = Arc::new(sync::Mutex::<_>::new(thread));
        let (space, given) = (self.clone(), thread.clone());
        let body = move || {
            let thread = given.lock().take();
            let found = thread.map_or_else(|| space.process().take_thread(), Ok);
            if let Some(next) = entry(context(space, found)) {
                crate::run_to_end(next.address_space, next.entry);
            }
        };
        workers::run(name, Box::new(body)).inspect_err(|_| {
            self.left();
            let thread = thread.lock().take();
            if let Some(thread) = thread {
                self.process().return_thread(thread);
            }
        })
    }

    fn enter(self: Arc<Self>, entry: Entry) -> Result<Option<crate::Handoff>> {
        let thread = self.process().take_thread()?;
        self.guests.fetch_add(1, Ordering::SeqCst);
        Ok(entry(context(self, Ok(thread))))
    }
}
