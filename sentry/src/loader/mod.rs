//! Programs: from a file to memory that can run (`fs/exec.c`, `fs/binfmt_elf.c`, `fs/binfmt_script.c`).
//!
//! ```text
//!   load ─► script.rs  "#!": another file, more arguments, at most five times
//!        ─► elf.rs     headers, checked once; segments of program and interpreter
//!        ─► stack.rs   strings, auxiliary vector, pointers
//!        ─► mm::Plan   one batch of orders, one write of all bytes
//! ```
//!
//! Nothing of the old program is touched: the new memory is complete, or the call fails.

pub mod elf;
mod script;
mod stack;
#[cfg(test)]
mod tests;

use crate::kernel::Kernel;
use crate::kernel::limits::{Limits, Resource};
use crate::mm::layout::Random;
use crate::mm::{ExeFile, Layout, MemLimits, MemoryManager, Plan};
use abi::Errno;
use fs::{File, Pos};
use std::sync::Arc;

pub use stack::ask_host;

/// How often a script may lead to another.
const MAX_SCRIPTS: usize = 5;
/// How much of a file is read to see what it is; the program headers are nearly always in it.
const HEAD: usize = 4096;

/// `personality(2)`: no random addresses.
pub const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
/// `personality(2)`: mappings from the bottom up.
pub const ADDR_COMPAT_LAYOUT: u32 = 0x020_0000;

/// What to load.
pub struct LoadArgs<'a> {
    /// The program, opened for execution.
    pub file: Arc<File>,
    /// The name it was asked by: `AT_EXECFN`, a script's argument.
    pub filename: Vec<u8>,
    /// `filename` names a close-on-exec descriptor: a script's interpreter could not open it (`ENOENT`).
    pub script_unreachable: bool,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// `RLIMIT_STACK`.
    pub stack_limit: u64,
    /// All limits.
    pub limits: &'a Limits,
    /// `personality(2)`
    pub personality: u32,
}

/// A program in memory, not yet running.
pub struct Loaded {
    /// Its memory.
    pub mm: Arc<MemoryManager>,
    /// First instruction (the interpreter's, for dynamic programs).
    pub entry: u64,
    /// `argc` is here.
    pub stack_pointer: u64,
}

/// (ruid, euid, rgid, egid) of the new program, and whether it runs with more than its caller had (`AT_SECURE`).
pub type Identity = ((u32, u32, u32, u32), bool);

/// Opens a program by path, for execution.
pub type Opener<'a> = dyn Fn(&[u8]) -> Result<Arc<File>, Errno> + 'a;

/// The first bytes of a file; fewer if it is shorter.
fn head(file: &File) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; HEAD];
    let n = file.ops().read(file, &mut bytes, Pos::At(0))?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Loads `args.file`: ELF, or a script whose interpreter `open` finds. `identify` is told the file finally executed and says who the program will be.
pub fn load(
    kernel: &Arc<Kernel>,
    args: &LoadArgs<'_>,
    open: &Opener<'_>,
    identify: &mut dyn FnMut(&File) -> Result<Identity, Errno>,
) -> Result<Loaded, Errno> {
    let mut file = args.file.clone();
    let mut argv = args.argv.clone();
    if argv.is_empty() {
        // As Linux since 5.18: programs count on argv[0].
        argv.push(Vec::new());
    }
    stack::check_size(&argv, &args.envp, &args.filename, args.stack_limit)?;
    let mut name = args.filename.clone();
    let mut bytes = head(&file)?;
    let mut scripts = 0;
    while bytes.starts_with(b"#!") {
        if scripts == MAX_SCRIPTS {
            return Err(Errno::ELOOP);
        }
        scripts = scripts.saturating_add(1);
        if args.script_unreachable {
            return Err(Errno::ENOENT);
        }
        let script = script::parse(&bytes)?;
        argv = script.argv(&name, &argv);
        file = open(script.interpreter)?;
        name = script.interpreter.to_vec();
        bytes = head(&file)?;
    }
    if scripts != 0 {
        stack::check_size(&argv, &args.envp, &args.filename, args.stack_limit)?;
    }
    let program = elf::Image::parse(&file, bytes)?;
    let interpreter = match program.interpreter(&file)? {
        Some(path) => {
            let file = open(&path)?;
            let bytes = head(&file)?;
            let image = elf::Image::parse(&file, bytes).map_err(|e| {
                if e == Errno::ENOEXEC {
                    Errno::ELIBBAD
                } else {
                    e
                }
            })?;
            Some((file, image))
        }
        None => None,
    };
    let exe = ExeFile::new(file.clone())?;
    let identity = identify(&file)?;

    let limits = MemLimits {
        address_space: args.limits.soft(Resource::As),
        data: args.limits.soft(Resource::Data),
        stack: args.stack_limit,
        memlock: u64::MAX,
    };
    let space = kernel.platform.new_address_space()?;
    let mm = MemoryManager::new(kernel, space)?;
    let vdso = crate::vdso::of(kernel, &mm);
    let mut random = Random::new(args.personality & ADDR_NO_RANDOMIZE == 0);
    let range = mm.user_range();
    let layout = Layout::new(
        &range,
        args.stack_limit,
        args.personality & ADDR_COMPAT_LAYOUT != 0,
        &mut random,
    );
    let mut plan = Plan::new(layout);

    let top = Layout::stack_top(&range, &mut random);
    let built = assemble(
        &mm,
        &mut plan,
        &file,
        &program,
        interpreter.as_ref(),
        &mut random,
        top,
    )?;
    if let Some(vdso) = vdso.get() {
        let base = plan.place(&mm, vdso.len)?;
        plan.layout().vdso = base;
        plan.map(
            base..base.saturating_add(vdso.len),
            platform::Prot::READ | platform::Prot::EXEC,
            crate::mm::VmFlags::empty(),
            vdso.piece(),
        )?;
    }
    let tables = stack::Tables {
        argv: &argv,
        envp: &args.envp,
        filename: &args.filename,
        identity,
        program: &built,
    };
    let (stack_pointer, auxv) = tables.build(
        &mut plan,
        &mm,
        top,
        args.stack_limit,
        program.exec_stack(),
        &mut random,
    )?;
    plan.carry_out(&mm, &limits)?;
    mm.set_exe(Some(exe));
    mm.set_auxv(&auxv);
    Ok(Loaded {
        mm,
        entry: built.entry,
        stack_pointer,
    })
}

/// Where program and interpreter have come to lie.
struct Built {
    /// The first instruction to run.
    entry: u64,
    /// `AT_ENTRY`
    program_entry: u64,
    /// `AT_PHDR`
    phdr: u64,
    /// `AT_PHNUM`
    phnum: u64,
    /// `AT_BASE`
    base: u64,
}

fn assemble(
    mm: &Arc<MemoryManager>,
    plan: &mut Plan,
    file: &Arc<File>,
    program: &elf::Image,
    interpreter: Option<&(Arc<File>, elf::Image)>,
    random: &mut Random,
    stack_top: u64,
) -> Result<Built, Errno> {
    let range = mm.user_range();
    let mut below = range.clone();
    below.end = stack_top;
    let map = Plan::file(mm, file)?;
    let bias = if !program.is_dynamic() {
        0
    } else if interpreter.is_some() {
        program.bias_at(Layout::pie_base(&range, random))?
    } else {
        let top = plan_base(plan, &range);
        program.bias_at(plan.place_below(mm, program.span()?, top, program.align())?)?
    };
    let placed = program.map(plan, &map, bias, &below)?;
    let layout = plan.layout();
    (layout.start_code, layout.end_code) = (placed.start_code, placed.end_code);
    (layout.start_data, layout.end_data) = (placed.start_data, placed.end_data);
    // A program that is its own interpreter lies among the mappings: its heap goes where a program would.
    let heap = if program.is_dynamic() && interpreter.is_none() {
        Layout::pie_base(&range, &mut Random::new(false))
    } else {
        placed.end
    };
    let brk = Layout::brk_start(heap, random);
    let layout = plan.layout();
    (layout.start_brk, layout.brk) = (brk, brk);

    let program_entry = bias.wrapping_add(program.entry());
    let mut built = Built {
        entry: program_entry,
        program_entry,
        phdr: program.phdr_addr(bias),
        phnum: program.phnum(),
        base: 0,
    };
    if let Some((file, image)) = interpreter {
        let map = Plan::file(mm, file)?;
        let bias = if image.is_dynamic() {
            let top = plan_base(plan, &range);
            let at = plan.place_below(mm, image.span()?, top, image.align())?;
            image.bias_at(at)?
        } else {
            0
        };
        image.map(plan, &map, bias, &below)?;
        built.base = bias;
        built.entry = bias.wrapping_add(image.entry());
    }
    if !range.contains(&built.entry) {
        return Err(Errno::EINVAL);
    }
    Ok(built)
}

/// Below what mappings are made.
fn plan_base(plan: &mut Plan, range: &std::ops::Range<u64>) -> u64 {
    let layout = plan.layout();
    if layout.bottom_up {
        range.end
    } else {
        layout.mmap_base
    }
}
