/* txnmodel.h: three shards as transactions see them: records, locks, versions and sessions, by the rules of a state machine;
 * and whoever looks after transactions that nobody drives. One session and one number per transaction: n. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/client.pb-c.h"

#define MODEL_SHARDS 3
#define MODEL_KEYS 3   /* of each shard: "a0".."a2", "b0".., "c0".. */
#define MODEL_TXNS 24  /* n from 1 */
#define MODEL_LIST 512 /* versions of a key */

struct model_record {
    Hf__Entry__TxnState state; /* TXN_NONE: nothing */
    uint64_t min_commit, commit;
    bool keys[MODEL_KEYS];
    bool others;
};

struct model_version {
    uint64_t t;
    uint64_t n; /* 0: a plain write */
};

struct model_shard {
    uint64_t clock;
    struct model_record records[MODEL_TXNS + 1];
    struct model_version versions[MODEL_KEYS][MODEL_LIST];
    size_t counts[MODEL_KEYS];
    int outcome[MODEL_TXNS + 1]; /* of sessions here: 1 none, 0 OK, or a code */
    uint64_t commit[MODEL_TXNS + 1];
    bool gone[MODEL_TXNS + 1]; /* the session is */
};

struct model {
    struct model_shard shards[MODEL_SHARDS + 1]; /* by number */
};

struct model_reply { /* with what it points to */
    Hf__Client__Reply reply;
    Hf__Client__TxnOutcome txn;
};

void model_init(struct model *m);
/* What the shard does with the request, and says. `stamp`: at least that is what its leader stamps with. */
void model_execute(struct model *m, uint32_t shard, const Hf__Client__Request *q, uint64_t stamp,
                   struct model_reply *out);
/* Looks at everything once. `expired`: what is prepared is rolled back. */
void model_resolve(struct model *m, bool expired, uint64_t stamp);
void model_put(struct model *m, uint32_t shard, size_t key, uint64_t stamp); /* a plain write, if nothing is locked */
/* The timestamp of n's version of the key, 0: none. */
uint64_t model_version_of(const struct model *m, uint32_t shard, size_t key, uint64_t n);
/* Somebody else's version of the key in [from, to). */
bool model_moved(const struct model *m, uint32_t shard, size_t key, uint64_t from, uint64_t to, uint64_t n);
