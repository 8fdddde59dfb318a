/* call.c: the public calls on keys: checked against the limits, copied, posted; the synchronous ones wait. */
#include "client/call.h"

#include <stdlib.h>

#include "client/fork.h"
#include "client/future.h"
#include "common/sys/clock.h"
#include "proto/pack.h"

#define WAIT_MS 1000u

int call_new(struct hf *h, enum request_kind kind, const struct hf_call *call, size_t bytes, struct hf_future **out)
{
    if (h->meeting->forks != fork_count() || atomic_load_explicit(&h->stop, memory_order_relaxed))
        return HF_E_CLOSED;
    if (!call || call->deadline_ms == 0)
        return HF_E_INVALID;
    if (atomic_fetch_add_explicit(&h->outstanding, 1, memory_order_relaxed) >= h->outstanding_max ||
        atomic_load_explicit(&h->outstanding_bytes, memory_order_relaxed) + bytes > h->outstanding_bytes_max) {
        atomic_fetch_sub_explicit(&h->outstanding, 1, memory_order_relaxed);
        return HF_E_BUSY;
    }
    struct hf_future *f = future_new(h, h->meeting, kind, bytes);
    if (!f) {
        atomic_fetch_sub_explicit(&h->outstanding, 1, memory_order_relaxed);
        return HF_E_NO_MEMORY;
    }
    f->deadline_ns = clock_boot_ns() + call->deadline_ms * CLOCK_NS_PER_MS;
    f->queue = call->queue;
    f->tag = call->tag;
    f->callback = call->callback;
    *out = f;
    return HF_OK;
}

void call_post(struct hf_future *f, struct hf_future **out)
{
    if (out)
        *out = f; /* before anybody else can finish it */
    else
        f->abandoned = !f->callback;
    atomic_fetch_add_explicit(&f->h->outstanding_bytes, f->size, memory_order_relaxed);
    mailbox_post(f->h->mailbox, &f->link);
}

bool call_from_callback(const struct hf *h)
{
    return pthread_equal(pthread_self(), h->thread); /* callbacks come after hf_open, which sets it */
}

struct hf_call call_to_wait(const struct hf *h, uint32_t deadline_ms)
{
    return (struct hf_call){.deadline_ms = call_from_callback(h) ? 0 : deadline_ms};
}

int call_wait(struct hf_future *f)
{
    int code;
    do
        code = hf_future_wait(f, WAIT_MS);
    while (code == HF_E_AGAIN);
    return code;
}

static bool key_ok(struct hf_bytes key)
{
    return key.size <= LIMIT_KEY_BYTES;
}

static bool value_ok(struct hf_bytes value)
{
    return value.size <= LIMIT_VALUE_BYTES;
}

int hf_put_async(struct hf *h, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms, const struct hf_call *call,
                 struct hf_future **out)
{
    if (!key_ok(key) || !value_ok(value))
        return HF_E_LIMIT;
    struct hf_future *f;
    int rc = call_new(h, REQUEST_PUT, call, key.size + value.size, &f);
    if (rc)
        return rc;
    f->key = future_copy(f, call_slice(key));
    f->value = future_copy(f, call_slice(value));
    f->ttl_ms = ttl_ms;
    call_post(f, out);
    return HF_OK;
}

/* What a delete-prefix needs where it lies in several shards. */
struct one_write {
    Hf__Client__Txn txn;
    Hf__Entry__TxnWrite write, *list[1];
};

static void room_for_txn(struct hf_future *f, struct slice prefix)
{
    struct one_write *one = (void *)f->bytes;
    hf__client__txn__init(&one->txn);
    hf__entry__txn_write__init(&one->write);
    one->write.op = HF__ENTRY__OP__DELETE_PREFIX;
    one->write.key = pack_bytes(prefix);
    one->list[0] = &one->write;
    one->txn.writes = one->list;
    one->txn.n_writes = 1;
    f->txn = &one->txn;
}

static int keyed(struct hf *h, enum request_kind kind, struct hf_bytes key, uint64_t at, const struct hf_call *call,
                 struct hf_future **out)
{
    if (!key_ok(key))
        return HF_E_LIMIT;
    struct hf_future *f;
    size_t room = kind == REQUEST_DELETE_PREFIX ? sizeof(struct one_write) : 0;
    int rc = call_new(h, kind, call, room + key.size, &f);
    if (rc)
        return rc;
    f->size = room;
    f->key = future_copy(f, call_slice(key));
    if (room > 0)
        room_for_txn(f, f->key);
    f->at = at;
    call_post(f, out);
    return HF_OK;
}

int hf_del_async(struct hf *h, struct hf_bytes key, const struct hf_call *call, struct hf_future **out)
{
    return keyed(h, REQUEST_DEL, key, 0, call, out);
}

int hf_delete_prefix_async(struct hf *h, struct hf_bytes prefix, const struct hf_call *call, struct hf_future **out)
{
    return keyed(h, REQUEST_DELETE_PREFIX, prefix, 0, call, out);
}

int hf_get_async(struct hf *h, struct hf_bytes key, uint64_t at, const struct hf_call *call, struct hf_future **out)
{
    if (at == HF_AT_FRESH)
        return HF_E_INVALID;
    return keyed(h, REQUEST_GET, key, at, call, out);
}

int hf_timestamp_async(struct hf *h, uint64_t above, const struct hf_call *call, struct hf_future **out)
{
    return keyed(h, REQUEST_TIMESTAMP, (struct hf_bytes){NULL, 0}, above, call, out);
}

int hf_cut_async(struct hf *h, const struct hf_call *call, struct hf_future **out)
{
    return keyed(h, REQUEST_CUT, (struct hf_bytes){NULL, 0}, 0, call, out);
}

int hf_retain_async(struct hf *h, uint64_t reader, uint64_t timestamp, uint32_t lease_ms, const struct hf_call *call,
                    struct hf_future **out)
{
    struct hf_future *f;
    if (reader == 0 || (timestamp == 0 && lease_ms != 0))
        return HF_E_INVALID;
    int rc = call_new(h, REQUEST_RETAIN, call, 0, &f);
    if (rc)
        return rc;
    f->reader = reader;
    f->at = timestamp;
    f->lease_ms = lease_ms;
    call_post(f, out);
    return HF_OK;
}

int hf_cas_async(struct hf *h, struct hf_bytes key, const struct hf_bytes *expected, const struct hf_bytes *value,
                 const struct hf_call *call, struct hf_future **out)
{
    const struct hf_bytes none = {NULL, 0};
    struct hf_bytes old = expected ? *expected : none, new = value ? *value : none;
    if (!key_ok(key) || !value_ok(old) || !value_ok(new))
        return HF_E_LIMIT;
    struct hf_future *f;
    int rc = call_new(h, REQUEST_CAS, call, key.size + old.size + new.size, &f);
    if (rc)
        return rc;
    f->key = future_copy(f, call_slice(key));
    f->expected = future_copy(f, call_slice(old));
    f->value = future_copy(f, call_slice(new));
    f->has_expected = expected != NULL;
    f->becomes_absent = value == NULL;
    call_post(f, out);
    return HF_OK;
}

/* Waits for what `rc` says was posted; ends `f`. */
static int written(int rc, struct hf_future *f, struct hf_version *out_version)
{
    if (rc)
        return rc;
    rc = call_wait(f);
    if (rc == HF_OK && out_version)
        *out_version = hf_future_version(f);
    hf_future_free(f);
    return rc;
}

int hf_put(struct hf *h, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms, uint32_t deadline_ms,
           struct hf_version *out_version)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_put_async(h, key, value, ttl_ms, &call, &f);
    return written(rc, f, out_version);
}

int hf_del(struct hf *h, struct hf_bytes key, uint32_t deadline_ms, struct hf_version *out_version)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_del_async(h, key, &call, &f);
    return written(rc, f, out_version);
}

int hf_cas(struct hf *h, struct hf_bytes key, const struct hf_bytes *expected, const struct hf_bytes *value,
           uint32_t deadline_ms, struct hf_version *out_version)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_cas_async(h, key, expected, value, &call, &f);
    return written(rc, f, out_version);
}

int hf_delete_prefix(struct hf *h, struct hf_bytes prefix, uint32_t deadline_ms, struct hf_version *out_version)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_delete_prefix_async(h, prefix, &call, &f);
    return written(rc, f, out_version);
}

int hf_get(struct hf *h, struct hf_bytes key, uint64_t at, uint32_t deadline_ms, struct hf_value *out)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_get_async(h, key, at, &call, &f);
    if (rc)
        return rc;
    rc = call_wait(f);
    if (rc == HF_OK) {
        struct hf_bytes value = hf_future_value(f);
        void *copy = malloc(value.size ? value.size : 1);
        if (copy) {
            if (value.size > 0)
                memcpy(copy, value.data, value.size);
            *out = (struct hf_value){.data = copy, .size = value.size, .version = hf_future_version(f)};
        } else {
            rc = HF_E_NO_MEMORY;
        }
    }
    hf_future_free(f);
    return rc;
}

/* Takes the future. */
static int wait_for_timestamp(struct hf_future *f, uint64_t *out_timestamp)
{
    int rc = call_wait(f);
    if (rc == HF_OK)
        *out_timestamp = hf_future_timestamp(f);
    hf_future_free(f);
    return rc;
}

int hf_timestamp(struct hf *h, uint64_t above, uint32_t deadline_ms, uint64_t *out_timestamp)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_timestamp_async(h, above, &call, &f);
    return rc ? rc : wait_for_timestamp(f, out_timestamp);
}

int hf_cut(struct hf *h, uint32_t deadline_ms, uint64_t *out_timestamp)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_cut_async(h, &call, &f);
    return rc ? rc : wait_for_timestamp(f, out_timestamp);
}

int hf_retain(struct hf *h, uint64_t reader, uint64_t timestamp, uint32_t lease_ms, uint32_t deadline_ms,
              uint32_t *out_lease_ms)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f = NULL;
    int rc = hf_retain_async(h, reader, timestamp, lease_ms, &call, &f);
    if (rc)
        return rc;
    rc = call_wait(f);
    if (out_lease_ms)
        *out_lease_ms = hf_future_lease_ms(f);
    hf_future_free(f);
    return rc;
}

void hf_value_free(struct hf_value *value)
{
    if (!value)
        return;
    free(value->data);
    *value = (struct hf_value){0};
}
