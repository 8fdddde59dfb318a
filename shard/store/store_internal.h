/* store_internal.h: what the files of this folder share; nobody outside includes it. */
#pragma once

#include <rocksdb/c.h>

#include "shard/store/store.h"

#define STORE_ROOM_BYTES ((uint64_t)1 << 20) /* more than opening writes; what a batch or a checkpoint leaves */

struct store {
    rocksdb_t *db;
    rocksdb_cache_t *cache;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *write;
    rocksdb_writebatch_t *batch;         /* what is being written */
    rocksdb_readoptions_t *read;         /* point reads */
    rocksdb_readoptions_t *read_durable; /* what is on disk only */
    rocksdb_readoptions_t *read_prefix;  /* iterators that stay inside one prefix */
    rocksdb_readoptions_t *read_total;   /* iterators in total order */
    rocksdb_flushoptions_t *flush, *flush_begin;
    struct store_compaction *compaction; /* borrowed from who began it; NULL: none */
    char *dir;                           /* owned */
    bool logged;                         /* batches are synced into RocksDB's own log */
    char where[256];                     /* RocksDB's text of the last failure */
};

/* The batch's records, instead of what `wb` holds. */
void store_batch_fill(const struct store_batch *b, rocksdb_writebatch_t *wb);

/* RocksDB's text → a code of ours; frees the text. NULL is HF_OK. `where` (256 bytes) may be NULL. */
HF_CHECKED int store_error(char *text, char *where);

/* The options a store is opened with; set_prefix and the cache become the options' own. */
rocksdb_options_t *store_options(const struct store_config *config, rocksdb_cache_t *cache);
