#!/usr/bin/env bash
# cpu.sh: processor time of a put (or get) in a 1 x 3 cluster under steady load: by process, thread and stage.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"

usage() {
    cat <<'TXT'
usage: cpu.sh [options]
  --workload W     put or get (put)              --outstanding N  operations out at a time (256)
  --seconds N      length of the window (10)     --records N      (100000)
  --value-bytes N  (256)                         --routed         through the coordinator
  --symbols N      list the N dearest functions of each process too (0)
  --no-stages      processes and threads only: needs no perf
  --dir D          where the data goes (/var/tmp)
  --port-base P    200 free ports (29100, or 500, 1000, ... above)
environment: HOLDFAST_BUILD_DIR (build/bench), HOLDFAST_SKIP_BUILD=1 (take what is built)
exit: 0 done, 1 something did not start or perf is not permitted, 2 usage
TXT
}

workload=put outstanding=256 seconds=10 records=100000 value_bytes=256 symbols=0 stages=1 dir=/var/tmp port_base=''
route=()
while (($#)); do
    case $1 in
    --routed) route=(--routed) && shift && continue ;;
    --no-stages) stages=0 && shift && continue ;;
    -h | --help) usage && exit 0 ;;
    esac
    (($# >= 2)) || hf_die 2 "unknown option or no value: $1 (--help)"
    case $1 in
    --workload) workload=$2 ;;
    --outstanding) outstanding=$2 ;;
    --seconds) seconds=$2 ;;
    --records) records=$2 ;;
    --value-bytes) value_bytes=$2 ;;
    --symbols) symbols=$2 ;;
    --dir) dir=$2 ;;
    --port-base) port_base=$2 ;;
    *) hf_die 2 "unknown option $1 (--help)" ;;
    esac
    shift 2
done
[[ $workload == put || $workload == get ]] || hf_die 2 '--workload is put or get'
port_base=${port_base:-$(hf_free_base 29100 200)}
for value in "$outstanding" "$seconds" "$records" "$value_bytes" "$port_base"; do
    [[ $value =~ ^[1-9][0-9]{0,8}$ ]] || hf_die 2 "\"$value\" is not a number above 0 (--help)"
done
[[ $symbols =~ ^[0-9]{1,4}$ ]] || hf_die 2 '--symbols wants a number'

HF_BUILD=${HOLDFAST_BUILD_DIR:-$HF_ROOT/build/bench}
[[ $HF_BUILD == /* ]] || HF_BUILD=$PWD/$HF_BUILD
hf_install curl jq python3 binutils
hf_build -DBUILD_TESTING=OFF -DHF_FAILPOINTS=OFF
export HOLDFAST_BUILD_DIR=$HF_BUILD HOLDFAST_SKIP_BUILD=1
cluster=$HF_ROOT/deploy/local-cluster.sh

data=$(mktemp -d "$dir/holdfast-cpu-XXXXXX") || hf_die 1 "cannot write to $dir"
trap '"$cluster" down --dir "$data/c" --wipe >/dev/null 2>&1; wait; rm -rf "$data"' EXIT
trap 'exit 1' INT TERM HUP

if ((stages)); then
    hf_install linux-perf
    perf record -q -e cpu-clock -o "$data/try" true >"$data/try.log" 2>&1 || {
        tail -n 3 "$data/try.log" >&2
        hf_die 1 'perf is not permitted here: be root, or set kernel.perf_event_paranoid to 1 or less; or --no-stages'
    }
fi

"$cluster" up --dir "$data/c" --shards 1 --replicas 3 --port-base "$port_base" >/dev/null || exit 1
eval "$("$cluster" env --dir "$data/c")"
bench=(holdfast-bench --records "$records" --value-bytes "$value_bytes" --json)
"${bench[@]}" --load-only >"$data/out" || hf_die 1 "the records could not be loaded: $(<"$data/out")"

# Every process of the system: "PID NAME", the driver last.
leader=$(holdfast status --json | jq -r '.shards[0].leader')
"$cluster" ps --dir "$data/c" --json | jq -r --arg leader "$leader" '.[] |
    "\(.pid) \(if .name == $leader then "leader" elif .role == "coordinator" then "coordinator" else "follower " + .name end)"' \
    >"$data/processes"
http=$("$cluster" ps --dir "$data/c" --json | jq -r --arg leader "$leader" '.[] | select(.name == $leader) | .http')

snapshot() { # FILE: operations so far, and "PID TID USER SYSTEM SLEEPS COMM" of every thread
    local pid task stat comm sleeps kind=read
    [[ $workload != put ]] || kind='write'
    {
        curl -s -m 5 "http://$http/metrics" | awk -v name="holdfast_requests_total{kind=\"$kind\"}" '$1 == name {print $2}'
        while read -r pid _; do
            for task in "/proc/$pid/task/"*; do
                read -r stat <"$task/stat" || continue
                comm=${stat#*(} comm=${comm%)*}
                read -r -a stat <<<"${stat##*) }"
                sleeps=$(awk '$1 == "voluntary_ctxt_switches:" {print $2}' "$task/status")
                printf '%d %d %d %d %d %s\n' "$pid" "${task##*/}" "${stat[11]}" "${stat[12]}" "${sleeps:-0}" "$comm"
            done
        done <"$data/processes"
    } 2>/dev/null >"$1"
}

"${bench[@]}" --no-load --workload "$workload" --outstanding "$outstanding" --seconds $((seconds + 12)) \
    "${route[@]+"${route[@]}"}" >"$data/out" &
driver=$!
printf '%d driver\n' "$driver" >>"$data/processes"
sleep 2
snapshot "$data/before"
if ((stages)); then
    perf record -q -e cpu-clock -F 997 -g -o "$data/perf" -p "$(cut -d' ' -f1 "$data/processes" | paste -sd,)" \
        -- sleep "$seconds" >"$data/perf.log" 2>&1 || { cat "$data/perf.log" >&2 && hf_die 1 'perf record failed'; }
else
    sleep "$seconds"
fi
snapshot "$data/after"
kill -0 "$driver" 2>/dev/null || hf_die 1 'the load ended before the window did: the machine is too busy; try again'
wait "$driver" || hf_die 1 "the driver failed: $(<"$data/out")"
echo "$workload, $outstanding outstanding, $value_bytes bytes${route[0]+, routed}: $(jq -r \
    '"\(.ops_per_second | round)/s, p50 \(.latency_us.p50 | round) us, p99 \(.latency_us.p99 | round) us, errors \(.errors)"' "$data/out")"
if ((stages)); then
    perf script -F comm,pid,tid,ip,sym,dso -i "$data/perf" >"$data/samples" 2>/dev/null
    for program in holdfast-shard holdfast-coordinator holdfast-bench; do
        nm -l --defined-only "$HF_BUILD/bin/$program" 2>/dev/null | awk -v p="$program" 'NF > 3 {print p, $3, $4}'
    done >"$data/where"
fi
python3 "$HF_ROOT/tests/bench/cpu_stages.py" "$data" "$(getconf CLK_TCK)" "$stages" "$symbols" "$HF_ROOT"
