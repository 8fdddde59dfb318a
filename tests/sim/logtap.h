/* logtap.h: what every replica's log holds, in memory and durably, seen at the calls between engine and log.
 *
 * Position: the linker leads the engine's calls of log_open, log_append … through here (-Wl,--wrap); the product's
 *           own libraries are linked unchanged. */
#pragma once

#include "shard/log/log.h"
#include "tests/sim/column.h"

struct shadow {
    uint64_t base;           /* index behind which the log was created, or began anew */
    uint64_t synced_base;    /* as of the last log_sync */
    struct column lost_term; /* durable once, before the log was damaged */
    uint64_t lost_last;
    struct column term, hash; /* by index: as appended. Entries that were trimmed stay here */
    uint64_t last;
    struct log_hard_state hard;
    struct column synced_term, synced_hash; /* as of the last log_sync that returned 0 */
    uint64_t synced_last;
    struct log_hard_state synced_hard;
    uint64_t changed_from;                  /* lowest index that differs from the synced part; last + 1: none */
    struct column opened_term, opened_hash; /* what the last log_open found */
    uint64_t opened_first, opened_last;
    struct log_hard_state opened_hard;
};

/* Of one replica; `node` must stay where it is. */
struct node;
void logtap_begin(struct node *node); /* the calls that follow are this replica's */
void logtap_end(void);
struct node *logtap_node(void); /* whose calls these are; NULL: nobody's */
void shadow_create(struct shadow *s, uint64_t index, uint64_t term);
void shadow_lose(struct shadow *s, uint64_t index, uint64_t term); /* was damaged, begins anew; term and vote stay */
/* After CHECK_OPENED was judged: what was found is what the replica goes on with. */
void shadow_adopt(struct shadow *s);
uint64_t shadow_durable(const struct shadow *s); /* last index up to which the log in memory is durable */
void shadow_deinit(struct shadow *s);
uint64_t logtap_hash(enum log_kind kind, struct slice data); /* never 0 */
