/* model.c: see model.h. */
#include "tests/unit/shard/fsm/model.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "proto/pack.h"

struct row { /* a version, or with `prefix` a prefix delete */
    struct row *next;
    struct slice key, value;
    struct version version;
    uint64_t expiry;
    uint8_t space;
    bool prefix, deleted;
};

struct outcome {
    struct outcome *next;
    uint64_t seq;
    int code;
    struct version version;
};

struct client {
    struct client *next;
    uint64_t id, last_used, done_below;
    struct outcome *outcomes;
};

struct record { /* of a transaction */
    struct record *next;
    Hf__Entry__Txn *txn;
    bool committed;
    uint64_t min_commit, expires, commit;
};

struct model {
    struct arena arena;
    struct record *records;
    struct row *rows; /* newest first */
    struct client *clients;
    bool catalog;
};

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

static struct row *add(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    struct row *row = arena_zalloc(&model->arena, sizeof *row);
    row->next = model->rows;
    row->key = arena_copy(&model->arena, pack_slice(c->key));
    row->space = (uint8_t)c->space;
    row->version = version;
    model->rows = row;
    return row;
}

/* ---- transactions ---- */

#define GROUP 3u

static bool overlap(const Hf__Entry__TxnWrite *w, struct slice key, bool prefix)
{
    bool deletes = w->op == HF__ENTRY__OP__DELETE_PREFIX;
    struct slice own = pack_slice(w->key);
    return (prefix && slice_has_prefix(own, key)) || (deletes && slice_has_prefix(key, own)) || slice_equal(own, key);
}

static bool same_id(const Hf__Entry__TxnId *a, const Hf__Entry__TxnId *b)
{
    return a->home == b->home && a->session == b->session && a->seq == b->seq;
}

/* Is a key, or a prefix, locked by another than `own`, with a min_commit below `below` (0: any)? */
static bool locked(const struct model *model, struct slice key, bool prefix, const Hf__Entry__TxnId *own,
                   uint64_t below)
{
    for (const struct record *r = model->records; r != NULL; r = r->next)
        for (size_t i = 0; !r->committed && i < r->txn->n_writes; i++)
            if ((own == NULL || !same_id(own, r->txn->id)) && (below == 0 || r->min_commit < below) &&
                overlap(r->txn->writes[i], key, prefix))
                return true;
    return false;
}

static bool within(struct slice key, struct slice start, struct slice end)
{
    return slice_compare(key, start) >= 0 && (end.size == 0 || slice_compare(key, end) < 0);
}

/* A prefix reaches into a range if it begins in it, or the range begins under it. */
static bool range_locked(const struct model *model, struct slice start, struct slice end, uint64_t below)
{
    if (end.size > 0 && slice_compare(start, end) >= 0)
        return false;
    for (const struct record *r = model->records; r != NULL; r = r->next)
        for (size_t i = 0; !r->committed && i < r->txn->n_writes; i++) {
            const Hf__Entry__TxnWrite *w = r->txn->writes[i];
            bool over = w->op == HF__ENTRY__OP__DELETE_PREFIX && slice_has_prefix(start, pack_slice(w->key));
            if ((below == 0 || r->min_commit < below) && (over || within(pack_slice(w->key), start, end)))
                return true;
        }
    return false;
}

/* Rows are newest first. `at` 0: what expired does not matter. */
static bool key_changed(const struct model *model, struct slice key, uint64_t start, uint64_t at)
{
    const struct row *found = NULL, *over = NULL;
    bool covered = false; /* `over` is the newer one */
    for (const struct row *row = model->rows; row != NULL && found == NULL; row = row->next) {
        if (row->space != HF__ENTRY__SPACE__USER)
            continue;
        if (!row->prefix && slice_equal(row->key, key))
            found = row;
        else if (row->prefix && over == NULL && slice_has_prefix(key, row->key))
            over = row;
    }
    if (found == NULL)
        return false;
    covered = over != NULL;
    if (found->version.t.t >= start)
        return true;
    if (found->deleted)
        return false;
    if (covered)
        return over->version.t.t >= start;
    return at != 0 && found->expiry > start && found->expiry <= at;
}

static bool range_changed(const struct model *model, struct slice start, struct slice end, uint64_t since, uint64_t at)
{
    for (const struct row *row = model->rows; row != NULL; row = row->next)
        if (!row->prefix && row->space == HF__ENTRY__SPACE__USER && within(row->key, start, end) &&
            key_changed(model, row->key, since, at))
            return true;
    return false;
}

static int check_txn(const struct model *model, const Hf__Entry__Txn *t, const Hf__Entry__TxnId *own, uint64_t at)
{
    for (size_t i = 0; i < t->n_writes; i++)
        if (t->writes[i]->key.len == 0 && t->writes[i]->op != HF__ENTRY__OP__DELETE_PREFIX)
            return HF_E_INVALID;
    for (size_t i = 0; i < t->n_writes; i++)
        if (t->writes[i]->op != HF__ENTRY__OP__DELETE_PREFIX &&
            key_changed(model, pack_slice(t->writes[i]->key), t->start, 0))
            return HF_E_CONFLICT;
    for (size_t i = 0; i < t->n_reads; i++) {
        struct slice key = pack_slice(t->reads[i]->key), end = pack_slice(t->reads[i]->end);
        if (t->reads[i]->range ? range_changed(model, key, end, t->start, at) : key_changed(model, key, t->start, at))
            return HF_E_CONFLICT;
    }
    for (size_t i = 0; i < t->n_writes; i++)
        if (locked(model, pack_slice(t->writes[i]->key), t->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX, own, 0))
            return HF_E_KEY_LOCKED;
    for (size_t i = 0; i < t->n_reads; i++) {
        struct slice key = pack_slice(t->reads[i]->key), end = pack_slice(t->reads[i]->end);
        if (t->reads[i]->range ? range_locked(model, key, end, 0) : locked(model, key, false, own, 0))
            return HF_E_KEY_LOCKED;
    }
    return HF_OK;
}

static void write_txn(struct model *model, const Hf__Entry__Txn *t, struct version version)
{
    for (size_t i = 0; i < t->n_writes; i++, version.seq++) {
        const Hf__Entry__TxnWrite *w = t->writes[i];
        Hf__Entry__Command c = HF__ENTRY__COMMAND__INIT;
        c.key = w->key;
        struct row *row = add(model, &c, version);
        row->prefix = w->op == HF__ENTRY__OP__DELETE_PREFIX;
        row->deleted = w->op == HF__ENTRY__OP__DELETE;
        row->value = arena_copy(&model->arena, pack_slice(w->value));
        row->expiry = w->ttl_ms > 0 ? version.t.t + (w->ttl_ms << 16) : 0;
    }
}

static struct record **record_of(struct model *model, const Hf__Entry__TxnId *id)
{
    struct record **at = &model->records;
    while (*at != NULL && !same_id((*at)->txn->id, id))
        at = &(*at)->next;
    return at;
}

static int execute(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    bool user = c->space == HF__ENTRY__SPACE__USER;
    if (c->op == HF__ENTRY__OP__TXN_WHOLE) {
        int code = check_txn(model, c->txn, NULL, version.t.t);
        if (code == HF_OK)
            write_txn(model, c->txn, version);
        return code;
    }
    if ((user && c->key.len > 0) || c->op == HF__ENTRY__OP__DELETE_PREFIX)
        if (user && locked(model, pack_slice(c->key), c->op == HF__ENTRY__OP__DELETE_PREFIX, NULL, 0))
            return HF_E_KEY_LOCKED;
    if (c->op == HF__ENTRY__OP__DELETE_PREFIX) {
        if (!user && c->key.len == 0)
            return HF_E_INVALID;
        if (!user && !model->catalog)
            return HF_E_WRONG_SHARD;
        add(model, c, version)->prefix = true;
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
    struct row *row = add(model, c, version);
    row->value = arena_copy(&model->arena, pack_slice(c->value));
    row->deleted = c->op == HF__ENTRY__OP__DELETE || (c->op == HF__ENTRY__OP__CAS && c->becomes_absent);
    if (c->op == HF__ENTRY__OP__PUT && c->ttl_ms > 0)
        row->expiry = version.t.t + (c->ttl_ms << 16);
    return HF_OK;
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
static struct client *client_of(struct model *model, uint64_t id, uint64_t now)
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

static struct outcome *outcome_of(struct client *client, uint64_t seq)
{
    struct outcome *o = client->outcomes;
    while (o != NULL && o->seq != seq)
        o = o->next;
    return o;
}

static void record(struct model *model, struct client *client, uint64_t seq, int code, struct version version)
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
        client = client_of(model, c->session, version.t.t);
        if (client == NULL)
            return (struct fsm_result){.code = HF_E_SESSION_UNKNOWN};
        if (c->done_below > client->done_below)
            client->done_below = c->done_below;
        if (c->seq < client->done_below || c->seq >= client->done_below + LIMIT_SESSION_WINDOW)
            return (struct fsm_result){.code = HF_E_SESSION_WINDOW};
        struct outcome *o = outcome_of(client, c->seq);
        if (o != NULL)
            return (struct fsm_result){.code = o->code, .version = o->version};
        Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
        id.home = GROUP;
        id.session = c->session;
        id.seq = c->seq;
        const struct record *prepared = *record_of(model, &id);
        if (prepared != NULL && !prepared->committed)
            return (struct fsm_result){.code = HF_E_INVALID};
    }
    r.code = execute(model, c, version);
    if (r.code == HF_OK)
        r.version = version;
    if (client != NULL && r.code != HF_E_WRONG_SHARD && r.code != HF_E_KEY_LOCKED)
        record(model, client, c->seq, r.code, r.version);
    return r;
}

/* What home's session says of a number; *out_open: it has not run and may. */
static struct fsm_result home_says(struct model *model, const Hf__Entry__TxnId *id, uint64_t now, uint64_t done_below,
                                   struct client **out_open)
{
    struct client *client = client_of(model, id->session, now);
    *out_open = NULL;
    if (client == NULL)
        return (struct fsm_result){.code = HF_E_SESSION_UNKNOWN, .state = FSM_TXN_ROLLED_BACK};
    if (done_below > client->done_below)
        client->done_below = done_below;
    if (id->seq < client->done_below)
        return (struct fsm_result){.code = HF_E_SESSION_WINDOW, .state = FSM_TXN_ROLLED_BACK};
    if (id->seq >= client->done_below + LIMIT_SESSION_WINDOW)
        return (struct fsm_result){.code = HF_E_SESSION_WINDOW};
    const struct outcome *o = outcome_of(client, id->seq);
    if (o == NULL) {
        *out_open = client;
        return (struct fsm_result){.state = FSM_TXN_ROLLED_BACK};
    }
    if (o->code != HF_OK)
        return (struct fsm_result){.code = o->code, .version = o->version, .state = FSM_TXN_ROLLED_BACK};
    return (struct fsm_result){.version = o->version, .state = FSM_TXN_COMMITTED, .commit = o->version.t};
}

static struct fsm_result record_says(const struct record *r)
{
    if (!r->committed)
        return (struct fsm_result){.state = FSM_TXN_PREPARED, .min_commit = {r->min_commit}};
    return (struct fsm_result){.version = {.t = {r->commit}},
                               .state = FSM_TXN_COMMITTED,
                               .min_commit = {r->min_commit},
                               .commit = {r->commit}};
}

static struct fsm_result prepare(struct model *model, const Hf__Entry__Command *c, uint64_t now)
{
    const Hf__Entry__Txn *t = c->txn;
    const struct record *there = *record_of(model, t->id);
    struct client *open = NULL;
    bool home = t->id->home == GROUP;
    if (there != NULL)
        return record_says(there);
    if (home) {
        struct fsm_result r = home_says(model, t->id, now, c->done_below, &open);
        if (r.code == HF_E_SESSION_UNKNOWN || r.code == HF_E_SESSION_WINDOW)
            r.state = FSM_TXN_NONE;
        if (open == NULL)
            return r;
    }
    struct fsm_result r = {.code = t->n_writes == 0 ? HF_E_INVALID : check_txn(model, t, t->id, 0)};
    if (r.code == HF_E_CONFLICT && home) {
        record(model, open, t->id->seq, HF_E_CONFLICT, (struct version){0});
        r.state = FSM_TXN_ROLLED_BACK;
    }
    if (r.code != HF_OK)
        return r;
    struct buf packed = {0};
    struct record *made = arena_zalloc(&model->arena, sizeof *made);
    pack_append(&t->base, &packed);
    made->txn = pack_unpack(&hf__entry__txn__descriptor, arena_copy(&model->arena, buf_slice(&packed)), &model->arena);
    buf_deinit(&packed);
    made->min_commit = now;
    made->expires = now + (t->ttl_ms << 16);
    made->next = model->records;
    model->records = made;
    return record_says(made);
}

/* The session's number of a transaction that was prepared is decided now, if the session still has it. */
static void decide(struct model *model, const Hf__Entry__TxnId *id, uint64_t now, int code, struct version version)
{
    struct client *open;
    (void)home_says(model, id, now, 0, &open);
    if (open != NULL)
        record(model, open, id->seq, code, version);
}

static struct fsm_result undecided(struct model *model, const Hf__Entry__TxnId *id, uint64_t now)
{
    struct client *open;
    struct fsm_result r = home_says(model, id, now, 0, &open);
    if (open != NULL)
        record(model, open, id->seq, HF_E_CONFLICT, (struct version){0});
    if (r.code != HF_E_SESSION_UNKNOWN && r.code != HF_E_SESSION_WINDOW)
        r.code = HF_OK;
    return r;
}

static struct fsm_result commit(struct model *model, const Hf__Entry__Txn *t, uint64_t now)
{
    struct record **at = record_of(model, t->id), *found = *at;
    bool home = t->id->home == GROUP;
    struct version first = {.t = {t->commit}};
    if (found == NULL && !home)
        return (struct fsm_result){.code = HF_E_ABSENT};
    if (found == NULL) {
        struct fsm_result r = undecided(model, t->id, now);
        if (r.code == HF_OK && r.state == FSM_TXN_ROLLED_BACK)
            r.code = HF_E_FENCED;
        return r;
    }
    struct fsm_result done = {.state = FSM_TXN_COMMITTED, .commit = {found->commit}, .version = {.t = {found->commit}}};
    if (found->committed)
        return done;
    bool late = t->commit <= found->min_commit;
    if (late && home)
        return (struct fsm_result){.code = HF_E_INVALID, .state = FSM_TXN_PREPARED};
    done.commit = first.t;
    done.version = late ? (struct version){0} : first;
    if (!late)
        write_txn(model, found->txn, first);
    if (home)
        decide(model, t->id, now, HF_OK, first);
    found->committed = home;
    found->commit = t->commit;
    if (!home || found->txn->n_others == 0)
        *at = found->next;
    return done;
}

static struct fsm_result rollback(struct model *model, const Hf__Entry__Txn *t, uint64_t now)
{
    struct record **at = record_of(model, t->id), *found = *at;
    bool home = t->id->home == GROUP;
    if (found == NULL)
        return home ? undecided(model, t->id, now) : (struct fsm_result){.state = FSM_TXN_ROLLED_BACK};
    if (found->committed)
        return (struct fsm_result){.state = FSM_TXN_COMMITTED, .commit = {found->commit}};
    if (home && !t->force && now < found->expires)
        return record_says(found);
    *at = found->next;
    if (home)
        decide(model, t->id, now, HF_E_CONFLICT, (struct version){0});
    return (struct fsm_result){.state = FSM_TXN_ROLLED_BACK};
}

static struct fsm_result forget(struct model *model, const Hf__Entry__Txn *t)
{
    struct record **at = record_of(model, t->id);
    if (*at != NULL && !(*at)->committed)
        return (struct fsm_result){.code = HF_E_INVALID};
    if (*at != NULL)
        *at = (*at)->next;
    return (struct fsm_result){0};
}

static struct fsm_result run_any(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    switch ((int)c->op) {
    case HF__ENTRY__OP__TXN_PREPARE:
        return prepare(model, c, version.t.t);
    case HF__ENTRY__OP__TXN_COMMIT:
        return commit(model, c->txn, version.t.t);
    case HF__ENTRY__OP__TXN_ROLLBACK:
        return rollback(model, c->txn, version.t.t);
    case HF__ENTRY__OP__TXN_FORGET:
        return forget(model, c->txn);
    default:
        return run(model, c, version);
    }
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
    id.home = GROUP;
    id.session = e->fence_session;
    id.seq = e->fence_seq;
    struct record **at = record_of(model, &id);
    struct client *client = client_of(model, e->fence_session, e->timestamp);
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
    if (outcome_of(client, e->fence_seq) == NULL)
        record(model, client, e->fence_seq, HF_E_FENCED, (struct version){0});
    r.outcome = outcome_of(client, e->fence_seq)->code;
    r.outcome_version = outcome_of(client, e->fence_seq)->version;
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
    } else if (entry->data.data[0] == 0x13) {
        report(results, entry, 0,
               session_entry(model, entry->index, pack_unpack(&hf__entry__session_entry__descriptor, body, &arena)));
    } else {
        Hf__Entry__CommandBatch *batch = pack_unpack(&hf__entry__command_batch__descriptor, body, &arena);
        struct version version = {{batch->timestamp}, batch->sequence};
        for (size_t i = 0; i < batch->n_commands; i++) {
            const Hf__Entry__Command *c = batch->commands[i];
            report(results, entry, (uint32_t)i, run_any(model, c, version));
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
        bool user = scan.space == FSM_USER;
        if (rc == HF_E_KEY_LOCKED)
            return user && range_locked(model, scan.start, scan.end, scan.at.t);
        struct slice from = scan.reverse && page.more ? page.next : scan.start,
                     to = !scan.reverse && page.more ? page.next : scan.end;
        if (rc != HF_OK || got + page.count > count || (user && range_locked(model, from, to, scan.at.t)))
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
            if (scan.space == FSM_USER && locked(model, items[i].key, false, NULL, scan.at.t))
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
