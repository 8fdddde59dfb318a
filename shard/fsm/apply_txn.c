/* apply_txn.c: the commands of transactions: what is prepared, decided and forgotten (docs/protocol/transactions.md).
 *
 * A transaction is decided in its home group, in one entry: by the record and by the session's table together. Elsewhere its record
 * is a promise that home's decision is carried out. Nothing here depends on time but for the stamps in the entries (I2). */
#include "common/base/endian.h"
#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/fsm/apply_internal.h"
#include "shard/fsm/changed.h"

#define STEPS_MAX ((size_t)20000) /* keys that the ranges of one transaction may hold, locks passed over included */

static struct fsm_txn_id id_of(const Hf__Entry__TxnId *id)
{
    return (struct fsm_txn_id){id->home, id->session, id->seq};
}

static bool at_home(const struct applying *a, const struct fsm_txn_id *id)
{
    return id->home == a->info.group;
}

/* ---- records ---- */

static void put_record(struct applying *a, const Hf__Entry__TxnRecord *record, const struct fsm_txn_id *id)
{
    struct buf packed = {0};
    uint8_t key[1 + TXNS_ID_BYTES];
    pack_append(&record->base, &packed);
    struct slice copy = arena_copy(&a->fsm->turn, buf_slice(&packed));
    buf_deinit(&packed);
    txns_key(id, key);
    apply_put(a, arena_copy(&a->fsm->turn, slice_make(key, sizeof key)), copy);
    (void)txns_add(&a->fsm->txns, copy);
}

static void remove_record(struct applying *a, const struct txn *txn)
{
    uint8_t key[1 + TXNS_ID_BYTES];
    txns_key(&txn->id, key);
    apply_delete(a, arena_copy(&a->fsm->turn, slice_make(key, sizeof key)));
    txns_remove(&a->fsm->txns, txn);
}

/* ---- what is in the way ---- */

static void note_conflict(struct applying *a, struct fsm_result *out, const struct fsm_conflict *conflict)
{
    struct fsm_conflict *kept = arena_alloc(&a->fsm->turn, sizeof *kept);
    *kept = *conflict;
    kept->lock.key = arena_copy(&a->fsm->turn, kept->lock.key); /* a record may be gone when the result is reported */
    out->conflict = kept;
}

/* The key, or with `prefix` all that begin with it: free but for what `own` holds? */
static int check_free(struct applying *a, struct slice key, bool prefix, const struct fsm_txn_id *own,
                      struct fsm_result *out)
{
    struct txns *txns = &a->fsm->txns;
    if (txns_locks(txns) == 0)
        return HF_OK;
    struct txns_who who = {.except = own};
    struct fsm_conflict conflict = {.key = key};
    struct txns_span span = {.start = key, .prefix = true};
    size_t steps = SIZE_MAX; /* of one's own locks, which are bounded */
    bool locked = prefix ? txns_lock_in(txns, &span, &who, &steps, &conflict.lock)
                         : txns_lock_on(txns, key, &who, &conflict.lock);
    if (!locked)
        return HF_OK;
    note_conflict(a, out, &conflict);
    return HF_E_KEY_LOCKED;
}

int apply_txn_free(struct applying *a, const Hf__Entry__Command *c, struct fsm_result *out)
{
    if (c->space != HF__ENTRY__SPACE__USER)
        return HF_OK;
    return check_free(a, pack_slice(c->key), c->op == HF__ENTRY__OP__DELETE_PREFIX, NULL, out);
}

/* What cannot be written here at all. */
static int check_writes(const struct applying *a, const Hf__Entry__Txn *t)
{
    if (t->n_writes + t->n_reads > LIMIT_TXN_KEYS)
        return HF_E_LIMIT;
    for (size_t i = 0; i < t->n_writes; i++) {
        const Hf__Entry__TxnWrite *w = t->writes[i];
        bool prefix = w->op == HF__ENTRY__OP__DELETE_PREFIX;
        if (w->op != HF__ENTRY__OP__PUT && w->op != HF__ENTRY__OP__DELETE && !prefix)
            return HF_E_INVALID;
        if (w->key.len > LIMIT_KEY_BYTES || w->value.len > LIMIT_VALUE_BYTES)
            return HF_E_LIMIT;
        if (prefix)
            continue;
        if (w->key.len == 0)
            return HF_E_INVALID;
        if (!fsm_owns(a->fsm, FSM_USER, pack_slice(w->key)))
            return HF_E_WRONG_SHARD;
    }
    return HF_OK;
}

static size_t count_prefixes(const Hf__Entry__Txn *t)
{
    size_t count = 0;
    for (size_t i = 0; i < t->n_writes; i++)
        count += t->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX;
    return count;
}

/* Has what it writes changed since its start? A deleted prefix is deleted whatever is under it. *out_code: CONFLICT. */
static int check_newer(struct applying *a, const Hf__Entry__Txn *t, struct fsm_result *out, int *out_code)
{
    struct fsm_conflict conflict = {0};
    for (size_t i = 0; i < t->n_writes; i++) {
        if (t->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX)
            continue;
        int rc = changed_key(a->fsm, pack_slice(t->writes[i]->key), (struct hlc){t->start}, (struct hlc){0},
                             &a->fsm->turn, &conflict);
        if (rc == HF_E_CONFLICT) {
            note_conflict(a, out, &conflict);
            *out_code = rc;
            return HF_OK;
        }
        if (rc != HF_OK)
            return rc;
    }
    return HF_OK;
}

/* Has what it read? *out_code: CONFLICT, LIMIT. */
static int check_read(struct applying *a, const Hf__Entry__Txn *t, struct hlc at, struct fsm_result *out, int *out_code)
{
    size_t steps = STEPS_MAX;
    struct hlc start = {t->start};
    struct fsm_conflict conflict = {0};
    for (size_t i = 0; i < t->n_reads && !planted_bug("txn.reads_unvalidated"); i++) {
        const Hf__Entry__TxnRead *r = t->reads[i];
        struct slice key = pack_slice(r->key);
        int rc = r->range ? changed_range(a->fsm, key, pack_slice(r->end), start, at, &steps, &a->fsm->turn, &conflict)
                          : changed_key(a->fsm, key, start, at, &a->fsm->turn, &conflict);
        if (rc == HF_E_CONFLICT)
            note_conflict(a, out, &conflict);
        if (rc == HF_E_CONFLICT || rc == HF_E_LIMIT) {
            *out_code = rc;
            return HF_OK;
        }
        if (rc != HF_OK)
            return rc;
    }
    return HF_OK;
}

static int check_locks(struct applying *a, const Hf__Entry__Txn *t, const struct fsm_txn_id *own,
                       struct fsm_result *out)
{
    int rc = HF_OK;
    for (size_t i = 0; rc == HF_OK && i < t->n_writes; i++)
        rc = check_free(a, pack_slice(t->writes[i]->key), t->writes[i]->op == HF__ENTRY__OP__DELETE_PREFIX, own, out);
    size_t steps = STEPS_MAX;
    for (size_t i = 0; rc == HF_OK && i < t->n_reads && txns_locks(&a->fsm->txns) > 0; i++) {
        const Hf__Entry__TxnRead *r = t->reads[i];
        struct fsm_conflict conflict = {.key = pack_slice(r->key)};
        struct txns_span span = {.start = pack_slice(r->key), .end = pack_slice(r->end)};
        struct txns_who who = {.except = own};
        if (!r->range) {
            rc = check_free(a, pack_slice(r->key), false, own, out);
        } else if (txns_lock_in(&a->fsm->txns, &span, &who, &steps, &conflict.lock)) {
            note_conflict(a, out, &conflict);
            rc = HF_E_KEY_LOCKED;
        }
    }
    return rc;
}

/* ---- effects ---- */

/* The i-th write gets the i-th version from `first` on. */
static int write_all(struct applying *a, const Hf__Entry__Txn *t, struct version first)
{
    struct version version = first;
    for (size_t i = 0; i < t->n_writes; i++, version.seq++) {
        const Hf__Entry__TxnWrite *w = t->writes[i];
        struct slice key = arena_copy(&a->fsm->turn, pack_slice(w->key)); /* a record does not outlive the batch */
        if (w->op == HF__ENTRY__OP__DELETE_PREFIX) {
            int rc = apply_marker(a, FSM_USER, key, version);
            if (rc != HF_OK)
                return rc;
            continue;
        }
        struct version_value value = {.flags = VERSION_DELETE};
        if (w->op == HF__ENTRY__OP__PUT)
            value = apply_value(arena_copy(&a->fsm->turn, pack_slice(w->value)), w->ttl_ms, version);
        apply_version(a, vkey_prefix(&a->fsm->turn, VKEY_DATA, FSM_USER, key), version, &value);
    }
    return HF_OK;
}

int apply_txn_whole(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    const Hf__Entry__Txn *t = c->txn;
    out->code = c->space != HF__ENTRY__SPACE__USER ? HF_E_INVALID : check_writes(a, t);
    if (out->code == HF_OK && apply_collected(a, t->start))
        out->code = HF_E_TOO_OLD;
    if (out->code == HF_OK && count_prefixes(t) > apply_markers_left(a))
        out->code = HF_E_LIMIT;
    int rc = out->code == HF_OK ? check_newer(a, t, out, &out->code) : HF_OK;
    if (rc == HF_OK && out->code == HF_OK)
        rc = check_read(a, t, version.t, out, &out->code);
    if (rc == HF_OK && out->code == HF_OK)
        out->code = check_locks(a, t, NULL, out);
    if (rc != HF_OK || out->code != HF_OK)
        return rc;
    rc = write_all(a, t, version);
    must(rc == HF_OK); /* there was room for its markers */
    return HF_OK;
}

/* ---- the session's word, at home ---- */

struct home_word {
    struct session *session; /* NULL: unknown or expired */
    int known;               /* of sessions_outcome: HF_OK, HF_E_NOT_FOUND (has not run), HF_E_SESSION_WINDOW */
    bool above;              /* SESSION_WINDOW: it may come into the window yet */
    struct session_outcome outcome;
};

static struct home_word ask_session(struct applying *a, const struct fsm_txn_id *id, struct hlc now,
                                    uint64_t done_below)
{
    struct home_word word = {.known = HF_E_SESSION_UNKNOWN};
    word.session = sessions_use(&a->fsm->sessions, id->session, now, &a->fsm->turn);
    if (word.session == NULL)
        return word;
    sessions_done_below(word.session, done_below);
    word.known = sessions_outcome(word.session, id->seq, &word.outcome);
    word.above = word.known == HF_E_SESSION_WINDOW && id->seq >= sessions_below(word.session);
    return word;
}

/* Decided for ever, if the session can still say so; else no command of that number runs any more. */
static void record_outcome(struct home_word *word, const struct fsm_txn_id *id, int code, struct version version)
{
    if (word->session != NULL && word->known == HF_E_NOT_FOUND)
        sessions_record(word->session, id->seq, &(struct session_outcome){.code = code, .version = version});
}

static void say_outcome(const struct home_word *word, struct fsm_result *out)
{
    bool done = word->outcome.code == HF_OK;
    out->code = word->outcome.code;
    out->version = word->outcome.version;
    out->state = done ? FSM_TXN_COMMITTED : FSM_TXN_ROLLED_BACK;
    out->commit = done ? word->outcome.version.t : (struct hlc){0};
}

/* ---- commands ---- */

/* A record is there already: it stays as it is, whatever this one brings. */
static void prepared_before(struct applying *a, const struct txn *txn, struct version version, struct fsm_result *out)
{
    const Hf__Entry__TxnRecord *record = txn->record;
    out->state = (enum fsm_txn_state)record->state;
    out->min_commit.t = record->min_commit;
    out->commit.t = record->commit;
    out->version.t = out->commit;
    if (record->state != HF__ENTRY__TXN_STATE__PREPARED || !planted_bug("txn.prewrite_again"))
        return;
    Hf__Entry__TxnRecord again = *record;
    again.min_commit = out->min_commit.t = version.t.t;
    struct fsm_txn_id id = txn->id;
    remove_record(a, txn);
    put_record(a, &again, &id);
}

/* *out_code: it may be prepared, or why not. */
static int check_prepare(struct applying *a, const Hf__Entry__Txn *t, const struct fsm_txn_id *id,
                         struct fsm_result *out)
{
    struct txns *txns = &a->fsm->txns;
    out->code = check_writes(a, t);
    if (out->code == HF_OK && t->n_writes == 0)
        out->code = HF_E_INVALID;
    if (out->code == HF_OK && apply_collected(a, t->start))
        out->code = HF_E_TOO_OLD;
    uint64_t bytes = protobuf_c_message_get_packed_size(&t->base);
    if (out->code == HF_OK && (txns->by_id.count >= LIMIT_TXNS || txns->bytes + bytes > LIMIT_TXNS_BYTES ||
                               count_prefixes(t) > apply_markers_left(a)))
        out->code = HF_E_LIMIT;
    int rc = out->code == HF_OK ? check_newer(a, t, out, &out->code) : HF_OK;
    if (rc == HF_OK && out->code == HF_OK)
        out->code = check_locks(a, t, id, out);
    return rc;
}

static int prepare(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    struct fsm_txn_id id = id_of(c->txn->id);
    const struct txn *txn = txns_find(&a->fsm->txns, &id);
    if (txn != NULL) {
        prepared_before(a, txn, version, out);
        return HF_OK;
    }
    struct home_word word = {0};
    if (at_home(a, &id)) {
        word = ask_session(a, &id, version.t, c->done_below);
        bool unchecked = planted_bug("txn.marker_unchecked") && word.known == HF_OK && word.outcome.code != HF_OK;
        if (word.known == HF_OK && !unchecked) {
            say_outcome(&word, out);
            return HF_OK;
        }
        if (word.known != HF_E_NOT_FOUND && !unchecked) {
            out->code = word.known;
            return HF_OK;
        }
    }
    int rc = check_prepare(a, c->txn, &id, out);
    if (rc != HF_OK)
        return rc;
    if (out->code == HF_E_CONFLICT && at_home(a, &id)) {
        record_outcome(&word, &id, HF_E_CONFLICT, (struct version){0});
        out->state = FSM_TXN_ROLLED_BACK;
    }
    if (out->code != HF_OK)
        return HF_OK;
    Hf__Entry__TxnRecord record = HF__ENTRY__TXN_RECORD__INIT;
    record.state = HF__ENTRY__TXN_STATE__PREPARED;
    record.txn = c->txn;
    record.min_commit = version.t.t;
    if (at_home(a, &id))
        record.expires = hlc_add_ms(version.t, c->txn->ttl_ms).t;
    put_record(a, &record, &id);
    out->state = FSM_TXN_PREPARED;
    out->min_commit = version.t;
    return HF_OK;
}

/* At home, of one that has no record: decided by the session's table, or, if it has not run, now and for ever rolled back. */
static void decided_without_record(struct applying *a, const struct fsm_txn_id *id, struct hlc now,
                                   struct fsm_result *out)
{
    struct home_word word = ask_session(a, id, now, 0);
    out->state = word.above ? FSM_TXN_NONE : FSM_TXN_ROLLED_BACK;
    if (word.known == HF_OK) {
        say_outcome(&word, out);
        out->code = HF_OK;
    } else if (word.known == HF_E_NOT_FOUND) {
        record_outcome(&word, id, HF_E_CONFLICT, (struct version){0});
    } else {
        out->code = word.known; /* whether it was committed once nobody knows here; it cannot run any more */
    }
}

/* What home keeps until every other group has it; nothing if there is none. */
static void keep_decision(struct applying *a, const struct txn *txn, uint64_t commit)
{
    struct fsm_txn_id id = txn->id;
    const Hf__Entry__Txn *was = txn->record->txn;
    Hf__Entry__TxnRecord record = HF__ENTRY__TXN_RECORD__INIT;
    Hf__Entry__Txn rest = HF__ENTRY__TXN__INIT;
    Hf__Entry__TxnId name = HF__ENTRY__TXN_ID__INIT;
    name.home = id.home;
    name.session = id.session;
    name.seq = id.seq;
    rest.id = &name;
    rest.start = was->start;
    rest.n_others = was->n_others;
    rest.others = was->others; /* txn stays readable until the batch is written */
    record.state = HF__ENTRY__TXN_STATE__COMMITTED;
    record.txn = &rest;
    record.min_commit = txn->record->min_commit;
    record.commit = commit;
    remove_record(a, txn);
    if (rest.n_others > 0)
        put_record(a, &record, &id);
}

static int commit_prepared(struct applying *a, const struct txn *txn, struct hlc commit, struct hlc now,
                           struct fsm_result *out)
{
    struct fsm_txn_id id = txn->id;
    bool home = at_home(a, &id);
    if (commit.t <= txn->record->min_commit) {
        if (home) {
            out->code = HF_E_INVALID;
            out->state = FSM_TXN_PREPARED;
            return HF_OK;
        }
        remove_record(a,
                      txn); /* a late one: what home committed lies above its record, which was committed here before */
        out->state = FSM_TXN_COMMITTED;
        out->commit = commit;
        return HF_OK;
    }
    struct version first = {.t = commit};
    int rc = write_all(a, txn->record->txn, first);
    if (rc != HF_OK)
        return rc;
    struct version last = {.t = commit, .seq = txn->record->txn->n_writes - 1};
    if (version_compare(last, a->info.newest) > 0)
        a->info.newest = last;
    out->state = FSM_TXN_COMMITTED;
    out->commit = commit;
    out->version = first;
    if (!home) {
        remove_record(a, txn);
        return HF_OK;
    }
    struct home_word word = ask_session(a, &id, now, 0);
    record_outcome(&word, &id, HF_OK, first);
    keep_decision(a, txn, commit.t);
    return HF_OK;
}

static int commit(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    struct fsm_txn_id id = id_of(c->txn->id);
    const struct txn *txn = txns_find(&a->fsm->txns, &id);
    struct hlc at = {c->txn->commit};
    if (txn == NULL && at_home(a, &id)) {
        decided_without_record(a, &id, version.t, out);
        if (out->code == HF_OK && out->state == FSM_TXN_ROLLED_BACK)
            out->code = HF_E_FENCED;
    } else if (txn == NULL) {
        out->code = planted_bug("txn.absent_is_success") ? HF_OK : HF_E_ABSENT;
    } else if (txn->record->state == HF__ENTRY__TXN_STATE__COMMITTED) {
        out->state = FSM_TXN_COMMITTED;
        out->commit.t = txn->record->commit;
        out->version.t = out->commit;
    } else {
        return commit_prepared(a, txn, at, version.t, out);
    }
    return HF_OK;
}

static void rollback(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    struct fsm_txn_id id = id_of(c->txn->id);
    const struct txn *txn = txns_find(&a->fsm->txns, &id);
    bool home = at_home(a, &id);
    out->state = FSM_TXN_ROLLED_BACK;
    if (txn == NULL) {
        if (home)
            decided_without_record(a, &id, version.t, out);
        return;
    }
    if (txn->record->state == HF__ENTRY__TXN_STATE__COMMITTED) {
        out->state = FSM_TXN_COMMITTED;
        out->commit.t = txn->record->commit;
        return;
    }
    if (home && !c->txn->force && version.t.t < txn->record->expires) {
        out->state = FSM_TXN_PREPARED;
        out->min_commit.t = txn->record->min_commit;
        return;
    }
    remove_record(a, txn);
    if (home) {
        struct home_word word = ask_session(a, &id, version.t, 0);
        record_outcome(&word, &id, HF_E_CONFLICT, (struct version){0});
    }
}

static void forget(struct applying *a, const Hf__Entry__Command *c, struct fsm_result *out)
{
    struct fsm_txn_id id = id_of(c->txn->id);
    const struct txn *txn = txns_find(&a->fsm->txns, &id);
    if (txn == NULL)
        return;
    if (txn->record->state == HF__ENTRY__TXN_STATE__COMMITTED)
        remove_record(a, txn);
    else
        out->code = HF_E_INVALID;
}

int apply_txn(struct applying *a, const Hf__Entry__Command *c, struct version version, struct fsm_result *out)
{
    if (c->txn == NULL || c->txn->id == NULL || c->space != HF__ENTRY__SPACE__USER) {
        out->code = HF_E_INVALID;
        return HF_OK;
    }
    switch ((int)c->op) {
    case HF__ENTRY__OP__TXN_PREPARE:
        return prepare(a, c, version, out);
    case HF__ENTRY__OP__TXN_COMMIT:
        return commit(a, c, version, out);
    case HF__ENTRY__OP__TXN_ROLLBACK:
        rollback(a, c, version, out);
        return HF_OK;
    default:
        must(c->op == HF__ENTRY__OP__TXN_FORGET);
        forget(a, c, out);
        return HF_OK;
    }
}

bool apply_txn_prepared(const struct applying *a, uint64_t session, uint64_t seq)
{
    struct fsm_txn_id id = {a->info.group, session, seq};
    if (a->fsm->txns.by_id.count == 0)
        return false;
    const struct txn *txn = txns_find(&a->fsm->txns, &id);
    return txn != NULL && txn->record->state == HF__ENTRY__TXN_STATE__PREPARED;
}

bool apply_txn_fence(struct applying *a, uint64_t session, uint64_t seq, struct session_outcome *out)
{
    struct fsm_txn_id id = {a->info.group, session, seq};
    const struct txn *txn = txns_find(&a->fsm->txns, &id);
    if (txn == NULL)
        return false;
    if (txn->record->state == HF__ENTRY__TXN_STATE__COMMITTED) {
        *out = (struct session_outcome){.code = HF_OK, .version.t = {txn->record->commit}};
        return true;
    }
    remove_record(a, txn);
    return false;
}
