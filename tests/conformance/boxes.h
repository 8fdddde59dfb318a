/* boxes.h: engines wired in one process, on a simulated disk or a real one: what tests of engines share. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "shard/engine/engine.h"
#include "tests/support/simdisk.h"
#include "tests/unit/unit.h"

#define BOXES 4
#define MS UINT64_C(1000000)
#define BASE 1u /* bootstrap: state and log begin at (1, term 1) */

struct box { /* a replica without a state machine: it remembers what it was told to apply */
    uint32_t id;
    char dir[64];
    struct engine *e;                       /* NULL: down */
    uint64_t applied, applied_term, digest; /* durable: survives close */
    uint64_t last_kind, last_size;
    int refuse; /* env->apply answers this */
    bool held;
    uint64_t recovering; /* durable */
    unsigned changed, ready, needs, recovered;
    uint64_t need_index, need_term;
    uint64_t ready_id, ready_index, sent;
};

struct wire {
    uint32_t from, to;
    size_t size;
    uint8_t *bytes;
};

extern struct rig {
    struct simdisk *sim;
    struct disk *disk;
    char root[32]; /* of a real disk, "" otherwise */
    struct box boxes[BOXES + 1];
    bool cut[BOXES + 1];
    struct wire wires[4096];
    size_t count;
    uint64_t now_ns;
    Hf__Catalog__Member list[BOXES], *pointers[BOXES];
    Hf__Catalog__Members members;
} rig;

extern const struct engine_ops *ops; /* under test; boxes_engine chooses it */

void boxes_engine(const char *name); /* for all that follow */
struct engine_env env_of(struct box *b);
void begin(uint32_t voters, bool real); /* that many boxes, up; on a simulated disk, or a real one */
void begin_with_learner(void);          /* three voters, and the fourth */
void end(void);
void up(struct box *b); /* opens it, as it stopped */
void down(struct box *b);
bool log_there(const char *dir); /* the folder <name>-1, by which a directory shows whose it is */
void turn(struct box *b);
void deliver(void);                                      /* what is under way arrives, once; nobody takes a turn */
void settle(void);                                       /* turns and messages until there are none */
void run(uint64_t ms);                                   /* ticks of 10 ms, each settled */
struct box *elect(void);                                 /* who serves, within 5 s */
struct box *other_than(const struct box *b);             /* one of three that is not b */
uint64_t put(struct box *b, size_t size);                /* proposes; its index */
void all_equal(void);                                    /* applied and digests of all that are up */
int install_from(struct box *b, const struct box *from); /* a state of another box, as a stream would bring it */
struct box *left_behind(struct box **leader); /* a follower whose next entry no log has any more; who leads then */
