/* fsm_internal.h: the machine's own struct, for fsm.c, apply.c, checkpoint.c and scan.c only. */
#pragma once

#include "shard/fsm/fsm.h"
#include "shard/fsm/markers.h"
#include "shard/fsm/overlay.h"
#include "shard/fsm/recent.h"
#include "shard/fsm/sessions.h"
#include "shard/store/store.h"

struct fsm {
    struct store *store;
    struct fsm_info info; /* as of the last batch written */
    struct markers markers;
    struct sessions sessions;
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
