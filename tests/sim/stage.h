/* stage.h: a calm world of which a test directs every step: who is cut off, who stands still, which frames come late.
 *
 * Position: test_clock.c. What its requests find goes to the checkers of the world (world/history.h) as well. */
#pragma once

#include <CUnit/CUnit.h>

#include "proto/client.pb-c.h"
#include "tests/sim/world/history.h"
#include "tests/sim/world/process.h"

extern bool stage_bug; /* a bug is planted: what EXPECT says need not hold */
#define EXPECT(holds) CU_ASSERT((holds) || stage_bug)

/* Both shards have leaders whose clocks go, and a coordinator issues timestamps. */
struct world *stage_new(uint64_t seed);
/* Heals it, lets every client write and every reader read once more. Returns which checker found something, or NULL. */
const char *stage_end(struct world **w);

void stage_run(struct world *w, uint64_t ms);
bool stage_until(struct world *w, uint64_t ms_max, bool (*done)(struct world *w)); /* true: done */
uint32_t stage_leader(struct world *w,
                      uint32_t shard);  /* the running process that serves with the highest term, or 0 */
uint32_t stage_active(struct world *w); /* the coordinator that may issue, or 0 */
void stage_cut(struct world *w, uint32_t a, uint32_t b);
void stage_cut_coordinators(struct world *w, uint32_t shard); /* all from all of its replicas */
void stage_mend(struct world *w);                             /* nothing is cut */
/* The shard's leader is cut off from all until another one serves; then all is connected again. */
void stage_other_leader(struct world *w, uint32_t shard);

struct stage_answer {
    bool came;
    int code;
    uint64_t timestamp;
    uint32_t value; /* LIN_ABSENT: none */
    struct version version;
};

struct stage_moment { /* a timestamp that was issued */
    uint64_t t;
    struct history_floor floor; /* what was acknowledged before it was asked for */
};

extern uint64_t stage_ttl_ms; /* of what is put from now on; 0: it stays */

/* Requests whose answers are looked at later: *answer is filled in when one comes, and must live until the end. */
void stage_send_put(struct world *w, uint32_t process, unsigned key, uint32_t value, struct stage_answer *answer);
/* `at` 0: the latest. */
void stage_send_look(struct world *w, uint32_t process, unsigned key, const struct stage_moment *at,
                     struct stage_answer *answer);

void stage_send_frame(struct world *w, uint32_t process, struct slice frame); /* as from another connection */

/* Until answered, asked again where the answer says so: by the shard's leader, by any coordinator. */
struct stage_answer stage_put(struct world *w, unsigned key, uint32_t value);
struct stage_answer stage_look(struct world *w, unsigned key, const struct stage_moment *at);
struct stage_moment stage_timestamp(struct world *w, uint64_t above);
/* Once, by that coordinator; its code. */
struct stage_answer stage_ask_timestamp(struct world *w, uint32_t coordinator, uint64_t above);
