//! Sockets as `/proc/net` lists them (`proc_pid_net(5)`).

use super::NetNamespace;
use netstack::{Family, SocketEntry};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// The lines below the heading of `tcp`, `tcp6`, `udp`, `udp6`, or all of `unix`; `None` for a file this module does not know.
pub fn lines(net: &NetNamespace, file: &str) -> Option<String> {
    let (entries, family, stream) = match file {
        "tcp" => (net.tcp_sockets(), Family::Inet, true),
        "tcp6" => (net.tcp_sockets(), Family::Inet6, true),
        "udp" => (net.udp_sockets(), Family::Inet, false),
        "udp6" => (net.udp_sockets(), Family::Inet6, false),
        "unix" => return Some(super::unix::table(net)),
        _ => return None,
    };
    let mut text = String::new();
    for (number, entry) in entries.iter().filter(|e| e.family == family).enumerate() {
        line(&mut text, number, entry, stream);
    }
    Some(text)
}

/// Words of four bytes in the machine's order, as the kernel prints addresses.
fn address(text: &mut String, addr: SocketAddr) {
    let octets = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    for word in octets.as_chunks::<4>().0 {
        let _ = write!(text, "{:08X}", u32::from_ne_bytes(*word));
    }
    let _ = write!(text, ":{:04X}", addr.port());
}

fn line(text: &mut String, number: usize, entry: &SocketEntry, stream: bool) {
    let start = text.len();
    let _ = if stream {
        write!(text, "{number:4}: ")
    } else {
        write!(text, "{number:5}: ")
    };
    address(text, entry.local);
    text.push(' ');
    address(text, entry.remote);
    // A timer runs only for what lingers: 3 is TIME_WAIT's, in hundredths of a second.
    let (timer, expires) = if entry.expires == 0 {
        (0, 0)
    } else {
        (3, u64::from(entry.expires).saturating_mul(100))
    };
    let _ = write!(
        text,
        " {:02X} {:08X}:{:08X} {timer:02X}:{expires:08X} {:08X} {:5} {:8} {} ",
        entry.state, entry.tx_queue, entry.rx_queue, 0, entry.owner.uid, 0, entry.owner.inode
    );
    let _ = if stream {
        write!(text, "1 {:016x} 100 0 0 10 0", 0)
    } else {
        write!(text, "2 {:016x} {}", 0, entry.drops)
    };
    // IPv4 lines are padded to 149 or 127 columns.
    if entry.family == Family::Inet {
        let width = if stream { 149 } else { 127 };
        while text.len().saturating_sub(start) < width {
            text.push(' ');
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::testing::TestCaller;
    use crate::socket::{SocketFile, inet};

    #[test]
    fn a_listener_is_listed() {
        let c = TestCaller::new(1);
        let listener: SocketFile = inet::create(&c, 2, 1, 0).unwrap();
        listener
            .socket()
            .bind(&c, &inet::to_bytes("127.0.0.1:8080".parse().unwrap()))
            .unwrap();
        listener.socket().listen(&c, 5).unwrap();
        let text = lines(&c.net, "tcp").unwrap();
        assert!(text.starts_with("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 "), "{text}");
        assert_eq!(text.len(), 150);
        assert_eq!(lines(&c.net, "tcp6").unwrap(), "");
        assert!(lines(&c.net, "unix").unwrap().starts_with("Num "));
        assert!(lines(&c.net, "arp").is_none());
    }
}
