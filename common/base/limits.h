/* limits.h: the one table of limits (I12), enforced at client, server, propose, log write and log read,
 * and shown by `holdfast status`. Sizes in bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* clang-format off */
#define HF_LIMITS(X)                                                                                                     \
    X(LIMIT_KEY_BYTES, key_bytes, 16u * 1024)                       /* a user key */                                     \
    X(LIMIT_VALUE_BYTES, value_bytes, 8u * 1024 * 1024)             /* a value */                                        \
    X(LIMIT_REQUEST_BYTES, request_bytes, 16u * 1024 * 1024)        /* a client message */                               \
    X(LIMIT_ENTRY_BYTES, entry_bytes, 20u * 1024 * 1024)            /* a raft entry's payload */                         \
    X(LIMIT_RAFT_MESSAGE_BYTES, raft_message_bytes, 24u * 1024 * 1024) /* a message between replicas */                  \
    X(LIMIT_PEERS, peers, 64u)                                      /* members of a group */                             \
    X(LIMIT_TEXT_BYTES, text_bytes, 4u * 1024)                      /* endpoints, names, reasons */                      \
    X(LIMIT_ROUTES, routes, 4096u)                                  /* ranges of the key space */                        \
    X(LIMIT_SESSION_WINDOW, session_window, 1024u)                  /* outcomes kept per session */                      \
    X(LIMIT_SESSIONS, sessions, 16384u)                             /* open sessions of a group */                       \
    X(LIMIT_MARKERS, prefix_markers, 65536u)                        /* distinct deleted prefixes of a group */           \
    X(LIMIT_SCAN_ITEMS, scan_items, 10000u)                         /* items of one scan reply */                        \
    X(LIMIT_SCAN_BYTES, scan_bytes, 4u * 1024 * 1024)               /* keys and values of one scan reply, one item apart */ \
    X(LIMIT_TXN_KEYS, transaction_keys, 10000u)                     /* writes and reads of a transaction */              \
    X(LIMIT_TXN_BYTES, transaction_bytes, 16u * 1024 * 1024)        /* their keys and values */                          \
    X(LIMIT_TXNS, transactions, 16384u)                             /* that a group keeps something of */                \
    X(LIMIT_TXNS_BYTES, transactions_bytes, 64u * 1024 * 1024)      /* and their keys and values */                      \
    X(LIMIT_PENDING_REQUESTS, pending_requests, 16384u)             /* requests a shard or the coordinator holds */      \
    X(LIMIT_PENDING_BYTES, pending_bytes, 256u * 1024 * 1024)       /* and their bytes */
/* clang-format on */

enum hf_limit {
#define HF_LIMIT_ENUM(name, key, value) name = (value),
    HF_LIMITS(HF_LIMIT_ENUM)
#undef HF_LIMIT_ENUM
};
