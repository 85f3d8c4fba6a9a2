# Runs before write_files, at every boot until the payload is complete.
# Arguments: the payload's digest, then triples: d MODE PATH, f MODE PATH or l TARGET PATH.
set -eu
digest=$1
shift
state=/var/lib/nodekiln
[ "$(cat $state/payload.done 2>/dev/null)" != "$digest" ] || exit 0
# A boot may have ended in the middle, and cloud-init notes a module as done before it runs it.
for module in set_hostname users_groups ntp write_files runcmd scripts_user; do
  rm -f /var/lib/cloud/instance/sem/config_$module
done
umask 022
install -d -m 0700 $state
rm -f $state/payload.written
while [ $# -gt 0 ]; do
  folder=${3%/*}
  case $1 in
  d) install -d -m "$2" -o 0 -g 0 -- "$3" ;;
  # write_files makes a file with mode 0644 and narrows it after writing; a file that exists keeps its mode till then.
  f)
    mkdir -p -- "${folder:-/}"
    (umask 077 && : >>"$3")
    chmod 0600 -- "$3"
    ;;
  l)
    mkdir -p -- "${folder:-/}"
    ln -sfnT -- "$2" "$3"
    ;;
  esac
  shift 3
done
