/* model_txn.c: transactions of the model: records in a list, every question asked of all rows and all records. */
#include "common/base/limits.h"
#include "proto/pack.h"
#include "tests/unit/shard/fsm/model_internal.h"

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
bool model_locked(const struct model *model, struct slice key, bool prefix, const Hf__Entry__TxnId *own, uint64_t below)
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
bool model_range_locked(const struct model *model, struct slice start, struct slice end, uint64_t below)
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
    if (t->start < model->below)
        return HF_E_TOO_OLD;
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
        if (model_locked(model, pack_slice(t->writes[i]->key), t->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX, own,
                         0))
            return HF_E_KEY_LOCKED;
    for (size_t i = 0; i < t->n_reads; i++) {
        struct slice key = pack_slice(t->reads[i]->key), end = pack_slice(t->reads[i]->end);
        if (t->reads[i]->range ? model_range_locked(model, key, end, 0) : model_locked(model, key, false, own, 0))
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
        struct row *row = model_add(model, &c, version);
        row->prefix = w->op == HF__ENTRY__OP__DELETE_PREFIX;
        row->deleted = w->op == HF__ENTRY__OP__DELETE;
        row->value = arena_copy(&model->arena, pack_slice(w->value));
        row->expiry = w->ttl_ms > 0 ? version.t.t + (w->ttl_ms << 16) : 0;
    }
}

struct record **model_txn(struct model *model, const Hf__Entry__TxnId *id)
{
    struct record **at = &model->records;
    while (*at != NULL && !same_id((*at)->txn->id, id))
        at = &(*at)->next;
    return at;
}

int model_whole(struct model *model, const Hf__Entry__Txn *t, struct version version)
{
    int code = check_txn(model, t, NULL, version.t.t);
    if (code == HF_OK)
        write_txn(model, t, version);
    return code;
}

/* What home's session says of a number; *out_open: it has not run and may. */
static struct fsm_result home_says(struct model *model, const Hf__Entry__TxnId *id, uint64_t now, uint64_t done_below,
                                   struct client **out_open)
{
    struct client *client = model_client(model, id->session, now);
    *out_open = NULL;
    if (client == NULL)
        return (struct fsm_result){.code = HF_E_SESSION_UNKNOWN, .state = FSM_TXN_ROLLED_BACK};
    if (done_below > client->done_below)
        client->done_below = done_below;
    if (id->seq < client->done_below)
        return (struct fsm_result){.code = HF_E_SESSION_WINDOW, .state = FSM_TXN_ROLLED_BACK};
    if (id->seq >= client->done_below + LIMIT_SESSION_WINDOW)
        return (struct fsm_result){.code = HF_E_SESSION_WINDOW};
    const struct outcome *o = model_outcome(client, id->seq);
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
    const struct record *there = *model_txn(model, t->id);
    struct client *open = NULL;
    bool home = t->id->home == MODEL_GROUP;
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
        model_record(model, open, t->id->seq, HF_E_CONFLICT, (struct version){0});
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
        model_record(model, open, id->seq, code, version);
}

static struct fsm_result undecided(struct model *model, const Hf__Entry__TxnId *id, uint64_t now)
{
    struct client *open;
    struct fsm_result r = home_says(model, id, now, 0, &open);
    if (open != NULL)
        model_record(model, open, id->seq, HF_E_CONFLICT, (struct version){0});
    if (r.code != HF_E_SESSION_UNKNOWN && r.code != HF_E_SESSION_WINDOW)
        r.code = HF_OK;
    return r;
}

static struct fsm_result commit(struct model *model, const Hf__Entry__Txn *t, uint64_t now)
{
    struct record **at = model_txn(model, t->id), *found = *at;
    bool home = t->id->home == MODEL_GROUP;
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
    struct record **at = model_txn(model, t->id), *found = *at;
    bool home = t->id->home == MODEL_GROUP;
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
    struct record **at = model_txn(model, t->id);
    if (*at != NULL && !(*at)->committed)
        return (struct fsm_result){.code = HF_E_INVALID};
    if (*at != NULL)
        *at = (*at)->next;
    return (struct fsm_result){0};
}

struct fsm_result model_run_txn(struct model *model, const Hf__Entry__Command *c, struct version version)
{
    switch ((int)c->op) {
    case HF__ENTRY__OP__TXN_PREPARE:
        return prepare(model, c, version.t.t);
    case HF__ENTRY__OP__TXN_COMMIT:
        return commit(model, c->txn, version.t.t);
    case HF__ENTRY__OP__TXN_ROLLBACK:
        return rollback(model, c->txn, version.t.t);
    default:
        must(c->op == HF__ENTRY__OP__TXN_FORGET);
        return forget(model, c->txn);
    }
}
