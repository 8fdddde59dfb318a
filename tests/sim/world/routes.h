/* routes.h: the routes of the world's two shards. */
#pragma once

#include "common/base/buf.h"
#include "tests/sim/world/process.h"

/* As the catalog holds them; `wrong`: every key with shard 1. */
void routes_packed(uint64_t version, bool wrong, struct buf *out);
