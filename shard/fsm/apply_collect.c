/* apply_collect.c: what nobody reads any more is removed, a step an entry (docs/protocol/collection.md).
 *
 * A pass goes by the watermark W as it was when the pass began: through all versions first, then through the markers of deleted
 * prefixes. Of a key's versions below W the newest is what a reader at W sees; the others are shadowed and go. That newest one
 * goes too if it is dead at W, but never before what it shadows. A marker goes when the whole pass is behind it: nothing that it
 * hides is left. All replicas take the same steps at the same entries, so that what is there physically is the same (I2). */
#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/fsm/apply_internal.h"
#include "shard/fsm/meta.h"

#define STEPS_BEFORE_SEEK 8 /* versions above W that are passed one by one */

struct pass {
    struct applying *a;
    struct store_iterator *it; /* the store as the entry before left it */
    struct hlc w;
    uint64_t steps, bytes; /* left */
    struct buf prefix;     /* of the key in hand; empty: none */
    unsigned above;        /* of its versions: at or above W */
    bool seen;             /* its newest below W */
    struct buf dead;       /* that one's record, if it is dead; else empty */
    size_t dead_bytes;
};

static void set(struct buf *to, struct slice from)
{
    buf_clear(to);
    if (from.size > 0)
        buf_append(to, from.data, from.size);
}

static void put_record(struct applying *a)
{
    const struct fsm_collected *c = &a->info.collected;
    Hf__Entry__CollectRecord record = HF__ENTRY__COLLECT_RECORD__INIT;
    struct buf packed = {0};
    record.below = c->below.t;
    record.pass = c->pass.t;
    record.markers = a->sweep.markers;
    record.late = a->sweep.late;
    record.within = a->sweep.within;
    record.at.data = (uint8_t *)(uintptr_t)a->sweep.at.data;
    record.at.len = a->sweep.at.size;
    record.swept = c->swept.t;
    record.due = c->due.t;
    record.passes = c->passes;
    record.removed_versions = c->versions;
    record.removed_markers = c->markers;
    record.removed_bytes = c->bytes;
    pack_append(&record.base, &packed);
    apply_put(a, meta_key_collect(), buf_slice(&packed));
    buf_deinit(&packed);
}

static void remove_record(struct pass *p, struct slice record, size_t value_size)
{
    apply_delete(p->a, record);
    p->a->info.collected.bytes += record.size + value_size;
}

static bool used_up(const struct pass *p)
{
    return p->steps == 0 || p->bytes == 0;
}

/* The record under the iterator is looked at. */
static void spend(struct pass *p)
{
    uint64_t size = store_iterator_key(p->it).size + store_iterator_value(p->it).size;
    p->steps--;
    p->bytes -= size < p->bytes ? size : p->bytes;
}

static void stop_at(struct pass *p, struct slice record, bool within)
{
    p->a->sweep.at = arena_copy(&p->a->fsm->turn, record);
    p->a->sweep.within = within;
}

/* ---- versions ---- */

/* All that a dead version shadows went before it, or goes in the same batch. */
static void end_key(struct pass *p)
{
    if (p->dead.size > 0) {
        recent_forget(&p->a->fsm->recent, buf_slice(&p->prefix));
        remove_record(p, buf_slice(&p->dead), p->dead_bytes);
        p->a->info.collected.versions++;
    }
    buf_clear(&p->dead);
    buf_clear(&p->prefix);
}

static void begin_key(struct pass *p, struct slice prefix)
{
    set(&p->prefix, prefix);
    p->above = 0;
    p->seen = false;
}

/* To the newest version below W of the key in hand. */
static void seek_below(struct pass *p)
{
    struct buf place = {0};
    buf_append(&place, p->prefix.data, p->prefix.size);
    (void)buf_extend(&place, VKEY_VERSION_BYTES);
    store_iterator_seek(p->it, vkey_seek(slice_make(place.data, p->prefix.size), p->w));
    buf_deinit(&place);
}

static void note_due(struct fsm_collected *c, struct hlc expiry)
{
    if (expiry.t != 0 && (c->due.t == 0 || expiry.t < c->due.t))
        c->due = expiry;
}

/* The newest version below W. */
static int judge(struct pass *p, const struct vkey *key, struct slice record)
{
    struct fsm *fsm = p->a->fsm;
    struct version_found found = {.version = key->version};
    struct version marker;
    struct slice user, bytes = store_iterator_value(p->it);
    p->seen = true;
    if (key->space >= MARKERS_SPACES || !vkey_user(key->prefix, &fsm->turn, &user) ||
        !versions_decode(bytes, &found.value))
        return HF_E_CORRUPT;
    int rc = markers_at(&fsm->markers, fsm->store, key->space, user, p->w, &marker);
    if (rc == HF_OK && !versions_live(&found, marker, p->w)) {
        set(&p->dead, record);
        p->dead_bytes = bytes.size;
    } else if (rc == HF_OK) {
        note_due(&p->a->info.collected, versions_expiry(&found.value));
    }
    return rc;
}

/* Looks at the record under the iterator and moves on. */
static int one_version(struct pass *p, const struct vkey *key, struct slice record)
{
    int rc = HF_OK;
    if (key->version.t.t >= p->w.t) {
        if (++p->above > STEPS_BEFORE_SEEK) {
            seek_below(p);
            return HF_OK;
        }
    } else if (!p->seen) {
        rc = judge(p, key, record);
    } else {
        remove_record(p, record, store_iterator_value(p->it).size);
        p->a->info.collected.versions++;
    }
    store_iterator_next(p->it);
    return rc;
}

/* False: the steps are used up, the next entry goes on at the record. */
static bool may_go_on(struct pass *p, bool same, struct slice record)
{
    if (!used_up(p)) {
        spend(p);
        return true;
    }
    if (same && !p->seen) /* a few at most, then a search */
        return true;
    if (same && !planted_bug("collect.newest_first"))
        buf_clear(&p->dead); /* not before what it shadows */
    end_key(p);
    stop_at(p, record, same);
    return false;
}

/* What the newest below W shadowed is gone, or goes in this batch, from `from` on: so it is looked at again. False: a commit came
 * meanwhile and put another above it, which now shadows it. */
static int look_again(struct pass *p, struct slice from, bool *out_alone)
{
    struct vkey key;
    seek_below(p);
    if (!store_iterator_valid(p->it))
        return store_iterator_status(p->it) != HF_OK ? store_iterator_status(p->it) : HF_E_CORRUPT;
    struct slice record = store_iterator_key(p->it);
    if (!slice_has_prefix(record, buf_slice(&p->prefix)) || !vkey_decode(record, &key))
        return HF_E_CORRUPT;
    int rc = judge(p, &key, record);
    store_iterator_next(p->it);
    *out_alone = !store_iterator_valid(p->it) || slice_compare(store_iterator_key(p->it), from) >= 0;
    if (!*out_alone)
        buf_clear(&p->dead);
    return rc;
}

/* The rest of a key in which the entry before stopped: all of it is shadowed. *out_stop: this one stops in it, too. */
static int resume_key(struct pass *p, bool *out_stop)
{
    struct slice from = p->a->sweep.at;
    struct vkey key;
    if (!vkey_decode(from, &key))
        return HF_E_CORRUPT;
    begin_key(p, key.prefix);
    store_iterator_seek(p->it, from);
    for (; store_iterator_valid(p->it); store_iterator_next(p->it)) {
        struct slice record = store_iterator_key(p->it);
        if (!slice_has_prefix(record, buf_slice(&p->prefix)))
            break;
        *out_stop = used_up(p);
        if (*out_stop) {
            stop_at(p, record, true);
            return HF_OK;
        }
        spend(p);
        remove_record(p, record, store_iterator_value(p->it).size);
        p->a->info.collected.versions++;
    }
    int rc = store_iterator_status(p->it);
    bool alone = true;
    if (rc == HF_OK)
        rc = look_again(p, from, &alone);
    *out_stop = !alone;
    if (!alone)
        stop_at(p, buf_slice(&p->prefix), false);
    p->prefix.data[p->prefix.size - 1]++; /* behind its oldest version: the terminator's last byte plus one */
    store_iterator_seek(p->it, buf_slice(&p->prefix));
    p->prefix.data[p->prefix.size - 1]--;
    end_key(p);
    return rc;
}

static int begin_walk(struct pass *p, bool *out_stop)
{
    static const uint8_t first = VKEY_DATA;
    const struct sweep *sweep = &p->a->sweep;
    *out_stop = false;
    if (sweep->within)
        return resume_key(p, out_stop);
    store_iterator_seek(p->it, sweep->at.size > 0 ? sweep->at : slice_make(&first, 1));
    return HF_OK;
}

/* *out_end: it is through all of them. */
static int walk_versions(struct pass *p, bool *out_end)
{
    bool stop;
    int rc = begin_walk(p, &stop);
    *out_end = false;
    while (rc == HF_OK && !stop && store_iterator_valid(p->it)) {
        struct slice record = store_iterator_key(p->it);
        struct vkey key;
        if (record.data[0] != VKEY_DATA)
            break;
        if (!vkey_decode(record, &key))
            return HF_E_CORRUPT;
        bool same = p->prefix.size > 0 && slice_equal(key.prefix, buf_slice(&p->prefix));
        stop = !may_go_on(p, same, record);
        if (stop)
            break;
        if (!same) {
            end_key(p);
            begin_key(p, key.prefix);
        }
        rc = one_version(p, &key, record);
    }
    if (rc == HF_OK)
        rc = store_iterator_status(p->it);
    *out_end = rc == HF_OK && !stop;
    if (!stop)
        end_key(p);
    return rc;
}

/* ---- markers ---- */

/* Is it of the prefix of which the record before was removed? */
static bool same_dropped(const struct applying *a, const struct vkey *key, struct slice prefix)
{
    return a->dropped != NULL && a->dropped->space == key->space && slice_equal(a->dropped->prefix, prefix);
}

/* Of a prefix the newest comes first. `stop`: it is left to the next entry. */
static int one_marker(struct pass *p, struct slice record, bool stop)
{
    struct applying *a = p->a;
    struct vkey key;
    struct slice prefix;
    if (!vkey_decode(record, &key) || !vkey_user(key.prefix, &a->fsm->turn, &prefix))
        return HF_E_CORRUPT;
    bool same = same_dropped(a, &key, prefix);
    if (stop && same) /* memory is what a machine that is opened now would load */
        a->dropped->left = key.version;
    if (stop || key.version.t.t >= p->w.t)
        return HF_OK;
    if (!same) {
        struct apply_dropped *d = arena_alloc(&a->fsm->turn, sizeof *d);
        *d = (struct apply_dropped){.next = a->dropped, .space = key.space, .prefix = prefix, .version = key.version};
        a->dropped = d;
    }
    remove_record(p, record, 0);
    a->info.collected.markers++;
    return HF_OK;
}

static int walk_markers(struct pass *p, bool *out_end)
{
    static const uint8_t first = VKEY_MARKER;
    struct applying *a = p->a;
    *out_end = true;
    if (a->sweep.late && !planted_bug("collect.late_marker"))
        return HF_OK; /* the next pass takes them */
    store_iterator_seek(p->it, a->sweep.at.size > 0 ? a->sweep.at : slice_make(&first, 1));
    for (; store_iterator_valid(p->it); store_iterator_next(p->it)) {
        struct slice record = store_iterator_key(p->it);
        if (record.data[0] != VKEY_MARKER)
            break;
        bool stop = used_up(p);
        int rc = one_marker(p, record, stop);
        if (rc != HF_OK)
            return rc;
        if (stop) {
            stop_at(p, record, false);
            *out_end = false;
            return HF_OK;
        }
        spend(p);
    }
    return store_iterator_status(p->it);
}

/* ---- the entry ---- */

static void end_stage(struct applying *a)
{
    struct fsm_collected *c = &a->info.collected;
    bool done = a->sweep.markers;
    a->sweep = (struct sweep){.markers = !done, .late = !done && a->sweep.late};
    if (!done)
        return;
    c->swept = c->pass;
    c->pass = (struct hlc){0};
    c->passes++;
}

static int step(struct applying *a, const Hf__Entry__CollectEntry *e)
{
    struct pass p = {.a = a, .w = a->info.collected.pass, .steps = e->steps};
    bool end = false;
    p.bytes = e->bytes != 0 ? e->bytes : UINT64_MAX;
    p.it = store_iterator_whole(a->fsm->store); /* what is looked at is not kept in the cache: most of it is cold */
    int rc = a->sweep.markers ? walk_markers(&p, &end) : walk_versions(&p, &end);
    store_iterator_free(&p.it);
    buf_deinit(&p.prefix);
    buf_deinit(&p.dead);
    if (rc == HF_OK && end)
        end_stage(a);
    return rc;
}

int apply_collect(struct applying *a, const Hf__Entry__CollectEntry *e)
{
    struct fsm_collected *c = &a->info.collected;
    int rc = HF_OK;
    c->below = hlc_max(c->below, (struct hlc){e->below});
    if (e->steps > 0 && c->pass.t == 0) {
        c->pass = c->below;
        c->due = (struct hlc){0};
        a->sweep = (struct sweep){.markers = planted_bug("collect.markers_first")};
    }
    if (e->steps > 0 && c->pass.t != 0)
        rc = step(a, e);
    if (rc == HF_OK)
        put_record(a);
    return rc;
}

void apply_collect_marker(struct applying *a, struct version version)
{
    if (a->sweep.late || version.t.t >= a->info.collected.pass.t)
        return;
    a->sweep.late = true;
    put_record(a);
}

void apply_collect_commit(struct applying *a)
{
    struct fsm *fsm = a->fsm;
    for (const struct apply_dropped *d = a->dropped; d != NULL; d = d->next)
        markers_forget(&fsm->markers, d->space, d->prefix, d->version, d->left);
    if (a->sweep.at.data != fsm->sweep.at.data) { /* else it is borrowed from there */
        set(&fsm->sweep_at, a->sweep.at);
        a->sweep.at = buf_slice(&fsm->sweep_at);
    }
    fsm->sweep = a->sweep;
}
