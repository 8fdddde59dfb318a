/* test_migrate.c: what members of a shard say of themselves, judged; which shard is next; what a record in the catalog may be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "proto/pack.h"
#include "tests/unit/coordinator/migratemodel.h"
#include "tests/unit/unit.h"

#define PHASE(name) HF__CATALOG__JOB_SHARD_PHASE__SHARD_##name
#define JOB(name) HF__CATALOG__JOB_PHASE__JOB_##name
#define STEP(name) HF__ENTRY__MIGRATE_STEP__MIGRATE_##name
#define ID 7u

static struct {
    struct migrate_job job;
    struct migrate_shard *shard; /* 2, the first */
    struct migrate_verdict v;
    Hf__Client__Status *said[MODEL_REPLICAS]; /* of the last look */
    struct migrate_look *look;
    uint64_t drawn, now_ms;
} f;

static uint64_t draw(uint64_t n)
{
    return f.drawn++ % n;
}

static void turns(int count)
{
    for (int i = 0; i < count; i++, f.now_ms += 1000)
        for (uint32_t s = 1; s <= MODEL_SHARDS; s++)
            model_turn(s, f.now_ms, draw, 1);
}

static void forget_look(void)
{
    if (f.look)
        arena_deinit(&f.look->arena);
    free(f.look);
    f.look = NULL;
}

static void begin(const char *without)
{
    static Hf__Catalog__JobAbsent one, *list[1] = {&one};
    Hf__Client__MigrateJob q = HF__CLIENT__MIGRATE_JOB__INIT;
    memset(&f, 0, sizeof f);
    f.now_ms = 1000;
    model_begin();
    turns(2);
    hf__catalog__job_absent__init(&one);
    one.shard = 2;
    one.replica = without ? (uint32_t)atoi(without) : 0;
    q.target = (char *)(uintptr_t)model_engines[1];
    q.n_without = without != NULL;
    q.without = list;
    migrate_job_make(&f.job, &q, model_routes(), ID);
    f.shard = &f.job.shards[0];
}

static void end(void)
{
    forget_look();
    migrate_job_deinit(&f.job);
}

static void look(void)
{
    forget_look();
    f.look = calloc(1, sizeof *f.look + MODEL_REPLICAS * sizeof f.look->seen[0]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f.look);
    f.look->shard = f.shard->shard;
    f.look->count = MODEL_REPLICAS;
    for (uint32_t r = 0; r < MODEL_REPLICAS; r++) {
        struct buf packed = {0};
        bool there = model_status(f.shard->shard, r + 1, &packed);
        f.said[r] = there ? pack_unpack(&hf__client__status__descriptor, buf_slice(&packed), &f.look->arena) : NULL;
        f.look->seen[r] = (struct migrate_seen){.replica = r + 1, .said = f.said[r]};
        buf_deinit(&packed);
    }
}

static void judge(uint64_t floor)
{
    migrate_judge(&f.job, f.shard, f.look, floor, false, &f.v);
}

static void look_and_judge(uint64_t floor)
{
    look();
    judge(floor);
}

static int step(Hf__Entry__MigrateStep which)
{
    Hf__Entry__MigrateEntry e = HF__ENTRY__MIGRATE_ENTRY__INIT;
    e.step = which;
    e.id = ID;
    e.epoch = 1;
    e.source = (char *)(uintptr_t)model_engines[0];
    e.target = (char *)(uintptr_t)model_engines[1];
    return model_step(2, model[2].leader, &e);
}

static void begun(void)
{
    f.shard->epoch = 1;
    f.shard->configuration = 1;
    snprintf(f.shard->source, sizeof f.shard->source, "native");
}

/* As migrate_drive.c takes it over. */
static void follow(Hf__Catalog__JobShardPhase phase)
{
    CU_ASSERT_EQUAL(f.v.phase, phase);
    f.shard->phase = f.v.phase;
}

static bool because(const char *text)
{
    bool there = strstr(f.v.reason, text) != NULL;
    if (!there)
        fprintf(stderr, "it says: %s\n", f.v.reason);
    return there;
}

static void the_way_there(void)
{
    begin(NULL);
    look_and_judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_BEGIN && f.v.epoch == 1 && f.v.reason[0] == '\0');
    begun();
    look_and_judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_PREPARE && f.v.leader == model[2].leader);
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    look_and_judge(0);
    follow(PHASE(PREPARED));
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_WAIT); /* what has to be durable is not known yet */
    uint64_t floor = f.v.applied;
    look_and_judge(floor);
    CU_ASSERT(f.v.wish == MIGRATE_PUBLISH && f.v.behind[0] && f.v.behind[1] && f.v.behind[2]);
    turns(2);
    CU_ASSERT(model_publish(2, 1) && model_publish(2, 2));
    look_and_judge(floor);
    CU_ASSERT(f.v.wish == MIGRATE_PUBLISH && !f.v.behind[0] && f.v.behind[2]);
    CU_ASSERT(model_publish(2, 3));
    look_and_judge(floor);
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_SEAL);
    CU_ASSERT_EQUAL(step(STEP(SEAL)), HF_OK);
    look_and_judge(floor);
    follow(PHASE(SEALED));
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_WAIT);
    turns(1); /* the leader went over, and leads no more */
    look_and_judge(floor);
    CU_ASSERT(f.v.phase == PHASE(SEALED) && because("of its voters run libraft"));
    for (int i = 0; i < 9 && f.v.phase != PHASE(DONE); i++) {
        turns(1);
        look_and_judge(floor);
        CU_ASSERT(f.v.phase >= PHASE(SEALED) && !f.v.wrong);
    }
    follow(PHASE(DONE));
    CU_ASSERT(migrate_judge_final(&f.job, f.shard, f.look, f.v.reason));
    end();
}

static void what_is_in_the_way(void)
{
    begin(NULL);
    look();
    uint32_t leader = model[2].leader, other = leader % 3;
    snprintf(f.job.target, sizeof f.job.target, "paxos");
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("does not have engine paxos"));
    snprintf(f.job.target, sizeof f.job.target, "libraft");
    f.said[other]->last = f.said[leader - 1]->last += 5000;
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("entries behind"));
    look();
    f.said[leader - 1]->feature_level = 5;
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("feature level is 5"));
    look();
    f.said[other]->trouble = "no space";
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("no space"));
    look();
    f.said[other]->change_bytes = f.said[other]->disk_free = 70000;
    judge(0);
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_BEGIN);
    f.said[other]->disk_free--;
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("has 69999 bytes of disk left, the change takes 70000 there"));
    look();
    f.said[other]->state = "healing";
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("is healing; start it, or leave it out: --without 2/"));
    look();
    f.said[leader - 1]->role = "follower";
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("no leader"));
    snprintf(f.job.target, sizeof f.job.target, "native");
    look_and_judge(0);
    CU_ASSERT_EQUAL(f.v.phase, PHASE(DONE)); /* it runs that */
    end();
}

static void who_is_left_out_is_not_waited_for(void)
{
    begin("3");
    model_kill(2, 3, f.now_ms);
    turns(6); /* another leads, if it did */
    look_and_judge(0);
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_BEGIN);
    begun();
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    CU_ASSERT_EQUAL(step(STEP(SEAL)), HF_OK);
    turns(6);
    look_and_judge(1);
    follow(PHASE(DONE));
    char reason[MIGRATE_TEXT_BYTES];
    CU_ASSERT(!migrate_judge_final(&f.job, f.shard, f.look, reason));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "2/3"));
    model_start(2, 3);
    turns(8);
    look();
    CU_ASSERT(migrate_judge_final(&f.job, f.shard, f.look, reason));
    /* Two are no quorum of three when one is away that nobody named. */
    model_kill(2, model[2].leader, f.now_ms);
    turns(6);
    look_and_judge(1);
    CU_ASSERT_EQUAL(f.v.phase, PHASE(VERIFIED));
    end();
}

static void who_is_left_out_may_be_there_and_unfit(void)
{
    begin("3");
    look();
    f.said[2]->trouble = (char *)(uintptr_t) "no space";
    f.said[2]->durable_applied = 0;
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_BEGIN && f.v.reason[0] == '\0');
    f.look->seen[0].said = model[2].leader == 1 ? f.said[0] : NULL; /* of the others one is away: no quorum is fit */
    f.look->seen[1].said = model[2].leader == 1 ? NULL : f.said[1];
    f.job.without[0].replica = 3;
    CU_ASSERT_EQUAL(migrate_job_leave_out(&f.job,
                                          (Hf__Catalog__JobAbsent *[]){&(Hf__Catalog__JobAbsent){
                                              .shard = 2, .replica = model[2].leader == 1 ? 2 : 1}},
                                          1),
                    HF_OK);
    judge(0);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("no quorum"));
    begun();
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    turns(2);
    look();
    f.said[2]->durable_applied = 0;
    judge(0);
    judge(f.v.applied);
    CU_ASSERT(f.v.phase == PHASE(PREPARED) && !f.v.behind[2]);
    end();
}

static void no_quorum_no_change(void)
{
    begin("3");
    look();
    f.look->seen[2].said = NULL;
    f.look->seen[model[2].leader == 1 ? 1 : 0].said = NULL;
    judge(0);
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_WAIT);
    end();
}

static void another_digest_is_wrong(void)
{
    begin(NULL);
    begun();
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    CU_ASSERT_EQUAL(step(STEP(SEAL)), HF_OK);
    turns(6);
    model[2].other_digest = model[2].leader % 3 + 1;
    look_and_judge(1);
    CU_ASSERT(f.v.wrong && because("another seal"));
    model[2].other_digest = 0;
    f.job.id = ID + 1;
    look_and_judge(1);
    CU_ASSERT(f.v.wrong && because("by another migration"));
    f.job.phase = JOB(ABORTING); /* then ours never was, and never will be */
    look_and_judge(1);
    CU_ASSERT(!f.v.wrong && f.v.phase == PHASE(ABORTED));
    f.job.phase = JOB(RUNNING);
    f.job.id = ID;
    f.shard->configuration = 2;
    look_and_judge(1);
    CU_ASSERT(f.v.wrong && because("its members changed"));
    end();
}

static void an_abort_is_what_the_leader_says(void)
{
    begin(NULL);
    begun();
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    f.shard->phase = PHASE(PREPARED);
    f.job.phase = JOB(ABORTING);
    look_and_judge(1);
    CU_ASSERT(f.v.wish == MIGRATE_ABORT && f.v.phase == PHASE(PREPARED));
    CU_ASSERT_EQUAL(step(STEP(ABORT)), HF_OK);
    look_and_judge(1);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && f.v.phase == PHASE(ABORTED));
    f.job.phase = JOB(RUNNING); /* somebody else aborted it */
    look_and_judge(1);
    CU_ASSERT(f.v.wrong && because("aborted"));
    end();
}

static void behind_the_seal_only_forward(void)
{
    begin(NULL);
    begun();
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    CU_ASSERT_EQUAL(step(STEP(SEAL)), HF_OK);
    f.job.phase = JOB(ABORTING);
    look_and_judge(1);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT);
    follow(PHASE(SEALED));
    f.look->seen[model[2].leader - 1].said = NULL; /* who knows of it is gone for now */
    judge(1);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && f.v.phase == PHASE(SEALED));
    end();
}

static void a_pause_begins_and_seals_nothing(void)
{
    begin(NULL);
    begun();
    f.job.phase = JOB(PAUSED);
    look_and_judge(1);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("paused"));
    CU_ASSERT_EQUAL(step(STEP(PREPARE)), HF_OK);
    turns(2);
    for (uint32_t r = 1; r <= MODEL_REPLICAS; r++)
        CU_ASSERT(model_publish(2, r));
    look_and_judge(1);
    CU_ASSERT(f.v.wish == MIGRATE_WAIT && because("paused"));
    f.job.phase = JOB(RUNNING);
    look_and_judge(1);
    CU_ASSERT_EQUAL(f.v.wish, MIGRATE_SEAL);
    end();
}

static void the_first_goes_alone_and_the_catalog_last(void)
{
    begin(NULL);
    f.job.max_parallel = 8;
    CU_ASSERT(f.job.shards[0].shard == 2 && f.job.shards[1].shard == 3 && f.job.shards[2].shard == 1);
    CU_ASSERT_EQUAL(migrate_job_next(&f.job), 0);
    begun();
    CU_ASSERT_EQUAL(migrate_job_next(&f.job), 3); /* none */
    f.shard->phase = PHASE(DONE);
    CU_ASSERT_EQUAL(migrate_job_next(&f.job), 1);
    f.job.shards[1].epoch = 1;
    CU_ASSERT_EQUAL(migrate_job_next(&f.job), 3);
    f.job.shards[1].phase = PHASE(DONE);
    CU_ASSERT_EQUAL(migrate_job_next(&f.job), 2);
    f.job.shards[2].phase = PHASE(DONE); /* it ran the target already */
    CU_ASSERT_EQUAL(migrate_job_next(&f.job), 3);
    end();
}

static void a_record_is_read_as_it_was_written(void)
{
    struct arena arena = {0};
    struct migrate_job again;
    struct buf packed = {0};
    Hf__Catalog__Job message;
    begin("3");
    begun();
    f.shard->phase = PHASE(SEALED);
    f.job.soak_ms = 5;
    migrate_job_message(&f.job, &arena, &message);
    pack_append(&message.base, &packed);
    CU_ASSERT_EQUAL_FATAL(migrate_job_read(&again, buf_slice(&packed)), HF_OK);
    CU_ASSERT(again.id == ID && again.soak_ms == 5 && again.count == 3 && migrate_job_left_out(&again, 2, 3));
    CU_ASSERT(again.shards[0].phase == PHASE(SEALED) && again.shards[0].epoch == 1);
    migrate_job_deinit(&again);
    message.shards[1]->shard = 2; /* twice */
    buf_clear(&packed);
    pack_append(&message.base, &packed);
    CU_ASSERT_EQUAL(migrate_job_read(&again, buf_slice(&packed)), HF_E_CORRUPT);
    message.shards[1]->shard = 3;
    message.shards[1]->phase = PHASE(SEALED); /* never begun */
    buf_clear(&packed);
    pack_append(&message.base, &packed);
    CU_ASSERT_EQUAL(migrate_job_read(&again, buf_slice(&packed)), HF_E_CORRUPT);
    CU_ASSERT_EQUAL(migrate_job_read(&again, slice_text("no record")), HF_E_CORRUPT);
    buf_deinit(&packed);
    arena_deinit(&arena);
    end();
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"the way there", the_way_there},
        {"what is in the way", what_is_in_the_way},
        {"who is left out is not waited for", who_is_left_out_is_not_waited_for},
        {"who is left out may be there and unfit", who_is_left_out_may_be_there_and_unfit},
        {"no quorum, no change", no_quorum_no_change},
        {"another digest is wrong", another_digest_is_wrong},
        {"an abort is what the leader says", an_abort_is_what_the_leader_says},
        {"behind the seal only forward", behind_the_seal_only_forward},
        {"a pause begins and seals nothing", a_pause_begins_and_seals_nothing},
        {"the first goes alone and the catalog last", the_first_goes_alone_and_the_catalog_last},
        {"a record is read as it was written", a_record_is_read_as_it_was_written},
    };
    return UNIT_MAIN("coordinator/migrate", cases);
}
