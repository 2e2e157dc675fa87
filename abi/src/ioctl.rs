//! ioctl(2) requests (`asm-generic/ioctls.h`, `linux/sockios.h`, `linux/fs.h`).
#![allow(missing_docs)]

pub const TCGETS: u32 = 0x5401;
pub const TCSETS: u32 = 0x5402;
pub const TCSETSW: u32 = 0x5403;
pub const TCSETSF: u32 = 0x5404;
pub const TCGETA: u32 = 0x5405;
pub const TCSETA: u32 = 0x5406;
pub const TCSETAW: u32 = 0x5407;
pub const TCSETAF: u32 = 0x5408;
pub const TCSBRK: u32 = 0x5409;
pub const TCXONC: u32 = 0x540a;
pub const TCFLSH: u32 = 0x540b;
pub const TIOCEXCL: u32 = 0x540c;
pub const TIOCNXCL: u32 = 0x540d;
pub const TIOCSCTTY: u32 = 0x540e;
pub const TIOCGPGRP: u32 = 0x540f;
pub const TIOCSPGRP: u32 = 0x5410;
pub const TIOCOUTQ: u32 = 0x5411;
pub const TIOCSTI: u32 = 0x5412;
pub const TIOCGWINSZ: u32 = 0x5413;
pub const TIOCSWINSZ: u32 = 0x5414;
pub const TIOCMGET: u32 = 0x5415;
pub const TIOCMBIS: u32 = 0x5416;
pub const TIOCMBIC: u32 = 0x5417;
pub const TIOCMSET: u32 = 0x5418;
pub const TIOCGSOFTCAR: u32 = 0x5419;
pub const TIOCSSOFTCAR: u32 = 0x541a;
pub const FIONREAD: u32 = 0x541b;
pub const TIOCCONS: u32 = 0x541d;
pub const TIOCGSERIAL: u32 = 0x541e;
pub const TIOCSSERIAL: u32 = 0x541f;
pub const TIOCPKT: u32 = 0x5420;
pub const FIONBIO: u32 = 0x5421;
pub const TIOCNOTTY: u32 = 0x5422;
pub const TIOCSETD: u32 = 0x5423;
pub const TIOCGETD: u32 = 0x5424;
pub const TCSBRKP: u32 = 0x5425;
pub const TIOCSBRK: u32 = 0x5427;
pub const TIOCCBRK: u32 = 0x5428;
pub const TIOCGSID: u32 = 0x5429;
pub const TCGETX: u32 = 0x5432;
pub const TCSETX: u32 = 0x5433;
pub const TCSETXF: u32 = 0x5434;
pub const TCSETXW: u32 = 0x5435;
pub const TIOCVHANGUP: u32 = 0x5437;
pub const FIONCLEX: u32 = 0x5450;
pub const FIOCLEX: u32 = 0x5451;
pub const FIOASYNC: u32 = 0x5452;
pub const FIOQSIZE: u32 = 0x5460;
pub const TIOCINQ: u32 = 0x541b;
pub const TIOCGPTN: u32 = 0x80045430;
pub const TIOCSPTLCK: u32 = 0x40045431;
pub const TIOCGDEV: u32 = 0x80045432;
pub const TIOCSIG: u32 = 0x40045436;
pub const TIOCGPKT: u32 = 0x80045438;
pub const TIOCGPTLCK: u32 = 0x80045439;
pub const TIOCGEXCL: u32 = 0x80045440;
pub const TIOCGPTPEER: u32 = 0x5441;
pub const TCGETS2: u32 = 0x802c542a;
pub const TCSETS2: u32 = 0x402c542b;
pub const TCSETSW2: u32 = 0x402c542c;
pub const TCSETSF2: u32 = 0x402c542d;
pub const FS_IOC_GETFLAGS: u32 = 0x80086601;
pub const FS_IOC_SETFLAGS: u32 = 0x40086602;
pub const FS_IOC_GETVERSION: u32 = 0x80087601;
pub const FS_IOC_FSGETXATTR: u32 = 0x801c581f;
pub const FS_IOC_FSSETXATTR: u32 = 0x401c5820;
pub const FIBMAP: u32 = 0x1;
pub const FIGETBSZ: u32 = 0x2;
pub const FIFREEZE: u32 = 0xc0045877;
pub const FITHAW: u32 = 0xc0045878;
pub const FICLONE: u32 = 0x40049409;
pub const FICLONERANGE: u32 = 0x4020940d;
pub const FIDEDUPERANGE: u32 = 0xc0189436;
pub const BLKGETSIZE: u32 = 0x1260;
pub const BLKGETSIZE64: u32 = 0x80081272;
pub const BLKSSZGET: u32 = 0x1268;
pub const BLKROGET: u32 = 0x125e;
pub const SIOCADDRT: u32 = 0x890b;
pub const SIOCDELRT: u32 = 0x890c;
pub const SIOCRTMSG: u32 = 0x890d;
pub const SIOCGIFNAME: u32 = 0x8910;
pub const SIOCSIFLINK: u32 = 0x8911;
pub const SIOCGIFCONF: u32 = 0x8912;
pub const SIOCGIFFLAGS: u32 = 0x8913;
pub const SIOCSIFFLAGS: u32 = 0x8914;
pub const SIOCGIFADDR: u32 = 0x8915;
pub const SIOCSIFADDR: u32 = 0x8916;
pub const SIOCGIFDSTADDR: u32 = 0x8917;
pub const SIOCSIFDSTADDR: u32 = 0x8918;
pub const SIOCGIFBRDADDR: u32 = 0x8919;
pub const SIOCSIFBRDADDR: u32 = 0x891a;
pub const SIOCGIFNETMASK: u32 = 0x891b;
pub const SIOCSIFNETMASK: u32 = 0x891c;
pub const SIOCGIFMETRIC: u32 = 0x891d;
pub const SIOCSIFMETRIC: u32 = 0x891e;
pub const SIOCGIFMEM: u32 = 0x891f;
pub const SIOCSIFMEM: u32 = 0x8920;
pub const SIOCGIFMTU: u32 = 0x8921;
pub const SIOCSIFMTU: u32 = 0x8922;
pub const SIOCSIFNAME: u32 = 0x8923;
pub const SIOCSIFHWADDR: u32 = 0x8924;
pub const SIOCGIFENCAP: u32 = 0x8925;
pub const SIOCSIFENCAP: u32 = 0x8926;
pub const SIOCGIFHWADDR: u32 = 0x8927;
pub const SIOCGIFSLAVE: u32 = 0x8929;
pub const SIOCSIFSLAVE: u32 = 0x8930;
pub const SIOCADDMULTI: u32 = 0x8931;
pub const SIOCDELMULTI: u32 = 0x8932;
pub const SIOCGIFINDEX: u32 = 0x8933;
pub const SIOCSIFPFLAGS: u32 = 0x8934;
pub const SIOCGIFPFLAGS: u32 = 0x8935;
pub const SIOCDIFADDR: u32 = 0x8936;
pub const SIOCSIFHWBROADCAST: u32 = 0x8937;
pub const SIOCGIFCOUNT: u32 = 0x8938;
pub const SIOCGIFBR: u32 = 0x8940;
pub const SIOCSIFBR: u32 = 0x8941;
pub const SIOCGIFTXQLEN: u32 = 0x8942;
pub const SIOCINQ: u32 = FIONREAD;
pub const SIOCOUTQ: u32 = TIOCOUTQ;
pub const SIOCATMARK: u32 = 0x8905;
pub const SIOCSPGRP: u32 = 0x8902;
pub const SIOCGPGRP: u32 = 0x8904;
pub const FIOSETOWN: u32 = 0x8901;
pub const FIOGETOWN: u32 = 0x8903;
pub const SIOCGSTAMP: u32 = 0x8906;
pub const SIOCGSTAMPNS: u32 = 0x8907;
pub const SIOCETHTOOL: u32 = 0x8946;

pub const NS_GET_USERNS: u32 = 0xb701;
pub const NS_GET_PARENT: u32 = 0xb702;
pub const NS_GET_NSTYPE: u32 = 0xb703;
pub const NS_GET_OWNER_UID: u32 = 0xb704;
pub const RNDGETENTCNT: u32 = 0x80045200;
pub const RNDADDTOENTCNT: u32 = 0x40045201;
pub const RNDADDENTROPY: u32 = 0x40085203;
pub const RNDZAPENTCNT: u32 = 0x5204;
pub const RNDCLEARPOOL: u32 = 0x5206;
pub const RNDRESEEDCRNG: u32 = 0x5207;

abi_struct! {
    /// `struct winsize` (TIOCGWINSZ).
    pub struct Winsize [8] {
        pub ws_row: u16,
        pub ws_col: u16,
        pub ws_xpixel: u16,
        pub ws_ypixel: u16,
    }

    /// `struct ifreq`: a name and a union of 24 bytes.
    pub struct Ifreq [40] {
        pub ifr_name: [u8; 16],
        pub ifr_ifru: [u8; 24],
    }

    /// `struct ifconf` (SIOCGIFCONF).
    pub struct Ifconf [16] {
        pub ifc_len: i32,
        pub _pad: i32,
        pub ifc_buf: u64,
    }
}
