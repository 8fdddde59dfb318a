/* replay.h: how many bytes of log lie behind an index: what a restart would replay.
 *
 * Position: publish tells it of applied entries and asks. Pure: no I/O.
 * Counts in steps of a grain: an answer is never too small, and too large by less than a grain and an entry.
 * Limits: REPLAY_MARKS; when they are used up the grain doubles. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define REPLAY_MARKS 512

struct replay_mark { /* as of the end of entry `index` */
    uint64_t index, bytes;
};

struct replay {
    struct replay_mark marks[REPLAY_MARKS]; /* rising; the first is where counting began */
    size_t count;
    uint64_t grain;
    uint64_t index, bytes; /* the last entry, and all bytes up to it */
};

void replay_init(struct replay *r, uint64_t index, uint64_t grain); /* counting begins behind `index` */
/* Entries up to `index` follow the last, `bytes` of log in all. */
void replay_add(struct replay *r, uint64_t index, uint64_t bytes);
/* Bytes of the entries above `index`; all that were counted, if counting began behind it. */
uint64_t replay_behind(const struct replay *r, uint64_t index);
