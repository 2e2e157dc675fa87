//! Ranges and defaults of options.

use super::*;

fn options(family: Family, stream: bool) -> Options {
    Options::new(family, stream, &Settings::default())
}

#[test]
fn numbers_have_linux_ranges_and_defaults() {
    // level, name, default, then what to set and what comes of it
    type Sets = &'static [(i32, Result<i32>)];
    let table: &[(i32, i32, i32, Sets)] = &[
        (SOL_TCP, TCP_NODELAY, 0, &[(5, Ok(1)), (0, Ok(0))]),
        (
            SOL_TCP,
            TCP_KEEPIDLE,
            7200,
            &[
                (0, Err(Errno::EINVAL)),
                (1, Ok(1)),
                (32768, Err(Errno::EINVAL)),
            ],
        ),
        (
            SOL_TCP,
            TCP_KEEPCNT,
            9,
            &[(128, Err(Errno::EINVAL)), (127, Ok(127))],
        ),
        (
            SOL_TCP,
            TCP_MAXSEG,
            536,
            &[(87, Err(Errno::EINVAL)), (1400, Ok(1400))],
        ),
        (
            SOL_IP,
            IP_TTL,
            64,
            &[
                (0, Err(Errno::EINVAL)),
                (255, Ok(255)),
                (-1, Ok(64)),
                (256, Err(Errno::EINVAL)),
            ],
        ),
        (SOL_IP, IP_TOS, 0, &[(0x13, Ok(0x10))]),
        (
            SOL_IP,
            IP_MTU_DISCOVER,
            1,
            &[(6, Err(Errno::EINVAL)), (2, Ok(2))],
        ),
        (
            SOL_SOCKET,
            SO_PRIORITY,
            0,
            &[(7, Err(Errno::EPERM)), (6, Ok(6))],
        ),
        (
            SOL_SOCKET,
            SO_SNDBUF,
            16384,
            &[
                (1, Ok(4608)),
                (65536, Ok(131_072)),
                (1 << 30, Ok(425_984)),
                (-1, Ok(425_984)),
            ],
        ),
        (
            SOL_SOCKET,
            SO_RCVBUF,
            131_072,
            &[(1, Ok(2304)), (65536, Ok(131_072))],
        ),
        (
            SOL_SOCKET,
            SO_RCVLOWAT,
            1,
            &[(0, Ok(1)), (-1, Ok(i32::MAX)), (9, Ok(9))],
        ),
    ];
    for (level, name, default, sets) in table {
        let mut o = options(Family::Inet, true);
        assert_eq!(
            o.get(*level, *name, 4).map(|v| int(&v)),
            Ok(Ok(*default)),
            "{level} {name}"
        );
        for (value, result) in *sets {
            let set = o.set(*level, *name, value.as_bytes(), &Settings::default());
            assert_eq!(
                set.map(|()| int(&o.get(*level, *name, 4).unwrap()).unwrap()),
                *result,
                "{level} {name} {value}"
            );
        }
    }
}

#[test]
fn an_option_belongs_to_a_kind_of_socket() {
    let one = 1i32.as_bytes();
    let table = [
        (
            Family::Inet,
            true,
            SOL_IPV6,
            IPV6_V6ONLY,
            Err(Errno::ENOPROTOOPT),
        ),
        (Family::Inet6, true, SOL_IPV6, IPV6_V6ONLY, Ok(())),
        (Family::Inet6, true, SOL_IP, IP_TTL, Ok(())),
        (
            Family::Inet,
            false,
            SOL_TCP,
            TCP_NODELAY,
            Err(Errno::ENOPROTOOPT),
        ),
        (
            Family::Inet,
            true,
            SOL_IP,
            IP_MULTICAST_TTL,
            Err(Errno::EINVAL),
        ),
        (
            Family::Inet,
            true,
            SOL_SOCKET,
            9999,
            Err(Errno::ENOPROTOOPT),
        ),
        (Family::Inet, true, SOL_TCP, TCP_ULP, Err(Errno::ENOENT)),
    ];
    for (family, stream, level, name, result) in table {
        assert_eq!(
            options(family, stream).set(level, name, one, &Settings::default()),
            result,
            "{level} {name}"
        );
    }
    assert_eq!(
        options(Family::Inet, true).set(SOL_TCP, TCP_NODELAY, &[1], &Settings::default()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        options(Family::Inet, true).set(SOL_IP, IP_TTL, &[9], &Settings::default()),
        Ok(())
    );
}

#[test]
fn times_and_lingering() {
    let mut o = options(Family::Inet, true);
    let set = |o: &mut Options, sec, usec| {
        o.set(
            SOL_SOCKET,
            SO_RCVTIMEO,
            Timeval {
                tv_sec: sec,
                tv_usec: usec,
            }
            .as_bytes(),
            &Settings::default(),
        )
    };
    assert_eq!(
        (set(&mut o, 1, 500_000), o.timeouts.receive),
        (Ok(()), Some(1_500_000_000))
    );
    assert_eq!(
        o.get(SOL_SOCKET, SO_RCVTIMEO, 16),
        Ok(Timeval {
            tv_sec: 1,
            tv_usec: 500_000
        }
        .as_bytes()
        .to_vec())
    );
    assert_eq!((set(&mut o, 0, 0), o.timeouts.receive), (Ok(()), None));
    assert_eq!((set(&mut o, -1, 0), o.timeouts.receive), (Ok(()), Some(0)));
    assert_eq!(set(&mut o, 0, 1_000_000), Err(Errno::EDOM));
    o.set(
        SOL_SOCKET,
        SO_LINGER,
        Linger {
            l_onoff: 1,
            l_linger: 0,
        }
        .as_bytes(),
        &Settings::default(),
    )
    .unwrap();
    assert_eq!(o.linger, Some(0));
}
