#!/usr/bin/env bash
# cold-start.sh: SIGKILL of all members to the first linearizable read, by number of keys, beside Debian's etcd: a table.
#
# Each system of each size is loaded, gets a second of puts before each kill (so that there is something to replay), and is
# killed and started by first_read, which also measures. Then the same with --cold-start=restore: all replicas read whole
# states, kept by --snapshot-keep 1, back first. And one replica of three alone, as it starts and with --cold-start=restore,
# when it fetches its state from another: its kill until /readyz says that it has caught up.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: cold-start.sh [options]
  --sizes N,N…       keys (100000,1000000,5000000)       --runs N        kills of each (3)
  --etcd-sizes N,N…  those of --sizes that etcd gets too (all; loading etcd takes long: 3 to 10 thousand keys a second)
  --no-etcd          Holdfast alone                      --no-restore    without --cold-start=restore and one replica alone
  --groups L         1,3: members of a group (1,3)       --value-bytes N (256)
  --engine E         of Holdfast (its default)
  --dir D            where the data goes (/var/tmp)      --port-base P   300 free ports (29000, or 500, 1000, … above)
  --json             every run and the table as JSON
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
short, under two minutes: cold-start.sh --sizes 10000,20000 --runs 1 --no-etcd
exit: 0 a full table, 1 something did not start, load or answer, 2 usage
TXT
}

sizes=100000,1000000,5000000 etcd_sizes='' runs=3 groups=1,3 value_bytes=256 etcd=1 restore=1 dir=/var/tmp port_base='' json=0 engine=''
while (($#)); do
    case $1 in
    --no-etcd) etcd=0 && shift && continue ;;
    --no-restore) restore=0 && shift && continue ;;
    --json) json=1 && shift && continue ;;
    -h | --help) usage && exit 0 ;;
    esac
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --sizes) sizes=$2 ;;
    --etcd-sizes) etcd_sizes=$2 ;;
    --runs) runs=$2 ;;
    --groups) groups=$2 ;;
    --value-bytes) value_bytes=$2 ;;
    --engine) engine=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 29000 300)}
etcd_sizes=${etcd_sizes:-$sizes}
for value in "$runs" "$value_bytes" "$port_base" ${sizes//,/ } ${etcd_sizes//,/ }; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done
[[ $groups =~ ^[13](,[13])?$ ]] || hf_die 2 '--groups is 1, 3 or 1,3'

bench_build
data=$(mktemp -d "$dir/holdfast-cold-start-XXXXXX") || hf_die 1 "cannot write to $dir"
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    etcd_stop
    [[ ! -d $data/holdfast ]] || "$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1
    rm -rf "$data"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
first_read_build
((!etcd)) || etcd_build

report() { # SYSTEM MEMBERS KEYS JSON DETAILS
    jq -c --arg system "$1" --argjson members "$2" --argjson keys "$3" --argjson details "${5:-null}" \
        '{system: $system, members: $members, keys: $keys} + . + {details: $details} | del(.pids)' <<<"$4" >>"$data/runs"
}

settle() {
    sync -f "$data"
    sleep 0.3
}

# ---- Holdfast -------------------------------------------------------------------------------------------------------

holdfast_start() { # MEMBERS
    "$cluster" up --dir "$data/holdfast" --shards 1 --replicas "$1" --port-base $((port_base + 100)) \
        ${engine:+--engine "$engine"} >/dev/null || hf_die 1 'Holdfast did not start'
    eval "$("$cluster" env --dir "$data/holdfast")"
    mapfile -t clients < <(of_replicas client)
    mapfile -t https < <(of_replicas http)
    mapfile -t pids < <(of_replicas pid)
}

# bench KEYS OPTION…: holdfast-bench, its report in $data/out.
bench() {
    local keys=$1
    shift
    holdfast-bench --records "$keys" --value-bytes "$value_bytes" --outstanding 256 --json "$@" >"$data/out" || {
        cat "$data/out" >&2
        hf_die 1 'holdfast-bench failed'
    }
}

# started PIDS REPLICA…: the new processes become local-cluster.sh's; waits for them; $details: what their starts say.
started() {
    local replica n pid line metrics all=() new until=$((SECONDS + 120))
    mapfile -t new < <(jq -r '.[]' <<<"$1")
    shift
    for n in "${!new[@]}"; do
        replica=$1 pid=${new[n]}
        shift
        pids[replica - 1]=$pid
        printf '%d %s\n' "$pid" "$(hf_start_time "$pid")" >"$data/holdfast/run/1-$replica.pid"
        until hf_http_ok "${https[replica - 1]##*:}" /readyz; do
            ((SECONDS < until)) ||
                hf_die 1 "replica 1/$replica is not ready after two minutes: $(tail -n 1 "$data/holdfast/log/1-$replica.log")"
            sleep 0.02
        done
        line=$(grep 'cold start state=' "$data/holdfast/log/1-$replica.log" | tail -n 1)
        metrics=$(curl -s -m 5 "http://${https[replica - 1]}/metrics" |
            sed -n 's/^holdfast_cold_start_seconds{phase="\([a-z_]*\)"} \(.*\)/"\1_ms":\2/p' | paste -sd ,)
        all+=("$(tr ' ' '\n' <<<"$line" | jq -R 'split("=") | select(length == 2) | {(.[0]): .[1]}' |
            jq -cs --argjson phases "{$metrics}" --arg replica "1/$replica" 'add
                | . + ($phases | map_values(. * 1000)) + {replica: $replica, replayed: ((.last | tonumber) - (.applied | tonumber))}')")
    done
    details=$(printf '%s\n' "${all[@]}" | jq -cs .)
}

holdfast_kill_all() { # SYSTEM MEMBERS KEYS [ARG]
    local out ports
    bench "$3" --workload put --seconds 1
    settle
    ports=$(printf '%s\n' "${clients[@]##*:}" | paste -sd ,)
    out=$("$data/first_read" ${4:+--append "$4"} --holdfast "$(IFS=, && echo "${clients[*]}")" "$key" "$ports" "${pids[@]}") ||
        hf_die 1 'no read from Holdfast'
    # shellcheck disable=SC2046 # a word a number
    started "$(jq -c .pids <<<"$out")" $(seq "$2")
    report "$1" "$2" "$3" "$out" "$details"
    await_status_healthy
}

# Every replica keeps a whole state in a file.
holdfast_keep() { # MEMBERS
    local replica until=$((SECONDS + 600))
    "$cluster" down --dir "$data/holdfast" >/dev/null || hf_die 1 'Holdfast does not end'
    "$cluster" up --dir "$data/holdfast" --set snapshot-keep=1 >/dev/null || hf_die 1 'Holdfast does not start again'
    holdfast snapshot >"$data/out" || hf_die 1 'no snapshot'
    mapfile -t pids < <(of_replicas pid)
    for replica in $(seq "$1"); do
        until compgen -G "$data/holdfast/1-$replica/snapshots/keep-*.stream" >/dev/null; do
            ((SECONDS < until)) || hf_die 1 "replica 1/$replica keeps no state"
            sleep 0.1
        done
    done
}

# One that does not lead, so that the others go on: SYSTEM KEYS [ARG].
holdfast_kill_one() {
    local out leader replica
    bench "$2" --workload put --seconds 1
    settle
    await_status_healthy
    leader=$(holdfast status --json | jq -r '.shards[0].leader')
    replica=$((${leader#1/} % 3 + 1))
    out=$("$data/first_read" ${3:+--append "$3"} --ready "${https[replica - 1]##*:}" "${pids[replica - 1]}") ||
        hf_die 1 "replica 1/$replica is not ready"
    started "$(jq -c .pids <<<"$out")" "$replica"
    report "$1" 3 "$2" "$out" "$details"
    await_status_healthy 120
}

of_holdfast() { # MEMBERS KEYS
    local i
    hf_say "Holdfast 1 x $1, $2 keys"
    holdfast_start "$1"
    bench "$2" --load-only
    [[ $(jq .ops "$data/out") == "$2" ]] || hf_die 1 "Holdfast took $(jq .ops "$data/out") of $2 keys"
    key=$(holdfast scan --keys-only --limit 1) || hf_die 1 'Holdfast does not scan'
    for ((i = 0; i < runs; i++)); do
        holdfast_kill_all Holdfast "$1" "$2"
    done
    if ((restore && $1 == 3)); then
        for ((i = 0; i < runs; i++)); do
            holdfast_kill_one 'one replica' "$2"
        done
        for ((i = 0; i < runs; i++)); do
            holdfast_kill_one 'one, restore' "$2" --cold-start=restore
        done
    fi
    if ((restore)); then
        holdfast_keep "$1"
        for ((i = 0; i < runs; i++)); do
            holdfast_kill_all 'all, restore' "$1" "$2" --cold-start=restore
        done
    fi
    "$cluster" down --dir "$data/holdfast" --wipe >/dev/null || hf_die 1 'Holdfast does not end'
}

# ---- etcd -----------------------------------------------------------------------------------------------------------

etcd_drive() { # KEYS OPTION…
    local leader keys=$1
    shift
    leader=$(etcd_leader) || hf_die 1 'etcd has no leader'
    "$etcd_bench" --endpoint "127.0.0.1:${leader% *}" --records "$keys" --value-bytes "$value_bytes" --outstanding 256 --json \
        "$@" >"$data/out" || { cat "$data/out" >&2 && hf_die 1 'etcd_bench failed'; }
}

of_etcd() { # MEMBERS KEYS
    local i out
    hf_say "etcd, $1 members, $2 keys"
    etcd_start "$1" "$port_base"
    etcd_drive "$2" --load-only
    out=$(etcd_post "${etcd_ports[0]}" /v3/kv/range '{"key":"AA==","range_end":"AA==","count_only":true}' | jq -r .count)
    [[ $out == "$2" ]] || hf_die 1 "etcd has $out of $2 keys"
    for ((i = 0; i < runs; i++)); do
        etcd_drive "$2" --workload put --seconds 1
        settle
        out=$("$data/first_read" --etcd "$(printf %s "$key" | base64)" "$(IFS=, && echo "${etcd_ports[*]}")" "${etcd_pids[@]}") ||
            hf_die 1 'no read from etcd'
        mapfile -t etcd_pids < <(jq -r '.pids[]' <<<"$out")
        report etcd "$1" "$2" "$out"
        etcd_await
    done
    etcd_stop
}

# ---- the table ------------------------------------------------------------------------------------------------------

result() {
    jq -s --arg machine "$(machine)" '
        def middle: sort | .[(length - 1) / 2 | floor];
        def per_replica(f): [.[].details // [] | .[] | f | numbers] | if length == 0 then null else middle end;
        {machine: $machine,
         table: [group_by([.members, .system])[] | group_by(.keys) as $by
             | ($by[0] | map(.answer_ms) | middle) as $smallest
             | $by[] | (map(.answer_ms) | middle) as $ms
             | {members: .[0].members, system: .[0].system, keys: .[0].keys, runs: length, ms: $ms,
                min_ms: (map(.answer_ms) | min), max_ms: (map(.answer_ms) | max),
                over_smallest: ($ms / $smallest), listening_ms: (map(.listening_ms) | middle),
                open_fsm_ms: per_replica(.open_fsm_ms), open_log_ms: per_replica(.open_log_ms),
                restore_ms: per_replica(.restore_ms), ready_ms: per_replica(.ready_ms), replayed: per_replica(.replayed),
                states: ([.[].details // [] | .[] | "\(.state)/\(.outcome)"] | unique | join(" "))}],
         runs: .}' "$data/runs"
}

print_table() {
    jq -r .machine "$data/result"
    printf '\n| %7s | %-12s | %8s | %4s | %8s | %8s | %8s | %6s | %6s | %8s | %8s | %8s | %8s | %8s | %s |\n' members system keys \
        runs 'ms' min max ratio listen 'open fsm' 'open log' restore ready replayed 'state/outcome'
    echo '|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|'
    jq -r 'def n: if . == null then "-" else (. * 10 | round / 10 | tostring) end;
        .table[] | [.members, .system, .keys, .runs, (.ms | n), (.min_ms | n), (.max_ms | n),
        (.over_smallest * 100 | round / 100), (.listening_ms | n), (.open_fsm_ms | n), (.open_log_ms | n), (.restore_ms | n),
        (.ready_ms | n), (.replayed | n), if .states == "" then "-" else .states end] | @tsv' "$data/result" |
        while IFS=$'\t' read -r -a f; do
            printf '| %7s | %-12s | %8s | %4s | %8s | %8s | %8s | %6s | %6s | %8s | %8s | %8s | %8s | %8s | %s |\n' "${f[@]}"
        done
    echo
    echo 'ms: from SIGKILL of all members to the first linearizable read, median of the runs; "all, restore": the same with'
    echo '--cold-start=restore from kept files. "one replica": of one that does not lead, to its /readyz; "one, restore": the same,'
    echo 'its state fetched from another. ratio: over the smallest number of keys. listen: to the first connection. open fsm, open'
    echo 'log, restore, ready: holdfast_cold_start_seconds in ms, and entries behind the applied one that was found: medians over'
    echo 'replicas and runs. Resolution: 1 ms, for a read that found nobody 10 ms.'
}

hf_say "data in $data, $(df --output=fstype,source "$data" | tail -n 1)"
for size in ${sizes//,/ }; do
    for members in ${groups//,/ }; do
        of_holdfast "$members" "$size"
        if ((etcd)) && [[ ,$etcd_sizes, == *,$size,* ]]; then
            of_etcd "$members" "$size"
        fi
    done
done
result >"$data/result" || hf_die 1 'the runs make no table'
if ((json)); then cat "$data/result"; else print_table; fi
