/* bootstrap.c: bootstrap FILE: makes a new cluster of replicas that wait in fresh directories.
 *
 *   1. ask every replica who it is (shard, replica, incarnation, cluster)
 *   2. none belongs to a cluster: draw an id. Some do: they must agree with each other and with FILE; take theirs over
 *   3. tell every fresh one: cluster, members with incarnations, range, group constants (its commit point is its own)
 *   4. when shard 1 has a leader, write the catalog key "routes", if absent
 *
 * Each step may be repeated after a crash of anybody: what is done already is found done. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/admin.h"
#include "client/cli/cli.h"
#include "client/cli/clusterfile.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/digest.h"
#include "proto/pack.h"

#define PATIENCE_MS 30000u /* for the election; --timeout bounds each request */
#define POLL_MS 20
#define CATALOG_KEY "routes"
#define CATALOG_SHARD 1u

struct bootstrap {
    struct cli *c;
    struct admin *a;
    struct clusterfile file;
    struct admin_question *asked; /* one a replica, in the file's order */
    size_t count;
    uint32_t feature_level; /* that all of them know */
    bool repeated;          /* somebody was bootstrapped before */
};

typedef int visit_fn(struct bootstrap *b, const Hf__Catalog__Shard *s, Hf__Catalog__Member *m, size_t i);

/* Calls fn for each replica of the file until one fails. */
static int each(struct bootstrap *b, visit_fn *fn)
{
    size_t at = 0;
    for (size_t s = 0; s < b->file.routes.n_shards; s++) {
        const Hf__Catalog__Shard *shard = b->file.routes.shards[s];
        for (size_t m = 0; m < shard->n_members; m++, at++) {
            int rc = fn(b, shard, shard->members[m], at);
            if (rc)
                return rc;
        }
    }
    return HF_OK;
}

/* ---- 1: who are you ---- */

static int count_one(struct bootstrap *b, const Hf__Catalog__Shard *s, Hf__Catalog__Member *m, size_t i)
{
    (void)s;
    (void)m;
    b->count = i + 1;
    return HF_OK;
}

static int name_endpoint(struct bootstrap *b, const Hf__Catalog__Shard *s, Hf__Catalog__Member *m, size_t i)
{
    (void)s;
    b->asked[i].endpoint = m->client_endpoint;
    return HF_OK;
}

static int check_answer(struct bootstrap *b, const Hf__Catalog__Shard *s, Hf__Catalog__Member *m, size_t i)
{
    const Hf__Client__Reply *reply = b->asked[i].reply;
    const Hf__Client__Status *said = reply && reply->code == HF_OK ? reply->status : NULL;
    if (!said)
        return cli_error(b->c, HF_E_UNAVAILABLE,
                         "bootstrap: replica %" PRIu32 "/%" PRIu32 " at %s does not answer; "
                         "start holdfast-shard there and repeat",
                         s->shard, m->replica, m->client_endpoint);
    if (said->shard != s->shard || said->replica != m->replica)
        return cli_error(b->c, HF_E_REFUSED,
                         "bootstrap: at %s runs replica %" PRIu32 "/%" PRIu32 ", the file says %" PRIu32 "/%" PRIu32,
                         m->client_endpoint, said->shard, said->replica, s->shard, m->replica);
    m->incarnation = said->incarnation;
    uint32_t knows = said->feature_level ? said->feature_level : 1; /* earlier programs do not say */
    if (b->feature_level == 0 || knows < b->feature_level)
        b->feature_level = knows;
    if (said->cluster == 0)
        return HF_OK;
    b->repeated = true;
    if (b->file.routes.cluster != 0 && b->file.routes.cluster != said->cluster)
        return cli_error(b->c, HF_E_REFUSED,
                         "bootstrap: replica %" PRIu32 "/%" PRIu32 " belongs to cluster %016" PRIx64
                         ", others to %016" PRIx64 "; wipe the directory that is wrong",
                         s->shard, m->replica, said->cluster, b->file.routes.cluster);
    b->file.routes.cluster = said->cluster;
    return HF_OK;
}

static int ask_all(struct bootstrap *b)
{
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_STATUS;
    request.status = &empty;
    int rc = each(b, count_one);
    (void)rc; /* counting does not fail */
    b->asked = arena_zalloc(&b->c->arena, b->count * sizeof *b->asked);
    rc = each(b, name_endpoint);
    (void)rc;
    for (size_t i = 0; i < b->count; i++)
        b->asked[i].request = &request;
    admin_ask(b->a, b->asked, b->count, (struct admin_patience){.deadline_ms = b->c->timeout_ms});
    return each(b, check_answer);
}

/* ---- 2: do those who are members already agree with the file ---- */

static bool same_member(const Hf__Catalog__Member *a, const Hf__Catalog__Member *b)
{
    return a->replica == b->replica && a->incarnation == b->incarnation && a->role == b->role &&
           strcmp(a->raft_endpoint, b->raft_endpoint) == 0 && strcmp(a->client_endpoint, b->client_endpoint) == 0;
}

static bool same_members(const Hf__Catalog__Shard *file, const Hf__Catalog__Members *said)
{
    if (!said || said->n_members != file->n_members)
        return false;
    for (size_t i = 0; i < file->n_members; i++) {
        bool found = false;
        for (size_t j = 0; j < said->n_members; j++)
            found |= same_member(file->members[i], said->members[j]);
        if (!found)
            return false;
    }
    return true;
}

static const Hf__Catalog__Range *range_of(const struct bootstrap *b, uint32_t shard)
{
    for (size_t i = 0; i < b->file.routes.n_routes; i++)
        if (b->file.routes.routes[i]->shard == shard)
            return b->file.routes.routes[i]->range;
    must(false); /* clusterfile_read makes one range a shard */
    return NULL;
}

static int check_member(struct bootstrap *b, const Hf__Catalog__Shard *s, Hf__Catalog__Member *m, size_t i)
{
    const Hf__Client__Status *said = b->asked[i].reply->status;
    const Hf__Catalog__Range *range = range_of(b, s->shard);
    if (said->cluster == 0)
        return HF_OK;
    bool same_range = said->range && slice_equal(pack_slice(said->range->start), pack_slice(range->start)) &&
                      slice_equal(pack_slice(said->range->end), pack_slice(range->end));
    if (same_range && same_members(s, said->members))
        return HF_OK;
    return cli_error(b->c, HF_E_REFUSED,
                     "bootstrap: replica %" PRIu32 "/%" PRIu32 " is a member already, with another %s than "
                     "the file and the directories now say; bootstrap makes new clusters only",
                     s->shard, m->replica, same_range ? "list of members or incarnations" : "range");
}

/* ---- 3: you are ---- */

static int tell(struct bootstrap *b, const Hf__Catalog__Shard *s, Hf__Catalog__Member *m, size_t i)
{
    if (b->asked[i].reply->status->cluster != 0)
        return HF_OK;
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    Hf__Catalog__Bootstrap order = HF__CATALOG__BOOTSTRAP__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    members.index = 1;
    members.members = s->members;
    members.n_members = s->n_members;
    order.cluster = b->file.routes.cluster;
    order.shard = s->shard;
    order.replica = m->replica;
    order.incarnation = m->incarnation;
    order.members = &members;
    order.range = (Hf__Catalog__Range *)(uintptr_t)range_of(b, s->shard); /* packing only reads */
    order.heartbeat_ms = b->file.heartbeat_ms;
    order.election_ms = b->file.election_ms;
    order.feature_level = b->feature_level;
    request.op_case = HF__CLIENT__REQUEST__OP_BOOTSTRAP;
    request.bootstrap = &order;
    Hf__Client__Reply *reply;
    int rc = admin_ask_one(b->a, m->client_endpoint, &request, b->c->timeout_ms, &reply);
    if (rc)
        rc = cli_error(b->c, rc, "bootstrap: replica %" PRIu32 "/%" PRIu32 " at %s: %s; repeat when that is mended",
                       s->shard, m->replica, m->client_endpoint, reply ? reply->message : hf_error_text(rc));
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
    return rc;
}

/* ---- 4: the catalog ---- */

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* A request to whoever of shard 1 takes it. HF_OK or the last refusal; *out_reply as admin_ask_one. */
static int ask_catalog(struct bootstrap *b, Hf__Client__Request *request, Hf__Client__Reply **out_reply)
{
    const Hf__Catalog__Shard *s = b->file.routes.shards[0];
    for (size_t i = 0; i < b->file.routes.n_shards; i++)
        if (b->file.routes.shards[i]->shard == CATALOG_SHARD)
            s = b->file.routes.shards[i];
    uint64_t deadline_ns = clock_boot_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;
    request->cluster = b->file.routes.cluster;
    request->shard = CATALOG_SHARD;
    request->space = HF__ENTRY__SPACE__CATALOG;
    int rc = HF_E_UNAVAILABLE;
    for (size_t at = 0; clock_boot_ns() < deadline_ns; at++) {
        const char *endpoint = s->members[at % s->n_members]->client_endpoint;
        rc = admin_ask_one(b->a, endpoint, request, 1000, out_reply);
        enum hf_class cls = hf_error_class(rc);
        if (*out_reply && (rc == HF_OK || cls == HF_CLASS_GIVE_UP || cls == HF_CLASS_REFRESH_ROUTE))
            return rc;
        if (*out_reply)
            hf__client__reply__free_unpacked(*out_reply, NULL);
        *out_reply = NULL;
        if (at % s->n_members == s->n_members - 1)
            pause_ms(POLL_MS);
    }
    return rc == HF_OK ? HF_E_UNAVAILABLE : rc;
}

static int catalog_error(struct bootstrap *b, int rc, const Hf__Client__Reply *reply)
{
    return cli_error(b->c, rc, "bootstrap: shard %u did not take the routes: %s; the replicas are bootstrapped, repeat",
                     CATALOG_SHARD, reply && reply->message[0] ? reply->message : hf_error_text(rc));
}

/* The key is there: from an earlier run of the same bootstrap? */
static int compare_routes(struct bootstrap *b)
{
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    get.key = pack_bytes(slice_text(CATALOG_KEY));
    request.op_case = HF__CLIENT__REQUEST__OP_GET;
    request.get = &get;
    Hf__Client__Reply *reply = NULL;
    int rc = ask_catalog(b, &request, &reply);
    if (rc) {
        rc = catalog_error(b, rc, reply);
    } else {
        Hf__Catalog__Routes *routes = pack_unpack_owned(&hf__catalog__routes__descriptor, pack_slice(reply->value));
        if (!routes || routes->cluster != b->file.routes.cluster)
            rc = cli_error(b->c, HF_E_REFUSED, "bootstrap: shard %u holds routes of another cluster", CATALOG_SHARD);
        if (routes)
            hf__catalog__routes__free_unpacked(routes, NULL);
    }
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
    return rc;
}

static int write_routes(struct bootstrap *b)
{
    size_t size = hf__catalog__routes__get_packed_size(&b->file.routes);
    uint8_t *packed = arena_alloc(&b->c->arena, size + 1);
    hf__catalog__routes__pack(&b->file.routes, packed);
    Hf__Client__Cas cas = HF__CLIENT__CAS__INIT; /* has_expected false: absent */
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    cas.key = pack_bytes(slice_text(CATALOG_KEY));
    cas.value = pack_bytes(slice_make(packed, size));
    request.op_case = HF__CLIENT__REQUEST__OP_CAS;
    request.cas = &cas;
    Hf__Client__Reply *reply = NULL;
    int rc = ask_catalog(b, &request, &reply);
    if (rc == HF_E_COMPARE_FAILED)
        rc = compare_routes(b);
    else if (rc)
        rc = catalog_error(b, rc, reply);
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
    return rc;
}

static int run(struct bootstrap *b)
{
    int rc = ask_all(b);
    if (!rc && b->file.routes.cluster == 0)
        b->file.routes.cluster = digest_random_u64();
    if (!rc)
        rc = each(b, check_member);
    if (!rc)
        rc = each(b, tell);
    if (!rc)
        rc = write_routes(b);
    if (rc)
        return rc;
    const Hf__Catalog__Routes *r = &b->file.routes;
    if (b->c->json)
        printf("{\"cluster\":\"%016" PRIx64 "\",\"shards\":%zu,\"replicas\":%zu,\"repeated\":%s}\n", r->cluster,
               r->n_shards, b->count, b->repeated ? "true" : "false");
    else
        printf("cluster %016" PRIx64 " bootstrapped: %zu shards, %zu replicas%s\n", r->cluster, r->n_shards, b->count,
               b->repeated ? " (some were members already)" : "");
    return cli_flush_done(b->c, CLI_OK);
}

int bootstrap_run(struct cli *c)
{
    struct bootstrap b = {.c = c};
    char message[512];
    int rc = clusterfile_read(c->arguments[0].text, &c->arena, &b.file, message);
    if (rc)
        return cli_error(c, HF_E_INVALID, "bootstrap: %s: %s", c->arguments[0].text, message);
    digest_init();
    b.a = admin_open();
    if (!b.a)
        return cli_error(c, HF_E_NO_MEMORY, NULL);
    rc = run(&b);
    if (b.asked)
        admin_forget(b.asked, b.count);
    admin_close(&b.a);
    return rc;
}
