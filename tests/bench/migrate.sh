#!/usr/bin/env bash
# migrate.sh: all shards change their engine and change it back, while one client a shard writes: how long each shard paused, how long it
# took, with few keys and with many; and a rolling update of all processes, likewise.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=tests/bench/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: migrate.sh [options]
  --sizes A,B,…  keys a shard (10000,1000000)       --shards N    (4)
  --changes N    of engine, for each size (6)       --dir D       where the data goes (/var/tmp)
  --port-base P  100 free ports (28000, or above)   --json        every size as JSON
  --no-update    no rolling update
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take the Holdfast that is built)
exit: 0 measured, 1 something did not start, load, change, or a write failed, 2 usage
TXT
}

sizes=10000,1000000 shards=4 changes=6 dir=/var/tmp port_base='' json=0 update=1
while (($#)); do
    case $1 in
    --json) json=1 && shift && continue ;;
    --no-update) update=0 && shift && continue ;;
    -h | --help) usage && exit 0 ;;
    esac
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --sizes) sizes=$2 ;;
    --shards) shards=$2 ;;
    --changes) changes=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
port_base=${port_base:-$(hf_free_base 28000 100)}
[[ $shards =~ ^[1-9]$ && $changes =~ ^[1-9][0-9]*$ && $sizes =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || hf_die 2 'sizes, shards or changes (--help)'

bench_build
data=$(mktemp -d "$dir/holdfast-migrate-XXXXXX") || hf_die 1 "cannot write to $dir"
probe_pid=''
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    [[ -z $probe_pid ]] || { kill -KILL "$probe_pid" && wait "$probe_pid"; } 2>/dev/null
    [[ ! -d $data/holdfast ]] || "$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1
    rm -rf "$data"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# Keys of eight digits, evenly over all shards, which are cut at round numbers.
splits() {
    seq 1 $((shards - 1)) | awk -v n="$shards" '{printf "%s%08d", (NR > 1 ? "," : ""), $1 * 100000000 / n}'
}

fill() { # KEYS-A-SHARD
    awk -v n=$(($1 * shards)) 'BEGIN {for (i = 0; i < n; i++) printf "%08d\t%016d\n", i * (100000000 / n), i}' | shuf >"$data/records"
    holdfast load "$data/records" --outstanding 512 >"$data/out" 2>&1 || { tail -n 3 "$data/out" >&2 && hf_die 1 'the load failed'; }
    rm "$data/records"
}

probe_start() {
    local i keys=()
    for ((i = 0; i < shards; i++)); do
        keys+=("$(printf '%08dp' $((i * 100000000 / shards + 1)))")
    done
    : >"$data/pauses"
    "$data/probe" "$HOLDFAST_COORDINATORS" "${keys[@]}" >>"$data/pauses" &
    probe_pid=$!
    sleep 1
    probe_line && : >"$data/pauses" # connections were made
}

# probe_line: one more line of what happened since the last.
probe_line() {
    local before now
    before=$(wc -l <"$data/pauses")
    kill -USR1 "$probe_pid" || hf_die 1 'the clients ended'
    until now=$(wc -l <"$data/pauses") && ((now > before)); do
        sleep 0.01
    done
}

probe_stop() {
    kill "$probe_pid" 2>/dev/null
    wait "$probe_pid"
    probe_pid=''
}

engine_now() {
    holdfast --json status | jq -r '[.shards[].engine] | unique | join(" ")'
}

measure() { # KEYS-A-SHARD
    local i to begin
    "$cluster" up --dir "$data/holdfast" --shards "$shards" --replicas 3 --splits "$(splits)" --port-base "$port_base" >/dev/null ||
        hf_die 1 'Holdfast did not start'
    eval "$("$cluster" env --dir "$data/holdfast")"
    fill "$1"
    probe_start
    : >"$data/jobs"
    for ((i = 0; i < changes; i++)); do
        [[ $(engine_now) == native ]] && to=libraft || to=native
        begin=${EPOCHREALTIME/./}
        holdfast migrate start --to "$to" --yes >"$data/out" 2>&1 || { cat "$data/out" >&2 && hf_die 1 "no change to $to"; }
        printf '%s\n' $(((${EPOCHREALTIME/./} - begin) / 1000)) >>"$data/jobs"
        holdfast --json migrate status | jq -c '[.shards[].took_ms]' >>"$data/took"
        probe_line
        sleep 1
    done
    if ((update)); then
        "$cluster" up --dir "$data/holdfast" --set replay-budget=24MiB >/dev/null || hf_die 1 'no other configuration'
        cp "$data/pauses" "$data/changed"
        probe_line && : >"$data/pauses" # of neither
        begin=${EPOCHREALTIME/./}
        "$HF_ROOT/deploy/rolling-update.sh" --dir "$data/holdfast" --yes >"$data/out" 2>&1 || { tail -n 3 "$data/out" >&2 && hf_die 1 'no update'; }
        printf '%s\n' $(((${EPOCHREALTIME/./} - begin) / 1000)) >"$data/updated"
    else
        cp "$data/pauses" "$data/changed"
        printf 'null\n' >"$data/updated"
    fi
    probe_stop
    result "$1"
    "$cluster" down --dir "$data/holdfast" --wipe >/dev/null 2>&1
    rm -rf "$data/holdfast" "$data/took"
}

result() { # KEYS-A-SHARD
    jq -cn --argjson keys "$1" --argjson shards "$shards" --slurpfile changed "$data/changed" --slurpfile jobs "$data/jobs" \
        --slurpfile took "$data/took" --slurpfile updated "$data/updated" --slurpfile last "$data/pauses" '
        def middle: sort | .[(length - 1) / 2 | floor];
        ($changed | map(.[].longest_ms)) as $pauses |
        {keys: $keys, shards: $shards, changes: ($jobs | length), failed: ($changed + $last | map(.[].failed) | add),
         pause_p50_ms: ($pauses | middle), pause_max_ms: ($pauses | max), shard_p50_ms: ($took | add | middle), shard_max_ms: ($took | add | max),
         job_p50_ms: ($jobs | middle), update_ms: $updated[0],
         update_pause_max_ms: (if $updated[0] then $last | map(.[].longest_ms) | max else null end)}' >>"$data/results" ||
        hf_die 1 'the run makes no line'
}

lib=$(find "$HF_BUILD" -name libholdfast.so -print -quit)
gcc -std=c11 -D_GNU_SOURCE -O2 -pthread -I "$HF_ROOT/client/include" "$HF_ROOT/tests/bench/pauses.c" -o "$data/probe" "$lib" \
    -Wl,-rpath,"${lib%/*}" || hf_die 1 'pauses could not be built'
for size in ${sizes//,/ }; do
    hf_say "$shards shards of three replicas, $size keys each; data in $data, $(df --output=fstype,source "$data" | tail -n 1)"
    measure "$size"
done
if ((json)); then
    jq -s . "$data/results"
else
    printf '| keys a shard | shards × changes | writes failed | pause p50 / max ms | a shard p50 / max ms | job ms | update of %d processes s | its longest pause ms |\n|---|---|---|---|---|---|---|---|\n' $((shards * 3 + 1))
    jq -r '"| \(.keys) | \(.shards) × \(.changes) | \(.failed) | \(.pause_p50_ms) / \(.pause_max_ms) | \(.shard_p50_ms) / \(.shard_max_ms) | \(.job_p50_ms) | \(if .update_ms then .update_ms / 100 | round / 10 else "" end) | \(.update_pause_max_ms // "") |"' "$data/results"
fi
[[ $(jq -s 'map(.failed) | add' "$data/results") == 0 ]] || hf_die 1 'writes failed'
