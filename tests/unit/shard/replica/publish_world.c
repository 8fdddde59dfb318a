/* publish_world.c: see publish_world.h. */
#include "tests/unit/shard/replica/publish_world.h"

#include <string.h>

#include "common/base/error.h"
#include "tests/unit/unit.h"

struct publish_world world;

uint64_t now;
struct fsm_info live;
struct token found = {.cluster = 1, .group = 1, .log_epoch = 1};

/* ---- the machine, the file, the engine ---- */

const struct fsm_info *__wrap_fsm_info(const struct fsm *fsm);
const char *__wrap_fsm_where(const struct fsm *fsm);
int __wrap_fsm_durable_applied(struct fsm *fsm, struct fsm_applied *out);
int __wrap_fsm_durable_info(struct fsm *fsm, struct arena *arena, struct fsm_info *out);
int __wrap_fsm_flush_begin(struct fsm *fsm);
bool __wrap_fsm_flush_pending(struct fsm *fsm);
int __wrap_token_write(struct disk *disk, const char *dir, const struct token *token);
int __wrap_token_read(struct disk *disk, const char *dir, struct arena *arena, struct token *out);

const struct fsm_info *__wrap_fsm_info(const struct fsm *fsm)
{
    (void)fsm;
    live.applied.index = world.applied;
    return &live;
}

const char *__wrap_fsm_where(const struct fsm *fsm)
{
    (void)fsm;
    return "here";
}

int __wrap_fsm_durable_applied(struct fsm *fsm, struct fsm_applied *out)
{
    (void)fsm;
    if (world.durable_code == HF_OK)
        *out = (struct fsm_applied){1, world.durable, 1};
    return world.durable_code;
}

int __wrap_fsm_durable_info(struct fsm *fsm, struct arena *arena, struct fsm_info *out)
{
    (void)fsm, (void)arena;
    if (world.described_code == HF_OK)
        *out = (struct fsm_info){.cluster = 1, .group = 1, .applied = {1, world.durable, 1}};
    return world.described_code;
}

int __wrap_fsm_flush_begin(struct fsm *fsm)
{
    (void)fsm;
    world.flushes++;
    if (world.flush_code == HF_OK)
        world.flushing = world.applied;
    return world.flush_code;
}

bool __wrap_fsm_flush_pending(struct fsm *fsm)
{
    (void)fsm;
    return world.flushing > 0 || world.stuck;
}

int __wrap_token_write(struct disk *disk, const char *dir, const struct token *token)
{
    (void)disk, (void)dir;
    CU_ASSERT(token->index <= world.durable);
    if (world.token_code == HF_OK)
        world.token = token->index;
    return world.token_code;
}

int __wrap_token_read(struct disk *disk, const char *dir, struct arena *arena, struct token *out)
{
    (void)disk, (void)dir, (void)arena;
    if (world.token == 0)
        return HF_E_ABSENT;
    *out = found;
    out->index = world.token;
    return HF_OK;
}

static struct engine_status status(const struct engine *e)
{
    (void)e;
    return (struct engine_status){.first = world.base + 1, .last = world.applied, .log_bytes = world.log_bytes};
}

static uint64_t reach(const struct engine *e, uint64_t index, uint64_t bytes)
{
    (void)e;
    CU_ASSERT(index <= world.durable);
    while (index > world.base && world.sizes[index] <= bytes)
        bytes -= world.sizes[index--];
    return index;
}

static int trim(struct engine *e, uint64_t index)
{
    (void)e;
    CU_ASSERT(index <= world.durable && index <= world.token && index > world.base);
    if (world.trim_code == HF_OK) {
        world.base = index;
        world.trims++;
    }
    return world.trim_code;
}

static const char *where(const struct engine *e)
{
    (void)e;
    return "there";
}

static size_t progress(const struct engine *e, struct engine_progress *out, size_t max)
{
    (void)e, (void)max;
    out[0] = (struct engine_progress){.replica = 2, .match = world.match, .active = world.active};
    return 1;
}

static const struct engine_ops ops = {
    .status = status, .reach = reach, .trim = trim, .where = where, .progress = progress};
struct directory directory;
struct publish *publish;

void begin(struct publish_config config, uint64_t applied, uint64_t token)
{
    memset(&world, 0, sizeof world);
    world.applied = world.durable = applied;
    world.token = world.found = token;
    world.base = 1;
    now = clock_boot_ns();
    directory = (struct directory){.config = {.disk = disk_posix(), .dir = "/"}, .ops = &ops};
    directory.id.cluster = directory.id.group = directory.id.log_epoch = 1;
    directory.fsm = (struct fsm *)(void *)&world; /* never looked into */
    publish = publish_new(&config, &directory);
}

void end(void)
{
    publish_free(&publish);
}

void apply(uint64_t count, uint64_t bytes)
{
    while (count-- > 0) {
        world.applied++;
        world.sizes[world.applied] = bytes + 32;
        publish_applied(publish, world.applied, bytes, false);
    }
}

void turns(int count)
{
    while (count-- > 0) {
        now += 5 * MS;
        publish_turn(publish, now);
        CU_ASSERT(world.token <= world.durable || world.token == world.found); /* I4 */
        CU_ASSERT(world.base <= world.durable);
    }
}

void flushed(void)
{
    world.durable = world.flushing > world.durable ? world.flushing : world.durable;
    world.flushing = 0;
}

void publish_now(void)
{
    snapshot_publish(publish, PUBLISH_OPERATOR);
    turns(1);
    flushed();
    turns(2);
}
