/* stage_frames.c: see stage_frames.h. */
#include "tests/sim/stage_frames.h"

#include <string.h>

#include "proto/client.pb-c.h"

struct stage_frames stage_frames;

static bool is_for(uint32_t process, const char *endpoint, bool raft)
{
    const struct process *p = world_now->processes[process];
    return strcmp(endpoint, raft ? p->raft : p->client) == 0;
}

static bool in_shard(uint32_t shard, const char *endpoint)
{
    bool in = false;
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        in |= is_for(world_replica(shard, r), endpoint, false);
    return in;
}

uint64_t stage_frames_hold(struct world *w, uint32_t from, const char *endpoint, struct slice data)
{
    (void)w;
    if (from == stage_frames.silent && from != 0 && strstr(endpoint, "/r") != NULL)
        return stage_frames.silent_ms;
    if (from <= WORLD_SHARDS * WORLD_REPLICAS || strstr(endpoint, "/c") == NULL)
        return 0;
    Hf__Client__Request *q = hf__client__request__unpack(NULL, data.size, data.data);
    must(q != NULL);
    bool write = q->op_case == HF__CLIENT__REQUEST__OP_CAS && q->space == HF__ENTRY__SPACE__CATALOG;
    bool beat = q->op_case == HF__CLIENT__REQUEST__OP_BEAT, lost = false;
    bool answer = beat && q->beat->fresh != 0;
    bool lease = q->op_case == HF__CLIENT__REQUEST__OP_LEASE && stage_frames.leases > 0 &&
                 in_shard(stage_frames.leased, endpoint);
    hf__client__request__free_unpacked(q, NULL);
    if (lease) {
        stage_frames.leases--;
        return stage_frames.lease_ms;
    }
    if (beat && stage_frames.asker != 0 && is_for(stage_frames.asker, endpoint, false)) {
        if (answer && stage_frames.answer.size == 0)
            buf_append(&stage_frames.answer, data.data, data.size);
        return answer || stage_frames.deaf ? UINT64_MAX : 0;
    }
    for (uint32_t p = 1; p < WORLD_PROCESSES && beat; p++)
        lost |= stage_frames.beats[p] && is_for(p, endpoint, false);
    if (write && from == stage_frames.writer) {
        stage_frames.written++;
        return stage_frames.writer_ms;
    }
    return lost ? UINT64_MAX : 0;
}

void stage_frames_beats_lost(uint32_t shard, bool lost)
{
    for (uint32_t r = 1; r <= WORLD_REPLICAS; r++)
        stage_frames.beats[world_replica(shard, r)] = lost;
}
