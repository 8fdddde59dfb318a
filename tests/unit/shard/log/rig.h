/* rig.h: what the tests of shard/log share: a simulated disk with a log on it, and entries whose content follows from
 * index and term, so that anything read back can be checked. */
#pragma once

#include <CUnit/Basic.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "shard/log/log.h"
#include "tests/support/simdisk.h"

#define RIG_DIR "replica/native-1"

struct rig {
    struct simdisk *sim;
    struct log_config config;
    struct log *log;
    struct log_report report;
    char where[256];
    struct arena arena;
    uint64_t term; /* of entries rig_append makes */
    size_t size;   /* payload of entries rig_append makes, about */
};

void rig_start(struct rig *rig, uint64_t segment_bytes, uint64_t cache_bytes); /* disk and directory, no log */
void rig_create(struct rig *rig, uint64_t segment_bytes, uint64_t cache_bytes, uint64_t index,
                uint64_t term); /* opened */
void rig_end(struct rig *rig);

int rig_open(struct rig *rig); /* the code of log_open */
void rig_close(struct rig *rig);
void rig_reopen(struct rig *rig);                    /* clean process end */
void rig_power_loss(struct rig *rig, uint64_t seed); /* then opens; must succeed */

size_t rig_payload(uint64_t index, uint64_t term, size_t about, uint8_t *out); /* out holds about + 8 */
void rig_append(struct rig *rig, size_t count); /* `count` entries of rig->term, not synced; hard state kept in step */
void rig_turn(struct rig *rig, size_t count);   /* append, sync */
/* Everything from log_first to log_last can be read, in pieces and one by one, and is what rig_append made of its index
 * and term. Returns false and says so in a failed assertion otherwise. */
bool rig_check(struct rig *rig);
