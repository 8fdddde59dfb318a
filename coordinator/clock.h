/* clock.h: the oracle's rules without any input or output: who may issue timestamps, below which ceiling, for how long
 * (I8).
 *
 * Position: oracle.c carries its wishes to the catalog key "oracle" and brings the answers back; front.c and beat.c
 * draw timestamps. Time is an argument: `wall_ms` since 1970, `boot_ns` of CLOCK_BOOTTIME.
 *
 *     STANDBY → ACTIVE   [clock_proposed: our compare-and-set with epoch + 1 stands]
 *     ACTIVE  → STANDBY  [clock_read: the key holds what we never proposed]
 *
 * How a proposal lives: it stays byte for byte the same until its fate is known. An unanswered compare-and-set may
 * still be in some leader's log; repeating the same bytes makes every order of events harmless: whichever copy stands,
 * it is ours, and the lease counts from the first sending.
 *
 * Invariants (clock_check): last < ceiling while active; neither `last` nor `ceiling` ever falls. */
#pragma once

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/hlc.h"
#include "common/base/limits.h"
#include "common/base/must.h"

#define CLOCK_ENDPOINT_BYTES (LIMIT_TEXT_BYTES + 1)

enum clock_role { CLOCK_STANDBY, CLOCK_ACTIVE };

enum clock_wish { CLOCK_NOTHING, CLOCK_READ, CLOCK_PROPOSE };

/* The value of the key as somebody wrote it; `bytes` is what a compare-and-set must name. */
struct clock_key {
    bool present;
    uint64_t epoch, beat;
    uint32_t coordinator;
    struct hlc ceiling;
    struct buf bytes;
};

struct clock {
    uint32_t id;          /* of this coordinator */
    const char *endpoint; /* borrowed; told to others */
    uint64_t nonce;       /* where our beats begin: tells our writes from those of another process with the same id */

    enum clock_role role;
    struct hlc last;       /* highest issued here, or the floor we start above */
    struct hlc ceiling;    /* committed, by whoever: never issue at or above */
    struct hlc seen;       /* highest timestamp heard of */
    uint64_t seen_ns;      /* boot time at which it was; clock_heard */
    struct hlc wanted;     /* somebody asks for a timestamp above: the ceiling is to be raised over it */
    uint64_t lease_end_ns; /* boot time; only while active */

    struct clock_key key; /* as last read or as our last standing proposal */
    bool key_known;
    char key_endpoint[CLOCK_ENDPOINT_BYTES]; /* the holder's */
    uint64_t changed_ns;                     /* boot time at which we last saw it change */
    uint64_t read_ns;                        /* and last read it */

    struct buf proposal; /* bytes; empty: none */
    struct hlc proposal_ceiling, proposal_now;
    uint64_t proposal_epoch, proposal_beat;
    uint64_t proposal_sent_ns; /* its first sending */
    bool proposal_doubtful;    /* handed to a socket and not surely refused */
    bool must_read;            /* the proposal's fate is only told by the key */

    uint64_t renewed_ns;                    /* first sending of the last standing proposal */
    bool wall_refused;                      /* reported until it is believed again */
    uint64_t accepted_from_ms, accepted_ms; /* an operator's word, until the committed ceiling is above it; 0: none */
    uint64_t anchor_ms,
        anchor_ns; /* last believed wall time and its boot time: time goes on from there while refused */
    uint64_t behind_ms,
        behind_ns; /* oracle's and boot time when the wall clock was found behind: time goes on slowly; ns 0: it is not */
};

void clock_init(struct clock *c, uint32_t id, const char *endpoint, uint64_t nonce);
void clock_deinit(struct clock *c);
void clock_check(const struct clock *c); /* must() on the invariants */

/* What to ask the catalog now. CLOCK_PROPOSE: send compare-and-set of key.bytes (absent when !key.present) to
 * `proposal`. The caller has at most one question open and reports it by one of the three below. */
enum clock_wish clock_wish(struct clock *c, uint64_t wall_ms, uint64_t boot_ns);

/* The proposal was handed to a socket at boot_ns. To be called for every sending. */
void clock_sent(struct clock *c, uint64_t boot_ns);

/* What became of the compare-and-set: HF_OK it stands, HF_E_COMPARE_FAILED, another code of class "surely not done",
 * or HF_E_OUTCOME_UNKNOWN (also for no answer at all). */
void clock_proposed(struct clock *c, int code, uint64_t boot_ns);

/* The key was read; `value` is empty with present = false when it is absent. HF_E_CORRUPT: not an oracle; nothing
 * changed. */
HF_CHECKED int clock_read(struct clock *c, bool present, struct slice value, uint64_t boot_ns);

/* Draws the next timestamp. HF_E_NOT_LEADER: standby. HF_E_UNAVAILABLE: at the ceiling. The caller then calls
 * clock_holds with a boot time read after the draw, and lets the timestamp leave only if that is true. */
HF_CHECKED int clock_draw(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out);
/* Likewise, above `above`, which some server told. HF_E_FUTURE_TIMESTAMP: none can have. HF_E_NOT_READY: the ceiling is
 * raised over it first. */
HF_CHECKED int clock_draw_above(struct clock *c, struct hlc above, uint64_t wall_ms, uint64_t boot_ns, struct hlc *out);
bool clock_holds(const struct clock *c, uint64_t boot_ns);

/* A timestamp somebody reports. Believed only up to the highest ceiling known (I11). */
void clock_observe(struct clock *c, struct hlc t);

/* Likewise, and remembers when, so that a standby knows the oracle's time. */
void clock_heard(struct clock *c, struct hlc t, uint64_t boot_ns);

struct clock_accepted {
    uint64_t from_ms, to_ms; /* the oracle's time before, and the wall clock it follows from now on */
};

/* An operator says that the refused wall clock is right. It is so for good when a ceiling above it is committed, which the
 * next proposal brings: until then HF_E_OUTCOME_UNKNOWN, to be called again. Once HF_OK; then HF_E_NOT_FOUND: the wall
 * clock is believed. HF_E_NOT_LEADER: standby. HF_E_REFUSED: no time that a ceiling may have. */
HF_CHECKED int clock_accept(struct clock *c, uint64_t wall_ms, uint64_t boot_ns, struct clock_accepted *out);

/* How far the wall clock is ahead of the oracle's time, which a standby knows from what shards report, some hundred
 * milliseconds late. 0 while nothing is known. */
int64_t clock_skew_ms(struct clock *c, uint64_t wall_ms, uint64_t boot_ns);

/* max(believed wall, highest known timestamp): what a shard's lease is renewed from, also by a standby. */
struct hlc clock_now(struct clock *c, uint64_t wall_ms, uint64_t boot_ns);

/* Somebody holds the key and changed it within the last lease time. */
bool clock_other_alive(const struct clock *c, uint64_t boot_ns);
