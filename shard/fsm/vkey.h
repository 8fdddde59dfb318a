/* vkey.h: record keys of the state machine: what they are made of and back (shard/fsm/README.md has the bytes).
 *
 * Position: everything that builds or reads a record key in this folder.
 * Order:    records of a user key are together, newest first; user keys are in byte order, also when one is a prefix of
 *           another. */
#pragma once

#include <stdbool.h>

#include "common/base/arena.h"
#include "common/base/hlc.h"
#include "common/base/limits.h"
#include "common/base/slice.h"

enum vkey_kind { VKEY_DATA = 'd', VKEY_MARKER = 'p', VKEY_SESSION = 's', VKEY_META = 'm', VKEY_TXN = 't' };

#define VKEY_VERSION_BYTES ((size_t)16)
#define VKEY_SESSION_BYTES ((size_t)9)
/* kind, space, every byte escaped, terminator */
#define VKEY_PREFIX_MAX (2 + 2 * (size_t)LIMIT_KEY_BYTES + 2)

/* Kind, space, escaped key, terminator: what all versions of a key begin with. Room for a version follows in the arena.
 */
struct slice vkey_prefix(struct arena *arena, enum vkey_kind kind, uint8_t space, struct slice key);
/* The same bytes + version; `prefix` came from vkey_prefix and is extended in place, so only one version is live. */
struct slice vkey_versioned(struct slice prefix, struct version version);
/* Where the search for the newest version with timestamp < at begins; at 0: the newest of all. In place as above. */
struct slice vkey_seek(struct slice prefix, struct hlc at);

/* Length of the part of a record key up to its terminator, 0 when it has none (store_config.prefix). Pure. */
size_t vkey_prefix_length(struct slice record);

struct vkey {
    enum vkey_kind kind;
    uint8_t space;
    struct slice prefix; /* borrowed from the record */
    struct version version;
};
/* A 'd' or 'p' record key; false: not one (I11). */
bool vkey_decode(struct slice record, struct vkey *out);
/* The user key inside a prefix, in the arena; false: bad escape or too long (I11). */
bool vkey_user(struct slice prefix, struct arena *arena, struct slice *out);

void vkey_session(uint64_t id, uint8_t out[VKEY_SESSION_BYTES]);
