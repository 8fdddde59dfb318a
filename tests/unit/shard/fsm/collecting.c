/* collecting.c: see collecting.h. */
#include "tests/unit/shard/fsm/collecting.h"

#include <unistd.h>

#include "shard/fsm/fsm_internal.h"
#include "tests/unit/unit.h"

#define MS ((uint64_t)1 << 16)

static void run(struct machine *m, Hf__Entry__Command c)
{
    CU_ASSERT_EQUAL(machine_run(m, c)->code, HF_OK);
}

void collecting_reopen(struct machine *m)
{
    machine_close(m);
    machine_open(m);
}

static Hf__Entry__Command in_catalog(Hf__Entry__Command c)
{
    c.space = HF__ENTRY__SPACE__CATALOG;
    return c;
}

void collecting_step(struct machine *m, uint64_t below, uint32_t steps)
{
    CU_ASSERT_EQUAL(machine_apply(m, LOG_COMMAND, machine_collect(&m->arena, below, steps))->code, HF_OK);
}

const struct fsm_collected *collecting_info(const struct machine *m)
{
    return &fsm_info(m->fsm)->collected;
}

void collecting_pass(struct machine *m, uint64_t below, uint32_t steps)
{
    uint64_t passes = collecting_info(m)->passes;
    for (int n = 0; n < 100000 && collecting_info(m)->passes == passes; n++)
        collecting_step(m, below, steps);
    CU_ASSERT(collecting_info(m)->passes == passes + 1 && collecting_info(m)->pass.t == 0 &&
              m->fsm->sweep.at.size == 0);
}

size_t collecting_records(struct machine *m, uint8_t kind, struct buf *out)
{
    struct store_iterator *it = store_iterator_new(m->fsm->store, false);
    size_t count = 0;
    for (store_iterator_seek(it, slice_make(&kind, 1)); store_iterator_valid(it); store_iterator_next(it)) {
        struct slice key = store_iterator_key(it), value = store_iterator_value(it);
        if (key.data[0] != kind)
            break;
        count++;
        if (out != NULL) {
            buf_append(out, key.data, key.size);
            buf_append(out, value.data, value.size);
        }
    }
    store_iterator_free(&it);
    return count;
}

int collecting_get(struct machine *m, enum fsm_space space, const char *key, uint64_t at, const char *value)
{
    struct arena arena = {0};
    struct fsm_value v;
    int rc = fsm_get(m->fsm, space, slice_text(key), (struct hlc){at}, (struct hlc){at ? at : m->t}, &arena, &v);
    if (rc == HF_OK && value != NULL && !slice_equal(v.value, slice_text(value)))
        rc = HF_E_COMPARE_FAILED;
    arena_deinit(&arena);
    return rc;
}

bool collecting_sees(struct machine *m, const char *key, uint64_t at, const char *value)
{
    return collecting_get(m, FSM_USER, key, at, value) == (value != NULL ? HF_OK : HF_E_NOT_FOUND);
}

size_t collecting_items(struct machine *m, uint64_t at, bool reverse)
{
    struct arena arena = {0};
    struct fsm_page page = {0};
    const struct fsm_scan scan = {.at = {at},
                                  .now = {at ? at : m->t},
                                  .items_max = SIZE_MAX,
                                  .bytes_max = SIZE_MAX,
                                  .steps_max = SIZE_MAX,
                                  .reverse = reverse};
    CU_ASSERT_EQUAL(fsm_scan(m->fsm, &scan, &arena, &page), HF_OK);
    arena_deinit(&arena);
    return page.count;
}

uint64_t collecting_history(struct machine *m)
{
    for (int i = 0; i < 5; i++, m->t += MS)
        run(m, machine_put("often", "x"));
    Hf__Entry__Command brief = machine_put("brief", "x"), lasts = machine_put("lasts", "x");
    brief.ttl_ms = 1;
    lasts.ttl_ms = 1000;
    const Hf__Entry__Command first[] = {brief,
                                        lasts,
                                        machine_put("deleted", "x"),
                                        machine_put("under/a", "x"),
                                        machine_put("under/b", "x"),
                                        machine_put("late", "x"),
                                        machine_put("over/x", "x"),
                                        machine_cas("cas", NULL, "1"),
                                        machine_cas("cas", "1", NULL),
                                        in_catalog(machine_put("routes", "1")),
                                        in_catalog(machine_put("routes", "2")),
                                        in_catalog(machine_put("c/x", "1"))};
    machine_run_many(m, first, sizeof first / sizeof first[0]);
    m->t += MS;
    const Hf__Entry__Command second[] = {machine_delete("deleted"), machine_delete_prefix("under/"),
                                         machine_delete_prefix("under/a"), machine_put("under/b", "y"),
                                         in_catalog(machine_delete_prefix("c/"))};
    machine_run_many(m, second, sizeof second / sizeof second[0]);
    m->t += MS;
    uint64_t w = m->t;
    const Hf__Entry__Command third[] = {machine_put("often", "last"), machine_delete("late"),
                                        machine_delete_prefix("over/")};
    machine_run_many(m, third, sizeof third / sizeof third[0]);
    m->t += MS;
    return w;
}

void collecting_see(struct machine *m, uint64_t w)
{
    CU_ASSERT(collecting_sees(m, "often", 0, "last") && collecting_sees(m, "often", w, "x") &&
              collecting_sees(m, "lasts", 0, "x") && collecting_sees(m, "brief", w, NULL));
    CU_ASSERT(collecting_sees(m, "late", 0, NULL) && collecting_sees(m, "late", w, "x") &&
              collecting_sees(m, "over/x", 0, NULL) && collecting_sees(m, "over/x", w, "x"));
    CU_ASSERT(collecting_sees(m, "under/a", 0, NULL) && collecting_sees(m, "under/a", w, NULL) &&
              collecting_sees(m, "under/b", w, "y"));
    CU_ASSERT(collecting_sees(m, "deleted", w, NULL) && collecting_sees(m, "cas", w, NULL));
    CU_ASSERT(collecting_get(m, FSM_CATALOG, "routes", w, "2") == HF_OK &&
              collecting_get(m, FSM_CATALOG, "c/x", w, NULL) == HF_E_NOT_FOUND);
    CU_ASSERT(collecting_items(m, 0, false) == 3 && collecting_items(m, 0, true) == 3 &&
              collecting_items(m, w, false) == 5 && collecting_items(m, w, true) == 5);
    CU_ASSERT(collecting_get(m, FSM_USER, "often", w - 1, NULL) == HF_E_TOO_OLD);
}

void collecting_see_twice(struct machine *m, uint64_t w)
{
    collecting_see(m, w);
    collecting_reopen(m);
    collecting_see(m, w);
}

void collecting_compact(struct machine *m)
{
    struct store_compaction *c;
    fsm_drop_iterators(m->fsm);
    CU_ASSERT_EQUAL_FATAL(store_compact_begin(m->fsm->store, slice_make("", 0), slice_make("", 0), &c), HF_OK);
    while (!store_compact_done(c))
        usleep(100);
    CU_ASSERT_EQUAL(store_compact_end(&c), HF_OK);
}

int collecting_validate(struct machine *m, Hf__Entry__Txn *t, uint64_t begin, uint64_t now)
{
    struct arena arena = {0};
    struct fsm_conflict conflict;
    const struct fsm_txn_id id = {t->id->home, t->id->session, t->id->seq};
    int rc = fsm_validate(m->fsm, &id, (struct hlc){begin}, (struct hlc){now}, t->reads, t->n_reads, &arena, &conflict);
    arena_deinit(&arena);
    return rc;
}
