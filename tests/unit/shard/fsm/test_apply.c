/* test_apply.c: commands one by one: what they do, what they refuse, and how sessions keep them from running twice. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "common/base/limits.h"
#include "common/sys/failpoint.h"
#include "proto/pack.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

static struct machine m;
static const uint64_t ms = (uint64_t)1 << 16;

static void put_get_delete(void)
{
    machine_start(&m, "", "", false);
    CU_ASSERT(machine_holds(&m, "a", NULL));
    const struct fsm_result *r = machine_run(&m, machine_put("a", "1"));
    CU_ASSERT_EQUAL(r->code, HF_OK);
    CU_ASSERT_EQUAL(r->version.t.t, m.t);
    CU_ASSERT_EQUAL(r->version.seq, m.sequence);
    CU_ASSERT(machine_holds(&m, "a", "1"));
    CU_ASSERT(machine_holds(&m, "ab", NULL));
    CU_ASSERT_EQUAL(machine_run(&m, machine_put("a", ""))->code, HF_OK);
    CU_ASSERT(machine_holds(&m, "a", ""));
    CU_ASSERT_EQUAL(machine_run(&m, machine_delete("a"))->code, HF_OK);
    CU_ASSERT(machine_holds(&m, "a", NULL));
    CU_ASSERT_EQUAL(machine_run(&m, machine_delete("never there"))->code, HF_OK);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->applied.index, 5);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->newest.seq, m.sequence);
    machine_stop(&m);
}

static void cas(void)
{
    machine_start(&m, "", "", false);
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", "x", "y"))->code, HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", NULL, "a"))->code, HF_OK);
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", NULL, "b"))->code, HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", "a", "b"))->code, HF_OK);
    CU_ASSERT(machine_holds(&m, "k", "b"));
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", "b", NULL))->code, HF_OK);
    CU_ASSERT(machine_holds(&m, "k", NULL));
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", "", "c"))->code, HF_E_COMPARE_FAILED); /* empty is not absent */
    /* Commands of one entry see each other. */
    Hf__Entry__Command c[] = {machine_put("k", "b"), machine_cas("k", "b", "c"), machine_delete_prefix("k"),
                              machine_cas("k", NULL, "d")};
    machine_run_many(&m, c, 4);
    CU_ASSERT_EQUAL(machine_last(&m)->r.code, HF_OK);
    CU_ASSERT_EQUAL(machine_last(&m)->position, 3);
    CU_ASSERT(machine_holds(&m, "k", "d"));
    machine_stop(&m);
}

static void time_to_live(void)
{
    machine_start(&m, "", "", false);
    Hf__Entry__Command c = machine_put("k", "v");
    c.ttl_ms = 10;
    machine_run(&m, c);
    m.t += 9 * ms;
    CU_ASSERT(machine_holds(&m, "k", "v"));
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", "v", "v"))->code, HF_OK); /* takes the expiry away */
    m.t += 100 * ms;
    CU_ASSERT(machine_holds(&m, "k", "v"));
    machine_run(&m, c);
    m.t += 10 * ms;
    CU_ASSERT(machine_holds(&m, "k", NULL));
    CU_ASSERT_EQUAL(machine_run(&m, machine_cas("k", "v", "w"))->code, HF_E_COMPARE_FAILED); /* by the entry's time */
    c.ttl_ms = UINT64_MAX;
    machine_run(&m, c);
    m.t += 1000000 * ms;
    CU_ASSERT(machine_holds(&m, "k", "v"));
    machine_stop(&m);
}

static void delete_prefix(void)
{
    machine_start(&m, "", "", false);
    const char *keys[] = {"a", "aa", "aab", "ab", "b"};
    for (size_t i = 0; i < 5; i++)
        machine_run(&m, machine_put(keys[i], "v"));
    m.t += 5 * ms;
    uint64_t before = m.t;
    CU_ASSERT_EQUAL(machine_run(&m, machine_delete_prefix("aa"))->code, HF_OK);
    CU_ASSERT(machine_holds(&m, "a", "v"));
    CU_ASSERT(machine_holds(&m, "aa", NULL));
    CU_ASSERT(machine_holds(&m, "aab", NULL));
    CU_ASSERT(machine_holds(&m, "ab", "v"));
    machine_run(&m, machine_put("aab", "w"));
    CU_ASSERT(machine_holds(&m, "aab", "w"));
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->markers, 1);
    m.t += 5 * ms;
    machine_run(&m, machine_delete_prefix("aa")); /* again: a newer marker hides the older one from memory */
    machine_run(&m, machine_delete_prefix(""));
    CU_ASSERT(machine_holds(&m, "b", NULL));
    for (int round = 0; round < 2; round++) { /* in the past: before, between and after the markers */
        struct arena arena = {0};
        struct fsm_value v;
        CU_ASSERT_EQUAL(fsm_get(m.fsm, FSM_USER, slice_text("aa"), (struct hlc){before}, (struct hlc){0}, &arena, &v),
                        HF_OK);
        CU_ASSERT_EQUAL(
            fsm_get(m.fsm, FSM_USER, slice_text("aa"), (struct hlc){before + 1}, (struct hlc){0}, &arena, &v),
            HF_E_NOT_FOUND);
        CU_ASSERT_EQUAL(fsm_get(m.fsm, FSM_USER, slice_text("aab"), (struct hlc){m.t}, (struct hlc){0}, &arena, &v),
                        HF_OK);
        CU_ASSERT(slice_equal(v.value, slice_text("w")));
        CU_ASSERT_EQUAL(fsm_get(m.fsm, FSM_USER, slice_text("b"), (struct hlc){m.t}, (struct hlc){0}, &arena, &v),
                        HF_OK);
        arena_deinit(&arena);
        machine_close(&m);
        machine_open(&m);
        CU_ASSERT_EQUAL(fsm_info(m.fsm)->markers, 2);
    }
    machine_stop(&m);
}

static void refusals(void)
{
    machine_start(&m, "b", "d", false);
    struct buf large = {0};
    memset(buf_extend(&large, LIMIT_VALUE_BYTES + 1), 'c', LIMIT_VALUE_BYTES + 1);
    CU_ASSERT_EQUAL(machine_run(&m, machine_put("a", "v"))->code, HF_E_WRONG_SHARD);
    CU_ASSERT_EQUAL(machine_run(&m, machine_put("d", "v"))->code, HF_E_WRONG_SHARD);
    CU_ASSERT_EQUAL(machine_run(&m, machine_put("b", "v"))->code, HF_OK);
    CU_ASSERT_EQUAL(machine_run(&m, machine_put("", "v"))->code, HF_E_INVALID);
    CU_ASSERT_EQUAL(machine_run(&m, machine_delete_prefix("a"))->code, HF_OK); /* nothing of it here */
    Hf__Entry__Command c = machine_put("c", "v");
    c.key = pack_bytes(slice_make(large.data, LIMIT_KEY_BYTES + 1));
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_LIMIT);
    c.key.len--;
    c.value = pack_bytes(slice_make(large.data, LIMIT_VALUE_BYTES));
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_OK);
    c.value.len++;
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_LIMIT);
    c = machine_put("routes", "v");
    c.space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_WRONG_SHARD);
    c.op = HF__ENTRY__OP__OP_NONE;
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_WRONG_SHARD);
    struct arena arena = {0};
    struct fsm_value v;
    CU_ASSERT_EQUAL(fsm_get(m.fsm, FSM_USER, slice_text("a"), (struct hlc){0}, (struct hlc){0}, &arena, &v),
                    HF_E_WRONG_SHARD);
    CU_ASSERT_EQUAL(
        fsm_get(m.fsm, FSM_USER, slice_make(large.data, LIMIT_KEY_BYTES), (struct hlc){0}, (struct hlc){0}, &arena, &v),
        HF_OK);
    CU_ASSERT_EQUAL(v.value.size, LIMIT_VALUE_BYTES);
    arena_deinit(&arena);
    buf_deinit(&large);
    machine_stop(&m);
}

static void catalog_space(void)
{
    machine_start(&m, "m", "", true);
    Hf__Entry__Command c = machine_put("a", "catalog");
    c.space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_OK);
    struct arena arena = {0};
    struct fsm_value v;
    CU_ASSERT_EQUAL(fsm_get(m.fsm, FSM_CATALOG, slice_text("a"), (struct hlc){0}, (struct hlc){0}, &arena, &v), HF_OK);
    CU_ASSERT_EQUAL(machine_run(&m, machine_delete_prefix(""))->code, HF_OK); /* of users: leaves the catalog alone */
    CU_ASSERT_EQUAL(fsm_get(m.fsm, FSM_CATALOG, slice_text("a"), (struct hlc){0}, (struct hlc){0}, &arena, &v), HF_OK);
    c = machine_delete_prefix("");
    c.space = HF__ENTRY__SPACE__CATALOG;
    CU_ASSERT_EQUAL(machine_run(&m, c)->code, HF_E_INVALID);
    arena_deinit(&arena);
    machine_stop(&m);
}

/* I3: whatever an entry is, it moves the applied index, and what it changed is there after a restart. */
static void other_entries(void)
{
    machine_start(&m, "", "", false);
    CU_ASSERT_EQUAL(machine_apply(&m, LOG_NOOP, slice_make(NULL, 0))->code, HF_OK);
    CU_ASSERT_EQUAL(machine_apply(&m, LOG_COMMAND, machine_lease(&m.arena, 900, 1))->code, HF_OK);
    machine_apply(&m, LOG_COMMAND, machine_lease(&m.arena, 800, 1));
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->ceiling.t, 900);
    Hf__Catalog__Member one = HF__CATALOG__MEMBER__INIT, *list[] = {&one, &one};
    one.replica = 9;
    Hf__Catalog__Members members = HF__CATALOG__MEMBERS__INIT;
    members.n_members = 2;
    members.members = list;
    struct buf packed = {0};
    pack_append(&members.base, &packed);
    machine_apply(&m, LOG_CONFIG, buf_slice(&packed));
    buf_deinit(&packed);
    for (int round = 0; round < 2; round++) {
        const struct fsm_info *info = fsm_info(m.fsm);
        CU_ASSERT_EQUAL(info->applied.index, 5);
        CU_ASSERT_EQUAL(info->applied.epoch, 1);
        CU_ASSERT_EQUAL(info->ceiling.t, 900);
        CU_ASSERT_EQUAL(info->members->index, 5);
        CU_ASSERT_EQUAL(info->members->n_members, 2);
        CU_ASSERT_EQUAL(info->members->members[1]->replica, 9);
        CU_ASSERT_EQUAL(info->cluster, 0x1122334455667788);
        CU_ASSERT_EQUAL(info->group, 3);
        CU_ASSERT_EQUAL(info->election_ms, 500);
        machine_close(&m);
        machine_open(&m);
    }
    machine_stop(&m);
}

static uint64_t open_session(void)
{
    const struct fsm_result *r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, 0, 0));
    CU_ASSERT_EQUAL(r->code, HF_OK);
    CU_ASSERT_EQUAL(r->session, m.index);
    return r->session;
}

static int once(uint64_t session, uint64_t seq, uint64_t done_below, const char *value)
{
    return machine_run(&m, machine_in_session(machine_put("k", value), session, seq, done_below))->code;
}

static void session_runs_once(void)
{
    machine_start(&m, "", "", false);
    uint64_t s = open_session();
    struct version first = machine_run(&m, machine_in_session(machine_put("k", "5"), s, 5, 0))->version;
    /* 5 ran, 4 was lost: the retry of 4 must run. */
    CU_ASSERT_EQUAL(once(s, 4, 0, "4"), HF_OK);
    CU_ASSERT(machine_holds(&m, "k", "4"));
    const struct fsm_result *r = machine_run(&m, machine_in_session(machine_put("k", "5 again"), s, 5, 0));
    CU_ASSERT_EQUAL(r->code, HF_OK);
    CU_ASSERT_EQUAL(version_compare(r->version, first), 0); /* as it was answered then */
    CU_ASSERT(machine_holds(&m, "k", "4"));
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_cas("k", "x", "y"), s, 6, 0))->code,
                    HF_E_COMPARE_FAILED);
    machine_run(&m, machine_put("k", "x"));
    machine_close(&m); /* the table is state, not memory */
    machine_open(&m);
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_cas("k", "x", "y"), s, 6, 0))->code,
                    HF_E_COMPARE_FAILED);
    CU_ASSERT_EQUAL(once(s, 7, 6, "7"), HF_OK);
    CU_ASSERT_EQUAL(once(s, 5, 0, "no"), HF_E_SESSION_WINDOW); /* below done_below, which does not go back */
    CU_ASSERT_EQUAL(once(s, 6 + LIMIT_SESSION_WINDOW, 0, "no"), HF_E_SESSION_WINDOW);
    CU_ASSERT_EQUAL(once(s, 5 + LIMIT_SESSION_WINDOW, 0, "far"), HF_OK);
    CU_ASSERT_EQUAL(once(s + 1, 1, 0, "no"), HF_E_SESSION_UNKNOWN);
    CU_ASSERT(machine_holds(&m, "k", "far"));
    CU_ASSERT_EQUAL(once(s, UINT64_MAX, UINT64_MAX, "no"), HF_E_SESSION_WINDOW);
    machine_close(&m);
    machine_open(&m);
    CU_ASSERT_EQUAL(once(s, 8, 0, "no"), HF_E_SESSION_WINDOW);
    machine_stop(&m);
}

static void refused_is_not_an_outcome(void)
{
    machine_start(&m, "b", "", false);
    uint64_t s = open_session();
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_put("a", "v"), s, 1, 0))->code, HF_E_WRONG_SHARD);
    CU_ASSERT_EQUAL(machine_run(&m, machine_in_session(machine_put("b", "v"), s, 1, 0))->code, HF_OK);
    machine_stop(&m);
}

static void fences(void)
{
    machine_start(&m, "", "", false);
    uint64_t s = open_session();
    struct version v = machine_run(&m, machine_in_session(machine_put("k", "1"), s, 1, 0))->version;
    const struct fsm_result *r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, s, 1));
    CU_ASSERT_EQUAL(r->code, HF_OK);
    CU_ASSERT_EQUAL(r->outcome, HF_OK);
    CU_ASSERT_EQUAL(version_compare(r->outcome_version, v), 0);
    r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, s, 2));
    CU_ASSERT_EQUAL(r->code, HF_OK);
    CU_ASSERT_EQUAL(r->outcome, HF_E_FENCED);
    machine_close(&m);
    machine_open(&m);
    CU_ASSERT_EQUAL(once(s, 2, 0, "late"), HF_E_FENCED);
    CU_ASSERT(machine_holds(&m, "k", "1"));
    r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, s, 2));
    CU_ASSERT_EQUAL(r->outcome, HF_E_FENCED);
    CU_ASSERT_EQUAL(machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, s + 9, 2))->code,
                    HF_E_SESSION_UNKNOWN);
    CU_ASSERT_EQUAL(machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, s, 5000))->code, HF_E_SESSION_WINDOW);
    machine_stop(&m);
}

static void sessions_expire(void)
{
    machine_start(&m, "", "", false);
    const uint64_t hour = 3600 * 1000 * ms;
    uint64_t idle = open_session(), used = open_session();
    m.t += hour;
    CU_ASSERT_EQUAL(once(used, 1, 0, "1"), HF_OK);
    m.t += ms;
    CU_ASSERT_EQUAL(once(idle, 1, 0, "no"), HF_E_SESSION_UNKNOWN); /* without a sweep */
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->sessions, 1);
    uint64_t third = open_session();
    m.t += hour;
    machine_apply(&m, LOG_COMMAND, machine_lease(&m.arena, 1, m.t));
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->sessions, 1);
    CU_ASSERT_EQUAL(once(used, 1, 0, "no"), HF_E_SESSION_UNKNOWN);
    CU_ASSERT_EQUAL(once(third, 1, 0, "3"), HF_OK);
    machine_close(&m);
    machine_open(&m);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->sessions, 1);
    CU_ASSERT(machine_holds(&m, "k", "3"));
    machine_stop(&m);
}

static void session_limit(void)
{
    machine_start(&m, "", "", false);
    struct slice data = machine_session(&m.arena, m.t, 0, 0);
    uint64_t first = machine_apply(&m, LOG_COMMAND, data)->session;
    m.t += 65536;
    data = machine_session(&m.arena, m.t, 0, 0);
    uint64_t second = machine_apply(&m, LOG_COMMAND, data)->session;
    for (size_t i = 2; i < LIMIT_SESSIONS; i++)
        must(machine_apply(&m, LOG_COMMAND, data)->code == HF_OK);
    m.t += 65536;
    CU_ASSERT_EQUAL(once(first, 1, 0, "kept"), HF_OK); /* used lately: the second is the oldest now */
    const struct fsm_result *r = machine_apply(&m, LOG_COMMAND, machine_session(&m.arena, m.t, 0, 0));
    CU_ASSERT_EQUAL(r->code, HF_OK);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->sessions, LIMIT_SESSIONS);
    uint64_t newest = r->session;
    CU_ASSERT_EQUAL(once(second, 1, 0, "replaced"), HF_E_SESSION_UNKNOWN);
    CU_ASSERT_EQUAL(once(newest, 1, 0, "new"), HF_OK);
    CU_ASSERT_EQUAL(once(first, 1, 0, "again"), HF_OK);
    CU_ASSERT(machine_holds(&m, "k", "new")); /* the repeated request did not run again */
    machine_stop(&m);
}

static void durable(void)
{
    machine_start(&m, "", "", false);
    struct fsm_applied at;
    CU_ASSERT_EQUAL(fsm_durable_applied(m.fsm, &at), HF_OK);
    CU_ASSERT_EQUAL(at.index, 1);
    machine_run(&m, machine_put("a", "1"));
    CU_ASSERT_EQUAL(fsm_durable_applied(m.fsm, &at), HF_OK);
    CU_ASSERT_EQUAL(at.index, 1); /* applied, not durable */
    CU_ASSERT_EQUAL(fsm_flush(m.fsm), HF_OK);
    CU_ASSERT_EQUAL(fsm_durable_applied(m.fsm, &at), HF_OK);
    CU_ASSERT_EQUAL(at.index, 2);
    CU_ASSERT_EQUAL(at.term, 1);
    CU_ASSERT_EQUAL(at.epoch, 1);
    machine_close(&m);
    m.config.sync_writes = true;
    machine_open(&m);
    machine_run(&m, machine_put("a", "2"));
    CU_ASSERT_EQUAL(fsm_durable_applied(m.fsm, &at), HF_OK);
    CU_ASSERT_EQUAL(at.index, 3); /* RocksDB's own log is synced per batch */
    machine_stop(&m);
}

static void create_starts_over(void)
{
    machine_start(&m, "", "", false);
    machine_run(&m, machine_put("a", "1"));
    machine_close(&m);
    machine_create(&m, "", "", false);
    machine_open(&m);
    CU_ASSERT_EQUAL(fsm_info(m.fsm)->applied.index, 1);
    CU_ASSERT(machine_holds(&m, "a", NULL));
    machine_close(&m);
    char where[256];
    struct fsm *none = NULL;
    CU_ASSERT_EQUAL(fsm_open(&(struct fsm_config){.dir = "/tmp/hf-fsm-not-there"}, &none, where), HF_E_ABSENT);
    CU_ASSERT_PTR_NULL(none);
    machine_open(&m);
    machine_stop(&m);
}

extern char **environ;
static char *self;

/* Entries that this program cannot read; the child applies the n-th and must not survive it. */
static int halt_child(const char *dir, int n)
{
    static const uint8_t unknown[] = {0x03, 1}, malformed[] = {0x01, 0xff, 0xff}, config[] = {0xff};
    struct machine c = {.config = {.dir = dir}};
    Hf__Entry__Command op = machine_put("k", "v"), space = op;
    op.op = (Hf__Entry__Op)9;
    space.space = (Hf__Entry__Space)2;
    struct slice data[] = {slice_make(unknown, 2),
                           slice_make(malformed, 3),
                           slice_make(NULL, 0),
                           slice_make(config, 1),
                           machine_batch(&c.arena, 1, 1, &op, 1),
                           machine_batch(&c.arena, 1, 1, &space, 1)};
    digest_init();
    machine_open(&c);
    machine_apply(&c, n == 3 ? LOG_CONFIG : LOG_COMMAND, data[n]);
    return 0;
}

static void unreadable_entries_halt(void)
{
    machine_start(&m, "", "", false);
    machine_close(&m);
    for (int n = 0; n < 6; n++) {
        char number[2] = {(char)('0' + n), 0};
        char *args[] = {self, m.dir, number, NULL};
        pid_t pid;
        int status;
        must(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
        must(waitpid(pid, &status, 0) == pid);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 70);
        machine_open(&m);
        CU_ASSERT_EQUAL(fsm_info(m.fsm)->applied.index, 1); /* nothing was skipped */
        machine_close(&m);
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
        {"put, get, delete", put_get_delete},
        {"compare and set", cas},
        {"time to live", time_to_live},
        {"delete by prefix", delete_prefix},
        {"refusals", refusals},
        {"catalog space", catalog_space},
        {"other entries (I3)", other_entries},
        {"a session's request runs once", session_runs_once},
        {"a refusal is not an outcome", refused_is_not_an_outcome},
        {"fences", fences},
        {"sessions expire", sessions_expire},
        {"session limit", session_limit},
        {"durable applied (I4)", durable},
        {"create starts over", create_starts_over},
        {"unreadable entries halt", unreadable_entries_halt},
    };
    return UNIT_MAIN("fsm apply", cases);
}
