#!/usr/bin/env bash
# check.sh: every model as it is, which must hold, and with each of its rules left out, which must fail. One line each.
#
# usage: check.sh              all
#        check.sh MODEL        one: oracle, leaders, cut, commit, resolve, seal or abort
#        check.sh MODEL RULE   shows a run that breaks it without that rule
# Needs spin and gcc; 700 MB of memory, some ten minutes of one core. Exit 0 only if all is as it must be.
set -u -o pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
memory_mb=1000 depth=20000 failed=0

# search MODEL RULE CC-OPTION…: builds and runs the search in $work; RULE "" leaves nothing out.
search() {
    local model=$1 drop=()
    [[ -z $2 ]] || drop=("-DDROP_$2")
    shift 2
    rm -rf "${work:?}"/* && cp "$here/$model.pml" "$work" && cd "$work" || return 1
    spin "${drop[@]}" -a "$model.pml" >spin.txt 2>&1 || { cat spin.txt && return 1; }
    gcc -O1 -w -DSAFETY -DNOREDUCE -DMEMLIM="$memory_mb" "$@" -o pan pan.c || return 1
    ./pan -m"$depth" >pan.txt 2>&1
    cat pan.txt >>spin.txt
}

# judge MODEL RULE
judge() {
    local begin=$SECONDS verdict=FAILED errors states
    search "$1" "$2" || { cat "$work/spin.txt"; }
    errors=$(sed -nE 's/.*errors: ([0-9]+)$/\1/p' "$work/pan.txt" 2>/dev/null)
    states=$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$work/pan.txt" 2>/dev/null)
    if grep -qE 'too small|out of memory|memory limit|invalid end state \(|aborting' "$work/pan.txt" 2>/dev/null; then
        verdict=FAILED
    elif [[ -z $2 ]]; then
        [[ $errors == 0 ]] && ! grep -q 'not completed' "$work/pan.txt" && verdict=ok
    elif [[ $errors == 1 ]] && grep -q 'assertion violated' "$work/pan.txt"; then
        verdict=ok
    fi
    [[ $verdict == ok ]] || failed=1
    printf '%-6s  %-8s %-27s %-8s %9s states %4d s\n' "$verdict" "$1" "${2:+without $2}" \
        "$([[ $errors == 0 ]] && echo holds || echo breaks)" "${states:-no}" $((SECONDS - begin))
}

rules() { # MODEL
    grep -oE 'DROP_[A-Z_]+' "$here/$1.pml" | sed 's/^DROP_//' | sort -u
}

one() { # MODEL
    local rule
    judge "$1" ''
    while read -r rule; do
        judge "$1" "$rule"
    done < <(rules "$1")
}

show() { # MODEL RULE
    grep -qxF "$2" <(rules "$1") || { echo "$1 has no rule $2; it has: $(rules "$1" | tr '\n' ' ')" && exit 2; }
    search "$1" "$2" || exit 1
    cd "$work" && spin "-DDROP_$2" -t "$1.pml" | sed -nE '/^      /p; /failed assertion/p'
}

for tool in spin gcc; do
    command -v "$tool" >/dev/null || { echo "check.sh: $tool is missing: apt-get install $tool" >&2 && exit 2; }
done
case $# in
0) for model in oracle leaders cut commit resolve seal abort; do one "$model"; done ;;
1) one "$1" ;;
2) show "$1" "$2" ;;
*) echo 'usage: check.sh [MODEL [RULE]]' >&2 && exit 2 ;;
esac
exit "$failed"
