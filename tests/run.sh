#!/usr/bin/env bash
# run.sh: every test, from a clean Debian 12 on: installs what is missing, builds, runs, counts. --full runs more of each.
# --only REGEX: just the stages whose name it finds, say 'gcc|libraft'; what they are built by is among them or was run before.
#
# What takes long rotates by commit: which engine the plain processes run while the sanitized ones run the other, and which
# third of the tests of sanitized processes runs. --full: both, all.
#
# environment: HOLDFAST_TEST_BUILD (build/test: the plain build), HOLDFAST_TEST_ASAN (build/asan),
# HOLDFAST_TEST_TSAN (build/tsan), JOBS (cores)
# exit 0 only if every stage passed and no test was skipped.
# shellcheck disable=SC2317 # functions are called through stage()
set -u -o pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"

full=0 only=''
while (($#)); do
    case $1 in
    --full) full=1 ;;
    --only)
        [[ -n ${2:-} ]] || hf_die 2 '--only wants a regular expression'
        only=$2 && shift
        ;;
    *) hf_die 2 'usage: tests/run.sh [--full] [--only REGEX]' ;;
    esac
    shift
done
export HOLDFAST_TEST_FULL=$full
cd "$HF_ROOT" || exit 1
plain=${HOLDFAST_TEST_BUILD:-$HF_ROOT/build/test}
asan=${HOLDFAST_TEST_ASAN:-$HF_ROOT/build/asan}
tsan=${HOLDFAST_TEST_TSAN:-$HF_ROOT/build/tsan}
jobs=${JOBS:-$(nproc)}
logs=$HF_ROOT/build/test-logs
test_packages=(libcunit1-dev clang libclang-rt-14-dev clang-format clang-tidy ccache python3 python3-zmq python3-protobuf
    protobuf-compiler shellcheck binutils jq iproute2 nftables strace
    e2fsprogs g++ openssh-client openssh-server)
((full)) && test_packages+=(spin)
passed=0 failed=0 failures=() retried=()
mkdir -p "$logs"
: >"$logs/reasons.txt"
begin_all=$SECONDS

# Which tests failed, and the lines that say why: unittest's, CUnit's, a sanitizer's, a must()'s.
reasons() { # LOG
    grep -hE -e '\*\*\*(Failed|Skipped|Not Run|Timeout|Exception)' -e '^(FAIL|ERROR): ' -e '^ +[0-9]+\. .*:[0-9]+ ' \
        -e '^[A-Za-z_.]*(Error|Failed|Exception): ' -e 'Sanitizer|runtime error|must failed' -e '^  File .*/tests/' "$1" |
        cut -c1-300 | head -n 30
}

# stage NAME COMMAND…: runs one step of its own, counts it as a test, says how long it took.
stage() {
    local title=$1 begin=$SECONDS
    shift
    [[ $title =~ $only ]] || return 0
    if "$@" >"$logs/$title.log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        printf 'ok      %-28s %4d s\n' "$title" $((SECONDS - begin))
        return 0
    fi
    failed=$((failed + 1)) failures+=("$title")
    printf 'FAILED  %-28s %4d s, the end of %s:\n' "$title" $((SECONDS - begin)) "$logs/$title.log"
    tail -n 25 "$logs/$title.log" | tee -a "$logs/reasons.txt"
    return 1
}

# second_try LOG BUILD-DIR BAD: on a shared machine a test can be late. Up to three that failed run once more, alone, if waiting
# in vain is all that went wrong in them: no value that differs, no bound, no report, no crash. Never under --full.
# What passes so is said in the last lines, with the reason of its first failure: it is a fault to be found all the same.
second_try() {
    local log=$1 build=$2 bad=$3 names errors late
    ((!full && bad <= 3)) || return 1
    names=$(sed -nE 's/^\t *[0-9]+ - (\S+) \(Failed\)$/\1/p' "$log")
    errors=$(grep -E '^[A-Za-z_.]*(Error|Exception|Failed|Expired): |^ +[0-9]+\. .*:[0-9]+ |^(seed [0-9]+:|FAILED by)' "$log")
    late=$(grep -cE '^(AssertionError: after [0-9]+ s still not: |TimeoutError: |subprocess\.TimeoutExpired: )' <<<"$errors")
    (($(wc -w <<<"$names") == bad && late >= bad && $(wc -l <<<"$errors") == late)) || return 1
    ! grep -qE '\*\*\*(Skipped|Not Run)|Sanitizer|runtime error|must failed' "$log" || return 1
    ctest --test-dir "$build" --output-on-failure --no-tests=error --rerun-failed >"$log.again" 2>&1 </dev/null || return 1
    # shellcheck disable=SC2206 # names of tests have no spaces
    retried+=($names)
}

# ctest_stage NAME BUILD-DIR CTEST-OPTION…: ctest's tests count one by one; a skipped or absent test is a failure.
ctest_stage() {
    local title=$1 build=$2 begin=$SECONDS log ran bad skipped
    shift 2
    [[ $title =~ $only ]] || return 0
    log=$logs/$title.log
    ctest --test-dir "$build" --output-on-failure --no-tests=error "$@" >"$log" 2>&1 </dev/null
    local code=$?
    ran=$(sed -n 's/.*tests passed, [0-9]* tests failed out of \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    bad=$(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$log" | tail -n 1)
    skipped=$(grep -cE '\*\*\*(Skipped|Not Run)' "$log")
    [[ -n $ran ]] || ran=1 bad=1
    ((skipped > 0 && bad < skipped)) && bad=$skipped
    ((code != 0 && bad == 0)) && bad=1
    if ((bad)) && second_try "$log" "$build" "$bad"; then
        reasons "$log" | tee -a "$logs/reasons.txt"
        bad=0
    fi
    passed=$((passed + ran - bad)) failed=$((failed + bad))
    if ((bad)); then
        failures+=("$title")
        printf 'FAILED  %-28s %4d s, %d of %d tests; from %s:\n' "$title" $((SECONDS - begin)) "$bad" "$ran" "$log"
        reasons "$log" | tee -a "$logs/reasons.txt"
        tail -n 40 "$log"
    else
        printf 'ok      %-28s %4d s, %d tests\n' "$title" $((SECONDS - begin)) "$ran"
    fi
}

configure() { # PRESET DIR OPTION…
    local preset=$1 build=$2
    shift 2
    HF_CCACHE=ccache cmake --preset "$preset" -B "$build" -DHF_WERROR=ON "$@"
}

build() { # DIR
    cmake --build "$1" -j "$jobs" && cmake --build "$1" -j "$jobs" --target all_verify_interface_header_sets
}

# What runs from the builds, one a line.
still_running() {
    local exe path
    for exe in /proc/[0-9]*/exe; do
        path=$(readlink "$exe" 2>/dev/null) || continue
        case $path in
        "$plain"/bin/* | "$asan"/bin/* | "$tsan"/bin/*) tr '\0' ' ' <"${exe%/exe}/cmdline" 2>/dev/null && echo ;;
        esac
    done
}

# Whatever the tests started has ended, or does within ten seconds.
nothing_left() {
    local try
    for ((try = 0; try < 20; try++)); do
        [[ -n $(still_running) ]] || return 0
        sleep 0.5
    done
    still_running
    return 1
}

# What a reader of the last lines needs: why, then how much, then the counts.
finish() {
    local name
    [[ ! -s $logs/reasons.txt ]] || { echo && tail -n 30 "$logs/reasons.txt"; }
    printf '\n%d min %d s\n' $(((SECONDS - begin_all) / 60)) $(((SECONDS - begin_all) % 60))
    for name in "${failures[@]+"${failures[@]}"}"; do
        printf 'failed: %s\n' "$name"
    done
    for name in "${retried[@]+"${retried[@]}"}"; do
        printf 'passed at the second try: %s\n' "$name"
    done
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0 && passed > 0))
    exit
}

# processes STAGE-PREFIX BUILD-DIR ENGINE CTEST-OPTION…: the tests of real processes, run by that engine.
processes() {
    local prefix=$1 build=$2
    export HOLDFAST_TEST_ENGINE=$3
    shift 3
    ctest_stage "${prefix}integration-$HOLDFAST_TEST_ENGINE" "$build" -L '^integration$' "$@"
    ctest_stage "${prefix}chaos-$HOLDFAST_TEST_ENGINE" "$build" -L '^chaos$' "$@"
}

commit=$(git -C "$HF_ROOT" rev-parse --short=7 HEAD 2>/dev/null | cut -c 1-7)
turn=$((16#${commit:-0}))
engines=(native libraft)
plain_engine=${engines[turn % 2]} sanitized_engine=${engines[1 - turn % 2]}
third=() # of the tests: every third one
((full)) || third=(-I "$((1 + turn / 2 % 3)),,3")

hf_install "${HF_BUILD_PACKAGES[@]}" "${test_packages[@]}"

stage gcc-configure configure release "$plain" || finish
stage gcc-werror build "$plain" || finish
stage clang-configure configure clang "$HF_ROOT/build/clang" || finish
stage clang-werror cmake --build "$HF_ROOT/build/clang" -j "$jobs"
ctest_stage unit-tidy "$plain" -L '^(unit|tidy)$' -j "$jobs"
ctest_stage sim "$plain" -L '^sim$'
processes '' "$plain" "$plain_engine"
((full)) && processes '' "$plain" "$sanitized_engine"
export HOLDFAST_FUZZ_SECONDS=$((full ? 120 : 7))
stage fuzz-configure configure fuzz "$HF_ROOT/build/fuzz" || finish
stage fuzz-build cmake --build "$HF_ROOT/build/fuzz" -j "$jobs" --target fuzzers || finish
ctest_stage fuzz "$HF_ROOT/build/fuzz" -L '^fuzz$' -j "$jobs"
((full)) && stage clang-tidy tests/tidy/clang-tidy.sh "$plain"
((full)) && stage models docs/protocol/models/check.sh
((full)) && stage bench-smoke env HOLDFAST_BUILD_DIR="$plain" tests/bench/smoke.sh

stage asan-configure configure asan "$asan" || finish
stage asan-build cmake --build "$asan" -j "$jobs" || finish
export HOLDFAST_TEST_ASAN_RUN=1
export HOLDFAST_TEST_FULL=0 # here and below: more seeds, more of the tests, but each in its normal form
export ASAN_OPTIONS=abort_on_error=1 # detect_stack_use_after_return misaligns 64-byte variables under gcc 12 (its bug 110027)
export UBSAN_OPTIONS=print_stacktrace=1
ctest_stage asan-unit "$asan" -L '^unit$' -j "$jobs"
stage asan-sim-seeds "$asan/bin/hf_sim" --no-keep --seeds $((full ? 2000 : 200))
stage asan-sim-seeds-libraft "$asan/bin/hf_sim" --engine libraft --no-keep --seeds $((full ? 1000 : 100))
ctest_stage asan-sim "$asan" -L '^sim$' -E '^sim_seeds$'
processes asan- "$asan" "$sanitized_engine" "${third[@]}" -E '^integration_rolling' # scripts; what they start is tested beside

# Threads. Of each process every report ends it (exit code 66) and stands in its log, which fails the test.
tsan_units='test_(support_races|sys_mailbox|sys_http|sys_metrics|client_.*|snapshot_transfer.*|snapshot_checkpoint|check|publish)'
tsan_programs=(holdfast-shard holdfast-coordinator holdfast-cli hammer racy) # and the programs of those unit tests
unset ASAN_OPTIONS UBSAN_OPTIONS
export TSAN_OPTIONS="suppressions=$HF_ROOT/tests/tsan.supp halt_on_error=1 history_size=7 second_deadlock_stack=1 die_after_fork=0"
stage tsan-configure configure tsan "$tsan" || finish
if ((full)); then
    stage tsan-build cmake --build "$tsan" -j "$jobs" || finish
else
    mapfile -t unit_programs < <(ctest --test-dir "$tsan" -N -L '^unit$' -R "^$tsan_units\$" |
        sed -nE 's/^ *Test +#[0-9]+: (\S+)$/\1/p' | grep -v '^test_support_races$') # that one is a script
    stage tsan-build cmake --build "$tsan" -j "$jobs" --target "${tsan_programs[@]}" "${unit_programs[@]}" || finish
fi
export HOLDFAST_TEST_ENGINE=$plain_engine
ctest_stage tsan-unit "$tsan" -L '^unit$' -R "^$tsan_units\$" -j "$jobs"
if ((full)); then # but for disks: what strace stops and the sanitizer's own calls do not go together
    ctest_stage tsan-integration "$tsan" -L '^integration$' -E '^integration_disks$'
    ctest_stage tsan-chaos "$tsan" -L '^chaos$' -R 'kills_nosync|kills_sync$|paused_leaders|canary_repeated_requests'
else
    ctest_stage tsan-integration "$tsan" -R '^integration_(contract|commands|transfer|cold_start_local)$'
fi
stage nothing-left nothing_left
finish
