/* limits.h: the coordinator's own bounds and periods (I12); what travels is bounded by common/base/limits.h. */
#pragma once

#include <stdint.h>

#include "common/base/limits.h"

#define COORDINATOR_CATALOG_SHARD 1u /* the group that holds the catalog */

/* What waits. */
#define FORWARD_SHARD_REQUESTS 4096u /* requests held for one shard, default of --queue-max */
#define FORWARD_SHARD_BYTES                                                                                            \
    ((uint64_t)64 * 1024 * 1024) /* and their bytes, so that a silent shard takes no other's room */
#define CALLS_MAX 8192u          /* own questions to shards in flight */
#define STATUS_GATHERS_MAX 16u   /* cluster_status requests answered at once */
#define LINKS_MAX 8192u          /* connections to replicas */
#define LINK_HWM_SLACK 4096      /* messages of our own beside the forwarded ones in a socket */
#define FRONT_HWM 16384          /* replies that may wait for one client */
#define TURN_MESSAGES 256u       /* taken from one socket in one turn */

/* What is waited for, in milliseconds. */
#define TICK_MS 5u
#define REQUEST_DEADLINE_MS_MAX 600000u /* a client that asks for longer gets this */
#define REQUEST_MARGIN_PERCENT 5u       /* of the client's time kept for the way of our answer back to it, */
#define REQUEST_MARGIN_MS_MAX 50u       /* at most this */
#define RETRY_MS_MIN 5u                 /* after a refusal, doubled up to */
#define RETRY_MS_MAX 100u
#define RESEND_MS_MIN 500u /* after silence, doubled up to */
#define RESEND_MS_MAX 4000u
#define CALL_MS 1000u /* an own question to a leader is given up after this */
#define STATUS_POLL_MS 250u
#define STATUS_POLL_EAGER_MS 50u /* while a shard's leader is unknown */
#define STATUS_GATHER_MS 700u
#define LINK_SILENT_MS 2000u /* without any answer for so long a replica gets no beats */
#define CATALOG_RELOAD_MS 5000u
#define CATALOG_RETRY_MS 50u /* while no routes are known, or newer ones were heard of */
#define RENEWAL_MS 1000u
#define RENEWAL_RETRY_MS 100u
#define BEAT_MS 50u
#define DRAIN_MS_MAX 5000u /* after SIGTERM: what is in flight is waited for so long */
#define DRAIN_FLUSH_MS 50  /* and the last answers get this to leave the socket */
#define CUT_CALL_MS 400u   /* less than a hold lasts */
#define CUT_RETRY_MS 50u
#define CUT_CLIENTS_MAX 1024u
#define RETAIN_MAX 1024u          /* readers that collection waits for */
#define RETAIN_LEASE_SECONDS "30" /* default of --retain-lease-seconds */

/* Transactions. */
#define TXNS_MAX 4096u /* driven at once */
#define TXNS_BYTES_MAX ((uint64_t)256 * 1024 * 1024)
#define TXNS_PIECES_MAX 262144u /* of one, after it is cut by the routes */
#define TXNS_REDRAWS_MAX 8u     /* timestamps drawn anew because a shard reads nothing at the last */
#define TXNS_CALL_MS 1000u      /* a question is given up after this, and asked again */
#define TXNS_WORK_MS                                                                                                   \
    10000u                /* not decided after so long: undone, whatever the client would wait: others meet its locks */
#define TXNS_UNDO_MS 300u /* of the client's time kept for the way back */
#define TXNS_GRACE_MS 2000u /* an answer of home is waited for so much longer than the client does, */
#define TXNS_TELL_MS 3000u  /* and the others are told for so long */
#define TXNS_TTL_MS "3000"  /* default of --txn-ttl-ms */

/* Transactions that nobody drives, and locks in the way of requests. */
#define RESOLVE_PERIOD_MS 500u      /* every shard is asked for its transactions so often */
#define RESOLVE_SKIPPED_MS 50u      /* or so soon again, if there was no room for all of them */
#define RESOLVE_CALL_MS 1000u       /* a question is given up after this */
#define RESOLVE_REST_MS 100u        /* an undecided transaction is not looked at again before */
#define RESOLVE_PAGE 256u           /* transactions in one answer */
#define RESOLVE_ASKS_MAX 4096u      /* questions in flight, */
#define RESOLVE_SHARD_ASKS_MAX 256u /* and to one shard */
#define RESOLVE_RESTING_MAX 4096u
#define RESOLVE_CLIENTS_MAX 4096u     /* that wait for a look, */
#define RESOLVE_LOOK_CLIENTS_MAX 256u /* and for one */
#define LOCKED_MS_MIN 2u              /* pause of a request that met a lock, doubled up to */
#define LOCKED_MS_MAX 50u

/* The migration job. */
#define MIGRATE_CLIENTS_MAX 64u   /* operators that wait for an answer */
#define MIGRATE_PARALLEL_MAX 64u  /* shards under way at once */
#define MIGRATE_LOOK_MS 50u       /* pause between two looks at a shard that is under way, */
#define MIGRATE_LOOK_SLOW_MS 500u /* and at one that does not move */
#define MIGRATE_LOOK_SLOW_AFTER_MS 5000u
#define MIGRATE_STATUS_MS 700u                            /* a member's answer is waited for so long, */
#define MIGRATE_STEP_MS 2000u                             /* a leader's to a step, */
#define MIGRATE_PUBLISH_MS 10000u                         /* and a member's snapshot */
#define MIGRATE_STUCK_MS 60000u                           /* a shard that does not move for so long stops the job */
#define MIGRATE_RETRY_MS 100u                             /* to the catalog */
#define MIGRATE_NEAR 4096u                                /* entries that a member may be behind when it begins */
#define MIGRATE_REPLAY_BYTES ((uint64_t)16 * 1024 * 1024) /* of log that is not durable in a state, likewise */

/* The clock. */
#define CLOCK_LEASE_MS 1500u          /* of the active coordinator, from the sending of its last compare-and-set */
#define CLOCK_TAKEOVER_MARGIN_MS 150u /* a standby waits so much longer: clocks of two machines differ in rate */
#define CLOCK_CEILING_AHEAD_MS 3000u
#define CLOCK_CEILING_MAX (UINT64_C(1) << 61) /* no ceiling of a wall clock lies there (the year 3084) */
#define CLOCK_RENEW_MS 500u
#define CLOCK_WATCH_MS 100u /* a standby looks so often: what it sees late it takes over late */
#define CLOCK_RETRY_MS 50u
#define CLOCK_JUMP_MS_MAX 600000u /* a wall clock further ahead of the committed ceiling is not believed */
/* How far above now a client may ask for a timestamp: above a shard's ceiling, which a coordinator without the oracle raised by
 * a wall clock that it just believed. */
#define CLOCK_ABOVE_MS_MAX (CLOCK_JUMP_MS_MAX + 60000u)
