/* seals.c: conformance: what a change of engine asks of the one that is left, and of the one that takes over. */
#include "tests/conformance/conformance.h"

/* An entry that all three hold and nobody knows to be committed; its leader is cut off. */
static uint64_t stored_but_not_known(struct box **leader)
{
    begin(3, false);
    *leader = elect();
    run(300);
    uint64_t index = put(*leader, 10);
    turn(*leader);
    deliver();
    for (uint32_t id = 1; id <= 3; id++)
        if (id != (*leader)->id)
            turn(&rig.boxes[id]);
    rig.cut[(*leader)->id] = true;
    while (rig.count > 0)
        free(rig.wires[--rig.count].bytes);
    for (uint32_t id = 1; id <= 3; id++)
        CU_ASSERT(rig.boxes[id].applied == index - 1 && ops->status(rig.boxes[id].e).last == index);
    return index;
}

static void a_seal_is_committed_where_the_log_holds_it_and_somebody_knows(void)
{
    struct box *leader;
    uint64_t index = stored_but_not_known(&leader);
    struct box *b = other_than(leader), *c = &rig.boxes[6 - leader->id - b->id];
    uint64_t term = ops->status(leader->e).term;
    CU_ASSERT_EQUAL(ops->committed(b->e, index, term + 1), HF_E_ABSENT);
    CU_ASSERT_EQUAL(ops->committed(b->e, index + 1, term), HF_E_ABSENT);
    turn(b);
    CU_ASSERT(b->applied == index - 1 && ops->status(b->e).commit == index - 1);
    for (int again = 0; again < 2; again++)
        CU_ASSERT_EQUAL(ops->committed(b->e, index, term), HF_OK);
    turn(b);
    CU_ASSERT(b->applied == index && ops->status(b->e).commit == index && c->applied == index - 1);
    CU_ASSERT_EQUAL(ops->committed(b->e, index - 1, term), HF_OK); /* long known */
    CU_ASSERT_EQUAL(ops->committed(b->e, index, term + 1), HF_E_CORRUPT);
    uint64_t digest = b->digest;
    ops->close(&b->e); /* and it is not applied twice */
    up(b);
    rig.cut[leader->id] = false;
    CU_ASSERT_EQUAL(b->digest, digest);
    leader = elect();
    put(leader, 10);
    run(500);
    all_equal();
    CU_ASSERT(b->applied > index && b->digest != digest);
    end();
}

/* The old leader, whose followers went on without an answer to it. */
static void a_leader_cut_off_takes_it_for_committed_too(void)
{
    struct box *leader;
    uint64_t index = stored_but_not_known(&leader);
    CU_ASSERT_EQUAL(ops->committed(leader->e, index, ops->status(leader->e).term), HF_OK);
    turn(leader);
    CU_ASSERT(leader->applied == index && ops->status(leader->e).commit == index);
    run(3000);
    rig.cut[leader->id] = false;
    run(2000);
    all_equal();
    end();
}

/* It may be a seal: then nothing may be served or proposed in this epoch any more. */
static void a_leader_serves_only_when_all_that_it_inherited_is_applied(void)
{
    struct box *old;
    uint64_t index = stored_but_not_known(&old);
    struct box *next = NULL;
    for (uint32_t id = 1; id <= 3; id++)
        rig.boxes[id].refuse = HF_E_NOT_READY;
    for (int i = 0; i < 1000 && next == NULL; i++) {
        run(10);
        for (uint32_t id = 1; id <= 3; id++)
            if (id != old->id && ops->status(rig.boxes[id].e).role == ENGINE_LEADER)
                next = &rig.boxes[id];
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(next);
    run(200);
    CU_ASSERT(ops->status(next->e).commit > index && next->applied == index - 1); /* it knows, and has not applied it */
    CU_ASSERT(!ops->status(next->e).serving && ops->read_lease(next->e) == 0);
    unsigned ready = next->ready;
    (void)ops->barrier(next->e, 7);
    run(200);
    CU_ASSERT(next->ready == ready || next->ready_index >= index); /* served when that is applied: not now */
    for (uint32_t id = 1; id <= 3; id++)
        rig.boxes[id].refuse = 0;
    run(200);
    CU_ASSERT(ops->status(next->e).serving && next->applied > index);
    end();
}

/* The log of the next epoch: behind the sealed state, above every term of the one before. */
static void a_log_made_behind_a_seal_begins_above_its_term(void)
{
    begin(1, false);
    struct box *b = elect();
    uint64_t index = put(b, 10);
    turn(b);
    struct engine_env env = env_of(b);
    uint64_t term = b->applied_term;
    ops->close(&b->e);
    env.log_epoch = 2;
    env.term_floor = term + 5;
    CU_ASSERT_EQUAL(ops->create(&env, index, term), HF_OK);
    char where[256];
    CU_ASSERT_EQUAL_FATAL(ops->open(&env, &b->e, where), HF_OK);
    CU_ASSERT_EQUAL(ops->status(b->e).first, index + 1);
    run(3000);
    CU_ASSERT(ops->status(b->e).role == ENGINE_LEADER && ops->status(b->e).term > env.term_floor);
    CU_ASSERT(b->applied == index + 1 && b->applied_term > env.term_floor);
    end();
}

const struct unit_case conformance_seals[] = {
    {"a seal is committed where the log holds it and somebody knows",
     a_seal_is_committed_where_the_log_holds_it_and_somebody_knows},
    {"a leader cut off takes it for committed too", a_leader_cut_off_takes_it_for_committed_too},
    {"a leader serves only when what it inherited is applied",
     a_leader_serves_only_when_all_that_it_inherited_is_applied},
    {"a log made behind a seal begins above its term", a_log_made_behind_a_seal_begins_above_its_term},
    {NULL, NULL},
};
