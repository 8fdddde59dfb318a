/* simstore.c: a sorted array of keys, each with its versions, newest first; see simstore.h. */
#include "tests/support/simstore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/hashmap.h"
#include "common/sys/failpoint.h"
#include "tests/support/simstore_batch.h"
#include "tests/support/simstore_internal.h"

#define FLUSH_OPERATIONS 6 /* a flush that was begun takes effect within so many */

struct store_iterator {
    struct simstore *medium;
    struct store_iterator *next;
    size_t (*prefix)(struct slice key); /* NULL: total order */
    struct buf wanted;                  /* prefix mode: what keys must begin with */
    uint64_t batch;                     /* what it sees */
    uint64_t inserts;                   /* as of `at` */
    size_t at;                          /* index of `entry` */
    struct entry *entry;                /* NULL: not valid */
    bool misread;
    struct version_of *version;
};

static struct simstore *media;
static struct simstore *(*finder)(const char *dir);           /* NULL: by the name alone */
static void (*removal)(struct slice key, struct slice value); /* NULL: nobody looks */

/* ---- keys and versions ---- */

size_t simstore_find(const struct simstore *m, struct slice key)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(simstore_key(m->entries[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool holds(const struct simstore *m, size_t at, struct slice key)
{
    return at < m->count && slice_equal(simstore_key(m->entries[at]), key);
}

/* The newest version as of a batch; NULL: none, or deleted. */
static struct version_of *as_of(const struct entry *e, uint64_t batch)
{
    struct version_of *v = e->newest;
    while (v != NULL && v->batch > batch)
        v = v->older;
    return v != NULL && !v->deleted ? v : NULL;
}

static uint64_t hash_of(struct slice key, struct slice value)
{
    uint64_t hash = hashmap_hash_bytes(key.data, key.size) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 29) + hashmap_hash_bytes(value.data, value.size);
    return (hash ^ hash >> 32) * UINT64_C(0xbf58476d1ce4e5b9) | 1;
}

static uint64_t newest_hash(const struct entry *e)
{
    return e->newest != NULL ? e->newest->hash : 0;
}

static void free_versions(struct version_of *v)
{
    while (v != NULL) {
        struct version_of *older = v->older;
        free(v);
        v = older;
    }
}

/* Lets go of versions that neither a crash nor an open iterator can bring back. */
static void prune(const struct simstore *m, struct entry *e)
{
    uint64_t needed = m->durable_batch;
    for (const struct store_iterator *it = m->iterators; it != NULL; it = it->next)
        if (it->batch < needed)
            needed = it->batch;
    struct version_of *v = e->newest;
    while (v != NULL && v->batch > needed) {
        bool used = v == e->newest || v->batch <= m->flushing || v->batch <= m->durable_batch;
        for (const struct store_iterator *it = m->iterators; it != NULL; it = it->next)
            used |= v->batch <= it->batch;
        if (!used) { /* between the newest and what is needed: nobody's */
            struct version_of *newer = e->newest;
            while (newer->older != v)
                newer = newer->older;
            newer->older = v->older;
            free(v);
            v = newer->older;
            continue;
        }
        v = v->older;
    }
    if (v != NULL) {
        free_versions(v->older);
        v->older = NULL;
    }
}

static struct entry *insert(struct simstore *m, size_t at, struct slice key)
{
    if (m->count == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->entries = realloc(m->entries, m->cap * sizeof *m->entries);
        must(m->entries != NULL);
    }
    struct entry *e = malloc(sizeof *e + key.size);
    must(e != NULL);
    *e = (struct entry){.size = key.size};
    memcpy(e->key, key.data, key.size);
    memmove(&m->entries[at + 1], &m->entries[at], (m->count - at) * sizeof *m->entries);
    m->entries[at] = e;
    m->count++;
    m->inserts++;
    return e;
}

static void set(struct simstore *m, struct slice key, struct slice value, bool deleted)
{
    size_t at = simstore_find(m, key);
    bool known = holds(m, at, key);
    if (!known && deleted)
        return;
    struct entry *e = known ? m->entries[at] : insert(m, at, key);
    if (deleted && removal != NULL && e->newest != NULL && !e->newest->deleted)
        removal(key, slice_make(e->newest->value, e->newest->size));
    struct version_of *v = malloc(sizeof *v + value.size);
    must(v != NULL);
    *v = (struct version_of){.older = e->newest,
                             .batch = m->batch,
                             .size = value.size,
                             .hash = deleted ? 0 : hash_of(key, value),
                             .deleted = deleted};
    if (value.size > 0)
        memcpy(v->value, value.data, value.size);
    m->content += v->hash - newest_hash(e);
    e->newest = v;
    prune(m, e);
}

/* ---- flushes ---- */

void simstore_flush(struct simstore *m, uint64_t batch)
{
    if (batch > m->durable_batch)
        m->durable_batch = batch;
    if (m->flushing <= m->durable_batch)
        m->flushing = 0;
}

/* One operation of the store passes: a flush in the background comes nearer to its end. */
static void pass(struct simstore *m)
{
    if (m->flushing != 0 && m->flush_left-- == 0)
        simstore_flush(m, m->flushing);
    if (m->open != NULL && m->open->compaction != NULL)
        simstore_compact_pass(m->open->compaction);
}

static void begin_flush(struct simstore *m)
{
    if (m->flushing != 0)
        simstore_flush(m, m->flushing);
    if (m->batch == m->durable_batch)
        return;
    m->flushing = m->batch;
    m->flush_left = random_below(&m->random, FLUSH_OPERATIONS);
}

int store_flush(struct store *s)
{
    if (s->medium->halted)
        return HF_E_IO;
    simstore_flush(s->medium, s->medium->batch);
    return HF_OK;
}

bool store_flush_pending(struct store *s)
{
    return s->medium->flushing != 0;
}

int store_flush_begin(struct store *s)
{
    if (s->medium->halted)
        return HF_E_IO;
    begin_flush(s->medium);
    return HF_OK;
}

/* ---- the medium ---- */

void simstore_find_by(struct simstore *(*by)(const char *dir))
{
    finder = by;
}

void simstore_see_removals(void (*see)(struct slice key, struct slice value))
{
    removal = see;
}

static struct simstore *medium_of(const char *dir)
{
    struct simstore *found = finder != NULL ? finder(dir) : NULL;
    if (found != NULL)
        return found;
    for (struct simstore *m = media; m != NULL; m = m->next)
        if (strcmp(m->dir, dir) == 0)
            return m;
    return NULL;
}

struct simstore *simstore_new(const char *dir, uint64_t seed)
{
    struct simstore *m = calloc(1, sizeof *m);
    must(m != NULL && medium_of(dir) == NULL && strlen(dir) < sizeof m->dir);
    snprintf(m->dir, sizeof m->dir, "%s", dir);
    m->random.state = seed;
    m->next = media;
    media = m;
    return m;
}

static void empty(struct simstore *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free_versions(m->entries[i]->newest);
        free(m->entries[i]);
    }
    free(m->entries);
    m->entries = NULL;
    m->count = m->cap = 0;
    m->batch = m->durable_batch = m->flushing = m->content = 0;
    m->created = m->damaged = false;
    m->misread_times = 0;
}

void simstore_free(struct simstore **m)
{
    if (*m == NULL)
        return;
    must((*m)->open == NULL);
    empty(*m);
    struct simstore **at = &media;
    while (*at != *m)
        at = &(*at)->next;
    *at = (*m)->next;
    free(*m);
    *m = NULL;
}

void simstore_halt(struct simstore *m)
{
    m->halted = true;
}

/* Forgets what was made of a key by batches above `batch`. */
static void forget(struct simstore *m, struct entry *e, uint64_t batch)
{
    while (e->newest != NULL && e->newest->batch > batch) {
        struct version_of *lost = e->newest;
        m->content -= lost->hash;
        e->newest = lost->older;
        m->content += newest_hash(e);
        free(lost);
    }
    if (e->newest != NULL && e->newest->batch > m->durable_batch)
        e->newest->batch = m->durable_batch;
}

void simstore_crash(struct simstore *m)
{
    must(m->open == NULL);
    /* As if records and meta were in files that are flushed one after the other. */
    uint64_t ahead = planted_bug("sim.flush_not_consistent") ? 4 : 0;
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct entry *e = m->entries[i];
        forget(m, e, m->durable_batch + (e->key[0] == 'd' ? ahead : 0));
        if (e->newest == NULL)
            free(e);
        else
            m->entries[kept++] = e;
    }
    m->count = kept;
    m->batch = m->durable_batch;
    m->flushing = 0;
    m->fail_times = 0;
    m->halted = false;
}

void simstore_copy(struct simstore *to, const struct simstore *from)
{
    must(to->open == NULL && to != from);
    empty(to);
    to->created = from->created;
    to->batch = to->durable_batch = 1;
    for (size_t i = 0; i < from->count; i++) {
        const struct entry *e = from->entries[i];
        const struct version_of *v = as_of(e, from->durable_batch);
        if (v != NULL)
            set(to, simstore_key(e), slice_make(v->value, v->size), false);
    }
}

uint64_t simstore_content(const struct simstore *m)
{
    return m->content;
}

/* ---- the store ---- */

int store_open(const struct store_config *config, bool create, struct store **out, char where[256])
{
    struct simstore *m = medium_of(config->dir);
    if (m == NULL || m->halted || (!m->created && !create)) {
        snprintf(where, 256, "%.200s: no store", config->dir);
        return HF_E_ABSENT;
    }
    if (m->damaged) {
        snprintf(where, 256, "%.200s: block checksum mismatch", config->dir);
        return HF_E_CORRUPT;
    }
    if (m->open != NULL) {
        snprintf(where, 256, "%.200s: lock hold by current process", config->dir);
        return HF_E_LOCKED;
    }
    struct store *s = calloc(1, sizeof *s);
    must(s != NULL);
    *s = (struct store){.medium = m, .config = *config};
    m->open = s;
    m->created = true;
    *out = s;
    return HF_OK;
}

void store_close(struct store **s)
{
    if (*s == NULL)
        return;
    struct simstore *m = (*s)->medium;
    must(m->iterators == NULL && (*s)->compaction == NULL);
    if (!m->halted)
        simstore_flush(m, m->batch);
    m->open = NULL;
    free(*s);
    *s = NULL;
}

int store_destroy(const char *dir, char where[256])
{
    struct simstore *m = medium_of(dir);
    (void)where;
    must(m == NULL || m->open == NULL);
    if (m != NULL)
        empty(m);
    return HF_OK;
}

/* Onto the medium that stands for `dir`. */
int store_checkpoint(struct store *s, const char *dir, char where[256])
{
    struct simstore *to = medium_of(dir);
    int rc = to == NULL ? HF_E_IO : store_flush(s);
    if (rc != HF_OK)
        snprintf(where, 256, "no checkpoint at %.200s", dir);
    else
        simstore_copy(to, s->medium);
    return rc;
}

int store_write(struct store *s, const struct store_batch *b)
{
    struct simstore *m = s->medium;
    pass(m);
    if (m->halted)
        return HF_E_IO;
    if (m->fail_times > 0) {
        m->fail_times--;
        return m->fail_code;
    }
    m->batch++;
    const struct change *c = (const void *)b->changes.data;
    for (size_t i = 0; i < b->changes.size / sizeof *c; i++)
        set(m, slice_make(b->bytes.data + c[i].key, c[i].key_size),
            slice_make(b->bytes.data + c[i].value, c[i].value_size), c[i].deleted);
    if (s->config.sync_writes)
        simstore_flush(m, m->batch);
    else if (m->flush_permille > 0 && random_below(&m->random, 1000) < m->flush_permille)
        begin_flush(m);
    return HF_OK;
}

static int get(struct simstore *m, struct slice key, uint64_t batch, struct buf *out)
{
    size_t at = simstore_find(m, key);
    const struct version_of *v = holds(m, at, key) ? as_of(m->entries[at], batch) : NULL;
    if (v == NULL)
        return HF_E_NOT_FOUND;
    if (v->size > 0)
        buf_append(out, v->value, v->size);
    return HF_OK;
}

int store_get(struct store *s, struct slice key, struct buf *out)
{
    pass(s->medium);
    return get(s->medium, key, UINT64_MAX, out);
}

int store_get_durable(struct store *s, struct slice key, struct buf *out)
{
    pass(s->medium); /* a flush that ends now counts */
    bool lies = planted_bug("sim.durable_lies");
    return get(s->medium, key, lies ? UINT64_MAX : s->medium->durable_batch, out);
}

const char *store_where(const struct store *s)
{
    return s->medium->dir;
}

uint64_t store_property(struct store *s, const char *name)
{
    (void)s, (void)name;
    return 0;
}

/* ---- iterators ---- */

struct store_iterator *store_iterator_whole(struct store *s)
{
    return store_iterator_new(s, false);
}

struct store_iterator *store_iterator_new(struct store *s, bool prefix_mode)
{
    struct store_iterator *it = calloc(1, sizeof *it);
    must(it != NULL);
    struct simstore *m = s->medium;
    *it = (struct store_iterator){
        .medium = m, .batch = m->batch, .prefix = prefix_mode ? s->config.prefix : NULL, .next = m->iterators};
    m->iterators = it;
    return it;
}

void store_iterator_free(struct store_iterator **it)
{
    if (*it == NULL)
        return;
    struct store_iterator **at = &(*it)->medium->iterators;
    while (*at != *it)
        at = &(*at)->next;
    *at = (*it)->next;
    buf_deinit(&(*it)->wanted);
    free(*it);
    *it = NULL;
}

/* Stands at the first key from `at` on, in the direction of `step`, that the iterator may see. */
static void settle(struct store_iterator *it, size_t at, int step)
{
    struct simstore *m = it->medium;
    it->entry = NULL;
    it->misread = false;
    for (; at < m->count; at += (size_t)step) { /* below 0 it wraps and ends too */
        struct entry *e = m->entries[at];
        if (it->wanted.size > 0 && (e->size < it->wanted.size || memcmp(e->key, it->wanted.data, it->wanted.size) != 0))
            return;
        it->version = as_of(e, it->batch);
        if (it->version == NULL)
            continue;
        if (m->misread_times > 0 && e->key[0] == 'd') {
            m->misread_times--;
            it->misread = true;
            return;
        }
        it->entry = e;
        it->at = at;
        it->inserts = m->inserts;
        return;
    }
}

static void want_prefix(struct store_iterator *it, struct slice key)
{
    buf_clear(&it->wanted);
    size_t size = it->prefix != NULL ? it->prefix(key) : 0;
    if (size > 0)
        buf_append(&it->wanted, key.data, size);
}

void store_iterator_seek(struct store_iterator *it, struct slice key)
{
    want_prefix(it, key);
    settle(it, simstore_find(it->medium, key), 1);
}

void store_iterator_seek_for_prev(struct store_iterator *it, struct slice key)
{
    want_prefix(it, key);
    size_t at = simstore_find(it->medium, key);
    settle(it, at - !holds(it->medium, at, key), -1);
}

bool store_iterator_valid(const struct store_iterator *it)
{
    return it->entry != NULL;
}

static size_t place(const struct store_iterator *it)
{
    must(it->entry != NULL);
    return it->inserts == it->medium->inserts ? it->at : simstore_find(it->medium, simstore_key(it->entry));
}

void store_iterator_next(struct store_iterator *it)
{
    settle(it, place(it) + 1, 1);
}

void store_iterator_prev(struct store_iterator *it)
{
    settle(it, place(it) - 1, -1);
}

struct slice store_iterator_key(const struct store_iterator *it)
{
    return simstore_key(it->entry);
}

struct slice store_iterator_value(const struct store_iterator *it)
{
    return slice_make(it->version->value, it->version->size);
}

int store_iterator_status(struct store_iterator *it)
{
    return it->misread ? HF_E_CORRUPT : HF_OK;
}

const char *store_iterator_where(const struct store_iterator *it)
{
    (void)it;
    return "";
}
