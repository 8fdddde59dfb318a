/* txns_book.c: see txns_book.h. */
#include "coordinator/txns_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "coordinator/counters.h"
#include "proto/pack.h"

void txns_book_free(struct txns_one *one)
{
    buf_deinit(&one->conflict);
    arena_deinit(&one->arena);
    free(one);
}

static uint64_t hash_of(const struct txns_id *id)
{
    uint64_t words[3] = {id->home, id->session, id->seq};
    return hashmap_hash_bytes(words, sizeof words);
}

struct txns_one *txns_book_find(const struct txns *t, const struct txns_id *id)
{
    struct txns_one *one = hashmap_get(&t->by_id, hash_of(id));
    while (one != NULL && (one->id.home != id->home || one->id.session != id->session || one->id.seq != id->seq))
        one = one->same;
    return one;
}

void txns_book_keep(struct txns *t, struct txns_one *one)
{
    one->hash = hash_of(&one->id);
    one->same = hashmap_put(&t->by_id, one->hash, one);
    list_push(&t->all, &one->in_all);
    t->count++;
    t->bytes += one->bytes;
}

void txns_book_drop(struct txns *t, struct txns_one *one)
{
    must(one->step == TXNS_GONE && one->answered && t->count > 0 && t->bytes >= one->bytes); /* I12 */
    struct txns_one *first = hashmap_get(&t->by_id, one->hash);
    if (first == one && one->same == NULL) {
        hashmap_remove(&t->by_id, one->hash);
    } else if (first == one) {
        hashmap_put(&t->by_id, one->hash, one->same);
    } else {
        while (first->same != one)
            first = first->same;
        first->same = one->same;
    }
    list_remove(&one->in_all);
    t->count--;
    t->bytes -= one->bytes;
    txns_book_free(one);
}

/* ---- the client's answer ---- */

static void count_outcome(const struct txns_one *one)
{
    if (one->code == HF_OK)
        count(COUNTER_TXNS_COMMITTED);
    else if (one->code == HF_E_CONFLICT)
        count(COUNTER_TXNS_CONFLICT);
    else if (one->code == HF_E_OUTCOME_UNKNOWN)
        count(COUNTER_TXNS_UNKNOWN);
    else
        count(COUNTER_TXNS_REFUSED);
}

static void answer_one(struct txns *t, struct txns_one *one, const struct forward_client *client)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    Hf__Client__Version written = HF__CLIENT__VERSION__INIT;
    reply.code = one->code;
    reply.shard = one->txn->n_writes > 0 ? one->id.home : 0;
    if (one->code == HF_OK) {
        written.t = reply.timestamp = one->commit.t;
        reply.written = one->txn->n_writes > 0 ? &written : NULL;
    } else {
        reply.message = one->text[0] ? one->text : (char *)(uintptr_t)error_text(one->code); /* packing only reads */
    }
    Hf__Client__Conflict *conflict = NULL;
    if (one->conflict.size > 0)
        conflict = pack_unpack(&hf__client__conflict__descriptor, buf_slice(&one->conflict), &one->arena);
    if (one->code == HF_E_CONFLICT)
        reply.conflict = conflict;
    if (one->code == HF_E_KEY_LOCKED && conflict != NULL)
        reply.lock = conflict->lock;
    t->port.answer(t->port.ctx, client, &reply);
}

void txns_book_answer(struct txns *t, struct txns_one *one)
{
    must(!one->answered);
    one->answered = true;
    count_outcome(one);
    if (one->code == HF_E_OUTCOME_UNKNOWN)
        count(COUNTER_UNKNOWN);
    for (size_t i = 0; i < one->client_count; i++)
        answer_one(t, one, &one->clients[i]);
    one->client_count = 0;
}

/* Every request is answered, also one that others of the same client took the place of. */
static void answer_unknown(struct txns *t, const struct forward_client *client)
{
    Hf__Client__Reply reply = HF__CLIENT__REPLY__INIT;
    reply.code = HF_E_OUTCOME_UNKNOWN;
    reply.message = (char *)(uintptr_t)error_text(reply.code); /* packing only reads */
    t->port.answer(t->port.ctx, client, &reply);
}

void txns_book_wait(struct txns *t, struct txns_one *one, const struct forward_client *client)
{
    if (one->answered) {
        answer_one(t, one, client);
        return;
    }
    if (one->client_count == TXNS_ONE_CLIENTS_MAX) { /* the same client asked so often: the oldest is given up */
        answer_unknown(t, &one->clients[0]);
        memmove(one->clients, one->clients + 1, --one->client_count * sizeof one->clients[0]);
    }
    one->clients[one->client_count++] = *client;
}

void txns_book_unknown(struct txns *t, struct txns_one *one, const char *why)
{
    if (one->answered)
        return;
    one->code = HF_E_OUTCOME_UNKNOWN;
    snprintf(one->text, sizeof one->text, "%s: the transaction may have been committed", why);
    txns_book_answer(t, one);
}
