/* snapshots.h: a state's way between replicas: published, asked for, sent, installed; and a lost one healed.
 *
 * Position: turn.c lets it publish and install between turns, sim.c carries a stream on, node.c heals at a start.
 * Real:     token.c and install.c over the simulated disk, the engine's install, fsm_checkpoint. A machine is a medium of
 *           simstore; <dir>/fsm/medium says which of a replica's two it is, so that the exchange of directories, whatever a
 *           crash leaves of it, decides what a start finds.
 * Simulated: the stream itself, as steps of which each may be lost; it goes on where it stopped, and begins anew when its
 *           sender died. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct node;
struct sim;

struct fetch {
    bool active, streaming, arrived;
    uint32_t from;
    uint64_t from_lives; /* a checkpoint goes with its process */
    uint64_t min_index;  /* an older state helps nobody */
    uint64_t version;    /* of its next step */
    uint32_t left, tries;
    uint64_t index, term; /* what its token says */
};

void snapshots_create(struct node *n); /* the directory of its machine */
/* At a start: what an interrupted install left; *out_pending: the log must follow. False: the process died of it. */
bool snapshots_finish(struct node *n, bool *out_pending);
/* The log follows the machine that stands at n->machine, then the record goes. False: the process is to die. */
bool snapshots_follow(struct node *n, uint64_t index, uint64_t term);

void snapshots_publish(struct node *n); /* a part of the turn */
void snapshots_need(struct node *n, uint32_t from, uint64_t index);
void snapshots_step(struct node *n, uint64_t version); /* of the stream */
/* Between turns: puts what has arrived in place, or drops it. False: the process is to die. */
bool snapshots_install(struct node *n);
void snapshots_forget(struct node *n); /* the process is gone */

/* I13, in place of an open that failed: false: the process is to die. */
bool snapshots_rebuild_log(struct node *n);
int snapshots_recovered(struct node *n); /* as engine_env.recovered */
void snapshots_read_recovering(struct node *n);
