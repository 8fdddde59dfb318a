/* oracle.c: see oracle.h. */
#include "coordinator/oracle.h"

#include <inttypes.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "proto/pack.h"

void oracle_init(struct oracle *o, struct calls *calls, uint32_t id, const char *endpoint, uint64_t nonce)
{
    *o = (struct oracle){.calls = calls};
    clock_init(&o->clock, id, endpoint, nonce);
}

void oracle_deinit(struct oracle *o)
{
    clock_deinit(&o->clock);
}

bool oracle_active(const struct oracle *o)
{
    return clock_holds(&o->clock, clock_boot_ns());
}

struct hlc oracle_now(struct oracle *o)
{
    return clock_now(&o->clock, clock_wall_ms(), clock_boot_ns());
}

int64_t oracle_skew_ms(struct oracle *o)
{
    return clock_skew_ms(&o->clock, clock_wall_ms(), clock_boot_ns());
}

void oracle_heard(struct oracle *o, struct hlc t)
{
    clock_heard(&o->clock, t, clock_boot_ns());
}

int oracle_accept(struct oracle *o, struct clock_accepted *out)
{
    int rc = clock_accept(&o->clock, clock_wall_ms(), clock_boot_ns(), out);
    if (rc == HF_OK)
        diag(DIAG_WARN, "the wall clock was accepted: from_ms=%" PRIu64 " to_ms=%" PRIu64, out->from_ms, out->to_ms);
    return rc;
}

int oracle_issue(struct oracle *o, struct hlc *out)
{
    return oracle_issue_above(o, (struct hlc){0}, out);
}

int oracle_issue_above(struct oracle *o, struct hlc above, struct hlc *out)
{
    struct hlc t;
    int rc = above.t ? clock_draw_above(&o->clock, above, clock_wall_ms(), clock_boot_ns(), &t)
                     : clock_draw(&o->clock, clock_wall_ms(), clock_boot_ns(), &t);
    if (rc)
        return rc;
    if (!clock_holds(&o->clock, clock_boot_ns())) /* read after the draw: a pause in between must not let it leave */
        return HF_E_UNAVAILABLE;
    count(COUNTER_ISSUED);
    *out = t;
    return HF_OK;
}

/* Says once what changed. */
static void report(struct oracle *o)
{
    const struct clock *c = &o->clock;
    bool active = oracle_active(o);
    if (active != o->was_active)
        diag(active ? DIAG_INFO : DIAG_WARN, "%s: epoch=%" PRIu64 " ceiling_ms=%" PRIu64,
             active ? "active: issuing timestamps" : "standby: no longer issuing timestamps", c->key.epoch,
             hlc_ms(c->ceiling));
    if (c->wall_refused != o->was_refused)
        diag(DIAG_WARN, "%s: ceiling_ms=%" PRIu64,
             c->wall_refused ? "the wall clock is more than ten minutes ahead of the cluster's time and is not "
                               "followed; set it right, or accept it: holdfast clock accept"
                             : "the wall clock is followed again",
             hlc_ms(c->ceiling));
    o->was_active = active;
    o->was_refused = c->wall_refused;
    gauge(COUNTER_ACTIVE, active);
    gauge(COUNTER_EPOCH, c->key.epoch);
    gauge(COUNTER_CEILING, hlc_ms(c->ceiling) * CLOCK_NS_PER_MS);
    gauge(COUNTER_CLOCK_REFUSED, c->wall_refused);
    gauge(COUNTER_CLOCK_SKEW, (uint64_t)oracle_skew_ms(o) * CLOCK_NS_PER_MS);
}

static void pause_ms(struct oracle *o, uint64_t now_ns, uint64_t ms)
{
    o->next_ns = now_ns + ms * CLOCK_NS_PER_MS;
}

static void was_read(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    (void)call;
    struct oracle *o = ctx;
    uint64_t now_ns = clock_boot_ns(); /* the receipt: the holder's lease began before it */
    o->asking = false;
    int rc = reply ? reply->code : HF_E_UNAVAILABLE;
    if (rc == HF_OK || rc == HF_E_NOT_FOUND)
        rc = clock_read(&o->clock, rc == HF_OK, rc == HF_OK ? pack_slice(reply->value) : slice_make(NULL, 0), now_ns);
    if (rc == HF_E_CORRUPT)
        diag(DIAG_ERROR, "catalog key \"oracle\" cannot be read: %s", error_text(rc));
    pause_ms(o, now_ns, rc == HF_OK ? 0 : rc == HF_E_CORRUPT ? CLOCK_RENEW_MS : CLOCK_RETRY_MS);
    report(o);
}

static void was_proposed(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct oracle *o = ctx;
    uint64_t now_ns = clock_boot_ns();
    o->asking = false;
    int code = reply ? reply->code : HF_E_OUTCOME_UNKNOWN;
    clock_proposed(&o->clock, code, now_ns);
    bool decided = code == HF_OK || code == HF_E_COMPARE_FAILED;
    bool hopeless = reply && !decided && error_class(code) == HF_CLASS_GIVE_UP;
    if (hopeless)
        diag(DIAG_ERROR, "the oracle's lease was refused: replica=%" PRIu32 ": %s %s", call->replica, error_text(code),
             reply->message);
    pause_ms(o, now_ns, decided ? 0 : hopeless ? CLOCK_RENEW_MS : CLOCK_RETRY_MS);
    report(o);
}

static int ask_read(struct oracle *o, uint64_t now_ns)
{
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    get.key = pack_bytes(slice_text("oracle"));
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = o->cluster;
    request.space = HF__ENTRY__SPACE__CATALOG;
    request.op_case = HF__CLIENT__REQUEST__OP_GET;
    request.get = &get;
    return calls_send_leader(o->calls, COORDINATOR_CATALOG_SHARD, &request, now_ns, CALL_MS, was_read, o, 0);
}

static int ask_propose(struct oracle *o, uint64_t now_ns)
{
    struct clock *c = &o->clock;
    Hf__Client__Cas cas = HF__CLIENT__CAS__INIT;
    cas.key = pack_bytes(slice_text("oracle"));
    cas.has_expected = c->key.present;
    cas.expected = pack_bytes(buf_slice(&c->key.bytes));
    cas.value = pack_bytes(buf_slice(&c->proposal));
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = o->cluster;
    request.space = HF__ENTRY__SPACE__CATALOG;
    request.op_case = HF__CLIENT__REQUEST__OP_CAS;
    request.cas = &cas;
    clock_sent(c, now_ns); /* before the sending: the lease may only be shorter than the truth */
    int rc = calls_send_leader(o->calls, COORDINATOR_CATALOG_SHARD, &request, now_ns, CALL_MS, was_proposed, o, 0);
    if (rc)
        clock_proposed(c, rc, now_ns); /* surely not sent */
    return rc;
}

void oracle_tick(struct oracle *o, bool ready, uint64_t now_ns)
{
    report(o);
    if (!ready || o->asking || now_ns < o->next_ns)
        return;
    int rc = HF_OK;
    switch (clock_wish(&o->clock, clock_wall_ms(), now_ns)) {
    case CLOCK_NOTHING:
        return;
    case CLOCK_READ:
        rc = ask_read(o, now_ns);
        break;
    case CLOCK_PROPOSE:
        rc = ask_propose(o, now_ns);
        break;
    }
    o->asking = rc == HF_OK;
    if (rc)
        pause_ms(o, now_ns, CLOCK_RETRY_MS);
}
