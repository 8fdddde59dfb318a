/* scan.c: pages of live keys in order, both ways, as seen at T; bounded in items, bytes and records looked at.
 *
 * Forward meets a key's newest version first, backward its oldest. Either way a few records are stepped over and, where
 * a key has more versions than that, the rest is jumped by a seek. */
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/versions.h"

#define SCAN_STEPS_BEFORE_SEEK 8
#define SCAN_ITEMS_FIRST ((size_t)32)

struct walk {
    struct fsm *fsm;
    const struct fsm_scan *scan;
    struct arena *arena; /* of the answer */
    struct store_iterator *it;
    struct slice lower, upper; /* record keys; [lower, upper) */
    size_t steps, bytes, cap;
    struct fsm_page page;
    /* The key in hand. */
    struct arena key;          /* holds what follows; reset per key */
    struct slice prefix, user; /* the prefix has room for a version */
    struct buf value;          /* reverse: the candidate's value, which the iterator leaves behind */
    struct version version;    /* of the record under the iterator */
};

static bool in_bounds(const struct walk *w)
{
    if (!store_iterator_valid(w->it))
        return false;
    struct slice record = store_iterator_key(w->it);
    return slice_compare(record, w->lower) >= 0 && slice_compare(record, w->upper) < 0;
}

static bool visible(const struct walk *w)
{
    return w->scan->at.t == 0 || w->version.t.t < w->scan->at.t;
}

/* Takes the key under the iterator in hand. */
static int begin_key(struct walk *w)
{
    struct vkey key;
    arena_reset(&w->key);
    if (!vkey_decode(store_iterator_key(w->it), &key))
        return HF_E_CORRUPT;
    uint8_t *prefix = arena_alloc(&w->key, key.prefix.size + VKEY_VERSION_BYTES);
    memcpy(prefix, key.prefix.data, key.prefix.size);
    w->prefix = slice_make(prefix, key.prefix.size);
    w->version = key.version;
    return vkey_user(w->prefix, &w->key, &w->user) ? HF_OK : HF_E_CORRUPT;
}

/* Is the iterator on another version of the key in hand? Reads which. */
static bool same_key(struct walk *w)
{
    struct vkey key;
    if (!store_iterator_valid(w->it) || !slice_has_prefix(store_iterator_key(w->it), w->prefix) ||
        !vkey_decode(store_iterator_key(w->it), &key))
        return false;
    w->version = key.version;
    return true;
}

static void next(struct walk *w)
{
    store_iterator_next(w->it);
    w->steps++;
}

static void prev(struct walk *w)
{
    store_iterator_prev(w->it);
    w->steps++;
}

static void seek(struct walk *w, struct slice key)
{
    store_iterator_seek(w->it, key);
    w->steps++;
}

static void seek_for_prev(struct walk *w, struct slice key)
{
    store_iterator_seek_for_prev(w->it, key);
    w->steps++;
}

static void add_item(struct walk *w, const struct version_found *found)
{
    struct fsm_page *page = &w->page;
    if (page->count == w->cap) {
        size_t cap = w->cap > 0 ? w->cap * 2 : SCAN_ITEMS_FIRST;
        struct fsm_item *items = arena_alloc(w->arena, cap * sizeof *items);
        if (page->count > 0)
            memcpy(items, page->items, page->count * sizeof *items);
        page->items = items;
        w->cap = cap;
    }
    struct fsm_item *item = &page->items[page->count++];
    *item = (struct fsm_item){
        .key = arena_copy(w->arena, w->user), .version = found->version, .expiry = versions_expiry(&found->value)};
    if (!w->scan->keys_only)
        item->value = arena_copy(w->arena, found->value.payload);
    w->bytes += item->key.size + item->value.size;
}

/* The newest visible version of the key in hand goes into the page if there is a value in it. */
static int judge(struct walk *w, struct version version, struct slice bytes)
{
    struct version_found found = {.version = version};
    struct version marker;
    if (!versions_decode(bytes, &found.value))
        return HF_E_CORRUPT;
    int rc = fsm_marker(w->fsm, (uint8_t)w->scan->space, w->user, w->scan->at, &marker);
    if (rc == HF_OK && versions_live(&found, marker, w->scan->now))
        add_item(w, &found);
    return rc;
}

/* From the first record of a key to the first record of the next one. */
static int one_forward(struct walk *w)
{
    int rc = begin_key(w);
    if (rc != HF_OK)
        return rc;
    bool here = true;
    for (int i = 0; here && !visible(w); i++) {
        if (i < SCAN_STEPS_BEFORE_SEEK)
            next(w);
        else
            seek(w, vkey_seek(w->prefix, w->scan->at));
        here = same_key(w);
    }
    if (here)
        rc = judge(w, w->version, store_iterator_value(w->it));
    for (int i = 0; rc == HF_OK && here; i++) {
        if (i < SCAN_STEPS_BEFORE_SEEK) {
            next(w);
        } else { /* behind the oldest version: the terminator's last byte plus one */
            uint8_t *last = (uint8_t *)(uintptr_t)w->prefix.data + w->prefix.size - 1;
            ++*last;
            seek(w, w->prefix);
            --*last;
        }
        here = same_key(w);
    }
    return rc;
}

static void keep_candidate(struct walk *w, struct version *out_version)
{
    struct slice value = store_iterator_value(w->it);
    buf_clear(&w->value);
    if (value.size > 0)
        buf_append(&w->value, value.data, value.size);
    *out_version = w->version;
}

/* From the last record of a key to the last record of the one before. */
static int one_reverse(struct walk *w)
{
    int rc = begin_key(w);
    if (rc != HF_OK)
        return rc;
    struct version candidate = {0};
    bool found = false, here = true;
    for (int i = 0; here && visible(w); i++) {
        if (i == SCAN_STEPS_BEFORE_SEEK) {
            seek(w, vkey_seek(w->prefix, w->scan->at));
            if (!same_key(w)) { /* the candidate is visible, so something is there, unless it cannot be read */
                rc = store_iterator_status(w->it);
                return rc != HF_OK ? rc : HF_E_CORRUPT;
            }
            keep_candidate(w, &candidate);
            break;
        }
        keep_candidate(w, &candidate);
        found = true;
        prev(w);
        here = same_key(w);
    }
    if (here) /* newer versions than the reader sees are left */
        seek_for_prev(w, w->prefix);
    return found ? judge(w, candidate, buf_slice(&w->value)) : HF_OK;
}

static bool page_full(const struct walk *w)
{
    return w->page.count >= w->scan->items_max || w->bytes >= w->scan->bytes_max || w->steps >= w->scan->steps_max;
}

static int walk_forward(struct walk *w)
{
    int rc = HF_OK;
    for (seek(w, w->lower); rc == HF_OK && in_bounds(w); rc = one_forward(w)) {
        struct vkey key;
        if (!w->page.more) { /* the first key is looked at whatever the bounds: every page makes progress */
            w->page.more = true;
            continue;
        }
        if (!page_full(w))
            continue;
        if (!vkey_decode(store_iterator_key(w->it), &key) || !vkey_user(key.prefix, w->arena, &w->page.next))
            return HF_E_CORRUPT;
        return HF_OK;
    }
    w->page.more = false;
    return rc;
}

static int walk_reverse(struct walk *w)
{
    int rc = HF_OK;
    for (seek_for_prev(w, w->upper); rc == HF_OK && in_bounds(w); rc = one_reverse(w)) {
        if (!w->page.more) {
            w->page.more = true;
            continue;
        }
        if (!page_full(w))
            continue;
        w->page.next = arena_copy(w->arena, w->user);
        return HF_OK;
    }
    w->page.more = false;
    return rc;
}

/* The range asked for, cut to the group's own. False: nothing is left. */
static bool set_bounds(struct walk *w)
{
    const Hf__Catalog__Range *range = w->fsm->info.range;
    struct slice start = w->scan->start, end = w->scan->end;
    if (w->scan->space == FSM_USER) {
        if (slice_compare(start, pack_slice(range->start)) < 0)
            start = pack_slice(range->start);
        if (end.size == 0 || (range->end.len > 0 && slice_compare(end, pack_slice(range->end)) > 0))
            end = pack_slice(range->end);
    }
    if (end.size > 0 && slice_compare(start, end) >= 0)
        return false;
    uint8_t space = (uint8_t)w->scan->space;
    w->lower = vkey_prefix(w->arena, VKEY_DATA, space, start);
    if (end.size > 0) {
        w->upper = vkey_prefix(w->arena, VKEY_DATA, space, end);
    } else {
        uint8_t past[2] = {VKEY_DATA, (uint8_t)(space + 1)};
        w->upper = arena_copy(w->arena, slice_make(past, sizeof past));
    }
    return true;
}

/* No transaction may still change what the page says. */
static int page_free(const struct walk *w)
{
    struct slice start = w->scan->start, end = w->scan->end;
    if (w->page.more && w->scan->reverse)
        start = w->page.next;
    else if (w->page.more)
        end = w->page.next;
    return fsm_range_free(w->fsm, w->scan->space, start, end, w->scan->at);
}

int fsm_scan(struct fsm *fsm, const struct fsm_scan *scan, struct arena *arena, struct fsm_page *out)
{
    if (scan->space == FSM_CATALOG && !fsm->info.range->catalog)
        return HF_E_WRONG_SHARD;
    if (scan->at.t != 0 && scan->at.t < fsm->info.collected.below.t)
        return HF_E_TOO_OLD;
    struct walk w = {.fsm = fsm, .scan = scan, .arena = arena};
    int rc = HF_OK;
    if (set_bounds(&w)) {
        w.it = fsm_walk_iterator(fsm);
        rc = scan->reverse ? walk_reverse(&w) : walk_forward(&w);
        if (rc == HF_OK)
            rc = store_iterator_status(w.it);
    }
    if (rc == HF_OK)
        rc = page_free(&w);
    arena_deinit(&w.key);
    buf_deinit(&w.value);
    if (rc == HF_OK)
        *out = w.page;
    return rc;
}
