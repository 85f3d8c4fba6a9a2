# Runs the programs of one node in a cell: those that /shared/argv names, in this order. Says `NAME ok` when a program
# is known to have taken its flags and files and to work, `NAME ended: STATUS` when it ended first, `NAME silent` when
# neither came in time. What they wrote is in /shared/NAME.log.
#
# usage: components.sh BIN ADDRESS/PREFIX...
BIN=$1
shift
ip link add node type veth peer name other
ip link set other up
ip link set node up
for address; do ip address add "$address" dev node nodad; done
# A machine has a way out; without it no program finds an address of its own.
ip route add default dev node || true

argv() { mapfile -d '' -t ARGV <"/shared/argv/$1"; }

start() {
	argv "$1"
	"$BIN/${ARGV[0]##*/}" "${ARGV[@]:1}" >"/shared/$1.log" 2>&1 &
	PID=$!
}

# await NAME COMMAND...: until the command succeeds.
await() {
	local name=$1 tries=${TRIES:-600}
	shift
	while ((tries--)); do
		if "$@" >"/shared/$name.probe" 2>&1; then
			echo "$name ok"
			return
		fi
		if ! kill -0 "$PID" 2>/dev/null; then
			wait "$PID" && status=0 || status=$?
			echo "$name ended: $status"
			return
		fi
		sleep 0.1
	done
	echo "$name silent"
}

# Whoever has no credential may ask these for their health.
get() {
	python3 -c 'import ssl, sys, urllib.request as request
print(request.urlopen(sys.argv[1], context=ssl._create_unverified_context(), timeout=5).read())' "https://$1$2"
}
ready() { "$BIN/kubectl" --kubeconfig=/shared/super-admin.conf --request-timeout=5s get --raw /readyz "--server=$(cat /shared/apiserver)"; }
member() {
	ETCDCTL_API=3 "$BIN/etcdctl" --command-timeout=3s "--endpoints=$(cat /shared/etcd)" --cacert=/etc/kubernetes/pki/etcd/ca.crt \
		--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key \
		endpoint health
}
# The API server of a cluster whose etcd is elsewhere: it has read everything and looks for it.
seeks() { grep -q 'connection refused\|no route to host\|network is unreachable\|context deadline exceeded' /shared/kube-apiserver.log; }
# The kubelet has read everything and looks for the container runtime, which a cell has not.
runtime() { grep -q 'validate CRI v1 runtime API for endpoint' /shared/kubelet.log; }

for name in $(cat /shared/order); do
	start "$name"
	case $name in
	etcd) await etcd member ;;
	kube-apiserver) if [ -e /shared/external ]; then await kube-apiserver seeks; else await kube-apiserver ready; fi ;;
	kube-controller-manager) await "$name" get 127.0.0.1:10257 /healthz ;;
	kube-scheduler) await "$name" get 127.0.0.1:10259 /readyz ;;
	kubelet) await kubelet runtime ;;
	esac
done
