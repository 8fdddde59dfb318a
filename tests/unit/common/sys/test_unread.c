/* test_unread.c: what waits for a peer counts until it is gone, and peers that are gone are forgotten. */
#include "common/sys/unread.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/unit.h"

#define PEERS 4000

static const uint8_t bytes[UNREAD_SMALL_BYTES + 1];

static struct unread_message *send_to(struct unread *u, uint32_t peer)
{
    struct unread_message *m =
        unread_copy(u, slice_make((const uint8_t *)&peer, sizeof peer), slice_make(bytes, sizeof bytes));
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    return m;
}

static void one_peer_is_full_by_itself(void)
{
    struct unread u = {0};
    uint32_t peer = 1, other = 2;
    struct slice id = slice_make((const uint8_t *)&peer, sizeof peer);
    uint8_t *large = malloc(UNREAD_PEER_BYTES_MAX);
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    struct unread_message *m = unread_take(&u, id, &large, UNREAD_PEER_BYTES_MAX);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_PTR_NULL(large);
    CU_ASSERT(unread_full(&u, id));
    CU_ASSERT_FALSE(unread_full(&u, slice_make((const uint8_t *)&other, sizeof other)));
    unread_done(NULL, m);
    CU_ASSERT_FALSE(unread_full(&u, id));
    unread_deinit(&u);
}

/* A crowd that reads nothing for a while makes the table large; then come others, each for one message. */
static void who_is_gone_is_forgotten(void)
{
    static struct unread_message *crowd[PEERS];
    struct unread u = {0};
    for (uint32_t i = 0; i < PEERS; i++)
        crowd[i] = send_to(&u, i);
    CU_ASSERT_EQUAL(u.peers.count, PEERS);
    for (uint32_t i = 0; i < PEERS; i++)
        unread_done(NULL, crowd[i]);
    for (uint32_t i = PEERS; i < 20 * PEERS; i++)
        unread_done(NULL, send_to(&u, i));
    CU_ASSERT(u.peers.count <= 64);
    unread_deinit(&u);
}

/* ZeroMQ lets messages go after the listener has been closed, too. */
static void messages_outlive_the_table(void)
{
    struct unread u = {0};
    struct unread_message *m = send_to(&u, 1);
    unread_deinit(&u);
    unread_done(NULL, m);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"one peer is full by itself", one_peer_is_full_by_itself},
        {"who is gone is forgotten", who_is_gone_is_forgotten},
        {"messages outlive the table", messages_outlive_the_table},
    };
    return UNIT_MAIN("unread", cases);
}
