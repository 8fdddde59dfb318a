/* txns.c: records of transactions in memory, and their locks in order of keys. */
#include "shard/fsm/txns.h"

#include <stdlib.h>

#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "proto/pack.h"
#include "shard/fsm/vkey.h"

struct txns_undo {
    struct txn *txn;
    bool added; /* else removed */
};

static void txn_free(struct txn *txn)
{
    protobuf_c_message_free_unpacked(&txn->record->base, NULL);
    free(txn);
}

static void name_of(const struct fsm_txn_id *id, uint8_t out[TXNS_ID_BYTES])
{
    put_be32(out, id->home);
    put_be64(out + 4, id->session);
    put_be64(out + 12, id->seq);
}

void txns_key(const struct fsm_txn_id *id, uint8_t out[1 + TXNS_ID_BYTES])
{
    out[0] = VKEY_TXN;
    name_of(id, out + 1);
}

const struct txn *txns_find(const struct txns *t, const struct fsm_txn_id *id)
{
    uint8_t name[TXNS_ID_BYTES];
    name_of(id, name);
    return sorted_find(&t->by_id, slice_make(name, sizeof name));
}

/* ---- locks ---- */

static bool locks(const struct txn *txn)
{
    return txn->record->state == HF__ENTRY__TXN_STATE__PREPARED;
}

/* Of nested prefixes the outermost only. */
static void lock_prefix(struct txns *t, struct txn *txn, struct slice prefix)
{
    struct sorted_at at;
    if (sorted_floor(&t->prefixes, prefix, &at) && slice_has_prefix(prefix, at.key)) {
        must(at.value == txn);
        return;
    }
    while (sorted_seek(&t->prefixes, prefix, &at) && slice_has_prefix(at.key, prefix)) {
        must(at.value == txn);
        sorted_remove(&t->prefixes, at.key);
    }
    must(sorted_put(&t->prefixes, prefix, txn));
}

static void lock_all(struct txns *t, struct txn *txn)
{
    const Hf__Entry__Txn *writes = txn->record->txn;
    for (size_t i = 0; i < writes->n_writes; i++) {
        struct slice key = pack_slice(writes->writes[i]->key);
        if (writes->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX)
            lock_prefix(t, txn, key);
        else
            (void)sorted_put(&t->keys, key, txn); /* a key may be written twice */
    }
}

static void unlock_all(struct txns *t, const struct txn *txn)
{
    const Hf__Entry__Txn *writes = txn->record->txn;
    for (size_t i = 0; i < writes->n_writes; i++) {
        struct slice key = pack_slice(writes->writes[i]->key);
        struct sorted *from = writes->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX ? &t->prefixes : &t->keys;
        if (sorted_find(from, key) == txn)
            sorted_remove(from, key);
    }
}

static bool who_minds(const struct txns_who *who, const struct txn *txn)
{
    if (who->below.t != 0 && txn->record->min_commit >= who->below.t)
        return false;
    const struct fsm_txn_id *not = who->except;
    return not == NULL || not ->home != txn->id.home || not ->session != txn->id.session || not ->seq != txn->id.seq;
}

static bool met(const struct sorted_at *at, struct fsm_lock *out)
{
    const struct txn *txn = at->value;
    *out = (struct fsm_lock){.id = txn->id, .min_commit = {txn->record->min_commit}, .key = at->key};
    return true;
}

static bool lock_over(const struct txns *t, struct slice key, const struct txns_who *who, struct fsm_lock *out)
{
    struct sorted_at at;
    return sorted_floor(&t->prefixes, key, &at) && slice_has_prefix(key, at.key) && who_minds(who, at.value) &&
           met(&at, out);
}

bool txns_lock_on(const struct txns *t, struct slice key, const struct txns_who *who, struct fsm_lock *out)
{
    struct sorted_at at;
    if (sorted_seek(&t->keys, key, &at) && slice_equal(at.key, key) && who_minds(who, at.value))
        return met(&at, out);
    return lock_over(t, key, who, out);
}

static bool in_span(const struct txns_span *span, struct slice key)
{
    return span->prefix ? slice_has_prefix(key, span->start) : span->end.size == 0 || slice_compare(key, span->end) < 0;
}

bool txns_lock_in(const struct txns *t, const struct txns_span *span, const struct txns_who *who, size_t *steps,
                  struct fsm_lock *out)
{
    if (!span->prefix && span->end.size > 0 && slice_compare(span->start, span->end) >= 0)
        return false;
    if (lock_over(t, span->start, who, out))
        return true;
    const struct sorted *lists[] = {&t->prefixes, &t->keys};
    for (size_t i = 0; i < 2; i++) {
        struct sorted_at at;
        bool more = sorted_seek(lists[i], span->start, &at);
        for (; more && in_span(span, at.key); more = sorted_next(&at)) {
            if (who_minds(who, at.value) || *steps == 0) /* too many to tell: as if it were in the way */
                return met(&at, out);
            --*steps;
        }
    }
    return false;
}

/* ---- records ---- */

static void insert(struct txns *t, struct txn *txn)
{
    must(sorted_put(&t->by_id, slice_make(txn->name, sizeof txn->name), txn));
    t->bytes += txn->packed;
    if (!locks(txn))
        return;
    t->reserved += txn->prefixes;
    lock_all(t, txn);
}

static void take_out(struct txns *t, const struct txn *txn)
{
    sorted_remove(&t->by_id, slice_make(txn->name, sizeof txn->name));
    t->bytes -= txn->packed;
    if (!locks(txn))
        return;
    t->reserved -= txn->prefixes;
    unlock_all(t, txn);
}

static void remember(struct txns *t, struct txns_undo undo)
{
    if (t->undo_count == t->undo_cap) {
        t->undo_cap = t->undo_cap > 0 ? t->undo_cap * 2 : 8;
        t->undo = realloc(t->undo, t->undo_cap * sizeof *t->undo);
        must(t->undo != NULL); /* out of memory */
    }
    t->undo[t->undo_count++] = undo;
}

/* NULL: not a record (I11). */
static struct txn *txn_new(struct slice packed)
{
    Hf__Entry__TxnRecord *record = pack_unpack_owned(&hf__entry__txn_record__descriptor, packed);
    if (record == NULL)
        return NULL;
    if (record->txn == NULL || record->txn->id == NULL) {
        protobuf_c_message_free_unpacked(&record->base, NULL);
        return NULL;
    }
    struct txn *txn = calloc(1, sizeof *txn);
    must(txn != NULL); /* out of memory */
    txn->id = (struct fsm_txn_id){record->txn->id->home, record->txn->id->session, record->txn->id->seq};
    txn->record = record;
    txn->packed = packed.size;
    name_of(&txn->id, txn->name);
    for (size_t i = 0; i < record->txn->n_writes; i++)
        txn->prefixes += record->txn->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX;
    return txn;
}

const struct txn *txns_add(struct txns *t, struct slice packed)
{
    struct txn *txn = txn_new(packed);
    must(txn != NULL); /* it was packed a moment ago */
    insert(t, txn);
    remember(t, (struct txns_undo){.txn = txn, .added = true});
    return txn;
}

void txns_remove(struct txns *t, const struct txn *txn)
{
    take_out(t, txn);
    struct txn *own = (struct txn *)(uintptr_t)txn; /* it is ours: only its users may not change it */
    remember(t, (struct txns_undo){.txn = own, .added = false});
}

void txns_commit(struct txns *t)
{
    for (size_t i = 0; i < t->undo_count; i++)
        if (!t->undo[i].added)
            txn_free(t->undo[i].txn);
    t->undo_count = 0;
}

void txns_rollback(struct txns *t)
{
    while (t->undo_count > 0) {
        struct txns_undo *undo = &t->undo[--t->undo_count];
        if (undo->added) {
            take_out(t, undo->txn);
            txn_free(undo->txn);
        } else {
            insert(t, undo->txn);
        }
    }
}

void txns_close(struct txns *t)
{
    struct sorted_at at;
    txns_rollback(t);
    if (sorted_seek(&t->by_id, slice_make(NULL, 0), &at))
        do
            txn_free(at.value);
        while (sorted_next(&at));
    sorted_deinit(&t->by_id);
    sorted_deinit(&t->keys);
    sorted_deinit(&t->prefixes);
    free(t->undo);
    *t = (struct txns){0};
}

/* ---- from disk ---- */

static bool writes_sound(const Hf__Entry__Txn *txn)
{
    for (size_t i = 0; i < txn->n_writes; i++) {
        const Hf__Entry__TxnWrite *w = txn->writes[i];
        bool prefix = w->op == HF__ENTRY__OP__DELETE_PREFIX;
        if (!prefix && w->op != HF__ENTRY__OP__PUT && w->op != HF__ENTRY__OP__DELETE)
            return false;
        if (w->key.len > LIMIT_KEY_BYTES || (w->key.len == 0 && !prefix) || w->value.len > LIMIT_VALUE_BYTES)
            return false;
    }
    return true;
}

/* Nothing that it locks is locked already. */
static bool locks_free(const struct txns *t, const struct txn *txn)
{
    const Hf__Entry__Txn *writes = txn->record->txn;
    const struct txns_who all = {0};
    struct fsm_lock lock;
    size_t steps = SIZE_MAX;
    for (size_t i = 0; i < writes->n_writes; i++) {
        struct slice key = pack_slice(writes->writes[i]->key);
        struct txns_span span = {.start = key, .prefix = true};
        bool prefix = writes->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX;
        if (prefix ? txns_lock_in(t, &span, &all, &steps, &lock) : txns_lock_on(t, key, &all, &lock))
            return false;
    }
    return true;
}

static bool sound(const struct txns *t, const struct txn *txn, const struct fsm_info *info)
{
    const Hf__Entry__TxnRecord *record = txn->record;
    bool home = txn->id.home == info->group;
    if (t->by_id.count >= LIMIT_TXNS || record->txn->n_writes > LIMIT_TXN_KEYS)
        return false;
    if (record->state == HF__ENTRY__TXN_STATE__COMMITTED)
        return home && record->txn->n_writes == 0 && record->commit > record->min_commit;
    return record->state == HF__ENTRY__TXN_STATE__PREPARED && record->txn->n_writes > 0 && writes_sound(record->txn) &&
           locks_free(t, txn);
}

int txns_load(struct txns *t, struct store *store, const struct fsm_info *info)
{
    uint8_t kind = VKEY_TXN;
    struct store_iterator *it = store_iterator_new(store, false);
    int rc = HF_OK;
    store_iterator_seek(it, slice_make(&kind, 1));
    for (; rc == HF_OK && store_iterator_valid(it); store_iterator_next(it)) {
        struct slice key = store_iterator_key(it);
        if (key.size == 0 || key.data[0] != VKEY_TXN)
            break;
        struct txn *txn = txn_new(store_iterator_value(it));
        bool fits = txn != NULL && key.size == 1 + TXNS_ID_BYTES &&
                    memcmp(key.data + 1, txn->name, TXNS_ID_BYTES) == 0 && sound(t, txn, info);
        if (fits) {
            insert(t, txn);
        } else {
            if (txn != NULL)
                txn_free(txn);
            rc = HF_E_CORRUPT;
        }
    }
    if (rc == HF_OK)
        rc = store_iterator_status(it);
    store_iterator_free(&it);
    return rc;
}
