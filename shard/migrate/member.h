/* member.h: one member's directory, stopped: brought to the end of its log, compared with the others, given another engine.
 *
 * Position: main.c. Whatever cannot be ends the process with one line and exit code 6 (refuse). */
#pragma once

#include "common/base/limits.h"
#include "shard/replica/directory.h"

struct member {
    const char *dir;
    struct directory d;   /* open, but for its engine */
    struct log *log;      /* owned; open until it goes over */
    struct fsm_seal seal; /* which its log holds behind the state, and which takes effect; epoch 0: none */
    uint64_t last, last_term;
    bool done; /* it went over before, or need not: where it did is what counts */
    char raft[LIMIT_TEXT_BYTES + 1], client[LIMIT_TEXT_BYTES + 1];
};

/* What a directory says of itself; nothing is changed, nothing locked for longer than the look. */
struct member_look {
    const char *dir;
    bool used; /* a process has it open: nothing else is known */
    struct identity id;
    struct fsm_info info; /* members in the arena */
    struct fsm_seal seal; /* of its state or its log, behind which it has not gone over yet; epoch 0: none */
    uint64_t last, last_term;
    char trouble[768]; /* why state or log cannot be read, and what to do; "": they were */
};
void member_look(const char *dir, struct arena *arena, struct member_look *out);

/* Takes the lock; finishes what an earlier run was killed in, and goes over where the state is sealed. */
void member_open(struct member *m, const char *dir);
/* Brings the state to (index, term), which the group takes for committed. A log that ends before it goes on by that of another of
 * `all`, as it would if that one led. Refused: no log here leads there, or the state is beyond it. */
void member_follow(struct member *m, const struct member *all, size_t count, uint64_t index, uint64_t term);
/* Goes over, by the seal that it came to or by one where it stands. Done again: nothing. */
void member_change(struct member *m, const char *target);
void member_close(struct member *m);
