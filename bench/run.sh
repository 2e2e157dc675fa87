#!/bin/bash
# The rows of DESIGN's budget tables, measured side by side in one interleaved run, as markdown on stdout.
#
#   bench/run.sh [-n REPETITIONS] [-r ROW,ROW…] [-p PLATFORM,…] [-s SECTION,…] [-q]
#
# Runners: native (a chroot), runc and Debian's runsc where installed, and ours, once per platform.
# Sections: calls (mb.c, one row per operation), loaded (the same beside two busy loops), programs (whole programs), start (sandboxes),
# idle (memory and CPU).
# -q: one repetition of everything, to see that it works. It never asserts on time: it prints.
# Needs root and the test root filesystem (scripts/rootfs.sh). The yardstick of the calls section, mb.c, is looked for
# in $MB_C, bench/mb.c and ../shared/bench/mb.c; without it these sections are left out, which is said.
set -uo pipefail
cd "$(dirname "$0")/.."
top=$PWD
reps=5 rows= platforms=${RUNSC_RS_PLATFORMS:-systrap,ptrace} sections= quick=
while getopts n:r:p:s:qh o; do
    case $o in
    n) reps=$OPTARG ;; r) rows=${OPTARG//,/ } ;; p) platforms=$OPTARG ;; s) sections=$OPTARG ;; q) quick=1 reps=1 ;;
    *) sed -n '2,13s/^# \?//p' "$0"; exit 2 ;;
    esac
done
[ -n "$sections" ] || { [ -n "$rows" ] && sections=calls; } || sections=calls,loaded,programs,start,idle
[ "$(id -u)" = 0 ] || { echo "bench: must be root" >&2; exit 1; }
if [ -z "${RUNSC_RS_BENCH:-}" ]; then # mounts of ours end with us
    RUNSC_RS_BENCH=1 exec unshare --mount --propagation private "$0" "$@"
fi
bin=${RUNSC_RS:-$top/bin/runsc-rs}
root=$(readlink -f "${RUNSC_RS_CACHE:-/var/cache/runsc-rs}/rootfs")
[ -e "$root/.complete" ] || { echo "bench: no root filesystem (make rootfs)" >&2; exit 1; }
dir=$(mktemp -d "${RUNSC_RS_CACHE:-/var/cache/runsc-rs}/bench-XXXXXX")
results=$dir/results
: > "$results"
trap 'kill $(jobs -p) 2>/dev/null; umount -R "$dir"/*/rootfs 2>/dev/null; rm -rf --one-file-system "$dir"' EXIT

runners=(native)
command -v runc > /dev/null && runners+=(runc)
command -v runsc > /dev/null && runners+=(runsc)
if [ -x "$bin" ]; then for p in ${platforms//,/ }; do runners+=("ours-$p"); done; else echo "bench: no $bin (make build): ours is left out" >&2; fi
say() { echo "bench: $*" >&2; }
wants() { [[ ,$sections, == *,$1,* ]]; }
. bench/lib.sh

mb=
for c in "${MB_C:-}" bench/mb.c ../shared/bench/mb.c; do
    [ -n "$c" ] && [ -e "$c" ] && { mkdir -p "$dir/layer/guest" && gcc -O2 -w -static -pthread "$c" -o "$dir/layer/guest/mb" && mb=$c; break; }
done
mkdir -p "$dir/layer/guest" && cp -r bench/programs "$dir/layer/guest/"
for r in "${runners[@]}"; do make_bundle "$r"; done
check_runners

if [ -z "$mb" ] && { wants calls || wants loaded; }; then say "no mb.c: the calls and loaded sections are left out"; fi
for rep in $(seq 1 "$reps"); do
    for r in "${runners[@]}"; do
        wants calls && call_rows calls "$r"
        wants loaded && with_busy_loops call_rows loaded "$r"
        if wants programs; then
            for p in bench/programs/*.sh; do
                name=$(basename "$p" .sh)
                say "program $name, repetition $rep of $reps, $r"
                in_runner 300 "$r" /bin/bash "/guest/programs/$name.sh" 2> /dev/null | awk -v r="$r" -v n="$name" '$1 == "row" { print "programs\t" n ($4 ? " " $4 : "") "\t" r "\t" $2 }' >> "$results"
            done
        fi
        wants start && start_rows "$r"
    done
done
wants idle && for r in "${runners[@]}"; do idle_rows "$r"; done
report
