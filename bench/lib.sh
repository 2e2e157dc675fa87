# Functions of run.sh: how each runner runs a command, what is measured around sandboxes, and the table.

# A bundle with an overlay of the test root filesystem, for one runner. /tmp is the container's root, not a tmpfs.
make_bundle() {
    local b=$dir/$1
    mkdir -p "$b"/{upper,work,rootfs,state}
    mount -t overlay overlay -o "lowerdir=$dir/layer:$root,upperdir=$b/upper,workdir=$b/work" "$b/rootfs"
    mkdir -p "$b/rootfs/tmp"
    if [ "$1" = native ]; then
        mount -t proc proc "$b/rootfs/proc"
        mount --rbind /dev "$b/rootfs/dev"
    fi
}
config() { # arguments as JSON
    local args= caps='"CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_SETGID","CAP_SETUID","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT"'
    for a; do a=${a//\\/\\\\}; args+="${args:+,}\"${a//\"/\\\"}\""; done
    cat << END
{"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},"args":[$args],"cwd":"/",
"env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOME=/root","LC_ALL=C.UTF-8"],
"capabilities":{"bounding":[$caps],"effective":[$caps],"permitted":[$caps]}},
"root":{"path":"rootfs"},"hostname":"bench","mounts":[{"destination":"/proc","type":"proc","source":"proc"},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]},
{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance","ptmxmode=0666"]},
{"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["mode=1777"]}],
"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"network"}]}}
END
}
runtime_of() { # the command line of a runner's runtime, up to the verb
    case $1 in
    runc) echo "runc --root $dir/runc/state" ;;
    runsc) echo "runsc --root $dir/runsc/state --platform=ptrace --network=none --ignore-cgroups" ;;
    ours-*) echo "$bin --root $dir/$1/state --platform=${1#ours-}" ;;
    esac
}
next_id=0
in_runner() { # SECONDS RUNNER COMMAND…
    local limit=$1 r=$2 run
    shift 2
    if [ "$r" = native ]; then
        run=(unshare --pid --fork --kill-child chroot "$dir/native/rootfs" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@")
    else
        config "$@" > "$dir/$r/config.json"
        run=($(runtime_of "$r") run --bundle "$dir/$r" "b$$-$RANDOM-$((next_id++))")
    fi
    timeout -k 5 "$limit" "${run[@]}" < /dev/null
}

check_runners() {
    local ok=()
    for r in "${runners[@]}"; do
        if [ "$(in_runner 30 "$r" /bin/echo works 2> "$dir/err")" = works ]; then ok+=("$r"); else say "$r does not run here, left out: $(tail -1 "$dir/err")"; fi
    done
    runners=("${ok[@]}")
}

call_rows() { # SECTION RUNNER: every row of mb.c
    [ -n "$mb" ] || return
    say "$1, repetition $rep of $reps, $2"
    in_runner 900 "$2" /guest/mb -r 2 $rows 2> /dev/null | awk -v s="$1" -v r="$2" '$2 + 0 > 0 { print s "\t" $1 "\t" r "\t" $2 }' >> "$results"
}
with_busy_loops() { # COMMAND…: runs it while two loops compute
    local loops=() i
    for i in 1 2; do
        while :; do :; done &
        loops+=($!)
    done
    "$@"
    kill "${loops[@]}"
    wait "${loops[@]}" 2> /dev/null
}

ns() { date +%s%N; }
put() { printf '%s\t%s\t%s\t%s\n' "$@" >> "$results"; }
start_rows() { # whole command of /bin/true, one by one, and two at a time
    local r=$1 n=10 i t0
    [ -n "$quick" ] && n=3
    config /bin/true > "$dir/$r/config.json" 2> /dev/null
    once() { if [ "$r" = native ]; then chroot "$dir/native/rootfs" /bin/true; else $(runtime_of "$r") run --bundle "$dir/$r" "$1" > /dev/null 2>&1; fi; }
    say "start, $r"
    for i in $(seq 1 $n); do
        t0=$(ns)
        once "t$$-$rep-$i"
        put start "run /bin/true, whole command (ms)" "$r" "$(awk "BEGIN { print ($(ns) - $t0) / 1e6 }")"
    done
    t0=$(ns)
    for w in 1 2; do (for i in $(seq 1 $n); do once "u$$-$rep-$w-$i"; done) & pids[w]=$!; done
    wait "${pids[1]}" "${pids[2]}"
    put start "sandboxes per second, two at a time" "$r" "$(awk "BEGIN { print 2 * $n / (($(ns) - $t0) / 1e9) }")"
}

# Every process that a sandbox of ours consists of: descendants of PID, and what those left behind in its cgroup or
# session. Found by what is new since `before` and runs the runtime's binary, or descends from PID.
new_processes() { # PID BINARY BEFORE
    local p
    for p in $(ps -e -o pid=); do
        grep -qx "$p" <<< "$3" && continue
        case $(readlink "/proc/$p/exe" 2> /dev/null) in "$2"* | /memfd:*) echo "$p" && continue ;; esac
        local q=$p
        while [ -n "$q" ] && [ "$q" -gt 1 ]; do [ "$q" = "$1" ] && { echo "$p"; break; }; q=$(awk '{ sub(/.*\) /, ""); print $2 }' "/proc/$q/stat" 2> /dev/null); done
    done | sort -un
}
idle_rows() { # PSS of everything but the waiting CLI, and its CPU ticks while nothing happens
    local r=$1 before cli seconds=60 pss ticks0 ticks1 all
    [ "$r" = native ] && return
    [ -n "$quick" ] && seconds=5
    say "idle, $r ($seconds s)"
    before=$(ps -e -o pid=)
    config /bin/sleep 1000 > "$dir/$r/config.json"
    $(runtime_of "$r") run --bundle "$dir/$r" "idle$$" > /dev/null 2>&1 &
    cli=$!
    sleep 3
    all=$(new_processes "$cli" "$(readlink -f "$(command -v "$(runtime_of "$r" | cut -d' ' -f1)")")" "$before" | grep -vx "$cli")
    pss=$(for p in $all; do awk '/^Pss:/ { print $2 }' "/proc/$p/smaps_rollup" 2> /dev/null; done | awk '{ s += $1 } END { print s / 1024 }')
    ticks() { for p in $all; do awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$p/stat" 2> /dev/null; done | awk '{ s += $1 } END { print s + 0 }'; }
    ticks0=$(ticks)
    sleep $seconds
    ticks1=$(ticks)
    put idle "PSS of an idle sandbox without its CLI (MiB)" "$r" "$pss"
    put idle "its host processes" "$r" "$(wc -w <<< "$all")"
    put idle "CPU ticks of an idle sandbox in $seconds s" "$r" "$((ticks1 - ticks0))"
    $(runtime_of "$r") kill "idle$$" KILL > /dev/null 2>&1
    wait $cli 2> /dev/null
    $(runtime_of "$r") delete --force "idle$$" > /dev/null 2>&1
}

report() {
    echo "# bench, $(date -u +%F), $(uname -sr), $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)"
    echo
    echo "$reps repetitions, interleaved; median (smallest–largest); × is the ratio to native of the same run."
    echo "Load average at the end: $(cut -d' ' -f1-3 /proc/loadavg)."
    for s in calls loaded programs start idle; do
        wants $s && grep -q "^$s" "$results" || continue
        echo
        echo "## $s$([ $s = calls ] && echo ' (ns per operation)')$([ $s = loaded ] && echo ' (ns per operation, beside two busy loops)')$([ $s = programs ] && echo ' (s, or per s where it says so)')"
        echo
        awk -F'\t' -v s=$s -v runners="${runners[*]}" '
            function num(x) { return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x) }
            $1 == s { if (!(seen[$2]++)) order[++rows] = $2; k = $2 SUBSEP $3; v[k, ++n[k]] = $4 + 0 }
            function median(k,   i, j, t, c) {
                c = n[k]
                for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (v[k, j] < v[k, i]) { t = v[k, i]; v[k, i] = v[k, j]; v[k, j] = t }
                return c % 2 ? v[k, (c + 1) / 2] : (v[k, c / 2] + v[k, c / 2 + 1]) / 2
            }
            END {
                m = split(runners, R, " ")
                printf "| row |"; for (i = 1; i <= m; i++) printf " %s |", R[i]; print ""
                printf "|---|"; for (i = 1; i <= m; i++) printf "---|"; print ""
                for (q = 1; q <= rows; q++) {
                    printf "| %s |", order[q]
                    base = order[q] SUBSEP "native"; b = (base in n) ? median(base) : 0
                    for (i = 1; i <= m; i++) {
                        k = order[q] SUBSEP R[i]
                        if (!(k in n)) { printf " – |"; continue }
                        x = median(k)
                        printf " %s", num(x); if (n[k] > 1) printf " (%s–%s)", num(v[k, 1]), num(v[k, n[k]])
                        if (b > 0 && R[i] != "native") printf " ×%s", num(x / b)
                        printf " |"
                    }
                    print ""
                }
            }' "$results"
    done
}
