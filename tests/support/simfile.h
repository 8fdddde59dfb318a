/* simfile.h: the content of one file of simdisk: what is durable, what readers see, and the changes in between. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/random.h"

#define SIMFILE_SECTOR_BYTES 512u

/* How a power loss treats changes that were not synced; drawn once for the whole disk. */
enum simfile_loss {
    SIMFILE_NOTHING_KEPT,
    SIMFILE_PREFIX_TORN, /* some first changes, the last of them torn at a byte */
    SIMFILE_SOME_KEPT,   /* each change or not, the last one torn at a byte */
    SIMFILE_SECTORS,     /* each sector of each write or not */
    SIMFILE_ALL_KEPT,
    SIMFILE_LOSSES /* how many */
};

struct simfile_change; /* a write, or a new size */

struct simfile {
    struct buf image;               /* what a power loss leaves at least */
    struct buf cache;               /* what readers see */
    struct simfile_change *changes; /* owned, oldest first: not synced */
    size_t change_count, change_cap;
};

void simfile_deinit(struct simfile *f);
void simfile_write(struct simfile *f, uint64_t offset, const void *data, size_t size);
void simfile_resize(struct simfile *f, uint64_t bytes); /* grows by zeros or cuts */
void simfile_sync(struct simfile *f);
/* Forgets the changes, some of which became durable: a failed sync. Readers go on seeing them. */
void simfile_forget(struct simfile *f, struct random *random);
void simfile_crash(struct simfile *f, enum simfile_loss loss, struct random *random);
void simfile_flip(struct simfile *f, uint64_t offset, unsigned bit); /* offset inside both image and cache */
