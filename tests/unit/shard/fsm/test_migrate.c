/* test_migrate.c: the entries of a change of engine: what each does in each state, a seal that is the end of its epoch, and the
 * epoch after it. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/pack.h"
#include "shard/fsm/fsm_internal.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

extern char **environ;
static char *self;
static struct machine m;

#define PREPARE HF__ENTRY__MIGRATE_STEP__MIGRATE_PREPARE
#define SEAL HF__ENTRY__MIGRATE_STEP__MIGRATE_SEAL
#define ABORT HF__ENTRY__MIGRATE_STEP__MIGRATE_ABORT
#define CONFIGURATION 1 /* index of the machine's first members */

static struct fsm_foresight sight; /* of what is applied, an entry before it is */
static bool foreseeing;

static const struct fsm_result *run(enum log_kind kind, struct slice data)
{
    struct log_entry entry = {.index = m.index + 1, .term = 1, .kind = kind, .data = data};
    struct arena arena = {0};
    bool more = !foreseeing || fsm_foresee(&sight, &entry, &arena);
    arena_deinit(&arena);
    const struct fsm_result *result = machine_apply(&m, kind, data);
    CU_ASSERT(!foreseeing || more == !fsm_sealed(fsm_info(m.fsm)));
    return result;
}

static int step(Hf__Entry__MigrateStep what, uint64_t id, uint32_t epoch, uint64_t configuration)
{
    arena_reset(&m.arena);
    return run(LOG_COMMAND, machine_migrate(&m.arena, what, id, epoch, configuration))->code;
}

static const struct fsm_migration *migration(void)
{
    return &fsm_info(m.fsm)->migration;
}

static void configure(void)
{
    Hf__Catalog__Members members = *fsm_info(m.fsm)->members;
    struct buf packed = {0};
    pack_append(&members.base, &packed);
    run(LOG_CONFIG, buf_slice(&packed));
    buf_deinit(&packed);
}

/* Letters are steps, the number behind them an id: P prepare, S seal, A abort; C: the members change (no id). Then the code: + OK, ? COMPARE_FAILED,
 * F FENCED, B BUSY, I INVALID. */
static const struct row {
    const char *steps;
    bool sealed;
    enum fsm_migration_state state;
    uint64_t id;
} rows[] = {
    {"S5?", false, FSM_MIGRATION_NONE, 0},
    {"P5+ S5+", true, FSM_MIGRATION_SEALED, 5},
    {"P5+ P5+ S5+", true, FSM_MIGRATION_SEALED, 5},
    {"P5+ P6B P4B S6? S4?", false, FSM_MIGRATION_PREPARED, 5},
    {"P0I A0I S0?", false, FSM_MIGRATION_NONE, 0},
    {"A5+ P5F P4F S5? P6+ S6+", true, FSM_MIGRATION_SEALED, 6},
    {"A5+ A3+ P5F P6+", false, FSM_MIGRATION_PREPARED, 6},
    {"P5+ A5+ S5? P5F P6+ S5? S6+", true, FSM_MIGRATION_SEALED, 6},
    {"P5+ A7+ S5? P6F P7F P8+", false, FSM_MIGRATION_PREPARED, 8}, /* a later one gives up what is before it */
    {"P6+ A5+ S6+", true, FSM_MIGRATION_SEALED, 6},
    {"P5+ C S5? A5+", false, FSM_MIGRATION_NONE, 5}, /* prepared for members that are others now */
};

static int code_of(char c)
{
    switch (c) {
    case '+':
        return HF_OK;
    case '?':
        return HF_E_COMPARE_FAILED;
    case 'F':
        return HF_E_FENCED;
    case 'B':
        return HF_E_BUSY;
    default:
        must(c == 'I');
        return HF_E_INVALID;
    }
}

static void walk(const char *steps)
{
    for (const char *at = steps; *at;) {
        char what = *at++, *end = NULL;
        if (what == 'C') {
            configure();
        } else if (what != ' ') {
            uint64_t id = strtoull(at, &end, 10);
            Hf__Entry__MigrateStep s = what == 'P' ? PREPARE : what == 'S' ? SEAL : ABORT;
            int code = step(s, id, 1, fsm_info(m.fsm)->members->index);
            if (code != code_of(*end))
                printf("%s: at %c%d: %s\n", steps, what, (int)id, error_name(code));
            CU_ASSERT_EQUAL(code, code_of(*end));
            at = end + 1;
        }
    }
}

static void as_foreseen(void)
{
    const struct fsm_migration *is = migration(), *was = &sight.migration;
    CU_ASSERT(is->state == was->state && is->id == was->id && is->epoch == was->epoch && is->index == was->index);
    CU_ASSERT(is->aborted == was->aborted && is->aborted_epoch == was->aborted_epoch && is->term == was->term);
    CU_ASSERT(is->seal.epoch == was->seal.epoch && is->seal.id == was->seal.id && is->seal.index == was->seal.index);
    CU_ASSERT(strcmp(is->seal.target, was->seal.target) == 0 && strcmp(is->target, was->target) == 0);
    CU_ASSERT(sight.configuration == fsm_info(m.fsm)->members->index && sight.applied.index == m.index);
}

static void each_step_in_each_state(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        machine_start(&m, "", "", true);
        fsm_foresee_begin(fsm_info(m.fsm), &sight);
        foreseeing = true;
        walk(rows[i].steps);
        as_foreseen();
        foreseeing = false;
        for (int again = 0; again < 2; again++) { /* as it is in memory, and as it is read again */
            CU_ASSERT_EQUAL(fsm_sealed(fsm_info(m.fsm)), rows[i].sealed);
            CU_ASSERT_EQUAL(migration()->state, rows[i].state);
            CU_ASSERT_EQUAL(migration()->id, rows[i].id);
            machine_close(&m);
            machine_open(&m);
        }
        if (!rows[i].sealed) { /* an entry without effect is one as any other */
            machine_run(&m, machine_put("k", "v"));
            CU_ASSERT(machine_holds(&m, "k", "v"));
        }
        machine_stop(&m);
    }
}

static void what_is_about_another_epoch_or_configuration(void)
{
    machine_start(&m, "", "", true);
    CU_ASSERT_EQUAL(step(PREPARE, 5, 2, CONFIGURATION), HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(step(PREPARE, 5, 1, CONFIGURATION + 1), HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(step(ABORT, 5, 2, 0), HF_E_COMPARE_FAILED); /* and it is not remembered here */
    CU_ASSERT_EQUAL(step(PREPARE, 5, 1, CONFIGURATION), HF_OK);
    CU_ASSERT_EQUAL(step(SEAL, 5, 2, CONFIGURATION), HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(step(SEAL, 5, 1, CONFIGURATION + 1), HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(step(ABORT, 5, 0, 0), HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(step((Hf__Entry__MigrateStep)9, 5, 1, CONFIGURATION), HF_E_INVALID);
    CU_ASSERT_EQUAL(migration()->state, FSM_MIGRATION_PREPARED);
    CU_ASSERT(strcmp(migration()->source, "native") == 0 && strcmp(migration()->target, "libraft") == 0);
    machine_stop(&m);
}

static void names_of_engines(void)
{
    static const char *const names[][2] = {
        {"", "libraft"}, {"native", ""}, {"native", "native"}, {"native", "sixteen_letters_"}};
    machine_start(&m, "", "", true);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Hf__Entry__MigrateEntry e = HF__ENTRY__MIGRATE_ENTRY__INIT;
        struct buf entry = {0};
        e.step = PREPARE;
        e.id = 5;
        e.epoch = 1;
        e.configuration = CONFIGURATION;
        e.source = (char *)(uintptr_t)names[i][0];
        e.target = (char *)(uintptr_t)names[i][1];
        buf_append(&entry, &(uint8_t){FSM_OPCODE_MIGRATE}, 1);
        pack_append(&e.base, &entry);
        CU_ASSERT_EQUAL(machine_apply(&m, LOG_COMMAND, buf_slice(&entry))->code, HF_E_INVALID);
        buf_deinit(&entry);
    }
    machine_stop(&m);
}

/* Where it was cut, as of which state, and that it goes on from there with all it held. */
static void the_epoch_after_a_seal(void)
{
    uint8_t before[DIGEST_BYTES];
    machine_start(&m, "", "", true);
    machine_run(&m, machine_put("k", "v"));
    CU_ASSERT_EQUAL(step(PREPARE, 5, 1, CONFIGURATION), HF_OK);
    memcpy(before, fsm_info(m.fsm)->digest, DIGEST_BYTES);
    CU_ASSERT_EQUAL(step(SEAL, 5, 1, CONFIGURATION), HF_OK);
    for (int again = 0; again < 2; again++) {
        CU_ASSERT(migration()->index == 4 && migration()->term == 1 && migration()->epoch == 1);
        CU_ASSERT_EQUAL(memcmp(migration()->digest, before, DIGEST_BYTES), 0);
        CU_ASSERT_EQUAL(memcmp(fsm_info(m.fsm)->digest, before, DIGEST_BYTES) == 0, false);
        machine_close(&m);
        machine_open(&m);
    }
    for (int again = 0; again < 2; again++)
        CU_ASSERT_EQUAL(fsm_enter_next_epoch(m.fsm), HF_OK);
    machine_close(&m); /* it was durable */
    machine_open(&m);
    const struct fsm_applied *applied = &fsm_info(m.fsm)->applied;
    CU_ASSERT(applied->epoch == 2 && applied->index == 4 && applied->term == 1 && !fsm_sealed(fsm_info(m.fsm)));
    CU_ASSERT(migration()->state == FSM_MIGRATION_SEALED && migration()->epoch == 1); /* it still tells the cut */
    CU_ASSERT_EQUAL(step(ABORT, 5, 1, 0), HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(step(SEAL, 5, 1, CONFIGURATION), HF_E_COMPARE_FAILED);
    machine_run(&m, machine_put("l", "w"));
    CU_ASSERT(machine_holds(&m, "k", "v") && machine_holds(&m, "l", "w"));
    for (uint64_t id = 7; id < 9; id++) { /* whatever is prepared or aborted behind it */
        CU_ASSERT_EQUAL(step(PREPARE, id, 2, CONFIGURATION), HF_OK);
        if (id == 8)
            CU_ASSERT_EQUAL(step(ABORT, id, 2, 0), HF_OK);
        machine_close(&m);
        machine_open(&m);
        const struct fsm_seal *seal = &migration()->seal;
        CU_ASSERT(seal->epoch == 1 && seal->id == 5 && seal->index == 4 && seal->term == 1);
        CU_ASSERT(strcmp(seal->source, "native") == 0 && strcmp(seal->target, "libraft") == 0);
        CU_ASSERT_EQUAL(step(ABORT, id, 2, 0), HF_OK);
    }
    applied = &fsm_info(m.fsm)->applied;
    CU_ASSERT_EQUAL(step(PREPARE, 9, 2, CONFIGURATION), HF_OK); /* the way back */
    CU_ASSERT_EQUAL(step(SEAL, 9, 2, CONFIGURATION), HF_OK);
    CU_ASSERT(fsm_sealed(fsm_info(m.fsm)) && strcmp(migration()->target, "native") == 0);
    CU_ASSERT_EQUAL(fsm_enter_next_epoch(m.fsm), HF_OK);
    CU_ASSERT(applied->epoch == 3 && applied->index == 14 && migration()->seal.epoch == 2);
    machine_stop(&m);
}

/* As a seal entry at the applied index would have, without one; the same bytes wherever it is done. */
static void sealed_where_it_stands(void)
{
    struct buf all[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        machine_start(&m, "", "", true);
        machine_run(&m, machine_put("k", "v"));
        CU_ASSERT_EQUAL(step(PREPARE, 5, 1, CONFIGURATION), HF_OK); /* one that was never finished is overridden */
        CU_ASSERT_EQUAL(fsm_seal_offline(m.fsm, "native", "libraft"), HF_OK);
        machine_close(&m);
        machine_open(&m);
        CU_ASSERT(fsm_sealed(fsm_info(m.fsm)) && migration()->id == (FSM_OFFLINE_IDS | 3) && migration()->index == 3 &&
                  migration()->configuration == CONFIGURATION);
        CU_ASSERT_EQUAL(memcmp(migration()->digest, fsm_info(m.fsm)->digest, DIGEST_BYTES), 0);
        CU_ASSERT_EQUAL(fsm_enter_next_epoch(m.fsm), HF_OK);
        CU_ASSERT(fsm_info(m.fsm)->applied.epoch == 2 && machine_holds(&m, "k", "v"));
        CU_ASSERT_EQUAL(step(SEAL, 5, 1, CONFIGURATION), HF_E_COMPARE_FAILED); /* it has no effect any more */
        CU_ASSERT_EQUAL(step(SEAL, 5, 2, CONFIGURATION), HF_E_COMPARE_FAILED);
        CU_ASSERT_EQUAL(step(PREPARE, 5, 1, CONFIGURATION), HF_E_COMPARE_FAILED);
        machine_dump(m.fsm, &all[i]);
        machine_stop(&m);
    }
    CU_ASSERT(slice_equal(buf_slice(&all[0]), buf_slice(&all[1])));
    buf_deinit(&all[0]);
    buf_deinit(&all[1]);
    struct machine old;
    machine_start(&old, "", "", true);
    machine_close(&old);
    char where[256] = "";
    must(store_destroy(old.dir, where) == HF_OK);
    old.feature_level = 5;
    machine_create(&old, "", "", false);
    machine_open(&old);
    CU_ASSERT_EQUAL(fsm_seal_offline(old.fsm, "native", "libraft"), HF_E_REFUSED);
    machine_stop(&old);
}

/* In a process of its own: `mode` 0: an entry behind a seal; 1: a step in a group of level 5; 2: a malformed one. */
static int halt_child(const char *dir, int mode)
{
    static struct machine child;
    uint8_t malformed[] = {FSM_OPCODE_MIGRATE, 0xff, 0xff};
    digest_init();
    snprintf(child.dir, sizeof child.dir, "%s", dir);
    child.config.dir = child.dir;
    child.t = UINT64_C(2000000) << 16;
    machine_open(&child);
    if (mode == 0)
        machine_run(&child, machine_put("k", "v"));
    else
        machine_apply(&child, LOG_COMMAND,
                      mode == 1 ? machine_migrate(&child.arena, PREPARE, 5, 1, CONFIGURATION)
                                : slice_make(malformed, sizeof malformed));
    return 0;
}

static int status_of_child(int mode)
{
    char number[12];
    pid_t pid;
    int status;
    snprintf(number, sizeof number, "%d", mode);
    char *args[] = {self, m.dir, number, NULL};
    must(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
    must(waitpid(pid, &status, 0) == pid);
    return status;
}

static void what_no_leader_proposes_ends_the_process(void)
{
    machine_start(&m, "", "", true);
    CU_ASSERT_EQUAL(step(PREPARE, 5, 1, CONFIGURATION), HF_OK);
    CU_ASSERT_EQUAL(step(SEAL, 5, 1, CONFIGURATION), HF_OK);
    machine_close(&m);
    int status = status_of_child(0);
    CU_ASSERT(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    for (int mode = 1; mode <= 2; mode++) {
        char where[256] = "";
        must(store_destroy(m.dir, where) == HF_OK);
        m.feature_level = mode == 1 ? 5 : 6;
        machine_create(&m, "", "", false);
        status = status_of_child(mode);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    }
    machine_open(&m);
    machine_stop(&m);
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 3)
        return halt_child(argv[1], atoi(argv[2]));
    static const struct unit_case cases[] = {
        {"each step in each state", each_step_in_each_state},
        {"another epoch or configuration", what_is_about_another_epoch_or_configuration},
        {"names of engines", names_of_engines},
        {"the epoch after a seal", the_epoch_after_a_seal},
        {"sealed where it stands", sealed_where_it_stands},
        {"what no leader proposes", what_no_leader_proposes_ends_the_process},
    };
    return UNIT_MAIN("fsm migrate", cases);
}
