//! The OCI surface beside runc (Debian's 1.1), on the same bundles: hooks and what they are told, statuses, user namespaces,
//! rootless containers, cgroup v2 alone. Where runc is wrong by the specification, the test says so.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::process::{End, Output, run};
use tests::suite;

type Test = fn(&str) -> Result<()>;

fn main() -> ExitCode {
    suite::main("oci", |suite| {
        let tests: [(&str, Test); 5] = [
            ("hooks", hooks),
            ("statuses", statuses),
            ("a_user_namespace", a_user_namespace),
            ("rootless", rootless),
            ("cgroup_v2_alone", cgroup_v2_alone),
        ];
        let runc = Path::new("/usr/sbin/runc").exists() || Path::new("/usr/bin/runc").exists();
        for (name, test) in tests {
            if runc {
                let body = move |platform: &str| test(platform).map_err(|e| format!("{e:#}"));
                suite.sandbox(name, Arc::new(body));
            } else {
                suite.skip(
                    name,
                    "no runc on this machine (Debian: apt-get install runc)",
                );
            }
        }
        Ok(())
    })
}

/// A bundle with busybox as its root filesystem, in a place that every user can reach, and a copy of the runtime.
struct Bundle(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Bundle {
    fn new() -> Result<Bundle> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("runsc-rs-oci-{}-{n}", std::process::id()));
        for sub in ["rootfs/bin", "rootfs/tmp", "run"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let bin = dir.join("rootfs/bin");
        fs::copy(
            tests::env::rootfs().join("bin/busybox"),
            bin.join("busybox"),
        )?;
        for applet in ["sh", "cat", "id", "ls", "sleep", "true", "kill", "echo"] {
            symlink("busybox", bin.join(applet))?;
        }
        let binary = tests::env::binary().map_err(anyhow::Error::msg)?;
        fs::copy(binary, dir.join("runtime"))?;
        fs::set_permissions(dir.join("runtime"), fs::Permissions::from_mode(0o755))?;
        Ok(Bundle(dir))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn id(&self) -> String {
        self.0
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Writes runc's own configuration, changed.
    fn config(
        &self,
        options: &[&str],
        args: &[&str],
        change: impl FnOnce(&mut Value),
    ) -> Result<()> {
        let file = self.0.join("config.json");
        let _ = fs::remove_file(&file);
        let out = self.shell(&format!("runc spec {}", options.join(" ")))?;
        ensure!(out.end == End::Code(0), "runc spec: {}", out.errors());
        let mut c: Value = serde_json::from_slice(&fs::read(&file)?)?;
        c["process"]["terminal"] = false.into();
        c["process"]["args"] = json!(args);
        change(&mut c);
        Ok(fs::write(&file, serde_json::to_vec(&c)?)?)
    }

    fn shell(&self, script: &str) -> Result<Output> {
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", script]).current_dir(&self.0);
        Ok(run(&mut sh, b"", Duration::from_secs(60))?)
    }

    /// runc, or the runtime on this platform, with a state directory in the bundle.
    fn engine(&self, platform: Option<&str>) -> String {
        match platform {
            None => "runc --root run/runc".into(),
            Some(p) => format!("./runtime --root run/ours --platform={p}"),
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let id = self.id();
        let _ = self.shell(&format!(
            "runc --root run/runc delete -f {id}; ./runtime --root run/ours delete --force {id}"
        ));
        let _ = fs::remove_dir_all(&self.0);
    }
}

const KINDS: [&str; 5] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "poststart",
    "poststop",
];

/// What each hook was told, in order, when the one of this kind fails; with the status of `run` before it.
fn hook_story(b: &Bundle, engine: &str, failing: &str) -> Result<String> {
    let told = b.path("told");
    let _ = fs::remove_file(&told);
    b.config(&[], &["sh", "-c", "cat /tmp/start"], |c| {
        c["root"]["readonly"] = false.into();
        c["annotations"] = json!({"org.example.a": "b"});
        let status = |kind: &str| if kind == failing { 7 } else { 0 };
        for kind in KINDS {
            let script = format!(
                "printf '{kind} ' >> {told}; cat >> {told}; echo >> {told}; exit {}",
                status(kind)
            );
            c["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        }
        let script = format!("cat > /tmp/start; exit {}", status("startContainer"));
        c["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    })?;
    let out = b.shell(&format!("{engine} run {}", b.id()))?;
    let mut story = format!("{:?}\n", out.end);
    let mut add = |kind: &str, state: &str| -> Result<()> {
        let mut v: Value = serde_json::from_str(state)?;
        ensure!(
            v["bundle"] == json!(b.0) && v["id"] == json!(b.id()),
            "{kind}: {state}"
        );
        // A pid while there is one.
        v["pid"] = v["pid"].as_i64().is_some_and(|p| p > 0).into();
        for key in ["bundle", "id", "ociVersion"] {
            ensure!(
                v.as_object_mut().is_some_and(|o| o.remove(key).is_some()),
                "{kind}: no {key}: {state}"
            );
        }
        // runc 1.1 runs poststart hooks before the program, whatever startContainer hooks say then.
        if kind == "poststart" {
            ensure!(
                v["status"] == "running" || engine.starts_with("runc"),
                "{kind}: {state}"
            );
            v["status"] = "running".into();
        }
        if !(kind == "poststart" && failing == "startContainer") {
            let sorted: BTreeMap<String, Value> = serde_json::from_value(v)?;
            story += &format!("{kind} {sorted:?}\n");
        }
        Ok(())
    };
    for line in fs::read_to_string(&told)?.lines() {
        let (kind, state) = line.split_once(' ').unwrap_or((line, ""));
        add(kind, state)?;
    }
    // What a startContainer hook read: the container is created, and has a pid of its own numbering.
    if !["prestart", "createRuntime", "createContainer"].contains(&failing) {
        let state = fs::read_to_string(b.0.join("rootfs/tmp/start"))?;
        add("startContainer", &state)?;
        if failing == "none" {
            ensure!(out.text() == state, "{:?}", out.text());
        }
    }
    let all = KINDS.iter().all(|k| story.contains(k));
    ensure!(all || failing != "none", "hooks were left out:\n{story}");
    Ok(story)
}

/// Six kinds, in order, told the right state; each failure has the same consequences.
fn hooks(platform: &str) -> Result<()> {
    let b = Bundle::new()?;
    for failing in [
        "none",
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        let wanted = hook_story(&b, &b.engine(None), failing)?;
        let got = hook_story(&b, &b.engine(Some(platform)), failing)?;
        ensure!(got == wanted, "{failing} fails:\n{got}\nrunc:\n{wanted}");
    }
    Ok(())
}

/// A life by the commands, as a transcript: statuses, outputs, messages.
fn life(b: &Bundle, engine: &str) -> Result<String> {
    let script = r#"
t() { "$@" </dev/null; echo "= $?"; }
t $E create --pid-file pid ID; grep -c . pid; t $E resume ID
t $E exec ID echo created; t $E start ID; t $E start ID; t $E delete ID
t $E exec ID sh -c 'exit 42'; t $E exec ID sh -c 'kill -9 $$'; t $E exec ID nope; t $E exec ID /tmp
t $E exec -u 5:6 -g 7 -e A=b --cwd /tmp ID sh -c 'id -u; id -g; echo $A; pwd'
t $E exec --cwd tmp ID true; t $E exec --cap CAP_FOO ID true; t $E exec ID
t $E pause ID; t $E pause ID; t $E exec ID true; t $E resume ID; t $E resume ID
t $E kill ID 99; t $E kill ID FOO; t $E kill ID usr1; t $E update --memory foo ID
t $E update --cpuset-cpus 99 ID 2>/dev/null; t $E events --interval 0s ID; t $E ps -f xml ID
t $E kill ID TERM; until $E state ID | grep -q stopped; do sleep 0.1; done
t $E kill ID; t $E kill -a ID; t $E exec ID true; t $E pause ID; t $E start ID; t $E delete ID; t $E delete ID; t $E delete -f ID
t $E run ID2; t $E run --keep ID; t $E run ID; t $E delete ID; t $E list extra; t $E kill; t $E frobnicate
"#;
    let script = script
        .replace("ID2", &format!("{}.2", b.id()))
        .replace("ID", &b.id());
    b.config(&[], &["sh", "-c", "trap 'exit 5' TERM; [ -e /tmp/go ] && exit 9; while :; do sleep 0.1; done"], |c| {
        c["root"]["readonly"] = false.into();
        // What `run` at the end does: it exits at once.
        c["hooks"] = json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", format!("touch {}", b.path("rootfs/tmp/go"))]}]});
    })?;
    let _ = fs::remove_file(b.path("rootfs/tmp/go"));
    let out = b.shell(&format!("E='{engine}'\nexec 2>&1\n{script}"))?;
    let mut text = String::new();
    for line in out.text().lines() {
        // Of a log line its message; of the usage that goes with a mistake nothing.
        if let Some((_, message)) = line.split_once(" msg=") {
            text += &message.replace("runsc-rs", "runc").replace("\\n", "");
        } else if line.starts_with("= ")
            || !line.contains(' ') && !line.is_empty() && !line.ends_with([':', '>'])
        {
            text += line;
        } else {
            continue;
        }
        text.push('\n');
    }
    Ok(text)
}

fn statuses(platform: &str) -> Result<()> {
    let b = Bundle::new()?;
    let (wanted, got) = (
        life(&b, &b.engine(None))?,
        life(&b, &b.engine(Some(platform)))?,
    );
    ensure!(wanted.contains("= 42"), "{wanted}");
    ensure!(
        got == wanted,
        "{}\nrunc:\n{wanted}\nours:\n{got}",
        first_difference(&got, &wanted)
    );
    Ok(())
}

fn first_difference(a: &str, b: &str) -> String {
    let pair = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    format!("first difference: {pair:?}")
}

/// What guest root makes belongs to the host's id that the bundle maps it to.
fn a_user_namespace(platform: &str) -> Result<()> {
    let b = Bundle::new()?;
    let script = "id -u; echo x > /made && ls -ln /made /bin/busybox | while read m n u g r; do echo $u $g; done";
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let configure = |maps: &Value| {
        b.config(&[], &["sh", "-c", script], |c| {
            c["root"]["readonly"] = false.into();
            c["linux"]["uidMappings"] = maps.clone();
            c["linux"]["gidMappings"] = maps.clone();
            if let Some(list) = c["linux"]["namespaces"].as_array_mut() {
                list.push(json!({"type": "user"}));
            }
        })
    };
    let own = b.shell("chown -R 100000:100000 rootfs")?;
    ensure!(own.end == End::Code(0), "{}", own.errors());
    for engine in [b.engine(None), b.engine(Some(platform))] {
        configure(&ids)?;
        let out = b.shell(&format!("{engine} run {}", b.id()))?;
        ensure!(
            out.text() == "0\n0 0\n0 0\n",
            "{engine}: {:?} {}",
            out.text(),
            out.errors()
        );
        let made = b.0.join("rootfs/made");
        let meta = fs::metadata(&made)?;
        ensure!(
            (meta.uid(), meta.gid()) == (100_000, 100_000),
            "{engine}: {} {}",
            meta.uid(),
            meta.gid()
        );
        fs::remove_file(made)?;
        configure(&json!([]))?;
        let out = b.shell(&format!("{engine} run {}", b.id()))?;
        ensure!(
            out.errors()
                .contains("User namespaces enabled, but no uid mappings found."),
            "{engine}: {}",
            out.errors()
        );
    }
    Ok(())
}

/// An unprivileged user, and a configuration as `runc spec --rootless` writes it.
fn rootless(platform: &str) -> Result<()> {
    const USER: u32 = 65_534;
    let b = Bundle::new()?;
    let script = "id -u; id -g; echo x > /tmp/made && ls -ln /tmp/made | while read m n u g r; do echo $u $g; done; exit 3";
    // `spec` was run by root here.
    let mapped = |c: &mut Value| {
        for maps in ["uidMappings", "gidMappings"] {
            c["linux"][maps][0]["hostID"] = USER.into();
        }
    };
    let drop = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
    b.config(&["--rootless"], &["sh", "-c", script], |c| {
        c["root"]["readonly"] = false.into();
        mapped(c);
    })?;
    let own = b.shell(&format!("chown -R {USER}:{USER} rootfs run"))?;
    ensure!(own.end == End::Code(0), "{}", own.errors());
    chown(&b.0, Some(USER), Some(USER))?;
    for engine in [b.engine(None), b.engine(Some(platform))] {
        let out = b.shell(&format!("{drop} {engine} run {}", b.id()))?;
        ensure!(
            out.end == End::Code(3),
            "{engine}: {:?} {}",
            out.end,
            out.errors()
        );
        ensure!(
            out.text() == "0\n0\n0 0\n",
            "{engine}: {:?} {}",
            out.text(),
            out.errors()
        );
        let made = b.0.join("rootfs/tmp/made");
        ensure!(fs::metadata(&made)?.uid() == USER, "{engine}: of another");
        fs::remove_file(made)?;
        // Its whole life: another process in it, its end by a signal.
        let life = format!(
            "set -e; E='{drop} {engine}'; sed -i 's/exit 3/sleep 100/' config.json; $E run -d ID </dev/null >/dev/null 2>&1; $E exec ID echo in; $E kill ID KILL; \
             until $E state ID | grep -q stopped; do sleep 0.1; done; $E delete ID; $E list -q; sed -i 's/sleep 100/exit 3/' config.json"
        );
        let out = b.shell(&life.replace("ID", &b.id()))?;
        ensure!(
            out.end == End::Code(0) && out.text() == "in\n",
            "{engine}: {:?} {:?} {}",
            out.end,
            out.text(),
            out.errors()
        );
        let _ = fs::remove_file(b.0.join("rootfs/tmp/made"));
    }
    // Limits need a cgroup, which this user has not: refused with the reason, nothing is left.
    b.config(&["--rootless"], &["true"], |c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 100 << 20}});
        mapped(c);
    })?;
    let out = b.shell(&format!(
        "{drop} {} run {}",
        b.engine(Some(platform)),
        b.id()
    ))?;
    ensure!(
        out.end == End::Code(1) && out.errors().contains("cgroup"),
        "{:?} {}",
        out.end,
        out.errors()
    );
    ensure!(
        fs::read_dir(b.0.join("run/ours"))?.count() == 0,
        "something is left"
    );
    Ok(())
}

/// A host whose cgroups are v2 alone: a mount namespace that shows nothing else. The controllers in it are those that the machine's
/// v1 hierarchies have not taken; hugetlb is the one that the test limits, where it is free. (That the other limits are written
/// where and as v2 wants them is a unit test of `cgroup/limits.rs`, on plain files.)
fn cgroup_v2_alone(platform: &str) -> Result<()> {
    let b = Bundle::new()?;
    let alone = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 99";
    let free = b.shell(&format!(
        "unshare -m --propagation private sh -c '{alone}; cat /sys/fs/cgroup/cgroup.controllers'"
    ))?;
    ensure!(free.end == End::Code(0), "{}", free.errors());
    let limited = free.text().split_whitespace().any(|c| c == "hugetlb");
    let path = format!("/{}/below", b.id());
    b.config(&[], &["sleep", "100"], |c| {
        c["linux"]["cgroupsPath"] = path.clone().into();
        c["linux"]["resources"] = json!({});
        if limited {
            c["linux"]["resources"]["hugepageLimits"] =
                json!([{"pageSize": "2MB", "limit": 4 << 20}]);
        }
    })?;
    let mut stories = Vec::new();
    for engine in [b.engine(None), b.engine(Some(platform))] {
        let script = format!(
            r#"{alone}; E="{engine}"; C=/sys/fs/cgroup{path}
$E run -d {id} </dev/null >/dev/null 2>err || {{ cat err; exit 1; }}
cat $C/hugetlb.2MB.max 2>/dev/null; cat $C/cgroup.events
p=$($E state {id} | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'); sed -n 's/^0:://p' /proc/$p/cgroup
[ "$(wc -l < $C/cgroup.procs)" -ge 1 ] && echo joined
$E events --stats {id} | grep -o '"type":"stats"'
$E kill {id} KILL; $E delete --force {id}; ls -d $C 2>/dev/null; rmdir /sys/fs/cgroup/{id}"#,
            id = b.id()
        );
        fs::write(b.0.join("script"), script)?;
        let out = b.shell("unshare -m --propagation private sh script")?;
        stories.push(format!("{:?}\n{}{}", out.end, out.text(), out.errors()));
    }
    ensure!(
        stories[0].contains("populated 1") && stories[0].contains("joined"),
        "{}",
        stories[0]
    );
    ensure!(!limited || stories[0].contains("4194304"), "{}", stories[0]);
    ensure!(
        stories[0] == stories[1],
        "ours:\n{}\nrunc:\n{}",
        stories[1],
        stories[0]
    );
    Ok(())
}
