/* cut.h: strict cuts: a timestamp below which every shard has all that was acknowledged when the next write anywhere began.
 *
 * Position: front.c asks for clients; questions to the shards' leaders go out through the port and their answers come back.
 * Pure but for its port: time is an argument. Thread: loop thread only.
 *
 * A round:
 *
 *     IDLE → HOLDING     [every shard's leader is asked to stamp nothing for a moment]
 *     HOLDING → CONFIRMING [all do: T is drawn; each is told T, and goes on above it]
 *     CONFIRMING → IDLE  [all say that they still held when T came, and lead still: T is a cut]
 *     any → IDLE         [one does not, or not in time: nothing is cut, and the next round begins soon]
 *
 * Why it is one: when T is drawn all leaders hold. What a shard stamped before is below T, what it stamps after is not, and
 * no write can be acknowledged on one shard and followed by a write on another between the two. A timestamp alone does not
 * do: a write stamped above T may be acknowledged on one shard while another still stamps below.
 * A leader that lost its place says so when it is told T, because it is asked to confirm that it leads; its successor stamps
 * above a timestamp drawn later than T.
 *
 * Who asks while a round holds shares it; who asks later waits for the next. */
#pragma once

#include "common/base/hlc.h"
#include "coordinator/forward.h"

enum cut_state { CUT_IDLE, CUT_HOLDING, CUT_CONFIRMING };

struct cut_port {
    void *ctx;
    const Hf__Catalog__Routes *(*routes)(void *ctx); /* those in use; never NULL once somebody asked */
    bool (*led)(void *ctx, uint32_t shard);          /* is its leader known? Else nobody is made to wait for it */
    /* Sends to a shard's leader; cut_answered is called once, unless this fails. `wait` false: nobody wants the answer. */
    int (*ask)(void *ctx, uint32_t shard, const Hf__Client__Hold *hold, bool wait, uint64_t now_ns);
    int (*draw)(void *ctx, struct hlc above, struct hlc *out); /* a timestamp, as oracle_issue_above */
    void (*answer)(void *ctx, const struct forward_client *client, Hf__Client__Reply *reply);
};

struct cut {
    struct cut_port port;
    enum cut_state state;
    uint64_t id;       /* of the round; of the next one it is one more */
    uint32_t *shards;  /* owned: of the round */
    size_t count;      /* of them */
    size_t waiting;    /* answers to come */
    int code;          /* HF_OK, or why the round, or the last one, came to nothing, */
    uint32_t culprit;  /* and in which shard; 0: here */
    struct hlc t;      /* CONFIRMING */
    struct hlc above;  /* the next one must be: a shard went on from a ceiling */
    uint64_t next_ns;  /* the next round does not begin before */
    struct list asked; /* owned: struct cut_client, share the round */
    struct list later; /* owned: came when its timestamp was drawn */
    size_t clients;
};

/* `id`: random, so that no two coordinators use the same. */
void cut_init(struct cut *c, const struct cut_port *port, uint64_t id);
void cut_deinit(struct cut *c); /* who waits is not answered */

/* Later port.answer is called once. HF_E_BUSY: too many wait. */
HF_CHECKED int cut_ask(struct cut *c, const struct forward_client *client, uint64_t deadline_ns, uint64_t now_ns);

/* What a shard's leader said to the question of round `id`; `above` with HF_E_RESTART_ABOVE. */
void cut_answered(struct cut *c, uint64_t id, uint32_t shard, int code, struct hlc above, uint64_t now_ns);

void cut_tick(struct cut *c, uint64_t now_ns);
