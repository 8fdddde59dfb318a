/* client.h: what the library's files share: the handle, a request, a shard and a server as the client sees them.
 *
 * Position: call.c makes requests and posts them; io.c's thread moves them (attempt.c) and finds where to (find.c);
 *           future.c hands the results over.
 * Thread:   marked on each group of fields. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/base/list.h"
#include "common/base/random.h"
#include "common/base/slice.h"
#include "common/sys/mailbox.h"
#include "common/sys/net.h"
#include "proto/client.pb-c.h"

#include "client/include/holdfast/holdfast.h"
#include "client/session.h"
#include "client/timers.h"

#define CLIENT_COORDINATORS_MAX 16
#define CLIENT_PEERS_MAX 1024
#define CLIENT_OUTSTANDING_MAX 65536u /* default of hf_options */
#define CLIENT_SLOTS_MAX (1u << 20)
#define CLIENT_ATTEMPT_MS 300u /* without an answer for so long, another try; doubles */
#define CLIENT_BACKOFF_MS_MIN 10u
#define CLIENT_BACKOFF_MS_MAX 100u

/* One server we talk to. I/O thread only. Lives as long as the handle. */
struct peer {
    char *endpoint;            /* owned */
    struct net_socket *socket; /* owned */
    uint64_t opened_ns;
    uint64_t heard_ns;   /* 0: never */
    uint64_t refused_ns; /* since when no message could be handed over; 0: it can */
    uint64_t silent_ns;  /* when it was left for want of an answer; 0: it answered since */
    bool asked;          /* a status or routes question is out */
};

/* One group. I/O thread only. Lives as long as the handle. */
struct shard {
    uint32_t id;
    struct peer *leader;     /* borrowed; NULL: not known */
    uint64_t term;           /* highest seen; a leader of a lower one is deposed */
    struct session *session; /* the current one, referenced; NULL: none */
    bool opening;            /* a session_open is under way */
    int opening_refusal;     /* why its last attempt was refused; 0: it was not */
    bool searching;          /* rounds of status questions go on */
    uint32_t rounds;         /* of this search */
    struct timer timer;      /* next round, or the end of a pause */
    bool paused;             /* the leader takes no message just now */
    struct list waiting;     /* requests that wait for a leader */
    struct list waiting_seq; /* writes that wait for a session or for room in its window */
};

enum request_kind {
    REQUEST_PUT,
    REQUEST_DEL,
    REQUEST_CAS,
    REQUEST_DELETE_PREFIX,
    REQUEST_GET,
    REQUEST_SCAN,
    REQUEST_TIMESTAMP, /* `at`: above which */
    REQUEST_CUT,
    REQUEST_RETAIN,       /* `at`, `lease_ms`, `reader` */
    REQUEST_TXN,          /* the end of a transaction: `txn` */
    REQUEST_SESSION_OPEN, /* from here on the library's own */
    REQUEST_STATUS,
    REQUEST_ROUTES,
    REQUEST_RESOLVE, /* `lock` */
};

/* A transaction that has locked something. */
struct lock_id {
    uint32_t home;
    uint64_t session, seq;
};

enum request_state { REQUEST_PARKED, REQUEST_BACKOFF, REQUEST_IN_FLIGHT };

/* What futures, queues and the handle agree under; outlives the handle while a future or queue lives. */
struct meeting {
    pthread_mutex_t lock;
    _Atomic uint32_t refs;
    uint32_t forks; /* constant: fork_count() of the process it belongs to */
};

struct hf_queue {
    struct meeting *meeting; /* referenced */
    struct list finished;    /* meeting's lock */
    int fd;                  /* meeting's lock: readable while `finished` is not empty; -1: nobody asked for it */
    pthread_cond_t some;
    bool waited; /* meeting's lock: somebody waits on `some` */
};

/* A request; the application knows it as its future. */
struct hf_future {
    struct list link; /* mailbox, a shard's waiting list, the handle's finished list, a queue: one at a time */

    /* Set before it is posted, constant afterwards. */
    struct hf *h;
    struct meeting *meeting; /* referenced; NULL for the library's own */
    enum request_kind kind;
    struct slice key, value, end; /* in `bytes`. scan: key is the start. cas: value is the new one */
    struct slice expected;
    bool has_expected, becomes_absent, reverse, keys_only;
    uint32_t limit, lease_ms;
    uint64_t reader; /* of REQUEST_RETAIN */
    uint64_t ttl_ms, at;
    Hf__Client__Txn *txn; /* in `bytes`; NULL: no transaction, and never becomes one */
    struct lock_id lock;
    uint64_t deadline_ns;
    struct hf_queue *queue; /* borrowed; may be NULL */
    void *tag;
    void (*callback)(struct hf_future *f, void *tag); /* may be NULL */

    /* I/O thread, until it is finished. */
    enum request_state state;
    struct timer timer; /* deadline, end of an attempt or of a backoff, whichever comes first */
    uint32_t slot, generation;
    struct shard *shard;     /* borrowed; NULL: not routed yet */
    struct peer *peer;       /* of the last attempt; the library's own questions: the one to ask */
    struct session *session; /* referenced; NULL: none yet */
    uint64_t seq;
    uint32_t attempts;   /* handed to a socket so far */
    uint64_t unanswered; /* bit i: attempt i+1 was not answered; 64 and later attempts share the last bit */
    bool lost;           /* an attempt ran out of its time without an answer */
    uint32_t backoffs, hops;
    uint32_t locks; /* so often a lock was in the way */
    bool spread;    /* txn: a coordinator does it */
    bool spans;     /* a delete-prefix over several shards: became a timestamp's request, then a transaction */
    uint64_t sent_ns;
    int refusal;                       /* code of the last refusal; 0: none */
    struct slice clip_start, clip_end; /* scan: the part of [key, end) its shard holds; in clip_bytes or as above */
    uint8_t *clip_bytes;               /* owned; may be NULL */

    /* Written before `done` under the meeting's lock, constant afterwards. */
    int code;
    enum hf_class class_;
    bool away;                /* a transaction's conflict: outcome_note_away */
    const char *message;      /* static; NULL: the reply's or the code's text */
    Hf__Client__Reply *reply; /* owned; NULL: none */
    bool clipped;             /* scan: more follows in the next shard */

    /* The meeting's lock. */
    _Atomic bool done;
    bool abandoned;         /* freed before it was done, or never wanted */
    pthread_cond_t *waiter; /* on the waiter's stack; NULL: nobody waits */

    size_t size; /* of `bytes` */
    uint8_t bytes[];
};
_Static_assert(offsetof(struct hf_future, bytes) % _Alignof(Hf__Client__Txn) == 0, "a transaction stands there");

struct hf {
    /* Constant. */
    bool routed;
    uint32_t outstanding_max;
    uint64_t outstanding_bytes_max;
    struct mailbox *mailbox;
    struct meeting *meeting; /* referenced */
    pthread_t thread;
    char *coordinator_text[CLIENT_COORDINATORS_MAX]; /* owned */
    uint32_t coordinators;

    /* Any thread. */
    _Atomic bool stop;
    _Atomic uint32_t outstanding;
    _Atomic uint64_t outstanding_bytes;

    /* I/O thread only. */
    struct net *net;
    struct peer *peers[CLIENT_PEERS_MAX]; /* owned */
    uint32_t peers_count;
    struct net_poll_item *items; /* owned: the mailbox, then each peer */
    uint32_t items_cap;
    struct hf_future **slots; /* owned table; the entries are requests under way */
    uint32_t *slots_free;     /* owned stack */
    uint32_t slots_count, slots_free_count, generation;
    struct shard **shards; /* owned */
    uint32_t shards_count, shards_cap;
    struct timers timers;
    struct random random;
    uint64_t now_ns;             /* of this turn */
    bool pump;                   /* a waiting list may have become able to go */
    Hf__Catalog__Routes *routes; /* owned, checked; NULL: not known yet */
    struct peer *coordinator;    /* the one that answered last; NULL: none */
    struct peer *oracle;         /* who is asked for timestamps; NULL: the next of the list */
    uint32_t oracle_next;        /* place in that list */
    bool finding;                /* rounds of routes questions go on */
    uint32_t find_rounds;
    struct timer find_timer;
    uint64_t refreshed_ns;
    struct list waiting;  /* requests that wait for routes */
    struct list finished; /* handed over at the end of the turn */
    uint8_t *scratch;     /* owned: a packed message */
    size_t scratch_cap;
};
