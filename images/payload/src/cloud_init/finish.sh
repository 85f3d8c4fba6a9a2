# Runs once all files are written.
# Arguments: the payload's digest, fetch.py, then: fetch URL HASH HEX MODE PATH, or one of the words below and a unit.
set -euf
digest=$1
fetch=$2
shift 2
state=/var/lib/nodekiln
[ "$(cat $state/payload.done 2>/dev/null)" != "$digest" ] || exit 0
if [ "$(cat $state/payload.written 2>/dev/null)" != "$digest" ]; then
  echo 'nodekiln: cloud-init did not write all files; see /var/log/cloud-init.log. The next boot tries again.' >&2
  exit 1
fi
systemctl daemon-reload
changed=
enabled=
while [ $# -gt 0 ]; do
  case $1 in
  fetch)
    python3 -c "$fetch" "$2" "$3" "$4" "$5" "$6"
    shift 4
    ;;
  enabled)
    systemctl enable "$2" || echo "nodekiln: $2 is not enabled" >&2
    enabled="$enabled $2"
    ;;
  disabled)
    systemctl disable "$2" 2>/dev/null || :
    # A unit of the payload itself is only ever started by firstboot.
    [ -e "/etc/systemd/system/$2" ] || systemctl stop "$2" 2>/dev/null || :
    ;;
  # The link to /dev/null is there already.
  masked) systemctl stop "$2" 2>/dev/null || : ;;
  changed | restart) changed="$changed $2" ;;
  esac
  shift 2
done
sync
printf %s "$digest" >$state/payload.new
mv $state/payload.new $state/payload.done
sync
# Nothing is waited for: what is started may itself wait for cloud-init.
for unit in $changed; do systemctl try-restart --no-block "$unit" || :; done
for unit in $enabled; do systemctl start --no-block "$unit" || echo "nodekiln: $unit is not started" >&2; done
