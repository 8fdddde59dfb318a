#!/usr/bin/env bash
# clang-tidy.sh: clang-tidy over the product's sources and tests/support, from a build's compile_commands.json, by .clang-tidy in the root.
set -u -o pipefail
build=${1:?usage: clang-tidy.sh BUILD-DIR}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python3 -c 'import json, sys
for row in json.load(open(sys.argv[1])):
    path = row["file"].removeprefix(sys.argv[2] + "/")
    if path.startswith(("common/", "proto/", "shard/", "coordinator/", "client/", "tests/support/")):
        print(row["file"])' "$build/compile_commands.json" "$root" | sort -u |
    (cd "$root" && xargs -r -n 4 -P "$(nproc)" clang-tidy -p "$build" --quiet --warnings-as-errors='*')
