#!/usr/bin/env bash
# figures.sh: the figures of a 1 x 3 cluster on this machine, each with what it was measured by. figures.sh [SECONDS]
#
# Prints tables of puts and linearizable gets (direct and routed, 1 to 1000 outstanding), memory of idle replicas, CPU
# time of an operation over all processes, and kill -9 of a leader to the next acknowledged write, ten times.
set -u -o pipefail
export LC_ALL=C
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
seconds=${1:-6}
rounds=3
dir=$(mktemp -d /tmp/holdfast-figures-XXXXXX)
cluster=$top/deploy/local-cluster.sh
trap '"$cluster" down --dir "$dir/c" --wipe >/dev/null 2>&1; rm -rf "$dir"' EXIT

"$cluster" up --dir "$dir/c" --shards 1 --replicas 3 --port-base "${PORT_BASE:-25500}" >/dev/null || exit 1
eval "$("$cluster" env --dir "$dir/c")"

pids() { "$cluster" ps --dir "$dir/c" --json | jq -r "$1"; }
cpu_ms() { # of all processes of the cluster, user and system
    local pid total=0 hz
    hz=$(getconf CLK_TCK)
    for pid in $(pids '.[] | select(.alive) | .pid'); do
        read -r -a stat < <(sed 's/^.*) //' "/proc/$pid/stat")
        total=$((total + (stat[11] + stat[12]) * 1000 / hz))
    done
    echo "$total"
}
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

echo "memory of a replica (VmRSS), idle: $(for pid in $(pids '.[] | select(.role == "shard") | .pid'); do
    awk '/VmRSS/ {printf "%d MiB  ", $2 / 1024}' "/proc/$pid/status"
done)"

table() { # WORKLOAD ROUTE
    local workload=$1 outstanding begin end ops rate p50 p99 i out
    local -a route=()
    [[ $2 == routed ]] && route=(--routed)
    for outstanding in 1 64 256 1000; do
        : >"$dir/runs"
        begin=$(cpu_ms)
        for ((i = 0; i < rounds; i++)); do
            out=$(holdfast-bench --workload "$workload" --records 10000 --value-bytes 256 --outstanding "$outstanding" \
                --seconds "$seconds" --json "${route[@]+"${route[@]}"}") || { echo "failed: $out" >&2; exit 1; }
            jq -r '[.ops_per_second, .latency_us.p50, .latency_us.p99, .ops] | @tsv' <<<"$out" >>"$dir/runs"
        done
        end=$(cpu_ms)
        ops=$(awk '{s += $4} END {print s + 10000 * NR}' "$dir/runs") # the records loaded before each run count too
        rate=$(cut -f 1 "$dir/runs" | median) p50=$(cut -f 2 "$dir/runs" | median) p99=$(cut -f 3 "$dir/runs" | median)
        printf '%-4s %-7s %12d %12.0f %10.0f %10.0f %14.1f\n' "$workload" "$2" "$outstanding" "$rate" "$p50" "$p99" \
            "$(awk -v ms=$((end - begin)) -v n="$ops" 'BEGIN {print ms * 1000 / n}')"
    done
}
printf '%-4s %-7s %12s %12s %10s %10s %14s\n' work way outstanding 'per second' 'p50 us' 'p99 us' 'cluster CPU us'
for workload in put get; do
    table "$workload" direct
    table "$workload" routed
done

echo "memory of a replica (VmRSS), after the work: $(for pid in $(pids '.[] | select(.role == "shard") | .pid'); do
    awk '/VmRSS/ {printf "%d MiB  ", $2 / 1024}' "/proc/$pid/status"
done)"

: >"$dir/failover"
for ((i = 0; i < 10; i++)); do
    leader=$(holdfast status --json | jq -r '.shards[0].leader')
    "$cluster" kill --dir "$dir/c" "$leader" -KILL >/dev/null
    begin=$(date +%s%N)
    holdfast --timeout 20000 put "failover-$i" x >/dev/null || exit 1
    echo $((($(date +%s%N) - begin) / 1000000)) >>"$dir/failover"
    "$cluster" start --dir "$dir/c" "$leader" >/dev/null || exit 1
done
echo "kill -9 of the leader to the next acknowledged write, ms (a new client each time): $(sort -n "$dir/failover" | tr '\n' ' ')" \
    "median $(median <"$dir/failover")"
