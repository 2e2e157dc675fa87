#!/bin/bash
# Makes the Debian 12 root filesystem that tests and benches run in, once, and prints its path as the last line.
#
# It is kept outside the tree, in ${RUNSC_RS_CACHE:-/var/cache/runsc-rs}/rootfs-HASH, where HASH is that of this
# script: change the package list and a new one is made. ${RUNSC_RS_CACHE}/rootfs points at the newest.
# Needs root, debootstrap, and a Debian mirror: the one that apt on this machine is configured with.
set -euo pipefail

cache=${RUNSC_RS_CACHE:-/var/cache/runsc-rs}
hash=$(sha256sum "$0" | cut -c1-12)
root=$cache/rootfs-$hash
suite=bookworm

# What the whole-program tests run, and what a guest test may want to look at itself with.
packages=(
    python3 perl gcc libc6-dev make git nodejs default-jdk-headless
    redis-server redis-tools nginx-light curl postgresql sqlite3
    tmux busybox-static stress-ng procps psmisc iproute2 util-linux bsdextrautils
    strace libcap2-bin attr acl netcat-openbsd bc time xz-utils bzip2 iperf3 ca-certificates
)

say() { echo "rootfs: $*" >&2; }
done_with() { ln -sfn "rootfs-$hash" "$cache/rootfs"; echo "$root"; exit 0; }

[ "$(id -u)" = 0 ] || { say "must be root (debootstrap and chroot)"; exit 1; }
mkdir -p "$cache"
if [ -e "$root/.complete" ]; then done_with; fi
exec 9>"$cache/.lock"
flock 9
if [ -e "$root/.complete" ]; then done_with; fi

# The mirrors of the Debian suites that apt knows, as "uri suite component" lines.
mirrors() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | sort -u
}
mirror=$(mirrors | awk -v s=$suite '$2 == s && $3 == "main" { print $1; exit }')
if [ -z "$mirror" ]; then
    say "apt on this machine has no source for Debian $suite main"
    exit 1
fi

tmp=$cache/.making-$hash
unmount() { for m in dev/pts dev proc; do mountpoint -q "$tmp/$m" && umount -l "$tmp/$m"; done; true; }
trap unmount EXIT
unmount
rm -rf --one-file-system "$tmp"

say "debootstrap of $suite (once; several minutes)"
debootstrap --variant=minbase "$suite" "$tmp" "$mirror" >&2

# apt inside uses the same mirrors and proxies as apt outside.
mirrors | awk -v s=$suite '$2 ~ "^" s "(-updates|-security)?$" && $3 == "main" { print "deb", $1, $2, $3 }' \
    > "$tmp/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::(http|https)::(Proxy|Timeout)' > "$tmp/etc/apt/apt.conf.d/90host" || true
cp -L /etc/resolv.conf "$tmp/etc/resolv.conf"
# No service starts while packages are set up.
printf '#!/bin/sh\nexit 101\n' > "$tmp/usr/sbin/policy-rc.d"
chmod 755 "$tmp/usr/sbin/policy-rc.d"

mount -t proc proc "$tmp/proc"
mount --rbind /dev "$tmp/dev"
mount --make-rslave "$tmp/dev"
in_root() { chroot "$tmp" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root "$@"; }
in_root apt-get update >&2
in_root apt-get install -y --no-install-recommends "${packages[@]}" >&2
in_root apt-get clean

# What a container would have: no identity of the machine that made it.
umount -l "$tmp/dev" "$tmp/proc"
rm -f "$tmp/usr/sbin/policy-rc.d" "$tmp/etc/apt/apt.conf.d/90host"
rm -rf "$tmp"/var/lib/apt/lists/* "$tmp"/var/cache/debootstrap "$tmp"/var/log/*.log
: > "$tmp/etc/machine-id"
echo runsc-rs > "$tmp/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$tmp/etc/hosts"
: > "$tmp/etc/resolv.conf"
mkdir -p "$tmp/guest" "$tmp/work"
touch "$tmp/.complete"
mv "$tmp" "$root"
say "made $root ($(du -shx "$root" | cut -f1))"
done_with
