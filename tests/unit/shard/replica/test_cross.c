/* test_cross.c: what a replica does that is told where a log ended: which end it compares with its own log, and when it takes a state. */
#include "common/base/error.h"
#include "shard/replica/replica_internal.h"
#include "tests/unit/unit.h"

#define EPOCH 3 /* it is in */

static struct fsm_info info;
static struct {
    unsigned asked;
    uint64_t index, term;
    int answer; /* of the engine */
    unsigned fetches;
    uint32_t from, epoch;
} seen;

const struct fsm_info *__wrap_fsm_info(const struct fsm *fsm);
void __wrap_snapshots_left(struct snapshots *s, uint32_t from, uint32_t epoch);

const struct fsm_info *__wrap_fsm_info(const struct fsm *fsm)
{
    (void)fsm;
    return &info;
}

void __wrap_snapshots_left(struct snapshots *s, uint32_t from, uint32_t epoch)
{
    (void)s;
    seen.fetches++;
    seen.from = from;
    seen.epoch = epoch;
}

static int committed(struct engine *e, uint64_t index, uint64_t term)
{
    (void)e;
    seen.asked++;
    seen.index = index;
    seen.term = term;
    return seen.answer;
}

static const struct engine_ops ops = {.name = "native", .committed = committed};
static struct directory directory;
static struct replica r;
static char somewhere;

/* Has applied up to 20, and is told by replica 2, which is in `log_epoch`, that `epoch` ended at 30:7; the engine says `answer`. */
static void tell(uint32_t log_epoch, uint32_t epoch, int answer)
{
    Hf__Raft__Envelope e = HF__RAFT__ENVELOPE__INIT;
    Hf__Raft__Sealed sealed = HF__RAFT__SEALED__INIT;
    e.from = 2;
    e.log_epoch = log_epoch;
    e.sealed = &sealed;
    sealed.epoch = epoch;
    sealed.index = 30;
    sealed.term = 7;
    memset(&seen, 0, sizeof seen);
    seen.answer = answer;
    cross_told(&r, &e);
}

static void begin(void)
{
    directory = (struct directory){.id = {.log_epoch = EPOCH, .replica = 1}};
    info = (struct fsm_info){.applied = {.index = 20, .epoch = EPOCH}};
    r = (struct replica){.config.directory = &directory,
                         .ops = &ops,
                         .fsm = (struct fsm *)(void *)&somewhere,
                         .snapshots = (struct snapshots *)(void *)&somewhere};
}

static void the_end_of_its_own_epoch_is_compared_with_its_log(void)
{
    begin();
    tell(EPOCH + 1, EPOCH, HF_OK); /* apply comes to it */
    CU_ASSERT(seen.asked == 1 && seen.index == 30 && seen.term == 7 && seen.fetches == 0 && !r.cross.told);
    tell(EPOCH + 1, EPOCH, HF_E_ABSENT);
    CU_ASSERT(seen.asked == 1 && seen.fetches == 1 && seen.from == 2 && seen.epoch == EPOCH + 1 && !r.cross.told);
}

/* Indices and terms say nothing outside of their epoch: it asks for the state, whatever its own log holds there. */
static void the_end_of_another_epoch_is_compared_with_nothing(void)
{
    begin();
    tell(EPOCH + 2, EPOCH + 1, HF_OK);
    CU_ASSERT(seen.asked == 0 && seen.fetches == 1 && seen.epoch == EPOCH + 2);
    tell(EPOCH + 2, EPOCH + 1, HF_E_CORRUPT);
    CU_ASSERT(seen.asked == 0 && seen.fetches == 1 && !r.cross.told);
}

static void without_a_state_the_engine_alone_will_not_do(void)
{
    begin();
    r.fsm = NULL;
    tell(EPOCH + 1, EPOCH, HF_OK);
    CU_ASSERT(seen.asked == 1 && seen.fetches == 1);
    begin();
    r.damaged = true;
    tell(EPOCH + 1, EPOCH, HF_OK);
    CU_ASSERT(seen.asked == 1 && seen.fetches == 1);
}

static void one_that_committed_something_else_cannot_follow(void)
{
    begin();
    tell(EPOCH + 1, EPOCH, HF_E_CORRUPT);
    CU_ASSERT(seen.fetches == 0 && r.cross.told);
    begin();
    info.applied.index = 31; /* behind the seal */
    tell(EPOCH + 1, EPOCH, HF_OK);
    CU_ASSERT(seen.fetches == 0 && r.cross.told);
    begin();
    r.snapshots = NULL;
    tell(EPOCH + 1, EPOCH, HF_E_ABSENT);
    CU_ASSERT(r.cross.told);
}

static void who_arrives_in_its_epoch_and_who_is_sealed_asks_nothing(void)
{
    begin();
    tell(EPOCH, EPOCH - 1, HF_E_ABSENT);
    CU_ASSERT(seen.asked == 0 && seen.fetches == 0 && r.cross.epoch == EPOCH);
    CU_ASSERT(r.cross.arrived_count == 1 && r.cross.arrived[0] == 2);
    info.migration.seal.epoch = EPOCH;
    tell(EPOCH + 1, EPOCH, HF_E_ABSENT); /* it goes over by itself */
    CU_ASSERT(seen.asked == 0 && seen.fetches == 0);
    r.damaged = true;
    tell(EPOCH + 1, EPOCH, HF_E_ABSENT);
    CU_ASSERT(seen.asked == 1 && seen.fetches == 1);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"the end of its own epoch", the_end_of_its_own_epoch_is_compared_with_its_log},
        {"the end of another epoch", the_end_of_another_epoch_is_compared_with_nothing},
        {"without a state", without_a_state_the_engine_alone_will_not_do},
        {"something else committed", one_that_committed_something_else_cannot_follow},
        {"arrivals, and who is sealed", who_arrives_in_its_epoch_and_who_is_sealed_asks_nothing},
    };
    return UNIT_MAIN("being told that an epoch ended", cases);
}
