/* keeper.h: has collection wait for a command that reads at one timestamp for long (hf_retain), on a thread of its own: the
 * command may be at a disk or a pipe for longer than a promise lasts.
 *
 * Position: backups, scans and dumps. Nothing is said when nobody promises: the read itself may fail. */
#pragma once

#include <stdint.h>

#include "client/include/holdfast/holdfast.h"

struct keeper;

/* Borrows the handle until keeper_end. NULL: no thread; the others take that. */
struct keeper *keeper_begin(struct hf *h);
void keeper_at(struct keeper *k, uint64_t at); /* from now on; 0: nothing */
void keeper_end(struct keeper **k);
