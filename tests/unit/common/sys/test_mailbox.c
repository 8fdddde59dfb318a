/* test_mailbox.c: order per producer, nothing lost, no lost wake-up. */
#include "common/sys/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/unit/unit.h"

#define PRODUCERS 4
#define ITEMS 20000

struct item {
    struct list link;
    int producer, number;
};

static struct mailbox *box;

static bool readable(int timeout_ms)
{
    struct pollfd fd = {.fd = mailbox_fd(box), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

static void *produce(void *arg)
{
    struct item *items = arg;
    for (int i = 0; i < ITEMS; i++)
        mailbox_post(box, &items[i].link);
    return NULL;
}

static void nothing_is_lost_and_order_is_kept(void)
{
    static struct item items[PRODUCERS][ITEMS];
    pthread_t threads[PRODUCERS];
    int next[PRODUCERS] = {0}, total = 0, disorder = 0;
    box = mailbox_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(box);
    for (int p = 0; p < PRODUCERS; p++) {
        for (int i = 0; i < ITEMS; i++)
            items[p][i] = (struct item){.producer = p, .number = i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[p], NULL, produce, items[p]), 0);
    }
    while (total < PRODUCERS * ITEMS) {
        CU_ASSERT_FATAL(readable(60000)); /* a lost wake-up ends here */
        struct list taken;
        list_init(&taken);
        mailbox_take(box, &taken);
        LIST_EACH (it, &taken) {
            struct item *item = LIST_OWNER(it, struct item, link);
            disorder += item->number != next[item->producer]++;
            total++;
        }
    }
    CU_ASSERT_EQUAL(disorder, 0);
    for (int p = 0; p < PRODUCERS; p++)
        pthread_join(threads[p], NULL);
    struct list rest;
    list_init(&rest);
    mailbox_take(box, &rest); /* a wake-up of items already taken may be left */
    CU_ASSERT(list_empty(&rest));
    CU_ASSERT_FALSE(readable(0));
    mailbox_free(&box);
    CU_ASSERT_PTR_NULL(box);
    mailbox_free(&box);
}

static void wake_needs_no_item_and_take_appends(void)
{
    struct item first = {.number = 1}, second = {.number = 2};
    struct list taken;
    list_init(&taken);
    list_push(&taken, &first.link);
    box = mailbox_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(box);
    CU_ASSERT_FALSE(readable(0));
    mailbox_wake(box);
    CU_ASSERT(readable(0));
    mailbox_take(box, &taken);
    CU_ASSERT_FALSE(readable(0));
    mailbox_post(box, &second.link);
    CU_ASSERT(readable(0));
    mailbox_take(box, &taken);
    CU_ASSERT_FALSE(readable(0));
    CU_ASSERT_PTR_EQUAL(taken.next, &first.link);
    CU_ASSERT_PTR_EQUAL(taken.prev, &second.link);
    mailbox_free(&box);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"nothing is lost and order is kept", nothing_is_lost_and_order_is_kept},
        {"wake needs no item and take appends", wake_needs_no_item_and_take_appends},
    };
    return UNIT_MAIN("mailbox", cases);
}
