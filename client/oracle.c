/* oracle.c: see oracle.h. */
#include "client/oracle.h"

#include "client/peer.h"
#include "common/sys/clock.h"

#define SILENT_NS (1000 * CLOCK_NS_PER_MS) /* so long one that did not answer is asked after the others only */

static bool silent(const struct hf *h, const struct peer *p)
{
    return p->silent_ns != 0 && h->now_ns - p->silent_ns < SILENT_NS;
}

static struct peer *next_of_list(struct hf *h)
{
    struct peer *any = NULL;
    for (uint32_t i = 0; i < h->coordinators; i++) {
        h->oracle_next = (h->oracle_next + 1) % h->coordinators;
        struct peer *p = peer_get(h, h->coordinator_text[h->oracle_next]);
        if (p && !silent(h, p))
            return p;
        any = p ? p : any;
    }
    return any;
}

struct peer *oracle_peer(struct hf *h)
{
    if (!h->oracle)
        h->oracle = next_of_list(h);
    return h->oracle;
}

void oracle_lives(struct hf *h, struct peer *p, const Hf__Client__Reply *reply)
{
    if (!h->oracle && reply->shard == 0) /* not a replica */
        h->oracle = p;
}

void oracle_leave(struct hf *h, const struct peer *p, const char *hint)
{
    if (h->oracle != p)
        return;
    struct peer *named = peer_get(h, hint);
    h->oracle = named && named != p && !silent(h, named) ? named : NULL;
}

void oracle_silent(struct hf *h, struct peer *p)
{
    p->silent_ns = h->now_ns;
    oracle_leave(h, p, NULL);
}

bool oracle_mistaken(const struct hf_future *r, const Hf__Client__Reply *reply)
{
    return oracle_answers(r) && reply->code != HF_OK && reply->shard != 0;
}
