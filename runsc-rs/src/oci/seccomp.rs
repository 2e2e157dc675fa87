//! `linux.seccomp` as a program of classic BPF, which the sentry evaluates as it does the guest's own filters.
//!
//! ```text
//!  other architecture ─► kill          x32 ─► the default action
//!  number 0 ─► [arguments ─► action]… ─► action or the default
//!  number 1 ─► …
//!  past the newest call that the profile knows ─► ENOSYS, when the default would be an error: C libraries then fall back (as runc)
//!  anything else ─► the default action
//! ```
//!
//! The length does not matter much: whether a number is always allowed is found out once, and one bit afterwards.

use std::collections::BTreeMap;

use abi::seccomp::*;
use anyhow::{Result, bail};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Op,
};

/// `AUDIT_ARCH_X86_64`
const ARCH: u32 = 0xc000_003e;
/// Numbers from here on are x32's.
const X32: u32 = 0x4000_0000;
/// Where `struct seccomp_data` has what.
const NR: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGS: u32 = 16;

/// A program and whether what it refuses is logged.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The program.
    pub code: Vec<SockFilter>,
    /// `SECCOMP_FILTER_FLAG_LOG`
    pub log: bool,
}

/// What a rule does with a call: the conditions that must all hold, and the answer.
struct Rule {
    conditions: Vec<LinuxSeccompArg>,
    answer: u32,
}

/// The program of a profile, or what of it cannot be honoured.
pub fn compile(profile: &LinuxSeccomp) -> Result<Compiled> {
    if profile.listener_path().is_some() {
        bail!("linux.seccomp.listenerPath: user notification is not supported");
    }
    let default = answer(
        profile.default_action(),
        profile.default_errno_ret(),
        "linux.seccomp.defaultAction",
    )?;
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for (i, entry) in profile.syscalls().iter().flatten().enumerate() {
        let field = format!("linux.seccomp.syscalls[{i}]");
        let answer = answer(
            entry.action(),
            entry.errno_ret(),
            &format!("{field}.action"),
        )?;
        // Nothing to say about what happens anyway (as runc).
        if answer == default {
            continue;
        }
        let conditions = entry.args().clone().unwrap_or_default();
        if let Some(c) = conditions.iter().find(|c| c.index() > 5) {
            bail!("{field}.args: index {} is not below 6", c.index());
        }
        for name in entry.names() {
            // A name that x86-64 does not have (or this runtime not yet) needs no rule.
            let Some(nr) = number(name) else { continue };
            let list = rules.entry(nr).or_default();
            // Conditions on one argument are alternatives, as runc has it; on several they must all hold.
            let mut indices: Vec<_> = conditions.iter().map(LinuxSeccompArg::index).collect();
            indices.sort_unstable();
            indices.dedup();
            if indices.len() == conditions.len() {
                list.push(Rule {
                    conditions: conditions.clone(),
                    answer,
                });
            } else {
                list.extend(conditions.iter().map(|c| Rule {
                    conditions: vec![*c],
                    answer,
                }));
            }
        }
    }
    let newest = profile
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|s| s.names())
        .filter_map(|n| number(n))
        .max();
    let code = program(&rules, default, newest);
    if code.len() > usize::from(BPF_MAXINSNS) {
        bail!(
            "linux.seccomp: the profile makes {} instructions, more than {BPF_MAXINSNS}",
            code.len()
        );
    }
    let log = profile
        .flags()
        .iter()
        .flatten()
        .any(|f| *f == Flag::SeccompFilterFlagLog);
    Ok(Compiled { code, log })
}

fn number(name: &str) -> Option<u32> {
    (0..1024u32).find(|nr| abi::nr::name(u64::from(*nr)) == Some(name))
}

fn answer(action: Action, errno: Option<u32>, field: &str) -> Result<u32> {
    let data = |default: u32| match errno.unwrap_or(default) {
        e if e <= SECCOMP_RET_DATA => Ok(e),
        e => bail!("{field}: errnoRet {e} is too large"),
    };
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => SECCOMP_RET_KILL_THREAD,
        Action::ScmpActKillProcess => SECCOMP_RET_KILL_PROCESS,
        Action::ScmpActTrap => SECCOMP_RET_TRAP,
        Action::ScmpActErrno => SECCOMP_RET_ERRNO | data(libc::EPERM.cast_unsigned())?,
        Action::ScmpActTrace => SECCOMP_RET_TRACE | data(libc::EPERM.cast_unsigned())?,
        Action::ScmpActLog => SECCOMP_RET_LOG,
        Action::ScmpActAllow => SECCOMP_RET_ALLOW,
        Action::ScmpActNotify => bail!("{field}: SCMP_ACT_NOTIFY is not supported"),
    })
}

fn insn(code: u16, jt: usize, jf: usize, k: u32) -> SockFilter {
    let jump = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    SockFilter {
        code,
        jt: jump(jt),
        jf: jump(jf),
        k,
    }
}
fn load(at: u32) -> SockFilter {
    insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, at)
}
fn ret(k: u32) -> SockFilter {
    insn(BPF_RET | BPF_K, 0, 0, k)
}
fn jeq(k: u32, yes: usize, no: usize) -> SockFilter {
    insn(BPF_JMP | BPF_JEQ, yes, no, k)
}

fn program(rules: &BTreeMap<u32, Vec<Rule>>, default: u32, newest: Option<u32>) -> Vec<SockFilter> {
    let mut code = vec![
        load(ARCHITECTURE),
        jeq(ARCH, 1, 0),
        ret(SECCOMP_RET_KILL_PROCESS),
        load(NR),
        insn(BPF_JMP | BPF_JGE, 0, 1, X32),
        ret(default),
    ];
    for (nr, rules) in rules {
        let mut body = Vec::new();
        // A rule without conditions settles the call, wherever it stands.
        match rules.iter().find(|r| r.conditions.is_empty()) {
            Some(rule) => body.push(ret(rule.answer)),
            None => {
                for rule in rules {
                    body.extend(alternative(rule));
                }
                body.push(ret(default));
            }
        }
        if body.len() <= usize::from(u8::MAX) {
            code.push(jeq(*nr, 0, body.len()));
        } else {
            // Too far for a branch.
            let k = u32::try_from(body.len()).unwrap_or(u32::MAX);
            code.extend([jeq(*nr, 1, 0), insn(BPF_JMP | BPF_JA, 0, 0, k)]);
        }
        code.extend(body);
    }
    let lenient = matches!(
        default & SECCOMP_RET_ACTION_FULL,
        SECCOMP_RET_ALLOW | SECCOMP_RET_LOG | SECCOMP_RET_TRACE
    );
    if let (Some(newest), false) = (newest, lenient) {
        code.push(insn(BPF_JMP | BPF_JGT, 0, 1, newest));
        code.push(ret(SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()));
    }
    code.push(ret(default));
    code
}

/// The steps of one rule: they end in its answer, or fall out behind it.
fn alternative(rule: &Rule) -> Vec<SockFilter> {
    let mut code = vec![ret(rule.answer)];
    for condition in rule.conditions.iter().rev() {
        // `code` is what follows when the condition holds.
        let past = code.len();
        let mut steps = compare(condition, past);
        steps.append(&mut code);
        code = steps;
    }
    code
}

/// Goes on behind itself when the condition holds, and `past` steps further when not. 64-bit values are compared as two halves.
fn compare(c: &LinuxSeccompArg, past: usize) -> Vec<SockFilter> {
    let at = ARGS + 8 * u32::try_from(c.index()).unwrap_or(0);
    let (low, high) = (at, at + 4);
    let half = |v: u64| ((v & 0xffff_ffff) as u32, (v >> 32) as u32);
    let (value_low, value_high) = half(c.value());
    let and = |k: u32| insn(BPF_ALU | BPF_AND | BPF_K, 0, 0, k);
    let test = |op: u16, k: u32, yes: usize, no: usize| insn(BPF_JMP | op, yes, no, k);
    // Whether greater (or equal) holds, or must not hold.
    let order = |op: u16, holds: bool| {
        let (yes, no) = if holds { (0, past) } else { (past, 0) };
        vec![
            load(high),
            // A greater upper half decides, so does a smaller one.
            test(BPF_JGT, value_high, yes + 3, 0),
            test(BPF_JEQ, value_high, 0, no + 2),
            load(low),
            test(op, value_low, yes, no),
        ]
    };
    match c.op() {
        Op::ScmpCmpEq => vec![
            load(high),
            jeq(value_high, 0, past + 2),
            load(low),
            jeq(value_low, 0, past),
        ],
        Op::ScmpCmpNe => vec![
            load(high),
            jeq(value_high, 0, 2),
            load(low),
            jeq(value_low, past, 0),
        ],
        Op::ScmpCmpMaskedEq => {
            // `value` is the mask, `valueTwo` what must be left.
            let (wanted_low, wanted_high) = half(c.value_two().unwrap_or(0) & c.value());
            vec![
                load(high),
                and(value_high),
                jeq(wanted_high, 0, past + 3),
                load(low),
                and(value_low),
                jeq(wanted_low, 0, past),
            ]
        }
        Op::ScmpCmpGt => order(BPF_JGT, true),
        Op::ScmpCmpGe => order(BPF_JGE, true),
        Op::ScmpCmpLe => order(BPF_JGT, false),
        Op::ScmpCmpLt => order(BPF_JGE, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentry::kernel::seccomp::bpf::Program;
    use serde_json::json;

    fn ask(profile: &serde_json::Value, nr: u64, args: [u64; 6]) -> u32 {
        let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).unwrap();
        let code = compile(&profile).unwrap().code;
        let mut data = vec![u32::try_from(nr).unwrap(), ARCH, 0, 0];
        for a in args {
            data.extend([(a & 0xffff_ffff) as u32, (a >> 32) as u32]);
        }
        let program = Program::new(&code).unwrap();
        program.run(|w| data.get(w).copied()).unwrap()
    }

    #[test]
    fn names_conditions_and_the_default() {
        let p = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0xffff_ffffu32, "op": "SCMP_CMP_EQ"}]},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2},
            ]
        });
        let zero = [0; 6];
        let default = SECCOMP_RET_ERRNO | 38;
        assert_eq!(ask(&p, abi::nr::READ, zero), SECCOMP_RET_ALLOW);
        assert_eq!(ask(&p, abi::nr::OPENAT, zero), default);
        assert_eq!(ask(&p, abi::nr::KILL, zero), SECCOMP_RET_KILL_PROCESS);
        assert_eq!(ask(&p, abi::nr::CLONE3, zero), SECCOMP_RET_ERRNO | 2);
        assert_eq!(ask(&p, abi::nr::PERSONALITY, zero), default);
        assert_eq!(
            ask(&p, abi::nr::PERSONALITY, [8, 0, 0, 0, 0, 0]),
            SECCOMP_RET_ALLOW
        );
        assert_eq!(
            ask(&p, abi::nr::PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0]),
            SECCOMP_RET_ALLOW
        );
        assert_eq!(
            ask(&p, abi::nr::CLONE, [0x50f00, 0, 0, 0, 0, 0]),
            SECCOMP_RET_ALLOW
        );
        assert_eq!(
            ask(&p, abi::nr::CLONE, [0x1000_0000, 0, 0, 0, 0, 0]),
            default
        );
        assert_eq!(ask(&p, u64::from(X32), zero), default);
    }

    #[test]
    fn calls_newer_than_the_profile_are_missing_not_forbidden() {
        let p = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]});
        assert_eq!(ask(&p, abi::nr::OPENAT2, [0; 6]), SECCOMP_RET_ALLOW);
        assert_eq!(ask(&p, abi::nr::FCHMODAT2, [0; 6]), SECCOMP_RET_ERRNO | 38);
        assert_eq!(ask(&p, abi::nr::READ, [0; 6]), SECCOMP_RET_ERRNO | 1);
    }

    #[test]
    fn every_comparison_on_64_bits() {
        const V: u64 = 0x2_0000_0005;
        let values = [
            0,
            5,
            6,
            0x1_ffff_ffff,
            0x2_0000_0004,
            V,
            0x2_0000_0006,
            0x3_0000_0000,
            u64::MAX,
        ];
        type Holds = fn(u64) -> bool;
        let ops: [(&str, Holds); 6] = [
            ("EQ", |a| a == V),
            ("NE", |a| a != V),
            ("LT", |a| a < V),
            ("LE", |a| a <= V),
            ("GT", |a| a > V),
            ("GE", |a| a >= V),
        ];
        for (op, holds) in ops {
            let p = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 2, "value": V, "op": format!("SCMP_CMP_{op}")}, {"index": 5, "value": 9, "op": "SCMP_CMP_EQ"}]}]});
            for a in values {
                let allowed = ask(&p, abi::nr::READ, [0, 0, a, 0, 0, 9]) == SECCOMP_RET_ALLOW;
                assert_eq!(allowed, holds(a), "{op} {a:#x}");
                // The second condition must hold too.
                assert_ne!(
                    ask(&p, abi::nr::READ, [0, 0, a, 0, 0, 8]),
                    SECCOMP_RET_ALLOW
                );
            }
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        let refused = |p: serde_json::Value| {
            compile(&serde_json::from_value(p).unwrap())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]})
            ),
            "linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY is not supported"
        );
        assert!(
            refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}))
            .starts_with("linux.seccomp.syscalls[0].args: index 6")
        );
    }
}
