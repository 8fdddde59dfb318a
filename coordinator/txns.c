/* txns.c: see txns.h. The life of a transaction: its steps, its client's answer, its end. */
#include "coordinator/txns.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/clock.h"
#include "common/sys/diag.h"
#include "common/sys/failpoint.h"
#include "coordinator/counters.h"
#include "coordinator/limits.h"
#include "coordinator/txns_book.h"
#include "coordinator/txns_parts.h"
#include "coordinator/txns_said.h"
#include "proto/pack.h"

static void enter(struct txns *t, struct txns_one *one, enum txns_step step, uint64_t now_ns);
static void advance(struct txns *t, struct txns_one *one, uint64_t now_ns);
static void draw(struct txns *t, struct txns_one *one, uint64_t now_ns);

void txns_init(struct txns *t, const struct txns_port *port, uint64_t ttl_ms)
{
    *t = (struct txns){.port = *port, .ttl_ms = ttl_ms, .next_question = 1, .next_reader = 1};
    list_init(&t->all);
}

void txns_deinit(struct txns *t)
{
    LIST_EACH (it, &t->all)
        txns_book_free(LIST_OWNER(it, struct txns_one, in_all));
    hashmap_deinit(&t->by_id);
    hashmap_deinit(&t->questions);
    *t = (struct txns){0};
    list_init(&t->all);
}

bool txns_drives(const struct txns *t, uint32_t home, uint64_t session, uint64_t seq)
{
    return txns_book_find(t, &(struct txns_id){home, session, seq}) != NULL;
}

/* ---- invariants ---- */

static void check_one(const struct txns_one *one)
{
    bool deciding = one->step == TXNS_DECIDING || one->step == TXNS_FORGETTING;
    must(one->count > 0);
    must(!one->answered || one->step >= TXNS_UNDOING || one->step == TXNS_DECIDING);
    must(!(one->committed || deciding) || one->commit.t != 0);
    must(one->step != TXNS_FORGETTING || one->committed);
    must(one->code != HF_OK || one->step != TXNS_UNDOING);
    must(one->txn->n_writes > 0 || one->step == TXNS_DRAWING || one->step == TXNS_VALIDATING || one->step == TXNS_GONE);
    for (size_t i = 0; i < one->count; i++) {
        const struct txns_part *part = &one->parts[i];
        must(!part->done || part->question == 0);
        if (one->step != TXNS_DECIDING || part->n_writes == 0)
            continue;
        must(part->prepared); /* all is locked before anything is decided */
        must(one->commit.t > part->min_commit.t || planted_bug("txn.no_min_commit"));
    }
}

void txns_check(const struct txns *t)
{
    size_t count = 0;
    uint64_t bytes = 0;
    LIST_EACH (it, &t->all) {
        const struct txns_one *one = LIST_OWNER(it, struct txns_one, in_all);
        check_one(one);
        count++;
        bytes += one->bytes;
    }
    must(count == t->count && bytes == t->bytes && count <= TXNS_MAX); /* I12 */
}

/* ---- questions ---- */

static void hush(struct txns *t, struct txns_part *part)
{
    if (part->question != 0)
        hashmap_remove(&t->questions, part->question); /* its answer says nothing any more */
    part->question = 0;
}

static void ask_later(struct txns_part *part, int code, uint64_t now_ns)
{
    part->refusal = code;
    part->retry_ms = part->retry_ms == 0                 ? RETRY_MS_MIN
                     : 2 * part->retry_ms < RETRY_MS_MAX ? 2 * part->retry_ms
                                                         : RETRY_MS_MAX;
    part->next_ns = now_ns + part->retry_ms * CLOCK_NS_PER_MS;
}

static void ask(struct txns *t, struct txns_part *part, uint64_t now_ns)
{
    struct txns_one *one = part->one;
    struct txns_question q;
    if (one->step == TXNS_DECIDING)
        for (size_t i = 0; i < one->count; i++)
            must(one->commit.t > one->parts[i].min_commit.t || planted_bug("txn.no_min_commit"));
    txns_parts_ask(part, t->ttl_ms, &q);
    uint64_t question = t->next_question++;
    int rc = t->port.ask(t->port.ctx, part->shard, &q.request, question, now_ns);
    txns_parts_free(&q);
    if (rc) {
        ask_later(part, rc, now_ns);
        return;
    }
    part->question = question;
    part->touched |= one->step == TXNS_HOME || one->step == TXNS_REST;
    hashmap_put(&t->questions, question, part);
}

/* ---- steps ---- */

static bool waits(const struct txns_one *one)
{
    for (size_t i = 0; i < one->count; i++)
        if (txns_parts_in(&one->parts[i], one->step) && !one->parts[i].done)
            return true;
    return false;
}

static void enter(struct txns *t, struct txns_one *one, enum txns_step step, uint64_t now_ns)
{
    one->step = step;
    for (size_t i = 0; i < one->count; i++) {
        struct txns_part *part = &one->parts[i];
        hush(t, part);
        part->done = part->unanswered = false;
        part->retry_ms = 0;
        part->refusal = 0;
        part->next_ns = now_ns;
    }
    if (step == TXNS_DRAWING) {
        draw(t, one, now_ns);
        return;
    }
    for (size_t i = 0; i < one->count; i++)
        if (txns_parts_in(&one->parts[i], step))
            ask(t, &one->parts[i], now_ns);
    advance(t, one, now_ns);
}

static void gone(struct txns *t, struct txns_one *one)
{
    for (size_t i = 0; i < one->count; i++)
        hush(t, &one->parts[i]);
    one->step = TXNS_GONE; /* txns_tick, or who began it, frees it */
}

/* May home keep something of it that this driver, or what it sent, brought there? */
static bool begun(const struct txns_one *one)
{
    const struct txns_part *home = &one->parts[0];
    return one->txn->n_writes > 0 &&
           (home->prepared || (home->touched && (one->step != TXNS_HOME || home->unanswered || home->question != 0)));
}

/* It will not be committed by us: `code` is the answer, if home agrees. one->text may say more. */
static void undo(struct txns *t, struct txns_one *one, int code, uint64_t now_ns)
{
    one->code = code;
    if (begun(one)) {
        if (code == HF_E_KEY_LOCKED) /* once it is rolled back its number is used up: waiting does not help */
            one->code = HF_E_CONFLICT;
        enter(t, one, TXNS_UNDOING, now_ns);
        return;
    }
    txns_book_answer(t, one);
    gone(t, one);
}

static void draw_later(struct txns_one *one, uint64_t now_ns)
{
    one->draw_ms = one->draw_ms == 0 ? RETRY_MS_MIN : 2 * one->draw_ms < RETRY_MS_MAX ? 2 * one->draw_ms : RETRY_MS_MAX;
    one->draw_ns = now_ns + one->draw_ms * CLOCK_NS_PER_MS;
}

static void draw(struct txns *t, struct txns_one *one, uint64_t now_ns)
{
    struct hlc above = hlc_max(one->above, (struct hlc){one->txn->start});
    for (size_t i = 0; i < one->count; i++)
        above = hlc_max(above, one->parts[i].min_commit);
    if (planted_bug("txn.no_min_commit"))
        above = (struct hlc){0};
    int rc = t->port.draw(t->port.ctx, above, &one->commit);
    if (rc == HF_E_UNAVAILABLE || rc == HF_E_NOT_READY) { /* the ceiling is being raised */
        draw_later(one, now_ns);
    } else if (rc) {
        snprintf(one->text, sizeof one->text, "no timestamp for the transaction: %s", error_text(rc));
        undo(t, one, HF_E_UNAVAILABLE, now_ns);
    } else {
        must(one->commit.t > above.t || planted_bug("txn.no_min_commit"));
        crash_point("txns.drawn");
        bool validate = !one->validated && !planted_bug("txn.reads_unvalidated");
        enter(t, one, validate || one->txn->n_writes == 0 ? TXNS_VALIDATING : TXNS_DECIDING, now_ns);
    }
}

/* What it read is what is there. */
static void validated(struct txns *t, struct txns_one *one, uint64_t now_ns)
{
    if (one->txn->n_writes == 0) {
        one->code = HF_OK;
        txns_book_answer(t, one);
        gone(t, one);
    } else if (planted_bug("txn.validate_first") && !one->validated) {
        one->validated = true;
        enter(t, one, TXNS_HOME, now_ns);
    } else {
        crash_point("txns.validated");
        enter(t, one, TXNS_DECIDING, now_ns);
        crash_point("txns.decide_asked");
    }
}

static void prepared(struct txns *t, struct txns_one *one, uint64_t now_ns)
{
    bool home = one->step == TXNS_HOME, reversed = planted_bug("txn.rest_first");
    if (home)
        crash_point("txns.prepared_home");
    else
        crash_point("txns.prepared_rest");
    enter(t, one, home == reversed ? TXNS_DRAWING : home ? TXNS_REST : TXNS_HOME, now_ns);
}

/* Home said so. */
static void tell(struct txns *t, struct txns_one *one, bool committed, uint64_t now_ns)
{
    one->committed = committed;
    one->end_ns = now_ns + TXNS_TELL_MS * CLOCK_NS_PER_MS;
    if (committed)
        one->code = HF_OK;
    if (committed)
        crash_point("txns.committed_home");
    if (!one->answered)
        txns_book_answer(t, one);
    if (committed)
        crash_point("txns.answered");
    enter(t, one, TXNS_TELLING, now_ns);
}

static void told(struct txns *t, struct txns_one *one, uint64_t now_ns)
{
    if (one->committed)
        crash_point("txns.committed_rest");
    /* What another driver committed may concern other shards than ours, if the routes changed: home's own list says. */
    if (one->committed && one->count > 1 && !one->others_commit)
        enter(t, one, TXNS_FORGETTING, now_ns);
    else
        gone(t, one);
}

/* The step is over when nobody has to answer any more. */
static void advance(struct txns *t, struct txns_one *one, uint64_t now_ns)
{
    if (one->step == TXNS_DRAWING || one->step == TXNS_GONE || waits(one))
        return;
    switch (one->step) {
    case TXNS_HOME:
    case TXNS_REST:
        prepared(t, one, now_ns);
        break;
    case TXNS_VALIDATING:
        validated(t, one, now_ns);
        break;
    case TXNS_TELLING:
        told(t, one, now_ns);
        break;
    case TXNS_FORGETTING:
        crash_point("txns.forgotten");
        gone(t, one);
        break;
    case TXNS_DECIDING:
    case TXNS_UNDOING:
    case TXNS_DRAWING:
    case TXNS_GONE:
        must(false); /* home's word ends them: txns_said */
    }
}

/* ---- answers of shards ---- */

static void note_conflict(struct txns *t, struct txns_part *part, const Hf__Client__Reply *reply, uint64_t now_ns)
{
    Hf__Client__Conflict met = HF__CLIENT__CONFLICT__INIT;
    const Hf__Client__Conflict *conflict = reply->conflict;
    if (conflict == NULL && reply->lock != NULL) {
        met.key = reply->lock->key;
        met.above = reply->lock->min_commit;
        met.lock = reply->lock;
        conflict = &met;
    }
    if (conflict == NULL)
        return;
    buf_clear(&part->one->conflict);
    pack_append(&conflict->base, &part->one->conflict);
    if (conflict->lock != NULL && conflict->lock->id != NULL && t->port.locked != NULL)
        t->port.locked(t->port.ctx, part->shard, conflict->lock->id, now_ns);
}

static void refused(struct txns *t, struct txns_part *part, const Hf__Client__Reply *reply, int code, uint64_t now_ns)
{
    struct txns_one *one = part->one;
    note_conflict(t, part, reply, now_ns);
    if (reply->message && reply->message[0])
        snprintf(one->text, sizeof one->text, "shard %" PRIu32 ": %.150s", part->shard, reply->message);
    else
        snprintf(one->text, sizeof one->text, "shard %" PRIu32 ": %s", part->shard, error_text(reply->code));
    undo(t, one, code, now_ns);
}

static void redraw(struct txns *t, struct txns_part *part, const struct txns_word *word, uint64_t now_ns)
{
    struct txns_one *one = part->one;
    one->above = hlc_max(one->above, word->timestamp);
    if (++one->redraws > TXNS_REDRAWS_MAX) {
        snprintf(one->text, sizeof one->text, "shard %" PRIu32 ": %s", part->shard, error_text(word->code));
        undo(t, one, HF_E_CONFLICT, now_ns);
        return;
    }
    enter(t, one, TXNS_DRAWING, now_ns);
}

static void was_committed(struct txns *t, struct txns_one *one, struct hlc commit, uint64_t now_ns)
{
    one->others_commit = one->step != TXNS_DECIDING || commit.t != one->commit.t;
    one->commit = commit;
    tell(t, one, true, now_ns);
}

static void was_rolled_back(struct txns *t, struct txns_part *part, int code, const Hf__Client__Reply *reply,
                            uint64_t now_ns)
{
    struct txns_one *one = part->one;
    if (one->step == TXNS_HOME) {
        note_conflict(t, part, reply, now_ns);
        one->code = code;
        snprintf(one->text, sizeof one->text, "shard %" PRIu32 ": %.150s", part->shard,
                 reply->message && reply->message[0] ? reply->message : error_text(code));
    } else if (one->step == TXNS_DECIDING) {
        one->code = code;
        snprintf(one->text, sizeof one->text,
                 "the transaction was rolled back before it was decided: it took too long");
    }
    tell(t, one, false, now_ns);
}

/* Nothing that decides, and nothing that asking again would change. */
static void no_word(struct txns *t, struct txns_part *part, int code)
{
    struct txns_one *one = part->one;
    char why[TXNS_TEXT_BYTES / 2];
    snprintf(why, sizeof why, "shard %" PRIu32 " says %s", part->shard, error_name(code));
    diag(DIAG_WARN, "transaction not driven further: home=%" PRIu32 " session=%" PRIu64 " seq=%" PRIu64 " step=%d: %s",
         one->id.home, one->id.session, one->id.seq, (int)one->step, why);
    txns_book_unknown(t, one, why);
    gone(t, one);
}

static void said(struct txns *t, struct txns_part *part, const Hf__Client__Reply *reply, uint64_t now_ns)
{
    struct txns_one *one = part->one;
    struct txns_word word = txns_said_judge(one->step, reply);
    switch (word.verdict) {
    case TXNS_SAID_DONE:
        part->done = true;
        if (one->step == TXNS_HOME || one->step == TXNS_REST) {
            part->prepared = true;
            part->min_commit = word.timestamp;
        }
        advance(t, one, now_ns);
        break;
    case TXNS_SAID_SILENT:
        part->unanswered = true;
        ask_later(part, word.code, now_ns);
        break;
    case TXNS_SAID_AGAIN:
        ask_later(part, word.code, now_ns);
        break;
    case TXNS_SAID_REDRAW:
        redraw(t, part, &word, now_ns);
        break;
    case TXNS_SAID_REFUSED:
        refused(t, part, reply, word.code, now_ns);
        break;
    case TXNS_SAID_COMMITTED:
        was_committed(t, one, word.timestamp, now_ns);
        break;
    case TXNS_SAID_ROLLED_BACK:
        was_rolled_back(t, part, word.code, reply, now_ns);
        break;
    case TXNS_SAID_UNKNOWN:
        no_word(t, part, word.code);
        break;
    }
}

void txns_said(struct txns *t, uint64_t question, const Hf__Client__Reply *reply, uint64_t now_ns)
{
    struct txns_part *part = hashmap_remove(&t->questions, question);
    if (part == NULL)
        return;
    must(part->question == question);
    part->question = 0;
    struct txns_one *one = part->one;
    said(t, part, reply, now_ns);
    if (one->step == TXNS_GONE)
        txns_book_drop(t, one);
}

/* ---- time ---- */

/* Who keeps it waiting. */
static void explain_late(struct txns_one *one)
{
    for (size_t i = 0; i < one->count; i++) {
        const struct txns_part *part = &one->parts[i];
        if (!txns_parts_in(part, one->step) || part->done)
            continue;
        if (part->refusal)
            snprintf(one->text, sizeof one->text, "shard %" PRIu32 " has no leader that serves: last answer %s",
                     part->shard, error_name(part->refusal));
        else
            snprintf(one->text, sizeof one->text, "shard %" PRIu32 " did not answer in time", part->shard);
        return;
    }
    snprintf(one->text, sizeof one->text, "there was no timestamp in time");
}

/* No commit is on its way. */
static bool undecided(const struct txns_one *one)
{
    const struct txns_part *home = &one->parts[0];
    if (one->step == TXNS_DECIDING)
        return home->question == 0 && !home->unanswered;
    return one->step == TXNS_HOME || one->step == TXNS_REST || one->step == TXNS_DRAWING ||
           one->step == TXNS_VALIDATING;
}

static void tick_one(struct txns *t, struct txns_one *one, bool active, uint64_t now_ns)
{
    if (undecided(one) && (now_ns >= one->work_ns || !active)) {
        explain_late(one);
        if (!active)
            snprintf(one->text, sizeof one->text, "this coordinator is not the active one any more");
        undo(t, one, HF_E_UNAVAILABLE, now_ns);
    }
    if (!one->answered && now_ns >= one->deadline_ns)
        txns_book_unknown(t, one, "the transaction's home did not answer in time");
    if (one->step != TXNS_GONE && now_ns >= one->end_ns)
        gone(t, one); /* resolve.c finds what is left */
    if (one->step == TXNS_DRAWING && now_ns >= one->draw_ns)
        draw(t, one, now_ns);
    for (size_t i = 0; i < one->count; i++) {
        struct txns_part *part = &one->parts[i];
        if (txns_parts_in(part, one->step) && !part->done && part->question == 0 && now_ns >= part->next_ns)
            ask(t, part, now_ns);
    }
}

void txns_tick(struct txns *t, uint64_t now_ns)
{
    bool active = t->count == 0 || t->port.active(t->port.ctx);
    LIST_EACH (it, &t->all) {
        struct txns_one *one = LIST_OWNER(it, struct txns_one, in_all);
        tick_one(t, one, active, now_ns);
        if (one->step == TXNS_GONE)
            txns_book_drop(t, one);
    }
    gauge(COUNTER_TXNS, t->count);
}

/* ---- beginning ---- */

static void times(struct txns_one *one, uint64_t deadline_ns, uint64_t now_ns)
{
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    uint64_t undo_ns = left_ns / 4 < TXNS_UNDO_MS * CLOCK_NS_PER_MS ? left_ns / 4 : TXNS_UNDO_MS * CLOCK_NS_PER_MS;
    one->deadline_ns = deadline_ns;
    one->work_ns = deadline_ns - undo_ns;
    if (one->work_ns > now_ns + TXNS_WORK_MS * CLOCK_NS_PER_MS)
        one->work_ns = now_ns + TXNS_WORK_MS * CLOCK_NS_PER_MS;
    one->end_ns = deadline_ns + TXNS_GRACE_MS * CLOCK_NS_PER_MS;
}

static struct txns_one *one_new(const struct txns_id *id, const Hf__Client__Request *request)
{
    struct txns_one *one = calloc(1, sizeof *one);
    struct buf packed = {0};
    must(one != NULL); /* out of memory */
    one->id = *id;
    one->done_below = request->done_below;
    pack_append(&request->txn->base, &packed); /* a copy that lives as long as it */
    one->bytes = packed.size + sizeof *one;
    one->txn = pack_unpack(&hf__client__txn__descriptor, buf_slice(&packed), &one->arena);
    buf_deinit(&packed);
    return one;
}

static void start(struct txns *t, struct txns_one *one, uint64_t now_ns)
{
    bool reads = one->txn->n_writes == 0, early = planted_bug("txn.validate_first");
    crash_point("txns.begun");
    if (reads && planted_bug("txn.read_only_unvalidated")) {
        one->commit.t = one->txn->start;
        txns_book_answer(t, one);
        gone(t, one);
    } else if (reads || early) {
        enter(t, one, TXNS_DRAWING, now_ns);
    } else {
        enter(t, one, planted_bug("txn.rest_first") ? TXNS_REST : TXNS_HOME, now_ns);
    }
    if (one->step == TXNS_GONE)
        txns_book_drop(t, one);
}

int txns_begin(struct txns *t, const struct forward_client *client, const Hf__Client__Request *request,
               uint64_t deadline_ns, uint64_t now_ns, char text[TXNS_TEXT_BYTES])
{
    bool reads = request->txn->n_writes == 0;
    struct txns_id id = {request->shard, request->session, request->seq};
    if (reads)
        id = (struct txns_id){UINT32_MAX, UINT64_MAX, t->next_reader++}; /* no shard gives such a session */
    if (!reads && (request->session == 0 || request->shard == 0)) {
        snprintf(text, TXNS_TEXT_BYTES,
                 "a transaction over several shards needs a session, of the shard that it names");
        return HF_E_INVALID;
    }
    struct txns_one *one = txns_book_find(t, &id);
    if (one != NULL) {
        txns_book_wait(t, one, client);
        return HF_OK;
    }
    snprintf(text, TXNS_TEXT_BYTES, "too many transactions are under way");
    if (t->count >= TXNS_MAX)
        return HF_E_BUSY;
    one = one_new(&id, request);
    int rc = one->txn == NULL ? HF_E_LIMIT : t->bytes + one->bytes > TXNS_BYTES_MAX ? HF_E_BUSY : HF_OK;
    if (rc == HF_OK)
        rc = txns_parts_cut(one, t->port.routes(t->port.ctx), text);
    if (rc) {
        txns_book_free(one);
        return rc;
    }
    times(one, deadline_ns, now_ns);
    txns_book_wait(t, one, client);
    txns_book_keep(t, one);
    start(t, one, now_ns);
    return HF_OK;
}
