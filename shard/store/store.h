/* store.h: RocksDB and nothing but RocksDB: bytes in, bytes out, one column family, write-ahead log off.
 *
 * Position: below shard/fsm, the only user. The only home of <rocksdb/c.h>.
 * Thread:   store_write, store_flush and store_compact_* by the loop thread; reads and store_checkpoint by any thread.
 * A process never forks after store_open: the child would have no background threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/must.h"
#include "common/base/slice.h"

struct store;
struct store_batch;
struct store_iterator;
struct store_compaction;

struct store_config {
    const char *dir;
    bool sync_writes;      /* --fsm-sync-mode=sync: RocksDB's own log on, synced per batch; default off */
    uint64_t cache_bytes;  /* block cache, indexes and filters included; 0: 24 MiB */
    uint64_t buffer_bytes; /* memtable, of which there are at most three; 0: 8 MiB */
    bool read_only;        /* changes nothing on disk, takes no lock: a copy that nobody has open, or an offline look */
    /* Length of the prefix of `key` under which point lookups are filtered (bloom), 0: the key has none. Pure. */
    size_t (*prefix)(struct slice key);
};

/* HF_E_ABSENT (create is false and nothing there), HF_E_CORRUPT, HF_E_IO, HF_E_NO_SPACE; where[] gets RocksDB's text.
 */
HF_CHECKED int store_open(const struct store_config *config, bool create, struct store **out, char where[256]);
/* Flushes, but for what store_flush_begin has begun and not done: who wants that durable calls store_flush before. */
void store_close(struct store **s);
/* Removes a closed store and its directory; an absent one is fine. Only for an attempt at creating that did not finish.
 */
HF_CHECKED int store_destroy(const char *dir, char where[256]);

/* Hard links of the whole state as of some batch not before the last one written when this was called, in the new
 * directory `dir`, whose parent is there, on the same file system. What is there under that name goes. Durable on return.
 * Any thread, while the loop writes; flushes. HF_E_NO_SPACE, HF_E_IO, HF_E_CORRUPT, HF_E_LIMIT; where[] says more. */
HF_CHECKED int store_checkpoint(struct store *s, const char *dir, char where[256]);

struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch **b);
void store_batch_clear(struct store_batch *b);
void store_batch_put(struct store_batch *b, struct slice key, struct slice value);
void store_batch_delete(struct store_batch *b, struct slice key);

/* Atomic. On failure nothing of the batch is visible; it may be tried again (HF_E_NO_SPACE, HF_E_IO). */
HF_CHECKED int store_write(struct store *s, const struct store_batch *b);

/* Appends the value of exactly `key` to *out. HF_E_NOT_FOUND, HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int store_get(struct store *s, struct slice key, struct buf *out);
/* As store_get, but only what would survive a crash now (RocksDB's persisted read tier). */
HF_CHECKED int store_get_durable(struct store *s, struct slice key, struct buf *out);

/* Everything written before is durable on return. */
HF_CHECKED int store_flush(struct store *s);
/* As store_flush, but only begins it; store_get_durable shows when it is done. */
HF_CHECKED int store_flush_begin(struct store *s);
/* A flush is under way, or store_flush_begin would wait now, for an earlier flush or for compaction. */
bool store_flush_pending(struct store *s);

/* `prefix_mode`: only keys with the prefix of the first seek are looked at (bloom); else total order. */
struct store_iterator *store_iterator_new(struct store *s, bool prefix_mode);
/* Total order, for one who walks over everything on a thread of its own: leaves the cache as it is. Shows the store as it
 * is now; to be freed before store_close. */
struct store_iterator *store_iterator_whole(struct store *s);
void store_iterator_free(struct store_iterator **it);
void store_iterator_seek(struct store_iterator *it, struct slice key);          /* first key ≥ */
void store_iterator_seek_for_prev(struct store_iterator *it, struct slice key); /* last key ≤ */
bool store_iterator_valid(const struct store_iterator *it);
void store_iterator_next(struct store_iterator *it);
void store_iterator_prev(struct store_iterator *it);
struct slice store_iterator_key(const struct store_iterator *it); /* borrowed until the iterator moves */
struct slice store_iterator_value(const struct store_iterator *it);
int store_iterator_status(struct store_iterator *it); /* HF_OK, or why valid is false (HF_E_CORRUPT, HF_E_IO) */

/* RocksDB's text of the last store_iterator_status that failed; "" before. Borrowed. */
const char *store_iterator_where(const struct store_iterator *it);

/* RocksDB's text of the last call on this store that failed, which names the file; "" before. Borrowed. */
const char *store_where(const struct store *s);

uint64_t store_property(struct store *s, const char *name); /* RocksDB integer property; 0 when unknown */

/* Compacts [start, end), down to the deepest level, on a thread of its own: what is deleted gives its room back. An empty `start` is the first key, an empty `end` is behind the last. What is in memory is flushed first,
 * if any of it is in the range. It goes piece by piece, so that the compactions which writes depend on get their turn; the
 * ends of pieces are ends of files, so more than the range may be rewritten. What a compaction of RocksDB's own was writing
 * when this began may be left as it is. One at a time (HF_E_BUSY). From a loop: begin, look at store_compact_done in later
 * turns, then end. HF_E_LIMIT: no thread. */
HF_CHECKED int store_compact_begin(struct store *s, struct slice start, struct slice end,
                                   struct store_compaction **out);
bool store_compact_done(struct store_compaction *c);
/* Cancels what is not done and waits for the thread: at once if store_compact_done, else for the record at hand, or for a
 * flush. Pieces that were done stay so. To be called before store_close. HF_OK: all of it is compacted; HF_E_AGAIN:
 * cancelled before; HF_E_NO_SPACE: no room for the next piece, which is not begun then; HF_E_IO: it failed, as
 * compactions of RocksDB's own then do too. */
int store_compact_end(struct store_compaction **c);

/* Estimates, of what is in files: memory is not counted. */
struct store_extent {
    uint64_t bytes; /* as compressed */
    /* Of files with keys in the range, whole; of those only that were written since the store was opened. */
    uint64_t entries, deletions; /* deletions are entries too */
};

/* Of [start, end), as for store_compact_begin. May read indexes of files: nothing for every turn. HF_E_IO, HF_E_CORRUPT. */
HF_CHECKED int store_compact_extent(struct store *s, struct slice start, struct slice end, struct store_extent *out);
