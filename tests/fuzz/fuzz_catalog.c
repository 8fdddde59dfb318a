/* fuzz_catalog.c: any bytes as routes, and as the files identity and peers. What passes the checks must be usable. */
#include "common/base/error.h"
#include "proto/pack.h"
#include "proto/routes.h"
#include "shard/log/identity.h"
#include "tests/support/simdisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_routes(struct slice bytes)
{
    Hf__Catalog__Routes *routes = hf__catalog__routes__unpack(NULL, bytes.size, bytes.data);
    if (routes && routes_check(routes) == HF_OK) {
        size_t i = routes_find(routes, bytes);
        must(i < routes->n_routes && routes_shard(routes, routes->routes[i]->shard));
    }
    if (routes)
        hf__catalog__routes__free_unpacked(routes, NULL);
}

static void as_files(struct slice bytes)
{
    struct simdisk *sd = simdisk_new();
    struct disk *disk = simdisk_disk(sd);
    must(disk->ops->make_dir(disk, "d") == HF_OK);
    must(disk_replace(disk, "d/identity", bytes) == HF_OK);
    must(disk_replace(disk, "d/peers", bytes) == HF_OK);
    struct identity id;
    if (identity_read(disk, "d", &id) == HF_OK)
        must(id.format == IDENTITY_FORMAT && id.engine[IDENTITY_ENGINE_BYTES - 1] == '\0');
    Hf__Catalog__Members *members = NULL;
    if (peers_read(disk, "d", &members) == HF_OK) {
        must(peers_check(members) == HF_OK);
        hf__catalog__members__free_unpacked(members, NULL);
    }
    simdisk_free(&sd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    as_routes(slice_make(data, size));
    as_files(slice_make(data, size));
    return 0;
}
