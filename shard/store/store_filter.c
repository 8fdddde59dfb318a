/* store_filter.c: the caller's judge of what compactions leave out, as RocksDB wants to have it. */
#include <stdlib.h>

#include "shard/store/store_internal.h"

/* Of one job. */
struct judging {
    const struct store_filter *filter; /* borrowed */
    void *judge;                       /* owned */
};

static unsigned char judging_drop(void *state, int level, const char *key, size_t key_size, const char *value,
                                  size_t value_size, char **new_value, size_t *new_size, unsigned char *changed)
{
    const struct judging *j = state;
    (void)new_value, (void)new_size, (void)changed; /* values stay as they are */
    return j->filter->drop(j->judge, level, slice_make(key, key_size), slice_make(value, value_size));
}

static void judging_free(void *state)
{
    struct judging *j = state;
    j->filter->end(j->judge);
    free(j);
}

static const char *filter_name(void *state)
{
    (void)state;
    return "holdfast.filter";
}

static rocksdb_compactionfilter_t *filter_begin(void *state, rocksdb_compactionfiltercontext_t *context)
{
    const struct store_filter *filter = state;
    (void)context;
    void *judge = filter->begin(filter->ctx);
    if (judge == NULL)
        return NULL; /* RocksDB's for: no filter */
    struct judging *j = malloc(sizeof *j);
    must(j != NULL); /* out of memory */
    *j = (struct judging){.filter = filter, .judge = judge};
    return rocksdb_compactionfilter_create(j, judging_free, judging_drop, filter_name);
}

static void filter_done(void *state)
{
    (void)state; /* the caller's */
}

void store_filter_set(rocksdb_options_t *o, const struct store_filter *filter)
{
    if (filter == NULL)
        return;
    void *state = (void *)(uintptr_t)filter; /* c.h's signature; only filter_begin looks at it */
    rocksdb_options_set_compaction_filter_factory(
        o, rocksdb_compactionfilterfactory_create(state, filter_done, filter_begin, filter_name));
}
