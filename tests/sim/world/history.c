/* history.c: see history.h. */
#include "tests/sim/world/history.h"

#include <inttypes.h>
#include <stdlib.h>

#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/versions.h"
#include "shard/fsm/vkey.h"
#include "tests/sim/column.h"
#include "tests/sim/world/process.h"

struct row { /* something a store holds, or a client was told to stand there */
    struct version version;
    uint32_t value; /* LIN_ABSENT: a deletion */
    uint32_t shard;
    unsigned key;                 /* JUDGE_KEYS: all of the shard */
    struct hlc expiry;            /* 0: never */
    struct history_floor *before; /* owned; of what a client was told: what was acknowledged when it began */
};

struct look {
    uint64_t at;
    struct version found;
    uint32_t value;
    unsigned key;
};

struct rows {
    struct row *rows; /* owned */
    size_t count, cap;
};

struct history {
    struct history_floor floor;
    struct rows told, removed; /* removed: what collection took out of stores, once or more */
    struct look *looks;        /* owned */
    size_t count, cap;
    struct column cuts; /* timestamps, from 0 on */
    uint64_t cut_count;
};

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof *h);
    must(h != NULL);
    return h;
}

void history_free(struct history **h)
{
    if (*h == NULL)
        return;
    for (size_t i = 0; i < (*h)->told.count; i++)
        free((*h)->told.rows[i].before);
    free((*h)->told.rows);
    free((*h)->removed.rows);
    column_deinit(&(*h)->cuts);
    free((*h)->looks);
    free(*h);
    *h = NULL;
}

static void add(struct rows *r, struct row row)
{
    if (r->count == r->cap) {
        r->cap = r->cap == 0 ? 256 : 2 * r->cap;
        r->rows = realloc(r->rows, r->cap * sizeof *r->rows);
        must(r->rows != NULL);
    }
    r->rows[r->count++] = row;
}

struct history_floor history_floor(const struct world *w)
{
    return w->history->floor;
}

void history_wrote(struct world *w, unsigned key, uint32_t value, struct version version,
                   const struct history_floor *floor, bool heard)
{
    struct history *h = w->history;
    uint32_t shard = history_shard(key);
    struct version before = floor->heard[shard], *highest = &h->floor.shard[shard];
    world_trace(w, 0, "wrote", version.t.t, version.seq);
    if (version_compare(version, before) <= 0)
        world_failed(w, "versions",
                     "key %u: value %" PRIu32 " stands at (%" PRIx64 ", %" PRIu64 "); (%" PRIx64 ", %" PRIu64
                     ") was acknowledged in its shard before it was asked for",
                     key, value, version.t.t, version.seq, before.t.t, before.seq);
    struct history_floor *kept = malloc(sizeof *kept);
    must(kept != NULL);
    *kept = *floor;
    add(&h->told, (struct row){.version = version, .value = value, .shard = shard, .key = key, .before = kept});
    if (version_compare(version, *highest) > 0)
        *highest = version;
    if (heard && version_compare(version, h->floor.heard[shard]) > 0)
        h->floor.heard[shard] = version;
}

/* Beside its value, which is judged elsewhere (linear): whatever lies at or below the floor was applied before that was
 * acknowledged. One such write of the key is enough. */
static void read_latest(struct world *w, unsigned key, struct version found, const struct history_floor *floor)
{
    const struct history *h = w->history;
    for (size_t i = h->told.count; i > 0 && found.t.t != 0; i--) {
        const struct row *row = &h->told.rows[i - 1];
        if (row->key == key && version_compare(row->version, floor->shard[history_shard(key)]) <= 0) {
            if (version_compare(found, row->version) < 0)
                world_failed(w, "fresh",
                             "key %u: the latest is at (%" PRIx64 ", %" PRIu64 "), acknowledged (%" PRIx64 ", %" PRIu64
                             ") before it was asked for",
                             key, found.t.t, found.seq, row->version.t.t, row->version.seq);
            return;
        }
    }
}

void history_read(struct world *w, unsigned key, uint64_t at, uint32_t value, struct version found,
                  const struct history_floor *floor)
{
    struct history *h = w->history;
    struct version before = floor->shard[history_shard(key)];
    if (at == 0) {
        read_latest(w, key, found, floor);
        return;
    }
    world_trace(w, 0, "look", at, value);
    w->result.looks++;
    if (before.t.t >= at)
        world_failed(w, "fresh",
                     "key %u was read at %" PRIx64 ": a write of its shard at (%" PRIx64 ", %" PRIu64
                     ") was acknowledged before that was asked for",
                     key, at, before.t.t, before.seq);
    if (found.t.t >= at)
        world_failed(w, "stable", "key %u was read at %" PRIx64 ": it showed a version of %" PRIx64, key, at,
                     found.t.t);
    if (h->count == h->cap) {
        h->cap = h->cap == 0 ? 256 : 2 * h->cap;
        h->looks = realloc(h->looks, h->cap * sizeof *h->looks);
        must(h->looks != NULL);
    }
    h->looks[h->count++] = (struct look){at, found, value, key};
}

/* ---- the end ---- */

static unsigned key_number(struct slice name)
{
    unsigned number = 0;
    for (size_t i = 1; i < name.size; i++)
        number = number * 10 + (unsigned)(name.data[i] - '0');
    return number;
}

static void take_record(struct rows *rows, uint32_t shard, const struct vkey *key, struct slice bytes)
{
    struct arena arena = {0};
    struct slice name;
    struct version_value value = {0};
    struct row row = {.version = key->version, .value = LIN_ABSENT, .shard = shard, .key = JUDGE_KEYS};
    must(vkey_user(key->prefix, &arena, &name));
    if (key->kind == VKEY_DATA) {
        must(versions_decode(bytes, &value));
        row.key = name.data[0] == 'a' || name.data[0] == 'x' ? key_number(name) : JUDGE_KEYS + 1; /* not of ours */
        row.expiry = versions_expiry(&value);
        if ((value.flags & VERSION_DELETE) == 0 && value.payload.size == sizeof row.value)
            memcpy(&row.value, value.payload.data, sizeof row.value);
    }
    add(rows, row);
    arena_deinit(&arena);
}

static void take_all(struct rows *rows, uint32_t shard, struct fsm *fsm)
{
    static const uint8_t kinds[] = {VKEY_DATA, VKEY_MARKER};
    for (size_t k = 0; k < sizeof kinds; k++) {
        struct store_iterator *it = store_iterator_new(fsm->store, false);
        for (store_iterator_seek(it, slice_make(&kinds[k], 1)); store_iterator_valid(it); store_iterator_next(it)) {
            struct vkey key;
            if (store_iterator_key(it).data[0] != kinds[k])
                break;
            must(vkey_decode(store_iterator_key(it), &key));
            if (key.space == FSM_USER)
                take_record(rows, shard, &key, store_iterator_value(it));
        }
        store_iterator_free(&it);
    }
}

static int by_version(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return version_compare(x->version, y->version);
}

void history_removed(struct world *w, uint32_t shard, struct slice record, struct slice value)
{
    struct vkey key;
    bool ours = (record.data[0] == VKEY_DATA || record.data[0] == VKEY_MARKER) && vkey_decode(record, &key);
    if (ours && key.space == FSM_USER)
        take_record(&w->history->removed, shard, &key, value);
}

static void add_removed(struct world *w, struct rows *rows)
{
    const struct rows *removed = &w->history->removed;
    for (size_t i = 0; i < removed->count; i++)
        add(rows, removed->rows[i]);
}

/* Each replica removes it, perhaps again after a crash. What is equal but for the version is for the checks. */
static void drop_doubles(struct rows *rows)
{
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct row *row = &rows->rows[i], *last = kept > 0 ? &rows->rows[kept - 1] : NULL;
        bool again = last != NULL && by_version(last, row) == 0 && last->key == row->key && last->value == row->value;
        if (!again)
            rows->rows[kept++] = *row;
    }
    rows->count = kept;
}

/* The newest of the key below `at`; NULL: none. */
static const struct row *newest(const struct rows *rows, unsigned key, uint64_t at)
{
    struct row before = {.shard = history_shard(key), .version = {.t = {at}}}; /* sequences begin at 1 */
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_version(&rows->rows[middle], &before) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0 && rows->rows[low - 1].shard == before.shard) {
        const struct row *row = &rows->rows[--low];
        if (row->key == key || row->key == JUDGE_KEYS)
            return row;
    }
    return NULL;
}

static void check_looks(struct world *w, const struct rows *rows)
{
    const struct history *h = w->history;
    for (size_t i = 0; i < h->count; i++) {
        const struct look *look = &h->looks[i];
        const struct row *row = newest(rows, look->key, look->at);
        bool expired = row != NULL && row->expiry.t != 0 && row->expiry.t <= look->at;
        uint32_t value = row != NULL && !expired ? row->value : LIN_ABSENT;
        bool same = value == look->value && (value == LIN_ABSENT || version_compare(row->version, look->found) == 0);
        if (!same)
            world_failed(w, "stable",
                         "key %u was read at %" PRIx64 ": it showed value %" PRIu32 ", and now shows %" PRIu32,
                         look->key, look->at, look->value, value);
    }
}

static void check_versions(struct world *w, const struct rows *rows)
{
    const struct history *h = w->history;
    for (size_t i = 1; i < rows->count; i++)
        if (by_version(&rows->rows[i - 1], &rows->rows[i]) == 0)
            world_failed(w, "versions", "shard %" PRIu32 ": two writes are stamped (%" PRIx64 ", %" PRIu64 ")",
                         rows->rows[i].shard, rows->rows[i].version.t.t, rows->rows[i].version.seq);
    for (size_t i = 0; i < h->told.count; i++) {
        const struct row *told = &h->told.rows[i];
        const struct row *row =
            told->value != LIN_ABSENT ? bsearch(told, rows->rows, rows->count, sizeof *told, by_version) : told;
        if (row == NULL || row->value != told->value || row->key != told->key)
            world_failed(w, "versions",
                         "key %u: value %" PRIu32 " was acknowledged at (%" PRIx64 ", %" PRIu64
                         ") and does not stand there",
                         told->key, told->value, told->version.t.t, told->version.seq);
    }
}

void history_cut(struct world *w, uint64_t t)
{
    struct history *h = w->history;
    world_trace(w, 0, "cut", t, 0);
    column_set(&h->cuts, h->cut_count++, t);
}

static void check_cut(struct world *w, uint64_t t)
{
    const struct history *h = w->history;
    for (size_t i = 0; i < h->told.count; i++) {
        const struct row *row = &h->told.rows[i];
        for (uint32_t s = 1; s <= WORLD_SHARDS && row->version.t.t < t; s++)
            if (row->before->shard[s].t.t >= t)
                world_failed(w, "cut",
                             "cut %" PRIx64 " shows value %" PRIu32 " at %" PRIx64 ", and not what shard %" PRIu32
                             " had acknowledged at %" PRIx64 " before that began",
                             t, row->value, row->version.t.t, s, row->before->shard[s].t.t);
    }
}

void history_end(struct world *w)
{
    struct rows rows = {0};
    for (uint32_t s = 1; s <= WORLD_SHARDS; s++) {
        struct fsm *fsm = replica_process_fsm(w->processes[world_replica(s, 1)]);
        take_all(&rows, s, fsm);
    }
    add_removed(w, &rows);
    if (rows.count > 0)
        qsort(rows.rows, rows.count, sizeof *rows.rows, by_version);
    drop_doubles(&rows);
    check_versions(w, &rows);
    check_looks(w, &rows);
    for (uint64_t i = 0; i < w->history->cut_count; i++)
        check_cut(w, column_get(&w->history->cuts, i));
    free(rows.rows);
}
