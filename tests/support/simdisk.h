/* simdisk.h: a `struct disk` in memory that loses what was not synced.
 *
 * Position: below shard/log in the simulator and in unit tests, in the place of disk_posix().
 * Model:    a file has a durable image, a list of writes since the last sync, and what readers see (the page cache). A
 *           name is durable once its directory was synced. A power loss keeps any part of what was not synced: each
 * write whole, torn or not at all, each name change (a rename is one change) or not. A failed sync drops its writes
 * from what may become durable while readers go on seeing them: the page cache lies, as on Linux. Stricter than ext4: a
 * sync of a new file does not make its name durable; a write may tear at any byte. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/must.h"
#include "common/sys/disk.h"

struct simdisk; /* opaque */

struct simdisk *simdisk_new(void); /* an empty root directory */
void simdisk_free(struct simdisk **sd);
struct disk *simdisk_disk(struct simdisk *sd); /* borrowed for sd's life */

/* Operations, as bits, that change or promise something. */
enum simdisk_op {
    SIMDISK_OPEN_CREATE = 1,
    SIMDISK_WRITE = 2,
    SIMDISK_ZERO_FILL = 4,
    SIMDISK_TRUNCATE = 8,
    SIMDISK_SYNC = 16,
    SIMDISK_SYNC_DIR = 32,
    SIMDISK_RENAME = 64, /* and exchange */
    SIMDISK_REMOVE = 128,
    SIMDISK_MAKE_DIR = 256,
    SIMDISK_READ = 512,
    SIMDISK_CHANGES = 511 /* all but reads */
};

/* Process gone: every operation but close fails with HF_E_IO and changes nothing, until simdisk_restart or
 * simdisk_crash. Files still open may be closed before or after. */
void simdisk_halt(struct simdisk *sd);
/* As halt, but `after` more operations of `ops` go through first (0: the next one is already too late). */
void simdisk_halt_after(struct simdisk *sd, unsigned ops, uint64_t after);
bool simdisk_halted(const struct simdisk *sd);
void simdisk_restart(struct simdisk *sd);              /* the machine stayed up: what readers saw is still seen */
void simdisk_crash(struct simdisk *sd, uint64_t seed); /* power loss: the image after it is the new truth */

/* The n-th (from 1) operation among `ops` from now on fails with `error`; `times` operations in a row do, 0: for ever.
 * A failed write leaves a random part behind it unsynced; a failed sync drops what it should have made durable.
 * n = 0 takes the fault away. */
void simdisk_fail(struct simdisk *sd, unsigned ops, uint64_t n, int error, uint64_t times);
/* Files together never grow above `bytes`: HF_E_NO_SPACE. 0: no limit. */
void simdisk_limit(struct simdisk *sd, uint64_t bytes);

/* A disk without flush: sync says yes and does nothing. To prove that checkers see it. */
void simdisk_ignore_sync(struct simdisk *sd, bool ignore);

/* Names cannot be exchanged on it: HF_E_INVALID. */
void simdisk_refuse_exchange(struct simdisk *sd);

uint64_t simdisk_count(const struct simdisk *sd, enum simdisk_op op); /* operations done since simdisk_new */
uint64_t simdisk_used(const struct simdisk *sd);                      /* bytes of all files as readers see them */
/* Inverts one bit of a file, durably and as readers see it. HF_E_ABSENT, HF_E_INVALID (offset past the end). */
HF_CHECKED int simdisk_flip(struct simdisk *sd, const char *path, uint64_t offset, unsigned bit);
