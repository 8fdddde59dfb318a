/* calls.c: see calls.h. */
#include "coordinator/calls.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

void calls_init(struct calls *c, struct links *links, struct leaders *leaders)
{
    *c = (struct calls){.links = links, .leaders = leaders, .next = 1};
    list_init(&c->open);
}

static void end(struct calls *c, struct call *call, const Hf__Client__Reply *reply)
{
    list_remove(&call->in_order);
    hashmap_remove(&c->by_id, call->id);
    call->done(call->ctx, call, reply);
    free(call);
}

void calls_deinit(struct calls *c)
{
    while (!list_empty(&c->open))
        end(c, LIST_OWNER(c->open.next, struct call, in_order), NULL);
    hashmap_deinit(&c->by_id);
    buf_deinit(&c->frame);
}

int calls_send(struct calls *c, uint32_t shard, uint32_t replica, Hf__Client__Request *request, uint64_t now_ns,
               uint32_t timeout_ms, call_done *done, void *ctx, uint64_t tag)
{
    if (c->by_id.count >= CALLS_MAX)
        return HF_E_BUSY;
    request->version = 1;
    request->id = CALLS_ID_BIT | c->next;
    request->shard = shard;
    request->deadline_ms = timeout_ms;
    buf_clear(&c->frame);
    pack_append(&request->base, &c->frame);
    int rc = links_send(c->links, shard, replica, buf_slice(&c->frame));
    if (rc)
        return rc;
    struct call *call = calloc(1, sizeof *call);
    must(call != NULL); /* out of memory */
    *call = (struct call){.id = request->id,
                          .shard = shard,
                          .replica = replica,
                          .sent_ns = now_ns,
                          .deadline_ns = now_ns + timeout_ms * CLOCK_NS_PER_MS,
                          .done = done,
                          .ctx = ctx,
                          .tag = tag};
    c->next++;
    list_push(&c->open, &call->in_order);
    hashmap_put(&c->by_id, call->id, call);
    return HF_OK;
}

int calls_send_leader(struct calls *c, uint32_t shard, Hf__Client__Request *request, uint64_t now_ns,
                      uint32_t timeout_ms, call_done *done, void *ctx, uint64_t tag)
{
    uint32_t replica = leaders_pick(c->leaders, shard, 0);
    int rc = replica ? calls_send(c, shard, replica, request, now_ns, timeout_ms, done, ctx, tag) : HF_E_UNAVAILABLE;
    if (rc && replica)
        leaders_lost(c->leaders, shard, replica);
    return rc;
}

bool calls_reply(struct calls *c, uint32_t shard, uint32_t replica, const Hf__Client__Reply *reply)
{
    struct call *call = hashmap_get(&c->by_id, reply->id);
    if (call == NULL || call->shard != shard || call->replica != replica)
        return false;
    end(c, call, reply);
    return true;
}

void calls_tick(struct calls *c, uint64_t now_ns)
{
    LIST_EACH (it, &c->open) {
        struct call *call = LIST_OWNER(it, struct call, in_order);
        if (call->deadline_ns <= now_ns)
            end(c, call, NULL); /* a callback may open calls (at the end), never end others */
    }
}
