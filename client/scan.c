/* scan.c: pages of a scan, and the cursor that reads page after page over all shards. */
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/future.h"

#define RESTARTS_MAX 8 /* timestamps taken for a first page: one for each leader that went on alone, and some */

int hf_scan_async(struct hf *h, const struct hf_range *range, const struct hf_call *call, struct hf_future **out)
{
    if (!range || range->at == HF_AT_FRESH)
        return HF_E_INVALID;
    if (range->start.size > LIMIT_KEY_BYTES + 1 || range->end.size > LIMIT_KEY_BYTES + 1) /* a key's successor */
        return HF_E_LIMIT;
    struct hf_future *f;
    int rc = call_new(h, REQUEST_SCAN, call, range->start.size + range->end.size, &f);
    if (rc)
        return rc;
    f->key = future_copy(f, call_slice(range->start));
    f->end = future_copy(f, call_slice(range->end));
    f->limit = range->page_items;
    f->reverse = range->reverse != 0;
    f->keys_only = range->keys_only != 0;
    f->at = range->at;
    call_post(f, out);
    return HF_OK;
}

int hf_scan(struct hf *h, const struct hf_range *range, uint32_t deadline_ms, struct hf_future **out_page)
{
    const struct hf_call call = call_to_wait(h, deadline_ms);
    struct hf_future *f;
    int rc = hf_scan_async(h, range, &call, &f);
    if (rc)
        return rc;
    rc = call_wait(f);
    if (rc == HF_OK)
        *out_page = f;
    else
        hf_future_free(f);
    return rc;
}

size_t hf_future_count(const struct hf_future *f)
{
    return f->reply ? f->reply->n_items : 0;
}

static struct hf_bytes public_bytes(ProtobufCBinaryData b)
{
    return (struct hf_bytes){b.data, b.len};
}

struct hf_item hf_future_item(const struct hf_future *f, size_t i)
{
    const Hf__Client__Item *item = f->reply->items[i];
    struct hf_version version = {0, 0};
    if (item->version)
        version = (struct hf_version){item->version->t, item->version->seq};
    return (struct hf_item){public_bytes(item->key), public_bytes(item->value), version};
}

int hf_future_more(const struct hf_future *f, struct hf_bytes *out_next)
{
    if (f->code != HF_OK || !f->reply)
        return 0;
    if (f->reply->more) {
        *out_next = public_bytes(f->reply->next);
        return 1;
    }
    if (!f->clipped)
        return 0;
    struct slice edge = f->reverse ? f->clip_start : f->clip_end; /* where the next shard begins */
    *out_next = (struct hf_bytes){edge.data, edge.size};
    return 1;
}

struct hf_cursor {
    struct hf *h;          /* borrowed */
    struct hf_range range; /* start and end: the rest, in the two buffers */
    uint8_t *start, *end;  /* owned, room for a key and one byte each */
    uint32_t deadline_ms;
    struct hf_future *page;  /* being read; owned */
    struct hf_future *ahead; /* asked for; owned */
    size_t at;               /* next item of `page` */
    bool ended;
    bool fresh;     /* the timestamp was the cursor's to take */
    uint64_t above; /* what HF_E_RESTART_ABOVE said; 0: that was not the last failure */
    struct hf_item item;
    char message[256];
};

int hf_cursor_open(struct hf *h, const struct hf_range *range, uint32_t page_deadline_ms, struct hf_cursor **out)
{
    if (!range || page_deadline_ms == 0)
        return HF_E_INVALID;
    if (range->start.size > LIMIT_KEY_BYTES + 1 || range->end.size > LIMIT_KEY_BYTES + 1) /* a key's successor */
        return HF_E_LIMIT;
    struct hf_cursor *c = calloc(1, sizeof *c);
    uint8_t *start = malloc(LIMIT_KEY_BYTES + 1), *end = malloc(LIMIT_KEY_BYTES + 1);
    if (!c || !start || !end) {
        free(c);
        free(start);
        free(end);
        return HF_E_NO_MEMORY;
    }
    *c = (struct hf_cursor){.h = h,
                            .range = *range,
                            .start = start,
                            .end = end,
                            .deadline_ms = page_deadline_ms,
                            .fresh = range->at == HF_AT_FRESH};
    if (range->start.size > 0)
        memcpy(start, range->start.data, range->start.size);
    if (range->end.size > 0)
        memcpy(end, range->end.data, range->end.size);
    c->range.start.data = start;
    c->range.end.data = end;
    *out = c;
    return HF_OK;
}

static int ask(struct hf_cursor *c)
{
    const struct hf_call call = call_to_wait(c->h, c->deadline_ms);
    return hf_scan_async(c->h, &c->range, &call, &c->ahead);
}

static int failed(struct hf_cursor *c, int code, const char *message)
{
    size_t size = strnlen(message, sizeof c->message - 1);
    memcpy(c->message, message, size);
    c->message[size] = 0;
    return code;
}

static int take_timestamp(struct hf_cursor *c)
{
    const struct hf_call call = call_to_wait(c->h, c->deadline_ms);
    struct hf_future *f;
    int rc = hf_timestamp_async(c->h, c->above, &call, &f);
    if (rc)
        return failed(c, rc, hf_error_text(rc));
    rc = call_wait(f);
    if (rc)
        failed(c, rc, hf_future_message(f));
    else
        c->range.at = hf_future_timestamp(f);
    hf_future_free(f);
    return rc;
}

/* The next page, asked for now unless it was before. */
static int await_page(struct hf_cursor *c, struct hf_future **out)
{
    int rc = c->range.at == HF_AT_FRESH ? take_timestamp(c) : HF_OK;
    if (rc)
        return rc;
    c->above = 0;
    rc = c->ahead ? HF_OK : ask(c);
    if (rc)
        return failed(c, rc, hf_error_text(rc));
    rc = call_wait(c->ahead);
    struct hf_future *page = c->ahead;
    c->ahead = NULL;
    if (rc) {
        failed(c, rc, hf_future_message(page));
        c->above = hf_future_timestamp(page);
        hf_future_free(page);
        return rc;
    }
    *out = page;
    return HF_OK;
}

/* The page asked for becomes the one being read, and the one after it is asked for. */
static int next_page(struct hf_cursor *c)
{
    struct hf_future *page;
    int rc = await_page(c, &page);
    for (int i = 0; rc == HF_E_RESTART_ABOVE && c->fresh && !c->page && i < RESTARTS_MAX; i++) {
        c->range.at = HF_AT_FRESH;
        rc = await_page(c, &page);
    }
    if (rc)
        return rc;
    struct hf_bytes next = {NULL, 0};
    bool ended = !hf_future_more(page, &next);
    if (next.size > LIMIT_KEY_BYTES + 1) {
        hf_future_free(page);
        return failed(c, HF_E_PROTOCOL, "the next page would start at a key above the limit");
    }
    hf_future_free(c->page);
    c->page = page;
    c->at = 0;
    c->ended = ended;
    if (ended)
        return HF_OK;
    struct hf_bytes *edge = c->range.reverse ? &c->range.end : &c->range.start;
    memcpy(c->range.reverse ? c->end : c->start, next.data, next.size);
    edge->size = next.size;
    rc = ask(c); /* ahead; a failure shows when the page is needed */
    (void)rc;
    return HF_OK;
}

int hf_cursor_next(struct hf_cursor *c, const struct hf_item **out_item)
{
    while (!c->page || c->at == hf_future_count(c->page)) {
        if (c->page && c->ended) {
            *out_item = NULL;
            return HF_OK;
        }
        int rc = next_page(c);
        if (rc)
            return rc;
    }
    c->item = hf_future_item(c->page, c->at++);
    *out_item = &c->item;
    return HF_OK;
}

uint64_t hf_cursor_timestamp(const struct hf_cursor *c)
{
    return c->range.at == HF_AT_FRESH ? 0 : c->range.at;
}

uint64_t hf_cursor_restart_above(const struct hf_cursor *c)
{
    return c->above;
}

const char *hf_cursor_message(const struct hf_cursor *c)
{
    return c->message;
}

void hf_cursor_close(struct hf_cursor *c)
{
    if (!c)
        return;
    hf_future_free(c->page);
    hf_future_free(c->ahead);
    free(c->start);
    free(c->end);
    free(c);
}
