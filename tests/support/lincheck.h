/* lincheck.h: is the history of one key linearizable? Puts, gets, compare-and-sets and deletes, unknown outcomes
 * included.
 *
 * Method: events in order of time; at every return, each way to have put the open operations in an order that explains
 * the answer is kept (just-in-time linearization). An operation of unknown outcome stays open for ever and may take
 * effect once or never; of two ways that leave the same value, the one that used fewer of those makes the other
 * superfluous. An operation that was surely not done must not be given: whoever saw its value saw a value from nowhere.
 * What it does not verify: orders across keys, versions, scans. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIN_OPEN_MAX 64 /* operations of one key that are open at once, those of unknown outcome included */
#define LIN_ABSENT 0u   /* the value of a key that is not there */

enum lin_kind { LIN_PUT, LIN_GET, LIN_CAS, LIN_DEL };
enum lin_outcome {
    LIN_DONE,     /* get: `value` was read (LIN_ABSENT: not found); cas: it held `expected` */
    LIN_MISMATCH, /* cas only: it did not hold `expected` */
    LIN_UNKNOWN   /* `returned` does not count */
};

struct lin_op {
    enum lin_kind kind;
    enum lin_outcome outcome;
    uint32_t value;    /* written or read; every write of a key has a value of its own */
    uint32_t expected; /* cas */
    uint64_t invoked, returned;
};

enum lin_verdict { LIN_OK, LIN_VIOLATION, LIN_TOO_MANY_OPEN, LIN_NO_MEMORY };

/* The key is absent at first. On LIN_VIOLATION *out_at is the operation (index into ops) whose answer nothing explains.
 */
enum lin_verdict lin_check(const struct lin_op *ops, size_t count, size_t *out_at);
