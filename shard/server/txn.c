/* txn.c: see txn.h. */
#include "shard/server/txn.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"

enum { M_COMMITTED, M_ROLLED_BACK, M_CONFLICT_WRITE, M_CONFLICT_VALIDATE, M_LOCK_READ, M_LOCK_WRITE, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_COMMITTED] = {"holdfast_transactions_total", "outcome=\"committed\"",
                     "Answers of this leader, as their home, that transactions are decided", METRIC_COUNTER, 0},
    [M_ROLLED_BACK] = {"holdfast_transactions_total", "outcome=\"rolled_back\"",
                       "Answers of this leader, as their home, that transactions are decided", METRIC_COUNTER, 0},
    [M_CONFLICT_WRITE] = {"holdfast_transaction_conflicts_total", "at=\"write\"", "Conflicts found, by what found them",
                          METRIC_COUNTER, 0},
    [M_CONFLICT_VALIDATE] = {"holdfast_transaction_conflicts_total", "at=\"validate\"",
                             "Conflicts found, by what found them", METRIC_COUNTER, 0},
    [M_LOCK_READ] = {"holdfast_locks_met_total", "by=\"read\"", "Requests refused because of a transaction's lock",
                     METRIC_COUNTER, 0},
    [M_LOCK_WRITE] = {"holdfast_locks_met_total", "by=\"write\"", "Requests refused because of a transaction's lock",
                      METRIC_COUNTER, 0},
};

void txn_metrics(void)
{
    metrics_register(metrics, M_COUNT);
}

bool txn_is_write(Hf__Client__Request__OpCase op)
{
    return op == HF__CLIENT__REQUEST__OP_TXN || op == HF__CLIENT__REQUEST__OP_PREPARE ||
           op == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT || op == HF__CLIENT__REQUEST__OP_ROLLBACK ||
           op == HF__CLIENT__REQUEST__OP_FORGET;
}

bool txn_is(Hf__Client__Request__OpCase op)
{
    return txn_is_write(op) || op == HF__CLIENT__REQUEST__OP_VALIDATE || op == HF__CLIENT__REQUEST__OP_TXNS;
}

/* ---- checks ---- */

struct parts { /* of a transaction, as one of the requests brings it */
    const Hf__Entry__Txn *txn;
    const Hf__Entry__TxnId *id;
    Hf__Entry__TxnWrite *const *writes;
    Hf__Entry__TxnRead *const *reads;
    size_t n_writes, n_reads;
};

static const Hf__Entry__Txn *entry_txn(const Hf__Client__Request *q)
{
    return q->op_case == HF__CLIENT__REQUEST__OP_PREPARE         ? q->prepare
           : q->op_case == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT ? q->decide_commit
           : q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK      ? q->rollback
           : q->op_case == HF__CLIENT__REQUEST__OP_FORGET        ? q->forget
                                                                 : NULL;
}

static struct parts parts_of(const Hf__Client__Request *q)
{
    if (q->op_case == HF__CLIENT__REQUEST__OP_TXN)
        return (struct parts){
            .writes = q->txn->writes, .reads = q->txn->reads, .n_writes = q->txn->n_writes, .n_reads = q->txn->n_reads};
    if (q->op_case == HF__CLIENT__REQUEST__OP_VALIDATE)
        return (struct parts){.id = q->validate->id, .reads = q->validate->reads, .n_reads = q->validate->n_reads};
    const Hf__Entry__Txn *t = entry_txn(q);
    if (t == NULL)
        return (struct parts){0};
    return (struct parts){
        .txn = t, .id = t->id, .writes = t->writes, .reads = t->reads, .n_writes = t->n_writes, .n_reads = t->n_reads};
}

static bool all_known(const struct parts *p)
{
    bool known =
        (p->txn == NULL || p->txn->base.n_unknown_fields == 0) && (p->id == NULL || p->id->base.n_unknown_fields == 0);
    for (size_t i = 0; known && i < p->n_writes; i++)
        known = p->writes[i]->base.n_unknown_fields == 0;
    for (size_t i = 0; known && i < p->n_reads; i++)
        known = p->reads[i]->base.n_unknown_fields == 0;
    return known;
}

int txn_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    if (!txn_is(q->op_case))
        return HF_OK;
    struct parts parts = parts_of(q);
    must(parts.id != NULL || q->op_case != HF__CLIENT__REQUEST__OP_PREPARE); /* requests_check */
    const char *why = q->space != HF__ENTRY__SPACE__USER ? "the catalog has no transactions"
                      : !all_known(&parts)               ? "the transaction has a field that this program does not know"
                      : q->op_case == HF__CLIENT__REQUEST__OP_TXN && q->txn->base.n_unknown_fields
                          ? "the transaction has a field that this program does not know"
                      : q->op_case == HF__CLIENT__REQUEST__OP_PREPARE && q->session != 0 &&
                              (q->session != parts.id->session || q->seq != parts.id->seq)
                          ? "a transaction is prepared under its own session and number only"
                          : NULL;
    if (why == NULL)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "%s", why);
    return HF_E_INVALID;
}

/* Empty end: open. */
static bool inside(const struct fsm *fsm, struct slice start, struct slice end)
{
    const Hf__Catalog__Range *range = fsm_info(fsm)->range;
    struct slice last = pack_slice(range->end);
    return slice_compare(start, pack_slice(range->start)) >= 0 &&
           (!last.size || (slice_compare(start, last) < 0 && end.size && slice_compare(end, last) <= 0));
}

static bool write_inside(const struct fsm *fsm, const Hf__Entry__TxnWrite *w, bool whole, struct arena *turn)
{
    struct slice key = pack_slice(w->key);
    if (w->op != HF__ENTRY__OP__DELETE_PREFIX)
        return fsm_owns(fsm, FSM_USER, key);
    return !whole || inside(fsm, key, request_prefix_end(key, turn));
}

static bool read_inside(const struct fsm *fsm, const Hf__Entry__TxnRead *r)
{
    return r->range ? inside(fsm, pack_slice(r->key), pack_slice(r->end)) : fsm_owns(fsm, FSM_USER, pack_slice(r->key));
}

int txn_check_range(const struct fsm *fsm, const Hf__Client__Request *q, struct arena *turn,
                    char message[REQUESTS_TEXT_BYTES])
{
    struct parts parts = parts_of(q);
    bool all = true;
    for (size_t i = 0; all && i < parts.n_writes; i++)
        all = write_inside(fsm, parts.writes[i], q->op_case == HF__CLIENT__REQUEST__OP_TXN, turn);
    for (size_t i = 0; all && i < parts.n_reads; i++)
        all = read_inside(fsm, parts.reads[i]);
    if (all)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES,
             "the transaction is not wholly in shard %" PRIu32 "; its newer routes say where", fsm_info(fsm)->group);
    return HF_E_WRONG_SHARD;
}

/* ---- commands ---- */

static Hf__Entry__TxnId *id_copy(const Hf__Entry__TxnId *from, struct arena *turn)
{
    Hf__Entry__TxnId *id = arena_alloc(turn, sizeof *id);
    hf__entry__txn_id__init(id);
    id->home = from->home;
    id->session = from->session;
    id->seq = from->seq;
    return id;
}

static void fill_prepare(Hf__Entry__Command *c, const Hf__Client__Request *q, uint32_t group)
{
    const Hf__Entry__Txn *from = q->prepare;
    must(from != NULL);
    c->op = HF__ENTRY__OP__TXN_PREPARE;
    c->txn->start = from->start;
    c->txn->writes = from->writes;
    c->txn->n_writes = from->n_writes;
    if (from->id->home != group) /* its session number is another group's */
        return;
    c->session = from->id->session;
    c->seq = from->id->seq;
    c->done_below = q->done_below;
    c->txn->others = from->others;
    c->txn->n_others = from->n_others;
    c->txn->ttl_ms = from->ttl_ms;
}

void txn_fill_command(Hf__Entry__Command *c, const Hf__Client__Request *q, uint32_t group, struct arena *turn)
{
    const Hf__Entry__Txn *from = entry_txn(q);
    must(from != NULL || q->op_case == HF__CLIENT__REQUEST__OP_TXN);
    c->txn = arena_alloc(turn, sizeof *c->txn);
    hf__entry__txn__init(c->txn);
    c->space = HF__ENTRY__SPACE__USER;
    if (from != NULL)
        c->txn->id = id_copy(from->id, turn);
    if (q->op_case == HF__CLIENT__REQUEST__OP_TXN) {
        c->op = HF__ENTRY__OP__TXN_WHOLE;
        c->session = q->session;
        c->seq = q->seq;
        c->done_below = q->done_below;
        c->txn->start = q->txn->start;
        c->txn->writes = q->txn->writes;
        c->txn->n_writes = q->txn->n_writes;
        c->txn->reads = q->txn->reads;
        c->txn->n_reads = q->txn->n_reads;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_PREPARE) {
        fill_prepare(c, q, group);
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT) {
        c->op = HF__ENTRY__OP__TXN_COMMIT;
        c->txn->commit = from->commit;
    } else if (q->op_case == HF__CLIENT__REQUEST__OP_ROLLBACK) {
        c->op = HF__ENTRY__OP__TXN_ROLLBACK;
        c->txn->force = from->force;
    } else {
        must(q->op_case == HF__CLIENT__REQUEST__OP_FORGET);
        c->op = HF__ENTRY__OP__TXN_FORGET;
    }
}

/* ---- answers ---- */

static Hf__Client__Lock *lock_out(struct txn_answer *a, const struct fsm_lock *lock)
{
    hf__entry__txn_id__init(&a->id);
    a->id.home = lock->id.home;
    a->id.session = lock->id.session;
    a->id.seq = lock->id.seq;
    hf__client__lock__init(&a->lock);
    a->lock.id = &a->id;
    a->lock.min_commit = lock->min_commit.t;
    a->lock.key = pack_bytes(lock->key);
    return &a->lock;
}

void txn_answer_lock(struct txn_answer *a, Hf__Client__Reply *reply, const struct fsm_lock *lock)
{
    metric_add(&metrics[M_LOCK_READ], 1);
    if (lock != NULL)
        reply->lock = lock_out(a, lock);
}

static void conflict_out(struct txn_answer *a, Hf__Client__Reply *reply, const struct fsm_conflict *conflict)
{
    hf__client__conflict__init(&a->conflict);
    a->conflict.key = pack_bytes(conflict->key);
    if (conflict->version.t.t != 0) {
        hf__client__version__init(&a->version);
        a->version.t = conflict->version.t.t;
        a->version.seq = conflict->version.seq;
        a->conflict.version = &a->version;
        a->conflict.above = conflict->version.t.t;
    }
    if (conflict->lock.id.home != 0) {
        a->conflict.lock = lock_out(a, &conflict->lock);
        if (a->conflict.above < conflict->lock.min_commit.t)
            a->conflict.above = conflict->lock.min_commit.t;
    }
    reply->conflict = &a->conflict;
}

void txn_answer_conflict(struct txn_answer *a, Hf__Client__Reply *reply, const struct fsm_conflict *conflict)
{
    metric_add(&metrics[M_CONFLICT_VALIDATE], 1);
    conflict_out(a, reply, conflict);
}

static void count_decision(Hf__Client__Request__OpCase op, const struct fsm_result *result)
{
    bool commits = op == HF__CLIENT__REQUEST__OP_TXN || op == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT;
    bool rolls_back = op == HF__CLIENT__REQUEST__OP_ROLLBACK && result->state == FSM_TXN_ROLLED_BACK;
    if (commits && result->code == HF_OK)
        metric_add(&metrics[M_COMMITTED], 1);
    else if (result->code == HF_E_CONFLICT || (rolls_back && result->code == HF_OK))
        metric_add(&metrics[M_ROLLED_BACK], 1);
}

void txn_answer_write(struct txn_answer *a, Hf__Client__Reply *reply, Hf__Client__Request__OpCase op, bool home,
                      const struct fsm_result *result)
{
    if (result->code == HF_E_KEY_LOCKED) {
        metric_add(&metrics[M_LOCK_WRITE], 1);
        if (result->conflict != NULL && result->conflict->lock.id.home != 0)
            reply->lock = lock_out(a, &result->conflict->lock);
    }
    if (!txn_is_write(op))
        return;
    if (home && op != HF__CLIENT__REQUEST__OP_FORGET)
        count_decision(op, result);
    if (result->code == HF_E_CONFLICT) {
        metric_add(&metrics[M_CONFLICT_WRITE], 1);
        if (result->conflict != NULL)
            conflict_out(a, reply, result->conflict);
    }
    if (op == HF__CLIENT__REQUEST__OP_TXN) {
        reply->timestamp = result->code == HF_OK ? result->version.t.t : 0;
        return;
    }
    hf__client__txn_outcome__init(&a->outcome);
    a->outcome.state = (Hf__Entry__TxnState)result->state;
    a->outcome.min_commit = result->min_commit.t;
    a->outcome.commit = result->commit.t;
    reply->timestamp = result->commit.t;
    reply->txn = &a->outcome;
}
