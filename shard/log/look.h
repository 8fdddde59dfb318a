/* look.h: what a log's directory says, without changing a byte of it: for who looks at a directory nobody runs.
 *
 * Position: `holdfast inspect`, `holdfast-migrate`. What log_open would cut, rewrite or remove is only told. */
#pragma once

#include "shard/log/log.h"

struct log_look {
    int hard_code; /* of the hard state: HF_OK, HF_E_ABSENT, HF_E_CORRUPT, HF_E_FORMAT, HF_E_IO */
    struct log_hard_state hard;
    int code;             /* of the segments; HF_E_ABSENT: none; HF_E_CORRUPT: damage that is no torn tail (I13) */
    char where[256];      /* and which */
    uint64_t first, last; /* entries kept: first > last: none */
    uint64_t last_term, base_term;
    uint64_t commit; /* a lower bound */
    uint64_t segments, torn_bytes;
};

void log_look(const char *dir, struct log_look *out);

/* As log_look; and if all is well, `each` sees the entries from `from` on, in order, until it returns false. The entry is borrowed for
 * the call. */
typedef bool log_look_fn(void *ctx, const struct log_entry *entry);
void log_look_from(const char *dir, uint64_t from, log_look_fn *each, void *ctx, struct log_look *out);
