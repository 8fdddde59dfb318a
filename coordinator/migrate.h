/* migrate.h: the migration job: all shards go over to another engine, one after the other, whoever is the active coordinator.
 *
 * Position: front.c hands operators' requests in; questions to members and to the catalog go out through the port, their answers
 * come back. Pure but for its port: time is an argument. Thread: loop thread only.
 *
 * The record in the catalog (migrate_job.h), each change by compare-and-set:
 *
 *     IDLE → LOADING → READY       [this coordinator became the active one: what the catalog has is taken over]
 *     READY → STORING → READY      [something changed: nothing else is begun until the catalog has it]
 *     STORING → CHECKING → READY   [refused, or not answered: read again; what was written by us stands, by another is taken over]
 *     CHECKING → STORING           [neither: written again, the same bytes]
 *     any → IDLE                   [not the active one any more: everything is forgotten]
 *
 * A shard that is under way: looked at (all its members are asked how they are), judged (migrate_judge.h), one step asked for, looked
 * at again. What a step was answered decides nothing.
 *
 * - A shard is begun only when the catalog says so: of two coordinators that both think they are active, one cannot write, and begins
 *   nothing. What it still sends are steps of shards that were begun; the shards know whether they were aborted or sealed.
 * - A pause, an abort and all else that an operator is told is in the catalog when he is told. */
#pragma once

#include "common/base/hashmap.h"
#include "common/base/hlc.h"
#include "coordinator/forward.h"
#include "coordinator/migrate_judge.h"

enum migrate_state { MIGRATE_IDLE, MIGRATE_LOADING, MIGRATE_READY, MIGRATE_STORING, MIGRATE_CHECKING };

/* Each question is answered by one call of the function that is named, unless it fails. */
struct migrate_port {
    void *ctx;
    uint64_t (*reign)(void *ctx); /* a number of the time for which this coordinator is the active one; 0: it is not */
    const Hf__Catalog__Routes *(*routes)(void *ctx);            /* those in use; NULL: none yet */
    int (*draw)(void *ctx, struct hlc *out);                    /* a timestamp */
    uint64_t (*now_ms)(void *ctx);                              /* since 1970, by the oracle */
    int (*load)(void *ctx, uint64_t question, uint64_t now_ns); /* the catalog key: migrate_loaded */
    /* Compare-and-set: migrate_stored. `expected` NULL: that there is none. */
    int (*store)(void *ctx, uint64_t question, const struct slice *expected, struct slice value, uint64_t now_ns);
    int (*look)(void *ctx, uint64_t look, uint32_t shard, uint32_t replica, uint64_t now_ns); /* migrate_saw */
    /* migrate_stepped */
    int (*step)(void *ctx, uint64_t act, uint32_t shard, uint32_t replica, const Hf__Entry__MigrateEntry *entry,
                uint64_t now_ns);
    int (*publish)(void *ctx, uint64_t act, uint32_t shard, uint32_t replica, uint64_t now_ns); /* migrate_stepped */
    void (*answer)(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply);
};

struct migrate_drive {         /* of one shard of the job; what a new coordinator does not know */
    struct migrate_look *look; /* owned; NULL: none is under way */
    uint64_t act;              /* the question that waits for an answer, or several; 0: none */
    size_t acts;               /* of them */
    uint64_t next_ns;          /* of the next look */
    uint64_t since_ns;         /* it stands where it stands; 0: it was not looked at yet */
    uint64_t floor;            /* migrate_judge's */
    bool published;
    char refused[MIGRATE_TEXT_BYTES]; /* what the last step was answered, if it was not done */
};

struct migrate_survey { /* a look at all shards, for an operator: PLAN, START, FINALIZE */
    struct migrate_job job;
    struct migrate_look **looks; /* owned, as the shards of the job; NULL: judged */
    size_t waiting;
    bool on;
};

struct migrate {
    struct migrate_port port;
    enum migrate_state state;
    uint64_t reign;
    struct migrate_job job;
    struct migrate_drive *drives; /* owned, as the shards of the job */
    struct buf kept, proposal;    /* what the catalog has, and is to have */
    bool kept_present;
    uint64_t question;    /* of the one to the catalog that waits for an answer; 0: none */
    uint64_t next_ns;     /* not before: the next one */
    uint64_t soak_ns;     /* not before: the next shard */
    struct hashmap looks; /* id → struct migrate_look */
    struct hashmap acts;  /* question → its place in the job, + 1 */
    uint64_t serial;
    struct list clients; /* owned: struct migrate_client; the first is served */
    size_t client_count;
    struct migrate_survey survey;
};

void migrate_init(struct migrate *m, const struct migrate_port *port);
void migrate_deinit(struct migrate *m); /* who waits is not answered */

/* `q` was checked. Later, or at once, port.answer is called once. HF_E_BUSY: too many wait; nothing was taken. */
HF_CHECKED int migrate_ask(struct migrate *m, const struct forward_client *client, const Hf__Client__MigrateJob *q,
                           uint64_t deadline_ns, uint64_t now_ns);

/* HF_OK with what the key holds; HF_E_NOT_FOUND; or why it is not known. */
void migrate_loaded(struct migrate *m, uint64_t question, int code, struct slice value, uint64_t now_ns);
void migrate_stored(struct migrate *m, uint64_t question, int code, uint64_t now_ns);
/* NULL: nothing in time. */
void migrate_saw(struct migrate *m, uint64_t look, uint32_t replica, const Hf__Client__Status *status, uint64_t now_ns);
void migrate_stepped(struct migrate *m, uint64_t act, int code, const char *message, uint64_t now_ns);

/* The job that is under way or stands still, for a status: of its shards only which and where. NULL: none, or this coordinator does not know.
 * In `arena`, but for texts that are the job's. */
Hf__Catalog__Job *migrate_open(const struct migrate *m, struct arena *arena);

void migrate_tick(struct migrate *m, uint64_t now_ns);
