/* replica_internal.h: one replica's struct, for replica.c (the turn) and calls.c (what the server calls). */
#pragma once

#include "shard/replica/collector.h"
#include "shard/replica/leader_clock.h"
#include "shard/replica/readiness.h"
#include "shard/replica/replica.h"
#include "shard/replica/snapshots.h"
#include "shard/replica/space.h"

struct replica {
    struct replica_config config;
    const struct engine_ops *ops; /* static */
    struct engine *engine;        /* owned by the directory */
    struct fsm *fsm;              /* likewise; NULL until a damaged one is replaced */
    struct transport *transport;  /* owned */
    struct publish *publish;      /* owned */
    struct snapshots *snapshots;  /* owned; NULL: its state is given to nobody, and none is taken */
    uint64_t election_ns;
    struct arena arena; /* of the turn */
    struct writes writes;
    struct reads reads;
    struct leader_clock clock;
    struct collector collector;
    struct engine_status status; /* as of the last look */
    uint64_t led_term;           /* the term in which this replica last was seen to lead, 0: none, or told of its end */
    bool was_serving;            /* it leads, and everything of earlier terms is applied */
    struct readiness readiness;
    uint64_t held_since_ns;    /* a leader is kept from its work by want of room since then, 0: it is not */
    struct check *check;       /* owned */
    struct space *space;       /* owned */
    uint64_t applied_apart;    /* index of the last check: a call of on_apply may have failed behind it */
    bool damaged;              /* a read said so: nothing more is applied, and another state is fetched */
    bool held_log, held_apply; /* the disk is full: writes are refused until it is not */
    uint64_t housekeeping_ns, room_ns;
    bool stopping;
    uint64_t stop_by_ns; /* a stopping leader waits for its successor until then */
};
