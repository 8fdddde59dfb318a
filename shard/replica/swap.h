/* swap.h: a replica whose state holds a seal goes over to the next epoch: another log, another engine, the same state.
 *
 * Order: the next epoch's empty log is made in MIGRATION/, where nobody looks for one; identity is replaced, which is the only commit
 * point; the log moves to its place, the old one into archive/; MIGRATION/ goes; the state machine enters the epoch. A crash
 * before the commit point leaves nothing of it, one behind it is finished at the next start: the log is made once.
 *
 * Position: directory_open (what a killed one left), directory_open_fsm (a state that is sealed, however it came).
 * Thread:   any, on a directory whose engine is closed. */
#pragma once

#include "common/sys/disk.h"
#include "shard/fsm/fsm.h"
#include "shard/log/identity.h"

#define SWAP_FOLDER "MIGRATION"

/* Finishes or undoes what a killed swap left, by what identity says of it; nothing is there: nothing is done. Durable on return.
 * An identity that cannot be read is left to detect.h. HF_E_IO, HF_E_NO_SPACE: call it again. */
HF_CHECKED int swap_finish(struct disk *disk, const char *dir);

/* Is the machine's newest seal behind the end of the directory's log? Its own seal, or one of a state that was fetched from who went on,
 * maybe for more than one epoch: it leads to the epoch behind that seal. */
bool swap_due(const struct fsm_info *info, const struct identity *id);

/* Of the machine in <dir>/fsm, for which it is due, open or not but durable as `info` says; *id is the directory's, and becomes the new one. HF_E_ABSENT:
 * this program does not have the engine. HF_E_IO, HF_E_NO_SPACE: identity says whether it is done; call swap_finish. */
HF_CHECKED int swap_directory(struct disk *disk, const char *dir, uint64_t segment_bytes, const struct fsm_info *info,
                              struct identity *id);

/* Is it the state behind which the directory's log begins, not yet of its epoch? */
bool swap_precedes(const struct fsm_info *info, const struct identity *id);
