#!/usr/bin/env bash
# rolling-update.sh: every process gets the wanted binary and configuration, one after another, while the cluster serves.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/nodes.sh"

usage() {
    cat <<'TXT'
usage: rolling-update.sh --dir D | --env FILE [--dry-run] [--yes] [--allow-outage]
  --dir D         a cluster of local-cluster.sh; another configuration for it: local-cluster.sh up --dir D --set KEY=VALUE
  --env FILE      the nodes, on this machine or over ssh (deploy/README.md); default $ROLLING_UPDATE_ENV_FILE
  --dry-run       only says what would be done
  --yes           asks nobody
  --allow-outage  goes on where a shard has no quorum without one of its replicas (a shard of one or two)
First what is down is started. Then each replica that runs another binary or configuration is stopped and started, one at a time,
those that are not ready first, a shard's leader last, and each only while the others are a quorum that is ready and one of them leads;
then the coordinators, the active one last. What runs as wanted is left alone. The next one is touched when the last is ready and has caught up. The first failure ends it: nothing more
is stopped; run it again when the reason is gone, it goes on where it was.
environment, before what FILE says: HEALTH_TIMEOUT_SECONDS (60: until a process is ready and caught up), STOP_TIMEOUT_SECONDS (30:
  then SIGKILL), LEADER_TIMEOUT_SECONDS (30: until another replica leads), MAX_LAG (10000 entries a next leader may be behind)
exit: 0 all run as wanted, 2 usage or environment file, 3 a process is not ready in time, 4 not safe: a shard would have no
  quorum, or another run is under way, 5 nobody takes the leadership, 6 a host cannot be reached or refuses, 1 anything else
TXT
}

dir='' file='' dry=0 yes=0 outage=0
declare -A action=() why_of=() # of each node: skip, wait, start, repair, update
begin=$SECONDS updated=0

parse() {
    while (($#)); do
        case $1 in
        --dir | --env)
            [[ -n ${2:-} ]] || hf_die $E_USAGE "$1 wants a value (rolling-update.sh --help)"
            [[ $1 == --dir ]] && dir=$2 || file=$2
            shift
            ;;
        --dry-run) dry=1 ;;
        --yes) yes=1 ;;
        --allow-outage) outage=1 ;;
        -h | --help) usage && exit 0 ;;
        *) hf_die $E_USAGE "unknown option \"$1\" (rolling-update.sh --help)" ;;
        esac
        shift
    done
    one_cluster "$dir" "$file"
}

say() {
    printf '%5d s  %s\n' $((SECONDS - begin)) "$*"
}

# What each node needs.
survey() {
    local name running='' ready='' why=''
    for name in "${nodes_names[@]}"; do
        node_state "$name"
        why_of[$name]=$why
        if [[ -z $why ]]; then
            action[$name]=skip
            [[ $ready == yes ]] || { action[$name]='wait' && why_of[$name]='it runs as wanted and is not ready yet'; }
        elif [[ $running == no ]]; then
            action[$name]=start
        elif [[ $ready == yes ]]; then
            action[$name]=update
        else
            action[$name]=repair
            why_of[$name]+=', not ready'
        fi
    done
}

# with ACTION [PATTERN]: the nodes that need it, one a line; the pattern is of what stands before the slash.
with() {
    local name
    for name in "${nodes_names[@]}"; do
        # shellcheck disable=SC2053 # a pattern
        [[ ${action[$name]} != "$1" || ${name%%/*} != ${2:-*} ]] || printf '%s\n' "$name"
    done
}

show_plan() {
    local name leads
    for name in "${nodes_names[@]}"; do
        leads=''
        [[ $name == coordinator/* || $(leader_of "${name%/*}") != "$name" ]] || leads=' (leads)'
        printf '  %-14s %-12s %-7s %s%s\n' "$name" "${node_host[$name]}" "${action[$name]}" \
            "${why_of[$name]:-binary, configuration: as wanted; ready}" "$leads"
    done
}

not_ready() { # NAME SAID
    hf_die $E_NOT_READY "$1 on ${node_host[$1]} is not ready: $2. Nothing else was stopped; put right what it says, or go back to the \
former binary or configuration, and run this again (log: $BASE_DIR/log/${1//\//-}.log)"
}

# Whether the node's voters, but for it, are a quorum that is ready and not far behind, as the last status says; sets problem.
safe_without() { # NAME
    local ready voters
    # shellcheck disable=SC2016 # jq's
    read -r voters ready < <(of_status '.shards[] | select(.shard == $s) | [.replicas[] | select(.role != "learner")] |
        "\(length) \([.[] | select(.name != $n and .state == "ready" and .lag != null and .lag <= $l)] | length)"' \
        --argjson s "${1%/*}" --arg n "$1" --argjson l "$MAX_LAG")
    if [[ -z ${voters:-} ]]; then
        problem="the cluster knows no shard ${1%/*}"
        return 1
    fi
    problem="without $1, $ready of $voters voters of shard ${1%/*} would be ready, it takes $((voters / 2 + 1))"
    ((ready >= voters / 2 + 1)) || { ((outage && voters <= 2)) && problem=; }
}

# No replica of the shard is ready, neither by the last status nor by the doors of their processes, and none leads: what is
# stopped then takes nothing away.
nobody_serves() { # SHARD
    local name running='' ready='' why=''
    # shellcheck disable=SC2016 # jq's
    [[ $(of_status '.shards[] | select(.shard == $s) | .leader == null and all(.replicas[]; .state != "ready")' \
        --argjson s "$1") == true ]] || return 1
    # shellcheck disable=SC2016 # jq's
    for name in $(of_status '.shards[] | select(.shard == $s) | .replicas[].name' --argjson s "$1"); do
        [[ -n ${node_host[$name]:-} ]] || return 1 # nobody knows of it
        node_state "$name"
        [[ $ready == no ]] || return 1
    done
}

# 1: it never became safe, but nobody serves the shard.
await_safe() { # NAME UNTIL
    local problem
    until problem='nobody tells the status' && ask_status && safe_without "$1"; do
        if ((SECONDS >= $2)); then
            [[ ${action[$1]} != repair ]] || ! nobody_serves "${1%/*}" || return 1
            hf_die $E_UNSAFE "$problem. $1 was not stopped; see what is wrong with the others (holdfast status), and run this again"
        fi
        sleep 0.2
    done
}

# Another replica leads before this one is stopped: the one that is least behind is asked for by name.
hand_over() { # NAME
    local shard=${1%/*} to leader said='nobody else is ready' until=$((SECONDS + LEADER_TIMEOUT_SECONDS)) try=0
    until ask_status && leader=$(leader_of "$shard") && [[ -n $leader && $leader != "$1" ]]; do
        # shellcheck disable=SC2016 # jq's
        mapfile -t to < <(of_status '.shards[] | select(.shard == $s) | .replicas |
            map(select(.name != $n and .role == "follower" and .state == "ready" and .lag != null and .lag <= $l)) |
            sort_by(.lag)[].replica' --argjson s "$shard" --arg n "$1" --argjson l "$MAX_LAG")
        if ((${#to[@]})); then
            said=$("$cli" -c "$HOLDFAST_COORDINATORS,$(replica_clients)" leader transfer "$shard" "${to[try++ % ${#to[@]}]}" 2>&1 </dev/null) &&
                say "$1: $said"
        elif ((outage)); then
            return 0
        fi
        ((SECONDS < until)) ||
            hf_die $E_LEADER "nobody but $1 leads shard $shard after $LEADER_TIMEOUT_SECONDS s: ${said##*$'\n'}. It was not stopped; \
see why the others do not take over (holdfast status), and run this again"
        sleep 0.2
    done
}

# Returns when a replica may be stopped: one status has said that the others are a quorum and that another one leads.
free_to_stop() { # NAME
    local problem='' until=$((SECONDS + HEALTH_TIMEOUT_SECONDS))
    while await_safe "$1" "$until"; do
        hand_over "$1"
        safe_without "$1" && return 0
        ((SECONDS < until)) || hf_die $E_UNSAFE "$problem, after it handed over. $1 was not stopped; see what is wrong with the others \
(holdfast status), and run this again"
    done
}

caught_up() { # NAME COMMIT
    ask_status || return 1
    # shellcheck disable=SC2016 # jq's
    [[ $(of_status '.shards[] | select(.shard == $s) | .leader != null and
        any(.replicas[]; .name == $n and .state == "ready" and .applied >= $c)' \
        --argjson s "${1%/*}" --arg n "$1" --argjson c "$2") == true ]]
}

# It is ready; has it what the shard had committed by now?
await_caught_up() { # NAME UNTIL
    local commit=''
    while [[ -z $commit ]] || ! caught_up "$1" "$commit"; do
        if [[ -z $commit ]] && ask_status; then
            # shellcheck disable=SC2016 # jq's
            commit=$(of_status '.shards[] | select(.shard == $s and .leader != null) | .commit' --argjson s "${1%/*}")
            continue
        fi
        ((SECONDS < $2)) ||
            not_ready "$1" "it has not caught up with shard ${1%/*} (entry ${commit:-unknown}) in $HEALTH_TIMEOUT_SECONDS s"
        sleep 0.1
    done
}

# A coordinator answers, and one of them is active.
await_coordinator() { # NAME UNTIL
    # shellcheck disable=SC2016 # jq's
    until ask_status && [[ $(of_status 'any(.coordinators[]; .id == $i and .reachable) and
        any(.coordinators[]; .active and .reachable)' --argjson i "$(option_of "$1" --id)") == true ]]; do
        ((SECONDS < $2)) || not_ready "$1" "it does not answer, or no coordinator is active, $HEALTH_TIMEOUT_SECONDS s after its start"
        sleep 0.1
    done
}

await_node() { # NAME UNTIL
    case $1 in
    coordinator/*) await_coordinator "$@" ;;
    *) await_caught_up "$@" ;;
    esac
}

# restart NAME: its binary is there first, which may take long; then the others are looked at, and then it is stopped.
restart() {
    local until said=''
    place "$1" "$(program_of "$1")"
    [[ $1 == coordinator/* ]] || free_to_stop "$1"
    say "$1: restarts on ${node_host[$1]} (${why_of[$1]})"
    stop_node "$1"
    until=$((SECONDS + HEALTH_TIMEOUT_SECONDS))
    start_node "$1" || not_ready "$1" "$said"
    await_node "$1" "$until"
    action[$1]=skip updated=$((updated + 1))
    say "$1: ready"
}

# start_at_once NAME…: returns when all are ready, or ends with the first failure.
start_at_once() {
    local name pids=() code=0 one said=''
    for name; do
        say "$name: starts on ${node_host[$name]}"
        (start_node "$name" || not_ready "$name" "$said") &
        pids+=($!)
    done
    for one in "${pids[@]}"; do
        wait "$one"
        one=$?
        ((code)) || code=$one
    done
    ((code == 0)) || exit "$code"
}

# What is down serves nobody, so all of it starts at once: a shard without quorum needs several to be ready. Replicas that were
# all down learn the routes from a coordinator, so how far they are is asked when those are there, too.
start_down() {
    local name replicas=() coordinators=() until
    mapfile -t replicas < <(with start '[0-9]*')
    mapfile -t coordinators < <(with start coordinator)
    ((${#replicas[@]} == 0)) || start_at_once "${replicas[@]}"
    ((${#coordinators[@]} == 0)) || start_at_once "${coordinators[@]}"
    until=$((SECONDS + HEALTH_TIMEOUT_SECONDS))
    for name in "${replicas[@]}" "${coordinators[@]}"; do
        await_node "$name" "$until"
        action[$name]=skip updated=$((updated + 1))
        say "$name: ready"
    done
}

# Those that run as wanted and are not ready: just started, perhaps, by a run that was ended.
await_waiting() {
    local name until=$((SECONDS + HEALTH_TIMEOUT_SECONDS)) running='' ready='' why=''
    for name in $(with wait); do
        while node_state "$name" && [[ $running != no && $ready != yes ]]; do
            ((SECONDS < until)) || not_ready "$name" "it runs with the wanted binary and configuration, and is not ready after \
$HEALTH_TIMEOUT_SECONDS s; if it hangs, stop it, and this starts it"
            sleep 0.2
        done
        [[ $running != no ]] || not_ready "$name" 'it ended by itself'
        action[$name]=skip
    done
}

# next_of ACTION SHARD: sets name, a node that needs it: one that does not answer, else one that is not ready, else one that does not
# lead. Who leads now is not who leads after the next hand-over: looked up each time. 1: none.
next_of() {
    local try
    for ((try = 0; try < 3; try++)); do # else the order is the file's, and the leader may be restarted before the others
        ! ask_status || break
    done
    # shellcheck disable=SC2016 # jq's
    for name in $(of_status '.shards[] | select(.shard == $s) | .leader as $l | .replicas |
        sort_by(.applied != null, .state == "ready", .name == $l)[].name' --argjson s "$2") $(nodes_of "$2"); do
        [[ ${action[$name]:-} != "$1" ]] || return 0
    done
    return 1
}

update_replicas() {
    local shard name need
    for shard in $(shards_of_nodes); do
        for need in repair update; do
            while next_of "$need" "$shard"; do
                restart "$name"
            done
        done
    done
}

update_coordinators() {
    local name active names=()
    ask_status
    active=coordinator/$(of_status '[.coordinators[] | select(.active) | .id][0] // 0')
    mapfile -t names < <({ with repair coordinator && with update coordinator; } | grep -vxF "$active")
    for name in "${names[@]}" "$active"; do
        [[ -n ${action[$name]:-} && ${action[$name]} != skip ]] || continue
        restart "$name"
    done
}

parse "$@"
nodes_load "$dir" "$file"
((dry)) || nodes_lock "$dir" "$file"
survey
ask_status || true
show_plan
todo=$((${#nodes_names[@]} - $(with skip | wc -l)))
if ((todo == 0)); then
    say "nothing to do: all ${#nodes_names[@]} processes run as wanted"
    exit 0
fi
((!dry)) || { say "a dry run: nothing was changed" && exit 0; }
trap 'hf_die 130 "ended; a process may be down; run this again, it goes on where it was"' INT
trap 'hf_die 143 "ended; a process may be down; run this again, it goes on where it was"' TERM HUP
agreed "$todo of ${#nodes_names[@]} processes are started or restarted, one at a time" $yes
start_down
await_waiting
update_replicas
update_coordinators
say "done: $updated started or restarted, all ${#nodes_names[@]} processes run as wanted"
