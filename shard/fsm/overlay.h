/* overlay.h: what the entries of a batch have written so far, for those among them that read (I1).
 *
 * Position: apply notes every version it writes and asks here before it asks the store.
 * Cost:     noting is an append; the index is built when the first command of the batch reads. */
#pragma once

#include "shard/fsm/versions.h"

struct overlay_write; /* one version */

struct overlay {
    struct overlay_write *writes; /* owned */
    size_t count, cap, indexed;
    uint32_t *table; /* owned; 1 + position in writes, 0: free. A power of two */
    size_t table_cap;
};

void overlay_deinit(struct overlay *o);
void overlay_clear(struct overlay *o);
/* `prefix` (vkey_prefix) and the payload are borrowed until overlay_clear. */
void overlay_note(struct overlay *o, struct slice prefix, struct version version, const struct version_value *value);
/* The newest version noted for a key; false: none. */
bool overlay_find(struct overlay *o, struct slice prefix, struct version_found *out);
/* The i-th version noted since overlay_clear, i < count, oldest first. */
void overlay_at(const struct overlay *o, size_t i, struct slice *out_prefix, struct version_found *out);
