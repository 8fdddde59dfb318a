#!/usr/bin/env bash
# node.sh: what is done to one process on its own host: state, install, start, stop, migrate. nodes.sh sends it there and runs it.
#
# usage: node.sh VERB BASE NAME …        NAME is SHARD/REPLICA or coordinator/N; BASE holds run/, log/ and bin/
#   state   BASE NAME DIR ARGUMENT…       one line: running=PID|no binary=SHA256|no arguments=same|other ready=yes|no engine=NAME|none
#                                         "same": it runs with these arguments (and, with --config, with what is in that file now)
#                                         "ready": so its own door says, the --http-endpoint of the process that runs
#   install BASE SHA256 [-]               prints the path of that binary, exit 1 when it is not there; -: takes it from stdin first
#   start   BASE NAME HTTP SECONDS BINARY ARGUMENT…  returns when it is ready
#   stop    BASE NAME SECONDS             SIGTERM, after so many seconds SIGKILL
#   engine  DIR                           prints the engine of a replica's directory
#   run     COMMAND…                      runs it, with nothing on stdin
# exit: 0 done, 1 not there, 8 not ready in time, 9 it ended instead, 10 it cannot be started
# Needs bash and Debian's essential packages. A process is named by pid and start time; it writes them itself before it becomes
# the server, so that whoever is killed in between leaves no process that nobody knows.
set -u -o pipefail
export LC_ALL=C

# start_time PID: empty when it is gone; a zombie whose threads are still ending holds its ports as before.
start_time() {
    local stat threads
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    stat=${stat##*) }
    threads=("/proc/$1/task/"*)
    # shellcheck disable=SC2086 # split into fields: state is field 3, start time field 22
    set -- $stat
    [[ ($1 == Z || $1 == X) && ${#threads[@]} -le 1 ]] || printf '%s\n' "${20}"
}

pid_of() { # FILE
    local pid start
    { read -r pid start <"$1"; } 2>/dev/null || return 0
    [[ -n $start && $(start_time "$pid") == "$start" ]] && printf '%s\n' "$pid"
    return 0
}

# http_ready HOST:PORT: GET /readyz answers 200 within a second or two; without a door: the process lives, which is all there is.
http_ready() {
    local host=${1%:*} port=${1##*:} line=''
    [[ -n $1 ]] || return 0
    [[ -n $host ]] || host=127.0.0.1
    # shellcheck disable=SC2016 # $0 and $1 are the other bash's
    line=$(timeout 2 bash -c 'exec 7<>"/dev/tcp/$0/$1" && printf "GET /readyz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n" >&7 &&
        IFS= read -r line <&7 && printf "%s" "$line"' "$host" "$port" 2>/dev/null)
    [[ $line == *' 200 '* || $line == *' 200'$'\r' ]]
}

sha_of() {
    local sum
    sum=$(sha256sum <"$1" 2>/dev/null) || return 1
    printf '%s\n' "${sum%% *}"
}

# last_of OPTION ARGUMENT…: its last value, given as `--x y` or as `--x=y`; empty without it.
last_of() {
    local option=$1 value=''
    while shift && (($#)); do
        case $1 in
        "$option") value=${2:-} ;;
        "$option="*) value=${1#*=} ;;
        esac
    done
    printf '%s\n' "$value"
}

# config_of ARGUMENT…: what --config names holds, as a sum; empty without one.
config_of() {
    local file
    file=$(last_of --config "$@")
    [[ -z $file ]] || sha_of "$file" || echo unreadable
}

# The arguments of a process, one a line (they hold no line feeds), without --engine, which is of its first start only.
arguments_of() { # PID
    local words=() i
    mapfile -d '' -t words 2>/dev/null <"/proc/$1/cmdline" || return 1
    for ((i = 1; i < ${#words[@]}; i++)); do
        if [[ ${words[i]} == --engine ]]; then
            ((i++))
        elif [[ ${words[i]} != --engine=* ]]; then
            printf '%s\n' "${words[i]}"
        fi
    done
}

engine_of() { # DIR
    local key value engine=none
    while read -r key value; do
        [[ $key != engine ]] || engine=$value
    done 2>/dev/null <"$1/identity"
    printf '%s\n' "$engine"
}

do_state() {
    local base=$1 file=$2 dir=$3 pid words=() binary=no arguments=other ready=no recorded=''
    shift 3
    pid=$(pid_of "$base/run/$file.pid")
    if [[ -n $pid ]]; then
        binary=$(sha_of "/proc/$pid/exe") || binary=unreadable
        { read -r recorded <"$base/run/$file.config"; } 2>/dev/null
        [[ $(arguments_of "$pid") != "$(printf '%s\n' "$@")" || $recorded != "$(config_of "$@")" ]] || arguments=same
        # With its own arguments, not the wanted ones. One that has just ended has none, and is not ready.
        mapfile -t words < <(arguments_of "$pid")
        ((${#words[@]})) && http_ready "$(last_of --http-endpoint "${words[@]}")" && ready=yes
    fi
    printf 'running=%s binary=%s arguments=%s ready=%s engine=%s\n' "${pid:-no}" "$binary" "$arguments" "$ready" "$(engine_of "$dir")"
}

# A binary is kept under a name made of its content: nothing that runs is written over.
do_install() {
    local path=$1/bin/$2 new
    if [[ ${3:-} == - ]]; then
        find "$1/bin" -name '.new.*' -mmin +60 -delete 2>/dev/null # of a copy that was cut short
        mkdir -p "$1/bin" && new=$(mktemp "$1/bin/.new.XXXXXX") || return 10
        if ! cat >"$new" || [[ $(sha_of "$new") != "$2" ]]; then
            rm -f "$new"
            echo "the binary did not arrive whole in $1/bin" >&2
            return 10
        fi
        chmod 755 "$new" && sync "$new" && mv "$new" "$path" || return 10
    fi
    [[ -x $path ]] || return 1
    printf '%s\n' "$path"
}

# As a child that is not this script's to lose: it has a session of its own, writes its pid file and becomes the server. Until its pid
# is written it holds the lock, too: else, if this script is killed meanwhile, the next one would start a second server.
launch() { # BASE FILE BINARY ARGUMENT…
    local base=$1 file=$2
    shift 2
    config_of "${@:2}" >"$base/run/$file.config"
    # shellcheck disable=SC2016 # the child's own
    setsid bash -c 'read -r stat </proc/$$/stat && stat=${stat##*) } && fields=($stat) &&
        printf "%d %s\n" $$ "${fields[19]}" >"$0.new" && mv "$0.new" "$0" && exec "$@" 8>&-' \
        "$base/run/$file.pid" "$@" </dev/null >>"$base/log/$file.log" 2>&1 9>&- &
    launched=$!
}

do_start() {
    local base=$1 file=$2 http=$3 seconds=$4 log pid from until code i
    shift 4
    log=$base/log/$file.log
    mkdir -p "$base/run" "$base/log" || return 10
    exec 8>"$base/run/$file.lock"
    flock 8
    [[ -x $1 ]] || { echo "$1 is not there" >&2 && return 10; }
    launched=''
    pid=$(pid_of "$base/run/$file.pid")
    from=$(stat -c %s "$log" 2>/dev/null || echo 0)
    until=$((SECONDS + seconds))
    if [[ -z $pid ]]; then
        launch "$base" "$file" "$@"
        pid=$launched
    fi
    exec 8>&-
    for ((i = 0; ; i++)); do
        http_ready "$http" && [[ $(pid_of "$base/run/$file.pid") == "$pid" ]] && return 0
        if [[ -z $(start_time "$pid") ]]; then
            code=unknown
            [[ -z $launched ]] || { wait "$pid" && code=0 || code=$?; }
            printf 'it ended with exit code %s: %s\n' "$code" "$(tail -c "+$((from + 1))" "$log" | grep -v '^[[:space:]]*$' | tail -n 1)" >&2
            return 9
        fi
        if ((SECONDS >= until)); then
            printf 'not ready after %s s; the last line of %s: %s\n' "$seconds" "$log" "$(tail -n 1 "$log")" >&2
            return 8
        fi
        sleep 0.05
    done
}

do_stop() {
    local base=$1 file=$2 seconds=$3 pid until
    mkdir -p "$base/run" || return 10
    exec 8>"$base/run/$file.lock"
    flock 8
    pid=$(pid_of "$base/run/$file.pid")
    if [[ -n $pid ]]; then
        kill -TERM "$pid" 2>/dev/null
        kill -CONT "$pid" 2>/dev/null
        until=$((SECONDS + seconds))
        while [[ -n $(start_time "$pid") ]]; do
            if ((SECONDS >= until)); then
                echo "it did not end in $seconds s: SIGKILL" >&2
                kill -KILL "$pid" 2>/dev/null
                until=$((SECONDS + 3600))
            fi
            sleep 0.02
        done
    fi
    rm -f "$base/run/$file.pid"
}

verb=${1:-}
(($#)) && shift
case $verb in
state | start | stop)
    base=$1 file=${2//\//-}
    shift 2
    "do_$verb" "$base" "$file" "$@"
    ;;
install) do_install "$@" ;;
engine) engine_of "$1" ;;
run) "$@" </dev/null ;;
*) echo "node.sh: unknown verb \"$verb\"" >&2 && exit 2 ;;
esac
