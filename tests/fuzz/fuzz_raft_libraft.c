/* fuzz_raft_libraft.c: as fuzz_raft.c, into the libraft engine. */
#define FUZZED engine_libraft
#include "tests/fuzz/fuzz_raft.c"
