/* requests.c: see requests.h. */
#include "proto/requests.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/base/hlc.h"
#include "common/base/limits.h"
#include "proto/pack.h"

#define LEASE_MS_MAX (UINT64_C(1) << 45) /* a ceiling beyond is nobody's wall clock (the year 3084) */

static int too_large(char message[REQUESTS_TEXT_BYTES], const char *what, size_t size, size_t limit)
{
    snprintf(message, REQUESTS_TEXT_BYTES, "%s has %zu bytes, the limit is %zu", what, size, limit);
    return HF_E_LIMIT;
}

static int check_key(ProtobufCBinaryData key, char message[REQUESTS_TEXT_BYTES])
{
    if (key.len == 0) {
        snprintf(message, REQUESTS_TEXT_BYTES, "the key is empty; give at least one byte");
        return HF_E_INVALID;
    }
    return key.len > LIMIT_KEY_BYTES ? too_large(message, "the key", key.len, LIMIT_KEY_BYTES) : HF_OK;
}

static int check_value(ProtobufCBinaryData value, char message[REQUESTS_TEXT_BYTES])
{
    return value.len > LIMIT_VALUE_BYTES ? too_large(message, "the value", value.len, LIMIT_VALUE_BYTES) : HF_OK;
}

static int check_bound(ProtobufCBinaryData bound, char message[REQUESTS_TEXT_BYTES])
{
    size_t most = LIMIT_KEY_BYTES + 1; /* the successor of the largest key */
    return bound.len > most ? too_large(message, "a bound", bound.len, most) : HF_OK;
}

/* 0: the latest. */
static int check_at(const Hf__Client__Request *q, uint64_t at, char message[REQUESTS_TEXT_BYTES])
{
    if (at == 0 || q->space == HF__ENTRY__SPACE__USER)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "the catalog is read as it is; leave the timestamp %" PRIu64 " out", at);
    return HF_E_REFUSED;
}

static int check_scan(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    int rc = check_at(q, q->scan->at, message);
    if (rc)
        return rc;
    rc = check_bound(q->scan->start, message);
    return rc ? rc : check_bound(q->scan->end, message);
}

static int check_fence(const Hf__Client__SessionFence *f, char message[REQUESTS_TEXT_BYTES])
{
    if (f->session != 0 && f->seq != 0)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a fence names a session and a sequence number, both from 1");
    return HF_E_INVALID;
}

/* A lease never falls again: one that no coordinator can have meant would move the group's clock for ever. */
static int check_lease(const Hf__Client__Lease *l, char message[REQUESTS_TEXT_BYTES])
{
    if (l->timestamp < l->ceiling && hlc_ms((struct hlc){l->ceiling}) < LEASE_MS_MAX)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a lease with ceiling %" PRIu64 " and timestamp %" PRIu64 " is none",
             l->ceiling, l->timestamp);
    return HF_E_INVALID;
}

static int check_verdict(const Hf__Client__Verdict *v, char message[REQUESTS_TEXT_BYTES])
{
    if (v->index != 0 && v->digest.len == REQUESTS_DIGEST_BYTES)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a verdict names the index of a check and a digest of %d bytes",
             REQUESTS_DIGEST_BYTES);
    return HF_E_INVALID;
}

static int check_hold(const Hf__Client__Hold *h, char message[REQUESTS_TEXT_BYTES])
{
    if (h->id != 0 && !(h->end && h->at != 0))
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a hold has an id, and either a timestamp or an end");
    return HF_E_INVALID;
}

static int check_id(const Hf__Entry__TxnId *id, char message[REQUESTS_TEXT_BYTES])
{
    if (id != NULL && id->home != 0 && id->session != 0 && id->seq != 0)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a transaction is named by a shard, a session and a number, all from 1");
    return HF_E_INVALID;
}

static int check_retain(const Hf__Client__Retain *r, char message[REQUESTS_TEXT_BYTES])
{
    if (r->id != 0 && (r->timestamp != 0 || r->lease_ms == 0))
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "what is retained has an id and a timestamp, neither of them 0");
    return HF_E_INVALID;
}

static int check_txn_write(const Hf__Entry__TxnWrite *w, char message[REQUESTS_TEXT_BYTES])
{
    if (w->op != HF__ENTRY__OP__PUT && w->op != HF__ENTRY__OP__DELETE && w->op != HF__ENTRY__OP__DELETE_PREFIX) {
        snprintf(message, REQUESTS_TEXT_BYTES,
                 "a transaction puts, deletes or deletes a prefix; operation %d is another", (int)w->op);
        return HF_E_INVALID;
    }
    bool prefix = w->op == HF__ENTRY__OP__DELETE_PREFIX;
    if (prefix && w->key.len > LIMIT_KEY_BYTES)
        return too_large(message, "the prefix", w->key.len, LIMIT_KEY_BYTES);
    int rc = prefix ? HF_OK : check_key(w->key, message);
    return rc ? rc : check_value(w->value, message);
}

static int check_txn_reads(Hf__Entry__TxnRead *const *reads, size_t count, size_t *bytes,
                           char message[REQUESTS_TEXT_BYTES])
{
    int rc = HF_OK;
    for (size_t i = 0; !rc && i < count; i++) {
        *bytes += reads[i]->key.len + reads[i]->end.len;
        if (!reads[i]->range)
            rc = check_key(reads[i]->key, message);
        else if (!(rc = check_bound(reads[i]->key, message)))
            rc = check_bound(reads[i]->end, message);
    }
    return rc;
}

/* Of what it reads and writes. */
static int check_txn(uint64_t start, Hf__Entry__TxnWrite *const *writes, size_t n_writes,
                     Hf__Entry__TxnRead *const *reads, size_t n_reads, char message[REQUESTS_TEXT_BYTES])
{
    if (start == 0) {
        snprintf(message, REQUESTS_TEXT_BYTES, "a transaction begins at a timestamp, not at 0");
        return HF_E_INVALID;
    }
    if (n_writes + n_reads > LIMIT_TXN_KEYS) {
        snprintf(message, REQUESTS_TEXT_BYTES, "the transaction writes and reads %zu keys and ranges, the limit is %u",
                 n_writes + n_reads, LIMIT_TXN_KEYS);
        return HF_E_LIMIT;
    }
    size_t bytes = 0;
    int rc = check_txn_reads(reads, n_reads, &bytes, message);
    for (size_t i = 0; !rc && i < n_writes; i++) {
        bytes += writes[i]->key.len + writes[i]->value.len;
        rc = check_txn_write(writes[i], message);
    }
    if (rc)
        return rc;
    return bytes > LIMIT_TXN_BYTES ? too_large(message, "the transaction", bytes, LIMIT_TXN_BYTES) : HF_OK;
}

static int check_prepare(const Hf__Entry__Txn *t, char message[REQUESTS_TEXT_BYTES])
{
    int rc = check_id(t->id, message);
    if (rc)
        return rc;
    if (t->n_writes == 0 || t->n_reads != 0 || t->n_others > LIMIT_ROUTES) {
        snprintf(message, REQUESTS_TEXT_BYTES, "%zu writes, %zu reads, %zu other shards are nothing to prepare",
                 t->n_writes, t->n_reads, t->n_others);
        return HF_E_INVALID;
    }
    return check_txn(t->start, t->writes, t->n_writes, t->reads, t->n_reads, message);
}

static int check_decision(const Hf__Entry__Txn *t, bool commits, char message[REQUESTS_TEXT_BYTES])
{
    int rc = check_id(t->id, message);
    if (rc)
        return rc;
    if ((t->commit != 0) == commits && t->n_writes == 0 && t->n_reads == 0 && t->n_others == 0)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES, "a commit names its timestamp, no other decision does; none carries more");
    return HF_E_INVALID;
}

static int check_validate(const Hf__Client__Validate *v, char message[REQUESTS_TEXT_BYTES])
{
    int rc = check_id(v->id, message);
    if (rc)
        return rc;
    if (v->at <= v->start) {
        snprintf(message, REQUESTS_TEXT_BYTES, "what was read at %" PRIu64 " is validated above it, not at %" PRIu64,
                 v->start, v->at);
        return HF_E_INVALID;
    }
    return check_txn(v->start, NULL, 0, v->reads, v->n_reads, message);
}

static int check_cas(const Hf__Client__Cas *c, char message[REQUESTS_TEXT_BYTES])
{
    int rc = check_key(c->key, message);
    if (!rc)
        rc = check_value(c->expected, message);
    return rc ? rc : check_value(c->value, message);
}

static int check_migrate(const Hf__Entry__MigrateEntry *e, char message[REQUESTS_TEXT_BYTES])
{
    bool known = e->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE ||
                 e->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL || e->step == HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT;
    bool texts = strlen(e->source) <= REQUESTS_ENGINE_BYTES && strlen(e->target) <= REQUESTS_ENGINE_BYTES;
    if (known && e->id != 0 && e->epoch != 0 && texts)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES,
             "a step of a migration is prepare, seal or abort, with an id and an epoch, and engines' names");
    return HF_E_INVALID;
}

static int check_job(const Hf__Client__MigrateJob *j, char message[REQUESTS_TEXT_BYTES])
{
    bool named = j->action == HF__CLIENT__JOB_ACTION__JOB_PLAN || j->action == HF__CLIENT__JOB_ACTION__JOB_START;
    size_t size = strlen(j->target);
    bool absent = j->n_without <= REQUESTS_WITHOUT_MAX;
    for (size_t i = 0; absent && i < j->n_without; i++)
        absent = j->without[i]->shard != 0 && j->without[i]->replica != 0;
    if (j->action >= HF__CLIENT__JOB_ACTION__JOB_PLAN && j->action <= HF__CLIENT__JOB_ACTION__JOB_FINALIZE &&
        size <= REQUESTS_ENGINE_BYTES && (size > 0 || !named) && absent)
        return HF_OK;
    snprintf(message, REQUESTS_TEXT_BYTES,
             "a migration job has an action, an engine's name of 1 to %d bytes, and up to %u replicas left out",
             REQUESTS_ENGINE_BYTES, REQUESTS_WITHOUT_MAX);
    return HF_E_INVALID;
}

static int unknown_op(char message[REQUESTS_TEXT_BYTES])
{
    snprintf(message, REQUESTS_TEXT_BYTES, "the request names no operation this program knows");
    return HF_E_PROTOCOL;
}

static int check_op(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    int rc = HF_OK;
    switch (q->op_case) {
    case HF__CLIENT__REQUEST__OP_PUT:
        rc = check_key(q->put->key, message);
        return rc ? rc : check_value(q->put->value, message);
    case HF__CLIENT__REQUEST__OP_DEL:
        return check_key(q->del->key, message);
    case HF__CLIENT__REQUEST__OP_CAS:
        return check_cas(q->cas, message);
    case HF__CLIENT__REQUEST__OP_DELETE_PREFIX:
        return q->delete_prefix->key.len > LIMIT_KEY_BYTES
                   ? too_large(message, "the prefix", q->delete_prefix->key.len, LIMIT_KEY_BYTES)
                   : HF_OK;
    case HF__CLIENT__REQUEST__OP_GET:
        rc = check_at(q, q->get->at, message);
        return rc ? rc : check_key(q->get->key, message);
    case HF__CLIENT__REQUEST__OP_SCAN:
        return check_scan(q, message);
    case HF__CLIENT__REQUEST__OP_SESSION_FENCE:
        return check_fence(q->session_fence, message);
    case HF__CLIENT__REQUEST__OP_LEASE:
        return check_lease(q->lease, message);
    case HF__CLIENT__REQUEST__OP_VERDICT:
        return check_verdict(q->verdict, message);
    case HF__CLIENT__REQUEST__OP_HOLD:
        return check_hold(q->hold, message);
    case HF__CLIENT__REQUEST__OP_TXN:
        return check_txn(q->txn->start, q->txn->writes, q->txn->n_writes, q->txn->reads, q->txn->n_reads, message);
    case HF__CLIENT__REQUEST__OP_PREPARE:
        return check_prepare(q->prepare, message);
    case HF__CLIENT__REQUEST__OP_VALIDATE:
        return check_validate(q->validate, message);
    case HF__CLIENT__REQUEST__OP_DECIDE_COMMIT:
        return check_decision(q->decide_commit, true, message);
    case HF__CLIENT__REQUEST__OP_ROLLBACK:
        return check_decision(q->rollback, false, message);
    case HF__CLIENT__REQUEST__OP_FORGET:
        return check_decision(q->forget, false, message);
    case HF__CLIENT__REQUEST__OP_RETAIN:
        return check_retain(q->retain, message);
    case HF__CLIENT__REQUEST__OP_RESOLVE:
        return check_id(q->resolve, message);
    case HF__CLIENT__REQUEST__OP_MIGRATE:
        return check_migrate(q->migrate, message);
    case HF__CLIENT__REQUEST__OP_MIGRATE_JOB:
        return check_job(q->migrate_job, message);
    case HF__CLIENT__REQUEST__OP_TXNS:
    case HF__CLIENT__REQUEST__OP_SNAPSHOT:
    case HF__CLIENT__REQUEST__OP_CHECK:
    case HF__CLIENT__REQUEST__OP_BACKUP:
    case HF__CLIENT__REQUEST__OP_SESSION_OPEN:
    case HF__CLIENT__REQUEST__OP_ROUTES:
    case HF__CLIENT__REQUEST__OP_STATUS:
    case HF__CLIENT__REQUEST__OP_BOOTSTRAP:
    case HF__CLIENT__REQUEST__OP_BEAT:
    case HF__CLIENT__REQUEST__OP_TRANSFER:
    case HF__CLIENT__REQUEST__OP_CLUSTER_STATUS:
    case HF__CLIENT__REQUEST__OP_TIMESTAMP:
    case HF__CLIENT__REQUEST__OP_CUT:
    case HF__CLIENT__REQUEST__OP_CLOCK_ACCEPT:
        return HF_OK;
    case HF__CLIENT__REQUEST__OP__NOT_SET:
    case _HF__CLIENT__REQUEST__OP__CASE_IS_INT_SIZE:
        break;
    }
    return unknown_op(message);
}

int requests_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES])
{
    if (q->version != REQUESTS_VERSION) {
        snprintf(message, REQUESTS_TEXT_BYTES, "protocol version %" PRIu32 ", this program speaks %d", q->version,
                 REQUESTS_VERSION);
        return HF_E_PROTOCOL;
    }
    if (q->space != HF__ENTRY__SPACE__USER && q->space != HF__ENTRY__SPACE__CATALOG) {
        snprintf(message, REQUESTS_TEXT_BYTES, "key space %d, this program knows 0 and 1", (int)q->space);
        return HF_E_PROTOCOL;
    }
    if ((q->session != 0) != (q->seq != 0) || q->done_below > q->seq) {
        snprintf(message, REQUESTS_TEXT_BYTES,
                 "session %" PRIu64 " with seq %" PRIu64 " and done_below %" PRIu64 " do not go together", q->session,
                 q->seq, q->done_below);
        return HF_E_INVALID;
    }
    return check_op(q, message);
}
