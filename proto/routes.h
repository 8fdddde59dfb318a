/* routes.h: reading a Routes message: is it well formed, and which shard owns a key.
 *
 * Position: client and coordinator both route by it. */
#pragma once

#include "common/base/must.h"
#include "common/base/slice.h"
#include "proto/catalog.pb-c.h"

/* Bounds every count and length; ranges sorted, without gap or overlap, covering all keys; every shard named exists.
 * HF_E_LIMIT, HF_E_INVALID. Only a message that passed may be given to the functions below. */
HF_CHECKED int routes_check(const Hf__Catalog__Routes *routes);

/* The index in `routes->routes` of the range that holds `key`; always found after routes_check. */
size_t routes_find(const Hf__Catalog__Routes *routes, struct slice key);

/* The members of `shard`, or NULL. */
const Hf__Catalog__Shard *routes_shard(const Hf__Catalog__Routes *routes, uint32_t shard);
