#!/usr/bin/env bash
# learner.sh: a learner's directory is wiped under load: seconds until it has its last key, p99 of puts before and meanwhile.
#
# 1 x 3 and a learner hold --megabytes of keys and values. Puts at a steady rate go on all the time, in windows of
# --window seconds; a window's p99 is holdfast-bench's. The learner is killed, wiped and started; it has its last key when
# it has applied what was committed when it was started (looked for every 20 ms), and has caught up when it is ready too.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: learner.sh [options]
  --megabytes N  of keys and values, in millions of bytes (376)   --value-bytes N  (256)
  --rate N       puts a second all the time (2000)                --window N       seconds of a window (2)
  --before N     windows before the wipe (5)                      --runs N         wipes (3)
  --snapshot-rate B  of every replica, as 10MiB (no limit)        --dir D          where the data goes (/var/tmp)
  --port-base P  100 free ports (28000, or 500, 1000, … above)    --json           every run as JSON
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
exit: 0 measured, 1 something did not start, load or come back, 2 usage
TXT
}

megabytes=376 value_bytes=256 rate=2000 window=2 before=5 runs=3 snapshot_rate=0 dir=/var/tmp port_base='' json=0
while (($#)); do
    case $1 in
    --json) json=1 && shift && continue ;;
    -h | --help) usage && exit 0 ;;
    esac
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --megabytes) megabytes=$2 ;;
    --value-bytes) value_bytes=$2 ;;
    --rate) rate=$2 ;;
    --window) window=$2 ;;
    --before) before=$2 ;;
    --runs) runs=$2 ;;
    --snapshot-rate) snapshot_rate=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 28000 100)}
for value in "$megabytes" "$value_bytes" "$rate" "$window" "$before" "$runs" "$port_base"; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done

bench_build
data=$(mktemp -d "$dir/holdfast-learner-XXXXXX") || hf_die 1 "cannot write to $dir"
load_pid=''
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    [[ -z $load_pid ]] || { kill "$load_pid" && wait "$load_pid"; } 2>/dev/null
    [[ ! -d $data/holdfast ]] || "$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1
    rm -rf "$data"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

learner=1/4 key_bytes=15 # of holdfast-bench
records=$((megabytes * 1000000 / (value_bytes + key_bytes)))

metric() { # HTTP NAME: of a metric without labels; empty while nobody answers
    curl -s -m 2 "http://$1/metrics" | awk -v name="$2" '$1 == name {printf "%.6f\n", $2}'
}

# Windows of puts, one behind the other, until $data/stop is there: p99 in us, a line a window.
windows() { # FILE
    while [[ ! -e $data/stop ]]; do
        holdfast-bench --workload put --records "$records" --value-bytes "$value_bytes" --rate "$rate" --seconds "$window" --json \
            >"$data/window" || return 1
        jq -r '[.latency_us.p99, .latency_us.max, .ops_per_second, (.errors | add // 0)] | @tsv' "$data/window" >>"$1"
    done
}

# The windows while the learner comes back: begun before it is started, ended by the last one that overlaps.
wipe() { # RUN
    local begin commit applied http=${https[3]} done_ms ready_ms
    if ! { "$cluster" kill "$learner" -KILL --dir "$data/holdfast" && "$cluster" wipe "$learner" --dir "$data/holdfast"; }; then
        hf_die 1 'the learner is not gone'
    fi
    : >"$data/meanwhile"
    rm -f "$data/stop"
    windows "$data/meanwhile" &
    load_pid=$!
    commit=$(metric "${https[0]}" holdfast_raft_commit_index)
    begin=${EPOCHREALTIME/./}
    "$cluster" start "$learner" --dir "$data/holdfast" >"$data/start" 2>&1 &
    until applied=$(metric "$http" holdfast_fsm_applied_index) &&
        awk -v a="${applied:-0}" -v c="$commit" 'BEGIN {exit !(a >= c)}'; do
        ((${EPOCHREALTIME/./} - begin < 600000000)) || hf_die 1 "the learner is not back after ten minutes: $(cat "$data/start")"
        sleep 0.02
    done
    done_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    wait $! || hf_die 1 "the learner is not ready: $(cat "$data/start")"
    ready_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    : >"$data/stop"
    wait "$load_pid" || hf_die 1 'holdfast-bench failed'
    load_pid=''
    jq -cn --argjson run "$1" --argjson ms "$done_ms" --argjson ready_ms "$ready_ms" --argjson records "$records" \
        --argjson bytes "$(metric "$http" holdfast_snapshot_received_bytes_total)" \
        --argjson before "$(jq -Rcs 'split("\n") | map(select(. != "") | split("\t") | map(tonumber))' "$data/before")" \
        --argjson meanwhile "$(jq -Rcs 'split("\n") | map(select(. != "") | split("\t") | map(tonumber))' "$data/meanwhile")" '
        def middle: sort | .[(length - 1) / 2 | floor];
        def seen: {windows: length, p99_us: (map(.[0]) | middle), p99_worst_us: (map(.[0]) | max), max_us: (map(.[1]) | max),
                   per_second: (map(.[2]) | middle), errors: (map(.[3]) | add)};
        {run: $run, records: $records, last_key_s: ($ms / 1000), ready_s: ($ready_ms / 1000), stream_bytes: $bytes,
         before: ($before | seen), meanwhile: ($meanwhile | seen)}' >>"$data/runs" || hf_die 1 'a run makes no line'
}

hf_say "data in $data, $(df --output=fstype,source "$data" | tail -n 1): $records records"
sets=()
[[ $snapshot_rate == 0 ]] || sets=(--set "snapshot-rate=$snapshot_rate")
"$cluster" up --dir "$data/holdfast" --shards 1 --replicas 3 --learners 1 --port-base "$port_base" "${sets[@]+"${sets[@]}"}" \
    >/dev/null || hf_die 1 'Holdfast did not start'
eval "$("$cluster" env --dir "$data/holdfast")"
mapfile -t https < <(of_replicas http)
holdfast-bench --load-only --records "$records" --value-bytes "$value_bytes" --json >"$data/out" ||
    { cat "$data/out" >&2 && hf_die 1 'holdfast-bench failed'; }
for ((run = 1; run <= runs; run++)); do
    await_status_healthy 120
    sync -f "$data"
    : >"$data/before"
    rm -f "$data/stop"
    windows "$data/before" &
    load_pid=$!
    sleep $((before * window - 1)) # the window that runs then is the last
    : >"$data/stop"
    wait "$load_pid" || hf_die 1 'holdfast-bench failed'
    load_pid=''
    wipe "$run"
done
await_status_healthy 120
if ((json)); then
    jq -s . "$data/runs"
    exit
fi
machine
echo "$records records, $megabytes MB of keys and values, puts of $value_bytes B at $rate a second in windows of $window s, 1 x 3 and a learner"
jq -rs 'def r: . * 10 | round / 10;
    ["run", "last key s", "ready s", "stream MB", "p99 us before", "p99 us meanwhile", "worst window before", "worst meanwhile",
     "max us before", "max meanwhile", "errors"],
    (.[] | [.run, .last_key_s, .ready_s, (.stream_bytes / 1e6 | r), .before.p99_us, .meanwhile.p99_us, .before.p99_worst_us,
     .meanwhile.p99_worst_us, .before.max_us, .meanwhile.max_us, .before.errors + .meanwhile.errors]) | @tsv' "$data/runs" |
    column -t -s $'\t'
