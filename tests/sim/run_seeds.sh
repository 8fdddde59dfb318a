#!/usr/bin/env bash
# run_seeds.sh: the kept seeds and new ones that nobody ran before: where they begin follows from the commit.
# usage: run_seeds.sh HF_SIM     environment: HF_SIM_FIRST (instead of the commit), JOBS (cores), HOLDFAST_TEST_FULL=1 (more)
set -eu
seeds=$([[ ${HOLDFAST_TEST_FULL:-0} == 1 ]] && echo 20000 || echo 2000)
if [[ -z ${HF_SIM_FIRST:-} ]]; then
    commit=$(git -C "$(dirname "$0")" rev-parse --short=7 HEAD 2>/dev/null | cut -c 1-7 || true)
    export HF_SIM_FIRST=$((16#${commit:-1} * 100000 + 1))
fi
"$1" --seeds "$seeds" --jobs "${JOBS:-$(nproc)}"
exec "$1" --engine libraft --seeds "$((seeds / 2))" --jobs "${JOBS:-$(nproc)}"
