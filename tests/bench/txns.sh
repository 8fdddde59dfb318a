#!/usr/bin/env bash
# txns.sh: transactions a second on 2 shards x 3 and 2 coordinators, two keys each, in one shard and in two. txns.sh --help
#
# Each transaction writes two keys, drawn uniformly, and reads none. Puts stand beside them as what one write costs. The rounds of all rows
# take turns; a figure is the median of its rounds. Conflicts: of all commits, those that were refused because another was first.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: txns.sh [options]
  --seconds S    of each run (5)              --rounds N       runs of each, of which the median (3)
  --records N[,N…]  key spaces (100000,1000)  --outstanding N[,N…]  transactions at a time (1,16,64)
  --dir D        where the data goes (/tmp)   --port-base P    100 free ports (28000, or 500, 1000, … above)
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
exit: 0 measured, 1 something did not start or failed, 2 usage
TXT
}

seconds=5 rounds=3 records=100000,1000 outstanding=1,16,64 dir=/tmp port_base=''
while (($#)); do
    [[ $1 != -h && $1 != --help ]] || { usage && exit 0; }
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --seconds) seconds=$2 ;;
    --rounds) rounds=$2 ;;
    --records) records=$2 ;;
    --outstanding) outstanding=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 28000 100)}
for value in "$seconds" "$rounds" ${records//,/ } ${outstanding//,/ } "$port_base"; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done

bench_build
data=$(mktemp -d "$dir/holdfast-txns-XXXXXX") || hf_die 1 "cannot write to $dir"
trap '"$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1; rm -rf "$data"' EXIT
"$cluster" up --dir "$data/holdfast" --shards 2 --replicas 3 --coordinators 2 --port-base "$port_base" >/dev/null ||
    hf_die 1 'Holdfast did not start'
eval "$("$cluster" env --dir "$data/holdfast")"
machine

bench() { # WORKLOAD RECORDS OUTSTANDING: appends rate, p50, p99, conflicts in percent to a file of its own
    local out
    out=$(holdfast-bench --seconds "$seconds" --records "$2" --workload "$1" --outstanding "$3" --json) ||
        hf_die 1 "holdfast-bench --workload $1: $out"
    jq -er 'select((.errors | length) == 0) | [.ops_per_second, .latency_us.p50, .latency_us.p99,
            100 * (.conflicts // 0) / (.ops + (.conflicts // 0))] | @tsv' <<<"$out" >>"$data/$1-$2-$3" ||
        hf_die 1 "holdfast-bench --workload $1: errors: $out"
}

for ((round = 0; round < rounds; round++)); do
    for count in ${records//,/ }; do
        for n in ${outstanding//,/ }; do
            for workload in put txn txn-apart; do
                bench "$workload" "$count" "$n"
            done
        done
    done
done
echo '| keys | out | work | per second | p50 us | p99 us | conflicts |'
echo '|---|---|---|---|---|---|---|'
for count in ${records//,/ }; do
    for n in ${outstanding//,/ }; do
        for workload in put txn txn-apart; do
            file=$data/$workload-$count-$n
            printf '| %d | %d | %s | %.0f | %.0f | %.0f | %.2f %% |\n' "$count" "$n" "$workload" \
                "$(cut -f 1 "$file" | median)" "$(cut -f 2 "$file" | median)" "$(cut -f 3 "$file" | median)" \
                "$(cut -f 4 "$file" | median)"
        done
    done
done
