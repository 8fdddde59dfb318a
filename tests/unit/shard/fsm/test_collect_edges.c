/* test_collect_edges.c: collection: who is refused, writes that fail, compaction beside it, what halts. */
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "common/sys/failpoint.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/image.h"
#include "tests/unit/shard/fsm/collecting.h"
#include "tests/unit/shard/fsm/transact.h"
#include "tests/unit/unit.h"

#define MS ((uint64_t)1 << 16)

static struct machine m;
static bool store_fails;

int __real_store_write(struct store *s, const struct store_batch *b);
int __wrap_store_write(struct store *s, const struct store_batch *b);

int __wrap_store_write(struct store *s, const struct store_batch *b)
{
    return store_fails ? HF_E_NO_SPACE : __real_store_write(s, b);
}

static void start(void)
{
    machine_start(&m, "", "", true);
    m.sequence = 65536;
}

static void stop(void)
{
    machine_stop(&m);
    transact_reset();
}

static int run(Hf__Entry__Command c)
{
    return machine_run(&m, c)->code;
}

static Hf__Entry__Txn *writes(uint32_t home, uint64_t session, uint64_t seq, uint64_t begin, const char *key)
{
    Hf__Entry__Txn *t = transact(home, session, seq, begin);
    transact_put(t, key, "t");
    transact_read(t, key);
    return t;
}

static void reads_are_fenced(uint64_t w)
{
    struct arena arena = {0};
    struct fsm_page page;
    struct fsm_scan scan = {.at = {w - 1}, .now = {w}, .items_max = 9, .bytes_max = 999, .steps_max = 99};
    CU_ASSERT(collecting_get(&m, FSM_USER, "a", w - 1, NULL) == HF_E_TOO_OLD &&
              collecting_get(&m, FSM_USER, "a", 1, NULL) == HF_E_TOO_OLD);
    CU_ASSERT(collecting_get(&m, FSM_CATALOG, "a", w - 1, NULL) == HF_E_TOO_OLD && collecting_sees(&m, "a", w, "0") &&
              collecting_sees(&m, "a", 0, "0"));
    CU_ASSERT_EQUAL(fsm_scan(m.fsm, &scan, &arena, &page), HF_E_TOO_OLD);
    scan.reverse = true;
    CU_ASSERT_EQUAL(fsm_scan(m.fsm, &scan, &arena, &page), HF_E_TOO_OLD);
    struct image *image = image_new(m.fsm);
    struct image_item item;
    size_t steps = 99;
    char where[256];
    CU_ASSERT_EQUAL(image_next(image, (struct hlc){w - 1}, (struct hlc){w}, &steps, &item, where), HF_E_TOO_OLD);
    CU_ASSERT(image_next(image, (struct hlc){w}, (struct hlc){w}, &steps, &item, where) == HF_OK &&
              slice_equal(item.key, slice_text("a")));
    image_free(&image);
    arena_deinit(&arena);
}

static void old_starts_are_refused(void)
{
    start();
    uint64_t session = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, 0, 0))->session, old = m.t + 1;
    run(machine_put("a", "0"));
    run(machine_put("p", "0"));
    m.t += MS;
    Hf__Entry__Txn *other = writes(TRANSACT_OTHER, 900, 1, old, "p"),
                   *home = writes(TRANSACT_GROUP, session, 1, old, "h"),
                   *gone = writes(TRANSACT_GROUP, session, 2, old, "g");
    transact_delete(other, "q");
    uint64_t min = m.t, commit = min + 1;
    CU_ASSERT(run(transact_prepare(other)) == HF_OK && run(transact_prepare(home)) == HF_OK);
    CU_ASSERT(run(transact_prepare(gone)) == HF_OK && run(transact_rollback(gone, true)) == HF_OK);
    m.t += 2 * MS;
    uint64_t w = m.t;
    collecting_pass(&m, w, 2);
    for (int round = 0; round < 2; round++, collecting_reopen(&m)) {
        reads_are_fenced(w);
        Hf__Entry__Txn *t = writes(TRANSACT_GROUP, session, 10, w - 1, "b");
        CU_ASSERT(run(transact_whole(t)) == HF_E_TOO_OLD && run(transact_prepare(t)) == HF_E_TOO_OLD);
        CU_ASSERT(collecting_validate(&m, t, w - 1, m.t) == HF_E_TOO_OLD &&
                  collecting_validate(&m, t, w, m.t) == HF_OK);
        const struct fsm_result *r = machine_run(&m, transact_prepare(other));
        CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && r->min_commit.t == min);
        r = machine_run(&m, transact_prepare(home));
        CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_PREPARED && r->min_commit.t == min);
        CU_ASSERT_EQUAL(run(transact_prepare(gone)), HF_E_CONFLICT); /* as it was decided */
        CU_ASSERT(collecting_sees(&m, "b", 0, NULL) && fsm_info(m.fsm)->txns == 2);
    }
    CU_ASSERT_EQUAL(run(transact_whole(writes(TRANSACT_GROUP, session, 10, w, "b"))),
                    HF_OK); /* no outcome was stored */
    CU_ASSERT(collecting_get(&m, FSM_USER, "p", w, NULL) == HF_E_KEY_LOCKED && collecting_sees(&m, "b", 0, "t"));
    const struct fsm_result *r = machine_run(&m, transact_commit(other, commit));
    CU_ASSERT(r->code == HF_OK && r->state == FSM_TXN_COMMITTED && r->commit.t == commit);
    CU_ASSERT(run(transact_commit(home, commit)) == HF_OK && collecting_sees(&m, "p", w, "t") &&
              collecting_sees(&m, "h", w, "t") && collecting_sees(&m, "q", w, NULL));
    uint64_t versions = collecting_records(&m, VKEY_DATA, NULL);
    collecting_pass(&m, w, 1);
    CU_ASSERT(collecting_records(&m, VKEY_DATA, NULL) ==
              versions - 2); /* what was at p before, and the deletion of q */
    CU_ASSERT(collecting_sees(&m, "p", w, "t") && collecting_sees(&m, "h", w, "t") &&
              collecting_sees(&m, "q", w, NULL));
    stop();
}

static struct buf end_of_pass(bool failing, uint32_t steps)
{
    struct buf end = {0};
    start();
    uint64_t w = collecting_history(&m);
    for (int i = 0; i < 30; i++)
        run(machine_put("often", "x"));
    run(machine_put("often", "last"));
    for (int n = 0; n < 200 && collecting_info(&m)->passes == 0; n++) {
        struct log_entry e = {.index = m.index + 1, .term = 1, .kind = LOG_COMMAND};
        struct fsm_info info = *fsm_info(m.fsm);
        struct sweep sweep = m.fsm->sweep;
        struct buf before = {0}, after = {0};
        e.data = machine_collect(&m.arena, w, steps);
        machine_dump(m.fsm, &before);
        store_fails = true;
        for (int i = 0; i < 2 && failing; i++) {
            CU_ASSERT_EQUAL(fsm_apply(m.fsm, &e, 1, machine_report, &m), HF_E_NO_SPACE);
            CU_ASSERT(memcmp(&info, fsm_info(m.fsm), sizeof info) == 0 && m.fsm->markers.count == info.markers);
            CU_ASSERT_EQUAL(memcmp(&sweep, &m.fsm->sweep, sizeof sweep), 0);
            if (info.collected.below.t != 0)
                collecting_see(&m, w);
        }
        store_fails = false;
        machine_dump(m.fsm, &after);
        CU_ASSERT(slice_equal(buf_slice(&before), buf_slice(&after)));
        CU_ASSERT_EQUAL(fsm_apply(m.fsm, &e, 1, machine_report, &m), HF_OK);
        m.index++;
        buf_deinit(&before);
        buf_deinit(&after);
    }
    collecting_see_twice(&m, w);
    machine_dump(m.fsm, &end);
    stop();
    return end;
}

static void failed_writes(void)
{
    for (uint32_t steps = 1; steps < 8; steps += 3) {
        struct buf plain = end_of_pass(false, steps), failing = end_of_pass(true, steps);
        CU_ASSERT(slice_equal(buf_slice(&plain), buf_slice(&failing)));
        buf_deinit(&plain);
        buf_deinit(&failing);
    }
}

/* What was deleted in memory stays deleted when files of all levels meet. */
static void compaction_brings_nothing_back(void)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct random random = {seed};
        start();
        run(machine_put("deleted", "old"));
        run(machine_put("under/a", "old"));
        run(machine_put("often", "old"));
        collecting_compact(&m);
        m.t += MS;
        run(machine_put("cas", "old"));
        run(machine_delete("cas"));
        CU_ASSERT_EQUAL(fsm_flush(m.fsm), HF_OK);
        uint64_t w = collecting_history(&m);
        collecting_step(&m, w, 0);
        while (collecting_info(&m)->passes == 0) {
            if (random_below(&random, 4) == 0)
                CU_ASSERT_EQUAL(fsm_flush(m.fsm), HF_OK);
            if (random_below(&random, 8) == 0)
                collecting_compact(&m);
            collecting_step(&m, w, 1 + (uint32_t)random_below(&random, 3));
            collecting_see(&m, w);
        }
        collecting_compact(&m);
        collecting_see_twice(&m, w);
        CU_ASSERT(collecting_records(&m, VKEY_DATA, NULL) == 8 && collecting_records(&m, VKEY_MARKER, NULL) == 1);
        stop();
    }
}

/* The checks above can fail. */
static void unfenced_is_found(void)
{
    start();
    run(machine_put("a", "0"));
    collecting_step(&m, m.t, 0);
    failpoint_plant("collect.unfenced");
    CU_ASSERT(run(transact_whole(writes(TRANSACT_OTHER, 1, 1, m.t - 1, "b"))) != HF_E_TOO_OLD);
    failpoint_plant(NULL);
    stop();
}

extern char **environ;
static char *self;

/* A group of level 4 cannot hold such an entry, and no group one that does not read; the child must not survive it. */
static int halt_child(const char *dir, int n)
{
    static const uint8_t malformed[] = {FSM_OPCODE_COLLECT, 0xff};
    struct machine child = {.config = {.dir = dir}};
    digest_init();
    machine_open(&child);
    machine_apply(&child, LOG_COMMAND,
                  n == 0 ? machine_collect(&child.arena, 1, 0) : slice_make(malformed, sizeof malformed));
    return 0;
}

static void halts(void)
{
    start();
    machine_close(&m);
    for (int n = 0; n < 2; n++) {
        char number[3], where[256] = "";
        must(store_destroy(m.dir, where) == HF_OK);
        m.feature_level = n == 0 ? 4 : 5;
        machine_create(&m, "", "", false);
        snprintf(number, sizeof number, "%d", n);
        char *args[] = {self, m.dir, number, NULL};
        pid_t pid;
        int status;
        must(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
        must(waitpid(pid, &status, 0) == pid);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    }
    machine_open(&m);
    stop();
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 3)
        return halt_child(argv[1], atoi(argv[2]));
    static const struct unit_case cases[] = {
        {"old starts are refused", old_starts_are_refused},
        {"a start that is not refused is found", unfenced_is_found},
        {"a failed write leaves no trace (I6)", failed_writes},
        {"compaction brings nothing back", compaction_brings_nothing_back},
        {"level 4, and what does not read", halts},
    };
    return UNIT_MAIN("fsm collect at the edges", cases);
}
