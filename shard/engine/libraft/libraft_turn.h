/* libraft_turn.h: the members of the engine's table that a turn consists of, and what they need of libraft.c. */
#pragma once

#include "shard/engine/libraft/libraft_state.h"

int libraft_propose(struct engine *e, enum log_kind kind, struct slice data, uint64_t *out_index, uint64_t *out_term);
void libraft_tick(struct engine *e, uint64_t now_ns);
void libraft_campaign(struct engine *e);
int libraft_transfer(struct engine *e, uint32_t to);
void libraft_step(struct engine *e);
int libraft_persist(struct engine *e);
int libraft_apply(struct engine *e);
int libraft_committed(struct engine *e, uint64_t index, uint64_t term);
int libraft_trim(struct engine *e, uint64_t index);

uint32_t libraft_leader(const struct engine *e); /* 0: unknown */
int libraft_restart(struct engine *e);           /* ends libraft and starts it from the log; as libraft_begin */
