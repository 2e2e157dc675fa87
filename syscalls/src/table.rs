//! The macro behind every family's list.

/// How a trace shows an argument: as its type does, or as what stands behind `as`.
macro_rules! shown {
    ($arg:ident, $ty:ty) => {
        Arg {
            name: stringify!($arg),
            out: <$ty as $crate::args::FromArg>::OUT,
            show: <$ty as $crate::args::FromArg>::show,
        }
    };
    ($arg:ident, $ty:ty, $show:ty) => {
        Arg {
            name: stringify!($arg),
            out: <$show as $crate::strace::show::Show>::OUT,
            show: <$show as $crate::strace::show::Show>::show,
        }
    };
}

/// `NUMBER name(arg: Type as Shown, …) => handler, Support;` — see the crate's overview.
macro_rules! calls {
    ($($nr:ident $name:ident ( $($arg:ident : $ty:ty $(as $show:ty)?),* $(,)? ) => $handler:path, $support:expr;)*) => {{
        #[allow(unused_imports)]
        use $crate::strace::show::*;
        #[allow(unused_imports)]
        use sentry::syscall::{Arg, Support::{self, *}, Syscall};
        static ALL: &[Syscall] = &[$(
            Syscall {
                nr: abi::nr::$nr as u32,
                name: stringify!($name),
                #[allow(unused_variables, unused_mut)]
                call: |cx, raw| {
                    let mut raw = raw.iter().copied();
                    $(let $arg = <$ty as $crate::args::FromArg>::from_raw(raw.next().unwrap_or(0))?;)*
                    $handler(cx, $($arg),*)
                },
                args: &[$(shown!($arg, $ty $(, $show)?)),*],
                support: $support,
            },
        )*];
        ALL
    }};
}
