/* model.c: see model.h. */
#include "tests/unit/shard/fsm/model_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "proto/pack.h"

struct model *model_new(bool catalog)
{
    struct model *model = calloc(1, sizeof *model);
    must(model != NULL);
    model->catalog = catalog;
    return model;
}

void model_free(struct model **model)
{
    arena_deinit(&(*model)->arena);
    free(*model);
    *model = NULL;
}

/* The value a reader sees; NULL: none. The first row that speaks of the key decides. */
static const struct row *seen(const struct model *model, uint8_t space, struct slice key, struct hlc at, struct hlc now)
{
    for (const struct row *row = model->rows; row != NULL; row = row->next) {
        if (row->space != space || (at.t != 0 && row->version.t.t >= at.t))
            continue;
        if (row->prefix && slice_has_prefix(key, row->key))
            return NULL;
        if (!row->prefix && slice_equal(row->key, key))
            return row->deleted || (row->expiry != 0 && row->expiry <= now.t) ? NULL : row;
    }
    return NULL;
}

struct row *model_add(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    struct row *row = arena_zalloc(&model->arena, sizeof *row);
    row->next = model->rows;
    row->key = arena_copy(&model->arena, pack_slice(c->key));
    row->space = (uint8_t)c->space;
    row->version = version;
    model->rows = row;
    return row;
}

static int execute(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    bool user = c->space == HF__ENTRY__SPACE__USER;
    if (c->op == HF__ENTRY__OP__TXN_WHOLE)
        return model_whole(model, c->txn, version);
    if ((user && c->key.len > 0) || c->op == HF__ENTRY__OP__DELETE_PREFIX)
        if (user && model_locked(model, pack_slice(c->key), c->op == HF__ENTRY__OP__DELETE_PREFIX, NULL, 0))
            return HF_E_KEY_LOCKED;
    if (c->op == HF__ENTRY__OP__DELETE_PREFIX) {
        if (!user && c->key.len == 0)
            return HF_E_INVALID;
        if (!user && !model->catalog)
            return HF_E_WRONG_SHARD;
        model_add(model, c, version)->prefix = true;
        return HF_OK;
    }
    if (c->key.len == 0)
        return HF_E_INVALID;
    if (!user && !model->catalog)
        return HF_E_WRONG_SHARD;
    if (c->op == HF__ENTRY__OP__CAS) {
        const struct row *row = seen(model, (uint8_t)c->space, pack_slice(c->key), (struct hlc){0}, version.t);
        bool holds = row != NULL && slice_equal(row->value, pack_slice(c->expected));
        if (c->has_expected ? !holds : row != NULL)
            return HF_E_COMPARE_FAILED;
    }
    struct row *row = model_add(model, c, version);
    row->value = arena_copy(&model->arena, pack_slice(c->value));
    row->deleted = c->op == HF__ENTRY__OP__DELETE || (c->op == HF__ENTRY__OP__CAS && c->becomes_absent);
    if (c->op == HF__ENTRY__OP__PUT && c->ttl_ms > 0)
        row->expiry = version.t.t + (c->ttl_ms << 16);
    return HF_OK;
}

/* A step that is as long as need be: the first of a pass removes every version below the watermark but what is seen there. What
 * the second one removes nobody can tell. */
static void collect(struct model *model, const Hf__Entry__CollectEntry *e)
{
    must(e->steps == UINT32_MAX);
    model->below = e->below > model->below ? e->below : model->below;
    model->in_markers = !model->in_markers;
    if (!model->in_markers)
        return;
    const struct hlc w = {model->below};
    for (struct row *row = model->rows; row != NULL; row = row->next)
        row->gone = !row->prefix && row->version.t.t < w.t && seen(model, row->space, row->key, w, w) != row;
    for (struct row **at = &model->rows; *at != NULL;) {
        if ((*at)->gone)
            *at = (*at)->next;
        else
            at = &(*at)->next;
    }
}

static void expire(struct model *model, uint64_t now)
{
    for (struct client **at = &model->clients; *at != NULL;) {
        if ((now >> 16) > ((*at)->last_used >> 16) + 3600000)
            *at = (*at)->next;
        else
            at = &(*at)->next;
    }
}

/* Only this client is looked at for expiry, as the entry names only this one. */
struct client *model_client(struct model *model, uint64_t id, uint64_t now)
{
    for (struct client **at = &model->clients; *at != NULL; at = &(*at)->next) {
        struct client *client = *at;
        if (client->id != id)
            continue;
        if ((now >> 16) > (client->last_used >> 16) + 3600000) {
            *at = client->next;
            return NULL;
        }
        if (now > client->last_used)
            client->last_used = now;
        return client;
    }
    return NULL;
}

struct outcome *model_outcome(struct client *client, uint64_t seq)
{
    struct outcome *o = client->outcomes;
    while (o != NULL && o->seq != seq)
        o = o->next;
    return o;
}

void model_record(struct model *model, struct client *client, uint64_t seq, int code, struct version version)
{
    struct outcome *o = arena_zalloc(&model->arena, sizeof *o);
    *o = (struct outcome){.next = client->outcomes, .seq = seq, .code = code, .version = version};
    client->outcomes = o;
}

static struct fsm_result run(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    struct fsm_result r = {0};
    struct client *client = NULL;
    if (c->session != 0) {
        client = model_client(model, c->session, version.t.t);
        if (client == NULL)
            return (struct fsm_result){.code = HF_E_SESSION_UNKNOWN};
        if (c->done_below > client->done_below)
            client->done_below = c->done_below;
        if (c->seq < client->done_below || c->seq >= client->done_below + LIMIT_SESSION_WINDOW)
            return (struct fsm_result){.code = HF_E_SESSION_WINDOW};
        struct outcome *o = model_outcome(client, c->seq);
        if (o != NULL)
            return (struct fsm_result){.code = o->code, .version = o->version};
        Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
        id.home = MODEL_GROUP;
        id.session = c->session;
        id.seq = c->seq;
        const struct record *prepared = *model_txn(model, &id);
        if (prepared != NULL && !prepared->committed)
            return (struct fsm_result){.code = HF_E_INVALID};
    }
    r.code = execute(model, c, version);
    if (r.code == HF_OK)
        r.version = version;
    if (client != NULL && r.code != HF_E_WRONG_SHARD && r.code != HF_E_KEY_LOCKED && r.code != HF_E_TOO_OLD)
        model_record(model, client, c->seq, r.code, r.version);
    return r;
}

static struct fsm_result session_entry(struct model *model, uint64_t index, const Hf__Entry__SessionEntry *e)
{
    struct fsm_result r = {0};
    if (e->fence_session == 0) {
        struct client *client = arena_zalloc(&model->arena, sizeof *client);
        *client = (struct client){.next = model->clients, .id = index, .last_used = e->timestamp};
        model->clients = client;
        r.session = index;
        return r;
    }
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    id.home = MODEL_GROUP;
    id.session = e->fence_session;
    id.seq = e->fence_seq;
    struct record **at = model_txn(model, &id);
    struct client *client = model_client(model, e->fence_session, e->timestamp);
    if (*at != NULL && (*at)->committed)
        return (struct fsm_result){.outcome_version = {.t = {(*at)->commit}}};
    if (*at != NULL)
        *at = (*at)->next;
    if (client == NULL)
        r.code = HF_E_SESSION_UNKNOWN;
    else if (e->fence_seq < client->done_below || e->fence_seq >= client->done_below + LIMIT_SESSION_WINDOW)
        r.code = HF_E_SESSION_WINDOW;
    if (r.code != HF_OK)
        return r;
    if (model_outcome(client, e->fence_seq) == NULL)
        model_record(model, client, e->fence_seq, HF_E_FENCED, (struct version){0});
    r.outcome = model_outcome(client, e->fence_seq)->code;
    r.outcome_version = model_outcome(client, e->fence_seq)->version;
    return r;
}

static void report(struct buf *results, const struct log_entry *entry, uint32_t position, struct fsm_result r)
{
    struct machine m = {.results = *results};
    machine_report(&m, entry->index, entry->term, position, &r);
    *results = m.results;
}

void model_apply(struct model *model, const struct log_entry *entry, struct buf *results)
{
    struct arena arena = {0};
    struct slice body = {0};
    if (entry->kind == LOG_COMMAND)
        body = slice_make(entry->data.data + 1, entry->data.size - 1);
    if (entry->kind != LOG_COMMAND) {
        report(results, entry, 0, (struct fsm_result){0});
    } else if (entry->data.data[0] == 0x02) {
        Hf__Entry__LeaseEntry *lease = pack_unpack(&hf__entry__lease_entry__descriptor, body, &arena);
        expire(model, lease->timestamp);
        report(results, entry, 0, (struct fsm_result){0});
    } else if (entry->data.data[0] == FSM_OPCODE_CHECK) {
        report(results, entry, 0, (struct fsm_result){0});
    } else if (entry->data.data[0] == FSM_OPCODE_COLLECT) {
        collect(model, pack_unpack(&hf__entry__collect_entry__descriptor, body, &arena));
        report(results, entry, 0, (struct fsm_result){0});
    } else if (entry->data.data[0] == 0x13) {
        report(results, entry, 0,
               session_entry(model, entry->index, pack_unpack(&hf__entry__session_entry__descriptor, body, &arena)));
    } else {
        Hf__Entry__CommandBatch *batch = pack_unpack(&hf__entry__command_batch__descriptor, body, &arena);
        struct version version = {{batch->timestamp}, batch->sequence};
        for (size_t i = 0; i < batch->n_commands; i++) {
            const Hf__Entry__Command *c = batch->commands[i];
            report(results, entry, (uint32_t)i,
                   c->txn != NULL && c->op != HF__ENTRY__OP__TXN_WHOLE ? model_run_txn(model, c, version)
                                                                       : run(model, c, version));
            version.seq += c->op == HF__ENTRY__OP__TXN_WHOLE && c->txn->n_writes > 1 ? c->txn->n_writes : 1;
        }
    }
    arena_deinit(&arena);
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(((const struct fsm_item *)a)->key, ((const struct fsm_item *)b)->key);
}

size_t model_scan(const struct model *model, uint8_t space, struct hlc at, struct hlc now, struct arena *arena,
                  struct fsm_item **out)
{
    size_t count = 0, cap = 4096;
    struct fsm_item *items = arena_alloc(arena, cap * sizeof *items);
    for (const struct row *row = model->rows; row != NULL; row = row->next) {
        size_t i = 0;
        while (i < count && !slice_equal(items[i].key, row->key))
            i++;
        if (i < count || row->prefix || row->space != space)
            continue;
        const struct row *found = seen(model, space, row->key, at, now);
        if (found == NULL)
            continue;
        must(count < cap);
        items[count++] = (struct fsm_item){.key = found->key, .value = found->value, .version = found->version};
    }
    qsort(items, count, sizeof *items, by_key);
    *out = items;
    return count;
}

size_t model_sessions(const struct model *model)
{
    size_t count = 0;
    for (const struct client *client = model->clients; client != NULL; client = client->next)
        count++;
    return count;
}

static bool same_item(const struct fsm_item *a, const struct fsm_item *b)
{
    return slice_equal(a->key, b->key) && slice_equal(a->value, b->value) &&
           version_compare(a->version, b->version) == 0;
}

/* All pages of a scan, joined; what the page bounds are makes no difference. Or as far as nothing is locked. */
static bool pages_agree(const struct model *model, const struct fsm_item *items, size_t count, struct fsm *fsm,
                        struct fsm_scan scan, struct arena *arena)
{
    size_t got = 0;
    struct fsm_page page = {.more = true};
    while (page.more) {
        int rc = fsm_scan(fsm, &scan, arena, &page);
        if (scan.at.t != 0 && scan.at.t < model->below)
            return rc == HF_E_TOO_OLD;
        bool user = scan.space == FSM_USER;
        if (rc == HF_E_KEY_LOCKED)
            return user && model_range_locked(model, scan.start, scan.end, scan.at.t);
        struct slice from = scan.reverse && page.more ? page.next : scan.start,
                     to = !scan.reverse && page.more ? page.next : scan.end;
        if (rc != HF_OK || got + page.count > count || (user && model_range_locked(model, from, to, scan.at.t)))
            return false;
        for (size_t i = 0; i < page.count; i++, got++)
            if (!same_item(&page.items[i], &items[scan.reverse ? count - 1 - got : got]))
                return false;
        if (scan.reverse)
            scan.end = page.next;
        else
            scan.start = page.next;
    }
    return got == count;
}

bool model_agrees(const struct model *model, struct fsm *fsm, struct random *random, struct hlc now)
{
    bool same = true;
    for (int round = 0; round < 4 && same; round++) {
        struct arena arena = {0};
        struct fsm_scan scan = {.space = random_below(random, 4) == 0 && model->catalog ? FSM_CATALOG : FSM_USER,
                                .now = now,
                                .items_max = 1 + (size_t)random_below(random, 30),
                                .bytes_max = 1 + (size_t)random_below(random, 2000),
                                .steps_max = 1 + (size_t)random_below(random, 200),
                                .reverse = round % 2 == 1};
        if (round >= 2) /* in the past: the last quarter of an hour or some milliseconds */
            scan.at.t =
                now.t - (random_below(random, 2) == 0 ? random_below(random, 900000) : random_below(random, 40)) *
                            ((uint64_t)1 << 16);
        struct fsm_item *items;
        size_t count = model_scan(model, (uint8_t)scan.space, scan.at, now, &arena, &items);
        same = pages_agree(model, items, count, fsm, scan, &arena);
        for (size_t i = 0; i < count && same; i++) {
            struct fsm_value v;
            int rc = fsm_get(fsm, scan.space, items[i].key, scan.at, now, &arena, &v);
            if (scan.at.t != 0 && scan.at.t < model->below)
                same = rc == HF_E_TOO_OLD;
            else if (scan.space == FSM_USER && model_locked(model, items[i].key, false, NULL, scan.at.t))
                same = rc == HF_E_KEY_LOCKED;
            else
                same = rc == HF_OK && slice_equal(v.value, items[i].value) &&
                       version_compare(v.version, items[i].version) == 0;
        }
        if (!same)
            fprintf(stderr, "differs: at=%llu now=%llu space=%d reverse=%d\n", (unsigned long long)scan.at.t,
                    (unsigned long long)now.t, (int)scan.space, scan.reverse);
        arena_deinit(&arena);
    }
    return same && model_sessions(model) == fsm_info(fsm)->sessions;
}
