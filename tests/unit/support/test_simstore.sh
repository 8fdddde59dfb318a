#!/usr/bin/env bash
# test_simstore.sh: the simulator's store answers as RocksDB does: transcripts of both, seed by seed, are equal.
# usage: test_simstore.sh ROCKSDB-PROGRAM SIM-PROGRAM
set -eu -o pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seeds=$([[ ${HOLDFAST_TEST_FULL:-0} == 1 ]] && echo 40 || echo 6)
for ((seed = 1; seed <= seeds; seed++)); do
    "$1" "$work/store-$seed" "$seed" >"$work/rocksdb"
    "$2" "$work/store-$seed" "$seed" >"$work/sim"
    rm -rf "$work/store-$seed"
    [[ $(wc -l <"$work/rocksdb") -gt 1000 ]]
    cmp "$work/rocksdb" "$work/sim" || {
        echo "seed $seed differs (RocksDB <, simulated >):"
        diff "$work/rocksdb" "$work/sim" | head -n 20
        exit 1
    }
done
echo "$seeds transcripts are equal, the last of $(wc -l <"$work/sim") lines"
