/* publish_world.h: what publish.c has around it in test_publish.c: the machine, the token's file and the engine are a few
 * variables, time goes on in turns of 5 ms. */
#pragma once

#include "common/sys/clock.h"
#include "shard/replica/publish.h"
#include "shard/snapshot/token.h"

#define MS CLOCK_NS_PER_MS

extern struct publish_world {
    uint64_t applied, durable, flushing; /* flushing: what a flush on its way covers; 0: none */
    uint64_t token, base, trims, flushes;
    uint64_t found; /* the pointer that was there at the start */
    bool stuck;     /* a flush began by somebody else is on its way */
    int flush_code, token_code, durable_code, trim_code, described_code;
    uint64_t match; /* of a follower */
    bool active;
    uint64_t log_bytes;
    uint64_t sizes[1024]; /* of entries in the log, whoever wrote them */
} world;

extern uint64_t now;
extern struct fsm_info live;
extern struct token found; /* the token at the start, less its index */
extern struct directory directory;
extern struct publish *publish;

void begin(struct publish_config config, uint64_t applied, uint64_t token);
void end(void);
void apply(uint64_t count, uint64_t bytes); /* entries of so many */
void turns(int count);
void flushed(void);     /* the flush under way has ended */
void publish_now(void); /* somebody asks, and it goes through */
