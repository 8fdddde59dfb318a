/* test_damage.c: records that no entry can have written are told as damage when the machine is opened, before they are
 * believed: believed, each would end the process later (I11). Found by fuzzing and by reading for it. */
#include "common/base/endian.h"
#include "shard/fsm/fsm_internal.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

static void plant(struct machine *m, struct slice key, struct slice value)
{
    struct store_batch *batch = store_batch_new();
    store_batch_put(batch, key, value);
    CU_ASSERT_EQUAL(store_write(m->fsm->store, batch), HF_OK);
    store_batch_free(&batch);
    machine_close(m);
}

static void expect_code(struct machine *m, int code)
{
    char where[256] = "";
    CU_ASSERT_EQUAL(fsm_open(&m->config, &m->fsm, where), code);
    CU_ASSERT(where[0] != 0);
    machine_stop(m);
}

static void marker(uint64_t t, uint64_t seq)
{
    struct machine m;
    struct arena arena = {0};
    machine_start(&m, "", "", true);
    machine_run(&m, machine_put("k", "v"));
    struct slice prefix = vkey_prefix(&arena, VKEY_MARKER, 0, slice_text("k"));
    plant(&m, vkey_versioned(prefix, (struct version){.t = {t}, .seq = seq}), slice_make("", 0));
    expect_code(&m, HF_E_CORRUPT);
    arena_deinit(&arena);
}

static void markers_of_no_version(void)
{
    marker(0, 0);
    marker(UINT64_MAX, 1); /* younger than all: the next marker of this prefix would look old */
}

static void sessions_of_no_entry(void)
{
    struct machine m;
    uint8_t key[VKEY_SESSION_BYTES];
    machine_start(&m, "", "", true);
    vkey_session(fsm_info(m.fsm)->applied.index + 1, key); /* the next session opened would meet it */
    plant(&m, slice_make(key, sizeof key), slice_make("\1\0\0\0", 4));
    expect_code(&m, HF_E_CORRUPT);
}

static void constants(uint32_t heartbeat_ms, uint32_t election_ms)
{
    struct machine m;
    uint8_t bytes[13] = {1, 1};
    put_le32(bytes + 5, heartbeat_ms);
    put_le32(bytes + 9, election_ms);
    machine_start(&m, "", "", true);
    plant(&m, slice_text("mconstants"), slice_make(bytes, sizeof bytes));
    expect_code(&m, HF_E_INVALID);
}

static void constants_of_no_group(void)
{
    constants(0, 500);
    constants(100, 0);
}

static void ranges_without_keys(void)
{
    struct machine m;
    machine_start(&m, "", "", true);
    plant(&m, slice_text("mrange"), slice_text("\x0a\1m\x12\1m"));
    expect_code(&m, HF_E_INVALID);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"markers of no version", markers_of_no_version},
        {"sessions of no entry", sessions_of_no_entry},
        {"constants of no group", constants_of_no_group},
        {"ranges without keys", ranges_without_keys},
    };
    return UNIT_MAIN("fsm/damage", cases);
}
