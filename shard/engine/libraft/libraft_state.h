/* libraft_state.h: what the engine's files share. Nobody else includes it.
 *
 * libraft decides; it is driven from one thread and calls back into libraft_io.c. Nothing it asks for happens inside its own
 * calls: what it appends waits for the turn's sync, what it sends for the turn's two sending phases. Around it stand the
 * guards that its version 0.15 needs to be safe; each is named G… where it stands, README.md lists them. */
#pragma once

#include <raft.h>

#include "common/base/arena.h"
#include "common/base/limits.h"
#include "common/base/random.h"
#include "shard/engine/engine.h"

#define LIBRAFT_CACHE_BYTES (4u * 1024 * 1024) /* of the log: what is applied a moment after it was written */
#define LIBRAFT_KEEP_BYTES (8u * 1024 * 1024)  /* of the log that libraft keeps in memory behind the commit index … */
#define LIBRAFT_RAM_BYTES (16u * 1024 * 1024)  /* … from when on it is told to forget */
#define LIBRAFT_MESSAGE_ENTRIES 1024u          /* of one append (G6) */
#define LIBRAFT_MESSAGE_BYTES (1024u * 1024)   /* and their payload; a single entry may exceed it */
#define LIBRAFT_BURST_BYTES (8u * 1024 * 1024) /* of the appends that one order of libraft's is split into (G6) */
#define LIBRAFT_BATCH_ENTRIES 4096u            /* proposals waiting for their turn, */
#define LIBRAFT_BATCH_BYTES (64u * 1024 * 1024) /* and their payload */
#define LIBRAFT_OUT_MAX 512u                    /* messages waiting; more are dropped, as a network would */
#define LIBRAFT_INDEX_MAX (UINT64_C(1) << 62)   /* indexes, terms, rounds from the network above it: refused (I11) */
#define LIBRAFT_NEVER (3600u * 1000)            /* ms: a time-out of libraft's that we replace by our own */

struct peer {    /* another member, in the order of libraft's configuration */
    uint32_t id; /* our own stands among them */
    bool voter;
    uint64_t heard_ns; /* at the leader: its last answer; 0: none */
    uint64_t round;    /* the last round it echoed */

    /* Of a leader that is not ready to count (G1): the last answer, for after the sync. */
    bool held;
    struct raft_append_entries_result answer;

    /* libraft_feed.c: at the leader, what is sent in libraft's place. */
    uint64_t next, match; /* next = 0: not begun */
    bool needs_state;     /* and was said to: our log begins behind what it holds */
    uint64_t probed;      /* index before the entries last sent: what a rejection must name */

    /* I13, as shard/engine/native/core_recover.c argues. */
    uint64_t recovering; /* the number it says; 0: it lost nothing, or is whole again */
    uint64_t target;     /* our last index when we first heard the number */
    uint64_t contact_round;
    bool brought;          /* it has all up to target, which is committed: it is told so */
    bool still_recovering; /* its last message said the number */
};

struct waiting_append { /* entries on their way to the disk */
    struct raft_io_append *req;
    raft_io_append_cb cb;
    uint64_t term;  /* ours when libraft asked (G2) */
    uint64_t last;  /* index of the last */
    uint64_t round; /* of the message that brought them */
};

struct waiting_message {
    uint32_t to;
    Hf__Raft__Raft m;                 /* without entries */
    const struct raft_entry *entries; /* borrowed from libraft until `cb` */
    size_t count;
    bool feed; /* the entries come from the log: as many as fit behind m.index */
    struct raft_io_send *req;
    raft_io_send_cb cb; /* NULL: nobody waits */
};

struct unsent_message {
    struct raft_io_send *req;
    raft_io_send_cb cb;
};

struct barrier {
    uint64_t id, round, index; /* round = 0: waits for the next one */
};

struct engine {
    struct engine_env env;
    struct log *log; /* owned */
    uint64_t now_ns, applied;
    int failed; /* libraft gave up, or the log cannot be read: persist reports it, the process ends */
    char where[256];

    /* ---- libraft ---- */
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    raft_io_tick_cb on_tick;
    raft_io_recv_cb on_receive;
    struct random random;
    Hf__Catalog__Members *members; /* owned; no entry of this engine changes it */
    struct peer peers[LIMIT_PEERS];
    uint32_t peer_count;
    struct raft_transfer transfer;
    struct raft_io_snapshot_put *forget; /* it was told to forget (libraft_io.c) and waits to hear that it may */
    raft_io_snapshot_put_cb on_forgotten;
    struct raft_io_snapshot_get *fetch[LIMIT_PEERS]; /* it wants a snapshot to send, and never gets one */
    raft_io_snapshot_get_cb on_fetched[LIMIT_PEERS];
    uint32_t fetches;

    /* ---- what waits ---- */
    bool promised;                  /* term or vote changed since the last sync */
    struct waiting_append *appends; /* oldest first; owned */
    size_t append_count, append_cap;
    struct unsent_message *unsent; /* owned; sent nowhere: their callbacks wait all the same */
    size_t unsent_count, unsent_cap;
    struct waiting_message out[LIBRAFT_OUT_MAX];
    size_t out_count;
    struct raft_buffer batch[LIBRAFT_BATCH_ENTRIES]; /* proposals: have their indexes, libraft gets them in step */
    size_t batch_count, batch_bytes;
    uint64_t batch_term;

    /* ---- this call into libraft ---- */
    struct {
        bool message;  /* an append is being answered … */
        bool stored;   /* … or one that is now on disk; */
        bool mute;     /* but not this one (G2) */
        uint64_t upto; /* what the answer may claim at most */
        uint64_t term, round;
    } answering;

    uint64_t commit_told; /* by who went on in the next epoch; libraft itself does not hear of it */

    /* ---- leading ---- */
    uint64_t led_term;      /* the term we lead, or led last */
    uint64_t barrier_index; /* of the first entry of our own in it */
    bool leading;           /* as of the last look */
    bool barrier_stored;    /* and it is on our disk: answers may be counted (G1) */
    uint64_t round_last;    /* the last round of appends that was begun */
    struct barrier barriers[LIMIT_PENDING_REQUESTS];
    size_t barrier_head, barrier_tail; /* count up for ever */

    /* ---- following ---- */
    uint64_t vote_after_ns; /* after a start: until then nobody gets a vote (but a transferee) */
    bool heard;             /* from the leader, since the last tick */
    bool tick_due;          /* a tick waits for the disk (G8), */
    bool campaign_due;      /* or the leader's word that we shall lead */
    struct raft_timeout_now timeout_now;
    uint32_t timeout_from;
    uint32_t need_from; /* the leader's log begins behind ours: a state of need_index helps; 0: no */
    uint64_t need_index, need_term;
    bool recovery_due; /* we were told that our log is whole again, by the leader of: */
    uint64_t recovery_term;

    /* ---- as the replica was last told ---- */
    struct {
        int state;
        uint64_t term;
        uint32_t leader;
        bool transferring;
    } told;
    uint32_t ready; /* barriers that hold, counted from barrier_head */

    struct arena in, out_arena; /* of one message received; of one phase of sending */
};

/* libraft.c */
int libraft_begin(
    struct engine *e); /* libraft over log, members and applied; log_read's codes, HF_E_FORMAT: e->where */
void libraft_end(struct engine *e);
uint64_t libraft_last(const struct engine *e); /* with entries that wait for the disk */

/* libraft_io.c: struct raft_io and struct raft_fsm. */
void libraft_io_init(struct engine *e);
void libraft_io_promise(struct engine *e, uint64_t term, uint64_t vote); /* nothing leaves before it is durable */
void libraft_io_cancel(struct engine *e); /* everything that waits ends; libraft is being closed */
void libraft_io_stored(struct engine *e); /* all appends are on disk */
void libraft_io_idle(struct engine *e);   /* between its calls: what it waits for that needs no disk */
void libraft_io_forget(struct engine *e); /* has libraft too much of the log in memory? */
struct waiting_message *libraft_io_queue(struct engine *e, Hf__Raft__Kind kind, uint32_t to);

/* libraft_receive.c: messages in. */
void libraft_receive(struct engine *e, uint32_t from, const Hf__Raft__Raft *m);
void libraft_hand(struct engine *e, struct raft_message *m); /* to libraft, and looks what became of it */
void libraft_look(struct engine *e);                         /* after every call: did it give up, does it lead? */
void libraft_answer(struct engine *e, struct peer *p, const struct raft_append_entries_result *answer);
void libraft_deferred(struct engine *e); /* ticks and orders that waited for the disk */

/* libraft_send.c: messages out. */
void libraft_send_early(struct engine *e);
void libraft_send_late(struct engine *e);

/* libraft_feed.c: followers that libraft cannot serve. */
bool libraft_feed_needed(const struct engine *e, const struct peer *p);
void libraft_feed_send(struct engine *e, struct peer *p);
void libraft_feed_look(struct engine *e, struct peer *p); /* with every append: does it need a state? says so once */
/* An answer of a peer that is fed. */
void libraft_feed_answer(struct engine *e, struct peer *p, const struct raft_append_entries_result *answer);
bool libraft_feed_hear(struct engine *e, struct peer *p, const Hf__Raft__Raft *m); /* false: an answer of a lost log */
void libraft_feed_check(struct engine *e);                                         /* is anybody whole again? */

/* libraft_read.c: rounds and barriers. */
int libraft_barrier(struct engine *e, uint64_t id);
void libraft_read_echo(struct engine *e, struct peer *p, uint64_t round);
void libraft_read_turn(struct engine *e);
void libraft_read_reset(struct engine *e);

struct peer *libraft_peer(struct engine *e, uint32_t id); /* NULL: no member */
bool libraft_leads(const struct engine *e);
static inline uint64_t libraft_commit(const struct engine *e)
{
    return e->raft.commit_index > e->commit_told ? e->raft.commit_index : e->commit_told;
}
bool libraft_barred(const struct engine *e); /* a follower that must not campaign */

/* How libraft names the states of its progress records (its progress.h). */
enum { LIBRAFT_PROBE = 0, LIBRAFT_PIPELINE = 1, LIBRAFT_SNAPSHOT = 2 };
