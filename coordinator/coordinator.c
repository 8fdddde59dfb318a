/* coordinator.c: the loop of a coordinator and the wires between its modules; see coordinator.h. */
#include "coordinator/coordinator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/digest.h"
#include "common/sys/failpoint.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "coordinator/migrate_port.h"
#include "coordinator/route.h"
#include "proto/pack.h"
#include "proto/requests.h"

/* ---- wires: what the modules ask of one another ---- */

static int send_attempt(void *ctx, uint32_t shard, uint32_t replica, struct slice frame)
{
    struct coordinator *c = ctx;
    if (shard == FORWARD_CLOCK)
        return active_send(&c->active, replica, frame);
    int rc = links_send(&c->links, shard, replica, frame);
    if (rc)
        leaders_lost(&c->leaders, shard, replica);
    return rc;
}

static uint32_t pick_replica(void *ctx, uint32_t shard, uint32_t avoid)
{
    struct coordinator *c = ctx;
    if (shard == FORWARD_CLOCK)
        return active_pick(&c->active); /* there is one; `avoid` finds no other */
    return leaders_pick(&c->leaders, shard, avoid);
}

static void answer_client(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    front_answer(ctx, client, reply);
}

/* A scan was cut by the old routes and a session lives in its shard: only the client can begin these anew. */
static enum forward_reroute reroute(void *ctx, struct slice body, uint32_t shard, uint32_t *out_shard)
{
    struct coordinator *c = ctx;
    struct arena arena = {0};
    struct route route;
    enum forward_reroute result = FORWARD_REFUSED;
    Hf__Client__Request *request = pack_unpack(&hf__client__request__descriptor, body, &arena);
    /* front.c unpacked it, but a scan was packed again since, and may just not fit the unpacker's budget. */
    if (request != NULL && request->op_case != HF__CLIENT__REQUEST__OP_SCAN &&
        route_request(c->catalog.routes, request, &route) == 0 && route.shard != 0) {
        *out_shard = route.shard;
        result = route.shard == shard ? FORWARD_SAME : FORWARD_MOVED;
    }
    arena_deinit(&arena);
    return result;
}

static void leader_changed(void *ctx, uint32_t shard)
{
    struct coordinator *c = ctx;
    uint32_t known = leaders_known(&c->leaders, shard);
    if (known < LINKS_SEED_ID) /* before the routes are known a seed has no number yet */
        diag(DIAG_INFO, "leader: shard=%" PRIu32 " replica=%" PRIu32, shard, known);
    forward_leader_changed(&c->forward, shard, clock_boot_ns());
}

static void gathered(void *ctx, void *client, Hf__Client__ClusterStatus *cluster)
{
    struct coordinator *c = ctx;
    struct forward_client *waits = client;
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.cluster = cluster;
    for (size_t i = 0; i < cluster->routes->n_shards; i++)
        cluster->routes->shards[i]->leader = leaders_known(&c->leaders, cluster->routes->shards[i]->shard);
    front_answer(c, waits, &reply);
    free(waits);
}

static const Hf__Catalog__Routes *cut_routes(void *ctx)
{
    struct coordinator *c = ctx;
    return c->catalog.routes;
}

static bool cut_led(void *ctx, uint32_t shard)
{
    struct coordinator *c = ctx;
    return leaders_known(&c->leaders, shard) != 0;
}

static void cut_said(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    if (call->tag != 0)
        cut_answered(&c->cut, call->tag, call->shard, reply ? reply->code : HF_E_UNAVAILABLE,
                     (struct hlc){reply ? reply->timestamp : 0}, clock_boot_ns());
}

static int cut_question(void *ctx, uint32_t shard, const Hf__Client__Hold *hold, bool wait, uint64_t now_ns)
{
    struct coordinator *c = ctx;
    if (hold->at != 0 && planted_bug("cut.no_hold")) /* one shard after the other */
        nanosleep(&(struct timespec){.tv_nsec = 5 * (long)CLOCK_NS_PER_MS}, NULL);
    Hf__Client__Hold copy = *hold;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = catalog_cluster(&c->catalog);
    request.op_case = HF__CLIENT__REQUEST__OP_HOLD;
    request.hold = &copy;
    return calls_send_leader(&c->calls, shard, &request, now_ns, CUT_CALL_MS, cut_said, c, wait ? hold->id : 0);
}

static int cut_draw(void *ctx, struct hlc above, struct hlc *out)
{
    struct coordinator *c = ctx;
    return oracle_issue_above(&c->oracle, above, out);
}

static bool resolve_active(void *ctx)
{
    struct coordinator *c = ctx;
    return oracle_active(&c->oracle);
}

static struct hlc resolve_now(void *ctx)
{
    struct coordinator *c = ctx;
    return oracle_now(&c->oracle);
}

static void resolve_list_said(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    resolve_listed(&c->resolve, call->shard, reply, clock_boot_ns());
}

static void resolve_said(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    resolve_answered(&c->resolve, call->tag, call->shard, reply, clock_boot_ns());
}

static int resolve_question(struct coordinator *c, uint32_t shard, Hf__Client__Request *request, uint64_t now_ns,
                            call_done *done, uint64_t look)
{
    if (leaders_known(&c->leaders, shard) == 0)
        return HF_E_UNAVAILABLE; /* takes no room of those that are led */
    request->cluster = catalog_cluster(&c->catalog);
    return calls_send_leader(&c->calls, shard, request, now_ns, RESOLVE_CALL_MS, done, c, look);
}

static int resolve_list(void *ctx, uint32_t shard, const Hf__Client__Txns *question, uint64_t now_ns)
{
    Hf__Client__Txns copy = *question;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_TXNS;
    request.txns = &copy;
    return resolve_question(ctx, shard, &request, now_ns, resolve_list_said, 0);
}

static int resolve_send(void *ctx, uint32_t shard, Hf__Client__Request *request, uint64_t look, uint64_t now_ns)
{
    return resolve_question(ctx, shard, request, now_ns, resolve_said, look);
}

static void lock_met(void *ctx, uint32_t shard, const Hf__Entry__TxnId *id, uint64_t now_ns)
{
    struct coordinator *c = ctx;
    resolve_met(&c->resolve, id, shard, now_ns);
}

static void txns_reply(void *ctx, const struct call *call, const Hf__Client__Reply *reply)
{
    struct coordinator *c = ctx;
    txns_said(&c->txns, call->tag, reply, clock_boot_ns());
}

static int txns_question(void *ctx, uint32_t shard, Hf__Client__Request *request, uint64_t question, uint64_t now_ns)
{
    struct coordinator *c = ctx;
    request->cluster = catalog_cluster(&c->catalog);
    request->route_version = catalog_version(&c->catalog);
    return calls_send_leader(&c->calls, shard, request, now_ns, TXNS_CALL_MS, txns_reply, c, question);
}

static bool txns_mine(void *ctx, const Hf__Entry__TxnId *id)
{
    struct coordinator *c = ctx;
    return txns_drives(&c->txns, id->home, id->session, id->seq);
}

/* A transaction, or an operator's wish of the migration job, that waited here for an active coordinator: nobody's peer. */
static void drive(void *ctx, uint64_t id, const Hf__Client__Request *request, uint64_t now_ns)
{
    const struct forward_client nobody = {.id = id};
    if (request->op_case == HF__CLIENT__REQUEST__OP_MIGRATE_JOB)
        front_migrate(ctx, &nobody, request, now_ns);
    else
        front_commit(ctx, &nobody, request, now_ns);
}

void coordinator_answer(struct coordinator *c, const struct forward_client *client, Hf__Client__Reply *reply)
{
    if (client->peer.size > 0) {
        front_answer(c, client, reply);
        return;
    }
    reply->version = REQUESTS_VERSION;
    reply->id = client->id;
    (void)forward_reply(&c->forward, reply, clock_boot_ns()); /* false: its time is over */
}

static void txns_answer(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply)
{
    coordinator_answer(ctx, client, reply);
}

static void sync_leaders(struct coordinator *c, uint32_t shard)
{
    uint32_t replicas[LIMIT_PEERS];
    leaders_members(&c->leaders, shard, replicas, links_replicas(&c->links, shard, replicas, LIMIT_PEERS));
}

static void routes_changed(void *ctx)
{
    struct coordinator *c = ctx;
    const Hf__Catalog__Routes *routes = c->catalog.routes;
    c->links_changed = true; /* the sockets of this turn's poll stay open until the turn ends */
    c->forward.cluster = c->oracle.cluster = routes->cluster;
    c->forward.route_version = routes->version;
}

static void apply_routes(struct coordinator *c)
{
    links_sync(&c->links, c->catalog.routes);
    for (size_t i = 0; i < c->catalog.routes->n_shards; i++)
        sync_leaders(c, c->catalog.routes->shards[i]->shard);
}

/* ---- replies of replicas ---- */

static void learn_leader(struct coordinator *c, const struct link *link, const Hf__Client__Reply *reply)
{
    if (reply->code != HF_E_NOT_LEADER)
        return;
    const struct link *hint = reply->leader ? links_find(&c->links, link->shard, reply->leader) : NULL;
    if (hint == NULL && reply->leader_endpoint[0] != '\0')
        hint = links_find_endpoint(&c->links, link->shard, reply->leader_endpoint);
    if (!leaders_hint(&c->leaders, link->shard, link->replica, hint ? hint->replica : 0))
        return;
    count(COUNTER_LEADER_CHANGES);
    leader_changed(c, link->shard);
}

static void take_reply(struct coordinator *c, struct link *link, struct slice bytes, uint64_t now_ns)
{
    Hf__Client__Reply *reply = pack_unpack(&hf__client__reply__descriptor, bytes, &c->arena);
    if (reply == NULL || !requests_reply_ok(reply)) {
        count(COUNTER_STRAY); /* I11 */
        return;
    }
    link->heard_ns = now_ns;
    if (reply->id == BEAT_ID) {
        link->wants_routes = reply->route_version < catalog_version(&c->catalog);
        link->question = reply->fresh;
        if (link->question && c->catalog.routes)
            beat_answer(&c->beat, link, c->catalog.routes);
        catalog_heard(&c->catalog, reply->route_version, now_ns);
        return;
    }
    catalog_heard(&c->catalog, reply->route_version, now_ns);
    if (reply->routes && reply->routes->version > catalog_version(&c->catalog) && c->catalog.routes) {
        struct buf packed = {0};
        pack_append(&reply->routes->base, &packed);
        int rc = catalog_offer(&c->catalog, buf_slice(&packed));
        if (rc)
            diag(DIAG_WARN, "routes of a replica not taken: shard=%" PRIu32 " replica=%" PRIu32 ": %s", link->shard,
                 link->replica, error_text(rc));
        buf_deinit(&packed);
    }
    learn_leader(c, link, reply);
    bool known = (reply->id & CALLS_ID_BIT) ? calls_reply(&c->calls, link->shard, link->replica, reply)
                                            : forward_reply(&c->forward, reply, now_ns);
    if (!known)
        count(COUNTER_STRAY);
}

static void link_receive(struct coordinator *c, struct link *link, uint64_t now_ns)
{
    for (size_t i = 0; i < TURN_MESSAGES; i++) {
        struct net_message message;
        int rc = net_receive(link->socket, NULL, &message);
        if (rc == HF_E_PROTOCOL)
            continue;
        if (rc)
            return;
        take_reply(c, link, net_message_data(&message), now_ns);
        net_message_release(&message);
        arena_reset(&c->arena);
    }
}

static void take_clock_reply(struct coordinator *c, struct slice bytes, uint64_t now_ns)
{
    Hf__Client__Reply *reply = pack_unpack(&hf__client__reply__descriptor, bytes, &c->arena);
    bool known = reply != NULL && reply->version == 1 && !(reply->id & CALLS_ID_BIT) &&
                 forward_reply(&c->forward, reply, now_ns);
    if (!known)
        count(COUNTER_STRAY); /* I11 */
}

static void active_receive(struct coordinator *c, uint64_t now_ns)
{
    for (size_t i = 0; i < TURN_MESSAGES; i++) {
        struct net_message message;
        int rc = net_receive(c->active.socket, NULL, &message);
        if (rc == HF_E_PROTOCOL)
            continue;
        if (rc)
            return;
        take_clock_reply(c, net_message_data(&message), now_ns);
        net_message_release(&message);
        arena_reset(&c->arena);
    }
}

/* ---- the loop ---- */

enum { ITEM_STOP, ITEM_FRONT, ITEM_LINKS }; /* the active coordinator's, if there is one, comes last */

static void rebuild_items(struct coordinator *c)
{
    size_t active = ITEM_LINKS + c->links.count;
    c->item_count = active + (c->active.socket != NULL);
    c->items = realloc(c->items, c->item_count * sizeof *c->items);
    must(c->items != NULL); /* out of memory */
    c->items[ITEM_FRONT] = (struct net_poll_item){.socket = c->front.socket};
    for (size_t i = 0; i < c->links.count; i++)
        c->items[ITEM_LINKS + i] = (struct net_poll_item){.socket = c->links.all[i]->socket};
    if (c->active.socket != NULL)
        c->items[active] = (struct net_poll_item){.socket = c->active.socket};
    c->links_changed = false;
}

static void tick(struct coordinator *c, uint64_t now_ns)
{
    Hf__Catalog__Routes *routes = c->catalog.routes;
    calls_tick(&c->calls, now_ns);
    forward_tick(&c->forward, now_ns);
    catalog_tick(&c->catalog, now_ns);
    oracle_tick(&c->oracle, routes != NULL, now_ns);
    cut_tick(&c->cut, now_ns);
    struct hlc issued = c->oracle.clock.last; /* whatever is issued later lies above */
    bool active = oracle_active(&c->oracle);
    retain_tick(&c->retain, active, issued, clock_boot_ns());
    txns_tick(&c->txns, now_ns);
    resolve_tick(&c->resolve, now_ns);
    migrate_tick(&c->migrate, now_ns);
    status_tick(&c->status, now_ns);
    if (routes != NULL) {
        renewals_tick(&c->renewals, routes, now_ns);
        beat_tick(&c->beat, routes, now_ns);
    }
    /* Stays true through trouble of some shard: others are served, and the trouble shows in status. */
    c->ready = !c->front.stopping && routes != NULL && c->oracle.clock.key_known;
    c->next_tick_ns = now_ns + TICK_MS * CLOCK_NS_PER_MS;
}

static void turn(struct coordinator *c, int stop_fd)
{
    c->items[ITEM_STOP] = (struct net_poll_item){.fd = stop_fd};
    size_t first = c->front.stopping ? ITEM_FRONT : ITEM_STOP; /* the descriptor stays readable once it was */
    uint64_t now_ns = clock_boot_ns();
    long wait_ms = c->next_tick_ns > now_ns ? (long)((c->next_tick_ns - now_ns) / CLOCK_NS_PER_MS) + 1 : 0;
    c->items[ITEM_STOP].readable = false;
    int rc = net_poll(c->items + first, c->item_count - first, wait_ms);
    must(rc >= 0); /* sockets and descriptor are ours */
    now_ns = clock_boot_ns();
    if (c->items[ITEM_STOP].readable)
        c->front.stopping = true;
    for (size_t i = 0; i < c->links.count; i++)
        if (c->items[ITEM_LINKS + i].readable)
            link_receive(c, c->links.all[i], now_ns);
    if (c->active.socket != NULL && c->items[c->item_count - 1].readable)
        active_receive(c, now_ns);
    if (c->items[ITEM_FRONT].readable)
        front_receive(c, now_ns);
    active_serve(&c->active, now_ns);
    if (now_ns >= c->next_tick_ns)
        tick(c, now_ns);
    if (c->links_changed)
        apply_routes(c);
    bool followed = active_follow(&c->active, now_ns);
    if (c->links_changed || followed)
        rebuild_items(c);
}

void coordinator_run(struct coordinator *c, int stop_fd)
{
    while (!c->front.stopping)
        turn(c, stop_fd);
    diag(DIAG_INFO, "stopping: pending=%" PRIu64, forward_pending(&c->forward));
    uint64_t end_ns = clock_boot_ns() + DRAIN_MS_MAX * CLOCK_NS_PER_MS;
    while ((forward_pending(&c->forward) > 0 || c->txns.count > 0 || c->migrate.client_count > 0 ||
            c->status.gather_count > 0) &&
           clock_boot_ns() < end_ns)
        turn(c, stop_fd);
    end_ns = clock_boot_ns() + DRAIN_FLUSH_MS * CLOCK_NS_PER_MS;
    while (clock_boot_ns() < end_ns)
        turn(c, stop_fd);
}

/* ---- life ---- */

static int seed(struct coordinator *c)
{
    char *text = strdup(c->options.seeds), *rest = text;
    must(text != NULL); /* out of memory */
    int rc = HF_OK;
    for (char *one; rc == HF_OK && (one = strsep(&rest, ",")) != NULL;) {
        if (*one == '\0')
            continue;
        rc = links_seed(&c->links, one);
        if (rc)
            diag(DIAG_ERROR, "--seeds: cannot use \"%s\": %s", one, error_text(rc));
    }
    if (rc == HF_OK && c->links.count == 0) {
        diag(DIAG_ERROR, "--seeds names no endpoint");
        rc = HF_E_INVALID;
    }
    free(text);
    return rc;
}

static void wire(struct coordinator *c)
{
    const struct forward_port forward_port = {.ctx = c,
                                              .send = send_attempt,
                                              .pick = pick_replica,
                                              .answer = answer_client,
                                              .reroute = reroute,
                                              .locked = lock_met};
    const struct cut_port cut_port = {
        .ctx = c, .routes = cut_routes, .led = cut_led, .ask = cut_question, .draw = cut_draw, .answer = answer_client};
    const struct resolve_port resolve_port = {.ctx = c,
                                              .routes = cut_routes,
                                              .active = resolve_active,
                                              .now = resolve_now,
                                              .drives = txns_mine,
                                              .list = resolve_list,
                                              .ask = resolve_send,
                                              .answer = answer_client};
    const struct txns_port txns_port = {.ctx = c,
                                        .routes = cut_routes,
                                        .active = resolve_active,
                                        .ask = txns_question,
                                        .draw = cut_draw,
                                        .locked = lock_met,
                                        .answer = txns_answer};
    const struct status_port status_port = {.ctx = c, .leader_changed = leader_changed, .gathered = gathered};
    const char *endpoint = c->options.endpoint ? c->options.endpoint : c->options.listen;
    links_init(&c->links, c->net, (int)c->options.queue_max + LINK_HWM_SLACK);
    calls_init(&c->calls, &c->links, &c->leaders);
    catalog_init(&c->catalog, &c->calls, routes_changed, c);
    forward_init(&c->forward, &forward_port, c->options.queue_max, FORWARD_SHARD_BYTES);
    oracle_init(&c->oracle, &c->calls, (uint32_t)c->options.id, endpoint, digest_random_u64() >> 16);
    active_init(&c->active, c->net, &c->oracle, &c->retain, &c->forward, endpoint);
    renewals_init(&c->renewals, &c->calls, &c->oracle, &c->retain);
    retain_init(&c->retain, c->options.retain_lease_seconds * 1000);
    beat_init(&c->beat, &c->links, &c->oracle);
    cut_init(&c->cut, &cut_port, digest_random_u64());
    resolve_init(&c->resolve, &resolve_port);
    txns_init(&c->txns, &txns_port, c->options.txn_ttl_ms);
    migrate_port_init(c);
    c->active.drive = drive;
    c->active.ctx = c;
    status_init(&c->status, &status_port);
    c->status.calls = &c->calls;
    c->status.links = &c->links;
    c->status.leaders = &c->leaders;
    c->status.catalog = &c->catalog;
    c->status.oracle = &c->oracle;
    c->status.endpoint = endpoint;
}

int coordinator_open(const struct coordinator_options *options, struct coordinator **out)
{
    struct coordinator *c = calloc(1, sizeof *c);
    must(c != NULL); /* out of memory */
    c->options = *options;
    c->net = net_new(1, (int)LINKS_MAX + 16);
    wire(c);
    int rc = front_open(&c->front, c->net, options->listen, options->connections_max);
    if (rc)
        diag(DIAG_ERROR, "cannot listen: endpoint=%s: %s", options->listen, net_listen_text(rc));
    else
        rc = seed(c);
    if (rc) {
        coordinator_close(&c);
        return rc;
    }
    sync_leaders(c, COORDINATOR_CATALOG_SHARD);
    rebuild_items(c);
    *out = c;
    return HF_OK;
}

void coordinator_close(struct coordinator **out)
{
    struct coordinator *c = *out;
    if (c == NULL)
        return;
    calls_deinit(&c->calls); /* first: ends what others wait for */
    migrate_deinit(&c->migrate);
    cut_deinit(&c->cut);
    txns_deinit(&c->txns);
    resolve_deinit(&c->resolve);
    status_deinit(&c->status);
    beat_deinit(&c->beat);
    renewals_deinit(&c->renewals);
    retain_deinit(&c->retain);
    active_deinit(&c->active);
    oracle_deinit(&c->oracle);
    forward_deinit(&c->forward);
    catalog_deinit(&c->catalog);
    leaders_deinit(&c->leaders);
    links_deinit(&c->links);
    front_close(&c->front);
    arena_deinit(&c->arena);
    free(c->items);
    net_free(&c->net);
    free(c);
    *out = NULL;
}
