/* recent.h: the newest versions of keys read lately, so that a hot key costs a lookup and not a search in RocksDB.
 *
 * Position: fsm_get and a compare in apply ask first; a batch that was written updates what is known here.
 * Invariant: what is held for a key is its newest version in the store; nothing is held for most keys.
 * Memory:   bounded by bytes; nothing is allocated before the first read. */
#pragma once

#include "shard/fsm/versions.h"

#define RECENT_BYTES ((size_t)12 << 20)

struct recent_entry;

struct recent {
    struct recent_entry **slots; /* owned; sets of RECENT_WAYS */
    size_t bytes, hand;
};

void recent_deinit(struct recent *r);
/* The key's newest version, borrowed until the next change here; false: not known here. */
bool recent_find(struct recent *r, struct slice prefix, struct version_found *out);
/* `found` was read from the store as the newest. */
void recent_note(struct recent *r, struct slice prefix, const struct version_found *found);
/* `found` was written: replaces what is held for the key, if anything is. */
void recent_update(struct recent *r, struct slice prefix, const struct version_found *found);
/* Nothing is held for the key any more: its newest version is about to be removed. */
void recent_forget(struct recent *r, struct slice prefix);
