#!/usr/bin/env bash
# Debian's Ignition (specs up to 3.3.0): an older opinion on the same payload.
# inputs: lib.sh
# reads: DEBIAN_SUITE
# lane: background
# gives: bin/ignition-validate-2.14=bin/ignition-validate bin/ignition-apply-2.14=bin/ignition-apply-2.14
set -euo pipefail
source "$TOOLS/lib.sh"
debs "$OUT/package" ignition
mkdir "$OUT/bin"
ln -s ../package/usr/bin/ignition-validate "$OUT/bin/ignition-validate"
ln -s ../package/usr/lib/dracut/modules.d/30ignition/ignition "$OUT/bin/ignition-apply"
# The engine goes by the name it was called by, which must not bear the version.
cat >"$OUT/bin/ignition-apply-2.14" <<'SH'
#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/ignition-apply" "$@"
SH
chmod 755 "$OUT/bin/ignition-apply-2.14"
