#!/usr/bin/env bash
# demo.sh: Debian's package index through two shards of three replicas; the active coordinator is killed on the way, then
# a leader; nothing may be lost. Then a bank's money moves between the shards while a leader and the coordinator are killed, and
# while all shards change their consensus engine, and change it back.
#
# Installs what is missing, builds, starts a cluster, loads, kills, compares, heals, kills everything, starts it, moves money,
# changes engines, sums up. Exit 0 only if the dump equals the input byte for byte, the killed replica caught up, everything is there again
# after the last start, no client met an error while engines changed, and the bank's sum is what it was. Cleans up its processes and
# files however it ends.
# environment: HOLDFAST_BUILD_DIR; HOLDFAST_DEMO_PORT (7400); HOLDFAST_DEMO_KEEP=1 keeps the cluster's directory.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cluster_script=$HF_ROOT/deploy/local-cluster.sh
work='' load_pid='' clock_pid='' scan_prefix=python3-z
bank_accounts=200 bank_amount=1000 bank_clients=3 bank_pids=()

finish() {
    local code=$? pid
    trap - EXIT INT TERM HUP
    for pid in $load_pid $clock_pid "${bank_pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    if [[ -n $work ]]; then
        [[ ! -f $work/cluster/settings ]] || "$cluster_script" down --dir "$work/cluster" </dev/null >&2
        if [[ ${HOLDFAST_DEMO_KEEP:-} == 1 ]]; then
            hf_say "kept: $work"
        else
            rm -rf "$work"
        fi
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

failed() {
    hf_say "FAILED: $*"
    exit 1
}

now_us() {
    printf '%s\n' "${EPOCHREALTIME/[.,]/}"
}

# seconds FROM_US TO_US: "1.23"
seconds() {
    local ms=$((($2 - $1) / 1000))
    printf '%d.%02d\n' $((ms / 1000)) $((ms % 1000 / 10))
}

# Debian's index as `holdfast load` reads it: package name, TAB, its stanza; a name that comes twice counts once.
make_input() {
    if [[ -z $(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit 2>/dev/null) ]]; then
        hf_say 'fetching the package index (apt-get update)'
        hf_as_root apt-get update -q </dev/null >"$work/apt.log" 2>&1 || failed "apt-get update: $(tail -n 1 "$work/apt.log")"
    fi
    # The program is perl's, so its dollars are not the shell's.
    # shellcheck disable=SC2016
    apt-cache dumpavail | perl -00 -ne '
        chomp;
        next unless /^Package: (\S+)/ && !$seen{$1}++;
        my ($key, $value) = ($1, $_);
        for ($key, $value) {
            s/\\/\\\\/g; s/\t/\\t/g; s/\n/\\n/g;
            s/([\x00-\x1f\x7f])/sprintf "\\x%02x", ord $1/ge;
        }
        print "$key\t$value\n"' >"$work/records" || failed 'apt-cache dumpavail'
    sort -t "$(printf '\t')" -k 1,1 "$work/records" >"$work/expected"
    # Shuffled (the same way each time), so that at every moment of the load both shards take part.
    shuf --random-source="$work/expected" "$work/expected" >"$work/input"
    records=$(wc -l <"$work/input")
    bytes=$(wc -c <"$work/input")
    ((records > 0)) || failed 'the package index is empty'
}

# What the cluster says of itself; a degraded one (exit 7) answers just as well.
status_json() {
    holdfast --json status 2>/dev/null || (($? == 7))
}

# status_of NAME: the part of `status --json` that describes one replica.
status_of() {
    status_json | tr '{' '\n' | grep -F "\"name\":\"$1\""
}

leader_of_1() {
    status_json | sed -n 's/.*"shard": *1, *"leader": *"\([0-9]*\/[0-9]*\)".*/\1/p'
}

acknowledged() {
    local count=0
    { read -r count _ <"$work/resume"; } 2>/dev/null
    [[ $count =~ ^[0-9]+$ ]] || count=0
    printf '%s\n' "$count"
}

# The number of the coordinator that issues timestamps.
active_coordinator() {
    status_json | sed -n 's/.*{"id": *\([0-9]*\),[^{}]*"active": *true.*/\1/p'
}

# await_acknowledged COUNT: while the load runs, however long that takes.
await_acknowledged() {
    until (($(acknowledged) >= $1)); do
        kill -0 "$load_pid" 2>/dev/null ||
            failed "load ended before $1 of the records were acknowledged: $(tail -n 1 "$work/load.err")"
        sleep 0.01
    done
}

kill_process() { # NAME WHAT: killed_at, killed_us
    killed_at=$(acknowledged)
    killed_us=$(now_us)
    "$cluster_script" kill "$1" -KILL --dir "$work/cluster" || failed "cannot kill $1"
    hf_say "killed $2 with SIGKILL at $killed_at of $records records"
}

kill_active_coordinator() {
    until clock_old=$(active_coordinator) && [[ -n $clock_old ]]; do
        sleep 0.01
    done
    await_acknowledged $((records / 8))
    kill_process "coordinator/$clock_old" "the active coordinator, coordinator/$clock_old,"
    clock_at=$killed_at
    await_next_clock &
    clock_pid=$!
}

# The other one issues timestamps as soon as the lease of the killed one has run out, which starts again then; beside the load.
await_next_clock() {
    local now=''
    until now=$(active_coordinator) && [[ -n $now && $now != "$clock_old" ]]; do
        (($(now_us) - killed_us < 30000000)) || failed 'no coordinator is active after 30 s'
        sleep 0.01
    done
    printf '%s %s\n' "$now" "$(seconds "$killed_us" "$(now_us)")" >"$work/clock"
    HOLDFAST_SKIP_BUILD=1 "$cluster_script" start "coordinator/$clock_old" --dir "$work/cluster" ||
        failed "coordinator/$clock_old does not start"
}

# Kills the leader of shard 1 as soon as half of the records are acknowledged.
kill_leader() {
    await_acknowledged $((records / 2))
    until victim=$(leader_of_1) && [[ -n $victim ]]; do
        sleep 0.01
    done
    kill_process "$victim" "the leader of shard 1, replica $victim,"
}

await_new_leader() {
    until new_leader=$(leader_of_1) && [[ -n $new_leader && $new_leader != "$victim" ]]; do
        (($(now_us) - killed_us < 30000000)) || failed 'shard 1 has no new leader after 30 s'
        sleep 0.01
    done
    elected_us=$(now_us)
}

# The bank's keys lie between the packages, whose names have no slash.
compare_dump() {
    holdfast dump >"$work/all" || failed "dump ended with exit code $?"
    grep -vE '^(account|savings|transfers)/' "$work/all" >"$work/dump"
    if ! cmp -s "$work/expected" "$work/dump"; then
        hf_say "input:  $(wc -l <"$work/expected") records; dump: $(wc -l <"$work/dump") records; first differences (keys):"
        diff <(cut -f 1 "$work/expected") <(cut -f 1 "$work/dump") | head -n 5 >&2
        failed 'the dump differs from the input'
    fi
}

scan_one_prefix() {
    local want
    want=$(grep -c "^$scan_prefix" "$work/expected")
    scanned=$(holdfast scan --prefix "$scan_prefix" --keys-only | wc -l) || failed 'scan'
    ((scanned == want)) || failed "scan --prefix $scan_prefix found $scanned keys, the input has $want"
}

heal() {
    local from part until
    from=$(now_us)
    "$cluster_script" start "$victim" --dir "$work/cluster" || failed "replica $victim does not start"
    ready_us=$(now_us)
    until=$((SECONDS + 60))
    until part=$(status_of "$victim") && [[ $part == *'"state":"ready"'* && $part =~ \"lag\":0[,}] ]]; do
        ((SECONDS < until)) || failed "replica $victim has not caught up after 60 s: $part"
        sleep 0.02
    done
    caught_up_us=$(now_us)
    heal_s=$(seconds "$from" "$caught_up_us") ready_s=$(seconds "$from" "$ready_us")
}

replicas_of_cluster() {
    "$cluster_script" ps --dir "$work/cluster" | awk '$1 !~ /^coordinator/ {print $1}'
}

# The port of a replica's /readyz and /metrics.
http_port_of() {
    "$cluster_script" ps --dir "$work/cluster" | awk -v name="$1" '$1 == name {for (i = 1; i < NF; i++) if ($i == "http") print $(i + 1)}' |
        sed 's/.*://'
}

# http_get PORT PATH: the body of an answer.
http_get() {
    trap '' PIPE # the process may end before it is asked
    {
        exec 7<>"/dev/tcp/127.0.0.1/$1" || return 1
        printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&7
        sed '1,/^\r$/d' <&7
        exec 7>&-
    } 2>/dev/null
}

# Kills every process of the cluster at once and starts it again; $cold: a line a replica, how long and why.
kill_everything() {
    local name pids from until said metrics ready took opened
    local -A ports=() ready_us=()
    for name in $(replicas_of_cluster); do
        ports[$name]=$(http_port_of "$name")
    done
    mapfile -t pids < <("$cluster_script" ps --dir "$work/cluster" | sed -n 's/.* pid \([0-9][0-9]*\) .*/\1/p')
    ((${#pids[@]} == 8)) || failed "${#pids[@]} processes are alive, not 8"
    kill -KILL "${pids[@]}" || failed 'cannot kill the cluster'
    for name in "${pids[@]}"; do
        while [[ -n $(hf_start_time "$name") ]]; do
            sleep 0.01
        done
    done
    from=$(now_us)
    HOLDFAST_SKIP_BUILD=1 "$cluster_script" up --dir "$work/cluster" </dev/null &
    load_pid=$!
    until=$((SECONDS + 60))
    while ((${#ready_us[@]} < ${#ports[@]})); do
        for name in "${!ports[@]}"; do
            [[ -z ${ready_us[$name]:-} ]] && hf_http_ok "${ports[$name]}" /readyz && ready_us[$name]=$(now_us)
        done
        ((SECONDS < until)) || failed "only ${#ready_us[@]} replicas are ready 60 s after the start of all"
        sleep 0.01
    done
    wait "$load_pid" || failed 'the killed cluster does not start'
    load_pid=''
    cold=''
    for name in $(replicas_of_cluster); do
        said=$(grep 'cold start state=' "$work/cluster/log/${name/\//-}.log" | tail -n 1)
        [[ $said =~ state=([a-z_]+)\ outcome=([a-z_]+)\ .*\ ?applied=([0-9]+)\ .*last=([0-9]+) ]] ||
            failed "replica $name does not say how it started"
        ready=$(seconds "$from" "${ready_us[$name]}")
        metrics=$(http_get "${ports[$name]}" /metrics)
        grep -q "^holdfast_fsm_cold_start_restore_total{outcome=\"${BASH_REMATCH[2]}\",.*} 1\$" <<<"$metrics" ||
            failed "replica $name counts another start than it printed: $said"
        took=$(awk '/^holdfast_cold_start_seconds{phase="ready"}/ {printf "%.2f", $2}' <<<"$metrics")
        opened=$(awk '/^holdfast_cold_start_seconds{phase="open_/ {s += $2} END {printf "%.0f", s * 1000}' <<<"$metrics")
        printf -v said '  replica %s        ready %s s after its start, %s s after the first: %s, %s; opened in %s ms, replayed %d entries' \
            "$name" "$took" "$ready" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "$opened" $((BASH_REMATCH[4] - BASH_REMATCH[3]))
        cold+=$said$'\n'
    done
    compare_dump
}

bank() {
    "$HF_BUILD/bin/example_bank" "$HOLDFAST_COORDINATORS" "$@"
}

# Every transfer counts itself in a key of its client's.
bank_transfers() {
    holdfast scan --prefix transfers/ | awk -F '\t' '{n += $2} END {print n + 0}'
}

await_transfers() { # COUNT
    local until=$((SECONDS + 60))
    until (($(bank_transfers) >= $1)); do
        ((SECONDS < until)) || failed "the bank made $(bank_transfers) transfers in 60 s, not $1"
        sleep 0.02
    done
}

# Money moves between accounts in both shards; the leader of shard 1 is killed, then the active coordinator; at the end all of
# it is there, and every client knows how each of its transfers ended.
move_money() {
    local i from want=$((bank_accounts * bank_amount)) active leader
    bank open "$bank_accounts" "$bank_amount" || failed 'the bank does not open'
    from=$(now_us)
    for ((i = 0; i < bank_clients; i++)); do
        bank run "$bank_accounts" 1000 >/dev/null 2>"$work/bank.$i" &
        bank_pids+=($!)
    done
    await_transfers 300
    until leader=$(leader_of_1) && [[ -n $leader ]]; do
        sleep 0.01
    done
    "$cluster_script" kill "$leader" -KILL --dir "$work/cluster" || failed "cannot kill $leader"
    hf_say "killed $leader, the leader of shard 1, with SIGKILL between transfers"
    await_transfers $(($(bank_transfers) + 300))
    until active=$(active_coordinator) && [[ -n $active ]]; do
        sleep 0.01
    done
    "$cluster_script" kill "coordinator/$active" -KILL --dir "$work/cluster" || failed "cannot kill coordinator/$active"
    hf_say "killed coordinator/$active, the active one, with SIGKILL between transfers"
    for ((i = 0; i < bank_clients; i++)); do
        wait "${bank_pids[i]}" || failed "a client of the bank ended: $(tail -n 1 "$work/bank.$i")"
    done
    bank_pids=()
    bank_s=$(seconds "$from" "$(now_us)")
    bank_total=$(bank total) || failed 'the bank cannot be added up'
    ((bank_total == want)) || failed "the bank holds $bank_total, it began with $want"
    bank_made=$(bank_transfers)
    bank_killed="replica $leader, then coordinator/$active"
    HOLDFAST_SKIP_BUILD=1 "$cluster_script" up --dir "$work/cluster" </dev/null || failed 'what was killed does not start'
}

# One client of the bank, a hundred transfers at a time, until it is told to stop; its longest transfer, in ms, is its last line.
bank_client() { # NUMBER
    local said longest=0
    until [[ -e $work/stop ]]; do
        said=$(bank run "$bank_accounts" 100 2>"$work/bank.$1") || failed "a client of the bank ended: $(tail -n 1 "$work/bank.$1")"
        said=${said##*took } said=${said% ms}
        ((said <= longest)) || longest=$said
    done
    printf '%s\n' "$longest" >"$work/longest.$1"
}

# change_engine ENGINE: all shards, while money moves.
change_engine() {
    local from i
    from=$(now_us)
    rm -f "$work/stop" "$work"/longest.*
    for ((i = 0; i < bank_clients; i++)); do
        bank_client "$i" &
        bank_pids+=($!)
    done
    sleep 1
    holdfast migrate start --to "$1" --yes >"$work/migrate" 2>&1 </dev/null || failed "migrate --to $1: $(tail -n 1 "$work/migrate")"
    sleep 1
    : >"$work/stop"
    for ((i = 0; i < bank_clients; i++)); do
        wait "${bank_pids[i]}" || failed "a client of the bank met an error while engines changed to $1"
    done
    bank_pids=()
    (($(status_json | grep -oF "\"engine\":\"$1\"" | wc -l) == 2)) || failed "not all shards run engine $1"
    (($(bank total) == bank_accounts * bank_amount)) || failed "the bank holds $(bank total) after the change to $1"
    printf -v changed '%s  to %-15s both shards, %s s with the bank open for 2 s around it; the longest of its transfers took %s ms\n' \
        "${changed:-}" "$1" "$(seconds "$from" "$(now_us)")" "$(sort -n "$work"/longest.* | tail -n 1)"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-demo.XXXXXX") || exit 1
hf_build -DBUILD_TESTING=OFF
make_input
hf_say "input: $records packages, $bytes bytes"
base=$(hf_free_base "${HOLDFAST_DEMO_PORT:-7400}" 60) || failed 'no free ports'
HOLDFAST_SKIP_BUILD=1 "$cluster_script" up --dir "$work/cluster" --shards 2 --replicas 3 --coordinators 2 --port-base "$base" || exit
eval "$("$cluster_script" env --dir "$work/cluster")"
hf_say 'cluster: 2 shards of 3 replicas and two coordinators are ready'

begin_us=$(now_us)
holdfast load "$work/input" --resume "$work/resume" >"$work/load.out" 2>"$work/load.err" </dev/null &
load_pid=$!
kill_active_coordinator
kill_leader
await_new_leader
wait "$load_pid"
load_code=$?
load_pid=''
end_us=$(now_us)
loaded=$(tail -n 1 "$work/load.out")
((load_code == 0)) || failed "load ended with exit code $load_code: $loaded $(tail -n 1 "$work/load.err")"
[[ $loaded == "loaded $records failed 0 unknown 0" ]] || failed "load says \"$loaded\", the input has $records records"
wait "$clock_pid" || failed 'no other coordinator took over'
clock_pid=''
read -r clock_new clock_s <"$work/clock"
compare_dump
scan_one_prefix
heal
kill_everything
move_money
engine=$(status_json | grep -o '"engine":"[a-z]*"' | head -n 1 | cut -d '"' -f 4)
for to in libraft native; do
    [[ $to == "$engine" ]] || change_engine "$to"
done
change_engine "$engine"
compare_dump

load_s=$(seconds "$begin_us" "$end_us")
cat <<TXT

Holdfast demo: passed
  input              $records Debian packages, $bytes bytes (apt-cache dumpavail)
  load               $load_s s, $((records * 1000000 / (end_us - begin_us))) records/s: $loaded
  killed             coordinator/$clock_old, the active one, with SIGKILL at $clock_at acknowledged records
  next timestamps    by coordinator/$clock_new, $clock_s s after the kill
  killed             replica $victim, leader of shard 1, with SIGKILL at $killed_at acknowledged records
  next leader        replica $new_leader, seen $(seconds "$killed_us" "$elected_us") s after the kill
  dump               $(wc -c <"$work/dump") bytes, equal to the input byte for byte
                     sha256 $(sha256sum <"$work/dump" | cut -c 1-64)
  scan               $scanned keys begin with "$scan_prefix", as in the input
  replica $victim        ready $ready_s s after its start, caught up after $heal_s s
  the whole cluster  killed with SIGKILL and started; the dump is equal to the input again
${cold%$'\n'}
  bank               $bank_made transfers between $bank_accounts accounts in both shards, $bank_clients clients, $bank_s s; killed on the way:
                     $bank_killed; it holds $bank_total, as it did
  engines changed    while money moved on; no error met a client, and the bank holds $bank_total
${changed%$'\n'}
TXT
