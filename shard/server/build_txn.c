/* build_txn.c: what is looked up of transactions: is what one read still there, and which ones a group keeps. */
#include <stdlib.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "shard/server/front_internal.h"
#include "shard/server/txn.h"

#define TXNS_MAX 1024         /* of one page */
#define TXNS_OTHERS_MAX 65536 /* groups named in it, one transaction apart */

void build_validate(struct front *f, struct request *r)
{
    const Hf__Client__Validate *v = pack_unpack(&hf__client__validate__descriptor, r->key, &f->scratch);
    must(v != NULL); /* it was packed here, and came in as such */
    struct fsm_txn_id id = {v->id->home, v->id->session, v->id->seq};
    struct fsm_conflict conflict = {0};
    int rc = fsm_validate(replica_fsm(f->replica), &id, (struct hlc){v->start}, (struct hlc){v->at}, v->reads,
                          v->n_reads, &f->scratch, &conflict);
    Hf__Client__Reply reply;
    struct txn_answer txn;
    answer_init(&f->answer, &reply, r->id, rc);
    if (rc == HF_E_CONFLICT)
        txn_answer_conflict(&txn, &reply, &conflict);
    build_explain(f, &reply);
    front_hints(f, &reply);
    build_keep(f, r, &reply);
}

struct txn_row { /* of a listing */
    Hf__Client__TxnOutcome outcome;
    Hf__Entry__TxnId id;
};

static Hf__Client__TxnOutcome *row_fill(struct txn_row *row, const struct fsm_txn *t)
{
    hf__client__txn_outcome__init(&row->outcome);
    hf__entry__txn_id__init(&row->id);
    row->id.home = t->id.home;
    row->id.session = t->id.session;
    row->id.seq = t->id.seq;
    row->outcome.id = &row->id;
    row->outcome.state = (Hf__Entry__TxnState)t->state;
    row->outcome.min_commit = t->min_commit.t;
    row->outcome.commit = t->commit.t;
    row->outcome.expires = t->expires.t;
    row->outcome.others = t->others;
    row->outcome.n_others = t->others_count;
    return &row->outcome;
}

void build_txns(struct front *f, struct request *r)
{
    size_t max = r->limit && r->limit < TXNS_MAX ? r->limit : TXNS_MAX, others = 0;
    struct fsm_txn *found = arena_alloc(&f->scratch, (max + 1) * sizeof *found);
    size_t count = fsm_txns(replica_fsm(f->replica), &r->txn_after, max + 1, &f->scratch, found);
    struct txn_row *rows = arena_alloc(&f->scratch, max * sizeof *rows);
    Hf__Client__Reply reply;
    answer_init(&f->answer, &reply, r->id, HF_OK);
    reply.txns = arena_alloc(&f->scratch, max * sizeof(Hf__Client__TxnOutcome *));
    while (reply.n_txns < count && reply.n_txns < max && others < TXNS_OTHERS_MAX) {
        others += found[reply.n_txns].others_count;
        reply.txns[reply.n_txns] = row_fill(&rows[reply.n_txns], &found[reply.n_txns]);
        reply.n_txns++;
    }
    reply.more = reply.n_txns < count;
    build_keep(f, r, &reply);
}
