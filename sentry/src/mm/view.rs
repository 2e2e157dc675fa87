//! Address spaces as procfs shows them: `maps`, `smaps`, `statm`, the `Vm*` lines of `status`.

use super::{Host, Layout, MemoryManager, VmBacking, VmFlags, Vma};
use abi::PAGE_SIZE;
use fs::vfs::Path;
use platform::Prot;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Pages and bytes in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statm {
    /// Mapped pages (`VmSize`).
    pub size: u64,
    /// Most mapped pages ever (`VmPeak`).
    pub peak: u64,
    /// Resident pages (`VmRSS`).
    pub resident: u64,
    /// Most resident pages seen (`VmHWM`).
    pub peak_resident: u64,
    /// Resident pages of files.
    pub file: u64,
    /// Resident pages of shared memory.
    pub shmem: u64,
    /// Pages of the program's text (`VmExe`).
    pub text: u64,
    /// Pages of libraries' text (`VmLib`).
    pub lib: u64,
    /// Private writable pages (`VmData`).
    pub data: u64,
    /// Stack pages (`VmStk`).
    pub stack: u64,
    /// Locked pages (`VmLck`).
    pub locked: u64,
}

/// The most address space in which pages are counted one by one.
const LOOKED_THROUGH: u64 = 64 << 30;

/// The column where names begin in `maps`.
const NAME_COLUMN: usize = 73;

impl MemoryManager {
    /// What a guest takes for one mapping each.
    fn logical(&self) -> (Vec<Vma>, Layout) {
        let state = self.lock();
        let mut out: Vec<Vma> = Vec::with_capacity(state.vmas.len());
        for vma in state
            .vmas
            .iter()
            .filter(|v| !matches!(v.backing, VmBacking::Scratch(_)))
        {
            match out.last_mut() {
                Some(last) if last.continues(vma) => last.end = vma.end,
                _ => out.push(vma.clone()),
            }
        }
        (out, state.layout.clone())
    }

    /// `/proc/PID/maps`, with names as seen from `root`.
    pub fn maps(&self, root: &Path) -> Vec<u8> {
        let (vmas, layout) = self.logical();
        let mut out = Vec::with_capacity(vmas.len().saturating_mul(100));
        for vma in &vmas {
            push_line(&mut out, vma, &layout, root);
        }
        out
    }

    /// `/proc/PID/smaps`
    pub fn smaps(&self, root: &Path) -> Vec<u8> {
        let (vmas, layout) = self.logical();
        let mut out = Vec::new();
        for vma in &vmas {
            push_line(&mut out, vma, &layout, root);
            let rss = self.present(&[vma.range()], vma);
            out.extend_from_slice(counts(vma.pages(), rss, vma).as_bytes());
            let flags: String = vm_flags(vma).iter().map(|f| format!("{f} ")).collect();
            out.extend_from_slice(
                format!(
                    "THPeligible:    {}\nVmFlags: {flags}\n",
                    u8::from(vma.is_anonymous())
                )
                .as_bytes(),
            );
        }
        out
    }

    /// `/proc/PID/smaps_rollup`
    pub fn smaps_rollup(&self) -> Vec<u8> {
        let (vmas, _) = self.logical();
        let (Some(first), Some(last)) = (vmas.first(), vmas.last()) else {
            return Vec::new();
        };
        let statm = self.statm();
        let mut line = format!(
            "{:08x}-{:08x} ---p 00000000 00:00 0 ",
            first.start, last.end
        );
        while line.len() < NAME_COLUMN {
            line.push(' ');
        }
        let anon = statm
            .resident
            .saturating_sub(statm.file)
            .saturating_sub(statm.shmem);
        let kb = |pages: u64| pages.saturating_mul(PAGE_SIZE / 1024);
        let rows = [
            ("Rss", kb(statm.resident)),
            ("Pss", kb(statm.resident)),
            ("Pss_Anon", kb(anon)),
            ("Pss_File", kb(statm.file)),
            ("Pss_Shmem", kb(statm.shmem)),
            ("Shared_Clean", kb(statm.file)),
            ("Shared_Dirty", kb(statm.shmem)),
            ("Private_Clean", 0),
            ("Private_Dirty", kb(anon)),
            ("Referenced", kb(statm.resident)),
            ("Anonymous", kb(anon)),
            ("LazyFree", 0),
            ("AnonHugePages", 0),
            ("Swap", 0),
            ("SwapPss", 0),
            ("Locked", kb(statm.locked)),
        ];
        line.push_str("[rollup]\n");
        for (name, value) in rows {
            let _ = writeln!(line, "{:<16}{value:>8} kB", format!("{name}:"));
        }
        line.into_bytes()
    }

    /// Pages in use, by kind.
    pub fn statm(&self) -> Statm {
        let (vmas, layout) = {
            let state = self.lock();
            (
                state
                    .vmas
                    .iter()
                    .filter(|v| v.host != Host::Absent)
                    .cloned()
                    .collect::<Vec<_>>(),
                state.layout.clone(),
            )
        };
        let stats = self.lock().stats;
        let ranges = |want: fn(&Vma) -> bool| -> Vec<Range<u64>> {
            let mut out: Vec<Range<u64>> = Vec::new();
            for vma in vmas.iter().filter(|v| want(v)) {
                match out.last_mut() {
                    Some(last) if last.end == vma.start => last.end = vma.end,
                    _ => out.push(vma.range()),
                }
            }
            out
        };
        let rss = |ranges: Vec<Range<u64>>| self.resident(&ranges);
        let anon = rss(ranges(|v| v.is_anonymous() || v.host == Host::Copied));
        let file = rss(ranges(|v| {
            matches!(v.backing, VmBacking::File { .. }) && v.host == Host::Mapped
        }));
        let shmem = rss(ranges(|v| {
            matches!(
                v.backing,
                VmBacking::Region { .. } | VmBacking::Special { .. }
            )
        }));
        let resident = anon.saturating_add(file).saturating_add(shmem);
        let peak_resident = self.peak_pages(resident, &self.host_usage());
        let text = (super::file::page_up(layout.end_code).unwrap_or(0))
            .saturating_sub(super::file::page_down(layout.start_code))
            / PAGE_SIZE;
        Statm {
            size: stats.total,
            peak: stats.peak,
            resident,
            peak_resident,
            file,
            shmem,
            text,
            lib: stats.exec.saturating_sub(text),
            data: stats.data,
            stack: stats.stack,
            locked: stats.locked,
        }
    }

    /// Bytes mapped: `vsize` of `/proc/PID/stat`, without asking the host.
    pub fn vsize(&self) -> u64 {
        self.lock().stats.total.saturating_mul(PAGE_SIZE)
    }

    /// What the host has counted of it.
    pub fn host_usage(&self) -> platform::HostUsage {
        self.space.usage()
    }

    /// The largest resident set there has been, in KiB (`ru_maxrss`).
    pub fn max_rss_kib(&self) -> u64 {
        self.max_rss_with(&self.host_usage())
    }

    /// The largest that was seen so far, without asking the host.
    pub fn max_rss_known(&self) -> u64 {
        let pages = self.peak_rss.load(Ordering::Relaxed);
        pages.saturating_mul(PAGE_SIZE / 1024)
    }

    /// The same for who has asked the host already.
    pub fn max_rss_with(&self, host: &platform::HostUsage) -> u64 {
        self.peak_pages(0, host).saturating_mul(PAGE_SIZE / 1024)
    }

    /// The same in pages; `now` is what is resident at the moment, as far as known.
    fn peak_pages(&self, now: u64, host: &platform::HostUsage) -> u64 {
        let mut seen = now.max(host.peak_rss);
        if seen == 0 {
            // So small that the host has not added it up yet: it is what is there now or, at the end, what was brought in.
            let (vmas, _) = self.logical();
            let there: Vec<_> = vmas
                .iter()
                .filter(|v| v.host != Host::Absent)
                .map(Vma::range)
                .collect();
            seen = self.space.rss(&there).max(host.minor_faults.min(64));
        }
        self.peak_rss.fetch_max(seen, Ordering::Relaxed).max(seen)
    }

    /// The mappings, as a guest knows them.
    pub fn vmas(&self) -> Vec<Vma> {
        self.logical().0
    }

    fn present(&self, ranges: &[Range<u64>], vma: &Vma) -> u64 {
        let all_there = vma.host != Host::Absent;
        if all_there { self.resident(ranges) } else { 0 }
    }

    /// How many pages of these are resident. The host is asked page by page, and whoever asks waits; so of address space without measure, which costs a
    /// guest nothing, only this is told: no more is there than the process ever had.
    fn resident(&self, ranges: &[Range<u64>]) -> u64 {
        let bytes = ranges
            .iter()
            .map(|r| r.end.saturating_sub(r.start))
            .fold(0, u64::saturating_add);
        match bytes {
            0 => 0,
            1..=LOOKED_THROUGH => self.space.rss(ranges),
            _ => self.host_usage().peak_rss.min(bytes / PAGE_SIZE),
        }
    }

    /// `/proc/PID/status`, the lines from `VmPeak` to `VmSwap`.
    pub fn status(&self) -> String {
        let s = self.statm();
        let kb = |pages: u64| pages.saturating_mul(PAGE_SIZE / 1024);
        let anon = s.resident.saturating_sub(s.file).saturating_sub(s.shmem);
        // Page tables are the host's; one page for each 2 MiB that is resident, and three levels above, is what they take at least.
        let tables = (s.resident / 512).saturating_add(4);
        let rows = [
            ("VmPeak", s.peak),
            ("VmSize", s.size),
            ("VmLck", s.locked),
            ("VmPin", 0),
            ("VmHWM", s.peak_resident),
            ("VmRSS", s.resident),
            ("RssAnon", anon),
            ("RssFile", s.file),
            ("RssShmem", s.shmem),
            ("VmData", s.data),
            ("VmStk", s.stack),
            ("VmExe", s.text),
            ("VmLib", s.lib),
            ("VmPTE", tables),
            ("VmSwap", 0),
        ];
        let mut out = String::new();
        for (name, pages) in rows {
            let _ = writeln!(out, "{name}:\t{:>8} kB", kb(pages));
        }
        out
    }
}

fn push_line(out: &mut Vec<u8>, vma: &Vma, layout: &Layout, root: &Path) {
    let flag = |set: bool, c: char| if set { c } else { '-' };
    let (offset, dev, ino) = match &vma.backing {
        VmBacking::File { map, offset } => (*offset, map.dev, map.ino),
        VmBacking::Region { region, offset, .. } => (*offset, 1, region.ino),
        _ => (0, 0, 0),
    };
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xfff00);
    let mut line = format!(
        "{:08x}-{:08x} {}{}{}{} {offset:08x} {major:02x}:{minor:02x} {ino} ",
        vma.start,
        vma.end,
        flag(vma.prot.contains(Prot::READ), 'r'),
        flag(vma.prot.contains(Prot::WRITE), 'w'),
        flag(vma.prot.contains(Prot::EXEC), 'x'),
        if vma.shared() { 's' } else { 'p' },
    )
    .into_bytes();
    let name = name(vma, layout, root);
    if !name.is_empty() {
        line.resize(line.len().max(NAME_COLUMN), b' ');
        for byte in name {
            match byte {
                b'\n' => line.extend_from_slice(b"\\012"),
                _ => line.push(byte),
            }
        }
    }
    line.push(b'\n');
    out.extend_from_slice(&line);
}

fn name(vma: &Vma, layout: &Layout, root: &Path) -> Vec<u8> {
    match &vma.backing {
        VmBacking::File { map, .. } => fs::vfs::path_text(map.file.path(), root).into_proc(),
        VmBacking::Region { region, .. } => region.name.clone(),
        VmBacking::Special { name, .. } => name.as_bytes().to_vec(),
        VmBacking::Anonymous
            if vma.start <= layout.brk && vma.end >= layout.start_brk && layout.start_brk != 0 =>
        {
            b"[heap]".to_vec()
        }
        VmBacking::Anonymous
            if vma.start <= layout.start_stack && vma.end >= layout.start_stack =>
        {
            b"[stack]".to_vec()
        }
        _ => Vec::new(),
    }
}

fn counts(pages: u64, rss: u64, vma: &Vma) -> String {
    let kb = |pages: u64| pages.saturating_mul(PAGE_SIZE / 1024);
    let own = vma.is_anonymous() || vma.host == Host::Copied;
    let locked = if vma.flags.contains(VmFlags::LOCKED) {
        rss
    } else {
        0
    };
    let rows = [
        ("Size", kb(pages)),
        ("KernelPageSize", 4),
        ("MMUPageSize", 4),
        ("Rss", kb(rss)),
        ("Pss", kb(rss)),
        ("Pss_Dirty", if own { kb(rss) } else { 0 }),
        (
            "Shared_Clean",
            if own || vma.shared() { 0 } else { kb(rss) },
        ),
        ("Shared_Dirty", if vma.shared() { kb(rss) } else { 0 }),
        ("Private_Clean", 0),
        ("Private_Dirty", if own { kb(rss) } else { 0 }),
        ("Referenced", kb(rss)),
        ("Anonymous", if own { kb(rss) } else { 0 }),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", kb(locked)),
    ];
    let mut out = String::new();
    for (name, value) in rows {
        let _ = writeln!(out, "{:<16}{value:>8} kB", format!("{name}:"));
    }
    out
}

fn vm_flags(vma: &Vma) -> Vec<&'static str> {
    let rows = [
        (vma.prot.contains(Prot::READ), "rd"),
        (vma.prot.contains(Prot::WRITE), "wr"),
        (vma.prot.contains(Prot::EXEC), "ex"),
        (vma.shared(), "sh"),
        (vma.max_prot.contains(Prot::READ), "mr"),
        (vma.max_prot.contains(Prot::WRITE), "mw"),
        (vma.max_prot.contains(Prot::EXEC), "me"),
        (vma.shared() && vma.max_prot.contains(Prot::WRITE), "ms"),
        (vma.flags.contains(VmFlags::GROWSDOWN), "gd"),
        (vma.flags.contains(VmFlags::LOCKED), "lo"),
        (vma.flags.contains(VmFlags::SEQ_READ), "sr"),
        (vma.flags.contains(VmFlags::RAND_READ), "rr"),
        (vma.flags.contains(VmFlags::DONTCOPY), "dc"),
        (vma.flags.contains(VmFlags::NORESERVE), "nr"),
        (vma.flags.contains(VmFlags::WIPEONFORK), "wf"),
        (vma.flags.contains(VmFlags::DONTDUMP), "dd"),
        (vma.flags.contains(VmFlags::HUGEPAGE), "hg"),
        (vma.flags.contains(VmFlags::NOHUGEPAGE), "nh"),
        (vma.flags.contains(VmFlags::MERGEABLE), "mg"),
    ];
    rows.into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect()
}
