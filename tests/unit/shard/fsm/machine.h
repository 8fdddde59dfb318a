/* machine.h: a state machine in a directory of its own, entries made by hand or at random, and all bytes it holds. */
#pragma once

#include "common/base/error.h"
#include "common/base/random.h"
#include "proto/entry.pb-c.h"
#include "shard/fsm/fsm.h"

struct machine_result {
    uint64_t index, term;
    uint32_t position;
    struct fsm_result r;
};

struct machine {
    char dir[64];
    struct fsm_config config;
    struct fsm *fsm;
    struct arena arena;           /* entries */
    uint32_t feature_level;       /* of a machine that is created; 0: the program's */
    uint64_t index, sequence, t;  /* of the last entry made by hand */
    struct buf results;           /* struct machine_result, all so far */
    struct fsm_conflict conflict; /* of the last of them; without keys */
    char locked[16];              /* the beginning of the locked key of the last that met a lock */
};

/* Range [start, end), "" = open. Directory below /tmp, created and opened. */
void machine_start(struct machine *m, const char *start, const char *end, bool catalog);
void machine_create(struct machine *m, const char *start, const char *end, bool catalog);
bool machine_try_open(struct machine *m); /* false: refused */
void machine_open(struct machine *m);
void machine_close(struct machine *m);
void machine_stop(struct machine *m); /* closes, removes the directory, frees */

size_t machine_result_count(const struct machine *m);
const struct machine_result *machine_last(const struct machine *m);
fsm_result_fn machine_report; /* ctx: struct machine */

/* Commands. */
Hf__Entry__Command machine_put(const char *key, const char *value);
Hf__Entry__Command machine_delete(const char *key);
Hf__Entry__Command machine_delete_prefix(const char *prefix);
Hf__Entry__Command machine_cas(const char *key, const char *expected, const char *value); /* NULL: absent */
Hf__Entry__Command machine_in_session(Hf__Entry__Command c, uint64_t session, uint64_t seq, uint64_t done_below);

/* Entry payloads in `arena`. */
struct slice machine_batch(struct arena *arena, uint64_t t, uint64_t sequence, const Hf__Entry__Command *c, size_t n);
struct slice machine_lease(struct arena *arena, uint64_t ceiling, uint64_t t);
struct slice machine_check(struct arena *arena, uint64_t t);
struct slice machine_collect(struct arena *arena, uint64_t below, uint32_t steps);
struct slice machine_migrate(struct arena *arena, Hf__Entry__MigrateStep step, uint64_t id, uint32_t epoch,
                             uint64_t configuration); /* from native to libraft in odd epochs, back in even ones */
struct slice machine_restart(struct arena *arena, uint64_t t); /* a leader goes on from a ceiling */
struct slice machine_session(struct arena *arena, uint64_t t, uint64_t fence_session, uint64_t fence_seq);

/* Apply as the next entry; at m->t unless said. */
const struct fsm_result *machine_run(struct machine *m, Hf__Entry__Command c);
const struct fsm_result *machine_run_many(struct machine *m, const Hf__Entry__Command *c, size_t n); /* the first's */
void machine_apply_silent(struct machine *m, struct slice data); /* a command entry that reports nothing */
const struct fsm_result *machine_apply(struct machine *m, enum log_kind kind, struct slice data);

/* Compares a latest get with `value` (NULL: not found). */
bool machine_holds(struct machine *m, const char *key, const char *value);

/* Whether there are transactions in the random histories; else they are what they were before there were any. */
extern bool machine_random_txns;
/* Whether there are steps of collection in them, of so many records at most; 0: none, UINT32_MAX: of all there are. */
extern uint32_t machine_random_collects;
/* Entry `index` of the random history `seed`: a pure function of the two. */
uint64_t machine_random_time(uint64_t index); /* what its commands are stamped with */
struct log_entry machine_random(uint64_t seed, uint64_t index, struct arena *arena);

/* Everything in RocksDB: size, key, size, value, … */
void machine_dump(struct fsm *fsm, struct buf *out);
