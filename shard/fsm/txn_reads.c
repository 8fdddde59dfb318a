/* txn_reads.c: what others may see beside transactions: locks that readers meet, validation, what is kept. */
#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/fsm/changed.h"
#include "shard/fsm/fsm_internal.h"

#define VALIDATE_KEYS_MAX ((size_t)20000) /* that the ranges of one transaction may hold here */
#define READ_LOCKS_MAX ((size_t)20000)    /* not yet in a reader's way that are passed over before it has to wait */

void fsm_count_txns(struct fsm *fsm)
{
    fsm->info.txns = fsm->txns.by_id.count;
    fsm->info.txn_bytes = fsm->txns.bytes;
    fsm->info.locks = txns_locks(&fsm->txns);
}

const struct fsm_lock *fsm_lock_met(const struct fsm *fsm)
{
    return &fsm->met;
}

int fsm_key_free(struct fsm *fsm, enum fsm_space space, struct slice key, struct hlc at)
{
    const struct txns_who who = {.below = at};
    if (txns_locks(&fsm->txns) == 0 || space != FSM_USER || !txns_lock_on(&fsm->txns, key, &who, &fsm->met))
        return HF_OK;
    return planted_bug("txn.lock_skipped") ? HF_OK : HF_E_KEY_LOCKED;
}

int fsm_range_free(struct fsm *fsm, enum fsm_space space, struct slice start, struct slice end, struct hlc at)
{
    const struct txns_who who = {.below = at};
    const struct txns_span span = {.start = start, .end = end};
    size_t steps = READ_LOCKS_MAX;
    if (txns_locks(&fsm->txns) == 0 || space != FSM_USER || !txns_lock_in(&fsm->txns, &span, &who, &steps, &fsm->met))
        return HF_OK;
    return planted_bug("txn.lock_skipped") ? HF_OK : HF_E_KEY_LOCKED;
}

bool fsm_locked_below(const struct fsm *fsm, struct hlc at)
{
    struct sorted_at it;
    if (planted_bug("txn.lock_skipped") || !sorted_seek(&fsm->txns.by_id, slice_make(NULL, 0), &it))
        return false;
    do {
        const struct txn *txn = it.value;
        bool locks = txn->record->state == HF__ENTRY__TXN_STATE__PREPARED;
        if (locks && (at.t == 0 || txn->record->min_commit < at.t))
            return true;
    } while (sorted_next(&it));
    return false;
}

static int validate_key(struct fsm *fsm, const struct txns_who *who, struct slice key, struct hlc start, struct hlc at,
                        struct arena *arena, struct fsm_conflict *out)
{
    if (!fsm_owns(fsm, FSM_USER, key))
        return HF_E_WRONG_SHARD;
    *out = (struct fsm_conflict){.key = key};
    if (txns_lock_on(&fsm->txns, key, who, &out->lock))
        return HF_E_CONFLICT;
    return changed_key(fsm, key, start, at, arena, out);
}

static int validate_range(struct fsm *fsm, const struct txns_who *who, const struct txns_span *span, struct hlc start,
                          struct hlc at, size_t *steps, struct arena *arena, struct fsm_conflict *out)
{
    *out = (struct fsm_conflict){.key = span->start};
    size_t own = LIMIT_TXN_KEYS; /* its own locks, passed over */
    if (txns_lock_in(&fsm->txns, span, who, &own, &out->lock))
        return HF_E_CONFLICT;
    return changed_range(fsm, span->start, span->end, start, at, steps, arena, out);
}

int fsm_validate(struct fsm *fsm, const struct fsm_txn_id *id, struct hlc start, struct hlc at,
                 Hf__Entry__TxnRead *const *reads, size_t count, struct arena *arena, struct fsm_conflict *out)
{
    const struct txns_who who = {.except = id}; /* whatever it will be committed at: nobody waits here for another */
    size_t steps = VALIDATE_KEYS_MAX;
    int rc = HF_OK;
    must(!fsm->busy);
    if (start.t < fsm->info.collected.below.t)
        return HF_E_TOO_OLD;
    for (size_t i = 0; rc == HF_OK && i < count; i++) {
        const struct txns_span span = {.start = pack_slice(reads[i]->key), .end = pack_slice(reads[i]->end)};
        rc = reads[i]->range ? validate_range(fsm, &who, &span, start, at, &steps, arena, out)
                             : validate_key(fsm, &who, span.start, start, at, arena, out);
    }
    return rc;
}

size_t fsm_txns(const struct fsm *fsm, const struct fsm_txn_id *after, size_t max, struct arena *arena,
                struct fsm_txn *out)
{
    uint8_t key[1 + TXNS_ID_BYTES];
    struct sorted_at it;
    txns_key(after, key);
    struct slice name = slice_make(key + 1, TXNS_ID_BYTES);
    bool more = sorted_seek(&fsm->txns.by_id, name, &it);
    if (more && slice_equal(it.key, name))
        more = sorted_next(&it);
    size_t count = 0;
    for (; more && count < max; more = sorted_next(&it), count++) {
        const struct txn *txn = it.value;
        const Hf__Entry__TxnRecord *record = txn->record;
        size_t bytes = record->txn->n_others * sizeof(uint32_t);
        out[count] = (struct fsm_txn){.id = txn->id,
                                      .state = (enum fsm_txn_state)record->state,
                                      .min_commit = {record->min_commit},
                                      .expires = {record->expires},
                                      .commit = {record->commit},
                                      .others = arena_alloc(arena, bytes + 1),
                                      .others_count = record->txn->n_others};
        if (bytes > 0)
            memcpy(out[count].others, record->txn->others, bytes);
    }
    return count;
}
