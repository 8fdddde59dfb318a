#!/usr/bin/env bash
# smoke.sh: the scripts beside it run and print numbers; which numbers is not judged. Takes HOLDFAST_BUILD_DIR as built.
set -u -o pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${HOLDFAST_BUILD_DIR:?}"
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

"$here/txns.sh" --seconds 1 --rounds 1 --records 1000 --outstanding 4 >"$out/txns" 2>"$out/log" || fail "txns.sh ended with $?"
(($(grep -cE '^\| 1000 \| 4 \| (put|txn|txn-apart) \| [1-9]' "$out/txns") == 3)) || fail 'the table of txns.sh is not full'

"$here/space.sh" --puts 20000 --keys 500 --rounds 1 --retention 2 >"$out/space" 2>"$out/log" || fail "space.sh ended with $?"
[[ $(grep -cE '^\| (endless|collected|fresh|all)[^|]* \| [1-9][0-9]* \| [1-9][0-9]* \|$' "$out/space") == 5 &&
    $(grep -cE '^\| (endless|collected) \| [1-9]([^|]*\|){4}$' "$out/space") == 2 &&
    $(grep -cE '^at rest: [0-9.]+ s .*, [0-9.]+ s ' "$out/space") == 1 ]] || fail 'space.sh misses a figure'

"$here/cold-start.sh" --sizes 2000,4000 --etcd-sizes 2000 --runs 1 --json >"$out/cold" 2>"$out/log" ||
    fail "cold-start.sh ended with $?"
jq -e '([.table[] | "\(.members) \(.system) \(.keys)"] | sort) == ["1 Holdfast 2000", "1 Holdfast 4000",
        "1 all, restore 2000", "1 all, restore 4000", "1 etcd 2000", "3 Holdfast 2000", "3 Holdfast 4000", "3 all, restore 2000",
        "3 all, restore 4000", "3 etcd 2000", "3 one replica 2000", "3 one replica 4000", "3 one, restore 2000",
        "3 one, restore 4000"]
    and all(.table[]; .ms > 0 and .ms >= .listening_ms)
    and all(.table[] | select(.system == "Holdfast" or .system == "one replica"); .open_fsm_ms > 0 and .open_log_ms > 0
        and (.states | test("executed|fallback|fresh") | not))
    and all(.table[] | select(.system | endswith("restore")); .states | test("/executed"))' "$out/cold" >/dev/null ||
    fail 'the table of cold-start.sh is not full, or its starts are others'

"$here/learner.sh" --megabytes 3 --runs 1 --rate 200 --window 1 --before 2 --json >"$out/learner" 2>"$out/log" ||
    fail "learner.sh ended with $?"
jq -e 'length == 1 and (.[0] | .last_key_s > 0 and .before.p99_us > 0 and .meanwhile.p99_us > 0 and .stream_bytes > 1e6)' \
    "$out/learner" >/dev/null || fail 'learner.sh does not say how the learner came back'

"$here/migrate.sh" --sizes 400 --shards 2 --changes 2 --json >"$out/migrate" 2>"$out/log" || fail "migrate.sh ended with $?"
jq -e 'length == 1 and (.[0] | .failed == 0 and ([.pause_p50_ms, .shard_p50_ms, .job_p50_ms, .update_ms, .update_pause_max_ms] | min) > 0)' \
    "$out/migrate" >/dev/null || fail 'migrate.sh misses a figure'

"$here/backup.sh" 2000 256 1 >"$out/backup" 2>"$out/log" || fail "backup.sh ended with $?"
[[ -s $out/backup ]] || fail 'backup.sh prints nothing'

"$here/clock.sh" --seconds 1 --rounds 1 --records 2000 --kills 1 >"$out/clock" 2>"$out/log" || fail "clock.sh ended with $?"
[[ $(grep -cE '^\| (timestamp|scan).* \| [1-9][0-9]* \| [1-9][0-9]* \| [1-9][0-9]* \|$' "$out/clock") == 5 &&
    $(grep -cE '^(dump|SIGKILL).*, ms: median [1-9][0-9]* of ' "$out/clock") == 3 ]] || fail 'clock.sh misses a figure'

"$here/builds.sh" --seconds 1 --rounds 1 --outstanding 64 --records 1000 --fail-overs 1 "$HOLDFAST_BUILD_DIR:native" \
    "$HOLDFAST_BUILD_DIR:libraft" >"$out/builds" 2>"$out/log" || fail "builds.sh ended with $?"
[[ $(grep -cE '^\| (put|get) \| (direct|routed) \| 64 \| [1-9][0-9]* \| [1-9][0-9]* \| [0-9.]+ \|' "$out/builds") == 4 &&
    $(grep -cE '^SIGKILL of the leader .*: median [1-9][0-9]* ms' "$out/builds") == 2 ]] ||
    fail 'builds.sh misses a figure'

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
echo 'numbers from vs-etcd.sh, snapshots.sh, txns.sh, space.sh, cold-start.sh, learner.sh, migrate.sh, backup.sh, clock.sh, builds.sh and cpu.sh'
