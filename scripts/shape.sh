#!/bin/bash
# The shape of the code, as far as it can be counted: dependency arrows, the home of unsafe, where locks come from.
# Fails on a broken rule; prints the share of unsafe crates and the longest files.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
fail() { echo "shape: $*" >&2; bad=1; }

# 1. Arrows: runsc-rs -> syscalls -> sentry -> {netstack, fs -> gofer, platform} -> {sync, abi}. Never up or sideways.
declare -A may=(
    [abi]="" [sync]="" [platform]="abi sync" [netstack]="abi sync" [gofer]="abi sync" [fs]="abi sync gofer"
    [sentry]="abi sync platform netstack gofer fs" [syscalls]="abi sync platform netstack gofer fs sentry"
    [runsc-rs]="abi sync platform netstack gofer fs sentry syscalls"
    [shim]=""
    [tests]="abi sync platform netstack gofer fs sentry syscalls runsc-rs"
)
for crate in "${!may[@]}"; do
    # [dependencies] and friends, not [dev-dependencies]
    deps=$(awk '/^\[/ { in_deps = ($0 ~ /dependencies/ && $0 !~ /dev-dependencies/) } in_deps && /^[a-z]/ { sub(/[.= ].*/, ""); print }' "$crate/Cargo.toml")
    for d in $deps; do
        [ -n "${may[$d]+x}" ] || continue
        [[ " ${may[$crate]} " == *" $d "* ]] || fail "arrow $crate -> $d is not allowed"
    done
done

# 2. Unsafe: forbidden in the safe crates; its crates stay a small share of the code.
for c in abi fs netstack sentry syscalls gofer shim; do
    grep -qs 'forbid(unsafe_code)' "$c/src/lib.rs" "$c/src/main.rs" || fail "$c does not forbid unsafe_code"
done
code_lines() { # blank lines and comment lines do not count
    find "$@" -name '*.rs' -print0 2>/dev/null | xargs -0 -r cat | grep -cvE '^\s*(//.*)?$'
}
all=$(code_lines abi sync platform gofer fs netstack sentry syscalls runsc-rs)
open=$(code_lines sync platform)
blocks=$(grep -rnE '\bunsafe\s*(\{|impl|fn)' --include=*.rs platform sync runsc-rs 2>/dev/null | wc -l)
share=$((all > 0 ? open * 1000 / all : 0))
echo "unsafe: crates that allow it hold $open of $all code lines, $((share / 10)).$((share % 10)) % (limit 15 %); $blocks unsafe blocks, impls and fns"
if [ "$all" -gt 20000 ] && [ "$share" -gt 150 ]; then fail "crates that allow unsafe are over 15 % of the code"; fi
stray=$(grep -rlE '\bunsafe\s*\{' --include=*.rs runsc-rs 2>/dev/null | sort)
[ "$(echo "$stray" | grep -c .)" -le 1 ] || fail "unsafe in more than one module of runsc-rs: $(echo $stray)"

# 3. Locks and threads come from `sync` alone in all code that runs in the sandbox's process, so that their state can live in
#    shared memory. Unit tests, at the end of a file, may use what they like.
kernel="fs/src netstack/src sentry/src syscalls/src platform/src gofer/src/client.rs gofer/src/client"
hits=$(find $kernel -name '*.rs' -print0 2>/dev/null | xargs -0 -r awk '
    FNR == 1 { skip = FILENAME ~ /\/tests(\.rs|\/)/ }
    /^#\[cfg\(test\)\]/ { skip = 1 }
    skip || /^[ \t]*\/\// { next }
    /std::sync::([{][^}]*[ {,])?(Mutex|RwLock|Condvar|Once|OnceLock|LazyLock|Barrier|mpsc)/ || /parking_lot/ || /std::thread/ || /thread_local!/ {
        print FILENAME ":" FNR ": " $0
    }')
[ -z "$hits" ] || { fail "locks or threads that are not from sync:"; echo "$hits" >&2; }

# 4. File sizes.
echo "longest files (aim at 300, look twice at 600):"
git ls-files '*.rs' | while read -r f; do [ -f "$f" ] && echo "$(wc -l < "$f") $f"; done | sort -rn | head -12 | sed 's/^/  /'
exit $bad
