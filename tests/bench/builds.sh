#!/usr/bin/env bash
# builds.sh: two builds of Holdfast taking turns in one run: is the second slower than the first? builds.sh --help
#
# Each has a cluster of 1 x 3 of its own, with the same settings, both up all the time; the one whose turn it is not gets no
# work. They take turns of --seconds in changing order. A figure is the median of its rounds, the ratio that of the medians.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: builds.sh [options] OLD NEW      build directories; the first is what the second is compared with
  --seconds S    of each turn (4)                --rounds N       turns of each (5)
  --outstanding N[,N…]  (64,256)                 --records N      of 256 B (10000)
  --workloads W[,W]     (put,get)                --ways W[,W]     (direct,routed)
  --dir D        where the data goes (/tmp)      --port-base P    200 free ports (28000, or 500, 1000, … above)
exit: 0 measured, 1 something did not start or failed, 2 usage
TXT
}

seconds=4 rounds=5 outstanding=64,256 records=10000 workloads=put,get ways=direct,routed dir=/tmp port_base='' builds=()
while (($#)); do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --*) (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)" ;;
    *) builds+=("$(realpath -- "$1")") && shift && continue ;;
    esac
    case $1 in
    --seconds) seconds=$2 ;;
    --rounds) rounds=$2 ;;
    --outstanding) outstanding=$2 ;;
    --records) records=$2 ;;
    --workloads) workloads=$2 ;;
    --ways) ways=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
((${#builds[@]} == 2)) || hf_die 2 'two build directories are wanted (--help)'
port_base=${port_base:-$(hf_free_base 28000 200)}
for value in "$seconds" "$rounds" "$records" "$port_base" ${outstanding//,/ }; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done
for build in "${builds[@]}"; do
    [[ -x $build/bin/holdfast-shard && -x $build/bin/holdfast-bench ]] || hf_die 2 "$build holds no built Holdfast"
done

hf_install jq
data=$(mktemp -d "$dir/holdfast-builds-XXXXXX") || hf_die 1 "cannot write to $dir"
cluster=$HF_ROOT/deploy/local-cluster.sh
export HOLDFAST_SKIP_BUILD=1
trap 'for i in 0 1; do "$cluster" down --dir "$data/$i" --wipe >/dev/null 2>&1; done; rm -rf "$data"' EXIT
for i in 0 1; do
    HOLDFAST_BUILD_DIR=${builds[i]} "$cluster" up --dir "$data/$i" --shards 1 --replicas 3 --port-base $((port_base + 100 * i)) \
        >/dev/null || hf_die 1 "${builds[i]} did not start"
done

turn() { # BUILD-NUMBER WORKLOAD WAY OUTSTANDING
    local out
    local -a way=()
    [[ $3 == direct ]] || way=(--routed)
    sync
    out=$(
        eval "$(HOLDFAST_BUILD_DIR=${builds[$1]} "$cluster" env --dir "$data/$1")"
        holdfast-bench --workload "$2" --records "$records" --outstanding "$4" --seconds "$seconds" --json "${way[@]+"${way[@]}"}"
    ) || hf_die 1 "${builds[$1]}: $out"
    jq -er 'select((.errors | length) == 0) | .ops_per_second' <<<"$out" >>"$data/$2-$3-$4-$1" ||
        hf_die 1 "${builds[$1]}: errors: $out"
}

machine
echo "old: ${builds[0]}, new: ${builds[1]}; $rounds rounds of $seconds s, $records records of 256 B"
echo '| work | way | out | old, per second | new, per second | new / old | of the rounds |'
echo '|---|---|---|---|---|---|---|'
for workload in ${workloads//,/ }; do
    for way in ${ways//,/ }; do
        for n in ${outstanding//,/ }; do
            for ((round = 0; round < rounds; round++)); do
                turn $((round % 2)) "$workload" "$way" "$n"
                turn $((1 - round % 2)) "$workload" "$way" "$n"
            done
            name=$data/$workload-$way-$n
            awk -v old="$(median <"$name-0")" -v new="$(median <"$name-1")" -v head="| $workload | $way | $n" \
                -v all="$(paste "$name-0" "$name-1" | awk '{printf "%.2f ", $2 / $1}')" \
                'BEGIN {printf "%s | %.0f | %.0f | %.3f | %s|\n", head, old, new, new / old, all}'
        done
    done
done
