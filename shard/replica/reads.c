/* reads.c: see reads.h. */
#include "shard/replica/reads.h"

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "common/sys/metrics.h"

#define ROUND_READS 256                       /* answers built between two looks at the lease */
#define ROUND_BYTES ((size_t)4 * 1024 * 1024) /* likewise */

enum { M_LEASE, M_BARRIER, M_LEASE_LOST, M_COUNT };
static struct metric metrics[M_COUNT] = {
    [M_LEASE] = {"holdfast_reads_total", "by=\"lease\"", "Reads answered, by what made leadership certain",
                 METRIC_COUNTER, 0},
    [M_BARRIER] = {"holdfast_reads_total", "by=\"barrier\"", "Reads answered, by what made leadership certain",
                   METRIC_COUNTER, 0},
    [M_LEASE_LOST] = {"holdfast_read_lease_lost_total", NULL,
                      "Rounds of answers thrown away: the lease ran out meanwhile", METRIC_COUNTER, 0},
};

void reads_init(struct reads *r, const struct reads_calls *calls)
{
    *r = (struct reads){.calls = *calls};
    list_init(&r->fresh);
    list_init(&r->waiting);
    metrics_register(metrics, M_COUNT);
}

void reads_deinit(struct reads *r)
{
    reads_abandon(r, HF_E_UNAVAILABLE);
}

int reads_queue(struct reads *r, struct replica_read *read)
{
    if (r->count >= LIMIT_PENDING_REQUESTS || r->bytes + read->bytes > LIMIT_PENDING_BYTES)
        return HF_E_BUSY;
    r->count++;
    r->bytes += read->bytes;
    list_push(&r->fresh, &read->link);
    return HF_OK;
}

static void release(struct reads *r, struct replica_read *read)
{
    must(r->count > 0 && r->bytes >= read->bytes);
    list_remove(&read->link);
    r->count--;
    r->bytes -= read->bytes;
}

static void fail(struct reads *r, struct replica_read *read, int code)
{
    release(r, read);
    r->calls.fail(r->calls.ctx, read, code);
}

static uint64_t max_index(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void reads_begin(struct reads *r, const struct engine_ops *ops, struct engine *e)
{
    if (list_empty(&r->fresh))
        return;
    bool leased = ops->read_lease(e) > clock_boot_ns();
    struct engine_status status = ops->status(e);
    uint64_t barrier = 0;
    int rc = HF_OK;
    if (!leased) {
        barrier = ++r->barrier_last;
        rc = ops->barrier(e, barrier);
    }
    LIST_EACH (it, &r->fresh) {
        struct replica_read *read = LIST_OWNER(it, struct replica_read, link);
        if (rc) {
            fail(r, read, rc);
            continue;
        }
        read->barrier = barrier;
        read->floor = read->at.t != 0 && !planted_bug("reads.in_flight_unseen") ? status.last : 0;
        read->index = leased ? max_index(status.commit, read->floor) : UINT64_MAX;
        list_remove(it);
        list_push(&r->waiting, it);
    }
}

void reads_barrier_ready(struct reads *r, uint64_t id, uint64_t index)
{
    LIST_EACH (it, &r->waiting) {
        struct replica_read *read = LIST_OWNER(it, struct replica_read, link);
        if (read->barrier == id)
            read->index = max_index(index, read->floor);
    }
}

static bool may_look(const struct replica_read *read, uint64_t applied, bool held)
{
    bool latest = read->floor == 0 && read->index != UINT64_MAX;
    return read->index <= applied || (held && latest);
}

/* Builds one round of answers, oldest first; returns how many, 0 when none may look yet. */
static size_t build_round(struct reads *r, uint64_t applied, bool held, struct list *round, bool *out_leased)
{
    size_t count = 0;
    *out_leased = false;
    LIST_EACH (it, &r->waiting) {
        struct replica_read *read = LIST_OWNER(it, struct replica_read, link);
        if (count == ROUND_READS || r->calls.built_bytes(r->calls.ctx) > ROUND_BYTES)
            break;
        if (!may_look(read, applied, held))
            continue;
        list_remove(it);
        list_push(round, it);
        r->calls.build(r->calls.ctx, read);
        if (read->barrier == 0)
            *out_leased = true;
        count++;
    }
    return count;
}

/* The lease ran out while answers were built: they are forgotten, and their reads take the way of a barrier. */
static void take_back(struct reads *r, struct list *round)
{
    metric_add(&metrics[M_LEASE_LOST], 1);
    r->calls.discard(r->calls.ctx);
    LIST_EACH (it, round) {
        list_remove(it);
        list_push(&r->fresh, it);
    }
}

static void send_round(struct reads *r, struct list *round)
{
    LIST_EACH (it, round) {
        struct replica_read *read = LIST_OWNER(it, struct replica_read, link);
        release(r, read);
        metric_add(&metrics[read->barrier ? M_BARRIER : M_LEASE], 1);
        r->calls.send(r->calls.ctx, read);
    }
    r->calls.discard(r->calls.ctx);
}

void reads_serve(struct reads *r, const struct engine_ops *ops, struct engine *e, uint64_t applied, bool held)
{
    for (;;) {
        struct list round;
        list_init(&round);
        bool leased;
        if (build_round(r, applied, held, &round, &leased) == 0)
            return;
        if (leased && ops->read_lease(e) <= clock_boot_ns() && !planted_bug("reads.lease_unchecked")) {
            take_back(r, &round);
            return;
        }
        send_round(r, &round);
    }
}

void reads_abandon(struct reads *r, int code)
{
    LIST_EACH (it, &r->fresh)
        fail(r, LIST_OWNER(it, struct replica_read, link), code);
    LIST_EACH (jt, &r->waiting)
        fail(r, LIST_OWNER(jt, struct replica_read, link), code);
}

void reads_expire(struct reads *r, uint64_t now_ns)
{
    LIST_EACH (it, &r->waiting) {
        struct replica_read *read = LIST_OWNER(it, struct replica_read, link);
        if (read->deadline_ns <= now_ns)
            fail(r, read, HF_E_UNAVAILABLE);
    }
}
