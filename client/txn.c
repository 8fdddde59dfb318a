/* txn.c: the calls of a transaction: reads at its start, writes kept here until its commit sends all of it at once. */
#include "client/txn.h"

#include <stdlib.h>

#include "client/call.h"
#include "client/future.h"
#include "common/sys/clock.h"

/* ---- begin ---- */

int txn_failed(struct hf_txn *t, int code, const struct hf_future *f)
{
    const char *message = f ? hf_future_message(f) : hf_error_text(code);
    size_t size = strnlen(message, sizeof t->message - 1);
    memcpy(t->message, message, size);
    t->message[size] = 0;
    return code;
}

static int draw_start(struct hf_txn *t, uint64_t above, uint32_t deadline_ms)
{
    const struct hf_call call = call_to_wait(t->h, deadline_ms);
    struct hf_future *f;
    int rc = hf_timestamp_async(t->h, above, &call, &f);
    if (rc)
        return txn_failed(t, rc, NULL);
    rc = call_wait(f);
    if (rc)
        txn_failed(t, rc, f);
    else
        t->start = hf_future_timestamp(f);
    hf_future_free(f);
    return rc;
}

int hf_txn_begin(struct hf *h, uint64_t above, uint32_t deadline_ms, struct hf_txn **out)
{
    struct hf_txn *t = calloc(1, sizeof *t);
    if (!t)
        return HF_E_NO_MEMORY;
    t->h = h;
    txnset_init(&t->set);
    int rc = draw_start(t, above, deadline_ms);
    if (rc)
        hf_txn_free(t);
    else
        *out = t;
    return rc;
}

int txn_enter(struct hf_txn *t, uint32_t *deadline_ms)
{
    t->above = 0;
    t->message[0] = 0;
    if (t->ended)
        return txn_failed(t, HF_E_INVALID, NULL);
    if (t->deadline_ns == 0)
        return HF_OK;
    uint64_t now = clock_boot_ns();
    uint64_t left_ms = now < t->deadline_ns ? (t->deadline_ns - now) / CLOCK_NS_PER_MS : 0;
    if (left_ms == 0)
        return txn_failed(t, HF_E_TIMEOUT, NULL);
    if (*deadline_ms > left_ms)
        *deadline_ms = (uint32_t)left_ms;
    return HF_OK;
}

int txn_restart(struct hf_txn *t, uint32_t deadline_ms)
{
    if (!txnset_nothing_read(&t->set))
        return HF_E_RESTART_ABOVE;
    int rc = draw_start(t, t->above, deadline_ms);
    if (rc == HF_OK)
        t->above = 0;
    return rc;
}

/* ---- reads ---- */

static int give(struct slice value, struct hf_version version, struct hf_value *out)
{
    void *copy = malloc(value.size ? value.size : 1);
    if (!copy)
        return HF_E_NO_MEMORY;
    if (value.size > 0)
        memcpy(copy, value.data, value.size);
    *out = (struct hf_value){.data = copy, .size = value.size, .version = version};
    return HF_OK;
}

/* On HF_OK *out_value is there. */
static int get_once(struct hf_txn *t, struct hf_bytes key, uint32_t deadline_ms, struct hf_value *out_value)
{
    const struct hf_call call = call_to_wait(t->h, deadline_ms);
    struct hf_future *f;
    int rc = hf_get_async(t->h, key, t->start, &call, &f);
    if (rc)
        return txn_failed(t, rc, NULL);
    rc = call_wait(f);
    if (rc)
        txn_failed(t, rc, f);
    if (rc == HF_E_RESTART_ABOVE)
        t->above = hf_future_timestamp(f);
    int kept = rc == HF_OK || rc == HF_E_NOT_FOUND ? txnset_read_key(&t->set, call_slice(key)) : HF_OK;
    if (kept == HF_OK && rc == HF_OK)
        kept = give(call_slice(hf_future_value(f)), hf_future_version(f), out_value);
    hf_future_free(f);
    return kept ? txn_failed(t, kept, NULL) : rc;
}

int hf_txn_get(struct hf_txn *t, struct hf_bytes key, uint32_t deadline_ms, struct hf_value *out)
{
    const struct txnset_write *own;
    int rc = txn_enter(t, &deadline_ms);
    if (rc)
        return rc;
    if (txnset_find(&t->set, call_slice(key), &own)) {
        rc = own ? give(own->value, (struct hf_version){0, 0}, out) : HF_E_NOT_FOUND;
        return rc ? txn_failed(t, rc, NULL) : HF_OK;
    }
    rc = get_once(t, key, deadline_ms, out);
    for (int i = 0; rc == HF_E_RESTART_ABOVE && i < TXN_RESTARTS_MAX; i++) {
        rc = txn_restart(t, deadline_ms);
        if (rc)
            return rc;
        rc = get_once(t, key, deadline_ms, out);
    }
    return rc;
}

/* ---- writes ---- */

static int write_one(struct hf_txn *t, Hf__Entry__Op op, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms)
{
    uint32_t none = UINT32_MAX;
    int rc = txn_enter(t, &none);
    if (rc)
        return rc;
    if (key.size > LIMIT_KEY_BYTES || value.size > LIMIT_VALUE_BYTES)
        rc = HF_E_LIMIT;
    else if (op == HF__ENTRY__OP__DELETE_PREFIX)
        rc = txnset_delete_prefix(&t->set, call_slice(key));
    else if (key.size == 0)
        rc = HF_E_INVALID;
    else
        rc = txnset_write_key(&t->set, op, call_slice(key), call_slice(value), ttl_ms);
    return rc ? txn_failed(t, rc, NULL) : HF_OK;
}

int hf_txn_put(struct hf_txn *t, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms)
{
    return write_one(t, HF__ENTRY__OP__PUT, key, value, ttl_ms);
}

int hf_txn_del(struct hf_txn *t, struct hf_bytes key)
{
    return write_one(t, HF__ENTRY__OP__DELETE, key, (struct hf_bytes){NULL, 0}, 0);
}

int hf_txn_delete_prefix(struct hf_txn *t, struct hf_bytes prefix)
{
    return write_one(t, HF__ENTRY__OP__DELETE_PREFIX, prefix, (struct hf_bytes){NULL, 0}, 0);
}

/* ---- the end ---- */

/* The transaction is over when HF_OK comes back. */
static int send_commit(struct hf_txn *t, const struct hf_call *call, struct hf_future **out)
{
    struct hf_future *f;
    int rc = call_new(t->h, REQUEST_TXN, call, txnset_body_bytes(&t->set), &f);
    if (rc)
        return txn_failed(t, rc, NULL);
    f->txn = txnset_body(&t->set, t->start, f->bytes);
    f->size = txnset_body_bytes(&t->set);
    t->ended = true;
    call_post(f, out);
    return HF_OK;
}

int hf_txn_commit_async(struct hf_txn *t, const struct hf_call *call, struct hf_future **out)
{
    uint32_t none = UINT32_MAX;
    int rc = txn_enter(t, &none);
    return rc ? rc : send_commit(t, call, out);
}

int hf_txn_commit(struct hf_txn *t, uint32_t deadline_ms, uint64_t *out_timestamp)
{
    int rc = txn_enter(t, &deadline_ms);
    if (rc)
        return rc;
    if (txnset_empty(&t->set) && deadline_ms > 0) {
        t->ended = true;
        if (out_timestamp)
            *out_timestamp = t->start;
        return HF_OK;
    }
    const struct hf_call call = call_to_wait(t->h, deadline_ms);
    rc = send_commit(t, &call, &t->commit);
    if (rc)
        return rc;
    rc = call_wait(t->commit);
    if (rc)
        txn_failed(t, rc, t->commit);
    else if (out_timestamp)
        *out_timestamp = hf_future_timestamp(t->commit);
    return rc;
}

void hf_txn_rollback(struct hf_txn *t)
{
    t->ended = true;
    txnset_deinit(&t->set);
}

void hf_txn_free(struct hf_txn *t)
{
    if (!t)
        return;
    txnset_deinit(&t->set);
    hf_future_free(t->commit);
    free(t);
}

/* ---- what it says ---- */

uint64_t hf_txn_start(const struct hf_txn *t)
{
    return t->start;
}

uint64_t hf_txn_conflict(const struct hf_txn *t, struct hf_bytes *out_key)
{
    if (t->commit)
        return hf_future_conflict(t->commit, out_key);
    if (out_key)
        *out_key = (struct hf_bytes){NULL, 0};
    return t->above;
}

const char *hf_txn_message(const struct hf_txn *t)
{
    return t->message;
}
