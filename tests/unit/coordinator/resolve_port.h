/* resolve_port.h: a port of the resolver that notes what would be sent, for the tests of it. */
#pragma once

#include "common/sys/clock.h"
#include "coordinator/resolve.h"

#define MS CLOCK_NS_PER_MS
#define SHARDS 3u
#define SENT_MAX 8192u

#define ROLLBACK HF__CLIENT__REQUEST__OP_ROLLBACK
#define COMMIT HF__CLIENT__REQUEST__OP_DECIDE_COMMIT
#define FORGET HF__CLIENT__REQUEST__OP_FORGET
#define NONE HF__ENTRY__TXN_STATE__TXN_NONE
#define PREPARED HF__ENTRY__TXN_STATE__PREPARED
#define COMMITTED HF__ENTRY__TXN_STATE__COMMITTED
#define ROLLED_BACK HF__ENTRY__TXN_STATE__ROLLED_BACK

struct sent {
    uint32_t shard;
    Hf__Client__Request__OpCase op;
    uint64_t look, commit, seq, after;
    bool force;
};

struct resolve_fixture {
    struct resolve resolve;
    struct sent sent[SENT_MAX];
    size_t sent_count, lists;
    uint32_t dead;
    bool standby, drives;
    uint64_t now_ms;
    int answers, code;
    Hf__Entry__TxnState state;
};
extern struct resolve_fixture f;

void resolve_port_begin(void);                  /* nothing sent yet, at 10 s */
Hf__Entry__TxnId resolve_port_id(uint64_t seq); /* at home in shard 1 */
/* The shard's answer to the question for its transactions. */
void resolve_port_say_list(uint32_t shard, Hf__Client__TxnOutcome *all, size_t n, bool more);
