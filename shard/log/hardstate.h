/* hardstate.h: term, vote and a commit bound in a file of their own, in two copies (slots).
 *
 * Position: log.c writes it when term or vote changed, before the entries of that term (I7).
 * Both copies are written, one after the other, each synced before the next: a crash finds at least one whole copy, and
 * damage to one copy later never brings an older vote back. */
#pragma once

#include "shard/log/log.h"

#define HARDSTATE_NAME "hardstate"
#define HARDSTATE_FORMAT 1u
#define HARDSTATE_SLOT_BYTES 4096u

struct hardstate {
    struct disk *disk;      /* borrowed */
    struct disk_file *file; /* owned */
    uint64_t sequence;      /* of the newest copy; its slot is sequence % 2 */
};

/* Makes `path` with both copies, synced; its name is the caller's to make durable. HF_E_IO, HF_E_NO_SPACE, HF_E_EXISTS.
 */
HF_CHECKED int hardstate_create(struct disk *disk, const char *path, struct log_hard_state hs);
/* Reads the newer whole copy. HF_E_ABSENT, HF_E_CORRUPT (no whole copy), HF_E_FORMAT, HF_E_IO. */
HF_CHECKED int hardstate_open(struct hardstate *h, struct disk *disk, const char *path, struct log_hard_state *out);
void hardstate_close(struct hardstate *h);
/* Durable on return. HF_E_NO_SPACE: the old or the new one stands, try again. HF_E_IO. */
HF_CHECKED int hardstate_write(struct hardstate *h, struct log_hard_state hs);
