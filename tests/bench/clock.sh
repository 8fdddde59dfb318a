#!/usr/bin/env bash
# clock.sh: the clock's figures on 2 shards x 3 and 2 coordinators: timestamps, snapshot scans, cuts, fail-over. clock.sh --help
#
# Timestamps: as many as are drawn with 1 to 256 outstanding; with 1 it is what the beginning of a snapshot or transaction
# waits for. Scans of 100 items take turns: of the latest and as of one timestamp. Cuts: `dump` of all records at a strict
# cut, under no load. Fail-over: SIGKILL of the active coordinator, or of the leader of shard 2, to the next timestamp, or
# snapshot read, of a command started at that moment.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: clock.sh [options]
  --seconds S    of each run (5)              --rounds N       runs of each, of which the median (3)
  --records N    of 256 B (100000)            --kills N        of each kind (10)
  --dir D        where the data goes (/tmp)   --port-base P    100 free ports (28000, or 500, 1000, … above)
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
exit: 0 measured, 1 something did not start or failed, 2 usage
TXT
}

seconds=5 rounds=3 records=100000 kills=10 dir=/tmp port_base=''
while (($#)); do
    [[ $1 != -h && $1 != --help ]] || { usage && exit 0; }
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --seconds) seconds=$2 ;;
    --rounds) rounds=$2 ;;
    --records) records=$2 ;;
    --kills) kills=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 28000 100)}
for value in "$seconds" "$rounds" "$records" "$kills" "$port_base"; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done

bench_build
data=$(mktemp -d "$dir/holdfast-clock-XXXXXX") || hf_die 1 "cannot write to $dir"
trap '"$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1; rm -rf "$data"' EXIT
"$cluster" up --dir "$data/holdfast" --shards 2 --replicas 3 --coordinators 2 --splits n --port-base "$port_base" >/dev/null ||
    hf_die 1 'Holdfast did not start'
eval "$("$cluster" env --dir "$data/holdfast")"
{ holdfast-bench --load-only --records "$records" && holdfast put zz-last x; } >/dev/null || hf_die 1 'the load failed'
machine

bench() { # NAME OPTION…: appends rate, p50, p99 to the file NAME
    local out name=$1
    shift
    out=$(holdfast-bench --seconds "$seconds" --records "$records" --no-load --json "$@") || hf_die 1 "holdfast-bench $*: $out"
    jq -er 'select((.errors | length) == 0) | [.ops_per_second, .latency_us.p50, .latency_us.p99] | @tsv' <<<"$out" \
        >>"$data/$name" || hf_die 1 "holdfast-bench $*: errors: $out"
}
row() { # TITLE NAME: the medians of the file NAME
    printf '| %s | %.0f | %.0f | %.0f |\n' "$1" "$(cut -f 1 "$data/$2" | median)" "$(cut -f 2 "$data/$2" | median)" \
        "$(cut -f 3 "$data/$2" | median)"
}
ms_since() { echo $((($(date +%s%N) - $1) / 1000000)); }
list() { # TITLE NAME
    printf '%s, ms: median %s of %s\n' "$1" "$(median <"$data/$2")" "$(sort -n "$data/$2" | tr '\n' ' ')"
}

outstanding=(1 64 256)
for ((i = 0; i < rounds; i++)); do
    for n in "${outstanding[@]}"; do
        bench "timestamp-$n" --workload timestamp --outstanding "$n"
    done
    bench latest --workload scan --outstanding 16
    bench snapshot --workload scan --outstanding 16 --snapshot
    begin=$(date +%s%N)
    [[ $(holdfast dump | wc -l) -ge $records ]] || hf_die 1 'the dump is too short'
    ms_since "$begin" >>"$data/dump"
done
echo '| work | per second | p50 us | p99 us |'
echo '|---|---|---|---|'
for n in "${outstanding[@]}"; do
    row "timestamp, $n outstanding" "timestamp-$n"
done
row 'scan of 100 items, latest, 16 outstanding' latest
row 'scan of 100 items, as of one timestamp' snapshot
list "dump of $records records at a cut" dump

for ((i = 0; i < kills; i++)); do
    await_status_healthy 60
    active=$(holdfast status --json | jq -r '.coordinators[] | select(.active) | .id')
    [[ -n $active ]] || hf_die 1 'no coordinator is active'
    "$cluster" kill --dir "$data/holdfast" "coordinator/$active" -KILL >/dev/null
    begin=$(date +%s%N)
    holdfast --timeout 20000 timestamp >/dev/null || hf_die 1 'no timestamp after 20 s'
    ms_since "$begin" >>"$data/coordinator"
    "$cluster" start --dir "$data/holdfast" "coordinator/$active" >/dev/null || hf_die 1 "coordinator/$active did not start"
done
list 'SIGKILL of the active coordinator to the next timestamp' coordinator
for ((i = 0; i < kills; i++)); do
    await_status_healthy 60
    leader=$(holdfast status --json | jq -r '.shards[] | select(.shard == 2) | .leader')
    "$cluster" kill --dir "$data/holdfast" "$leader" -KILL >/dev/null
    begin=$(date +%s%N)
    at=$(holdfast --timeout 20000 timestamp) || hf_die 1 'no timestamp after 20 s'
    holdfast --timeout 20000 get --at "$at" zz-last >/dev/null || hf_die 1 'no snapshot read after 20 s'
    ms_since "$begin" >>"$data/leader"
    "$cluster" start --dir "$data/holdfast" "$leader" >/dev/null || hf_die 1 "$leader did not start"
done
list 'SIGKILL of the leader of shard 2 to the next snapshot read there' leader
