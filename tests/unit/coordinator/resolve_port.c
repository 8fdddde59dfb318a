/* resolve_port.c: see resolve_port.h. */
#include "tests/unit/coordinator/resolve_port.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "tests/unit/unit.h"

struct resolve_fixture f;
static Hf__Catalog__Shard shard_rows[SHARDS], *shard_list[SHARDS];
static Hf__Catalog__Routes routes;

static const Hf__Catalog__Routes *port_routes(void *ctx)
{
    (void)ctx;
    return &routes;
}

static bool port_active(void *ctx)
{
    (void)ctx;
    return !f.standby;
}

static struct hlc port_now(void *ctx)
{
    (void)ctx;
    return hlc_from_ms(f.now_ms);
}

static bool port_drives(void *ctx, const Hf__Entry__TxnId *id)
{
    (void)ctx;
    (void)id;
    return f.drives;
}

static int port_list(void *ctx, uint32_t shard, const Hf__Client__Txns *question, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    if (shard == f.dead)
        return HF_E_UNAVAILABLE;
    CU_ASSERT_FATAL(f.sent_count < SENT_MAX);
    f.sent[f.sent_count++] = (struct sent){
        .shard = shard, .op = HF__CLIENT__REQUEST__OP_TXNS, .after = question->after ? question->after->seq : 0};
    f.lists++;
    return HF_OK;
}

static int port_ask(void *ctx, uint32_t shard, Hf__Client__Request *q, uint64_t look, uint64_t now_ns)
{
    (void)ctx;
    (void)now_ns;
    if (shard == f.dead)
        return HF_E_UNAVAILABLE;
    CU_ASSERT_FATAL(f.sent_count < SENT_MAX);
    const Hf__Entry__Txn *txn = q->rollback; /* the same member for all three */
    f.sent[f.sent_count++] = (struct sent){.shard = shard,
                                           .op = q->op_case,
                                           .look = look,
                                           .commit = txn->commit,
                                           .seq = txn->id->seq,
                                           .force = txn->force};
    return HF_OK;
}

static void port_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    (void)ctx;
    (void)client;
    f.answers++;
    f.code = reply->code;
    f.state = reply->txn ? reply->txn->state : HF__ENTRY__TXN_STATE__TXN_NONE;
}

void resolve_port_begin(void)
{
    memset(&f, 0, sizeof f);
    f.now_ms = 10000;
    hf__catalog__routes__init(&routes);
    for (uint32_t i = 0; i < SHARDS; i++) {
        hf__catalog__shard__init(&shard_rows[i]);
        shard_rows[i].shard = i + 1;
        shard_list[i] = &shard_rows[i];
    }
    routes.n_shards = SHARDS;
    routes.shards = shard_list;
    const struct resolve_port port = {.routes = port_routes,
                                      .active = port_active,
                                      .now = port_now,
                                      .drives = port_drives,
                                      .list = port_list,
                                      .ask = port_ask,
                                      .answer = port_answer};
    resolve_init(&f.resolve, &port);
}

Hf__Entry__TxnId resolve_port_id(uint64_t seq)
{
    Hf__Entry__TxnId id = HF__ENTRY__TXN_ID__INIT;
    id.home = 1;
    id.session = 5;
    id.seq = seq;
    return id;
}

void resolve_port_say_list(uint32_t shard, Hf__Client__TxnOutcome *all, size_t n, bool more)
{
    Hf__Client__TxnOutcome **rows = calloc(n + 1, sizeof *rows);
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    for (size_t i = 0; i < n; i++)
        rows[i] = &all[i];
    reply.txns = rows;
    reply.n_txns = n;
    reply.more = more;
    resolve_listed(&f.resolve, shard, &reply, 0);
    free(rows);
}
