#!/usr/bin/env bash
# Programs of the Debian root for use on this machine, without installing them here.
# needs: debian
# inputs: lib.sh
# gives: bin/haproxy=haproxy bin/cloud-init=cloud-init cloud-init=debian
set -euo pipefail
source "$TOOLS/lib.sh"
# Its own loader and libraries: the machine's may lack some.
cat >"$OUT/haproxy" <<'SH'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/debian
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/sbin/haproxy" "$@"
SH
cat >"$OUT/cloud-init" <<'SH'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/debian
export PYTHONPATH="$root/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -m cloudinit.cmd.main "$@"
SH
chmod 755 "$OUT"/haproxy "$OUT"/cloud-init
ln -s "../$(basename "$(art debian)")" "$OUT/debian"
