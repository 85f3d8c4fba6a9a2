#!/usr/bin/env bash
# What Go makes of the configurations of kubelet and kube-proxy, from the modules that hold their types.
# inputs: lib.sh config-types/main.go
# uses: go
# reads: KUBERNETES_VERSION
# gives: bin/config-types=config-types
set -euo pipefail
source "$TOOLS/lib.sh"
go_env

# The staged modules of v1.X.Y are published as v0.X.Y.
version=v0.${KUBERNETES_VERSION#v*.}
cd "$WORK"
go_module config-types "k8s.io/kubelet@$version" "k8s.io/kube-proxy@$version"
cp "$TOOLS/config-types/main.go" config-types/
cd config-types
go mod tidy
go build -ldflags '-s -w' -o "$OUT/config-types" .
