#!/usr/bin/env bash
# A bare Debian root: what the node root, images and a few host programs are cut from.
# inputs: lib.sh
# reads: DEBIAN_SUITE
# lane: background
# gives: debian=.
set -euo pipefail
source "$TOOLS/lib.sh"
packages=(
	systemd systemd-sysv dbus udev mount util-linux procps kmod ca-certificates
	# what kubelet and kube-proxy call
	iproute2 iptables nftables conntrack ethtool socat iputils-ping runc
	cloud-init
	# not for the node: cut out again for images and for this machine
	haproxy busybox-static
)
mmdebstrap --variant=minbase --format=directory \
	--include="$(IFS=,; echo "${packages[*]}")" \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$DEBIAN_SUITE" "$OUT"
chmod 755 "$OUT"
