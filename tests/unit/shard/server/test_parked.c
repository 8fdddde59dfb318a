/* test_parked.c: what is put aside comes back as it was, in order, and only so much of it is kept. */
#include "shard/server/parked.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "tests/unit/unit.h"

static void in_order_and_whole(void)
{
    struct parked p;
    struct net_peer peer = {.size = 2, .id = {1, 2}};
    parked_init(&p);
    CU_ASSERT_PTR_NULL(parked_take(&p));
    CU_ASSERT_EQUAL(parked_add(&p, &peer, slice_make("one", 3)), HF_OK);
    peer.id[0] = 9;
    CU_ASSERT_EQUAL(parked_add(&p, &peer, slice_make("two!", 4)), HF_OK);
    struct parked_message *m = parked_take(&p);
    CU_ASSERT(m->peer.id[0] == 1 && m->size == 3 && memcmp(m->bytes, "one", 3) == 0);
    free(m);
    CU_ASSERT(p.count == 1 && p.bytes == 4);
    parked_deinit(&p); /* frees the other */
}

static void bounded(void)
{
    static uint8_t big[1 << 20];
    struct parked p;
    const struct net_peer peer = {.size = 1};
    size_t n = 0;
    parked_init(&p);
    while (parked_add(&p, &peer, slice_make(big, sizeof big)) == HF_OK)
        n++;
    CU_ASSERT_EQUAL(n, PARKED_BYTES / sizeof big);
    parked_deinit(&p);
    for (n = 0; parked_add(&p, &peer, slice_make(big, 1)) == HF_OK;)
        n++;
    CU_ASSERT_EQUAL(n, PARKED_MAX);
    parked_deinit(&p);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"in order and whole", in_order_and_whole},
        {"bounded", bounded},
    };
    return UNIT_MAIN("server/parked", cases);
}
