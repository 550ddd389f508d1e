#!/usr/bin/env bash
# Installs the package in a fresh Debian 12 whose process 1 is a real systemd, in namespaces of its
# own, and tries what the unit promises. Needs root, debootstrap and a few minutes; `make deb-check`.
set -euo pipefail
deb=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
root=$(mktemp -d /tmp/weir-package-XXXXXX)
log="$root.log"
# It becomes the root folder of a system with other users.
chmod 755 "$root"
include=systemd,systemd-sysv,dbus,curl,libssl3,libnghttp2-14,libpcre2-8-0,libc-ares2,libstdc++6
debootstrap --variant=minbase --include="$include" bookworm "$root" ${MIRROR:+"$MIRROR"} >"$log"
install -D -t "$root/root" "$deb" "$here/inside.sh"

# What a container runtime does; all of it goes with the namespaces.
unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child bash -euc '
  mount --make-rprivate /
  mount --bind "$0" "$0"
  mount -t proc proc "$0/proc"
  mount -t sysfs -o ro sysfs "$0/sys"
  mount -t cgroup2 none "$0/sys/fs/cgroup"
  mount -t tmpfs tmpfs "$0/run"
  mount -t devtmpfs none "$0/dev" && mkdir -p "$0/dev/pts" "$0/dev/shm"
  ip link set lo up
  exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$0" /lib/systemd/systemd --log-target=null' "$root" &
boot=$!
end() { kill -KILL "$boot" 2>/dev/null || true; wait "$boot" 2>/dev/null || true; rm -rf "$root" "$log"; }
trap end EXIT

# The system's process 1 is the only child of `unshare`.
for _ in $(seq 100); do
  first=$(pgrep -P "$boot" || true)
  [ -n "$first" ] && [ -S "$root/run/systemd/private" ] && break
  [ -n "$first" ] && nsenter -t "$first" -m --root test -S /run/systemd/private && break
  sleep 0.1
done
nsenter -t "$first" -m -p -n -u -i -C --root --wd=/ \
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash /root/inside.sh "$(basename "$deb")"
