/* readiness.h: is this replica ready, and if not, why not: what /readyz, `status` and one line tell.
 *
 * Ready is who has applied what a current leader had committed. It stays so while it is a few entries behind; no longer
 * when no leader is heard, or when the leader's log begins too late for it: then only a whole state helps, and it is
 * ready again when that is in place and what the leader had committed by then is applied.
 * Position: the replica tells of messages, needs and machines, and asks once a turn. Pure: no clock, no I/O.
 * Thread:   loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum readiness_why {
    READINESS_STARTS,
    READINESS_UNLED,      /* it was ready; no leader is heard any more */
    READINESS_NEEDS,      /* a whole state, as a leader said */
    READINESS_DAMAGED,    /* likewise, because its own cannot be read */
    READINESS_CATCHES_UP, /* a state was put in place */
};

struct readiness {
    bool ready;
    enum readiness_why why; /* it is not, or was not */
    uint64_t at;            /* what a leader had committed, to be applied; UINT64_MAX: none was heard since it counts */
    uint64_t needed;        /* a state of this index or later is needed; 0: none */
    bool heard;             /* a leader, since the last look at the time */
    uint64_t led_ns;        /* when there last was one */
};

void readiness_init(struct readiness *r);
/* A current leader was heard, whose commit index was `commit`; UINT64_MAX: it said that a state is needed. */
void readiness_heard(struct readiness *r, uint64_t commit);
/* Nothing before a state of `index` helps; repeated while that is so. */
void readiness_needs(struct readiness *r, uint64_t index);
void readiness_damaged(struct readiness *r); /* no index helps, only another machine */
void readiness_installed(struct readiness *r);
/* Each turn: `applied` of the machine that is there. `serving`: it leads, and has applied all before its term; `led`: it
 * knows a leader. */
void readiness_look(struct readiness *r, uint64_t applied, bool serving, bool led);
/* Now and then: without a leader for `limit_ns` it is not ready any more. */
void readiness_look_at_time(struct readiness *r, bool leads, uint64_t now_ns, uint64_t limit_ns);

/* It is being given what it lacks: not ready until it has caught up. */
bool readiness_healing(const struct readiness *r);
const char *readiness_text(const struct readiness *r);    /* why not; for people, static; "": it is ready */
const char *readiness_trouble(const struct readiness *r); /* the same while it is healing, else "" */
