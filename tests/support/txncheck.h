/* txncheck.h: is a history of transactions that append to lists and read them strictly serializable?
 *
 * Method (Kingsbury and Alvaro, Elle, 2020): every value is appended once, so a list that was read tells the order of all
 * appends in it. From those orders follow the dependencies: ww (appended next), wr (read it), rw (read the state before it).
 * Real time adds an edge from each transaction to those that began after it had returned. The history is strictly
 * serializable exactly if these edges have no cycle. A transaction of unknown outcome is there if something that it appended was
 * read by one that is there; else it is left out, which takes nothing away from those that are there.
 * What it does not verify: deletes, versions; what failed transactions read. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TXN_CYCLE_MAX 32 /* of a cycle, so many transactions are told */

enum txn_kind { TXN_APPEND, TXN_READ };
enum txn_outcome {
    TXN_DONE,
    TXN_FAILED,       /* surely not done */
    TXN_OPEN_OUTCOME, /* it may have happened: `returned` does not count */
};

struct txn_op {
    enum txn_kind kind;
    uint32_t key;         /* small numbers: there are tables by key and by value */
    uint32_t value;       /* append: no other append of the history has it, whatever its key */
    const uint32_t *list; /* read (borrowed) */
    uint32_t list_count;
};

struct txn {
    const struct txn_op *ops; /* borrowed; in their order */
    uint32_t op_count;
    enum txn_outcome outcome;
    uint64_t invoked, returned;
};

enum txn_anomaly {
    TXN_NONE,
    TXN_BAD_HISTORY,  /* a value is appended twice by the history itself */
    TXN_INTERNAL,     /* a transaction does not see its own appends, or two of its reads of one key differ */
    TXN_FROM_NOWHERE, /* a value that nobody appended to this key */
    TXN_DUPLICATED,   /* a value is twice in a list */
    TXN_G1A,          /* aborted read: what a failed transaction appended */
    TXN_G1B,          /* intermediate read: some of what a transaction appended to the key, not all */
    TXN_INCOMPATIBLE, /* two reads of a key, neither a prefix of the other; or one's own appends in another order */
    TXN_LOST,         /* an acknowledged append that a read which began later does not show */
    TXN_G0,           /* cycles: of ww */
    TXN_G1C,          /* of ww and wr */
    TXN_G_SINGLE,     /* with one rw */
    TXN_G2,           /* with several rw */
    TXN_G0_REALTIME,  /* the same with real time */
    TXN_G1C_REALTIME,
    TXN_G_SINGLE_REALTIME,
    TXN_G2_REALTIME,
    TXN_NO_MEMORY,
};

enum txn_edge { TXN_WW = 1, TXN_WR = 2, TXN_RW = 4, TXN_RT = 8 };

struct txn_report {
    enum txn_anomaly anomaly;
    size_t count;             /* how many are in `at` */
    size_t at[TXN_CYCLE_MAX]; /* transactions (indexes); of a cycle in its order, from the last back to the first */
    enum txn_edge to_next[TXN_CYCLE_MAX]; /* of a cycle */
    uint32_t key;                         /* of those that are no cycle */
    size_t included, edges;               /* how much was looked at */
};

/* All lists are empty at first. The first anomaly in the order of the enum is told. */
void txncheck_run(const struct txn *txns, size_t count, struct txn_report *out_report);
const char *txncheck_name(enum txn_anomaly anomaly); /* "G-single-realtime" */
const char *txncheck_edge_name(enum txn_edge edge);  /* "rw" */
