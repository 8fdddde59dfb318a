/* changed.c: see changed.h. */
#include "shard/fsm/changed.h"

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"

#define STEPS_BEFORE_SEEK 8

struct since {
    struct hlc start, at;
};

/* The newest version of a key, and the newest marker over it. */
static bool newer(const struct version_found *found, struct version marker, const struct since *since,
                  struct version *out)
{
    if (found->version.t.t >= since->start.t) {
        *out = found->version;
        return true;
    }
    if (found->value.flags & VERSION_DELETE) /* dead whatever came later */
        return false;
    if (marker.t.t >= since->start.t) {
        *out = marker;
        return true;
    }
    struct hlc expiry = versions_expiry(&found->value);
    bool lived = version_compare(found->version, marker) > 0 && expiry.t > since->start.t;
    *out = found->version;
    return lived && since->at.t != 0 && expiry.t <= since->at.t;
}

/* As earlier entries and commands of the batch left it. */
static int newest(struct fsm *fsm, struct slice prefix, struct version_found *out)
{
    if (overlay_find(&fsm->overlay, prefix, out))
        return HF_OK;
    return fsm_newest(fsm, prefix, (struct hlc){0}, out);
}

int changed_key(struct fsm *fsm, struct slice key, struct hlc start, struct hlc at, struct arena *arena,
                struct fsm_conflict *out)
{
    struct version_found found;
    struct version version;
    const struct since since = {start, at};
    int rc = newest(fsm, vkey_prefix(arena, VKEY_DATA, FSM_USER, key), &found);
    if (rc == HF_E_NOT_FOUND)
        return HF_OK;
    if (rc != HF_OK || !newer(&found, markers_newest(&fsm->markers, FSM_USER, key), &since, &version))
        return rc;
    *out = (struct fsm_conflict){.key = key, .version = version};
    return HF_E_CONFLICT;
}

struct range {
    struct fsm *fsm;
    struct since since;
    struct arena *arena; /* of the answer */
    struct arena key;    /* of the key in hand */
    struct slice lower, upper;
    size_t *steps;
    bool conflict;
    struct fsm_conflict *out;
};

/* Every key of the range comes here once, in whatever order: so the bound is on the range, not on the way through it (I2). */
static int look_at(struct range *r, struct slice prefix, const struct version_found *found)
{
    struct slice user;
    struct version version;
    if (*r->steps == 0)
        return HF_E_LIMIT;
    --*r->steps;
    arena_reset(&r->key);
    if (!vkey_user(prefix, &r->key, &user))
        return HF_E_CORRUPT;
    if (r->conflict || !newer(found, markers_newest(&r->fsm->markers, FSM_USER, user), &r->since, &version))
        return HF_OK;
    r->conflict = true;
    *r->out = (struct fsm_conflict){.key = arena_copy(r->arena, user), .version = version};
    return HF_OK;
}

static bool in_range(const struct range *r, struct slice record)
{
    return slice_compare(record, r->lower) >= 0 && slice_compare(record, r->upper) < 0;
}

/* Of several versions that the batch wrote of a key, the newest only. */
static int look_at_overlay(struct range *r)
{
    int rc = HF_OK;
    for (size_t i = 0; rc == HF_OK && i < r->fsm->overlay.count; i++) {
        struct slice prefix;
        struct version_found found, last;
        overlay_at(&r->fsm->overlay, i, &prefix, &found);
        if (prefix.size < 2 || prefix.data[1] != FSM_USER || !in_range(r, prefix))
            continue;
        must(overlay_find(&r->fsm->overlay, prefix, &last));
        if (version_compare(found.version, last.version) == 0)
            rc = look_at(r, prefix, &found);
    }
    return rc;
}

/* The iterator goes to the next key's newest version. */
static void next_key(struct range *r, struct store_iterator *it, struct slice prefix)
{
    for (int i = 0; i < STEPS_BEFORE_SEEK; i++) {
        store_iterator_next(it);
        if (!store_iterator_valid(it) || !slice_has_prefix(store_iterator_key(it), prefix))
            return;
    }
    uint8_t *past = arena_alloc(&r->key, prefix.size); /* the terminator's last byte plus one */
    memcpy(past, prefix.data, prefix.size);
    past[prefix.size - 1]++;
    store_iterator_seek(it, slice_make(past, prefix.size));
}

static int look_at_store(struct range *r)
{
    struct store_iterator *it = fsm_walk_iterator(r->fsm);
    struct buf prefix = {0};
    int rc = HF_OK;
    store_iterator_seek(it, r->lower);
    while (rc == HF_OK && store_iterator_valid(it) && in_range(r, store_iterator_key(it))) {
        struct vkey key;
        struct version_found found = {0};
        if (!vkey_decode(store_iterator_key(it), &key) || !versions_decode(store_iterator_value(it), &found.value)) {
            rc = HF_E_CORRUPT;
            break;
        }
        found.version = key.version;
        buf_clear(&prefix);
        buf_append(&prefix, key.prefix.data, key.prefix.size);
        struct version_found written;
        if (!overlay_find(&r->fsm->overlay, buf_slice(&prefix), &written))
            rc = look_at(r, buf_slice(&prefix), &found);
        if (rc == HF_OK)
            next_key(r, it, buf_slice(&prefix));
    }
    if (rc == HF_OK)
        rc = store_iterator_status(it);
    buf_deinit(&prefix);
    return rc;
}

/* False: nothing of it is here. */
static bool set_bounds(struct range *r, struct slice start, struct slice end)
{
    const Hf__Catalog__Range *own = r->fsm->info.range;
    if (slice_compare(start, pack_slice(own->start)) < 0)
        start = pack_slice(own->start);
    if (end.size == 0 || (own->end.len > 0 && slice_compare(end, pack_slice(own->end)) > 0))
        end = pack_slice(own->end);
    if (end.size > 0 && slice_compare(start, end) >= 0)
        return false;
    const uint8_t past[2] = {VKEY_DATA, FSM_USER + 1};
    r->lower = vkey_prefix(r->arena, VKEY_DATA, FSM_USER, start);
    r->upper = end.size > 0 ? vkey_prefix(r->arena, VKEY_DATA, FSM_USER, end)
                            : arena_copy(r->arena, slice_make(past, sizeof past));
    return true;
}

int changed_range(struct fsm *fsm, struct slice start, struct slice end, struct hlc since, struct hlc at, size_t *steps,
                  struct arena *arena, struct fsm_conflict *out)
{
    struct range r = {.fsm = fsm, .since = {since, at}, .arena = arena, .steps = steps, .out = out};
    if (!set_bounds(&r, start, end))
        return HF_OK;
    int rc = look_at_overlay(&r);
    if (rc == HF_OK)
        rc = look_at_store(&r);
    arena_deinit(&r.key);
    return rc == HF_OK && r.conflict ? HF_E_CONFLICT : rc;
}
