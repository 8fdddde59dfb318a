/* compact.c: giving back the room of what was removed, and how much there may be to give back. */
#include "common/base/error.h"
#include "shard/fsm/fsm_internal.h"

int fsm_compact_begin(struct fsm *fsm)
{
    static const struct slice all = {0};
    fsm_drop_iterators(fsm); /* they would hold the memory of what is flushed, and the files */
    return store_compact_begin(fsm->store, all, all, &fsm->compaction);
}

bool fsm_compact_done(struct fsm *fsm)
{
    return fsm->compaction == NULL || store_compact_done(fsm->compaction);
}

int fsm_compact_end(struct fsm *fsm)
{
    fsm_drop_iterators(fsm);
    return store_compact_end(&fsm->compaction);
}

int fsm_compact_extent(struct fsm *fsm, struct fsm_extent *out)
{
    struct store_extent files;
    int rc = store_compact_extent(fsm->store, (struct slice){0}, (struct slice){0}, &files);
    if (rc != HF_OK)
        return rc;
    *out = (struct fsm_extent){.bytes = files.bytes};
    out->entries = files.entries + store_property(fsm->store, "rocksdb.num-entries-active-mem-table") +
                   store_property(fsm->store, "rocksdb.num-entries-imm-mem-tables");
    out->deletions = files.deletions + store_property(fsm->store, "rocksdb.num-deletes-active-mem-table") +
                     store_property(fsm->store, "rocksdb.num-deletes-imm-mem-tables");
    return HF_OK;
}
