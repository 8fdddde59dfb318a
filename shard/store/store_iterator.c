/* store_iterator.c: walking keys in order: inside one prefix, or all of them. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/error.h"
#include "shard/store/store_internal.h"

struct store_iterator {
    rocksdb_iterator_t *it;
    struct store *store;         /* borrowed; NULL: of a walk over everything, on another thread than the loop's */
    rocksdb_readoptions_t *read; /* owned; of a walk over everything, else NULL */
    char where[256];             /* RocksDB's text of the last failure */
};

struct store_iterator *store_iterator_new(struct store *s, bool prefix_mode)
{
    struct store_iterator *it = calloc(1, sizeof *it);
    must(it != NULL); /* out of memory */
    it->store = s;
    it->it = rocksdb_create_iterator(s->db, prefix_mode ? s->read_prefix : s->read_total);
    return it;
}

struct store_iterator *store_iterator_whole(struct store *s)
{
    struct store_iterator *it = calloc(1, sizeof *it);
    must(it != NULL); /* out of memory */
    it->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(it->read, 1); /* I11 */
    rocksdb_readoptions_set_total_order_seek(it->read, 1);
    rocksdb_readoptions_set_fill_cache(it->read, 0);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(it->read, 1);
    it->it = rocksdb_create_iterator(s->db, it->read);
    return it;
}

void store_iterator_free(struct store_iterator **it)
{
    if (*it == NULL)
        return;
    rocksdb_iter_destroy((*it)->it);
    if ((*it)->read != NULL)
        rocksdb_readoptions_destroy((*it)->read);
    free(*it);
    *it = NULL;
}

void store_iterator_seek(struct store_iterator *it, struct slice key)
{
    rocksdb_iter_seek(it->it, (const char *)key.data, key.size);
}

void store_iterator_seek_for_prev(struct store_iterator *it, struct slice key)
{
    rocksdb_iter_seek_for_prev(it->it, (const char *)key.data, key.size);
}

bool store_iterator_valid(const struct store_iterator *it)
{
    return rocksdb_iter_valid(it->it);
}

void store_iterator_next(struct store_iterator *it)
{
    rocksdb_iter_next(it->it);
}

void store_iterator_prev(struct store_iterator *it)
{
    rocksdb_iter_prev(it->it);
}

struct slice store_iterator_key(const struct store_iterator *it)
{
    size_t size;
    const char *data = rocksdb_iter_key(it->it, &size);
    return slice_make(data, size);
}

struct slice store_iterator_value(const struct store_iterator *it)
{
    size_t size;
    const char *data = rocksdb_iter_value(it->it, &size);
    return slice_make(data, size);
}

int store_iterator_status(struct store_iterator *it)
{
    char *text = NULL;
    rocksdb_iter_get_error(it->it, &text);
    int rc = store_error(text, it->where);
    if (rc != HF_OK && it->store != NULL) /* the loop's thread, whose field it is */
        snprintf(it->store->where, sizeof it->store->where, "%s", it->where);
    return rc;
}

const char *store_iterator_where(const struct store_iterator *it)
{
    return it->where;
}
