#!/usr/bin/env bash
# space.sh: bytes on disk before and after collection, and what collection costs puts, on 1 x 3. space.sh --help
#
# "collected" keeps --retention seconds, "endless" a year: nothing goes. Each gets the same overwrites of few keys, in clusters of
# their own that take turns. Bytes are those of the replicas' fsm directories, after a snapshot, which writes what was in memory;
# the median of the replicas. Collection is at rest when for four seconds no file changed its size and next to no version went
# (the catalog's own are written and go all the time) and its watermark is past the last write.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: space.sh [options]
  --puts N       overwrites in a run (1000000)    --keys N         of so many keys (10000)
  --value-bytes B  of each (100)                  --retention S    of "collected", seconds (5)
  --rounds N     runs of each, of which the median; the fresh load and the deletion are done in the first only (3)
  --outstanding N  puts at a time (256)           --rest S         how long collection may take (300)
  --dir D        where the data goes (/tmp)       --port-base P    100 free ports (28000, or 500, 1000, … above)
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
exit: 0 measured, 1 something did not start or failed, or collection found no rest, 2 usage
TXT
}

puts=1000000 keys=10000 value_bytes=100 retention=5 rounds=3 outstanding=256 rest=300 dir=/tmp port_base=''
while (($#)); do
    [[ $1 != -h && $1 != --help ]] || { usage && exit 0; }
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --puts) puts=$2 ;;
    --keys) keys=$2 ;;
    --value-bytes) value_bytes=$2 ;;
    --retention) retention=$2 ;;
    --rounds) rounds=$2 ;;
    --outstanding) outstanding=$2 ;;
    --rest) rest=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 28000 100)}
for value in "$puts" "$keys" "$value_bytes" "$retention" "$rounds" "$outstanding" "$rest" "$port_base"; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done

bench_build
data=$(mktemp -d "$dir/holdfast-space-XXXXXX") || hf_die 1 "cannot write to $dir"
trap '"$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1; rm -rf "$data"' EXIT

up() { # RETENTION
    "$cluster" up --dir "$data/holdfast" --shards 1 --replicas 3 --port-base "$port_base" --set retention-seconds="$1" \
        --coordinator-set retain-lease-seconds=1 >/dev/null || hf_die 1 'Holdfast did not start'
    eval "$("$cluster" env --dir "$data/holdfast")"
}

down() {
    "$cluster" down --dir "$data/holdfast" --wipe >/dev/null || hf_die 1 'Holdfast did not end'
}

metrics() { # a file a replica, $data/metrics-N
    local n=0 http
    for http in $(of_replicas http); do
        n=$((n + 1))
        curl -sf -m 10 "http://$http/metrics" >"$data/metrics-$n" || hf_die 1 "no metrics from $http"
    done
}

# metric NAME: the smallest of the replicas' values
metric() {
    awk -v name="$1" '$1 == name {print $2}' "$data"/metrics-? | sort -n | head -n 1
}

# The longest apply of a turn on any replica, in ms, as the bucket's upper end.
longest_ms() {
    local file
    metrics
    for file in "$data"/metrics-?; do
        awk -F '[" ]' '/^holdfast_fsm_apply_seconds_bucket/ {if ($4 > most) {most = $4; le = $2}} END {printf "%.3f\n", 1000 * le}' "$file"
    done | sort -n | tail -n 1
}

bytes_of() { # of *.sst and of everything in each replica's fsm directory, a line a replica
    local one
    for one in $(of_replicas dir); do
        # a compaction may remove a file meanwhile
        find "$one/fsm" -type f -printf '%s %f\n' 2>/dev/null |
            awk '{all += $1; if ($2 ~ /[.]sst$/) sst += $1} END {printf "%d %d\n", sst, all}'
    done
}

sizes() { # NAME: appends to a file of its own the bytes of *.sst and of everything
    holdfast snapshot >/dev/null || hf_die 1 'holdfast snapshot failed'
    bytes_of | sort -n | sed -n 2p >>"$data/size-$1"
}

# at_rest NAME: back when collection is at rest; appends the seconds to the last change
at_rest() {
    local begun=$EPOCHREALTIME changed=$EPOCHREALTIME versions=0 was='' now removed passes=0
    while :; do
        metrics
        now=$(bytes_of | cut -d ' ' -f 1)
        removed=$(metric holdfast_collect_versions_total)
        if [[ $now != "$was" ]] || ((removed > versions + 100)) ||
            awk -v w="$(metric holdfast_collect_watermark_timestamp_seconds)" -v t="$begun" 'BEGIN {exit !(w < t)}'; then
            changed=$EPOCHREALTIME was=$now versions=$removed passes=$(metric holdfast_collect_passes_total)
        elif ((${EPOCHREALTIME%.*} - ${changed%.*} > 4 && $(metric holdfast_collect_passes_total) > passes + 1)); then
            break
        fi
        ((${EPOCHREALTIME%.*} - ${begun%.*} < rest)) || hf_die 1 "collection is not at rest after $rest s"
        sleep 0.25
    done
    awk -v a="$begun" -v b="$changed" 'BEGIN {printf "%.1f\n", b - a}' >>"$data/rest-$1"
}

overwrite() { # NAME: appends rate, p99, longest apply, share of the versions already gone to a file of its own
    local out
    out=$(holdfast-bench --records "$keys" --value-bytes "$value_bytes" --workload put --operations "$puts" \
        --outstanding "$outstanding" --json) || hf_die 1 "holdfast-bench: $out"
    jq -e '(.errors | length) == 0' <<<"$out" >/dev/null || hf_die 1 "holdfast-bench: errors: $out"
    printf '%s %s\n' "$(jq -r '"\(.ops_per_second) \(.latency_us.p99)"' <<<"$out")" "$(longest_ms)" >>"$data/put-$1"
    metric holdfast_collect_versions_total >>"$data/gone-$1"
    sizes "$1, after the writes"
}

round_of() { # endless|collected
    if [[ $1 == endless ]]; then
        up 31536000
        overwrite endless
    else
        up "$retention"
        overwrite collected
        at_rest writes
        sizes 'collected, at rest'
        metric 'holdfast_collect_compactions_total{outcome="done"}' >>"$data/compactions"
        if ((round == 1)); then
            holdfast delprefix '' >/dev/null || hf_die 1 'holdfast delprefix failed'
            at_rest deletion
            sizes 'all keys deleted, at rest'
        fi
    fi
    grep -h 'compacted after collection' "$data"/holdfast/log/1-1.log >&2
    down
}

up 31536000
machine
holdfast-bench --records "$keys" --value-bytes "$value_bytes" --load-only --json >/dev/null || hf_die 1 'holdfast-bench failed'
sizes 'fresh load of the keys'
down
for ((round = 1; round <= rounds; round++)); do
    ((round % 2)) && order='endless collected' || order='collected endless'
    for name in $order; do
        round_of "$name"
    done
done

column_of() { # FILE COLUMN
    cut -d ' ' -f "$2" "$data/$1" | median
}
echo "$puts puts of $value_bytes B on $keys keys, $outstanding outstanding, retention $retention s; medians of $rounds rounds"
echo '| a replica, bytes | *.sst | whole |'
echo '|---|---|---|'
for name in 'endless, after the writes' 'collected, after the writes' 'collected, at rest' 'fresh load of the keys' \
    'all keys deleted, at rest'; do
    printf '| %s | %d | %d |\n' "$name" "$(column_of "size-$name" 1)" "$(column_of "size-$name" 2)"
done
echo '| puts | per second | p99 us | longest apply ms | collected meanwhile |'
echo '|---|---|---|---|---|'
for name in endless collected; do
    printf '| %s | %.0f | %.0f | %.1f | %d |\n' "$name" "$(column_of "put-$name" 1)" "$(column_of "put-$name" 2)" \
        "$(cut -d ' ' -f 3 "$data/put-$name" | sort -n | tail -n 1)" "$(median <"$data/gone-$name")"
done
awk -v a="$(column_of put-collected 1)" -v b="$(column_of put-endless 1)" 'BEGIN {printf "collected over endless: %.3f of the puts\n", a / b}'
printf 'at rest: %s s after the last put (%s compactions), %s s after the deletion\n' "$(median <"$data/rest-writes")" \
    "$(median <"$data/compactions")" "$(median <"$data/rest-deletion")"
