#!/usr/bin/env bash
# backup.sh: seconds of backup create, verify, restore, and of holdfast verify, on 1 x 3. backup.sh [KEYS [VALUE_BYTES [ROUNDS]]]
#
# Loads KEYS (1000000) of VALUE_BYTES (256) by holdfast-bench; ROUNDS (3) times each step, a table with the median; a fresh
# cluster for each restore. Meant for a quiet machine; ROUNDS 1 and few keys only show that it runs.
set -u -o pipefail
export LC_ALL=C
[[ ${1:-} == --help ]] && { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0; }
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
keys=${1:-1000000} bytes=${2:-256} rounds=${3:-3}
dir=$(mktemp -d "${HOLDFAST_BENCH_DIR:-/tmp}/holdfast-backup-XXXXXX")
cluster=$top/deploy/local-cluster.sh
port=${PORT_BASE:-25500}
trap '"$cluster" down --dir "$dir/c" --wipe >/dev/null 2>&1; "$cluster" down --dir "$dir/r" --wipe >/dev/null 2>&1; rm -rf "$dir"' EXIT

fail() {
    echo "backup.sh: $1" >&2
    exit 1
}
timed() { # NAME COMMAND…: its seconds go into the file NAME
    local name=$1 begin end
    shift
    begin=$(date +%s%N)
    "$@" >"$dir/out" 2>"$dir/err" || fail "$name: $(tail -n 1 "$dir/err")"
    end=$(date +%s%N)
    awk -v ns=$((end - begin)) 'BEGIN {printf "%.2f\n", ns / 1e9}' >>"$dir/$name"
}
median() { sort -n "$dir/$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

"$cluster" up --dir "$dir/c" --shards 1 --replicas 3 --port-base "$port" >/dev/null || fail "no cluster"
eval "$("$cluster" env --dir "$dir/c")"
holdfast-bench --records "$keys" --value-bytes "$bytes" --load-only --outstanding 512 >/dev/null || fail "load"
for ((i = 0; i < rounds; i++)); do
    rm -rf "$dir/b"
    timed create holdfast backup create "$dir/b"
    timed check holdfast backup verify "$dir/b"
    timed compare holdfast verify
done
size=$(du -sb "$dir/b" | cut -f 1)
"$cluster" down --dir "$dir/c" --wipe >/dev/null
for ((i = 0; i < rounds; i++)); do
    "$cluster" up --dir "$dir/r" --shards 1 --replicas 3 --port-base "$port" >/dev/null || fail "no second cluster"
    eval "$("$cluster" env --dir "$dir/r")"
    timed restore holdfast backup restore "$dir/b"
    grep -q "^restored $keys expired 0$" "$dir/out" || fail "restore said: $(tail -n 1 "$dir/out")"
    "$cluster" down --dir "$dir/r" --wipe >/dev/null
done
printf '%s keys of %s B, 1 x 3, a file of %s MiB, median of %s\n' "$keys" "$bytes" "$((size / 1048576))" "$rounds"
printf '%-28s %8s s\n' 'backup create' "$(median create)" 'backup verify' "$(median check)" \
    'holdfast verify (3 replicas)' "$(median compare)" 'backup restore' "$(median restore)"
