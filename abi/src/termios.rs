//! Terminals (`asm-generic/termbits.h`): termios(3).
#![allow(missing_docs)]

/// Control characters of the kernel's `struct termios`.
pub const NCCS: usize = 19;

abi_struct! {
    /// The kernel's `struct termios` (TCGETS), which is not glibc's.
    pub struct Termios [36] {
        pub c_iflag: u32,
        pub c_oflag: u32,
        pub c_cflag: u32,
        pub c_lflag: u32,
        pub c_line: u8,
        pub c_cc: [u8; 19],
    }

    /// `struct termios2` (TCGETS2).
    pub struct Termios2 [44] {
        pub c_iflag: u32,
        pub c_oflag: u32,
        pub c_cflag: u32,
        pub c_lflag: u32,
        pub c_line: u8,
        pub c_cc: [u8; 19],
        pub c_ispeed: u32,
        pub c_ospeed: u32,
    }

    /// `struct termio` (TCGETA).
    pub struct Termio [18] {
        pub c_iflag: u16,
        pub c_oflag: u16,
        pub c_cflag: u16,
        pub c_lflag: u16,
        pub c_line: u8,
        pub c_cc: [u8; 8],
        pub _pad: u8,
    }
}

pub const VINTR: usize = 0;
pub const VQUIT: usize = 1;
pub const VERASE: usize = 2;
pub const VKILL: usize = 3;
pub const VEOF: usize = 4;
pub const VTIME: usize = 5;
pub const VMIN: usize = 6;
pub const VSWTC: usize = 7;
pub const VSTART: usize = 8;
pub const VSTOP: usize = 9;
pub const VSUSP: usize = 10;
pub const VEOL: usize = 11;
pub const VWERASE: usize = 14;
pub const VLNEXT: usize = 15;
pub const VEOL2: usize = 16;
pub const IGNBRK: u32 = 0x1;
pub const BRKINT: u32 = 0x2;
pub const IGNPAR: u32 = 0x4;
pub const PARMRK: u32 = 0x8;
pub const INPCK: u32 = 0x10;
pub const ISTRIP: u32 = 0x20;
pub const INLCR: u32 = 0x40;
pub const IGNCR: u32 = 0x80;
pub const ICRNL: u32 = 0x100;
pub const IXANY: u32 = 0x800;
pub const IUCLC: u32 = 0x200;
pub const IXON: u32 = 0x400;
pub const IXOFF: u32 = 0x1000;
pub const IMAXBEL: u32 = 0x2000;
pub const IUTF8: u32 = 0x4000;
pub const OPOST: u32 = 0x1;
pub const OLCUC: u32 = 0x2;
pub const ONLCR: u32 = 0x4;
pub const OCRNL: u32 = 0x8;
pub const ONOCR: u32 = 0x10;
pub const ONLRET: u32 = 0x20;
pub const OFILL: u32 = 0x40;
pub const OFDEL: u32 = 0x80;
pub const NLDLY: u32 = 0x100;
pub const CRDLY: u32 = 0x600;
pub const TABDLY: u32 = 0x1800;
pub const XTABS: u32 = 0x1800;
pub const BSDLY: u32 = 0x2000;
pub const VTDLY: u32 = 0x4000;
pub const FFDLY: u32 = 0x8000;
pub const TAB0: u32 = 0x0;
pub const TAB1: u32 = 0x800;
pub const TAB2: u32 = 0x1000;
pub const TAB3: u32 = 0x1800;
pub const CBAUD: u32 = 0x100f;
pub const CSIZE: u32 = 0x30;
pub const CS5: u32 = 0x0;
pub const CS6: u32 = 0x10;
pub const CS7: u32 = 0x20;
pub const CS8: u32 = 0x30;
pub const CSTOPB: u32 = 0x40;
pub const CREAD: u32 = 0x80;
pub const PARENB: u32 = 0x100;
pub const PARODD: u32 = 0x200;
pub const HUPCL: u32 = 0x400;
pub const CLOCAL: u32 = 0x800;
pub const CBAUDEX: u32 = 0x1000;
pub const BOTHER: u32 = 0x1000;
pub const B0: u32 = 0x0;
pub const B9600: u32 = 0xd;
pub const B19200: u32 = 0xe;
pub const B38400: u32 = 0xf;
pub const B57600: u32 = 0x1001;
pub const B115200: u32 = 0x1002;
pub const CIBAUD: u32 = 0x100f0000;
pub const CRTSCTS: u32 = 0x80000000;
pub const CMSPAR: u32 = 0x40000000;
pub const ISIG: u32 = 0x1;
pub const ICANON: u32 = 0x2;
pub const XCASE: u32 = 0x4;
pub const ECHO: u32 = 0x8;
pub const ECHOE: u32 = 0x10;
pub const ECHOK: u32 = 0x20;
pub const ECHONL: u32 = 0x40;
pub const NOFLSH: u32 = 0x80;
pub const TOSTOP: u32 = 0x100;
pub const ECHOCTL: u32 = 0x200;
pub const ECHOPRT: u32 = 0x400;
pub const ECHOKE: u32 = 0x800;
pub const FLUSHO: u32 = 0x1000;
pub const PENDIN: u32 = 0x4000;
pub const IEXTEN: u32 = 0x8000;
pub const EXTPROC: u32 = 0x10000;
pub const TCOOFF: u32 = 0;
pub const TCOON: u32 = 1;
pub const TCIOFF: u32 = 2;
pub const TCION: u32 = 3;
pub const TCIFLUSH: u32 = 0;
pub const TCOFLUSH: u32 = 1;
pub const TCIOFLUSH: u32 = 2;
pub const TCSANOW: u32 = 0;
pub const TCSADRAIN: u32 = 1;
pub const TCSAFLUSH: u32 = 2;
pub const TIOCPKT_DATA: u8 = 0;
pub const TIOCPKT_FLUSHREAD: u8 = 1;
pub const TIOCPKT_FLUSHWRITE: u8 = 2;
pub const TIOCPKT_STOP: u8 = 4;
pub const TIOCPKT_START: u8 = 8;
pub const TIOCPKT_NOSTOP: u8 = 16;
pub const TIOCPKT_DOSTOP: u8 = 32;
pub const TIOCPKT_IOCTL: u8 = 64;
pub const N_TTY: i32 = 0;
/// The character that disables a control character.
pub const POSIX_VDISABLE: u8 = 0;
/// `INIT_C_CC`: ^C ^\ DEL ^U ^D, VTIME 0, VMIN 1, VSWTC 0, ^Q ^S ^Z, VEOL 0, ^R ^O ^W ^V, VEOL2 0.
pub const INIT_C_CC: [u8; NCCS] = [
    3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0,
];

impl Termios {
    /// What a new terminal has (`tty_std_termios`).
    pub const STD: Termios = Termios {
        c_iflag: ICRNL | IXON,
        c_oflag: OPOST | ONLCR,
        c_cflag: B38400 | CS8 | CREAD | HUPCL,
        c_lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        c_line: 0,
        c_cc: INIT_C_CC,
    };
}
