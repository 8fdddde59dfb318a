/* replica_internal.h: one replica's struct, for replica.c (the turn) and calls.c (what the server calls). */
#pragma once

#include "shard/replica/collector.h"
#include "shard/replica/leader_clock.h"
#include "shard/replica/readiness.h"
#include "shard/replica/replica.h"
#include "shard/replica/snapshots.h"
#include "shard/replica/space.h"

/* Of the change of engine (cross.c). */
struct cross {
    uint64_t sealed_ns; /* since when the machine is sealed; 0: it is not */
    uint64_t paused_ns; /* since when nobody leads, for want of a log; 0: somebody does */
    bool succeeds;      /* it led when it crossed, and campaigns as soon as enough others are there */
    bool told;          /* that the group went on and this replica cannot follow: it was said */
    uint32_t epoch;     /* these members are in it: */
    uint32_t arrived[LIMIT_PEERS];
    size_t arrived_count;
};

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
    uint64_t held_since_ns; /* a leader is kept from its work by want of room since then, 0: it is not */
    struct check *check;    /* owned */
    struct space *space;    /* owned */
    uint64_t applied_apart; /* index of the last check: a call of on_apply may have failed behind it */
    bool damaged;           /* a read said so: nothing more is applied, and another state is fetched */
    struct cross cross;
    bool held_log, held_apply; /* the disk is full: writes are refused until it is not */
    uint64_t housekeeping_ns, room_ns;
    bool stopping;
    uint64_t stop_by_ns; /* a stopping leader waits for its successor until then */
};

/* ---- replica.c ---- */

/* What an engine of this replica calls; the rest is directory.h's to fill in. */
struct engine_env replica_env(struct replica *r);
/* It leads no more, or ends: who waits is told (I9). */
void replica_end_lead(struct replica *r);

/* ---- cross.c ---- */

void cross_metrics(const struct replica *r); /* registers the table */
/* A member of a later epoch says where the log of the one before ended, or one of this epoch that it has arrived. */
void cross_told(struct replica *r, const Hf__Raft__Envelope *e);
/* At the end of each turn: is the machine sealed, it goes over to the next epoch. */
void cross_turn(struct replica *r, uint64_t now_ns);
/* The directory's log is at its end, by the machine that is open: its engine is closed, the next one made and opened. */
void cross_engine(struct replica *r);
/* The machine is sealed: nothing is proposed or read in this epoch any more. */
bool cross_sealed(const struct replica *r);
