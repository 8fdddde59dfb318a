/* meta.h: 'm' records: where the machine stands and what it knows of itself (I3: nothing of it lives in memory only).
 *
 * Position: fsm_create writes all, apply what changed, fsm_open reads all. */
#pragma once

#include "shard/fsm/fsm.h"
#include "shard/store/store.h"

void meta_put_applied(struct store_batch *batch, const struct fsm_info *info); /* with newest version and digest (I1) */
void meta_put_ceiling(struct store_batch *batch, struct hlc ceiling);
void meta_put_members(struct store_batch *batch, const Hf__Catalog__Members *members);
void meta_put_checked(struct store_batch *batch, uint64_t index);
void meta_put_restart(struct store_batch *batch, struct hlc restart);
void meta_put_range(struct store_batch *batch, const Hf__Catalog__Range *range);
void meta_put_constants(struct store_batch *batch, const struct fsm_info *info);

/* Key of the record of collection, which apply writes. */
struct slice meta_key_collect(void);
/* That record, bounded; NULL: it cannot be used. */
Hf__Entry__CollectRecord *meta_collect(struct slice packed, struct arena *arena);

/* Key of the record of the group's migration, which apply writes. */
struct slice meta_key_migration(void);
/* Of one that is SEALED. */
struct fsm_seal meta_seal_of(const struct fsm_migration *m);

/* Unpacks a configuration and bounds every count and length (I11); NULL: it cannot be used. */
Hf__Catalog__Members *meta_members(struct slice packed, struct arena *arena);

/* Fills *info but for the counts; members and range go into their arenas.
 * HF_E_ABSENT: no state was completed here. HF_E_CORRUPT, HF_E_FORMAT, HF_E_IO. */
HF_CHECKED int meta_load(struct store *store, struct arena *members, struct arena *range, struct fsm_info *info,
                         char where[256]);

/* As meta_load, of what is on disk, all as of one entry. HF_E_ABSENT, HF_E_CORRUPT, HF_E_FORMAT, HF_E_IO. */
HF_CHECKED int meta_durable_info(struct store *store, struct arena *arena, struct fsm_info *out);

/* The applied position that is on disk. HF_E_ABSENT, HF_E_CORRUPT, HF_E_IO. */
HF_CHECKED int meta_durable_applied(struct store *store, struct fsm_applied *out);
