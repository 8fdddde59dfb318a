/* scenario.h: a calm cluster of which a test directs every step: who may campaign, who is cut off, who dies. */
#pragma once

#include "tests/sim/sim.h"

#define SCENARIO_ELECTION_MS 3000 /* long enough for any election */

/* A calm cluster of which only replica 1 may campaign (scenario_candidate), with 1 as its leader. */
struct sim *scenario_new(uint64_t seed, uint32_t replicas);
/* Ends it: no checker may have found anything. */
void scenario_end(struct sim **sim);

void scenario_candidate(uint32_t only);                     /* whose requests for votes pass; 0: everybody's */
bool scenario_elect(struct sim *sim, uint32_t id);          /* until it serves, with only its requests passing */
bool scenario_write(struct sim *sim, uint32_t node);        /* one write, acknowledged */
void scenario_cut(struct sim *sim, uint32_t a, uint32_t b); /* both directions */
void scenario_start(struct sim *sim, uint32_t id);
/* What the filter of a test lets pass besides; called behind the rule of scenario_candidate. */
void scenario_filter(bool (*filter)(struct sim *sim, Hf__Raft__Raft *m, uint32_t from, uint32_t to));
