#!/bin/sh
# Three key-value nodes on this machine are one cluster: the one that leads is killed, another one leads, the data is
# there. Ends all that it starts, and leaves nothing behind.
#
#   sh examples/cluster.sh                 with build/release/bin/lunode, or the lunode in the PATH
#   LUNODE=/path/to/lunode PORT=7000 sh examples/cluster.sh      with another one, on ports from 7001 on
#
# The same by hand, and what comes after it: docs/guide/cluster.md.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -z "${LUNODE:-}" ]; then
	LUNODE=$here/build/release/bin/lunode
	[ -x "$LUNODE" ] || LUNODE=lunode
fi
port=${PORT:-7300}
dir=$(mktemp -d)
pids=

finish() {
	trap - EXIT INT TERM
	for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Member N has its clients at PORT+N, the other members at PORT+10+N. All of them share a secret.
head -c 32 /dev/urandom | base64 >"$dir/secret"
members=n1=127.0.0.1:$((port + 11)),n2=127.0.0.1:$((port + 12)),n3=127.0.0.1:$((port + 13))
nodes=127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2)),127.0.0.1:$((port + 3))
export LUNODE_NODE="$nodes" LUNODE_CLUSTER_SECRET_FILE="$dir/secret"

start() {
	"$LUNODE" kv --id "n$1" --listen "127.0.0.1:$((port + $1))" --data "$dir/n$1" \
		--cluster-listen "127.0.0.1:$((port + 10 + $1))" --cluster-init "$members" >"$dir/n$1.log" 2>&1 &
	pids="$pids $!"
	eval "pid_n$1=$!"
}

# What the cluster says of itself, in a line.
leader() {
	"$LUNODE" cluster status | sed -n 's/^cluster [^:]*: \(n[123]\) leads.*/\1/p'
}

client() {
	n=$1
	shift
	redis-cli -p "$((port + n))" "$@"
}

echo "== three nodes"
for n in 1 2 3; do start "$n"; done
"$LUNODE" cluster wait --timeout 20
"$LUNODE" cluster status

echo "== any of them takes any command"
client 1 set greeting hello
client 2 append greeting ', world'
client 3 get greeting

old=$(leader)
echo "== kill -9 $old, which leads"
eval "kill -9 \$pid_$old"
survivor=$(((${old#n} % 3) + 1))
client "$survivor" append greeting '!' # waits for another leader
client "$survivor" get greeting
new=$(leader)
echo "== $new leads now, and $old is missed"
[ "$new" != "$old" ]
"$LUNODE" cluster status || true # it says 1 while somebody is missed

echo "== $old comes back, and catches up"
start "${old#n}"
"$LUNODE" cluster wait --timeout 20
client "${old#n}" get greeting
"$LUNODE" cluster status
