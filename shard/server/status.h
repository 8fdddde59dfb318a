/* status.h: what a shard process says of itself to `status`.
 *
 * Position: front (a member) and fresh (not yet one) answer with it. Thread: loop thread. */
#pragma once

#include "proto/client.pb-c.h"
#include "shard/replica/replica.h"

#define STATUS_LIMITS_MAX 32

#define STATUS_ENGINES_MAX 8

/* NULL: the group never heard of one. Borrowed from `buffer` and `info`. */
Hf__Entry__MigrationRecord *status_migration(struct fsm_migration_record *buffer, const struct fsm_info *info);

struct status_buffer { /* memory of one status; borrowed by the message */
    Hf__Client__Status status;
    Hf__Client__Status__LimitsEntry limits[STATUS_LIMITS_MAX];
    Hf__Client__Status__LimitsEntry *limit_list[STATUS_LIMITS_MAX];
    uint8_t digest[DIGEST_BYTES], check_digest[DIGEST_BYTES];
    struct fsm_migration_record migration;
    char *engines[STATUS_ENGINES_MAX];
};

/* `replica` is NULL while the directory is fresh. Borrowed from `buffer` and the replica's state: pack it at once. */
Hf__Client__Status *status_fill(struct status_buffer *buffer, const struct directory *directory,
                                const struct replica *replica);
