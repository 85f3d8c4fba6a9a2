#!/bin/sh
# The first process of a test node, before systemd: it makes of an nspawn container what a machine of its own has.
set -e
umask 022
mount --make-rprivate /
own=/run/nodekiln-test
mkdir -p $own/cgroup $own/live $own/copy

# nspawn mounts the caller's sysfs before it enters the network namespace.
mount --rbind /sys/fs/cgroup $own/cgroup
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /sys
mount --rbind $own/cgroup /sys/fs/cgroup
umount -R $own/cgroup

# nspawn mounts version 1 controllers read-only; in the node's own cgroup namespace they may be written.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    mount -o remount,rw /sys/fs/cgroup
    for dir in /sys/fs/cgroup/*/; do
        dir=${dir%/}
        [ -L "$dir" ] && continue
        case ${dir##*/} in
        unified) continue ;;
        systemd) options=none,name=systemd ;;
        *) options=${dir##*/} ;;
        esac
        umount "$dir" 2>/dev/null || true
        mount -t cgroup -o "$options" cgroup "$dir"
    done
fi

# Sysctls outside of net are the machine's: the node gets a copy, which it may write and read back.
# What must stay alive is bound over the copy; net belongs to the node's own namespace.
mount --rbind /proc/sys $own/live
mount -t tmpfs -o mode=0755,nosuid,nodev,noexec sysctl $own/copy
cp -r /proc/sys/fs /proc/sys/kernel /proc/sys/vm $own/copy 2>/dev/null || true
rm -rf $own/copy/kernel/random
mkdir -p $own/copy/net $own/copy/kernel/random $own/copy/fs/binfmt_misc
mount --bind $own/live/net $own/copy/net
mount -o remount,bind,rw $own/copy/net
mount --rbind $own/live/kernel/random $own/copy/kernel/random
mount --bind $own/live/kernel/hostname $own/copy/kernel/hostname
mount --bind $own/live/kernel/ns_last_pid $own/copy/kernel/ns_last_pid 2>/dev/null || true
mount --rbind $own/copy /proc/sys
umount -R $own/copy
umount -R $own/live
rmdir $own/cgroup $own/live $own/copy $own

# A writable /proc/sys invites units that would reach the machine's kernel through file systems.
mkdir -p /run/systemd/system
for unit in proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount systemd-binfmt.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "/run/systemd/system/$unit"
done

mount --make-rshared /
exec /lib/systemd/systemd "$@"
