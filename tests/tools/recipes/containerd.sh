#!/usr/bin/env bash
# containerd, its shim and ctr.
# inputs: lib.sh
# uses: go
# reads: CONTAINERD_VERSION
# gives: bin/containerd=containerd bin/containerd-shim-runc-v2=containerd-shim-runc-v2 bin/ctr=ctr
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
module=github.com/containerd/containerd/v2
for program in containerd containerd-shim-runc-v2 ctr; do
	GOBIN=$OUT go install -tags urfave_cli_no_docs \
		-ldflags "-s -w -X $module/version.Version=$CONTAINERD_VERSION" \
		"$module/cmd/$program@$CONTAINERD_VERSION"
done
