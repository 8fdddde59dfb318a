/* resolve.c: see resolve.h. */
#include "coordinator/resolve.h"

#include <stdlib.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/failpoint.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "proto/routes.h"

struct target { /* a shard that shall have what home decided */
    uint32_t shard;
    bool waiting, told;
};

struct resolve_look {
    struct list in_rest;       /* RESTING: in resolve.resting */
    struct resolve_look *same; /* the next one whose id has the same hash */
    uint64_t serial;
    Hf__Entry__TxnId id;
    enum resolve_step step;
    bool listed;               /* home's list has it committed: `targets` begins with all the others */
    bool asking;               /* home's answer is to come */
    Hf__Entry__TxnState state; /* as far as home said */
    uint64_t commit;           /* COMMITTED */
    struct target *targets;    /* owned */
    size_t target_count, cap;  /* of them */
    size_t waiting;            /* answers to come, of home and targets */
    size_t client_count;       /* in resolve.clients */
    uint64_t until_ns;         /* RESTING */
};

struct resolve_client {
    struct list link;
    struct forward_client client;
    struct resolve_look *look; /* borrowed: lives as long as somebody waits for it */
    uint32_t shard;
    uint64_t deadline_ns;
};

struct resolve_shard {
    uint32_t shard;
    uint64_t asks;                /* questions in flight to it */
    Hf__Entry__TxnId after;       /* of its list: where this pass is */
    bool listing, skipped;        /* an answer is to come; the pass left something out for want of room */
    uint64_t next_ns;             /* the next pass does not begin before */
    uint64_t seen, seen_last;     /* undecided ones, of this pass and the last full one, */
    uint64_t oldest, oldest_last; /* and the lowest timestamp of theirs */
};

void resolve_init(struct resolve *r, const struct resolve_port *port)
{
    *r = (struct resolve){.port = *port, .next_serial = 1};
    list_init(&r->resting);
    list_init(&r->clients);
}

static void look_free(struct resolve_look *look)
{
    free(look->targets);
    free(look);
}

void resolve_deinit(struct resolve *r)
{
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&r->by_serial, &at, &key, &value))
        look_free(value);
    at = 0;
    while (hashmap_each(&r->shards, &at, &key, &value))
        free(value);
    LIST_EACH (it, &r->clients)
        free(LIST_OWNER(it, struct resolve_client, link));
    hashmap_deinit(&r->by_id);
    hashmap_deinit(&r->by_serial);
    hashmap_deinit(&r->shards);
}

/* ---- which look, which shard ---- */

static int id_compare(const Hf__Entry__TxnId *a, const Hf__Entry__TxnId *b)
{
    if (a->home != b->home)
        return a->home < b->home ? -1 : 1;
    if (a->session != b->session)
        return a->session < b->session ? -1 : 1;
    return a->seq == b->seq ? 0 : a->seq < b->seq ? -1 : 1;
}

static uint64_t id_hash(const Hf__Entry__TxnId *id)
{
    const uint64_t parts[] = {id->home, id->session, id->seq};
    return hashmap_hash_bytes(parts, sizeof parts);
}

/* Copied field by field: an unpacked one may point to fields that it does not know. */
static Hf__Entry__TxnId id_copy(const Hf__Entry__TxnId *id)
{
    Hf__Entry__TxnId copy = HF__ENTRY__TXN_ID__INIT;
    copy.home = id->home;
    copy.session = id->session;
    copy.seq = id->seq;
    return copy;
}

static struct resolve_look *look_find(const struct resolve *r, const Hf__Entry__TxnId *id)
{
    struct resolve_look *look = hashmap_get(&r->by_id, id_hash(id));
    while (look != NULL && id_compare(&look->id, id) != 0)
        look = look->same;
    return look;
}

static struct resolve_look *look_new(struct resolve *r, const Hf__Entry__TxnId *id)
{
    struct resolve_look *look = calloc(1, sizeof *look);
    must(look != NULL); /* out of memory */
    look->serial = r->next_serial++;
    look->id = id_copy(id);
    list_init(&look->in_rest);
    hashmap_put(&r->by_serial, look->serial, look);
    look->same = hashmap_put(&r->by_id, id_hash(id), look);
    return look;
}

static void look_remove(struct resolve *r, struct resolve_look *look)
{
    must(look->waiting == 0 && look->client_count == 0);
    uint64_t hash = id_hash(&look->id);
    struct resolve_look *first = hashmap_remove(&r->by_id, hash), **at = &first;
    while (*at != look)
        at = &(*at)->same;
    *at = look->same;
    if (first != NULL)
        hashmap_put(&r->by_id, hash, first);
    if (look->step == RESOLVE_RESTING)
        r->resting_count--;
    list_remove(&look->in_rest);
    hashmap_remove(&r->by_serial, look->serial);
    look_free(look);
}

static struct resolve_shard *shard_of(struct resolve *r, uint32_t number)
{
    struct resolve_shard *shard = hashmap_get(&r->shards, number);
    if (shard == NULL) {
        shard = calloc(1, sizeof *shard);
        must(shard != NULL); /* out of memory */
        shard->shard = number;
        hf__entry__txn_id__init(&shard->after);
        hashmap_put(&r->shards, number, shard);
    }
    return shard;
}

static struct target *target_find(const struct resolve_look *look, uint32_t shard)
{
    for (size_t i = 0; i < look->target_count; i++)
        if (look->targets[i].shard == shard)
            return &look->targets[i];
    return NULL;
}

static struct target *target_add(struct resolve_look *look, uint32_t shard)
{
    if (look->target_count == look->cap) {
        look->cap = look->cap ? 2 * look->cap : 2;
        look->targets = realloc(look->targets, look->cap * sizeof *look->targets);
        must(look->targets != NULL); /* out of memory */
    }
    look->targets[look->target_count] = (struct target){.shard = shard};
    return &look->targets[look->target_count++];
}

/* ---- questions ---- */

static int ask(struct resolve *r, struct resolve_look *look, uint32_t number, Hf__Client__Request__OpCase op,
               uint64_t now_ns)
{
    const Hf__Catalog__Routes *routes = r->port.routes(r->port.ctx);
    if (routes == NULL ||
        routes_shard(routes, number) == NULL) /* nothing is kept for it: anybody may name a number (I12) */
        return HF_E_UNAVAILABLE;
    struct resolve_shard *shard = shard_of(r, number);
    if (r->asks >= RESOLVE_ASKS_MAX || shard->asks >= RESOLVE_SHARD_ASKS_MAX)
        return HF_E_BUSY;
    Hf__Entry__Txn txn = HF__ENTRY__TXN__INIT;
    txn.id = &look->id;
    if (op == HF__CLIENT__REQUEST__OP_DECIDE_COMMIT)
        txn.commit = look->commit;
    Hf__Client__Request request = HF__CLIENT__REQUEST__INIT;
    request.op_case = op;
    request.rollback = &txn; /* the same member as decide_commit and forget */
    int rc = r->port.ask(r->port.ctx, number, &request, look->serial, now_ns);
    if (rc)
        return rc;
    shard->asks++;
    r->asks++;
    look->waiting++;
    return HF_OK;
}

static void tell(struct resolve *r, struct resolve_look *look, struct target *target, uint64_t now_ns)
{
    bool commits = look->state == HF__ENTRY__TXN_STATE__COMMITTED;
    target->waiting =
        ask(r, look, target->shard, commits ? HF__CLIENT__REQUEST__OP_DECIDE_COMMIT : HF__CLIENT__REQUEST__OP_ROLLBACK,
            now_ns) == HF_OK;
}

/* ---- answers to clients ---- */

static void answer(struct resolve *r, const struct forward_client *client, int code, Hf__Entry__TxnState state,
                   uint64_t commit)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__TxnOutcome outcome = HF__CLIENT__TXN_OUTCOME__INIT;
    reply.code = code;
    if (code == HF_OK) {
        outcome.state = state;
        outcome.commit = commit;
        reply.txn = &outcome;
    } else {
        reply.message = (char *)(uintptr_t) "what became of the transaction is not known: a shard did not answer";
    }
    r->port.answer(r->port.ctx, client, &reply);
}

static void client_end(struct resolve *r, struct resolve_client *one, int code)
{
    struct resolve_look *look = one->look;
    list_remove(&one->link);
    look->client_count--;
    r->client_count--;
    answer(r, &one->client, code, look->state, look->commit);
    free(one);
}

/* Those whom what is known by now answers; `all`: nothing more is to come. */
static void answer_clients(struct resolve *r, struct resolve_look *look, bool all)
{
    if (look->client_count == 0)
        return;
    LIST_EACH (it, &r->clients) {
        struct resolve_client *one = LIST_OWNER(it, struct resolve_client, link);
        if (one->look != look)
            continue;
        const struct target *target = target_find(look, one->shard);
        bool decided =
            look->state == HF__ENTRY__TXN_STATE__COMMITTED || look->state == HF__ENTRY__TXN_STATE__ROLLED_BACK;
        if (look->state == HF__ENTRY__TXN_STATE__PREPARED || (decided && (target == NULL || target->told)))
            client_end(r, one, HF_OK);
        else if (all || (decided && !target->waiting))
            client_end(r, one, HF_E_UNAVAILABLE);
    }
}

/* ---- steps ---- */

static void rest(struct resolve *r, struct resolve_look *look, uint64_t now_ns)
{
    look->step = RESOLVE_RESTING;
    look->until_ns = now_ns + RESOLVE_REST_MS * CLOCK_NS_PER_MS;
    list_push(&r->resting, &look->in_rest);
    r->resting_count++;
    if (r->resting_count > RESOLVE_RESTING_MAX)
        look_remove(r, LIST_OWNER(r->resting.next, struct resolve_look, in_rest));
}

/* Nothing is in flight: what comes next. */
static void advance(struct resolve *r, struct resolve_look *look, uint64_t now_ns)
{
    answer_clients(r, look, look->waiting == 0);
    if (look->waiting > 0)
        return;
    if (look->state == HF__ENTRY__TXN_STATE__PREPARED) {
        rest(r, look, now_ns);
        return;
    }
    bool told = true;
    for (size_t i = 0; i < look->target_count; i++)
        told = told && look->targets[i].told;
    if (planted_bug("resolve.forget_early"))
        told = true;
    if (look->step == RESOLVE_TELLING && look->listed && told &&
        ask(r, look, look->id.home, HF__CLIENT__REQUEST__OP_FORGET, now_ns) == HF_OK) {
        look->step = RESOLVE_FORGETTING;
        look->asking = true;
        return;
    }
    if (told && look->state == HF__ENTRY__TXN_STATE__COMMITTED)
        count(COUNTER_RESOLVED_COMMITTED);
    if (told && look->state == HF__ENTRY__TXN_STATE__ROLLED_BACK)
        count(COUNTER_RESOLVED_ROLLED_BACK);
    look_remove(r, look);
}

static void tell_all(struct resolve *r, struct resolve_look *look, uint64_t now_ns)
{
    look->step = RESOLVE_TELLING;
    for (size_t i = 0; i < look->target_count; i++)
        tell(r, look, &look->targets[i], now_ns);
    advance(r, look, now_ns);
}

/* What home says, of what can be believed (I11); NONE: nothing. A home that has neither record nor session says so by its
 * code: what is still locked elsewhere may go, whatever became of the transaction. */
static Hf__Entry__TxnState state_said(const Hf__Client__Reply *reply)
{
    if (reply == NULL || reply->txn == NULL)
        return HF__ENTRY__TXN_STATE__TXN_NONE;
    const Hf__Client__TxnOutcome *txn = reply->txn;
    bool gone = reply->code == HF_E_SESSION_UNKNOWN || reply->code == HF_E_SESSION_WINDOW;
    if (txn->state == HF__ENTRY__TXN_STATE__ROLLED_BACK && (reply->code == HF_OK || gone))
        return txn->state;
    bool known = txn->state == HF__ENTRY__TXN_STATE__PREPARED ||
                 (txn->state == HF__ENTRY__TXN_STATE__COMMITTED && txn->commit != 0);
    return reply->code == HF_OK && known ? txn->state : HF__ENTRY__TXN_STATE__TXN_NONE;
}

static void home_said(struct resolve *r, struct resolve_look *look, const Hf__Client__Reply *reply, uint64_t now_ns)
{
    look->asking = false;
    if (look->step == RESOLVE_FORGETTING) {
        advance(r, look, now_ns);
        return;
    }
    look->state = state_said(reply);
    if (look->state == HF__ENTRY__TXN_STATE__COMMITTED)
        look->commit = reply->txn->commit;
    if (look->state == HF__ENTRY__TXN_STATE__COMMITTED || look->state == HF__ENTRY__TXN_STATE__ROLLED_BACK)
        tell_all(r, look, now_ns);
    else
        advance(r, look, now_ns);
}

/* A commit that finds nothing there came once before: home committed only what every shard had prepared. */
static bool has_it(const struct resolve_look *look, const Hf__Client__Reply *reply)
{
    if (reply == NULL)
        return false;
    return reply->code == HF_OK || (look->state == HF__ENTRY__TXN_STATE__COMMITTED && reply->code == HF_E_ABSENT);
}

void resolve_answered(struct resolve *r, uint64_t serial, uint32_t number, const Hf__Client__Reply *reply,
                      uint64_t now_ns)
{
    struct resolve_look *look = hashmap_get(&r->by_serial, serial);
    if (look == NULL)
        return;
    bool home = number == look->id.home && look->asking;
    struct target *target = home ? NULL : target_find(look, number);
    if (!home && (target == NULL || !target->waiting))
        return;
    struct resolve_shard *shard = shard_of(r, number);
    must(look->waiting > 0 && shard->asks > 0 && r->asks > 0);
    look->waiting--;
    shard->asks--;
    r->asks--;
    if (home) {
        home_said(r, look, reply, now_ns);
        return;
    }
    target->waiting = false;
    target->told = has_it(look, reply);
    advance(r, look, now_ns);
}

/* ---- beginnings ---- */

/* The transaction of `look` has a lock in `shard`. */
static void add_shard(struct resolve *r, struct resolve_look *look, uint32_t shard, uint64_t now_ns)
{
    if (shard == 0 || shard == look->id.home || target_find(look, shard) != NULL || look->target_count >= LIMIT_ROUTES)
        return;
    struct target *target = target_add(look, shard);
    if (look->step == RESOLVE_TELLING || look->step == RESOLVE_FORGETTING)
        tell(r, look, target, now_ns);
}

/* A new look, its question to home on the way. NULL: that could not be sent. */
static struct resolve_look *look_begin(struct resolve *r, const Hf__Entry__TxnId *id, uint32_t shard, uint64_t now_ns,
                                       int *out_code)
{
    struct resolve_look *look = look_new(r, id);
    add_shard(r, look, shard, now_ns);
    if (planted_bug("resolve.home_unasked") && look->target_count > 0) {
        look->state = HF__ENTRY__TXN_STATE__ROLLED_BACK;
        look->step = RESOLVE_TELLING;
        tell(r, look, &look->targets[0], now_ns);
        *out_code = look->waiting > 0 ? HF_OK : HF_E_UNAVAILABLE;
    } else {
        *out_code = ask(r, look, id->home, HF__CLIENT__REQUEST__OP_ROLLBACK, now_ns);
        look->asking = *out_code == HF_OK;
    }
    if (*out_code == HF_OK)
        return look;
    look_remove(r, look);
    return NULL;
}

static bool driven(const struct resolve *r, const Hf__Entry__TxnId *id)
{
    return r->port.drives != NULL && r->port.drives(r->port.ctx, id);
}

/* False: there was no room for a question. */
static bool met(struct resolve *r, const Hf__Entry__TxnId *id, uint32_t shard, uint64_t now_ns)
{
    int code = HF_OK;
    struct resolve_look *look = look_find(r, id);
    if (look == NULL)
        look_begin(r, id, shard, now_ns, &code);
    else if (look->step != RESOLVE_RESTING)
        add_shard(r, look, shard, now_ns);
    return code != HF_E_BUSY;
}

void resolve_met(struct resolve *r, const Hf__Entry__TxnId *id, uint32_t shard, uint64_t now_ns)
{
    count(COUNTER_LOCKS_MET);
    if (id->home != 0 && !driven(r, id))
        (void)met(r, id, shard, now_ns);
}

int resolve_ask(struct resolve *r, const struct forward_client *client, const Hf__Entry__TxnId *id, uint32_t shard,
                uint64_t deadline_ns, uint64_t now_ns)
{
    count(COUNTER_LOCKS_MET);
    struct resolve_look *look = look_find(r, id);
    if ((look != NULL && look->step == RESOLVE_RESTING) || (look == NULL && driven(r, id))) {
        answer(r, client, HF_OK, HF__ENTRY__TXN_STATE__PREPARED, 0);
        return HF_OK;
    }
    if (r->client_count >= RESOLVE_CLIENTS_MAX || (look != NULL && look->client_count >= RESOLVE_LOOK_CLIENTS_MAX))
        return HF_E_BUSY;
    int code = HF_OK;
    if (look != NULL)
        add_shard(r, look, shard, now_ns);
    else if ((look = look_begin(r, id, shard, now_ns, &code)) == NULL) {
        if (code == HF_E_BUSY)
            return code;
        answer(r, client, HF_E_UNAVAILABLE, 0, 0);
        return HF_OK;
    }
    struct resolve_client *one = calloc(1, sizeof *one);
    must(one != NULL); /* out of memory */
    *one = (struct resolve_client){.client = *client, .look = look, .shard = shard, .deadline_ns = deadline_ns};
    list_push(&r->clients, &one->link);
    r->client_count++;
    look->client_count++;
    answer_clients(r, look, false); /* the shard may know already */
    return HF_OK;
}

/* ---- sweeps ---- */

/* Home has it committed. False: there was no room. */
static bool finish_listed(struct resolve *r, const Hf__Client__TxnOutcome *txn, uint64_t now_ns)
{
    struct resolve_look *look = look_find(r, txn->id);
    if (look != NULL && look->step != RESOLVE_RESTING)
        return true; /* the next sweep */
    if (r->asks >= RESOLVE_ASKS_MAX)
        return false;
    if (look != NULL)
        look_remove(r, look);
    look = look_new(r, txn->id);
    look->listed = true;
    look->state = HF__ENTRY__TXN_STATE__COMMITTED;
    look->commit = txn->commit;
    for (size_t i = 0; i < txn->n_others; i++)
        if (target_find(look, txn->others[i]) == NULL)
            target_add(look, txn->others[i]);
    tell_all(r, look, now_ns);
    return true;
}

static void take_listed(struct resolve *r, struct resolve_shard *shard, const Hf__Client__TxnOutcome *txn,
                        uint64_t now_ns)
{
    const Hf__Entry__TxnId *id = txn->id;
    if (id->home == 0 || txn->n_others > LIMIT_ROUTES || driven(r, id))
        return;
    bool home = id->home == shard->shard, room = true;
    if (txn->state == HF__ENTRY__TXN_STATE__PREPARED) {
        shard->seen++;
        if (shard->oldest == 0 || txn->min_commit < shard->oldest)
            shard->oldest = txn->min_commit;
        if (!home || txn->expires <= r->port.now(r->port.ctx).t) /* home would do nothing */
            room = met(r, id, shard->shard, now_ns);
    } else if (txn->state == HF__ENTRY__TXN_STATE__COMMITTED && home && txn->commit != 0) {
        room = finish_listed(r, txn, now_ns);
    }
    shard->skipped = shard->skipped || !room;
}

static void pass_end(struct resolve_shard *shard, bool full, uint64_t now_ns)
{
    if (full) {
        shard->seen_last = shard->seen;
        shard->oldest_last = shard->oldest;
    }
    shard->next_ns = now_ns + (shard->skipped ? RESOLVE_SKIPPED_MS : RESOLVE_PERIOD_MS) * CLOCK_NS_PER_MS;
    hf__entry__txn_id__init(&shard->after);
    shard->seen = shard->oldest = 0;
    shard->skipped = false;
}

static void list_page(struct resolve *r, struct resolve_shard *shard, uint64_t now_ns)
{
    Hf__Client__Txns question = HF__CLIENT__TXNS__INIT;
    question.after = shard->after.home != 0 ? &shard->after : NULL;
    question.limit = RESOLVE_PAGE;
    shard->listing = r->port.list(r->port.ctx, shard->shard, &question, now_ns) == HF_OK;
    if (!shard->listing)
        pass_end(shard, false, now_ns);
}

void resolve_listed(struct resolve *r, uint32_t number, const Hf__Client__Reply *reply, uint64_t now_ns)
{
    struct resolve_shard *shard = shard_of(r, number);
    if (!shard->listing)
        return;
    shard->listing = false;
    if (reply == NULL || reply->code != HF_OK || !r->sweeping) {
        pass_end(shard, false, now_ns);
        return;
    }
    Hf__Entry__TxnId before = shard->after;
    for (size_t i = 0; i < reply->n_txns; i++) {
        if (reply->txns[i]->id == NULL)
            continue;
        take_listed(r, shard, reply->txns[i], now_ns);
        shard->after = id_copy(reply->txns[i]->id);
    }
    if (reply->more && id_compare(&shard->after, &before) > 0)
        list_page(r, shard, now_ns);
    else
        pass_end(shard, true, now_ns);
}

static void sweep(struct resolve *r, uint64_t now_ns)
{
    const Hf__Catalog__Routes *routes = r->port.routes(r->port.ctx);
    uint64_t seen = 0, oldest = 0;
    for (size_t i = 0; routes != NULL && i < routes->n_shards; i++) {
        struct resolve_shard *shard = shard_of(r, routes->shards[i]->shard);
        if (!r->sweeping)
            shard->seen_last = shard->oldest_last = 0;
        else if (!shard->listing && shard->next_ns <= now_ns)
            list_page(r, shard, now_ns);
        seen += shard->seen_last;
        if (shard->oldest_last != 0 && (oldest == 0 || shard->oldest_last < oldest))
            oldest = shard->oldest_last;
    }
    uint64_t now_ms = oldest != 0 ? hlc_ms(r->port.now(r->port.ctx)) : 0, from_ms = hlc_ms((struct hlc){oldest});
    gauge(COUNTER_TXNS_UNDECIDED, seen);
    gauge(COUNTER_TXNS_OLDEST, now_ms > from_ms ? (now_ms - from_ms) * CLOCK_NS_PER_MS : 0);
}

void resolve_tick(struct resolve *r, uint64_t now_ns)
{
    r->sweeping = r->port.active(r->port.ctx);
    while (!list_empty(&r->resting)) {
        struct resolve_look *look = LIST_OWNER(r->resting.next, struct resolve_look, in_rest);
        if (look->until_ns > now_ns)
            break;
        look_remove(r, look);
    }
    LIST_EACH (it, &r->clients) {
        struct resolve_client *one = LIST_OWNER(it, struct resolve_client, link);
        if (one->deadline_ns <= now_ns)
            client_end(r, one, HF_E_UNAVAILABLE);
    }
    sweep(r, now_ns);
}
