/* keep.h: whole states kept in files, for a restore without other replicas (--snapshot-keep).
 *
 * Position: the replica asks for one after each publish; directory_open.c takes the newest whole one when the state machine
 *           cannot be used, or is not wanted.
 * Files:    <dir>/snapshots/keep-<index>.stream (snapshot/stream.h); the newest N stay.
 * Thread:   the calls are the loop's; the writing runs on one thread of ours, at most one at a time. */
#pragma once

#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"
#include "shard/snapshot/stream.h"

struct keep;

struct keep *keep_new(struct disk *disk, const char *dir, uint32_t count); /* dir: borrowed */
void keep_free(struct keep **k);
/* Writes the machine's state beside the loop; while one is being written: nothing. */
void keep_begin(struct keep *k, struct fsm *fsm);
/* Before the machine is closed: on return nobody reads it. */
void keep_stop(struct keep *k);
uint64_t keep_newest(const struct keep *k); /* index of the newest one that is whole; 0: none */

/* The newest kept stream of `id`'s log with first - 1 <= index <= last; 0: none. Header and footer are checked, the body is
 * not read. `below` bounds the index, so that the next older one can be asked for. */
uint64_t keep_find(struct disk *disk, const char *dir, const struct identity *id, uint64_t first, uint64_t below,
                   uint64_t *out_term);
/* Stages it as install.h has it, everything checked. HF_E_SNAPSHOT_*, HF_E_IO, HF_E_NO_SPACE; where[] says more. */
HF_CHECKED int keep_stage(struct disk *disk, const char *dir, uint64_t index, char where[256]);
/* Removes them all, durably: they are of a machine that is not to be believed. HF_E_IO. */
HF_CHECKED int keep_forget(struct disk *disk, const char *dir);
