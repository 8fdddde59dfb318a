/* slots.c: see slots.h. An id is 24 bits of slot, 24 of generation, 16 of attempt. */
#include "client/slots.h"

#include <stdlib.h>

#define GENERATION_MASK 0xffffffu
#define ATTEMPT_MASK 0xffffu

static int grow(struct hf *h)
{
    uint32_t count = h->slots_count ? h->slots_count * 2 : 256;
    if (count > CLIENT_SLOTS_MAX)
        return HF_E_BUSY;
    struct hf_future **slots = realloc(h->slots, count * sizeof *slots);
    if (!slots)
        return HF_E_NO_MEMORY;
    h->slots = slots;
    uint32_t *unused = realloc(h->slots_free, count * sizeof *unused);
    if (!unused)
        return HF_E_NO_MEMORY;
    h->slots_free = unused;
    for (uint32_t i = count; i-- > h->slots_count;) {
        slots[i] = NULL;
        unused[h->slots_free_count++] = i;
    }
    h->slots_count = count;
    return HF_OK;
}

int slots_take(struct hf *h, struct hf_future *r)
{
    int rc = h->slots_free_count == 0 ? grow(h) : HF_OK;
    if (rc == HF_OK)
        rc = timers_reserve(&h->timers,
                            h->slots_count + h->shards_cap + 1); /* requests, shards, the search for routes */
    if (rc)
        return rc;
    r->slot = h->slots_free[--h->slots_free_count];
    slots_renew(h, r);
    h->slots[r->slot] = r;
    return HF_OK;
}

void slots_renew(struct hf *h, struct hf_future *r)
{
    r->generation = ++h->generation & GENERATION_MASK;
}

void slots_release(struct hf *h, struct hf_future *r)
{
    must(h->slots[r->slot] == r);
    h->slots[r->slot] = NULL;
    h->slots_free[h->slots_free_count++] = r->slot;
}

uint64_t slots_id(const struct hf_future *r, uint32_t attempt)
{
    return (uint64_t)r->slot << 40 | (uint64_t)r->generation << 16 | (attempt & ATTEMPT_MASK);
}

struct hf_future *slots_find(const struct hf *h, uint64_t id, uint32_t *out_attempt)
{
    uint64_t slot = id >> 40;
    if (slot >= h->slots_count || !h->slots[slot] || h->slots[slot]->generation != (id >> 16 & GENERATION_MASK))
        return NULL;
    *out_attempt = (uint32_t)(id & ATTEMPT_MASK);
    return h->slots[slot];
}
