#!/usr/bin/env bash
# The pod sandbox program.
# inputs: lib.sh pause/main.go
# uses: go
# gives: bin/pause=pause
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
cd "$TOOLS/pause"
GO111MODULE=off go build -ldflags '-s -w' -o "$OUT/pause" main.go
