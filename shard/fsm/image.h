/* image.h: the whole state as of one applied index, for readers that take their time: the hash of a consistency check, the
 * records of a backup.
 *
 * Position: made by the loop thread between two calls of fsm_apply, then read by one thread, its own or the loop's. It
 *           keeps RocksDB from letting go of what it shows.
 * Thread:   image_new by the loop thread; everything else by whoever has it. To be freed before fsm_close. */
#pragma once

#include <stdatomic.h>

#include "shard/fsm/fsm.h"

struct image; /* opaque */

struct image *image_new(struct fsm *fsm);
void image_free(struct image **image);

/* Of the state shown; members and range are in the image. */
const struct fsm_info *image_info(const struct image *image);

/* BLAKE2b-256 over every record, and how many there are. Equal states give equal digests wherever batches were cut and
 * files were compacted. HF_E_AGAIN: *cancel became true. HF_E_CORRUPT, HF_E_IO: where[] says which file. */
HF_CHECKED int image_digest(struct image *image, const _Atomic bool *cancel, uint8_t out[DIGEST_BYTES],
                            uint64_t *out_records, char where[256]);

/* Everything in `dir`, which nobody has open, read and hashed; nothing is changed. *out_info as fsm_peek, set also when only
 * the rest is damaged (then *out_records is what was read before). HF_E_ABSENT, HF_E_CORRUPT, HF_E_FORMAT, HF_E_IO. */
HF_CHECKED int image_look(const char *dir, struct arena *arena, struct fsm_info *out_info, uint8_t out[DIGEST_BYTES],
                          uint64_t *out_records, char where[256]);

struct image_item { /* a live value; borrowed until the next call */
    struct slice key, value;
    struct version version;
    struct hlc expiry; /* 0: it lives for ever */
};

/* The user space's live keys in order, each with its newest version below `at` (0: of all); `at` is the same in every call.
 * `now` decides expiry. Looks at `*steps` records at most and
 * lowers it by what it looked at: HF_E_AGAIN when nothing was found among them, HF_E_NOT_FOUND at the end. HF_E_TOO_OLD: `at` is below the watermark of
 * collection. HF_E_CORRUPT, HF_E_IO as above. */
HF_CHECKED int image_next(struct image *image, struct hlc at, struct hlc now, size_t *steps, struct image_item *out,
                          char where[256]);
