/* faults.h: what goes wrong in a run, drawn from the seed: crashes, pauses, partitions, weather, disks, transfers,
 * changes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/random.h"

struct sim;
struct node;

struct faults {
    struct random random;
    uint64_t gap_ms;                                         /* between two faults, on average */
    bool changes, disks, pauses, partitions, crashes, power; /* kinds of this run */
    uint64_t siege;    /* steps still to come of a siege; clients write nothing meanwhile, so that logs are equal */
    uint32_t besieged; /* the leader */
    bool surrounded;   /* the cuts are made */
    uint64_t flush_permille; /* per applied batch: the state machine becomes durable */
    uint64_t hold_permille;  /* per applied batch: no space, it waits */
    bool damage;             /* logs and state machines are destroyed, of a minority at a time */
    uint64_t publish_entries, trailing;
};

void faults_init(struct faults *f, uint64_t seed);
void faults_act(struct sim *sim);  /* one fault, and when the next comes */
void faults_died(struct node *n);  /* plans its next start; nothing in a calm run */
void faults_heal(struct sim *sim); /* everything ends: cuts, weather, pauses, faults of disks; the dead start */
