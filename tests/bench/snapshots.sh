#!/usr/bin/env bash
# snapshots.sh: puts a second with snapshots on against off, two clusters taking turns in one run. snapshots.sh --help
#
# "on": the defaults. "off": no trigger and no replay budget, so that the log only grows and RocksDB flushes when its buffer
# is full. "often": every 200 entries, far more than anybody needs. Each is 1 x 3 on this machine; only one is up at a time
# per turn, so that both see the same machine.
set -u -o pipefail
export LC_ALL=C
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cluster=$top/deploy/local-cluster.sh
seconds=10 rounds=3 outstanding=256 bytes=256 records=10000 json=0
usage() {
    echo "usage: snapshots.sh [--seconds S] [--rounds N] [--outstanding N] [--value-bytes B] [--records N] [--json]"
    exit "$1"
}
while (($#)); do
    case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --rounds) rounds=$2 && shift 2 ;;
    --outstanding) outstanding=$2 && shift 2 ;;
    --value-bytes) bytes=$2 && shift 2 ;;
    --records) records=$2 && shift 2 ;;
    --json) json=1 && shift ;;
    --help) usage 0 ;;
    *) usage 2 >&2 ;;
    esac
done
dir=$(mktemp -d /tmp/holdfast-snapshots-XXXXXX)
end() {
    for name in on off often; do
        [[ -d $dir/$name ]] && "$cluster" down --dir "$dir/$name" --wipe >/dev/null 2>&1
    done
    rm -rf "$dir"
}
trap end EXIT

sets_of() {
    case $1 in
    on) ;;
    off) echo --set snapshot-entries=0 --set snapshot-log-bytes=0 --set replay-budget=0 ;;
    often) echo --set snapshot-entries=200 --set snapshot-trailing-entries=200 ;;
    esac
}

# cpu_us NAME: processor time of all of its processes so far
cpu_us() {
    local pid total=0 stat hz
    hz=$(getconf CLK_TCK)
    for pid in $("$cluster" ps --dir "$dir/$1" --json | jq -r '.[] | select(.alive) | .pid'); do
        read -r -a stat < <(sed 's/^.*) //' "/proc/$pid/stat")
        total=$((total + (stat[11] + stat[12]) * (1000000 / hz)))
    done
    echo "$total"
}

port=${PORT_BASE:-26500}
for ((round = 1; round <= rounds; round++)); do
    for name in on off often; do
        # shellcheck disable=SC2046 # words
        HOLDFAST_SKIP_BUILD=${HOLDFAST_SKIP_BUILD:-0} "$cluster" up --dir "$dir/$name" --shards 1 --replicas 3 \
            --port-base "$port" $(sets_of "$name") >/dev/null || exit 1
        eval "$("$cluster" env --dir "$dir/$name")"
        before=$(cpu_us "$name")
        out=$(holdfast-bench --workload put --records "$records" --value-bytes "$bytes" --outstanding "$outstanding" \
            --seconds "$seconds" --json) || exit 1
        cpu=$(($(cpu_us "$name") - before))
        moved=$(holdfast status --json | jq '[.shards[0].replicas[].snapshot] | min')
        log=$(du -cm "$dir/$name"/1-*/native-1 | awk 'END {print $1}')
        jq -c --arg name "$name" --argjson moved "$moved" --argjson log "$log" --argjson round "$round" \
            --argjson cpu "$cpu" --argjson records "$records" \
            '{name: $name, round: $round, per_second: .ops_per_second, p50_us: .latency_us.p50, p99_us: .latency_us.p99, cpu_us: ($cpu / (.ops + $records)),
              max_us: .latency_us.max, errors: (.errors | add // 0), snapshot: $moved, log_mib: $log}' <<<"$out" >>"$dir/runs"
        "$cluster" down --dir "$dir/$name" --wipe >/dev/null || exit 1
    done
done
if ((json)); then
    jq -s . "$dir/runs"
    exit
fi
echo "puts of $bytes B, $outstanding outstanding, $seconds s, $rounds rounds, 1 x 3; medians; $(nproc) processors, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
jq -rs 'def median: sort | .[(length / 2 | floor)];
    (map(select(.name == "off").per_second) | median) as $off
    | ["snapshots", "per second", "of off", "p50 us", "p99 us", "max us", "cluster CPU us", "errors", "pointer at", "log MiB (3)"],
      (group_by(.name)[] | [.[0].name, (map(.per_second) | median | floor), (((map(.per_second) | median) / $off * 1000 | round) / 1000),
       (map(.p50_us) | median), (map(.p99_us) | median), (map(.max_us) | max), (map(.cpu_us) | median * 10 | round / 10), (map(.errors) | add), (map(.snapshot) | median),
       (map(.log_mib) | max)]) | @tsv' "$dir/runs" | column -t -s $'\t'
