/* refusals.c: conformance: what an engine does not do it refuses with a code, and nothing has changed. */
#include "common/base/limits.h"
#include "tests/conformance/conformance.h"

static void proposals_are_refused_where_they_cannot_be(void)
{
    static uint8_t large[LIMIT_ENTRY_BYTES + 1];
    uint64_t index = 0, term = 0;
    begin(3, false);
    struct box *leader = elect(), *other = other_than(leader);
    run(200);
    CU_ASSERT_EQUAL(ops->propose(other->e, LOG_COMMAND, slice_text("x"), &index, &term), HF_E_NOT_LEADER);
    CU_ASSERT_EQUAL(ops->propose(leader->e, LOG_CONFIG, slice_text("x"), &index, &term), HF_E_INVALID);
    CU_ASSERT_EQUAL(ops->propose(leader->e, LOG_COMMAND, slice_make(large, sizeof large), &index, &term), HF_E_LIMIT);
    CU_ASSERT(index == 0 && term == 0);
    uint64_t last = ops->status(leader->e).last;
    run(300);
    CU_ASSERT_EQUAL(ops->status(leader->e).last, last);
    end();
}

/* Members change, or the refusal is typed; an engine that changes them compares first. */
static void a_change_of_members_is_made_or_refused(void)
{
    begin(3, false);
    struct box *leader = elect();
    run(200);
    Hf__Catalog__Members next = rig.members;
    uint64_t index = 0, last = ops->status(leader->e).last;
    next.n_members = 4;
    next.index = BASE;
    rig.list[3].role = HF__CATALOG__ROLE__LEARNER;
    int rc = ops->change(leader->e, &next, &index);
    CU_ASSERT(rc == HF_OK || rc == HF_E_REFUSED);
    run(500);
    for (uint32_t id = 1; id <= 3; id++) {
        CU_ASSERT_EQUAL(ops->members(rig.boxes[id].e)->n_members, rc == HF_OK ? 4 : 3);
        CU_ASSERT_EQUAL(ops->status(rig.boxes[id].e).last, rc == HF_OK ? index : last);
    }
    end();
}

static void times_can_be_set_later(void)
{
    begin(3, false);
    struct box *leader = elect();
    for (uint32_t id = 1; id <= 3; id++) {
        if (id != leader->id)
            ops->set_times(rig.boxes[id].e, 1000, 5000);
    }
    run(300);
    down(leader);
    run(3000);
    for (uint32_t id = 1; id <= 3; id++)
        CU_ASSERT(id == leader->id || ops->status(rig.boxes[id].e).role != ENGINE_LEADER);
    run(6000);
    CU_ASSERT(elect() != leader);
    end();
}

const struct unit_case conformance_refusals[] = {
    {"proposals are refused where they cannot be", proposals_are_refused_where_they_cannot_be},
    {"a change of members is made or refused", a_change_of_members_is_made_or_refused},
    {"times can be set later", times_can_be_set_later},
    {NULL, NULL},
};
