#!/bin/bash
# `make run`: one real container on this machine's own root, with what ran, on which platform, and what its start took.
set -euo pipefail
bin=${1:-bin/runsc-rs}
ms() { echo $(($(date +%s%N) / 1000000)); }

t0=$(ms)
started=$("$bin" do /bin/date +%s%N)
t1=$(ms)
echo "started in $((started / 1000000 - t0)) ms, whole command $((t1 - t0)) ms: $bin do /bin/date"
set -x
exec "$bin" do /bin/sh -c 'echo "pid $$ on $(uname -sr), user $(id -un)"; uname -v; ls -d /etc /proc/self; ps -ef 2>/dev/null || true'
