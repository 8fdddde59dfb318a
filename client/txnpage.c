/* txnpage.c: a page of a scan inside a transaction: what the shard has at its start, with the transaction's own writes in
 * it, and the range that this page told about, which the commit validates. */
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/future.h"
#include "client/txn.h"
#include "proto/pack.h"

/* The range a page told about: [low, high); empty high: open. */
struct span {
    struct slice low, high;
};

static struct span told(const struct hf_range *range, const struct hf_future *page)
{
    struct span s = {call_slice(range->start), call_slice(range->end)};
    struct hf_bytes next;
    if (hf_future_more(page, &next))
        *(range->reverse ? &s.low : &s.high) = call_slice(next);
    return s;
}

static ProtobufCBinaryData copied(struct slice s, bool *ok)
{
    uint8_t *to = malloc(s.size + 1);
    *ok = *ok && to;
    if (!to)
        return (ProtobufCBinaryData){0, NULL};
    if (s.size > 0)
        memcpy(to, s.data, s.size);
    return (ProtobufCBinaryData){s.size, to};
}

/* NULL: out of memory. */
static Hf__Client__Item *own_item(const struct txnset_write *w, bool keys_only)
{
    Hf__Client__Item *item = malloc(sizeof *item);
    if (!item)
        return NULL;
    bool ok = true;
    hf__client__item__init(item);
    item->key = copied(w->key, &ok);
    item->value = copied(keys_only ? slice_make(NULL, 0) : w->value, &ok);
    if (ok)
        return item;
    hf__client__item__free_unpacked(item, NULL);
    return NULL;
}

/* The transaction's puts in the span, ascending. *out_list is the caller's, with all in it. */
static int own_items(const struct txnset *set, struct span span, bool keys_only, Hf__Client__Item ***out_list,
                     size_t *out_count)
{
    size_t first = txnset_place(set, span.low), n = 0;
    size_t last = span.high.size > 0 ? txnset_place(set, span.high) : set->keys_count;
    last = last > first ? last : first;
    Hf__Client__Item **list = malloc((last - first + 1) * sizeof *list);
    for (size_t i = first; list && i < last; i++) {
        if (set->keys[i]->op != HF__ENTRY__OP__PUT)
            continue;
        list[n] = own_item(set->keys[i], keys_only);
        if (!list[n++])
            goto failed;
    }
    if (!list)
        return HF_E_NO_MEMORY;
    *out_list = list;
    *out_count = n;
    return HF_OK;

failed:
    while (n-- > 0)
        if (list[n])
            hf__client__item__free_unpacked(list[n], NULL);
    free(list);
    return HF_E_NO_MEMORY;
}

static void reverse(Hf__Client__Item **list, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        Hf__Client__Item *item = list[i];
        list[i] = list[count - 1 - i];
        list[count - 1 - i] = item;
    }
}

/* Both lists ascend, or both descend; what the transaction wrote or deleted itself goes out of the shard's. Takes `own`. */
static int merge(const struct txnset *set, Hf__Client__Reply *page, Hf__Client__Item **own, size_t own_count,
                 bool descending)
{
    Hf__Client__Item **merged = malloc((page->n_items + own_count + 1) * sizeof *merged);
    if (!merged)
        return HF_E_NO_MEMORY;
    size_t n = 0, taken = 0;
    for (size_t i = 0; i < page->n_items; i++) {
        const struct txnset_write *ignored;
        struct slice key = pack_slice(page->items[i]->key);
        while (taken < own_count) {
            int order = slice_compare(pack_slice(own[taken]->key), key);
            if (descending ? order < 0 : order > 0)
                break;
            merged[n++] = own[taken++];
        }
        if (txnset_find(set, key, &ignored))
            hf__client__item__free_unpacked(page->items[i], NULL);
        else
            merged[n++] = page->items[i];
    }
    while (taken < own_count)
        merged[n++] = own[taken++];
    free(page->items);
    page->items = merged;
    page->n_items = n;
    return HF_OK;
}

/* No more than `limit` items: the next page begins behind the last of them. */
static int shorten(Hf__Client__Reply *page, size_t limit, bool descending)
{
    if (limit == 0 || page->n_items <= limit)
        return HF_OK;
    struct slice last = pack_slice(page->items[limit - 1]->key);
    bool ok = true;
    ProtobufCBinaryData next = copied(last, &ok);
    if (!ok)
        return HF_E_NO_MEMORY;
    if (!descending)
        next.data[next.len++] = 0; /* the first key behind it; copied() left room */
    while (page->n_items > limit)
        hf__client__item__free_unpacked(page->items[--page->n_items], NULL);
    free(page->next.data);
    page->next = next;
    page->more = true;
    return HF_OK;
}

static int put_own_in(struct hf_txn *t, const struct hf_range *range, struct hf_future *page)
{
    Hf__Client__Item **own;
    size_t count;
    int rc = own_items(&t->set, told(range, page), range->keys_only, &own, &count);
    if (rc)
        return rc;
    if (range->reverse)
        reverse(own, count);
    rc = merge(&t->set, page->reply, own, count, range->reverse);
    for (size_t i = 0; rc && i < count; i++)
        hf__client__item__free_unpacked(own[i], NULL);
    free(own);
    return rc ? rc : shorten(page->reply, range->page_items, range->reverse);
}

static int page_once(struct hf_txn *t, const struct hf_range *range, uint32_t deadline_ms, struct hf_future **out_page)
{
    const struct hf_call call = call_to_wait(t->h, deadline_ms);
    struct hf_range at_start = *range;
    at_start.at = t->start;
    struct hf_future *page;
    int rc = hf_scan_async(t->h, &at_start, &call, &page);
    if (rc)
        return txn_failed(t, rc, NULL);
    rc = call_wait(page);
    if (rc) {
        txn_failed(t, rc, page);
        t->above = hf_future_timestamp(page);
        hf_future_free(page);
        return rc;
    }
    rc = put_own_in(t, range, page);
    struct span span = told(range, page);
    if (rc == HF_OK)
        rc = txnset_read_range(&t->set, span.low, span.high);
    if (rc == HF_OK) {
        *out_page = page;
        return HF_OK;
    }
    hf_future_free(page);
    return txn_failed(t, rc, NULL);
}

int hf_txn_scan(struct hf_txn *t, const struct hf_range *range, uint32_t deadline_ms, struct hf_future **out_page)
{
    int rc = txn_enter(t, &deadline_ms);
    if (rc == HF_OK && (!range || range->at != 0))
        rc = txn_failed(t, HF_E_INVALID, NULL);
    if (rc || !range)
        return rc;
    rc = page_once(t, range, deadline_ms, out_page);
    for (int i = 0; rc == HF_E_RESTART_ABOVE && i < TXN_RESTARTS_MAX; i++) {
        rc = txn_restart(t, deadline_ms);
        if (rc)
            return rc;
        rc = page_once(t, range, deadline_ms, out_page);
    }
    return rc;
}
