/* test_collect.c: collection: what nobody can see goes, in whatever steps; what somebody can see stays. */
#include <stdio.h>
#include <stdlib.h>

#include "common/sys/failpoint.h"
#include "shard/fsm/fsm_internal.h"
#include "tests/unit/shard/fsm/collecting.h"
#include "tests/unit/shard/fsm/transact.h"
#include "tests/unit/unit.h"

#define MS ((uint64_t)1 << 16)

static struct machine m;

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

static Hf__Entry__Command in_catalog(Hf__Entry__Command c)
{
    c.space = HF__ENTRY__SPACE__CATALOG;
    return c;
}

static void what_nobody_can_see_goes(void)
{
    static const uint32_t budgets[] = {1, 2, 3, 7, 1000};
    struct buf first = {0};
    for (size_t i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        struct buf left = {0};
        start();
        uint64_t w = collecting_history(&m);
        CU_ASSERT(collecting_records(&m, VKEY_DATA, NULL) == 21 && collecting_records(&m, VKEY_MARKER, NULL) == 4);
        collecting_step(&m, w, 0);
        CU_ASSERT(collecting_info(&m)->below.t == w && collecting_info(&m)->pass.t == 0);
        collecting_see_twice(&m, w);
        collecting_pass(&m, w, budgets[i]);
        CU_ASSERT(collecting_records(&m, VKEY_DATA, &left) == 8 && collecting_records(&m, VKEY_MARKER, &left) == 1);
        CU_ASSERT(fsm_info(m.fsm)->markers == 1 && collecting_info(&m)->swept.t == w);
        CU_ASSERT(collecting_info(&m)->versions == 13 && collecting_info(&m)->markers == 3);
        collecting_see_twice(&m, w);
        if (i == 0)
            buf_append(&first, left.data, left.size);
        CU_ASSERT(slice_equal(buf_slice(&first), buf_slice(&left)));
        run(machine_delete_prefix(""));
        run(in_catalog(machine_delete("routes")));
        m.t += MS;
        collecting_pass(&m, m.t, budgets[i]);
        CU_ASSERT(collecting_records(&m, VKEY_DATA, NULL) == 0 && collecting_records(&m, VKEY_MARKER, NULL) == 0);
        CU_ASSERT(fsm_info(m.fsm)->markers == 0 && collecting_items(&m, 0, false) == 0);
        collecting_pass(&m, m.t, budgets[i]); /* over nothing */
        stop();
        buf_deinit(&left);
    }
    buf_deinit(&first);
}

/* `above` versions at or above W, `below` before it, of which the newest may be a delete. */
static void versions_above(unsigned above, unsigned below, bool deleted, uint32_t steps)
{
    start();
    run(machine_put("kex", "before"));
    run(machine_put("kez", "behind"));
    for (unsigned i = 0; i < below; i++)
        run(machine_put("key", "x"));
    if (deleted)
        run(machine_delete("key"));
    m.t += MS;
    uint64_t w = m.t;
    for (unsigned i = 0; i < above; i++)
        run(machine_put("key", "y"));
    m.t += MS;
    collecting_pass(&m, w, steps);
    CU_ASSERT_EQUAL(collecting_records(&m, VKEY_DATA, NULL), 2 + above + (below > 0 && !deleted));
    CU_ASSERT(collecting_sees(&m, "key", w, below > 0 && !deleted ? "x" : NULL) &&
              collecting_sees(&m, "key", 0,
                              above               ? "y"
                              : below && !deleted ? "x"
                                                  : NULL));
    CU_ASSERT(collecting_sees(&m, "kex", w, "before") && collecting_sees(&m, "kez", w, "behind"));
    stop();
}

static void many_versions_above(void)
{
    static const unsigned above[] = {0, 7, 8, 9, 10, 30}, below[] = {0, 1, 3, 20};
    for (size_t a = 0; a < 6; a++)
        for (size_t b = 0; b < 4; b++)
            versions_above(above[a], below[b], (a + b) % 2 == 1, b % 2 ? 1 : 4);
}

/* The machine as it is now, in a directory of its own: what a crash would leave. */
static void copy_machine(struct machine *copy)
{
    char where[256] = "";
    *copy = (struct machine){.t = m.t};
    snprintf(copy->dir, sizeof copy->dir, "/tmp/hf-fsm-XXXXXX");
    must(mkdtemp(copy->dir) != NULL);
    copy->config.dir = copy->dir;
    CU_ASSERT_EQUAL_FATAL(fsm_checkpoint(m.fsm, copy->dir, where), HF_OK);
    machine_open(copy);
}

static bool same_machine(struct machine *a, struct machine *b)
{
    struct buf all[2] = {{0}, {0}};
    machine_dump(a->fsm, &all[0]);
    machine_dump(b->fsm, &all[1]);
    bool same = slice_equal(buf_slice(&all[0]), buf_slice(&all[1])) &&
                memcmp(fsm_info(a->fsm)->digest, fsm_info(b->fsm)->digest, DIGEST_BYTES) == 0;
    buf_deinit(&all[0]);
    buf_deinit(&all[1]);
    return same;
}

/* Nothing is there for a reader after any step; false: something was. */
static bool deep_key(unsigned versions, uint32_t steps, int copy_at)
{
    static Hf__Entry__Command c[100];
    struct machine copy;
    bool none = true, within = false;
    start();
    for (unsigned i = 0; i < 100; i++)
        c[i] = machine_put("deep", "x");
    for (unsigned i = 0; i < versions; i += 100, m.t += MS)
        machine_run_many(&m, c, 100);
    run(machine_delete("deep"));
    m.t += MS;
    for (int n = 0; collecting_info(&m)->passes == 0 && n < 10000; n++) {
        collecting_step(&m, m.t, steps);
        within |= m.fsm->sweep.within;
        none &= collecting_sees(&m, "deep", 0, NULL) && collecting_sees(&m, "deep", m.t, NULL);
        if (n % 16 == 0)
            none &= collecting_items(&m, 0, false) == 0 && collecting_items(&m, m.t, true) == 0;
        if (n == copy_at)
            copy_machine(&copy);
        if (n == copy_at + 3)
            collecting_reopen(&m);
    }
    CU_ASSERT(within);
    while (collecting_info(&copy)->passes == 0)
        collecting_step(&copy, m.t, steps);
    CU_ASSERT(same_machine(&m, &copy));
    CU_ASSERT(!none || (collecting_records(&m, VKEY_DATA, NULL) == 0 && collecting_info(&m)->versions == versions + 1));
    machine_stop(&copy);
    stop();
    return none;
}

static void a_key_with_thousands_of_versions(void)
{
    CU_ASSERT(deep_key(3000, 37, 20));
    CU_ASSERT(deep_key(200, 1, 77));
    CU_ASSERT(deep_key(300, 2, 0));
}

/* At W an older marker may hide what a newer one hides later. */
static void nested_prefixes(void)
{
    for (uint32_t n = 0; n < 4; n++) {
        start();
        const char *old = n % 2 ? "ab" : "a", *new = n % 2 ? "a" : "ab";
        run(machine_put("abc", "x"));
        run(machine_put("ac", "x"));
        m.t += MS;
        run(machine_delete_prefix(old));
        m.t += MS;
        uint64_t w = m.t;
        run(machine_delete_prefix(new));
        m.t += MS;
        CU_ASSERT(collecting_sees(&m, "abc", w, NULL) && collecting_sees(&m, "ac", w, n % 2 ? "x" : NULL));
        collecting_pass(&m, w, 1 + n / 2);
        CU_ASSERT(collecting_sees(&m, "abc", w, NULL) && collecting_sees(&m, "abc", 0, NULL) &&
                  collecting_sees(&m, "ac", w, n % 2 ? "x" : NULL));
        CU_ASSERT(collecting_sees(&m, "ac", 0, NULL) && collecting_records(&m, VKEY_MARKER, NULL) == 1);
        CU_ASSERT_EQUAL(collecting_records(&m, VKEY_DATA, NULL), n % 2);
        stop();
    }
}

/* What memory knows of markers is what a machine that is opened now knows: limits go by it (I2). */
static bool markers_as_on_disk(void)
{
    static const char *const keys[] = {"p/1", "q/1", "p/q/1", "r"};
    struct machine copy;
    copy_machine(&copy);
    bool same = fsm_info(copy.fsm)->markers == fsm_info(m.fsm)->markers;
    for (size_t i = 0; i < 4; i++)
        for (uint8_t space = 0; space < 2; space++)
            same &= version_compare(markers_newest(&m.fsm->markers, space, slice_text(keys[i])),
                                    markers_newest(&copy.fsm->markers, space, slice_text(keys[i]))) == 0;
    machine_stop(&copy);
    return same;
}

static void markers_are_forgotten(void)
{
    for (uint32_t steps = 1; steps < 4; steps++) {
        start();
        for (int i = 0; i < 4; i++, m.t += MS) {
            run(machine_put("p/1", "x"));
            run(machine_delete_prefix("p/"));
            run(machine_delete_prefix(i % 2 ? "q/" : "p/q/"));
            run(in_catalog(machine_delete_prefix("p/")));
        }
        uint64_t w = m.t;
        run(machine_delete_prefix("q/"));
        CU_ASSERT_EQUAL(fsm_info(m.fsm)->markers, 4);
        for (int n = 0; n < 100 && collecting_info(&m)->passes == 0; n++) {
            collecting_step(&m, w, steps);
            CU_ASSERT(markers_as_on_disk());
        }
        CU_ASSERT(fsm_info(m.fsm)->markers == 1 && collecting_records(&m, VKEY_MARKER, NULL) == 1);
        CU_ASSERT_EQUAL(markers_newest(&m.fsm->markers, FSM_USER, slice_text("p/1")).t.t, 0);
        for (int round = 0; round < 2; round++, collecting_reopen(&m)) {
            run(machine_put("p/1", "y"));
            CU_ASSERT(collecting_sees(&m, "p/1", 0, "y"));
            m.t += MS;
            CU_ASSERT_EQUAL(run(machine_delete_prefix("p/")), HF_OK);
            CU_ASSERT(fsm_info(m.fsm)->markers == 2 && collecting_sees(&m, "p/1", 0, NULL) &&
                      collecting_sees(&m, "p/1", m.t, "y"));
        }
        CU_ASSERT(collecting_sees(&m, "p/1", 0, NULL) && markers_as_on_disk());
        stop();
    }
}

/* What was read lately does not outlive its record and its marker. */
static void recent_is_told(void)
{
    static const char *const keys[] = {"r/1", "d", "e"};
    for (uint32_t steps = 1; steps < 5; steps++) {
        start();
        Hf__Entry__Command e = machine_put("e", "x");
        e.ttl_ms = 1;
        run(machine_put("r/1", "x"));
        run(machine_put("d", "x"));
        run(e);
        CU_ASSERT(collecting_sees(&m, "r/1", 0, "x") && collecting_sees(&m, "d", 0, "x") &&
                  collecting_sees(&m, "e", 0, "x"));
        m.t += MS;
        run(machine_delete_prefix("r/"));
        run(machine_delete("d"));
        m.t += MS;
        while (collecting_info(&m)->passes == 0) {
            for (size_t i = 0; i < 3; i++)
                CU_ASSERT(collecting_sees(&m, keys[i], 0, NULL));
            collecting_step(&m, m.t, steps);
        }
        for (size_t i = 0; i < 3; i++) {
            struct version_found found;
            struct slice prefix = vkey_prefix(&m.arena, VKEY_DATA, FSM_USER, slice_text(keys[i]));
            CU_ASSERT(!recent_find(&m.fsm->recent, prefix, &found) && collecting_sees(&m, keys[i], 0, NULL));
            CU_ASSERT_EQUAL(run(machine_cas(keys[i], "x", "y")), HF_E_COMPARE_FAILED);
            CU_ASSERT_EQUAL(run(machine_cas(keys[i], NULL, "y")), HF_OK);
            CU_ASSERT(collecting_sees(&m, keys[i], 0, "y"));
        }
        stop();
    }
}

/* A transaction is committed below W after a pass has looked at what its marker hides. False: that came back. */
static bool late_marker(bool in_markers)
{
    start();
    run(machine_put("p/1", "x"));
    run(machine_put("r", "x"));
    run(machine_delete_prefix("a/"));
    run(machine_delete_prefix("b/")); /* where the pass stops */
    m.t += MS;
    Hf__Entry__Txn *t = transact(TRANSACT_OTHER, 900, 1, m.t + 1);
    transact_delete_prefix(t, "p/");
    CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_OK);
    uint64_t commit = m.t + 1;
    m.t += 2 * MS;
    uint64_t w = m.t;
    collecting_step(&m, w, 1); /* has seen it alive */
    while (in_markers && collecting_info(&m)->markers == 0)
        collecting_step(&m, w, 1);
    CU_ASSERT(m.fsm->sweep.markers == in_markers && collecting_records(&m, VKEY_DATA, NULL) == 2);
    CU_ASSERT_EQUAL(run(transact_commit(t, commit)), HF_OK);
    bool right = m.fsm->sweep.late && collecting_sees(&m, "p/1", w, NULL);
    collecting_reopen(&m);
    right &= m.fsm->sweep.late;
    for (int n = 0; n < 2; n++) {
        right &= collecting_sees(&m, "p/1", 0, NULL) && collecting_sees(&m, "p/1", w, NULL) &&
                 collecting_items(&m, 0, true) == 1;
        collecting_pass(&m, w, 1);
        right &= collecting_sees(&m, "p/1", 0, NULL) && collecting_sees(&m, "p/1", w, NULL) &&
                 collecting_items(&m, 0, false) == 1 && markers_as_on_disk();
        collecting_reopen(&m);
    }
    right &= collecting_records(&m, VKEY_DATA, NULL) == 1 && collecting_records(&m, VKEY_MARKER, NULL) == 0;
    stop();
    return right;
}

static void late_markers(void)
{
    CU_ASSERT(late_marker(false) && late_marker(true));
}

/* A step ends behind the record that reaches its bytes, too. */
static void in_bytes(void)
{
    static const uint32_t budgets[] = {1, 40, 200, 100000};
    for (size_t i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        start();
        uint64_t w = collecting_history(&m), before = m.index, entries;
        while (collecting_info(&m)->passes == 0) {
            Hf__Entry__CollectEntry e = HF__ENTRY__COLLECT_ENTRY__INIT;
            uint8_t bytes[64] = {FSM_OPCODE_COLLECT};
            e.below = w;
            e.steps = 1000;
            e.bytes = budgets[i];
            size_t size = 1 + protobuf_c_message_pack(&e.base, bytes + 1);
            CU_ASSERT_EQUAL(machine_apply(&m, LOG_COMMAND, slice_make(bytes, size))->code, HF_OK);
        }
        entries = m.index - before;
        CU_ASSERT(budgets[i] == 1 ? entries > 20 : budgets[i] == 100000 ? entries == 2 : entries > 2 && entries <= 25);
        CU_ASSERT(collecting_info(&m)->versions == 13 && collecting_info(&m)->markers == 3);
        collecting_see_twice(&m, w);
        stop();
    }
}

/* A pass stopped among what the newest version shadowed; then a commit below W puts a deletion above that one. */
static void a_commit_while_a_key_is_in_hand(void)
{
    for (uint32_t steps = 2; steps < 9; steps++) {
        start();
        for (int i = 0; i < 8; i++, m.t += MS)
            run(machine_put("k", "x"));
        run(machine_put("l", "y"));
        Hf__Entry__Txn *t = transact(TRANSACT_OTHER, 900, 1, m.t + 1);
        transact_delete(t, "k");
        CU_ASSERT_EQUAL(run(transact_prepare(t)), HF_OK);
        uint64_t commit = m.t + 1;
        m.t += 2 * MS;
        uint64_t w = m.t;
        collecting_step(&m, w, steps);
        CU_ASSERT(m.fsm->sweep.within == (steps < 8));
        CU_ASSERT_EQUAL(run(transact_commit(t, commit)), HF_OK);
        while (collecting_info(&m)->passes == 0) {
            CU_ASSERT(collecting_sees(&m, "k", 0, NULL) && collecting_sees(&m, "k", w, NULL));
            collecting_step(&m, w, steps);
        }
        CU_ASSERT(collecting_sees(&m, "k", 0, NULL) && collecting_sees(&m, "k", w, NULL));
        collecting_pass(&m, w, steps);
        CU_ASSERT(collecting_sees(&m, "k", 0, NULL) && collecting_sees(&m, "l", 0, "y"));
        CU_ASSERT_EQUAL(collecting_records(&m, VKEY_DATA, NULL), 1);
        stop();
    }
}

static void planted_bug_is_found(void)
{
    failpoint_plant("collect.late_marker");
    CU_ASSERT(!late_marker(false) && !late_marker(true));
    failpoint_plant(NULL);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"what nobody can see goes, in whatever steps", what_nobody_can_see_goes},
        {"many versions above the watermark", many_versions_above},
        {"a key with thousands of versions", a_key_with_thousands_of_versions},
        {"nested prefixes", nested_prefixes},
        {"markers are forgotten as they are removed", markers_are_forgotten},
        {"what was read lately is forgotten too", recent_is_told},
        {"a marker that comes late", late_markers},
        {"steps are bounded in bytes", in_bytes},
        {"a commit while a key is in hand", a_commit_while_a_key_is_in_hand},
        {"a planted bug is found", planted_bug_is_found},
    };
    return UNIT_MAIN("fsm collect", cases);
}
