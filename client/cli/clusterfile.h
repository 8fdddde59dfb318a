/* clusterfile.h: the cluster file: which shards, ranges and replicas a new cluster is to have.
 *
 * Position: what `holdfast bootstrap` reads; deploy/local-cluster.sh writes one. Format (zconfig, 4 blanks a level):
 *
 *     cluster
 *         heartbeat_ms = "100"
 *         election_ms = "500"
 *     shard
 *         id = "1"
 *         start = ""           \xHH escapes; start "" is the first key, end "" is open
 *         end = "m"
 *         catalog = "1"        exactly one shard, and that is shard 1
 *         replica
 *             id = "1"
 *             role = "voter"   or learner
 *             raft = "tcp://127.0.0.1:7411"
 *             client = "tcp://127.0.0.1:7412" */
#pragma once

#include "common/base/arena.h"
#include "common/base/must.h"
#include "proto/catalog.pb-c.h"

struct clusterfile {
    uint32_t heartbeat_ms, election_ms;
    Hf__Catalog__Routes routes; /* in the arena; version 1; cluster and incarnations are 0 still; routes_check passed */
};

/* HF_E_ABSENT, HF_E_INVALID: message says what is wrong. */
HF_CHECKED int clusterfile_read(const char *path, struct arena *arena, struct clusterfile *out, char message[512]);
