/* apply.c: entries → one write batch, with the applied position in it (I1). A pure function of (state, entry) (I2).
 *
 * A call goes: each entry in order adds its effects to the batch, the overlay, the sessions and the markers, and its
 * results to a list; then the batch is written; then memory follows (commit) or goes back (rollback), and results are
 * reported. */
#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "proto/entry.pb-c.h"
#include "proto/pack.h"
#include "shard/fsm/apply_internal.h"
#include "shard/fsm/meta.h"

enum opcode {
    OPCODE_COMMANDS = 0x01,
    OPCODE_LEASE = 0x02,
    OPCODE_MIGRATE = FSM_OPCODE_MIGRATE,
    OPCODE_CHECK = FSM_OPCODE_CHECK,
    OPCODE_COLLECT = FSM_OPCODE_COLLECT,
    OPCODE_SESSION = 0x13
};

struct apply_result {
    uint64_t index, term;
    uint32_t position;
    struct fsm_result result;
};

/* Skipping what we cannot read would make replicas differ. */
HF_NORETURN static void halt(const struct applying *a, const char *what, unsigned number)
{
    fatal("apply: entry index=%llu term=%llu: %s 0x%02x cannot be applied by this program",
          (unsigned long long)a->entry->index, (unsigned long long)a->entry->term, what, number);
}

static void add_result(struct applying *a, uint32_t position, const struct fsm_result *result)
{
    struct apply_result *to = (void *)buf_extend(&a->fsm->results, sizeof *to);
    *to = (struct apply_result){
        .index = a->entry->index, .term = a->entry->term, .position = position, .result = *result};
    uint8_t bytes[4 + 8 + 8 + 8 + 4 + 4 + 8];
    put_le32(bytes, (uint32_t)result->code);
    put_le64(bytes + 4, result->version.t.t);
    put_le64(bytes + 12, result->version.seq);
    put_le64(bytes + 20, result->session);
    put_le32(bytes + 28, (uint32_t)result->outcome);
    put_le32(bytes + 32, (uint32_t)result->state);
    put_le64(bytes + 36, result->commit.t);
    bool txn = result->state != FSM_TXN_NONE; /* other results are summed up as they always were */
    sum_add(&a->sum, slice_make(bytes, txn ? sizeof bytes : 32));
}

void apply_put(struct applying *a, struct slice key, struct slice value)
{
    uint8_t sizes[8];
    put_le32(sizes, (uint32_t)key.size);
    put_le32(sizes + 4, (uint32_t)value.size);
    sum_add(&a->sum, slice_make(sizes, sizeof sizes));
    sum_add(&a->sum, key);
    sum_add(&a->sum, value);
    store_batch_put(a->fsm->batch, key, value);
}

void apply_delete(struct applying *a, struct slice key)
{
    uint8_t sizes[8];
    put_le32(sizes, (uint32_t)key.size);
    put_le32(sizes + 4, UINT32_MAX); /* no value has that size */
    sum_add(&a->sum, slice_make(sizes, sizeof sizes));
    sum_add(&a->sum, key);
    store_batch_delete(a->fsm->batch, key);
}

void apply_version(struct applying *a, struct slice prefix, struct version version, const struct version_value *value)
{
    struct slice bytes = versions_encode(&a->fsm->turn, value);
    apply_put(a, vkey_versioned(prefix, version), bytes);
    overlay_note(&a->fsm->overlay, prefix, version, value);
}

/* The key's newest version as an earlier entry or command left it, written yet or not. */
static int current(struct applying *a, struct slice prefix, struct version_found *out)
{
    if (!a->bug_overlay && overlay_find(&a->fsm->overlay, prefix, out))
        return HF_OK;
    return fsm_newest(a->fsm, prefix, (struct hlc){0}, out);
}

/* HF_OK: the key may be written here. */
static int check_key(const struct applying *a, const Hf__Entry__Command *c)
{
    enum fsm_space space = c->space == HF__ENTRY__SPACE__CATALOG ? FSM_CATALOG : FSM_USER;
    if (c->key.len > LIMIT_KEY_BYTES || c->value.len > LIMIT_VALUE_BYTES)
        return HF_E_LIMIT;
    if (c->op == HF__ENTRY__OP__DELETE_PREFIX) {
        if (space == FSM_USER)
            return HF_OK; /* its keys of other groups are not here to be affected */
        return c->key.len == 0 ? HF_E_INVALID : fsm_owns(a->fsm, space, pack_slice(c->key)) ? HF_OK : HF_E_WRONG_SHARD;
    }
    if (c->key.len == 0)
        return HF_E_INVALID;
    return fsm_owns(a->fsm, space, pack_slice(c->key)) ? HF_OK : HF_E_WRONG_SHARD;
}

struct version_value apply_value(struct slice payload, uint64_t ttl_ms, struct version version)
{
    struct version_value value = {.payload = payload};
    if (ttl_ms > 0) {
        uint64_t left = hlc_ms((struct hlc){UINT64_MAX}) - hlc_ms(version.t);
        value.flags = VERSION_EXPIRES;
        value.expiry = ttl_ms < left ? hlc_add_ms(version.t, ttl_ms) : (struct hlc){UINT64_MAX};
    }
    return value;
}

static void do_put(struct applying *a, const Hf__Entry__Command *c, struct slice prefix, struct version version)
{
    struct version_value value = apply_value(pack_slice(c->value), c->ttl_ms, version);
    apply_version(a, prefix, version, &value);
}

static int do_cas(struct applying *a, const Hf__Entry__Command *c, struct slice prefix, struct version version,
                  int *out_code)
{
    struct version_found found;
    int rc = current(a, prefix, &found);
    if (rc != HF_OK && rc != HF_E_NOT_FOUND)
        return rc;
    bool live =
        rc == HF_OK &&
        versions_live(&found, markers_newest(&a->fsm->markers, (uint8_t)c->space, pack_slice(c->key)), version.t);
    bool as_expected = c->has_expected ? live && slice_equal(found.value.payload, pack_slice(c->expected)) : !live;
    *out_code = as_expected ? HF_OK : HF_E_COMPARE_FAILED;
    if (!as_expected)
        return HF_OK;
    struct version_value value = {.payload = pack_slice(c->value)};
    if (c->becomes_absent)
        value = (struct version_value){.flags = VERSION_DELETE};
    apply_version(a, prefix, version, &value);
    return HF_OK;
}

size_t apply_markers_left(const struct applying *a)
{
    size_t taken = a->fsm->markers.count + a->fsm->txns.reserved;
    return taken < LIMIT_MARKERS ? LIMIT_MARKERS - taken : 0;
}

int apply_marker(struct applying *a, uint8_t space, struct slice prefix, struct version version)
{
    int code = markers_add(&a->fsm->markers, space, prefix, version);
    if (code != HF_OK)
        return code;
    apply_collect_marker(a, version);
    apply_put(a, vkey_versioned(vkey_prefix(&a->fsm->turn, VKEY_MARKER, space, prefix), version), slice_make(NULL, 0));
    return HF_OK;
}

static int do_delete_prefix(struct applying *a, const Hf__Entry__Command *c, struct version version)
{
    if (a->fsm->txns.reserved > 0 && apply_markers_left(a) == 0)
        return HF_E_LIMIT; /* what is left is promised to prepared transactions */
    return apply_marker(a, (uint8_t)c->space, pack_slice(c->key), version);
}

/* Runs one command; *out_code is its outcome. Negative: local trouble, the batch must be given up (I6). */
static int execute(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    int *out_code = &out->code;
    if (c->space != HF__ENTRY__SPACE__USER && c->space != HF__ENTRY__SPACE__CATALOG)
        halt(a, "key space", (unsigned)c->space);
    if (c->op == HF__ENTRY__OP__TXN_WHOLE)
        return apply_txn_whole(a, c, version, out);
    *out_code = check_key(a, c);
    if (*out_code == HF_OK && txns_locks(&a->fsm->txns) > 0)
        *out_code = apply_txn_free(a, c, out);
    if (*out_code != HF_OK)
        return HF_OK;
    struct slice prefix = vkey_prefix(&a->fsm->turn, VKEY_DATA, (uint8_t)c->space, pack_slice(c->key));
    switch ((int)c->op) {
    case HF__ENTRY__OP__PUT:
        do_put(a, c, prefix, version);
        return HF_OK;
    case HF__ENTRY__OP__DELETE:
        apply_version(a, prefix, version, &(struct version_value){.flags = VERSION_DELETE});
        return HF_OK;
    case HF__ENTRY__OP__CAS:
        return do_cas(a, c, prefix, version, out_code);
    case HF__ENTRY__OP__DELETE_PREFIX:
        *out_code = do_delete_prefix(a, c, version);
        return HF_OK;
    case HF__ENTRY__OP__OP_NONE:
        *out_code = HF_E_INVALID;
        return HF_OK;
    default: /* not one of ours: a number from the wire */
        halt(a, "operation", (unsigned)c->op);
    }
}

/* Refusals that say "not here" or "not now" are not outcomes: the request has not run and may still run. */
static bool is_outcome(int code)
{
    return code != HF_E_LIMIT && code != HF_E_WRONG_SHARD && code != HF_E_KEY_LOCKED && code != HF_E_TOO_OLD;
}

/* One command with its session: at most once per (session, seq). */
static int run(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    struct session_outcome outcome = {0};
    struct session *session = NULL;
    *out = (struct fsm_result){0};
    if (c->session != 0) {
        session = sessions_use(&a->fsm->sessions, c->session, version.t, &a->fsm->turn);
        if (session == NULL) {
            out->code = HF_E_SESSION_UNKNOWN;
            return HF_OK;
        }
        sessions_done_below(session, c->done_below);
        int rc = sessions_outcome(session, c->seq, &outcome);
        if (rc == HF_OK && !a->bug_twice) {
            *out = (struct fsm_result){.code = outcome.code, .version = outcome.version};
            return HF_OK;
        }
        if (rc == HF_E_SESSION_WINDOW) {
            out->code = rc;
            return HF_OK;
        }
        if (apply_txn_prepared(a, c->session, c->seq)) { /* this number is that transaction's */
            out->code = HF_E_INVALID;
            return HF_OK;
        }
    }
    int rc = execute(a, c, version, out);
    if (rc != HF_OK)
        return rc;
    if (out->code == HF_OK)
        out->version = version;
    outcome = (struct session_outcome){.code = out->code, .version = out->version};
    if (session != NULL && is_outcome(out->code))
        sessions_record(session, c->seq, &outcome);
    return HF_OK;
}

/* Its leader went on from the committed ceiling, not from a timestamp that it knew to be above all that reads were served
 * at: what is below its stamps may still change. */
static void apply_restart(struct applying *a, struct hlc t)
{
    if (a->info.feature_level < FSM_FEATURE_RESTART)
        halt(a, "feature level below 3, restart in opcode", OPCODE_COMMANDS);
    a->info.restart = hlc_max(a->info.restart, t);
    uint8_t bytes[8];
    put_le64(bytes, a->info.restart.t);
    sum_add(&a->sum, slice_make(bytes, sizeof bytes));
}

/* Sequence numbers that a command takes. */
static uint64_t stamps_of(const Hf__Entry__Command *c)
{
    return c->op == HF__ENTRY__OP__TXN_WHOLE && c->txn != NULL && c->txn->n_writes > 1 ? c->txn->n_writes : 1;
}

/* What a command of transactions needs of its group. */
static void check_txn_command(const struct applying *a, const Hf__Entry__Command *c)
{
    bool txn = c->op == HF__ENTRY__OP__TXN_WHOLE || apply_is_txn(c);
    if (txn && a->info.feature_level < FSM_FEATURE_TXN)
        halt(a, "feature level below 4, operation", (unsigned)c->op);
    if (txn && c->txn == NULL)
        halt(a, "nothing in operation", (unsigned)c->op);
}

static int apply_commands(struct applying *a, const Hf__Entry__CommandBatch *batch)
{
    size_t count = batch->n_commands;
    if (batch->restart)
        apply_restart(a, (struct hlc){batch->timestamp});
    if (count == 0)
        return HF_OK;
    struct version version = {.t = {batch->timestamp}, .seq = batch->sequence};
    must(batch->sequence <= UINT64_MAX - count * (LIMIT_TXN_KEYS + 1) && count <= UINT32_MAX);
    must(version_compare(version, a->info.newest) > 0 || planted_bug("clock.sequence_anew")); /* I8 */
    must(version.t.t >= a->info.collected.below.t || planted_bug("clock.sequence_anew"));
    for (size_t i = 0; i < count; i++) {
        const Hf__Entry__Command *c = batch->commands[i];
        struct fsm_result result = {0};
        check_txn_command(a, c);
        int rc = apply_is_txn(c) ? apply_txn(a, c, version, &result) : run(a, c, version, &result);
        if (rc != HF_OK)
            return rc;
        add_result(a, (uint32_t)i, &result);
        version.seq += stamps_of(c);
    }
    struct version last = {.t = version.t, .seq = version.seq - 1};
    if (version_compare(last, a->info.newest) > 0) /* a commit in it may lie above */
        a->info.newest = last;
    return HF_OK;
}

static void apply_lease(struct applying *a, const Hf__Entry__LeaseEntry *lease)
{
    struct hlc before = planted_bug("fsm.ceiling_falls") ? (struct hlc){0} : a->info.ceiling;
    a->info.ceiling = hlc_max(before, (struct hlc){lease->ceiling});
    uint8_t ceiling[8];
    put_le64(ceiling, a->info.ceiling.t);
    sum_add(&a->sum, slice_make(ceiling, sizeof ceiling));
    sessions_sweep(&a->fsm->sessions, (struct hlc){lease->timestamp}, &a->sum);
    add_result(a, 0, &(struct fsm_result){0});
}

/* After this entry the request either has run or never will. */
static void fence(struct applying *a, const Hf__Entry__SessionEntry *e, struct fsm_result *out)
{
    struct session_outcome outcome = {.code = HF_E_FENCED};
    bool committed = apply_txn_fence(a, e->fence_session, e->fence_seq, &outcome);
    struct session *session =
        sessions_use(&a->fsm->sessions, e->fence_session, (struct hlc){e->timestamp}, &a->fsm->turn);
    if (session == NULL && !committed) {
        out->code = HF_E_SESSION_UNKNOWN;
        return;
    }
    int rc = committed ? HF_OK : sessions_outcome(session, e->fence_seq, &outcome);
    if (rc == HF_E_SESSION_WINDOW) {
        out->code = rc;
        return;
    }
    if (rc == HF_E_NOT_FOUND)
        sessions_record(session, e->fence_seq, &outcome);
    out->outcome = outcome.code;
    out->outcome_version = outcome.version;
}

static void apply_session(struct applying *a, const Hf__Entry__SessionEntry *e)
{
    struct fsm_result result = {0};
    if (e->fence_session != 0) {
        fence(a, e, &result);
    } else {
        sessions_open(&a->fsm->sessions, a->entry->index, (struct hlc){e->timestamp}, &a->sum);
        result.session = a->entry->index;
    }
    add_result(a, 0, &result);
}

/* That the state was hashed as of here is all it leaves behind; the hashing is the caller's (fsm_is_check). */
static void apply_check(struct applying *a)
{
    if (a->info.feature_level < FSM_FEATURE_CHECK)
        halt(a, "feature level 1, opcode", OPCODE_CHECK);
    a->info.checked = a->entry->index;
    add_result(a, 0, &(struct fsm_result){0});
}

static int collect(struct applying *a, const Hf__Entry__CollectEntry *e)
{
    if (a->info.feature_level < FSM_FEATURE_COLLECT)
        halt(a, "feature level below 5, opcode", OPCODE_COLLECT);
    int rc = apply_collect(a, e);
    add_result(a, 0, &(struct fsm_result){0});
    return rc;
}

static void migrate(struct applying *a, const Hf__Entry__MigrateEntry *e)
{
    if (a->info.feature_level < FSM_FEATURE_MIGRATE)
        halt(a, "feature level below 6, opcode", OPCODE_MIGRATE);
    add_result(a, 0, &(struct fsm_result){.code = apply_migrate(a, e)});
}

static void *unpack(const struct applying *a, const ProtobufCMessageDescriptor *type, struct slice payload)
{
    void *message = pack_unpack(type, payload, &a->fsm->turn);
    if (message == NULL)
        halt(a, "malformed payload of opcode", a->entry->data.data[0]);
    return message;
}

static int apply_command(struct applying *a)
{
    struct slice data = a->entry->data;
    if (data.size == 0)
        halt(a, "empty command, opcode", 0);
    struct slice payload = slice_make(data.data + 1, data.size - 1);
    switch (data.data[0]) {
    case OPCODE_COMMANDS:
        return apply_commands(a, unpack(a, &hf__entry__command_batch__descriptor, payload));
    case OPCODE_LEASE:
        apply_lease(a, unpack(a, &hf__entry__lease_entry__descriptor, payload));
        return HF_OK;
    case OPCODE_MIGRATE:
        migrate(a, unpack(a, &hf__entry__migrate_entry__descriptor, payload));
        return HF_OK;
    case OPCODE_CHECK:
        (void)unpack(a, &hf__entry__check_entry__descriptor, payload);
        apply_check(a);
        return HF_OK;
    case OPCODE_COLLECT:
        return collect(a, unpack(a, &hf__entry__collect_entry__descriptor, payload));
    case OPCODE_SESSION:
        apply_session(a, unpack(a, &hf__entry__session_entry__descriptor, payload));
        return HF_OK;
    default: /* a number from the log */
        halt(a, "opcode", data.data[0]);
    }
}

static void apply_config(struct applying *a)
{
    struct arena *arena = &a->fsm->members[1 - a->fsm->members_at];
    arena_reset(arena); /* of an earlier configuration in this batch, or of one long gone */
    Hf__Catalog__Members *members = meta_members(a->entry->data, arena);
    if (members == NULL)
        halt(a, "malformed configuration, members", 0);
    members->index = a->entry->index;
    a->info.members = members;
    a->new_members = true;
    sum_add(&a->sum, a->entry->data);
    add_result(a, 0, &(struct fsm_result){0});
}

/* The running digest goes on by the entry's position and the sum of what it did. */
static void note_digest(struct applying *a, struct slice head)
{
    uint8_t sum[SUM_BYTES];
    struct digest digest;
    sum_end(&a->sum, sum);
    digest_begin(&digest);
    digest_add(&digest, slice_make(a->info.digest, DIGEST_BYTES));
    digest_add(&digest, head);
    digest_add(&digest, slice_make(sum, sizeof sum));
    digest_end(&digest, a->info.digest);
}

static int apply_entry(struct applying *a, const struct log_entry *entry)
{
    must(entry->index == a->info.applied.index + 1 && entry->term >= a->info.applied.term); /* I5 */
    a->entry = entry;
    uint8_t head[17] = {(uint8_t)entry->kind};
    put_le64(head + 1, entry->index);
    put_le64(head + 9, entry->term);
    sum_begin(&a->sum);
    int rc = HF_OK;
    switch (entry->kind) {
    case LOG_NOOP:
        add_result(a, 0, &(struct fsm_result){0});
        break;
    case LOG_COMMAND:
        rc = apply_command(a);
        break;
    case LOG_CONFIG:
        apply_config(a);
        break;
    }
    note_digest(a, slice_make(head, sizeof head));
    a->info.applied.index = entry->index; /* I3: whatever the entry was */
    a->info.applied.term = entry->term;
    return rc;
}

/* Everything in one batch (I1); in two only to show that the tests would notice. */
static int write_batch(struct applying *a)
{
    struct fsm *fsm = a->fsm;
    sessions_write(&fsm->sessions, fsm->batch);
    if (planted_bug("fsm.split_batch")) {
        int rc = store_write(fsm->store, fsm->batch);
        if (rc != HF_OK)
            return rc;
        store_batch_clear(fsm->batch);
    }
    if (a->info.ceiling.t != fsm->info.ceiling.t)
        meta_put_ceiling(fsm->batch, a->info.ceiling);
    if (a->new_members)
        meta_put_members(fsm->batch, a->info.members);
    if (a->info.checked != fsm->info.checked)
        meta_put_checked(fsm->batch, a->info.checked);
    if (a->info.restart.t != fsm->info.restart.t)
        meta_put_restart(fsm->batch, a->info.restart);
    meta_put_applied(fsm->batch, &a->info);
    crash_point("fsm.before_write");
    int rc = store_write(fsm->store, fsm->batch);
    crash_point("fsm.after_write");
    return rc;
}

static void commit(struct applying *a)
{
    struct fsm *fsm = a->fsm;
    fsm_drop_iterators(fsm);
    for (size_t i = 0; i < fsm->overlay.count; i++) {
        struct slice prefix;
        struct version_found found;
        overlay_at(&fsm->overlay, i, &prefix, &found);
        recent_update(&fsm->recent, prefix, &found);
    }
    sessions_commit(&fsm->sessions);
    markers_commit(&fsm->markers);
    txns_commit(&fsm->txns);
    apply_collect_commit(a);
    if (a->new_members)
        fsm->members_at = 1 - fsm->members_at;
    fsm->info = a->info;
    fsm->info.sessions = fsm->sessions.by_id.count;
    fsm->info.markers = fsm->markers.count;
    fsm_count_txns(fsm);
}

static void report_all(struct fsm *fsm, fsm_result_fn *report, void *ctx)
{
    const struct apply_result *r = (const void *)fsm->results.data;
    for (size_t i = 0; i < fsm->results.size / sizeof *r; i++)
        report(ctx, r[i].index, r[i].term, r[i].position, &r[i].result);
}

int fsm_apply(struct fsm *fsm, const struct log_entry *entries, size_t count, fsm_result_fn *report, void *ctx)
{
    if (count == 0)
        return HF_OK;
    must(!fsm->busy); /* a report may read, not apply */
    fsm->busy = true;
    struct applying a = {.fsm = fsm, .info = fsm->info, .sweep = fsm->sweep};
    a.bug_twice = planted_bug("fsm.apply_twice");
    a.bug_overlay = planted_bug("fsm.ignore_overlay");
    int rc = HF_OK;
    for (size_t i = 0; i < count && rc == HF_OK; i++) {
        must(count == 1 || !fsm_is_collect(&entries[i]));              /* it goes by what is written */
        must(!fsm_sealed(&a.info) || planted_bug("cross.applies_on")); /* nothing behind a seal was ever acknowledged */
        rc = apply_entry(&a, &entries[i]);
    }
    if (rc == HF_OK)
        rc = write_batch(&a);
    if (rc == HF_OK) {
        commit(&a);
        report_all(fsm, report, ctx);
    } else {
        sessions_rollback(&fsm->sessions);
        markers_rollback(&fsm->markers);
        txns_rollback(&fsm->txns);
    }
    store_batch_clear(fsm->batch);
    overlay_clear(&fsm->overlay);
    buf_clear(&fsm->results);
    arena_reset(&fsm->turn);
    fsm->busy = false;
    return rc;
}
