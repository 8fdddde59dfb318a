/* unread.c: see unread.h. */
#include "common/sys/unread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/must.h"
#include "common/sys/metrics.h"

#define SWEEP_MIN 64   /* peers known before those with nothing unread are forgotten */
#define SWEEP_KEYS 256 /* forgotten in one go */

struct unread_peer {
    _Atomic size_t bytes;
    _Atomic size_t holders; /* the table and each message under way; the last one frees */
};

struct unread_message {
    struct unread_peer *peer; /* held */
    size_t size;
    uint8_t *owned; /* or NULL: the bytes follow */
    uint8_t copied[];
};

static struct metric metrics[] = {
    {"holdfast_replies_unread_bytes", NULL, "Bytes of large replies that clients have not read yet", METRIC_GAUGE, 0},
};

#define TOTAL (metrics[0].value)

void unread_metrics(void)
{
    metrics_register(metrics, 1);
}

static void let_go(struct unread_peer *p)
{
    if (atomic_fetch_sub(&p->holders, 1) == 1)
        free(p);
}

void unread_deinit(struct unread *u)
{
    size_t at = 0;
    uint64_t key;
    void *value;
    while (hashmap_each(&u->peers, &at, &key, &value))
        let_go(value);
    hashmap_deinit(&u->peers);
    *u = (struct unread){0};
}

static uint64_t key_of(struct slice peer)
{
    return hashmap_hash_bytes(peer.data, peer.size);
}

bool unread_full(const struct unread *u, struct slice peer)
{
    const struct unread_peer *p = hashmap_get(&u->peers, key_of(peer));
    if (p == NULL)
        return false;
    size_t bytes = atomic_load(&p->bytes);
    return bytes >= UNREAD_PEER_BYTES_MAX ||
           (bytes >= UNREAD_PEER_SHARE_BYTES && atomic_load(&TOTAL) >= UNREAD_TOTAL_BYTES_MAX);
}

/* Forgets peers that have nothing unread; most of them are gone. */
static void sweep(struct unread *u)
{
    uint64_t keys[SWEEP_KEYS], key;
    size_t count;
    void *value;
    do {
        size_t at = 0;
        count = 0;
        while (count < SWEEP_KEYS && hashmap_each(&u->peers, &at, &key, &value))
            if (atomic_load(&((struct unread_peer *)value)->holders) == 1)
                keys[count++] = key;
        for (size_t i = 0; i < count; i++)
            let_go(hashmap_remove(&u->peers, keys[i]));
    } while (count == SWEEP_KEYS); /* I12: all of them, or the table grows by those that were left */
    u->sweep_at = 2 * u->peers.count > SWEEP_MIN ? 2 * u->peers.count : SWEEP_MIN;
}

static struct unread_message *message_new(struct unread *u, struct slice peer, size_t size, size_t room)
{
    struct unread_message *m = malloc(sizeof *m + room);
    if (m == NULL)
        return NULL;
    struct unread_peer *p = hashmap_get(&u->peers, key_of(peer));
    if (p == NULL) {
        p = calloc(1, sizeof *p);
        if (p == NULL) {
            free(m);
            return NULL;
        }
        if (u->peers.count >= u->sweep_at)
            sweep(u);
        atomic_store(&p->holders, 1);
        must(hashmap_put(&u->peers, key_of(peer), p) == NULL);
    }
    atomic_fetch_add(&p->holders, 1);
    atomic_fetch_add(&p->bytes, size);
    atomic_fetch_add(&TOTAL, size);
    m->peer = p;
    m->size = size;
    m->owned = NULL;
    return m;
}

struct unread_message *unread_copy(struct unread *u, struct slice peer, struct slice copied)
{
    struct unread_message *m = message_new(u, peer, copied.size, copied.size);
    if (m != NULL)
        memcpy(m->copied, copied.data, copied.size);
    return m;
}

struct unread_message *unread_take(struct unread *u, struct slice peer, uint8_t **owned, size_t size)
{
    struct unread_message *m = message_new(u, peer, size, 0);
    if (m != NULL) {
        m->owned = *owned;
        *owned = NULL;
    }
    return m;
}

void *unread_data(struct unread_message *m)
{
    return m->owned != NULL ? m->owned : m->copied;
}

void unread_done(void *data, void *message)
{
    (void)data;
    struct unread_message *m = message;
    atomic_fetch_sub(&m->peer->bytes, m->size);
    atomic_fetch_sub(&TOTAL, m->size);
    let_go(m->peer);
    free(m->owned);
    free(m);
}
