/* replay.c: see replay.h. */
#include "shard/replica/replay.h"

#include "common/base/must.h"

void replay_init(struct replay *r, uint64_t index, uint64_t grain)
{
    r->marks[0] = (struct replay_mark){.index = index};
    r->count = 1;
    r->grain = grain > 0 ? grain : 1;
    r->index = index;
    r->bytes = 0;
}

/* Every other mark goes; the first stays. */
static void thin_out(struct replay *r)
{
    size_t kept = 1;
    for (size_t i = 2; i < r->count; i += 2)
        r->marks[kept++] = r->marks[i];
    r->count = kept;
    r->grain *= 2;
}

void replay_add(struct replay *r, uint64_t index, uint64_t bytes)
{
    must(index >= r->index);
    r->index = index;
    r->bytes += bytes;
    if (r->bytes - r->marks[r->count - 1].bytes < r->grain)
        return;
    if (r->count == REPLAY_MARKS)
        thin_out(r);
    r->marks[r->count++] = (struct replay_mark){.index = index, .bytes = r->bytes};
}

uint64_t replay_behind(const struct replay *r, uint64_t index)
{
    size_t low = 0, high = r->count; /* the last mark at or below `index` is in [low, high) */
    if (index >= r->index)
        return 0;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->marks[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return r->bytes - r->marks[low].bytes;
}
