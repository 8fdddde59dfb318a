/* publishing.c: see publishing.h. */
#include "shard/server/publishing.h"

#include <stdlib.h>

#include "common/base/error.h"

#define PUBLISHING_MAX 64 /* operators' requests at a time */

struct asked {
    struct publish_wait wait;
    struct publishing *p;
    struct net_peer peer;
    uint64_t id;
};

static void answer(struct publishing *p, const struct net_peer *peer, uint64_t id, int code, uint64_t index)
{
    Hf__Client__Reply reply;
    answer_init(p->answer, &reply, id, code);
    reply.snapshot = index;
    if (code == HF_E_NO_SPACE || code == HF_E_IO)
        reply.message =
            (char *)(uintptr_t) "no snapshot was published, the replica's diagnostics say why; the log is kept";
    answer_send(p->answer, peer, &reply);
}

static void done(void *ctx, struct publish_wait *w, int code, uint64_t index)
{
    struct asked *a = LIST_OWNER(w, struct asked, wait);
    (void)ctx;
    a->p->waiting--;
    answer(a->p, &a->peer, a->id, code, code == HF_OK ? index : 0);
    free(a);
}

void publishing_ask(struct publishing *p, struct replica *replica, const struct net_peer *peer, uint64_t id,
                    uint64_t deadline_ns)
{
    if (p->waiting == PUBLISHING_MAX) {
        answer(p, peer, id, HF_E_BUSY, 0);
        return;
    }
    struct asked *a = malloc(sizeof *a);
    must(a != NULL); /* out of memory */
    *a = (struct asked){.wait = {.deadline_ns = deadline_ns, .done = done}, .p = p, .peer = *peer, .id = id};
    p->waiting++;
    replica_snapshot(replica, &a->wait);
}
