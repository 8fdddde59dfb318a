/* store.c: opening, writing, point reads and flushes of the one RocksDB. */
#include "shard/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/sys/disk.h"
#include "shard/store/store_internal.h"

#define STORE_CACHE_BYTES_DEFAULT ((uint64_t)24 << 20) /* indexes and filters of 5 M keys take 14 */

#define STORE_ROOM_NAME "room.tmp"

#define STORE_L0_FILES_FLUSH 18 /* RocksDB slows writes down at 20 files of level 0, and a flush is one more */

enum { READ_TIER_PERSISTED = 2 }; /* as in rocksdb/options.h; c.h has no name for it */

/* RocksDB's C interface tells kinds of errors apart by their text only. */
static const struct {
    const char *text;
    int code;
} error_texts[] = {
    {"No space left", HF_E_NO_SPACE},
    {"NoSpace", HF_E_NO_SPACE},
    {"Disk quota exceeded", HF_E_NO_SPACE},
    {"Max allowed space", HF_E_NO_SPACE},
    {"create_if_missing is false", HF_E_ABSENT},
    {"Corruption", HF_E_CORRUPT},
    {"No such file", HF_E_CORRUPT}, /* that it names itself: lost, not a disk in trouble */
    {"checksum mismatch", HF_E_CORRUPT},
    {"lock hold by", HF_E_LOCKED},
    {"While lock file", HF_E_LOCKED},
};

int store_error(char *text, char *where)
{
    if (text == NULL)
        return HF_OK;
    int code = HF_E_IO;
    for (size_t i = 0; i < sizeof error_texts / sizeof error_texts[0]; i++) {
        if (strstr(text, error_texts[i].text) != NULL) {
            code = error_texts[i].code;
            break;
        }
    }
    if (where != NULL)
        snprintf(where, 256, "%s", text);
    rocksdb_free(text);
    return code;
}

static rocksdb_readoptions_t *read_options(bool prefix_mode)
{
    rocksdb_readoptions_t *r = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(r, 1); /* I11 */
    rocksdb_readoptions_set_prefix_same_as_start(r, prefix_mode);
    rocksdb_readoptions_set_total_order_seek(r, !prefix_mode);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(r, 1);
    return r;
}

static void make_options(struct store *s, const struct store_config *config)
{
    uint64_t cache = config->cache_bytes > 0 ? config->cache_bytes : STORE_CACHE_BYTES_DEFAULT;
    s->cache = rocksdb_cache_create_lru((size_t)cache);
    s->options = store_options(config, s->cache);
    s->batch = rocksdb_writebatch_create();
    s->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(s->write, !config->sync_writes);
    rocksdb_writeoptions_set_sync(s->write, config->sync_writes);
    s->read = read_options(false);
    s->read_durable = read_options(false);
    rocksdb_readoptions_set_read_tier(s->read_durable, READ_TIER_PERSISTED);
    s->read_prefix = read_options(true);
    s->read_total = read_options(false);
    s->flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(s->flush, 1);
    s->flush_begin = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(s->flush_begin, 0);
}

static void destroy(struct store *s)
{
    if (s->db != NULL)
        rocksdb_close(s->db);
    rocksdb_flushoptions_destroy(s->flush_begin);
    rocksdb_flushoptions_destroy(s->flush);
    rocksdb_readoptions_destroy(s->read_total);
    rocksdb_readoptions_destroy(s->read_prefix);
    rocksdb_readoptions_destroy(s->read_durable);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_writeoptions_destroy(s->write);
    rocksdb_writebatch_destroy(s->batch);
    rocksdb_options_destroy(s->options);
    rocksdb_cache_destroy(s->cache);
    free(s->dir);
    free(s);
}

/* RocksDB would make the directory and a log file in it before it says that nothing is there. */
static int check_present(const char *dir, char where[256])
{
    char path[LIMIT_TEXT_BYTES];
    bool present = false;
    if ((size_t)snprintf(path, sizeof path, "%s/CURRENT", dir) >= sizeof path)
        return HF_E_LIMIT;
    int rc = disk_posix()->ops->exists(disk_posix(), path, &present);
    if (rc == HF_OK && !present)
        rc = HF_E_ABSENT;
    if (rc != HF_OK)
        snprintf(where, 256, "%.200s: no store: %s", dir, error_text(rc));
    return rc;
}

/* Opening writes files of its own, and Debian's RocksDB ends the process by an assertion when there is no room for them:
 * so room is tried first. */
static int check_room(const char *dir, char where[256])
{
    struct disk *disk = disk_posix();
    struct disk_file *file = NULL;
    char path[LIMIT_TEXT_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, STORE_ROOM_NAME) >= sizeof path)
        return HF_E_LIMIT;
    int rc = disk->ops->remove(disk, path); /* of a process killed here */
    if (rc == HF_OK || rc == HF_E_ABSENT)
        rc = disk->ops->open(disk, path, DISK_CREATE, &file);
    if (rc == HF_OK) {
        rc = disk->ops->zero_fill(disk, file, STORE_ROOM_BYTES);
        disk->ops->close(disk, &file);
        int removed = disk->ops->remove(disk, path);
        rc = rc == HF_OK ? removed : rc;
    }
    if (rc != HF_OK)
        snprintf(where, 256, "%.200s: %s", path, disk_error_text(rc));
    return rc;
}

int store_open(const struct store_config *config, bool create, struct store **out, char where[256])
{
    must(!(create && config->read_only));
    int rc = create ? HF_OK : check_present(config->dir, where);
    if (rc == HF_OK && !create && !config->read_only)
        rc = check_room(config->dir, where);
    if (rc != HF_OK)
        return rc;
    struct store *s = calloc(1, sizeof *s);
    must(s != NULL); /* out of memory */
    make_options(s, config);
    s->dir = strdup(config->dir);
    must(s->dir != NULL); /* out of memory */
    s->logged = config->sync_writes;
    rocksdb_options_set_create_if_missing(s->options, create);
    char *text = NULL;
    s->db = config->read_only ? rocksdb_open_for_read_only(s->options, config->dir, 0, &text)
                              : rocksdb_open(s->options, config->dir, &text);
    rc = store_error(text, where);
    if (rc != HF_OK) {
        s->db = NULL;
        destroy(s);
        return rc;
    }
    *out = s;
    return HF_OK;
}

void store_close(struct store **s)
{
    if (*s == NULL)
        return;
    must((*s)->compaction == NULL); /* store_compact_end comes first */
    destroy(*s);
    *s = NULL;
}

int store_destroy(const char *dir, char where[256])
{
    rocksdb_options_t *o = rocksdb_options_create();
    char *text = NULL;
    rocksdb_destroy_db(o, dir, &text);
    rocksdb_options_destroy(o);
    return store_error(text, where);
}

/* Debian's RocksDB ends the process by an assertion some time after a write to its own log found no room: so it is not
 * asked to when room is short. */
static int check_log_room(struct store *s)
{
    size_t size = 0;
    uint64_t room = 0;
    (void)rocksdb_writebatch_data(s->batch, &size);
    int rc = disk_room(s->dir, &room);
    if (rc == HF_OK && room < size + STORE_ROOM_BYTES)
        rc = HF_E_NO_SPACE;
    if (rc != HF_OK)
        snprintf(s->where, sizeof s->where, "%.200s: %s", s->dir, disk_error_text(rc));
    return rc;
}

int store_write(struct store *s, const struct store_batch *b)
{
    store_batch_fill(b, s->batch);
    int rc = !s->logged ? HF_OK : check_log_room(s);
    if (rc != HF_OK)
        return rc;
    char *text = NULL;
    rocksdb_write(s->db, s->write, s->batch, &text);
    return store_error(text, s->where);
}

static int get(struct store *s, const rocksdb_readoptions_t *how, struct slice key, struct buf *out)
{
    char *text = NULL;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned(s->db, how, (const char *)key.data, key.size, &text);
    if (text != NULL)
        return store_error(text, s->where);
    if (found == NULL)
        return HF_E_NOT_FOUND;
    size_t size;
    const char *data = rocksdb_pinnableslice_value(found, &size);
    if (size > 0)
        buf_append(out, data, size);
    rocksdb_pinnableslice_destroy(found);
    return HF_OK;
}

int store_get(struct store *s, struct slice key, struct buf *out)
{
    return get(s, s->read, key, out);
}

int store_get_durable(struct store *s, struct slice key, struct buf *out)
{
    return get(s, s->read_durable, key, out);
}

int store_flush(struct store *s)
{
    char *text = NULL;
    rocksdb_flush(s->db, s->flush, &text);
    return store_error(text, s->where);
}

int store_flush_begin(struct store *s)
{
    char *text = NULL;
    rocksdb_flush(s->db, s->flush_begin, &text);
    return store_error(text, s->where);
}

/* What makes rocksdb_flush wait, whether or not it is to wait for the flush itself: another memtable would have to wait for
 * room, or level 0 is about to have more files than writes may go on with. */
bool store_flush_pending(struct store *s)
{
    uint64_t waiting = 0;
    if (rocksdb_property_int(s->db, "rocksdb.num-immutable-mem-table", &waiting) == 0 && waiting > 0)
        return true;
    char *files = rocksdb_property_value(s->db, "rocksdb.num-files-at-level0");
    bool full = files != NULL && strtoull(files, NULL, 10) >= STORE_L0_FILES_FLUSH;
    rocksdb_free(files);
    return full;
}

const char *store_where(const struct store *s)
{
    return s->where;
}

uint64_t store_property(struct store *s, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int(s->db, name, &value) == 0 ? value : 0;
}
