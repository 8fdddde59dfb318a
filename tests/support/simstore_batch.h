/* simstore_batch.h: writes that go in together, for simstore.c and simstore_batch.c only. */
#pragma once

#include "shard/store/store.h"

struct change {
    bool deleted;
    size_t key, value, key_size, value_size; /* offsets in bytes */
};

struct store_batch {
    struct buf changes, bytes;
};
