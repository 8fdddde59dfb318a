/* routes.c: see routes.h. */
#include "tests/sim/world/routes.h"

#include <stdio.h>

#include "proto/catalog.pb-c.h"
#include "proto/pack.h"

static void fill_shard(uint32_t shard, Hf__Catalog__Shard *out, Hf__Catalog__Member *all,
                       Hf__Catalog__Member **pointers, char names[][2][WORLD_ENDPOINT])
{
    hf__catalog__shard__init(out);
    out->shard = shard;
    out->n_members = WORLD_REPLICAS;
    out->members = pointers;
    for (uint32_t i = 0; i < WORLD_REPLICAS; i++) {
        snprintf(names[i][0], WORLD_ENDPOINT, "w:%u/%u/c", shard, i + 1);
        snprintf(names[i][1], WORLD_ENDPOINT, "w:%u/%u/r", shard, i + 1);
        hf__catalog__member__init(&all[i]);
        all[i].replica = i + 1;
        all[i].incarnation = shard * 100 + i + 1;
        all[i].client_endpoint = names[i][0];
        all[i].raft_endpoint = names[i][1];
        pointers[i] = &all[i];
    }
}

void routes_packed(uint64_t version, bool wrong, struct buf *out)
{
    char names[WORLD_SHARDS][WORLD_REPLICAS][2][WORLD_ENDPOINT];
    Hf__Catalog__Member members[WORLD_SHARDS][WORLD_REPLICAS], *pointers[WORLD_SHARDS][WORLD_REPLICAS];
    Hf__Catalog__Shard shards[WORLD_SHARDS], *shard_pointers[WORLD_SHARDS];
    Hf__Catalog__Range ranges[2] = {HF__CATALOG__RANGE__INIT, HF__CATALOG__RANGE__INIT};
    Hf__Catalog__Route routes[2] = {HF__CATALOG__ROUTE__INIT, HF__CATALOG__ROUTE__INIT};
    Hf__Catalog__Route *route_pointers[2] = {&routes[0], &routes[1]};
    uint8_t border = 'm';
    for (uint32_t s = 0; s < WORLD_SHARDS; s++) {
        fill_shard(s + 1, &shards[s], members[s], pointers[s], names[s]);
        shard_pointers[s] = &shards[s];
        routes[s].range = &ranges[s];
        routes[s].shard = wrong ? 1 : s + 1;
    }
    ranges[0].catalog = true;
    ranges[0].end = ranges[1].start = (ProtobufCBinaryData){.len = 1, .data = &border};
    Hf__Catalog__Routes all = HF__CATALOG__ROUTES__INIT;
    all.version = version;
    all.cluster = WORLD_CLUSTER;
    all.n_routes = 2;
    all.routes = route_pointers;
    all.n_shards = WORLD_SHARDS;
    all.shards = shard_pointers;
    pack_append(&all.base, out);
}
