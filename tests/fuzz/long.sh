#!/usr/bin/env bash
# long.sh: fuzz targets in turn, each for SECONDS; inputs that reach something new are merged into the kept corpus.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || hf_die 2 'usage: tests/fuzz/long.sh SECONDS [TARGET…]   (HOLDFAST_FUZZ_BUILD: a build of the preset fuzz; FOREVER=1: again and again)'
seconds=$1
shift
build=${HOLDFAST_FUZZ_BUILD:-$HF_ROOT/build/fuzz}
corpus=$HF_ROOT/tests/fuzz/corpus
work=$build/long
targets=("$@")
if ((${#targets[@]} == 0)); then
    for path in "$build"/bin/fuzz_*; do
        targets+=("${path##*/}")
    done
fi
mkdir -p "$work"

# run TARGET: 1 when it found something; the input is then $work/TARGET-<kind>-<hash>.
run() {
    local target=$1 found=$work/$1 log=$work/$1.log code
    mkdir -p "$found" "$corpus/$target"
    "$build/bin/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -max_len=16384 -print_final_stats=1 \
        -artifact_prefix="$work/$target-" "$found" "$corpus/$target" >"$log" 2>&1 </dev/null
    code=$?
    printf '%s %s exit %d executions %s\n' "$(date +%H:%M:%S)" "$target" "$code" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    "$build/bin/$target" -merge=1 -max_len=16384 -rss_limit_mb=2048 "$corpus/$target" "$found" >"$work/$target.merge.log" 2>&1 </dev/null
    rm -rf "$found"
    return $((code != 0))
}

failed=()
while :; do
    for target in "${targets[@]}"; do
        run "$target" || failed+=("$target")
    done
    [[ ${FOREVER:-0} == 1 ]] || break
done
((${#failed[@]} == 0)) || printf 'found something: %s; inputs and reports in %s\n' "${failed[*]}" "$work"
((${#failed[@]} == 0))
