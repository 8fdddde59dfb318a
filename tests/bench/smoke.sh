#!/usr/bin/env bash
# smoke.sh: vs-etcd.sh, snapshots.sh and cpu.sh run and print numbers; which numbers is not judged. Takes HOLDFAST_BUILD_DIR as built.
set -u -o pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export HOLDFAST_SKIP_BUILD=1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

fail() {
    cat "$out"/* >&2
    echo "smoke.sh: $1" >&2
    exit 1
}

"$here/vs-etcd.sh" --seconds 2 --rounds 1 --outstanding 64 --records 2000 --routed --json >"$out/table" 2>"$out/log" ||
    fail "vs-etcd.sh ended with $?"
jq -e '(.table | length) == 6 and (.turns | length) == 6 and ([.table[] | .work + " " + .system] | sort)
        == ["get direct", "get etcd", "get routed", "put direct", "put etcd", "put routed"]
    and all(.table[]; .errors == 0 and ([.per_second, .ratio, .p50_us, .p99_us, .server_cpu_us, .driver_cpu_us] | min) > 0)
    and all(.table[]; (.syncs_per_op | type) == "number")' "$out/table" >/dev/null ||
    fail 'the table of vs-etcd.sh is not full, or has errors'

"$here/snapshots.sh" --seconds 1 --rounds 1 --records 1000 --outstanding 64 --json >"$out/snapshots" 2>"$out/log" ||
    fail "snapshots.sh ended with $?"
jq -e '([.[].name] | sort) == ["off", "often", "on"] and all(.[]; .errors == 0 and .per_second > 0)
    and (.[] | select(.name == "often") | .snapshot > 1)' "$out/snapshots" >/dev/null ||
    fail 'the table of snapshots.sh is not full, or has errors'

"$here/cpu.sh" --no-stages --seconds 2 --records 2000 >"$out/threads" 2>"$out/log" || fail "cpu.sh --no-stages ended with $?"
[[ $(grep -cE '^(leader +main|driver +[^ ]+) +[0-9]+\.[0-9]+' "$out/threads") -ge 2 ]] ||
    fail 'cpu.sh names no thread of the leader or of the driver'

"$here/cpu.sh" --workload get --seconds 2 --records 2000 >"$out/stages" 2>"$out/log"
code=$?
if ((code)); then # a machine may forbid perf; then cpu.sh says so
    grep -q 'perf is not permitted here' "$out/log" || fail "cpu.sh ended with $code"
else
    [[ $(grep -cE '^(network: kernel|sum) +[0-9]' "$out/stages") == 2 ]] || fail 'cpu.sh shows no stages'
fi
echo 'numbers from vs-etcd.sh, snapshots.sh and cpu.sh'
