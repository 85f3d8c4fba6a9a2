#!/usr/bin/env bash
# Container images without a registry: OCI layouts in tars, with the names and tags
# that kubeadm of this minor gives.
# needs: pause fetch kubernetes etcd coredns debian
# inputs: lib.sh mkimage.py
# reads: IMAGE_REPOSITORY KUBERNETES_VERSION ETCD_TAGS COREDNS_VERSION PAUSE_VERSION TOOLS_IMAGE HAPROXY_IMAGE
# gives: images=.
set -euo pipefail
source "$TOOLS/lib.sh"
debian=$(art debian)
path='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'

# What a distroless base holds: users, CA certificates, a /tmp.
base() {
	local dir=$1
	mkdir -p "$dir"/{tmp,etc/ssl/certs,usr/local/bin}
	chmod 1777 "$dir/tmp"
	printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$dir/etc/passwd"
	printf 'root:x:0:\nnobody:x:65534:\ntty:x:5:\nnonroot:x:65532:\n' >"$dir/etc/group"
	printf 'hosts: files dns\n' >"$dir/etc/nsswitch.conf"
	cp "$debian/etc/ssl/certs/ca-certificates.crt" "$dir/etc/ssl/certs/"
}

# image FILE CONFIG NAME... from the folder $WORK/FILE
image() {
	local file=$1 config=$2
	shift 2
	python3 "$TOOLS/mkimage.py" "$OUT/$file.tar" "$WORK/$file" "$config" "$@"
}

mkdir "$WORK/pause"
install -t "$WORK/pause" "$(art pause)/pause"
image pause '{"Entrypoint":["/pause"],"User":"65535:65535"}' "$IMAGE_REPOSITORY/pause:$PAUSE_VERSION"

for program in kube-apiserver kube-controller-manager kube-scheduler; do
	base "$WORK/$program"
	install -t "$WORK/$program/usr/local/bin" "$(art kubernetes)/$program"
	image "$program" "{$path}" "$IMAGE_REPOSITORY/$program:$KUBERNETES_VERSION"
done

base "$WORK/etcd"
install -t "$WORK/etcd/usr/local/bin" "$(art etcd)"/*
read -ra tags <<<"$ETCD_TAGS"
image etcd "{$path}" "${tags[@]/#/$IMAGE_REPOSITORY/etcd:}"

base "$WORK/coredns"
install -t "$WORK/coredns" "$(art coredns)/coredns"
image coredns "{$path,\"Entrypoint\":[\"/coredns\"],\"User\":\"nonroot:nonroot\",\"WorkingDir\":\"/\"}" \
	"$IMAGE_REPOSITORY/coredns/coredns:$COREDNS_VERSION"

# kube-proxy calls iptables, nft and conntrack; in pods the nft variant is the one
# that matches what the node's own iptables writes.
base "$WORK/kube-proxy"
install -t "$WORK/kube-proxy/usr/local/bin" "$(art kubernetes)/kube-proxy"
with_libraries "$debian" "$WORK/kube-proxy" /usr/sbin/{xtables-nft-multi,nft,conntrack,ip} /usr/bin/kmod
cp -a "$debian"/usr/lib/*/xtables "$WORK/kube-proxy"/usr/lib/*-linux-gnu*/
# The plugins need more than the program: libxt_statistic wants libm.
mapfile -t plugins < <(cd "$debian" && printf '/%s\n' usr/lib/*/xtables/*.so)
with_libraries "$debian" "$WORK/kube-proxy" "${plugins[@]}"
for variant in iptables ip6tables; do
	for suffix in '' -save -restore; do
		ln -s xtables-nft-multi "$WORK/kube-proxy/usr/sbin/$variant$suffix"
	done
done
ln -s ../bin/kmod "$WORK/kube-proxy/usr/sbin/modprobe"
image kube-proxy "{$path}" "$IMAGE_REPOSITORY/kube-proxy:$KUBERNETES_VERSION"

base "$WORK/haproxy"
mkdir -p "$WORK/haproxy/usr/local/etc/haproxy"
with_libraries "$debian" "$WORK/haproxy" /usr/sbin/haproxy
# Not root, as in the image of that name.
printf 'haproxy:x:99:99:haproxy:/nonexistent:/sbin/nologin\n' >>"$WORK/haproxy/etc/passwd"
image haproxy "{$path,\"Entrypoint\":[\"haproxy\"],\"Cmd\":[\"-f\",\"/usr/local/etc/haproxy/haproxy.cfg\"],\"User\":\"haproxy\"}" "$HAPROXY_IMAGE"

# For pods of the tests: sh, sleep, nslookup, httpd and the rest, and a client that resolves names.
base "$WORK/tools"
mkdir -p "$WORK/tools"/{bin,usr/bin,usr/sbin,sbin,root,var/www}
install -t "$WORK/tools/bin" "$debian/bin/busybox" "$(art fetch)/fetch"
"$debian/bin/busybox" --list-full | while read -r applet; do
	[ "$applet" = bin/busybox ] || ln -sf /bin/busybox "$WORK/tools/$applet"
done
image tools "{$path,\"Cmd\":[\"sleep\",\"infinity\"]}" "$TOOLS_IMAGE"
