//! The macro behind every family's list.

/// `NUMBER name(arg: Type, …) => handler, Support;` — see the crate's overview.
macro_rules! calls {
    ($($nr:ident $name:ident ( $($arg:ident : $ty:ty),* $(,)? ) => $handler:path, $support:expr;)*) => {{
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
                args: &[$(Arg { name: stringify!($arg), out: <$ty as $crate::args::FromArg>::OUT, show: <$ty as $crate::args::FromArg>::show }),*],
                support: $support,
            },
        )*];
        ALL
    }};
}
