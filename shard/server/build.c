/* build.c: answers of reads: looked up when the replica says so, kept aside until its lease is checked again, then sent. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/server/front_internal.h"
#include "shard/server/txn.h"

#define SCAN_STEPS_MAX 20000 /* versions one page may look at: a few milliseconds of the loop */

void build_keep(struct front *f, struct request *r, const Hf__Client__Reply *reply)
{
    r->answer_offset = f->built.size;
    pack_append(&reply->base, &f->built);
    r->answer_size = f->built.size - r->answer_offset;
}

static Hf__Client__Version version_out(struct version v)
{
    Hf__Client__Version out = HF__CLIENT__VERSION__INIT;
    out.t = v.t.t;
    out.seq = v.seq;
    return out;
}

/* A read that met damage or a disk in trouble: the client is told where, and so is who reads this process's log, once. */
void build_explain(struct front *f, Hf__Client__Reply *reply)
{
    if (reply->code != HF_E_CORRUPT && reply->code != HF_E_IO)
        return;
    const char *where = fsm_where(replica_fsm(f->replica));
    size_t size = strlen(where) + 256;
    reply->message = arena_alloc(&f->scratch, size);
    snprintf(reply->message, size, "%s in the state machine of replica %" PRIu32 "/%" PRIu32 ": %s",
             error_text(reply->code), f->directory->id.group, f->directory->id.replica, where);
    if (!f->read_failed)
        diag(DIAG_ERROR, "a read failed: %s in %s: %s; %s", error_text(reply->code), f->directory->fsm_dir, where,
             f->directory->facts.healers ? "another replica's state replaces it" : "replace this replica");
    f->read_failed = true;
    if (reply->code == HF_E_CORRUPT)
        replica_damaged(f->replica);
}

/* I12: to a client that does not read what it asked for, large answers are not even built. */
static void build_busy(struct front *f, struct request *r)
{
    front_count(FRONT_BUSY);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, HF_E_BUSY);
    reply.message = (char *)(uintptr_t) "too many answers to this client are unread"; /* packing only reads */
    build_keep(f, r, &reply);
}

/* What decides expiry. */
static struct hlc read_now(const struct front *f, const struct request *r)
{
    return r->read.at.t && !planted_bug("build.expiry_by_now") ? r->read.at : replica_clock(f->replica);
}

/* A new leader does not know yet whether this has expired by an earlier leader's time. */
static bool doubtful(const struct front *f, const struct request *r, struct hlc expiry)
{
    return r->read.at.t == 0 && replica_doubtful(f->replica, expiry) && !planted_bug("build.expiry_undoubted");
}

static void build_get(struct front *f, struct request *r)
{
    struct fsm_value value = {0};
    int rc = fsm_get(replica_fsm(f->replica), r->space, r->key, r->read.at, read_now(f, r), &f->scratch, &value);
    if (!rc && doubtful(f, r, value.expiry))
        rc = HF_E_NOT_READY;
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, rc);
    Hf__Client__Version version = version_out(value.version);
    if (!rc) {
        reply.value = pack_bytes(value.value);
        reply.found = &version;
    }
    struct txn_answer txn;
    if (rc == HF_E_KEY_LOCKED)
        txn_answer_lock(&txn, &reply, fsm_lock_met(replica_fsm(f->replica)));
    build_explain(f, &reply);
    front_hints(f, &reply);
    build_keep(f, r, &reply);
}

static void build_scan(struct front *f, struct request *r)
{
    struct fsm_scan scan = {.space = r->space,
                            .start = r->key,
                            .end = r->end,
                            .at = r->read.at,
                            .now = read_now(f, r),
                            .items_max = r->limit && r->limit < LIMIT_SCAN_ITEMS ? r->limit : LIMIT_SCAN_ITEMS,
                            .bytes_max = LIMIT_SCAN_BYTES,
                            .steps_max = SCAN_STEPS_MAX,
                            .reverse = r->reverse,
                            .keys_only = r->keys_only};
    struct fsm_page page = {0};
    int rc = fsm_scan(replica_fsm(f->replica), &scan, &f->scratch, &page);
    for (size_t i = 0; !rc && i < page.count; i++)
        if (doubtful(f, r, page.items[i].expiry))
            rc = HF_E_NOT_READY;
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, rc);
    if (!rc) {
        Hf__Client__Item *items = arena_alloc(&f->scratch, page.count * sizeof *items + 1);
        Hf__Client__Version *versions = arena_alloc(&f->scratch, page.count * sizeof *versions + 1);
        reply.items = arena_alloc(&f->scratch, page.count * sizeof(Hf__Client__Item *) + 1);
        reply.n_items = page.count;
        for (size_t i = 0; i < page.count; i++) {
            hf__client__item__init(&items[i]);
            versions[i] = version_out(page.items[i].version);
            items[i].key = pack_bytes(page.items[i].key);
            items[i].value = pack_bytes(page.items[i].value);
            items[i].version = &versions[i];
            reply.items[i] = &items[i];
        }
        reply.more = page.more;
        reply.next = pack_bytes(page.next);
    }
    struct txn_answer txn;
    if (rc == HF_E_KEY_LOCKED)
        txn_answer_lock(&txn, &reply, fsm_lock_met(replica_fsm(f->replica)));
    build_explain(f, &reply);
    build_keep(f, r, &reply);
}

static void build_backup(struct front *f, struct request *r)
{
    char where[256];
    struct backup_part part = {0};
    struct backup_when when = {.at = r->read.at, .now = read_now(f, r)};
    int rc = backup_part(f->backup, replica_fsm(f->replica), &when, r->view, r->offset, &part, where);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, rc);
    reply.view = part.view;
    reply.value = pack_bytes(part.bytes);
    reply.more = part.more;
    if (rc && where[0])
        reply.message = where;
    front_hints(f, &reply);
    build_keep(f, r, &reply);
}

/* It led when the hold's timestamp was drawn, and everything stamped below that is applied. */
static void build_release(struct front *f, struct request *r)
{
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, HF_OK);
    build_keep(f, r, &reply);
}

static void read_build(void *ctx, struct replica_read *read)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(read, struct request, read);
    if (net_is_full(f->answer.socket, &r->peer))
        build_busy(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_BACKUP)
        build_backup(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_HOLD)
        build_release(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_VALIDATE)
        build_validate(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_TXNS)
        build_txns(f, r);
    else if (r->op == HF__CLIENT__REQUEST__OP_GET)
        build_get(f, r);
    else
        build_scan(f, r);
    arena_reset(&f->scratch);
}

static size_t built_bytes(void *ctx)
{
    const struct front *f = ctx;
    return f->built.size;
}

static void read_discard(void *ctx)
{
    struct front *f = ctx;
    buf_clear(&f->built);
}

static void read_send(void *ctx, struct replica_read *read)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(read, struct request, read);
    answer_send_packed(&f->answer, &r->peer, slice_make(f->built.data + r->answer_offset, r->answer_size));
    front_request_free(f, r);
}

static void read_fail(void *ctx, struct replica_read *read, int code)
{
    struct front *f = ctx;
    struct request *r = LIST_OWNER(read, struct request, read);
    front_refuse(f, &r->peer, r->id, code, NULL);
    front_request_free(f, r);
}

struct reads_calls build_calls(struct front *f)
{
    return (struct reads_calls){.ctx = f,
                                .build = read_build,
                                .built_bytes = built_bytes,
                                .discard = read_discard,
                                .send = read_send,
                                .fail = read_fail};
}
