#!/bin/bash
# Runs a command on another kernel: Debian 12's own (6.1, cgroup v2 alone), in a virtual machine whose root is this machine's, read-only under a tmpfs. For what must hold
# on hosts that this one is not. The processor is emulated: a start takes ten seconds, and everything some ten times as long as here. Root, to read every file.
#
#   scripts/vm.sh COMMAND [ARG…]        its output and its exit status; 125 if the machine did not come to run it
#   scripts/vm.sh                       only sees to it that there is all that a machine needs
#
# RUNSC_RS_VM_MEMORY: MiB (2048). The kernel is fetched once with apt-get and kept in the cache.
set -euo pipefail
cache=${RUNSC_RS_CACHE:-/var/cache/runsc-rs}/vm/debian-12

fail() { echo "vm: $*" >&2; exit 125; }

install() {
    command -v qemu-system-x86_64 >/dev/null && command -v busybox >/dev/null && return
    apt-get install -y --no-install-recommends qemu-system-x86 busybox-static >/dev/null 2>&1 || fail "cannot install qemu-system-x86, busybox-static"
}

# A module and before it what it needs, in insmod's order. What is built in has no file.
add() {
    local file dependence
    file=$(find "$new/package/lib/modules" -name "$1.ko")
    [ -n "$file" ] && [ ! -e "$new/modules/$1.ko" ] || return 0
    for dependence in $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',' ' '); do add "$dependence"; done
    cp "$file" "$new/modules/"
    echo "$1" >>"$new/modules/order"
}

# Into $cache: the kernel, and the modules by which it sees its root.
fetch() {
    [ ! -e "$cache" ] || return 0
    local package name
    mkdir -p "$(dirname "$cache")"
    new=$(mktemp -d "$cache.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
    [ -n "$package" ] || fail "apt knows no linux-image-amd64"
    (cd "$new" && apt-get -o APT::Sandbox::User=root download "$package" >/dev/null 2>&1) || fail "cannot download $package"
    mkdir "$new/package" "$new/modules"
    dpkg-deb -x "$new"/*.deb "$new/package"
    for name in virtio_pci 9pnet_virtio 9p overlay; do add "$name"; done
    mv "$new"/package/boot/vmlinuz-* "$new/vmlinuz"
    rm -rf "$new"/*.deb "$new/package"
    mv "$new" "$cache"
}

install
exec 9>"/run/lock/runsc-rs-vm"
flock 9
fetch
flock -u 9
[ $# -gt 0 ] || exit 0

run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
mkdir "$run/root"
cp -r "$cache/modules" "$(command -v busybox)" "$run/root/"
cat >"$run/root/init" <<'INIT'
#!/busybox sh
b=/busybox
$b mkdir -p /proc /dev /host /new /tmpfs
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
while read -r m; do $b insmod /modules/$m.ko; done </modules/order
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
$b mount -t tmpfs -o size=75% tmpfs /tmpfs
$b mkdir /tmpfs/upper /tmpfs/work
$b mount -t overlay -o lowerdir=/host,upperdir=/tmpfs/upper,workdir=/tmpfs/work overlay /new
for d in proc sys dev run tmp; do $b mount -t tmpfs tmpfs /new/$d; done
$b mount -t proc proc /new/proc
$b mount -t sysfs sysfs /new/sys
$b mount -t devtmpfs dev /new/dev
$b mkdir -p /new/dev/pts /new/dev/shm /new/run/lock
$b mount -t devpts -o ptmxmode=0666 devpts /new/dev/pts
$b mount -t tmpfs tmpfs /new/dev/shm
$b mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$b mkdir /new/sys/fs/cgroup/init
echo 1 >/new/sys/fs/cgroup/init/cgroup.procs
for c in $($b cat /new/sys/fs/cgroup/cgroup.controllers); do echo "+$c" >/new/sys/fs/cgroup/cgroup.subtree_control; done
$b cp /command /new/run/command
exec $b switch_root -c /dev/ttyS0 /new /bin/bash /run/command
INIT
chmod +x "$run/root/init"
{
    printf 'cd %q; export RUNSC_RS_CACHE=%q PATH=%q\n' "$PWD" "${RUNSC_RS_CACHE:-/var/cache/runsc-rs}" "$PATH"
    for v in $(compgen -e RUNSC_RS); do printf 'export %s=%q\n' "$v" "${!v}"; done
    # An overlay is not to have its upper layer on another: the tests' own are on a tmpfs.
    printf 'ip link set lo up; mkdir -p "$RUNSC_RS_CACHE/work"; mount -t tmpfs tmpfs "$RUNSC_RS_CACHE/work"; exec </dev/null\n'
    printf '%q ' "$@"
    # On a line of its own, behind whatever the command left unfinished.
    printf '\nprintf "\\nvm: exit %%d\\n" $?\nsync; exec %q poweroff -f\n' "$(command -v busybox)"
} >"$run/root/command"
(cd "$run/root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$run/initrd"

qemu-system-x86_64 -nodefaults -no-reboot -display none -m "${RUNSC_RS_VM_MEMORY:-2048}" -smp 2 -accel tcg,thread=multi -cpu max \
    -kernel "$cache/vmlinuz" -initrd "$run/initrd" -append "console=ttyS0 quiet panic=-1 rdinit=/init" \
    -serial "file:$run/out" \
    -virtfs local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap 9>&- &
qemu=$!
trap 'kill $qemu 2>/dev/null || true; rm -rf "$run"' EXIT
wait $qemu || fail "the machine: $?"
tr -d '\r' <"$run/out" | sed '/^vm: exit [0-9]*$/d'
status=$(tr -d '\r' <"$run/out" | sed -n 's/^vm: exit \([0-9]*\)$/\1/p' | tail -n 1)
exit "${status:-125}"
