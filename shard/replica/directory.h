/* directory.h: a replica's directory from the lock to an open state machine and engine: who it belongs to, is it fresh,
 * does everything in it agree (I10, I11, I5).
 *
 * Position: the server opens it first. What cannot be healed ends the process with exit code 6 and one line; what can is put
 *           aside in <dir>/quarantine/, and the engine is opened without a state machine until one was fetched (heal.h). */
#pragma once

#include "proto/catalog.pb-c.h"
#include "shard/engine/engine.h"
#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"
#include "shard/replica/cold_start.h"
#include "shard/snapshot/install.h"
#include "shard/snapshot/token.h"

#define DIRECTORY_PATH_BYTES 4096

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
    const struct engine_ops *(*engines)(const char *name); /* as engine_find, which it is where this is NULL */
    bool force_restore;                                    /* --cold-start=restore */
    uint32_t keep_streams;                                 /* --snapshot-keep */
};

struct directory {
    struct directory_config config;
    struct identity id;
    const struct engine_ops *ops;
    struct fsm *fsm;       /* owned; NULL while fresh, and until a machine that was put aside has been replaced */
    struct engine *engine; /* owned; NULL while fresh or not opened */
    char fsm_dir[DIRECTORY_PATH_BYTES];

    /* Of the start. */
    Hf__Catalog__Members *peers; /* owned; of the file: the best there is to say where no machine says more */
    struct arena token_arena;
    struct token token; /* with facts.token */
    struct cold_facts facts;
    struct engine_found found;
    struct cold_decision cold;
    bool install_pending; /* a machine was put in place whose log has not followed */
    struct install_record install;
    char where[256];   /* why the machine cannot be used */
    char trouble[512]; /* what was put aside, until it is healed; "": nothing */
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

/* Makes the fresh directory the learner again that it was before it was wiped, as `members` names it: its log is empty and
 * known to be (I13), its state comes from the leader. Durable on return. HF_E_IO, HF_E_NO_SPACE, HF_E_INVALID: message[]. */
HF_CHECKED int directory_rejoin(struct directory *d, uint64_t cluster, const Hf__Catalog__Members *members,
                                char message[256]);

/* A new number for identity's `recovering`: is the hard state lost as well as the log? */
uint64_t directory_recovering(bool forgot);

/* <dir>/<name>. */
void directory_path(const struct directory *d, const char *name, char out[DIRECTORY_PATH_BYTES]);
/* What to do about a part of the directory that could not be opened: damage is one thing, a disk in trouble another. */
const char *directory_advice(int rc);

/* directory_open.c: finishes an install, reads the token, opens the state machine and looks at it. Changes nothing that is
 * only to be healed. d->fsm stays NULL where it cannot be used. Refuses (exit 6) trouble that may pass: disk, format. */
void directory_open_fsm(struct directory *d);

/* Of the machine that is open, into identity: a later start may have to do without it. HF_E_IO, HF_E_NO_SPACE. */
HF_CHECKED int directory_note_times(struct directory *d);
/* Everything but the calls. */
void directory_fill_env(struct directory *d, struct engine_env *env);

/* directory_epoch.c. Is the directory's log at its end: does the machine hold a seal behind it, its own, or that of a state which was just
 * put in place (install_pending)? */
bool directory_epoch_ends(const struct directory *d);
/* It is, and the engine is not open: the directory goes over to the next epoch and its engine
 * (swap.h), identity, token and machine. Durable on return. Refuses (exit 6) what stands in the way. */
void directory_leave_epoch(struct directory *d);
/* What an install has still to tell the log, if there is one, is void: the log was left, or the machine cannot be used. Durable on return. Refuses
 * (exit 6) what stands in the way. */
void directory_end_install(struct directory *d);
/* A machine behind which this epoch's log begins, and which was not told so, because the process ended before, is told. */
void directory_enter_epoch(struct directory *d);
/* Opens the engine that directory_leave_epoch made, in the process that did. `env` brings the calls. */
void directory_change_engine(struct directory *d, struct engine_env *env);

/* Opens the engine, classifies the start (cold_start.h) and acts: skips, restores, rebuilds the log, or refuses. `env`
 * brings the calls; the rest is filled in here. Afterwards d->fsm is what the engine goes on from, or NULL: held. */
void directory_open_engine(struct directory *d, struct engine_env *env);

/* The member of that number, or NULL; borrowed. */
const Hf__Catalog__Member *directory_member(const Hf__Catalog__Members *members, uint32_t replica);
/* The configuration best known before the engine is open; borrowed. */
const Hf__Catalog__Members *directory_members(const struct directory *d);
/* Between turns, after install_exchange with the new machine open: the log, the token and the record follow, and the mark of
 * the old one goes with what was kept of it. */
HF_CHECKED int directory_follow_install(struct directory *d);
/* The state machine differs from what it must be: the next start puts it aside. Durable on return. */
HF_CHECKED int directory_mark_damaged(struct directory *d, const char *why);
/* A machine was put in place by an install: nothing is in trouble any more. */
void directory_healed(struct directory *d);
/* As engine_env.recovered. */
HF_CHECKED int directory_recovered(struct directory *d);

void directory_close(struct directory *d);
