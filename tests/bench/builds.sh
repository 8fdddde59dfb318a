#!/usr/bin/env bash
# builds.sh: two builds of Holdfast, or two engines, taking turns in one run: is the second slower? builds.sh --help
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
usage: builds.sh [options] OLD NEW      build directories; the first is what the second is compared with.
                                        DIR:ENGINE: with that engine (its default)
  --seconds S    of each turn (4)                --rounds N       turns of each (5)
  --outstanding N[,N…]  (64,256)                 --records N      of 256 B (10000)
  --workloads W[,W]     (put,get)                --ways W[,W]     (direct,routed)
  --fail-overs N SIGKILLs of each one's leader, until the next acknowledged write (0)
  --dir D        where the data goes (/tmp)      --port-base P    200 free ports (28000, or 500, 1000, … above)
exit: 0 measured, 1 something did not start or failed, 2 usage
TXT
}

seconds=4 rounds=5 outstanding=64,256 records=10000 workloads=put,get ways=direct,routed dir=/tmp port_base='' builds=() engines=() fail_overs=0
while (($#)); do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --*) (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)" ;;
    *)
        builds+=("$(realpath -- "${1%:*}")")
        [[ $1 == *:* ]] && engines+=("${1##*:}") || engines+=('')
        shift && continue
        ;;
    esac
    case $1 in
    --seconds) seconds=$2 ;;
    --rounds) rounds=$2 ;;
    --outstanding) outstanding=$2 ;;
    --records) records=$2 ;;
    --workloads) workloads=$2 ;;
    --ways) ways=$2 ;;
    --fail-overs) fail_overs=$2 ;;
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
[[ $fail_overs =~ ^[0-9]{1,3}$ ]] || hf_die 2 "--fail-overs takes a number, not \"$fail_overs\" (--help)"
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
        ${engines[i]:+--engine "${engines[i]}"} >/dev/null || hf_die 1 "${builds[i]} did not start"
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
    jq -er 'select((.errors | length) == 0) | [.ops_per_second, .latency_us.p50, .latency_us.p99] | @tsv' <<<"$out" \
        >>"$data/$2-$3-$4-$1" || hf_die 1 "${builds[$1]}: errors: $out"
}

# The leader of BUILD-NUMBER is killed; ms until a client that begins then has its write acknowledged.
fail_over() {
    local leader begin
    (
        eval "$(HOLDFAST_BUILD_DIR=${builds[$1]} "$cluster" env --dir "$data/$1")"
        leader=$(holdfast status --json | jq -r '.shards[0].leader')
        "$cluster" kill --dir "$data/$1" "$leader" -KILL >/dev/null || exit 1
        begin=$(date +%s%N)
        holdfast --timeout 20000 put fail-over x >/dev/null || exit 1
        echo $((($(date +%s%N) - begin) / 1000000)) >>"$data/fail-over-$1"
        HOLDFAST_BUILD_DIR=${builds[$1]} "$cluster" start --dir "$data/$1" "$leader" >/dev/null && await_status_healthy 60
    ) || hf_die 1 "${builds[$1]}: no fail-over"
}

column() { # BUILD-NUMBER FIELD: the median of the rounds
    cut -f "$2" "$name-$1" | median
}

machine
echo "old: ${builds[0]}${engines[0]:+, ${engines[0]}}, new: ${builds[1]}${engines[1]:+, ${engines[1]}};" \
    "$rounds rounds of $seconds s, $records records of 256 B"
echo '| work | way | out | old, per second | new, per second | new / old | of the rounds | old p50 us | new p50 us | old p99 us | new p99 us |'
echo '|---|---|---|---|---|---|---|---|---|---|---|'
for workload in ${workloads//,/ }; do
    for way in ${ways//,/ }; do
        for n in ${outstanding//,/ }; do
            for ((round = 0; round < rounds; round++)); do
                turn $((round % 2)) "$workload" "$way" "$n"
                turn $((1 - round % 2)) "$workload" "$way" "$n"
            done
            name=$data/$workload-$way-$n
            awk -v old="$(column 0 1)" -v new="$(column 1 1)" -v head="| $workload | $way | $n" \
                -v tail="$(column 0 2) | $(column 1 2) | $(column 0 3) | $(column 1 3)" \
                -v all="$(paste "$name-0" "$name-1" | awk '{printf "%.2f ", $4 / $1}')" \
                'BEGIN {printf "%s | %.0f | %.0f | %.3f | %s| %s |\n", head, old, new, new / old, all, tail}'
        done
    done
done
((fail_overs)) || exit 0
for ((round = 0; round < fail_overs; round++)); do
    fail_over $((round % 2))
    fail_over $((1 - round % 2))
done
for i in 0 1; do
    echo "SIGKILL of the leader to the next acknowledged write, ${builds[i]}${engines[i]:+, ${engines[i]}}: median" \
        "$(median <"$data/fail-over-$i") ms ($(sort -n "$data/fail-over-$i" | paste -sd ' '))"
done
