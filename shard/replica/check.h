/* check.h: consistency checks (entry 0x11): the hash of everything as of one entry, taken on a thread of its own, and what
 * follows from finding that most of the group has another.
 *
 * Position: the replica calls check_begin right after the entry was applied, last of its call of fsm_apply.
 * Thread:   loop thread; the hashing runs on one thread of ours, at most one at a time.
 * Files:    <dir>/quarantine-fsm: this state machine differs from the majority's; the next start sets it aside and takes
 *           the state from another replica. No part of the state: a replica that has it goes on until then. */
#pragma once

#include "shard/fsm/fsm.h"

#define CHECK_MARK_NAME "quarantine-fsm"

enum check_phase { CHECK_NONE, CHECK_RUNNING, CHECK_DONE, CHECK_FAILED };

struct check_state {
    enum check_phase phase;
    uint64_t index; /* of the entry */
    uint64_t records;
    uint8_t digest[DIGEST_BYTES]; /* CHECK_DONE */
    bool marked;
};

struct check;

struct check *check_new(struct disk *disk, const char *dir); /* both borrowed */
void check_free(struct check **c);

/* A check that still runs is given up. */
void check_begin(struct check *c, struct fsm *fsm);
/* Before the state machine is closed: on return nothing of ours reads it. */
void check_stop(struct check *c);
/* Another state machine was put in place: what was found of the one before is forgotten. */
void check_anew(struct check *c);
/* The last check met damage in the state machine's files. */
bool check_damaged(const struct check *c);
struct check_state check_state(struct check *c);

/* It differs from the majority's, and waits for the next start to be replaced. */
bool check_marked(const struct check *c);
/* Most of the group has `digest` at `index`. If ours is another, the mark is durable on return and *out_marked true.
 * HF_E_ABSENT: our check at that index is not done, or not the last. HF_E_IO, HF_E_NO_SPACE. */
HF_CHECKED int check_verdict(struct check *c, uint64_t index, const uint8_t digest[DIGEST_BYTES], bool *out_marked);
