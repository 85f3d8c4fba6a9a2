#!/usr/bin/env bash
# CoreDNS with its default plugins.
# inputs: lib.sh
# uses: go
# reads: COREDNS_VERSION
# gives: bin/coredns=coredns
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
GOBIN=$OUT go install -ldflags '-s -w' "github.com/coredns/coredns@$COREDNS_VERSION"
