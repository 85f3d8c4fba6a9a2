#!/usr/bin/env bash
# Kubernetes' own programs, from its Go modules.
# inputs: lib.sh
# uses: go
# reads: KUBERNETES_VERSION
# gives: bin/kube-apiserver=kube-apiserver bin/kube-controller-manager=kube-controller-manager bin/kube-scheduler=kube-scheduler bin/kube-proxy=kube-proxy bin/kubelet=kubelet bin/kubeadm=kubeadm bin/kubectl=kubectl
set -euo pipefail
source "$TOOLS/lib.sh"
go_env

version=$KUBERNETES_VERSION
major=${version#v} major=${major%%.*}
minor=${version#v*.} minor=${minor%%.*}
# Another recipe may want fewer of them.
read -ra programs <<<"${PROGRAMS:-kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy kubeadm kubectl}"

cd "$WORK"
gomod=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
go_module kubernetes "k8s.io/kubernetes@$version"
cd kubernetes
{
	sed -n '/^godebug default/p' "$gomod"
	# Its own repository gives the staged modules no version (v0.0.0) and replaces
	# them by folders; their published twins are v0.<minor>.<patch>. Others under
	# k8s.io (utils, kube-openapi) have real versions and stay.
	sed -n "s|^\t\(k8s.io/[a-z-]*\) v0.0.0\$|replace \1 => \1 v0.${version#v*.}|p" "$gomod"
	printf 'tool k8s.io/kubernetes/cmd/%s\n' "${programs[@]}"
} >>go.mod
go mod tidy

# Unset, kubelet and kubeadm take themselves for v0.0.0 and misbehave. Commit and
# date are fixed: the same sources give the same bytes.
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	for value in "gitVersion=$version" "gitMajor=$major" "gitMinor=$minor" gitTreeState=clean \
		gitCommit=0000000000000000000000000000000000000000 buildDate=1970-01-01T00:00:00Z; do
		ldflags+=" -X $package.$value"
	done
done

for program in "${programs[@]}"; do
	start=$SECONDS
	go build -ldflags "$ldflags" -o "$OUT/$program" "k8s.io/kubernetes/cmd/$program"
	stage "$program" $((SECONDS - start)) >&3
done
