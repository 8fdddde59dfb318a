/* holdfast.h: the client library of Holdfast, a sharded, strongly consistent key-value store.
 *
 * Threads:  every function may be called from any thread; one future or scan belongs to one thread at a time. A handle has
 *           one thread of its own that owns all sockets; ZeroMQ adds two. They block every signal.
 * Process:  no signal is raised into the program and no handler or mask of it is touched; every descriptor is
 *           close-on-exec; after fork() the child's calls on what the parent opened are refused (hf_open).
 * Memory:   out of memory is HF_E_NO_MEMORY, never an abort of ours; ZeroMQ's own queues are another matter
 *           (docs/LIBRARY.md).
 * Answers:  every call ends within its deadline in one of three ways:
 *             done              HF_OK (or HF_E_NOT_FOUND, HF_E_COMPARE_FAILED: done, and this is the result)
 *             surely not done   any other code whose class is not HF_CLASS_OUTCOME_UNKNOWN
 *             unknown           class HF_CLASS_OUTCOME_UNKNOWN: it may have happened, or may still happen
 *           Lost replies are retried inside, under a session: a write is executed at most once. */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_ABI 1u /* give it to hf_open: it says which layout of the structs below the program was compiled with */

#if defined(__GNUC__)
#define HF_API __attribute__((visibility("default")))
#define HF_RESULT __attribute__((visibility("default"), warn_unused_result))
#else
#define HF_API
#define HF_RESULT
#endif

/* ---- outcomes ------------------------------------------------------------------------------------------------------
 */

/* name, number, class: what went wrong. Texts: hf_error_text. */
#define HF_PUBLIC_ERRORS(X)                                                                                            \
    X(HF_E_NOT_FOUND, -1, HF_CLASS_GIVE_UP)                /* key not found */                                         \
    X(HF_E_COMPARE_FAILED, -2, HF_CLASS_GIVE_UP)           /* cas: the key does not hold the expected value */         \
    X(HF_E_INVALID, -3, HF_CLASS_GIVE_UP)                  /* invalid argument */                                      \
    X(HF_E_LIMIT, -4, HF_CLASS_GIVE_UP)                    /* a limit is exceeded */                                   \
    X(HF_E_NOT_LEADER, -5, HF_CLASS_RETRY_ELSEWHERE)       /* this replica is not the leader */                        \
    X(HF_E_BUSY, -6, HF_CLASS_RETRY_SAME)                  /* a queue is full */                                       \
    X(HF_E_WRONG_SHARD, -7, HF_CLASS_REFRESH_ROUTE)        /* the key belongs to another shard */                      \
    X(HF_E_NO_ROUTE, -8, HF_CLASS_RETRY_SAME)              /* the key space is not bootstrapped or not known yet */    \
    X(HF_E_UNAVAILABLE, -9, HF_CLASS_RETRY_ELSEWHERE)      /* no leader or no server could be reached */               \
    X(HF_E_TIMEOUT, -10, HF_CLASS_GIVE_UP)                 /* the deadline passed before anything was sent */          \
    X(HF_E_OUTCOME_UNKNOWN, -11, HF_CLASS_OUTCOME_UNKNOWN) /* the request may have been executed */                    \
    X(HF_E_SESSION_UNKNOWN, -12, HF_CLASS_GIVE_UP)         /* session unknown or expired; not executed */              \
    X(HF_E_SESSION_WINDOW, -13, HF_CLASS_GIVE_UP)          /* sequence number outside the session's window */          \
    X(HF_E_FENCED, -14, HF_CLASS_GIVE_UP)                  /* never executed and never will be */                      \
    X(HF_E_PROTOCOL, -15, HF_CLASS_GIVE_UP)                /* malformed message or unknown protocol version */         \
    X(HF_E_WRONG_CLUSTER, -16, HF_CLASS_GIVE_UP)           /* another cluster */                                       \
    X(HF_E_REFUSED, -17, HF_CLASS_GIVE_UP)                 /* refused */                                               \
    X(HF_E_IO, -18, HF_CLASS_RETRY_ELSEWHERE)              /* input/output error */                                    \
    X(HF_E_CORRUPT, -19, HF_CLASS_GIVE_UP)                 /* damaged data */                                          \
    X(HF_E_EXISTS, -20, HF_CLASS_GIVE_UP)                  /* already exists */                                        \
    X(HF_E_ABSENT, -21, HF_CLASS_GIVE_UP)                  /* does not exist */                                        \
    X(HF_E_LOCKED, -22, HF_CLASS_GIVE_UP)                  /* locked by another process */                             \
    X(HF_E_FORMAT, -23, HF_CLASS_GIVE_UP)                  /* unknown format version */                                \
    X(HF_E_NO_MEMORY, -24, HF_CLASS_RETRY_SAME)            /* out of memory */                                         \
    X(HF_E_CLOSED, -25, HF_CLASS_GIVE_UP)                  /* the handle was closed */                                 \
    X(HF_E_NOT_READY, -26, HF_CLASS_RETRY_SAME)            /* starting: not ready to serve yet */                      \
    X(HF_E_AGAIN, -27, HF_CLASS_RETRY_SAME)                /* not finished yet (hf_future_wait, hf_future_poll) */     \
    X(HF_E_FUTURE_TIMESTAMP, -28, HF_CLASS_GIVE_UP)        /* nobody issued this timestamp */                          \
    X(HF_E_NO_SPACE, -29, HF_CLASS_RETRY_SAME)             /* no space left on device */                               \
    X(HF_E_SNAPSHOT_TOO_SMALL, -30, HF_CLASS_GIVE_UP)      /* a snapshot stream: it ends before its footer */          \
    X(HF_E_SNAPSHOT_FOOTER, -31, HF_CLASS_GIVE_UP)         /* a snapshot stream: its footer is damaged or another's */ \
    X(HF_E_SNAPSHOT_BODY, -32, HF_CLASS_GIVE_UP)           /* a snapshot stream: its content is damaged */             \
    X(HF_E_SNAPSHOT_MAGIC, -33, HF_CLASS_GIVE_UP)          /* a snapshot stream: of an unknown format */               \
    X(HF_E_SNAPSHOT_LENGTH, -34, HF_CLASS_GIVE_UP)         /* a snapshot stream: a length in it cannot be */           \
    X(HF_E_SNAPSHOT_TOKEN, -35, HF_CLASS_GIVE_UP)          /* a snapshot stream: its token is invalid */               \
    X(HF_E_SNAPSHOT_ABSENT, -36, HF_CLASS_RETRY_ELSEWHERE) /* a snapshot stream: there is none */                      \
    X(HF_E_SNAPSHOT_TOO_LARGE, -37, HF_CLASS_GIVE_UP)      /* a snapshot stream: larger than allowed */                \
    X(HF_E_TOO_OLD, -38, HF_CLASS_GIVE_UP)                 /* a timestamp older than what is kept */                   \
    X(HF_E_RESTART_ABOVE, -39, HF_CLASS_GIVE_UP)           /* a timestamp at which nothing can be read any more */     \
    X(HF_E_KEY_LOCKED, -40, HF_CLASS_RETRY_SAME)           /* locked by a transaction that is not decided yet */       \
    X(HF_E_CONFLICT, -41, HF_CLASS_GIVE_UP)                /* a transaction: something else was first; begin again */

#ifndef HF_ERRORS /* inside the library another header declares the same names; it is checked that they agree */
enum hf_class {
    HF_CLASS_NONE = 0,            /* success */
    HF_CLASS_RETRY_SAME = 1,      /* surely not done; the same server may do it a moment later */
    HF_CLASS_RETRY_ELSEWHERE = 2, /* surely not done; another server may do it */
    HF_CLASS_REFRESH_ROUTE = 3,   /* surely not done; the key lives elsewhere (handled inside the library) */
    HF_CLASS_OUTCOME_UNKNOWN = 4, /* it may have happened or may still happen */
    HF_CLASS_GIVE_UP = 5          /* surely not done (or done with this result); repeating will not help */
};

enum hf_error {
    HF_OK = 0,
#define HF_PUBLIC_ERROR_ENUM(name, number, cls) name = (number),
    HF_PUBLIC_ERRORS(HF_PUBLIC_ERROR_ENUM)
#undef HF_PUBLIC_ERROR_ENUM
};
#endif

HF_API const char *hf_error_text(int code); /* static, never NULL */
HF_API const char *hf_error_name(int code); /* "NOT_FOUND": static, never NULL */
HF_API enum hf_class hf_error_class(int code);
HF_API const char *hf_class_name(enum hf_class cls); /* "GIVE_UP": static, never NULL */

/* ---- handle --------------------------------------------------------------------------------------------------------
 */

struct hf;        /* a cluster, as this program sees it */
struct hf_future; /* a call under way or finished */
struct hf_queue;  /* where finished calls can be awaited together */
struct hf_cursor;
struct hf_cluster_status;

struct hf_bytes {
    const void *data; /* borrowed; may be NULL when size is 0 */
    size_t size;
};

struct hf_version { /* orders the writes of one shard */
    uint64_t timestamp;
    uint64_t sequence;
};

struct hf_options {
    const char *endpoints;          /* of coordinators, by commas: "tcp://127.0.0.1:7400,tcp://127.0.0.1:7401" */
    int routed;                     /* 0: straight to the shards' leaders; 1: everything through a coordinator */
    uint32_t outstanding_max;       /* calls at a time; more are HF_E_BUSY. 0: 65536 */
    uint64_t outstanding_bytes_max; /* their keys and values. 0: 256 MiB */
};

/* Starts the handle's thread; connects when the first call needs it. On HF_OK *out is to be given to hf_close.
 * HF_E_INVALID: no or bad endpoints, unknown `abi`. HF_E_LIMIT: too many or too long ones. HF_E_NO_MEMORY: also no thread
 * or descriptor left.
 * fork(): in the child, a handle of the parent takes no calls (HF_E_CLOSED, surely not done), an unfinished future is
 * HF_E_OUTCOME_UNKNOWN, queues are empty, hf_close and the free functions only forget; what the parent has under way goes
 * on in the parent. The child may open handles of its own. */
HF_RESULT int hf_open(const struct hf_options *options, unsigned abi, struct hf **out);
/* Ends every call under way (never sent: HF_E_CLOSED; else unknown) and nulls *h. When it returns, every callback of a call
 * without a queue was called. Futures and queues stay valid and are still to be freed; a queue's callbacks are called by
 * its next hf_queue_dispatch. Scans are to be closed before; no other thread may be inside a call on *h. NULL is ignored.
 * In a callback on the handle's thread it does nothing, which *h shows. */
HF_API void hf_close(struct hf **h);

/* ---- synchronous calls: deadline_ms > 0 is when they are back at the latest ----------------------------------------
 */

struct hf_value {
    void *data; /* owned: hf_value_free */
    size_t size;
    struct hf_version version;
};

/* out_version may be NULL. ttl_ms 0: for ever. */
HF_RESULT int hf_put(struct hf *h, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms, uint32_t deadline_ms,
                     struct hf_version *out_version);
HF_RESULT int hf_del(struct hf *h, struct hf_bytes key, uint32_t deadline_ms, struct hf_version *out_version);
/* expected NULL: the key must be absent. value NULL: it becomes absent. */
HF_RESULT int hf_cas(struct hf *h, struct hf_bytes key, const struct hf_bytes *expected, const struct hf_bytes *value,
                     uint32_t deadline_ms, struct hf_version *out_version);
/* Deletes every key with this prefix in one step. Where it spans shards that is a transaction of its own, which a coordinator
 * makes (out_version: its timestamp, and 0). HF_E_REFUSED: it spans shards, and a shard's group is of an earlier feature level. */
HF_RESULT int hf_delete_prefix(struct hf *h, struct hf_bytes prefix, uint32_t deadline_ms,
                               struct hf_version *out_version);
/* at 0: the latest value, linearizable. Else the value as of that timestamp (hf_timestamp), see there. HF_E_NOT_FOUND. */
HF_RESULT int hf_get(struct hf *h, struct hf_bytes key, uint64_t at, uint32_t deadline_ms, struct hf_value *out);
HF_API void hf_value_free(struct hf_value *value);

/* A timestamp that nobody else ever gets, above every one handed out before and above `above` (0: nothing): 48 bits of
 * milliseconds since 1970, 16 of counter. From a coordinator, also without hf_options.routed; another one is asked when
 * one is gone, silent or a standby.
 * Reads `at` it see everything that was done before this call began, and always the same, whoever leads and however often
 * they are made: versions with a timestamp below it (hf_version); what expires is judged as of it. Besides what other reads
 * say they may say
 *   HF_E_TOO_OLD           further back than the shards keep (holdfast-shard --retention-seconds): take a newer one, or
 *                          let what you read be retained in time (hf_retain)
 *   HF_E_FUTURE_TIMESTAMP  no coordinator of this cluster can have given it
 *   HF_E_RESTART_ABOVE     nothing can be read at it any more, because a shard went on while no coordinator answered:
 *                          take a newer one above hf_future_timestamp of the future that failed, and read again
 *   HF_E_REFUSED           the shard's group is of a feature level that serves the latest only
 * Failures of its own: HF_E_TIMEOUT, HF_E_UNAVAILABLE (no coordinator gave one), HF_E_FUTURE_TIMESTAMP (`above` is far
 * ahead of the cluster's time: no shard said it). */
HF_RESULT int hf_timestamp(struct hf *h, uint64_t above, uint32_t deadline_ms, uint64_t *out_timestamp);
/* A timestamp for reads as of one moment in all shards. Of two writes of which the second began after the first was
 * acknowledged, what is read at a timestamp of hf_timestamp may show the second only, if both came after it was drawn and
 * went to different shards; at a cut never. All shards' leaders let users' writes wait for it for a moment (two round trips, at most half
 * a second). Failures: HF_E_TIMEOUT, HF_E_UNAVAILABLE (a shard has no leader, or no coordinator is active), HF_E_REFUSED (a
 * group's feature level). */
HF_RESULT int hf_cut(struct hf *h, uint32_t deadline_ms, uint64_t *out_timestamp);
/* A promise of the cluster's active coordinator: what is read at `timestamp` is not collected for lease_ms from now, or for what
 * *out_lease_ms (may be NULL) says was granted of it (holdfast-coordinator --retain-lease-seconds, 30 if not set). It is in time
 * if it is asked for within that of the timestamp's being given out; later it counts from where retention is by then, and a read
 * may say HF_E_TOO_OLD. Who reads on asks again before it is over. `reader`: a random number of the caller's, not 0; the same one
 * again moves its promise, to later timestamps; lease_ms 0 ends it. Failures: HF_E_TIMEOUT, HF_E_UNAVAILABLE, HF_E_BUSY (1024
 * readers have one), HF_E_INVALID. */
HF_RESULT int hf_retain(struct hf *h, uint64_t reader, uint64_t timestamp, uint32_t lease_ms, uint32_t deadline_ms,
                        uint32_t *out_lease_ms);

/* ---- futures -------------------------------------------------------------------------------------------------------
 */

struct hf_call {
    uint32_t deadline_ms;   /* from now; > 0 */
    struct hf_queue *queue; /* where the finished future is put; NULL: nowhere, wait for it by itself */
    void *tag;              /* the caller's, given back by hf_future_tag */
    /* Called once for every accepted call, whatever becomes of it, hf_close included; no lock is held. The future is the
     * callback's to free, then or later; before, nobody may free or wait for it. With a queue it is called by
     * hf_queue_dispatch, in that thread. Without, on the handle's thread: there it delays all calls of the handle while it
     * runs; it may start further calls; a synchronous call on its handle is HF_E_INVALID. NULL: no callback. */
    void (*callback)(struct hf_future *f, void *tag);
};

/* Each copies its arguments and returns at once. On HF_OK *out is to be freed with hf_future_free, unless a callback owns
 * it, which may be over before the caller looks. out NULL: the callback's only; without one the result is wanted by nobody.
 * Failures here are surely not done and call nothing back: HF_E_INVALID, HF_E_LIMIT, HF_E_BUSY (too much outstanding),
 * HF_E_NO_MEMORY, HF_E_CLOSED (being closed, or opened by a parent process). */
HF_RESULT int hf_put_async(struct hf *h, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms,
                           const struct hf_call *call, struct hf_future **out);
HF_RESULT int hf_del_async(struct hf *h, struct hf_bytes key, const struct hf_call *call, struct hf_future **out);
HF_RESULT int hf_cas_async(struct hf *h, struct hf_bytes key, const struct hf_bytes *expected,
                           const struct hf_bytes *value, const struct hf_call *call, struct hf_future **out);
HF_RESULT int hf_delete_prefix_async(struct hf *h, struct hf_bytes prefix, const struct hf_call *call,
                                     struct hf_future **out);
HF_RESULT int hf_get_async(struct hf *h, struct hf_bytes key, uint64_t at, const struct hf_call *call,
                           struct hf_future **out);
HF_RESULT int hf_timestamp_async(struct hf *h, uint64_t above, const struct hf_call *call, struct hf_future **out);
HF_RESULT int hf_cut_async(struct hf *h, const struct hf_call *call, struct hf_future **out);
HF_RESULT int hf_retain_async(struct hf *h, uint64_t reader, uint64_t timestamp, uint32_t lease_ms,
                              const struct hf_call *call, struct hf_future **out);

/* The call's code, or HF_E_AGAIN when it is not finished after timeout_ms (in a callback on the handle's thread: at once).
 * Only for futures without queue and callback: else HF_E_INVALID. */
HF_RESULT int hf_future_wait(struct hf_future *f, uint32_t timeout_ms);
/* The call's code, or HF_E_AGAIN when it is not finished. */
HF_RESULT int hf_future_poll(const struct hf_future *f);
/* The result may no longer be wanted: the call itself goes on. NULL is ignored. Not while it stands in a queue. */
HF_API void hf_future_free(struct hf_future *f);

/* Of a finished future; what they return is borrowed from it. */
HF_API const char *hf_future_message(const struct hf_future *f); /* what, where, what to do; never NULL */
HF_API enum hf_class hf_future_class(const struct hf_future *f);
HF_API struct hf_version hf_future_version(const struct hf_future *f); /* written, or of the value read */
HF_API struct hf_bytes hf_future_value(const struct hf_future *f);     /* get */
/* hf_timestamp_async, hf_cut_async: the timestamp; hf_txn_commit_async: the commit's. A read that failed with HF_E_RESTART_ABOVE: take one above it. Else 0. */
HF_API uint64_t hf_future_timestamp(const struct hf_future *f);
/* hf_retain_async: what was granted. Else 0. */
HF_API uint32_t hf_future_lease_ms(const struct hf_future *f);
/* hf_txn_commit_async, after HF_E_CONFLICT: above which to begin again, and the key that was in the way (or a range's beginning;
 * empty: not known). Else 0. out_key may be NULL. */
HF_API uint64_t hf_future_conflict(const struct hf_future *f, struct hf_bytes *out_key);
HF_API void *hf_future_tag(const struct hf_future *f);

/* A queue belongs to the handle it was opened on; *out is to be given to hf_queue_free. HF_E_NO_MEMORY, HF_E_CLOSED. */
HF_RESULT int hf_queue_open(struct hf *h, struct hf_queue **out);
/* Takes up to `max` finished futures in the order in which they finished; waits up to timeout_ms for the first.
 * Returns how many; they are the caller's to free. Their callbacks, if any, are not called. */
HF_RESULT size_t hf_queue_take(struct hf_queue *q, uint32_t timeout_ms, struct hf_future **out, size_t max);
/* Takes up to `max` finished futures and calls their callbacks, here and in the order in which they finished; waits up to
 * timeout_ms for the first. A future without a callback is freed. Returns how many. A callback may use the queue too, but
 * not free it. */
HF_API size_t hf_queue_dispatch(struct hf_queue *q, uint32_t timeout_ms, size_t max);
/* For an event loop (poll, epoll, libuv's uv_poll): *out_fd is readable exactly while finished futures wait, level-triggered;
 * then take or dispatch with timeout_ms 0, which clears it when nothing waits any more. Edge-triggered loops must go on
 * until 0 comes back. Never read, written or closed by the caller; the same for the life of the queue, which owns it.
 * HF_E_IO: no descriptor left. HF_E_CLOSED: opened by a parent process. */
HF_RESULT int hf_queue_fd(struct hf_queue *q, int *out_fd);
/* Calls that name it must have been taken out or dispatched before; after hf_close all of them wait in it. NULL is ignored.
 */
HF_API void hf_queue_free(struct hf_queue *q);

/* ---- scans ---------------------------------------------------------------------------------------------------------
 */

struct hf_range {
    struct hf_bytes start; /* included */
    struct hf_bytes end;   /* excluded; empty: to the end of the key space */
    uint32_t page_items;   /* of one page; 0: the server's choice */
    int reverse;           /* from end down to start */
    int keys_only;
    uint64_t at; /* 0: the latest; a timestamp (hf_timestamp): as of it; a cursor's may be HF_AT_FRESH */
};
#define HF_AT_FRESH UINT64_MAX /* a timestamp that the cursor takes by itself when it is first asked */

struct hf_item { /* borrowed from the page */
    struct hf_bytes key;
    struct hf_bytes value;
    struct hf_version version;
};

/* One page: from one shard, perhaps empty although more follows. Each page is consistent in itself; with the same `at`
 * all of them together are, over all shards. */
HF_RESULT int hf_scan_async(struct hf *h, const struct hf_range *range, const struct hf_call *call,
                            struct hf_future **out);
HF_RESULT int hf_scan(struct hf *h, const struct hf_range *range, uint32_t deadline_ms, struct hf_future **out_page);
HF_API size_t hf_future_count(const struct hf_future *f);
HF_API struct hf_item hf_future_item(const struct hf_future *f, size_t i); /* i < hf_future_count */
/* 1: more may follow; *out_next becomes the next page's start (reverse: its end). 0: this was the last page. */
HF_API int hf_future_more(const struct hf_future *f, struct hf_bytes *out_next);

/* Page after page, the next one fetched while this one is read. The range's bytes are copied. Every page is read at the
 * range's `at`. With HF_AT_FRESH the cursor takes a timestamp, and another one if it met HF_E_RESTART_ABOVE before its first
 * page was there; later that code is the caller's, for some items are out. */
HF_RESULT int hf_cursor_open(struct hf *h, const struct hf_range *range, uint32_t page_deadline_ms,
                             struct hf_cursor **out);
/* *out_item: the next item, borrowed until the next call, or NULL at the end. After a failure the cursor may be asked
 * again: it goes on where it was. */
HF_RESULT int hf_cursor_next(struct hf_cursor *c, const struct hf_item **out_item);
HF_API const char *hf_cursor_message(const struct hf_cursor *c); /* of the last failure; never NULL */
/* What its pages are read at; 0: the latest, or none was taken yet. */
HF_API uint64_t hf_cursor_timestamp(const struct hf_cursor *c);
/* After HF_E_RESTART_ABOVE: above which a newer timestamp is to be taken. Else 0. */
HF_API uint64_t hf_cursor_restart_above(const struct hf_cursor *c);
HF_API void hf_cursor_close(struct hf_cursor *c);

/* ---- transactions ---------------------------------------------------------------------------------------------------
 *
 * A transaction reads what was there at its start and keeps its writes in the program until hf_txn_commit, which sends all of it
 * at once: then either everything is written, at one timestamp, in all shards, or nothing. It is committed only if all that it
 * read is still so at that moment, ranges without what was not there included: as if everything in it had happened at that
 * one moment (strict serializability). HF_E_CONFLICT: something else was first; nothing was written; begin again, best
 * with hf_txn_run. Nobody waits for it before its commit, and it holds nothing: to drop it is free.
 * One thread at a time. At most 10000 keys, prefixes and ranges together, and 16 MiB of keys and values (counting 32 bytes for
 * each): HF_E_LIMIT from the call that would pass it, and the transaction may go on without that. Not over hf_close, but for hf_txn_free.
 * Deadlines are as of the synchronous calls. */

struct hf_txn;

/* Draws its start, above `above` (0: nothing; else what hf_txn_conflict said). On HF_OK *out is to be given to hf_txn_free.
 * Failures: those of hf_timestamp, HF_E_NO_MEMORY. */
HF_RESULT int hf_txn_begin(struct hf *h, uint64_t above, uint32_t deadline_ms, struct hf_txn **out);

/* As hf_get at the transaction's start, but sees its own writes (their version is 0.0). Where a lock is in the way it is tried
 * again until the deadline: HF_E_KEY_LOCKED. HF_E_RESTART_ABOVE: begin again above hf_txn_conflict; while nothing was read that is done inside. */
HF_RESULT int hf_txn_get(struct hf_txn *t, struct hf_bytes key, uint32_t deadline_ms, struct hf_value *out);
/* As hf_scan at the transaction's start (range->at is 0), with its own writes in it: a page for hf_future_count, _item, _more and
 * _free. Validated is what was told: the part of the range up to where the next page would begin. Failures as hf_txn_get. */
HF_RESULT int hf_txn_scan(struct hf_txn *t, const struct hf_range *range, uint32_t deadline_ms,
                          struct hf_future **out_page);

/* These send nothing; the bytes are copied. Of several writes of one key the last counts. HF_E_INVALID: an empty key, or the
 * transaction has ended. HF_E_LIMIT, HF_E_NO_MEMORY. ttl_ms counts from the commit; 0: for ever. */
HF_RESULT int hf_txn_put(struct hf_txn *t, struct hf_bytes key, struct hf_bytes value, uint64_t ttl_ms);
HF_RESULT int hf_txn_del(struct hf_txn *t, struct hf_bytes key);
/* Every key with this prefix that is there at the commit, and what the transaction wrote under it so far. */
HF_RESULT int hf_txn_delete_prefix(struct hf_txn *t, struct hf_bytes prefix);

/* Ends the transaction. *out_timestamp (may be NULL): the moment at which all of it happened, which its writes have as version. One that wrote
 * nothing and read one key at most asks nothing.
 *   HF_OK          done
 *   HF_E_CONFLICT  surely not done, and never will be
 *   other codes    as of any write: their class says whether surely not, or unknown (do not just repeat it: it may be done)
 * HF_E_BUSY and HF_E_NO_MEMORY before anything was sent leave it open. */
HF_RESULT int hf_txn_commit(struct hf_txn *t, uint32_t deadline_ms, uint64_t *out_timestamp);
/* As hf_txn_commit, as a future (hf_future_timestamp, hf_future_conflict); t is ended and may be freed at once. */
HF_RESULT int hf_txn_commit_async(struct hf_txn *t, const struct hf_call *call, struct hf_future **out);
HF_API void hf_txn_rollback(struct hf_txn *t); /* ends it; nothing was sent and nothing is */
HF_API void hf_txn_free(struct hf_txn *t);     /* rolled back, unless its commit was called. NULL is ignored */

HF_API uint64_t hf_txn_start(const struct hf_txn *t); /* the timestamp at which it reads */
/* Of the call that failed last, with HF_E_CONFLICT or HF_E_RESTART_ABOVE: above which the next transaction is to begin. *out_key (may be
 * NULL; borrowed): what was in the way, of a range its beginning; empty: not known. Else 0. */
HF_API uint64_t hf_txn_conflict(const struct hf_txn *t, struct hf_bytes *out_key);
HF_API const char *hf_txn_message(const struct hf_txn *t); /* of the last failure; never NULL */

/* The body of a transaction. Run again after a conflict: what it does outside of `t` must stand that. Not HF_OK: rolled back. */
typedef int hf_txn_fn(struct hf_txn *t, void *ctx);

struct hf_txn_options {
    uint32_t deadline_ms; /* of everything together; 0: 10000. It bounds the calls on the transaction, too */
    uint32_t tries_max;   /* 0: until the deadline */
};

/* Begins, calls fn, commits; after HF_E_CONFLICT, HF_E_KEY_LOCKED, HF_E_TOO_OLD or HF_E_RESTART_ABOVE, from fn or from the
 * commit, again, after a short pause and above what was in the way, until it succeeds or its deadline comes: then the last failure. What fn
 * returns otherwise is returned, and an unknown outcome is never repeated. fn neither commits nor frees. options may be NULL. */
HF_RESULT int hf_txn_run(struct hf *h, hf_txn_fn *fn, void *ctx, const struct hf_txn_options *options,
                         uint64_t *out_timestamp);

/* ---- the cluster's state --------------------------------------------------------------------------------------------
 */

/* Asks the coordinators and every replica itself, all at once; who does not answer in time is unreachable. */
HF_RESULT int hf_cluster_status(const char *endpoints, uint32_t deadline_ms, struct hf_cluster_status **out);
HF_API void hf_cluster_status_free(struct hf_cluster_status *s);
HF_API int hf_cluster_status_healthy(const struct hf_cluster_status *s);
HF_API uint64_t hf_cluster_status_cluster(const struct hf_cluster_status *s); /* 0: nobody told */
HF_API size_t hf_cluster_status_shards(const struct hf_cluster_status *s);

struct hf_shard_status {
    uint32_t shard;
    uint32_t leader; /* replica; 0: none */
    uint64_t term;
    uint64_t commit;
    uint32_t replicas; /* configured */
    uint32_t ready;
    uint32_t survives; /* so many more replicas may fail and it goes on */
};
HF_API struct hf_shard_status hf_cluster_status_shard(const struct hf_cluster_status *s, size_t i);

#ifdef __cplusplus
}
#endif

#endif
