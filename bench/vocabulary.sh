# shellcheck shell=sh disable=SC2034,SC2154 # it is a part of bench/run
# What bench/run kv --all does: redis-benchmark's default tests, at pipeline 1 and 16, our node beside redis-server with
# its append-only file synced every second. Sourced.
#
# Tests that take elements away come behind those that add them, as many. The LRANGEs read from a list of their own, made
# once, where redis-benchmark itself would push to one before each of them.

list_of_600="$(seq -s ' ' 600)"

start_vocabulary() {
  start_kv "$1"
  # shellcheck disable=SC2086 # 600 words
  redis-cli -p "$port" rpush readlist $list_of_600 >"$work/$1/csv" || lost "$1"
}

measure_command() { # NAME TEST PIPELINE REQUESTS -> as measure_kv
  case $2 in
    lrange_*)
      pid=$(pid_of "$1") address=$(address_of "$1")
      before=$("$build/bench/cpu_time" "$pid")
      redis-benchmark -h 127.0.0.1 -p "${address##*:}" -P "$3" -n "$4" -c 50 --csv \
        lrange readlist 0 $((${2#lrange_} - 1)) >"$work/$1/csv" 2>>"$work/$1/log"
      after=$("$build/bench/cpu_time" "$pid")
      awk -F'","' -v cpu=$((after - before)) \
        'NR == 2 { printf "%s\t%s\t%s\t%s\n", cpu, $2, $5 * 1000, $7 * 1000; ok = 1 } END { exit !ok }' \
        "$work/$1/csv"
      ;;
    *) measure_kv "$@" ;;
  esac
}

# What all tests measure is told twice: as redis-benchmark has them, every command on the same key or member, and with
# 100,000 of these, drawn at random.
bench_vocabulary() {
  contenders="lunode redis-aof"
  start_all start_vocabulary
  random_keys=
  for rep in $(seq "$reps"); do
    measure_vocabulary 1 ''
    measure_vocabulary 16 ''
    random_keys=100000
    measure_vocabulary 1 ', random'
    measure_vocabulary 16 ', random'
    random_keys=
  done
}

measure_vocabulary() { # PIPELINE HOW
  count=$requests
  [ "$1" -eq 1 ] || count=$((requests * 4))
  for test in ping_inline ping_mbulk set get incr lpush rpush lpop rpop sadd hset spop zadd zpopmin \
    lrange_100 lrange_300 lrange_500 lrange_600 mset; do
    few=$count
    case $test in
      ping_* | lrange_*) [ -z "$2" ] || continue ;; # they draw nothing at random
    esac
    case $test in lrange_* | mset) few=$((count / 4)) ;; esac # each is the work of many
    for name in $running; do
      fields=$(measure_command "$name" "$test" "$1" "$few") || lost "$name"
      record "$test, pipeline $1$2" "$name" "$few" "$fields"
    done
  done
}
