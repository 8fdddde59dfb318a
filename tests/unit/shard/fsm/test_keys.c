/* test_keys.c: record keys keep the order of user keys, and damaged records are refused (I11). */
#include <stdlib.h>

#include "shard/fsm/session_record.h"
#include "shard/fsm/versions.h"
#include "tests/unit/shard/fsm/machine.h"
#include "tests/unit/unit.h"

static struct slice random_bytes(struct random *r, struct arena *arena)
{
    static const uint8_t letters[] = {0, 1, 2, 0xfe, 0xff, 'a'};
    size_t size = (size_t)random_below(r, 6);
    uint8_t *bytes = arena_alloc(arena, size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = letters[random_below(r, sizeof letters)];
    return slice_make(bytes, size);
}

static struct slice record(struct arena *arena, struct slice key, uint64_t t, uint64_t seq)
{
    return vkey_versioned(vkey_prefix(arena, VKEY_DATA, 0, key), (struct version){{t}, seq});
}

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void order_is_kept(void)
{
    struct random r = {4};
    struct arena arena = {0};
    for (int i = 0; i < 20000; i++) {
        struct slice a = random_bytes(&r, &arena), b = random_bytes(&r, &arena), back = {0};
        struct slice ra = record(&arena, a, random_next(&r), random_next(&r));
        struct slice rb = record(&arena, b, random_next(&r), random_next(&r));
        if (!slice_equal(a, b))
            CU_ASSERT_EQUAL_FATAL(sign(slice_compare(ra, rb)), sign(slice_compare(a, b)));
        struct vkey key;
        CU_ASSERT_FATAL(vkey_decode(ra, &key) && vkey_user(key.prefix, &arena, &back));
        CU_ASSERT_FATAL(slice_equal(back, a));
        CU_ASSERT_EQUAL_FATAL(vkey_prefix_length(key.prefix), key.prefix.size); /* a prefix is its own prefix */
        CU_ASSERT_EQUAL_FATAL(vkey_prefix_length(ra), key.prefix.size);
        arena_reset(&arena);
    }
    arena_deinit(&arena);
}

static void newest_comes_first(void)
{
    struct arena arena = {0};
    struct slice key = slice_text("k");
    struct slice older = record(&arena, key, 5, 9), newer = record(&arena, key, 6, 1),
                 newest = record(&arena, key, 6, 2);
    CU_ASSERT(slice_compare(newest, newer) < 0);
    CU_ASSERT(slice_compare(newer, older) < 0);
    struct slice at6 = vkey_seek(vkey_prefix(&arena, VKEY_DATA, 0, key), (struct hlc){6});
    CU_ASSERT(slice_compare(at6, newer) > 0); /* timestamp < 6 only */
    CU_ASSERT(slice_compare(at6, older) <= 0);
    struct slice latest = vkey_seek(vkey_prefix(&arena, VKEY_DATA, 0, key), (struct hlc){0});
    CU_ASSERT(slice_compare(latest, record(&arena, key, UINT64_MAX, UINT64_MAX)) <= 0);
    struct vkey decoded;
    CU_ASSERT(vkey_decode(newer, &decoded));
    CU_ASSERT_EQUAL(decoded.version.t.t, 6);
    CU_ASSERT_EQUAL(decoded.version.seq, 1);
    arena_deinit(&arena);
}

/* The bytes of README.md. */
static void bytes_are_as_described(void)
{
    static const uint8_t expected[] = {'d',  1,    'a',  0,    0xff, 'b',  0,    1,    0xff, 0xff, 0xff, 0xff,
                                       0xff, 0xff, 0xff, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc};
    struct arena arena = {0};
    struct slice got =
        vkey_versioned(vkey_prefix(&arena, VKEY_DATA, 1, slice_make("a\0b", 3)), (struct version){{2}, 3});
    CU_ASSERT(slice_equal(got, slice_make(expected, sizeof expected)));
    struct version_value value = {.flags = VERSION_EXPIRES, .expiry = {0x0102}, .payload = slice_text("xy")};
    static const uint8_t bytes[] = {2, 2, 1, 0, 0, 0, 0, 0, 0, 'x', 'y'};
    CU_ASSERT(slice_equal(versions_encode(&arena, &value), slice_make(bytes, sizeof bytes)));
    uint8_t session[VKEY_SESSION_BYTES];
    vkey_session(0x0102, session);
    CU_ASSERT_EQUAL(memcmp(session, "s\0\0\0\0\0\0\1\2", sizeof session), 0);
    arena_deinit(&arena);
}

static void damaged_records_are_refused(void)
{
    struct arena arena = {0};
    struct vkey key;
    struct slice user;
    struct slice good = record(&arena, slice_text("key"), 1, 1);
    for (size_t size = 0; size < good.size; size++)
        CU_ASSERT(!vkey_decode(slice_make(good.data, size), &key));
    CU_ASSERT(!vkey_user(slice_make("d\0a\0\2b\0\1", 8), &arena, &user)); /* 00 02: no escape */
    CU_ASSERT(!vkey_user(slice_make("d\0a\0\0\1", 6), &arena, &user));
    struct version_value value;
    CU_ASSERT(!versions_decode(slice_make("", 0), &value));
    CU_ASSERT(!versions_decode(slice_make("\2abc", 4), &value));
    CU_ASSERT(!versions_decode(slice_make("\4", 1), &value)); /* sealed: not yet */
    CU_ASSERT(!versions_decode(slice_make("\x80", 1), &value));
    arena_deinit(&arena);
}

static bool same_state(const struct session_state *a, const struct session_state *b)
{
    bool same = a->last_used.t == b->last_used.t && a->done_below == b->done_below;
    for (uint64_t seq = a->done_below; same && seq < a->done_below + LIMIT_SESSION_WINDOW; seq++) {
        bool in_a = seq < a->top && session_slot(a, seq)->known, in_b = seq < b->top && session_slot(b, seq)->known;
        same = in_a == in_b;
        if (in_a && in_b)
            same = session_slot(a, seq)->code == session_slot(b, seq)->code &&
                   version_compare(session_slot(a, seq)->version, session_slot(b, seq)->version) == 0;
    }
    return same;
}

static void session_records_round_trip(void)
{
    struct random r = {11};
    struct buf bytes = {0}, again = {0};
    for (int i = 0; i < 300; i++) {
        struct session_state a = {.last_used = {random_next(&r)}, .done_below = random_next(&r) >> 1}, b = {0};
        a.top = a.done_below;
        uint64_t count = random_below(&r, 60);
        for (uint64_t j = 0; j < count; j++) {
            struct version v = {{random_next(&r) >> random_below(&r, 64)}, random_next(&r) >> random_below(&r, 64)};
            session_state_set(&a, a.done_below + random_below(&r, LIMIT_SESSION_WINDOW), -(int)random_below(&r, 30), v);
        }
        buf_clear(&bytes);
        buf_clear(&again);
        session_record_encode(&a, &bytes);
        CU_ASSERT_FATAL(session_record_decode(buf_slice(&bytes), &b));
        CU_ASSERT_FATAL(same_state(&a, &b));
        session_record_encode(&b, &again);
        CU_ASSERT_FATAL(slice_equal(buf_slice(&bytes), buf_slice(&again)));
        free(b.ring);
        for (size_t size = 0; size < bytes.size; size++) { /* cut short: refused, never read past the end */
            struct session_state cut = {0};
            struct buf exact = {0};
            buf_append(&exact, bytes.data, size);
            CU_ASSERT_FATAL(!session_record_decode(buf_slice(&exact), &cut));
            free(cut.ring);
            buf_deinit(&exact);
        }
        bytes.data[random_below(&r, bytes.size)] ^= (uint8_t)(1 + random_below(&r, 255));
        struct session_state damaged = {0};
        (void)!session_record_decode(buf_slice(&bytes), &damaged); /* anything but a crash */
        free(damaged.ring);
        free(a.ring);
    }
    buf_deinit(&bytes);
    buf_deinit(&again);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"order is kept", order_is_kept},
        {"newest comes first", newest_comes_first},
        {"bytes are as described", bytes_are_as_described},
        {"damaged records are refused", damaged_records_are_refused},
        {"session records round trip", session_records_round_trip},
    };
    return UNIT_MAIN("fsm keys", cases);
}
