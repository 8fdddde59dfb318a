/* peer.c: see peer.h. */
#include "client/peer.h"

#include <stdlib.h>
#include <string.h>

#define SEND_OWNED_BYTES ((size_t)64 * 1024) /* larger messages are packed where ZeroMQ keeps them */
#define HWM 65536

static bool add(struct hf *h, struct peer *p)
{
    uint32_t need = h->peers_count + 2; /* and the mailbox */
    if (need > h->items_cap) {
        struct net_poll_item *items = realloc(h->items, 2 * need * sizeof *items);
        if (!items)
            return false;
        h->items = items;
        h->items_cap = 2 * need;
    }
    h->peers[h->peers_count++] = p;
    return true;
}

static struct peer *open_peer(struct hf *h, const char *endpoint)
{
    struct peer *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->endpoint = strdup(endpoint);
    p->opened_ns = h->now_ns;
    const struct net_options options = {.hwm = HWM, .message_bytes = LIMIT_REQUEST_BYTES + LIMIT_TEXT_BYTES};
    if (p->endpoint && net_connect(h->net, endpoint, &options, &p->socket) == HF_OK && add(h, p))
        return p;
    net_close(&p->socket);
    free(p->endpoint);
    free(p);
    return NULL;
}

struct peer *peer_get(struct hf *h, const char *endpoint)
{
    if (!endpoint || !endpoint[0] || strnlen(endpoint, LIMIT_TEXT_BYTES) == LIMIT_TEXT_BYTES)
        return NULL;
    for (uint32_t i = 0; i < h->peers_count; i++)
        if (strcmp(h->peers[i]->endpoint, endpoint) == 0)
            return h->peers[i];
    return h->peers_count < CLIENT_PEERS_MAX ? open_peer(h, endpoint) : NULL;
}

static int send_small(struct hf *h, struct peer *p, const Hf__Client__Request *request, size_t size)
{
    if (size > h->scratch_cap) {
        uint8_t *grown = realloc(h->scratch, SEND_OWNED_BYTES);
        if (!grown)
            return HF_E_NO_MEMORY;
        h->scratch = grown;
        h->scratch_cap = SEND_OWNED_BYTES;
    }
    hf__client__request__pack(request, h->scratch);
    return net_send(p->socket, slice_make(h->scratch, size));
}

static int send_large(struct peer *p, const Hf__Client__Request *request, size_t size)
{
    uint8_t *data = malloc(size);
    if (!data)
        return HF_E_NO_MEMORY;
    hf__client__request__pack(request, data);
    return net_send_owned(p->socket, NULL, &data, size);
}

int peer_send(struct hf *h, struct peer *p, const Hf__Client__Request *request)
{
    size_t size = hf__client__request__get_packed_size(request);
    if (size > LIMIT_REQUEST_BYTES)
        return HF_E_LIMIT;
    int rc = size <= SEND_OWNED_BYTES ? send_small(h, p, request, size) : send_large(p, request, size);
    if (rc == HF_OK)
        p->refused_ns = 0;
    else if (p->refused_ns == 0)
        p->refused_ns = h->now_ns;
    return rc;
}

void peer_close_all(struct hf *h)
{
    for (uint32_t i = 0; i < h->peers_count; i++) {
        net_close(&h->peers[i]->socket);
        free(h->peers[i]->endpoint);
        free(h->peers[i]);
    }
    h->peers_count = 0;
}
