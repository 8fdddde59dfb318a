/* backup.h: the shard's live content as one stream (snapshot/stream.h, sections of records), part by part, for
 * `holdfast backup create`.
 *
 * Position: front asks for a part where it would look a read up: leadership is certain then, so the content holds all that
 *           was acknowledged before the first part was asked for.
 * Thread:   loop thread; a part is bounded in bytes and in records looked at.
 * Limits:   two views at once (I12). One that nobody asks for makes room for a third after 5 s and is gone after 20 s; one
 *           whose client ends early gives it back. */
#pragma once

#include "shard/replica/directory.h"

#define BACKUP_GIVEN_UP UINT64_MAX /* as an offset: nobody goes on with this view */

struct backup;

struct backup *backup_new(void);
void backup_free(struct backup **b);
/* Before the state machine is closed: all views are gone. */
void backup_stop(struct backup *b);
/* Once a turn, before its parts: what time it is. */
void backup_expire(struct backup *b, uint64_t now_ns);

struct backup_part {
    uint64_t view;
    struct slice bytes; /* borrowed until the next call */
    bool more;
};

/* What a view shows. */
struct backup_when {
    struct hlc at;  /* versions below it; 0: the newest */
    struct hlc now; /* decides expiry */
};

/* view 0: begins, with what `when` says. The part at `offset` is the one asked for last, again, or the one behind it; BACKUP_GIVEN_UP ends the view,
 * with no part.
 * HF_E_BUSY: two are under way, where[] says so. HF_E_ABSENT: no such view (any more), or not its place: begin again.
 * HF_E_CORRUPT, HF_E_IO: the state cannot be read, where[] says which file. */
HF_CHECKED int backup_part(struct backup *b, struct fsm *fsm, const struct backup_when *when, uint64_t view,
                           uint64_t offset, struct backup_part *out, char where[256]);
