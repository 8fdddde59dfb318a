/* fsm_internal.h: the machine's own struct, for the files of this folder that work on it. */
#pragma once

#include "shard/fsm/fsm.h"
#include "shard/fsm/markers.h"
#include "shard/fsm/overlay.h"
#include "shard/fsm/recent.h"
#include "shard/fsm/sessions.h"
#include "shard/fsm/txns.h"
#include "shard/store/store.h"

struct sweep { /* where the pass of collection is that info.collected tells of; as hf.entry.CollectRecord */
    bool markers, late, within;
    struct slice at;
};

struct fsm {
    struct store *store;
    struct fsm_info info; /* as of the last batch written */
    struct markers markers;
    struct sessions sessions;
    struct txns txns;
    struct sweep sweep;
    struct buf sweep_at;     /* sweep.at */
    struct fsm_lock met;     /* by the last read that was refused */
    struct arena members[2]; /* info.members is in one; a configuration being applied goes into the other */
    unsigned members_at;
    struct arena range; /* info.range */

    /* Of fsm_apply, empty between calls. */
    struct store_batch *batch;
    struct arena turn;
    struct overlay overlay;
    struct buf results; /* struct apply_result */
    bool busy;

    struct recent recent;

    struct store_compaction *compaction; /* owned; NULL: none */

    /* Iterators show the store as it was when they were made; a write or flush drops them. */
    struct store_iterator *point; /* prefix mode */
    struct store_iterator *walk;  /* total order */
};

/* The key's newest version below `at` (0: of all) as of the last batch written; borrowed until the next read or write.
 */
HF_CHECKED int fsm_newest(struct fsm *fsm, struct slice prefix, struct hlc at, struct version_found *out);
struct store_iterator *fsm_walk_iterator(struct fsm *fsm);
void fsm_drop_iterators(struct fsm *fsm);

/* The newest marker over a key for a reader at `at` (0: the latest). */
HF_CHECKED int fsm_marker(struct fsm *fsm, uint8_t space, struct slice key, struct hlc at, struct version *out);

/* The numbers of transactions and locks in fsm->info. */
void fsm_count_txns(struct fsm *fsm);
/* HF_E_KEY_LOCKED, with fsm->met: a reader at `at` (0: the latest) may not look at the key, or at [start, end), now. */
HF_CHECKED int fsm_key_free(struct fsm *fsm, enum fsm_space space, struct slice key, struct hlc at);
HF_CHECKED int fsm_range_free(struct fsm *fsm, enum fsm_space space, struct slice start, struct slice end,
                              struct hlc at);
