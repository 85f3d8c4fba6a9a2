# Waits until the test process is gone, however it went, then removes what it left.
# usage: reaper ID DIR CGROUP...   (stdin is the pipe whose other end only the test process holds)
trap '' INT TERM HUP PIPE
cd /
id=$1 dir=$2
shift 2
cat >/dev/null

processes() { find "$@" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un; }
tries=0
while [ $tries -lt 100 ]; do
    pids=$(processes "$@")
    [ -z "$pids" ] && break
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null
    for cgroup in "$@"; do
        find "$cgroup" -name freezer.state -exec sh -c 'echo THAWED > "$1"' sh {} \; 2>/dev/null
    done
    tries=$((tries + 1))
    sleep 0.05
done

for netns in /run/netns/"$id"-*; do
    [ -e "$netns" ] && ip netns del "${netns##*/}" 2>/dev/null
done
awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do
    umount -l "$mount" 2>/dev/null
done

tries=0
while [ $tries -lt 100 ]; do
    find "$@" -depth -type d -exec rmdir {} + 2>/dev/null
    left=0
    for cgroup in "$@"; do [ -d "$cgroup" ] && left=1; done
    [ $left = 0 ] && break
    tries=$((tries + 1))
    sleep 0.05
done
rm -rf --one-file-system -- "$dir"
