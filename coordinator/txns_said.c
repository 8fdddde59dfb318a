/* txns_said.c: see txns_said.h. */
#include "coordinator/txns_said.h"

#include "common/base/error.h"
#include "common/base/must.h"

static struct txns_word word(enum txns_verdict verdict, int code)
{
    return (struct txns_word){.verdict = verdict, .code = code};
}

static Hf__Entry__TxnState state_of(const Hf__Client__Reply *reply)
{
    return reply->txn ? reply->txn->state : HF__ENTRY__TXN_STATE__TXN_NONE;
}

static struct txns_word committed(const Hf__Client__Reply *reply)
{
    struct txns_word w = word(TXNS_SAID_COMMITTED, HF_OK);
    w.timestamp.t = reply->txn->commit;
    return w.timestamp.t != 0 ? w : word(TXNS_SAID_UNKNOWN, HF_E_PROTOCOL);
}

/* A question that any leader may answer a moment later. */
static bool passes(int code)
{
    switch (error_class(code)) {
    case HF_CLASS_RETRY_SAME:
        return code != HF_E_KEY_LOCKED;
    case HF_CLASS_RETRY_ELSEWHERE:
        return true;
    case HF_CLASS_NONE:
    case HF_CLASS_REFRESH_ROUTE:
    case HF_CLASS_OUTCOME_UNKNOWN:
    case HF_CLASS_GIVE_UP:
        break;
    }
    return code == HF_E_TIMEOUT;
}

static struct txns_word prepared(const Hf__Client__Reply *reply)
{
    if (reply->txn == NULL || reply->txn->state != HF__ENTRY__TXN_STATE__PREPARED)
        return word(TXNS_SAID_REFUSED, HF_E_PROTOCOL);
    struct txns_word w = word(TXNS_SAID_DONE, HF_OK);
    w.timestamp.t = reply->txn->min_commit;
    return w;
}

static struct txns_word judge_home(const Hf__Client__Reply *reply)
{
    if (reply->code == HF_OK && state_of(reply) == HF__ENTRY__TXN_STATE__COMMITTED)
        return committed(reply);
    if (reply->code == HF_E_CONFLICT || reply->code == HF_E_FENCED)
        return word(TXNS_SAID_ROLLED_BACK, reply->code); /* its session's table says so from now on */
    if (reply->code != HF_OK)
        return word(TXNS_SAID_REFUSED, reply->code);
    return prepared(reply);
}

/* A lock is a conflict: who waits with locks of its own may wait for one that waits for it. */
static struct txns_word judge_rest(const Hf__Client__Reply *reply)
{
    if (reply->code == HF_OK)
        return prepared(reply);
    return word(TXNS_SAID_REFUSED, reply->code == HF_E_KEY_LOCKED ? HF_E_CONFLICT : reply->code);
}

static struct txns_word judge_validate(const Hf__Client__Reply *reply)
{
    if (reply->code == HF_OK)
        return word(TXNS_SAID_DONE, HF_OK);
    if (reply->code == HF_E_FUTURE_TIMESTAMP) /* we drew it: the shard has not heard of it yet */
        return word(TXNS_SAID_AGAIN, reply->code);
    if (reply->code == HF_E_RESTART_ABOVE) {
        struct txns_word w = word(TXNS_SAID_REDRAW, reply->code);
        w.timestamp.t = reply->timestamp;
        return w;
    }
    bool moved = reply->code == HF_E_KEY_LOCKED || reply->code == HF_E_TOO_OLD;
    return word(TXNS_SAID_REFUSED, moved ? HF_E_CONFLICT : reply->code);
}

/* FENCED says of a commit that home has no record and no outcome OK: it was rolled back by whoever thought it too late. */
static struct txns_word judge_decision(const Hf__Client__Reply *reply)
{
    Hf__Entry__TxnState state = state_of(reply);
    if (reply->code == HF_OK && state == HF__ENTRY__TXN_STATE__COMMITTED)
        return committed(reply);
    bool gone = reply->code == HF_OK || reply->code == HF_E_FENCED || reply->code == HF_E_CONFLICT;
    if (gone && state == HF__ENTRY__TXN_STATE__ROLLED_BACK)
        return word(TXNS_SAID_ROLLED_BACK, HF_E_CONFLICT);
    if (reply->code == HF_E_FUTURE_TIMESTAMP || reply->code == HF_E_WRONG_SHARD)
        return word(TXNS_SAID_AGAIN, reply->code);
    return word(TXNS_SAID_UNKNOWN, reply->code); /* its session is gone: nobody knows any more */
}

static struct txns_word judge_told(const Hf__Client__Reply *reply)
{
    bool done = reply->code == HF_OK || reply->code == HF_E_ABSENT;
    return word(done ? TXNS_SAID_DONE : TXNS_SAID_UNKNOWN, reply->code);
}

struct txns_word txns_said_judge(enum txns_step step, const Hf__Client__Reply *reply)
{
    if (reply == NULL)
        return word(TXNS_SAID_SILENT, HF_E_UNAVAILABLE);
    if (error_class(reply->code) == HF_CLASS_OUTCOME_UNKNOWN)
        return word(TXNS_SAID_SILENT, reply->code);
    if (passes(reply->code))
        return word(TXNS_SAID_AGAIN, reply->code);
    switch (step) {
    case TXNS_HOME:
        return judge_home(reply);
    case TXNS_REST:
        return judge_rest(reply);
    case TXNS_VALIDATING:
        return judge_validate(reply);
    case TXNS_DECIDING:
    case TXNS_UNDOING:
        return judge_decision(reply);
    case TXNS_TELLING:
    case TXNS_FORGETTING:
        return judge_told(reply);
    case TXNS_DRAWING:
    case TXNS_GONE:
        break;
    }
    must(false); /* nobody is asked then */
}
