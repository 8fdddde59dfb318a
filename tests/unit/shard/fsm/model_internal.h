/* model_internal.h: what the model keeps, for model.c and model_txn.c. */
#pragma once

#include "tests/unit/shard/fsm/model.h"

#define MODEL_GROUP 3u

struct row { /* a version, or with `prefix` a prefix delete */
    struct row *next;
    struct slice key, value;
    struct version version;
    uint64_t expiry;
    uint8_t space;
    bool prefix, deleted;
    bool gone; /* about to be removed */
};

struct outcome {
    struct outcome *next;
    uint64_t seq;
    int code;
    struct version version;
};

struct client {
    struct client *next;
    uint64_t id, last_used, done_below;
    struct outcome *outcomes;
};

struct record { /* of a transaction */
    struct record *next;
    Hf__Entry__Txn *txn;
    bool committed;
    uint64_t min_commit, expires, commit;
};

struct model {
    struct arena arena;
    struct record *records;
    struct row *rows; /* newest first */
    struct client *clients;
    bool catalog;
    uint64_t below;  /* the watermark */
    bool in_markers; /* a pass is through all versions */
};

struct row *model_add(struct model *model, const Hf__Entry__Command *c, struct version version);
struct client *model_client(struct model *model, uint64_t id, uint64_t now);
struct outcome *model_outcome(struct client *client, uint64_t seq);
void model_record(struct model *model, struct client *client, uint64_t seq, int code, struct version version);

/* Is a key, or a prefix, locked by another than `own`, with a min_commit below `below` (0: any)? */
bool model_locked(const struct model *model, struct slice key, bool prefix, const Hf__Entry__TxnId *own,
                  uint64_t below);
bool model_range_locked(const struct model *model, struct slice start, struct slice end, uint64_t below);
struct record **model_txn(struct model *model, const Hf__Entry__TxnId *id);
int model_whole(struct model *model, const Hf__Entry__Txn *t, struct version version);
/* Any of the others. */
struct fsm_result model_run_txn(struct model *model, const Hf__Entry__Command *c, struct version version);
