/* recover.h: what a log's directory says after a crash: every frame of every segment checked and replayed.
 *
 * Position: log_open calls it once; afterwards the last segment is open for writing.
 * States of the bytes at the end of a segment's good frames:
 *   not the last segment        the next segment's first sequence number follows the last good frame's, or it is damage
 *   last, a later frame found   damage (I13): a frame is written only after the one before it was durable
 *   last, nothing follows       a torn tail, or nothing at all: overwritten with zeros, so that it is never read */
#pragma once

#include "shard/log/log.h"
#include "shard/log/segments.h"
#include "shard/log/view.h"

#define RECOVER_WHERE_BYTES 256

struct recover_window; /* opaque */

struct recovery {
    struct view view;  /* the caller's to take or view_deinit */
    uint64_t sequence; /* of the next frame */
    uint64_t commit;   /* of the last frame */
    struct log_report report;
    uint64_t base, base_term;           /* the newest base read */
    uint64_t last_segment, last_offset; /* place of the last good frame; last_segment 0: there is none */
    uint32_t last_bytes;
    uint64_t end;                  /* behind the good frames of the last segment */
    uint64_t torn_bytes;           /* to be overwritten from there on */
    struct recover_window *window; /* owned */
};

/* Replays `s`, which is loaded and not empty. HF_E_CORRUPT, HF_E_FORMAT, HF_E_IO: out_where says file, offset and what;
 * *out is to be deinitialised nevertheless. Writes nothing. */
HF_CHECKED int recover_read(struct segments *s, struct recovery *out, char out_where[RECOVER_WHERE_BYTES]);

/* Makes what was read count as stored (I6: it may have been the page cache's): writes the last segment's last frame
 * again, zeros what may be torn behind it, syncs both and the directory. The last segment is then open for writing.
 * HF_E_NO_SPACE, HF_E_IO. */
HF_CHECKED int recover_settle(struct segments *s, struct recovery *r);

void recover_deinit(struct recovery *r);
