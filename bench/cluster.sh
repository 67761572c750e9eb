# shellcheck shell=sh disable=SC2034,SC2154 # it is a part of bench/run
# What bench/run cluster does: three of our nodes beside three of etcd, on loopback; each write is on the disks of two
# before it is acknowledged. And a single node that syncs each write, to see what its followers cost a leader. Sourced.
#
# 100 clients, each with one command under way, at the leader. etcd speaks gRPC: h2load sends it one message over and
# over, so its writes are all to one key; ours are to 100,000.

clients=100

# ---- servers: NAME1, NAME2 and NAME3 of a cluster; the leader's is $work/NAME/leader

draw_ports() { # NAME: two for each member
  for i in 1 2 3; do
    mkdir -p "$work/$1$i/data"
    free_port
    echo "127.0.0.1:$port" >"$work/$1$i/address"
    free_port
    echo "127.0.0.1:$port" >"$work/$1$i/peer"
  done
}

start_cluster() {
  case $1 in
    lunode) start_lunode_cluster ;;
    etcd) start_etcd_cluster ;;
    single)
      free_port
      echo "127.0.0.1:$port" >"$work/$1/address"
      launch_kv "$1" always
      await "$1" listens "$1"
      ;;
  esac
  name=$1 # members have names, too, and start_all goes on with this one
}

start_lunode_cluster() {
  draw_ports lunode
  founders=n1=$(cat "$work/lunode1/peer"),n2=$(cat "$work/lunode2/peer"),n3=$(cat "$work/lunode3/peer")
  for i in 1 2 3; do
    launch "lunode$i" "$lunode" kv --id "n$i" --data "$work/lunode$i/data" --log-level warn \
      --listen "$(address_of "lunode$i")" --cluster-listen "$(cat "$work/lunode$i/peer")" \
      --cluster-init "$founders"
  done
  await lunode1 has_leader lunode
}

start_etcd_cluster() {
  draw_ports etcd
  founders=
  for i in 1 2 3; do
    founders="$founders${founders:+,}n$i=http://$(cat "$work/etcd$i/peer")"
  done
  for i in 1 2 3; do
    launch "etcd$i" etcd --name "n$i" --data-dir "$work/etcd$i/data" --log-level error \
      --listen-client-urls "http://$(address_of "etcd$i")" --advertise-client-urls "http://$(address_of "etcd$i")" \
      --listen-peer-urls "http://$(cat "$work/etcd$i/peer")" \
      --initial-advertise-peer-urls "http://$(cat "$work/etcd$i/peer")" --initial-cluster-token bench \
      --initial-cluster "$founders"
  done
  await etcd1 has_leader etcd
  # Fields 1 and 2 of both messages: a key of 16 bytes, and a value of 64.
  key=key:000000000001
  printf '\000\000\000\000\124\012\020%s\022\100%064d' "$key" 0 >"$work/etcd/Put"
  printf '\000\000\000\000\022\012\020%s' "$key" >"$work/etcd/Range"
  for call in Put Range; do # h2load looks at the HTTP status only, and there an error is fine, too
    nghttp -v -H ':method: POST' -H 'content-type: application/grpc' -H 'te: trailers' -d "$work/etcd/$call" \
      "http://$(cat "$work/etcd/leader_address")/etcdserverpb.KV/$call" 2>&1 | grep -q 'grpc-status: 0' ||
      die "etcd does not take the prepared $call"
  done
}

has_leader() { # NAME: notes it
  for i in 1 2 3; do
    address=$(address_of "$1$i")
    case $1 in
      lunode) timeout 5 redis-cli -h 127.0.0.1 -p "${address##*:}" info replication 2>/dev/null ;;
      etcd)
        ETCDCTL_API=3 timeout 5 etcdctl --endpoints "$address" endpoint status 2>/dev/null |
          awk -F', ' '$5 == "true" { print "role:master" }'
        ;;
    esac | grep -q '^role:master' || continue
    echo "$1$i" >"$work/$1/leader"
    echo "$address" >"$work/$1/leader_address"
    return 0
  done
  return 1
}

# ---- load, and what it costs

cpu_of() { # NAME: of all its processes, and of the one that takes the commands
  if [ "$1" = single ]; then
    all=$("$build/bench/cpu_time" "$(pid_of single)") leading=$all
    return
  fi
  all=0
  for i in 1 2 3; do
    [ "$1$i" = "${dead:-}" ] || all=$((all + $("$build/bench/cpu_time" "$(pid_of "$1$i")")))
  done
  leading=$("$build/bench/cpu_time" "$(pid_of "$(cat "$work/$1/leader")")")
}

load_redis() { # NAME SET|GET REQUESTS -> ops/s, p50 us, p99 us
  address=$(cat "$work/$1/leader_address" 2>/dev/null || address_of "$1")
  timeout 300 redis-benchmark -h 127.0.0.1 -p "${address##*:}" -t "$(echo "$2" | tr SETG setg)" -n "$3" -c $clients \
    -r 100000 -d 64 --csv 2>>"$work/$1/log" |
    awk -F'","' 'NR == 2 { printf "%s\t%s\t%s\n", $2, $5 * 1000, $7 * 1000; ok = 1 } END { exit !ok }'
}

load_etcd() { # NAME SET|GET REQUESTS -> the same
  call=Put
  [ "$2" = SET ] || call=Range
  rm -f "$work/etcd/times"
  timeout 300 h2load -n "$3" -c $clients -m 1 -d "$work/etcd/$call" -H 'content-type: application/grpc' \
    -H 'te: trailers' --log-file="$work/etcd/times" "http://$(cat "$work/etcd/leader_address")/etcdserverpb.KV/$call" \
    >"$work/etcd/out" 2>&1 || return 1
  grep -q " $3 succeeded" "$work/etcd/out" || return 1
  rate=$(awk '/^finished in/ { print $4 }' "$work/etcd/out")
  cut -f 3 "$work/etcd/times" | sort -n | awk -v rate="$rate" '
    { us[NR] = $1 }
    END { printf "%s\t%s\t%s\n", rate, us[int((NR + 1) / 2)], us[int(NR * 0.99)] }'
}

compare_cluster() { # SET|GET REQUESTS NAME...: each in turn
  what_is_done=$1 full=$2
  shift 2
  for name in "$@"; do
    case " $running " in *" $name "*) ;; *) continue ;; esac
    count=$full load=load_redis
    [ "$name" != etcd ] || count=$((full / 10 + 1)) load=load_etcd # it takes that much longer
    cpu_of "$name"
    all_before=$all leading_before=$leading
    fields=$($load "$name" "$what_is_done" "$count") || lost "$name"
    sleep 0.2 # the followers' last entries
    cpu_of "$name"
    [ "$name" = single ] ||
      record "$what_is_done" "$name" "$count" "$((all - all_before))	$fields"
    [ "$what_is_done" != SET ] || [ "$name" = etcd ] ||
      record "SET, one node's CPU" "$name" "$count" "$((leading - leading_before))	$fields"
  done
}

bench_cluster() {
  contenders="lunode etcd single"
  start_all start_cluster
  for rep in $(seq "$reps"); do
    compare_cluster SET "$requests" lunode etcd single
    compare_cluster GET "$requests" lunode etcd
  done
  { tell_memory && catch_up; } >"$work/notes"
}

# ---- a fresh node: from its start until it holds what the others hold, while one of those is away

lag_of() { # ID: how many entries it is behind, as the leader knows it; nothing where it does not
  timeout 5 redis-cli -h 127.0.0.1 -p "$leader_port" raft status 2>/dev/null | awk -v id="$1" '
    before == "id" { found = $1 == id }
    found && before == "state" && $1 != "ok" { exit }
    found && before == "lag" { lag = $1 }
    found && before == "state" { print lag; exit }
    { before = $1 }'
}

catch_up() {
  case " $running " in *" lunode "*) ;; *) return ;; esac
  address=$(cat "$work/lunode/leader_address")
  leader_port=${address##*:}
  dead=lunode1 # so that the others hold what it misses
  [ "$(cat "$work/lunode/leader")" != lunode1 ] || dead=lunode2
  stop "$(pid_of $dead)"
  small=$(timeout 5 redis-cli -h 127.0.0.1 -p "$leader_port" dbsize) # of 80 bytes
  timeout 300 redis-benchmark -h 127.0.0.1 -p "$leader_port" -t set -n "$requests" -c $clients -P 16 -r 10000000 \
    -d 1000 >"$work/lunode/csv" 2>&1 || lost lunode
  keys=$(timeout 5 redis-cli -h 127.0.0.1 -p "$leader_port" dbsize)
  mkdir -p "$work/lunode4/data"
  free_port
  echo "127.0.0.1:$port" >"$work/lunode4/address"
  free_port
  cpu_of lunode
  leading_before=$leading
  by=$(cat "$work/$(cat "$work/lunode/leader")/peer")
  begun=$(date +%s%N)
  launch lunode4 "$lunode" kv --id n4 --data "$work/lunode4/data" --log-level warn \
    --listen "$(address_of lunode4)" --cluster-listen "127.0.0.1:$port" --join "$by"
  tries=1200
  until [ "$(lag_of n4)" = 0 ]; do
    tries=$((tries - 1))
    if [ $tries -eq 0 ] || ! alive "$(pid_of lunode4)"; then lost lunode4; fi
    sleep 0.05
  done
  ended=$(date +%s%N)
  cpu_of lunode
  awk -v small="$small" -v keys="$keys" -v ns=$((ended - begun)) -v leader=$((leading - leading_before)) \
    -v fresh="$("$build/bench/cpu_time" "$(pid_of lunode4)")" 'BEGIN {
    mb = (small * 80 + (keys - small) * 1016) / 1e6
    printf "a fresh node had %d keys of %.0f MB after %.2f s: %.0f MB/s\n", keys, mb, ns / 1e9, mb * 1e9 / ns
    printf "for that it took %.2f s of CPU time, and the leader %.2f s\n", fresh / 1e9, leader / 1e9 }'
  for name in lunode1 lunode2 lunode3 lunode4; do
    [ $name = $dead ] || awk -v name="${name#lunode}" '/^VmHWM:/ {
      printf "lunode n%s had had %.0f MiB of memory at the most by then\n", name, $2 / 1024 }' \
      "/proc/$(pid_of "$name")/status"
  done
}

tell_memory() {
  for name in lunode etcd; do
    for i in 1 2 3; do
      [ -e "$work/$name$i/pid" ] || continue
      awk -v name="$name n$i" '/^VmHWM:/ { printf "%s has had %.0f MiB of memory at the most\n", name, $2 / 1024 }' \
        "/proc/$(pid_of "$name$i")/status"
    done
  done
}
