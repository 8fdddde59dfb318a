/* store_compact.c: compacting a range of keys on a thread of its own, piece by piece; how large a range is.
 *
 * Thread: the loop's, but for `run` and what it calls; they share `cancelled` and `done`. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/error.h"
#include "common/sys/disk.h"
#include "shard/store/store_internal.h"

#define PIECE_BYTES ((uint64_t)64 << 20) /* of the deepest level: writes bear a compaction of that before theirs */

#define FLUSH_POLL_US 10000

/* As in rocksdb/options.h; c.h has no name for it: the deepest level too, but no file twice. */
enum { BOTTOMMOST_FORCE_OPTIMIZED = 3 };

struct store_compaction {
    struct store *store;   /* borrowed; what the loop writes to in it (`where`, `batch`) is not touched by `run` */
    struct buf start, end; /* what is left to do; empty: no bound */
    pthread_t thread;
    atomic_bool cancelled, done;
    int code; /* written by `run` before `done` */
};

/* The files of the store, as of some moment. */
struct file {
    struct slice smallest, largest; /* borrowed from `list` */
    uint64_t bytes;
    int level;
};

static struct file file_at(const rocksdb_livefiles_t *list, int i)
{
    size_t smallest, largest;
    const char *s = rocksdb_livefiles_smallestkey(list, i, &smallest);
    const char *l = rocksdb_livefiles_largestkey(list, i, &largest);
    return (struct file){.smallest = slice_make(s, smallest),
                         .largest = slice_make(l, largest),
                         .bytes = rocksdb_livefiles_size(list, i),
                         .level = rocksdb_livefiles_level(list, i)};
}

static bool file_within(const struct file *f, struct slice start, struct slice end)
{
    return slice_compare(f->largest, start) >= 0 && (end.size == 0 || slice_compare(f->smallest, end) < 0);
}

static int deepest_level(const rocksdb_livefiles_t *list)
{
    int deepest = 0;
    for (int i = 0; i < rocksdb_livefiles_count(list); i++)
        if (rocksdb_livefiles_level(list, i) > deepest)
            deepest = rocksdb_livefiles_level(list, i);
    return deepest;
}

/* The last key of a piece that begins at `start`: *out is empty if there is nothing more behind it in the deepest level;
 * *out_bytes: what the piece may write. */
static void next_piece(const rocksdb_livefiles_t *list, struct slice start, struct slice end, struct buf *out,
                       uint64_t *out_bytes)
{
    uint64_t deep = 0;
    int deepest = deepest_level(list), count = rocksdb_livefiles_count(list);
    bool more = false;
    struct slice last = {0};
    for (int i = 0; i < count && !more; i++) { /* below level 0, in the order of keys */
        struct file f = file_at(list, i);
        if (deepest == 0 || f.level != deepest || !file_within(&f, start, end))
            continue;
        more = last.size > 0 && deep + f.bytes > PIECE_BYTES;
        if (!more) {
            deep += f.bytes;
            last = f.largest;
        }
    }
    buf_clear(out);
    if (more)
        buf_append(out, last.data, last.size);
    *out_bytes = 0;
    for (int i = 0; i < count; i++) {
        struct file f = file_at(list, i);
        if (file_within(&f, start, more ? last : end))
            *out_bytes += f.bytes;
    }
}

static int compact_piece(struct store *s, const rocksdb_compactoptions_t *how, struct slice start, struct slice end)
{
    uint64_t failed = store_property(s, "rocksdb.background-errors");
    rocksdb_compact_range_opt(s->db, (rocksdb_compactoptions_t *)(uintptr_t)how, (const char *)start.data, start.size,
                              (const char *)end.data, end.size); /* says nothing of how it went */
    return store_property(s, "rocksdb.background-errors") == failed ? HF_OK : HF_E_IO;
}

static int check_room(const struct store *s, uint64_t bytes)
{
    uint64_t room = 0;
    int rc = disk_room(s->dir, &room);
    return rc == HF_OK && room < bytes + STORE_ROOM_BYTES ? HF_E_NO_SPACE : rc;
}

/* A flush that had to wait for others could not be cancelled. */
static void wait_for_flushes(const struct store_compaction *c)
{
    while (store_flush_pending(c->store) && !atomic_load(&c->cancelled))
        usleep(FLUSH_POLL_US);
}

static int compact(struct store_compaction *c, const rocksdb_compactoptions_t *how)
{
    struct buf last = {0};
    bool more = true;
    int rc = HF_OK;
    while (rc == HF_OK && more) {
        uint64_t bytes = 0;
        const rocksdb_livefiles_t *list = rocksdb_livefiles(c->store->db);
        next_piece(list, buf_slice(&c->start), buf_slice(&c->end), &last, &bytes);
        rocksdb_livefiles_destroy(list);
        more = last.size > 0;
        rc = check_room(c->store, bytes);
        if (rc == HF_OK)
            wait_for_flushes(c);
        if (rc == HF_OK && !atomic_load(&c->cancelled))
            rc = compact_piece(c->store, how, buf_slice(&c->start), buf_slice(more ? &last : &c->end));
        if (atomic_load(&c->cancelled))
            rc = HF_E_AGAIN;
        buf_clear(&c->start); /* the first key behind */
        buf_append(&c->start, last.data, last.size);
        buf_append(&c->start, "", 1);
    }
    buf_deinit(&last);
    return rc;
}

static void *run(void *arg)
{
    struct store_compaction *c = arg;
    rocksdb_compactoptions_t *how = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(how, 0); /* others go on */
    rocksdb_compactoptions_set_bottommost_level_compaction(how, BOTTOMMOST_FORCE_OPTIMIZED);
    c->code = compact(c, how);
    rocksdb_compactoptions_destroy(how);
    atomic_store(&c->done, true);
    return NULL;
}

static void compaction_free(struct store_compaction *c)
{
    buf_deinit(&c->start);
    buf_deinit(&c->end);
    free(c);
}

int store_compact_begin(struct store *s, struct slice start, struct slice end, struct store_compaction **out)
{
    if (s->compaction != NULL)
        return HF_E_BUSY;
    struct store_compaction *c = calloc(1, sizeof *c);
    must(c != NULL); /* out of memory */
    c->store = s;
    buf_append(&c->start, start.data, start.size);
    buf_append(&c->end, end.data, end.size);
    if (pthread_create(&c->thread, NULL, run, c) != 0) {
        compaction_free(c);
        return HF_E_LIMIT;
    }
    s->compaction = c;
    *out = c;
    return HF_OK;
}

bool store_compact_done(struct store_compaction *c)
{
    return atomic_load(&c->done);
}

int store_compact_end(struct store_compaction **compaction)
{
    struct store_compaction *c = *compaction;
    if (c == NULL)
        return HF_OK;
    struct store *s = c->store;
    bool stop = !atomic_load(&c->done);
    atomic_store(&c->cancelled, stop);
    if (stop)
        rocksdb_disable_manual_compaction(s->db);
    pthread_join(c->thread, NULL);
    if (stop)
        rocksdb_enable_manual_compaction(s->db);
    int rc = c->code;
    s->compaction = NULL;
    compaction_free(c);
    *compaction = NULL;
    return rc;
}

/* No key is behind it, as far as an estimate goes. */
static const char last_key[] = "\xff\xff\xff\xff\xff\xff\xff\xff";

int store_compact_extent(struct store *s, struct slice start, struct slice end, struct store_extent *out)
{
    const char *from = start.size > 0 ? (const char *)start.data : "";
    const char *to = end.size > 0 ? (const char *)end.data : last_key;
    size_t from_size = start.size, to_size = end.size > 0 ? end.size : sizeof last_key - 1;
    struct store_extent extent = {0};
    char *text = NULL;
    rocksdb_approximate_sizes(s->db, 1, &from, &from_size, &to, &to_size, &extent.bytes, &text);
    int rc = store_error(text, s->where);
    if (rc != HF_OK)
        return rc;
    const rocksdb_livefiles_t *list = rocksdb_livefiles(s->db);
    for (int i = 0; i < rocksdb_livefiles_count(list); i++) {
        struct file f = file_at(list, i);
        if (!file_within(&f, start, end))
            continue;
        extent.entries += rocksdb_livefiles_entries(list, i);
        extent.deletions += rocksdb_livefiles_deletions(list, i);
    }
    rocksdb_livefiles_destroy(list);
    *out = extent;
    return HF_OK;
}
