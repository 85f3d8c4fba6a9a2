#!/usr/bin/env bash
# The node root: a small immutable-style Debian with kubelet, containerd, runc and
# CNI plugins at the places where node images have them. Meant as the lower layer of
# an overlay; boots in about half a second and starts nothing by itself.
# needs: debian kubernetes containerd cni
# inputs: lib.sh node-root
# gives: root=.
set -euo pipefail
source "$TOOLS/lib.sh"

cp -a "$(art debian)/." "$OUT"
cd "$OUT"

# Not part of a node.
rm -rf usr/sbin/haproxy etc/haproxy usr/lib/systemd/system/haproxy.service etc/init.d \
	bin/busybox usr/bin/busybox var/lib/apt/lists var/cache/apt var/log/*.log var/log/apt

# What packages enabled at their installation, and what systemd's own preset would
# enable at the first boot (only presets of a payload shall count).
find etc/systemd/system -mindepth 1 -maxdepth 1 -name '*.wants' -exec rm -r {} +
rm -f usr/lib/systemd/system-preset/*
cp -r --no-preserve=ownership "$TOOLS/node-root/." .

# First boot is when machine-id is absent; an empty file is not the same.
rm -f etc/machine-id var/lib/dbus/machine-id etc/hostname

# Nothing to ask, no terminal, no devices, no clock, nothing to mount: half a second.
for unit in systemd-firstboot.service \
	console-getty.service container-getty@.service getty@.service serial-getty@.service getty-static.service \
	systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
	systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service \
	systemd-timesyncd.service systemd-resolved.service \
	systemd-binfmt.service systemd-repart.service systemd-pstore.service systemd-random-seed.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service \
	systemd-ask-password-console.path systemd-ask-password-wall.path systemd-remount-fs.service \
	dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
	sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount \
	cryptsetup.target remote-cryptsetup.target integritysetup.target veritysetup.target \
	systemd-tmpfiles-clean.timer apt-daily.timer apt-daily-upgrade.timer; do
	ln -sfn /dev/null "etc/systemd/system/$unit"
done

# cloud-init is there and asleep: its generator would start a shell script at every
# boot to look for a datasource. A node asks for it by a file.
rm usr/lib/systemd/system-generators/cloud-init-generator
mkdir -p etc/systemd/system/multi-user.target.wants etc/systemd/system/cloud-init.target.wants
ln -s /usr/lib/systemd/system/cloud-init.target etc/systemd/system/multi-user.target.wants/
# This root has no locales and no ssh: these modules would fail, and the boot with them.
sed -i '/^ - \(ssh\|locale\|ssh-authkey-fingerprints\|keys-to-console\)$/d' etc/cloud/cloud.cfg
for unit in cloud-init-local cloud-init cloud-config cloud-final; do
	ln -s "/usr/lib/systemd/system/$unit.service" etc/systemd/system/cloud-init.target.wants/
	mkdir "etc/systemd/system/$unit.service.d"
	printf '[Unit]\nConditionPathExists=/etc/nodekiln-test/cloud-init\n' >"etc/systemd/system/$unit.service.d/50-test.conf"
done

mkdir -p etc/systemd/system/sysinit.target.wants
ln -s /usr/lib/systemd/system/no-nameserver.service etc/systemd/system/sysinit.target.wants/
ln -sfn /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target

install -D -t opt/cni/bin "$(art cni)"/*
install -t usr/bin "$(art containerd)"/*
# Flatcar's place and Fedora CoreOS's; one file.
install -D -t opt/bin "$(art kubernetes)/kubelet"
ln opt/bin/kubelet usr/local/bin/kubelet
