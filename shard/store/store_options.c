/* store_options.c: how RocksDB is set up: one place for every number. */
#include <stdlib.h>

#include "shard/store/store_internal.h"

#define STORE_BUFFER_BYTES_DEFAULT ((uint64_t)8 << 20)
#define STORE_BUFFERS_MAX 3
#define STORE_BLOCK_BYTES ((size_t)8 << 10)
#define STORE_BLOOM_BITS 10
#define STORE_OPEN_FILES_MAX 512
#define STORE_FILE_BYTES ((uint64_t)32 << 20)
#define STORE_INFO_LOG_BYTES ((size_t)1 << 20)
#define STORE_INFO_LOGS 4
#define STORE_LEVELS 7
#define STORE_COMPRESSED_FROM 2 /* upper levels are rewritten soon: not worth the CPU */
#define STORE_BACKGROUND_JOBS 2
#define STORE_L0_FILES 8 /* before they are compacted: half the rewriting of 4, a fifth of a put's processor time */
/* A file in which of so many records together so many are deletions is compacted though its level has not grown too large:
 * collection deletes in the order of keys, and whatever reads across such a stretch steps over every one of them. A smaller
 * stretch is passed in less than a millisecond; and half, so that a stretch gives back at least what its moving costs. */
#define STORE_DELETIONS_WINDOW 4096
#define STORE_DELETIONS 2048
#define STORE_SYNC_BYTES ((uint64_t)1 << 20) /* files are written back as they grow: no burst at the end */

/* As in rocksdb/env.h; c.h has no name for it. Nothing less than what opening writes: Debian's RocksDB ends the process by
 * an assertion when a second line finds no room in its file LOG, so a full disk would end us within a minute. */
enum { INFO_LEVEL_FATAL = 4 };

/* The extractor's state is the caller's function. */
struct prefix {
    size_t (*length)(struct slice key);
};

static char *prefix_transform(void *state, const char *key, size_t size, size_t *out_size)
{
    const struct prefix *p = state;
    *out_size = p->length(slice_make(key, size));
    return (char *)(uintptr_t)key; /* c.h's signature; RocksDB does not write through it */
}

static unsigned char prefix_in_domain(void *state, const char *key, size_t size)
{
    const struct prefix *p = state;
    return p->length(slice_make(key, size)) > 0;
}

static unsigned char prefix_in_range(void *state, const char *key, size_t size)
{
    (void)state, (void)key, (void)size; /* not asked any more; c.h still wants it */
    return 0;
}

static const char *prefix_name(void *state)
{
    (void)state;
    return "holdfast.prefix.1"; /* stored in every file: another extractor needs another name */
}

static void set_prefix(rocksdb_options_t *o, const struct store_config *config)
{
    if (config->prefix == NULL)
        return;
    struct prefix *p = malloc(sizeof *p);
    must(p != NULL); /* out of memory */
    p->length = config->prefix;
    rocksdb_options_set_prefix_extractor(
        o, rocksdb_slicetransform_create(p, free, prefix_transform, prefix_in_domain, prefix_in_range, prefix_name));
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.05);
}

static void set_table(rocksdb_options_t *o, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_block_size(t, STORE_BLOCK_BYTES);
    rocksdb_block_based_options_set_block_cache(t, cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(STORE_BLOOM_BITS));
    rocksdb_block_based_options_set_whole_key_filtering(t, 0); /* versions are looked for by prefix only */
    /* Indexes and filters count against the cache: memory stays bounded whatever the data. Kept in one block a file:
     * in pieces (a two-level index) a read costs half as much again. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
}

static void set_compression(rocksdb_options_t *o)
{
    int levels[STORE_LEVELS];
    for (int i = 0; i < STORE_LEVELS; i++)
        levels[i] = i < STORE_COMPRESSED_FROM ? rocksdb_no_compression : rocksdb_lz4_compression;
    rocksdb_options_set_compression_per_level(o, levels, STORE_LEVELS);
}

/* The memtable remembers where a record of each first byte went last, and a sorted batch goes on from there: a tenth of
 * apply's instructions. c.h has no call for it. */
static rocksdb_options_t *with_hint(rocksdb_options_t *o)
{
    char *text = NULL;
    rocksdb_options_t *hinted = rocksdb_options_create();
    rocksdb_get_options_from_string(o, "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.1", hinted,
                                    &text);
    must(text == NULL); /* a constant text */
    rocksdb_options_destroy(o);
    return hinted;
}

rocksdb_options_t *store_options(const struct store_config *config, rocksdb_cache_t *cache)
{
    rocksdb_options_t *o = rocksdb_options_create();
    uint64_t buffer = config->buffer_bytes > 0 ? config->buffer_bytes : STORE_BUFFER_BYTES_DEFAULT;
    rocksdb_options_set_write_buffer_size(o, (size_t)buffer);
    rocksdb_options_set_max_write_buffer_number(o, STORE_BUFFERS_MAX);
    rocksdb_options_set_target_file_size_base(o, STORE_FILE_BYTES);
    rocksdb_options_set_max_bytes_for_level_base(o, buffer * 16);
    rocksdb_options_set_level0_file_num_compaction_trigger(o, STORE_L0_FILES);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_max_background_jobs(o, STORE_BACKGROUND_JOBS);
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0); /* there is one writer */
    rocksdb_options_set_bytes_per_sync(o, STORE_SYNC_BYTES);
    /* Opening must not depend on how much data there is. */
    rocksdb_options_set_max_open_files(o, STORE_OPEN_FILES_MAX);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    rocksdb_options_set_max_log_file_size(o, STORE_INFO_LOG_BYTES);
    rocksdb_options_set_keep_log_file_num(o, STORE_INFO_LOGS);
    rocksdb_options_set_info_log_level(o, INFO_LEVEL_FATAL);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_add_compact_on_deletion_collector_factory(o, STORE_DELETIONS_WINDOW, STORE_DELETIONS);
    set_compression(o);
    set_table(o, cache);
    set_prefix(o, config);
    return with_hint(o);
}
