/* txnset.c: see txnset.h. */
#include "client/txnset.h"

#include <stdlib.h>

#include "proto/pack.h"

#define ITEM_BYTES 32u       /* at most, of a write or read in a message, beside its key and value */
#define MESSAGE_BYTES 65536u /* at most, of what is beside the writes and reads, on its whole way */

void txnset_init(struct txnset *s)
{
    *s = (struct txnset){0};
    list_init(&s->order);
}

void txnset_deinit(struct txnset *s)
{
    LIST_EACH (it, &s->order)
        free(LIST_OWNER(it, struct txnset_write, link));
    for (size_t i = 0; i < s->reads_count; i++)
        free(s->reads[i]);
    for (size_t i = 0; i < s->ranges_count; i++)
        free(s->ranges[i]);
    free(s->keys);
    free(s->prefixes);
    free(s->reads);
    free(s->ranges);
    txnset_init(s);
}

static void txnset_check(const struct txnset *s)
{
    must(s->bytes <= LIMIT_TXN_BYTES);
    must(s->keys_count + s->prefixes_count + s->reads_count + s->ranges_count <= LIMIT_TXN_KEYS);
}

/* ---- limits and memory ---- */

/* Is there room for `items` more with `bytes` more, of which `less` go? */
static int room(const struct txnset *s, size_t items, size_t bytes, size_t less)
{
    size_t count = s->keys_count + s->prefixes_count + s->reads_count + s->ranges_count + items;
    size_t total = s->bytes + bytes - less;
    bool fits = total <= LIMIT_TXN_BYTES && total + count * ITEM_BYTES + MESSAGE_BYTES <= LIMIT_REQUEST_BYTES;
    return count <= LIMIT_TXN_KEYS && fits ? HF_OK : HF_E_LIMIT;
}

/* Makes room for one more pointer in a table. */
static int grow(void *table, size_t count, size_t *cap)
{
    if (count < *cap)
        return HF_OK;
    void **old;
    memcpy(&old, table, sizeof old);
    size_t more = *cap ? *cap * 2 : 16;
    void **grown = realloc(old, more * sizeof *grown);
    if (!grown)
        return HF_E_NO_MEMORY;
    memcpy(table, &grown, sizeof grown);
    *cap = more;
    return HF_OK;
}

static struct slice copy(uint8_t **to, struct slice s)
{
    uint8_t *at = *to;
    if (s.size > 0)
        memcpy(at, s.data, s.size);
    *to += s.size;
    return slice_make(at, s.size);
}

static struct txnset_write *write_new(Hf__Entry__Op op, struct slice key, struct slice value, uint64_t ttl_ms)
{
    struct txnset_write *w = malloc(sizeof *w + key.size + value.size);
    if (!w)
        return NULL;
    uint8_t *to = w->bytes;
    *w = (struct txnset_write){.op = op, .ttl_ms = ttl_ms};
    w->key = copy(&to, key);
    w->value = copy(&to, value);
    return w;
}

static struct txnset_read *read_new(bool range, struct slice key, struct slice end)
{
    struct txnset_read *r = malloc(sizeof *r + key.size + end.size);
    if (!r)
        return NULL;
    uint8_t *to = r->bytes;
    *r = (struct txnset_read){.range = range};
    r->key = copy(&to, key);
    r->end = copy(&to, end);
    return r;
}

static size_t bytes_of(const struct txnset_write *w)
{
    return w->key.size + w->value.size;
}

/* ---- writes ---- */

size_t txnset_place(const struct txnset *s, struct slice key)
{
    size_t low = 0, high = s->keys_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(s->keys[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void let_go(struct txnset *s, struct txnset_write *w)
{
    s->bytes -= bytes_of(w);
    list_remove(&w->link);
    free(w);
}

int txnset_write_key(struct txnset *s, Hf__Entry__Op op, struct slice key, struct slice value, uint64_t ttl_ms)
{
    size_t at = txnset_place(s, key);
    bool again = at < s->keys_count && slice_equal(s->keys[at]->key, key);
    int rc = room(s, again ? 0 : 1, key.size + value.size, again ? bytes_of(s->keys[at]) : 0);
    if (rc == HF_OK)
        rc = grow(&s->keys, s->keys_count, &s->keys_cap);
    if (rc)
        return rc;
    struct txnset_write *w = write_new(op, key, value, ttl_ms);
    if (!w)
        return HF_E_NO_MEMORY;
    if (again) {
        let_go(s, s->keys[at]); /* no prefix over it was deleted since, else it were gone */
    } else {
        memmove(&s->keys[at + 1], &s->keys[at], (s->keys_count - at) * sizeof(struct txnset_write *));
        s->keys_count++;
    }
    s->keys[at] = w;
    s->bytes += bytes_of(w);
    list_push(&s->order, &w->link);
    txnset_check(s);
    return HF_OK;
}

/* What was written under the prefix before is deleted by it. */
static void let_go_below(struct txnset *s, struct slice prefix)
{
    size_t first = txnset_place(s, prefix), last = first;
    while (last < s->keys_count && slice_has_prefix(s->keys[last]->key, prefix))
        let_go(s, s->keys[last++]);
    if (last > first)
        memmove(&s->keys[first], &s->keys[last], (s->keys_count - last) * sizeof(struct txnset_write *));
    s->keys_count -= last - first;
    size_t kept = 0;
    for (size_t i = 0; i < s->prefixes_count; i++) {
        if (slice_has_prefix(s->prefixes[i]->key, prefix))
            let_go(s, s->prefixes[i]);
        else
            s->prefixes[kept++] = s->prefixes[i];
    }
    s->prefixes_count = kept;
}

int txnset_delete_prefix(struct txnset *s, struct slice prefix)
{
    let_go_below(s, prefix);
    int rc = room(s, 1, prefix.size, 0);
    if (rc == HF_OK)
        rc = grow(&s->prefixes, s->prefixes_count, &s->prefixes_cap);
    if (rc)
        return rc;
    struct txnset_write *w = write_new(HF__ENTRY__OP__DELETE_PREFIX, prefix, slice_make(NULL, 0), 0);
    if (!w)
        return HF_E_NO_MEMORY;
    s->prefixes[s->prefixes_count++] = w;
    s->bytes += bytes_of(w);
    list_push(&s->order, &w->link);
    txnset_check(s);
    return HF_OK;
}

bool txnset_prefix_deleted(const struct txnset *s, struct slice key)
{
    for (size_t i = 0; i < s->prefixes_count; i++)
        if (slice_has_prefix(key, s->prefixes[i]->key))
            return true;
    return false;
}

bool txnset_find(const struct txnset *s, struct slice key, const struct txnset_write **out_write)
{
    size_t at = txnset_place(s, key);
    if (at < s->keys_count && slice_equal(s->keys[at]->key, key)) {
        *out_write = s->keys[at]->op == HF__ENTRY__OP__PUT ? s->keys[at] : NULL;
        return true;
    }
    if (!txnset_prefix_deleted(s, key))
        return false;
    *out_write = NULL;
    return true;
}

/* ---- reads ---- */

int txnset_read_key(struct txnset *s, struct slice key)
{
    size_t low = 0, high = s->reads_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(s->reads[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < s->reads_count && slice_equal(s->reads[low]->key, key))
        return HF_OK;
    int rc = room(s, 1, key.size, 0);
    if (rc == HF_OK)
        rc = grow(&s->reads, s->reads_count, &s->reads_cap);
    struct txnset_read *r = rc ? NULL : read_new(false, key, slice_make(NULL, 0));
    if (!r)
        return rc ? rc : HF_E_NO_MEMORY;
    memmove(&s->reads[low + 1], &s->reads[low], (s->reads_count - low) * sizeof(struct txnset_read *));
    s->reads[low] = r;
    s->reads_count++;
    s->bytes += key.size;
    return HF_OK;
}

/* Empty: to the end of the space. */
static bool end_covers(struct slice outer, struct slice inner)
{
    return outer.size == 0 || (inner.size > 0 && slice_compare(inner, outer) <= 0);
}

/* Does [start, end) touch or overlap `r`? */
static bool meets(const struct txnset_read *r, struct slice start, struct slice end)
{
    bool below = r->end.size == 0 || slice_compare(start, r->end) <= 0;
    bool above = end.size == 0 || slice_compare(r->key, end) <= 0;
    return below && above;
}

/* Pages of one scan lie side by side: together they are one range. */
static int widen_last(struct txnset *s, struct slice start, struct slice end)
{
    struct txnset_read **last = &s->ranges[s->ranges_count - 1];
    struct slice from = slice_compare(start, (*last)->key) < 0 ? start : (*last)->key;
    struct slice to = end_covers(end, (*last)->end) ? end : (*last)->end;
    size_t before = (*last)->key.size + (*last)->end.size;
    int rc = room(s, 0, from.size + to.size, before);
    struct txnset_read *r = rc ? NULL : read_new(true, from, to);
    if (!r)
        return rc ? rc : HF_E_NO_MEMORY;
    s->bytes += from.size + to.size - before;
    free(*last);
    *last = r;
    return HF_OK;
}

int txnset_read_range(struct txnset *s, struct slice start, struct slice end)
{
    if (end.size > 0 && slice_compare(start, end) >= 0)
        return HF_OK; /* nothing is in it */
    for (size_t i = 0; i < s->ranges_count; i++)
        if (slice_compare(s->ranges[i]->key, start) <= 0 && end_covers(s->ranges[i]->end, end))
            return HF_OK;
    if (s->ranges_count > 0 && meets(s->ranges[s->ranges_count - 1], start, end))
        return widen_last(s, start, end);
    int rc = room(s, 1, start.size + end.size, 0);
    if (rc == HF_OK)
        rc = grow(&s->ranges, s->ranges_count, &s->ranges_cap);
    struct txnset_read *r = rc ? NULL : read_new(true, start, end);
    if (!r)
        return rc ? rc : HF_E_NO_MEMORY;
    s->ranges[s->ranges_count++] = r;
    s->bytes += start.size + end.size;
    return HF_OK;
}

/* ---- the message's body ---- */

/* Its parts stand one behind the other: the message, the writes, the reads, the pointers to both, the bytes. */
size_t txnset_body_bytes(const struct txnset *s)
{
    size_t writes = s->keys_count + s->prefixes_count, reads = s->reads_count + s->ranges_count;
    return sizeof(Hf__Client__Txn) + writes * (sizeof(Hf__Entry__TxnWrite) + sizeof(void *)) +
           reads * (sizeof(Hf__Entry__TxnRead) + sizeof(void *)) + s->bytes;
}

static Hf__Entry__TxnRead body_read(const struct txnset_read *r, uint8_t **to)
{
    Hf__Entry__TxnRead out = HF__ENTRY__TXN_READ__INIT;
    out.range = r->range;
    out.key = pack_bytes(copy(to, r->key));
    out.end = pack_bytes(copy(to, r->end));
    return out;
}

Hf__Client__Txn *txnset_body(const struct txnset *s, uint64_t start, void *memory)
{
    Hf__Client__Txn *body = memory;
    hf__client__txn__init(body);
    body->start = start;
    body->n_writes = s->keys_count + s->prefixes_count;
    body->n_reads = s->reads_count + s->ranges_count;
    Hf__Entry__TxnWrite *writes = (void *)(body + 1);
    Hf__Entry__TxnRead *reads = (void *)(writes + body->n_writes);
    body->writes = (void *)(reads + body->n_reads);
    body->reads = (void *)(body->writes + body->n_writes);
    uint8_t *to = (void *)(body->reads + body->n_reads);
    size_t n = 0;
    LIST_EACH (it, &s->order) {
        const struct txnset_write *w = LIST_OWNER(it, struct txnset_write, link);
        hf__entry__txn_write__init(&writes[n]);
        writes[n].op = w->op;
        writes[n].key = pack_bytes(copy(&to, w->key));
        writes[n].value = pack_bytes(copy(&to, w->value));
        writes[n].ttl_ms = w->ttl_ms;
        body->writes[n] = &writes[n];
        n++;
    }
    must(n == body->n_writes);
    for (size_t i = 0; i < body->n_reads; i++) {
        const struct txnset_read *r = i < s->reads_count ? s->reads[i] : s->ranges[i - s->reads_count];
        reads[i] = body_read(r, &to);
        body->reads[i] = &reads[i];
    }
    must(to == (uint8_t *)memory + txnset_body_bytes(s));
    return body;
}
