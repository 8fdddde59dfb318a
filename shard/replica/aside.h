/* aside.h: what is damaged is put aside in a replica's directory, never deleted; and the mark of a state machine that is to be.
 *
 * Position: directory_open.c decides. Ends the process (exit 6) where the disk does not let it. */
#pragma once

#include "shard/replica/directory.h"

#define ASIDE_FOLDER "quarantine"

/* The next free name, <dir>/quarantine/<what>-<n>; the folder is there on return. */
void aside_name(struct directory *d, const char *what, char out[DIRECTORY_PATH_BYTES]);
void aside_sync(struct directory *d); /* names in both folders are durable on return */
/* Moves <dir>/<from> there, durably, and says so; false: there is nothing of that name. */
bool aside_put(struct directory *d, const char *from, const char *what, const char *why);

bool aside_marked(const struct directory *d);
/* The machine that the mark spoke of is gone, durably. What was kept of it goes before the mark does: it may be no better,
 * and without the mark nobody would know. Alone it is all there is. */
void aside_unmark(struct directory *d);
