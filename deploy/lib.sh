# lib.sh: what the scripts share: messages, missing Debian packages, the build, processes by pid and start time, ports.
# Sourced by bash scripts; needs nothing but Debian's essential packages.
# shellcheck shell=bash

HF_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HF_BUILD=${HOLDFAST_BUILD_DIR:-$HF_ROOT/build/release}
[[ $HF_BUILD == /* ]] || HF_BUILD=$PWD/$HF_BUILD

# What compiling Holdfast needs, and what runs it (docs/DEPENDENCIES.md says why each).
HF_BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config libzmq3-dev libczmq-dev librocksdb-dev libsodium-dev libxxhash-dev
    libraft-dev libprotobuf-c-dev protobuf-c-compiler libmicrohttpd-dev)

hf_say() {
    printf '%s\n' "$*" >&2
}

# hf_die CODE MESSAGE: one line on stderr, then the end.
hf_die() {
    printf '%s: %s\n' "${0##*/}" "$2" >&2
    exit "$1"
}

hf_as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -n "$@"
    fi
}

# hf_missing_packages NAME…: those that are not installed, one a line.
hf_missing_packages() {
    local name status
    for name; do
        status=$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null) || status=
        [[ $status == 'install ok installed' ]] || printf '%s\n' "$name"
    done
}

# hf_install NAME…: installs the Debian packages that are missing; touches apt only when one is.
hf_install() {
    local missing log
    mapfile -t missing < <(hf_missing_packages "$@")
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || command -v sudo >/dev/null ||
        hf_die 1 "missing Debian packages: ${missing[*]}; install them as root, or install sudo"
    hf_say "installing Debian packages: ${missing[*]}"
    log=$(mktemp)
    if ! { hf_as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        hf_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } \
        </dev/null >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        hf_die 1 "apt-get could not install: ${missing[*]}"
    fi
    rm -f "$log"
}

# hf_build [CMAKE OPTION…]: configures preset release into $HF_BUILD once, then brings it up to date. Quiet unless it
# fails. HOLDFAST_SKIP_BUILD=1 takes what is there (for callers that have just built).
hf_build() {
    local log
    if [[ ${HOLDFAST_SKIP_BUILD:-} == 1 && -x $HF_BUILD/bin/holdfast-shard && -x $HF_BUILD/bin/holdfast ]]; then
        return 0
    fi
    hf_install "${HF_BUILD_PACKAGES[@]}"
    mkdir -p "$HF_BUILD"
    log=$HF_BUILD/.build.log
    (
        flock 9
        cd "$HF_ROOT" || exit 1
        if [[ ! -f $HF_BUILD/build.ninja ]]; then
            hf_say "building into $HF_BUILD"
            cmake --preset release -B "$HF_BUILD" "$@" >"$log" 2>&1 || exit 1
        fi
        cmake --build "$HF_BUILD" >>"$log" 2>&1
    ) 9>"$HF_BUILD/.lock" || {
        grep -E 'error|Error|FAILED' "$log" | head -n 20 >&2
        hf_die 1 "the build failed; all of it is in $log"
    }
}

# hf_start_time PID: the kernel's start time of a process, empty when there is none; with the pid it names one process.
hf_start_time() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    stat=${stat##*) }
    local threads=("/proc/$1/task/"*)
    # shellcheck disable=SC2086 # split into fields: state is field 3, start time field 22
    set -- $stat
    # A zombie whose threads are still ending holds its ports and locks as before.
    [[ ($1 == Z || $1 == X) && ${#threads[@]} -le 1 ]] || printf '%s\n' "${20}"
}

# hf_pid_of FILE: the pid in a pid file ("PID STARTTIME") when that very process lives.
hf_pid_of() {
    local pid start
    { read -r pid start <"$1"; } 2>/dev/null || return 0
    [[ -n $start && $(hf_start_time "$pid") == "$start" ]] && printf '%s\n' "$pid"
    return 0
}

# hf_http_ok PORT PATH: true when GET answers 200 within a second on loopback.
hf_http_ok() {
    local line
    trap '' PIPE # whoever listens may end before it is asked
    {
        exec 7<>"/dev/tcp/127.0.0.1/$1" || { trap - PIPE && return 1; }
        printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&7
        IFS= read -r -t 1 line <&7 || line=
        exec 7>&-
    } 2>/dev/null
    trap - PIPE
    [[ $line == *' 200 '* || $line == *' 200'$'\r' ]]
}

# hf_busy_ports PORT…: those that something listens on (any address, TCP over IPv4 or IPv6), one a line.
hf_busy_ports() {
    local wanted
    printf -v wanted '%04X ' "$@"
    awk -v wanted="$wanted" 'BEGIN { count = split(wanted, port) }
        $4 == "0A" { for (i = 1; i <= count; i++) if ($2 ~ ":" port[i] "$") busy[i] = 1 }
        END { for (i = 1; i <= count; i++) if (i in busy) print i }' /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        while read -r wanted; do
            printf '%s\n' "${!wanted}"
        done
}

# hf_free_base BASE COUNT: the first of BASE, BASE + 500, … whose COUNT first ports nobody listens on.
hf_free_base() {
    local base
    for ((base = $1; base < 32000; base += 500)); do
        # shellcheck disable=SC2046 # one word a port
        [[ -z $(hf_busy_ports $(seq "$base" $((base + $2 - 1)))) ]] || continue
        printf '%s\n' "$base"
        return 0
    done
    return 1
}
