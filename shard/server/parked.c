/* parked.c: see parked.h. */
#include "shard/server/parked.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"

void parked_init(struct parked *p)
{
    *p = (struct parked){0};
    list_init(&p->messages);
}

void parked_deinit(struct parked *p)
{
    for (struct parked_message *m; (m = parked_take(p)) != NULL;)
        free(m);
}

int parked_add(struct parked *p, const struct net_peer *peer, struct slice bytes)
{
    if (p->count >= PARKED_MAX || p->bytes + bytes.size > PARKED_BYTES)
        return HF_E_BUSY;
    struct parked_message *m = malloc(sizeof *m + bytes.size);
    must(m != NULL); /* out of memory */
    m->peer = *peer;
    m->size = bytes.size;
    memcpy(m->bytes, bytes.data, bytes.size);
    list_push(&p->messages, &m->link);
    p->count++;
    p->bytes += bytes.size;
    return HF_OK;
}

struct parked_message *parked_take(struct parked *p)
{
    if (list_empty(&p->messages))
        return NULL;
    struct parked_message *m = LIST_OWNER(p->messages.next, struct parked_message, link);
    list_remove(&m->link);
    p->count--;
    p->bytes -= m->size;
    return m;
}
