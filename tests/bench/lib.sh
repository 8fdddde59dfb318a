# lib.sh: what the scripts of this folder share: building etcd's driver and first_read, etcd's members, waiting, medians.
# Sourced by bash scripts behind deploy/lib.sh. Uses $data (a directory of theirs) and keeps etcd_ports and etcd_pids.
# shellcheck shell=bash
# shellcheck disable=SC2154 # data is the script's

etcd_pids=() etcd_ports=()

# Holdfast into HF_BUILD, quietly; what is started later takes what is built.
bench_build() {
    HF_BUILD=${HOLDFAST_BUILD_DIR:-$HF_ROOT/build/bench}
    [[ $HF_BUILD == /* ]] || HF_BUILD=$PWD/$HF_BUILD
    hf_install jq curl
    hf_build -DBUILD_TESTING=OFF -DHF_FAILPOINTS=OFF
    export HOLDFAST_BUILD_DIR=$HF_BUILD HOLDFAST_SKIP_BUILD=1
    cluster=$HF_ROOT/deploy/local-cluster.sh
}

etcd_build() {
    hf_install etcd-server g++ libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc protobuf-compiler pkg-config cmake ninja-build
    etcd_bench=$HF_BUILD/etcd_bench/etcd_bench
    if ! { cmake -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -S "$HF_ROOT/tests/bench/etcd" -B "${etcd_bench%/*}" &&
        cmake --build "${etcd_bench%/*}"; } >"$HF_BUILD/.etcd_bench.log" 2>&1; then
        tail -n 20 "$HF_BUILD/.etcd_bench.log" >&2
        hf_die 1 'etcd_bench could not be built'
    fi
}

first_read_build() {
    local lib
    lib=$(find "$HF_BUILD" -name libholdfast.so -print -quit)
    gcc -std=c11 -D_GNU_SOURCE -O2 -I "$HF_ROOT/client/include" "$HF_ROOT/tests/bench/first_read.c" -o "$data/first_read" \
        "$lib" -Wl,-rpath,"${lib%/*}" || hf_die 1 'first_read could not be built'
}

etcd_post() { # PORT PATH JSON
    curl -sf -m 5 -X POST "http://127.0.0.1:$1$2" -d "$3"
}

# etcd_start MEMBERS PORT-BASE: members $data/etcd-I, two ports each; back when all are healthy.
etcd_start() {
    local i port all='' busy members=$1 base=$2
    busy=$(hf_busy_ports $(seq "$base" $((base + 2 * members - 1))))
    [[ -z $busy ]] || hf_die 1 "port ${busy//$'\n'/, } is in use; choose another --port-base"
    etcd_ports=() etcd_pids=()
    for ((i = 0; i < members; i++)); do
        etcd_ports+=($((base + 2 * i)))
        all+=,m$i=http://127.0.0.1:$((base + 2 * i + 1))
    done
    for ((i = 0; i < members; i++)); do
        port=${etcd_ports[i]}
        # Heartbeat (100 ms), election time-out (1 s), snapshots (every 100,000 entries) and fsync are etcd's defaults.
        # The quota is raised: at its default of 2 GiB much data would end in refused writes.
        etcd --name "m$i" --data-dir "$data/etcd-$i" --initial-cluster "${all#,}" --initial-cluster-token "$data" \
            --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
            --listen-peer-urls "http://127.0.0.1:$((port + 1))" --quota-backend-bytes $((16 << 30)) \
            --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" --log-level warn \
            >>"$data/etcd-$i.log" 2>&1 </dev/null &
        etcd_pids+=($!)
        disown # no word of bash when it is killed
    done
    etcd_await
}

etcd_await() {
    local port i
    for port in "${etcd_ports[@]}"; do
        for ((i = 0; ; i++)); do
            [[ $(curl -s -m 2 "http://127.0.0.1:$port/health" | jq -r .health 2>/dev/null) != true ]] || break
            ((i < 600)) || { tail -n 5 "$data"/etcd-*.log >&2 && hf_die 1 "etcd on port $port is not healthy after 60 s"; }
            sleep 0.1
        done
    done
}

# PORT TERM of the member that leads.
etcd_leader() {
    local port status
    for port in "${etcd_ports[@]}"; do
        status=$(etcd_post "$port" /v3/maintenance/status '{}') || continue
        jq -er --arg port "$port" 'select(.leader == .header.member_id) | "\($port) \(.raftTerm)"' <<<"$status" && return 0
    done
    return 1
}

# Ends the members, which first_read may have started, and removes what they wrote.
etcd_stop() {
    local pid
    for pid in "${etcd_pids[@]+"${etcd_pids[@]}"}"; do
        kill -KILL "$pid" 2>/dev/null
        while [[ -n $(hf_start_time "$pid") ]]; do
            sleep 0.02
        done
    done
    etcd_pids=()
    rm -rf "$data"/etcd-[0-9]*
}

median() { # of numbers, one a line; an even count: the lower of the two in the middle
    sort -n | awk '{v[NR] = $1} END {if (NR) print v[int((NR + 1) / 2)]}'
}

# of_replicas FIELD: a field of `ps --json` of every replica (not the coordinators), in order.
of_replicas() {
    "$cluster" ps --dir "$data/holdfast" --json | jq -r ".[] | select(.role == \"shard\") | .$1"
}

await_status_healthy() {
    local until=$((SECONDS + ${1:-60}))
    until holdfast status >"$data/status" 2>&1; do
        ((SECONDS < until)) || { cat "$data/status" >&2 && hf_die 1 "Holdfast is not healthy after ${1:-60} s"; }
        sleep 0.05
    done
}

machine() { # a line on where it ran
    printf '%s, %s processors, Linux %s, %s%s, %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
        "$(uname -r)" "$(df --output=fstype,source "$data" | tail -n 1)" \
        "$(command -v etcd >/dev/null && etcd --version | sed -n 's/^etcd Version: /, etcd /p')" "$(date -I)"
}
