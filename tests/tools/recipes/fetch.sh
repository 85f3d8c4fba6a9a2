#!/usr/bin/env bash
# A client for test pods.
# inputs: lib.sh fetch/main.go
# uses: go
# gives: bin/fetch=fetch
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
cd "$TOOLS/fetch"
GO111MODULE=off go build -ldflags '-s -w' -o "$OUT/fetch" main.go
