/* migrate_port.c: see migrate_port.h. */
#include "coordinator/migrate_port.h"

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "coordinator/coordinator.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

static uint64_t reign(void *ctx)
{
    struct coordinator *c = ctx;
    return oracle_active(&c->oracle) ? c->oracle.clock.key.epoch : 0;
}

static const Hf__Catalog__Routes *routes(void *ctx)
{
    struct coordinator *c = ctx;
    return c->catalog.routes;
}

static int draw(void *ctx, struct hlc *out)
{
    struct coordinator *c = ctx;
    return oracle_issue(&c->oracle, out);
}

static uint64_t now_ms(void *ctx)
{
    struct coordinator *c = ctx;
    return hlc_ms(oracle_now(&c->oracle));
}

static int to_catalog(struct coordinator *c, Hf__Client__Request *request, uint64_t now_ns, call_done *done,
                      uint64_t question)
{
    request->cluster = catalog_cluster(&c->catalog);
    request->space = HF__ENTRY__SPACE__CATALOG;
    return calls_send_leader(&c->calls, COORDINATOR_CATALOG_SHARD, request, now_ns, CALL_MS, done, c, question);
}

static void was_loaded(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    struct slice value = reply ? pack_slice(reply->value) : slice_make(NULL, 0);
    migrate_loaded(&c->migrate, call->tag, reply ? reply->code : HF_E_UNAVAILABLE, value, clock_boot_ns());
}

static int load(void *ctx, uint64_t question, uint64_t now_ns)
{
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(slice_text("migration"));
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_GET;
    request.get = &get;
    return to_catalog(ctx, &request, now_ns, was_loaded, question);
}

static void was_stored(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    migrate_stored(&c->migrate, call->tag, reply ? reply->code : HF_E_OUTCOME_UNKNOWN, clock_boot_ns());
}

static int store(void *ctx, uint64_t question, const struct slice *expected, struct slice value, uint64_t now_ns)
{
    Hf__Client__Cas cas = HF__CLIENT__CAS__INIT;
    cas.key = pack_bytes(slice_text("migration"));
    cas.has_expected = expected != NULL;
    if (expected)
        cas.expected = pack_bytes(*expected);
    cas.value = pack_bytes(value);
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_CAS;
    request.cas = &cas;
    return to_catalog(ctx, &request, now_ns, was_stored, question);
}

static void saw(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    bool good = reply && reply->code == HF_OK;
    migrate_saw(&c->migrate, call->tag, call->replica, good ? reply->status : NULL, clock_boot_ns());
}

static int look(void *ctx, uint64_t id, uint32_t shard, uint32_t replica, uint64_t now_ns)
{
    struct coordinator *c = ctx;
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = catalog_cluster(&c->catalog);
    request.op_case = HF__CLIENT__REQUEST__OP_STATUS;
    request.status = &empty;
    return calls_send(&c->calls, shard, replica, &request, now_ns, MIGRATE_STATUS_MS, saw, c, id);
}

static void stepped(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    migrate_stepped(&c->migrate, call->tag, reply ? reply->code : HF_E_OUTCOME_UNKNOWN, reply ? reply->message : NULL,
                    clock_boot_ns());
}

static int step(void *ctx, uint64_t act, uint32_t shard, uint32_t replica, const Hf__Entry__MigrateEntry *entry,
                uint64_t now_ns)
{
    struct coordinator *c = ctx;
    Hf__Entry__MigrateEntry copy = *entry;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = catalog_cluster(&c->catalog);
    request.op_case = HF__CLIENT__REQUEST__OP_MIGRATE;
    request.migrate = &copy;
    return calls_send(&c->calls, shard, replica, &request, now_ns, MIGRATE_STEP_MS, stepped, c, act);
}

static int publish(void *ctx, uint64_t act, uint32_t shard, uint32_t replica, uint64_t now_ns)
{
    struct coordinator *c = ctx;
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = catalog_cluster(&c->catalog);
    request.op_case = HF__CLIENT__REQUEST__OP_SNAPSHOT;
    request.snapshot = &empty;
    return calls_send(&c->calls, shard, replica, &request, now_ns, MIGRATE_PUBLISH_MS, stepped, c, act);
}

static void answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    coordinator_answer(ctx, client, reply);
}

void migrate_port_init(struct coordinator *c)
{
    migrate_init(&c->migrate, &(struct migrate_port){.ctx = c,
                                                     .reign = reign,
                                                     .routes = routes,
                                                     .draw = draw,
                                                     .now_ms = now_ms,
                                                     .load = load,
                                                     .store = store,
                                                     .look = look,
                                                     .step = step,
                                                     .publish = publish,
                                                     .answer = answer});
}
