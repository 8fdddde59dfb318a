#!/usr/bin/env bash
# clang-tidy.sh: clang-tidy over every source of a build directory's compile_commands.json, by .clang-tidy in the root.
set -u -o pipefail
build=${1:?usage: clang-tidy.sh BUILD-DIR}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python3 -c 'import json, sys
for row in json.load(open(sys.argv[1])):
    if ".pb-c." not in row["file"] and "verify_interface" not in row["file"]:
        print(row["file"])' "$build/compile_commands.json" | sort -u |
    (cd "$root" && xargs -r -n 4 -P "$(nproc)" clang-tidy -p "$build" --quiet --warnings-as-errors='*')
