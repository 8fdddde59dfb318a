/* test_kill.c: a child applies a random history with small buffers and is killed again and again, at random and at the
 * crash points; each time the state must be exactly what a replay to its applied index gives, byte for byte, and go on
 * from there. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

extern char **environ;

#define SEED 20261
#define BUFFER_BYTES (64 * 1024)
#define CUT_MAX 30
#define KILLS 24

static const char *self;

static void child_report(void *ctx, uint64_t index, uint64_t term, uint32_t position, const struct fsm_result *r)
{
    (void)ctx, (void)index, (void)term, (void)position, (void)r;
}

/* Applies for ever; says on stdout which index is durable. Never returns. */
static int child(const char *dir, const char *seed)
{
    digest_init();
    struct random random = {strtoull(seed, NULL, 10)};
    struct machine m = {.config = {.dir = dir, .buffer_bytes = BUFFER_BYTES}};
    machine_open(&m);
    for (;;) {
        struct log_entry entries[CUT_MAX];
        size_t count = 1 + (size_t)random_below(&random, CUT_MAX);
        arena_reset(&m.arena);
        for (size_t i = 0; i < count; i++)
            entries[i] = machine_random(SEED, fsm_info(m.fsm)->applied.index + 1 + i, &m.arena);
        must(fsm_apply(m.fsm, entries, count, child_report, NULL) == HF_OK);
        if (random_below(&random, 100) == 0)
            must(fsm_flush(m.fsm) == HF_OK);
        struct fsm_applied durable;
        must(fsm_durable_applied(m.fsm, &durable) == HF_OK);
        must(write(STDOUT_FILENO, &durable.index, sizeof durable.index) == sizeof durable.index);
    }
}

/* Runs the child until it was killed: by a crash point in its environment, or after so many batches.
 * Returns the last index it called durable. */
static uint64_t run_and_kill(const char *dir, uint64_t seed, unsigned batches)
{
    int pipes[2], status;
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    char *args[] = {(char *)(uintptr_t)self, (char *)"child", (char *)(uintptr_t)dir, text, NULL};
    must(pipe(pipes) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipes[0]);
    pid_t pid;
    must(posix_spawn(&pid, self, &actions, NULL, args, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    uint64_t durable = 0, said;
    unsigned rounds = 0;
    bool killed = false;
    while (read(pipes[0], &said, sizeof said) == sizeof said) {
        durable = said;
        if (!killed && batches > 0 &&
            ++rounds >= batches) { /* counted, not slept: the kill hits it wherever it then is */
            kill(pid, SIGKILL);
            killed = true;
        }
    }
    must(waitpid(pid, &status, 0) == pid);
    must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(pipes[0]);
    return durable;
}

struct reference {
    struct machine machine; /* never killed; applies one by one */
};

static void reference_advance(struct reference *ref, uint64_t to)
{
    while (fsm_info(ref->machine.fsm)->applied.index < to) {
        arena_reset(&ref->machine.arena);
        struct log_entry e = machine_random(SEED, fsm_info(ref->machine.fsm)->applied.index + 1, &ref->machine.arena);
        must(fsm_apply(ref->machine.fsm, &e, 1, child_report, NULL) == HF_OK);
    }
}

/* After a kill: is the state the replay's? */
static bool same_as_reference(struct machine *m, struct reference *ref, uint64_t durable)
{
    struct fsm_applied applied;
    if (!machine_try_open(m))
        return false;
    uint64_t index = fsm_info(m->fsm)->applied.index;
    bool same = fsm_durable_applied(m->fsm, &applied) == HF_OK && applied.index == index && index >= durable &&
                index >= fsm_info(ref->machine.fsm)->applied.index;
    if (same) {
        struct buf ours = {0}, theirs = {0};
        reference_advance(ref, index);
        machine_dump(m->fsm, &ours);
        machine_dump(ref->machine.fsm, &theirs);
        same = slice_equal(buf_slice(&ours), buf_slice(&theirs)) &&
               memcmp(fsm_info(m->fsm)->digest, fsm_info(ref->machine.fsm)->digest, DIGEST_BYTES) == 0;
        buf_deinit(&ours);
        buf_deinit(&theirs);
    }
    machine_close(m);
    return same;
}

static void start(struct machine *m, struct reference *ref)
{
    machine_start(m, "", "", true);
    machine_close(m);
    *ref = (struct reference){0};
    machine_start(&ref->machine, "", "", true);
}

static void stop(struct machine *m, struct reference *ref)
{
    machine_stop(m);
    machine_stop(&ref->machine);
}

static void killed_at_random(void)
{
    struct machine m;
    struct reference ref;
    struct random random = {SEED};
    start(&m, &ref);
    for (uint64_t i = 0; i < KILLS; i++) {
        uint64_t durable = run_and_kill(m.dir, i, 5 + (unsigned)random_below(&random, 300));
        CU_ASSERT(same_as_reference(&m, &ref, durable));
    }
    CU_ASSERT(fsm_info(ref.machine.fsm)->applied.index > 1000); /* it went on */
    stop(&m, &ref);
}

static void killed_at_crash_points(void)
{
    static const char *points[] = {"fsm.before_write:200", "fsm.after_write:200", "fsm.before_flush:3",
                                   "fsm.after_flush:3"};
    struct machine m;
    struct reference ref;
    start(&m, &ref);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        setenv("HOLDFAST_CRASH_POINT", points[i], 1);
        uint64_t durable = run_and_kill(m.dir, i, 0);
        unsetenv("HOLDFAST_CRASH_POINT");
        CU_ASSERT(durable > 1);
        CU_ASSERT(same_as_reference(&m, &ref, durable));
    }
    stop(&m, &ref);
}

/* Data and applied index in two batches: some kill must find the one without the other. */
static void split_batches_are_found(void)
{
    struct machine m;
    struct reference ref;
    bool found = false;
    start(&m, &ref);
    setenv("HOLDFAST_PLANTED_BUG", "fsm.split_batch", 1);
    for (uint64_t i = 0; i < 40 && !found; i++)
        found = !same_as_reference(&m, &ref, run_and_kill(m.dir, i, 300));
    unsetenv("HOLDFAST_PLANTED_BUG");
    CU_ASSERT(found);
    stop(&m, &ref);
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 4)
        return child(argv[2], argv[3]);
    static const struct unit_case cases[] = {
        {"killed at random", killed_at_random},
        {"killed at crash points", killed_at_crash_points},
        {"split batches are found", split_batches_are_found},
    };
    return UNIT_MAIN("fsm kill", cases);
}
