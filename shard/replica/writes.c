/* writes.c: see writes.h. */
#include "shard/replica/writes.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"
#include "proto/pack.h"

#define BATCH_COMMANDS_MAX 1024
#define BATCH_BYTES_MAX ((size_t)1024 * 1024) /* a single larger command still gets an entry of its own */
#define BATCH_KEYS_MAX 4096 /* of transactions, likewise: their structures in memory are bounded by pack_unpack */

#define OPCODE_COMMANDS 0x01
#define OPCODE_LEASE 0x02
#define OPCODE_CHECK FSM_OPCODE_CHECK
#define OPCODE_SESSION 0x13
#define OPCODE_MIGRATE FSM_OPCODE_MIGRATE

enum { M_ENTRIES, M_COMMANDS, M_PENDING, M_COMMITTED, M_FAILED, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_ENTRIES] = {"holdfast_entries_proposed_total", NULL, "Raft entries proposed for clients", METRIC_COUNTER, 0},
    [M_COMMANDS] = {"holdfast_commands_proposed_total", NULL, "Commands in them", METRIC_COUNTER, 0},
    [M_PENDING] = {"holdfast_writes_pending", NULL, "Writes held until their entry is applied", METRIC_GAUGE, 0},
    [M_COMMITTED] = {"holdfast_entries_committed_total", NULL, "Entries proposed here that were committed and applied",
                     METRIC_COUNTER, 0},
    [M_FAILED] = {"holdfast_entries_failed_total", NULL,
                  "Entries proposed here that were not, or whose fate this replica does not know", METRIC_COUNTER, 0},
};

struct proposal { /* an entry in the log whose writers wait */
    struct list link;
    uint64_t index, term;
    uint32_t count;
    size_t bytes;                   /* stay charged until the entry's fate is known, whoever still waits (I12) */
    struct replica_write *writes[]; /* NULL once given back */
};

void writes_init(struct writes *w, writes_done_fn *done, void *ctx)
{
    *w = (struct writes){.done = done, .ctx = ctx};
    list_init(&w->queued);
    list_init(&w->proposed);
    metrics_register(metrics, M_COUNT);
}

static void uncharge(struct writes *w, size_t bytes)
{
    must(w->bytes >= bytes);
    w->bytes -= bytes;
}

static void give_back(struct writes *w, struct replica_write *write, int code, const struct fsm_result *result)
{
    must(w->count > 0);
    w->count--;
    metric_set(&metrics[M_PENDING], w->count);
    w->done(w->ctx, write, code, result); /* `write` is the server's again */
}

void writes_deinit(struct writes *w)
{
    writes_abandon(w);
    buf_deinit(&w->payload);
}

int writes_queue(struct writes *w, struct replica_write *write)
{
    if (w->count >= LIMIT_PENDING_REQUESTS || w->bytes + write->bytes > LIMIT_PENDING_BYTES)
        return HF_E_BUSY;
    w->count++;
    w->bytes += write->bytes;
    list_push(&w->queued, &write->link);
    return HF_OK;
}

static size_t txn_keys(const struct replica_write *w)
{
    const Hf__Entry__Txn *t = w->kind == WRITE_COMMAND ? w->command.txn : NULL;
    return t != NULL ? t->n_writes + t->n_reads : 0;
}

/* Takes the next entry's worth of writes off the queue: a run of commands, or one of the other kinds. */
static size_t take_run(struct writes *w, struct replica_write **out)
{
    size_t count = 0, bytes = 0, keys = 0;
    LIST_EACH (it, &w->queued) {
        struct replica_write *write = LIST_OWNER(it, struct replica_write, link);
        bool fits = count == 0 || (count < BATCH_COMMANDS_MAX && bytes + write->bytes <= BATCH_BYTES_MAX &&
                                   keys + txn_keys(write) <= BATCH_KEYS_MAX);
        if (!fits || (count > 0 && (write->kind != WRITE_COMMAND || out[0]->kind != WRITE_COMMAND)))
            break;
        list_remove(it);
        out[count++] = write;
        bytes += write->bytes;
        keys += txn_keys(write);
    }
    metric_add(&metrics[M_COMMANDS], count);
    return count;
}

/* Sequence numbers that it takes: a version for each of its writes. */
static uint64_t stamps_of(const Hf__Entry__Command *c)
{
    return c->op == HF__ENTRY__OP__TXN_WHOLE && c->txn->n_writes > 1 ? c->txn->n_writes : 1;
}

static void pack_payload(struct writes *w, struct replica_write **run, size_t count, struct stamp *stamp)
{
    buf_clear(&w->payload);
    uint8_t *opcode = buf_extend(&w->payload, 1);
    struct replica_write *first = run[0];
    switch (first->kind) {
    case WRITE_COMMAND: {
        *opcode = OPCODE_COMMANDS;
        Hf__Entry__Command *commands[BATCH_COMMANDS_MAX];
        uint64_t stamps = 0;
        for (size_t i = 0; i < count; i++) {
            commands[i] = &run[i]->command;
            stamps += stamps_of(commands[i]);
        }
        struct version v = stamp_take(stamp, stamps);
        Hf__Entry__CommandBatch batch = HF__ENTRY__COMMAND_BATCH__INIT;
        batch.timestamp = v.t.t;
        batch.sequence = v.seq;
        batch.n_commands = count;
        batch.commands = commands;
        pack_append(&batch.base, &w->payload);
        break;
    }
    case WRITE_LEASE:
        *opcode = OPCODE_LEASE;
        pack_append(&first->lease.base, &w->payload);
        break;
    case WRITE_SESSION:
        *opcode = OPCODE_SESSION;
        first->session.timestamp = stamp->observed.t;
        pack_append(&first->session.base, &w->payload);
        break;
    case WRITE_MIGRATE:
        *opcode = OPCODE_MIGRATE;
        pack_append(&first->migrate.base, &w->payload);
        break;
    case WRITE_CHECK: {
        *opcode = OPCODE_CHECK;
        Hf__Entry__CheckEntry check = HF__ENTRY__CHECK_ENTRY__INIT;
        check.timestamp = stamp->observed.t;
        pack_append(&check.base, &w->payload);
        break;
    }
    }
}

/* The payload; nothing behind a seal that may take effect. */
static int propose(struct writes *w, const struct engine_ops *ops, struct engine *e, uint64_t *index, uint64_t *term)
{
    if (w->sealing != 0 && !planted_bug("writes.behind_a_seal"))
        return HF_E_NOT_READY;
    return ops->propose(e, LOG_COMMAND, buf_slice(&w->payload), index, term);
}

void writes_propose(struct writes *w, const struct engine_ops *ops, struct engine *e, struct stamp *stamp,
                    struct arena *arena)
{
    struct replica_write **run = arena_alloc(arena, BATCH_COMMANDS_MAX * sizeof(struct replica_write *));
    while (!list_empty(&w->queued)) {
        size_t count = take_run(w, run);
        must(count > 0);
        pack_payload(w, run, count, stamp);
        must(w->payload.size <= LIMIT_ENTRY_BYTES); /* I12: requests are bounded below it */
        uint64_t index = 0, term = 0;
        int rc = propose(w, ops, e, &index, &term);
        if (rc) {
            for (size_t i = 0; i < count; i++) {
                uncharge(w, run[i]->bytes);
                give_back(w, run[i], rc, NULL);
            }
            continue;
        }
        struct proposal *p = malloc(sizeof *p + count * sizeof(struct replica_write *));
        must(p);
        *p = (struct proposal){.index = index, .term = term, .count = (uint32_t)count};
        memcpy(p->writes, run, count * sizeof(struct replica_write *));
        for (size_t i = 0; i < count; i++)
            p->bytes += run[i]->bytes;
        list_push(&w->proposed, &p->link);
        if (run[0]->kind == WRITE_MIGRATE && run[0]->migrate.step == HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL)
            w->sealing = index;
        metric_add(&metrics[M_ENTRIES], 1);
        metric_set(&metrics[M_PENDING], w->count);
    }
}

int writes_mark(struct writes *w, const struct engine_ops *ops, struct engine *e, struct hlc t)
{
    uint64_t index, term;
    Hf__Entry__CommandBatch batch = HF__ENTRY__COMMAND_BATCH__INIT;
    batch.timestamp = t.t;
    batch.restart = true;
    buf_clear(&w->payload);
    *(uint8_t *)buf_extend(&w->payload, 1) = OPCODE_COMMANDS;
    pack_append(&batch.base, &w->payload);
    return propose(w, ops, e, &index, &term);
}

int writes_collect(struct writes *w, const struct engine_ops *ops, struct engine *e, const struct collector_step *step,
                   uint64_t *out_index)
{
    uint64_t term;
    Hf__Entry__CollectEntry entry = HF__ENTRY__COLLECT_ENTRY__INIT;
    entry.below = step->below.t;
    entry.steps = step->steps;
    entry.bytes = step->steps != 0 ? COLLECTOR_BYTES : 0;
    buf_clear(&w->payload);
    *(uint8_t *)buf_extend(&w->payload, 1) = FSM_OPCODE_COLLECT;
    pack_append(&entry.base, &w->payload);
    return propose(w, ops, e, out_index, &term);
}

static void proposal_end(struct writes *w, struct proposal *p, int code)
{
    list_remove(&p->link);
    uncharge(w, p->bytes);
    for (uint32_t i = 0; i < p->count; i++)
        if (p->writes[i])
            give_back(w, p->writes[i], code, NULL);
    free(p);
}

void writes_result(struct writes *w, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    if (index >= w->sealing)
        w->sealing = 0; /* it took effect, and the machine says so, or it did not */
    while (!list_empty(&w->proposed)) {
        struct proposal *p = LIST_OWNER(w->proposed.next, struct proposal, link);
        if (p->index > index)
            return;
        if (p->index < index || p->term != term) { /* another leader's entry stands there: ours never can (I9) */
            metric_add(&metrics[M_FAILED], 1);
            proposal_end(w, p, HF_E_NOT_LEADER);
            continue;
        }
        must(position < p->count);
        if (p->writes[position]) {
            struct replica_write *write = p->writes[position];
            p->writes[position] = NULL;
            write->index = index;
            give_back(w, write, r->code, r);
        }
        if (position + 1 == p->count) {
            metric_add(&metrics[M_COMMITTED], 1);
            proposal_end(w, p, HF_E_OUTCOME_UNKNOWN);
        }
        return;
    }
}

void writes_abandon(struct writes *w)
{
    w->sealing = 0;
    while (!list_empty(&w->proposed)) {
        metric_add(&metrics[M_FAILED], 1);
        proposal_end(w, LIST_OWNER(w->proposed.next, struct proposal, link),
                     planted_bug("writes.unknown_as_refused") ? HF_E_NOT_LEADER : HF_E_OUTCOME_UNKNOWN);
    }
    LIST_EACH (it, &w->queued) {
        struct replica_write *write = LIST_OWNER(it, struct replica_write, link);
        list_remove(it);
        uncharge(w, write->bytes);
        give_back(w, write, HF_E_NOT_LEADER, NULL);
    }
}

void writes_expire(struct writes *w, uint64_t now_ns)
{
    LIST_EACH (it, &w->proposed) {
        struct proposal *p = LIST_OWNER(it, struct proposal, link);
        for (uint32_t i = 0; i < p->count; i++) {
            struct replica_write *write = p->writes[i];
            if (!write || write->deadline_ns > now_ns)
                continue;
            p->writes[i] = NULL; /* the entry may still be applied; nobody waits for it */
            give_back(w, write, HF_E_OUTCOME_UNKNOWN, NULL);
        }
    }
}
