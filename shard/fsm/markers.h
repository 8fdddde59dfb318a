/* markers.h: prefixes deleted as a whole: what is older than the newest marker over a key counts as deleted.
 *
 * Position: apply adds; apply, fsm_get and scan ask. Older markers of a prefix stay in the store, for reads in the past.
 * Memory:   the newest marker of each distinct prefix, at most LIMIT_MARKERS. */
#pragma once

#include "common/base/hashmap.h"
#include "common/base/hlc.h"
#include "common/base/must.h"
#include "common/base/slice.h"
#include "shard/store/store.h"

struct marker;        /* one distinct prefix */
struct marker_length; /* how long prefixes are: sorted, so that a key is hashed once and looked up at few places */
struct marker_undo;

#define MARKERS_SPACES 2

struct markers {
    struct hashmap by_hash; /* owned: chains of struct marker */
    size_t count;
    struct {
        uint32_t *lengths; /* owned, ascending, distinct */
        size_t count, cap;
    } of[MARKERS_SPACES];
    struct marker_undo *undo; /* owned: changes since the last commit */
    size_t undo_count, undo_cap;
};

void markers_deinit(struct markers *m);
/* Reads all 'p' records; none is younger than `newest`, the state's newest version. HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int markers_load(struct markers *m, struct store *store, struct version newest);

/* As markers_load, through an iterator of the caller's in total order, which it moves; only those below `at` (0: all). */
HF_CHECKED int markers_read(struct markers *m, struct store_iterator *it, struct version newest, struct hlc at);

/* Version newer than any before. HF_E_LIMIT: one distinct prefix too many, nothing changed. */
HF_CHECKED int markers_add(struct markers *m, uint8_t space, struct slice prefix, struct version version);
void markers_commit(struct markers *m);   /* what was added stays */
void markers_rollback(struct markers *m); /* as at the last commit */

/* The records of the prefix from that version on down are removed, down to but without `left` (zero: all of them): if it is its
 * prefix's newest, `left` is now, or the prefix is not known any more. Between commits. */
void markers_forget(struct markers *m, uint8_t space, struct slice prefix, struct version version, struct version left);

/* The newest marker over `key`; zero version: none. */
struct version markers_newest(const struct markers *m, uint8_t space, struct slice key);
/* The newest with timestamp < at over `key`, looking into the store for prefixes whose newest is younger. */
HF_CHECKED int markers_at(const struct markers *m, struct store *store, uint8_t space, struct slice key, struct hlc at,
                          struct version *out);
