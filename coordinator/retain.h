/* retain.h: timestamps that somebody still reads at: collection on the shards waits for them (docs/protocol/collection.md).
 *
 * Position: clients ask the active coordinator, which tells the leaders with each lease. Pure: time is an argument.
 * Thread:   loop thread only.
 * Whoever becomes the active one does not know what was promised by the one before: for as long as a promise lasts at most it
 * says nothing, and nothing is collected. Promises are leases: who reads on asks again in time, whoever is active then.
 * Words to leaders come late or not at all, and the one before stands then: so none ever names a time of which somebody may
 * still ask for a promise, which is to be done within lease_max_ms of its being issued. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/hlc.h"
#include "common/base/must.h"

struct retained {
    uint64_t id; /* chosen by who asks */
    struct hlc t;
    uint64_t until_ns;
};

struct retain {
    uint64_t lease_max_ms;
    struct retained *all; /* owned, in no order */
    size_t count;
    bool was_active;
    struct hlc before,
        latest; /* the last one issued lease_max_ms ago or earlier (0: not active then), and when it was looked at last */
    uint64_t next_ns; /* when it is taken again */
};

void retain_init(struct retain *r, uint64_t lease_max_ms);
void retain_deinit(struct retain *r);

/* `active`: this coordinator issues timestamps at this moment. `issued`: the last timestamp it issued, read before now_ns was. */
void retain_tick(struct retain *r, bool active, struct hlc issued, uint64_t now_ns);

/* What is read at `t` and above stays for lease_ms from now, at most lease_max_ms; the same id again is the same reader, who may
 * move on to later timestamps (who goes back takes another id); lease_ms 0: he is gone. *out_ms: what was granted. HF_E_BUSY: too many (RETAIN_MAX). */
HF_CHECKED int retain_ask(struct retain *r, uint64_t id, struct hlc t, uint32_t lease_ms, uint64_t now_ns,
                          uint32_t *out_ms);

/* What leaders are told: nothing at or above it is collected; 0: nothing at all. `now`: the oracle's time. */
struct hlc retain_lowest(const struct retain *r, struct hlc now);
