/* fuzz_front.c: any bytes as clients' messages at a coordinator and as replicas' replies to what it forwarded: each
 * request taken in is answered once, what is forwarded is what was checked, a write that may run is never sent twice
 * without a session, and an answer says "surely not done" only of what is (I9). */
#include "common/base/limits.h"
#include "coordinator/calls.h"
#include "coordinator/coordinator.h"
#include "coordinator/limits.h"
#include "coordinator/route.h"
#include "proto/requests.h"
#include "tests/fuzz/fuzz.h"

#define REQUESTS_MAX 128
#define ATTEMPTS_MAX 512
#define CLUSTER UINT64_C(0x1122334455667788)
#define NS_PER_MS UINT64_C(1000000)

struct request {
    enum forward_kind kind;
    Hf__Client__Request__OpCase op;
    unsigned open; /* attempts unanswered */
    bool doubt, answered;
};

struct world {
    struct forward forward;
    const Hf__Catalog__Routes *routes[2];
    unsigned routes_at;
    struct request requests[REQUESTS_MAX];
    size_t request_count;
    uint64_t attempts[ATTEMPTS_MAX]; /* ids handed out and not replied to */
    size_t attempt_count, sends;
    uint8_t moods; /* bit by bit: is a send refused */
    uint64_t now_ns;
};

static struct request *request_of(struct world *w, uint64_t serial)
{
    must(serial >= 1 && serial <= w->request_count);
    return &w->requests[serial - 1];
}

static int on_send(void *ctx, uint32_t shard, uint32_t replica, struct slice frame)
{
    struct world *w = ctx;
    static struct arena arena;
    char text[REQUESTS_TEXT_BYTES];
    arena_reset(&arena);
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, frame, &arena);
    must(q != NULL && q->shard == shard && replica >= 1 && replica <= 3 && q->cluster == CLUSTER);
    must(requests_check(q, text) == HF_OK && q->deadline_ms > 0);
    struct request *r = request_of(w, q->id >> 6);
    must(!r->answered && q->op_case == r->op && (q->id & CALLS_ID_BIT) == 0);
    must(r->kind != FORWARD_ONCE || (r->open == 0 && !r->doubt));
    if ((w->moods >> w->sends++ % 8 & 1) || w->attempt_count == ATTEMPTS_MAX)
        return HF_E_BUSY;
    w->attempts[w->attempt_count++] = q->id;
    r->open++;
    return HF_OK;
}

static uint32_t on_pick(void *ctx, uint32_t shard, uint32_t avoid)
{
    (void)ctx, (void)shard;
    return avoid % 3 + 1;
}

static bool decided(int code)
{
    return code == HF_OK || code == HF_E_NOT_FOUND || code == HF_E_COMPARE_FAILED || code == HF_E_FENCED;
}

static void on_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    struct request *r = request_of(ctx, client->id);
    must(!r->answered);
    r->answered = true;
    if (r->kind == FORWARD_READ)
        return;
    must(decided(reply->code) || (r->open == 0 && !r->doubt) ||
         error_class(reply->code) == HF_CLASS_OUTCOME_UNKNOWN); /* I9 */
}

static enum forward_reroute on_reroute(void *ctx, struct slice body, uint32_t shard, uint32_t *out_shard)
{
    struct world *w = ctx;
    struct arena arena = {0};
    struct route route;
    enum forward_reroute result = FORWARD_REFUSED;
    const Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, body, &arena);
    if (q && q->op_case != HF__CLIENT__REQUEST__OP_SCAN && route_request(w->routes[w->routes_at], q, &route) == 0) {
        *out_shard = route.shard;
        result = route.shard == shard ? FORWARD_SAME : FORWARD_MOVED;
    }
    arena_deinit(&arena);
    return result;
}

static enum forward_kind kind_of(const Hf__Client__Request *q)
{
    if (q->op_case == HF__CLIENT__REQUEST__OP_GET || q->op_case == HF__CLIENT__REQUEST__OP_SCAN)
        return FORWARD_READ;
    bool fence = q->op_case == HF__CLIENT__REQUEST__OP_SESSION_FENCE;
    return fence || q->session != 0 ? FORWARD_REPEATABLE : FORWARD_ONCE;
}

static void check_scan(const struct world *w, const Hf__Client__Request *q, const struct route *route)
{
    must(!route->more || route->next.size > 0);
    if (!route->cut)
        return;
    struct slice start = pack_slice(q->scan->start), end = pack_slice(q->scan->end);
    must(slice_compare(route->scan_start, start) >= 0);
    must(end.size == 0 || (route->scan_end.size > 0 && slice_compare(route->scan_end, end) <= 0));
    must(w->routes[w->routes_at]
             ->routes[routes_find(w->routes[w->routes_at], q->scan->reverse ? route->scan_start : start)]
             ->shard == route->shard);
}

static void a_request(struct world *w, struct slice bytes)
{
    static struct arena arena;
    char text[REQUESTS_TEXT_BYTES] = "";
    struct route route;
    arena_reset(&arena);
    Hf__Client__Request *q = pack_unpack(&hf__client__request__descriptor, bytes, &arena);
    if (q == NULL || w->request_count == REQUESTS_MAX)
        return;
    if (front_check(q, text) != HF_OK) {
        must(text[0] != '\0');
        return;
    }
    int rc = route_request(w->routes[w->routes_at], q, &route);
    must(rc == HF_OK || route.text[0] != '\0');
    if (rc != HF_OK || route.empty)
        return;
    must(routes_shard(w->routes[w->routes_at], route.shard) != NULL);
    struct buf cut = {0};
    if (q->op_case == HF__CLIENT__REQUEST__OP_SCAN)
        check_scan(w, q, &route);
    if (route.cut) {
        q->scan->start = pack_bytes(route.scan_start);
        q->scan->end = pack_bytes(route.scan_end);
        pack_append(&q->base, &cut);
        bytes = buf_slice(&cut);
    }
    struct request *r = &w->requests[w->request_count++];
    *r = (struct request){.kind = kind_of(q), .op = q->op_case};
    must(w->forward.next_serial == w->request_count);
    struct forward_request f = {.client = {.id = w->request_count},
                                .kind = r->kind,
                                .shard = route.shard,
                                .body = bytes,
                                .deadline_ns = w->now_ns + (q->deadline_ms % 5000 + 1) * NS_PER_MS,
                                .scan_more = route.more,
                                .scan_next = route.next};
    if (forward_begin(&w->forward, &f, w->now_ns) != HF_OK)
        w->request_count--;
    buf_deinit(&cut);
}

/* To one of the attempts that are out, or, now and then, to none of ours. */
static void a_reply(struct world *w, uint8_t how, struct slice bytes)
{
    static struct arena arena;
    arena_reset(&arena);
    Hf__Client__Reply *reply = pack_unpack(&hf__client__reply__descriptor, bytes, &arena);
    if (reply == NULL)
        return;
    if (w->attempt_count == 0 || how == 0xff) {
        for (size_t i = 0; i < w->attempt_count; i++)
            if (w->attempts[i] == reply->id)
                return;
        must(!forward_reply(&w->forward, reply, w->now_ns));
        return;
    }
    size_t i = how % w->attempt_count;
    reply->id = w->attempts[i];
    w->attempts[i] = w->attempts[--w->attempt_count];
    struct request *r = request_of(w, reply->id >> 6);
    r->open--;
    r->doubt |= error_class(reply->code) == HF_CLASS_OUTCOME_UNKNOWN;
    bool waited = !r->answered;
    must(forward_reply(&w->forward, reply, w->now_ns) == waited);
}

static void run(struct world *w, struct slice in)
{
    while (in.size > 1) {
        uint8_t what = fuzz_byte(&in), how = fuzz_byte(&in);
        switch (what % 5) {
        case 0:
            a_request(w, fuzz_bytes(&in, (size_t)how * 4));
            break;
        case 1:
            a_reply(w, how, fuzz_bytes(&in, what / 5 * 4u));
            break;
        case 2:
            w->now_ns += how * 8 * NS_PER_MS;
            forward_tick(&w->forward, w->now_ns);
            break;
        case 3:
            w->moods = how;
            break;
        default: /* a number from the input */
            w->routes_at ^= how & 1;
            forward_leader_changed(&w->forward, 1 + how % 3, w->now_ns);
            break;
        }
    }
}

/* [ , "g") 1, ["g", "p") 2, ["p", ) 3; or with 2 and 3 the other way round. */
static void make_routes(bool swapped, Hf__Catalog__Routes *routes)
{
    static const char *const bounds[] = {"", "g", "p", ""};
    static Hf__Catalog__Range ranges[2][3];
    static Hf__Catalog__Route entries[2][3], *entry_list[2][3];
    static Hf__Catalog__Shard shards[2][3], *shard_list[2][3];
    static Hf__Catalog__Member members[3], *member_list[3];
    hf__catalog__routes__init(routes);
    for (uint32_t i = 0; i < 3; i++) {
        hf__catalog__member__init(&members[i]);
        members[i].replica = i + 1;
        member_list[i] = &members[i];
        hf__catalog__range__init(&ranges[swapped][i]);
        ranges[swapped][i].start = pack_bytes(slice_text(bounds[i]));
        ranges[swapped][i].end = pack_bytes(slice_text(bounds[i + 1]));
        hf__catalog__route__init(&entries[swapped][i]);
        entries[swapped][i].range = &ranges[swapped][i];
        entries[swapped][i].shard = swapped && i > 0 ? 4 - i : i + 1;
        entry_list[swapped][i] = &entries[swapped][i];
        hf__catalog__shard__init(&shards[swapped][i]);
        shards[swapped][i].shard = i + 1;
        shards[swapped][i].n_members = 3;
        shards[swapped][i].members = member_list;
        shard_list[swapped][i] = &shards[swapped][i];
    }
    routes->version = swapped ? 2 : 1;
    routes->cluster = CLUSTER;
    routes->n_routes = routes->n_shards = 3;
    routes->routes = entry_list[swapped];
    routes->shards = shard_list[swapped];
    must(routes_check(routes) == HF_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    Hf__Catalog__Routes routes[2];
    make_routes(false, &routes[0]);
    make_routes(true, &routes[1]);
    w = (struct world){.routes = {&routes[0], &routes[1]}, .now_ns = UINT64_C(1) << 40};
    const struct forward_port port = {
        .ctx = &w, .send = on_send, .pick = on_pick, .answer = on_answer, .reroute = on_reroute};
    forward_init(&w.forward, &port, 64, 1 << 20);
    w.forward.cluster = CLUSTER;
    run(&w, slice_make(data, size));
    w.now_ns += 3600 * 1000 * NS_PER_MS;
    forward_tick(&w.forward, w.now_ns);
    must(forward_pending(&w.forward) == 0);
    for (size_t i = 0; i < w.request_count; i++)
        must(w.requests[i].answered);
    forward_deinit(&w.forward);
    return 0;
}
