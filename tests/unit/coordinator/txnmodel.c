/* txnmodel.c: see txnmodel.h. */
#include "tests/unit/coordinator/txnmodel.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/must.h"

#define NONE 1 /* no outcome: a positive number is no code */
#define STATE(name) HF__ENTRY__TXN_STATE__##name

void model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    for (uint32_t s = 1; s <= MODEL_SHARDS; s++)
        for (size_t n = 0; n <= MODEL_TXNS; n++)
            m->shards[s].outcome[n] = NONE;
}

static size_t key_of(ProtobufCBinaryData key)
{
    must(key.len == 2);
    return (size_t)(key.data[1] - '0');
}

static uint64_t newest(const struct model_shard *s, size_t key)
{
    uint64_t most = 0;
    for (size_t i = 0; i < s->counts[key]; i++)
        most = s->versions[key][i].t > most ? s->versions[key][i].t : most;
    return most;
}

static bool locked(const struct model_shard *s, size_t key, uint64_t but)
{
    for (uint64_t n = 1; n <= MODEL_TXNS; n++)
        if (n != but && s->records[n].state == STATE(PREPARED) && s->records[n].keys[key])
            return true;
    return false;
}

static void add(struct model_shard *s, size_t key, uint64_t t, uint64_t n)
{
    must(s->counts[key] < MODEL_LIST);
    s->versions[key][s->counts[key]++] = (struct model_version){t, n};
}

void model_put(struct model *m, uint32_t shard, size_t key, uint64_t stamp)
{
    struct model_shard *s = &m->shards[shard];
    s->clock = stamp > s->clock ? stamp : s->clock;
    if (!locked(s, key, 0))
        add(s, key, s->clock, 0);
}

static int conflict(const struct model_shard *s, const Hf__Entry__Txn *t, uint64_t n)
{
    for (size_t i = 0; i < t->n_writes; i++)
        if (newest(s, key_of(t->writes[i]->key)) >= t->start)
            return HF_E_CONFLICT;
    for (size_t i = 0; i < t->n_writes; i++)
        if (locked(s, key_of(t->writes[i]->key), n))
            return HF_E_KEY_LOCKED;
    return HF_OK;
}

/* What home's session table says; NONE: it may run. */
static int decided(struct model_shard *s, uint64_t n, struct model_reply *out)
{
    if (s->gone[n])
        return HF_E_SESSION_UNKNOWN;
    if (s->outcome[n] == HF_OK) {
        out->txn.state = STATE(COMMITTED);
        out->txn.commit = s->commit[n];
    } else if (s->outcome[n] != NONE) {
        out->txn.state = STATE(ROLLED_BACK);
    }
    return s->outcome[n];
}

static int prepare(struct model_shard *s, bool home, uint64_t n, const Hf__Entry__Txn *t, struct model_reply *out)
{
    struct model_record *r = &s->records[n];
    if (r->state == STATE(TXN_NONE)) {
        int rc = home ? decided(s, n, out) : NONE;
        if (rc != NONE)
            return rc;
        rc = conflict(s, t, n);
        if (rc == HF_E_CONFLICT && home)
            s->outcome[n] = rc;
        if (rc)
            return rc;
        *r = (struct model_record){.state = STATE(PREPARED), .min_commit = s->clock, .others = t->n_others > 0};
        for (size_t i = 0; i < t->n_writes; i++)
            r->keys[key_of(t->writes[i]->key)] = true;
    }
    out->txn.state = r->state;
    out->txn.min_commit = r->min_commit;
    out->txn.commit = r->commit;
    return HF_OK;
}

static int commit_there(struct model_shard *s, uint64_t n, uint64_t commit, struct model_reply *out)
{
    struct model_record *r = &s->records[n];
    if (r->state != STATE(PREPARED))
        return HF_E_ABSENT;
    for (size_t key = 0; key < MODEL_KEYS; key++)
        if (r->keys[key] && commit > r->min_commit)
            add(s, key, commit, n);
    *r = (struct model_record){0};
    out->txn.state = STATE(COMMITTED);
    out->txn.commit = commit;
    return HF_OK;
}

static int commit_home(struct model_shard *s, uint64_t n, uint64_t commit, struct model_reply *out)
{
    struct model_record *r = &s->records[n], before = *r;
    if (r->state == STATE(COMMITTED)) {
        out->txn.state = r->state;
        out->txn.commit = r->commit;
        return HF_OK;
    }
    if (r->state == STATE(TXN_NONE)) {
        int rc = decided(s, n, out);
        if (rc != HF_OK)
            out->txn.state = STATE(ROLLED_BACK);
        return rc == HF_OK || rc == HF_E_SESSION_UNKNOWN ? rc : HF_E_FENCED;
    }
    if (commit <= r->min_commit)
        return HF_E_INVALID;
    int rc = commit_there(s, n, commit, out);
    s->outcome[n] = HF_OK;
    s->commit[n] = commit;
    if (before.others)
        *r = (struct model_record){.state = STATE(COMMITTED), .commit = commit, .others = true};
    return rc;
}

static int rollback_home(struct model_shard *s, uint64_t n, bool force, struct model_reply *out)
{
    struct model_record *r = &s->records[n];
    if (r->state == STATE(COMMITTED) || (r->state == STATE(PREPARED) && !force)) {
        out->txn.state = r->state;
        out->txn.commit = r->commit;
        return HF_OK;
    }
    bool was = r->state == STATE(PREPARED);
    *r = (struct model_record){0};
    if (!was && decided(s, n, out) == HF_OK)
        return HF_OK;
    out->txn.state = STATE(ROLLED_BACK);
    if (!was && s->gone[n])
        return HF_E_SESSION_UNKNOWN;
    if (s->outcome[n] == NONE)
        s->outcome[n] = HF_E_CONFLICT;
    return HF_OK;
}

static int validate(struct model_shard *s, const Hf__Client__Validate *v)
{
    s->clock = v->at > s->clock ? v->at : s->clock;
    for (size_t i = 0; i < v->n_reads; i++) {
        must(!v->reads[i]->range);
        size_t key = key_of(v->reads[i]->key);
        if (locked(s, key, v->id->session <= MODEL_TXNS ? v->id->session : 0) || newest(s, key) >= v->start)
            return HF_E_CONFLICT;
    }
    return HF_OK;
}

static int forget(struct model_shard *s, uint64_t n)
{
    if (s->records[n].state == STATE(PREPARED))
        return HF_E_INVALID;
    s->records[n] = (struct model_record){0};
    return HF_OK;
}

void model_execute(struct model *m, uint32_t shard, const Hf__Client__Request *q, uint64_t stamp,
                   struct model_reply *out)
{
    struct model_shard *s = &m->shards[shard];
    hf__client__reply__init(&out->reply);
    hf__client__txn_outcome__init(&out->txn);
    out->reply.txn = &out->txn;
    s->clock = stamp > s->clock ? stamp : s->clock;
    if (q->op_case == HF__CLIENT__REQUEST__OP_VALIDATE) {
        out->reply.code = validate(s, q->validate);
        return;
    }
    const Hf__Entry__Txn *t = q->prepare; /* all the others share the union's member */
    uint64_t n = t->id->session;
    bool home = t->id->home == shard;
    if (q->op_case == HF__CLIENT__REQUEST__OP_PREPARE) {
        out->reply.code = prepare(s, home, n, t, out);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT) {
        s->clock = t->commit > s->clock ? t->commit : s->clock;
        out->reply.code = home ? commit_home(s, n, t->commit, out) : commit_there(s, n, t->commit, out);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK && home) {
        out->reply.code = rollback_home(s, n, t->force, out);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK) {
        s->records[n] = (struct model_record){0};
        out->txn.state = STATE(ROLLED_BACK);
    } else {
        must(q->op_case == HF__CLIENT__REQUEST__OP_FORGET && home);
        out->reply.code = forget(s, n);
    }
}

/* n's home is shard 1 + n % MODEL_SHARDS, as test_txns.c has it. */
static void look(struct model *m, uint64_t n, bool expired, uint64_t stamp)
{
    struct model_shard *home = &m->shards[1 + n % MODEL_SHARDS];
    struct model_reply reply;
    hf__client__reply__init(&reply.reply);
    hf__client__txn_outcome__init(&reply.txn);
    (void)rollback_home(home, n, expired, &reply);
    if (reply.txn.state != STATE(COMMITTED) && reply.txn.state != STATE(ROLLED_BACK))
        return;
    uint64_t commit = reply.txn.commit;
    for (uint32_t s = 1; s <= MODEL_SHARDS; s++) {
        struct model_shard *there = &m->shards[s];
        if (there == home || there->records[n].state == STATE(TXN_NONE))
            continue;
        there->clock = stamp > there->clock ? stamp : there->clock;
        if (commit != 0)
            (void)commit_there(there, n, commit, &reply);
        else
            there->records[n] = (struct model_record){0};
    }
    if (home->records[n].state == STATE(COMMITTED))
        home->records[n] = (struct model_record){0};
}

void model_resolve(struct model *m, bool expired, uint64_t stamp)
{
    for (uint64_t n = 1; n <= MODEL_TXNS; n++)
        for (uint32_t s = 1; s <= MODEL_SHARDS; s++)
            if (m->shards[s].records[n].state != STATE(TXN_NONE))
                look(m, n, expired, stamp);
}

uint64_t model_version_of(const struct model *m, uint32_t shard, size_t key, uint64_t n)
{
    for (size_t i = 0; i < m->shards[shard].counts[key]; i++)
        if (m->shards[shard].versions[key][i].n == n)
            return m->shards[shard].versions[key][i].t;
    return 0;
}

bool model_moved(const struct model *m, uint32_t shard, size_t key, uint64_t from, uint64_t to, uint64_t n)
{
    const struct model_shard *s = &m->shards[shard];
    for (size_t i = 0; i < s->counts[key]; i++)
        if (s->versions[key][i].n != n && s->versions[key][i].t >= from && s->versions[key][i].t < to)
            return true;
    return false;
}
