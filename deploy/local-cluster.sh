#!/usr/bin/env bash
# local-cluster.sh: a cluster of real processes on this machine's loopback: up, down, ps, env, nodes, kill, start, wipe, add.
set -u -o pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TXT'
usage: local-cluster.sh COMMAND --dir D [options]        NAME is SHARD/REPLICA or coordinator/N
  up     [--shards 2] [--replicas 3] [--learners 0] [--coordinators 1] [--engine native|libraft] [--port-base 7400]
         [--splits K1,K2…] [--set KEY=VALUE …] [--coordinator-set KEY=VALUE …]
         builds if needed, bootstraps at first, starts what is down, returns when every shard is ready;
         when that fails, ends what it started, unless [--leave] says to leave it for a look.
         What is given at first is remembered in D; later only --set and --coordinator-set may change.
         --set: long options of holdfast-shard. --splits: where the key space is cut (\xHH for other bytes).
  down   [--wipe]           stop all (SIGTERM, after 30 s SIGKILL); --wipe also removes D
  ps     [--json]           a line a process
  env                       shell exports: PATH with the built commands, HOLDFAST_COORDINATORS
  nodes                     the processes as an environment file of rolling-update.sh and engine-migrate.sh
  kill   NAME [-SIGNAL]     default -KILL
  start  NAME               returns when it is ready, or with the process's message and exit code
  wipe   NAME               remove the data of a stopped process
  add    SHARD              not in this version
environment: HOLDFAST_BUILD_DIR (where the commands are built), HOLDFAST_SKIP_BUILD=1 (take what is built),
  HOLDFAST_START_SECONDS (how long up and start wait; 60), HOLDFAST_HEARTBEAT_MS, HOLDFAST_ELECTION_MS (of a new cluster; 100, 500)
exit: 0 done, 2 usage, 3 not ready in time, else the exit code of a process that would not start
TXT
}

die_usage() {
    hf_die 2 "$1 (local-cluster.sh --help)"
}

# ---- settings -------------------------------------------------------------------------------------------------------

dir='' wipe=0 json=0 leave=0 name='' signal=KILL
shards='' replicas='' learners='' coordinators='' engine='' port_base='' splits=''
set_given=0 coordinator_set_given=0
sets=() coordinator_sets=()
start_seconds=${HOLDFAST_START_SECONDS:-60}
launched_all=() # pids

want_number() { # OPTION VALUE MIN MAX
    if ! [[ $2 =~ ^[0-9]{1,6}$ ]] || ((10#$2 < $3 || 10#$2 > $4)); then
        die_usage "$1 wants a number from $3 to $4, not \"$2\""
    fi
}

want_setting() { # OPTION VALUE
    [[ $2 =~ ^[a-z][a-z0-9-]*(=[^$'\n']*)?$ ]] || die_usage "$1 wants KEY=VALUE, KEY a long option without dashes, not \"$2\""
}

parse() {
    local value
    while (($#)); do
        case $1 in
        --dir | --shards | --replicas | --learners | --coordinators | --engine | --port-base | --splits | --set | \
            --coordinator-set)
            (($# >= 2)) || die_usage "$1 wants a value"
            value=$2
            case $1 in
            --dir) dir=$value ;;
            --shards) want_number "$1" "$value" 1 100 && shards=$value ;;
            --replicas) want_number "$1" "$value" 1 9 && replicas=$value ;;
            --learners) want_number "$1" "$value" 0 9 && learners=$value ;;
            --coordinators) want_number "$1" "$value" 0 5 && coordinators=$value ;;
            --port-base) want_number "$1" "$value" 1024 65000 && port_base=$value ;;
            --splits) splits=$value ;;
            --engine)
                [[ $value == native || $value == libraft ]] || die_usage "--engine is native or libraft, not \"$value\""
                engine=$value
                ;;
            --set) want_setting "$1" "$value" && set_given=1 && sets+=("$value") ;;
            --coordinator-set) want_setting "$1" "$value" && coordinator_set_given=1 && coordinator_sets+=("$value") ;;
            esac
            shift 2
            ;;
        --wipe) wipe=1 && shift ;;
        --leave)
            # shellcheck disable=SC2034 # read when the run ends, by a trap
            leave=1 && shift
            ;;
        --json) json=1 && shift ;;
        -h | --help) usage && exit 0 ;;
        --*) die_usage "unknown option \"$1\"" ;;
        -*) signal=${1#-} && signal=${signal#SIG} && shift ;;
        *)
            [[ -z $name ]] || die_usage "one name only: \"$name\" and \"$1\""
            name=$1 && shift
            ;;
        esac
    done
    [[ -n $dir ]] || die_usage '--dir D is missing'
    [[ $dir == /* ]] || dir=$PWD/$dir
}

# Default cuts: by first byte, so that names of Debian packages (a quarter of them begins with "l") spread over the shards.
default_splits() { # COUNT
    local i all=(d g h l m p r) pick unit
    case $1 in
    1) pick=() ;; 2) pick=(l) ;; 3) pick=(l m) ;; 4) pick=(g l m) ;; 5) pick=(g l m p) ;; 6) pick=(g l m p r) ;;
    7) pick=(d g l m p r) ;; 8) pick=("${all[@]}") ;;
    *)
        pick=()
        for ((i = 1; i < $1; i++)); do # evenly from "0" to "z", two bytes deep
            unit=$(((0x30 << 8) + i * ((0x7b - 0x30) << 8) / $1))
            pick+=("$(printf '\\x%02x\\x%02x' $((unit >> 8)) $((unit & 255)))")
        done
        ;;
    esac
    local IFS=,
    printf '%s\n' "${pick[*]-}"
}

settings_write() {
    local new=$dir/settings.new
    declare -p shards replicas learners coordinators engine port_base splits width ports_each sets coordinator_sets |
        sed 's/^declare \(--\|-a\) /declare -g /' >"$new" && mv "$new" "$dir/settings"
}

settings_read() {
    [[ -f $dir/settings ]] || hf_die 2 "no cluster in $dir: run \"local-cluster.sh up --dir $dir\" first"
    ports_each=3 # of a cluster made before replicas had a port for snapshots; its members' addresses stay
    # shellcheck source=/dev/null
    source "$dir/settings"
}

settings_first() {
    shards=${shards:-2} replicas=${replicas:-3} learners=${learners:-0} coordinators=${coordinators:-1}
    engine=${engine:-native} port_base=${port_base:-7400}
    [[ -n $splits ]] || splits=$(default_splits "$shards")
    local cut=()
    IFS=, read -r -a cut <<<"$splits"
    ((${#cut[@]} == shards - 1)) || die_usage "--splits has ${#cut[@]} cuts; $shards shards want $((shards - 1))"
    width=$((replicas + learners + 2)) # room to add members
    ports_each=4
    ((11 + ports_each * width * shards <= 500)) || width=$((replicas + learners))
    ((11 + ports_each * width * shards <= 500)) ||
        die_usage "$shards shards of $((replicas + learners)) replicas do not fit in 500 ports"
    mkdir -p "$dir/log" "$dir/run" || hf_die 1 "cannot make $dir"
    cluster_file >"$dir/cluster.conf"
    settings_write
}

# A later up may repeat what was said at first, not contradict it; --set and --coordinator-set replace.
settings_again() {
    local key given=()
    for key in shards replicas learners coordinators engine port_base splits; do
        given+=("$key=${!key}")
    done
    local new_sets=("${sets[@]+"${sets[@]}"}") new_coordinator_sets=("${coordinator_sets[@]+"${coordinator_sets[@]}"}") pair
    settings_read
    for pair in "${given[@]}"; do
        key=${pair%%=*}
        [[ -z ${pair#*=} || ${pair#*=} == "${!key}" ]] ||
            hf_die 2 "$dir was made with --${key//_/-} ${!key}; it cannot become ${pair#*=}"
    done
    ((set_given)) && sets=("${new_sets[@]}")
    ((coordinator_set_given)) && coordinator_sets=("${new_coordinator_sets[@]}")
    ((set_given || coordinator_set_given)) && settings_write
    return 0
}

# ---- names, ports, commands -----------------------------------------------------------------------------------------

names() {
    local s r c
    for ((s = 1; s <= shards; s++)); do
        for ((r = 1; r <= replicas + learners; r++)); do
            printf '%d/%d\n' "$s" "$r"
        done
    done
    for ((c = 1; c <= coordinators; c++)); do
        printf 'coordinator/%d\n' "$c"
    done
}

# check_name NAME: sets shard and replica; shard is "coordinator" for one.
check_name() {
    [[ -n $1 ]] || die_usage 'which process? NAME is missing'
    if [[ $1 =~ ^coordinator/([0-9]{1,3})$ ]]; then
        shard=coordinator replica=${BASH_REMATCH[1]}
        ((replica >= 1 && replica <= coordinators)) && return 0
    elif [[ $1 =~ ^([0-9]{1,3})/([0-9]{1,3})$ ]]; then
        shard=${BASH_REMATCH[1]} replica=${BASH_REMATCH[2]}
        ((shard >= 1 && shard <= shards && replica >= 1 && replica <= replicas + learners)) && return 0
    fi
    die_usage "no process \"$1\" in $dir; local-cluster.sh ps lists them"
}

# ports NAME-PARTS: sets raft_port, client_port, http_port, snapshot_port; 0: it has none of its own.
ports() {
    snapshot_port=0
    if [[ $1 == coordinator ]]; then
        raft_port=0 client_port=$((port_base + 2 * ($2 - 1)))
        http_port=$((client_port + 1))
    else
        raft_port=$((port_base + 11 + ports_each * (($1 - 1) * width + $2 - 1)))
        client_port=$((raft_port + 1)) http_port=$((raft_port + 2))
        ((ports_each == 3)) || snapshot_port=$((raft_port + 3))
    fi
}

data_dir() {
    printf '%s\n' "$dir/$1-$2"
}

cluster_file() {
    local s r role start end cut=()
    IFS=, read -r -a cut <<<"$splits"
    printf 'cluster\n    heartbeat_ms = "%s"\n    election_ms = "%s"\n' \
        "${HOLDFAST_HEARTBEAT_MS:-100}" "${HOLDFAST_ELECTION_MS:-500}"
    for ((s = 1; s <= shards; s++)); do
        start=$( ((s > 1)) && printf '%s' "${cut[s - 2]}")
        end=$( ((s < shards)) && printf '%s' "${cut[s - 1]}")
        printf 'shard\n    id = "%d"\n    start = "%s"\n    end = "%s"\n    catalog = "%d"\n' \
            "$s" "$start" "$end" $((s == 1))
        for ((r = 1; r <= replicas + learners; r++)); do
            ports "$s" "$r"
            role=voter
            ((r > replicas)) && role=learner
            printf '    replica\n        id = "%d"\n        role = "%s"\n' "$r" "$role"
            printf '        raft = "tcp://127.0.0.1:%d"\n        client = "tcp://127.0.0.1:%d"\n' \
                "$raft_port" "$client_port"
        done
    done
}

seeds() {
    local r list=
    for ((r = 1; r <= replicas; r++)); do
        ports 1 "$r"
        list+=,tcp://127.0.0.1:$client_port
    done
    printf '%s\n' "${list#,}"
}

# command_of NAME: sets command, what the process is started with, but for --engine; and shard, replica, ports.
command_of() {
    local setting settings=()
    check_name "$1"
    ports "$shard" "$replica"
    if [[ $shard == coordinator ]]; then
        command=("$HF_BUILD/bin/holdfast-coordinator" --id "$replica" --listen "tcp://127.0.0.1:$client_port"
            --http-endpoint "127.0.0.1:$http_port" --seeds "$(seeds)")
        settings=("${coordinator_sets[@]+"${coordinator_sets[@]}"}")
    else
        command=("$HF_BUILD/bin/holdfast-shard" --dir "$(data_dir "$shard" "$replica")" --shard "$shard"
            --replica "$replica" --raft-endpoint "tcp://127.0.0.1:$raft_port"
            --client-endpoint "tcp://127.0.0.1:$client_port" --http-endpoint "127.0.0.1:$http_port")
        ((snapshot_port == 0)) || command+=(--snapshot-endpoint "tcp://127.0.0.1:$snapshot_port")
        settings=("${sets[@]+"${sets[@]}"}")
    fi
    for setting in "${settings[@]+"${settings[@]}"}"; do
        command+=("--${setting%%=*}")
        [[ $setting == *=* ]] && command+=("${setting#*=}")
    done
}

# launch NAME: starts the process in a session of its own; its pid file names it by pid and start time.
launch() {
    local command log busy i
    command_of "$1"
    log=$dir/log/$shard-$replica.log
    if [[ $shard != coordinator ]]; then
        [[ -e $(data_dir "$shard" "$replica")/identity ]] || command+=(--engine "$engine")
        mkdir -p "$(data_dir "$shard" "$replica")"
    fi
    [[ -x ${command[0]} ]] || hf_die 1 "${command[0]} is not built"
    # Someone else's process would answer in its place. One that was just killed holds its ports until its last thread ends.
    for ((i = 0; i < 100; i++)); do
        busy=$(hf_busy_ports "$client_port" "$http_port" "$raft_port" "$snapshot_port")
        [[ -n $busy ]] || break
        sleep 0.02
    done
    [[ -z $busy ]] || hf_die 1 "$1: port ${busy//$'\n'/, } is in use by another process; choose another --port-base"
    log_from=$(stat -c %s "$log" 2>/dev/null || echo 0)
    setsid "${command[@]}" </dev/null >>"$log" 2>&1 9>&- 8>&- &
    launched=$!
    launched_all+=("$launched")
    printf '%d %s\n' "$launched" "$(hf_start_time "$launched")" >"$dir/run/$shard-$replica.pid.new"
    mv "$dir/run/$shard-$replica.pid.new" "$dir/run/$shard-$replica.pid"
}

# await_ready NAME PID LOG_FROM PATH: 20 ms polls until GET PATH is 200; else the process's last line and exit code.
await_ready() {
    local code message port until=$((SECONDS + start_seconds)) log
    check_name "$1"
    ports "$shard" "$replica"
    port=$http_port log=$dir/log/$shard-$replica.log
    until hf_http_ok "$port" "$4"; do
        if [[ -z $(hf_start_time "$2") ]]; then
            wait "$2"
            code=$?
            message=$(tail -c +"$(($3 + 1))" "$log" | grep -v '^[[:space:]]*$' | tail -n 1)
            hf_say "$1 did not start (exit code $code): ${message:-it printed nothing}"
            ((code != 0)) || code=1
            return "$code"
        fi
        if ((SECONDS > until)); then
            message=$(tail -n 1 "$log")
            hf_say "$1 is not ready after $start_seconds s; its last line: ${message:-none}"
            return 3
        fi
        sleep 0.02
    done
}

# Ends what this run started: an `up` that fails leaves what it found.
stop_launched() {
    local pid until=$((SECONDS + 30)) file
    for pid in "${launched_all[@]+"${launched_all[@]}"}"; do
        kill -TERM "$pid" 2>/dev/null
    done
    for pid in "${launched_all[@]+"${launched_all[@]}"}"; do
        while [[ -n $(hf_start_time "$pid") ]]; do
            ((SECONDS <= until)) || kill -KILL "$pid" 2>/dev/null
            sleep 0.02
        done
    done
    for file in "$dir"/run/*.pid; do
        [[ ! -e $file || -n $(hf_pid_of "$file") ]] || rm -f "$file"
    done
}

# Ports that the kernel gives to outgoing connections, too, may be taken whenever a process is down.
warn_of_ports() {
    local low high last=$((port_base + 10 + ports_each * width * shards))
    read -r low high 2>/dev/null </proc/sys/net/ipv4/ip_local_port_range || return 0
    ((port_base > high || last < low)) ||
        hf_say "warning: ports $port_base to $last are among those the kernel gives to outgoing connections ($low to $high," \
            "net.ipv4.ip_local_port_range): a process that was down may find its port taken; choose another --port-base"
}

# ---- commands -------------------------------------------------------------------------------------------------------

# Starts every process of the list that is down and waits for each; the first failure is the result.
start_all() { # PATH NAME…
    local path=$1 n pid code=0 one started=() pids=() from=()
    shift
    for n; do
        check_name "$n"
        pid=$(hf_pid_of "$dir/run/$shard-$replica.pid")
        if [[ -z $pid ]]; then
            launch "$n"
            started+=("$n") pids+=("$launched") from+=("$log_from")
        else
            started+=("$n") pids+=("$pid") from+=(0)
        fi
    done
    for n in "${!started[@]}"; do
        await_ready "${started[n]}" "${pids[n]}" "${from[n]}" "$path"
        one=$?
        ((code)) || code=$one
        ((one == 0)) || break
    done
    return "$code"
}

# Replicas that wait to be bootstrapped are alive but not ready; the request is safe to repeat.
bootstrap() {
    local said until=$((SECONDS + start_seconds))
    until said=$("$HF_BUILD/bin/holdfast" bootstrap "$dir/cluster.conf" 2>&1 </dev/null); do
        ((SECONDS <= until)) || {
            hf_say "bootstrap: ${said##*$'\n'}"
            return 3
        }
        sleep 0.1
    done
    : >"$dir/bootstrapped"
}

# Every process is ready; a new coordinator may still have to wait for the end of the old one's lease.
await_healthy() {
    local said until=$((SECONDS + start_seconds))
    until said=$(HOLDFAST_COORDINATORS=$(coordinator_list) "$HF_BUILD/bin/holdfast" status 2>&1 </dev/null); do
        ((SECONDS <= until)) || {
            hf_say "not healthy after $start_seconds s:"
            hf_say "$said"
            return 3
        }
        sleep 0.05
    done
}

coordinator_list() {
    local c list=''
    for ((c = 1; c <= coordinators; c++)); do
        ports coordinator "$c"
        list+=,tcp://127.0.0.1:$client_port
    done
    printf '%s\n' "${list#,}"
}

do_up() {
    local all replica_names coordinator_names code
    hf_build -DBUILD_TESTING=OFF
    if [[ -f $dir/settings ]]; then
        settings_again
    else
        settings_first
    fi
    warn_of_ports
    exec 9>"$dir/.lock"
    flock 9
    trap 'code=$?; ((code == 0 || leave)) || stop_launched; exit "$code"' EXIT
    mapfile -t all < <(names)
    mapfile -t replica_names < <(printf '%s\n' "${all[@]}" | grep -v coordinator)
    mapfile -t coordinator_names < <(printf '%s\n' "${all[@]}" | grep coordinator)
    if [[ ! -e $dir/bootstrapped ]]; then
        start_all /healthz "${replica_names[@]}" || exit
        bootstrap || exit
    fi
    start_all /readyz "${replica_names[@]}" "${coordinator_names[@]+"${coordinator_names[@]}"}"
    code=$?
    ((code == 0 && coordinators > 0)) && { await_healthy || code=$?; }
    flock -u 9
    exit "$code"
}

# Asks each to end, coordinators first, and waits; a stopped one is continued so that it can hear.
do_down() {
    local n pid until waiting
    [[ -f $dir/settings ]] || { ((wipe)) && [[ ! -d $dir ]] && exit 0; }
    settings_read
    exec 9>"$dir/.lock"
    flock 9
    for n in $(names | tac); do
        check_name "$n"
        pid=$(hf_pid_of "$dir/run/$shard-$replica.pid")
        [[ -n $pid ]] && kill -TERM "$pid" 2>/dev/null && kill -CONT "$pid" 2>/dev/null
    done
    until=$((SECONDS + 30))
    while :; do
        waiting=0
        for n in $(names); do
            check_name "$n"
            pid=$(hf_pid_of "$dir/run/$shard-$replica.pid")
            if [[ -z $pid ]]; then
                rm -f "$dir/run/$shard-$replica.pid"
                continue
            fi
            waiting=1
            ((SECONDS <= until)) || { hf_say "$n did not end in 30 s: SIGKILL" && kill -KILL "$pid" 2>/dev/null; }
        done
        ((waiting)) || break
        sleep 0.02
    done
    if ((wipe)); then
        rm -rf "$dir"
    fi
    exit 0
}

do_ps() {
    local n pid alive comma='' escaped
    settings_read
    ((json)) && printf '['
    for n in $(names); do
        check_name "$n"
        ports "$shard" "$replica"
        pid=$(hf_pid_of "$dir/run/$shard-$replica.pid")
        alive=false
        [[ -n $pid ]] && alive=true
        if ((json)); then
            escaped=$(data_dir "$shard" "$replica")
            escaped=${escaped//\\/\\\\}
            escaped=${escaped//\"/\\\"}
            if [[ $shard == coordinator ]]; then
                printf '%s{"name":"%s","role":"coordinator","shard":null,"replica":null' "$comma" "$n"
                escaped=
            else
                printf '%s{"name":"%s","role":"shard","shard":%d,"replica":%d' "$comma" "$n" "$shard" "$replica"
            fi
            printf ',"pid":%s,"alive":%s,"client":"tcp://127.0.0.1:%d","http":"127.0.0.1:%d","dir":%s}' \
                "${pid:-null}" "$alive" "$client_port" "$http_port" "$([[ -n $escaped ]] && echo "\"$escaped\"" || echo null)"
            comma=,
        else
            printf '%-14s %-7s pid %-8s client tcp://127.0.0.1:%-5d http 127.0.0.1:%-5d log %s\n' "$n" \
                "$([[ -n $pid ]] && echo alive || echo down)" "${pid:--}" "$client_port" "$http_port" \
                "$dir/log/$shard-$replica.log"
        fi
    done
    ((json)) && printf ']\n'
    exit 0
}

# What rolling-update.sh and engine-migrate.sh take for an environment file.
do_nodes() {
    local n command
    settings_read
    printf 'HOLDFAST_COORDINATORS=%s\nBASE_DIR=%q\nBIN_DIR=%q\n' "$(coordinator_list)" "$dir" "$HF_BUILD/bin"
    for n in $(names); do
        command_of "$n"
        printf 'node %s local' "$n"
        printf ' %q' "${command[@]:1}"
        printf '\n'
    done
    exit 0
}

do_env() {
    settings_read
    # shellcheck disable=SC2016 # $PATH is for the reader's shell
    printf 'export PATH=%q:"$PATH"\nexport HOLDFAST_COORDINATORS=%s\n' "$HF_BUILD/bin" "$(coordinator_list)"
    exit 0
}

do_kill() {
    local pid
    settings_read
    check_name "$name"
    kill -l "$signal" >/dev/null 2>&1 || die_usage "unknown signal \"$signal\""
    pid=$(hf_pid_of "$dir/run/$shard-$replica.pid")
    [[ -n $pid ]] || hf_die 1 "$name is not running"
    kill "-$signal" "$pid" || hf_die 1 "cannot send SIG$signal to $name (pid $pid)"
    if [[ $signal == KILL || $signal == 9 ]]; then
        while [[ -n $(hf_start_time "$pid") ]]; do
            sleep 0.01
        done
    fi
    exit 0
}

do_start() {
    local pid
    settings_read
    check_name "$name"
    exec 8>"$dir/run/$shard-$replica.lock" # two names may start at once: a replica can need the other to be ready
    flock 8
    pid=$(hf_pid_of "$dir/run/$shard-$replica.pid")
    if [[ -n $pid ]]; then
        launched=$pid log_from=0
    else
        launch "$name"
    fi
    await_ready "$name" "$launched" "$log_from" /readyz
    exit
}

do_wipe() {
    settings_read
    check_name "$name"
    [[ -z $(hf_pid_of "$dir/run/$shard-$replica.pid") ]] || hf_die 1 "$name is running: kill it first"
    [[ $shard == coordinator ]] || rm -rf "$(data_dir "$shard" "$replica")"
    exit 0
}

(($#)) || { usage >&2 && exit 2; }
verb=$1
shift
case $verb in
up | down | ps | env | nodes | kill | start | wipe) parse "$@" && "do_$verb" ;;
add) hf_die 2 'add: members cannot be added to a shard in this version' ;;
-h | --help | help) usage ;;
*) die_usage "unknown command \"$verb\"" ;;
esac
