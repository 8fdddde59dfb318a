#!/usr/bin/env bash
# engine-migrate.sh: another consensus engine for all shards: the coordinator's job while the cluster serves, or with all of it stopped.
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/nodes.sh
source "$(dirname "${BASH_SOURCE[0]}")/nodes.sh"

usage() {
    cat <<'TXT'
usage: engine-migrate.sh --dir D | --env FILE --to ENGINE [--offline] [--dry-run] [--yes] [--json]
  --dir D      a cluster of local-cluster.sh
  --env FILE   the nodes, on this machine or over ssh (deploy/README.md); default $ROLLING_UPDATE_ENV_FILE
  --to ENGINE  native or libraft
  --dry-run    only says what would be done
  --yes        asks nobody
Online: holdfast migrate plan, then holdfast migrate start --to ENGINE --yes, which goes shard by shard under load and waits for
  the end. Its exit code is this one's. If a change to ENGINE is under way already, paused or stopped, it goes on: holdfast migrate resume.
--json: one document on standard output: the job at its end, as migrate start and resume print it; where that is all, with --dry-run or
  when a shard cannot begin, what is shown first: migrate plan, or migrate status of a change that is under way. Not with --offline.
--offline: the cluster serves nobody meanwhile, and no client may write. Stops all (coordinators, followers, leaders), looks whether
  the logs of each shard end at one place, and starts again and tries again if not; gives every directory the engine with
  holdfast-migrate on its host, compares what they then hold, starts all with rolling-update.sh, runs holdfast verify.
  Ended at any point, it is run again with the same words: what went over already is left as it is. The way back is the same
  with the other engine.
environment: as of rolling-update.sh
exit (--offline): 0 all shards run the engine, 2 usage or environment file, 3 a process is not ready in time, 4 not safe: members are
  missing or clients write, 6 a host cannot be reached or refuses, 7 replicas differ, 1 anything else
TXT
}

E_DIFFER=7
TRIES=5 # to stop a shard so that its logs end at one place
dir='' file='' to='' offline=0 dry=0 yes=0 json=() work=''
begin=$SECONDS
declare -A look=() engine_of=() is_running=() cut=() # look, engine_of, is_running: of nodes; cut: of shards, INDEX:TERM

parse() {
    while (($#)); do
        case $1 in
        --dir | --env | --to)
            [[ -n ${2:-} ]] || hf_die $E_USAGE "$1 wants a value (engine-migrate.sh --help)"
            case $1 in
            --dir) dir=$2 ;;
            --env) file=$2 ;;
            --to) to=$2 ;;
            esac
            shift
            ;;
        --offline) offline=1 ;;
        --dry-run) dry=1 ;;
        --yes) yes=1 ;;
        --json) json=(--json) ;;
        -h | --help) usage && exit 0 ;;
        *) hf_die $E_USAGE "unknown option \"$1\" (engine-migrate.sh --help)" ;;
        esac
        shift
    done
    one_cluster "$dir" "$file"
    ((!offline || ${#json[@]} == 0)) || hf_die $E_USAGE '--json is of a change while the cluster serves, not of --offline'
    [[ $to =~ ^[a-z][a-z0-9_-]*$ ]] || hf_die $E_USAGE "--to ENGINE is missing or no engine's name (engine-migrate.sh --help)"
}

say() {
    printf '%5d s  %s\n' $((SECONDS - begin)) "$*"
}

# ---- while it serves: the coordinator's job -------------------------------------------------------------------------

# shown CODE TEXT: what comes before the question. It is all there is, with its exit code, when that is not 0, or with --dry-run.
# Else, with --json, it is not the document: it is for whoever is asked.
shown() {
    if (($1 || dry || ${#json[@]} == 0)); then
        [[ -z $2 ]] || printf '%s\n' "$2"
    elif [[ -t 0 ]] && ((!yes)); then
        hf_say "$2"
    fi
    (($1 == 0 && !dry)) || exit "$1"
}

online() {
    local job phase=none target='' said
    job=$("$cli" --json migrate status </dev/null 2>/dev/null) # of one that is stopped it ends with 7
    [[ -z $job ]] || read -r phase target < <(jq -r '"\(.phase) \(.target)"' <<<"$job")
    if [[ $target == "$to" && $phase =~ ^(running|paused|stopped)$ ]]; then
        shown 0 "$("$cli" "${json[@]+"${json[@]}"}" migrate status </dev/null 2>/dev/null)"
        agreed "the change to engine $to that is $phase goes on" $yes
        exec "$cli" "${json[@]+"${json[@]}"}" migrate resume --to "$to" </dev/null
    fi
    said=$("$cli" "${json[@]+"${json[@]}"}" migrate plan --to "$to" </dev/null)
    shown $? "$said"
    agreed "all shards go over to engine $to, one after another, while they serve" $yes
    exec "$cli" "${json[@]+"${json[@]}"}" migrate start --to "$to" --yes </dev/null
}

# ---- stopped --------------------------------------------------------------------------------------------------------

replicas() {
    printf '%s\n' "${nodes_names[@]}" | grep -v '^coordinator/'
}

survey() {
    local name running='' engine=''
    for name in "${nodes_names[@]}"; do
        node_state "$name"
        is_running[$name]=$running engine_of[$name]=$engine
        [[ $name == coordinator/* || $engine != none ]] ||
            hf_die $E_UNSAFE "$name: $(option_of "$name" --dir) on ${node_host[$name]} is no replica's directory; bring it back first"
    done
}

show_plan() {
    local name what
    for name in "${nodes_names[@]}"; do
        what=$([[ ${is_running[$name]} == no ]] && echo 'is stopped' || echo 'runs, is stopped')
        if [[ $name != coordinator/* ]]; then
            [[ ${engine_of[$name]} != "$to" ]] && what+=", ${engine_of[$name]} becomes $to" || what+=", has $to already"
        fi
        printf '  %-14s %-12s %s, is started\n' "$name" "${node_host[$name]}" "$what"
    done
}

all_over() {
    local name
    for name in $(replicas); do
        [[ ${engine_of[$name]} == "$to" ]] || return 1
    done
}

# Every member is in the environment file: where the logs end is asked of all of them. The cluster tells who they are; if it is
# down, a directory of each shard does, once it is known that nobody runs it.
members_known=0
all_members_named() {
    ask_status || return 0
    members_known=1
    # shellcheck disable=SC2046 # one word a name
    named $(of_status '.shards[].replicas[].name')
}

named() { # NAME…
    local name
    for name; do
        [[ -n ${node_host[$name]:-} ]] ||
            hf_die $E_UNSAFE "$name is a member and not in ${file:-$dir}: all members change their engine together; name it there"
    done
}

members_of_directory() { # SHARD
    local name
    ((!members_known)) || return 0
    name=$(nodes_of "$1" | head -n 1)
    place "$name" "$BIN_DIR/holdfast-shard"
    on "$name" run "$placed" --inspect "$(option_of "$name" --dir)" --json >"$work/inspect" 2>"$work/said" </dev/null
    # shellcheck disable=SC2046 # one word a name
    named $(jq -r '"\(.shard)/\(.members[].replica)"' "$work/inspect")
    [[ $(jq '.members | length' "$work/inspect") -gt 0 ]] ||
        hf_die $E_HOST "$name on ${node_host[$name]}: its directory does not tell the members: $(tail -n 1 "$work/said")"
}

# The program is on every host before anything is stopped, and knows the engine.
place_program() {
    local name said
    said=$("$BIN_DIR/holdfast-migrate" --check --to "$to" / 2>&1 </dev/null)
    (($? != 2)) || hf_die $E_USAGE "${said##*$'\n'}"
    for name in $(replicas); do
        place "$name" "$BIN_DIR/holdfast-migrate"
        program[$name]=$placed
    done
}
declare -A program=() # where it lies on each host

# holdfast-migrate on the node's host, for its directory; what it said is in OUT. 1: it is refused, for the reason in `refusal`.
migrate_on() { # NAME OUT WORD…
    local name=$1 out=$2 code
    shift 2
    on "$name" run "${program[$name]}" --json --to "$to" "$@" "$(option_of "$name" --dir)" >"$out" 2>"$work/said" </dev/null
    code=$?
    ((code == 0)) && return 0
    ((code != 255)) || on_failed "$name" 'run holdfast-migrate' 255 "$(<"$work/said")"
    refusal="$name on ${node_host[$name]}: holdfast-migrate ended with exit code $code: $(tail -n 1 "$work/said")"
    return 1
}
refusal=''

roll() {
    flock -u 9
    "$HF_ROOT/deploy/rolling-update.sh" ${dir:+--dir "$dir"} ${file:+--env "$file"} --yes --allow-outage </dev/null || exit
    flock -w 2 9 || hf_die $E_UNSAFE "another run began on ${dir:-$file}; run this again after its end"
}

# Nobody writes any more: all replicas of all shards have applied all there is, and a look later still just that. 2: not in time.
# Where one is stopped already, or nobody tells, the logs' ends say how it stands.
is_quiet() {
    local name seen before='' until=$((SECONDS + HEALTH_TIMEOUT_SECONDS))
    for name in $(replicas); do
        [[ ${is_running[$name]} != no ]] || return 1
    done
    while ((SECONDS < until)); do
        ask_status || return 1
        # shellcheck disable=SC2016 # jq's
        seen=$(of_status '[.shards[] | .commit as $c | .replicas[] | [.name, .applied, .applied == $c and .state == "ready"]]' -c)
        [[ $seen == *false* || $seen != "$before" ]] || return 0
        before=$seen
        sleep 0.5
    done
    return 2
}

stop_all() {
    local name shard leader quiet
    for name in $(nodes_of coordinator); do
        [[ ${is_running[$name]} == no ]] || stop_node "$name"
    done
    is_quiet
    quiet=$?
    if ((quiet == 2)); then
        roll
        hf_die $E_UNSAFE "the replicas do not come to rest in $HEALTH_TIMEOUT_SECONDS s: one is not ready, or clients write. All runs \
again as before; see holdfast status, stop the clients, and run this again"
    fi
    ask_status || true
    for shard in $(shards_of_nodes); do
        leader=$(leader_of "$shard")
        for name in $(nodes_of "$shard" | grep -vxF "${leader:-none}") $leader; do
            stop_node "$name"
        done
    done
    say 'all is stopped'
}

# Where a shard's logs end: in cut[SHARD] when that is one place, or when a member went over there; empty: all went over.
# 1: at several places.
find_cut() { # SHARD
    local name ends=() over=()
    cut[$1]=''
    members_of_directory "$1"
    : >"$work/digests"
    for name in $(nodes_of "$1"); do
        if ! migrate_on "$name" "$work/look" --check; then
            say "$refusal"
            roll
            hf_die $E_HOST "$refusal. All runs again; when that is put right, run this again"
        fi
        look[$name]=$(jq -r '.[0] | "\(.index):\(.term) \(.result)"' "$work/look")
        ends+=("${look[$name]%% *}")
        jq -r '.[0] | "\(.applied) \(.digest)"' "$work/look" >>"$work/digests"
        [[ ${look[$name]#* } != 'changed before' ]] || over+=("${look[$name]%% *}")
    done
    ((${#over[@]} < ${#ends[@]})) || return 0
    if digests_differ; then
        roll
        hf_die $E_DIFFER "shard $1: its members hold different states at one index: find the one that is wrong with holdfast verify. \
Nothing was changed in it; all runs again"
    fi
    mapfile -t over < <(printf '%s\n' "${over[@]+"${over[@]}"}" | grep . | sort -u)
    mapfile -t ends < <(printf '%s\n' "${ends[@]}" | sort -u) # of one that went over: where that was
    if ((${#ends[@]} > 1)); then
        ((${#over[@]} == 0)) || say "shard $1: members went over at ${over[*]}"
        say "shard $1: the logs end at ${ends[*]}"
        return 1
    fi
    cut[$1]=${ends[0]}
}

# Of lines "INDEX DIGEST": one index with two digests.
digests_differ() {
    sort -u "$work/digests" | awk '$1 == last {differ = 1} {last = $1} END {exit !differ}'
}

# Every member of a shard at its cut; members at one index hold the same.
change() { # SHARD
    local name
    : >"$work/digests"
    for name in $(nodes_of "$1"); do
        migrate_on "$name" "$work/changed" --log "${cut[$1]}" || hf_die $E_HOST "$refusal. The cluster is stopped; put right what it says \
and run this again with the same words, or start the cluster as it is with rolling-update.sh"
        jq -r '.[0] | "\(.applied) \(.digest)"' "$work/changed" >>"$work/digests"
        say "$name: engine $to, $(jq -r '.[0] | "\(.result), log epoch \(.log_epoch), state at \(.applied), digest \(.digest[0:16])"' \
            "$work/changed")"
    done
    ! digests_differ || hf_die $E_DIFFER "shard $1: its members hold different states at one index, as above. The cluster is stopped; start \
it with rolling-update.sh and find the one that is wrong with holdfast verify"
}

# Stops, looks, changes what can be changed; 1: a shard's logs end at several places.
try() {
    local shard uneven=0
    survey
    stop_all
    for shard in $(shards_of_nodes); do
        if ! find_cut "$shard"; then
            uneven=1
        elif [[ -n ${cut[$shard]} ]]; then
            change "$shard"
        fi
    done
    return $uneven
}

# A shard whose leader is just lost tells no engine.
verify() {
    local others until=$((SECONDS + HEALTH_TIMEOUT_SECONDS))
    # shellcheck disable=SC2016 # jq's
    until others='nobody tells the status' && ask_status &&
        others=$(of_status '[.shards[] | select(.engine != $e) | "shard \(.shard): \(.engine)"] | join(", ")' --arg e "$to") && [[ -z $others ]]; do
        ((SECONDS < until)) || hf_die 1 "not all shards run $to: $others; run this again"
        sleep 0.2
    done
    "$cli" verify </dev/null || hf_die $E_DIFFER 'holdfast verify: see above; all runs, with the new engine'
    say "done: all shards run engine $to, and their replicas agree"
}

stopped() {
    local count
    survey
    all_members_named
    if all_over; then
        say "all replicas have engine $to"
        ((!dry)) || exit 0
        roll
        verify
        return
    fi
    show_plan
    ((!dry)) || { say 'a dry run: nothing was changed' && exit 0; }
    agreed "the whole cluster is stopped, gets engine $to and is started again" $yes
    place_program
    for ((count = 1; ; count++)); do
        ! try || break
        ((count < TRIES)) || {
            roll
            hf_die $E_UNSAFE "after $TRIES tries the logs still do not end at one place; all runs again; do clients still write? Run this again"
        }
        say 'starts again, to stop again'
        roll
    done
    roll
    verify
}

parse "$@"
nodes_load "$dir" "$file"
if ((!offline)); then
    online
fi
[[ -x $BIN_DIR/holdfast-migrate ]] || hf_die $E_USAGE "$BIN_DIR/holdfast-migrate is not there: build it, or say where it is with BIN_DIR"
((dry)) || nodes_lock "$dir" "$file"
work=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-migrate.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'hf_die 130 "ended; run this again with the same words, it goes on where it was"' INT
trap 'hf_die 143 "ended; run this again with the same words, it goes on where it was"' TERM HUP
stopped
