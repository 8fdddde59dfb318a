/* group.h: the members of one group side by side: are they of one group and epoch, did a change of engine begin, where does the group end.
 *
 * Position: main.c, of directories that were only looked at and, again, of those that are open. Whatever cannot be ends the process with
 * one line and exit code 6 (refuse). Pure but for that. */
#pragma once

#include "shard/migrate/member.h"

struct cut { /* where the group's log is sealed */
    uint64_t index, term;
};

struct position {
    const char *dir;
    const struct identity *id;
    const struct fsm_info *info;
    struct fsm_seal seal; /* its log is at its end by that, and it has not gone over yet; epoch 0: it is not */
    uint64_t index, term; /* where its log ends: by its seal, or so far; of one that went over: where that was */
    bool done;            /* it has the engine that is asked for, and will have it still when it is started */
};
void group_position(const char *dir, const struct identity *id, const struct fsm_info *info,
                    const struct fsm_seal *seal, uint64_t index, uint64_t term, const char *target,
                    struct position *out);

/* Are they of one group and epoch, and their states alike where they are at one index? And where a change of engine has begun, by a seal
 * or by one that went over: is it to `target`, and is it for all of them? The table is in README.md. */
void group_compare(const struct position *p, size_t count, const char *target);
/* The voters that are counted are those of every state: what was not applied may change them. */
void group_same_members(const struct position *p, size_t count, uint64_t configuration);
/* A member whose directory is not there; 0: all are. */
uint32_t group_missing(const struct position *p, size_t count);
/* Nobody is missing: where the logs of a majority end, or would go on: what is committed lies there or before. What a minority holds
 * behind it was never acknowledged. Where a change has begun: where it did. */
struct cut group_cut(const struct position *p, size_t count);
/* Nobody is missing: has a majority gone on behind `cut`? Then it may have acknowledged what lies there. */
void group_stayed(const struct position *p, size_t count, struct cut cut);
