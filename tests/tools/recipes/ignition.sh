#!/usr/bin/env bash
# Ignition as current Flatcar has it: the validator and the engine.
# inputs: lib.sh
# uses: go
# reads: IGNITION_VERSION
# gives: bin/ignition-validate=ignition-validate bin/ignition-apply=ignition-apply
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
module=github.com/coreos/ignition/v2
ldflags="-s -w -X $module/internal/version.Raw=${IGNITION_VERSION#v}"
GOBIN=$WORK go install -ldflags "$ldflags" "$module/validate@$IGNITION_VERSION"
mv "$WORK/validate" "$OUT/ignition-validate"
# The engine links libblkid. It is one program that looks at the name it was
# called by, so a link would do; under this name a copy is the same.
CGO_ENABLED=1 GOBIN=$WORK go install -ldflags "$ldflags" "$module/internal@$IGNITION_VERSION"
mv "$WORK/internal" "$OUT/ignition-apply"
