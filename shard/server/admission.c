/* admission.c: see admission.h. */
#include "shard/server/admission.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "proto/pack.h"
#include "shard/server/txn.h"

#define LEASE_AHEAD_MS_MAX (UINT64_C(24) * 3600 * 1000)

/* Is everything the request touches in this group's range? */
static int check_range(const struct replica *replica, const Hf__Client__Request *q, struct arena *turn,
                       char message[256])
{
    struct request_span span;
    bool txn = txn_is(q->op_case);
    if (!txn && !request_span(q, turn, &span))
        return HF_OK;
    struct fsm *fsm = replica_fsm(replica);
    if (!fsm) /* it is being fetched: this replica leads nobody */
        return HF_E_NOT_LEADER;
    if (txn)
        return txn_check_range(fsm, q, turn, message);
    enum fsm_space space = q->space == HF__ENTRY__SPACE__CATALOG ? FSM_CATALOG : FSM_USER;
    if (span.single || space == FSM_CATALOG)
        return fsm_owns(fsm, space, span.start) ? HF_OK : HF_E_WRONG_SHARD;
    const Hf__Catalog__Range *range = fsm_info(fsm)->range;
    struct slice end = pack_slice(range->end);
    bool starts =
        slice_compare(span.start, pack_slice(range->start)) >= 0 && (!end.size || slice_compare(span.start, end) < 0);
    bool ends = !end.size || (span.end.size && slice_compare(span.end, end) <= 0);
    if (starts && ends)
        return HF_OK;
    snprintf(message, 256, "the range is not wholly in shard %" PRIu32 "; ask for each shard's part by newer routes",
             fsm_info(replica_fsm(replica))->group);
    return HF_E_WRONG_SHARD;
}

/* A ceiling never falls again. One that is a day ahead both of the last one and of this machine's clock is an error of its
 * sender: coordinators follow no jump of more than ten minutes. The first ceiling of a group has nothing to be held to. */
static int check_lease(const struct replica *replica, const Hf__Client__Request *q, char message[256])
{
    if (q->op_case != HF__CLIENT__REQUEST__OP_LEASE)
        return HF_OK;
    if (!replica_fsm(replica))
        return HF_E_NOT_LEADER;
    uint64_t asked_ms = hlc_ms((struct hlc){q->lease->ceiling}), wall_ms = clock_wall_ms();
    uint64_t known_ms = hlc_ms(fsm_info(replica_fsm(replica))->ceiling);
    if (known_ms == 0 || asked_ms <= (known_ms > wall_ms ? known_ms : wall_ms) + LEASE_AHEAD_MS_MAX)
        return HF_OK;
    snprintf(message, 256, "a lease to %" PRIu64 " ms is more than a day ahead of the last one, %" PRIu64 " ms",
             asked_ms, known_ms);
    return HF_E_INVALID;
}

/* A group may hold no entry of a kind above its feature level. */
static int check_level(const struct replica *replica, const Hf__Client__Request *q, char message[256])
{
    const struct fsm *fsm = replica_fsm(replica);
    uint32_t level = fsm ? fsm_info(fsm)->feature_level : 0;
    bool check = q->op_case == HF__CLIENT__REQUEST__OP_CHECK, migrate = q->op_case == HF__CLIENT__REQUEST__OP_MIGRATE;
    uint32_t needed = check                ? FSM_FEATURE_CHECK
                      : migrate            ? FSM_FEATURE_MIGRATE
                      : txn_is(q->op_case) ? FSM_FEATURE_TXN
                                           : 0;
    if (!fsm && migrate)
        return HF_E_NOT_LEADER;
    if (!fsm || level >= needed)
        return HF_OK;
    snprintf(message, 256,
             "shard %" PRIu32 " was made with feature level %" PRIu32 ", %s needs %u: earlier programs "
             "that may be in the group cannot read it",
             fsm_info(fsm)->group, level,
             check     ? "a consistency check"
             : migrate ? "a change of engine"
                       : "a transaction",
             needed);
    return HF_E_REFUSED;
}

/* What no entry can tell: which engine this is, and which ones there are. */
static int check_migrate(const struct replica *replica, const Hf__Client__Request *q, char message[256])
{
    if (q->op_case != HF__CLIENT__REQUEST__OP_MIGRATE || q->migrate->step != HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE)
        return HF_OK;
    const char *engine = replica_engine(replica);
    if (strcmp(q->migrate->source, engine) != 0)
        snprintf(message, 256, "shard %" PRIu32 " runs with engine %s, not %.15s",
                 fsm_info(replica_fsm(replica))->group, engine, q->migrate->source);
    else if (!engine_find(q->migrate->target))
        snprintf(message, 256, "this program does not have engine %.15s; it has %s", q->migrate->target,
                 engine_names());
    else
        return HF_OK;
    return HF_E_REFUSED;
}

int admission_check(const struct replica *replica, const Hf__Client__Request *q, struct arena *turn,
                    char message[REQUESTS_TEXT_BYTES])
{
    int rc = check_range(replica, q, turn, message);
    if (!rc)
        rc = check_lease(replica, q, message);
    if (!rc)
        rc = check_level(replica, q, message);
    return rc ? rc : check_migrate(replica, q, message);
}
