/* cluster.c: status, members, routes: what the cluster says of itself, for people and as JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/cli/job.h"
#include "client/cli/problems.h"
#include "client/cli/text.h"
#include "client/status.h"
#include "proto/pack.h"

#define WATCH_MS 1000

/* ---- status ---- */

static void json_text(const char *text)
{
    text_json(stdout, slice_text(text));
}

static void print_leader(const struct status_shard *s, const char *quote, const char *none)
{
    if (s->leader)
        printf("%s%" PRIu32 "/%" PRIu32 "%s", quote, s->shard, s->leader, quote);
    else
        fputs(none, stdout);
}

static void json_replica(const struct status_shard *s, const struct status_replica *r)
{
    printf("{\"name\":\"%" PRIu32 "/%" PRIu32 "\",\"replica\":%" PRIu32 ",\"role\":\"%s\",\"state\":\"%s\"", s->shard,
           r->member->replica, r->member->replica, r->role, r->state);
    if (r->said)
        printf(",\"applied\":%" PRIu64 ",\"durable_applied\":%" PRIu64 ",\"lag\":%" PRIu64 ",\"snapshot\":%" PRIu64
               ",\"replay_bytes\":%" PRIu64 ",\"log_first\":%" PRIu64 ",\"disk_free\":%" PRIu64
               ",\"change_bytes\":%" PRIu64 "}",
               r->said->applied, r->said->durable_applied, r->lag, r->said->snapshot, r->said->replay_bytes,
               r->said->log_first, r->said->disk_free, r->said->change_bytes);
    else
        fputs(",\"applied\":null,\"durable_applied\":null,\"lag\":null,\"snapshot\":null,\"replay_bytes\":null,"
              "\"log_first\":null,\"disk_free\":null,\"change_bytes\":null}",
              stdout);
}

static void json_shard(const struct status_shard *s)
{
    printf("{\"shard\":%" PRIu32 ",\"leader\":", s->shard);
    print_leader(s, "\"", "null");
    printf(",\"term\":%" PRIu64 ",\"engine\":", s->term);
    json_text(s->engine);
    printf(",\"log_epoch\":%" PRIu32 ",\"commit\":%" PRIu64 ",\"survives\":%" PRIu32 ",\"replicas\":[", s->log_epoch,
           s->commit, s->survives);
    for (size_t i = 0; i < s->count; i++) {
        fputs(i ? "," : "", stdout);
        json_replica(s, &s->replicas[i]);
    }
    fputs("]}", stdout);
}

static void json_limits(const struct hf_cluster_status *s)
{
    fputs(",\"limits\":{", stdout);
    const Hf__Client__Status *said = NULL;
    for (size_t i = 0; i < s->shards_count && !said; i++)
        for (size_t r = 0; r < s->shards[i].count && !said; r++)
            said = s->shards[i].replicas[r].said;
    for (size_t i = 0; said && i < said->n_limits; i++) {
        fputs(i ? "," : "", stdout);
        json_text(said->limits[i]->key);
        printf(":%" PRIu64, said->limits[i]->value);
    }
    putchar('}');
}

static void json_problem(void *ctx, const char *text)
{
    const char **comma = ctx;
    fputs(*comma, stdout);
    json_text(text);
    *comma = ",";
}

static void json_status(const struct hf_cluster_status *s)
{
    if (s->cluster)
        printf("{\"cluster\":\"%016" PRIx64 "\"", s->cluster);
    else
        fputs("{\"cluster\":null", stdout);
    printf(",\"healthy\":%s,\"coordinators\":[", s->healthy ? "true" : "false");
    for (size_t i = 0; i < s->coordinators_count; i++) {
        const struct status_coordinator *c = &s->coordinators[i];
        printf("%s{\"id\":%" PRIu32 ",\"endpoint\":", i ? "," : "", c->id);
        json_text(c->endpoint);
        printf(",\"active\":%s,\"reachable\":%s", c->active ? "true" : "false", c->reachable ? "true" : "false");
        if (c->told)
            printf(",\"ceiling_ms\":%" PRIu64 ",\"skew_ms\":%" PRId64 ",\"clock_refused\":%s}", c->ceiling_ms,
                   c->skew_ms, c->clock_refused ? "true" : "false");
        else
            fputs(",\"ceiling_ms\":null,\"skew_ms\":null,\"clock_refused\":null}", stdout);
    }
    fputs("],\"shards\":[", stdout);
    for (size_t i = 0; i < s->shards_count; i++) {
        fputs(i ? "," : "", stdout);
        json_shard(&s->shards[i]);
    }
    fputs("],\"jobs\":[", stdout);
    if (s->job)
        job_json_brief(s->job);
    fputs("],\"problems\":[", stdout);
    const char *comma = "";
    problems_each(s, json_problem, &comma);
    putchar(']');
    json_limits(s);
    fputs("}\n", stdout);
}

static void table_problem(void *ctx, const char *text)
{
    (void)ctx;
    printf("  %s\n", text);
}

static void table_coordinators(const struct hf_cluster_status *s)
{
    if (s->coordinators_count > 0)
        puts("\nCOORDINATOR  ENDPOINT                      STATE        CEILING                   CLOCK");
    for (size_t i = 0; i < s->coordinators_count; i++) {
        const struct status_coordinator *c = &s->coordinators[i];
        char id[16] = "-", ceiling[TEXT_TIME_BYTES] = "-", skew[32] = "-";
        if (c->id)
            snprintf(id, sizeof id, "%" PRIu32, c->id);
        if (c->told && c->ceiling_ms)
            text_time(c->ceiling_ms, ceiling);
        if (c->told)
            snprintf(skew, sizeof skew, "%+" PRId64 " ms%s", c->skew_ms, c->clock_refused ? ", refused" : "");
        printf("%-11s  %-28s  %-11s  %-24s  %s\n", id, c->endpoint,
               !c->reachable ? "unreachable"
               : c->active   ? "active"
                             : "standby",
               ceiling, skew);
    }
}

static void table_shards(const struct hf_cluster_status *s)
{
    if (s->shards_count > 0)
        puts("\nSHARD  LEADER  TERM      COMMIT        ENGINE   SURVIVES");
    for (size_t i = 0; i < s->shards_count; i++) {
        const struct status_shard *one = &s->shards[i];
        char leader[32] = "none";
        if (one->leader)
            snprintf(leader, sizeof leader, "%" PRIu32 "/%" PRIu32, one->shard, one->leader);
        char survives[32] = "no quorum";
        if (one->voters_ready > one->voters / 2)
            snprintf(survives, sizeof survives, "%" PRIu32 " more", one->survives);
        printf("%-5" PRIu32 "  %-6s  %-8" PRIu64 "  %-12" PRIu64 "  %-7s  %s\n", one->shard, leader, one->term,
               one->commit, one->engine, survives);
    }
}

static void table_replicas(const struct hf_cluster_status *s)
{
    if (s->shards_count > 0)
        puts("\nREPLICA  ROLE      STATE        APPLIED       DURABLE       LAG");
    for (size_t i = 0; i < s->shards_count; i++)
        for (size_t r = 0; r < s->shards[i].count; r++) {
            const struct status_replica *one = &s->shards[i].replicas[r];
            char name[32];
            snprintf(name, sizeof name, "%" PRIu32 "/%" PRIu32, s->shards[i].shard, one->member->replica);
            if (one->said)
                printf("%-7s  %-8s  %-11s  %-12" PRIu64 "  %-12" PRIu64 "  %" PRIu64 "\n", name, one->role, one->state,
                       one->said->applied, one->said->durable_applied, one->lag);
            else
                printf("%-7s  %-8s  %-11s  %-12s  %-12s  -\n", name, one->role, one->state, "-", "-");
        }
}

static void table_status(const struct hf_cluster_status *s)
{
    char cluster[32] = "unknown";
    if (s->cluster)
        snprintf(cluster, sizeof cluster, "%016" PRIx64, s->cluster);
    printf("cluster %s  %s\n", cluster, s->healthy ? "healthy" : "DEGRADED");
    problems_each(s, table_problem, NULL);
    if (s->job)
        job_table_brief(s->job);
    table_coordinators(s);
    table_shards(s);
    table_replicas(s);
}

/* Asks once. HF_OK and *out, or an exit code after saying why and *out NULL as before. */
static int collect(struct cli *c, struct hf_cluster_status **out)
{
    int rc = cli_check_endpoints(c);
    if (rc)
        return rc;
    struct admin *a = admin_open();
    rc = a ? status_collect(a, c->endpoints, c->timeout_ms, out) : HF_E_NO_MEMORY;
    admin_close(&a);
    return rc ? cli_error(c, rc, NULL) : HF_OK;
}

int cluster_status(struct cli *c)
{
    for (;;) {
        struct hf_cluster_status *s = NULL;
        int rc = collect(c, &s);
        if (!s)
            return rc;
        if (c->watch && !c->json)
            fputs("\x1b[H\x1b[2J", stdout);
        if (c->json)
            json_status(s);
        else
            table_status(s);
        rc = cli_flush(c, s->healthy ? CLI_OK : CLI_DEGRADED);
        status_free(&s);
        if (!c->watch || (rc != CLI_OK && rc != CLI_DEGRADED))
            return rc;
        nanosleep(&(struct timespec){.tv_sec = WATCH_MS / 1000, .tv_nsec = WATCH_MS % 1000 * 1000000L}, NULL);
    }
}

int cluster_act(struct cli *c, cluster_act_fn *act, const void *ctx)
{
    int rc = cli_check_endpoints(c);
    if (rc)
        return rc;
    struct hf_cluster_status *s = NULL;
    struct admin *a = admin_open();
    rc = a ? status_find(a, c->endpoints, c->timeout_ms, &s) : HF_E_NO_MEMORY;
    if (rc)
        rc = cli_error(c, rc, NULL);
    else
        rc = s->routes ? act(c, a, s, ctx) : cli_no_routes(c);
    status_free(&s);
    admin_close(&a);
    return rc;
}

/* ---- members and routes ---- */

/* The cluster's routes, or an exit code after saying that nobody told them. */
static int collect_routes(struct cli *c, struct hf_cluster_status **out)
{
    int rc = collect(c, out);
    if (!*out || (*out)->routes)
        return rc;
    status_free(out);
    return cli_no_routes(c);
}

static void member_json(uint32_t shard, const struct status_replica *r)
{
    const Hf__Catalog__Member *m = r->member;
    printf("{\"name\":\"%" PRIu32 "/%" PRIu32 "\",\"shard\":%" PRIu32 ",\"replica\":%" PRIu32
           ",\"role\":\"%s\",\"state\":\"%s\""
           ",\"incarnation\":\"%016" PRIx64 "\",\"raft\":",
           shard, m->replica, shard, m->replica, m->role == HF__CATALOG__ROLE__LEARNER ? "learner" : "voter", r->state,
           m->incarnation);
    json_text(m->raft_endpoint);
    fputs(",\"client\":", stdout);
    json_text(m->client_endpoint);
    putchar('}');
}

int cluster_members(struct cli *c)
{
    struct hf_cluster_status *s = NULL;
    int rc = collect_routes(c, &s);
    if (!s)
        return rc;
    fputs(c->json ? "{\"members\":[" : "MEMBER  ROLE     STATE        CLIENT                        RAFT\n", stdout);
    const char *comma = "";
    for (size_t i = 0; i < s->shards_count; i++)
        for (size_t r = 0; r < s->shards[i].count; r++) {
            const struct status_replica *one = &s->shards[i].replicas[r];
            if (c->json) {
                fputs(comma, stdout);
                member_json(s->shards[i].shard, one);
                comma = ",";
                continue;
            }
            char name[32];
            snprintf(name, sizeof name, "%" PRIu32 "/%" PRIu32, s->shards[i].shard, one->member->replica);
            printf("%-6s  %-7s  %-11s  %-28s  %s\n", name,
                   one->member->role == HF__CATALOG__ROLE__LEARNER ? "learner" : "voter", one->state,
                   one->member->client_endpoint, one->member->raft_endpoint);
        }
    fputs(c->json ? "]}\n" : "", stdout);
    status_free(&s);
    return cli_flush(c, CLI_OK);
}

static void route_json(const Hf__Catalog__Route *r)
{
    struct slice start = pack_slice(r->range->start), end = pack_slice(r->range->end);
    bool hex = !text_is_utf8(start) || !text_is_utf8(end);
    fputs("{\"start\":", stdout);
    text_json_or_hex(stdout, start, hex);
    fputs(",\"end\":", stdout);
    text_json_or_hex(stdout, end, hex);
    printf(",\"shard\":%" PRIu32 "%s}", r->shard, hex ? ",\"hex\":true" : "");
}

int cluster_routes(struct cli *c)
{
    struct hf_cluster_status *s = NULL;
    int rc = collect_routes(c, &s);
    if (!s)
        return rc;
    const Hf__Catalog__Routes *routes = s->routes;
    if (c->json)
        printf("{\"cluster\":\"%016" PRIx64 "\",\"version\":%" PRIu64 ",\"routes\":[", routes->cluster,
               routes->version);
    else
        printf("version %" PRIu64 "\nSHARD  FROM (included)  TO (excluded)\n", routes->version);
    for (size_t i = 0; i < routes->n_routes; i++) {
        const Hf__Catalog__Route *r = routes->routes[i];
        if (c->json) {
            fputs(i ? "," : "", stdout);
            route_json(r);
            continue;
        }
        printf("%-5" PRIu32 "  ", r->shard);
        text_escape(stdout, pack_slice(r->range->start));
        fputs(r->range->start.len ? "  " : "(first)  ", stdout);
        text_escape(stdout, pack_slice(r->range->end));
        puts(r->range->end.len ? "" : "(last)");
    }
    fputs(c->json ? "]}\n" : "", stdout);
    status_free(&s);
    return cli_flush(c, CLI_OK);
}
