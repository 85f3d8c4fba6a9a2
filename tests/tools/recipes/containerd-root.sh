#!/usr/bin/env bash
# A containerd root (/var/lib/containerd) that holds all images, unpacked. It may be
# moved: a node whose root is a copy of it has the images from the start.
# needs: images containerd
# inputs: lib.sh
# gives: containerd-root=.
set -euo pipefail
source "$TOOLS/lib.sh"
containerd=$(art containerd)
socket=$WORK/run/containerd.sock

# The snapshotter's overlay mounts stay in a mount namespace of their own. No CRI:
# it would want CNI and a runtime; it labels the images as its own when it starts.
cat >"$WORK/config.toml" <<CONF
version = 3
root = "$OUT"
state = "$WORK/run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
address = "$socket"
[ttrpc]
address = "$socket.ttrpc"
CONF
# It dies with this script, also when that is killed.
setpriv --pdeathsig KILL unshare --mount --propagation private \
	"$containerd/containerd" --config "$WORK/config.toml" &
daemon=$!
trap 'kill "$daemon"; wait "$daemon" || true' EXIT

ctr() { "$containerd/ctr" --address "$socket" -n k8s.io "$@"; }
tries=100
until ctr version >/dev/null 2>&1; do
	((tries--)) || { echo "containerd did not start"; exit 1; }
	sleep 0.1
done
for image in "$(art images)"/*.tar; do
	ctr images import --snapshotter overlayfs "$image"
done
# An image that is not unpacked would make its first pod wait.
ctr images check >"$WORK/check"
cat "$WORK/check"
if awk 'NR > 1 && $NF != "true"' "$WORK/check" | grep .; then exit 1; fi
