/* transact.h: commands of transactions made by hand, and what became of them. */
#pragma once

#include "tests/unit/shard/fsm/machine.h"

#define TRANSACT_GROUP 3u /* the machine's own */
#define TRANSACT_OTHER 7u

/* All live until transact_reset. */
Hf__Entry__Txn *transact(uint32_t home, uint64_t session, uint64_t seq, uint64_t start);
void transact_put(Hf__Entry__Txn *t, const char *key, const char *value);
void transact_put_for(Hf__Entry__Txn *t, const char *key, const char *value, uint64_t ttl_ms);
void transact_delete(Hf__Entry__Txn *t, const char *key);
void transact_delete_prefix(Hf__Entry__Txn *t, const char *prefix);
void transact_read(Hf__Entry__Txn *t, const char *key);
void transact_range(Hf__Entry__Txn *t, const char *start, const char *end);
void transact_other(Hf__Entry__Txn *t, uint32_t group);
void transact_reset(void);

/* Commands; of home's group they carry the session. */
Hf__Entry__Command transact_prepare(const Hf__Entry__Txn *t);
Hf__Entry__Command transact_whole(const Hf__Entry__Txn *t); /* in the transaction's session, 0: none */
Hf__Entry__Command transact_commit(const Hf__Entry__Txn *t, uint64_t commit);
Hf__Entry__Command transact_rollback(const Hf__Entry__Txn *t, bool force);
Hf__Entry__Command transact_forget(const Hf__Entry__Txn *t);
