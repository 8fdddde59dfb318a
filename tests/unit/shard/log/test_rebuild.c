/* test_rebuild.c: a damaged log is put aside and made anew under its term and vote, with a cut at each operation. */
#include <string.h>

#include "tests/unit/shard/log/rig.h"
#include "tests/unit/unit.h"

#define QUARANTINE "replica/quarantine"
#define AT 30u /* where the state machine stands */

static unsigned counted;

static void count(void *ctx, const char *name)
{
    (void)ctx;
    counted += strncmp(name, "seg-", 4) == 0;
}

static unsigned segments_in(struct rig *rig, const char *dir)
{
    counted = 0;
    CU_ASSERT_EQUAL(rig->config.disk->ops->list(rig->config.disk, dir, count, NULL), 0);
    return counted;
}

/* Some segments, voted for 3 in term 5, 90 entries; closed, with a bit of the middle one flipped. */
static void damaged(struct rig *rig)
{
    rig_create(rig, 12 * 1024, 2048, 0, 0);
    rig->term = 5;
    for (unsigned i = 0; i < 90; i++) {
        rig->size = 400;
        rig_turn(rig, 1);
    }
    log_set_hard_state(rig->log, (struct log_hard_state){.term = 5, .vote = 3, .commit = 80});
    CU_ASSERT_EQUAL(log_sync(rig->log), 0);
    rig_close(rig);
    CU_ASSERT_EQUAL(simdisk_flip(rig->sim, RIG_DIR "/seg-0000000000000001.log", 4096 + 3000, 3), 0);
    CU_ASSERT_EQUAL(rig_open(rig), HF_E_CORRUPT);
}

static void is_new(struct rig *rig)
{
    struct log_hard_state hs = log_hard_state(rig->log);
    CU_ASSERT(hs.term == 5 && hs.vote == 3 && hs.commit == AT);
    CU_ASSERT(log_first(rig->log) == AT + 1 && log_last(rig->log) == AT);
    rig_turn(rig, 5);
    rig_power_loss(rig, 4);
    CU_ASSERT(log_last(rig->log) == AT + 5 && log_hard_state(rig->log).vote == 3);
    CU_ASSERT(rig_check(rig));
}

static void a_damaged_log_is_put_aside_whole_and_keeps_term_and_vote(void)
{
    struct rig rig;
    damaged(&rig);
    unsigned before = segments_in(&rig, RIG_DIR);
    CU_ASSERT(before >= 3);
    CU_ASSERT_EQUAL(log_rebuild(&rig.config, QUARANTINE, AT, 5, rig.where), 0);
    CU_ASSERT_EQUAL(segments_in(&rig, QUARANTINE), before);
    CU_ASSERT_EQUAL(segments_in(&rig, RIG_DIR), 1);
    rig_power_loss(&rig, 1);
    is_new(&rig);
    rig_end(&rig);
}

/* What was moved does not come back, whichever part of it a power loss finds durable. */
static void what_was_put_aside_stays_there(void)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rig rig;
        damaged(&rig);
        unsigned before = segments_in(&rig, RIG_DIR);
        CU_ASSERT_EQUAL(log_rebuild(&rig.config, QUARANTINE, AT, 5, rig.where), 0);
        rig_power_loss(&rig, seed);
        CU_ASSERT(segments_in(&rig, RIG_DIR) == 1 && segments_in(&rig, QUARANTINE) == before);
        rig_end(&rig);
    }
}

/* Whatever is found in between is either damaged, and rebuilt once more, or a log under the same term and vote. */
static void cut_at_each_operation_term_and_vote_stay(void)
{
    for (uint64_t n = 0;; n++) {
        int rc = 0;
        for (uint64_t kind = 0; kind < 4; kind++) {
            struct rig rig;
            damaged(&rig);
            simdisk_halt_after(rig.sim, SIMDISK_CHANGES, n);
            rc = log_rebuild(&rig.config, QUARANTINE, AT, 5, rig.where);
            CU_ASSERT(rc == 0 || rc == HF_E_IO);
            if (kind == 0)
                simdisk_restart(rig.sim);
            else
                simdisk_crash(rig.sim, n * 10 + kind);
            int found = rig_open(&rig);
            CU_ASSERT(found == 0 || (rc != 0 && found == HF_E_CORRUPT));
            if (found == 0 && log_last(rig.log) != AT) { /* the segments that are left pass for a log */
                CU_ASSERT(rc != 0 && log_hard_state(rig.log).term == 5 && log_hard_state(rig.log).vote == 3);
                rig_close(&rig);
                found = HF_E_CORRUPT;
            }
            if (found != 0) {
                CU_ASSERT_EQUAL(log_rebuild(&rig.config, QUARANTINE, AT, 5, rig.where), 0);
                CU_ASSERT_EQUAL_FATAL(rig_open(&rig), 0);
            }
            is_new(&rig);
            rig_end(&rig);
        }
        if (rc == 0) {
            CU_ASSERT(n > 10);
            break;
        }
    }
}

static void without_a_hard_state_to_believe_nothing_is_touched(void)
{
    struct rig rig;
    damaged(&rig);
    unsigned before = segments_in(&rig, RIG_DIR);
    CU_ASSERT_EQUAL(log_rebuild(&rig.config, QUARANTINE, AT, 6, rig.where),
                    HF_E_CORRUPT); /* the state machine is of a later term */
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.where, "older than"));
    CU_ASSERT_EQUAL(simdisk_flip(rig.sim, RIG_DIR "/hardstate", 24, 0), 0);
    CU_ASSERT_EQUAL(simdisk_flip(rig.sim, RIG_DIR "/hardstate", 4096 + 24, 0), 0);
    CU_ASSERT_EQUAL(log_rebuild(&rig.config, QUARANTINE, AT, 5, rig.where), HF_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.where, "hardstate"));
    CU_ASSERT_EQUAL(segments_in(&rig, RIG_DIR), before);
    rig_end(&rig);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"a damaged log is put aside whole and keeps term and vote",
         a_damaged_log_is_put_aside_whole_and_keeps_term_and_vote},
        {"what was put aside stays there", what_was_put_aside_stays_there},
        {"cut at each operation, term and vote stay", cut_at_each_operation_term_and_vote_stay},
        {"without a hard state to believe nothing is touched", without_a_hard_state_to_believe_nothing_is_touched},
    };
    return UNIT_MAIN("shard/log rebuild", cases);
}
