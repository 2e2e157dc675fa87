//! The ptrace platform: guest threads are host threads of stub processes, each traced by its task's own sentry thread with `PTRACE_SYSEMU`,
//! which stops them at every system call without the host executing it. It works on every Linux that lets a process trace its children, and is
//! what the other platforms are checked against.

mod context;
mod interrupt;
mod sys;
mod xstate;

use std::ops::Range;
use std::sync::Arc;

use abi::{Errno, Iovec};

use crate::placement::Balancer;
use crate::stub::{self, HostVdso, Pool, Process};
use crate::{Entry, Fault, MemoryFile, Order, Result, workers};
use context::Context;

/// See the module.
pub struct Ptrace {
    shared: Arc<Shared>,
    vdso: Option<Range<u64>>,
}

struct Shared {
    memory: Arc<MemoryFile>,
    pool: Pool,
    balancer: Arc<Balancer>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.balancer.stop();
    }
}

impl Ptrace {
    /// Forks the zygote, then starts the thread that keeps stubs ready. To be called while this process has one thread, which must live as
    /// long as the sandbox, and after everything that stubs are to inherit has been set up: namespaces, root directory, user.
    pub fn new(vdso: &HostVdso) -> Result<Ptrace> {
        let memory = Arc::new(MemoryFile::new()?);
        let mut pool = Pool::new(vdso)?;
        pool.start()?;
        let balancer = Arc::new(Balancer::new());
        let body = {
            let balancer = balancer.clone();
            move || balancer.run()
        };
        sync::thread::spawn(
            sync::thread::Builder::new("balancer").stack_size(64 << 10),
            body,
        )
        .map_err(|_| Errno::EAGAIN)?;
        Ok(Ptrace {
            shared: Arc::new(Shared {
                memory,
                pool,
                balancer,
            }),
            vdso: vdso.image(),
        })
    }
}

impl crate::Platform for Ptrace {
    fn name(&self) -> &'static str {
        "ptrace"
    }
    fn memory_file(&self) -> &Arc<MemoryFile> {
        &self.shared.memory
    }
    fn new_address_space(&self) -> Result<Arc<dyn crate::AddressSpace>> {
        Ok(AddressSpace::new(
            self.shared.clone(),
            self.shared.pool.take()?,
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
}

impl AddressSpace {
    fn new(shared: Arc<Shared>, process: Process) -> Arc<AddressSpace> {
        Arc::new(AddressSpace {
            shared,
            process: Some(process),
        })
    }

    fn balancer(&self) -> &Balancer {
        &self.shared.balancer
    }

    fn process(&self) -> &Process {
        match &self.process {
            Some(process) => process,
            None => unreachable!("only drop takes the process"),
        }
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
        stub::apply(self.process(), &self.shared.memory, orders)
    }

    fn fork(&self) -> Result<Arc<dyn crate::AddressSpace>> {
        Ok(AddressSpace::new(
            self.shared.clone(),
            self.process().fork()?,
        ))
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        self.readv(&one(addr, buf.len()), buf)
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Fault> {
        self.writev(&one(addr, buf.len()), buf)
    }

    fn readv(&self, remote: &[Iovec], buf: &mut [u8]) -> Result<usize, Fault> {
        stub::read(self.process().pid(), remote, buf)
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

    fn usage(&self) -> crate::HostUsage {
        stub::usage(self.process()).unwrap_or_default()
    }

    fn cpu_time(&self) -> u64 {
        stub::cpu_time(self.process().pid())
    }

    fn spawn(self: Arc<Self>, name: &str, entry: Entry) -> Result<()> {
        // The first thread of a new process is waited for by the new sentry thread, so that the parent can go on. Should there be none, because
        // the host refused, the new task finds that it has died; the same can happen to it at any later moment.
        let thread = if self.process().newborn() {
            None
        } else {
            Some(self.process().take_thread()?)
        };
        let space = self.clone();
        let body = move || {
            let found = thread.map_or_else(|| space.process().take_thread(), Ok);
            if let Some(next) = entry(Box::new(Context::new(space, found))) {
                crate::run_to_end(next.address_space, next.entry);
            }
        };
        workers::run(name, Box::new(body)).inspect_err(|_| {
            if let Some(thread) = thread {
                self.process().return_thread(thread);
            }
        })
    }

    fn enter(self: Arc<Self>, entry: Entry) -> Result<Option<crate::Handoff>> {
        let thread = self.process().take_thread()?;
        Ok(entry(Box::new(Context::new(self, Ok(thread)))))
    }
}
