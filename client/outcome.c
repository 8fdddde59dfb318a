/* outcome.c: see outcome.h. */
#include "client/outcome.h"

#include "client/oracle.h"

bool outcome_is_write(const struct hf_future *r)
{
    switch (r->kind) {
    case REQUEST_PUT:
    case REQUEST_DEL:
    case REQUEST_CAS:
    case REQUEST_DELETE_PREFIX:
        return true;
    case REQUEST_TXN:
        return r->txn->n_writes > 0;
    case REQUEST_GET:
    case REQUEST_SCAN:
    case REQUEST_CUT:
    case REQUEST_RETAIN:       /* the same again */
    case REQUEST_TIMESTAMP:    /* drawn twice, one stays unused */
    case REQUEST_SESSION_OPEN: /* opened twice, one stays unused */
    case REQUEST_STATUS:
    case REQUEST_ROUTES:
    case REQUEST_RESOLVE:
        return false;
    }
    return false;
}

bool outcome_known(const struct hf_future *r)
{
    if (r->kind != REQUEST_TXN || r->txn->n_writes > 0)
        return false;
    return r->txn->n_reads == 0 || (r->txn->n_reads == 1 && !r->txn->reads[0]->range);
}

enum hf_class outcome_class(const Hf__Client__Reply *reply)
{
    if (reply->code == HF_OK)
        return HF_CLASS_NONE;
    if (reply->class_ >= HF_CLASS_RETRY_SAME && reply->class_ <= HF_CLASS_GIVE_UP)
        return (enum hf_class)reply->class_;
    return error_class(reply->code);
}

static uint64_t attempt_bit(uint32_t attempt)
{
    return UINT64_C(1) << (attempt < 64 ? attempt - 1 : 63);
}

void outcome_mark_sent(struct hf_future *r)
{
    r->unanswered |= attempt_bit(r->attempts);
}

static void mark_answered(struct hf_future *r, uint32_t attempt)
{
    if (attempt < 64) /* the last bit is shared: it stays, which errs to unknown */
        r->unanswered &= ~attempt_bit(attempt);
    else if (r->attempts == 64)
        r->unanswered &= ~attempt_bit(64);
}

static bool own_question(const struct hf_future *r)
{
    return r->kind == REQUEST_STATUS || r->kind == REQUEST_ROUTES || r->kind == REQUEST_RESOLVE;
}

/* The shard executed it, or its session table says what became of it. */
static bool decided(const struct hf_future *r, int code)
{
    if (code == HF_OK || own_question(r) || (r->kind == REQUEST_TXN && code == HF_E_CONFLICT))
        return true;
    return outcome_is_write(r) && (code == HF_E_NOT_FOUND || code == HF_E_COMPARE_FAILED || code == HF_E_FENCED);
}

enum outcome outcome_judge(struct hf_future *r, uint32_t attempt, bool current, const Hf__Client__Reply *reply)
{
    enum hf_class cls = outcome_class(reply);
    if (r->kind == REQUEST_SCAN && !current)
        return OUTCOME_IGNORE; /* it may be of another shard's part */
    if (decided(r, reply->code))
        return OUTCOME_FINAL;
    if (cls != HF_CLASS_OUTCOME_UNKNOWN)
        mark_answered(r, attempt);
    if (!current)
        return OUTCOME_IGNORE;
    bool maybe = outcome_is_write(r) && (r->unanswered != 0 || r->lost);
    switch (cls) {
    case HF_CLASS_NONE:
    case HF_CLASS_OUTCOME_UNKNOWN:
    case HF_CLASS_RETRY_SAME:
    case HF_CLASS_RETRY_ELSEWHERE:
        return OUTCOME_RETRY;
    case HF_CLASS_REFRESH_ROUTE: /* another shard has another session table: a second execution would not be noticed */
        return maybe ? OUTCOME_UNKNOWN : OUTCOME_RETRY;
    case HF_CLASS_GIVE_UP:
        if (maybe)
            return OUTCOME_UNKNOWN;
        if (oracle_mistaken(r, reply))
            return OUTCOME_RETRY;
        return reply->code == HF_E_SESSION_UNKNOWN && r->session ? OUTCOME_RETRY : OUTCOME_FINAL;
    }
    return OUTCOME_RETRY;
}

void outcome_note_away(struct hf_future *r, const Hf__Client__Reply *reply)
{
    if (r->kind == REQUEST_TXN)
        r->away =
            reply->code == HF_E_CONFLICT && !reply->conflict && error_class(r->refusal) == HF_CLASS_RETRY_ELSEWHERE;
}

static const char *late_reason(const struct hf *h, const struct hf_future *r)
{
    if (!h->routes)
        return "deadline passed before anything was sent: no coordinator told the routes "
               "(are the endpoints right, and is the cluster bootstrapped?)";
    if (oracle_answers(r))
        return "deadline passed before anything was sent: no coordinator could be reached, and only they give "
               "timestamps";
    if (r->spread && (r->session || !outcome_is_write(r)))
        return "deadline passed before anything was sent: no coordinator could be reached, and only they commit over "
               "several shards";
    if (r->shard && !h->routed && !r->shard->leader)
        return "deadline passed before anything was sent: no leader of the key's shard was found";
    if (outcome_is_write(r) && r->shard && !r->shard->session)
        return "deadline passed before anything was sent: the key's shard opened no session (has it a leader?)";
    return "deadline passed before anything was sent";
}

int outcome_late(const struct hf *h, struct hf_future *r)
{
    if (r->spans && r->kind != REQUEST_TXN &&
        r->refusal == HF_E_CONFLICT) { /* its last try; the next had no time left */
        if (!r->away)
            return HF_E_CONFLICT;
        r->message =
            "unavailable: a shard that has such keys, or a coordinator, was away until the deadline (holdfast status); "
            "nothing was deleted";
        return HF_E_UNAVAILABLE;
    }
    if (r->attempts == 0) {
        const struct shard *s = r->shard;
        if (outcome_is_write(r) && s && !s->session && error_class(s->opening_refusal) == HF_CLASS_RETRY_SAME)
            return s->opening_refusal; /* it waited for a session: a full disk or queue is said as such */
        r->message = late_reason(h, r);
        return HF_E_TIMEOUT;
    }
    if (outcome_is_write(r) && r->unanswered != 0) {
        r->message = "outcome unknown: the request was sent, and no answer came before the deadline";
        return HF_E_OUTCOME_UNKNOWN;
    }
    if (r->kind == REQUEST_CUT) {
        r->message =
            "unavailable: no strict cut was made before the deadline (is a coordinator active, has every shard "
            "a leader? holdfast status)";
        return HF_E_UNAVAILABLE;
    }
    if (r->kind == REQUEST_RETAIN) {
        r->message =
            "unavailable: no coordinator promised to retain it before the deadline (is one active? holdfast status)";
        return HF_E_UNAVAILABLE;
    }
    if (r->kind == REQUEST_TIMESTAMP) {
        r->message =
            "unavailable: no coordinator gave a timestamp before the deadline (is one active? holdfast status)";
        return HF_E_UNAVAILABLE;
    }
    if (r->refusal != 0 && error_class(r->refusal) == HF_CLASS_RETRY_SAME)
        return r->refusal;
    r->message = r->unanswered ? "unavailable: no answer came before the deadline"
                               : "unavailable: every attempt was refused until the deadline (has the shard a leader?)";
    return HF_E_UNAVAILABLE;
}

int outcome_refused(const struct hf_future *r, int code)
{
    return outcome_is_write(r) && r->unanswered != 0 ? HF_E_OUTCOME_UNKNOWN : code;
}

int outcome_closed(const struct hf_future *r)
{
    return outcome_refused(r, HF_E_CLOSED);
}

void outcome_counted_out(struct hf *h, const struct hf_future *r)
{
    atomic_fetch_sub_explicit(&h->outstanding, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&h->outstanding_bytes, r->size, memory_order_relaxed);
}
