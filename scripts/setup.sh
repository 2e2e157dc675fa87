#!/bin/bash
# Installs what building and testing need on a bare Debian 12 that has a Rust toolchain and gcc. Root; run it as often
# as you like: with everything in place it asks apt nothing. A third-party apt source that is broken or out of reach
# is not our business, so only a package that is missing at the end is an error.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive

packages=(
    make gcc libc6-dev debootstrap ca-certificates util-linux mount procps psmisc iproute2 uidmap tmux
)
# Nice to have: the tests and rows that need them say that they were skipped.
optional=(runc runsc strace docker.io containerd docker-compose podman)

missing() { for p; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"; done; }

need=$(missing "${packages[@]}")
want=$(missing "${optional[@]}")
stamp=${RUNSC_RS_CACHE:-/var/cache/runsc-rs}/.optional-asked
if [ -z "$need" ] && { [ -z "$want" ] || [ "${optional[*]}" = "$(cat "$stamp" 2>/dev/null)" ]; }; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
    echo "setup: not root, cannot install:" $need $want >&2
    [ -z "$need" ]
    exit
fi
apt-get update >/dev/null 2>&1 || echo "setup: apt-get update had errors (going on)" >&2
if [ -n "$need" ]; then
    apt-get install -y --no-install-recommends $need >/tmp/.runsc-rs-setup.log 2>&1 \
        || { tail -20 /tmp/.runsc-rs-setup.log >&2; echo "setup: could not install:" $(missing $need) >&2; exit 1; }
fi
for p in $want; do
    apt-get install -y --no-install-recommends "$p" >/dev/null 2>&1 || echo "setup: $p is not to be had; going on" >&2
done
mkdir -p "$(dirname "$stamp")" && echo "${optional[*]}" >"$stamp"
exit 0
