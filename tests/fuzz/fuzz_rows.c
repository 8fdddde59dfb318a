/* fuzz_rows.c: any bytes as records of the state machine read back from disk: keys, values, sessions, markers, meta.
 * What is read is what would have been written; anything else is told as damage. */
#include <stdlib.h>
#include <unistd.h>

#include "common/base/endian.h"
#include "shard/fsm/fsm_internal.h"
#include "shard/fsm/meta.h"
#include "shard/fsm/session_record.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/shard/fsm/machine.h"

static struct machine machine;

static void as_key(struct slice bytes, struct arena *arena)
{
    struct vkey key;
    struct slice user;
    if (!vkey_decode(bytes, &key) || !vkey_user(key.prefix, arena, &user))
        return;
    must(user.size <= LIMIT_KEY_BYTES);
    struct slice again = vkey_versioned(vkey_prefix(arena, key.kind, key.space, user), key.version);
    must(slice_equal(again, bytes));
}

static void as_value(struct slice bytes, struct arena *arena)
{
    struct version_value value;
    if (versions_decode(bytes, &value))
        must(slice_equal(versions_encode(arena, &value), bytes));
}

static void as_session(struct slice bytes)
{
    struct session_state state = {.id = 1}, again = {.id = 1};
    struct buf once = {0}, twice = {0};
    if (session_record_decode(bytes, &state)) { /* longer varints may be read; written, they are the shortest */
        must(state.top - state.done_below <= LIMIT_SESSION_WINDOW);
        session_record_encode(&state, &once);
        must(once.size <= bytes.size && session_record_decode(buf_slice(&once), &again));
        session_record_encode(&again, &twice);
        must(slice_equal(buf_slice(&once), buf_slice(&twice)));
    }
    free(state.ring);
    free(again.ring);
    buf_deinit(&once);
    buf_deinit(&twice);
}

/* Puts one record of the input's choice among the machine's and opens it as a restart would; what it accepts, it can
 * go on with. */
static void as_record(struct slice in)
{
    struct store *store = machine.fsm->store;
    struct store_batch *put = store_batch_new(), *undo = store_batch_new();
    struct buf before = {0};
    static const char *const metas[] = {"mapplied",   "mceiling", "mmembers", "mrange",
                                        "mconstants", "mchecked", "mcutover"};
    uint8_t what = fuzz_byte(&in), session[VKEY_SESSION_BYTES];
    struct slice key = slice_text(metas[what % 5]);
    if (what & 0x80) {
        vkey_session(fuzz_word(&in), session);
        key = slice_make(session, sizeof session);
    } else if (what & 0x40) {
        key = fuzz_bytes(&in, fuzz_byte(&in));
        if (key.size == 0 || key.data[0] != VKEY_MARKER)
            goto out;
    }
    store_batch_put(put, key, in);
    if (store_get(store, key, &before) == HF_OK)
        store_batch_put(undo, key, buf_slice(&before));
    else
        store_batch_delete(undo, key);
    must(store_write(store, put) == HF_OK);
    struct arena members = {0}, range = {0};
    struct fsm_info info = {0};
    char where[256] = "";
    int rc = meta_load(store, &members, &range, &info, where);
    must(rc == HF_OK || ((rc == HF_E_CORRUPT || rc == HF_E_INVALID || rc == HF_E_FORMAT) && where[0] != '\0'));
    if (rc == HF_OK) {
        must(info.heartbeat_ms > 0 && info.election_ms > 0 && info.members != NULL && info.range != NULL);
        must(info.members->n_members <= LIMIT_PEERS);
        struct sessions sessions;
        struct markers markers = {0};
        sessions_init(&sessions);
        rc = sessions_load(&sessions, store, info.applied.index);
        must(rc == HF_OK || rc == HF_E_CORRUPT);
        rc = markers_load(&markers, store, info.newest);
        must(rc == HF_OK || rc == HF_E_CORRUPT);
        markers_deinit(&markers);
        sessions_deinit(&sessions);
    }
    arena_deinit(&members);
    arena_deinit(&range);
    must(store_write(store, undo) == HF_OK);
out:
    buf_deinit(&before);
    store_batch_free(&put);
    store_batch_free(&undo);
}

static void end(void)
{
    machine_stop(&machine);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    machine_start(&machine, "", "", true);
    atexit(end);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    struct slice in = slice_make(data, size);
    arena_reset(&arena);
    switch (fuzz_byte(&in) % 4) {
    case 0:
        as_key(in, &arena);
        break;
    case 1:
        as_value(in, &arena);
        break;
    case 2:
        as_session(in);
        break;
    default: /* a number from the input */
        as_record(in);
        break;
    }
    return 0;
}
