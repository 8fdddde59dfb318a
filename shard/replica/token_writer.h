/* token_writer.h: writes the snapshot token on a thread of its own: its two syncs may take long, heartbeats may not wait.
 *
 * Position: below publish, its only user. Thread: the loop's; one token at a time. */
#pragma once

#include "common/base/arena.h"
#include "common/sys/disk.h"
#include "shard/snapshot/token.h"

struct token_writer;

struct token_written {
    int rc; /* of token_write */
    uint64_t index, took_ns;
    char text[256]; /* why, when rc is not 0 */
};

/* `threaded` false: token_writer_start does the work itself (simulator). */
struct token_writer *token_writer_new(struct disk *disk, const char *dir, bool threaded);
void token_writer_free(struct token_writer **w); /* after what it writes is written */
/* Memory for the next token's members; cleared. Not while one is being written. */
struct arena *token_writer_arena(struct token_writer *w);
void token_writer_start(struct token_writer *w, const struct token *token);
bool token_writer_busy(const struct token_writer *w);
/* True, once: what was started has ended. */
bool token_writer_done(struct token_writer *w, struct token_written *out);
void token_writer_wait(const struct token_writer *w); /* until token_writer_done would be true, or nothing is written */
int token_writer_fd(const struct token_writer *w);    /* readable when it has; -1: no need to wait */
