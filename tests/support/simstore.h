/* simstore.h: shard/store/store.h in memory, for the simulator: linked in place of hf_store.
 *
 * Position: below shard/fsm. A medium stands for the store's directory; store_open finds it by the name of the directory.
 * Model:    every batch has a number; a key keeps the versions that somebody may still see. A flush makes a prefix of the
 *           batches durable, all keys alike: a crash forgets the batches behind it, whole, and nothing else. A flush that
 *           was only begun, by store_flush_begin or by the memtable's end, takes effect some operations later.
 *           It compacts only when asked to: what is deleted is not counted any more then, and nothing else can be seen of it.
 * Proven by tests/unit/support/store_transcript.c: the same random operations, kills included, against RocksDB.
 * Thread:   one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shard/store/store.h"

struct simstore;

struct simstore *simstore_new(const char *dir, uint64_t seed); /* nothing is in it: store_open with create makes it */
void simstore_free(struct simstore **m);                       /* no store may be open on it */
/* Directories that move: whoever knows which medium stands for `dir` now is asked first. NULL: by the name alone. */
void simstore_find_by(struct simstore *(*find)(const char *dir));
/* Is told of each record that a batch deletes, before it does. NULL: nobody. */
void simstore_see_removals(void (*see)(struct slice key, struct slice value));

/* The process is gone: closing the store flushes nothing from now on, until simstore_crash. */
void simstore_halt(struct simstore *m);
/* What no flush covered is gone. The store must be closed. */
void simstore_crash(struct simstore *m);
/* What is durable on `from` is all there is on `to`, durably. */
void simstore_copy(struct simstore *to, const struct simstore *from);

/* Begins a flush by itself after a batch, `permille` of the time: memtables fill up. */
void simstore_flush_permille(struct simstore *m, uint32_t permille);
/* From now on it does not open: HF_E_CORRUPT, until another is copied onto it. */
void simstore_damage(struct simstore *m);
/* Iterators misread the next `times` records they come to: HF_E_CORRUPT. */
void simstore_misread(struct simstore *m, uint64_t times);
bool simstore_misreads(const struct simstore *m); /* some of these are still to come */
/* The next `times` batches fail with `code`, nothing of them is visible. */
void simstore_fail(struct simstore *m, int code, uint64_t times);

/* A sum over all keys and values that a reader sees now: equal for equal content. */
uint64_t simstore_content(const struct simstore *m);
