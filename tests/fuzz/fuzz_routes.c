/* fuzz_routes.c: any bytes as values of the catalog: routes, the oracle, a group's members. What is refused changes
 * nothing. */
#include "common/base/limits.h"
#include "coordinator/clock.h"
#include "coordinator/limits.h"
#include "proto/routes.h"
#include "shard/fsm/meta.h"
#include "shard/log/identity.h"
#include "tests/fuzz/fuzz.h"

static void as_routes(struct slice bytes, struct arena *arena)
{
    const Hf__Catalog__Routes *routes = pack_unpack(&hf__catalog__routes__descriptor, bytes, arena);
    if (routes == NULL)
        return;
    fuzz_stable(&routes->base);
    if (routes_check(routes) != HF_OK)
        return;
    must(routes->n_routes <= LIMIT_ROUTES && routes->n_shards <= LIMIT_ROUTES);
    size_t i = routes_find(routes, bytes);
    must(i < routes->n_routes && routes_shard(routes, routes->routes[i]->shard));
    must(slice_compare(pack_slice(routes->routes[i]->range->start), bytes) <= 0);
    must(routes->routes[i]->range->end.len == 0 || slice_compare(bytes, pack_slice(routes->routes[i]->range->end)) < 0);
    for (size_t s = 0; s < routes->n_shards; s++)
        must(routes->shards[s]->n_members <= LIMIT_PEERS);
}

/* A standby that reads the key, proposes, and reads again what somebody else wrote. */
static void as_oracle(struct slice bytes)
{
    struct clock clock;
    const uint64_t now_ms = UINT64_C(1700000000000), boot_ns = UINT64_C(1) << 40;
    clock_init(&clock, 1, "tcp://127.0.0.1:1", 77);
    int rc = clock_read(&clock, true, bytes, boot_ns);
    if (rc == HF_OK) {
        must(clock.ceiling.t < CLOCK_CEILING_MAX);
        struct hlc before = clock.ceiling;
        uint64_t later = boot_ns + UINT64_C(4000000000);
        if (clock_wish(&clock, now_ms, later) == CLOCK_PROPOSE) {
            clock_sent(&clock, later);
            clock_proposed(&clock, HF_OK, later + 1);
        }
        must(clock.ceiling.t >= before.t); /* I8 */
        struct hlc t;
        if (clock_draw(&clock, now_ms, later + 2, &t) == HF_OK)
            must(t.t >= before.t && t.t < clock.ceiling.t);
    } else {
        must(rc == HF_E_CORRUPT && !clock.key_known && clock.ceiling.t == 0);
    }
    clock_check(&clock);
    clock_deinit(&clock);
}

static void as_members(struct slice bytes, struct arena *arena)
{
    const Hf__Catalog__Members *members = meta_members(bytes, arena);
    if (members == NULL)
        return;
    must(members->n_members <= LIMIT_PEERS);
    fuzz_stable(&members->base);
    if (peers_check(members) == HF_OK)
        must(members->n_members > 0 && members->members[0]->replica != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena arena;
    struct slice in = slice_make(data, size);
    arena_reset(&arena);
    switch (fuzz_byte(&in) % 3) {
    case 0:
        as_routes(in, &arena);
        break;
    case 1:
        as_oracle(in);
        break;
    default: /* a number from the input */
        as_members(in, &arena);
        break;
    }
    return 0;
}
