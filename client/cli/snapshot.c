/* snapshot.c: snapshot [--shard N]: every replica publishes a snapshot of what it has applied, durably; then its log may go. */
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli.h"
#include "client/status.h"

struct asked {
    uint32_t shard;
    const struct status_replica *replica;
    struct admin_question question; /* endpoint NULL: not asked */
    Hf__Client__Request request;
};

static int code_of(const struct asked *a)
{
    if (!a->question.endpoint)
        return HF_E_UNAVAILABLE;
    return a->question.code ? a->question.code : a->question.reply->code;
}

static size_t collect(struct cli *c, const struct hf_cluster_status *s, uint32_t only, struct asked **out)
{
    size_t count = 0, used = 0;
    for (size_t i = 0; i < s->shards_count; i++)
        count += s->shards[i].count;
    *out = arena_zalloc(&c->arena, (count + 1) * sizeof **out);
    for (size_t i = 0; i < s->shards_count; i++) {
        const struct status_shard *shard = &s->shards[i];
        for (size_t r = 0; r < shard->count && (only == 0 || shard->shard == only); r++) {
            struct asked *a = &(*out)[used++];
            a->shard = shard->shard;
            a->replica = &shard->replicas[r];
            hf__client__request__init(&a->request);
            a->request.cluster = s->cluster;
            a->request.shard = shard->shard;
            a->request.op_case = HF__CLIENT__REQUEST__OP_SNAPSHOT;
            a->request.snapshot = arena_alloc(&c->arena, sizeof *a->request.snapshot);
            hf__client__empty__init(a->request.snapshot);
            a->question.request = &a->request;
            a->question.endpoint = a->replica->said ? a->replica->member->client_endpoint : NULL;
        }
    }
    return used;
}

/* All at once: each waits for its own disk only. */
static void ask(struct cli *c, struct admin *a, struct asked *all, size_t count)
{
    size_t used = 0;
    struct admin_question *questions = arena_zalloc(&c->arena, (count + 1) * sizeof *questions);
    for (size_t i = 0; i < count; i++)
        if (all[i].question.endpoint)
            questions[used++] = all[i].question;
    admin_ask(a, questions, used, (struct admin_patience){.deadline_ms = c->timeout_ms});
    used = 0;
    for (size_t i = 0; i < count; i++)
        if (all[i].question.endpoint)
            all[i].question = questions[used++];
}

static void print(const struct cli *c, const struct asked *all, size_t count)
{
    fputs(c->json ? "{\"snapshots\":[" : "REPLICA  SNAPSHOT\n", stdout);
    for (size_t i = 0; i < count; i++) {
        const struct asked *a = &all[i];
        int code = code_of(a);
        char name[32], index[32];
        snprintf(name, sizeof name, "%" PRIu32 "/%" PRIu32, a->shard, a->replica->member->replica);
        snprintf(index, sizeof index, "%" PRIu64, code ? 0 : a->question.reply->snapshot);
        if (c->json)
            printf("%s{\"name\":\"%s\",\"index\":%s,\"code\":\"%s\"}", i ? "," : "", name, code ? "null" : index,
                   hf_error_name(code));
        else
            printf("%-7s  %s\n", name, code ? hf_error_text(code) : index);
    }
    fputs(c->json ? "]}\n" : "", stdout);
}

static int snapshot(struct cli *c, struct admin *a, const struct hf_cluster_status *s, const void *ctx)
{
    (void)ctx;
    struct asked *all;
    size_t count = collect(c, s, (uint32_t)c->shard, &all), missing = 0;
    const struct asked *worst = NULL;
    if (count == 0)
        return cli_no_shard(c, c->shard);
    ask(c, a, all, count);
    print(c, all, count);
    for (size_t i = 0; i < count; i++)
        if (code_of(&all[i])) {
            worst = worst ? worst : &all[i];
            missing++;
        }
    int rc = CLI_OK;
    if (worst)
        rc = cli_error(c, code_of(worst), "%zu of %zu replicas published no snapshot, %" PRIu32 "/%" PRIu32 ": %s",
                       missing, count, worst->shard, worst->replica->member->replica,
                       worst->question.reply ? worst->question.reply->message : hf_error_text(code_of(worst)));
    for (size_t i = 0; i < count; i++)
        admin_forget(&all[i].question, 1);
    return cli_flush_done(c, rc);
}

int snapshot_run(struct cli *c)
{
    return cluster_act(c, snapshot, NULL);
}
