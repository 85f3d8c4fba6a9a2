#!/usr/bin/env bash
# etcd, etcdctl, etcdutl.
# inputs: lib.sh
# uses: go
# reads: ETCD_VERSION
# gives: bin/etcd=etcd bin/etcdctl=etcdctl bin/etcdutl=etcdutl
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
cd "$WORK"
programs=(server etcdctl etcdutl)
modules=("${programs[@]/#/go.etcd.io/etcd/}")
go_module etcd "${modules[@]/%//v3@$ETCD_VERSION}"
cd etcd
printf 'tool %s/v3\n' "${modules[@]}" >>go.mod
go mod tidy
for program in "${programs[@]}"; do
	go build -ldflags "-s -w" -o "$OUT/${program/server/etcd}" "go.etcd.io/etcd/$program/v3"
done
