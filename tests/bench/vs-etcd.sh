#!/usr/bin/env bash
# vs-etcd.sh: Debian's etcd with three members and Holdfast 1 x 3 in one run on this machine, taking turns: a table.
#
# Both on loopback and in one file system, both with fsync, the same keys and values. Only one of them is given work at a
# time; the other stays up and idle. Each number is the median of the rounds.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: vs-etcd.sh [options]
  --seconds N       length of a turn (6)              --rounds N     turns of each system in a row of the table (3)
  --outstanding L   rows, by operations out at a time (1,64,256,1000)
  --work L          put, get or both (put,get); get is linearizable on both
  --records N       loaded into both before (100000)  --value-bytes N  (256)
  --clients N       of Holdfast's driver (1)          --etcd-clients N  connections of etcd's driver (1)
  --routed          Holdfast a second time, through its coordinator
  --dir D           where the data of both goes (/var/tmp)
  --port-base P     300 free ports (29000, or 500, 1000, ... above)
  --json            machine, settings, table and every single turn, as JSON
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
exit: 0 a full table (errors of operations are in it), 1 something did not start, load or answer, 2 usage
TXT
}

seconds=6 rounds=3 outstanding=1,64,256,1000 works=put,get records=100000 value_bytes=256 clients=1 etcd_clients=1
dir=/var/tmp port_base='' json=0 systems=(etcd direct)
while (($#)); do
    case $1 in
    --routed) systems=(etcd direct routed) && shift && continue ;;
    --json) json=1 && shift && continue ;;
    -h | --help) usage && exit 0 ;;
    esac
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --seconds) seconds=$2 ;;
    --rounds) rounds=$2 ;;
    --outstanding) outstanding=$2 ;;
    --work) works=$2 ;;
    --records) records=$2 ;;
    --value-bytes) value_bytes=$2 ;;
    --clients) clients=$2 ;;
    --etcd-clients) etcd_clients=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 29000 300)}
for value in "$seconds" "$rounds" "$records" "$value_bytes" "$clients" "$etcd_clients" "$port_base" ${outstanding//,/ }; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done
[[ $works =~ ^(put|get|put,get|get,put)$ ]] || hf_die 2 "--work is put, get or put,get"

# ---- build and start ------------------------------------------------------------------------------------------------

bench_build
etcd_build

data=$(mktemp -d "$dir/holdfast-vs-etcd-XXXXXX") || hf_die 1 "cannot write to $dir"
holdfast_pids=()
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    etcd_stop
    [[ ! -d $data/holdfast ]] || "$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1
    rm -rf "$data"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

holdfast_start() {
    "$cluster" up --dir "$data/holdfast" --shards 1 --replicas 3 --port-base $((port_base + 100)) >/dev/null ||
        hf_die 1 'Holdfast did not start'
    eval "$("$cluster" env --dir "$data/holdfast")"
    mapfile -t holdfast_pids < <("$cluster" ps --dir "$data/holdfast" --json | jq -r '.[] | select(.alive) | .pid')
    mapfile -t holdfast_http < <("$cluster" ps --dir "$data/holdfast" --json |
        jq -r '.[] | select(.role == "shard") | .http')
}

# REPLICA TERM of the replica that leads. A lagging follower is not what matters here: status then exits with 7.
holdfast_leader() {
    { holdfast status --json || true; } | jq -er '.shards[0] | select(.leader) | "\(.leader) \(.term)"'
}

# ---- what one turn takes --------------------------------------------------------------------------------------------

hz=$(getconf CLK_TCK)
cpu_us() { # PID…: user and system time of processes, all threads, ended ones too
    local pid stat total=0
    for pid; do
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || hf_die 1 "process $pid of a server is gone"
        read -r -a stat <<<"${stat##*) }"
        total=$((total + stat[11] + stat[12]))
    done
    echo $((total * (1000000 / hz)))
}

busy_us() { # of the machine: all but idle and waiting
    local cpu
    read -r -a cpu </proc/stat
    echo $(((cpu[1] + cpu[2] + cpu[3] + cpu[6] + cpu[7] + cpu[8]) * (1000000 / hz)))
}

# syncs SYSTEM: log syncs so far, over all members.
syncs() {
    local address name=holdfast_log_sync_seconds_count
    local -a addresses=("${holdfast_http[@]}")
    if [[ $1 == etcd ]]; then
        name=etcd_disk_wal_fsync_duration_seconds_count
        addresses=("${etcd_ports[@]/#/127.0.0.1:}")
    fi
    for address in "${addresses[@]}"; do
        curl -s -m 5 "http://$address/metrics"
    done | awk -v name="$name" '$1 == name {s += $2} END {printf "%d\n", s}'
}

# drive SYSTEM WORK OUTSTANDING SECONDS LEADER: the driver's report; etcd's driver talks to the leader, as Holdfast's does.
drive() {
    local with=(--records "$records" --value-bytes "$value_bytes" --outstanding "$3" --seconds "$4" --json)
    if [[ $1 == etcd ]]; then
        with+=(--clients "$etcd_clients" --endpoint "127.0.0.1:${5% *}")
    else
        with+=(--clients "$clients")
        [[ $2 == load ]] || with+=(--no-load)
        [[ $1 != routed ]] || with+=(--routed)
    fi
    if [[ $2 == load ]]; then with+=(--load-only); else with+=(--workload "$2"); fi
    if [[ $1 == etcd ]]; then "$etcd_bench" "${with[@]}"; else holdfast-bench "${with[@]}"; fi
}

# turn SYSTEM WORK OUTSTANDING ROUND: one line of JSON into $data/turns. What the other system still has to write is
# written before it begins.
turn() {
    local out leader synced server busy user sys pids=("${holdfast_pids[@]}") find=holdfast_leader changed=false
    local TIMEFORMAT='%U %S'
    [[ $1 != etcd ]] || { pids=("${etcd_pids[@]}") && find=etcd_leader; }
    sync -f "$data"
    sleep 0.3
    leader=$($find) || hf_die 1 "$1 has no leader"
    synced=$(syncs "$1")
    server=$(cpu_us "${pids[@]}") || exit 1
    busy=$(busy_us)
    { time drive "$1" "$2" "$3" "$seconds" "$leader" >"$data/out" 2>"$data/err"; } 2>"$data/time" || {
        cat "$data/out" "$data/err" >&2
        hf_die 1 "the driver of $1 failed ($2, $3 outstanding)"
    }
    busy=$(($(busy_us) - busy))
    server=$(($(cpu_us "${pids[@]}") - server)) || exit 1
    out=$(<"$data/out")
    read -r user sys <"$data/time"
    [[ $($find) == "$leader" ]] || changed=true
    jq -c --arg system "$1" --arg work "$2" --argjson outstanding "$3" --argjson round "$4" --argjson server "$server" \
        --argjson busy "$busy" --argjson user "$user" --argjson sys "$sys" --argjson changed $changed \
        --argjson syncs $(($(syncs "$1") - synced)) '
        (($user + $sys) * 1e6) as $driver
        | {system: $system, work: $work, outstanding: $outstanding, round: $round, ops, per_second: .ops_per_second,
           p50_us: .latency_us.p50, p99_us: .latency_us.p99, max_us: .latency_us.max,
           server_cpu_us: ($server / .ops), driver_cpu_us: ($driver / .ops), syncs_per_op: ($syncs / .ops),
           others_cpus: (($busy - $server - $driver) / 1e6 / .seconds), leader_changed: $changed, errors}' \
        <<<"$out" >>"$data/turns" || hf_die 1 "the report of $1's driver is not what it should be: $out"
}

# ---- load, look, measure, print -------------------------------------------------------------------------------------

# Both hold the records, and a value is as large as asked (etcd_bench looks at every value it gets).
check_loaded() {
    local key port count size
    key=$(holdfast scan --keys-only --limit 1) || hf_die 1 'Holdfast does not scan'
    read -r port _ < <(etcd_leader)
    count=$(holdfast scan --keys-only | wc -l)
    size=$(($(holdfast get "$key" | wc -c) - 1))
    ((count == records && size == value_bytes)) || hf_die 1 "Holdfast has $count keys, \"$key\" with $size bytes"
    count=$(etcd_post "$port" /v3/kv/range '{"key":"AA==","range_end":"AA==","count_only":true}' | jq -r .count)
    size=$(etcd_post "$port" /v3/kv/range "{\"key\":\"$(printf %s "$key" | base64)\"}" | jq -r '.kvs[0].value' |
        base64 -d | wc -c)
    ((count == records && size == value_bytes)) || hf_die 1 "etcd has $count keys, \"$key\" with $size bytes"
}

load() {
    local system leader
    hf_say "loading $records records of $value_bytes bytes into each"
    for system in etcd direct; do
        leader=$(etcd_leader) || hf_die 1 'etcd has no leader'
        drive "$system" load 256 1 "$leader" >"$data/out" || { cat "$data/out" >&2 && hf_die 1 "$system could not be loaded"; }
    done
    check_loaded
}

row() { # WORK OUTSTANDING
    local system round order
    hf_say "$1, $2 outstanding"
    for system in "${systems[@]}"; do # to warm up
        drive "$system" "$1" "$2" 1 "$(etcd_leader)" >"$data/out" || hf_die 1 "the driver of $system failed"
    done
    for ((round = 1; round <= rounds; round++)); do
        order=("${systems[@]}")
        ((round % 2)) || mapfile -t order < <(printf '%s\n' "${systems[@]}" | tac)
        for system in "${order[@]}"; do
            turn "$system" "$1" "$2" "$round"
        done
    done
}

result() {
    jq -s --arg etcd "$(etcd --version | sed -n 's/^etcd Version: //p')" --arg disk "$(df --output=fstype,source "$data" | tail -n 1)" \
        --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --argjson cores "$(nproc)" \
        --arg kernel "$(uname -r)" --arg day "$(date -I)" --argjson seconds "$seconds" --argjson rounds "$rounds" \
        --argjson records "$records" --argjson value_bytes "$value_bytes" --argjson clients "$clients" \
        --argjson etcd_clients "$etcd_clients" '
        def middle(f): map(f) | sort | .[(length - 1) / 2 | floor];
        {machine: {day: $day, cpu: $cpu, cores: $cores, kernel: $kernel, disk: $disk, etcd: $etcd},
         settings: {seconds: $seconds, rounds: $rounds, records: $records, value_bytes: $value_bytes,
                    clients: $clients, etcd_clients: $etcd_clients},
         table: [group_by([(.work == "get"), .outstanding])[]
             | map(select(.system == "etcd")) as $etcd_turns
             | ($etcd_turns | middle(.per_second)) as $of_etcd
             | ($etcd_turns | middle(.server_cpu_us + .driver_cpu_us)) as $cpu_of_etcd
             | group_by([(.system != "etcd"), .system])[]
             | {work: .[0].work, outstanding: .[0].outstanding, system: .[0].system, per_second: middle(.per_second),
                ratio: (middle(.per_second) / $of_etcd),
                cpu_ratio: ($cpu_of_etcd / middle(.server_cpu_us + .driver_cpu_us)), p50_us: middle(.p50_us), p99_us: middle(.p99_us),
                server_cpu_us: middle(.server_cpu_us), driver_cpu_us: middle(.driver_cpu_us),
                syncs_per_op: middle(.syncs_per_op), others_cpus: middle(.others_cpus),
                errors: (map(.errors | add // 0) | add), leader_changes: (map(select(.leader_changed)) | length)}],
         turns: .}' "$data/turns"
}

print_table() {
    local work count system rate ratio p50 p99 server driver cpu synced others errors changes line
    jq -r '.machine, .settings | to_entries | map("\(.key) \(.value)") | join(", ")' "$data/result"
    printf '\n| %-4s | %5s | %-15s | %10s | %6s | %9s | %9s | %10s | %10s | %9s | %8s | %6s | %s |\n' work out system \
        'per second' ratio 'p50 us' 'p99 us' 'server CPU' 'driver CPU' 'CPU ratio' syncs/op others errors
    echo '|---|---|---|---|---|---|---|---|---|---|---|---|---|'
    while IFS=$'\t' read -r work count system rate ratio p50 p99 server driver cpu synced others errors changes; do
        ((changes == 0)) || errors+=", $changes new leaders"
        printf -v line '| %-4s | %5d | %-15s | %10.0f | %6.1f | %9.0f | %9.0f | %10.1f | %10.1f | %9.1f | %8.3f | %6.2f | %6s |' \
            "$work" "$count" "$system" "$rate" "$ratio" "$p50" "$p99" "$server" "$driver" "$cpu" "$synced" "$others" "$errors"
        echo "$line"
    done < <(jq -r '.table[] | [.work, .outstanding, if .system == "etcd" then "etcd" else "Holdfast " + .system end,
        .per_second, .ratio, .p50_us, .p99_us, .server_cpu_us, .driver_cpu_us, .cpu_ratio, .syncs_per_op, .others_cpus,
        .errors, .leader_changes] | @tsv' "$data/result")
    echo
    echo 'ratio: operations a second, over etcd of the same row. CPU: us of processor time an operation, of all server processes'
    echo 'and of the driver; CPU ratio: both together, etcd over this. syncs: of the raft log, over all members. others: processors'
    echo 'busy with neither of the two (kernel threads, other programs).'
}

hf_say "data in $data, $(df --output=fstype,source "$data" | tail -n 1)"
etcd_start 3 "$port_base"
holdfast_start
load
for work in ${works//,/ }; do
    for count in ${outstanding//,/ }; do
        row "$work" "$count"
    done
done
result >"$data/result" || hf_die 1 'the turns make no table'
if ((json)); then cat "$data/result"; else print_table; fi
