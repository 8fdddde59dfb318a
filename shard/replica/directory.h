/* directory.h: a replica's directory from the lock to an open state machine and engine: who it belongs to, is it fresh,
 * does everything in it agree (I10, I11, I5).
 *
 * Position: the server opens it first; what disagrees ends the process with exit code 6 and one line. */
#pragma once

#include "proto/catalog.pb-c.h"
#include "shard/engine/engine.h"
#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"

struct directory_config {
    struct disk *disk;
    const char *dir;
    uint32_t group, replica;
    const char *engine;                          /* asked for; NULL: what the directory has, or native */
    uint64_t cluster;                            /* expected; 0: any */
    const char *raft_endpoint, *client_endpoint; /* as the members list gives them */
    const char *raft_listen;                     /* where the replica itself listens for the others */
    struct fsm_config fsm;                       /* dir is filled in */
    uint64_t segment_bytes;
};

struct directory {
    struct directory_config config;
    struct identity id;
    const struct engine_ops *ops;
    struct fsm *fsm;       /* owned; NULL while fresh */
    struct engine *engine; /* owned; NULL while fresh or not opened */
    char fsm_dir[4096];
};

/* Takes the lock, reads or draws the identity. Refuses (exit 6) whatever disagrees. */
void directory_open(struct directory *d, const struct directory_config *config);

static inline bool directory_fresh(const struct directory *d)
{
    return d->id.cluster == 0;
}

/* Makes the fresh directory a voter or learner of a new group: state machine, empty log, peers, then `identity`: the
 * commit point. Durable on return. On failure message[] says why and nothing changed: HF_E_INVALID, HF_E_REFUSED,
 * HF_E_IO. */
HF_CHECKED int directory_bootstrap(struct directory *d, const Hf__Catalog__Bootstrap *b, char message[256]);

/* Opens the state machine and checks it against identity and peers. Refuses what disagrees. */
void directory_open_fsm(struct directory *d);

/* Opens the engine behind the state machine's applied position. `env` brings the calls; the rest is filled in here. */
void directory_open_engine(struct directory *d, struct engine_env *env);

void directory_close(struct directory *d);
