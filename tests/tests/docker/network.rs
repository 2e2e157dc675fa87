//! The engine's networks, with sockets of the host's (`--network=host-sockets`): a bridge, published ports, neighbours, names.

use std::io::{Read, Write};
use std::net::TcpStream;

use tests::docker::Daemon;
use tests::engine::{Outcome, eventually};

use crate::Test;

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("network_published_port", published_port),
    ("network_neighbours", neighbours),
    ("network_service_name", service_name),
    ("network_echo_request", echo_request),
    ("network_as_runc", as_runc),
    ("network_sysctl", sysctl),
    ("network_none", none),
];

/// `docker run -d` of a Debian on a network: its name.
fn debian(d: &Daemon, runtime: &str, options: &[&str], script: &str) -> Result<String, String> {
    d.debian(&["-d", "--runtime", runtime], options, script)
        .and_then(|out| out.code(0).map(|()| out.stdout.trim().to_owned()))
}

/// The same in the foreground: what it writes.
fn output(d: &Daemon, runtime: &str, options: &[&str], script: &str) -> Result<String, String> {
    let out = d.debian(&["--rm", "--runtime", runtime], options, script)?;
    out.code(0)?;
    Ok(out.stdout)
}

fn with_sockets(p: &str) -> String {
    format!("{p}-net")
}

fn same(got: &str, wanted: &str) -> Outcome {
    if got == wanted {
        return Ok(());
    }
    Err(format!("got:\n{got}\nnot:\n{wanted}"))
}

const NGINX: &str = "mkdir /tmp/n && cd /tmp/n && echo from nginx > index.html && echo 'daemon off; user root; pid /tmp/n/pid; error_log stderr; events {} \
    http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; server { listen 80; listen [::]:80; root /tmp/n; } }' > conf && \
    exec nginx -p /tmp/n -e stderr -c /tmp/n/conf";

/// From the host, by the port that the engine gave it.
fn published_port(d: &Daemon, p: &str) -> Outcome {
    let c = debian(d, &with_sockets(p), &["-p", "127.0.0.1::80"], NGINX)?;
    let port = d.docker(&["port", &c, "80/tcp"])?;
    port.code(0)?;
    let at = port.stdout.trim().to_owned();
    let get = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&at)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    eventually("nginx answers on the published port", || {
        Ok(get().is_ok_and(|text| text.ends_with("from nginx\n")))
    })?;
    // A port that nobody serves is refused, not swallowed.
    d.docker(&["stop", "-t", "0", &c])?.code(0)?;
    if let Ok(text) = get()
        && !text.is_empty()
    {
        return Err(format!("it still answers: {text}"));
    }
    d.remove(&c)
}

fn address(d: &Daemon, c: &str) -> Result<String, String> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    Ok(d.docker(&["inspect", "-f", format, c])?
        .stdout
        .trim()
        .to_owned())
}

/// redis-server in one container, redis-cli in others: of ours and of runc's.
fn neighbours(d: &Daemon, p: &str) -> Outcome {
    let net = with_sockets(p);
    let server = "cd /tmp && exec redis-server --save '' --bind 0.0.0.0 --protected-mode no";
    for (server_runtime, client_runtime) in
        [(net.as_str(), net.as_str()), ("runc", &net), (&net, "runc")]
    {
        let c = debian(d, server_runtime, &[], server)?;
        let ip = address(d, &c)?;
        d.wait_for_log(&c, "Ready to accept connections")?;
        let script = format!(
            "redis-cli -h {ip} set key value; redis-cli -h {ip} get key; seq 2000 | sed 's/.*/incr n/' | redis-cli -h {ip} | tail -1"
        );
        same(
            &output(d, client_runtime, &[], &script)?,
            "OK\nvalue\n2000\n",
        )?;
        d.remove(&c)?;
    }
    Ok(())
}

/// By name, on a network of the user's: the engine's DNS at 127.0.0.11.
fn service_name(d: &Daemon, p: &str) -> Outcome {
    let (net, name) = (with_sockets(p), format!("users-{p}"));
    d.docker(&["network", "create", &name])?.code(0)?;
    let c = debian(
        d,
        &net,
        &["--network", &name, "--network-alias", "web"],
        NGINX,
    )?;
    let script = "grep nameserver /etc/resolv.conf; until curl -s http://web/; do sleep 0.05; done; getent hosts web | awk '{print $1}'";
    let wanted = format!("nameserver 127.0.0.11\nfrom nginx\n{}\n", address(d, &c)?);
    same(&output(d, &net, &["--network", &name], script)?, &wanted)?;
    d.remove(&c)?;
    d.docker(&["network", "rm", &name])?.code(0)
}

/// Two services and a volume: one fills the volume and serves it, the other asks for it by the service's name, and sees the volume too.
pub fn compose(d: &Daemon, p: &str) -> Outcome {
    let usr = format!("{}/usr:/usr:ro", tests::env::rootfs().display());
    d.debian_image()?;
    let service = |script: &str| {
        serde_json::json!({
            "image": "debian", "runtime": with_sockets(p), "volumes": [usr.clone(), "kept:/kept"],
            "command": ["sh", "-c", script.replace('$', "$$")],
        })
    };
    let client = "until curl -sf http://web/mark; do sleep 0.05; done; cat /kept/mark";
    let file = serde_json::json!({
        "version": "2.4",
        "services": {
            "web": service(&format!("echo from the volume > /kept/mark; {}", NGINX.replace("root /tmp/n;", "root /kept;"))),
            "client": service(client),
        },
        "volumes": {"kept": {}},
    });
    let path = d.file(&format!("compose-{p}.json"), &file.to_string())?;
    let project = format!("pair-{p}");
    let run = |words: &[&str]| d.compose(&[&["-f", &path, "-p", &project], words].concat());
    run(&["up", "-d"])?.code(0)?;
    let id = run(&["ps", "-q", "client"])?.stdout.trim().to_owned();
    d.docker(&["wait", &id])?.is(0, "0\n", "")?;
    same(
        &d.docker(&["logs", &id])?.stdout,
        "from the volume\nfrom the volume\n",
    )?;
    run(&["down", "--volumes", "-t", "0"])?.code(0)?;
    let left = d.docker(&[
        "ps",
        "-aq",
        "--filter",
        &format!("label=com.docker.compose.project={project}"),
    ])?;
    same(&left.stdout, "")
}

/// By a datagram socket, to the gateway and to nobody.
fn echo_request(d: &Daemon, p: &str) -> Outcome {
    let script = r#"exec python3 -c '
import socket, struct
def ping(to):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.settimeout(20)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 7) + b"hello", (to, 0))
    data, who = s.recvfrom(100)
    return who[0] == to, data[0], data[6:]
gateway = [l.split()[2] for l in open("/proc/net/route") if l.split()[1] == "00000000"][0]
print(ping(socket.inet_ntoa(struct.pack("<I", int(gateway, 16)))))
print(ping("127.0.0.1"))
'"#;
    let wanted = "(True, 0, b'\\x00\\x07hello')\n(True, 0, b'\\x00\\x07hello')\n";
    same(&output(d, &with_sockets(p), &[], script)?, wanted)
}

/// What a program sees of the network is what it sees under runc, but for the addresses that each container has of its own.
fn as_runc(d: &Daemon, p: &str) -> Outcome {
    let script = "ip -o link | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/ link-netnsid.*//; s/ether [0-9a-f:]*/ether/'; ip -4 route | sed 's/src .*//'; ip route get 172.17.0.1 | head -1 | sed 's/src .*//'; \
        cat /proc/net/route; cut -d: -f1 /proc/net/dev; ls /sys/class/net /sys/class/net/eth0/statistics/rx_bytes; cd /sys/class/net/eth0; cat mtu operstate type addr_len tx_queue_len carrier; \
        python3 -c 'import socket; print(sorted(n for _, n in socket.if_nameindex()))'; cat /proc/sys/net/core/somaxconn";
    let wanted = output(d, "runc", &[], script)?;
    same(&output(d, &with_sockets(p), &[], script)?, &wanted)?;
    // The interface's own address, by rtnetlink and by ioctl.
    let script = "ip -o -4 addr show eth0 | awk '{print $4}' | cut -d/ -f1; \
        exec python3 -c 'import fcntl, socket, struct; s = socket.socket(); print(socket.inet_ntoa(fcntl.ioctl(s, 0x8915, struct.pack(\"40s\", b\"eth0\"))[20:24]))'";
    let log = output(d, &with_sockets(p), &[], script)?;
    match log.lines().collect::<Vec<_>>()[..] {
        [a, b] if a == b && a.starts_with("172.") => Ok(()),
        _ => Err(format!("addresses: {log}")),
    }
}

/// The namespace's own, set by the configuration; a guest without sockets of the host's is refused what its network has not.
fn sysctl(d: &Daemon, p: &str) -> Outcome {
    let show = "cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/ip_unprivileged_port_start; echo 1 2>/dev/null > /proc/sys/net/core/somaxconn || echo refused";
    let options = [
        "--sysctl",
        "net.core.somaxconn=77",
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=81",
    ];
    same(
        &output(d, &with_sockets(p), &options, show)?,
        "77\n81\nrefused\n",
    )?;
    // Who may bind what is the guest's kernel's to say.
    let bind = "import socket, sys; s = socket.socket(); s.bind((\"0.0.0.0\", int(sys.argv[1])))";
    let script =
        format!("python3 -c '{bind}' 81 && echo fine; python3 -c '{bind}' 80 2>&1 | tail -1");
    let options = [&options[..], &["--user", "1000"]].concat();
    same(
        &output(d, &with_sockets(p), &options, &script)?,
        "fine\nPermissionError: [Errno 13] Permission denied\n",
    )?;
    let options = [
        "--network=none",
        "--sysctl",
        "net.ipv4.conf.all.forwarding=1",
    ];
    let out = d.debian(&["--rm", "--runtime", p], &options, "true")?;
    out.code(125)?;
    out.says("net.ipv4.conf.all.forwarding")
}

/// `--network=none` has loopback alone, and that works.
fn none(d: &Daemon, p: &str) -> Outcome {
    let script = "ls /sys/class/net; exec python3 -c 'import socket; l = socket.socket(); l.bind((\"127.0.0.1\", 0)); l.listen(); c = socket.create_connection(l.getsockname()); l.accept()[0].send(b\"hello\"); print(c.recv(9))'";
    same(
        &output(d, &with_sockets(p), &["--network=none"], script)?,
        "lo\nb'hello'\n",
    )
}
