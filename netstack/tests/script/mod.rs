//! A small language for socket tests: one call a line, with what Linux answers.
//!
//! ```text
//! tcp a; a bind 127.0.0.1:80; a listen 5       # `-> ok` is understood
//! c connect 127.0.0.1:80 -> EINPROGRESS        # an error's name
//! c poll -> 104                                # EPOLL bits, in hex
//! c recv 10 -> "abc"                           # bytes; 0 is the end
//! ```

use abi::socket::*;
use abi::{Errno, Result};
use netstack::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[derive(Default)]
struct Events(AtomicU32);

impl Notify for Events {
    fn notify(&self, events: u32) {
        self.0.fetch_or(events, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Time(AtomicU64);

impl Clock for Time {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

enum Socket {
    Tcp(Arc<TcpEndpoint>),
    Udp(Arc<UdpEndpoint>),
}

/// Runs scripts on a stack of its own.
pub struct Script {
    pub stack: Arc<Stack>,
    time: Arc<Time>,
    sockets: HashMap<String, (Socket, Arc<Events>)>,
    uid: u32,
}

fn unit(result: Result<()>) -> String {
    result.map_or_else(|e| e.name().into(), |()| "ok".into())
}

fn text(result: Result<Vec<u8>>) -> String {
    match result {
        Err(e) => e.name().into(),
        Ok(bytes) if bytes.is_empty() => "0".into(),
        Ok(bytes) => format!("{:?}", String::from_utf8(bytes).unwrap()),
    }
}

fn option(name: &str) -> (i32, i32) {
    match name {
        "reuseaddr" => (SOL_SOCKET, SO_REUSEADDR),
        "reuseport" => (SOL_SOCKET, SO_REUSEPORT),
        "broadcast" => (SOL_SOCKET, SO_BROADCAST),
        "sndbuf" => (SOL_SOCKET, SO_SNDBUF),
        "rcvbuf" => (SOL_SOCKET, SO_RCVBUF),
        "rcvlowat" => (SOL_SOCKET, SO_RCVLOWAT),
        "acceptconn" => (SOL_SOCKET, SO_ACCEPTCONN),
        "error" => (SOL_SOCKET, SO_ERROR),
        "v6only" => (SOL_IPV6, IPV6_V6ONLY),
        "nodelay" => (SOL_TCP, TCP_NODELAY),
        "freebind" => (SOL_IP, IP_FREEBIND),
        _ => panic!("option {name}"),
    }
}

impl Script {
    pub fn new() -> Script {
        let time = Arc::new(Time::default());
        Script {
            stack: Stack::new(time.clone(), 42),
            time,
            sockets: HashMap::new(),
            uid: 0,
        }
    }

    /// Runs a script on a fresh stack.
    pub fn check(name: &str, script: &str) {
        Script::new().run(name, script);
    }

    pub fn run(&mut self, name: &str, script: &str) {
        for (number, line) in script.lines().enumerate() {
            let line = line.split('#').next().unwrap();
            for call in line
                .split(';')
                .map(str::trim)
                .filter(|call| !call.is_empty())
            {
                let (call, expected) = call
                    .split_once("->")
                    .map_or((call, "ok"), |(c, e)| (c.trim(), e.trim()));
                assert_eq!(
                    self.call(call),
                    expected,
                    "{name}, line {}: {call}",
                    number + 1
                );
            }
        }
    }

    fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            inode: 1,
        }
    }

    fn call(&mut self, call: &str) -> String {
        let words: Vec<&str> = call.split_whitespace().collect();
        match words[..] {
            ["tcp" | "tcp6" | "udp" | "udp6", name] => {
                let family = if words[0].ends_with('6') {
                    Family::Inet6
                } else {
                    Family::Inet
                };
                let events = Arc::new(Events::default());
                let socket = if words[0].starts_with("tcp") {
                    Socket::Tcp(self.stack.tcp(family, self.owner(), events.clone()))
                } else {
                    Socket::Udp(self.stack.udp(family, self.owner(), events.clone()))
                };
                self.sockets.insert(name.into(), (socket, events));
                "ok".into()
            }
            ["uid", uid] => {
                self.uid = uid.parse().unwrap();
                "ok".into()
            }
            ["time", seconds] => {
                let ns = seconds.strip_prefix('+').unwrap().parse::<u64>().unwrap() * 1_000_000_000;
                self.time.0.fetch_add(ns, Ordering::Relaxed);
                "ok".into()
            }
            ["tcpstates"] => {
                let mut all: Vec<String> = self
                    .stack
                    .tcp_sockets()
                    .iter()
                    .map(|e| format!("{}-{}:{}", e.local, e.remote, e.state))
                    .collect();
                all.sort();
                all.join(" ")
            }
            [name, "close"] => {
                self.sockets.remove(name);
                "ok".into()
            }
            [name, "events"] => format!("{:x}", self.sockets[name].1.0.swap(0, Ordering::Relaxed)),
            [name, "accept", ref rest @ ..] => {
                let events = Arc::new(Events::default());
                let Socket::Tcp(listener) = &self.sockets[name].0 else {
                    panic!("accept")
                };
                match listener.accept(self.owner(), events.clone()) {
                    Ok((endpoint, peer)) => {
                        self.sockets
                            .insert(rest[0].into(), (Socket::Tcp(endpoint), events));
                        if rest.len() > 1 {
                            peer.to_string()
                        } else {
                            "ok".into()
                        }
                    }
                    Err(e) => e.name().into(),
                }
            }
            [name, "set", option_name, value] => {
                let (level, option) = option(option_name);
                let value = value.parse::<i32>().unwrap().to_ne_bytes();
                unit(match &self.sockets[name].0 {
                    Socket::Tcp(s) => s.set_option(level, option, &value),
                    Socket::Udp(s) => s.set_option(level, option, &value),
                })
            }
            [name, "get", option_name] => {
                let (level, option) = option(option_name);
                let got = match &self.sockets[name].0 {
                    Socket::Tcp(s) => s.get_option(level, option, 4),
                    Socket::Udp(s) => s.get_option(level, option, 4),
                };
                got.map_or_else(
                    |e| e.name().into(),
                    |v| i32::from_ne_bytes(v[..4].try_into().unwrap()).to_string(),
                )
            }
            [name, ref rest @ ..] => match &self.sockets[name].0 {
                Socket::Tcp(socket) => tcp(socket, rest),
                Socket::Udp(socket) => udp(socket, rest),
            },
            [] => unreachable!(),
        }
    }
}

fn tcp(s: &TcpEndpoint, words: &[&str]) -> String {
    let recv = |n: &str, flags| {
        let mut buf = vec![0; n.parse().unwrap()];
        text(s.recv(&mut buf, flags).map(|n| buf[..n].to_vec()))
    };
    match *words {
        ["bind", addr] => unit(s.bind(addr.parse().unwrap())),
        ["listen", backlog] => unit(s.listen(backlog.parse().unwrap())),
        ["connect", addr] => unit(s.connect(addr.parse().unwrap())),
        ["disconnect"] => unit(s.disconnect()),
        ["shut", how] => unit(s.shutdown(how_of(how))),
        ["send", data] => s
            .send(data.as_bytes())
            .map_or_else(|e| e.name().into(), |n| n.to_string()),
        ["sendn", n] => s
            .send(&vec![b'x'; n.parse().unwrap()])
            .map_or_else(|e| e.name().into(), |n| n.to_string()),
        ["recv", n] => recv(n, RecvFlags::empty()),
        ["recvn", n] => {
            let mut buf = vec![0; n.parse().unwrap()];
            s.recv(&mut buf, RecvFlags::empty())
                .map_or_else(|e| e.name().into(), |n| n.to_string())
        }
        ["peek", n] => recv(n, RecvFlags::PEEK),
        ["discard", n] => s
            .recv(&mut vec![0; n.parse().unwrap()], RecvFlags::DISCARD)
            .map_or_else(|e| e.name().into(), |n| n.to_string()),
        ["poll"] => format!("{:x}", s.readiness()),
        ["state"] => s.tcp_state().to_string(),
        ["err"] => s
            .take_error()
            .map_or("0".into(), |e: Errno| e.name().into()),
        ["local"] => s.local_addr().to_string(),
        ["peer"] => s
            .peer_addr()
            .map_or_else(|e| e.name().into(), |a| a.to_string()),
        ["inq"] => s
            .input_queue()
            .map_or_else(|e| e.name().into(), |n| n.to_string()),
        ["outq"] => s
            .output_queue()
            .map_or_else(|e| e.name().into(), |n| n.to_string()),
        _ => panic!("{words:?}"),
    }
}

fn udp(s: &UdpEndpoint, words: &[&str]) -> String {
    let recv = |n: &str, flags| {
        let mut buf = vec![0; n.parse().unwrap()];
        match s.recv(&mut buf, flags) {
            Err(e) => e.name().into(),
            Ok(r) => {
                let from = r.from.map_or("nobody".into(), |f| f.to_string());
                format!(
                    "{}/{} from {from}",
                    String::from_utf8_lossy(&buf[..r.count]),
                    r.len
                )
            }
        }
    };
    let sent = |r: Result<usize>| r.map_or_else(|e| e.name().into(), |n| n.to_string());
    match *words {
        ["bind", addr] => unit(s.bind(addr.parse().unwrap())),
        ["connect", addr] => unit(s.connect(addr.parse().unwrap())),
        ["disconnect"] => unit(s.disconnect()),
        ["shut", how] => unit(s.shutdown(how_of(how))),
        ["send", data] => sent(s.send(data.as_bytes(), None)),
        ["send", data, to] => sent(s.send(data.as_bytes(), Some(to.parse().unwrap()))),
        ["sendn", n, to] => sent(s.send(&vec![0; n.parse().unwrap()], Some(to.parse().unwrap()))),
        ["recv", n] => recv(n, RecvFlags::empty()),
        ["peek", n] => recv(n, RecvFlags::PEEK),
        ["poll"] => format!("{:x}", s.readiness()),
        ["err"] => s
            .take_error()
            .map_or("0".into(), |e: Errno| e.name().into()),
        ["local"] => s.local_addr().to_string(),
        ["peer"] => s
            .peer_addr()
            .map_or_else(|e| e.name().into(), |a| a.to_string()),
        ["inq"] => s.input_queue().to_string(),
        ["join", group] => unit(membership(s, IP_ADD_MEMBERSHIP, group)),
        ["leave", group] => unit(membership(s, IP_DROP_MEMBERSHIP, group)),
        ["multicastif", addr] => {
            let ip: std::net::Ipv4Addr = addr.parse().unwrap();
            unit(s.set_option(SOL_IP, IP_MULTICAST_IF, &ip.octets()))
        }
        _ => panic!("{words:?}"),
    }
}

fn membership(s: &UdpEndpoint, name: i32, group: &str) -> Result<()> {
    let group: std::net::Ipv4Addr = group.parse().unwrap();
    let mut request = group.octets().to_vec();
    request.extend([127, 0, 0, 1]);
    s.set_option(SOL_IP, name, &request)
}

fn how_of(how: &str) -> Shutdown {
    match how {
        "rd" => Shutdown::Read,
        "wr" => Shutdown::Write,
        _ => Shutdown::Both,
    }
}
