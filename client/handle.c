/* handle.c: hf_open and hf_close: a handle's memory, its thread, and their end. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"

#include "client/call.h"
#include "client/fork.h"
#include "client/future.h"
#include "client/io.h"
#include "client/peer.h"
#include "common/sys/clock.h"

#define BYTES_MAX_DEFAULT (UINT64_C(256) << 20)

static int split_endpoints(struct hf *h, const char *text)
{
    while (text && *text) {
        size_t size = strcspn(text, ",");
        if (size >= LIMIT_TEXT_BYTES || h->coordinators == CLIENT_COORDINATORS_MAX)
            return HF_E_LIMIT;
        if (size > 0) {
            char *one = strndup(text, size);
            if (!one)
                return HF_E_NO_MEMORY;
            h->coordinator_text[h->coordinators++] = one;
            if (strncmp(one, "tcp://", 6) != 0 && strncmp(one, "ipc://", 6) != 0)
                return HF_E_INVALID;
        }
        text += size;
        text += *text == ',';
    }
    return h->coordinators > 0 ? HF_OK : HF_E_INVALID;
}

static void destroy(struct hf *h)
{
    peer_close_all(h);
    net_free(&h->net);
    for (uint32_t i = 0; i < h->shards_count; i++) {
        session_unref(&h->shards[i]->session);
        free(h->shards[i]);
    }
    if (h->routes)
        hf__catalog__routes__free_unpacked(h->routes, NULL);
    for (uint32_t i = 0; i < h->coordinators; i++)
        free(h->coordinator_text[i]);
    mailbox_free(&h->mailbox);
    future_meeting_unref(&h->meeting);
    timers_deinit(&h->timers);
    free(h->shards);
    free(h->slots);
    free(h->slots_free);
    free(h->items);
    free(h->scratch);
    free(h);
}

/* The thread takes no signals: they are the application's. */
static int start_thread(struct hf *h)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    h->net = net_new(1, CLIENT_PEERS_MAX + 8); /* its threads inherit the mask */
    int rc = h->net ? pthread_create(&h->thread, NULL, io_thread, h) : -1;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? HF_OK : HF_E_NO_MEMORY;
}

static int prepare(struct hf *h, const struct hf_options *options)
{
    h->routed = options->routed != 0;
    h->outstanding_max = options->outstanding_max ? options->outstanding_max : CLIENT_OUTSTANDING_MAX;
    h->outstanding_bytes_max = options->outstanding_bytes_max ? options->outstanding_bytes_max : BYTES_MAX_DEFAULT;
    list_init(&h->waiting);
    list_init(&h->finished);
    h->now_ns = clock_boot_ns();
    h->random.state = h->now_ns ^ (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)h;
    h->generation = (uint32_t)random_next(&h->random);
    h->mailbox = mailbox_new();
    h->meeting = future_meeting_new();
    h->items_cap = 8;
    h->items = calloc(h->items_cap, sizeof *h->items);
    if (!h->mailbox || !h->meeting || !h->items || timers_reserve(&h->timers, 1) != HF_OK)
        return HF_E_NO_MEMORY;
    return split_endpoints(h, options->endpoints);
}

int hf_open(const struct hf_options *options, unsigned abi, struct hf **out)
{
    if (abi != HF_ABI || !options)
        return HF_E_INVALID;
    struct hf *h = calloc(1, sizeof *h);
    if (!h)
        return HF_E_NO_MEMORY;
    int rc = fork_watch();
    if (rc == HF_OK)
        rc = prepare(h, options);
    if (rc == HF_OK)
        rc = start_thread(h);
    if (rc) {
        destroy(h);
        return rc;
    }
    *out = h;
    return HF_OK;
}

void hf_close(struct hf **h)
{
    if (!h || !*h)
        return;
    if ((*h)->meeting->forks != fork_count()) { /* its sockets and its lock are the parent's */
        *h = NULL;
        return;
    }
    if (call_from_callback(*h))
        return;
    atomic_store_explicit(&(*h)->stop, true, memory_order_release);
    mailbox_wake((*h)->mailbox);
    pthread_join((*h)->thread, NULL);
    destroy(*h);
    *h = NULL;
}
