# nodes.sh: what rolling-update.sh and engine-migrate.sh share: the environment file, nodes on this machine or over ssh, status.
# Sourced by bash scripts after lib.sh; needs jq here, and bash on every host. README.md describes the environment file.
# shellcheck shell=bash

# shellcheck disable=SC2034 # what a script that sources this may use
E_USAGE=2 E_NOT_READY=3 E_UNSAFE=4 E_LEADER=5 E_HOST=6

# The time-outs that the caller's environment gives come before what a file says.
timeouts=(HEALTH_TIMEOUT_SECONDS STOP_TIMEOUT_SECONDS LEADER_TIMEOUT_SECONDS MAX_LAG)
timeouts_given=()
for timeout in "${timeouts[@]}"; do
    [[ -z ${!timeout:-} ]] || timeouts_given+=("$timeout=${!timeout}")
done

# What an environment file may set; `node` lines name the processes.
nodes_names=() # in the file's order
declare -A node_host=() node_words=()
SSH_USER='' SSH_PORT=22 SSH_OPTIONS=() SSH_CONNECT_TIMEOUT_SECONDS=10 SSH_STRICT_HOST_KEY_CHECKING=accept-new
BASE_DIR=/var/lib/holdfast BIN_DIR=$HF_BUILD/bin
HEALTH_TIMEOUT_SECONDS=60 STOP_TIMEOUT_SECONDS=30 LEADER_TIMEOUT_SECONDS=30 MAX_LAG=10000

# node NAME HOST OPTION…: one process; HOST is "local", a host or user@host. The options are those of holdfast-shard or
# holdfast-coordinator; --shard, --replica, --id and a replica's --dir go without saying.
node() {
    local name=${1:-} host=${2:-} words=() own=() word value i
    [[ $name =~ ^(([1-9][0-9]{0,5})/([1-9][0-9]{0,5})|coordinator/([1-9][0-9]{0,5}))$ ]] ||
        hf_die $E_USAGE "node: \"$name\" is not SHARD/REPLICA or coordinator/N"
    local shard=${BASH_REMATCH[2]} replica=${BASH_REMATCH[3]} id=${BASH_REMATCH[4]}
    [[ -n $host && $host != -* ]] || hf_die $E_USAGE "node $name: which host? (\"local\", HOST or USER@HOST)"
    [[ -z ${node_host[$name]:-} ]] || hf_die $E_USAGE "node $name is named twice"
    shift 2
    for word; do
        [[ $word != *$'\n'* ]] || hf_die $E_USAGE "node $name: an option with a line feed"
        [[ $word != --engine && $word != --engine=* ]] ||
            hf_die $E_USAGE "node $name: --engine is of a replica's first start only; see engine-migrate.sh"
    done
    words=("$@")
    [[ -n $id ]] && own=(--id "$id") || own=(--replica "$replica" --shard "$shard")
    for ((i = 0; i < ${#own[@]}; i += 2)); do
        if ! value_of "${own[i]}" "$@"; then
            words=("${own[@]:i:2}" "${words[@]+"${words[@]}"}")
        elif [[ $value != "${own[i + 1]}" ]]; then
            hf_die $E_USAGE "node $name: ${own[i]} $value is not what its name says: ${own[i + 1]}; leave it out"
        fi
    done
    [[ -n $id ]] || value_of --dir "$@" || words=(--dir "$BASE_DIR/${name//\//-}" "${words[@]}")
    nodes_names+=("$name")
    node_host[$name]=$host
    node_words[$name]=$(printf '%s\n' "${words[@]}")
}

# value_of OPTION WORD…: sets value, the last one given, as `--x y` or as `--x=y`; 1: there is none.
value_of() {
    local option=$1 code=1
    value=''
    while shift && (($#)); do
        case $1 in
        "$option") value=${2:-} code=0 ;;
        "$option="*) value=${1#*=} code=0 ;;
        esac
    done
    return $code
}

# option_of NAME OPTION: the value that a node's line gives it; empty when it has none.
option_of() {
    local words=() value
    words_of "$1"
    value_of "$2" "${words[@]}"
    printf '%s\n' "$value"
}

SECONDS_MAX=86400
want_seconds() { # VARIABLE
    if ! [[ ${!1} =~ ^[1-9][0-9]{0,4}$ ]] || ((${!1} > SECONDS_MAX)); then
        hf_die $E_USAGE "$1 wants whole seconds from 1 to $SECONDS_MAX, without leading zeros, not \"${!1}\""
    fi
}

# one_cluster DIR FILE: sets dir or file, an absolute path, by what the command line said: one of them, or by the environment.
one_cluster() {
    dir=$1 file=$2
    [[ -z $dir || -z $file ]] || hf_die $E_USAGE "--dir and --env name a cluster each: say one of them (${0##*/} --help)"
    [[ -n $dir$file ]] || file=${ROLLING_UPDATE_ENV_FILE:-}
    [[ -n $dir$file ]] || hf_die $E_USAGE "which cluster? --dir D or --env FILE (${0##*/} --help)"
    [[ -z $dir || $dir == /* ]] || dir=$PWD/$dir
    [[ -z $file || $file == /* ]] || file=$PWD/$file # bash looks for a name without a slash in PATH
}

# nodes_load DIR FILE: the nodes of a local cluster's directory, or those of an environment file.
nodes_load() {
    local dir=$1 file=$2 text name
    command -v jq >/dev/null || hf_die 1 'jq is missing: apt-get install jq'
    if [[ -n $dir ]]; then
        text=$("$HF_ROOT/deploy/local-cluster.sh" nodes --dir "$dir") || exit
        eval "$text"
    else
        [[ -r $file ]] || hf_die $E_USAGE "cannot read the environment file $file"
        # shellcheck source=/dev/null
        source "$file" || hf_die $E_USAGE "the environment file $file ended with an error"
    fi
    for name in "${timeouts_given[@]+"${timeouts_given[@]}"}"; do
        printf -v "${name%%=*}" '%s' "${name#*=}"
    done
    for name in HEALTH_TIMEOUT_SECONDS STOP_TIMEOUT_SECONDS LEADER_TIMEOUT_SECONDS SSH_CONNECT_TIMEOUT_SECONDS; do
        want_seconds "$name"
    done
    [[ $MAX_LAG =~ ^(0|[1-9][0-9]{0,11})$ ]] || hf_die $E_USAGE "MAX_LAG wants a number of entries, not \"$MAX_LAG\""
    ((${#nodes_names[@]})) || hf_die $E_USAGE "${file:-$dir} names no node"
    [[ -n ${HOLDFAST_COORDINATORS:-} ]] || hf_die $E_USAGE "${file:-$dir} does not set HOLDFAST_COORDINATORS"
    export HOLDFAST_COORDINATORS
    cli=$BIN_DIR/holdfast
    for name in holdfast holdfast-shard holdfast-coordinator; do
        [[ -x $BIN_DIR/$name ]] || hf_die $E_USAGE "$BIN_DIR/$name is not there: build it, or say where it is with BIN_DIR"
    done
    node_program=$(<"$HF_ROOT/deploy/node.sh")
}

# One run at a time: the lock is the cluster's directory's, or the file's.
nodes_lock() { # DIR FILE
    if [[ -n $1 ]]; then
        exec 9>"$1/.lock"
    else
        exec 9<"$2"
    fi
    flock -w 2 9 || hf_die $E_UNSAFE "another run is under way on ${2:-$1}; wait for its end"
}

quoted() { # WORD…: for a remote shell that need not be bash
    local word
    for word; do
        printf "'%s' " "${word//\'/\'\\\'\'}"
    done
}

# on NAME VERB …: node.sh on the node's host. Exit 255: the host was not reached.
on() {
    local host=${node_host[$1]} target
    shift
    if [[ $host == local ]]; then
        bash -c "$node_program" node.sh "$@" 9>&-
        return
    fi
    target=$host
    [[ $host == *@* || -z $SSH_USER ]] || target=$SSH_USER@$host
    ssh -p "$SSH_PORT" -o BatchMode=yes -o "ConnectTimeout=$SSH_CONNECT_TIMEOUT_SECONDS" -o ServerAliveInterval=5 \
        -o "StrictHostKeyChecking=$SSH_STRICT_HOST_KEY_CHECKING" "${SSH_OPTIONS[@]+"${SSH_OPTIONS[@]}"}" -- "$target" \
        "$(quoted bash -c "$node_program" node.sh "$@")" 9>&-
}

# words_of NAME: sets words, what the node is started with.
words_of() {
    mapfile -t words <<<"${node_words[$1]}"
}

program_of() { # NAME: the binary it is to run
    case $1 in
    coordinator/*) printf '%s\n' "$BIN_DIR/holdfast-coordinator" ;;
    *) printf '%s\n' "$BIN_DIR/holdfast-shard" ;;
    esac
}

declare -A sums=()
sum_of() { # FILE: sets sum
    if [[ -z ${sums[$1]:-} ]]; then
        sum=$(sha256sum <"$1") || hf_die 1 "cannot read $1"
        sums[$1]=${sum%% *}
    fi
    sum=${sums[$1]}
}

# on_failed NAME WHAT CODE SAID: the end, when a host could not do it.
on_failed() {
    local name=$1 said=${4//$'\r'/} # ssh's own lines end with both
    said=${said%$'\n'} said=${said##*$'\n'}
    if (($3 == 255)); then
        hf_die $E_HOST "$name: host ${node_host[$name]} cannot be reached to $2: ${said:-ssh said nothing}; see to it, and run this again"
    fi
    hf_die $E_HOST "$name: cannot $2 on host ${node_host[$name]}: ${said:-exit code $3}; see to it, and run this again"
}

# node_state NAME: sets running (PID or "no"), binary, arguments, ready, engine, as node.sh says, and why: what is not as wanted.
# shellcheck disable=SC2034 # ready and engine are for who asked
node_state() {
    local said code pair words=()
    words_of "$1"
    said=$(on "$1" state "$BASE_DIR" "$1" "$(option_of "$1" --dir)" "${words[@]}" </dev/null 2>&1)
    code=$?
    [[ $said == *running=* ]] || on_failed "$1" 'ask for its state' "$code" "$said"
    said=running=${said##*running=}
    for pair in ${said%%$'\n'*}; do
        case $pair in
        running=*) running=${pair#*=} ;;
        binary=*) binary=${pair#*=} ;;
        arguments=*) arguments=${pair#*=} ;;
        ready=*) ready=${pair#*=} ;;
        engine=*) engine=${pair#*=} ;;
        esac
    done
    sum_of "$(program_of "$1")"
    why=''
    if [[ $running == no ]]; then
        why='it is not running'
    else
        [[ $binary == "$sum" ]] || why='another binary'
        [[ $arguments == same ]] || why+=${why:+, }'another configuration'
    fi
}

# place NAME FILE: sets placed, where this very binary lies on the node's host; sends it when it is not there.
place() {
    local said code
    placed=$2
    [[ ${node_host[$1]} != local ]] || return 0
    sum_of "$2"
    placed=$(on "$1" install "$BASE_DIR" "$sum" </dev/null 2>/dev/null) && return 0
    placed=$(on "$1" install "$BASE_DIR" "$sum" - <"$2" 2>&1) || {
        code=$? said=$placed
        on_failed "$1" "install ${2##*/} under $BASE_DIR/bin" "$code" "$said"
    }
}

# start_node NAME: returns when it is ready, or node.sh's code; what it said is in `said`.
start_node() {
    local words=() code
    place "$1" "$(program_of "$1")"
    words_of "$1"
    said=$(on "$1" start "$BASE_DIR" "$1" "$(option_of "$1" --http-endpoint)" "$HEALTH_TIMEOUT_SECONDS" "$placed" "${words[@]}" \
        </dev/null 2>&1)
    code=$? said=${said##*$'\n'}
    ((code != 255)) || on_failed "$1" 'start it' "$code" "$said"
    return "$code"
}

stop_node() { # NAME
    local said code
    said=$(on "$1" stop "$BASE_DIR" "$1" "$STOP_TIMEOUT_SECONDS" </dev/null 2>&1)
    code=$?
    ((code == 0)) || on_failed "$1" 'stop it' "$code" "$said"
    [[ -z $said ]] || hf_say "$1: ${said##*$'\n'}"
}

# ---- status ---------------------------------------------------------------------------------------------------------

status='' # what `holdfast status --json` said last

# ask_status: of the coordinators, or of the replicas themselves when none of those tells; 1: nobody does.
ask_status() {
    local from
    for from in "$HOLDFAST_COORDINATORS" "$(replica_clients)"; do
        status=$("$cli" -c "$from" --timeout 2000 --json status 2>/dev/null </dev/null)
        [[ -n $status && $(of_status '.shards | length') -gt 0 ]] && return 0
    done
    status='{"coordinators":[],"shards":[]}'
    return 1
}

of_status() { # JQ-FILTER [JQ-OPTION…]
    local filter=$1
    shift
    jq -r "$@" "$filter" <<<"$status"
}

leader_of() { # SHARD: name; empty: nobody
    # shellcheck disable=SC2016 # jq's
    of_status '.shards[] | select(.shard == $s) | .leader // empty' --argjson s "$1"
}

# replica_clients: the client endpoints of the nodes that are replicas, which tell the status when no coordinator does.
replica_clients() {
    local name endpoint list=''
    for name in "${nodes_names[@]}"; do
        [[ $name != coordinator/* ]] || continue
        endpoint=$(option_of "$name" --client-endpoint)
        [[ -z $endpoint ]] || list+=,$endpoint
    done
    printf '%s\n' "${list#,}"
}

shards_of_nodes() {
    printf '%s\n' "${nodes_names[@]}" | sed -n 's|^\([0-9]*\)/.*|\1|p' | sort -nu
}

# nodes_of SHARD|coordinator: names, one a line, in the file's order.
nodes_of() {
    printf '%s\n' "${nodes_names[@]}" | grep "^$1/"
}

# agreed WHAT YES: --yes, or a person says so.
agreed() {
    local answer=''
    (($2)) && return 0
    [[ -t 0 ]] || hf_die $E_USAGE "$1; say --yes where nobody can be asked"
    read -r -p "$1. Go on? [y/N] " answer
    [[ $answer == [yY] || $answer == [yY][eE][sS] ]] || hf_die $E_USAGE 'nothing was done'
}
