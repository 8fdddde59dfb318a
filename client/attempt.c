/* attempt.c: see attempt.h. */
#include "client/attempt.h"

#include <stdlib.h>

#include "client/find.h"
#include "client/future.h"
#include "client/message.h"
#include "client/oracle.h"
#include "client/outcome.h"
#include "client/peer.h"
#include "client/route.h"
#include "client/slots.h"
#include "common/sys/clock.h"
#include "proto/requests.h"

#define PROBE_MS 200u
#define SESSION_OPEN_MS 10000u
#define PAUSE_NS (1 * CLOCK_NS_PER_MS)     /* the peer takes no message: look again after this */
#define PATIENCE_NS (50 * CLOCK_NS_PER_MS) /* and after this look elsewhere */
#define CUT_ATTEMPT_MS 2000u               /* the coordinator tries again by itself */
#define LOCKED_MS_MIN 2u
#define LOCKED_MS_MAX 50u
#define HOPS_MAX 4u        /* hints followed without a pause */
#define SIZE_PER_MS 16384u /* a big request is given more time */

static void go(struct hf *h, struct hf_future *r);
static void timer_fired(void *ctx, struct timer *t);
static void session_opened(struct hf *h, struct hf_future *r);

/* ---- the end of a request ---- */

static void release(struct hf *h, struct hf_future *r)
{
    timers_clear(&h->timers, &r->timer);
    list_remove(&r->link);
    slots_release(h, r);
    if (r->session)
        session_done(&r->session, r->seq);
    h->pump = true;
}

/* It may be prepared, and then it is decided whatever the session says later: its seq must not pass for one that is over. So
 * it never is, and others get another session. */
static void leave_session(struct hf_future *r)
{
    if (r->shard->session == r->session)
        session_unref(&r->shard->session);
    session_unref(&r->session);
}

/* Takes `reply`, which may be NULL. */
static void finish(struct hf *h, struct hf_future *r, int code, Hf__Client__Reply *reply)
{
    if (r->session && r->kind == REQUEST_TXN && code == HF_E_OUTCOME_UNKNOWN)
        leave_session(r);
    release(h, r);
    r->code = code;
    r->class_ = error_class(code);
    r->reply = reply;
    if (r->meeting) {
        outcome_counted_out(h, r);
        list_push(&h->finished, &r->link);
        return;
    }
    if (r->kind == REQUEST_SESSION_OPEN)
        session_opened(h, r);
    else
        find_answered(h, r);
    future_destroy(r);
}

static void finish_late(struct hf *h, struct hf_future *r)
{
    int code = outcome_late(h, r);
    finish(h, r, code, NULL);
}

/* ---- waiting ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void park(struct hf *h, struct hf_future *r, struct list *where, bool first)
{
    r->state = REQUEST_PARKED;
    r->hops = 0;
    list_remove(&r->link);
    list_push(first ? where->next : where, &r->link);
    timers_set(&h->timers, &r->timer, r->deadline_ns);
}

static void back_after(struct hf *h, struct hf_future *r, uint64_t ms)
{
    uint64_t ns = ms * CLOCK_NS_PER_MS / 2;
    ns += random_below(&h->random, ns); /* so that many do not come back at once */
    r->hops = 0;
    r->state = REQUEST_BACKOFF;
    list_remove(&r->link);
    timers_set(&h->timers, &r->timer, earlier(h->now_ns + ns, r->deadline_ns));
}

static void backoff(struct hf *h, struct hf_future *r)
{
    uint64_t ms = CLIENT_BACKOFF_MS_MIN << (r->backoffs < 4 ? r->backoffs : 4);
    r->backoffs++;
    back_after(h, r, earlier(ms, CLIENT_BACKOFF_MS_MAX));
}

/* ---- where to ---- */

/* The active coordinator does it, not whoever has the key. */
static bool by_oracle(const struct hf_future *r)
{
    return oracle_answers(r) || r->spread;
}

static struct peer *target(const struct hf *h, const struct shard *s)
{
    return h->routed ? h->coordinator : s->leader;
}

static void find_target(struct hf *h, struct shard *s)
{
    if (h->routed)
        find_routes(h);
    else
        find_leader(h, s);
}

/* `p` does not answer or is not the one: whoever goes next looks for another. */
static void forget(struct hf *h, struct shard *s, const struct peer *p)
{
    if (h->routed && h->coordinator == p)
        h->coordinator = NULL;
    if (!h->routed && s->leader == p)
        s->leader = NULL;
}

static void follow_hint(struct hf *h, struct hf_future *r, struct peer *from, const Hf__Client__Reply *reply)
{
    struct shard *s = r->shard;
    forget(h, s, from);
    if (h->routed || s->leader)
        return;
    struct peer *hint = peer_get(h, reply->leader_endpoint);
    if (hint && hint != from && r->hops < HOPS_MAX)
        s->leader = hint;
}

/* ---- sessions ---- */

static void open_session(struct hf *h, struct shard *s)
{
    if (s->opening)
        return;
    struct hf_future *r = future_new(h, NULL, REQUEST_SESSION_OPEN, 0);
    if (!r || slots_take(h, r) != HF_OK) {
        free(r);
        return; /* the writes wait; the next turn or their deadline comes */
    }
    s->opening = true;
    r->deadline_ns = h->now_ns + SESSION_OPEN_MS * CLOCK_NS_PER_MS;
    r->timer.fire = timer_fired;
    r->shard = s;
    go(h, r);
}

static void session_opened(struct hf *h, struct hf_future *r)
{
    struct shard *s = r->shard;
    s->opening = false;
    if (r->code == HF_OK)
        s->opening_refusal = 0;
    if (r->code == HF_OK && r->reply && r->reply->session != 0 && !s->session)
        s->session = session_new(r->reply->session);
    if (s->session || (r->class_ != HF_CLASS_GIVE_UP && r->code != HF_OK) || r->code == HF_E_TIMEOUT)
        return; /* the pump goes on, with the session or with another try */
    int code = r->code == HF_OK ? HF_E_NO_MEMORY : r->code;
    LIST_EACH (it, &s->waiting_seq) {
        struct hf_future *w = LIST_OWNER(it, struct hf_future, link);
        finish(h, w, outcome_refused(w, code), NULL);
    }
}

static void take_seq(struct hf_future *r)
{
    r->session = r->shard->session;
    r->seq = session_take(r->session);
}

/* True: `r` has its seq; false: it waits for one. */
static bool have_seq(struct hf *h, struct hf_future *r)
{
    struct shard *s = r->shard;
    if (r->session || !outcome_is_write(r))
        return true;
    if (s->session && session_room(s->session) && list_empty(&s->waiting_seq)) {
        take_seq(r);
        return true;
    }
    park(h, r, &s->waiting_seq, false);
    if (!s->session)
        open_session(h, s);
    return false;
}

/* ---- sending ---- */

static void sent(struct hf *h, struct hf_future *r, struct peer *p)
{
    r->attempts++;
    outcome_mark_sent(r);
    r->state = REQUEST_IN_FLIGHT;
    r->peer = p;
    r->sent_ns = h->now_ns;
    list_remove(&r->link);
    uint32_t doubled = r->attempts <= 4 ? r->attempts - 1 : 3;
    if (r->kind == REQUEST_TIMESTAMP)
        doubled = 0; /* it costs the coordinator nothing, and a late answer is as good */
    if (r->spread)
        doubled++; /* several rounds of several shards */
    uint64_t ms = (CLIENT_ATTEMPT_MS << doubled) + r->size / SIZE_PER_MS;
    if (r->kind == REQUEST_CUT)
        ms = CUT_ATTEMPT_MS;
    timers_set(&h->timers, &r->timer, earlier(h->now_ns + ms * CLOCK_NS_PER_MS, r->deadline_ns));
}

static void send_to(struct hf *h, struct hf_future *r, struct peer *p)
{
    struct shard *s = r->shard;
    int rc = message_send(h, r, p);
    if (rc == HF_OK) {
        sent(h, r, p);
    } else if (rc == HF_E_LIMIT || rc == HF_E_NO_MEMORY) {
        finish(h, r, outcome_refused(r, rc), NULL);
    } else {
        park(h, r, &s->waiting, true);
        if (h->now_ns - p->refused_ns < PATIENCE_NS) {
            s->paused = true;
            timers_set(&h->timers, &s->timer, h->now_ns + PAUSE_NS);
        } else {
            forget(h, s, p);
            find_target(h, s);
        }
    }
}

static void send_to_oracle(struct hf *h, struct hf_future *r)
{
    struct peer *p = oracle_peer(h);
    int rc = p ? message_send(h, r, p) : HF_E_NO_MEMORY;
    if (rc == HF_OK) {
        sent(h, r, p);
    } else if (rc == HF_E_LIMIT || rc == HF_E_NO_MEMORY) {
        finish(h, r, outcome_refused(r, rc), NULL);
    } else {
        if (h->now_ns - p->refused_ns >= PATIENCE_NS)
            oracle_silent(h, p);
        backoff(h, r);
    }
}

/* Another request takes the place of what `r` was, of which nothing is in doubt. */
static void become(struct hf *h, struct hf_future *r, enum request_kind kind)
{
    slots_renew(h, r);
    if (r->session) {
        session_done(&r->session, r->seq);
        h->pump = true;
    }
    r->kind = kind;
    r->shard = NULL;
    r->spread = r->lost = false;
    r->attempts = r->hops = 0;
    r->unanswered = 0;
}

/* Takes the next step with `r`, wherever it stands. */
static void go(struct hf *h, struct hf_future *r)
{
    if (!h->routes) {
        park(h, r, &h->waiting, false);
        find_routes(h);
        return;
    }
    if (oracle_answers(r)) {
        send_to_oracle(h, r);
        return;
    }
    int rc = r->shard ? HF_OK : route_request(h, r);
    if (rc) {
        finish(h, r, outcome_refused(r, rc), NULL);
        return;
    }
    if (r->spans && r->kind == REQUEST_DELETE_PREFIX) {
        become(h, r, REQUEST_TIMESTAMP);
        send_to_oracle(h, r);
        return;
    }
    if (outcome_known(r)) {
        finish(h, r, HF_OK, NULL);
        return;
    }
    if (!have_seq(h, r))
        return;
    if (r->spread) {
        send_to_oracle(h, r);
        return;
    }
    struct shard *s = r->shard;
    struct peer *p = target(h, s);
    if (p && !s->paused) {
        send_to(h, r, p);
        return;
    }
    park(h, r, &s->waiting, false);
    if (!p)
        find_target(h, s);
}

/* ---- events ---- */

static void timer_fired(void *ctx, struct timer *t)
{
    struct hf *h = ctx;
    struct hf_future *r = LIST_OWNER(t, struct hf_future, timer);
    if (h->now_ns >= r->deadline_ns) {
        finish_late(h, r);
        return;
    }
    if (r->state == REQUEST_IN_FLIGHT) {
        r->lost = true;
        if (r->peer->heard_ns < r->sent_ns) { /* silent since: not merely slow with this one */
            if (by_oracle(r))
                oracle_silent(h, r->peer);
            else
                forget(h, r->shard, r->peer);
        }
    }
    go(h, r);
}

void attempt_submit(struct hf *h, struct hf_future *r)
{
    int rc = slots_take(h, r);
    if (rc) {
        r->code = rc;
        r->class_ = error_class(rc);
        outcome_counted_out(h, r);
        list_push(&h->finished, &r->link);
        return;
    }
    r->timer.fire = timer_fired;
    go(h, r);
}

/* Takes `r`. */
static bool ask(struct hf *h, struct peer *p, struct hf_future *r)
{
    if (!r || slots_take(h, r) != HF_OK) {
        free(r);
        return false;
    }
    r->timer.fire = timer_fired;
    r->peer = p;
    r->deadline_ns = h->now_ns + PROBE_MS * CLOCK_NS_PER_MS;
    if (message_send(h, r, p) != HF_OK) {
        slots_release(h, r);
        free(r);
        return false;
    }
    sent(h, r, p);
    return true;
}

bool attempt_ask(struct hf *h, struct peer *p, enum request_kind kind, struct shard *s)
{
    struct hf_future *r = future_new(h, NULL, kind, 0);
    if (r)
        r->shard = s;
    return ask(h, p, r);
}

/* A coordinator is to look at the transaction, and to tell `met`, which has the lock; whatever it answers, the request that
 * met it tries again. `met` NULL: it is not known where the lock is. */
static void ask_resolve(struct hf *h, struct lock_id id, struct shard *met)
{
    struct peer *p = oracle_peer(h);
    struct hf_future *r = p ? future_new(h, NULL, REQUEST_RESOLVE, 0) : NULL;
    if (r) {
        r->lock = id;
        r->shard = met;
    }
    (void)ask(h, p, r); /* not sent: the next one that is met by the lock asks */
}

/* The route changed: surely not executed there, so it starts again with another shard's session. */
static void reroute(struct hf *h, struct hf_future *r, Hf__Client__Reply *reply)
{
    bool newer = find_adopt(h, &reply->routes);
    if (!newer)
        find_newer_routes(h);
    if (r->session)
        session_done(&r->session, r->seq);
    h->pump = true;
    if (r->kind != REQUEST_SESSION_OPEN)
        r->shard = NULL;
    if (newer && r->hops++ < HOPS_MAX)
        go(h, r);
    else
        backoff(h, r);
}

/* The session is gone and `r` was never executed under it: another session, another seq. */
static void new_session(struct hf *h, struct hf_future *r)
{
    struct shard *s = r->shard;
    if (s->session == r->session)
        session_unref(&s->session);
    session_done(&r->session, r->seq);
    h->pump = true;
    go(h, r);
}

/* `p` gave no timestamp. When it says that it will have one in a moment it is asked again, else another one is. */
static void timestamp_refused(struct hf *h, struct hf_future *r, struct peer *p, const Hf__Client__Reply *reply)
{
    if (reply->code != HF_E_NOT_READY && reply->code != HF_E_BUSY)
        oracle_leave(h, p, reply->leader_endpoint);
    if (reply->code == HF_E_NOT_LEADER && r->hops++ < HOPS_MAX)
        go(h, r);
    else
        backoff(h, r);
}

/* A lock is in the way of `r`: the same again when it may be gone. Who is met by it twice has it looked at. */
static void locked(struct hf *h, struct hf_future *r, const Hf__Client__Reply *reply)
{
    const Hf__Entry__TxnId *id = reply->lock ? reply->lock->id : NULL;
    r->locks++;
    if (!h->routed && id && r->locks % 2 == 0)
        ask_resolve(h, (struct lock_id){id->home, id->session, id->seq}, r->spread ? NULL : r->shard);
    back_after(h, r, earlier((uint64_t)LOCKED_MS_MIN << (r->locks < 6 ? r->locks - 1 : 5), LOCKED_MS_MAX));
}

/* The current attempt was refused: surely not done by it. */
static void refused(struct hf *h, struct hf_future *r, struct peer *p, Hf__Client__Reply *reply)
{
    r->refusal = reply->code;
    if (oracle_answers(r)) {
        timestamp_refused(h, r, p, reply);
        hf__client__reply__free_unpacked(reply, NULL);
        return;
    }
    if (r->kind == REQUEST_SESSION_OPEN)
        r->shard->opening_refusal = reply->code;
    if (reply->code == HF_E_KEY_LOCKED) {
        locked(h, r, reply);
        hf__client__reply__free_unpacked(reply, NULL);
        return;
    }
    switch (outcome_class(reply)) {
    case HF_CLASS_RETRY_SAME:
        backoff(h, r);
        break;
    case HF_CLASS_RETRY_ELSEWHERE:
        if (r->spread)
            oracle_leave(h, p, reply->leader_endpoint);
        else
            follow_hint(h, r, p, reply);
        if (reply->code == HF_E_NOT_LEADER && r->hops++ < HOPS_MAX)
            go(h, r);
        else
            backoff(h, r);
        break;
    case HF_CLASS_REFRESH_ROUTE:
        reroute(h, r, reply);
        break;
    case HF_CLASS_NONE:
    case HF_CLASS_OUTCOME_UNKNOWN: /* somebody between us and the shard lost it: the session makes another try safe */
        r->lost = true;
        backoff(h, r);
        break;
    case HF_CLASS_GIVE_UP:
        new_session(h, r);
        break;
    }
    hf__client__reply__free_unpacked(reply, NULL);
}

/* A delete-prefix over several shards: begin → commit, and after a conflict from the beginning. False: it ends. */
static bool goes_on(struct hf *h, struct hf_future *r, Hf__Client__Reply *reply)
{
    bool begun = r->spans && r->kind == REQUEST_TIMESTAMP && reply->code == HF_OK;
    bool again = r->spans && r->kind == REQUEST_TXN && reply->code == HF_E_CONFLICT;
    if (!begun && !again)
        return false;
    if (begun) {
        r->txn->start = reply->timestamp;
        become(h, r, REQUEST_TXN);
        go(h, r);
    } else {
        r->at = reply->conflict ? reply->conflict->above : 0;
        r->refusal = HF_E_CONFLICT;
        become(h, r, REQUEST_TIMESTAMP);
        backoff(h, r);
    }
    hf__client__reply__free_unpacked(reply, NULL);
    return true;
}

void attempt_answer(struct hf *h, struct peer *p, Hf__Client__Reply *reply)
{
    p->heard_ns = h->now_ns;
    p->refused_ns = p->silent_ns = 0;
    uint32_t attempt = 0;
    struct hf_future *r = requests_reply_ok(reply) ? slots_find(h, reply->id, &attempt) : NULL;
    if (!r || attempt == 0 || attempt > r->attempts) {
        hf__client__reply__free_unpacked(reply, NULL);
        return;
    }
    if (h->routes && reply->route_version > h->routes->version && !reply->routes)
        find_newer_routes(h);
    bool current = attempt == r->attempts && r->state == REQUEST_IN_FLIGHT;
    switch (outcome_judge(r, attempt, current, reply)) {
    case OUTCOME_FINAL:
        outcome_note_away(r, reply);
        if (!goes_on(h, r, reply))
            finish(h, r, reply->code, reply);
        break;
    case OUTCOME_UNKNOWN:
        finish(h, r, HF_E_OUTCOME_UNKNOWN, reply);
        break;
    case OUTCOME_RETRY:
        refused(h, r, p, reply);
        break;
    case OUTCOME_IGNORE:
        hf__client__reply__free_unpacked(reply, NULL);
        break;
    }
}

/* ---- the turn's rest ---- */

static void pump_list(struct hf *h, struct list *waiting)
{
    struct list ready;
    list_init(&ready);
    while (!list_empty(waiting)) {
        struct list *first = waiting->next;
        list_remove(first);
        list_push(&ready, first);
    }
    while (!list_empty(&ready)) {
        struct list *first = ready.next;
        list_remove(first);
        go(h, LIST_OWNER(first, struct hf_future, link));
    }
}

static void pump_shard(struct hf *h, struct shard *s)
{
    if (!list_empty(&s->waiting) && target(h, s) && !s->paused)
        pump_list(h, &s->waiting);
    while (!list_empty(&s->waiting_seq) && s->session && session_room(s->session)) {
        struct hf_future *r = LIST_OWNER(s->waiting_seq.next, struct hf_future, link);
        take_seq(r);
        go(h, r);
    }
    if (!list_empty(&s->waiting_seq) && !s->session)
        open_session(h, s);
}

void attempt_pump(struct hf *h)
{
    if (!h->pump)
        return;
    h->pump = false;
    if (h->routes && !list_empty(&h->waiting))
        pump_list(h, &h->waiting);
    for (uint32_t i = 0; i < h->shards_count; i++)
        pump_shard(h, h->shards[i]);
}

void attempt_end_all(struct hf *h)
{
    for (uint32_t i = 0; i < h->slots_count; i++) {
        struct hf_future *r = h->slots[i];
        if (r && r->meeting) {
            finish(h, r, outcome_closed(r), NULL);
        } else if (r) {
            release(h, r);
            future_destroy(r);
        }
    }
}
