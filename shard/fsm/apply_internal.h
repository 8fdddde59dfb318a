/* apply_internal.h: what the files of apply share: the entry in hand and how it leaves its effects.
 *
 * Position: apply.c (entries, plain commands), apply_txn.c (commands of transactions), apply_collect.c (collection) only. */
#pragma once

#include "common/sys/failpoint.h"
#include "proto/entry.pb-c.h"
#include "shard/fsm/fsm_internal.h"

struct apply_dropped { /* a prefix of which markers' records are removed */
    struct apply_dropped *next;
    uint8_t space;
    struct slice prefix;
    struct version version; /* of the newest of them */
    struct version left;    /* of the newest that is still there below it; zero: none */
};

struct applying {
    struct fsm *fsm;
    struct fsm_info info; /* what fsm->info becomes */
    struct sweep sweep;   /* what fsm->sweep becomes */
    struct apply_dropped *dropped;
    struct sum sum; /* of what the entry in hand does */
    const struct log_entry *entry;
    bool new_members;
    bool bug_twice, bug_overlay; /* planted */
};

/* One record of 'd', 'p' or 't' into batch and sum, or out of them. */
void apply_put(struct applying *a, struct slice key, struct slice value);
void apply_delete(struct applying *a, struct slice key);
void apply_version(struct applying *a, struct slice prefix, struct version version, const struct version_value *value);
/* A value as it is written at `version`, with its time to live in milliseconds (0: for ever). */
struct version_value apply_value(struct slice payload, uint64_t ttl_ms, struct version version);
/* A marker of a deleted prefix. HF_E_LIMIT: one distinct prefix too many, nothing changed. */
HF_CHECKED int apply_marker(struct applying *a, uint8_t space, struct slice prefix, struct version version);

/* How many distinct prefixes more may be deleted; what prepared transactions may still delete is taken off. */
size_t apply_markers_left(const struct applying *a);

/* A step of collection, alone in its batch. Not HF_OK: local trouble, the batch must be given up (I6). */
HF_CHECKED int apply_collect(struct applying *a, const Hf__Entry__CollectEntry *e);
/* A marker of that version is about to be written: below the pass under way, whose look at what it hides may be over? */
void apply_collect_marker(struct applying *a, struct version version);
/* The batch is written: memory follows. */
void apply_collect_commit(struct applying *a);
/* Nobody may go by what was read at `start` any more. */
static inline bool apply_collected(const struct applying *a, uint64_t start)
{
    return start < a->info.collected.below.t && !planted_bug("collect.unfenced");
}

/* A step of a migration; its outcome: COMPARE_FAILED: it is about another epoch, configuration or state, FENCED: its id is aborted,
 * BUSY: another is prepared, INVALID: no such step can be. With these nothing changed. */
HF_CHECKED int apply_migrate(struct applying *a, const Hf__Entry__MigrateEntry *e);

/* A command of a prepared transaction, or to prepare one. Not HF_OK: local trouble, the batch must be given up (I6). */
HF_CHECKED int apply_txn(struct applying *a, const Hf__Entry__Command *c, struct version version,
                         struct fsm_result *out);
/* Of one shard, after the rules of its session: out->code is its outcome. */
HF_CHECKED int apply_txn_whole(struct applying *a, const Hf__Entry__Command *c, struct version version,
                               struct fsm_result *out);
static inline bool apply_is_txn(const Hf__Entry__Command *c)
{
    return c->op == HF__ENTRY__OP__TXN_PREPARE || c->op == HF__ENTRY__OP__TXN_COMMIT ||
           c->op == HF__ENTRY__OP__TXN_ROLLBACK || c->op == HF__ENTRY__OP__TXN_FORGET;
}
/* Is a transaction of this session's number prepared here, as its home? It is that, whatever else comes under the same number. */
bool apply_txn_prepared(const struct applying *a, uint64_t session, uint64_t seq);
/* A fence: a prepared one is rolled back, whether its session is still there or not. True: it is committed, *out says as what. */
bool apply_txn_fence(struct applying *a, uint64_t session, uint64_t seq, struct session_outcome *out);
/* KEY_LOCKED with who holds it, or HF_OK: may a plain write of this key, or deletion of this prefix, be done now? */
HF_CHECKED int apply_txn_free(struct applying *a, const Hf__Entry__Command *c, struct fsm_result *out);
