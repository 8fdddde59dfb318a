/* verify.c: verify [--shard N]: do the replicas of each shard hold the same?
 *
 *   1. ask the leader for a check: an entry of the log at which every replica hashes all it has
 *   2. ask every replica until each has finished, or it is plain that it will not
 *   3. compare. What more than half of the voters have is right; a replica that has something else is told so, marks its
 *      state machine, and takes the state from another at its next start
 *
 * Exit 0: all replicas of all shards were compared and are equal; 7: otherwise, also where only some were compared. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/cli/stop.h"
#include "client/status.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/digest.h"

#define POLL_MS 50
#define PROPOSE_TRIES 20
#define STUCK_NS (10000 * CLOCK_NS_PER_MS) /* without a reply, or without applying more */
#define FEATURE_CHECK 2u

enum verdict { WAITING, EQUAL, DIFFERS, FAILED, UNCHECKED, UNREACHABLE };
static const char *const verdict_names[] = {"waiting", "equal", "differs", "failed", "unchecked", "unreachable"};

enum result { ALL_EQUAL, NOT_ALL_COMPARED, NOT_EQUAL }; /* of a shard, or of all: the worst of them */
static const char *const result_names[] = {"equal", "incomplete", "different"};
static const char *const result_texts[] = {"equal", "NOT ALL COMPARED", "NOT EQUAL"};

struct checked { /* one replica */
    const Hf__Catalog__Member *member;
    enum verdict verdict;
    bool finished, has_digest, marked;
    uint8_t digest[DIGEST_BYTES];
    uint64_t records, applied;
    uint64_t moved_ns; /* when it last answered with more applied, or with a check running */
};

struct verify {
    struct cli *c;
    struct admin *a;
    uint64_t cluster;
    uint32_t shard;
    uint64_t index; /* of the check */
    struct checked replicas[LIMIT_PEERS];
    size_t count, voters;
    const uint8_t *majority; /* a digest, or NULL */
    enum result result;
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* ---- 1: the check ---- */

/* HF_OK and v->index, or an exit code after saying why. Another check does no harm, so it is simply asked again. */
static int propose(struct verify *v)
{
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.cluster = v->cluster;
    request.shard = v->shard;
    request.op_case = HF__CLIENT__REQUEST__OP_CHECK;
    request.check = &empty;
    int rc = HF_E_UNAVAILABLE;
    char text[512] = "it has no leader";
    for (int i = 0; i < PROPOSE_TRIES && !stop_asked(); i++) {
        struct hf_cluster_status *s = NULL;
        const char *leader = NULL;
        if (status_collect(v->a, v->c->endpoints, v->c->timeout_ms, &s) == HF_OK)
            leader = status_leader_endpoint(s, v->shard);
        Hf__Client__Reply *reply = NULL;
        if (leader) {
            rc = admin_ask_one(v->a, leader, &request, v->c->timeout_ms, &reply);
            snprintf(text, sizeof text, "%s", reply && *reply->message ? reply->message : hf_error_text(rc));
        }
        status_free(&s);
        if (reply && rc == HF_OK)
            v->index = reply->check_index;
        if (reply)
            hf__client__reply__free_unpacked(reply, NULL);
        if (v->index != 0)
            return HF_OK;
        if (hf_error_class(rc) == HF_CLASS_GIVE_UP && rc != HF_E_TIMEOUT)
            break;
        pause_ms(POLL_MS);
    }
    return cli_error(v->c, rc ? rc : HF_E_PROTOCOL, "verify: shard %" PRIu32 ": %s", v->shard,
                     rc ? text : "the leader took the check and did not say at which entry; is it an older program?");
}

/* ---- 2: the answers ---- */

static void finish(struct checked *r, enum verdict verdict)
{
    r->verdict = verdict;
    r->finished = true;
}

/* `said` NULL: it did not answer this time. */
static void look(const struct verify *v, struct checked *r, const Hf__Client__Status *said, uint64_t now_ns)
{
    if (r->finished)
        return;
    bool here = said && said->cluster == v->cluster && said->shard == v->shard && said->replica == r->member->replica;
    bool ours = here && said->check_index == v->index;
    if (ours && strcmp(said->check_state, "done") == 0 && said->check_digest.len == DIGEST_BYTES) {
        memcpy(r->digest, said->check_digest.data, DIGEST_BYTES);
        r->has_digest = true;
        r->records = said->check_records;
        finish(r, WAITING);
        return;
    }
    if (ours && strcmp(said->check_state, "failed") == 0) {
        finish(r, FAILED);
        return;
    }
    if (here && ((ours && strcmp(said->check_state, "running") == 0) || said->applied > r->applied)) {
        r->applied = said->applied;
        r->moved_ns = now_ns;
    }
    bool passed = here && said->applied >= v->index && !ours; /* it was catching up, or another check came */
    if (passed || now_ns - r->moved_ns > STUCK_NS)
        finish(r, here ? UNCHECKED : UNREACHABLE);
}

static bool gather(struct verify *v)
{
    Hf__Client__Empty empty = HF__CLIENT__EMPTY__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = HF__CLIENT__REQUEST__OP_STATUS;
    request.status = &empty;
    uint64_t begin_ns = clock_boot_ns();
    for (size_t i = 0; i < v->count; i++)
        v->replicas[i].moved_ns = begin_ns;
    for (bool waiting = true; waiting && !stop_asked();) {
        struct admin_question asked[LIMIT_PEERS];
        memset(asked, 0, sizeof asked);
        for (size_t i = 0; i < v->count; i++) {
            asked[i].endpoint = v->replicas[i].member->client_endpoint;
            asked[i].request = &request;
        }
        admin_ask(v->a, asked, v->count, (struct admin_patience){.deadline_ms = v->c->timeout_ms, .connect_ms = 300});
        waiting = false;
        for (size_t i = 0; i < v->count; i++) {
            look(v, &v->replicas[i], asked[i].reply ? asked[i].reply->status : NULL, clock_boot_ns());
            waiting |= !v->replicas[i].finished;
        }
        admin_forget(asked, v->count);
        if (waiting)
            pause_ms(POLL_MS);
    }
    return !stop_asked();
}

/* ---- 3: the verdict ---- */

static size_t votes_for(const struct verify *v, const uint8_t *digest)
{
    size_t votes = 0;
    for (size_t i = 0; i < v->count; i++) {
        const struct checked *r = &v->replicas[i];
        votes += r->has_digest && r->member->role == HF__CATALOG__ROLE__VOTER &&
                 memcmp(r->digest, digest, DIGEST_BYTES) == 0;
    }
    return votes;
}

/* The replica itself compares again, with what it hashed. */
static void tell(struct verify *v, struct checked *r)
{
    Hf__Client__Verdict verdict = HF__CLIENT__VERDICT__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    verdict.index = v->index;
    verdict.digest.data = (uint8_t *)(uintptr_t)v->majority; /* packing only reads */
    verdict.digest.len = DIGEST_BYTES;
    request.cluster = v->cluster;
    request.shard = v->shard;
    request.op_case = HF__CLIENT__REQUEST__OP_VERDICT;
    request.verdict = &verdict;
    Hf__Client__Reply *reply = NULL;
    int rc = admin_ask_one(v->a, r->member->client_endpoint, &request, v->c->timeout_ms, &reply);
    r->marked = rc == HF_OK;
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
}

/* Two that were compared have something else. */
static bool any_differ(const struct verify *v)
{
    const uint8_t *first = NULL;
    for (size_t i = 0; i < v->count; i++) {
        const struct checked *r = &v->replicas[i];
        if (r->has_digest && first && memcmp(r->digest, first, DIGEST_BYTES) != 0)
            return true;
        if (r->has_digest)
            first = r->digest;
    }
    return false;
}

static enum result result_of(enum verdict verdict)
{
    switch (verdict) {
    case EQUAL:
        return ALL_EQUAL;
    case DIFFERS:
    case FAILED:
        return NOT_EQUAL;
    case WAITING:
    case UNCHECKED:
    case UNREACHABLE:
        break;
    }
    return NOT_ALL_COMPARED;
}

static void judge(struct verify *v)
{
    for (size_t i = 0; i < v->count && !v->majority; i++)
        if (v->replicas[i].has_digest && votes_for(v, v->replicas[i].digest) > v->voters / 2)
            v->majority = v->replicas[i].digest;
    bool differ = any_differ(v);
    for (size_t i = 0; i < v->count; i++) {
        struct checked *r = &v->replicas[i];
        if (r->has_digest && v->majority)
            r->verdict = memcmp(r->digest, v->majority, DIGEST_BYTES) == 0 ? EQUAL : DIFFERS;
        else if (r->has_digest)
            r->verdict = differ ? DIFFERS : UNCHECKED;
        if (r->verdict == DIFFERS && v->majority)
            tell(v, r);
        enum result one = result_of(r->verdict);
        v->result = one > v->result ? one : v->result;
    }
}

/* ---- what it says ---- */

static const char *explain(const struct checked *r, bool majority)
{
    switch (r->verdict) {
    case EQUAL:
        return "equal";
    case DIFFERS:
        return !majority   ? "has its own state: no majority has the same, so nobody can say which is right"
               : r->marked ? "DIFFERS from the majority: marked; restart it and it takes the state from another replica"
                           : "DIFFERS from the majority, and could not be told so; verify again";
    case FAILED:
        return "FAILED to read its whole state; its log says which file";
    case UNCHECKED:
        return r->has_digest ? "not compared: too few others told what they have; verify again"
                             : "not compared: it had not caught up; verify again";
    case UNREACHABLE:
    case WAITING:
        break;
    }
    return "not compared: it does not answer";
}

static void print_table(const struct verify *v)
{
    printf("shard %" PRIu32 " at index %" PRIu64 ": %s\n", v->shard, v->index, result_texts[v->result]);
    for (size_t i = 0; i < v->count; i++) {
        const struct checked *r = &v->replicas[i];
        char hex[2 * DIGEST_BYTES + 1] = "", records[32] = "";
        if (r->has_digest) {
            digest_hex(r->digest, 8, hex);
            snprintf(records, sizeof records, "%" PRIu64 " records", r->records);
        }
        printf("  %" PRIu32 "/%-4" PRIu32 " %-16s %20s  %s\n", v->shard, r->member->replica, hex, records,
               explain(r, v->majority != NULL));
    }
}

static void print_json(const struct verify *v)
{
    char hex[2 * DIGEST_BYTES + 1];
    printf("{\"shard\":%" PRIu32 ",\"index\":%" PRIu64 ",\"equal\":%s,\"result\":\"%s\",\"replicas\":[", v->shard,
           v->index, v->result == ALL_EQUAL ? "true" : "false", result_names[v->result]);
    for (size_t i = 0; i < v->count; i++) {
        const struct checked *r = &v->replicas[i];
        printf("%s{\"name\":\"%" PRIu32 "/%" PRIu32 "\",\"replica\":%" PRIu32 ",\"state\":\"%s\",\"digest\":",
               i ? "," : "", v->shard, r->member->replica, r->member->replica, verdict_names[r->verdict]);
        if (r->has_digest) {
            digest_hex(r->digest, DIGEST_BYTES, hex);
            printf("\"%s\",\"records\":%" PRIu64, hex, r->records);
        } else {
            printf("null,\"records\":null");
        }
        printf(",\"marked\":%s}", r->marked ? "true" : "false");
    }
    printf("]}");
}

/* ---- the run ---- */

static int check_levels(const struct verify *v, const struct status_shard *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->replicas[i].said && s->replicas[i].said->feature_level < FEATURE_CHECK)
            return cli_error(v->c, HF_E_REFUSED,
                             "verify: replica %" PRIu32 "/%" PRIu32 " has feature level %" PRIu32
                             ", a consistency check needs %u: the shard was made by an earlier version, or an earlier "
                             "program runs there",
                             s->shard, s->replicas[i].member->replica, s->replicas[i].said->feature_level,
                             FEATURE_CHECK);
    return HF_OK;
}

/* One shard. HF_OK and *worst, or an exit code after saying why. */
static int verify_shard(struct cli *c, struct admin *a, const struct hf_cluster_status *s,
                        const struct status_shard *one, bool first, enum result *worst)
{
    struct verify v = {.c = c, .a = a, .cluster = s->cluster, .shard = one->shard, .count = one->count};
    must(one->count <= LIMIT_PEERS);
    int rc = check_levels(&v, one);
    if (rc)
        return rc;
    for (size_t i = 0; i < one->count; i++) {
        v.replicas[i].member = one->replicas[i].member;
        v.voters += one->replicas[i].member->role == HF__CATALOG__ROLE__VOTER;
    }
    rc = propose(&v);
    if (rc || !gather(&v))
        return rc;
    judge(&v);
    if (c->json)
        fputs(first ? "{\"shards\":[" : ",", stdout);
    (c->json ? print_json : print_table)(&v);
    *worst = v.result > *worst ? v.result : *worst;
    return HF_OK;
}

static int verify_all(struct cli *c, struct admin *a, const struct hf_cluster_status *s, const void *ctx)
{
    (void)ctx;
    enum result worst = ALL_EQUAL;
    bool found = false;
    int rc = HF_OK;
    stop_on_signals();
    for (size_t i = 0; i < s->shards_count && !rc && !stop_asked(); i++) {
        if (c->shard != 0 && s->shards[i].shard != c->shard)
            continue;
        rc = verify_shard(c, a, s, &s->shards[i], !found, &worst);
        found |= !rc && !stop_asked();
    }
    if ((rc || stop_asked()) && worst == ALL_EQUAL)
        worst = NOT_ALL_COMPARED; /* the shards behind this one were not asked */
    if (c->json && found)
        printf("],\"equal\":%s,\"result\":\"%s\"}\n", worst == ALL_EQUAL ? "true" : "false", result_names[worst]);
    if (!found && !rc && !stop_asked())
        rc = cli_no_shard(c, c->shard);
    return cli_flush(c, rc ? rc : worst == ALL_EQUAL ? CLI_OK : CLI_DEGRADED);
}

int verify_run(struct cli *c)
{
    int rc = cluster_act(c, verify_all, NULL);
    stop_end(); /* does not return after a signal */
    return rc;
}
