/* racy.c: two threads and one variable: what a sanitizer of threads must report, and what it must not.
 *
 * racy plain      both write it, nothing orders them: a data race
 * racy locked     under a mutex
 * racy mailbox    written, then posted through a mailbox, then read by whoever took it */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/sys/mailbox.h"

#define ROUNDS 1000

struct item {
    struct list link;
    int value;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mailbox *mailbox;
static struct item items[ROUNDS];
static int shared;

static void *plain(void *ctx)
{
    for (int i = 0; i < ROUNDS; i++)
        shared++;
    return ctx;
}

static void *locked(void *ctx)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        shared++;
        pthread_mutex_unlock(&lock);
    }
    return ctx;
}

static void *post(void *ctx)
{
    for (int i = 0; i < ROUNDS; i++) {
        items[i].value = i;
        list_init(&items[i].link);
        mailbox_post(mailbox, &items[i].link);
    }
    return ctx;
}

static void *take(void *ctx)
{
    for (int sum = 0, taken = 0; taken < ROUNDS;) {
        struct list got;
        struct pollfd p = {.fd = mailbox_fd(mailbox), .events = POLLIN};
        list_init(&got);
        (void)poll(&p, 1, 1000);
        mailbox_take(mailbox, &got);
        LIST_EACH (it, &got) {
            sum += LIST_OWNER(it, struct item, link)->value++;
            taken++;
        }
        shared = sum;
    }
    return ctx;
}

int main(int argc, char **argv)
{
    const char *how = argc == 2 ? argv[1] : "";
    void *(*first)(void *) = strcmp(how, "plain") == 0 ? plain : strcmp(how, "locked") == 0 ? locked : post;
    void *(*second)(void *) = first == post ? take : first;
    pthread_t threads[2];
    mailbox = mailbox_new();
    if (argc != 2 || !mailbox || pthread_create(&threads[0], NULL, first, NULL) != 0 ||
        pthread_create(&threads[1], NULL, second, NULL) != 0)
        return 2;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    mailbox_free(&mailbox);
    printf("%d\n", shared);
    return 0;
}
