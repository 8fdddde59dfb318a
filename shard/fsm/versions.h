/* versions.h: values of 'd' records, and the newest one a reader at T sees.
 *
 * Position: apply, fsm_get and scan. */
#pragma once

#include "common/base/arena.h"
#include "common/base/must.h"
#include "shard/fsm/vkey.h"
#include "shard/store/store.h"

enum version_flag {
    VERSION_DELETE = 1,  /* the key was deleted: no payload */
    VERSION_EXPIRES = 2, /* an expiry follows the flags */
    VERSION_SEALED = 4   /* reserved: the payload is encrypted */
};

struct version_value {
    uint8_t flags;
    struct hlc expiry; /* with VERSION_EXPIRES: dead from this time on */
    struct slice payload;
};

/* 0: never. */
static inline struct hlc versions_expiry(const struct version_value *value)
{
    return value->flags & VERSION_EXPIRES ? value->expiry : (struct hlc){0};
}

struct slice versions_encode(struct arena *arena, const struct version_value *value);
bool versions_decode(struct slice bytes, struct version_value *out); /* false: damaged (I11) */

struct version_found {
    struct version version;
    struct version_value value; /* borrowed until the iterator moves */
};

/* The newest version below `at` (0: of all) of the key whose vkey_prefix is `prefix`, delete markers included.
 * `it` is a prefix iterator. HF_E_NOT_FOUND, HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int versions_newest(struct store_iterator *it, struct slice prefix, struct hlc at,
                               struct version_found *out);

/* Is there a value: not a delete, not expired at `now`, not older than the newest prefix marker over it? */
static inline bool versions_live(const struct version_found *found, struct version marker, struct hlc now)
{
    if (found->value.flags & VERSION_DELETE)
        return false;
    if ((found->value.flags & VERSION_EXPIRES) && found->value.expiry.t <= now.t)
        return false;
    return version_compare(found->version, marker) > 0;
}
