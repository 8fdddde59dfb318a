/* model.h: what a log should hold: random turns done to a log and to this at once. */
#pragma once

#include "common/base/random.h"
#include "tests/unit/shard/log/rig.h"

#define MODEL_ENTRIES 8192

struct model {
    uint64_t base, last;
    uint64_t terms[MODEL_ENTRIES];
    struct log_hard_state hs;
    bool restarts; /* turns may let the log begin anew */
};

/* A turn's changes, at random, to the log and to the model; not synced. */
void model_turn(struct model *m, struct rig *rig, struct random *random);
/* Does the log hold what the model says: base (or the one of `older`), entries, term and vote? */
bool model_same_entries(const struct model *m, struct rig *rig);
bool model_same_vote(const struct model *m, const struct rig *rig);
/* After a crash in a turn from `before` to `after`: each part is from one or the other, and readable. Takes over what
 * is there. Explains itself on stderr when not. */
bool model_recovered(struct model *m, const struct model *before, const struct model *after, struct rig *rig);
