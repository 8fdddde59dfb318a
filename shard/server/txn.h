/* txn.h: transactions at a shard's door: their checks, the commands they become, and what is answered of them.
 *
 * Position: request.c and admission.c check and fill with it, front and build answer with it; what they decide stands in
 *           shard/fsm. Thread: loop thread. */
#pragma once

#include "shard/fsm/fsm.h"
#include "shard/server/request.h"

/* A request that is about transactions and is for a shard. */
bool txn_is(Hf__Client__Request__OpCase op);
/* One that becomes an entry. */
bool txn_is_write(Hf__Client__Request__OpCase op);

/* What requests_check does not know of: HF_OK, or a code and what to say in message[]. A field that this program does not know
 * is refused where it would get into an entry: what it says could not be done, and an entry that cannot be read ends the group. */
HF_CHECKED int txn_check(const Hf__Client__Request *q, char message[REQUESTS_TEXT_BYTES]);

/* Is what it writes and what is validated here in this group's range? A prefix may reach over it, but for a transaction that is
 * to be here as a whole. HF_OK, HF_E_WRONG_SHARD with message[]. */
HF_CHECKED int txn_check_range(const struct fsm *fsm, const Hf__Client__Request *q, struct arena *turn,
                               char message[REQUESTS_TEXT_BYTES]);

/* `c` is initialized. What is made anew lives in `turn`, the rest is borrowed from `q`; `group` is this one. */
void txn_fill_command(Hf__Entry__Command *c, const Hf__Client__Request *q, uint32_t group, struct arena *turn);

struct txn_answer { /* memory of one reply */
    Hf__Client__TxnOutcome outcome;
    Hf__Client__Conflict conflict;
    Hf__Client__Version version;
    Hf__Client__Lock lock;
    Hf__Entry__TxnId id;
};
/* Of a write of any kind, and counted. `home`: the transaction's is this group. */
void txn_answer_write(struct txn_answer *a, Hf__Client__Reply *reply, Hf__Client__Request__OpCase op, bool home,
                      const struct fsm_result *result);
/* Of a validation. */
void txn_answer_conflict(struct txn_answer *a, Hf__Client__Reply *reply, const struct fsm_conflict *conflict);
/* A read met it. NULL: not known. */
void txn_answer_lock(struct txn_answer *a, Hf__Client__Reply *reply, const struct fsm_lock *lock);

void txn_metrics(void); /* registers the table; once */
