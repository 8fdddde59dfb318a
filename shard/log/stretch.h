/* stretch.h: entries read back from the segments, checked again (I11).
 *
 * Position: log.c answers reads of what is not in memory, look.c shows entries of a log that nobody has open. */
#pragma once

#include "shard/log/recover.h"

/* Entries [from, from + count), all of which stretch `v` holds; slices in the arena. HF_E_CORRUPT, HF_E_IO: where[] says file, offset
 * and what. */
HF_CHECKED int stretch_read(struct segments *segments, const struct view_stretch *v, uint64_t from, uint64_t count,
                            struct arena *arena, struct log_entry *out, char where[RECOVER_WHERE_BYTES]);
