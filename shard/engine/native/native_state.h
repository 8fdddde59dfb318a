/* native_state.h: what the driver's files share. Nobody else includes it. */
#pragma once

#include "common/base/arena.h"
#include "shard/engine/base/members.h"
#include "shard/engine/engine.h"
#include "shard/engine/native/core.h"

#define NATIVE_CACHE_BYTES (32u * 1024 * 1024) /* of the log: what followers that keep up still need */

struct engine {
    struct engine_env env;
    struct core *core;     /* owned */
    struct core_run *runs; /* owned; the core's */
    struct log *log;       /* owned */
    uint64_t applied;
    struct core_hard_state saved; /* as the log was last told */
    int failed;                   /* a log that cannot be read: persist reports it, the process ends */

    /* The configuration in force and the one before it: the core's pair with names and addresses. Owned. */
    Hf__Catalog__Members *members, *previous;

    struct arena in, out;    /* of one message received; of one phase of the turn */
    struct log_entry *batch; /* owned; scratch for appends */
    size_t batch_cap;
};

/* native_turn.c: the phases of a turn; engine.h says what each does. */
void native_receive(struct engine *e, uint32_t from, const Hf__Raft__Raft *m);
int native_propose(struct engine *e, enum log_kind kind, struct slice data, uint64_t *out_index, uint64_t *out_term);
int native_barrier(struct engine *e, uint64_t id);
void native_tick(struct engine *e, uint64_t now_ns);
void native_campaign(struct engine *e);
int native_transfer(struct engine *e, uint32_t to);
void native_step(struct engine *e);
void native_send_early(struct engine *e);
int native_persist(struct engine *e);
void native_send_late(struct engine *e);
int native_apply(struct engine *e);
int native_committed(struct engine *e, uint64_t index, uint64_t term);
int native_trim(struct engine *e, uint64_t index);
int native_install(struct engine *e, uint64_t index, uint64_t term, const Hf__Catalog__Members *members);
/* One event into the core, its orders into the log. `entries`: what CORE_APPEND_MESSAGE and _PROPOSED refer to. */
int native_feed(struct engine *e, const struct core_event *event, const struct log_entry *entries);

/* native_members.c: configurations between the wire, the log and the core. */
/* HF_E_INVALID, HF_E_LIMIT: not a configuration (peers_check); without a voter. */
HF_CHECKED int native_members_core(const Hf__Catalog__Members *members, struct core_config *out);
/* As core_install: `members` are the configuration at `index`; `kept`: the log's entries behind it are still there. */
void native_members_installed(struct engine *e, uint64_t index, const Hf__Catalog__Members *members, bool kept);
void native_members_push(struct engine *e, Hf__Catalog__Members **members); /* in force from now on; taken */
void native_members_appended(struct engine *e, const struct log_entry *entries, size_t count);
void native_members_truncated(struct engine *e, uint64_t from); /* entries ≥ from are gone: as core_config_truncated */
int native_members_change(struct engine *e, const Hf__Catalog__Members *members, uint64_t *out_index);
