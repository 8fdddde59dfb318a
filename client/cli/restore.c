/* restore.c: backup restore DIR|FILE: the content of a backup into a fresh cluster.
 *
 *   1. check every file whole, and that none is missing
 *   2. the cluster must be another than the backup's, have leaders, and hold no key
 *   3. its clock must be above every timestamp of the backup: the oracle's ceiling is raised if it is not, and every shard
 *      must have heard of a later timestamp. None is ever issued at or below the backup's from then on (I8)
 *   4. put every record, with what is left of its time to live
 *
 * Kept: keys, values, when they expire. Not kept: versions and history (each record gets a new version), sessions. */
#include "client/cli/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/cli/progress.h"
#include "client/cli/stop.h"
#include "client/status.h"
#include "common/base/hlc.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/digest.h"
#include "proto/pack.h"

#define OUTSTANDING_MAX 256u
#define DEADLINE_MS 30000u /* of one put: longer than an election and a restart */
#define TAKE 64
#define WAIT_MS 200u
#define POLL_MS 50
#define CLOCK_PATIENCE_NS (30000 * CLOCK_NS_PER_MS)
#define AHEAD_MS_MAX (UINT64_C(24) * 3600 * 1000) /* shards believe no timestamp that is further ahead */
#define CATALOG_SHARD 1u
#define ORACLE_KEY "oracle"

struct restore {
    struct cli *c;
    struct backup_set from;
    uint64_t records; /* of all files */
    struct hlc above; /* every timestamp to come is to be */
    struct hf_queue *queue;
    struct progress progress;
    uint64_t sent, done, expired, outstanding;
    int code;          /* exit code of the first put that failed */
    struct hlc clock;  /* of the cluster, */
    uint64_t clock_ns; /* as of this moment */
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* ---- 1, 2: do they fit ---- */

static int check_files(struct restore *r)
{
    for (size_t i = 0; i < r->from.count; i++) {
        const Hf__Client__BackupHead *head = &r->from.files[i].head;
        if (head->cluster != r->from.files[0].head.cluster)
            return cli_error(r->c, HF_E_REFUSED,
                             "restore: %s is of cluster %016" PRIx64 ", the others are of %016" PRIx64,
                             r->from.files[i].path, head->cluster, r->from.files[0].head.cluster);
        r->records += head->records;
        r->above = hlc_max(r->above, (struct hlc){head->ceiling});
    }
    if (hlc_ms(r->above) > (uint64_t)time(NULL) * 1000 + AHEAD_MS_MAX)
        return cli_error(r->c, HF_E_REFUSED,
                         "restore: the backup's clock (%" PRIu64
                         " ms) is more than a day ahead of this machine's; set the clock right, or wait",
                         hlc_ms(r->above));
    return HF_OK;
}

static int check_empty(const struct restore *r)
{
    struct cli *c = r->c;
    const struct hf_range range = {.keys_only = true, .page_items = 1};
    const struct hf_item *item = NULL;
    struct hf_cursor *cursor;
    int rc = hf_cursor_open(c->h, &range, DEADLINE_MS, &cursor);
    if (rc)
        return cli_error(c, rc, NULL);
    rc = hf_cursor_next(cursor, &item);
    if (rc)
        rc = cli_failed(c, rc, hf_cursor_message(cursor));
    else if (item)
        rc = cli_error(c, HF_E_EXISTS, "restore: the cluster holds keys already; restore into a fresh one");
    hf_cursor_close(cursor);
    return rc;
}

/* ---- 3: the clock ---- */

static int ask_catalog(const struct restore *r, struct admin *a, const struct hf_cluster_status *s,
                       Hf__Client__Request *request, Hf__Client__Reply **reply)
{
    const char *leader = status_leader_endpoint(s, CATALOG_SHARD);
    request->cluster = s->cluster;
    request->shard = CATALOG_SHARD;
    request->space = HF__ENTRY__SPACE__CATALOG;
    return leader ? admin_ask_one(a, leader, request, r->c->timeout_ms, reply) : HF_E_UNAVAILABLE;
}

/* Writes the oracle's key with a ceiling that holds the backup's: whoever issues timestamps reads it before it goes on. A
 * race with its holder is lost and tried again. */
static int write_oracle(const struct restore *r, struct admin *a, const struct hf_cluster_status *s,
                        ProtobufCBinaryData was)
{
    Hf__Catalog__Oracle *oracle = pack_unpack_owned(&hf__catalog__oracle__descriptor, pack_slice(was));
    if (!oracle)
        return HF_E_CORRUPT;
    Hf__Client__Reply *reply = NULL;
    int rc = HF_OK;
    if (oracle->ceiling <= r->above.t) { /* otherwise time itself brings it there */
        struct buf packed = {0};
        Hf__Catalog__Oracle next = HF__CATALOG__ORACLE__INIT;
        next.epoch = oracle->epoch + 1;
        next.ceiling = r->above.t + 1;
        next.beat = digest_random_u64();
        pack_append(&next.base, &packed);
        Hf__Client__Cas cas = HF__CLIENT__CAS__INIT;
        Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
        cas.key = pack_bytes(slice_text(ORACLE_KEY));
        cas.has_expected = true;
        cas.expected = was;
        cas.value = pack_bytes(buf_slice(&packed));
        request.op_case = HF__CLIENT__REQUEST__OP_CAS;
        request.cas = &cas;
        rc = ask_catalog(r, a, s, &request, &reply);
        buf_deinit(&packed);
    }
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
    hf__catalog__oracle__free_unpacked(oracle, NULL);
    return rc;
}

static void raise_oracle(const struct restore *r, struct admin *a, const struct hf_cluster_status *s)
{
    Hf__Client__Get get = HF__CLIENT__GET__INIT;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    Hf__Client__Reply *reply = NULL;
    get.key = pack_bytes(slice_text(ORACLE_KEY));
    request.op_case = HF__CLIENT__REQUEST__OP_GET;
    request.get = &get;
    int rc = ask_catalog(r, a, s, &request, &reply);
    if (rc == HF_OK)
        rc = write_oracle(r, a, s, reply->value);
    (void)rc; /* no coordinator has written it yet, or the race was lost: looked at again */
    if (reply)
        hf__client__reply__free_unpacked(reply, NULL);
}

/* Has every shard's leader heard of a timestamp above the backup's? */
static bool clock_passed(struct restore *r, const struct hf_cluster_status *s)
{
    r->clock = (struct hlc){0};
    for (size_t i = 0; i < s->shards_count; i++) {
        const struct status_shard *one = &s->shards[i];
        uint64_t clock = 0;
        for (size_t k = 0; k < one->count; k++)
            if (one->leader != 0 && one->replicas[k].member->replica == one->leader && one->replicas[k].said)
                clock = one->replicas[k].said->clock;
        if (clock <= r->above.t)
            return false;
        r->clock = hlc_max(r->clock, (struct hlc){clock});
    }
    r->clock_ns = clock_boot_ns();
    return s->shards_count > 0;
}

static int check_target(const struct restore *r, const struct hf_cluster_status *s)
{
    if (!s->routes)
        return cli_no_routes(r->c);
    if (s->cluster == r->from.files[0].head.cluster)
        return cli_error(r->c, HF_E_REFUSED,
                         "restore: this is the cluster the backup was made of (%016" PRIx64
                         "); a backup is restored into a fresh cluster with an id of its own",
                         s->cluster);
    return HF_OK;
}

static int await_clock(struct restore *r, struct admin *a)
{
    uint64_t until_ns = clock_boot_ns() + CLOCK_PATIENCE_NS;
    for (bool passed = false; !passed && !stop_asked();) {
        struct hf_cluster_status *s = NULL;
        int rc = status_find(a, r->c->endpoints, r->c->timeout_ms, &s);
        rc = rc ? cli_error(r->c, rc, NULL) : check_target(r, s);
        passed = !rc && clock_passed(r, s);
        if (!rc && !passed) /* nobody else's clock is touched */
            rc = check_empty(r);
        if (!rc && !passed)
            raise_oracle(r, a, s);
        status_free(&s);
        if (rc)
            return rc;
        if (!passed && clock_boot_ns() > until_ns)
            return cli_error(r->c, HF_E_UNAVAILABLE,
                             "restore: the cluster's clock does not pass the backup's (%" PRIu64
                             " ms): does every shard have a leader, is a coordinator active?",
                             hlc_ms(r->above));
        if (!passed)
            pause_ms(POLL_MS);
    }
    return HF_OK;
}

/* ---- 4: the records ---- */

static void collect(struct restore *r, uint32_t wait_ms)
{
    struct hf_future *finished[TAKE];
    size_t n = hf_queue_take(r->queue, wait_ms, finished, TAKE);
    for (size_t i = 0; i < n; i++) {
        int code = hf_future_poll(finished[i]);
        r->outstanding--;
        r->done += code == HF_OK;
        if (code != HF_OK && !r->code)
            r->code = cli_error(r->c, code, "restore: a record was not written: %s", hf_future_message(finished[i]));
        hf_future_free(finished[i]);
    }
    progress_show(&r->progress, clock_boot_ns(), r->done, r->done + r->expired, r->records);
}

/* What is left of its time, 0: it has no end. False: it is over. */
static bool time_left(const struct restore *r, const Hf__Client__BackupRecord *record, uint64_t *out_ms)
{
    *out_ms = 0;
    if (record->expires == 0)
        return true;
    uint64_t now_ms = hlc_ms(r->clock) + (clock_boot_ns() - r->clock_ns) / CLOCK_NS_PER_MS;
    uint64_t end_ms = hlc_ms((struct hlc){record->expires});
    *out_ms = end_ms > now_ms ? end_ms - now_ms : 0;
    return end_ms > now_ms;
}

static void put(struct restore *r, const Hf__Client__BackupRecord *record)
{
    uint64_t ttl_ms;
    struct hf_call call = {.deadline_ms = r->c->timeout_given ? r->c->timeout_ms : DEADLINE_MS, .queue = r->queue};
    struct hf_future *f;
    int rc;
    if (!time_left(r, record, &ttl_ms)) {
        r->expired++;
        return;
    }
    while (r->outstanding >= OUTSTANDING_MAX && !stop_asked() && !r->code)
        collect(r, WAIT_MS);
    struct hf_bytes key = {record->key.data, record->key.len}, value = {record->value.data, record->value.len};
    while ((rc = hf_put_async(r->c->h, key, value, ttl_ms, &call, &f)) == HF_E_BUSY && r->outstanding > 0)
        collect(r, WAIT_MS); /* too many bytes out */
    if (rc && !r->code)
        r->code = cli_error(r->c, rc, "restore: a record was not written: %s", hf_error_text(rc));
    r->outstanding += rc == HF_OK;
}

/* One file. HF_OK, or an exit code after saying why. */
static int restore_file(struct restore *r, const struct backup_file *file)
{
    struct child_backup from;
    struct arena arena = {0};
    struct slice frame;
    uint64_t records = 0;
    int rc = child_open(r->c, file->path, true, &from);
    if (rc)
        return rc;
    rc = child_frame(&from, &frame); /* its head */
    while (rc == HF_OK && !r->code && !stop_asked()) {
        rc = child_frame(&from, &frame);
        if (rc != HF_OK)
            break;
        const Hf__Client__BackupRecord *record = pack_unpack(&hf__client__backup_record__descriptor, frame, &arena);
        if (!record) {
            rc = HF_E_PROTOCOL;
            break;
        }
        put(r, record);
        records++;
        if (arena.used > LIMIT_REQUEST_BYTES)
            arena_reset(&arena);
    }
    arena_deinit(&arena);
    int ended = child_close(r->c, &from);
    if (r->code || stop_asked())
        return r->code;
    if (ended)
        return ended;
    if (rc != HF_E_NOT_FOUND || records != file->head.records)
        return cli_error(r->c, HF_E_PROTOCOL, "restore: %s: %" PRIu64 " of %" PRIu64 " records came", file->path,
                         records, file->head.records);
    return HF_OK;
}

static int load_all(struct restore *r)
{
    int rc = HF_OK;
    progress_start(&r->progress, clock_boot_ns());
    for (size_t i = 0; i < r->from.count && !rc && !stop_asked(); i++)
        rc = restore_file(r, &r->from.files[i]);
    while (r->outstanding > 0 && !stop_asked())
        collect(r, WAIT_MS);
    progress_end(&r->progress);
    return rc ? rc : r->code;
}

static int run(struct restore *r, struct admin *a)
{
    struct cli *c = r->c;
    int rc = check_files(r);
    if (!rc)
        rc = cli_open(c);
    if (rc)
        return rc;
    if (hf_queue_open(c->h, &r->queue) != HF_OK)
        return cli_error(c, HF_E_NO_MEMORY, NULL);
    stop_on_signals();
    rc = await_clock(r, a);
    if (!rc && !stop_asked())
        rc = check_empty(r);
    bool begun = !rc && !stop_asked();
    if (begun)
        rc = load_all(r);
    bool whole = begun && !rc && !stop_asked();
    char scope[128];
    if (c->json && begun)
        printf("{\"restored\":%" PRIu64 ",\"expired\":%" PRIu64 ",\"whole\":%s,\"scope\":\"%s\"}\n", r->done,
               r->expired, whole ? "true" : "false", backup_scope_name(r->from.scope));
    else if (begun)
        printf("restored %" PRIu64 " expired %" PRIu64 "%s\n", r->done, r->expired,
               whole ? backup_scope_text(&r->from, scope) : ": NOT WHOLE; make the cluster anew and begin again");
    return cli_flush_done(c, rc);
}

int restore_run(struct cli *c)
{
    struct restore r = {.c = c};
    int rc = backup_files(c, c->arguments[0].text, &r.from);
    if (rc)
        return rc;
    struct admin *a = admin_open();
    if (!a)
        return cli_error(c, HF_E_NO_MEMORY, NULL);
    digest_init();
    rc = run(&r, a);
    stop_end(); /* does not return after a signal */
    if (c->h)
        hf_close(&c->h); /* what is still out goes into the queue */
    hf_queue_free(r.queue);
    admin_close(&a);
    return rc;
}
