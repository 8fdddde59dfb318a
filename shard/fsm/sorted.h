/* sorted.h: byte strings in order, each with a pointer: a skip list, so that one more costs little among many.
 *
 * Position: locks and records of transactions, markers, and the keys that a batch has written, where ranges are asked for.
 * Memory:   keys and values are borrowed and must stay until removed. The shape depends on history; answers do not. */
#pragma once

#include "common/base/slice.h"

struct sorted_node;

struct sorted {
    struct sorted_node *head; /* owned; NULL: nothing was ever put */
    size_t count;
    uint64_t random;
};

void sorted_deinit(struct sorted *s);                             /* not the values */
bool sorted_put(struct sorted *s, struct slice key, void *value); /* false: it is there already, unchanged */
void sorted_remove(struct sorted *s, struct slice key);           /* it must be there */
void *sorted_find(const struct sorted *s, struct slice key);      /* NULL: absent */

struct sorted_at {
    struct slice key;
    void *value;
    const struct sorted_node *node;
};
/* The first key >= `key`. False: none. */
bool sorted_seek(const struct sorted *s, struct slice key, struct sorted_at *out);
/* The last key <= `key`. */
bool sorted_floor(const struct sorted *s, struct slice key, struct sorted_at *out);
/* The next one; nothing may have been put or removed since. */
bool sorted_next(struct sorted_at *at);
